//! Where rows begin and end in a block's output: the shape of what the row deriver does, without deriving.
//!
//! A row of output ends behind its line feed, or where an event has a row of its own. That, the places of those events, and whether
//! the first bytes belong to a row from before, is all that row numbers depend on.

use crate::log::notes::EventRow;

/// Where a row stands in a block's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) enum Segment {
    /// Its bytes, the line's end included.
    Output { begin: u32, end: u32 },
    /// It is no output.
    Event,
}

/// The rows that begin in `output`, in order.
pub(super) fn of(
    output: &[u8],
    first_byte: u64,
    first_row: u64,
    goes_on: bool,
    events: &[EventRow],
) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(output.len() / 64 + events.len());
    let mut at = 0;
    let mut goes_on = goes_on && !output.is_empty();
    // Rows from before the block may be noted in it, when they end in it.
    let mut events = events.iter().filter(|event| event.row >= first_row).map(|event| {
        usize::try_from(event.at_byte.saturating_sub(first_byte)).unwrap_or(usize::MAX)
    });
    let mut line_feeds = memchr::memchr_iter(b'\n', output).peekable();
    // Goal: every row. Exit: behind the last event and the last byte.
    loop {
        let event = events.next();
        let until = event.unwrap_or(output.len()).min(output.len());
        let mut row = |begin: usize, end: usize| {
            if !std::mem::take(&mut goes_on) {
                segments.push(Segment::Output { begin: begin as u32, end: end as u32 });
            }
        };
        while let Some(line_feed) = line_feeds.next_if(|&line_feed| line_feed < until) {
            row(at, line_feed + 1);
            at = line_feed + 1;
        }
        if at < until {
            row(at, until);
            at = until;
        }
        if event.is_none() {
            return segments;
        }
        // An event ends the row from before, also one of which no byte came.
        goes_on = false;
        segments.push(Segment::Event);
    }
}

/// How long the first so many lines are together.
pub(super) fn behind_lines(text: &[u8], lines: usize) -> Option<usize> {
    /// Counting is much faster than looking for each.
    const AT_ONCE: usize = 4096;
    let mut left = lines;
    let mut at = 0;
    while left > 0 {
        let piece = text.get(at..)?;
        let piece = &piece[..piece.len().min(AT_ONCE)];
        let within = memchr::memchr_iter(b'\n', piece).count();
        if within >= left {
            return memchr::memchr_iter(b'\n', piece).nth(left - 1).map(|end| at + end + 1);
        }
        if piece.is_empty() {
            return None;
        }
        left -= within;
        at += piece.len();
    }
    Some(at)
}
