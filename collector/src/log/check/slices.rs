//! Sliced filters: what belongs to each block that is in a group, and groups made anew.
//!
//! A group is a few megabytes unpacked and its blocks are of many streams: a few groups are held while streams are gone through.

use super::{Finding, held_by};
use crate::log::filter::{CHUNKS, Filter, SLOTS, Sliced, slice};
use crate::log::index::Sealed;
use crate::log::{Log, LogError};
use crate::store::{Row, Table, Value, Write};
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Groups that are held unpacked, of 4 MiB each.
const OPEN: usize = 8;
/// Chunks that are read at once.
const READ: i64 = 128;

pub(super) const MISSES: &str =
    "the sliced filter of a block misses what its rows hold: searches may miss them";

static SLICE_ANEW: Table = Table {
    insert: "insert into filter_slice (chunk, group_id, bits)",
    columns: 3,
    conflict: "on conflict (chunk, group_id) do update set bits = excluded.bits",
    last_wins: false,
};

/// What is found out about groups while blocks are read.
#[derive(Debug)]
pub(super) struct Groups {
    /// The blocks of each, by slot.
    blocks: BTreeMap<i64, Arc<[i64]>>,
    /// Where a block is.
    slots: HashMap<i64, Vec<(i64, usize)>>,
    open: VecDeque<(i64, Arc<Sliced>)>,
    /// Those of which chunks cannot be opened, and how many.
    closed: BTreeMap<i64, usize>,
    wrong: BTreeSet<i64>,
    /// Blocks in groups that were read, in their right place; and those that cannot be.
    read: HashMap<i64, Sealed>,
    unreadable: HashSet<i64>,
}

impl Groups {
    pub(super) fn new(groups: Vec<(i64, Arc<[i64]>)>) -> Self {
        let mut slots: HashMap<i64, Vec<(i64, usize)>> = HashMap::new();
        for (group, blocks) in &groups {
            for (slot, block) in blocks.iter().enumerate().take(SLOTS) {
                slots.entry(*block).or_default().push((*group, slot));
            }
        }
        Self {
            blocks: groups.into_iter().collect(),
            slots,
            open: VecDeque::new(),
            closed: BTreeMap::new(),
            wrong: BTreeSet::new(),
            read: HashMap::new(),
            unreadable: HashSet::new(),
        }
    }

    /// The slices miss what one of its blocks holds.
    pub(super) fn is_wrong(&mut self, group: i64) {
        self.wrong.insert(group);
    }

    pub(super) fn was_read(&mut self, block: Sealed) {
        if self.slots.contains_key(&block.id) {
            self.read.insert(block.id, block);
        }
    }

    pub(super) fn cannot_be_read(&mut self, block: i64) {
        self.unreadable.insert(block);
    }
}

impl Log {
    /// The groups that a block is in, and its slot in each.
    pub(super) async fn slices_of(
        &self,
        groups: &mut Groups,
        block: i64,
    ) -> Result<Vec<(i64, usize, Arc<Sliced>)>, LogError> {
        let places = groups.slots.get(&block).cloned().unwrap_or_default();
        let mut found = Vec::with_capacity(places.len());
        for (group, slot) in places {
            let known = groups.open.iter().find(|(known, _)| *known == group);
            let slices = match known {
                Some((_, slices)) => Arc::clone(slices),
                None => {
                    let slices = Arc::new(self.open_group(group).await?);
                    if slices.closed() > 0 {
                        groups.closed.insert(group, slices.closed());
                    }
                    groups.open.push_front((group, Arc::clone(&slices)));
                    groups.open.truncate(OPEN);
                    slices
                }
            };
            found.push((group, slot, slices));
        }
        Ok(found)
    }

    async fn open_group(&self, group: i64) -> Result<Sliced, LogError> {
        let mut packed = HashMap::new();
        for from in (0..CHUNKS).step_by(READ as usize) {
            // By name, so that each is looked up by its key.
            let marks: Vec<String> = (2..READ + 2).map(|at| format!("${at}")).collect();
            let sql = format!(
                "select chunk, bits from filter_slice where group_id = $1 and chunk in ({})",
                marks.join(", ")
            );
            let values = std::iter::once(group).chain(from..from + READ).map(Value::from);
            for row in self.store.fetch(AssertSqlSafe(sql), values).await? {
                packed.insert(row.int(0)?, row.blob(1)?);
            }
        }
        let opening = tokio::task::spawn_blocking(move || Sliced::of(packed));
        opening.await.map_err(|_| LogError::stopping())
    }

    /// Tells which groups have chunks that cannot be opened, and makes anew those that are not as they should be.
    pub(super) async fn check_groups(
        &self,
        groups: Groups,
        repair: bool,
        found: &mut impl FnMut(Finding),
    ) -> Result<(), LogError> {
        for (group, closed) in &groups.closed {
            let blocks = groups.blocks.get(group).map_or(0, |blocks| blocks.len());
            let what = format!(
                "{closed} of {CHUNKS} slices of the filters of {blocks} blocks are missing or damaged: searches look \
                 into those blocks for nothing"
            );
            found(Finding { stream: None, seq: 0, what, repaired: repair });
        }
        if !repair {
            return Ok(());
        }
        let again: BTreeSet<i64> =
            groups.closed.keys().copied().chain(groups.wrong.iter().copied()).collect();
        for group in again {
            let blocks = groups.blocks.get(&group).cloned().unwrap_or_default();
            let mut filters = Vec::with_capacity(SLOTS);
            for block in blocks.iter().take(SLOTS) {
                filters.push(match groups.read.get(block) {
                    Some(sealed) => {
                        let (sealed, parts) = (sealed.clone(), self.parts(sealed).await?);
                        let reading = tokio::task::spawn_blocking(move || {
                            let block = parts.block(&sealed);
                            let block = block.map_err(|error| LogError::damaged(&sealed, error));
                            block.map(|block| held_by(&block).finish())
                        });
                        reading.await.map_err(|_| LogError::stopping())??
                    }
                    None if groups.unreadable.contains(block) => Filter::full(),
                    None => Filter::empty(),
                });
            }
            let slicing = tokio::task::spawn_blocking(move || slice(&filters));
            let chunks = slicing.await.map_err(|_| LogError::stopping())?;
            let row = |(chunk, bits): (i64, Vec<u8>)| Row {
                table: &SLICE_ANEW,
                values: vec![chunk.into(), group.into(), bits.into()],
            };
            let rows = (0i64..).zip(chunks).map(row).collect();
            self.store.writer().write(Write { rows, ..Write::default() }).await?;
        }
        Ok(())
    }
}
