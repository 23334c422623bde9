//! Connections: collectors that this app is connected to.
//!
//! A connection is a way to dial a byte stream ([`Connection::dial`]) and a name. Above the dial everything is the
//! same: [`http`] runs HTTP/1.1 and [`socket`] runs a WebSocket over whatever came back. Today there is the collector
//! inside the app, dialled in memory; a remote one will dial TLS with a pinned certificate and changes nothing here
//! above. No port is opened for the interface, and no credential reaches the webview.

pub(crate) mod embedded;
pub(crate) mod http;
pub(crate) mod socket;

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::supervisor::{Standing, Supervisor};

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
        }
    }

    pub(crate) fn retryable(&self) -> bool {
        match self {
            ConnectionError::NotReady(_)
            | ConnectionError::TimedOut(_)
            | ConnectionError::Broken(_) => true,
            ConnectionError::Unknown(_)
            | ConnectionError::Refused(_)
            | ConnectionError::TooLarge(_) => false,
        }
    }
}

/// How to reach one collector.
#[derive(Debug, Clone)]
enum Way {
    Local(Supervisor),
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
        }
    }

    /// Follows how it stands.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        match &self.way {
            Way::Local(supervisor) => supervisor.standing(),
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
        let Way::Local(_) = self.way;
        Described {
            id: self.id.clone(),
            name: self.name.clone(),
            kind: "local",
            state,
            sentence: sentence(&standing),
            listen: listen.map(|listen: SocketAddr| format!("https://{listen}")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Described {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) state: State,
    pub(crate) sentence: Option<String>,
    pub(crate) listen: Option<String>,
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

/// All connections of this app. Fixed while it runs, until remote ones can be added.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<[Connection]>);

impl Connections {
    pub(crate) fn new(connections: Vec<Connection>) -> Connections {
        Connections(connections.into())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.0.iter()
    }

    pub(crate) fn get(&self, id: &str) -> Result<&Connection, ConnectionError> {
        self.iter()
            .find(|connection| &*connection.id == id)
            .ok_or_else(|| ConnectionError::Unknown(id.chars().take(64).collect()))
    }

    pub(crate) fn describe(&self) -> Vec<Described> {
        self.iter().map(Connection::describe).collect()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
