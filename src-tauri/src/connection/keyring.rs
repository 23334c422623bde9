//! The desktop's keyring, where sessions at remote collectors are kept: the Secret Service on the session bus (GNOME Keyring,
//! KWallet, KeePassXC).
//!
//! One item for each connection, in the default keyring, found by three attributes: the app, this instance of it, the connection's id.
//! Every question has a bound and a connection of its own, so a keyring that hangs, goes or comes back is no state of ours. A locked
//! keyring is an answer ([`KeyringError::Locked`]); only [`Keyring::unlock`] makes the desktop ask the operator for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use secret_service::{Collection, EncryptionType, Error, Item, SecretService};
use tokio::time::timeout;

use super::kept::Kept;
use crate::places::IDENTIFIER;

const ANSWER: Duration = Duration::from_secs(5);
/// How long the operator has for the keyring's own dialog.
const PROMPT: Duration = Duration::from_secs(120);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

const APP: &str = "application";
const INSTANCE: &str = "instance";
const CONNECTION: &str = "connection";

/// Why the keyring holds nothing for us now. In words that finish "… because".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyringError {
    #[error("the desktop's keyring has not answered yet")]
    Unasked,
    #[error("this desktop has no keyring that answers")]
    Absent,
    #[error("the desktop's keyring has no default keyring yet; make one in its own app")]
    NoDefault,
    #[error("the desktop's keyring is locked")]
    Locked,
    #[error("the desktop's keyring did not answer in {0} s")]
    Late(u64),
    #[error("the desktop's keyring failed: {0}")]
    Failed(String),
}

impl From<Error> for KeyringError {
    fn from(error: Error) -> KeyringError {
        use zbus::Error as Bus;
        let nobody = |name: &str| {
            name == "org.freedesktop.DBus.Error.ServiceUnknown"
                || name == "org.freedesktop.DBus.Error.NameHasNoOwner"
                || name.starts_with("org.freedesktop.DBus.Error.Spawn")
        };
        match error {
            Error::Unavailable => KeyringError::Absent,
            Error::NoResult => KeyringError::NoDefault,
            Error::Locked | Error::Prompt => KeyringError::Locked,
            Error::Zbus(Bus::Address(_) | Bus::InputOutput(_)) => KeyringError::Absent,
            Error::Zbus(Bus::MethodError(name, ..)) if nobody(&name) => KeyringError::Absent,
            Error::Zbus(Bus::MethodError(name, ..)) if name.ends_with(".IsLocked") => {
                KeyringError::Locked
            }
            other => KeyringError::Failed(other.to_string()),
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    instance: Arc<str>,
    /// The session bus, if not the desktop's own.
    bus: Option<Arc<str>>,
}

impl Keyring {
    /// Of the instance of the app that is called so.
    pub(crate) fn of(instance: &str) -> Keyring {
        Keyring { instance: instance.into(), bus: None }
    }

    #[cfg(test)]
    pub(crate) fn on_bus(instance: &str, bus: &str) -> Keyring {
        Keyring { instance: instance.into(), bus: Some(bus.into()) }
    }

    async fn service(&self) -> Result<SecretService<'static>, KeyringError> {
        let bus = match &self.bus {
            None => zbus::Connection::session().await,
            Some(bus) => {
                zbus::connection::Builder::address(&**bus).map_err(Error::from)?.build().await
            }
        };
        let bus = bus.map_err(|_| KeyringError::Absent)?;
        Ok(SecretService::connect_with_existing(EncryptionType::Dh, bus).await?)
    }

    fn of_instance(&self) -> HashMap<&str, &str> {
        HashMap::from([(APP, IDENTIFIER), (INSTANCE, &*self.instance)])
    }

    /// All sessions of this instance, by their connections' ids.
    pub(crate) async fn fetch(&self) -> Result<BTreeMap<String, String>, KeyringError> {
        bounded(async {
            let service = self.service().await?;
            let keyring = open(&service).await?;
            // Goal: each item that is found is read. Exits: all were; the keyring is locked; the bound.
            loop {
                let mut sessions = BTreeMap::new();
                let mut whole = true;
                for item in keyring.search_items(self.of_instance()).await? {
                    match unless_gone(read(&item).await)? {
                        Some(session) => sessions.extend(session),
                        None => whole = false,
                    }
                }
                if whole {
                    return Ok(sessions);
                }
                // One that is gone is found no more; a keyring that locks or starts anew meanwhile says so of each.
                tokio::time::sleep(LOOK_AGAIN).await;
                keyring.ensure_unlocked().await?;
            }
        })
        .await
    }

    /// Keeps a session in place of the connection's earlier one, and reads it back: only then may it be given up elsewhere.
    pub(crate) async fn keep(&self, kept: &Kept, session: &str) -> Result<(), KeyringError> {
        bounded(async {
            let service = self.service().await?;
            let keyring = open(&service).await?;
            let mut attributes = self.of_instance();
            attributes.insert(CONNECTION, &kept.id);
            let label = format!("Deckport: {} at {}", kept.login, kept.name);
            let item = keyring
                .create_item(&label, attributes, session.as_bytes(), true, "text/plain")
                .await?;
            if item.get_secret().await? == session.as_bytes() {
                Ok(())
            } else {
                Err(KeyringError::Failed("it gave back something else than it was given".into()))
            }
        })
        .await
    }

    /// Removes the session of a connection that is gone.
    pub(crate) async fn forget(&self, connection: &str) -> Result<(), KeyringError> {
        bounded(async {
            let service = self.service().await?;
            let keyring = open(&service).await?;
            let mut attributes = self.of_instance();
            attributes.insert(CONNECTION, connection);
            for item in keyring.search_items(attributes).await? {
                unless_gone(item.delete().await)?;
            }
            Ok(())
        })
        .await
    }

    /// Has the desktop ask the operator to unlock it. May take as long as they do.
    pub(crate) async fn unlock(&self) -> Result<(), KeyringError> {
        let service = bounded(self.service()).await?;
        let keyring = bounded(async { Ok(service.get_default_collection().await?) }).await?;
        match timeout(PROMPT, keyring.unlock()).await {
            Ok(unlocked) => Ok(unlocked?),
            Err(_) => Err(KeyringError::Late(PROMPT.as_secs())),
        }
    }
}

/// The default keyring, unlocked. Nothing below it may prompt.
async fn open<'a>(service: &'a SecretService<'static>) -> Result<Collection<'a>, KeyringError> {
    let keyring = service.get_default_collection().await?;
    keyring.ensure_unlocked().await?;
    Ok(keyring)
}

/// An item's connection and session; `None` if it is none of ours after all.
async fn read(item: &Item<'_>) -> Result<Option<(String, String)>, Error> {
    let connection = item.get_attributes().await?.remove(CONNECTION);
    let session = String::from_utf8(item.get_secret().await?).ok();
    Ok(connection.zip(session))
}

/// `None` for an item that somebody removed after it was found: another part of the app, or the operator in the keyring's own app.
fn unless_gone<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    use zbus::fdo::Error as Bus;
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::ZbusFdo(
            Bus::UnknownMethod(_) | Bus::UnknownObject(_) | Bus::UnknownInterface(_),
        )) => Ok(None),
        Err(Error::Zbus(zbus::Error::MethodError(name, ..))) if no_object(&name) => Ok(None),
        Err(other) => Err(other),
    }
}

fn no_object(name: &str) -> bool {
    name == "org.freedesktop.Secret.Error.NoSuchObject"
        || ["UnknownMethod", "UnknownObject", "UnknownInterface"]
            .iter()
            .any(|unknown| name.strip_prefix("org.freedesktop.DBus.Error.") == Some(unknown))
}

async fn bounded<T>(
    asked: impl Future<Output = Result<T, KeyringError>>,
) -> Result<T, KeyringError> {
    timeout(ANSWER, asked).await.unwrap_or(Err(KeyringError::Late(ANSWER.as_secs())))
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
pub(crate) mod tests;
