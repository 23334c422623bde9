//! The collector's store seen from outside: whether it is at rest, and how large it is.

use anyhow::{Result, ensure};
use deckport_tests::measure::cpu_of;
use deckport_tests::wait::pause;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than the time between two looks for blocks to merge.
const AT_REST: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(250);
/// Processor time between two looks that is no more than answering pings.
const IDLE: f64 = 0.021;
const PATIENCE: Duration = Duration::from_secs(600);

async fn open(data: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(data.join("collector.db"))
        .read_only(true)
        .disable_statement_logging();
    Ok(options.connect().await?)
}

/// When the collector did something for the last time, and its processor time until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    pub(crate) since: Instant,
    pub(crate) cpu: f64,
}

/// Waits until all is sealed, filtered and merged: nothing is in the tail, and nothing has changed for longer than there is between
/// two merges.
pub(crate) async fn at_rest(data: &Path, pid: u32) -> Result<Rest> {
    let mut database = open(data).await?;
    let begun = Instant::now();
    let mut rest = Rest { since: begun, cpu: cpu_of(pid)? };
    let mut known: Option<[i64; 5]> = None;
    let mut cpu = rest.cpu;
    loop {
        let row = sqlx::query(
            "select exists (select 1 from tail), (select count(*) from block), \
             (select coalesce(max(id), 0) from block), (select count(*) from block_filter), \
             (select count(*) from filter_group)",
        )
        .fetch_one(&mut database)
        .await?;
        let mut now = [0; 5];
        for (at, number) in now.iter_mut().enumerate() {
            *number = row.try_get(at)?;
        }
        let spent = cpu_of(pid)?;
        if now[0] != 0 || known != Some(now) || spent - cpu > IDLE {
            rest = Rest { since: Instant::now(), cpu: spent };
        }
        (known, cpu) = (Some(now), spent);
        if rest.since.elapsed() >= AT_REST {
            database.close().await?;
            return Ok(rest);
        }
        ensure!(begun.elapsed() < PATIENCE, "the collector does not come to rest: {now:?}");
        pause(LOOK);
    }
}

/// What a stopped collector keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) blocks: f64,
    /// Of blocks and of filters.
    pub(crate) block_bytes: f64,
    pub(crate) filter_bytes: f64,
    /// The whole database, free pages included.
    pub(crate) file_bytes: f64,
}

pub(crate) async fn measure(data: &Path) -> Result<Stored> {
    let mut database = open(data).await?;
    let row = sqlx::query(
        "select (select count(*) from block), \
         (select coalesce(sum(length(rows_part) + length(records_part) + length(text_part) \
                              + coalesce(length(state_before), 0)), 0) from block_part), \
         (select coalesce(sum(length(bits)), 0) from block_filter) \
         + (select coalesce(sum(length(blocks)), 0) from filter_group) \
         + (select coalesce(sum(length(bits)), 0) from filter_slice)",
    )
    .fetch_one(&mut database)
    .await?;
    let number = |at: usize| -> Result<f64> { Ok(row.try_get::<i64, _>(at)? as f64) };
    let file = std::fs::metadata(data.join("collector.db"))?.len();
    let stored = Stored {
        blocks: number(0)?,
        block_bytes: number(1)?,
        filter_bytes: number(2)?,
        file_bytes: file as f64,
    };
    database.close().await?;
    Ok(stored)
}
