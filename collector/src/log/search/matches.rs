//! Finding in one stream: all rows that match, or the nearest.

use super::{Spec, Spread, Target};
use crate::log::{Log, LogError};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
        let width = until.div_ceil(buckets.max(1));
        let width = NonZeroU64::new(width).unwrap_or(NonZeroU64::MIN);
        let mut plan = self.plan(std::slice::from_ref(&target)).await?;
        plan.by_row(from..until, false);
        let mut matches = Matches { until, covered: plan.skipped_rows, ..Matches::default() };
        let mut damaged = None;
        let spec = Arc::new(Spec {
            numbers: Arc::new(AtomicBool::new(true)),
            within: from..until,
            spread: Some(Spread::Rows { width }),
            ..Spec::default()
        });
        self.look(plan, &spec, |_, found, _| {
            if found.damaged.is_some() {
                damaged = found.damaged;
                return ControlFlow::Break(());
            }
            matches.total += found.matched;
            matches.covered += found.covered;
            for (bucket, (matched, _)) in found.buckets {
                *matches.buckets.entry(bucket as u64 * width.get()).or_default() += matched;
            }
            let numbers = found.numbers.unwrap_or_default();
            let listed = numbers.len().min(MATCHES - matches.rows.len());
            matches.rows.extend(&numbers[..listed]);
            // What comes behind is only counted.
            spec.numbers.store(matches.rows.len() < MATCHES, Ordering::Relaxed);
            ControlFlow::Continue(())
        })
        .await?;
        if let Some(error) = damaged {
            return Err(error);
        }
        matches.last = if matches.total == matches.rows.len() as u64 {
            matches.rows.last().copied()
        } else {
            self.nearest(&target, from..until, Direction::Previous).await?
        };
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
            let nearest = self.nearest(&target, rows, direction).await?;
            if nearest.is_some() {
                return Ok((nearest, round > 0));
            }
        }
        Ok((None, false))
    }

    /// The first match of these rows, or the last.
    async fn nearest(
        &self,
        target: &Target,
        rows: Range<u64>,
        direction: Direction,
    ) -> Result<Option<u64>, LogError> {
        let mut plan = self.plan(std::slice::from_ref(target)).await?;
        plan.by_row(rows.clone(), direction == Direction::Previous);
        let (mut nearest, mut damaged) = (None, None);
        let numbers = Arc::new(AtomicBool::new(true));
        let spec = Spec { numbers, within: rows, ..Spec::default() };
        self.look(plan, &Arc::new(spec), |_, found, _| {
            if found.damaged.is_some() {
                damaged = found.damaged;
                return ControlFlow::Break(());
            }
            let mut numbers = found.numbers.unwrap_or_default().into_iter();
            nearest = match direction {
                Direction::Next => numbers.next(),
                Direction::Previous => numbers.next_back(),
            };
            if nearest.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
        damaged.map_or(Ok(nearest), Err)
    }
}
