//! Logging in, who one is, other operators, sessions and programs' tokens.

use super::App;
use super::extract::{Body, Named, Params, bad};
use super::login::address_of;
use super::routes::ErrorBody;
use super::written::Note;
use crate::auth::operators::{
    Confirmation, Grant, GrantKind, Granted, LONGEST_TOKEN_US, Login, Operator, OperatorError,
    OperatorFields,
};
use crate::auth::{Answer, GrantId, Need, Peer, password};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use deckport_protocol::{
    Actor, ErrorCode, OperatorId, OrganisationId, Refusal, Role, Scope, VenueId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

impl From<OperatorError> for Answer {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Refused(refusal) => refusal.into(),
            OperatorError::Locked { .. } => {
                Refusal::new(ErrorCode::RATE_EXCEEDED, error.to_string()).into()
            }
            OperatorError::Write(error) => crate::deployment::refusal_of(&error).into(),
            OperatorError::Random => Refusal::new(ErrorCode::INTERNAL, error.to_string()).into(),
        }
    }
}

/// An operator, without what is secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Person {
    id: OperatorId,
    login: String,
    name: String,
    /// The most that they may do anywhere.
    role: Role,
    /// In all venues of the organisation; none: only in those of `venues`.
    #[schema(required)]
    everywhere: Option<Role>,
    /// Roles in single venues, by their ids.
    #[schema(value_type = std::collections::HashMap<String, Role>)]
    venues: BTreeMap<VenueId, Role>,
    second_factor: bool,
    /// A password lets them in; who was brought in by a login provider has none until somebody gives them one.
    password: bool,
    /// How a login provider knows them, where that is not their login.
    #[schema(required)]
    identity: Option<String>,
    created_at: i64,
    #[schema(required)]
    disabled_at: Option<i64>,
}

impl From<&Operator> for Person {
    fn from(operator: &Operator) -> Self {
        Self {
            id: operator.id,
            login: operator.login.clone(),
            name: operator.name.clone(),
            role: operator.highest(),
            everywhere: operator.role_everywhere(),
            venues: operator
                .roles
                .iter()
                .filter_map(|(venue, role)| venue.map(|venue| (venue, *role)))
                .collect(),
            second_factor: operator.has_second_factor(),
            password: operator.has_password(),
            identity: operator.identity.clone(),
            created_at: operator.created_at,
            disabled_at: operator.disabled_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoggedIn {
    /// To be sent as `Authorization: Bearer …`; shown this once.
    token: String,
    expires_at: i64,
    operator: Person,
    /// The collector's name for people.
    venue: String,
}

impl LoggedIn {
    pub(super) fn new(granted: Granted, app: &App) -> Self {
        Self {
            token: granted.secret,
            expires_at: granted.grant.expires_at,
            operator: (&granted.operator).into(),
            venue: app.config.venue.clone(),
        }
    }
}

/// Why somebody was not let in. Who has to wait is told for how long.
pub(super) fn not_let_in(error: OperatorError) -> Response {
    let wait_s = if let OperatorError::Locked { wait_s } = error { Some(wait_s) } else { None };
    let mut response = Answer::from(error).into_response();
    if let Some(wait_s) = wait_s {
        response.headers_mut().insert(RETRY_AFTER, wait_s.into());
    }
    response
}

/// Lets an operator in. Who has to wait is told for how long by `Retry-After` as well.
#[utoipa::path(post, path = "/api/v1/login", request_body = Login, security(()),
    responses((status = 200, body = LoggedIn), (status = 403, body = ErrorBody),
        (status = 429, body = ErrorBody)))]
pub(super) async fn login(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Extension(note): Extension<Note>,
    Body(login): Body<Login>,
) -> Result<Json<LoggedIn>, Response> {
    let address = address_of(&peer);
    let now = app.config.clock.now_us();
    note.about("login", &login.login);
    if let Some(organisation) = app.auth.operators.organisation_of(&login.login) {
        note.concerning(Scope::all(organisation));
    }
    let granted = app.auth.operators.log_in(&login, &address, now, note.pen(&app.audit)).await;
    let granted = granted.map_err(not_let_in)?;
    tracing::info!(operator.id = %granted.operator.id, "an operator logged in");
    Ok(Json(LoggedIn::new(granted, &app)))
}

/// Ends the session or token that this is asked with.
#[utoipa::path(post, path = "/api/v1/logout", responses((status = 204)))]
pub(super) async fn logout(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    grant: Option<Extension<GrantId>>,
) -> Result<StatusCode, Answer> {
    if let Some(Extension(GrantId(id))) = grant {
        app.auth
            .operators
            .end(actor.scope().organisation_id, None, id, note.pen(&app.audit))
            .await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    /// `shell`, `local_admin` or `operator`.
    kind: String,
    role: Role,
    #[schema(required)]
    operator: Option<Person>,
}

fn own_id(actor: &Actor) -> Result<OperatorId, Answer> {
    match actor {
        Actor::Operator { operator_id, .. } => Ok(*operator_id),
        Actor::Shell { .. }
        | Actor::LocalAdmin { .. }
        | Actor::Console { .. }
        | Actor::Collector { .. } => {
            Err(bad("this is for operators who logged in: the local token has no password"))
        }
    }
}

/// Who this is asked by, and what they may do.
#[utoipa::path(get, path = "/api/v1/me", responses((status = 200, body = Me)))]
pub(super) async fn me(State(app): State<App>, Extension(actor): Extension<Actor>) -> Json<Me> {
    let (kind, role, operator) = match &actor {
        Actor::Operator { operator_id, role, .. } => {
            ("operator", *role, app.auth.operators.get(*operator_id))
        }
        Actor::Shell { .. } => ("shell", Role::Admin, None),
        Actor::LocalAdmin { .. } | Actor::Console { .. } | Actor::Collector { .. } => {
            ("local_admin", Role::Admin, None)
        }
    };
    Json(Me { kind: kind.to_owned(), role, operator: operator.as_ref().map(Person::from) })
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewPassword {
    old: String,
    new: String,
}

/// Changes one's own password; one's other sessions end.
#[utoipa::path(put, path = "/api/v1/me/password", request_body = NewPassword,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn change_password(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Extension(peer): Extension<Peer>,
    grant: Option<Extension<GrantId>>,
    Body(asked): Body<NewPassword>,
) -> Result<StatusCode, Response> {
    let grant = grant.map(|Extension(GrantId(id))| id);
    let id = own_id(&actor).map_err(Answer::into_response)?;
    let (from, pen) = ((&*address_of(&peer), app.config.clock.now_us()), note.pen(&app.audit));
    let words = (&*asked.old, &*asked.new);
    app.auth.operators.change_password(id, grant, words, from, pen).await.map_err(not_let_in)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows that it is oneself who sits there: what counts may be done for some minutes.
#[utoipa::path(post, path = "/api/v1/me/prove", request_body = Confirmation,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 429, body = ErrorBody)))]
pub(super) async fn prove(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Extension(peer): Extension<Peer>,
    grant: Option<Extension<GrantId>>,
    Body(asked): Body<Confirmation>,
) -> Result<StatusCode, Response> {
    let id = own_id(&actor).map_err(Answer::into_response)?;
    let Some(Extension(GrantId(grant))) = grant else {
        return Err(bad("this is for sessions: log in").into_response());
    };
    let (address, now) = (address_of(&peer), app.config.clock.now_us());
    let proved = app.auth.operators.prove(id, grant, &asked, &address, now, note.pen(&app.audit));
    proved.await.map_err(not_let_in)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A second factor to be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SecondFactor {
    /// In base 32, to be typed.
    secret: String,
    /// For a QR code.
    otpauth: String,
}

/// A new secret for an authenticator app. Nothing is changed until it is confirmed.
#[utoipa::path(post, path = "/api/v1/me/second-factor",
    responses((status = 200, body = SecondFactor), (status = 400, body = ErrorBody)))]
pub(super) async fn begin_second_factor(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<SecondFactor>, Answer> {
    let id = own_id(&actor)?;
    let login = app.auth.operators.get(id).map(|operator| operator.login).unwrap_or_default();
    let secret = password::new_secret().ok_or(OperatorError::Random)?;
    let otpauth = password::otpauth(&secret, &login, &app.config.venue);
    Ok(Json(SecondFactor { secret, otpauth }))
}

#[derive(Deserialize, ToSchema)]
pub(super) struct ConfirmedFactor {
    secret: String,
    /// The six digits that the app shows for it now.
    code: String,
    password: String,
}

/// From now on the authenticator app's digits are asked for.
#[utoipa::path(put, path = "/api/v1/me/second-factor", request_body = ConfirmedFactor,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn take_second_factor(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Extension(peer): Extension<Peer>,
    grant: Option<Extension<GrantId>>,
    Body(asked): Body<ConfirmedFactor>,
) -> Result<StatusCode, Response> {
    let grant = grant.map(|Extension(GrantId(id))| id);
    let who = (own_id(&actor).map_err(Answer::into_response)?, grant);
    let (from, pen) = ((&*address_of(&peer), app.config.clock.now_us()), note.pen(&app.audit));
    let shown = (&*asked.secret, &*asked.code);
    let taken = app.auth.operators.take_second_factor(who, &asked.password, shown, from, pen);
    taken.await.map_err(not_let_in)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
pub(super) struct WithPassword {
    password: String,
}

/// The authenticator app's digits are not asked for any more.
#[utoipa::path(post, path = "/api/v1/me/second-factor/remove", request_body = WithPassword,
    responses((status = 204), (status = 403, body = ErrorBody)))]
pub(super) async fn drop_second_factor(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Extension(peer): Extension<Peer>,
    grant: Option<Extension<GrantId>>,
    Body(asked): Body<WithPassword>,
) -> Result<StatusCode, Response> {
    let grant = grant.map(|Extension(GrantId(id))| id);
    let who = (own_id(&actor).map_err(Answer::into_response)?, grant);
    let (from, pen) = ((&*address_of(&peer), app.config.clock.now_us()), note.pen(&app.audit));
    let dropped = app.auth.operators.drop_second_factor(who, &asked.password, from, pen);
    dropped.await.map_err(not_let_in)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct People {
    /// By login.
    operators: Vec<Person>,
}

/// All operators.
#[utoipa::path(get, path = "/api/v1/operators", responses((status = 200, body = People)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
) -> Json<People> {
    let all = app.auth.operators.list(actor.scope().organisation_id);
    Json(People { operators: all.iter().map(Person::from).collect() })
}

/// A role in a venue is one in a venue of ours.
fn check_venues(
    app: &App,
    organisation: OrganisationId,
    fields: &OperatorFields,
) -> Result<(), Answer> {
    let ours = app.auth.venues.within(Scope::all(organisation));
    let stranger = fields.venues.keys().find(|id| !ours.iter().any(|venue| venue.id == **id));
    stranger.map_or(Ok(()), |id| Err(bad(format!("there is no venue {id}"))))
}

/// Takes somebody in.
#[utoipa::path(post, path = "/api/v1/operators", request_body = OperatorFields,
    responses((status = 201, body = Person), (status = 400, body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Body(fields): Body<OperatorFields>,
) -> Result<(StatusCode, Json<Person>), Answer> {
    let now = app.config.clock.now_us();
    let organisation = actor.scope().organisation_id;
    check_venues(&app, organisation, &fields)?;
    let made =
        app.auth.operators.save(organisation, None, &fields, now, note.pen(&app.audit)).await?;
    Ok((StatusCode::CREATED, Json((&made).into())))
}

/// Changes somebody. A new password, or shutting them out, ends their sessions at once.
#[utoipa::path(put, path = "/api/v1/operators/{id}", params(("id" = OperatorId, Path)),
    request_body = OperatorFields,
    responses((status = 200, body = Person), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn change(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
    Body(fields): Body<OperatorFields>,
) -> Result<Json<Person>, Answer> {
    let missing = |_| Refusal::new(ErrorCode::NOT_FOUND, "there is no such operator");
    let id = id.parse().map_err(missing)?;
    let now = app.config.clock.now_us();
    let organisation = actor.scope().organisation_id;
    check_venues(&app, organisation, &fields)?;
    let changed =
        app.auth.operators.save(organisation, Some(id), &fields, now, note.pen(&app.audit)).await?;
    Ok(Json((&changed).into()))
}

/// A session, or a program's token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Access {
    #[schema(value_type = String)]
    id: Uuid,
    kind: GrantKind,
    operator_id: OperatorId,
    login: String,
    /// What logged in, or what the token is for.
    name: String,
    /// The most that it allows now.
    role: Role,
    created_at: i64,
    seen_at: i64,
    expires_at: i64,
    /// The one that this is asked with.
    own: bool,
}

fn access(grant: &Grant, operator: &Operator, own: Option<Uuid>) -> Access {
    Access {
        id: grant.id,
        kind: grant.kind,
        operator_id: operator.id,
        login: operator.login.clone(),
        name: grant.name.clone(),
        role: grant.role.min(operator.highest()),
        created_at: grant.created_at,
        seen_at: grant.seen_at,
        expires_at: grant.expires_at,
        own: own == Some(grant.id),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct SessionParams {
    /// Everybody's, for admins.
    #[serde(default)]
    all: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sessions {
    /// The newest first.
    sessions: Vec<Access>,
}

fn is_admin_of_all(actor: &Actor) -> bool {
    Need::Everywhere(Role::Admin).demand(actor).is_ok()
}

/// Whose sessions somebody may see and end: none is everybody's.
fn whose(actor: &Actor, all: bool) -> Result<Option<OperatorId>, Answer> {
    match actor {
        Actor::Operator { operator_id, .. } if !all || !is_admin_of_all(actor) => {
            if all {
                let text = "everybody's sessions are for admins";
                return Err(Refusal::new(ErrorCode::FORBIDDEN, text).into());
            }
            Ok(Some(*operator_id))
        }
        _ => Ok(None),
    }
}

/// Sessions and tokens that are open.
#[utoipa::path(get, path = "/api/v1/sessions", params(SessionParams),
    responses((status = 200, body = Sessions), (status = 403, body = ErrorBody)))]
pub(super) async fn sessions(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    grant: Option<Extension<GrantId>>,
    Params(params): Params<SessionParams>,
) -> Result<Json<Sessions>, Answer> {
    let own = grant.map(|Extension(GrantId(id))| id);
    let of = whose(&actor, params.all)?;
    let now = app.config.clock.now_us();
    let all = app.auth.operators.grants(actor.scope().organisation_id, of, now);
    let sessions = all.iter().map(|(grant, operator)| access(grant, operator, own)).collect();
    Ok(Json(Sessions { sessions }))
}

/// Ends a session or token: what is open with it ends at once.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(super) async fn end_session(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
) -> Result<StatusCode, Answer> {
    let missing = || Answer(Refusal::new(ErrorCode::NOT_FOUND, "there is no such session"));
    let id = id.parse().map_err(|_| missing())?;
    // An admin's own, or anybody's.
    let of = match &actor {
        Actor::Operator { operator_id, .. } if !is_admin_of_all(&actor) => Some(*operator_id),
        _ => None,
    };
    let there =
        app.auth.operators.end(actor.scope().organisation_id, of, id, note.pen(&app.audit)).await?;
    if there { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewToken {
    /// What it is for.
    name: String,
    /// The most that it allows; not more than one's own role.
    role: Role,
    /// Seconds that it is good for, at most a year.
    ttl_s: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GivenToken {
    /// Shown this once.
    token: String,
    access: Access,
}

/// A token for a program, with one's own rights or less.
#[utoipa::path(post, path = "/api/v1/api-tokens", request_body = NewToken,
    responses((status = 201, body = GivenToken), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(super) async fn give_token(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    grant: Option<Extension<GrantId>>,
    Body(asked): Body<NewToken>,
) -> Result<(StatusCode, Json<GivenToken>), Answer> {
    let now = app.config.clock.now_us();
    let most = (LONGEST_TOKEN_US / 1_000_000).cast_unsigned();
    if !(60..=most).contains(&asked.ttl_s) {
        return Err(bad("a token is good for a minute to a year"));
    }
    let expires_at = now + (asked.ttl_s * 1_000_000).cast_signed();
    let id = own_id(&actor)?;
    let Some(Extension(GrantId(by))) = grant else {
        return Err(bad("this is for sessions: log in"));
    };
    let (what, pen) = ((&*asked.name, asked.role), note.pen(&app.audit));
    let given = app.auth.operators.give_token(id, by, what, now, expires_at, pen).await?;
    let access = access(&given.grant, &given.operator, None);
    Ok((StatusCode::CREATED, Json(GivenToken { token: given.secret, access })))
}
