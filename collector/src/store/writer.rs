//! The one writer: group commit of whatever waits, and when to checkpoint.
//!
//! Writers of data hand in [`Write`]s: rows of tables and single statements that belong in one
//! transaction. The writer takes what waits, merges rows of the same table into statements of many
//! rows, commits once, and then calls each write's `done`, in order. While one group commits, the next
//! one collects; groups start no closer than `group_interval`, an idle writer commits at once.
//!
//! *Guards* keep order across failures. Writes that build on one another share a [`Guard`](super::Guard); when one of
//! them fails, those behind it fail too, so that a stream never has a hole. Whoever owns the guard drops
//! what it thought it had written and starts over with a new one.
//!
//! Failure modes: see [`WriteError`]. A group that fails for a reason of its content is tried again
//! write by write, so that only the culprit is refused.

use super::checkpoint::{self, Checkpoint, Copied};
use super::connection::{Bound, Connection};
use super::write::{Table, Value, Write, WriteError};
use crate::config::Bounds;
use crate::metrics::Metrics;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Queued {
    write: Write,
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

/// A place in the writer's queue.
#[derive(Debug)]
pub struct Permit {
    slot: mpsc::OwnedPermit<Queued>,
    bytes: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Permit {
    /// Queues the write. Writes are committed in the order in which they are submitted.
    pub fn submit(self, write: Write) {
        let bytes = self.bytes.num_permits();
        self.metrics.queued_writes.add(1);
        self.metrics.queued_bytes.add(bytes as i64);
        self.slot.send(Queued { write, bytes, _permit: self.bytes });
    }
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    queue_bytes: usize,
    metrics: Arc<Metrics>,
    failed: watch::Receiver<Option<Arc<str>>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        checkpoint: Checkpoint,
        bounds: Bounds,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        let (queue, rx) = mpsc::channel(bounds.queue_writes);
        let (failed_tx, failed) = watch::channel(None);
        let task = Task {
            connection,
            sql: HashMap::new(),
            metrics: Arc::clone(&metrics),
            failed: failed_tx,
            checkpoint: Arc::new(checkpoint),
            wal_bytes: bounds.wal_bytes,
            sized: Instant::now(),
            // It may have been full when the store was opened.
            refused_at: Some(Instant::now()),
            full_said: metrics.storage_full.get() == 1,
        };
        // A thread and a runtime of its own: a commit is a dozen short waits for the database, and among the tasks that
        // decode what consoles send each of them would wait for its turn.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (ended, end) = oneshot::channel::<()>();
        std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            runtime.block_on(task.run(rx, bounds, stop));
            drop(ended);
        })?;
        tasks.spawn(async move {
            // Nothing is ever sent: the writer's end is what is waited for.
            let _ = end.await;
        });
        Ok(Self {
            queue,
            bytes: Arc::new(Semaphore::new(bounds.queue_bytes)),
            queue_bytes: bounds.queue_bytes,
            metrics,
            failed,
        })
    }

    /// Waits for a place in the queue for about so many bytes. This wait is the backpressure that ends
    /// in the console's spool.
    pub async fn reserve(&self, bytes: usize) -> Result<Permit, WriteError> {
        let bytes = u32::try_from(bytes.clamp(1, self.queue_bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        let slot = self.queue.clone().reserve_owned().await;
        match (permit, slot) {
            (Ok(bytes), Ok(slot)) => Ok(Permit { slot, bytes, metrics: Arc::clone(&self.metrics) }),
            _ => Err(self.failure().map_or(WriteError::Stopping, WriteError::Fatal)),
        }
    }

    /// Writes, and waits until it is durable.
    pub async fn write(&self, mut write: Write) -> Result<(), WriteError> {
        let permit = self.reserve(1024).await?;
        let (tx, rx) = oneshot::channel();
        write.done = Some(Box::new(move |result| {
            let _ = tx.send(result);
        }));
        permit.submit(write);
        rx.await.unwrap_or(Err(WriteError::Stopping))
    }

    /// Why the writer stopped by itself, if it did.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.failed.borrow().clone()
    }

    /// Resolves when the writer stops by itself.
    pub async fn failed(&self) -> Arc<str> {
        let mut failed = self.failed.clone();
        loop {
            if let Some(reason) = failed.borrow_and_update().clone() {
                return reason;
            }
            if failed.changed().await.is_err() {
                // The writer ended in good order: it will never fail.
                return std::future::pending().await;
            }
        }
    }
}

struct Task {
    connection: Connection,
    sql: HashMap<(&'static Table, usize), SqlStr>,
    metrics: Arc<Metrics>,
    failed: watch::Sender<Option<Arc<str>>>,
    checkpoint: Arc<Checkpoint>,
    wal_bytes: u64,
    /// When the log's size was looked at last.
    sized: Instant,
    /// When the disk was full last, and whether that is what was said last.
    refused_at: Option<Instant>,
    full_said: bool,
}

const SIZED_EVERY: Duration = Duration::from_millis(100);
const NOT_REFUSED_FOR: Duration = Duration::from_secs(5);

/// At most so many writes in a group: bounds the time a first one waits for the last one.
const GROUP_WRITES: usize = 1024;
/// Rows in one statement.
const STATEMENT_ROWS: usize = 64;

impl Task {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Queued>,
        bounds: Bounds,
        stop: CancellationToken,
    ) {
        let mut group: Vec<Queued> = Vec::new();
        let mut last_began = None::<Instant>;
        // Goal: commit what waits, group by group. Exits: the disk failed; or the collector stops and
        // everything that was queued before is answered.
        loop {
            // Dropping either branch loses nothing: `recv_many` is cancel safe.
            tokio::select! {
                biased;
                taken = queue.recv_many(&mut group, GROUP_WRITES) => if taken == 0 { break },
                () = stop.cancelled(), if !queue.is_closed() => { queue.close(); continue }
            }
            if let Some(began) = last_began {
                let next = began + bounds.group_interval;
                if Instant::now() < next && !queue.is_closed() {
                    tokio::time::sleep_until(next).await;
                }
            }
            while group.len() < GROUP_WRITES
                && let Ok(more) = queue.try_recv()
            {
                group.push(more);
            }
            last_began = Some(Instant::now());
            if let Err(reason) = self.commit(&mut group).await {
                self.fail(reason, &mut group, &mut queue).await;
                return;
            }
            if let Err(reason) = self.keep_wal_small().await {
                self.fail(reason, &mut group, &mut queue).await;
                return;
            }
        }
        self.checkpoint.end().await;
        if let Connection::Sqlite(connection) = &mut self.connection
            && let Err(error) =
                sqlx::query("pragma wal_checkpoint(truncate)").execute(connection).await
        {
            // Nothing is lost: the write-ahead log holds it and the next start folds it in.
            tracing::warn!(error = %error, "the last checkpoint did not succeed");
        }
        self.connection.close().await;
    }

    /// No further acknowledgement: everything that waits is refused, now and later.
    async fn fail(
        self,
        reason: Arc<str>,
        group: &mut Vec<Queued>,
        queue: &mut mpsc::Receiver<Queued>,
    ) {
        tracing::error!(reason = %reason, "storage failed; nothing more is acknowledged");
        self.failed.send_replace(Some(Arc::clone(&reason)));
        queue.close();
        let refuse = |queued: Queued| {
            if let Some(guard) = &queued.write.guard {
                guard.mark_broken();
            }
            if let Some(done) = queued.write.done {
                done(Err(WriteError::Fatal(Arc::clone(&reason))));
            }
        };
        group.drain(..).for_each(refuse);
        while let Some(queued) = queue.recv().await {
            refuse(queued);
        }
        // Whoever opens the database next in this process must not lose its locks to a file that is closed late.
        self.checkpoint.abandon().await;
        // The connections are dropped, not closed: closing would try to checkpoint, a second fsync.
    }

    /// Commits the group and answers every write in it. `Err`: the disk failed, nothing was answered.
    async fn commit(&mut self, group: &mut Vec<Queued>) -> Result<(), Arc<str>> {
        let began = Instant::now();
        let mut writes = Vec::with_capacity(group.len());
        for queued in group.drain(..) {
            self.metrics.queued_writes.add(-1);
            self.metrics.queued_bytes.add(-(queued.bytes as i64));
            if queued.write.guard.as_ref().is_some_and(|guard| guard.is_broken()) {
                answer(queued, Err(WriteError::Broken));
            } else {
                writes.push(queued);
            }
        }
        let outcome = self.transaction(&writes).await;
        self.metrics.group_writes.observe(writes.len() as f64);
        self.metrics.commit_seconds.observe_time(began.elapsed());
        match outcome {
            Ok(()) => {
                self.full(false);
                writes.into_iter().for_each(|queued| answer(queued, Ok(())));
                Ok(())
            }
            Err(WriteError::Fatal(reason)) => {
                *group = writes;
                Err(reason)
            }
            Err(error @ WriteError::Refused(_)) if writes.len() == 1 => {
                writes.into_iter().for_each(|queued| answer(queued, Err(error.clone())));
                Ok(())
            }
            Err(WriteError::Refused(_)) => {
                // Some write is at fault: each by itself, so that the others are not refused with it.
                let mut left = writes.into_iter();
                while let Some(queued) = left.next() {
                    if queued.write.guard.as_ref().is_some_and(|guard| guard.is_broken()) {
                        answer(queued, Err(WriteError::Broken));
                        continue;
                    }
                    match self.transaction(std::slice::from_ref(&queued)).await {
                        Err(WriteError::Fatal(reason)) => {
                            group.push(queued);
                            group.extend(left);
                            return Err(reason);
                        }
                        result => answer(queued, result),
                    }
                }
                Ok(())
            }
            Err(error) => {
                self.full(matches!(error, WriteError::Full));
                writes.into_iter().for_each(|queued| answer(queued, Err(error.clone())));
                Ok(())
            }
        }
    }

    /// Says what changes. At the edge small writes still fit between large ones that do not: there is space again when nothing was
    /// refused for a while.
    fn full(&mut self, full: bool) {
        self.metrics.storage_full.set(i64::from(full));
        if full {
            self.refused_at = Some(Instant::now());
            if !std::mem::replace(&mut self.full_said, true) {
                tracing::error!("the disk is full: new records are refused until there is space");
            }
        } else if self.full_said && self.refused_at.is_none_or(|at| at.elapsed() >= NOT_REFUSED_FOR)
        {
            self.full_said = false;
            tracing::info!("the disk has space again: records are taken");
        }
    }

    async fn transaction(&mut self, writes: &[Queued]) -> Result<(), WriteError> {
        let result = self.statements(writes).await;
        if result.is_err() {
            // SQLite may have rolled back by itself; then there is nothing to roll back.
            let nothing = self.connection.bind([])?;
            let _ = self.connection.execute("rollback", nothing).await;
        }
        result
    }

    async fn statements(&mut self, writes: &[Queued]) -> Result<(), WriteError> {
        let mut statements: Vec<(SqlStr, Bound)> = Vec::new();
        for (table, rows) in by_table(writes) {
            for rows in rows.chunks(STATEMENT_ROWS) {
                let bound = self.connection.bind(rows.iter().flat_map(|values| values.iter()))?;
                statements.push((self.insert_sql(table, rows.len()), bound));
            }
        }
        for statement in writes.iter().flat_map(|queued| &queued.write.statements) {
            let bound = self.connection.bind(&statement.values)?;
            statements.push((SqlStr::from_static(statement.sql), bound));
        }
        // Each of these is a wait for another thread. One statement by itself is a transaction already.
        let several = statements.len() > 1;
        if several {
            self.execute(self.connection.begin()).await?;
        }
        for (sql, bound) in statements {
            self.connection.execute(sql, bound).await?;
        }
        if several {
            self.execute("commit").await?;
        }
        Ok(())
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), WriteError> {
        let nothing = self.connection.bind([])?;
        self.connection.execute(sql, nothing).await
    }

    fn insert_sql(&mut self, table: &'static Table, rows: usize) -> SqlStr {
        let mark = self.connection.mark();
        let make = || {
            let row = |row: usize| {
                let marks = (1..=table.columns).map(|at| mark(row * table.columns + at));
                format!("({})", marks.collect::<Vec<_>>().join(", "))
            };
            let all = (0..rows).map(row).collect::<Vec<_>>().join(", ");
            let sql: Arc<str> = format!("{} values {all} {}", table.insert, table.conflict).into();
            AssertSqlSafe(sql).into_sql_str()
        };
        self.sql.entry((table, rows)).or_insert_with(make).clone()
    }

    /// Folds the write-ahead log into the database when it has grown. The long part runs beside the writer, the rest here.
    async fn keep_wal_small(&mut self) -> Result<(), Arc<str>> {
        let result = match self.checkpoint.take_outcome() {
            Some(Ok(Copied::AllButLittle)) => match &mut self.connection {
                Connection::Sqlite(connection) => {
                    checkpoint::finish(connection, &self.metrics).await
                }
                Connection::Postgres(_) => Ok(()),
            },
            Some(Ok(Copied::Some)) => Ok(()),
            Some(Err(error)) => Err(error),
            None if self.sized.elapsed() < SIZED_EVERY => Ok(()),
            None => self.look_at_wal().await,
        };
        match result {
            Err(WriteError::Fatal(reason)) => Err(reason),
            // What a full disk or a busy reader prevents is tried again.
            Err(_) | Ok(()) => Ok(()),
        }
    }

    async fn look_at_wal(&mut self) -> Result<(), WriteError> {
        self.sized = Instant::now();
        // A server looks after its own.
        let Connection::Sqlite(connection) = &mut self.connection else { return Ok(()) };
        let bytes = checkpoint::logged_bytes(connection).await?;
        self.metrics.wal_bytes.set(bytes as i64);
        if bytes >= self.wal_bytes && self.checkpoint.is_free() {
            let (checkpoint, metrics) = (Arc::clone(&self.checkpoint), Arc::clone(&self.metrics));
            // Its owner is its lock: the writer takes that before it ends.
            tokio::spawn(async move { checkpoint.run(&metrics).await });
        }
        Ok(())
    }
}

fn answer(queued: Queued, result: Result<(), WriteError>) {
    let Queued { write, _permit: permit, .. } = queued;
    if result.is_err()
        && let Some(guard) = &write.guard
    {
        guard.mark_broken();
    }
    drop(permit);
    if let Some(done) = write.done {
        done(result);
    }
}

/// The rows of all writes, by table in order of first appearance.
fn by_table(writes: &[Queued]) -> Vec<(&'static Table, Vec<&[Value]>)> {
    let mut tables: Vec<(&'static Table, Vec<&[Value]>)> = Vec::new();
    for row in writes.iter().flat_map(|queued| &queued.write.rows) {
        let at = tables.iter().position(|(table, _)| std::ptr::eq(*table, row.table));
        let at = at.unwrap_or_else(|| {
            tables.push((row.table, Vec::with_capacity(writes.len())));
            tables.len() - 1
        });
        let rows = &mut tables[at].1;
        if row.table.last_wins
            && let Some(same) = rows.iter().position(|values| same_key(values, &row.values))
        {
            rows.remove(same);
        }
        rows.push(&row.values);
    }
    tables
}

fn same_key(one: &[Value], other: &[Value]) -> bool {
    match (one.first(), other.first()) {
        (Some(Value::Text(a)), Some(Value::Text(b))) => a == b,
        (Some(Value::Int(a)), Some(Value::Int(b))) => a == b,
        _ => false,
    }
}
