//! Finding rows in stored streams: which blocks to look into, and looking.
//!
//! What is looked for is a [`Wanted`]. What is known of blocks in memory (times, levels, filters) rules most of them out; the
//! others are unpacked and scanned as whole texts, the newest first, several at a time. The tail is scanned like a block that
//! is not packed.
//!
//! What must hold: a row is found once, and exactly if its text, as a viewer is shown it, and what is known of it match. Between two
//! looks a stream may grow: what is there when the search begins is covered, no more.

mod count;
mod look;
mod matches;
mod plan;

pub use matches::{Direction, MATCHES, Matches};

use super::block::Summary;
use super::index::Sealed;
use super::tail::Unsealed;
use super::{LogError, StreamKey};
use crate::query::{BlockFacts, NamesIn, Need, RowExpr, Scan};
use deckport_protocol::rows::Row;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// What is looked for, prepared.
#[derive(Debug)]
pub struct Wanted {
    /// `None`: every row.
    expr: Option<RowExpr>,
    scan: Scan,
    need: Need,
}

impl Wanted {
    /// `None`: every row.
    pub fn new(expr: Option<RowExpr>) -> Self {
        let scan = expr.as_ref().map_or_else(Scan::everything, Scan::of);
        let need = expr.as_ref().map_or(Need::Anything, Need::of);
        Self { expr, scan, need }
    }

    pub const fn expr(&self) -> Option<&RowExpr> {
        self.expr.as_ref()
    }
}

/// What is looked for in one stream.
#[derive(Clone, Debug)]
pub struct Target {
    pub stream: StreamKey,
    pub wanted: Arc<Wanted>,
}

/// A place in the order of results: the newest first; of the same time, by stream and row, the last first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub at: i64,
    pub stream: StreamKey,
    pub row: u64,
}

/// Time in stretches of equal width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    pub from: i64,
    pub width_us: i64,
    pub buckets: usize,
}

impl Axis {
    fn bucket(&self, at: i64) -> usize {
        let bucket = at.saturating_sub(self.from).max(0) / self.width_us.max(1);
        usize::try_from(bucket).unwrap_or(usize::MAX).min(self.buckets.saturating_sub(1))
    }
}

/// What rows that match are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// When they began.
    Time(Axis),
    /// Where they stand: so many rows of the log in each bucket.
    Rows { width: NonZeroU64 },
}

impl Spread {
    fn bucket(&self, at_us: i64, row: u64) -> usize {
        match self {
            Self::Time(axis) => axis.bucket(at_us),
            Self::Rows { width } => usize::try_from(row / width.get()).unwrap_or(usize::MAX),
        }
    }
}

/// How much is wanted of what is found.
#[derive(Debug)]
pub struct Spec {
    /// Rows in full, of each part that is looked into; may be lowered while the search runs.
    pub rows: Arc<AtomicUsize>,
    /// The numbers of all rows that match; may be given up while the search runs.
    pub numbers: Arc<AtomicBool>,
    /// Only rows behind this place, in the order of results.
    pub before: Option<Cursor>,
    /// Only these rows of the log.
    pub within: Range<u64>,
    pub spread: Option<Spread>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            rows: Arc::default(),
            numbers: Arc::default(),
            before: None,
            within: 0..u64::MAX,
            spread: None,
        }
    }
}

/// What was found in one part.
#[derive(Debug, Default)]
pub struct Found {
    pub matched: u64,
    /// The newest of them, the newest first, each with its phase's name.
    pub rows: Vec<(Cursor, Row, Option<Arc<str>>)>,
    /// One of them that began in another part, and its phase's name.
    cut: Option<(Cursor, Option<Arc<str>>)>,
    /// Bucket → matched rows, and errors among them.
    pub buckets: BTreeMap<usize, (u64, u64)>,
    /// The numbers of all that matched, ascending; none where they were not asked for any more.
    pub numbers: Option<Vec<u64>>,
    /// Rows that the part holds.
    pub covered: u64,
    /// Why it could not be looked into.
    pub damaged: Option<LogError>,
}

/// A part of a stream that is looked into as one. A row that is cut in two belongs to the part in which it ends.
#[derive(Debug)]
struct Unit {
    target: Target,
    first_row: u64,
    rows: u64,
    last_at: i64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Sealed(Arc<Sealed>),
    Tail(Vec<Arc<Unsealed>>),
}

/// What a search is about to look into.
#[derive(Debug)]
pub struct Plan {
    units: Vec<Unit>,
    /// Parts in all, and rows in those that cannot hold anything.
    pub parts: usize,
    pub skipped_rows: u64,
    /// The earliest and the latest time of what there is, ruled out or not.
    pub span: Option<(i64, i64)>,
}

impl Plan {
    /// Parts that are looked into.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Only rows of this range, in parts in this order.
    pub fn by_row(&mut self, rows: Range<u64>, descending: bool) {
        self.units
            .retain(|unit| unit.first_row < rows.end && unit.first_row + unit.rows > rows.start);
        self.units.sort_by_key(|unit| unit.first_row);
        if descending {
            self.units.reverse();
        }
    }
}

fn facts(summary: &Summary) -> BlockFacts<'static> {
    BlockFacts {
        first_row_us: summary.first_at,
        last_row_us: summary.last_at,
        levels: summary.levels,
        kinds: summary.kinds,
        phases: NamesIn::Unknown,
        steps: NamesIn::Unknown,
    }
}
