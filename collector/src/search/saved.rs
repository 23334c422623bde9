//! Searches that are kept.

use super::{Options, Search};
use crate::audit::Pen;
use crate::log::LogError;
use crate::query::Query;
use crate::store::{Statement, Store, Value, Values, Write};
use deckport_protocol::Scope;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use utoipa::ToSchema;
use uuid::Uuid;

/// Characters of a name.
const NAME: usize = 120;
/// Searches that one organisation keeps.
const MOST: u64 = 500;

/// What is kept of a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SavedSearchFields {
    pub name: String,
    /// In the search language.
    pub query: String,
    /// Rows that match are worth telling somebody; alert rules build on it.
    #[serde(default)]
    pub alert: bool,
}

/// A search that is kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SavedSearch {
    #[schema(value_type = String)]
    pub id: Uuid,
    pub name: String,
    pub query: String,
    pub alert: bool,
    pub created_at: i64,
    pub updated_at: i64,
    /// When the newest row that matches was printed.
    #[schema(required)]
    pub last_match_at: Option<i64>,
    /// Rows that match since midnight.
    pub matches_today: u64,
    /// Why that is not known, or not all of it.
    #[schema(required)]
    pub problem: Option<String>,
}

/// Why a search is not kept.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("{0}")]
    Query(#[from] crate::query::Problem),
    #[error("a name has 1 to {NAME} characters, and none that is not shown")]
    Name,
    #[error("{MOST} searches are kept already; delete one first")]
    Many,
    #[error(transparent)]
    Log(#[from] LogError),
}

const ALL: &str = "select id, name, query, alert, created_at, updated_at from saved_search \
     where organisation_id = $1 and ($2 is null or id = $2) and ($3 is null or venue_id = $3) order by name, id";

fn of_row(row: &Values) -> Result<SavedSearch, LogError> {
    Ok(SavedSearch {
        id: row.parsed(0)?,
        name: row.text(1)?.as_ref().to_owned(),
        query: row.text(2)?.as_ref().to_owned(),
        alert: row.int(3)? != 0,
        created_at: row.int(4)?,
        updated_at: row.int(5)?,
        last_match_at: None,
        matches_today: 0,
        problem: None,
    })
}

impl Search {
    /// All searches that are kept, by name, with what they find now. `tz`: minutes east of UTC, for midnight.
    pub async fn saved(
        &self,
        scope: Scope,
        now_us: i64,
        tz: i32,
    ) -> Result<Vec<SavedSearch>, LogError> {
        let organisation = scope.organisation_id.to_string();
        let rows =
            self.store.fetch(ALL, [organisation.into(), None::<&str>.into(), venue(scope)]).await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut saved = of_row(row)?;
            self.look_again(scope, &mut saved, now_us, tz).await?;
            all.push(saved);
        }
        Ok(all)
    }

    async fn look_again(
        &self,
        scope: Scope,
        saved: &mut SavedSearch,
        now_us: i64,
        tz: i32,
    ) -> Result<(), LogError> {
        // What an older version understood may be no query any more; it is shown all the same, and why it finds nothing.
        let query = match Query::parse(&saved.query, now_us, tz) {
            Ok(query) => query,
            Err(problem) => {
                saved.problem = Some(problem.message);
                return Ok(());
            }
        };
        let newest = Options { limit: 1, ..Options::default() };
        let prepared = self.prepare(scope, &query, newest).await?;
        self.run(prepared, |news| {
            saved.last_match_at = saved.last_match_at.or(news.hits.first().map(|hit| hit.row.at));
            ControlFlow::Continue(())
        })
        .await?;
        // Not written into the query's text: that may be as long as a query can be, and ask for as much.
        let today = match Query::parse("after:today", now_us, tz) {
            Ok(today) => Query { text: query.text, expr: query.expr.and(today.expr) },
            Err(problem) => {
                saved.problem = Some(problem.message);
                return Ok(());
            }
        };
        let counted = Options { count: true, ..Options::default() };
        let prepared = self.prepare(scope, &today, counted).await?;
        let mut unreadable = 0;
        self.run(prepared, |news| {
            saved.matches_today = news.progress.matched;
            unreadable = news.progress.unreadable;
            ControlFlow::Continue(())
        })
        .await?;
        if unreadable > 0 {
            saved.problem =
                Some("parts of the logs cannot be read; `store check` says more".to_owned());
        }
        Ok(())
    }

    /// Keeps a search, or changes one; `None`: there is none with that id.
    pub async fn save(
        &self,
        scope: Scope,
        id: Option<Uuid>,
        fields: &SavedSearchFields,
        now_us: i64,
        pen: Pen<'_>,
    ) -> Result<Option<SavedSearch>, SaveError> {
        Query::parse(&fields.query, now_us, 0)?;
        let name = fields.name.trim();
        if name.is_empty() || name.chars().count() > NAME {
            return Err(SaveError::Name);
        }
        let organisation = scope.organisation_id.to_string();
        if let Some(id) = id {
            let values = [organisation.clone().into(), Some(id.to_string()).into(), venue(scope)];
            let there = self.store.fetch_one(ALL, values).await.map_err(LogError::from)?;
            if there.is_none() {
                return Ok(None);
            }
        }
        let statement = match id {
            Some(id) => Statement {
                sql: "update saved_search set name = $3, query = $4, alert = $5, updated_at = $6 \
                      where id = $1 and organisation_id = $2",
                values: vec![
                    id.to_string().into(),
                    organisation.clone().into(),
                    name.into(),
                    fields.query.as_str().into(),
                    i64::from(fields.alert).into(),
                    now_us.into(),
                ],
            },
            None => {
                let kept = count(&self.store, &organisation).await?;
                if kept >= MOST {
                    return Err(SaveError::Many);
                }
                Statement {
                    sql: "insert into saved_search (id, organisation_id, name, query, alert, \
                          created_at, updated_at, venue_id) values ($1, $2, $3, $4, $5, $6, $6, $7)",
                    values: vec![
                        id.unwrap_or_else(Uuid::now_v7).to_string().into(),
                        organisation.clone().into(),
                        name.into(),
                        fields.query.as_str().into(),
                        i64::from(fields.alert).into(),
                        now_us.into(),
                        scope.venue_id.map(|venue| venue.to_string()).unwrap_or_default().into(),
                    ],
                }
            }
        };
        let id = statement.values[0].clone();
        let pen = match &id {
            Value::Text(id) => pen.about("saved_search", id),
            _ => pen,
        };
        let write = Write { statements: vec![statement], ..Write::default() };
        // What is looked for may be somebody's secret; it is not written down.
        let pen = pen.with("name", name).with("alert", fields.alert);
        pen.write(write).await.map_err(LogError::from)?;
        let row = self.store.fetch_one(ALL, [organisation.into(), id, venue(scope)]).await;
        let row = row.map_err(LogError::from)?;
        Ok(row.as_ref().map(of_row).transpose()?)
    }

    /// No longer keeps a search; whether there was one.
    pub async fn delete_saved(
        &self,
        scope: Scope,
        id: Uuid,
        pen: Pen<'_>,
    ) -> Result<bool, LogError> {
        let organisation = scope.organisation_id.to_string();
        let values = [organisation.clone().into(), Some(id.to_string()).into(), venue(scope)];
        let there = self.store.fetch_one(ALL, values).await?.is_some();
        let statement = Statement {
            sql: "delete from saved_search where id = $1 and organisation_id = $2",
            values: vec![id.to_string().into(), organisation.into()],
        };
        if there {
            pen.write(Write { statements: vec![statement], ..Write::default() }).await?;
        }
        Ok(there)
    }
}

/// Who acts in one venue has that venue's; who acts everywhere has all.
fn venue(scope: Scope) -> Value {
    scope.venue_id.map(|venue| venue.to_string()).into()
}

async fn count(store: &Store, organisation: &str) -> Result<u64, LogError> {
    let sql = "select count(*) from saved_search where organisation_id = $1";
    let row = store.fetch_one(sql, [organisation.into()]).await?;
    Ok(row.map(|row| row.count(0)).transpose()?.unwrap_or(0))
}
