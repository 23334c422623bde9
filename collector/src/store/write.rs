//! What is handed to the writer: rows, statements, and what answers them.

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A database may want to know of which sort the value is that is not there.
    Null(Sort),
    Int(i64),
    Text(Arc<str>),
    Blob(Bytes),
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Int,
    Text,
    Blob,
}

/// What can be stored in a column.
pub trait Storable: Into<Value> {
    const SORT: Sort;
}

macro_rules! storable {
    ($($of:ty => $sort:ident, $value:ident => $make:expr;)*) => {$(
        impl Storable for $of {
            const SORT: Sort = Sort::$sort;
        }

        impl From<$of> for Value {
            fn from($value: $of) -> Self {
                Self::$sort($make)
            }
        }
    )*};
}

storable! {
    i64 => Int, value => value;
    // Sequence numbers, rows and bytes stay far below 2^63; ingest refuses what does not.
    u64 => Int, value => i64::try_from(value).unwrap_or(i64::MAX);
    &str => Text, value => value.into();
    String => Text, value => value.into();
    Bytes => Blob, value => value;
    Vec<u8> => Blob, value => value.into();
}

impl<T: Storable> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null(T::SORT), Into::into)
    }
}

/// How rows of one table are written. `insert` ends before `values`, `conflict` follows the rows.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Table {
    pub insert: &'static str,
    pub columns: usize,
    pub conflict: &'static str,
    /// Of rows with the same first column within one group only the last is written.
    pub last_wins: bool,
}

/// A row to write.
#[derive(Clone, Debug)]
pub struct Row {
    pub table: &'static Table,
    pub values: Vec<Value>,
}

/// Any other change.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: &'static str,
    pub values: Vec<Value>,
}

/// Why nothing of a write was stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full. Trying again helps when there is space.
    #[error("the disk is full")]
    Full,
    /// A write before it, on which it builds, failed.
    #[error("an earlier write of the same stream failed")]
    Broken,
    /// The write itself is at fault.
    #[error("the database refused the write: {0}")]
    Refused(Arc<str>),
    /// The disk failed; the collector stops.
    #[error("the collector's storage failed: {0}")]
    Fatal(Arc<str>),
    /// The collector is stopping.
    #[error("the collector is stopping")]
    Stopping,
}

/// Called once the write is durable, or why it is not. Runs on the writer: short and never blocking.
pub type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send + Sync>;

/// Shared by writes that build on one another.
#[derive(Debug, Default)]
pub struct Guard {
    broken: AtomicBool,
}

impl Guard {
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

/// What belongs into one transaction.
#[derive(Default)]
pub struct Write {
    pub rows: Vec<Row>,
    /// Run after all rows of the group.
    pub statements: Vec<Statement>,
    pub guard: Option<Arc<Guard>>,
    pub done: Option<Done>,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("rows", &self.rows.len())
            .field("statements", &self.statements.len())
            .finish_non_exhaustive()
    }
}
