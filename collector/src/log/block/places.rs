//! Where rows stand in a block: from a place in what is searched to its row, and from a row to where its bytes are.

use super::segments::behind_lines;
use super::{Block, Segment};

/// See [`Block::rows_by_place`]. It goes forward only, so that many hits cost one walk over the rows.
#[derive(Debug)]
pub(in crate::log) struct RowsByPlace<'a> {
    block: &'a Block,
    segments: &'a [Segment],
    /// Rows that begin at or before the last place.
    behind: usize,
    /// Rows with an overlay before the last place's row; and overlays that end before the last place.
    covered: usize,
    overlaid: usize,
}

impl<'a> RowsByPlace<'a> {
    pub(super) fn of(block: &'a Block) -> Self {
        Self { block, segments: block.segments(), behind: 0, covered: 0, overlaid: 0 }
    }

    /// The row that a hit is in, at or behind the place asked for last; `None` where what stands there is not what is shown.
    pub(in crate::log) fn row_at(&mut self, at: usize) -> Option<u64> {
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
pub(in crate::log) struct Places<'a> {
    block: &'a Block,
    segments: Option<&'a [Segment]>,
    /// Without segments: a row, counted from the block's first, and where it begins.
    row: usize,
    begin: usize,
}

impl<'a> Places<'a> {
    pub(super) fn of(block: &'a Block) -> Self {
        let events = block.notes.events.iter().any(|event| event.row >= block.first_row);
        // Where each line is a row, those before one have only to be counted.
        let segments = (events || block.goes_on).then(|| block.segments());
        let segments = segments.or_else(|| block.segments.get().map(Vec::as_slice));
        Self { block, segments, row: 0, begin: 0 }
    }

    /// Where the bytes of a row stand in [`Block::output`], which is not before one asked for before; none for what is no output, and beyond
    /// the block.
    pub(in crate::log) fn bytes_of(&mut self, row: u64) -> Option<std::ops::Range<usize>> {
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
    pub(in crate::log) fn bytes_from(&mut self, row: u64) -> usize {
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
        self.begin += behind_lines(rest, row - self.row).unwrap_or(rest.len());
        self.row = row;
        self.begin
    }
}
