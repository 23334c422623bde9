//! Every sealed block in short, in memory: what is where, without asking the database.
//!
//! About a hundred bytes a block of a megabyte: a year of history is a few dozen megabytes. It is read when the log is opened
//! and changed only after the database was, so it never names what is not stored.

use super::block::Summary;
use super::{LogError, StreamKey};
use crate::store::{Store, Values};
use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A sealed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) id: i64,
    pub(super) stream: StreamKey,
    pub(super) summary: Summary,
    /// Bytes of its parts as they are stored.
    pub(super) stored: u64,
}

impl Deref for Sealed {
    type Target = Summary;

    fn deref(&self) -> &Summary {
        &self.summary
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// In order.
    streams: HashMap<StreamKey, Vec<Arc<Sealed>>>,
    last_id: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index(RwLock<Inner>);

/// The columns of a block that the index holds, in the order in which [`read`] expects them.
const COLUMNS: &str = "select id, stream, first_seq, last_seq, first_row, rows_count, first_byte, bytes, \
     first_at, last_at, errors, warnings, levels, kinds, stored, takes_over from block order by stream, first_seq";

fn read(row: &Values) -> Result<Sealed, LogError> {
    Ok(Sealed {
        id: row.int(0)?,
        stream: StreamKey(row.int(1)?),
        summary: Summary {
            first_seq: row.count(2)?,
            last_seq: row.count(3)?,
            first_row: row.count(4)?,
            rows: row.count(5)?,
            first_byte: row.count(6)?,
            bytes: row.count(7)?,
            first_at: row.int(8)?,
            last_at: row.int(9)?,
            errors: row.count(10)?,
            warnings: row.count(11)?,
            levels: row.int(12)? as u8,
            kinds: row.int(13)? as u8,
            takes_over: row.int(15)? != 0,
        },
        stored: row.count(14)?,
    })
}

impl Index {
    pub(super) async fn load(store: &Store) -> Result<Self, LogError> {
        let mut inner = Inner::default();
        for row in store.fetch(COLUMNS, []).await? {
            let sealed = read(&row)?;
            inner.last_id = inner.last_id.max(sealed.id);
            inner.streams.entry(sealed.stream).or_default().push(Arc::new(sealed));
        }
        Ok(Self(RwLock::new(inner)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that no block has.
    pub(super) fn new_id(&self) -> i64 {
        let mut inner = self.write();
        inner.last_id += 1;
        inner.last_id
    }

    /// Ids up to this one are used.
    pub(super) fn no_id_up_to(&self, id: i64) {
        let mut inner = self.write();
        inner.last_id = inner.last_id.max(id);
    }

    /// `new` takes the place of the blocks that cover the same records, if there are any.
    pub(super) fn put(&self, new: Sealed) {
        let mut inner = self.write();
        let blocks = inner.streams.entry(new.stream).or_default();
        let from = blocks.partition_point(|block| block.last_seq < new.first_seq);
        let to = blocks.partition_point(|block| block.first_seq <= new.last_seq);
        blocks.splice(from..to, [Arc::new(new)]);
    }

    /// Looks at a stream's blocks, in order.
    pub(super) fn of<T>(&self, stream: StreamKey, look: impl FnOnce(&[Arc<Sealed>]) -> T) -> T {
        look(self.read().streams.get(&stream).map_or(&[], Vec::as_slice))
    }

    /// The block that holds the record, or the first one behind it.
    pub(super) fn at_seq(&self, stream: StreamKey, seq: u64) -> Option<Arc<Sealed>> {
        self.of(stream, |blocks| {
            blocks.get(blocks.partition_point(|block| block.last_seq < seq)).cloned()
        })
    }

    /// The block in which the row begins.
    pub(super) fn at_row(&self, stream: StreamKey, row: u64) -> Option<Arc<Sealed>> {
        self.of(stream, |blocks| {
            let at = blocks.partition_point(|block| block.first_row + block.rows <= row);
            blocks.get(at).filter(|block| block.first_row <= row).cloned()
        })
    }

    /// The last block of a stream.
    pub(super) fn last(&self, stream: StreamKey) -> Option<Arc<Sealed>> {
        self.of(stream, |blocks| blocks.last().cloned())
    }

    /// Blocks, their bytes as stored, and their bytes of output.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        let inner = self.read();
        inner.streams.values().flatten().fold((0, 0, 0), |(blocks, stored, bytes), block| {
            (blocks + 1, stored + block.stored, bytes + block.bytes)
        })
    }

    /// Streams that have blocks.
    pub(super) fn streams(&self) -> Vec<StreamKey> {
        self.read().streams.keys().copied().collect()
    }

    /// The ids of blocks with at least so much output.
    pub(super) fn large(&self, bytes: u64) -> HashSet<i64> {
        let inner = self.read();
        let blocks = inner.streams.values().flatten();
        blocks.filter(|block| block.bytes >= bytes).map(|block| block.id).collect()
    }

    /// Forgets a stream.
    pub(super) fn forget(&self, stream: StreamKey) {
        self.write().streams.remove(&stream);
    }
}
