//! Taking a log out: as text, as JSON Lines, as a page to print or mail, as bytes.
//!
//! Only the bytes are what a console printed. In text and on the page, characters that hide or act are signs, as in the viewer; in
//! JSON they are escaped, and read as they were.

mod colour;
mod page;

use super::App;
use super::extract::{Named, Params, bad};
use super::raw::bytes_of;
use super::routes::{ErrorBody, entry};
use crate::auth::{Answer, RAW};
use crate::log::LogError;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use deckport_protocol::rows::{Row, visible, visible_json};
use deckport_protocol::{Actor, DeploymentId};
use serde::Deserialize;
use utoipa::IntoParams;

const PAGE_ROWS: u64 = 2000;
const PAGE_BYTES: usize = 2 * 1024 * 1024;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportParams {
    /// `text` (the default), `jsonl`, `html` or `raw`.
    format: Option<String>,
    /// The first row.
    #[serde(default)]
    from: u64,
    /// The row behind the last one.
    to: Option<u64>,
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    JsonLines,
    Html,
}

/// The log, or a stretch of it, to keep elsewhere. `raw` is the bytes of these rows as they came.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/export",
    params(("id" = DeploymentId, Path), ExportParams),
    responses((status = 200, content_type = "text/plain", body = String),
        (status = 404, body = ErrorBody)))]
pub(super) async fn export(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
    Params(params): Params<ExportParams>,
) -> Result<Response, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let (form, kind, ending) = match params.format.as_deref() {
        None | Some("text") => (Form::Text, "text/plain; charset=utf-8", "txt"),
        Some("jsonl") => (Form::JsonLines, "application/jsonl", "jsonl"),
        Some("html") => (Form::Html, "text/html; charset=utf-8", "html"),
        Some("raw") => {
            RAW.demand(&actor)?;
            return bytes_of(&app, &entry, params.from..params.to.unwrap_or(u64::MAX)).await;
        }
        Some(_) => return Err(bad("format is `text`, `jsonl`, `html` or `raw`")),
    };
    let until = params.to.unwrap_or(u64::MAX).min(entry.durable().rows);
    let title = entry.summary(app.deployments.now_us()).map_or_else(String::new, |summary| {
        format!("{} · {} · {}", summary.name, summary.template, entry.id)
    });
    let log = app.deployments.log().clone();
    let stream = entry.head.stream;
    let begin = match form {
        Form::Html => page::begin(&title),
        Form::Text | Form::JsonLines => String::new(),
    };
    // What comes first, the next row, and whether the end was written.
    let state = (Some(begin), params.from, false);
    let chunks = futures_util::stream::try_unfold(state, move |(begin, from, ended)| {
        let log = log.clone();
        async move {
            if let Some(begin) = begin.filter(|begin| !begin.is_empty()) {
                return Ok(Some((bytes::Bytes::from(begin), (None, from, ended))));
            }
            let mut out = String::new();
            let mut next = from;
            if from < until {
                let count = PAGE_ROWS.min(until - from);
                let page = log.page(stream, from, count, PAGE_BYTES).await?;
                for row in &page.rows {
                    write_row(&mut out, form, row);
                    next = row.row + 1;
                }
            }
            if next == from {
                let end = matches!(form, Form::Html) && !ended;
                let end = end.then(|| (bytes::Bytes::from(page::END), (None, from, true)));
                return Ok::<_, LogError>(end);
            }
            Ok(Some((bytes::Bytes::from(out), (None, next, ended))))
        }
    });
    let name = format!("attachment; filename=\"deployment-{}.{ending}\"", entry.id);
    let headers = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

fn write_row(out: &mut String, form: Form, row: &Row) {
    match form {
        Form::Text => {
            out.push_str(&visible(&row.text));
            out.push('\n');
        }
        Form::JsonLines => {
            out.push_str(&visible_json(&serde_json::to_string(row).unwrap_or_default()));
            out.push('\n');
        }
        Form::Html => page::write_row(out, row),
    }
}
