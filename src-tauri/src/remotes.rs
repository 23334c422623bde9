//! Adding, entering and removing remote collectors.
//!
//! Adding takes the address and its pin (pasted, or found by [`Remotes::look`] and compared by a person), a login and a password. The
//! password goes to the holder of the pinned key once, for a session, and is kept nowhere. Sessions are kept in the desktop's
//! keyring; where it is absent or locked, in a file, and the operator is told so ([`Remotes::holder`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deckport_protocol::address::{Address, AddressError, Transport};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::connection::kept::{Kept, KeptError, Shelf};
use crate::connection::keyring::{Keyring, KeyringError};
use crate::connection::remote::{self, Remote, Session};
use crate::connection::{Connection, ConnectionError, http};

const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// So many times as long when nothing waits for it.
const RARELY: u32 = 20;

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

/// What holds the operator's logins at remote collectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Holder {
    /// `keyring` or `file`.
    kind: &'static str,
    /// For the operator.
    sentence: String,
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
    keyring: Keyring,
    open: Arc<Mutex<Vec<Open>>>,
    /// Why the keyring could not be used when it was last asked; nothing while it can.
    problem: Arc<Mutex<Option<KeyringError>>>,
    /// Who holds it moves sessions and writes the files.
    storing: Arc<tokio::sync::Mutex<()>>,
    /// Which connections there are could be read: what the keyring has beside them may go.
    knows_all: Arc<AtomicBool>,
    /// Something is not where it should be.
    unsettled: Arc<Notify>,
    /// How soon a keyring that could not be used is looked at again, while something waits for it.
    look_again: Duration,
    leave: CancellationToken,
}

/// A connection that was opened, and what ends it.
pub(crate) type Opened = (Connection, Arc<Remote>, CancellationToken);

impl Remotes {
    pub(crate) fn new(shelf: Shelf, keyring: Keyring, leave: CancellationToken) -> Remotes {
        Remotes {
            shelf,
            keyring,
            open: Arc::default(),
            problem: Arc::new(Mutex::new(Some(KeyringError::Unasked))),
            storing: Arc::default(),
            knows_all: Arc::default(),
            unsettled: Arc::default(),
            look_again: LOOK_AGAIN,
            leave,
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what is kept. The keyring is not asked here: [`Remotes::tend`] brings what is in it.
    pub(crate) fn open_kept(&self) -> Vec<Opened> {
        let kept = self.shelf.read();
        self.knows_all.store(kept.is_some(), Ordering::Release);
        kept.unwrap_or_default()
            .into_iter()
            .filter_map(|(kept, session)| {
                let address = kept.address.parse().ok()?;
                let session = match session {
                    Some(session) => Session::Known(session),
                    None if kept.in_keyring => Session::Awaited(
                        "the login is being taken from the desktop's keyring".into(),
                    ),
                    None => Session::None,
                };
                // Where both have one, the file's counts.
                let in_keyring = matches!(session, Session::Awaited(_));
                self.open(Kept { in_keyring, ..kept }, address, session)
            })
            .collect()
    }

    fn open(&self, kept: Kept, address: Address, session: Session) -> Option<Opened> {
        let remote = Arc::new(Remote::new(address, kept.login.clone(), session)?);
        let connection = Connection::remote(&kept.id, &kept.name, remote.clone());
        let leave = self.leave.child_token();
        let open = Open { kept, remote: remote.clone(), leave: leave.clone() };
        self.all().push(open);
        Some((connection, remote, leave))
    }

    /// What holds the logins, in words for the operator.
    pub(crate) fn holder(&self) -> Holder {
        match &*self.problem.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Holder {
                kind: "keyring",
                sentence: "Logins at other collectors are kept in the desktop's keyring.".into(),
            },
            Some(problem) => Holder {
                kind: "file",
                sentence: format!(
                    "Logins at other collectors are kept in a file that only you can read ({}), because {problem}. They move to \
                     the keyring as soon as it can be used.",
                    self.shelf.sessions().display()
                ),
            },
        }
    }

    /// Keeps what is open: sessions in the keyring, or else in the file.
    async fn store(&self) -> Result<(), KeptError> {
        let _alone = self.storing.lock().await;
        if let Err(problem) = self.move_to_keyring().await {
            self.is_a_problem(problem);
            self.unsettled.notify_one();
        }
        self.write()
    }

    fn write(&self) -> Result<(), KeptError> {
        let all: Vec<_> =
            self.all().iter().map(|open| (open.kept(), open.remote.session())).collect();
        self.shelf.write(&all)
    }

    fn is_a_problem(&self, problem: KeyringError) {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(&problem) {
            tracing::warn!(%problem, "logins at other collectors are kept in a file, not in the keyring");
            *known = Some(problem);
        }
    }

    /// Puts the sessions into the keyring that are not in it, and says whether there were any. The file is still to be written.
    async fn move_to_keyring(&self) -> Result<bool, KeyringError> {
        let loose: Vec<(Kept, String)> = {
            let all = self.all();
            let loose = all.iter().filter(|open| !open.kept.in_keyring);
            loose.filter_map(|open| Some((open.kept(), open.remote.session()?))).collect()
        };
        let any = !loose.is_empty();
        for (kept, session) in loose {
            self.keyring.keep(&kept, &session).await?;
            let mut all = self.all();
            // It may have been left, or entered anew, meanwhile.
            let same = |open: &&mut Open| {
                open.kept.id == kept.id && open.remote.session().as_ref() == Some(&session)
            };
            if let Some(open) = all.iter_mut().find(same) {
                open.kept.in_keyring = true;
            }
        }
        Ok(any)
    }

    /// Brings sessions from the keyring, and moves those there that are in the file, as soon as it can be used. Runs until the app
    /// leaves; a keyring that is locked is asked for once, and looked at again from time to time.
    pub(crate) async fn tend(self) {
        let mut may_ask = true;
        loop {
            let wait = match self.settle().await {
                Ok(()) => None,
                Err(problem) => {
                    let locked = problem == KeyringError::Locked;
                    let waits = self.wait_because(&problem);
                    self.is_a_problem(problem);
                    if locked && waits && std::mem::take(&mut may_ask) {
                        // Dropping the question leaves the desktop's dialog to the operator.
                        let unlocked = tokio::select! {
                            () = self.leave.cancelled() => return,
                            unlocked = self.keyring.unlock() => unlocked,
                        };
                        if unlocked.is_ok() {
                            continue;
                        }
                    }
                    let loose = self.all().iter().any(|open| open.remote.session().is_some());
                    // Who waits for it is served soon; what is in the file lies well there.
                    waits.then_some(self.look_again).or(loose.then_some(self.look_again * RARELY))
                }
            };
            if wait.is_none() {
                tokio::select! {
                    () = self.leave.cancelled() => return,
                    () = self.unsettled.notified() => {}
                }
            }
            tokio::select! {
                () = self.leave.cancelled() => return,
                () = tokio::time::sleep(wait.unwrap_or(self.look_again)) => {}
            }
        }
    }

    /// Whether connections wait for the keyring; each then says why.
    fn wait_because(&self, problem: &KeyringError) -> bool {
        let all = self.all();
        let waiting: Vec<&Open> =
            all.iter().filter(|open| open.remote.awaited().is_some()).collect();
        for open in &waiting {
            let what = match problem {
                KeyringError::Locked => "unlock it and it goes on by itself",
                KeyringError::Unasked
                | KeyringError::Absent
                | KeyringError::NoDefault
                | KeyringError::Late(_)
                | KeyringError::Failed(_) => "it goes on by itself when the keyring is back",
            };
            let why =
                format!("the login is kept in the keyring, but {problem}; {what}, or log in again");
            open.remote.set_session(Session::Awaited(why));
        }
        !waiting.is_empty()
    }

    /// All sessions to where they belong.
    async fn settle(&self) -> Result<(), KeyringError> {
        let mut held = self.keyring.fetch().await?;
        let _alone = self.storing.lock().await;
        {
            let all = self.all();
            for open in all.iter() {
                let session = held.remove(&open.kept.id);
                if open.remote.awaited().is_some() {
                    open.remote.set_session(session.map_or(Session::None, Session::Known));
                }
            }
        }
        if self.move_to_keyring().await?
            && let Err(error) = self.write()
        {
            tracing::warn!(%error, "where logins are kept could not be written");
        }
        // What is left there belongs to connections that were removed while it was locked.
        if self.knows_all.load(Ordering::Acquire) {
            for gone in held.keys() {
                self.keyring.forget(gone).await?;
            }
        }
        let known = self.problem.lock().unwrap_or_else(PoisonError::into_inner).take();
        if known.is_some() {
            tracing::info!("logins at other collectors are kept in the keyring from now on");
        }
        Ok(())
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
        if self.all().iter().any(there) {
            return Err(RemoteError::There(authority));
        }
        let entered = enter(&address, login).await?;
        let name = if name.trim().is_empty() { entered.venue } else { name.trim().to_owned() };
        let kept = Kept {
            id: format!("r{}", uuid::Uuid::new_v4().simple()),
            name,
            address: address.to_string(),
            login: login.login.clone(),
            in_keyring: false,
        };
        let session = Session::Known(entered.token);
        let opened = self.open(kept, address, session).ok_or(RemoteError::NoPin)?;
        self.store().await?;
        Ok(opened)
    }

    /// Logs in again.
    pub(crate) async fn enter(&self, id: &str, login: &Login) -> Result<(), RemoteError> {
        let unknown = || RemoteError::Unknown(id.chars().take(64).collect());
        let found =
            self.all().iter().find(|open| open.kept.id == id).map(|open| open.remote.clone());
        let entered = enter(found.ok_or_else(unknown)?.address(), login).await?;
        {
            let mut all = self.all();
            let open = all.iter_mut().find(|open| open.kept.id == id).ok_or_else(unknown)?;
            // What the keyring has is older.
            open.kept.in_keyring = false;
            open.remote.entered(login.login.clone(), entered.token);
        }
        Ok(self.store().await?)
    }

    /// Leaves a collector. Its session there is ended as far as it can be reached.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), RemoteError> {
        let removed = {
            let mut all = self.all();
            let at = all.iter().position(|open| open.kept.id == id);
            at.map(|at| all.remove(at))
        };
        let removed = removed.ok_or_else(|| RemoteError::Unknown(id.chars().take(64).collect()))?;
        self.store().await?;
        if removed.kept.in_keyring
            && let Err(error) = self.keyring.forget(id).await
        {
            tracing::info!(%error, "the login of a removed collector stays in the keyring until that can be used");
        }
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
    let remote = Remote::new(address.clone(), login.login.clone(), Session::None)
        .ok_or(RemoteError::NoPin)?;
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
#[path = "remotes_tests.rs"]
mod tests;
