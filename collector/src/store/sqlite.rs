//! The database in the data directory: SQLite, in WAL with `synchronous=FULL`.

use super::checkpoint::Checkpoint;
use super::connection::{Connection, Readers};
use super::{Held, OpenError, WriteError};
use crate::config::Config;
use crate::metrics::Metrics;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::Duration;

/// Pages of 8 KiB: a frame of 64 lines spans one or two, and a small commit writes little.
pub const PAGE_BYTES: u32 = 8192;
const READERS: u32 = 6;

/// Opens the database (and makes it, when missing): for the writer, for its checkpoints, for readers.
pub(super) async fn open(
    config: &Config,
    lock: File,
    metrics: &Metrics,
) -> Result<(Connection, Readers, Arc<Held>, Checkpoint), OpenError> {
    let path = config.data_dir.join("collector.db");
    let database = |source| OpenError::Database { path: path.display().to_string(), source };
    // Made here so that the file, and what SQLite puts beside it, is its owner's alone.
    let make = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = make.map_err(|source| OpenError::Directory { path: path.clone(), source })?;

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
    let new = file.metadata().is_ok_and(|file| file.len() == 0);
    let mut connection = match new {
        // Only a new one can be told so; telling one that knows would write to it, which a full disk refuses.
        true => options.clone().auto_vacuum(SqliteAutoVacuum::Incremental).connect().await,
        false => options.connect().await,
    }
    .map_err(database)?;
    let migrator = sqlx::migrate!("migrations/sqlite");
    migrator
        .run(&mut connection)
        .await
        .map_err(|source| OpenError::Migrate { path: path.display().to_string(), source })?;
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
    let held = Arc::new(Held { database: Some(file), _lock: lock });
    let checkpoint = Checkpoint::new(Some(checkpointer), Arc::clone(&held));
    Ok((Connection::Sqlite(connection), Readers::Sqlite(readers), held, checkpoint))
}

/// Closes a connection that is no longer needed; it holds nothing that could be lost.
pub(super) async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(error = %error, "a database connection did not close cleanly");
    }
}

/// SQLITE_IOERR_SHMSIZE: the index of the write-ahead log could not grow. Nothing was written.
const IOERR_SHMSIZE: i32 = 4874;

/// What an error of SQLite means for the write. The numbers are SQLite's primary result codes.
pub(super) fn judge(error: &sqlx::Error) -> WriteError {
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
