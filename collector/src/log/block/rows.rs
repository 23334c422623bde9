//! A block's rows as a viewer gets them, put together from what is shown and what the records say.

use super::records::{Origin, Records};
use super::{Block, BlockError, Segment, without_end};
use deckport_protocol::RecordRef;
use deckport_protocol::rows::{Row, RowFact, RowRenderer, RowSink as _};

/// The records of a block.
#[derive(Debug)]
pub(in crate::log) struct BlockRecords<'a> {
    block: &'a Block,
    records: Records,
}

impl<'a> BlockRecords<'a> {
    /// From the part that holds them, unpacked.
    pub(super) fn of(block: &'a Block, part: &[u8]) -> Result<Self, BlockError> {
        Ok(Self { block, records: Records::decode(part, block.output())? })
    }

    /// The row as a viewer gets it; `None` where it does not begin in the block.
    pub(in crate::log) fn row(&self, row: u64) -> Option<Row> {
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

    /// The row that the record's first byte belongs to, which may have begun in a block before; `None` if it is none of output that the
    /// block holds.
    pub(in crate::log) fn row_of(&self, seq: u64) -> Option<u64> {
        let block = self.block;
        let bytes = self.records.output_of(seq.checked_sub(block.first_seq)?)?;
        let segments = (0..).zip(block.segments());
        let begun = segments.take_while(|(_, segment)| match segment {
            Segment::Output { begin, .. } => *begin <= bytes.start,
            Segment::Event => true,
        });
        let output = begun.filter(|(_, segment)| matches!(segment, Segment::Output { .. }));
        match output.last() {
            Some((at, _)) => Some(block.first_row + at),
            None => block.first_row.checked_sub(1),
        }
    }

    /// When the record came that the row begins in, by the console's clock.
    pub(in crate::log) fn at_us(&self, row: u64) -> Option<i64> {
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
    pub(in crate::log) fn iter(&self) -> impl Iterator<Item = (RecordRef<'_>, Origin)> {
        self.records.iter(self.block.first_seq, self.block.output())
    }
}
