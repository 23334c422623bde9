//! A connection to either database, and a pool of them.

use super::read::{self, Values};
use super::write::{Sort, Value, WriteError};
use super::{postgres, sqlite, within};
use sqlx::postgres::{PgArguments, PgConnection, PgPool};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool};
use sqlx::{Arguments as _, Connection as _, SqlSafeStr};

/// The writer's.
#[derive(Debug)]
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Box<PgConnection>),
}

/// Those that only read.
#[derive(Debug)]
pub(super) enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A statement's values, as the database wants them.
pub(super) enum Bound {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
}

impl Bound {
    fn add(&mut self, value: &Value) -> Result<(), WriteError> {
        let added = match self {
            Self::Sqlite(arguments) => bind_sqlite(arguments, value),
            Self::Postgres(arguments) => bind_postgres(arguments, value),
        };
        added.map_err(|error| WriteError::Refused(error.to_string().into()))
    }
}

impl Connection {
    /// Binds the values of one statement.
    pub(super) fn bind<'a>(
        &self,
        values: impl IntoIterator<Item = &'a Value>,
    ) -> Result<Bound, WriteError> {
        let mut bound = match self {
            Self::Sqlite(_) => Bound::Sqlite(SqliteArguments::default()),
            Self::Postgres(_) => Bound::Postgres(PgArguments::default()),
        };
        values.into_iter().try_for_each(|value| bound.add(value))?;
        Ok(bound)
    }

    /// How the place of a statement's value is written, from 1. SQLite looks a name up for each value that is bound, and `$1` is a
    /// name: with a thousand values in a statement that is a tenth of all it does.
    pub(super) const fn mark(&self) -> fn(usize) -> String {
        match self {
            Self::Sqlite(_) => |_| "?".to_owned(),
            Self::Postgres(_) => |at| format!("${at}"),
        }
    }

    /// What begins a transaction that will write.
    pub(super) const fn begin(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "begin immediate",
            Self::Postgres(_) => "begin",
        }
    }

    pub(super) async fn execute(
        &mut self,
        sql: impl SqlSafeStr,
        bound: Bound,
    ) -> Result<(), WriteError> {
        match (self, bound) {
            (Self::Sqlite(connection), Bound::Sqlite(arguments)) => {
                let query = sqlx::query_with(sql, arguments);
                query.execute(connection).await.map_err(|error| sqlite::judge(&error))?;
            }
            (Self::Postgres(connection), Bound::Postgres(arguments)) => {
                let query = sqlx::query_with(sql, arguments);
                query.execute(&mut **connection).await.map_err(|error| postgres::judge(&error))?;
            }
            (Self::Sqlite(_), Bound::Postgres(_)) | (Self::Postgres(_), Bound::Sqlite(_)) => {
                unreachable!("a statement is bound by the connection that executes it")
            }
        }
        Ok(())
    }

    /// Closes it; it holds nothing that could be lost.
    pub(super) async fn close(self) {
        let closed = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
        if let Err(error) = closed {
            tracing::warn!(error = %error, "a database connection did not close cleanly");
        }
    }
}

impl Readers {
    pub(super) async fn fetch(
        &self,
        sql: impl SqlSafeStr,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Values>, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => {
                let mut arguments = SqliteArguments::default();
                for value in values {
                    bind_sqlite(&mut arguments, &value)?;
                }
                let rows = sqlx::query_with(sql, arguments).fetch_all(pool).await?;
                rows.iter().map(read::of_sqlite).collect()
            }
            Self::Postgres(pool) => {
                let mut arguments = PgArguments::default();
                for value in values {
                    bind_postgres(&mut arguments, &value)?;
                }
                let query = sqlx::query_with(sql, arguments);
                let rows = match within::scope() {
                    None => query.fetch_all(pool).await?,
                    Some(scope) => {
                        let mut transaction = pool.begin().await?;
                        postgres::hold_to(scope, &mut transaction).await?;
                        let rows = query.fetch_all(&mut *transaction).await?;
                        transaction.commit().await?;
                        rows
                    }
                };
                rows.iter().map(read::of_postgres).collect()
            }
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

pub(super) fn bind_sqlite(
    arguments: &mut SqliteArguments,
    value: &Value,
) -> Result<(), sqlx::Error> {
    match value {
        Value::Null(_) => arguments.add(None::<i64>),
        Value::Int(value) => arguments.add(*value),
        Value::Text(value) => arguments.add(&**value),
        Value::Blob(value) => arguments.add(&**value),
    }
    .map_err(sqlx::Error::Encode)
}

pub(super) fn bind_postgres(arguments: &mut PgArguments, value: &Value) -> Result<(), sqlx::Error> {
    match value {
        Value::Null(Sort::Int) => arguments.add(None::<i64>),
        Value::Null(Sort::Text) => arguments.add(None::<&str>),
        Value::Null(Sort::Blob) => arguments.add(None::<&[u8]>),
        Value::Int(value) => arguments.add(*value),
        Value::Text(value) => arguments.add(&**value),
        Value::Blob(value) => arguments.add(&**value),
    }
    .map_err(sqlx::Error::Encode)
}
