//! The database on a PostgreSQL server.

use super::checkpoint::Checkpoint;
use super::connection::{Connection, Readers};
use super::{Held, OpenError, WriteError};
use deckport_protocol::Scope;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const READERS: u32 = 6;
const LOCKED_WITHIN: Duration = Duration::from_secs(3);
/// The advisory lock of the collector that uses a database. The number is ours alone: "deckport" in ASCII.
const LOCK: i64 = 0x6465_636b_706f_7274;

/// How to connect, and the address without what is secret in it.
pub(super) fn options(url: &str) -> Result<(PgConnectOptions, String), OpenError> {
    let path = url.rsplit_once('@').map_or(url, |(_, rest)| rest).to_owned();
    let database = |source| OpenError::Database { path: path.clone(), source };
    let options: PgConnectOptions = url.parse().map_err(database)?;
    let options = options
        .application_name("deckport-collector")
        .statement_cache_capacity(512)
        // Said again here: a server may be set to acknowledge before the disk has it.
        .options([("synchronous_commit", "on"), ("deckport.organisation", "all")])
        .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO)
        .log_statements(tracing::log::LevelFilter::Off);
    Ok((options, path))
}

/// Connects, and brings the database to this version.
pub(super) async fn open(
    url: &str,
    lock: File,
) -> Result<(Connection, Readers, Arc<Held>, Checkpoint), OpenError> {
    let (options, path) = options(url)?;
    let database = |source| OpenError::Database { path: path.clone(), source };
    let mut connection = options.connect().await.map_err(database)?;
    let deadline = Instant::now() + LOCKED_WITHIN;
    // A collector that has just ended: its server process may need a moment to notice.
    loop {
        let free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(LOCK)
            .fetch_one(&mut connection)
            .await
            .map_err(database)?;
        if free {
            break;
        }
        if Instant::now() >= deadline {
            return Err(OpenError::InUse { path });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let migrator = sqlx::migrate!("migrations/postgres");
    let migrated = migrator.run(&mut connection).await;
    migrated.map_err(|source| OpenError::Migrate { path: path.clone(), source })?;
    let unbound =
        "select rolsuper or rolbypassrls from pg_catalog.pg_roles where rolname = current_user";
    if sqlx::query_scalar(unbound).fetch_one(&mut connection).await.map_err(database)? {
        tracing::warn!(
            "row-level security does not bind the role that this collector uses PostgreSQL with; give it one that is no superuser"
        );
    }
    let readers = PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options)
        .await
        .map_err(database)?;
    let held = Arc::new(Held { database: None, _lock: lock });
    let checkpoint = Checkpoint::new(None, Arc::clone(&held));
    Ok((Connection::Postgres(Box::new(connection)), Readers::Postgres(readers), held, checkpoint))
}

/// Holds a transaction to what a scope covers, until it ends.
pub(super) async fn hold_to(
    scope: Scope,
    transaction: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let sql = "select set_config('deckport.organisation', $1, true), \
               set_config('deckport.venue', $2, true)";
    sqlx::query(sql)
        .bind(scope.organisation_id.to_string())
        .bind(scope.venue_id.map(|venue| venue.to_string()).unwrap_or_default())
        .execute(transaction)
        .await?;
    Ok(())
}

/// What an error of PostgreSQL means for the write; by its class of SQLSTATE.
pub(super) fn judge(error: &sqlx::Error) -> WriteError {
    let code = match error {
        sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    };
    let why = || error.to_string().into();
    match code.as_deref() {
        // disk_full
        Some("53100") => WriteError::Full,
        // data exceptions, constraints, transactions that could not be, syntax
        Some(code) if ["22", "23", "40", "42"].contains(&code.get(..2).unwrap_or_default()) => {
            WriteError::Refused(why())
        }
        // The server is going down, the connection is lost, or something that nobody knows here.
        Some(_) | None => WriteError::Fatal(why()),
    }
}
