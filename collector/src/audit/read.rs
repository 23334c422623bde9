//! Looking through the trail.

use super::entry::{COLUMNS, Stored};
use super::{Audit, Verified};
use crate::store::{ReadError, Value};
use deckport_protocol::OrganisationId;
use sqlx::AssertSqlSafe;
use std::fmt::Write as _;

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `operator`, `console`, `stranger`, …
    pub actor: Option<String>,
    pub action: Option<String>,
    pub outcome: Option<String>,
    /// A kind of subject, or the id of one.
    pub subject: Option<String>,
    /// Microseconds since the Unix epoch.
    pub from: Option<i64>,
    /// The moment behind the last one.
    pub to: Option<i64>,
    /// Somewhere in it, whatever the case.
    pub text: Option<String>,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The newest first, before this position.
    Before(u64),
    /// The oldest first, behind this position.
    After(u64),
}

/// `%text%`, for `like … escape '\'`.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

impl Audit {
    /// Entries of an organisation, at most `limit`.
    pub async fn page(
        &self,
        organisation: OrganisationId,
        wanted: &Wanted,
        order: Order,
        limit: u64,
    ) -> Result<Vec<Stored>, ReadError> {
        let mut sql = format!("select {COLUMNS} from audit where organisation_id = $1");
        let mut values: Vec<Value> = vec![organisation.to_string().into()];
        let mut and = |condition: &str, value: Value| {
            values.push(value);
            let mark = format!("${}", values.len());
            let _ = write!(sql, " and {}", condition.replace('?', &mark));
        };
        if let Some(kind) = &wanted.actor {
            let kind = serde_json::to_string(kind).unwrap_or_default();
            let mut like = pattern(&kind);
            // Its JSON begins with the kind.
            like.replace_range(..1, r#"{"kind":"#);
            and(r"actor like ? escape '\'", like.into());
        }
        if let Some(action) = &wanted.action {
            and("action = ?", action.as_str().into());
        }
        if let Some(outcome) = &wanted.outcome {
            and("outcome = ?", outcome.as_str().into());
        }
        if let Some(subject) = &wanted.subject {
            and("(subject_id = ? or subject_kind = ?)", subject.as_str().into());
        }
        if let Some(from) = wanted.from {
            and("at >= ?", from.into());
        }
        if let Some(to) = wanted.to {
            and("at < ?", to.into());
        }
        if let Some(text) = wanted.text.as_deref().filter(|text| !text.is_empty()) {
            let condition = r"(lower(action) like ? escape '\' or lower(actor) like ? escape '\'
                or lower(coalesce(address, '')) like ? escape '\'
                or lower(coalesce(subject_id, '')) like ? escape '\'
                or lower(detail) like ? escape '\')";
            and(condition, pattern(text).into());
        }
        match order {
            Order::Before(before) => and("position < ?", before.into()),
            Order::After(after) => and("position > ?", after.into()),
        }
        values.push(limit.into());
        let direction = match order {
            Order::Before(_) => "desc",
            Order::After(_) => "asc",
        };
        let _ = write!(sql, " order by position {direction} limit ${}", values.len());
        // Put together from the pieces above; what was asked for stands in the values.
        let rows = self.store.fetch(AssertSqlSafe(sql), values).await?;
        rows.iter().map(Stored::read).collect()
    }

    /// What the newest entry of this action says under a name.
    pub async fn last_said(
        &self,
        action: &'static str,
        name: &str,
    ) -> Result<Option<String>, ReadError> {
        let sql = "select detail from audit where action = $1 order by position desc limit 1";
        let row = self.store.fetch_one(sql, [action.into()]).await?;
        let detail = row.map(|row| row.text(0)).transpose()?;
        let detail = detail.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        Ok(detail.and_then(|detail| detail[name].as_str().map(str::to_owned)))
    }

    /// What was verified last in this process, and when.
    pub fn verified(&self) -> Option<(Verified, i64)> {
        self.verified.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Remembers what was verified.
    pub fn has_verified(&self, verified: &Verified) {
        let now_us = self.clock.now_us();
        let mut last = self.verified.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = Some((verified.clone(), now_us));
    }
}
