//! The filters that are held in memory: of blocks that are not sliced yet, and which blocks each group of slices is about.

use super::LogError;
use super::filter::{Filter, SLOTS};
use crate::store::Store;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[derive(Debug, Default)]
struct Held {
    /// Of blocks that are not sliced.
    single: BTreeMap<i64, Filter>,
    /// Ids of the blocks in the slots of each group.
    groups: BTreeMap<i64, Arc<[i64]>>,
    /// Groups that are known to be damaged.
    damaged: HashSet<i64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Filters(RwLock<Held>);

impl Filters {
    pub(super) async fn load(store: &Store) -> Result<Self, LogError> {
        let mut held = Held::default();
        for row in store.fetch("select block_id, bits from block_filter", []).await? {
            // A block without a filter is looked into.
            if let Some(filter) = Filter::from_bytes(&row.blob(1)?) {
                held.single.insert(row.int(0)?, filter);
            }
        }
        for row in store.fetch("select id, blocks from filter_group", []).await? {
            let blocks = row.blob(1)?;
            let ids = blocks.chunks_exact(8);
            let ids = ids.map(|id| i64::from_le_bytes(id.try_into().unwrap_or_default()));
            held.groups.insert(row.int(0)?, ids.collect());
        }
        Ok(Self(RwLock::new(held)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last of the blocks that groups name, whether they are still there or not.
    pub(super) fn last_id(&self) -> i64 {
        let held = self.read();
        held.groups.values().flat_map(|blocks| blocks.iter()).copied().max().unwrap_or(0)
    }

    pub(super) fn put(&self, block: i64, filter: Filter) {
        self.write().single.insert(block, filter);
    }

    pub(super) fn forget(&self, blocks: impl IntoIterator<Item = i64>) {
        let mut held = self.write();
        for block in blocks {
            held.single.remove(&block);
        }
    }

    /// The filters of as many of these blocks as one group holds; `None` where there are not so many.
    pub(super) fn due(&self, among: &HashSet<i64>) -> Option<(Vec<i64>, Vec<Filter>)> {
        let held = self.read();
        let due = held.single.iter().filter(|(id, _)| among.contains(id)).take(SLOTS);
        let (ids, filters): (Vec<_>, Vec<_>) =
            due.map(|(id, filter)| (*id, filter.clone())).unzip();
        (ids.len() == SLOTS).then_some((ids, filters))
    }

    /// There are enough filters that slicing some may be due.
    pub(super) fn many(&self) -> bool {
        self.read().single.len() >= SLOTS
    }

    pub(super) fn sliced(&self, group: i64, blocks: Vec<i64>) {
        let mut held = self.write();
        for block in &blocks {
            held.single.remove(block);
        }
        held.groups.insert(group, blocks.into());
    }

    /// A group is damaged; whether that was not known.
    pub(super) fn is_news(&self, group: i64) -> bool {
        self.write().damaged.insert(group)
    }

    /// Forgets groups of which no block is left, and tells which they were.
    pub(super) fn forget_groups(&self, left: impl Fn(i64) -> bool) -> Vec<i64> {
        let mut held = self.write();
        let gone = |(group, blocks): (&i64, &Arc<[i64]>)| {
            (!blocks.iter().any(|block| left(*block))).then_some(*group)
        };
        let gone: Vec<i64> = held.groups.iter().filter_map(gone).collect();
        held.groups.retain(|group, _| !gone.contains(group));
        gone
    }

    /// Looks at the filters of blocks that are in no group.
    pub(super) fn with_single<T>(&self, look: impl FnOnce(&BTreeMap<i64, Filter>) -> T) -> T {
        look(&self.read().single)
    }

    pub(super) fn groups(&self) -> Vec<(i64, Arc<[i64]>)> {
        let held = self.read();
        held.groups.iter().map(|(group, blocks)| (*group, Arc::clone(blocks))).collect()
    }
}
