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
mod packing;
mod places;
mod records;
mod rows;
mod segments;
#[cfg(test)]
pub(super) mod tests;
mod times;

pub(super) use build::Builder;
pub(super) use packing::unpack;
pub(super) use places::{Places, RowsByPlace};
pub(super) use records::Origin;
pub(super) use rows::BlockRecords;
pub(super) use segments::Segment;

use super::notes::Notes;
use deckport_protocol::varint;
use std::sync::OnceLock;
use times::Times;

/// Blocks are cut at about so much output. Larger ones pack better; a reader unpacks a whole one.
pub(super) const BLOCK_BYTES: u64 = 1024 * 1024;
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
    /// text's checksum if it was `sound` before.
    pub(super) fn open_searched(
        place: (u64, u64, u64),
        text: &[u8],
        rows_part: &[u8],
        sound: bool,
    ) -> Result<Self, BlockError> {
        let text = packing::unpack_spared("text", text, sound);
        Self::of(place, text?, &unpack("rows", rows_part)?)
    }

    /// Puts its memory by for the next one that this thread searches.
    pub(super) fn done_with(self) {
        packing::spare(self.text);
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
        RowsByPlace::of(self)
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
        Places::of(self)
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
        BlockRecords::of(self, part)
    }
}

/// A row's bytes without the line feed and the carriage returns before it.
fn without_end(bytes: &[u8]) -> &[u8] {
    let Some(line) = bytes.strip_suffix(b"\n") else { return bytes };
    let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |at| at + 1);
    &line[..end]
}
