//! The audit trail: looked through, taken out, verified.

use super::App;
use super::extract::{Params, bad};
use super::routes::ErrorBody;
use super::written::Note;
use crate::audit::{
    AuditEntry, Inspected, Order, Outcome, Stored, Verified, VerifyError, Wanted, verify,
};
use crate::auth::Answer;
use crate::store::ReadError;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chrono::{DateTime, SecondsFormat};
use deckport_protocol::rows::visible_json;
use deckport_protocol::{Actor, ErrorCode, Pin, Refusal};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

const PAGE: u64 = 100;
const MOST: u64 = 500;
/// Entries that an export reads at once.
const EXPORTED: u64 = 1000;
/// How long somebody waits for a verification; the command line has no such bound.
const VERIFIED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditParams {
    /// `operator`, `console`, `local_admin`, `shell`, `collector` or `stranger`.
    actor: Option<String>,
    /// Such as `console_revoked`.
    action: Option<String>,
    /// `done`, `denied` or `failed`.
    outcome: Option<String>,
    /// A kind of subject (`console`), or the id of one.
    subject: Option<String>,
    /// Microseconds since the Unix epoch.
    from: Option<i64>,
    /// The moment behind the last one.
    to: Option<i64>,
    /// Somewhere in the entry.
    text: Option<String>,
    /// The `next` of the page before.
    before: Option<u64>,
    /// At most 500, 100 by default.
    limit: Option<u64>,
    /// Of an export: `csv` (the default) or `jsonl`.
    format: Option<String>,
}

impl AuditParams {
    fn wanted(self) -> Result<Wanted, Answer> {
        let outcomes = [Outcome::Done, Outcome::Denied, Outcome::Failed];
        if let Some(outcome) = &self.outcome
            && !outcomes.iter().any(|known| known.as_str() == outcome)
        {
            return Err(bad("outcome is `done`, `denied` or `failed`"));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Wanted {
            actor: given(self.actor),
            action: given(self.action),
            outcome: self.outcome,
            subject: given(self.subject),
            from: self.from,
            to: self.to,
            text: given(self.text),
        })
    }
}

/// How far the trail was found to be as it was written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerifiedUpTo {
    position: u64,
    at: i64,
    sound: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// The newest first.
    entries: Vec<AuditEntry>,
    #[schema(required)]
    next: Option<u64>,
    /// The newest entry of the trail.
    position: u64,
    /// The newest entry that is signed and kept by consoles.
    checkpoint: u64,
    /// What was verified last since the collector was started.
    #[schema(required)]
    verified: Option<VerifiedUpTo>,
}

/// Who did what, the newest first.
#[utoipa::path(get, path = "/api/v1/audit", params(AuditParams),
    responses((status = 200, body = AuditPage), (status = 400, body = ErrorBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Params(params): Params<AuditParams>,
) -> Result<Json<AuditPage>, Answer> {
    let limit = params.limit.unwrap_or(PAGE).clamp(1, MOST);
    let before = params.before.unwrap_or(i64::MAX.cast_unsigned());
    let wanted = params.wanted()?;
    let organisation = actor.scope().organisation_id;
    let found = app.audit.page(organisation, &wanted, Order::Before(before), limit).await?;
    let full = found.len() as u64 == limit;
    let next = found.last().map(|entry| entry.position).filter(|&at| full && at > 1);
    let (position, checkpoint) = app.audit.positions();
    let verified = app.audit.verified().map(|(verified, at)| VerifiedUpTo {
        position: verified.position,
        at,
        sound: verified.is_sound(),
    });
    Ok(Json(AuditPage {
        entries: found.iter().map(Stored::shown).collect(),
        next,
        position,
        checkpoint,
        verified,
    }))
}

/// The trail as a file, the oldest entry first. In CSV, cells that a spreadsheet would take for a formula begin with `'`.
#[utoipa::path(get, path = "/api/v1/audit/export", params(AuditParams),
    responses((status = 200, content_type = "text/csv", body = String),
        (status = 400, body = ErrorBody)))]
pub(super) async fn export(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Params(params): Params<AuditParams>,
) -> Result<Response, Answer> {
    let (csv, kind, ending) = match params.format.as_deref() {
        None | Some("csv") => (true, "text/csv; charset=utf-8", "csv"),
        Some("jsonl") => (false, "application/jsonl", "jsonl"),
        Some(_) => return Err(bad("format is `csv` or `jsonl`")),
    };
    let wanted = params.wanted()?;
    note.with("format", ending);
    note.pen(&app.audit).record().await.map_err(|error| crate::deployment::refusal_of(&error))?;
    // Behind this nothing belongs to it: an export that grows while it is read would not end.
    let (until, _) = app.audit.positions();
    let organisation = actor.scope().organisation_id;
    let audit = app.audit;
    // The last position that was written, and whether the head of the table was.
    let chunks = futures_util::stream::try_unfold((0, !csv), move |(after, headed)| {
        let (audit, wanted) = (audit.clone(), wanted.clone());
        async move {
            let order = Order::After(after);
            let mut found = audit.page(organisation, &wanted, order, EXPORTED).await?;
            found.retain(|entry| entry.position <= until);
            let Some(last) = found.last().map(|entry| entry.position) else {
                let head = (!headed).then(|| (bytes::Bytes::from(head()), (after, true)));
                return Ok::<_, ReadError>(head);
            };
            let mut out = if headed { Vec::new() } else { head() };
            for entry in found.iter().map(Stored::shown) {
                if csv {
                    cells(&mut out, &row(&entry));
                } else {
                    let line = serde_json::to_string(&entry).unwrap_or_default();
                    out.extend_from_slice(visible_json(&line).as_bytes());
                    out.push(b'\n');
                }
            }
            Ok(Some((bytes::Bytes::from(out), (last, true))))
        }
    });
    let name = format!("attachment; filename=\"audit.{ending}\"");
    let headers = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

const CELLS: [&str; 13] = [
    "position",
    "at",
    "actor",
    "actor_id",
    "role",
    "address",
    "action",
    "subject_kind",
    "subject_id",
    "outcome",
    "detail",
    "hash",
    "at_us",
];

fn head() -> Vec<u8> {
    let mut out = Vec::new();
    cells(&mut out, &CELLS.map(str::to_owned));
    out
}

fn row(entry: &AuditEntry) -> [String; 13] {
    let at = DateTime::from_timestamp_micros(entry.at)
        .map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
    let subject = entry.subject.clone();
    let (kind, id) = subject.map(|subject| (subject.kind, subject.id)).unzip();
    [
        entry.position.to_string(),
        at.unwrap_or_default(),
        entry.actor.kind.clone(),
        entry.actor.id.clone().unwrap_or_default(),
        entry.actor.role.clone().unwrap_or_default(),
        entry.address.clone().unwrap_or_default(),
        entry.action.clone(),
        kind.unwrap_or_default(),
        id.unwrap_or_default(),
        entry.outcome.clone(),
        visible_json(&entry.detail.to_string()).into_owned(),
        entry.hash.clone(),
        entry.at.to_string(),
    ]
}

/// One line of CSV, in which no cell is a formula.
fn cells(out: &mut Vec<u8>, cells: &[String]) {
    let mut writer = csv::Writer::from_writer(&mut *out);
    let harmless = cells.iter().map(|cell| {
        if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            format!("'{cell}")
        } else {
            cell.clone()
        }
    });
    // Memory takes everything.
    let _ = writer.write_record(harmless);
    let _ = writer.flush();
}

/// What a verification found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditVerified {
    sound: bool,
    at: i64,
    found: Verified,
    /// By what the trail's key is known.
    #[schema(required)]
    key: Option<Pin>,
}

/// Reads the whole trail and holds it against what was signed. One at a time.
#[utoipa::path(get, path = "/api/v1/audit/verify",
    responses((status = 200, body = AuditVerified), (status = 429, body = ErrorBody)))]
pub(super) async fn verify_all(
    State(app): State<App>,
    Extension(note): Extension<Note>,
) -> Result<Json<AuditVerified>, Answer> {
    static ONE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);
    let _one = ONE.try_acquire().map_err(|_| {
        Answer(Refusal::new(ErrorCode::RATE_EXCEEDED, "the trail is being verified already"))
    })?;
    let inspected = Inspected {
        data_dir: &app.config.data_dir,
        database: &app.config.database,
        copies: &[],
        key: None,
        until: Some(tokio::time::Instant::now() + VERIFIED_WITHIN),
    };
    let found = verify(inspected).await.map_err(|error| match error {
        VerifyError::Read(error) => error.into(),
        error => {
            tracing::error!(%error, "the audit trail could not be verified");
            Answer(Refusal::new(ErrorCode::INTERNAL, error.to_string()))
        }
    })?;
    app.audit.has_verified(&found);
    note.with("position", found.position);
    note.with("problems", found.problems.len() as u64 + found.more_problems);
    let key = found.key;
    Ok(Json(AuditVerified { sound: found.is_sound(), at: app.config.clock.now_us(), found, key }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let mut out = Vec::new();
        let bad = ["=1+1", "+1", "-1", "@a", "\tb", "\rc", "fine, \"quoted\"", "a=b"];
        cells(&mut out, &bad.map(str::to_owned));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "'=1+1,'+1,'-1,'@a,'\tb,\"'\rc\",\"fine, \"\"quoted\"\"\",a=b\n");
    }
}
