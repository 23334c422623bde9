//! Who is asking, whether this collector was meant at all, and whether they may.
//!
//! * A console shows its certificate ([`tls`], [`enrolment`]). It got it for a code ([`joining`]) and renews it by itself.
//! * An operator logs in ([`operators`]) and is known by a session, or gives a program a token.
//! * The holder of the local token (`DIR/token`, made at the first start, readable by its owner only) is an admin of this
//!   collector. Browsers exchange a credential for single-use tickets, because they can set no headers on a socket or a download.
//! * The shell that embeds this collector needs nothing: the peer is this very process.
//!
//! What must hold:
//! * [`Auth::who_is_asking`] is the one place that turns a request into an [`Actor`], and [`guard()`] the one that holds it
//!   against what the route needs.
//! * Every request over the network names a Host of ours; where an Origin is stated it is one of ours; where a
//!   page could open a socket (upgrade) without a bearer token an Origin must be stated.
//! * Tokens are compared in constant time and are never logged.

mod authority;
pub mod enrolment;
mod files;
mod guard;
pub mod joining;
mod local;
mod lockout;
pub mod operators;
pub mod password;
pub mod roll;
mod tickets;
mod tls;

pub use authority::{Authority, AuthorityError, SignError};
pub use enrolment::{EnrolError, Enrolment, Joined};
pub use guard::{Answer, Guarded, Need, Peer, RAW, Refused, Remote, guard};
pub use local::{LocalToken, TokenError};
pub use operators::Operators;
pub use password::Passwords;
pub use tickets::Tickets;
pub use tls::{ConsoleCertificate, server as tls_server};

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deckport_protocol::{Actor, ErrorCode, Refusal, Tenant};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What the holder of the local token may do.
pub const ABILITIES: [&str; 3] = ["read", "write_streams", "cancel"];

/// The credentials of this collector.
#[derive(Debug)]
pub struct Auth {
    pub local: LocalToken,
    pub tickets: Tickets,
    pub authority: Arc<Authority>,
    pub enrolment: Enrolment,
    pub operators: Operators,
}

/// Ends when what let somebody in no longer counts. Sockets watch it.
#[derive(Clone, Debug, Default)]
pub struct Pass(CancellationToken);

impl Pass {
    /// Returns when it no longer counts, with what to say.
    pub async fn ended(&self) -> Refusal {
        self.0.cancelled().await;
        Refusal::new(ErrorCode::REVOKED, "what this connection was let in with was taken back")
    }

    /// What was let in with it ends.
    pub fn end(&self) {
        self.0.cancel();
    }
}

/// Who asks, and by what they were known.
#[derive(Clone, Debug)]
pub struct Asking {
    pub actor: Actor,
    pub credential: Credential,
    pub pass: Pass,
    /// The session or token, where it is one.
    pub grant: Option<Uuid>,
}

/// The session or token that a request came with.
#[derive(Clone, Copy, Debug)]
pub struct GrantId(pub Uuid);

/// By what an actor was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    Connection,
    Certificate,
    Bearer,
    Ticket,
}

impl Auth {
    /// The actor behind a request: from the connection it came over, its bearer token or its ticket. `renewing`: a certificate
    /// that has ended is good enough.
    pub fn who_is_asking(
        &self,
        parts: &Parts,
        renewing: bool,
        now_us: i64,
    ) -> Result<Asking, Refusal> {
        let asking = |actor, credential| {
            let pass = Pass::default();
            Asking { actor, credential, pass, grant: None }
        };
        let tenant = Tenant::SOLE;
        let console = match parts.extensions.get::<Peer>() {
            Some(Peer::Shell) => {
                return Ok(asking(Actor::Shell { tenant }, Credential::Connection));
            }
            Some(Peer::Remote(remote)) => remote.console.as_ref(),
            None => None,
        };
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
            let token = token.unwrap_or_default().trim();
            if self.local.is(token) {
                return Ok(asking(Actor::LocalAdmin { tenant }, Credential::Bearer));
            }
            return self.operators.ask(token, tenant.venue_id, now_us).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::UNAUTHENTICATED,
                    "the bearer token is not one that this collector knows, or it has ended; log in again",
                )
            });
        }
        if let Some(certificate) = console {
            let (actor, open) = self.enrolment.admit(certificate, renewing, now_us)?;
            let (credential, pass) = (Credential::Certificate, Pass(open));
            return Ok(Asking { actor, credential, pass, grant: None });
        }
        let ticket = parts.uri.query().into_iter().flat_map(|query| query.split('&'));
        if let Some(ticket) = ticket.filter_map(|pair| pair.strip_prefix("ticket=")).next() {
            let (actor, pass) = self.tickets.redeem(ticket, now_us).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::UNAUTHENTICATED,
                    "the ticket is unknown, used or expired; ask for a new one",
                )
            })?;
            return Ok(Asking { actor, credential: Credential::Ticket, pass, grant: None });
        }
        Err(Refusal::new(
            ErrorCode::UNAUTHENTICATED,
            "log in, or send a token as `Authorization: Bearer …`, or a ticket as `?ticket=…`",
        ))
    }
}

/// 256 random bits.
pub(crate) fn random_token() -> Option<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}
