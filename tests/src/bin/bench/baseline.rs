//! The baselines of `ingest` that this program measures on itself: no network, no decoding, no rows, no chain.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use deckport_protocol::columns::Header;
use deckport_tests::measure::cpu_here;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder, Sqlite};
use std::path::Path;
use std::time::Instant;

const MIGRATION: &str = include_str!("../../../../collector/migrations/sqlite/0002_blocks.sql");
/// As the collector's writer has it.
const STATEMENT_ROWS: usize = 64;
const WAL_BYTES: u64 = 32 * 1024 * 1024;
/// Text in one block.
const BLOCK_BYTES: usize = 1024 * 1024;

/// What something took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

/// A database with the collector's page size, write-ahead log and durability.
struct Database {
    connection: SqliteConnection,
    wal: std::path::PathBuf,
}

impl Database {
    async fn make(path: &Path, schema: &str) -> Result<Self> {
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .page_size(8192)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0")
            .pragma("cache_size", "-8192")
            .disable_statement_logging()
            .connect()
            .await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(schema.to_owned())).execute(&mut connection).await?;
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Ok(Self { connection, wal: wal.into() })
    }

    async fn begin(&mut self) -> Result<()> {
        sqlx::query("begin immediate").execute(&mut self.connection).await?;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        sqlx::query("commit").execute(&mut self.connection).await?;
        if std::fs::metadata(&self.wal)?.len() >= WAL_BYTES {
            sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut self.connection).await?;
        }
        Ok(())
    }
}

/// The frames as agents send them, in turns, into a table like the collector's tail, `group` in a commit.
pub(crate) async fn straight(path: &Path, streams: &[Vec<Bytes>], group: usize) -> Result<Took> {
    let begin = MIGRATION.find("create table tail").context("the tail's table")?;
    let table = MIGRATION.get(begin..).and_then(|rest| rest.split_inclusive(';').next());
    let mut database = Database::make(path, table.context("its end")?).await?;
    let longest = streams.iter().map(Vec::len).max().unwrap_or(0);
    let frames: Vec<(usize, &Bytes)> = (0..longest)
        .flat_map(|at| streams.iter().enumerate().filter_map(move |(s, f)| Some((s, f.get(at)?))))
        .collect();
    let (began, cpu) = (Instant::now(), cpu_here()?);
    for commit in frames.chunks(group.max(1)) {
        database.begin().await?;
        for rows in commit.chunks(STATEMENT_ROWS) {
            let mut sql = QueryBuilder::<Sqlite>::new(
                "insert into tail (stream, first_seq, last_seq, first_row, rows_count, first_byte, bytes, \
                 first_at, last_at, received_at, goes_on, open_row, state_before, notes, payload) ",
            );
            let headers = rows.iter().map(|(_, frame)| Header::read(frame));
            let headers = headers.collect::<Result<Vec<_>, _>>()?;
            sql.push_values(rows.iter().zip(&headers), |mut values, ((stream, frame), header)| {
                let (first, last) = (header.first_seq as i64, header.last_seq as i64);
                values.push_bind(*stream as i64).push_bind(first).push_bind(last);
                values.push_bind(first).push_bind(last - first + 1).push_bind(first * 128);
                values.push_bind(frame.len() as i64).push_bind(first).push_bind(last);
                values.push_bind(last).push_bind(0).push_bind(0);
                values.push_bind(None::<&[u8]>).push_bind(&b"\0\0\0\0"[..]).push_bind(&frame[..]);
            });
            sql.build().execute(&mut database.connection).await?;
        }
        database.commit().await?;
    }
    let took = Took { seconds: began.elapsed().as_secs_f64(), cpu: cpu_here()? - cpu };
    database.connection.close().await?;
    Ok(took)
}

/// The ceiling: the text alone in blocks, each packed at the level that the collector packs at and committed by itself.
pub(crate) async fn blocks(path: &Path, text: &[u8]) -> Result<Took> {
    let schema = "create table block (id integer primary key, text blob not null) strict";
    let mut database = Database::make(path, schema).await?;
    let (began, cpu) = (Instant::now(), cpu_here()?);
    let mut packer = zstd::bulk::Compressor::new(3)?;
    for block in text.chunks(BLOCK_BYTES) {
        let packed = packer.compress(block)?;
        database.begin().await?;
        sqlx::query("insert into block (text) values ($1)")
            .bind(packed)
            .execute(&mut database.connection)
            .await?;
        database.commit().await?;
    }
    let took = Took { seconds: began.elapsed().as_secs_f64(), cpu: cpu_here()? - cpu };
    database.connection.close().await?;
    Ok(took)
}

/// Bytes of the whole text as one stream of zstd.
pub(crate) fn packed(text: &[u8], level: i32) -> Result<u64> {
    let mut encoder = zstd::stream::Encoder::new(Counted(0), level)?;
    std::io::Write::write_all(&mut encoder, text)?;
    Ok(encoder.finish()?.0)
}

struct Counted(u64);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deckport_tests::spools;

    /// The collector's tables change; then the baseline's statements must.
    #[test]
    fn frames_of_a_spool_fit_into_a_table_like_the_tail() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let long = [b'x'; 40_000];
        let lines: [&[u8]; 3] = [b"one\n", b"two\r\n", &long];
        let console = spools::fill_with(dir.path(), 0, lines.into_iter())?;
        assert_eq!(console.lines, 3);
        let frames = vec![spools::frames(&console)?];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let took = runtime.block_on(straight(&dir.path().join("straight.db"), &frames, 2))?;
        assert!(took.seconds > 0.0);
        assert!(packed(&long, 3)? < 1000);
        Ok(())
    }
}
