//! Keeps the write-ahead log small: copies it into the database beside the writer, so that the log starts over.
//!
//! The long part runs on a connection of its own while the writer goes on. The writer itself does the last moments, which
//! nobody appends to meanwhile; the next commit then begins the log anew, in the space that the file has already. The
//! file is not cut: cutting and growing it again held up commits for 20 ms, and a commit into space that the file has
//! waits for its own bytes alone, not for the file system's journal.

use super::Held;
use super::sqlite::{PAGE_BYTES, close, judge};
use super::write::WriteError;
use crate::metrics::Metrics;
use sqlx::sqlite::SqliteConnection;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// The writer does the rest when it is no more than this.
const LITTLE_BYTES: i64 = 1024 * 1024;
/// How often the log is copied after what was written meanwhile. Each time there is less of it.
const PASSES: usize = 6;

/// How far a [`Checkpoint::run`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// A little is left, which the writer may do.
    AllButLittle,
    /// A reader needs what is in the log, or it grew faster than it was copied.
    Some,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Checkpoint {
    connection: tokio::sync::Mutex<Option<SqliteConnection>>,
    /// The database file, to sync it beside the writer.
    held: Arc<Held>,
    outcome: Mutex<Option<Result<Copied, WriteError>>>,
}

impl Checkpoint {
    /// Without a connection it never runs.
    pub(super) fn new(connection: Option<SqliteConnection>, held: Arc<Held>) -> Self {
        let connection = tokio::sync::Mutex::new(connection);
        Self { connection, held, outcome: Mutex::new(None) }
    }

    /// Copies what the log holds, until little is left, and syncs the copy.
    pub(super) async fn run(&self, metrics: &Metrics) {
        let mut connection = self.connection.lock().await;
        let Some(connection) = connection.as_mut() else { return };
        let outcome = self.copy(connection, metrics).await;
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    async fn copy(
        &self,
        connection: &mut SqliteConnection,
        metrics: &Metrics,
    ) -> Result<Copied, WriteError> {
        let mut outcome = Copied::Some;
        for _ in 0..PASSES {
            let began = Instant::now();
            let (_, logged, copied) =
                sqlx::query_as::<_, (i64, i64, i64)>("pragma wal_checkpoint(passive)")
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(|error| judge(&error))?;
            metrics.checkpoint_seconds.observe_time(began.elapsed());
            if (logged - copied) * i64::from(PAGE_BYTES) <= LITTLE_BYTES {
                outcome = Copied::AllButLittle;
                break;
            }
        }
        // SQLite does this only once everything is copied: then, in the writer, there would be all of it to sync.
        let held = Arc::clone(&self.held);
        let synced = tokio::task::spawn_blocking(move || match &held.database {
            Some(database) => database.sync_data(),
            None => Ok(()),
        });
        let synced = synced.await;
        match synced {
            Ok(Ok(())) => Ok(outcome),
            Ok(Err(error)) => Err(WriteError::Fatal(error.to_string().into())),
            Err(_) => Err(WriteError::Stopping),
        }
    }

    /// How a [`Self::run`] ended that nobody asked about yet.
    pub(super) fn take_outcome(&self) -> Option<Result<Copied, WriteError>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a [`Self::run`] could begin.
    pub(super) fn is_free(&self) -> bool {
        self.connection.try_lock().is_ok_and(|connection| connection.is_some())
    }

    /// Waits for a [`Self::run`], lets none begin any more, and closes nothing in good order.
    pub(super) async fn abandon(&self) {
        drop(self.connection.lock().await.take());
    }

    /// Waits for a [`Self::run`] and lets none begin any more.
    pub(super) async fn end(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            close(connection).await;
        }
    }
}

/// Bytes in the write-ahead log that a reader or a start would have to go through.
pub(super) async fn logged_bytes(connection: &mut SqliteConnection) -> Result<u64, WriteError> {
    let (_, logged, _) = sqlx::query_as::<_, (i64, i64, i64)>("pragma wal_checkpoint(noop)")
        .fetch_one(connection)
        .await
        .map_err(|error| judge(&error))?;
    Ok(u64::try_from(logged).unwrap_or(0) * u64::from(PAGE_BYTES))
}

/// Copies the last moments, which [`Checkpoint::run`] has left. Where no reader still needs the log, the next commit begins it
/// anew. Waits for nobody.
pub(super) async fn finish(
    connection: &mut SqliteConnection,
    metrics: &Metrics,
) -> Result<(), WriteError> {
    let began = Instant::now();
    sqlx::query("pragma wal_checkpoint(passive)")
        .execute(connection)
        .await
        .map_err(|error| judge(&error))?;
    metrics.checkpoint_seconds.observe_time(began.elapsed());
    Ok(())
}
