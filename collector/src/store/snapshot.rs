//! The database as it is at one moment, read beside whatever writes to it: without its lock, without bringing it to this
//! version, without changing anything.

use super::connection::{bind_postgres, bind_sqlite};
use super::read::{self, ReadError, Values};
use super::write::Value;
use super::{OpenError, postgres};
use crate::config::Database;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, SqlSafeStr};
use std::path::Path;
use std::time::Duration;

/// See the module. What it holds open ends with it.
#[derive(Debug)]
pub struct Snapshot(Reader);

#[derive(Debug)]
enum Reader {
    Sqlite(SqliteConnection),
    Postgres(Box<PgConnection>),
}

impl Snapshot {
    /// Opens the database that a collector with this data directory uses. It may be running.
    pub async fn open(data_dir: &Path, database: &Database) -> Result<Self, OpenError> {
        match database {
            Database::InDirectory => {
                let path = data_dir.join("collector.db");
                let failed =
                    |source| OpenError::Database { path: path.display().to_string(), source };
                let options = SqliteConnectOptions::new()
                    .filename(&path)
                    .read_only(true)
                    .busy_timeout(Duration::from_secs(10))
                    .log_statements(tracing::log::LevelFilter::Off)
                    .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
                let mut connection = options.connect().await.map_err(failed)?;
                sqlx::query("begin").execute(&mut connection).await.map_err(failed)?;
                Ok(Self(Reader::Sqlite(connection)))
            }
            Database::Postgres(url) => {
                let (options, path) = postgres::options(url)?;
                let failed = |source| OpenError::Database { path: path.clone(), source };
                let mut connection = options.connect().await.map_err(failed)?;
                sqlx::query("begin transaction isolation level repeatable read read only")
                    .execute(&mut connection)
                    .await
                    .map_err(failed)?;
                Ok(Self(Reader::Postgres(Box::new(connection))))
            }
        }
    }

    /// Whether there is a table of that name.
    pub async fn has_table(&mut self, name: &'static str) -> Result<bool, ReadError> {
        let sql = match &self.0 {
            Reader::Sqlite(_) => "select 1 from sqlite_master where type = 'table' and name = $1",
            Reader::Postgres(_) => {
                "select 1::bigint from pg_catalog.pg_tables where tablename = $1"
            }
        };
        Ok(!self.fetch(sql, [name.into()]).await?.is_empty())
    }

    /// The rows that a query finds. Its values are `$1`, `$2`, … in the text.
    pub async fn fetch(
        &mut self,
        sql: impl SqlSafeStr,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Values>, ReadError> {
        let rows = match &mut self.0 {
            Reader::Sqlite(connection) => {
                let mut arguments = SqliteArguments::default();
                for value in values {
                    bind_sqlite(&mut arguments, &value)?;
                }
                let rows = sqlx::query_with(sql, arguments).fetch_all(connection).await?;
                rows.iter().map(read::of_sqlite).collect::<Result<_, _>>()?
            }
            Reader::Postgres(connection) => {
                let mut arguments = PgArguments::default();
                for value in values {
                    bind_postgres(&mut arguments, &value)?;
                }
                let rows = sqlx::query_with(sql, arguments).fetch_all(&mut **connection).await?;
                rows.iter().map(read::of_postgres).collect::<Result<_, _>>()?
            }
        };
        Ok(rows)
    }
}
