//! Row-level security on PostgreSQL: what a query that forgot to ask whose rows it may see is held to.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::Collector;
use deckport_collector::config::Database;
use deckport_collector::metrics::Metrics;
use deckport_collector::store::{Store, beyond, within};
use deckport_protocol::{OrganisationId, Outcome, Scope, VenueId};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::sync::Arc;
use support::postgres::Postgres;
use support::{Console, Run, config, finished};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Of nobody: figures of the store itself, filters that say nothing without their blocks.
const NOBODYS: [&str; 6] = [
    "_sqlx_migrations",
    "audit_checkpoint",
    "block_filter",
    "filter_group",
    "filter_slice",
    "meta",
];
/// What a run leaves a row in.
const OF_A_RUN: [&str; 6] = ["console", "stream", "deployment", LINES, "event", "audit"];
/// Lines move from one to the other when they are sealed.
const LINES: &str = "(select stream from tail union all select stream from block) as lines";

#[tokio::test]
async fn what_forgets_to_ask_sees_nothing_of_others() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let url = postgres.database();
    config.database = Database::Postgres(url.clone());
    let collector = Collector::start(config.clone()).await.unwrap();
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=5)).await;
    console.send(run.frame(&[finished(6, Outcome::Failed)])).await;
    console.acked(6).await;
    collector.shutdown().await.unwrap();

    // Every table has its wall, also those that come later, and none can be walked around by whoever owns it.
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let open: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace \
         and not (relrowsecurity and relforcerowsecurity) order by relname",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(open, NOBODYS);

    // A connection that does not say for whom it asks.
    for table in OF_A_RUN {
        let sql = AssertSqlSafe(format!("select count(*) from {table}"));
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        assert_eq!(count, 0, "{table}");
    }
    // One that says it, and writes what is another's.
    let other = OrganisationId::new();
    let says = AssertSqlSafe(format!("set deckport.organisation = '{other}'"));
    sqlx::query(says).execute(&mut connection).await.unwrap();
    let moved = sqlx::query("update deployment set name = 'theirs'").execute(&mut connection).await;
    assert_eq!(moved.unwrap().rows_affected(), 0);
    let insert = "insert into saved_search (id, organisation_id, name, query, alert, created_at, updated_at) \
         values ('s', $1, 'n', 'q', 0, 0, 0)";
    let sole = Scope::SOLE.organisation_id.to_string();
    let refused = sqlx::query(insert).bind(&sole).execute(&mut connection).await.unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");
    sqlx::query(insert).bind(other.to_string()).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    // The collector's own queries, in work that is done for somebody.
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    let store = Store::open(&config, metrics, &tasks, stop.clone()).await.unwrap();
    let count = async |table: &str| {
        let sql = AssertSqlSafe(format!("select count(*) from {table}"));
        store.fetch_one(sql, []).await.unwrap().unwrap().count(0).unwrap()
    };
    let elsewhere = Scope { venue_id: Some(VenueId::new()), ..Scope::SOLE };
    for table in OF_A_RUN {
        let all = count(table).await;
        assert!(all > 0, "{table}");
        assert_eq!(within(Scope::SOLE, count(table)).await, all, "{table}");
        assert_eq!(within(Scope::all(other), count(table)).await, 0, "{table}");
        assert_eq!(within(Scope::all(other), beyond(count(table))).await, all, "{table}");
        if table != "audit" {
            assert_eq!(within(elsewhere, count(table)).await, 0, "{table}");
        }
        assert_eq!(count(table).await, all, "{table}: what held the last one holds nobody after");
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    store.close().await;
}
