//! Logins by way of a provider that are under way: pure, without I/O.
//!
//! Two secrets hold such a login together. The **state** goes to the provider and back, and is good once. What came of it is laid down
//! under a **code**, which goes back to the page in its address and is good once, for a minute, and only together with a word that
//! the page kept for itself: of that a hash came with the first request. So a code that somebody else reads is of no use, and a page
//! cannot be led into a login that it did not begin.

use super::operators::Identity;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deckport_protocol::{ErrorCode, Refusal};
use openidconnect::{Nonce, PkceCodeVerifier};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long somebody may take at the provider's.
const PENDING_US: i64 = 10 * 60 * 1_000_000;
/// How long the page may take to fetch what came of it.
const DONE_US: i64 = 60 * 1_000_000;
/// Of each at once; of those that began at one address.
const MOST: usize = 1024;
const MOST_OF_ONE: usize = 64;

/// One that is at the provider's.
#[derive(Debug)]
pub struct Pending {
    pub nonce: Nonce,
    pub verifier: PkceCodeVerifier,
    /// Where it comes back to.
    pub redirect: String,
    /// Of the word that the page keeps.
    pub challenge: String,
    /// Where it began.
    pub address: String,
    /// They were sent to show anew who they are.
    pub anew: bool,
    pub begun_at: i64,
    expires_at: i64,
}

/// One that came back.
#[derive(Debug)]
struct Done {
    challenge: String,
    found: Result<Identity, Refusal>,
    expires_at: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Entering {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<String, Pending>,
    done: HashMap<String, Done>,
}

impl Entering {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody at this address may begin another, and what is wrong with their challenge.
    pub fn admits(&self, challenge: &str, address: &str, now_us: i64) -> Result<(), Refusal> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if challenge.len() != 43 || !challenge.chars().all(fits) {
            let text = "`challenge` is the SHA-256 of a word that the page keeps, in base64url";
            return Err(Refusal::new(ErrorCode::BAD_REQUEST, text));
        }
        let mut state = self.state();
        state.pending.retain(|_, pending| pending.expires_at > now_us);
        let of_one = state.pending.values().filter(|pending| pending.address == address).count();
        if state.pending.len() >= MOST || of_one >= MOST_OF_ONE {
            let text = "too many logins were begun and not brought to an end; wait some minutes";
            return Err(Refusal::new(ErrorCode::RATE_EXCEEDED, text));
        }
        Ok(())
    }

    /// Keeps what must be known when it comes back.
    pub fn begin(
        &self,
        (state, nonce, verifier): (String, Nonce, PkceCodeVerifier),
        redirect: String,
        challenge: String,
        address: String,
        (now_us, anew): (i64, bool),
    ) {
        let (begun_at, expires_at) = (now_us, now_us + PENDING_US);
        let pending =
            Pending { nonce, verifier, redirect, challenge, address, anew, begun_at, expires_at };
        self.state().pending.insert(state, pending);
    }

    /// The login that comes back with this state, once.
    pub fn back(&self, state: &str, now_us: i64) -> Option<Pending> {
        let pending = self.state().pending.remove(state)?;
        (pending.expires_at > now_us).then_some(pending)
    }

    /// Lays down what came of it; the code to fetch it with. None where the system gives no random bytes, or too many wait.
    pub fn done(
        &self,
        challenge: String,
        found: Result<Identity, Refusal>,
        now_us: i64,
    ) -> Option<String> {
        let code = super::random_token()?;
        let mut state = self.state();
        state.done.retain(|_, done| done.expires_at > now_us);
        if state.done.len() >= MOST {
            return None;
        }
        let done = Done { challenge, found, expires_at: now_us + DONE_US };
        state.done.insert(code.clone(), done);
        Some(code)
    }

    /// What came of a login, to the page that began it, once; an error is what is said to anybody else.
    pub fn fetch(
        &self,
        code: &str,
        word: &str,
        now_us: i64,
    ) -> Result<Result<Identity, Refusal>, Refusal> {
        let unknown = || {
            let text =
                "this login was used already, took too long or began elsewhere; log in again";
            Refusal::new(ErrorCode::LOGIN_REFUSED, text)
        };
        let done = self.state().done.remove(code).ok_or_else(unknown)?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(word));
        if done.expires_at <= now_us || challenge != done.challenge {
            return Err(unknown());
        }
        Ok(done.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: &str = "a word that the page keeps";

    fn challenge() -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(WORD))
    }

    fn begin(entering: &Entering, state: &str, address: &str, now: i64) {
        let secrets =
            (state.to_owned(), Nonce::new("n".into()), PkceCodeVerifier::new("v".repeat(43)));
        entering.begin(secrets, "https://here/".into(), challenge(), address.into(), (now, false));
    }

    fn done(entering: &Entering, now: i64) -> String {
        let refusal = Refusal::new(ErrorCode::LOGIN_REFUSED, "not you");
        entering.done(challenge(), Err(refusal), now).unwrap()
    }

    #[test]
    fn a_state_is_good_once_and_for_some_minutes() {
        let entering = Entering::default();
        begin(&entering, "a", "10.0.0.1", 0);
        assert!(entering.back("a", PENDING_US - 1).is_some());
        assert!(entering.back("a", 1).is_none() && entering.back("b", 1).is_none());
        begin(&entering, "a", "10.0.0.1", 0);
        assert!(entering.back("a", PENDING_US).is_none());
    }

    #[test]
    fn a_code_is_good_once_with_the_pages_own_word() {
        let entering = Entering::default();
        let text = |code: &str, word: &str, now| {
            entering.fetch(code, word, now).flatten().unwrap_err().message
        };
        let code = done(&entering, 0);
        assert_eq!(text(&code, WORD, 1), "not you");
        assert!(text(&code, WORD, 1).contains("used already"));
        let code = done(&entering, 0);
        assert!(text(&code, "another", 1).contains("began elsewhere"));
        assert!(text(&code, WORD, 1).contains("used already"), "guessing a word costs the code");
        let code = done(&entering, 0);
        assert!(text(&code, WORD, DONE_US).contains("took too long"));
    }

    #[test]
    fn one_address_does_not_take_all_places() {
        let entering = Entering::default();
        for number in 0..MOST_OF_ONE {
            begin(&entering, &number.to_string(), "10.0.0.1", 0);
        }
        assert!(entering.admits(&challenge(), "10.0.0.1", 1).is_err());
        assert!(entering.admits(&challenge(), "10.0.0.2", 1).is_ok());
        assert!(entering.admits(&challenge(), "10.0.0.1", PENDING_US).is_ok());
        assert!(entering.admits("short", "10.0.0.2", 1).is_err());
    }
}
