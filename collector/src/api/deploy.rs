//! What consoles ask for: the script that adds them, the agent, a certificate, their template's script.

use super::App;
use super::extract::{Body, Named, bad};
use super::routes::ErrorBody;
use super::written::Note;
use crate::auth::{Answer, Joined as Made, Peer};
use crate::content::Bootstrap;
use axum::body::Body as Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use deckport_protocol::joining::{Join, Joined, Renew};
use deckport_protocol::{Actor, ErrorCode, Refusal};
use std::sync::Arc;
use tokio_util::io::ReaderStream;

/// A name is for people and stands in lists.
const NAME: usize = 120;

fn joined(app: &App, made: Made) -> Joined {
    let now = app.config.clock.now_us();
    // Half of its life: time enough to try again.
    let renew_after_s = u64::try_from((made.ends_at - now) / 2_000_000).unwrap_or(0);
    let authority = &app.auth.authority;
    Joined {
        console_id: made.console_id,
        certificate: made.signed.pem,
        ends_at: made.ends_at,
        renew_after_s,
        pins: std::iter::once(authority.pin()).chain(authority.next_pin()).collect(),
        venue: app.auth.venues.name(made.tenant.venue_id),
        template: made.template,
    }
}

/// Adds a console that knows a code.
#[utoipa::path(post, path = "/api/v1/join", request_body = Join, security(()),
    responses((status = 201, body = Joined), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(super) async fn join(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Extension(note): Extension<Note>,
    Body(join): Body<Join>,
) -> Result<(StatusCode, Json<Joined>), Answer> {
    let name = join.name.trim();
    if name.is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
        return Err(bad(format!(
            "a console's name has 1 to {NAME} characters, and none that is not shown"
        )));
    }
    let now = app.config.clock.now_us();
    note.about("console", join.console_id);
    let pen = note.pen(&app.audit).with("name", name);
    let shown = match &peer {
        Peer::Remote(remote) => remote.console.as_deref(),
        Peer::Shell => None,
    };
    let (id, request) = (join.console_id, &join.request);
    let made = app.auth.enrolment.join(&join.code, id, shown, request, now, pen).await?;
    let seen = crate::fleet::joined(made.tenant, join.console_id, name, now);
    let write = crate::store::Write { rows: vec![seen], ..Default::default() };
    let written = app.store.writer().write(write).await;
    written.map_err(|error| crate::deployment::refusal_of(&error))?;
    tracing::info!(console.id = %join.console_id, "a console was added");
    Ok((StatusCode::CREATED, Json(joined(&app, made))))
}

/// Renews a console's certificate, for a new key.
#[utoipa::path(post, path = "/api/v1/console/renew", request_body = Renew,
    responses((status = 200, body = Joined), (status = 403, body = ErrorBody)))]
pub(super) async fn renew(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Body(renew): Body<Renew>,
) -> Result<Json<Joined>, Answer> {
    let Actor::Console { console_id, .. } = actor else {
        return Err(Refusal::new(ErrorCode::FORBIDDEN, "this is for consoles").into());
    };
    let now = app.config.clock.now_us();
    let made =
        app.auth.enrolment.renew(console_id, &renew.request, now, note.pen(&app.audit)).await?;
    Ok(Json(joined(&app, made)))
}

/// The script of the console's template; empty where it has none.
#[utoipa::path(get, path = "/api/v1/console/script",
    responses((status = 200, content_type = "text/x-shellscript", body = String)))]
pub(super) async fn template_script(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
) -> Result<Response, Answer> {
    let Actor::Console { console_id, tenant } = actor else {
        return Err(Refusal::new(ErrorCode::FORBIDDEN, "this is for consoles").into());
    };
    let organisation = tenant.organisation_id;
    let template = app.auth.enrolment.template(console_id).unwrap_or_default();
    let content = Arc::clone(&app.content);
    let reading = move || content.template_script(organisation, &template);
    let script = tokio::task::spawn_blocking(reading).await;
    let script = script.map_err(std::io::Error::other).and_then(|script| script);
    let script = script.map_err(|error| {
        tracing::error!(%error, "a template's script could not be read");
        Refusal::new(ErrorCode::INTERNAL, error.to_string())
    })?;
    Ok(([(CONTENT_TYPE, "text/x-shellscript")], script.unwrap_or_default()).into_response())
}

/// The script that adds a console: `curl … | bash`.
#[utoipa::path(get, path = "/deploy/console", security(()),
    responses((status = 200, content_type = "text/x-shellscript", body = String),
        (status = 404, body = ErrorBody)))]
pub(super) async fn bootstrap(
    State(app): State<App>,
    request: Request,
) -> Result<Response, Answer> {
    // The guard has looked at it: it is one of ours.
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let encrypted = match request.extensions().get::<Peer>() {
        Some(Peer::Remote(remote)) => remote.encrypted,
        Some(Peer::Shell) | None => true,
    };
    if !encrypted {
        let text =
            "consoles are added by TLS only: take the line that the app shows under Add consoles";
        return Err(Refusal::new(ErrorCode::TLS_REQUIRED, text).into());
    }
    let host = host.unwrap_or_default();
    // Where the port is https's own it is not said.
    let authority = if host.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:443")
    };
    let content = Arc::clone(&app.content);
    let agents = tokio::task::spawn_blocking(move || content.agents()).await.unwrap_or_default();
    let pin = app.auth.authority.pin();
    let script = Bootstrap { authority: &authority, pin, agents: &agents };
    let text =
        script.text().map_err(|error| Refusal::new(ErrorCode::NOT_FOUND, error.to_string()))?;
    let headers =
        [(CONTENT_TYPE, "text/x-shellscript; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

/// The agent for an architecture, as `uname -m` says it.
#[utoipa::path(get, path = "/deploy/agent/{architecture}", security(()),
    params(("architecture" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = ErrorBody)))]
pub(super) async fn agent(
    State(app): State<App>,
    Named(architecture): Named,
) -> Result<Response, Answer> {
    let content = Arc::clone(&app.content);
    let wanted = architecture.clone();
    let agent = tokio::task::spawn_blocking(move || content.agent(&wanted)).await.ok().flatten();
    let missing = || {
        let text = format!("there is no agent for `{architecture}` here");
        Answer(Refusal::new(ErrorCode::NOT_FOUND, text))
    };
    let agent = agent.ok_or_else(missing)?;
    let file = tokio::fs::File::open(&agent.path).await.map_err(|_| missing())?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, agent.size.to_string()),
    ];
    Ok((headers, Bytes::from_stream(ReaderStream::new(file))).into_response())
}
