//! Adding, entering and removing remote collectors.
//!
//! Adding takes the address and its pin (pasted, or found by [`Remotes::look`] and compared by a person), a login and a password. The
//! password goes to the holder of the pinned key once, for a session, and is kept nowhere.

use std::sync::{Arc, Mutex, PoisonError};

use deckport_protocol::address::{Address, AddressError, Transport};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::connection::kept::{Kept, KeptError, Shelf};
use crate::connection::remote::{self, Remote};
use crate::connection::{Connection, ConnectionError, http};

/// Why a remote collector was not added or entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(
        "an address without TLS is for a collector on this computer, and that one is here already"
    )]
    Plain,
    #[error("the address has no pin: compare the collector's key first")]
    NoPin,
    #[error("there is a connection to {0} already")]
    There(String),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// In the collector's own words.
    #[error("{message}")]
    Refused { code: String, message: String, retryable: bool },
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("there is no remote connection `{0}`")]
    Unknown(String),
}

/// Who logs in.
#[derive(Clone, Deserialize)]
pub(crate) struct Login {
    login: String,
    password: String,
    #[serde(default)]
    code: Option<String>,
}

/// What answers at an address, to be compared with what its own screen shows.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Looked {
    /// With the pin.
    address: String,
    /// The pin, shortened.
    short: String,
}

/// One that is open: its end takes its tasks along.
#[derive(Debug)]
struct Open {
    kept: Kept,
    remote: Arc<Remote>,
    leave: CancellationToken,
}

impl Open {
    /// As it is kept now: the operator may have logged in by another name.
    fn kept(&self) -> Kept {
        Kept { login: self.remote.login(), ..self.kept.clone() }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Remotes {
    shelf: Shelf,
    open: Arc<Mutex<Vec<Open>>>,
    leave: CancellationToken,
}

/// A connection that was opened, and what ends it.
pub(crate) type Opened = (Connection, Arc<Remote>, CancellationToken);

impl Remotes {
    pub(crate) fn new(shelf: Shelf, leave: CancellationToken) -> Remotes {
        Remotes { shelf, open: Arc::default(), leave }
    }

    /// Opens what is kept.
    pub(crate) fn open_kept(&self) -> Vec<Opened> {
        let kept = self.shelf.read();
        kept.into_iter()
            .filter_map(|(kept, session)| {
                let address = kept.address.parse().ok()?;
                self.open(kept, address, session)
            })
            .collect()
    }

    fn open(&self, kept: Kept, address: Address, session: Option<String>) -> Option<Opened> {
        let remote = Arc::new(Remote::new(address, kept.login.clone(), session)?);
        let connection = Connection::remote(&kept.id, &kept.name, remote.clone());
        let leave = self.leave.child_token();
        let open = Open { kept, remote: remote.clone(), leave: leave.clone() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(open);
        Some((connection, remote, leave))
    }

    fn store(&self) -> Result<(), KeptError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = open.iter().map(|open| (open.kept(), open.remote.session())).collect();
        drop(open);
        self.shelf.write(&all)
    }

    /// Which key answers at an address.
    pub(crate) async fn look(&self, address: &str) -> Result<Looked, RemoteError> {
        let address = parse(address)?;
        let found = remote::probe(&address).await?;
        let pinned = address.pinned(found.pin);
        Ok(Looked { address: pinned.to_string(), short: found.pin.short() })
    }

    /// Adds a collector by its address and pin, with the operator's own login.
    pub(crate) async fn add(
        &self,
        address: &str,
        name: &str,
        login: &Login,
    ) -> Result<Opened, RemoteError> {
        let address = parse(address)?;
        if !matches!(address.transport, Transport::Tls { pin: Some(_) }) {
            return Err(RemoteError::NoPin);
        }
        let authority = address.authority();
        let there = |open: &Open| open.remote.address().authority() == authority;
        if self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().any(there) {
            return Err(RemoteError::There(authority));
        }
        let entered = enter(&address, login).await?;
        let name = if name.trim().is_empty() { entered.venue } else { name.trim().to_owned() };
        let kept = Kept {
            id: format!("r{}", uuid::Uuid::new_v4().simple()),
            name,
            address: address.to_string(),
            login: login.login.clone(),
        };
        let opened = self.open(kept, address, Some(entered.token)).ok_or(RemoteError::NoPin)?;
        self.store()?;
        Ok(opened)
    }

    /// Logs in again.
    pub(crate) async fn enter(&self, id: &str, login: &Login) -> Result<(), RemoteError> {
        let found = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.iter().find(|open| open.kept.id == id).map(|open| open.remote.clone())
        };
        let remote = found.ok_or_else(|| RemoteError::Unknown(id.chars().take(64).collect()))?;
        let entered = enter(remote.address(), login).await?;
        remote.entered(login.login.clone(), entered.token);
        Ok(self.store()?)
    }

    /// Leaves a collector. Its session there is ended as far as it can be reached.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), RemoteError> {
        let removed = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let at = open.iter().position(|open| open.kept.id == id);
            at.map(|at| open.remove(at))
        };
        let removed = removed.ok_or_else(|| RemoteError::Unknown(id.chars().take(64).collect()))?;
        self.store()?;
        removed.leave.cancel();
        let connection = Connection::remote(id, &removed.kept.name, removed.remote);
        let goodbye = http::Ask { method: "POST".into(), ..http::Ask::get("/api/v1/logout") };
        if let Err(error) = http::fetch(&connection, goodbye).await {
            tracing::info!(%error, "the session at a removed collector could not be ended; it ends by itself");
        }
        Ok(())
    }
}

fn parse(address: &str) -> Result<Address, RemoteError> {
    let text = address.trim();
    // People type a name.
    let address: Address =
        if text.contains("://") { text.parse()? } else { format!("https://{text}").parse()? };
    match address.transport {
        Transport::Plain => Err(RemoteError::Plain),
        Transport::Tls { .. } => Ok(address),
    }
}

#[derive(Debug, Deserialize)]
struct Entered {
    token: String,
    venue: String,
}

/// Logs in at the holder of the address's pinned key.
async fn enter(address: &Address, login: &Login) -> Result<Entered, RemoteError> {
    let remote =
        Remote::new(address.clone(), login.login.clone(), None).ok_or(RemoteError::NoPin)?;
    let connection = Connection::remote("entering", "entering", Arc::new(remote));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let body = serde_json::json!({
        "login": login.login, "password": login.password, "code": login.code,
        "client": format!("Deckport on {}", host.trim()),
    });
    let ask = http::Ask {
        method: "POST".into(),
        headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
        body: Some(body.to_string()),
        ..http::Ask::get("/api/v1/login")
    };
    let answer = http::fetch(&connection, ask).await?;
    let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != 200 {
        let text = |field: &str| said["error"][field].as_str().map(str::to_owned);
        return Err(RemoteError::Refused {
            code: text("code").unwrap_or_else(|| "broken".into()),
            message: text("message")
                .unwrap_or_else(|| format!("the collector answered {}", answer.status)),
            retryable: said["error"]["retryable"].as_bool().unwrap_or(false),
        });
    }
    serde_json::from_value(said).map_err(|error| ConnectionError::Broken(error.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::Standing;
    use deckport_collector::{Collector, Config};
    use std::path::Path;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(60);

    async fn collector(dir: &Path, port: u16) -> Collector {
        let mut config = Config::new(dir);
        config.listen = Some(([127, 0, 0, 1], port).into());
        Collector::start(config).await.unwrap()
    }

    /// What the admin of that collector does, over its own shell's stream.
    async fn let_in(collector: &Collector, login: &str) {
        use http_body_util::{BodyExt as _, Full};
        let stream = hyper_util::rt::TokioIo::new(collector.dial());
        let (mut sender, exchange) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(exchange);
        let body = serde_json::json!({
            "login": login, "name": login, "role": "operator", "password": "three blind mice",
        });
        let request = hyper::Request::post("/api/v1/operators")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from(body.to_string())))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 201, "{:?}", answer.into_body().collect().await);
    }

    fn login(password: &str) -> Login {
        Login { login: "ada".into(), password: password.into(), code: None }
    }

    async fn stands(connection: &Connection, how: impl Fn(&Standing) -> bool) {
        let mut standing = connection.standing();
        let waiting = standing.wait_for(how);
        tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_collector_elsewhere_is_added_left_and_found_again() {
        let (data, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = collector(data.path(), 0).await;
        let port = there.listen_addr().unwrap().port();
        let_in(&there, "ada").await;
        let remotes = Remotes::new(Shelf::at(own.path()), CancellationToken::new());
        // Looked at by its name, the key is told; its own screen shows the same.
        let looked = remotes.look(&format!("127.0.0.1:{port}")).await.unwrap();
        assert_eq!(looked.short, there.pin().short());
        assert!(matches!(
            remotes.add(&format!("https://127.0.0.1:{port}"), "", &login("x")).await,
            Err(RemoteError::NoPin)
        ));
        let wrong = remotes.add(&looked.address, "", &login("wrong")).await;
        assert!(
            matches!(&wrong, Err(RemoteError::Refused { code, .. }) if code == "login_refused"),
            "{wrong:?}"
        );
        let (connection, remote, leave) =
            remotes.add(&looked.address, "", &login("three blind mice")).await.unwrap();
        assert_eq!(&*connection.name, "My venue");
        let again = remotes.add(&looked.address, "", &login("three blind mice")).await;
        assert!(matches!(again, Err(RemoteError::There(_))));
        tokio::spawn(remote::keep(connection.clone(), remote, leave));
        stands(&connection, |standing| matches!(standing, Standing::Ready { .. })).await;
        // A live socket, as the operator.
        let (_reading, _writing) = crate::connection::socket::open(&connection).await.unwrap();

        // It restarts under the app: the connection says so, and comes back by itself.
        there.shutdown().await.unwrap();
        let asked = http::fetch(&connection, http::Ask::get("/api/v1/info")).await;
        assert!(asked.is_err());
        let there = collector(data.path(), port).await;
        stands(&connection, |standing| matches!(standing, Standing::Ready { .. })).await;

        // By another name from now on, which is kept.
        let_in(&there, "bob").await;
        let bob = Login { login: "bob".into(), ..login("three blind mice") };
        remotes.enter(&connection.id, &bob).await.unwrap();
        assert_eq!(connection.describe().login.as_deref(), Some("bob"));

        // The next start of the app finds it, and does not ask for a password.
        let next = Remotes::new(Shelf::at(own.path()), CancellationToken::new());
        let (connection, remote, leave) = next.open_kept().pop().unwrap();
        assert_eq!(connection.describe().login.as_deref(), Some("bob"));
        tokio::spawn(remote::keep(connection.clone(), remote, leave));
        stands(&connection, |standing| matches!(standing, Standing::Ready { .. })).await;
        next.remove(&connection.id).await.unwrap();
        assert!(
            Remotes::new(Shelf::at(own.path()), CancellationToken::new()).open_kept().is_empty()
        );
        let gone = http::fetch(&connection, http::Ask::get("/api/v1/info")).await.unwrap();
        assert_eq!(gone.status, 401, "the session there is over");
        let live = crate::connection::socket::open(&connection).await;
        assert_eq!(live.unwrap_err(), ConnectionError::Unauthorized);
        there.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_changed_key_is_an_alarm() {
        let (data, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = collector(data.path(), 0).await;
        let port = there.listen_addr().unwrap().port();
        let_in(&there, "ada").await;
        let remotes = Remotes::new(Shelf::at(own.path()), CancellationToken::new());
        let looked = remotes.look(&format!("127.0.0.1:{port}")).await.unwrap();
        let (connection, remote, leave) =
            remotes.add(&looked.address, "Desk", &login("three blind mice")).await.unwrap();
        there.shutdown().await.unwrap();
        std::fs::remove_dir_all(data.path().join("tls")).unwrap();
        let there = collector(data.path(), port).await;
        let refused = http::fetch(&connection, http::Ask::get("/api/v1/info")).await.unwrap_err();
        assert_eq!(refused.code(), "other_key");
        assert!(refused.to_string().contains("nothing was sent"), "{refused}");
        tokio::spawn(remote::keep(connection.clone(), remote, leave));
        stands(&connection, |standing| matches!(standing, Standing::Waiting { why, .. } if why.contains("another key"))).await;
        assert!(connection.describe().sentence.unwrap().contains("another key"));
        there.shutdown().await.unwrap();
    }
}
