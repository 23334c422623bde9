//! Counting what a scan finds in a block, without asking of each hit which row it is.
//!
//! Nearly every hit counts the same: one row, of no error, in the stretch of time that its part of the block is in. Where that is not so (the
//! row is shown otherwise than its bytes, is an error, is another part's) is found out once, as stretches of the output that hits pass in order.

use super::look::Look;
use super::{Found, Spread};
use crate::log::block::BlockError;
use crate::query::Scan;
use deckport_protocol::Level;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Why hits in a stretch of the output are not like others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apart {
    /// They do not count.
    Not,
    /// They are errors.
    Error,
}

impl Look<'_> {
    /// What is found has only to be counted.
    pub(super) fn only_counts(&self) -> bool {
        self.spec.rows.load(Ordering::Relaxed) == 0 && self.spec.before.is_none() && !self.numbers
    }

    /// Adds all rows that the scan finds, each of which matches.
    pub(super) fn count(&self, scan: &Scan, found: &mut Found) -> Result<(), BlockError> {
        let output = self.block.output().len();
        let mut apart = Ordered::new(self.apart());
        // Where all are in one bucket, none is asked for.
        let spread = self.spec.spread.filter(|_| self.bucket == Some(None));
        let mut buckets = Ordered::new(match spread {
            Some(spread) => self.buckets(spread)?,
            None => Vec::new(),
        });
        let mut overlaid = self.block.overlaid().iter().peekable();
        // So far in one bucket, and which.
        let (mut run, mut rows, mut errors) = (self.bucket.flatten(), 0, 0);
        let mut put = |bucket: Option<usize>, rows: &mut u64, errors: &mut u64| {
            let (rows, errors) = (std::mem::take(rows), std::mem::take(errors));
            found.matched += rows;
            if let (Some(bucket), 1..) = (bucket, rows) {
                let count = found.buckets.entry(bucket).or_default();
                *count = (count.0 + rows, count.1 + errors);
            }
        };
        for hit in scan.hits(self.block.searched()) {
            let (error, bucket) = if hit.at < output {
                let error = match apart.at(hit.at) {
                    Some(Apart::Not) => continue,
                    Some(Apart::Error) => true,
                    None => false,
                };
                (error, buckets.at(hit.at))
            } else {
                let passed = |(_, range): &&(u64, Range<u32>)| range.end as usize <= hit.at;
                while overlaid.next_if(passed).is_some() {}
                let Some((row, _)) = overlaid.peek() else { break };
                if !self.rows.contains(row) {
                    continue;
                }
                let bucket = match spread {
                    Some(Spread::Time(axis)) => Some(axis.bucket(self.at_us(*row)?)),
                    Some(rows @ Spread::Rows { .. }) => Some(rows.bucket(0, *row)),
                    None => None,
                };
                (self.block.notes.level(*row) == Level::Error, bucket)
            };
            let bucket = bucket.or(self.bucket.flatten());
            if bucket != run {
                put(run, &mut rows, &mut errors);
                run = bucket;
            }
            rows += 1;
            errors += u64::from(error);
        }
        put(run, &mut rows, &mut errors);
        Ok(())
    }

    /// Stretches of the output in which hits are not like others, in order, none in another.
    fn apart(&self) -> Vec<(Range<usize>, Apart)> {
        let block = self.block;
        let errors = block.notes.levels.iter().filter(|(_, level)| *level == Level::Error);
        let mut apart: Vec<(Range<usize>, Apart)> = Vec::new();
        let mut places = block.places();
        // Rows that are shown otherwise are found by what is shown.
        let mut overlaid = block.overlaid().iter().map(|(row, _)| *row).peekable();
        for (row, _) in errors {
            while overlaid.next_if(|covered| covered < row).is_some() {}
            if overlaid.peek() != Some(row) {
                apart.extend(places.bytes_of(*row).map(|range| (range, Apart::Error)));
            }
        }
        let mut places = block.places();
        let overlaid = block.overlaid().iter().map(|(row, _)| *row);
        apart.extend(overlaid.filter_map(|row| Some((places.bytes_of(row)?, Apart::Not))));
        let (from, rows) = (self.summary.first_row, self.summary.rows);
        // Bytes of another part's rows. Where there are none, rows need not be told apart for it.
        if block.goes_on() || self.rows.start > from {
            apart.push((0..block.places().bytes_from(self.rows.start.max(from)), Apart::Not));
        }
        if self.rows.end < from + rows {
            let end = block.places().bytes_from(self.rows.end);
            apart.push((end..block.output().len(), Apart::Not));
        }
        // What lies within another part's rows goes.
        apart.sort_unstable_by_key(|(range, what)| {
            (range.start, std::cmp::Reverse(range.end), *what == Apart::Error)
        });
        let mut end = 0;
        apart.retain(|(range, _)| {
            let behind = range.start >= end;
            end = end.max(range.end);
            behind && !range.is_empty()
        });
        apart
    }

    /// Stretches of the output, each in one bucket.
    fn buckets(&self, spread: Spread) -> Result<Vec<(Range<usize>, usize)>, BlockError> {
        let ends = match spread {
            Spread::Time(axis) => {
                let bucket = |at_us| axis.bucket(at_us);
                match self.block.noted_stretches((axis.from, axis.width_us), bucket) {
                    Some(noted) => noted,
                    None => self.records.stretches(bucket)?,
                }
            }
            Spread::Rows { width } => {
                let last = self.rows.end.saturating_sub(1) / width;
                let all = self.rows.start / width..=last;
                let mut places = self.block.places();
                let mut end =
                    |bucket: u64| places.bytes_from((bucket + 1).saturating_mul(width.get()));
                all.map(|bucket| (end(bucket), usize::try_from(bucket).unwrap_or(usize::MAX)))
                    .collect()
            }
        };
        let mut begin = 0;
        let ranges = ends.into_iter().map(|(end, bucket)| {
            let range = begin..end;
            begin = end;
            (range, bucket)
        });
        Ok(ranges.collect())
    }
}

/// Stretches in order, asked about places in order.
struct Ordered<T> {
    stretches: std::vec::IntoIter<(Range<usize>, T)>,
}

impl<T: Copy> Ordered<T> {
    fn new(stretches: Vec<(Range<usize>, T)>) -> Self {
        Self { stretches: stretches.into_iter() }
    }

    /// What is said of the place, which is not before the one asked about last.
    fn at(&mut self, place: usize) -> Option<T> {
        let passed = self.stretches.as_slice().iter().take_while(|(range, _)| range.end <= place);
        let passed = passed.count();
        if passed > 0 {
            self.stretches.nth(passed - 1);
        }
        let (range, what) = self.stretches.as_slice().first()?;
        (range.start <= place).then_some(*what)
    }
}
