//! What the operator chose: which notifications, a pause, autostart, where the collector listens.
//!
//! Kept as a small JSON file, replaced whole (write beside, sync, rename), so that a crash leaves the old or the new
//! one. A missing or unreadable file gives the defaults and a line in the log; unknown fields of a later version are
//! kept. One [`Preferences`] is shared by all: [`Preferences::watch`] tells whoever must act on a change.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;

use deckport_protocol::address::DEFAULT_PORT;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::clock::Micros;

/// The values; what is not there is the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Choices {
    pub(crate) notify_failure: bool,
    pub(crate) notify_silence: bool,
    pub(crate) notify_finish: bool,
    /// No notification is shown before this time.
    pub(crate) paused_until_at: Option<Micros>,
    pub(crate) autostart: bool,
    /// The collector in the app listens on the network, not only on this machine.
    pub(crate) listen_on_network: bool,
    /// With that: at this address of the machine, or at all of them (`0.0.0.0`).
    pub(crate) listen_address: IpAddr,
    pub(crate) listen_port: u16,
    /// The operator has been told once that closing the window keeps watching.
    pub(crate) told_about_tray: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Choices {
            notify_failure: true,
            notify_silence: true,
            notify_finish: false,
            paused_until_at: None,
            autostart: false,
            listen_on_network: false,
            listen_address: Ipv4Addr::UNSPECIFIED.into(),
            listen_port: DEFAULT_PORT,
            told_about_tray: false,
        }
    }
}

impl Choices {
    /// Whether notifications are paused at `now`.
    pub(crate) fn paused_at(&self, now: Micros) -> bool {
        self.paused_until_at.is_some_and(|until| now < until)
    }

    /// Where the collector in the app listens for consoles.
    pub(crate) fn listen(&self) -> SocketAddr {
        let ip =
            if self.listen_on_network { self.listen_address } else { Ipv4Addr::LOCALHOST.into() };
        SocketAddr::new(ip, self.listen_port)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PreferencesError {
    #[error("the preferences cannot be stored in {path}")]
    Store { path: PathBuf, source: std::io::Error },
    #[error("a preference has the wrong kind of value")]
    Value(#[from] serde_json::Error),
}

#[derive(Debug)]
pub(crate) struct Preferences {
    path: PathBuf,
    /// The file as it is, with fields that this version does not know.
    kept: Mutex<Map<String, Value>>,
    choices: watch::Sender<Choices>,
}

impl Preferences {
    pub(crate) fn open(path: PathBuf) -> Preferences {
        let kept = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Map<String, Value>>(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "the preferences cannot be read; starting with the defaults");
                Map::new()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the preferences cannot be read; starting with the defaults");
                Map::new()
            }
        };
        let choices = serde_json::from_value(Value::Object(kept.clone())).unwrap_or_else(|error| {
            tracing::warn!(%error, "a stored preference has the wrong kind of value; starting with the defaults");
            Choices::default()
        });
        Preferences { path, kept: Mutex::new(kept), choices: watch::Sender::new(choices) }
    }

    pub(crate) fn get(&self) -> Choices {
        self.choices.borrow().clone()
    }

    /// Follows the choices.
    pub(crate) fn watch(&self) -> watch::Receiver<Choices> {
        self.choices.subscribe()
    }

    /// What the choices would be with the given fields.
    pub(crate) fn with(&self, changes: &Map<String, Value>) -> Result<Choices, PreferencesError> {
        let kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(self.merged(&kept, changes)?.1)
    }

    /// Sets the given fields, stores all, and tells those who watch. On an error nothing is changed.
    pub(crate) fn set(&self, changes: &Map<String, Value>) -> Result<Choices, PreferencesError> {
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (next, choices) = self.merged(&kept, changes)?;
        self.store(&next)
            .map_err(|source| PreferencesError::Store { path: self.path.clone(), source })?;
        *kept = next;
        self.choices.send_replace(choices.clone());
        Ok(choices)
    }

    fn merged(
        &self,
        kept: &Map<String, Value>,
        changes: &Map<String, Value>,
    ) -> Result<(Map<String, Value>, Choices), PreferencesError> {
        let known = serde_json::to_value(Choices::default())?;
        let mut next = kept.clone();
        let current = serde_json::to_value(self.get())?;
        for (key, value) in current.as_object().into_iter().flatten() {
            next.insert(key.clone(), value.clone());
        }
        for (key, value) in changes {
            if known.get(key).is_some() {
                next.insert(key.clone(), value.clone());
            }
        }
        let choices: Choices = serde_json::from_value(Value::Object(next.clone()))?;
        Ok((next, choices))
    }

    pub(crate) fn pause_until(&self, until: Option<Micros>) -> Result<Choices, PreferencesError> {
        self.set(&Map::from_iter([("paused_until_at".to_owned(), serde_json::to_value(until)?)]))
    }

    fn store(&self, values: &Map<String, Value>) -> std::io::Result<()> {
        let beside = self.path.with_extension("json.new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(values)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn choices_survive_a_restart_and_keep_what_a_later_version_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("preferences.json");
        std::fs::write(&path, r#"{"notify_finish":true,"from_later":[1]}"#).unwrap();
        let preferences = Preferences::open(path.clone());
        assert!(preferences.get().notify_finish && preferences.get().notify_failure);
        preferences.set(&object(&json!({"notify_failure": false}))).unwrap();
        let again = Preferences::open(path.clone());
        assert!(!again.get().notify_failure && again.get().notify_finish);
        let stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(stored["from_later"], json!([1]));
    }

    #[test]
    fn a_wrong_value_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let preferences = Preferences::open(folder.path().join("preferences.json"));
        let before = preferences.get();
        assert!(preferences.set(&object(&json!({"notify_finish": "yes"}))).is_err());
        assert_eq!(preferences.get(), before);
        // A field that does not exist is not taken from the webview.
        preferences.set(&object(&json!({"shell": "rm"}))).unwrap();
        let stored = std::fs::read_to_string(folder.path().join("preferences.json")).unwrap();
        assert!(!stored.contains("shell"));
    }

    #[test]
    fn listening_is_on_this_machine_until_the_operator_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let preferences = Preferences::open(folder.path().join("preferences.json"));
        assert_eq!(preferences.get().listen().to_string(), "127.0.0.1:7443");
        let wide = object(&json!({"listen_on_network": true, "listen_port": 7444}));
        assert_eq!(preferences.with(&wide).unwrap().listen().to_string(), "0.0.0.0:7444");
        assert_eq!(preferences.get(), Choices::default(), "it was only looked at");
        assert!(preferences.with(&object(&json!({"listen_port": 70000}))).is_err());
        assert!(preferences.with(&object(&json!({"listen_address": "desk"}))).is_err());
    }

    #[test]
    fn a_broken_file_gives_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("preferences.json");
        std::fs::write(&path, "{not json").unwrap();
        assert_eq!(Preferences::open(path).get(), Choices::default());
    }

    #[test]
    fn a_pause_ends_by_itself() {
        let choices = Choices { paused_until_at: Some(Micros(10)), ..Choices::default() };
        assert!(choices.paused_at(Micros(9)));
        assert!(!choices.paused_at(Micros(10)));
    }
}
