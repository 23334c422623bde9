//! Searches that are kept.

use super::App;
use super::extract::{Body, Named, Params, bad};
use super::routes::ErrorBody;
use super::written::Note;
use crate::auth::Answer;
use crate::search::{SaveError, SavedSearch, SavedSearchFields};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use deckport_protocol::{Actor, ErrorCode, Refusal};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

impl From<SaveError> for Answer {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Log(error) => error.into(),
            SaveError::Query(_) | SaveError::Name | SaveError::Many => bad(error.to_string()),
        }
    }
}

fn missing() -> Answer {
    Answer(Refusal::new(ErrorCode::NOT_FOUND, "there is no such search"))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SavedParams {
    /// Minutes east of UTC, for midnight.
    #[serde(default)]
    tz: i32,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SavedSearches {
    /// By name.
    searches: Vec<SavedSearch>,
}

/// All of them, with what they find now.
#[utoipa::path(get, path = "/api/v1/searches", params(SavedParams),
    responses((status = 200, body = SavedSearches)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Params(params): Params<SavedParams>,
) -> Result<Json<SavedSearches>, Answer> {
    let now_us = app.config.clock.now_us();
    Ok(Json(SavedSearches { searches: app.search.saved(actor.scope(), now_us, params.tz).await? }))
}

/// Keeps a search.
#[utoipa::path(post, path = "/api/v1/searches", request_body = SavedSearchFields,
    responses((status = 201, body = SavedSearch), (status = 400, body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Body(fields): Body<SavedSearchFields>,
) -> Result<(StatusCode, Json<SavedSearch>), Answer> {
    let now_us = app.config.clock.now_us();
    let saved = app.search.save(actor.scope(), None, &fields, now_us, note.pen(&app.audit)).await?;
    Ok((StatusCode::CREATED, Json(saved.ok_or_else(missing)?)))
}

/// Changes one.
#[utoipa::path(put, path = "/api/v1/searches/{id}", params(("id" = String, Path)),
    request_body = SavedSearchFields,
    responses((status = 200, body = SavedSearch), (status = 404, body = ErrorBody)))]
pub(super) async fn change(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
    Body(fields): Body<SavedSearchFields>,
) -> Result<Json<SavedSearch>, Answer> {
    let id = id.parse().map_err(|_| missing())?;
    let now_us = app.config.clock.now_us();
    let saved =
        app.search.save(actor.scope(), Some(id), &fields, now_us, note.pen(&app.audit)).await?;
    saved.map(Json).ok_or_else(missing)
}

/// No longer keeps one.
#[utoipa::path(delete, path = "/api/v1/searches/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(super) async fn delete(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
) -> Result<StatusCode, Answer> {
    let id = id.parse().map_err(|_| missing())?;
    let there = app.search.delete_saved(actor.scope(), id, note.pen(&app.audit)).await?;
    if there { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}
