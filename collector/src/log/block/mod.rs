//! A block: a stretch of one stream, packed once and read many times.
//!
//! Three parts, each one zstd frame with a checksum, so that each reader unpacks what it needs:
//!
//! ```text
//! text      the output bytes of the stretch, as they came, and a line feed where they do not end in one; then the *overlay*: what is shown of the rows of which their
//!           bytes are not what is shown (escapes, tabs, carriage returns, markup) and of those that are no output, each
//!           closed by a line feed
//! rows      varint length of the output; varint 1 where the first bytes go on with a row that began before, or 2 and a
//!           signed varint where the overlay begins with that row as it is at the block's end: the time it began at; the
//!           notes (see `notes`); varint n, then n × (varint row, against the one before; varint length of its overlay);
//!           when the output came, see `times`
//! records   see `records`: everything else that makes the records what they were
//! ```
//!
//! Searching needs `text` and `rows`, and treats a block as one piece of text; paging and replaying need `records` too.
//!
//! What must hold:
//! * A block holds whole records. It ends where a row ends, unless one row alone is larger than a block.
//! * The records that come out are the records that went in, in every bit.
//! * The text of a row (its overlay, else its bytes without their end) is what a viewer is shown of it. Of a row that goes on behind
//!   the block it is what was there when the block ended; the block behind takes it over and holds its text from its begin.

mod build;
mod records;
mod segments;
#[cfg(test)]
pub(super) mod tests;
mod times;

pub(super) use build::Builder;
pub(super) use records::Origin;
pub(super) use segments::Segment;

use super::notes::Notes;
use deckport_protocol::RecordRef;
use deckport_protocol::rows::{Row, RowFact, RowRenderer, RowSink as _};
use deckport_protocol::varint;
use records::Records;
use std::cell::RefCell;
use std::sync::OnceLock;
use times::Times;

/// Blocks are cut at about so much output. Larger ones pack better; a reader unpacks a whole one.
pub(super) const BLOCK_BYTES: u64 = 1024 * 1024;
/// More than anything that is packed as one part.
const PART_BYTES: usize = 256 * 1024 * 1024;
const LEVEL: i32 = 1;
/// Memory that a thread puts by at most.
const SPARE_BYTES: usize = 4 * BLOCK_BYTES as usize;
/// In the place of the varint that says whether a row goes on.
const TAKES_OVER: u64 = 2;

/// What is stored is not a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BlockError {
    #[error("the {part} cannot be unpacked: {why}")]
    Packed { part: &'static str, why: String },
    #[error("the {part} is not well-formed")]
    Malformed { part: &'static str },
    #[error("a block holds other records than it says")]
    OtherRecords,
}

/// A block's place and contents in short; kept in memory for every block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    /// Rows that began before it, and in it.
    pub(super) first_row: u64,
    pub(super) rows: u64,
    /// Output bytes of the stream before it, and in it.
    pub(super) first_byte: u64,
    pub(super) bytes: u64,
    /// The earliest and the latest wall time of a record, by the console's clock.
    pub(super) first_at: i64,
    pub(super) last_at: i64,
    pub(super) errors: u64,
    pub(super) warnings: u64,
    /// A bit for each level, and each kind of row, that occurs.
    pub(super) levels: u8,
    pub(super) kinds: u8,
    /// It holds what is shown of the row before its first one as well, which began before it and goes on in it.
    pub(super) takes_over: bool,
}

/// A row that began before a block and goes on in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CutRow {
    /// What is shown of it, from its begin on.
    pub(super) text: String,
    /// When it began, by the console's clock.
    pub(super) at_us: i64,
}

/// A block as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) summary: Summary,
    pub(super) text: Vec<u8>,
    pub(super) rows: Vec<u8>,
    pub(super) records: Vec<u8>,
    pub(super) filter: super::filter::Filter,
}

/// An unpacked block; its records are unpacked when they are wanted.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) first_seq: u64,
    pub(super) first_row: u64,
    first_byte: u64,
    /// The output, then the overlay.
    text: Vec<u8>,
    output: usize,
    goes_on: bool,
    /// When the row began that it takes over.
    cut_at: Option<i64>,
    pub(super) notes: Notes,
    /// Rows with an overlay, and where it stands in `text`.
    overlay: Vec<(u64, std::ops::Range<u32>)>,
    segments: OnceLock<Vec<Segment>>,
    times: Times,
}

impl Block {
    pub(super) fn open(
        place: (u64, u64, u64),
        text: &[u8],
        rows_part: &[u8],
    ) -> Result<Self, BlockError> {
        Self::of(place, unpack("text", text)?, &unpack("rows", rows_part)?)
    }

    /// The same for a search, which looks into one after the other: into memory that [`Self::done_with`] put by. Without a look at the
    /// text's checksum if it was `sound` before: a tenth of the time goes into that.
    pub(super) fn open_searched(
        place: (u64, u64, u64),
        text: &[u8],
        rows_part: &[u8],
        sound: bool,
    ) -> Result<Self, BlockError> {
        let spare = SPARE.take();
        let text = if sound {
            unpack_again("text", text, spare)
        } else {
            unpack_into("text", text, spare)
        };
        Self::of(place, text?, &unpack("rows", rows_part)?)
    }

    /// Puts its memory by for the next one that this thread searches: fresh memory costs as much as a tenth of the unpacking.
    pub(super) fn done_with(self) {
        if self.text.capacity() <= SPARE_BYTES {
            SPARE.set(self.text);
        }
    }

    /// From parts that are unpacked.
    fn of(
        (first_seq, first_row, first_byte): (u64, u64, u64),
        text: Vec<u8>,
        part: &[u8],
    ) -> Result<Self, BlockError> {
        let malformed = || BlockError::Malformed { part: "rows" };
        let mut input = part;
        let number = |input: &mut &[u8]| varint::take(input).ok_or_else(malformed);
        let output = usize::try_from(number(&mut input)?).map_err(|_| malformed())?;
        let goes_on = number(&mut input)?;
        let cut_at = if goes_on == TAKES_OVER {
            Some(varint::take_signed(&mut input).ok_or_else(malformed)?)
        } else {
            None
        };
        let notes = Notes::decode(&mut input).ok_or_else(malformed)?;
        let mut overlay = Vec::new();
        let closed = text.get(..output).ok_or_else(malformed)?.last().is_none_or(|&b| b == b'\n');
        let (mut row, mut at) = (0u64, output + usize::from(!closed));
        for _ in 0..number(&mut input)? {
            row = row.checked_add(number(&mut input)?).ok_or_else(malformed)?;
            let length = usize::try_from(number(&mut input)?).map_err(|_| malformed())?;
            let end =
                at.checked_add(length).filter(|&end| end < text.len()).ok_or_else(malformed)?;
            overlay.push((row, at as u32..end as u32));
            at = end + 1;
        }
        let times = Times::decode(&mut input, output)?;
        if !input.is_empty() || at != text.len() {
            return Err(malformed());
        }
        Ok(Self {
            first_seq,
            first_row,
            first_byte,
            text,
            output,
            goes_on: goes_on != 0,
            cut_at,
            notes,
            overlay,
            segments: OnceLock::new(),
            times,
        })
    }

    /// The notes alone, from the part that holds them.
    pub(super) fn notes_of(rows_part: &[u8]) -> Result<Notes, BlockError> {
        let part = unpack("rows", rows_part)?;
        let mut input = part.as_slice();
        let notes = varint::take(&mut input)
            .and_then(|_| varint::take(&mut input))
            .and_then(|goes_on| match goes_on {
                TAKES_OVER => varint::take_signed(&mut input).map(drop),
                _ => Some(()),
            })
            .and_then(|()| Notes::decode(&mut input));
        notes.ok_or(BlockError::Malformed { part: "rows" })
    }

    /// A row is open before it.
    pub(super) const fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// When the row began that it takes over.
    pub(super) const fn cut_at(&self) -> Option<i64> {
        self.cut_at
    }

    /// The row that it takes over from what is before it.
    pub(super) fn cut_row(&self) -> Option<CutRow> {
        let at_us = self.cut_at?;
        let shown = self.shown(self.first_row.checked_sub(1)?);
        Some(CutRow { text: String::from_utf8_lossy(shown).into_owned(), at_us })
    }

    /// The output bytes.
    pub(super) fn output(&self) -> &[u8] {
        &self.text[..self.output]
    }

    /// All that a search looks at: the output, then the overlay.
    pub(super) fn searched(&self) -> &[u8] {
        &self.text
    }

    /// Where each row stands, in order of rows; what goes on with a row from before is not among them.
    pub(super) fn segments(&self) -> &[Segment] {
        self.segments.get_or_init(|| {
            segments::of(
                self.output(),
                self.first_byte,
                self.first_row,
                self.goes_on,
                &self.notes.events,
            )
        })
    }

    /// What is shown of the row; empty beyond the block.
    pub(super) fn shown(&self, row: u64) -> &[u8] {
        if let Ok(at) = self.overlay.binary_search_by_key(&row, |(row, _)| *row) {
            let range = &self.overlay[at].1;
            return &self.text[range.start as usize..range.end as usize];
        }
        let at = row.checked_sub(self.first_row).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| self.segments().get(at)) {
            Some(Segment::Output { begin, end }) => {
                without_end(&self.text[*begin as usize..*end as usize])
            }
            Some(Segment::Event) | None => &[],
        }
    }

    /// Tells rows by places of [`Self::searched`], one behind the other.
    pub(super) fn rows_by_place(&self) -> RowsByPlace<'_> {
        RowsByPlace { block: self, segments: self.segments(), behind: 0, covered: 0, overlaid: 0 }
    }

    /// Rows that begin in it.
    pub(super) fn rows(&self) -> std::ops::Range<u64> {
        self.first_row..self.first_row + self.segments().len() as u64
    }

    /// Whether what it says of rows is of rows that it holds, where it is said to stand.
    pub(super) fn fits(&self) -> bool {
        let rows = self.rows();
        // A row that goes on from before is noted where it ends.
        let noted = rows.start.saturating_sub(u64::from(self.goes_on))..rows.end;
        let bytes = self.first_byte..=self.first_byte + self.output as u64;
        let notes = &self.notes;
        notes.levels.iter().all(|(row, _)| noted.contains(row))
            && notes.kinds.iter().all(|(row, _)| noted.contains(row))
            && notes.places.iter().all(|place| noted.contains(&place.row))
            && notes
                .events
                .iter()
                .all(|event| noted.contains(&event.row) && bytes.contains(&event.at_byte))
            && self
                .overlay
                .iter()
                .all(|(row, _)| rows.contains(row) || self.cut_at.is_some() && noted.contains(row))
    }

    /// The row behind the last one that ends in the block.
    pub(super) fn whole_rows(&self) -> u64 {
        let end = self.first_row + self.segments().len() as u64;
        let open = matches!(self.segments().last(), Some(Segment::Output { end, .. })
            if *end as usize == self.output && self.output().last() != Some(&b'\n'));
        end - u64::from(open)
    }

    /// The rows with an overlay, and where in [`Self::searched`] that stands: in order.
    pub(super) fn overlaid(&self) -> &[(u64, std::ops::Range<u32>)] {
        &self.overlay
    }

    /// Tells where the bytes of rows stand, of one row behind the other.
    pub(super) fn places(&self) -> Places<'_> {
        let events = self.notes.events.iter().any(|event| event.row >= self.first_row);
        // Where each line is a row, those before one have only to be counted.
        let segments = (events || self.goes_on).then(|| self.segments());
        Places {
            block: self,
            segments: segments.or_else(|| self.segments.get().map(Vec::as_slice)),
            row: 0,
            begin: 0,
        }
    }

    /// Stretches as those of [`Self::stretches`], without the records: `None` where what is noted of times cannot tell between `from_us` and
    /// every `width_us` behind it.
    pub(super) fn noted_stretches<T: Copy + PartialEq>(
        &self,
        (from_us, width_us): (i64, i64),
        of: impl Fn(i64) -> T,
    ) -> Option<Vec<(usize, T)>> {
        self.times.tell(from_us, width_us).then(|| self.times.stretches(self.output, of))
    }

    /// Ends of stretches of the output, each with what `of` makes of the time that all of it came at.
    pub(super) fn stretches<T: Copy + PartialEq>(
        &self,
        records: &[u8],
        of: impl Fn(i64) -> T,
    ) -> Result<Vec<(usize, T)>, BlockError> {
        records::stretches(records, self.output(), of)
    }

    /// The same of records that are packed.
    pub(super) fn packed_stretches<T: Copy + PartialEq>(
        &self,
        records: &[u8],
        of: impl Fn(i64) -> T,
    ) -> Result<Vec<(usize, T)>, BlockError> {
        self.stretches(&unpack("records", records)?, of)
    }

    /// Unpacks the records.
    pub(super) fn records(&self, part: &[u8]) -> Result<BlockRecords<'_>, BlockError> {
        self.records_of(&unpack("records", part)?)
    }

    /// The records, from a part that is unpacked.
    pub(super) fn records_of(&self, part: &[u8]) -> Result<BlockRecords<'_>, BlockError> {
        Ok(BlockRecords { block: self, records: Records::decode(part, self.output())? })
    }
}

/// See [`Block::rows_by_place`]. It goes forward only, so that many hits cost one walk over the rows.
#[derive(Debug)]
pub(super) struct RowsByPlace<'a> {
    block: &'a Block,
    segments: &'a [Segment],
    /// Rows that begin at or before the last place.
    behind: usize,
    /// Rows with an overlay before the last place's row; and overlays that end before the last place.
    covered: usize,
    overlaid: usize,
}

impl RowsByPlace<'_> {
    /// The row that a hit is in, at or behind the place asked for last; `None` where what stands there is not what is shown.
    pub(super) fn row_at(&mut self, at: usize) -> Option<u64> {
        let block = self.block;
        if at >= block.output {
            let overlay = &block.overlay;
            while overlay.get(self.overlaid).is_some_and(|(_, range)| range.end as usize <= at) {
                self.overlaid += 1;
            }
            return overlay.get(self.overlaid).map(|(row, _)| *row);
        }
        // The last row of output that begins at or before it; events hold no bytes.
        let mut found = None;
        let mut next = self.behind;
        while let Some(segment) = self.segments.get(next) {
            match segment {
                Segment::Output { begin, .. } if *begin as usize <= at => {
                    found = Some(next);
                    next += 1;
                }
                Segment::Output { .. } => break,
                Segment::Event => next += 1,
            }
        }
        let index = found?;
        self.behind = index;
        let Segment::Output { end, .. } = self.segments[index] else { return None };
        let row = block.first_row + index as u64;
        while block.overlay.get(self.covered).is_some_and(|(covered, _)| *covered < row) {
            self.covered += 1;
        }
        let covered = block.overlay.get(self.covered).is_some_and(|(covered, _)| *covered == row);
        (at < end as usize && !covered).then_some(row)
    }
}

/// See [`Block::places`].
#[derive(Debug)]
pub(super) struct Places<'a> {
    block: &'a Block,
    segments: Option<&'a [Segment]>,
    /// Without segments: a row, counted from the block's first, and where it begins.
    row: usize,
    begin: usize,
}

impl Places<'_> {
    /// Where the bytes of a row stand in [`Block::output`], which is not before one asked for before; none for what is no output, and beyond
    /// the block.
    pub(super) fn bytes_of(&mut self, row: u64) -> Option<std::ops::Range<usize>> {
        let at = usize::try_from(row.checked_sub(self.block.first_row)?).ok()?;
        if let Some(segments) = self.segments {
            return match segments.get(at)? {
                Segment::Output { begin, end } => Some(*begin as usize..*end as usize),
                Segment::Event => None,
            };
        }
        let begin = self.begin_of(at);
        let line = self.block.output().get(begin..).filter(|rest| !rest.is_empty())?;
        let end = memchr::memchr(b'\n', line).map_or(line.len(), |end| end + 1);
        Some(begin..begin + end)
    }

    /// Where the bytes begin of the rows from this one on; behind the output where there are none.
    pub(super) fn bytes_from(&mut self, row: u64) -> usize {
        let block = self.block;
        let at = usize::try_from(row.saturating_sub(block.first_row)).unwrap_or(usize::MAX);
        let Some(segments) = self.segments else { return self.begin_of(at) };
        let behind = segments.get(at..).unwrap_or_default();
        let begin = behind.iter().find_map(|segment| match segment {
            Segment::Output { begin, .. } => Some(*begin as usize),
            Segment::Event => None,
        });
        begin.unwrap_or(block.output)
    }

    /// Each line is a row.
    fn begin_of(&mut self, row: usize) -> usize {
        let rest = &self.block.output()[self.begin..];
        // Behind the last line there is nothing, or one that has not ended.
        self.begin += segments::behind_lines(rest, row - self.row).unwrap_or(rest.len());
        self.row = row;
        self.begin
    }
}

/// The records of a block.
#[derive(Debug)]
pub(super) struct BlockRecords<'a> {
    block: &'a Block,
    records: Records,
}

impl BlockRecords<'_> {
    /// The row as a viewer gets it; `None` where it does not begin in the block.
    pub(super) fn row(&self, row: u64) -> Option<Row> {
        let block = self.block;
        let at = usize::try_from(row.checked_sub(block.first_row)?).ok()?;
        let (kind, level) = (block.notes.kind(row), block.notes.level(row));
        let place = block.notes.place(row);
        let mut fact = RowFact {
            row,
            seq: 0,
            boot_us: 0,
            at_us: 0,
            kind,
            level,
            phase: place.and_then(|place| place.phase),
            blank: false,
            bytes: 0,
            open: false,
        };
        let mut renderer = RowRenderer::new(row..row + 1);
        renderer.begin(row);
        match block.segments().get(at)? {
            Segment::Output { begin, end } => {
                let found = self.records.output_at(*begin as usize)?;
                (fact.seq, fact.boot_us) = (block.first_seq + found.offset, found.boot_us);
                (fact.at_us, fact.bytes) = (found.at_us, u64::from(end - begin));
                // In the pieces in which it came: what an escape does depends on where it was cut.
                let mut from = *begin;
                while from < *end {
                    let until = self.records.output_at(from as usize)?.by_output.end.min(*end);
                    renderer.bytes(without_end(&block.text[from as usize..until as usize]));
                    from = until;
                }
            }
            Segment::Event => {
                let found = block.notes.events.binary_search_by_key(&row, |event| event.row);
                let event = &block.notes.events[found.ok()?];
                let record = self.records.nth(event.seq.checked_sub(block.first_seq)?)?;
                (fact.seq, fact.boot_us, fact.at_us) = (event.seq, record.boot_us, record.at_us);
                renderer.text(event.text.trim_end());
            }
        }
        renderer.row(&fact, place.and_then(|place| place.step.as_deref()));
        renderer.into_rows().pop()
    }

    /// When the record came that the row begins in, by the console's clock.
    pub(super) fn at_us(&self, row: u64) -> Option<i64> {
        let block = self.block;
        let at = usize::try_from(row.checked_sub(block.first_row)?).ok()?;
        match block.segments().get(at)? {
            Segment::Output { begin, .. } => {
                self.records.output_at(*begin as usize).map(|found| found.at_us)
            }
            Segment::Event => {
                let found = block.notes.events.binary_search_by_key(&row, |event| event.row);
                let seq = block.notes.events[found.ok()?].seq;
                self.records.nth(seq.checked_sub(block.first_seq)?).map(|found| found.at_us)
            }
        }
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RecordRef<'_>, Origin)> {
        self.records.iter(self.block.first_seq, self.block.output())
    }
}

/// A row's bytes without the line feed and the carriage returns before it.
fn without_end(bytes: &[u8]) -> &[u8] {
    let Some(line) = bytes.strip_suffix(b"\n") else { return bytes };
    let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |at| at + 1);
    &line[..end]
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    thread_local! {
        static PACKER: RefCell<zstd::bulk::Compressor<'static>> = RefCell::new(packer());
    }
    PACKER.with_borrow_mut(|packer| {
        // It fails only where memory does.
        packer.compress(bytes).expect("a buffer of the bound's size is enough")
    })
}

fn packer() -> zstd::bulk::Compressor<'static> {
    let mut packer = zstd::bulk::Compressor::new(LEVEL).expect("the level is one that zstd knows");
    packer.include_checksum(true).expect("zstd has checksums");
    packer
}

type Unpacker = RefCell<zstd::bulk::Decompressor<'static>>;

fn unpacker() -> zstd::bulk::Decompressor<'static> {
    zstd::bulk::Decompressor::new().expect("a context is made of memory alone")
}

thread_local! {
    /// See [`Block::done_with`].
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One part that was packed with its size in front.
pub(super) fn unpack(part: &'static str, bytes: &[u8]) -> Result<Vec<u8>, BlockError> {
    unpack_into(part, bytes, Vec::new())
}

fn unpack_into(part: &'static str, bytes: &[u8], memory: Vec<u8>) -> Result<Vec<u8>, BlockError> {
    thread_local! {
        static UNPACKER: Unpacker = RefCell::new(unpacker());
    }
    UNPACKER.with(|unpacker| unpack_with(unpacker, part, bytes, memory))
}

/// Without a look at the checksum.
fn unpack_again(part: &'static str, bytes: &[u8], memory: Vec<u8>) -> Result<Vec<u8>, BlockError> {
    thread_local! {
        static UNPACKER: Unpacker = {
            let mut unpacker = unpacker();
            let ignored = zstd::zstd_safe::DParameter::ForceIgnoreChecksum(true);
            unpacker.set_parameter(ignored).expect("the library knows its own parameter");
            RefCell::new(unpacker)
        };
    }
    UNPACKER.with(|unpacker| unpack_with(unpacker, part, bytes, memory))
}

fn unpack_with(
    unpacker: &Unpacker,
    part: &'static str,
    bytes: &[u8],
    mut memory: Vec<u8>,
) -> Result<Vec<u8>, BlockError> {
    let error = |why: String| BlockError::Packed { part, why };
    let size = match zstd::zstd_safe::get_frame_content_size(bytes) {
        Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
        Ok(None) | Err(_) => return Err(error("it does not begin like a packed part".to_owned())),
    };
    if size > PART_BYTES {
        return Err(error(format!("it would be {size} bytes")));
    }
    memory.clear();
    memory.reserve_exact(size);
    let unpacked = unpacker.borrow_mut().decompress_to_buffer(bytes, &mut memory);
    unpacked.map(|_| memory).map_err(|why| error(why.to_string()))
}
