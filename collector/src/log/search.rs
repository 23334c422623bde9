//! Finding rows in stored streams: which blocks to look into, and looking.
//!
//! What is looked for is a [`Wanted`]. What is known of blocks in memory (times, levels, filters) rules most of them out; the
//! others are unpacked and scanned as whole texts, the newest first, several at a time. The tail is scanned like a block that
//! is not packed.
//!
//! What must hold: a row is found exactly if its text, as a viewer is shown it, and what is known of it match. Between two
//! looks a stream may grow: what is there when the search begins is covered, no more.

use super::block::{Block, BlockRecords, Builder, Summary};
use super::filter::{self, Chunk, SLOTS, Slots};
use super::index::Sealed;
use super::notes::Place;
use super::tail::Unsealed;
use super::{Log, LogError, StreamKey};
use crate::query::{BlockFacts, NamesIn, Need, RowExpr, RowView, Scan, Simplified};
use crate::store::Value;
use bytes::Bytes;
use deckport_protocol::rows::Row;
use deckport_protocol::{Frame, Level, Limits};
use futures_util::StreamExt as _;
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Blocks that are read from the database at once.
const READ_BLOCKS: usize = 8;
/// Such reads and scans on their way; more only wait for a processor.
const AT_ONCE: usize = 4;
/// Trigrams of one literal that are asked for: enough that more would rule out nothing.
const ASKED: usize = 12;

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

/// How much is wanted of what is found.
#[derive(Debug)]
pub struct Spec {
    /// Rows in full, of each part that is looked into; may be lowered while the search runs.
    pub rows: Arc<AtomicUsize>,
    /// Only rows behind this place, in the order of results.
    pub before: Option<Cursor>,
    pub axis: Option<Axis>,
}

/// What was found in one part.
#[derive(Debug, Default)]
pub struct Found {
    pub matched: u64,
    /// The newest of them, the newest first, each with its phase's name.
    pub rows: Vec<(Cursor, Row, Option<Arc<str>>)>,
    /// Bucket → matched rows, and errors among them.
    pub buckets: BTreeMap<usize, (u64, u64)>,
    /// The numbers of all that matched, ascending, where they were asked for.
    pub numbers: Vec<u64>,
    /// Rows that the part holds.
    pub covered: u64,
}

/// A part of a stream that is looked into as one.
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

impl Log {
    /// Finds out where to look, from what is in memory and the slices of filters.
    pub async fn plan(&self, targets: &[Target]) -> Result<Plan, LogError> {
        let mut plan = Plan { units: Vec::new(), parts: 0, skipped_rows: 0, span: None };
        // By where it is: few different ones are shared by many targets.
        let mut passed: HashMap<usize, Option<HashSet<i64>>> = HashMap::new();
        for target in targets {
            let wanted = &target.wanted;
            if matches!(wanted.need, Need::Nothing) {
                continue;
            }
            // The tail first: what is sealed meanwhile is in what was taken here.
            let tail: Vec<Arc<Unsealed>> = self
                .tail
                .of(target.stream, |frames| frames.iter().cloned().collect())
                .unwrap_or_default();
            let tail_from = tail.first().map_or(u64::MAX, |first| first.frame.first_seq);
            let sealed: Vec<Arc<Sealed>> = self.index.of(target.stream, |blocks| {
                blocks.iter().filter(|block| block.first_seq < tail_from).cloned().collect()
            });
            let which = Arc::as_ptr(wanted).addr();
            if !sealed.is_empty() && !passed.contains_key(&which) {
                passed.insert(which, self.passed(&wanted.need).await?);
            }
            let passed = passed.get(&which).and_then(Option::as_ref);
            for block in sealed {
                plan.parts += 1;
                plan.spans(block.first_at, block.last_at);
                let ruled_out = passed.is_some_and(|passed| !passed.contains(&block.id))
                    || !wanted.expr.as_ref().is_none_or(|expr| expr.may_match(&facts(&block)));
                if ruled_out {
                    plan.skipped_rows += block.rows;
                    continue;
                }
                plan.units.push(Unit {
                    target: target.clone(),
                    first_row: block.first_row,
                    rows: block.rows,
                    last_at: block.last_at,
                    source: Source::Sealed(block),
                });
            }
            if let (Some(first), Some(last)) = (tail.first(), tail.last()) {
                plan.parts += 1;
                let first_row = first.frame.first_row;
                let rows = last.frame.first_row + last.frame.rows - first_row;
                let first_at = tail.iter().map(|unsealed| unsealed.frame.first_at).min();
                let last_at = tail.iter().map(|unsealed| unsealed.frame.last_at).max();
                let (first_at, last_at) = (first_at.unwrap_or(0), last_at.unwrap_or(0));
                plan.spans(first_at, last_at);
                let (target, source) = (target.clone(), Source::Tail(tail));
                plan.units.push(Unit { target, first_row, rows, last_at, source });
            }
        }
        plan.units.sort_by_key(|unit| std::cmp::Reverse(unit.last_at));
        Ok(plan)
    }

    /// The ids of blocks whose filters do not rule the need out; `None`: all.
    async fn passed(&self, need: &Need) -> Result<Option<HashSet<i64>>, LogError> {
        if matches!(need, Need::Anything) {
            return Ok(None);
        }
        let mut literals: HashMap<Box<[u8]>, Vec<u16>> = HashMap::new();
        // It is asked about each literal once; what it says does not matter here.
        need.holds(&mut |literal| {
            literals.entry(literal.into()).or_insert_with(|| asked(literal));
            true
        });
        let mut places_of = |literal: &[u8]| -> Vec<u16> {
            literals.entry(literal.into()).or_insert_with(|| asked(literal)).clone()
        };
        let mut all: HashSet<u16> = HashSet::new();
        each_literal(need, &mut |literal| all.extend(places_of(literal)));
        let mut passed: HashSet<i64> = self.index.ids();
        self.filters.with_single(|single| {
            for (id, filter) in single {
                if !need.holds(&mut |literal| filter.has(&places_of(literal))) {
                    passed.remove(id);
                }
            }
        });
        let groups = self.filters.groups();
        if groups.is_empty() || all.is_empty() {
            return Ok(Some(passed));
        }
        let chunks: HashSet<i64> = all.iter().map(|&place| filter::chunk_of(place)).collect();
        let marks: Vec<String> = (1..=chunks.len()).map(|at| format!("${at}")).collect();
        let sql = format!(
            "select group_id, chunk, bits from filter_slice where chunk in ({})",
            marks.join(", ")
        );
        let chunks = chunks.into_iter().map(Value::from);
        let mut slices: HashMap<(i64, i64), Chunk> = HashMap::new();
        for row in self.store.fetch(AssertSqlSafe(sql), chunks).await? {
            if let Some(chunk) = Chunk::open(&row.blob(2)?) {
                slices.insert((row.int(0)?, row.int(1)?), chunk);
            }
        }
        for (group, blocks) in groups {
            let slots = slots_of(need, &mut |literal| {
                places_of(literal).iter().fold(Slots::ALL, |slots, &place| {
                    // What cannot be read rules nothing out.
                    let row = slices.get(&(group, filter::chunk_of(place)));
                    row.map_or(slots, |chunk| slots.and(&chunk.row(place)))
                })
            });
            for (slot, block) in blocks.iter().enumerate().take(SLOTS) {
                if !slots.has(slot) {
                    passed.remove(block);
                }
            }
        }
        Ok(Some(passed))
    }

    /// Looks into the parts of a plan in their order, and hands on what was found in each, with the latest time of all that
    /// comes behind it, until `on` says stop. Dropping the future ends it.
    pub async fn look(
        &self,
        plan: Plan,
        spec: &Arc<Spec>,
        numbers: bool,
        mut on: impl FnMut(StreamKey, Found, Option<i64>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let mut behind: Vec<i64> = plan.units.iter().map(|unit| unit.last_at).collect();
        // The latest of all that comes later; parts need not be in the order of time.
        for at in (1..behind.len()).rev() {
            behind[at - 1] = behind[at - 1].max(behind[at]);
        }
        let mut reads: Vec<Vec<Unit>> = Vec::new();
        let mut few = 1;
        for unit in plan.units {
            // The first reads are small: the first page is wanted at once.
            match reads.last_mut() {
                Some(last) if last.len() < few.min(READ_BLOCKS) => last.push(unit),
                _ => {
                    few += usize::from(!reads.is_empty());
                    reads.push(vec![unit]);
                }
            }
        }
        let looks = futures_util::stream::iter(reads)
            .map(|units| self.look_into(units, Arc::clone(spec), numbers));
        let mut looks = std::pin::pin!(looks.buffered(AT_ONCE));
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
        numbers: bool,
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
            let Source::Sealed(sealed) = &unit.source else {
                looked.push((unit, None));
                continue;
            };
            // Merged a moment ago: the rows are in the block that took its place.
            let now = match parts.remove(&sealed.id) {
                Some(parts) => Some((Arc::clone(sealed), parts)),
                None => self.moved(sealed).await?,
            };
            looked.push((unit, now));
        }
        let limits = self.limits;
        let looking = tokio::task::spawn_blocking(move || {
            let look = looked.into_iter().map(|(unit, parts)| {
                let found = look_at(&unit, parts, &spec, numbers, &limits)?;
                Ok((unit.target.stream, found))
            });
            look.collect::<Result<Vec<_>, LogError>>()
        });
        looking.await.map_err(|_| LogError::Write(crate::store::WriteError::Stopping))?
    }

    async fn parts_of(&self, ids: &[i64]) -> Result<HashMap<i64, super::read::Parts>, LogError> {
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
            Ok((row.int(0)?, super::read::Parts { rows, records, text }))
        });
        parts.collect()
    }

    /// The block that took the place of one that was merged.
    async fn moved(
        &self,
        gone: &Sealed,
    ) -> Result<Option<(Arc<Sealed>, super::read::Parts)>, LogError> {
        const MOVES: usize = 400;
        for _ in 0..MOVES {
            let now = self.index.at_seq(gone.stream, gone.first_seq);
            let Some(now) = now.filter(|now| now.first_seq <= gone.first_seq) else {
                // Retired.
                return Ok(None);
            };
            if let Some(parts) = self.find_parts(&now).await? {
                return Ok(Some((now, parts)));
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Err(LogError::damaged(gone, "its parts are not there"))
    }
}

impl Plan {
    fn spans(&mut self, first_at: i64, last_at: i64) {
        let (first, last) = self.span.unwrap_or((first_at, last_at));
        self.span = Some((first.min(first_at), last.max(last_at)));
    }
}

/// The places of a literal that are asked for, spread over it.
fn asked(literal: &[u8]) -> Vec<u16> {
    let places = filter::places(literal);
    let step = places.len().div_ceil(ASKED).max(1);
    places.into_iter().step_by(step).collect()
}

fn each_literal(need: &Need, each: &mut impl FnMut(&[u8])) {
    match need {
        Need::Anything | Need::Nothing => {}
        Need::All(needs) | Need::Any(needs) => {
            needs.iter().for_each(|need| each_literal(need, each));
        }
        Need::Literal(literal) => each(literal),
    }
}

fn slots_of(need: &Need, of: &mut impl FnMut(&[u8]) -> Slots) -> Slots {
    match need {
        Need::Anything => Slots::ALL,
        Need::Nothing => Slots::NONE,
        Need::All(needs) => {
            needs.iter().fold(Slots::ALL, |slots, need| slots.and(&slots_of(need, of)))
        }
        Need::Any(needs) => {
            needs.iter().fold(Slots::NONE, |slots, need| slots.or(&slots_of(need, of)))
        }
        Need::Literal(literal) => of(literal),
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

/// Unpacks a part and looks at its rows.
fn look_at(
    unit: &Unit,
    parts: Option<(Arc<Sealed>, super::read::Parts)>,
    spec: &Spec,
    numbers: bool,
    limits: &Limits,
) -> Result<Found, LogError> {
    let stream = unit.target.stream;
    let rows = unit.first_row..unit.first_row + unit.rows;
    let damaged = |why: String| LogError::Damaged { stream, seq: 0, why };
    let (block, summary, records) = match (&unit.source, parts) {
        (Source::Sealed(_), None) => return Ok(Found::default()),
        (Source::Sealed(_), Some((sealed, parts))) => {
            let block = parts.block(&sealed).map_err(|error| LogError::damaged(&sealed, error))?;
            (block, sealed.summary.clone(), Packing::Packed(parts.records))
        }
        (Source::Tail(frames), _) => {
            let (block, summary, records) = unpacked(frames, limits).map_err(damaged)?;
            (block, summary, Packing::Plain(records))
        }
    };
    let records = Lazy { block: &block, part: &records, unpacked: OnceLock::new() };
    let look = Look { block: &block, summary: &summary, records, rows, stream, spec, numbers };
    look.run(&unit.target.wanted).map_err(|error| damaged(error.to_string()))
}

/// Frames of the tail as a block that is not packed.
fn unpacked(
    frames: &[Arc<Unsealed>],
    limits: &Limits,
) -> Result<(Block, Summary, Vec<u8>), String> {
    let mut builder = None;
    for unsealed in frames {
        let new = &unsealed.frame;
        let builder =
            builder.get_or_insert_with(|| Builder::new(new.first_row, new.first_byte, new.goes_on));
        let frame = Frame::decode(&new.payload, limits).map_err(|error| error.to_string())?;
        builder.frame(new.received_at);
        for record in frame.records() {
            builder.push(&record, frame.boot_id());
        }
        builder.notes(&new.notes);
    }
    let builder = builder.ok_or("there are no frames")?;
    builder.open().map_err(|error| error.to_string())
}

enum Packing {
    Packed(Bytes),
    Plain(Vec<u8>),
}

/// The records of a block, unpacked when somebody asks.
struct Lazy<'a> {
    block: &'a Block,
    part: &'a Packing,
    unpacked: OnceLock<BlockRecords<'a>>,
}

impl<'a> Lazy<'a> {
    fn get(&self) -> Result<&BlockRecords<'a>, super::block::BlockError> {
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

struct Look<'a> {
    block: &'a Block,
    summary: &'a Summary,
    records: Lazy<'a>,
    /// Rows that are asked about: those of the part, of a block that may hold more.
    rows: Range<u64>,
    stream: StreamKey,
    spec: &'a Spec,
    numbers: bool,
}

impl Look<'_> {
    fn run(&self, wanted: &Wanted) -> Result<Found, super::block::BlockError> {
        let mut found = Found { covered: self.rows.end - self.rows.start, ..Found::default() };
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
        if expr.is_some() && wanted.scan.selective() {
            // A clone each: what they match with in memory is not shared between threads.
            let scan = wanted.scan.clone();
            for range in scan.rows(self.block.searched()) {
                let Some(row) = self.block.row_at(range.start) else { continue };
                if exact || self.matches(expr, row)? {
                    self.take(row, &mut found, &mut kept)?;
                }
            }
            // The overlay stands behind the output: what was found in it is not in order.
            if self.numbers && self.block.covered() > 0 {
                found.numbers.sort_unstable();
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
            if let Some(row) = self.records.get()?.row(cursor.row) {
                let place = row.phase.and_then(|_| self.block.notes.place(cursor.row));
                found.rows.push((cursor, row, place.map(|place| Arc::clone(&place.name))));
            }
        }
        Ok(found)
    }

    fn matches(&self, expr: Option<&RowExpr>, row: u64) -> Result<bool, super::block::BlockError> {
        let Some(expr) = expr else { return Ok(true) };
        let notes = &self.block.notes;
        let place = notes.place(row);
        let at_us = if expr.asks_time() {
            self.records.get()?.at_us(row).unwrap_or(self.summary.first_at)
        } else {
            self.summary.first_at
        };
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

    /// Counts a row that matches, and keeps it while rows are wanted.
    fn take(
        &self,
        row: u64,
        found: &mut Found,
        kept: &mut Vec<Cursor>,
    ) -> Result<(), super::block::BlockError> {
        if !self.rows.contains(&row) {
            return Ok(());
        }
        let wanted = self.spec.rows.load(Ordering::Relaxed);
        let one = |axis: &Axis| {
            let bucket = axis.bucket(self.summary.first_at);
            (bucket == axis.bucket(self.summary.last_at)).then_some(bucket)
        };
        let bucket = self.spec.axis.as_ref().map(one);
        let at = if wanted > 0 || self.spec.before.is_some() || bucket == Some(None) {
            self.records.get()?.at_us(row).unwrap_or(self.summary.first_at)
        } else {
            self.summary.first_at
        };
        let cursor = Cursor { at, stream: self.stream, row };
        if self.spec.before.is_some_and(|before| cursor >= before) {
            return Ok(());
        }
        found.matched += 1;
        if self.numbers {
            found.numbers.push(row);
        }
        if let Some(axis) = &self.spec.axis {
            let bucket = bucket.flatten().unwrap_or_else(|| axis.bucket(at));
            let count = found.buckets.entry(bucket).or_default();
            count.0 += 1;
            count.1 += u64::from(self.block.notes.level(row) == Level::Error);
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
            for row in found.numbers {
                *matches.buckets.entry(row / width * width).or_default() += 1;
                if matches.rows.len() < MATCHES {
                    matches.rows.push(row);
                }
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
