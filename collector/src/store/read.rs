//! Reading: rows of values, whatever the database.

use super::Store;
use super::write::{Sort, Value};
use bytes::Bytes;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqlSafeStr, TypeInfo as _, ValueRef as _};
use std::sync::Arc;

/// The database could not be read, or holds something else than was expected.
#[derive(Debug, thiserror::Error)]
#[error("the database could not be read")]
pub struct ReadError(#[from] sqlx::Error);

impl ReadError {
    /// A stored value that is not what its column holds.
    pub fn unexpected(what: impl std::fmt::Display) -> Self {
        Self(sqlx::Error::Decode(what.to_string().into()))
    }
}

/// The values of a row that was read, by the position of their column.
#[derive(Clone, Debug)]
pub struct Values(Vec<Value>);

impl Values {
    fn get(&self, column: usize) -> Result<&Value, ReadError> {
        self.0.get(column).ok_or_else(|| {
            ReadError(sqlx::Error::ColumnIndexOutOfBounds { index: column, len: self.0.len() })
        })
    }

    /// An integer that may be missing.
    pub fn maybe_int(&self, column: usize) -> Result<Option<i64>, ReadError> {
        match self.get(column)? {
            Value::Null(_) => Ok(None),
            Value::Int(value) => Ok(Some(*value)),
            Value::Text(_) | Value::Blob(_) => Err(other(column, "an integer")),
        }
    }

    pub fn int(&self, column: usize) -> Result<i64, ReadError> {
        self.maybe_int(column)?.ok_or_else(|| other(column, "an integer"))
    }

    /// An integer that is never negative.
    pub fn count(&self, column: usize) -> Result<u64, ReadError> {
        self.int(column).map(i64::cast_unsigned)
    }

    /// Text that may be missing.
    pub fn maybe_text(&self, column: usize) -> Result<Option<Arc<str>>, ReadError> {
        match self.get(column)? {
            Value::Null(_) => Ok(None),
            Value::Text(value) => Ok(Some(Arc::clone(value))),
            Value::Int(_) | Value::Blob(_) => Err(other(column, "text")),
        }
    }

    pub fn text(&self, column: usize) -> Result<Arc<str>, ReadError> {
        self.maybe_text(column)?.ok_or_else(|| other(column, "text"))
    }

    /// Text that stands for something else, such as an id.
    pub fn parsed<T: std::str::FromStr>(&self, column: usize) -> Result<T, ReadError> {
        self.text(column)?.parse().map_err(|_| other(column, "of its form"))
    }

    /// Bytes that may be missing.
    pub fn maybe_blob(&self, column: usize) -> Result<Option<Bytes>, ReadError> {
        match self.get(column)? {
            Value::Null(_) => Ok(None),
            Value::Blob(value) => Ok(Some(value.clone())),
            Value::Int(_) | Value::Text(_) => Err(other(column, "bytes")),
        }
    }

    pub fn blob(&self, column: usize) -> Result<Bytes, ReadError> {
        self.maybe_blob(column)?.ok_or_else(|| other(column, "bytes"))
    }
}

fn other(column: usize, expected: &str) -> ReadError {
    ReadError::unexpected(format_args!("column {column} is not {expected}"))
}

impl Store {
    /// The rows that a query finds. Its values are `$1`, `$2`, … in the text.
    pub async fn fetch(
        &self,
        sql: impl SqlSafeStr,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Values>, ReadError> {
        Ok(self.readers.fetch(sql, values).await?)
    }

    /// The only row, if there is one.
    pub async fn fetch_one(
        &self,
        sql: impl SqlSafeStr,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<Values>, ReadError> {
        Ok(self.fetch(sql, values).await?.into_iter().next())
    }
}

pub(super) fn of_sqlite(row: &SqliteRow) -> Result<Values, sqlx::Error> {
    let mut values = Vec::with_capacity(row.len());
    for column in 0..row.len() {
        let value = row.try_get_raw(column)?;
        values.push(if value.is_null() {
            Value::Null(Sort::Int)
        } else {
            match value.type_info().name() {
                "INTEGER" => Value::Int(row.try_get(column)?),
                "TEXT" => Value::Text(row.try_get::<String, _>(column)?.into()),
                _ => Value::Blob(row.try_get::<Vec<u8>, _>(column)?.into()),
            }
        });
    }
    Ok(Values(values))
}

pub(super) fn of_postgres(row: &PgRow) -> Result<Values, sqlx::Error> {
    let mut values = Vec::with_capacity(row.len());
    for column in 0..row.len() {
        let value = row.try_get_raw(column)?;
        values.push(if value.is_null() {
            Value::Null(Sort::Int)
        } else {
            match value.type_info().name() {
                "INT8" => Value::Int(row.try_get(column)?),
                "INT4" => Value::Int(row.try_get::<i32, _>(column)?.into()),
                "BYTEA" => Value::Blob(row.try_get::<Vec<u8>, _>(column)?.into()),
                _ => Value::Text(row.try_get::<String, _>(column)?.into()),
            }
        });
    }
    Ok(Values(values))
}
