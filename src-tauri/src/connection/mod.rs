//! Connections: collectors that this app is connected to.
//!
//! A connection is a way to dial a byte stream ([`Connection::dial`]) and a name. Above the dial everything is the
//! same: [`http`] runs HTTP/1.1 and [`socket`] runs a WebSocket over whatever came back. The collector inside the app is
//! dialled in memory, a remote one ([`remote`]) by TLS with its pinned key. No port is opened for the interface, and no credential reaches the webview.

pub(crate) mod embedded;
pub(crate) mod http;
pub(crate) mod kept;
pub(crate) mod keyring;
pub(crate) mod remote;
pub(crate) mod socket;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use deckport_protocol::Pin;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::supervisor::{Standing, Supervisor};
use remote::Remote;

/// What a dial gives.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug> Bytes for T {}

/// The id of the collector inside the app.
pub(crate) const LOCAL: &str = "local";

/// Why something asked of a connection did not happen. Its code, message and whether trying again can help are what
/// the interface gets, in the words of the API's own errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("there is no connection `{0}`")]
    Unknown(String),
    #[error("{0}")]
    NotReady(String),
    #[error("{0}")]
    Refused(&'static str),
    #[error("the collector did not answer in {0} s")]
    TimedOut(u64),
    #[error("the answer is larger than {0} MiB")]
    TooLarge(usize),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the collector does not know this login any more; log in again")]
    Unauthorized,
    #[error("the collector does not let this login in there")]
    Forbidden,
    /// An alarm, never a question: somebody else may stand in the collector's place.
    #[error(
        "another key answers at this address ({found}) than the one that was compared when it was added. Either the collector's data \
         folder was made anew, or something else stands in its place; nothing was sent to it. If you know that it was made anew, \
         remove this connection and add it again"
    )]
    OtherKey { expected: Vec<Pin>, found: Pin },
}

impl ConnectionError {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            ConnectionError::Unknown(_) => "unknown_connection",
            ConnectionError::NotReady(_) => "not_ready",
            ConnectionError::Refused(_) => "refused",
            ConnectionError::TimedOut(_) => "timed_out",
            ConnectionError::TooLarge(_) => "too_large",
            ConnectionError::Broken(_) => "broken",
            ConnectionError::Unauthorized => "unauthorized",
            ConnectionError::Forbidden => "forbidden",
            ConnectionError::OtherKey { .. } => "other_key",
        }
    }

    pub(crate) fn retryable(&self) -> bool {
        match self {
            ConnectionError::NotReady(_)
            | ConnectionError::TimedOut(_)
            | ConnectionError::Broken(_) => true,
            ConnectionError::Unknown(_)
            | ConnectionError::Refused(_)
            | ConnectionError::Unauthorized
            | ConnectionError::Forbidden
            | ConnectionError::OtherKey { .. }
            | ConnectionError::TooLarge(_) => false,
        }
    }
}

/// How to reach one collector.
#[derive(Debug, Clone)]
enum Way {
    Local(Supervisor),
    Remote(Arc<Remote>),
}

#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
    way: Way,
}

impl Connection {
    pub(crate) fn local(supervisor: Supervisor) -> Connection {
        Connection { id: LOCAL.into(), name: "This computer".into(), way: Way::Local(supervisor) }
    }

    pub(crate) fn remote(id: &str, name: &str, remote: Arc<Remote>) -> Connection {
        Connection { id: id.into(), name: name.into(), way: Way::Remote(remote) }
    }

    /// By what name its collector answers.
    pub(crate) fn host(&self) -> String {
        match &self.way {
            Way::Local(_) => http::HOST.to_owned(),
            Way::Remote(remote) => remote.address().authority(),
        }
    }

    /// By what the operator is known there; nothing where the stream itself is the proof.
    pub(crate) fn session(&self) -> Option<String> {
        match &self.way {
            Way::Local(_) => None,
            Way::Remote(remote) => remote.session(),
        }
    }

    /// The key by which its collector is known; the one inside the app needs none.
    pub(crate) fn pin(&self) -> Option<Pin> {
        match &self.way {
            Way::Local(_) => None,
            Way::Remote(remote) => Some(remote.pin()),
        }
    }

    /// A byte stream to its collector, already trusted.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Bytes>, ConnectionError> {
        match &self.way {
            Way::Local(supervisor) => match supervisor.dial().await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(standing) => Err(ConnectionError::NotReady(
                    sentence(&standing)
                        .unwrap_or_else(|| "The collector is not running.".to_owned()),
                )),
            },
            Way::Remote(remote) => remote.dial().await,
        }
    }

    /// Follows how it stands.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        match &self.way {
            Way::Local(supervisor) => supervisor.standing(),
            Way::Remote(remote) => remote.standing(),
        }
    }

    /// What the interface shows of it.
    pub(crate) fn describe(&self) -> Described {
        let standing = self.standing().borrow().clone();
        let (state, listen) = match &standing {
            Standing::Starting => (State::Starting, None),
            Standing::Ready { listen, .. } => (State::Ready, *listen),
            Standing::Waiting { .. } => (State::Waiting, None),
            Standing::Stopping | Standing::Stopped { .. } => (State::Stopped, None),
        };
        let (kind, sentence, listen, login) = match &self.way {
            Way::Local(_) => {
                let listen = listen.map(|listen: SocketAddr| format!("https://{listen}"));
                ("local", sentence(&standing), listen, None)
            }
            Way::Remote(remote) => {
                let address = remote.address().to_string();
                ("remote", remote_sentence(&standing), Some(address), Some(remote.login()))
            }
        };
        let (id, name) = (self.id.clone(), self.name.clone());
        Described { id, name, kind, state, sentence, listen, login }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Described {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) state: State,
    pub(crate) sentence: Option<String>,
    /// Of a collector elsewhere: its address with the pin.
    pub(crate) listen: Option<String>,
    /// As whom the operator logs in at a collector elsewhere.
    pub(crate) login: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Starting,
    Ready,
    Waiting,
    Stopped,
}

/// What an operator should know of it, in one or two sentences; nothing when all is well.
fn sentence(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Starting => Some("The collector is starting.".to_owned()),
        Standing::Ready { problem, .. } => problem.clone(),
        Standing::Waiting { why, wait } => Some(format!(
            "The collector stopped: {why}. Starting it again in {} s. Consoles go on by themselves and keep their lines.",
            wait.as_secs()
        )),
        Standing::Stopping => Some("The collector stores what is in flight and stops.".to_owned()),
        Standing::Stopped { problem: None } => Some("The collector has stopped.".to_owned()),
        Standing::Stopped { problem: Some(problem) } => {
            Some(format!("The collector has stopped: {problem}."))
        }
    }
}

/// How a remote collector is, in a sentence; nothing when all is well.
fn remote_sentence(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Starting => Some("Connecting to the collector.".to_owned()),
        Standing::Ready { .. } => None,
        Standing::Waiting { why, wait } => Some(format!(
            "The collector is not reached: {why}. Tried again within {} s.",
            wait.as_secs().max(1)
        )),
        Standing::Stopping | Standing::Stopped { .. } => {
            Some("The connection was removed.".to_owned())
        }
    }
}

/// All connections of this app, the one to the collector inside it first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<RwLock<Vec<Connection>>>);

impl Connections {
    pub(crate) fn new(connections: Vec<Connection>) -> Connections {
        Connections(Arc::new(RwLock::new(connections)))
    }

    pub(crate) fn all(&self) -> Vec<Connection> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn get(&self, id: &str) -> Result<Connection, ConnectionError> {
        self.all()
            .into_iter()
            .find(|connection| &*connection.id == id)
            .ok_or_else(|| ConnectionError::Unknown(id.chars().take(64).collect()))
    }

    pub(crate) fn add(&self, connection: Connection) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    pub(crate) fn remove(&self, id: &str) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|connection| &*connection.id != id);
    }

    pub(crate) fn describe(&self) -> Vec<Described> {
        self.all().iter().map(Connection::describe).collect()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
