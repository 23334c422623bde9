//! Consoles that were added, and the codes to add more with.

use super::App;
use super::extract::{Body, Named, bad};
use super::routes::ErrorBody;
use super::written::Note;
use crate::audit::Outcome;
use crate::auth::joining::{JoinState, JoinToken};
use crate::auth::roll::Standing;
use crate::auth::{Answer, EnrolError, enrolment};
use crate::content;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use deckport_protocol::console::{ConsoleOrder, Health};
use deckport_protocol::{Actor, ConsoleId, ErrorCode, Pin, Refusal};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use utoipa::ToSchema;
use uuid::Uuid;

/// How long a code is good unless said otherwise, and at most.
const TTL_S: u64 = 15 * 60;
const LONGEST_TTL_S: u64 = 7 * 86_400;

impl From<EnrolError> for Answer {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Refused(refusal) => refusal.into(),
            EnrolError::Sign(error) => bad(error.to_string()),
            EnrolError::Write(error) => crate::deployment::refusal_of(&error).into(),
            EnrolError::Random => Refusal::new(ErrorCode::INTERNAL, error.to_string()).into(),
        }
    }
}

impl From<crate::store::ReadError> for Answer {
    fn from(error: crate::store::ReadError) -> Self {
        crate::log::LogError::from(error).into()
    }
}

/// How an enrolled console stands.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConsoleStanding {
    Enrolled,
    /// Somebody removed it.
    Revoked,
    /// Its key was used in two places.
    Locked,
    /// It was never added: its runs came with the collector's token.
    Unenrolled,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Console {
    id: ConsoleId,
    name: String,
    venue: String,
    standing: ConsoleStanding,
    #[schema(required)]
    template: Option<String>,
    first_seen_at: i64,
    last_seen_at: i64,
    #[schema(required)]
    certificate_ends_at: Option<i64>,
    /// Its daemon is connected since then.
    #[schema(required)]
    linked_since: Option<i64>,
    #[schema(required)]
    agent_version: Option<String>,
    #[schema(required)]
    health: Option<Health>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Consoles {
    /// By name.
    consoles: Vec<Console>,
}

/// All consoles.
#[utoipa::path(get, path = "/api/v1/consoles", responses((status = 200, body = Consoles)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<Consoles>, Answer> {
    let scope = actor.scope();
    let seen = "select id, name, first_seen_at, last_seen_at, venue_id from console \
         where organisation_id = $1 and ($2 is null or venue_id = $2) order by name, id";
    let venue = scope.venue_id.map(|venue| venue.to_string());
    let rows =
        app.store.fetch(seen, [scope.organisation_id.to_string().into(), venue.into()]).await?;
    let names = app.auth.venues.names();
    let mut enrolled: std::collections::HashMap<_, _> =
        app.auth.enrolment.consoles(scope).into_iter().collect();
    let mut consoles = Vec::with_capacity(rows.len());
    for row in rows {
        let id: ConsoleId = row.parsed(0)?;
        let known = enrolled.remove(&id);
        let linked = app.links.linked(id);
        consoles.push(Console {
            id,
            name: row.text(1)?.as_ref().to_owned(),
            venue: names.get(&row.parsed(4)?).cloned().unwrap_or_default(),
            standing: match known.as_ref().map(|known| known.standing) {
                Some(Standing::Enrolled) => ConsoleStanding::Enrolled,
                Some(Standing::Revoked) => ConsoleStanding::Revoked,
                Some(Standing::Locked) => ConsoleStanding::Locked,
                None => ConsoleStanding::Unenrolled,
            },
            template: known.as_ref().and_then(|_| app.auth.enrolment.template(id)),
            first_seen_at: row.int(2)?,
            last_seen_at: linked.as_ref().map_or(row.int(3)?, |linked| linked.heard_at),
            certificate_ends_at: known.and_then(|known| known.issued.last().map(|one| one.ends_at)),
            linked_since: linked.as_ref().map(|linked| linked.since),
            agent_version: linked.as_ref().map(|linked| linked.agent_version.clone()),
            health: linked.and_then(|linked| linked.health),
        });
    }
    Ok(Json(Consoles { consoles }))
}

fn missing() -> Answer {
    Refusal::new(ErrorCode::NOT_FOUND, "there is no such console").into()
}

/// Removes a console: its certificate counts no more, and what it has open ends at once. What it sent stays.
#[utoipa::path(post, path = "/api/v1/consoles/{id}/revoke", params(("id" = ConsoleId, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(super) async fn revoke(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
) -> Result<StatusCode, Answer> {
    let id = id.parse().map_err(|_| missing())?;
    let scope = actor.scope();
    let now = app.config.clock.now_us();
    let there = app.auth.enrolment.revoke(scope, id, now, note.pen(&app.audit)).await;
    if there.map_err(|error| crate::deployment::refusal_of(&error))? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing())
    }
}

/// What a console can be told to do.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OrderWord {
    /// Run the deployment of its template now.
    Deploy,
    /// Renew its certificate now.
    Renew,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewOrder {
    order: OrderWord,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderAnswer {
    accepted: bool,
    /// What the console says to it.
    message: String,
}

/// Tells a console to do something; it must be connected.
#[utoipa::path(post, path = "/api/v1/consoles/{id}/order", params(("id" = ConsoleId, Path)),
    request_body = NewOrder,
    responses((status = 200, body = OrderAnswer), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(super) async fn order(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
    Body(asked): Body<NewOrder>,
) -> Result<Json<OrderAnswer>, Answer> {
    let id: ConsoleId = id.parse().map_err(|_| missing())?;
    let scope = actor.scope();
    let known = app.auth.enrolment.consoles(scope).into_iter().any(|(known, _)| known == id);
    if !known {
        return Err(missing());
    }
    let order = match asked.order {
        OrderWord::Deploy => ConsoleOrder::Deploy,
        OrderWord::Renew => ConsoleOrder::Renew,
    };
    let name = match asked.order {
        OrderWord::Deploy => "deploy",
        OrderWord::Renew => "renew",
    };
    note.with("order", name);
    let refused = |error| crate::deployment::refusal_of(&error);
    // Before it is given: what cannot be written down is not done.
    note.pen(&app.audit).record().await.map_err(refused)?;
    let (accepted, message) = app.links.order(id, order).await?;
    let outcome = if accepted { Outcome::Done } else { Outcome::Failed };
    let answered = note.also(&app.audit, "order_answered").with("answer", message.as_str());
    answered.ended(outcome).record().await.map_err(refused)?;
    Ok(Json(OrderAnswer { accepted, message }))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Templates {
    /// By name.
    templates: Vec<String>,
}

/// The templates that consoles can be added with.
#[utoipa::path(get, path = "/api/v1/templates", responses((status = 200, body = Templates)))]
pub(super) async fn templates(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
) -> Json<Templates> {
    let (content, organisation) = (app.content, actor.scope().organisation_id);
    let templates = tokio::task::spawn_blocking(move || content.templates(organisation)).await;
    Json(Templates { templates: templates.unwrap_or_default() })
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Invite {
    /// The venue's name or id; the only one where it is left out.
    #[serde(default)]
    venue: Option<String>,
    template: String,
    /// Seconds that the code is good for: 900 unless said otherwise, at most a week.
    #[serde(default)]
    ttl_s: Option<u64>,
    /// Consoles that it lets in: 1 unless said otherwise, at most 500.
    #[serde(default)]
    uses: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Invitation {
    #[schema(value_type = String)]
    id: Uuid,
    venue: String,
    template: String,
    state: JoinState,
    uses: u64,
    most_uses: u64,
    created_at: i64,
    expires_at: i64,
}

/// A code, and how to come with it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewInvitation {
    invitation: Invitation,
    /// Shown this once, to be typed at the console.
    code: String,
    /// The lines to paste at the console, one for each address that the collector may be reached by, the likeliest first.
    lines: Vec<Line>,
    pin: Pin,
    /// The pin, shortened for two people to compare.
    pin_short: String,
    /// Only programs on the collector's own machine reach it.
    only_here: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Line {
    /// `HOST:PORT`.
    authority: String,
    /// Downloads, checks and runs.
    line: String,
    /// The same in three steps, to read the script before it is run.
    careful: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Invitations {
    /// The newest first.
    invitations: Vec<Invitation>,
}

fn shown(app: &App, token: &JoinToken) -> Invitation {
    Invitation {
        id: token.id,
        venue: app.auth.venues.name(token.tenant.venue_id),
        template: token.template.clone(),
        state: token.state(app.config.clock.now_us()),
        uses: token.uses,
        most_uses: token.most_uses,
        created_at: token.created_at,
        expires_at: token.expires_at,
    }
}

/// Codes that were given out; the codes themselves are not known any more.
#[utoipa::path(get, path = "/api/v1/join-tokens", responses((status = 200, body = Invitations)))]
pub(super) async fn invitations(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
) -> Json<Invitations> {
    let tokens = app.auth.enrolment.invitations(actor.scope());
    Json(Invitations { invitations: tokens.iter().map(|token| shown(&app, token)).collect() })
}

/// Makes a code to add consoles with.
#[utoipa::path(post, path = "/api/v1/join-tokens", request_body = Invite,
    responses((status = 201, body = NewInvitation), (status = 400, body = ErrorBody)))]
pub(super) async fn invite(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Body(asked): Body<Invite>,
) -> Result<(StatusCode, Json<NewInvitation>), Answer> {
    let tenant = app.auth.venues.meant(actor.scope(), asked.venue.as_deref())?.tenant();
    if !content::is_name(&asked.template) {
        return Err(bad("a template's name has letters, digits, `-`, `_` and `.`, 64 at most"));
    }
    let templates = app.content.templates(tenant.organisation_id);
    if !templates.contains(&asked.template) {
        return Err(bad(format!(
            "there is no template `{}`; there are: {}",
            asked.template,
            templates.join(", ")
        )));
    }
    let ttl_s = asked.ttl_s.unwrap_or(TTL_S);
    if !(30..=LONGEST_TTL_S).contains(&ttl_s) {
        return Err(bad("a code is good for 30 seconds to a week"));
    }
    let uses = asked.uses.unwrap_or(1);
    if !(1..=enrolment::MOST_USES).contains(&uses) {
        return Err(bad(format!("a code lets in 1 to {} consoles", enrolment::MOST_USES)));
    }
    let now = app.config.clock.now_us();
    let expires_at = now + (ttl_s * 1_000_000).cast_signed();
    let pen = note.pen(&app.audit);
    let invited = app.auth.enrolment.invite(tenant, &asked.template, uses, now, expires_at, pen);
    let (code, token) = invited.await?;
    let pin = app.auth.authority.pin();
    let lines = authorities(&app).into_iter().map(|authority| line(authority, pin)).collect();
    let new = NewInvitation {
        invitation: shown(&app, &token),
        code: code.to_string(),
        lines,
        pin,
        pin_short: pin.short(),
        only_here: app.is_only_here(),
    };
    Ok((StatusCode::CREATED, Json(new)))
}

/// Takes a code back.
#[utoipa::path(delete, path = "/api/v1/join-tokens/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(super) async fn take_back(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
) -> Result<StatusCode, Answer> {
    let missing = || Answer(Refusal::new(ErrorCode::NOT_FOUND, "there is no such code"));
    let id = id.parse().map_err(|_| missing())?;
    let scope = actor.scope();
    let now = app.config.clock.now_us();
    let there = app.auth.enrolment.take_back(scope, id, now, note.pen(&app.audit)).await;
    if there.map_err(|error| crate::deployment::refusal_of(&error))? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing())
    }
}

fn line(authority: String, pin: Pin) -> Line {
    let get = format!("curl -fsSk --proto =https --tlsv1.3 --pinnedpubkey {pin}");
    // Shells take brackets for a pattern.
    let quote = if authority.starts_with('[') { "'" } else { "" };
    let url = format!("{quote}https://{authority}/deploy/console{quote}");
    Line {
        line: format!("{get} {url} | bash"),
        careful: format!("{get} -o deckport.sh {url}\nless deckport.sh\nbash deckport.sh"),
        authority,
    }
}

/// By what others may reach this collector, the likeliest first.
pub(super) fn authorities(app: &App) -> Vec<String> {
    let Some(address) = app.address else { return Vec::new() };
    let with_port = |name: &String| {
        let has_port = name.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        let bare_v6 = name.parse::<std::net::Ipv6Addr>().is_ok();
        match (bare_v6, has_port) {
            (true, _) => format!("[{name}]:{}", address.port()),
            (false, true) => name.clone(),
            (false, false) => format!("{name}:{}", address.port()),
        }
    };
    let mut all: Vec<String> = app.config.names.iter().map(with_port).collect();
    let of = |ip: IpAddr| SocketAddr::new(ip, address.port()).to_string();
    if address.ip().is_unspecified() {
        // The addresses that packets to elsewhere would leave from; none is sent.
        for (from, to) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
            let socket = UdpSocket::bind(from).and_then(|socket| {
                socket.connect(to)?;
                socket.local_addr()
            });
            if let Ok(local) = socket
                && !local.ip().is_loopback()
            {
                all.push(of(local.ip()));
            }
        }
    } else {
        all.push(of(address.ip()));
    }
    if all.is_empty() {
        all.push(format!("localhost:{}", address.port()));
    }
    all.dedup();
    all
}
