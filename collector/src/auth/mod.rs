//! Who is asking, whether this collector was meant at all, and whether they may.
//!
//! * A console shows its certificate ([`tls`], [`enrolment`]). It got it for a code ([`joining`]) and renews it by itself.
//! * An operator logs in with a password ([`operators`]) or by the word of a provider ([`oidc`], [`entering`]), and is known by a session, or gives a program a token.
//! * The holder of the local token (`DIR/token`, made at the first start, readable by its owner only) is an admin of this
//!   collector. Browsers exchange a credential for single-use tickets, because they can set no headers on a socket or a download.
//! * The shell that embeds this collector needs nothing: the peer is this very process.
//!
//! What must hold:
//! * [`Auth::who_is_asking`] is the one place that turns a request into an [`Actor`], and [`guard()`] the one that holds it
//!   against what the route needs.
//! * Every request over the network names a Host of ours; where an Origin is stated it is one of ours; where a
//!   page could open a socket (upgrade) without a bearer token an Origin must be stated.
//! * A ticket opens one socket or download, and ends with what it was bought with: it buys no other.
//! * Tokens are compared in constant time and are never logged.

pub mod acme;
mod authority;
pub mod enrolment;
pub mod entering;
mod files;
mod guard;
pub mod joining;
mod local;
mod lockout;
pub mod oidc;
pub mod operators;
pub mod password;
mod public;
pub mod roll;
mod tickets;
mod tls;
pub mod venues;

pub use acme::{Acme, AcmeError};
pub use authority::{Authority, AuthorityError, SignError};
pub use enrolment::{EnrolError, Enrolment, Joined};
pub use entering::Entering;
pub use guard::{Answer, Guarded, Need, Peer, Proof, RAW, Refused, Remote, guard};
pub use local::{LocalToken, TokenError};
pub use oidc::{OidcError, Provider};
pub use operators::{Operators, Proved};
pub use password::Passwords;
pub use public::PROOF_PROTOCOL;
pub use tickets::Tickets;
pub use tls::{ConsoleCertificate, server as tls_server};
pub use venues::Venues;

use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deckport_protocol::{Actor, ErrorCode, Refusal, Scope, Tenant};
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
    /// By whose word operators come in, beside their passwords.
    pub oidc: Option<Provider>,
    pub entering: Entering,
    /// Where the collector has a public name.
    pub acme: Option<Arc<Acme>>,
    pub enrolment: Enrolment,
    pub operators: Operators,
    pub venues: Arc<Venues>,
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

    pub fn has_ended(&self) -> bool {
        self.0.is_cancelled()
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
    /// The session or token, where it is one, and whether it shows who sits there.
    pub grant: Option<(Uuid, Proved)>,
}

/// The session or token that a request came with.
#[derive(Clone, Copy, Debug)]
pub struct GrantId(pub Uuid);

/// Where somebody means to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// They do not say.
    Home,
    /// In all venues of their organisation.
    Everywhere,
    Venue(Tenant),
}

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
    /// that has ended is good enough. `everywhere`: they act in the whole organisation, or not at all.
    pub fn who_is_asking(
        &self,
        parts: &Parts,
        renewing: bool,
        everywhere: bool,
        now_us: i64,
    ) -> Result<Asking, Refusal> {
        let asking = |actor, credential| {
            let pass = Pass::default();
            Asking { actor, credential, pass, grant: None }
        };
        let place = || self.place(parts, everywhere);
        let console = match parts.extensions.get::<Peer>() {
            Some(Peer::Shell) => {
                return Ok(asking(
                    Actor::Shell { scope: self.owned(parts, place()?)? },
                    Credential::Connection,
                ));
            }
            Some(Peer::Remote(remote)) => remote.console.as_ref(),
            None => None,
        };
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
            let token = token.unwrap_or_default().trim();
            if self.local.is(token) {
                return Ok(asking(
                    Actor::LocalAdmin { scope: self.owned(parts, place()?)? },
                    Credential::Bearer,
                ));
            }
            return self.operators.ask(token, place()?, now_us);
        }
        if let Some(certificate) = console {
            let (actor, open) = self.enrolment.admit(certificate, renewing, now_us)?;
            let (credential, pass) = (Credential::Certificate, Pass(open));
            return Ok(Asking { actor, credential, pass, grant: None });
        }
        let ticket = parts.uri.query().into_iter().flat_map(|query| query.split('&'));
        if let Some(ticket) = ticket.filter_map(|pair| pair.strip_prefix("ticket=")).next() {
            if parts.method != Method::GET {
                let text =
                    "a ticket is for one socket or download; ask with what it was bought with";
                return Err(Refusal::new(ErrorCode::UNAUTHENTICATED, text));
            }
            let (actor, pass) = self.tickets.redeem(ticket, now_us).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::UNAUTHENTICATED,
                    "the ticket is unknown, used, expired or taken back; ask for a new one",
                )
            })?;
            return Ok(Asking { actor, credential: Credential::Ticket, pass, grant: None });
        }
        Err(Refusal::new(
            ErrorCode::UNAUTHENTICATED,
            "log in, or send a token as `Authorization: Bearer …`, or a ticket as `?ticket=…`",
        ))
    }

    /// Where a request is meant: `venue=ID` in its address.
    fn place(&self, parts: &Parts, everywhere: bool) -> Result<Place, Refusal> {
        if everywhere {
            return Ok(Place::Everywhere);
        }
        let Some(id) = asked(parts, "venue")? else { return Ok(Place::Home) };
        match self.venues.get(id) {
            Some(venue) => Ok(Place::Venue(venue.tenant())),
            None => Err(Refusal::new(ErrorCode::FORBIDDEN, "this login has no role there")),
        }
    }

    /// Whoever has the collector itself acts in any of its organisations: `organisation=ID`, or where the venue is.
    fn owned(&self, parts: &Parts, place: Place) -> Result<Scope, Refusal> {
        let organisation = asked(parts, "organisation")?;
        if organisation.is_some_and(|id| self.venues.organisation(id).is_none()) {
            return Err(Refusal::new(ErrorCode::NOT_FOUND, "there is no such organisation"));
        }
        Ok(match place {
            Place::Venue(tenant) => tenant.into(),
            Place::Home | Place::Everywhere => organisation.map_or(Scope::SOLE, Scope::all),
        })
    }
}

/// A parameter of a request's address.
fn asked<T: std::str::FromStr>(parts: &Parts, name: &str) -> Result<Option<T>, Refusal> {
    let pairs = parts.uri.query().into_iter().flat_map(|query| query.split('&'));
    let value = pairs.filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name);
    let not_one = |_| Refusal::new(ErrorCode::BAD_REQUEST, format!("`{name}` is no id"));
    value.map(|(_, value)| value.parse().map_err(not_one)).transpose()
}

/// 256 random bits.
pub(crate) fn random_token() -> Option<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}
