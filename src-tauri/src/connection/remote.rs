//! A collector elsewhere: dialled by TLS, known by its pinned key, entered with a session of the operator's own.
//!
//! What must hold: nothing but the greeting goes to a collector with another key; the session stays in this process and where the
//! operator's things are kept ([`super::kept`]), never in the page. While it is waited for, nothing is asked of the collector:
//! it would take the operator for a stranger.
//!
//! A keeper asks the collector how it is every few seconds and tells how the connection stands; whatever else happens on it (a
//! request that is refused, say) makes it ask at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deckport_protocol::address::Transport;
use deckport_protocol::{Address, Pin, tls};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{Bytes, Connection, ConnectionError, http};
use crate::supervisor::Standing;

const DIAL: Duration = Duration::from_secs(5);
const ASKED_EVERY: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(crate) struct Remote {
    address: Address,
    pin: Pin,
    known: Mutex<Known>,
    standing: watch::Sender<Standing>,
    asks: Notify,
}

/// By what the operator is known there.
#[derive(Debug, Clone)]
struct Known {
    login: String,
    session: Session,
}

/// What lets the operator in at a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Session {
    /// Nothing: they must log in.
    None,
    Known(String),
    /// It is in the keyring, which has not given it out yet; with what the operator should know of that.
    Awaited(String),
}

/// Why somebody who answers is not the collector that is meant, with what to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) pin: Pin,
}

impl Remote {
    /// None: the address has no pin.
    pub(crate) fn new(address: Address, login: String, session: Session) -> Option<Remote> {
        let Transport::Tls { pin: Some(pin) } = address.transport else { return None };
        let known = Mutex::new(Known { login, session });
        let standing = watch::Sender::new(Standing::Starting);
        Some(Remote { address, pin, known, standing, asks: Notify::new() })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn pin(&self) -> Pin {
        self.pin
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn login(&self) -> String {
        self.known().login.clone()
    }

    pub(crate) fn session(&self) -> Option<String> {
        match &self.known().session {
            Session::Known(session) => Some(session.clone()),
            Session::None | Session::Awaited(_) => None,
        }
    }

    /// The operator logged in, perhaps by another name than before.
    pub(crate) fn entered(&self, login: String, session: String) {
        *self.known() = Known { login, session: Session::Known(session) };
        self.asks.notify_one();
    }

    /// The keyring gave the session out, or says why not.
    pub(crate) fn set_session(&self, session: Session) {
        let mut known = self.known();
        if known.session != session {
            known.session = session;
            self.asks.notify_one();
        }
    }

    /// Why its session is waited for, if it is.
    pub(crate) fn awaited(&self) -> Option<String> {
        match &self.known().session {
            Session::Awaited(why) => Some(why.clone()),
            Session::None | Session::Known(_) => None,
        }
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// A byte stream to the holder of the pinned key.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Bytes>, ConnectionError> {
        if let Some(why) = self.awaited() {
            return Err(ConnectionError::NotReady(why));
        }
        let dialled = timeout(DIAL, connect(&self.address, &[self.pin])).await;
        match dialled {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ConnectionError::TimedOut(DIAL.as_secs())),
        }
    }
}

async fn connect(address: &Address, pins: &[Pin]) -> Result<Box<dyn Bytes>, ConnectionError> {
    let broken = |error: &dyn std::fmt::Display| ConnectionError::Broken(error.to_string());
    let config = tls::client(pins, None).map_err(|error| broken(&error))?;
    let name = address.host.clone().try_into();
    let name = name.map_err(|_| ConnectionError::Refused("the address is no name of a machine"))?;
    let stream = TcpStream::connect(address.authority()).await.map_err(|error| broken(&error))?;
    stream.set_nodelay(true).map_err(|error| broken(&error))?;
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(match tls::wrong_pin(&error) {
            Some(wrong) => {
                ConnectionError::OtherKey { expected: wrong.expected.clone(), found: wrong.found }
            }
            None => broken(&error),
        }),
    }
}

/// The key that answers at an address, for a person to compare. Nothing is sent but the greeting.
pub(crate) async fn probe(address: &Address) -> Result<Found, ConnectionError> {
    // No key is the right one: the refusal tells which it is.
    match timeout(DIAL, connect(address, &[])).await {
        Ok(Err(ConnectionError::OtherKey { found, .. })) => Ok(Found { pin: found }),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) => Err(ConnectionError::Refused("no key was expected and one was accepted")),
        Err(_) => Err(ConnectionError::TimedOut(DIAL.as_secs())),
    }
}

/// Keeps telling how the connection stands, until `leave`.
pub(crate) async fn keep(connection: Connection, remote: Arc<Remote>, leave: CancellationToken) {
    let mut wait = FIRST_WAIT;
    // Goal: a true standing. Left only with the connection or the app; dropping a question that is under way is safe.
    loop {
        let asked = tokio::select! {
            () = leave.cancelled() => break,
            asked = http::fetch(&connection, http::Ask::get("/api/v1/info")) => asked,
        };
        let (standing, next) = match asked {
            Ok(answer) if answer.status == 200 => {
                wait = FIRST_WAIT;
                (Standing::Ready { listen: None, problem: None }, ASKED_EVERY)
            }
            Ok(answer) if answer.status == 401 || answer.status == 403 => {
                let why = "it does not know this login any more; log in again".to_owned();
                (Standing::Waiting { why, wait: LONGEST_WAIT }, LONGEST_WAIT)
            }
            Ok(answer) => {
                let why = format!("it answered {}", answer.status);
                (Standing::Waiting { why, wait }, wait)
            }
            Err(error) => (Standing::Waiting { why: error.to_string(), wait }, wait),
        };
        if matches!(standing, Standing::Waiting { .. }) {
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        remote.standing.send_if_modified(|before| {
            let changed = *before != standing;
            *before = standing;
            changed
        });
        tokio::select! {
            () = leave.cancelled() => break,
            () = remote.asks.notified() => wait = FIRST_WAIT,
            () = tokio::time::sleep(next) => {}
        }
    }
    remote.standing.send_replace(Standing::Stopped { problem: None });
}
