//! The middleware in front of every route: Host, Origin, then who is asking.

use super::operators::Proved;
use super::{Auth, ConsoleCertificate, Credential, GrantId};
use crate::audit::{Audit, Entry, Outcome, Who};
use crate::config::Clock;
use crate::metrics::Metrics;
use crate::places::Place;
use crate::store::{BodyWithin, within};
use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, UPGRADE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use deckport_protocol::{Actor, ErrorCode, Refusal, Role, Scope, Tenant};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What a request came over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The in-memory connection of the shell that embeds this collector.
    Shell,
    Remote(Remote),
}

impl Peer {
    /// Of the other side of the network.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Shell => None,
            Self::Remote(remote) => Some(remote.from.ip()),
        }
    }
}

/// A connection over a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub from: SocketAddr,
    /// The address of ours that was reached.
    pub at: SocketAddr,
    pub encrypted: bool,
    /// The console's certificate, whose key the other side holds.
    pub console: Option<Arc<ConsoleCertificate>>,
}

/// What a route needs of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: what it answers is the same for everyone, or it has a credential of its own.
    Nothing,
    /// A console, for itself; its certificate may have ended.
    Renewing,
    /// A console, for itself.
    Console,
    /// A console, for its own streams; or the holder of the local token, who stands for consoles without certificates.
    Streams,
    /// A person with at least this role where they act.
    Role(Role),
    /// A person with at least this role in all of the organisation.
    Everywhere(Role),
    /// Whoever has the collector itself.
    Owner,
}

impl Need {
    /// What to say to somebody who does not meet it. For what only a handler can tell: a parameter, a topic.
    pub fn demand(self, actor: &Actor) -> Result<(), Refusal> {
        if self.is_met_by(actor) { Ok(()) } else { Err(forbidden(self)) }
    }

    fn is_met_by(self, actor: &Actor) -> bool {
        match (self, actor) {
            (Self::Nothing, _) => true,
            (Self::Renewing | Self::Console, Actor::Console { .. }) => true,
            (Self::Renewing | Self::Console, _) => false,
            (
                Self::Streams,
                Actor::Console { .. } | Actor::Shell { .. } | Actor::LocalAdmin { .. },
            ) => true,
            (Self::Streams, Actor::Operator { .. } | Actor::Collector { .. }) => false,
            (
                Self::Role(_) | Self::Everywhere(_) | Self::Owner,
                Actor::Shell { .. } | Actor::LocalAdmin { .. },
            ) => true,
            (Self::Role(least), Actor::Operator { role, .. }) => *role >= least,
            (Self::Everywhere(least), Actor::Operator { role, scope, .. }) => {
                *role >= least && scope.venue_id.is_none()
            }
            (Self::Owner, Actor::Operator { .. })
            | (
                Self::Role(_) | Self::Everywhere(_) | Self::Owner,
                Actor::Console { .. } | Actor::Collector { .. },
            ) => false,
        }
    }
}

/// What raw bytes need: they may hold what a terminal would obey.
pub const RAW: Need = Need::Role(Role::Operator);

/// What a route needs, by its method and its path as it is written in the router; none for what no route matches.
pub(super) type Needs = fn(&Method, Option<&str>, &str) -> Need;

/// Whether a session suffices, or who sits there is to be shown anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Session,
    /// A session suffices, a program's token does not.
    Person,
    Fresh,
}

/// What a route asks an operator for beyond a role; none where nobody has decided: that is asked for a fresh proof.
pub(super) type Proofs = fn(&Method, Option<&str>) -> Option<Proof>;

/// What the guard needs to know.
#[derive(Clone, Debug)]
pub struct Guarded {
    pub auth: Arc<Auth>,
    pub metrics: Arc<Metrics>,
    pub audit: Arc<Audit>,
    pub clock: Arc<dyn Clock>,
    /// By which it is reached, beside the address of a connection itself: without ports.
    pub hosts: Arc<[String]>,
    pub needs: Needs,
    pub proofs: Proofs,
    /// So long a proof is fresh.
    pub proof_for: Duration,
}

impl Guarded {
    /// The names by which a collector is reached; `names` are `NAME` or `NAME:PORT`. The port does not matter: it may be forwarded,
    /// and what keeps foreign pages out is the name.
    pub fn hosts(names: &[String]) -> Arc<[String]> {
        let local = ["127.0.0.1", "localhost", "[::1]"].map(str::to_owned);
        let named = names.iter().map(|name| match name.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => name_of(name).unwrap_or(name).to_owned(),
        });
        local.into_iter().chain(named).collect()
    }

    /// Lets a request on, or says why not and who was known to ask.
    fn check(&self, parts: &mut Parts) -> Result<(), (Refusal, Option<Actor>)> {
        let nobody = |refusal| (refusal, None);
        let origin = parts.headers.get(ORIGIN);
        if let Some(Peer::Remote(remote)) = parts.extensions.get::<Peer>() {
            let mut hosts = parts.headers.get_all(HOST).iter();
            let host = hosts.next().and_then(|host| host.to_str().ok());
            let at = SocketAddr::new(remote.at.ip().to_canonical(), remote.at.port()).to_string();
            let ours = |host: &&str| {
                name_of(host).is_some_and(|name| {
                    self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
                        || name_of(&at) == Some(name)
                })
            };
            let Some(host) = host.filter(ours).filter(|_| hosts.next().is_none()) else {
                return Err(nobody(Refusal::new(
                    ErrorCode::WRONG_HOST,
                    "the Host header does not name this collector; if it is reached by that name, start it with --name",
                )));
            };
            if let Some(origin) = origin {
                let scheme = if remote.encrypted { "https" } else { "http" };
                let same = origin.to_str().is_ok_and(|origin| {
                    origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"))
                        == Some(host)
                });
                if !same {
                    return Err(nobody(Refusal::new(
                        ErrorCode::WRONG_ORIGIN,
                        "pages of that origin may not talk to this collector",
                    )));
                }
            }
        }
        let matched = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let need = (self.needs)(&parts.method, matched, parts.uri.path());
        if need != Need::Nothing {
            let (renewing, everywhere) =
                (need == Need::Renewing, matches!(need, Need::Everywhere(_)));
            let now_us = self.clock.now_us();
            let asking = self.auth.who_is_asking(parts, renewing, everywhere, now_us);
            let asking = asking.map_err(|refusal| (refusal, self.certified(parts)))?;
            if asking.credential == Credential::Ticket
                && origin.is_none()
                && parts.headers.contains_key(UPGRADE)
            {
                let text = "a socket opened with a ticket must state its Origin";
                return Err((Refusal::new(ErrorCode::WRONG_ORIGIN, text), Some(asking.actor)));
            }
            if let Err(refusal) = need.demand(&asking.actor) {
                return Err((refusal, Some(asking.actor)));
            }
            if matches!(asking.actor, Actor::Operator { .. }) {
                let proved = asking.grant.map_or(Proved::Never, |(_, proved)| proved);
                let shown = match (self.proofs)(&parts.method, matched) {
                    Some(Proof::Session) => Ok(()),
                    Some(Proof::Person) => proved.demand_person(),
                    Some(Proof::Fresh) | None => proved.demand(now_us, self.proof_for),
                };
                if let Err(refusal) = shown {
                    return Err((refusal, Some(asking.actor)));
                }
            }
            if let Some(place) = parts.extensions.get::<Place>()
                && let Err(refusal) = place.prove(&asking.actor)
            {
                return Err((refusal, Some(asking.actor)));
            }
            parts.extensions.insert(asking.actor);
            parts.extensions.insert(asking.pass);
            if let Some((grant, _)) = asking.grant {
                parts.extensions.insert(GrantId(grant));
            }
        }
        Ok(())
    }

    /// The console whose certificate, with a key that it holds, did not suffice.
    fn certified(&self, parts: &Parts) -> Option<Actor> {
        let Some(Peer::Remote(Remote { console: Some(certificate), .. })) =
            parts.extensions.get::<Peer>()
        else {
            return None;
        };
        let console_id = certificate.console_id;
        let tenant = self.auth.enrolment.tenant_of(console_id).unwrap_or(Tenant::SOLE);
        Some(Actor::Console { tenant, console_id })
    }

    /// Writes a denial down. A look at an address that is not there, without any credential, is none.
    async fn deny(&self, parts: &Parts, refusal: &Refusal, actor: Option<Actor>) {
        let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let ticket = parts.uri.query().is_some_and(|query| query.contains("ticket="));
        let tried = actor.is_some() || ticket || parts.headers.contains_key(AUTHORIZATION);
        if route.is_none() && !tried && refusal.code == ErrorCode::UNAUTHENTICATED {
            return;
        }
        let who = actor.map_or(Who::Stranger, Who::Known);
        let address = parts.extensions.get::<Peer>().and_then(Peer::address);
        // Never the address as it was asked for: a credential may stand in it.
        let entry = Entry::new(who, "request_denied")
            .from(address)
            .with("method", parts.method.as_str())
            .with("route", route)
            .with("refusal", refusal.code.as_str())
            .ended(Outcome::Denied);
        self.audit.deny(entry).await;
    }
}

/// The name of a Host header; none where what stands behind it is no port. Scripts and addresses are made with the header, so nothing
/// else may stand in it.
fn name_of(host: &str) -> Option<&str> {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => {
            let digits = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
            (digits && port.parse::<u16>().is_ok()).then_some(name)
        }
        Some(_) | None => Some(host),
    }
}

fn forbidden(need: Need) -> Refusal {
    let text = match need {
        Need::Nothing => "this is not allowed".to_owned(),
        Need::Renewing | Need::Console => "this is for consoles, with their certificate".to_owned(),
        Need::Streams => "this is for consoles, which write their own streams".to_owned(),
        Need::Role(role) => {
            format!("this needs the role {role}, which this login does not have here")
        }
        Need::Everywhere(role) => {
            format!("this needs the role {role} in all venues, which this login does not have")
        }
        Need::Owner => "this is for whoever runs this collector, on its own machine".to_owned(),
    };
    Refusal::new(ErrorCode::FORBIDDEN, text)
}

/// What is read for somebody is held to. Consoles read nothing but their own streams, of which it is decided when they are claimed.
fn held_to(actor: &Actor) -> Option<Scope> {
    match actor {
        Actor::Shell { .. } | Actor::LocalAdmin { .. } | Actor::Operator { .. } => {
            Some(actor.scope())
        }
        Actor::Console { .. } | Actor::Collector { .. } => None,
    }
}

/// See the module.
pub async fn guard(State(guarded): State<Guarded>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match guarded.check(&mut parts) {
        Ok(()) => {
            let scope = parts.extensions.get::<Actor>().and_then(held_to);
            let answer = next.run(Request::from_parts(parts, body));
            match scope {
                None => answer.await,
                Some(scope) => within(scope, answer)
                    .await
                    .map(|body| axum::body::Body::new(BodyWithin::new(scope, body))),
            }
        }
        Err((refusal, actor)) => {
            guarded.metrics.refuse(&refusal.code);
            guarded.deny(&parts, &refusal, actor).await;
            Answer(refusal).into_response()
        }
    }
}

/// Stands in the extensions of an answer that refuses.
#[derive(Clone, Debug)]
pub struct Refused(pub ErrorCode);

/// A refusal as an HTTP answer: `{"error":{"code","message","retryable"}}`.
#[derive(Clone, Debug)]
pub struct Answer(pub Refusal);

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let code = &self.0.code;
        let status = match code.as_str() {
            "unauthenticated" | "certificate_ended" => StatusCode::UNAUTHORIZED,
            "forbidden" | "wrong_origin" | "revoked" | "locked" | "code_refused"
            | "login_refused" | "code_needed" | "proof_needed" => StatusCode::FORBIDDEN,
            "wrong_host" => StatusCode::MISDIRECTED_REQUEST,
            "not_found" => StatusCode::NOT_FOUND,
            "not_running" | "not_connected" | "quarantined" => StatusCode::CONFLICT,
            "body_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
            "rate_exceeded" | "too_many_connections" => StatusCode::TOO_MANY_REQUESTS,
            "storage_full" => StatusCode::INSUFFICIENT_STORAGE,
            "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "internal" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = (status, Json(serde_json::json!({ "error": self.0 }))).into_response();
        response.extensions_mut().insert(Refused(self.0.code.clone()));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
