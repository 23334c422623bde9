//! Who is asking, and whether this collector was meant at all.
//!
//! Until operators and enrolment exist there is one credential: a token made at the first start and kept
//! in `DIR/token`, readable by its owner only. Browsers exchange it for single-use tickets, because they
//! can set no headers on a socket or a download. Requests over the shell's in-memory connection need
//! none: the peer is this very process.
//!
//! What must hold:
//! * [`Auth::who_is_asking`] is the one place that turns a request into an [`Actor`].
//! * Every request over TCP names a Host of ours; where an Origin is stated it is one of ours; where a
//!   page could open a socket (upgrade) without a bearer token an Origin must be stated.
//! * Tokens are compared in constant time and are never logged.

mod guard;
mod tickets;

pub use guard::{Answer, Guarded, Peer, Public, guard};
pub use tickets::Tickets;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deckport_protocol::{Actor, ErrorCode, Refusal, Tenant};
use sha2::{Digest as _, Sha256};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What the holder of the local token may do.
pub const ABILITIES: [&str; 3] = ["read", "write_streams", "cancel"];

/// Why the token could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the token file {path} cannot be used")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the token file {path} holds no token")]
    Empty { path: PathBuf },
    #[error("the system gave no random bytes")]
    Random,
}

/// The credentials of this collector.
pub struct Auth {
    token: String,
    digest: [u8; 32],
    pub tickets: Tickets,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("tickets", &self.tickets).finish_non_exhaustive()
    }
}

impl Auth {
    /// Reads the token from `path`, or makes one there (mode 0600) at the first start.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File { path: path.to_owned(), source };
        let token = match std::fs::read_to_string(path) {
            Ok(token) => token.trim().to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let token = random_token().ok_or(TokenError::Random)?;
                // Written beside and moved there, so that a crash leaves no half a token.
                let new = path.with_extension("new");
                let mut file = OpenOptions::new()
                    .create(true)
                    .truncate(true)
                    .write(true)
                    .mode(0o600)
                    .open(&new)
                    .map_err(failed)?;
                writeln!(file, "{token}").and_then(|()| file.sync_all()).map_err(failed)?;
                std::fs::rename(&new, path).map_err(failed)?;
                token
            }
            Err(error) => return Err(failed(error)),
        };
        if token.is_empty() {
            return Err(TokenError::Empty { path: path.to_owned() });
        }
        let digest = Sha256::digest(&token).into();
        Ok(Self { token, digest, tickets: Tickets::default() })
    }

    /// The local token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Digests are compared, so the time tells nothing of where two tokens differ.
    fn is_token(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.digest.iter().zip(given).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }

    /// The actor behind a request: from the connection it came over, its bearer token or its ticket.
    pub fn who_is_asking(
        &self,
        parts: &Parts,
        now_us: i64,
    ) -> Result<(Actor, Credential), Refusal> {
        if parts.extensions.get::<Peer>() == Some(&Peer::Shell) {
            return Ok((Actor::Shell { tenant: Tenant::SOLE }, Credential::Connection));
        }
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
            return match token {
                Some(token) if self.is_token(token.trim()) => {
                    Ok((Actor::LocalAdmin { tenant: Tenant::SOLE }, Credential::Bearer))
                }
                _ => Err(Refusal::new(
                    ErrorCode::UNAUTHENTICATED,
                    "the bearer token is not one that this collector knows",
                )),
            };
        }
        let ticket = parts.uri.query().into_iter().flat_map(|query| query.split('&'));
        if let Some(ticket) = ticket.filter_map(|pair| pair.strip_prefix("ticket=")).next() {
            let actor = self.tickets.redeem(ticket, now_us).ok_or_else(|| {
                Refusal::new(
                    ErrorCode::UNAUTHENTICATED,
                    "the ticket is unknown, used or expired; ask for a new one",
                )
            })?;
            return Ok((actor, Credential::Ticket));
        }
        Err(Refusal::new(
            ErrorCode::UNAUTHENTICATED,
            "send the token as `Authorization: Bearer …`, or a ticket as `?ticket=…`",
        ))
    }
}

/// By what an actor was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    Connection,
    Bearer,
    Ticket,
}

/// 256 random bits.
pub(crate) fn random_token() -> Option<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use std::os::unix::fs::PermissionsExt as _;

    fn asked(auth: &Auth, uri: &str, token: Option<&str>) -> Result<Actor, ErrorCode> {
        let mut request = Request::get(uri);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        auth.who_is_asking(&parts, 1_000_000).map(|(actor, _)| actor).map_err(|r| r.code)
    }

    #[test]
    fn token_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let auth = Auth::open(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Auth::open(&path).unwrap().token(), auth.token());
        assert_eq!(auth.token().len(), 43);
    }

    #[test]
    fn only_the_token_and_fresh_tickets_open_the_door() {
        let dir = tempfile::tempdir().unwrap();
        let auth = Auth::open(&dir.path().join("token")).unwrap();
        let admin = Actor::LocalAdmin { tenant: Tenant::SOLE };
        let bearer = format!("Bearer {}", auth.token());
        let refused = Err(ErrorCode::UNAUTHENTICATED);
        assert_eq!(asked(&auth, "/", Some(&bearer)), Ok(admin.clone()));
        assert_eq!(asked(&auth, "/", None), refused);
        assert_eq!(asked(&auth, "/", Some("Bearer x")), refused);
        assert_eq!(asked(&auth, "/", Some(&bearer[..bearer.len() - 1])), refused);
        let ticket = auth.tickets.issue(admin.clone(), 1_000_000).unwrap().0;
        let uri = format!("/?a=b&ticket={ticket}");
        // A wrong header is not saved by a good ticket.
        assert_eq!(asked(&auth, &uri, Some("Bearer x")), refused);
        assert_eq!(asked(&auth, &uri, None), Ok(admin));
        assert_eq!(asked(&auth, &uri, None), refused, "a ticket is good once");
    }
}
