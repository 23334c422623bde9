//! Logging in by the word of a provider (OpenID Connect), in a browser.
//!
//! The page makes up a word, and asks with its hash where to go; the browser goes to the provider, comes back to the callback, and is
//! sent on to the page with a code, which the page exchanges, with the word, for a session. No cookie, no session in an address.

use super::App;
use super::extract::{Body, Params, bad};
use super::operators::{LoggedIn, not_let_in};
use super::routes::ErrorBody;
use super::written::Note;
use crate::audit::{Entry, Outcome, Who};
use crate::auth::operators::Identity;
use crate::auth::{Answer, Peer};
use crate::places::Network;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HOST, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use deckport_protocol::{ErrorCode, Refusal};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How one logs in here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ways {
    /// What the provider is called by whose word one comes in; none: only passwords count.
    #[schema(required)]
    oidc: Option<String>,
}

/// How one logs in here, for a page that asks.
#[utoipa::path(get, path = "/api/v1/login", security(()), responses((status = 200, body = Ways)))]
pub(super) async fn ways(State(app): State<App>) -> Json<Ways> {
    Json(Ways { oidc: app.auth.oidc.as_ref().map(|provider| provider.name().to_owned()) })
}

#[derive(Deserialize, ToSchema)]
pub(super) struct BeginLogin {
    /// The SHA-256, in base64url, of a word that the page keeps.
    challenge: String,
    /// The provider asks who it is, also whom it knows already: the session that comes of it is a fresh proof.
    #[serde(default)]
    anew: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoginBegun {
    /// Where the browser goes.
    authorize: String,
}

fn no_provider() -> Refusal {
    Refusal::new(ErrorCode::NOT_FOUND, "this collector lets nobody in by a provider's word")
}

/// Where whoever asks comes from, as failures are counted by.
pub(super) fn address_of(peer: &Peer) -> String {
    peer.address().map_or_else(|| "shell".to_owned(), |ip| Network::of(ip).to_string())
}

/// Begins a login at the provider.
#[utoipa::path(post, path = "/api/v1/login/oidc", request_body = BeginLogin, security(()),
    responses((status = 200, body = LoginBegun), (status = 404, body = ErrorBody),
        (status = 429, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn begin(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Body(asked): Body<BeginLogin>,
) -> Result<Json<LoginBegun>, Response> {
    let refused = |refusal: Refusal| Answer(refusal).into_response();
    let provider = app.auth.oidc.as_ref().ok_or_else(|| refused(no_provider()))?;
    let Peer::Remote(remote) = &peer else {
        return Err(bad("the app needs no login at its own collector").into_response());
    };
    let (address, now) = (address_of(&peer), app.config.clock.now_us());
    app.auth.operators.wait_at(&address, now).map_err(not_let_in)?;
    app.auth.entering.admits(&asked.challenge, &address, now).map_err(refused)?;
    // By the name by which the page was reached, which the guard has found to be one of ours; the provider compares it with those
    // that it was told.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if remote.encrypted { "https" } else { "http" };
    let redirect = format!("{scheme}://{host}/api/v1/login/oidc/callback");
    let begun = provider.begin(&redirect, asked.anew).await.map_err(|error| {
        tracing::warn!(%error, "a login could not be begun at the provider");
        refused(error.into())
    })?;
    let secrets = (begun.state, begun.nonce, begun.verifier);
    app.auth.entering.begin(secrets, redirect, asked.challenge, address, (now, asked.anew));
    Ok(Json(LoginBegun { authorize: begun.authorize }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CallbackParams {
    state: Option<String>,
    code: Option<String>,
    /// Who answers (RFC 9207).
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Where the provider sends the browser back to; it goes on to the page.
#[utoipa::path(get, path = "/api/v1/login/oidc/callback", params(CallbackParams), security(()),
    responses((status = 303)))]
pub(super) async fn callback(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Params(params): Params<CallbackParams>,
) -> Response {
    let (now, address) = (app.config.clock.now_us(), address_of(&peer));
    if app.auth.oidc.is_none() {
        return onward("unknown");
    }
    let waiting = app.auth.operators.wait_at(&address, now).is_err();
    let state = params.state.as_deref().filter(|_| !waiting);
    let Some(pending) = state.and_then(|state| app.auth.entering.back(state, now)) else {
        // What the page says of a code that nobody knows fits: used already, too late, or begun elsewhere.
        app.auth.operators.failed_at(&address, now);
        return onward("unknown");
    };
    let (challenge, redirect) = (pending.challenge.clone(), pending.redirect.clone());
    let anew = pending.anew.then_some(pending.begun_at);
    let secrets = (pending.nonce, pending.verifier);
    let found = identify(&app, params, secrets, &redirect, anew).await;
    if let Err(refusal) = &found {
        app.auth.operators.failed_at(&address, now);
        // The page may never ask what came of it.
        let entry = Entry::new(Who::Stranger, "logged_in")
            .from(peer.address())
            .with("by", "oidc")
            .with("refusal", refusal.code.as_str())
            .with("why", refusal.message.as_str())
            .ended(Outcome::Denied);
        app.audit.deny(entry).await;
    }
    let code = app.auth.entering.done(challenge, found, app.config.clock.now_us());
    onward(code.as_deref().unwrap_or("unknown"))
}

async fn identify(
    app: &App,
    params: CallbackParams,
    (nonce, verifier): (openidconnect::Nonce, openidconnect::PkceCodeVerifier),
    redirect: &str,
    anew: Option<i64>,
) -> Result<Identity, Refusal> {
    let provider = app.auth.oidc.as_ref().ok_or_else(no_provider)?;
    let refused = |text: String| {
        let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        Refusal::new(ErrorCode::LOGIN_REFUSED, text)
    };
    if params.iss.as_ref().is_some_and(|iss| *iss != provider.config().issuer) {
        return Err(refused("another provider answered than the one that was asked".to_owned()));
    }
    if let Some(error) = params.error {
        let more = params.error_description.unwrap_or_default();
        return Err(refused(format!("the login provider answered: {error} {more}")));
    }
    let Some(code) = params.code else {
        return Err(refused("the login provider sent nothing back to log in with".to_owned()));
    };
    let found = provider.identify(code, &nonce, verifier, redirect, anew).await;
    found.map_err(|error| {
        tracing::warn!(%error, "a login by the provider's word was refused");
        error.into()
    })
}

/// On to the page. What stands behind `#` is sent to no server.
fn onward(code: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    if let Ok(to) = HeaderValue::try_from(format!("/#login={code}")) {
        headers.insert(LOCATION, to);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Deserialize, ToSchema)]
pub(super) struct FetchLogin {
    /// As it came in the page's address.
    code: String,
    /// The word whose hash the login was begun with.
    verifier: String,
    /// What logs in, for the list of sessions.
    #[serde(default)]
    client: Option<String>,
}

/// Exchanges the code of a login that came back for a session.
#[utoipa::path(post, path = "/api/v1/login/oidc/session", request_body = FetchLogin, security(()),
    responses((status = 200, body = LoggedIn), (status = 403, body = ErrorBody),
        (status = 429, body = ErrorBody)))]
pub(super) async fn session(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Extension(note): Extension<Note>,
    Body(asked): Body<FetchLogin>,
) -> Result<Json<LoggedIn>, Response> {
    let provider = app.auth.oidc.as_ref().ok_or_else(|| Answer(no_provider()).into_response())?;
    let (address, now) = (address_of(&peer), app.config.clock.now_us());
    let operators = &app.auth.operators;
    operators.wait_at(&address, now).map_err(not_let_in)?;
    note.with("by", "oidc");
    let found = app.auth.entering.fetch(&asked.code, &asked.verifier, now).map_err(|refusal| {
        operators.failed_at(&address, now);
        Answer(refusal).into_response()
    })?;
    // What was refused was counted when it came back.
    let identity = found.map_err(|refusal| Answer(refusal).into_response())?;
    note.about("login", identity.shown());
    note.with("subject", identity.subject.as_str());
    let create = provider.config().create;
    // An operator whom no person has added is told of beside the login.
    let added = note.also(&app.audit, "operator_added");
    let pen = note.pen(&app.audit);
    let client = asked.client.as_deref();
    let granted = operators.enter(&identity, create, client, now, added, pen).await;
    let granted = granted.map_err(|error| {
        operators.failed_at(&address, now);
        not_let_in(error)
    })?;
    tracing::info!(operator.id = %granted.operator.id, "an operator logged in by the provider's word");
    Ok(Json(LoggedIn::new(granted, &app)))
}
