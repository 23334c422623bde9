//! Looking into blocks: unpacking them, and finding rows in their texts.

use super::{Cursor, Found, Plan, Source, Spec, Spread, Unit, Wanted, facts};
use crate::log::block::{Block, BlockError, BlockRecords, CutRow, Summary};
use crate::log::index::Sealed;
use crate::log::notes::Place;
use crate::log::read::{MOVED, MOVES, Parts, Sound};
use crate::log::seal::{ROW_BYTES, build_frames};
use crate::log::tail::Unsealed;
use crate::log::{Log, LogError, StreamKey};
use crate::query::{BlockFacts, NamesIn, RowExpr, RowView, Simplified};
use bytes::Bytes;
use deckport_protocol::{Level, Limits};
use futures_util::StreamExt as _;
use sqlx::AssertSqlSafe;
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// Blocks that are read from the database at once.
const READ_BLOCKS: usize = 8;
/// Such reads and scans on their way where the newest rows are wanted, which the first few blocks hold.
const AT_ONCE: usize = 4;
/// The same where all is looked into: so many that processors have something to scan while others are read, and while the first is waited for.
const ALL_AT_ONCE: usize = 8;

impl Log {
    /// Looks into the parts of a plan in their order, and hands on what was found in each, with the latest time of all that
    /// comes behind it, until `on` says stop. Dropping the future ends it.
    pub async fn look(
        &self,
        plan: Plan,
        spec: &Arc<Spec>,
        mut on: impl FnMut(StreamKey, Found, Option<i64>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let mut behind: Vec<i64> = plan.units.iter().map(|unit| unit.last_at).collect();
        // The latest of all that comes later; parts need not be in the order of time.
        for at in (1..behind.len()).rev() {
            behind[at - 1] = behind[at - 1].max(behind[at]);
        }
        let at_once = if spec.spread.is_some() { ALL_AT_ONCE } else { AT_ONCE };
        let mut reads: Vec<Vec<Unit>> = Vec::new();
        // Few parts are looked into side by side, not one behind the other.
        let most = plan.units.len().div_ceil(at_once).min(READ_BLOCKS);
        let mut few = 1;
        for unit in plan.units {
            // The first reads are small: the first page is wanted at once.
            match reads.last_mut() {
                Some(last) if last.len() < few.min(most) => last.push(unit),
                _ => {
                    few += usize::from(!reads.is_empty());
                    reads.push(vec![unit]);
                }
            }
        }
        let looks =
            futures_util::stream::iter(reads).map(|units| self.look_into(units, Arc::clone(spec)));
        let mut looks = std::pin::pin!(looks.buffered(at_once));
        let mut at = 0;
        while let Some(found) = looks.next().await {
            for (stream, found) in found? {
                at += 1;
                if on(stream, found, behind.get(at).copied()).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn look_into(
        &self,
        units: Vec<Unit>,
        spec: Arc<Spec>,
    ) -> Result<Vec<(StreamKey, Found)>, LogError> {
        let ids: Vec<i64> = units
            .iter()
            .filter_map(|unit| match &unit.source {
                Source::Sealed(sealed) => Some(sealed.id),
                Source::Tail(_) => None,
            })
            .collect();
        let mut parts = self.parts_of(&ids).await?;
        let mut looked = Vec::with_capacity(units.len());
        for unit in units {
            let now = match &unit.source {
                Source::Sealed(sealed) => match parts.remove(&sealed.id) {
                    Some(parts) => Ok(Read::Sealed(Arc::clone(sealed), parts)),
                    // Merged a moment ago: the rows are in the block that took its place.
                    None => self.moved(sealed).await,
                },
                Source::Tail(frames) => match frames.first() {
                    Some(first) => {
                        let cut_row = self.cut_row(unit.target.stream, &first.frame).await;
                        cut_row.map(|row| Read::Tail(frames.clone(), row))
                    }
                    None => Ok(Read::Nothing),
                },
            };
            looked.push((unit, now));
        }
        let (limits, sound) = (self.limits, Arc::clone(&self.sound));
        let looking = tokio::task::spawn_blocking(move || {
            let look = looked.into_iter().map(|(unit, read)| {
                let found = read.and_then(|read| look_at(&unit, read, &spec, (&sound, &limits)));
                let found = match found {
                    // The others can be searched all the same.
                    Err(error @ LogError::Damaged { .. }) => {
                        Found { covered: unit.rows, damaged: Some(error), ..Found::default() }
                    }
                    found => found?,
                };
                Ok((unit.target.stream, found))
            });
            look.collect::<Result<Vec<_>, LogError>>()
        });
        let mut looked = looking.await.map_err(|_| LogError::stopping())??;
        for (stream, found) in &mut looked {
            // It began in another part: what a viewer wants of it is put together from both.
            let Some((cursor, phase)) = found.cut.take() else { continue };
            let page = self.page(*stream, cursor.row, 1, ROW_BYTES).await?;
            if let Some(row) = page.rows.into_iter().next() {
                let at = found.rows.partition_point(|(newer, ..)| *newer > cursor);
                found.rows.insert(at, (cursor, row, phase));
            }
        }
        Ok(looked)
    }

    async fn parts_of(&self, ids: &[i64]) -> Result<HashMap<i64, Parts>, LogError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let marks: Vec<String> = (1..=ids.len()).map(|at| format!("${at}")).collect();
        let sql = format!(
            "select block_id, rows_part, records_part, text_part from block_part where block_id in ({})",
            marks.join(", ")
        );
        let rows = self.store.fetch(AssertSqlSafe(sql), ids.iter().map(|&id| id.into())).await?;
        let parts = rows.iter().map(|row| {
            let (rows, records, text) = (row.blob(1)?, row.blob(2)?, row.blob(3)?);
            Ok((row.int(0)?, Parts { rows, records, text }))
        });
        parts.collect()
    }

    /// The block that took the place of one that was merged.
    async fn moved(&self, gone: &Sealed) -> Result<Read, LogError> {
        for _ in 0..MOVES {
            let now = self.index.at_seq(gone.stream, gone.first_seq);
            let Some(now) = now.filter(|now| now.first_seq <= gone.first_seq) else {
                // Retired.
                return Ok(Read::Nothing);
            };
            if let Some(parts) = self.find_parts(&now).await? {
                return Ok(Read::Sealed(now, parts));
            }
            tokio::time::sleep(MOVED).await;
        }
        Err(LogError::damaged(gone, "its parts are not there"))
    }
}

/// Unpacks a part and looks at its rows.
fn look_at(
    unit: &Unit,
    read: Read,
    spec: &Spec,
    (sound, limits): (&Sound, &Limits),
) -> Result<Found, LogError> {
    let stream = unit.target.stream;
    let (from, until) = (unit.first_row, unit.first_row + unit.rows);
    let from = from.max(spec.within.start).min(until);
    let rows = from..until.min(spec.within.end).max(from);
    let damaged = |why: String| LogError::Damaged { stream, seq: 0, why };
    let (block, summary, records) = match read {
        Read::Nothing => return Ok(Found::default()),
        Read::Sealed(sealed, parts) => {
            let block = parts.block_searched(&sealed, sound);
            let block = block.map_err(|error| LogError::damaged(&sealed, error))?;
            (block, sealed.summary.clone(), Packing::Packed(parts.records))
        }
        Read::Tail(frames, cut_row) => {
            let (block, summary, records) = unpacked(&frames, cut_row, limits).map_err(damaged)?;
            (block, summary, Packing::Plain(records))
        }
    };
    let records = Lazy { block: &block, part: &records, unpacked: OnceLock::new() };
    let bucket = bucket_of(spec, &summary, &rows);
    let numbers = spec.numbers.load(Ordering::Relaxed);
    let look =
        Look { block: &block, summary: &summary, records, rows, stream, spec, bucket, numbers };
    let found = look.run(&unit.target.wanted);
    block.done_with();
    found
        .map(|found| Found { covered: unit.rows, ..found })
        .map_err(|error| damaged(error.to_string()))
}

/// See [`Look::bucket`].
fn bucket_of(spec: &Spec, summary: &Summary, rows: &Range<u64>) -> Option<Option<usize>> {
    spec.spread.map(|spread| {
        let first = spread.bucket(summary.first_at, rows.start);
        let last = spread.bucket(summary.last_at, rows.end.saturating_sub(1).max(rows.start));
        (first == last).then_some(first)
    })
}

/// Frames of the tail as a block that is not packed.
fn unpacked(
    frames: &[Arc<Unsealed>],
    cut_row: Option<CutRow>,
    limits: &Limits,
) -> Result<(Block, Summary, Vec<u8>), String> {
    let (mut builder, _) = build_frames(frames, limits)?;
    if let Some(row) = cut_row {
        builder.takes_over(row);
    }
    builder.open().map_err(|error| error.to_string())
}

/// What was read of a part before it is looked at.
enum Read {
    Sealed(Arc<Sealed>, Parts),
    /// It is in memory; and the row that is open in front of it.
    Tail(Vec<Arc<Unsealed>>, Option<CutRow>),
    /// It was deleted a moment ago.
    Nothing,
}

enum Packing {
    Packed(Bytes),
    Plain(Vec<u8>),
}

/// The records of a block, unpacked when somebody asks.
pub(super) struct Lazy<'a> {
    block: &'a Block,
    part: &'a Packing,
    unpacked: OnceLock<BlockRecords<'a>>,
}

impl<'a> Lazy<'a> {
    /// See [`Block::stretches`].
    pub(super) fn stretches(
        &self,
        of: impl Fn(i64) -> usize,
    ) -> Result<Vec<(usize, usize)>, BlockError> {
        match self.part {
            Packing::Packed(part) => self.block.packed_stretches(part, of),
            Packing::Plain(part) => self.block.stretches(part, of),
        }
    }

    fn get(&self) -> Result<&BlockRecords<'a>, BlockError> {
        if let Some(records) = self.unpacked.get() {
            return Ok(records);
        }
        let records = match self.part {
            Packing::Packed(part) => self.block.records(part)?,
            Packing::Plain(part) => self.block.records_of(part)?,
        };
        Ok(self.unpacked.get_or_init(|| records))
    }
}

pub(super) struct Look<'a> {
    pub(super) block: &'a Block,
    pub(super) summary: &'a Summary,
    pub(super) records: Lazy<'a>,
    /// Rows that are asked about: those of the part, of a block that may hold more.
    pub(super) rows: Range<u64>,
    stream: StreamKey,
    pub(super) spec: &'a Spec,
    /// The one that all its rows are in; `None` within where they are in several.
    pub(super) bucket: Option<Option<usize>>,
    pub(super) numbers: bool,
}

impl Look<'_> {
    fn run(&self, wanted: &Wanted) -> Result<Found, BlockError> {
        let mut found = Found { numbers: self.numbers.then(Vec::new), ..Found::default() };
        let places = &self.block.notes.places;
        let named = |name: fn(&Place) -> Option<&str>| {
            let mut names: Vec<&str> = places.iter().filter_map(name).collect();
            names.sort_unstable();
            names.dedup();
            (names, places.iter().any(|place| name(place).is_none()) || places.is_empty())
        };
        let (phases, no_phase) = named(|place| place.phase.map(|_| &*place.name));
        let (steps, no_step) = named(|place| place.step.as_deref());
        let facts = BlockFacts {
            phases: NamesIn::Known { names: &phases, unnamed: no_phase },
            steps: NamesIn::Known { names: &steps, unnamed: no_step },
            ..facts(self.summary)
        };
        let left = wanted.expr.as_ref().map(|expr| expr.on_block(&facts));
        let expr = match &left {
            Some(Simplified::Never) => return Ok(found),
            Some(Simplified::Always) | None => None,
            Some(Simplified::Rest(expr)) => Some(expr),
        };
        // What is left of the expression is all that decides; the scan was made of the whole of it.
        let exact = expr.is_none() || wanted.scan.exact() && wanted.expr.as_ref() == expr;
        let mut kept: Vec<Cursor> = Vec::new();
        if exact && expr.is_none() && self.only_counts() && self.bucket != Some(None) {
            found.matched = self.rows.end - self.rows.start;
            if let (Some(Some(bucket)), 1..) = (self.bucket, found.matched) {
                let (errors, _) = self.block.notes.trouble(self.rows.clone());
                found.buckets.insert(bucket, (found.matched, errors));
            }
            return Ok(found);
        }
        if exact && expr.is_some() && wanted.scan.selective() && self.only_counts() {
            self.count(&wanted.scan, &mut found)?;
            return Ok(found);
        }
        if expr.is_some() && wanted.scan.selective() {
            let mut rows = self.block.rows_by_place();
            for range in wanted.scan.rows(self.block.searched()) {
                let Some(row) = rows.row_at(range.start) else { continue };
                if exact || self.matches(expr, row)? {
                    self.take(row, &mut found, &mut kept)?;
                }
            }
            // The overlay stands behind the output: what was found in it is not in order.
            if let Some(numbers) = found.numbers.as_mut()
                && !self.block.overlaid().is_empty()
            {
                numbers.sort_unstable();
            }
        } else {
            for row in self.rows.clone() {
                if exact || self.matches(expr, row)? {
                    self.take(row, &mut found, &mut kept)?;
                }
            }
        }
        let wanted_rows = self.spec.rows.load(Ordering::Relaxed);
        newest(&mut kept, wanted_rows);
        for cursor in kept {
            let place = self.block.notes.place(cursor.row).filter(|place| place.phase.is_some());
            let phase = place.map(|place| Arc::clone(&place.name));
            match self.records.get()?.row(cursor.row) {
                Some(row) => found.rows.push((cursor, row, phase)),
                None => found.cut = Some((cursor, phase)),
            }
        }
        Ok(found)
    }

    fn matches(&self, expr: Option<&RowExpr>, row: u64) -> Result<bool, BlockError> {
        let Some(expr) = expr else { return Ok(true) };
        let notes = &self.block.notes;
        let place = notes.place(row);
        let at_us = if expr.asks_time() { self.at_us(row)? } else { self.summary.first_at };
        let view = RowView {
            text: std::str::from_utf8(self.block.shown(row)).unwrap_or_default(),
            level: notes.level(row),
            kind: notes.kind(row),
            phase: place.filter(|place| place.phase.is_some()).map(|place| &*place.name),
            step: place.and_then(|place| place.step.as_deref()),
            at_us,
        };
        Ok(expr.matches(&view))
    }

    /// When the row began.
    pub(super) fn at_us(&self, row: u64) -> Result<i64, BlockError> {
        let here = self.records.get()?.at_us(row);
        Ok(here.or_else(|| self.block.cut_at()).unwrap_or(self.summary.first_at))
    }

    /// Counts a row that matches, and keeps it while rows are wanted.
    fn take(&self, row: u64, found: &mut Found, kept: &mut Vec<Cursor>) -> Result<(), BlockError> {
        if !self.rows.contains(&row) {
            return Ok(());
        }
        let wanted = self.spec.rows.load(Ordering::Relaxed);
        let by_time =
            self.bucket == Some(None) && matches!(self.spec.spread, Some(Spread::Time(_)));
        let at = if wanted > 0 || self.spec.before.is_some() || by_time {
            self.at_us(row)?
        } else {
            self.summary.first_at
        };
        let cursor = Cursor { at, stream: self.stream, row };
        if self.spec.before.is_some_and(|before| cursor >= before) {
            return Ok(());
        }
        found.matched += 1;
        if let Some(numbers) = found.numbers.as_mut() {
            numbers.push(row);
        }
        if let Some(spread) = &self.spec.spread {
            let bucket = self.bucket.flatten().unwrap_or_else(|| spread.bucket(at, row));
            let count = found.buckets.entry(bucket).or_default();
            count.0 += 1;
            let trouble = self.summary.errors > 0 && self.block.notes.level(row) == Level::Error;
            count.1 += u64::from(trouble);
        }
        if wanted > 0 {
            kept.push(cursor);
            // Not for each row: what is too old is thrown out now and then.
            if kept.len() >= 2 * wanted + 64 {
                newest(kept, wanted);
            }
        }
        Ok(())
    }
}

/// Leaves the newest so many.
fn newest(kept: &mut Vec<Cursor>, count: usize) {
    kept.sort_unstable_by_key(|cursor| std::cmp::Reverse(*cursor));
    kept.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::block::tests::{STEP_US, open, packed, pieces};
    use crate::log::search::Axis;
    use crate::query::{Capitals, RowTerm, Shape, TextTerm, Tree};
    use proptest::prelude::*;
    use std::num::NonZeroU64;
    use std::sync::atomic::AtomicUsize;

    fn wanted(text: &str) -> Wanted {
        let term = TextTerm::new(Shape::Contains, Capitals::Count, text).unwrap();
        Wanted::new(Some(Tree::Term(RowTerm::Text(term))))
    }

    proptest! {
        /// What is only counted is counted on a way of its own.
        #[test]
        fn as_many_are_counted_as_are_found(
            pieces in pieces(),
            text in prop_oneof![Just(None), "[a-z:% ]".prop_map(Some)],
            spread in prop_oneof![
                (
                    prop_oneof![Just(1_000), Just(0), Just(1_000_000)],
                    prop_oneof![Just(STEP_US), Just(3 * STEP_US), Just(1_000_000), Just(60_000_000)],
                )
                    .prop_map(|(from, width_us)| Spread::Time(Axis { from, width_us, buckets: 4 })),
                (1u64..30).prop_map(|width| Spread::Rows { width: NonZeroU64::new(width).unwrap() }),
            ],
            (before, behind) in (0u64..3, 0u64..3),
        ) {
            let wanted = text.as_deref().map_or_else(|| Wanted::new(None), wanted);
            for packed in packed(pieces).0 {
                let block = open(&packed);
                let (first, rows) = (packed.summary.first_row, packed.summary.rows);
                let look = |rows_wanted: usize| {
                    let wanted_rows = Arc::new(AtomicUsize::new(rows_wanted));
                    let spec =
                        Spec { rows: wanted_rows, spread: Some(spread), ..Spec::default() };
                    let part = Packing::Packed(packed.records.clone().into());
                    let records = Lazy { block: &block, part: &part, unpacked: OnceLock::new() };
                    let rows = first + before.min(rows)..first + rows.saturating_sub(behind).max(before.min(rows));
                    Look {
                        block: &block,
                        summary: &packed.summary,
                        records,
                        bucket: bucket_of(&spec, &packed.summary, &rows),
                        rows,
                        stream: StreamKey(1),
                        spec: &spec,
                        numbers: false,
                    }
                    .run(&wanted)
                    .unwrap()
                };
                let (counted, found) = (look(0), look(usize::MAX / 4));
                prop_assert_eq!(counted.matched, found.matched);
                prop_assert_eq!(counted.buckets, found.buckets);
                prop_assert_eq!(found.rows.len() as u64, found.matched);
            }
        }
    }
}
