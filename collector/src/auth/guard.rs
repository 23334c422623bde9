//! The middleware in front of every route: Host, Origin, then who is asking.

use super::{Auth, Credential};
use crate::config::Clock;
use crate::metrics::Metrics;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN, UPGRADE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use deckport_protocol::{ErrorCode, Refusal};
use std::net::SocketAddr;
use std::sync::Arc;

/// What a request came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The in-memory connection of the shell that embeds this collector.
    Shell,
    Tcp(SocketAddr),
}

/// Whether a path is answered without a credential: health, and what is the same for everyone.
pub type Public = fn(&str) -> bool;

/// What the guard needs to know.
#[derive(Clone, Debug)]
pub struct Guarded {
    pub auth: Arc<Auth>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub hosts: Arc<[String]>,
    pub origins: Arc<[String]>,
    pub public: Public,
}

impl Guarded {
    /// The names under which a browser on this machine reaches a collector that listens on `address`.
    pub fn hosts(address: Option<SocketAddr>) -> Arc<[String]> {
        let Some(port) = address.map(|address| address.port()) else { return Arc::new([]) };
        ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")).into()
    }

    fn check(&self, request: Request) -> Result<Request, Refusal> {
        let (mut parts, body) = request.into_parts();
        let over_tcp = parts.extensions.get::<Peer>() != Some(&Peer::Shell);
        let origin = parts.headers.get(ORIGIN);
        if over_tcp {
            let mut hosts = parts.headers.get_all(HOST).iter();
            let host = hosts.next().and_then(|host| host.to_str().ok());
            let ours = host.is_some_and(|host| {
                self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
            });
            if !ours || hosts.next().is_some() {
                return Err(Refusal::new(
                    ErrorCode::WRONG_HOST,
                    "the Host header does not name this collector",
                ));
            }
            if let Some(origin) = origin
                && !self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
            {
                return Err(Refusal::new(
                    ErrorCode::WRONG_ORIGIN,
                    "pages of that origin may not talk to this collector",
                ));
            }
        }
        if !(self.public)(parts.uri.path()) {
            let (actor, credential) = self.auth.who_is_asking(&parts, self.clock.now_us())?;
            if credential == Credential::Ticket
                && origin.is_none()
                && parts.headers.contains_key(UPGRADE)
            {
                return Err(Refusal::new(
                    ErrorCode::WRONG_ORIGIN,
                    "a socket opened with a ticket must state its Origin",
                ));
            }
            parts.extensions.insert(actor);
        }
        Ok(Request::from_parts(parts, body))
    }
}

/// See the module.
pub async fn guard(State(guarded): State<Guarded>, request: Request, next: Next) -> Response {
    match guarded.check(request) {
        Ok(request) => next.run(request).await,
        Err(refusal) => {
            guarded.metrics.refuse(&refusal.code);
            Answer(refusal).into_response()
        }
    }
}

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
            "unauthenticated" => StatusCode::UNAUTHORIZED,
            "forbidden" | "wrong_origin" => StatusCode::FORBIDDEN,
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
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
