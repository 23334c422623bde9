//! The baseline of `ingest`: what the collector stored, written straight into the same table.
//!
//! Same migrations, page size, write-ahead log and `synchronous=FULL`, as many frames in a commit as the
//! collector had on average, as many rows in a statement. No network, no decoding, no rows, no chain.

use anyhow::Result;
use deckport_tests::measure::cpu_here;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder, Row as _, Sqlite};
use std::path::Path;
use std::time::Instant;

const MIGRATION: &str = include_str!("../../../../collector/migrations/0001_first.sql");
/// As the collector's writer has it.
const STATEMENT_ROWS: usize = 64;
const WAL_BYTES: u64 = 32 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Straight {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) records: u64,
    /// Frames in a commit.
    pub(crate) group: usize,
    /// Of all payloads.
    pub(crate) bytes: f64,
}

struct Frame {
    /// All columns that are integers, in order; `state_before` and `payload` follow.
    numbers: [i64; 10],
    state_before: Option<Vec<u8>>,
    payload: Vec<u8>,
}

/// Reads the frames of the collector in `data` and writes them anew, `group` in a commit.
pub(crate) async fn straight(data: &Path, group: usize) -> Result<Straight> {
    let mut stored = SqliteConnectOptions::new()
        .filename(data.join("collector.db"))
        .disable_statement_logging()
        .connect()
        .await?;
    // Sealed or not, each once, as they came.
    let rows = sqlx::query(
        "select * from frame union all \
         select stream, first_seq, last_seq, first_row, rows, first_byte, bytes, errors, warnings, \
         received_at, state_before, payload from tail where (stream, first_seq) not in \
         (select stream, first_seq from frame) order by received_at, stream, first_seq",
    )
    .fetch_all(&mut stored)
    .await?;
    stored.close().await?;
    let mut frames = Vec::with_capacity(rows.len());
    for row in rows {
        let mut numbers = [0; 10];
        for (column, number) in numbers.iter_mut().enumerate() {
            *number = row.try_get(column)?;
        }
        let (state_before, payload) = (row.try_get(10)?, row.try_get(11)?);
        frames.push(Frame { numbers, state_before, payload });
    }
    let path = data.join("straight.db");
    let mut connection = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .page_size(8192)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "0")
        .pragma("cache_size", "-8192")
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::raw_sql(MIGRATION).execute(&mut connection).await?;
    let wal = data.join("straight.db-wal");

    let (began, cpu) = (Instant::now(), cpu_here()?);
    for commit in frames.chunks(group.max(1)) {
        sqlx::query("begin immediate").execute(&mut connection).await?;
        for rows in commit.chunks(STATEMENT_ROWS) {
            insert(&mut connection, rows).await?;
        }
        sqlx::query("commit").execute(&mut connection).await?;
        if std::fs::metadata(&wal)?.len() >= WAL_BYTES {
            sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut connection).await?;
        }
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_here()? - cpu);
    let records: i64 = sqlx::query_scalar("select sum(last_seq - first_seq + 1) from tail")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    let bytes = frames.iter().map(|frame| frame.payload.len() as f64).sum();
    Ok(Straight { seconds, cpu, records: records.cast_unsigned(), group, bytes })
}

async fn insert(connection: &mut SqliteConnection, rows: &[Frame]) -> Result<()> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "insert into tail (stream, first_seq, last_seq, first_row, rows, first_byte, bytes, errors, \
         warnings, received_at, state_before, payload) ",
    );
    sql.push_values(rows, |mut values, frame| {
        for number in frame.numbers {
            values.push_bind(number);
        }
        values.push_bind(frame.state_before.as_deref()).push_bind(&*frame.payload);
    });
    sql.build().execute(connection).await?;
    Ok(())
}
