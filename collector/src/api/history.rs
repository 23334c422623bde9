//! What many runs say together: comparisons, signatures of failures, and how long logs are kept.

use super::App;
use super::extract::{Body, Named, Params, bad};
use super::routes::{ErrorBody, entry};
use super::written::Note;
use crate::analytics::runs::{Chosen, Compared, compared, last_good};
use crate::analytics::signatures::Signature;
use crate::auth::Answer;
use crate::deployment::retention::{Retention, RetentionPolicy, RetentionPreview};
use axum::extract::State;
use axum::{Extension, Json};
use deckport_protocol::{Actor, DeploymentId, ErrorCode, Refusal};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

fn missing(what: &str) -> Answer {
    Answer(Refusal::new(ErrorCode::NOT_FOUND, what))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ComparisonParams {
    /// Another deployment, or `last-good` (the default): the last run of the same template that succeeded before, on the same
    /// hardware if there is one.
    with: Option<String>,
}

/// Where two runs part.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/comparison",
    params(("id" = DeploymentId, Path), ComparisonParams),
    responses((status = 200, body = Compared), (status = 404, body = ErrorBody)))]
pub(super) async fn comparison(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
    Params(params): Params<ComparisonParams>,
) -> Result<Json<Compared>, Answer> {
    let this = entry(&app, &actor, &id).await?;
    let (other, how) = match params.with.as_deref() {
        None | Some("last-good") => {
            let summary = this.summary(app.deployments.now_us());
            let summary =
                summary.ok_or_else(|| missing("nothing of that deployment is here yet"))?;
            let good = last_good(&app.store, actor.scope(), &summary).await?;
            let none = || missing("no run of the same template has succeeded before this one");
            let (id, how) = good.ok_or_else(none)?;
            (entry(&app, &actor, &id.to_string()).await?, how)
        }
        Some(other) => (entry(&app, &actor, other).await?, Chosen::Chosen),
    };
    if other.id == this.id {
        return Err(bad("a run is not compared with itself"));
    }
    let compared = compared(&app.deployments, &this, &other, how).await?;
    compared.map(Json).ok_or_else(|| missing("nothing of that deployment is here yet"))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SignatureParams {
    /// Only those seen since then, microseconds since the Unix epoch.
    since: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignatureList {
    /// The one seen last first.
    signatures: Vec<Signature>,
}

/// Failures that are recognised again.
#[utoipa::path(get, path = "/api/v1/signatures", params(SignatureParams),
    responses((status = 200, body = SignatureList)))]
pub(super) async fn signatures(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Params(params): Params<SignatureParams>,
) -> Result<Json<SignatureList>, Answer> {
    let mut signatures = app.signatures.list(actor.scope(), None).await?;
    signatures.retain(|s| params.since.is_none_or(|since| s.last_seen_at >= since));
    Ok(Json(SignatureList { signatures }))
}

/// One of them, with what a later run that succeeded did differently.
#[utoipa::path(get, path = "/api/v1/signatures/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Signature), (status = 404, body = ErrorBody)))]
pub(super) async fn signature(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
) -> Result<Json<Signature>, Answer> {
    let found = app.signatures.detail(actor.scope(), &id).await?;
    found.map(Json).ok_or_else(|| missing("there is no such signature"))
}

/// How long logs are kept, and how much there is.
#[utoipa::path(get, path = "/api/v1/retention", responses((status = 200, body = Retention)))]
pub(super) async fn retention(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<Retention>, Answer> {
    Ok(Json(app.deployments.retention(actor.scope().organisation_id).await?))
}

/// Changes how long logs are kept, and gives back what is no longer kept.
#[utoipa::path(put, path = "/api/v1/retention", request_body = RetentionPolicy,
    responses((status = 200, body = Retention)))]
pub(super) async fn set_retention(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Body(policy): Body<RetentionPolicy>,
) -> Result<Json<Retention>, Answer> {
    let organisation = actor.scope().organisation_id;
    app.deployments.set_retention(organisation, policy, note.pen(&app.audit)).await?;
    let last_look = app.signatures.catch_up(organisation);
    for stream in app.deployments.give_back(organisation, last_look).await? {
        app.search.forget(stream).await;
    }
    Ok(Json(app.deployments.retention(organisation).await?))
}

/// What a policy would give back; nothing is done.
#[utoipa::path(post, path = "/api/v1/retention/preview", request_body = RetentionPolicy,
    responses((status = 200, body = RetentionPreview)))]
pub(super) async fn retention_preview(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Body(policy): Body<RetentionPolicy>,
) -> Result<Json<RetentionPreview>, Answer> {
    Ok(Json(app.deployments.retention_preview(actor.scope().organisation_id, policy).await?))
}
