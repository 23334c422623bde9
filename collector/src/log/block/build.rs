//! Packing a stretch of a stream into a block.

use super::packing::pack;
use super::records::Writer;
use super::{
    Block, BlockError, CutRow, Packed, Segment, Summary, TAKES_OVER, segments, times, without_end,
};
use crate::log::filter::FilterBuilder;
use crate::log::notes::{Notes, number_of_kind, number_of_level};
use deckport_protocol::rows::{TextOf, is_plain};
use deckport_protocol::varint;
use deckport_protocol::{BodyRef, BootId, Level, RecordRef};

/// Takes frames in order and packs them; see the module above for what comes out.
#[derive(Debug)]
pub(in crate::log) struct Builder {
    summary: Summary,
    goes_on: bool,
    cut: Option<CutRow>,
    output: Vec<u8>,
    /// Where records ended in the middle of a line.
    cuts: Vec<usize>,
    records: Writer,
    times: times::Writer,
    notes: Notes,
}

/// The parts of a block before they are packed.
struct Built {
    summary: Summary,
    text: Vec<u8>,
    rows: Vec<u8>,
    records: Vec<u8>,
    filter: FilterBuilder,
}

impl Builder {
    /// A block that begins behind so many rows and bytes of its stream; `goes_on`: a row is open there.
    pub(in crate::log) fn new(first_row: u64, first_byte: u64, goes_on: bool) -> Self {
        let summary = Summary {
            first_row,
            first_byte,
            first_at: i64::MAX,
            last_at: i64::MIN,
            ..Summary::default()
        };
        Self {
            summary,
            goes_on,
            cut: None,
            output: Vec::with_capacity(64 * 1024),
            cuts: Vec::new(),
            records: Writer::default(),
            times: times::Writer::default(),
            notes: Notes::default(),
        }
    }

    /// The row that is open before the block, as it is at the block's end: a search finds it here.
    pub(in crate::log) fn takes_over(&mut self, row: CutRow) {
        debug_assert!(self.goes_on);
        self.cut = Some(row);
    }

    /// The next records were received together, at this time.
    pub(in crate::log) fn frame(&mut self, received_at: i64) {
        self.records.frame(received_at);
    }

    pub(in crate::log) fn push(&mut self, record: &RecordRef<'_>, boot_id: BootId) {
        let summary = &mut self.summary;
        if summary.first_seq == 0 {
            summary.first_seq = record.seq;
        }
        summary.last_seq = record.last_seq();
        summary.first_at = summary.first_at.min(record.at_us);
        summary.last_at = summary.last_at.max(record.at_us);
        if let BodyRef::Output { bytes, .. } = record.body {
            if !bytes.is_empty() {
                self.times.push(self.output.len(), record.at_us);
            }
            self.output.extend_from_slice(bytes);
            if bytes.last().is_some_and(|&last| last != b'\n') {
                self.cuts.push(self.output.len());
            }
        }
        self.records.push(record, boot_id);
    }

    /// What is known of rows up to where the block is now, or a little beyond.
    pub(in crate::log) fn notes(&mut self, notes: &Notes) {
        let first = self.summary.first_row - u64::from(self.goes_on);
        self.notes.extend(notes, &(first..u64::MAX));
    }

    /// It holds a record.
    #[cfg(test)]
    pub(in crate::log) fn is_begun(&self) -> bool {
        self.summary.first_seq > 0
    }

    /// Output bytes so far.
    pub(in crate::log) fn bytes(&self) -> u64 {
        self.output.len() as u64
    }

    pub(in crate::log) fn finish(self) -> Packed {
        let built = self.build();
        Packed {
            summary: built.summary,
            text: pack(&built.text),
            rows: pack(&built.rows),
            records: pack(&built.records),
            filter: built.filter.finish(),
        }
    }

    /// The block without packing it, its summary, and the part that holds its records.
    pub(in crate::log) fn open(self) -> Result<(Block, Summary, Vec<u8>), BlockError> {
        let built = self.build();
        let summary = &built.summary;
        let place = (summary.first_seq, summary.first_row, summary.first_byte);
        let block = Block::of(place, built.text, &built.rows)?;
        Ok((block, built.summary, built.records))
    }

    fn build(self) -> Built {
        let Self { mut summary, goes_on, cut, output, cuts, records, times, notes: noted } = self;
        let first_row = summary.first_row;
        let segments = segments::of(&output, summary.first_byte, first_row, goes_on, &noted.events);
        summary.bytes = output.len() as u64;
        summary.rows = segments.len() as u64;
        let rows = first_row..first_row + summary.rows;
        // A row that goes on from before is noted where it ends.
        let ended = first_row - u64::from(goes_on)..rows.end;
        let mut notes = Notes::default();
        notes.extend(&noted, &ended);
        (summary.errors, summary.warnings) = notes.trouble(ended);
        summary.levels = 1 << number_of_level(Level::Info);
        for (_, level) in &notes.levels {
            summary.levels |= 1 << number_of_level(*level);
        }
        summary.kinds = 1;
        for (_, kind) in &notes.kinds {
            summary.kinds |= 1 << number_of_kind(*kind);
        }

        let length = output.len();
        let mut text = output;
        if text.last().is_some_and(|&last| last != b'\n') {
            text.push(b'\n');
        }
        let mut filter = FilterBuilder::default();
        let mut shown = TextOf::default();
        let mut overlay: Vec<(u64, usize)> = Vec::new();
        if let Some(cut) = &cut {
            summary.takes_over = true;
            summary.first_at = summary.first_at.min(cut.at_us);
            filter.add(cut.text.as_bytes());
            text.extend_from_slice(cut.text.as_bytes());
            text.push(b'\n');
            overlay.push((first_row - 1, cut.text.len()));
        }
        let mut events = notes.events.iter().filter(|event| event.row >= first_row);
        let mut cuts = cuts.into_iter().peekable();
        for (row, segment) in rows.zip(&segments) {
            let of_row = match segment {
                Segment::Output { begin, end } => {
                    let (begin, end) = (*begin as usize, *end as usize);
                    let line = without_end(&text[begin..end]);
                    while cuts.next_if(|&cut| cut <= begin).is_some() {}
                    // A search takes what stands between line feeds for one row.
                    let alone = (begin == 0 || text[begin - 1] == b'\n')
                        && (end == length || text[end - 1] == b'\n');
                    let whole = cuts.peek().is_none_or(|&cut| cut >= end);
                    if whole && alone && is_plain(line) {
                        filter.add(line);
                        continue;
                    }
                    // What a carriage return or an escape does depends on where it was cut.
                    let mut pieces: Vec<&[u8]> = Vec::new();
                    let mut at = begin;
                    while let Some(cut) = cuts.next_if(|&cut| cut < end) {
                        pieces.push(&text[at..cut]);
                        at = cut;
                    }
                    pieces.push(without_end(&text[at..end]));
                    shown.line(pieces, notes.kind(row), notes.level(row))
                }
                Segment::Event => {
                    let event = events.next().map_or("", |event| &*event.text);
                    shown.event(event.trim_end(), notes.kind(row), notes.level(row))
                }
            };
            filter.add(of_row.as_bytes());
            text.extend_from_slice(of_row.as_bytes());
            text.push(b'\n');
            overlay.push((row, of_row.len()));
        }

        let mut part = Vec::new();
        varint::put(&mut part, length as u64);
        match &cut {
            Some(cut) => {
                varint::put(&mut part, TAKES_OVER);
                varint::put_signed(&mut part, cut.at_us);
            }
            None => varint::put(&mut part, u64::from(goes_on)),
        }
        part.extend_from_slice(&notes.encode());
        varint::put(&mut part, overlay.len() as u64);
        let mut before = 0;
        for (row, length) in overlay {
            varint::put(&mut part, row - before);
            varint::put(&mut part, length as u64);
            before = row;
        }
        times.finish(&mut part);
        Built { summary, text, rows: part, records: records.finish(), filter }
    }
}
