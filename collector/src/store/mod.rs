//! The database: one writer, a few readers, migrations, the lock of the data directory. No domain words.
//!
//! It is SQLite in the data directory, or PostgreSQL elsewhere. What is above this module speaks to both alike: SQL in what the
//! two share, values and rows of values that are neither's.
//!
//! What must hold:
//! * One process at a time opens a data directory (an exclusive lock on `DIR/lock`), and one a PostgreSQL database (an
//!   advisory lock).
//! * A commit that returned has reached the disk: SQLite in WAL with `synchronous=FULL`, PostgreSQL with `synchronous_commit`.
//! * What a task reads that works for somebody is held to their scope (see [`within()`]).
//! * Only the [`Writer`] writes. It groups what waits into one transaction.
//! * A full disk ([`WriteError::Full`]) refuses what waits and heals by itself when space returns.
//!   Any other I/O failure is final ([`WriteError::Fatal`]): after a failed fsync, or a connection that was lost in the middle of a
//!   commit, nobody knows what the disk holds, so nothing more is written or acknowledged and the process starts anew from it.
//! * SQLite's own checkpoints are off: their failures would be silent. The writer runs them.

mod backup;
mod checkpoint;
mod compact;
mod connection;
mod files;
mod postgres;
mod read;
mod snapshot;
mod sqlite;
mod within;
mod write;
mod writer;

pub use backup::{BackupError, backup};
pub use compact::{CompactError, Compacted, compact};
pub use files::put_private;
pub use read::{ReadError, Values};
pub use snapshot::Snapshot;
pub use sqlite::PAGE_BYTES;
pub use within::{BodyWithin, beyond, within};
pub use write::{Done, Guard, Row, Sort, Statement, Storable, Table, Value, Write, WriteError};
pub use writer::{Permit, Writer};

use crate::config::{Config, Database};
use crate::metrics::Metrics;
use connection::Readers;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How much [`Store::vacuum`] gives back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacuum {
    Little,
    Some,
    Much,
}

impl Vacuum {
    pub const fn pages(self) -> u64 {
        match self {
            Self::Little => 4,
            Self::Some => 16,
            Self::Much => 64,
        }
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::Little => "pragma incremental_vacuum(4)",
            Self::Some => "pragma incremental_vacuum(16)",
            Self::Much => "pragma incremental_vacuum(64)",
        }
    }
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data directory {path} cannot be used")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(
        "others on this machine can write into {path}, and could replace the collector's keys there: \
         name a directory of its own, or take that right away (chmod go-w)"
    )]
    Open { path: PathBuf },
    #[error("the writer's thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("another collector has {path} open")]
    Locked { path: PathBuf },
    #[error("another collector uses the database {path}")]
    InUse { path: String },
    #[error("the database {path} cannot be opened")]
    Database { path: String, source: sqlx::Error },
    #[error("the database {path} cannot be brought to this version")]
    Migrate { path: String, source: sqlx::migrate::MigrateError },
}

/// The opened database.
#[derive(Debug)]
pub struct Store {
    readers: Readers,
    writer: Writer,
    _held: Arc<Held>,
}

/// Open as long as anything of the store is. Closing any descriptor of the database ends all locks that this process has on it,
/// SQLite's among them: so it is closed last, and only then may another store be opened.
#[derive(Debug)]
struct Held {
    /// None where the database is elsewhere.
    database: Option<File>,
    _lock: File,
}

impl Store {
    /// Opens (and makes, when missing) the database in the configured directory and starts its writer
    /// on `tasks`. The writer stores what waits when `stop` is cancelled, then closes.
    pub async fn open(
        config: &Config,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, OpenError> {
        let dir = &config.data_dir;
        let lock = lock(dir)?;
        let (connection, readers, held, checkpoint) = match &config.database {
            Database::InDirectory => sqlite::open(config, lock, &metrics).await?,
            Database::Postgres(url) => postgres::open(url, lock).await?,
        };
        let writer = Writer::start(connection, checkpoint, config.bounds, metrics, tasks, stop)
            .map_err(OpenError::Thread)?;
        Ok(Self { readers, writer, _held: held })
    }

    /// What a former version stored may be in this database.
    pub const fn has_a_past(&self) -> bool {
        matches!(self.readers, Readers::Sqlite(_))
    }

    /// What the database itself finds wrong with its file. A server looks after its own.
    pub async fn integrity(&self) -> Result<Vec<String>, ReadError> {
        if matches!(self.readers, Readers::Postgres(_)) {
            return Ok(Vec::new());
        }
        let rows = self.fetch("pragma integrity_check(100)", []).await?;
        let told = rows.iter().map(|row| Ok(row.text(0)?.as_ref().to_owned()));
        let told: Vec<String> = told.collect::<Result<_, ReadError>>()?;
        Ok(told.into_iter().filter(|line| line != "ok").collect())
    }

    /// Pages of the file in which nothing stands and that [`Self::vacuum`] can give back. `None`: it cannot, since a server looks after
    /// its own, or a former version made the file; [`compact()`] makes it anew.
    pub async fn free_pages(&self) -> Result<Option<u64>, ReadError> {
        /// `auto_vacuum` of a file that gives back what it is told to.
        const INCREMENTAL: u64 = 2;
        if matches!(self.readers, Readers::Postgres(_)) {
            return Ok(None);
        }
        let count = async |sql: &'static str| {
            let row = self.fetch_one(sql, []).await?;
            row.map_or(Ok(0), |row| row.count(0))
        };
        let mode = count("pragma auto_vacuum").await?;
        Ok(if mode == INCREMENTAL { Some(count("pragma freelist_count").await?) } else { None })
    }

    /// Gives some of them back to the file system, with the next commit; it takes the longer the more there are. The file is cut when the
    /// write-ahead log is folded into it.
    pub async fn vacuum(&self, much: Vacuum) -> Result<(), WriteError> {
        let statement = Statement { sql: much.sql(), values: Vec::new() };
        self.writer.write(Write { statements: vec![statement], ..Write::default() }).await
    }

    pub const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Closes the readers; the writer closes when its task ends.
    pub async fn close(&self) {
        self.readers.close().await;
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory { path: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    if !files::keep_others_out(dir).map_err(failed)? {
        return Err(OpenError::Open { path: dir.to_owned() });
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}
