//! Finding in one stream: all rows that match, or the nearest.

use super::{Spec, Target};
use crate::log::{Log, LogError};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Rows that [`Log::matches`] lists; beyond, they are only counted.
pub const MATCHES: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Next,
    Previous,
}

/// All that matches in one stream.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    pub total: u64,
    /// Ascending, at most [`MATCHES`].
    pub rows: Vec<u64>,
    /// In stretches of equal width, those that hold any: its first row, and how many match.
    pub buckets: BTreeMap<u64, u64>,
    /// Rows that were covered, ruled out or looked at.
    pub covered: u64,
}

impl Log {
    /// All matching rows of a stream, and how they spread over `buckets` stretches.
    pub async fn matches(&self, target: Target, buckets: u64) -> Result<Matches, LogError> {
        let (total, _) = self.size(target.stream).await?;
        let width = total.div_ceil(buckets.max(1)).max(1);
        let mut plan = self.plan(&[target]).await?;
        plan.by_row(0..u64::MAX, false);
        let mut matches = Matches { covered: plan.skipped_rows, ..Matches::default() };
        self.look(plan, &Arc::new(Spec::numbers()), true, |_, found, _| {
            matches.total += found.matched;
            matches.covered += found.covered;
            let listed = found.numbers.len().min(MATCHES - matches.rows.len());
            matches.rows.extend(&found.numbers[..listed]);
            let mut numbers = found.numbers.as_slice();
            while let Some(first) = numbers.first() {
                let from = first / width * width;
                let within = numbers.partition_point(|&row| row < from + width);
                *matches.buckets.entry(from).or_default() += within as u64;
                numbers = &numbers[within..];
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok(matches)
    }

    /// The nearest match from row `from` on (or up to it), and whether the search went round the end.
    pub async fn find(
        &self,
        target: Target,
        from: u64,
        direction: Direction,
    ) -> Result<(Option<u64>, bool), LogError> {
        let ranges = match direction {
            Direction::Next => [from..u64::MAX, 0..from],
            Direction::Previous => [0..from.saturating_add(1), from.saturating_add(1)..u64::MAX],
        };
        for (round, rows) in ranges.into_iter().enumerate() {
            let mut plan = self.plan(std::slice::from_ref(&target)).await?;
            plan.by_row(rows.clone(), direction == Direction::Previous);
            let mut nearest = None;
            self.look(plan, &Arc::new(Spec::numbers()), true, |_, found, _| {
                let mut within = found.numbers.iter().filter(|row| rows.contains(row)).copied();
                nearest = match direction {
                    Direction::Next => within.next(),
                    Direction::Previous => within.next_back(),
                };
                if nearest.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await?;
            if nearest.is_some() {
                return Ok((nearest, round > 0));
            }
        }
        Ok((None, false))
    }
}

impl Spec {
    fn numbers() -> Self {
        Self { rows: Arc::default(), before: None, axis: None }
    }
}
