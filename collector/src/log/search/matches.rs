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
    /// Rows of the log, those that were looked for among: what comes later is not in here. The last may still be open.
    pub until: u64,
    /// The last of them.
    pub last: Option<u64>,
    /// Ascending, at most [`MATCHES`].
    pub rows: Vec<u64>,
    /// In stretches of equal width, those that hold any: its first row, and how many match.
    pub buckets: BTreeMap<u64, u64>,
    /// Rows that were covered, ruled out or looked at.
    pub covered: u64,
}

impl Log {
    /// All matching rows of a stream, from row `from` on, and how they spread over so many stretches as `buckets` of the
    /// whole stream.
    pub async fn matches(
        &self,
        target: Target,
        from: u64,
        buckets: u64,
    ) -> Result<Matches, LogError> {
        let (until, _) = self.size(target.stream).await?;
        let width = until.div_ceil(buckets.max(1)).max(1);
        let mut plan = self.plan(&[target]).await?;
        plan.by_row(from..until, false);
        let mut matches = Matches { until, covered: plan.skipped_rows, ..Matches::default() };
        let mut damaged = None;
        self.look(plan, &Arc::new(Spec::numbers()), true, |_, found, _| {
            if found.damaged.is_some() {
                damaged = found.damaged;
                return ControlFlow::Break(());
            }
            let place = |row| found.numbers.partition_point(|&number| number < row);
            let mut numbers = &found.numbers[place(from)..place(until).max(place(from))];
            matches.total += numbers.len() as u64;
            matches.covered += found.covered;
            matches.last = numbers.last().copied().or(matches.last);
            let listed = numbers.len().min(MATCHES - matches.rows.len());
            matches.rows.extend(&numbers[..listed]);
            while let Some(first) = numbers.first() {
                let from = first / width * width;
                let within = numbers.partition_point(|&row| row < from + width);
                *matches.buckets.entry(from).or_default() += within as u64;
                numbers = &numbers[within..];
            }
            ControlFlow::Continue(())
        })
        .await?;
        damaged.map_or(Ok(matches), Err)
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
            let (mut nearest, mut damaged) = (None, None);
            self.look(plan, &Arc::new(Spec::numbers()), true, |_, found, _| {
                if found.damaged.is_some() {
                    damaged = found.damaged;
                    return ControlFlow::Break(());
                }
                let mut within = found.numbers.iter().filter(|row| rows.contains(row)).copied();
                nearest = match direction {
                    Direction::Next => within.next(),
                    Direction::Previous => within.next_back(),
                };
                if nearest.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await?;
            if let Some(error) = damaged {
                return Err(error);
            }
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
