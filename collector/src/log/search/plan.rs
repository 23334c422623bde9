//! Which blocks to look into: what is known of them in memory, and their filters.

use super::{Plan, Source, Target, Unit, facts};
use crate::log::filter::{self, Chunk, SLOTS, Slots};
use crate::log::index::Sealed;
use crate::log::tail::Unsealed;
use crate::log::{Log, LogError};
use crate::query::Need;
use crate::store::Value;
use sqlx::AssertSqlSafe;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Trigrams of one literal that are asked for: enough that more would rule out nothing.
const ASKED: usize = 12;

impl Log {
    /// Finds out where to look, from what is in memory and the slices of filters.
    pub async fn plan(&self, targets: &[Target]) -> Result<Plan, LogError> {
        let mut plan = Plan { units: Vec::new(), parts: 0, skipped_rows: 0, span: None };
        // By where it is: few different ones are shared by many targets.
        let mut ruled_out: HashMap<usize, RuledOut> = HashMap::new();
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
            if !sealed.is_empty() && !ruled_out.contains_key(&which) {
                ruled_out.insert(which, self.ruled_out(&wanted.need).await?);
            }
            let no = ruled_out.get(&which);
            let tail_takes_over = tail.first().is_some_and(|first| first.frame.goes_on);
            let taken_over: Vec<bool> = sealed
                .iter()
                .skip(1)
                .map(|next| next.takes_over)
                .chain([tail_takes_over])
                .collect();
            for (block, taken_over) in sealed.into_iter().zip(taken_over) {
                let (first_row, rows) = searched_rows(&block, taken_over);
                plan.parts += 1;
                plan.spans(block.first_at, block.last_at);
                let ruled_out = no.is_some_and(|no| no.has(block.id))
                    || !wanted.expr.as_ref().is_none_or(|expr| expr.may_match(&facts(&block)));
                if ruled_out {
                    plan.skipped_rows += rows;
                    continue;
                }
                plan.units.push(Unit {
                    target: target.clone(),
                    first_row,
                    rows,
                    last_at: block.last_at,
                    source: Source::Sealed(block),
                });
            }
            if let (Some(first), Some(last)) = (tail.first(), tail.last()) {
                plan.parts += 1;
                let first_row = first.frame.first_row - u64::from(first.frame.goes_on);
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

    /// Blocks whose filters rule the need out. One that is sealed or merged while a search is planned is not among them: it is
    /// looked into.
    async fn ruled_out(&self, need: &Need) -> Result<RuledOut, LogError> {
        let mut ruled_out = Vec::new();
        if matches!(need, Need::Anything) {
            return Ok(RuledOut::default());
        }
        let mut literals: HashMap<&[u8], Vec<u16>> = HashMap::new();
        each_literal(need, &mut |literal| {
            literals.entry(literal).or_insert_with(|| asked(literal));
        });
        let places_of =
            |literal: &[u8]| literals.get(literal).map_or(&[][..], |places| places.as_slice());
        self.filters.with_single(|single| {
            for (id, filter) in single {
                if !need.holds(&mut |literal| filter.has(places_of(literal))) {
                    ruled_out.push(*id);
                }
            }
        });
        let all: HashSet<u16> = literals.values().flatten().copied().collect();
        let groups = self.filters.groups();
        if groups.is_empty() || all.is_empty() {
            return Ok(RuledOut::of(ruled_out));
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
            let group = row.int(0)?;
            match Chunk::open(&row.blob(2)?) {
                Some(chunk) => drop(slices.insert((group, row.int(1)?), chunk)),
                None if self.filters.is_news(group) => tracing::error!(
                    group,
                    "a slice of filters is damaged: searches look into its blocks; `store check --repair` makes it anew"
                ),
                None => {}
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
                    ruled_out.push(*block);
                }
            }
        }
        Ok(RuledOut::of(ruled_out))
    }
}

/// Ids of blocks, of which there may be a hundred thousand.
#[derive(Debug, Default)]
struct RuledOut(Vec<i64>);

impl RuledOut {
    fn of(mut ids: Vec<i64>) -> Self {
        ids.sort_unstable();
        Self(ids)
    }

    fn has(&self, id: i64) -> bool {
        self.0.binary_search(&id).is_ok()
    }
}

impl Plan {
    fn spans(&mut self, first_at: i64, last_at: i64) {
        let (first, last) = self.span.unwrap_or((first_at, last_at));
        self.span = Some((first.min(first_at), last.max(last_at)));
    }
}

/// The rows that are looked for in a block: with the one that it takes over, without the one that the part behind it does.
fn searched_rows(block: &Sealed, taken_over: bool) -> (u64, u64) {
    let first_row = block.first_row - u64::from(block.takes_over);
    let until = block.first_row + block.rows;
    (first_row, (until - u64::from(taken_over)).saturating_sub(first_row))
}

/// The places of a literal that are asked for, spread over it.
fn asked(literal: &[u8]) -> Vec<u16> {
    let places = filter::places(literal);
    let step = places.len().div_ceil(ASKED).max(1);
    places.into_iter().step_by(step).collect()
}

fn each_literal<'a>(need: &'a Need, each: &mut impl FnMut(&'a [u8])) {
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
