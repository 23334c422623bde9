//! The database: one writer, a few readers, migrations, the lock of the data directory. No domain words.
//!
//! What must hold:
//! * One process at a time opens a data directory (an exclusive lock on `DIR/lock`).
//! * WAL with `synchronous=FULL`: a commit that returned has reached the disk.
//! * Only the [`Writer`] writes. It groups what waits into one transaction.
//! * A full disk ([`WriteError::Full`]) refuses what waits and heals by itself when space returns.
//!   Any other I/O failure is final ([`WriteError::Fatal`]): after a failed fsync nobody knows what the
//!   disk holds, so nothing more is written or acknowledged and the process starts anew from the disk.
//! * SQLite's own checkpoints are off: their failures would be silent. The writer runs them.

mod checkpoint;
mod read;
mod write;
mod writer;

use checkpoint::Checkpoint;

pub use read::{ReadError, Values};
pub use write::{Done, Guard, Row, Sort, Statement, Storable, Table, Value, Write, WriteError};
pub use writer::{Permit, Writer};

use crate::config::Config;
use crate::metrics::Metrics;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pages of 8 KiB: a frame of 64 lines spans one or two, and a small commit writes little.
const PAGE_BYTES: u32 = 8192;
const READERS: u32 = 6;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data directory {path} cannot be used")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("the writer's thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("another collector has {path} open")]
    Locked { path: PathBuf },
    #[error("the database {path} cannot be opened")]
    Database { path: PathBuf, source: sqlx::Error },
    #[error("the database {path} cannot be brought to this version")]
    Migrate { path: PathBuf, source: sqlx::migrate::MigrateError },
}

/// The opened database.
#[derive(Debug)]
pub struct Store {
    readers: SqlitePool,
    writer: Writer,
    _held: Arc<Held>,
}

/// Open as long as anything of the store is. Closing any descriptor of the database ends all locks that this process has on it,
/// SQLite's among them: so it is closed last, and only then may another store be opened.
#[derive(Debug)]
struct Held {
    database: File,
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
        let path = dir.join("collector.db");
        let database = |source| OpenError::Database { path: path.clone(), source };
        // Made here so that the file, and what SQLite puts beside it, is its owner's alone.
        let make = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let database_file =
            make.map_err(|source| OpenError::Directory { path: path.clone(), source })?;

        let options = SqliteConnectOptions::new()
            .filename(&path)
            .page_size(PAGE_BYTES)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true)
            // The writer has a statement for each number of rows in each table.
            .statement_cache_capacity(512)
            .pragma("wal_autocheckpoint", "0")
            // What a reader that took long made of it is given back when the log starts over.
            .pragma("journal_size_limit", (4 * config.bounds.wal_bytes).to_string())
            .pragma("cache_size", "-8192")
            // Some statements keep a journal of their own; it need not be a file.
            .pragma("temp_store", "memory")
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO)
            .log_statements(tracing::log::LevelFilter::Off);
        let mut connection = options.connect().await.map_err(database)?;
        let migrator = sqlx::migrate!();
        migrator
            .run(&mut connection)
            .await
            .map_err(|source| OpenError::Migrate { path: path.clone(), source })?;
        // What a former process left behind is folded in before anything new is acknowledged.
        let folded = sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut connection).await;
        if let Err(error) = folded {
            if !matches!(judge(&error), WriteError::Full) {
                return Err(database(error));
            }
            // Everything can be read from where it is.
            metrics.storage_full.set(1);
            tracing::error!(
                "the disk is full: what is stored can be read, new records are refused until there is space"
            );
        }
        let checkpointer = options.connect().await.map_err(database)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options.pragma("query_only", "on"))
            .await
            .map_err(database)?;
        let held = Arc::new(Held { database: database_file, _lock: lock });
        let checkpoint = Checkpoint::new(checkpointer, Arc::clone(&held));
        let writer = Writer::start(connection, checkpoint, config.bounds, metrics, tasks, stop)
            .map_err(OpenError::Thread)?;
        Ok(Self { readers, writer, _held: held })
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

/// Closes a connection that is no longer needed; it holds nothing that could be lost.
async fn close(connection: sqlx::SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(error = %error, "a database connection did not close cleanly");
    }
}

/// SQLITE_IOERR_SHMSIZE: the index of the write-ahead log could not grow. Nothing was written.
const IOERR_SHMSIZE: i32 = 4874;

/// What an error of SQLite means for the write. The numbers are SQLite's primary result codes.
fn judge(error: &sqlx::Error) -> WriteError {
    let code = match error {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<i32>().ok()),
        _ => None,
    };
    match code {
        Some(IOERR_SHMSIZE) => WriteError::Full,
        Some(code) => match code & 0xff {
            13 => WriteError::Full,
            // busy, locked, too big, constraint, mismatch, range, error
            1 | 5 | 6 | 18 | 19 | 20 | 25 => WriteError::Refused(error.to_string().into()),
            // ioerr, corrupt, read-only, cannot open, not a database, no memory, anything else
            _ => WriteError::Fatal(error.to_string().into()),
        },
        None => WriteError::Fatal(error.to_string().into()),
    }
}
