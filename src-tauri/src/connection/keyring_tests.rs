//! Against a real Secret Service: GNOME Keyring on a session bus of the test's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use super::*;

const PASSWORD: &str = "opens the keyring";

/// It starts nothing by itself: no keyring but the test's.
const BUS: &str = r#"<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"#;

/// A session bus, at first with no keyring on it.
pub(crate) struct Desk {
    pub(crate) address: String,
    home: tempfile::TempDir,
    bus: Child,
    daemon: Option<Child>,
}

impl Desk {
    pub(crate) fn new() -> Desk {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("bus.conf");
        std::fs::write(&config, BUS).unwrap();
        let bus = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--print-address=1", "--config-file"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut bus = bus.expect("dbus-daemon can be started; install dbus");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Desk { address: address.trim().to_owned(), home, bus, daemon: None }
    }

    /// A keyring appears: made and unlocked with its password, as a login does it.
    pub(crate) async fn start_keyring(&mut self) {
        let daemon = Command::new("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .env("HOME", self.home.path())
            .env("XDG_DATA_HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path())
            .env_remove("GNOME_KEYRING_CONTROL")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut daemon =
            daemon.expect("gnome-keyring-daemon can be started; install gnome-keyring");
        daemon.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        self.daemon = Some(daemon);
        let keyring = Keyring::on_bus("waiting", &self.address);
        within("the keyring opens", async || keyring.fetch().await.is_ok()).await;
    }

    pub(crate) fn stop_keyring(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    pub(crate) async fn lock(&self) {
        let service = Keyring::on_bus("locking", &self.address).service().await.unwrap();
        service.get_default_collection().await.unwrap().lock().await.unwrap();
    }

    /// The operator unlocks it by its own means: as GNOME's own apps do it with the password.
    pub(crate) async fn unlock(&self) {
        let bus =
            zbus::connection::Builder::address(&*self.address).unwrap().build().await.unwrap();
        let (name, path) = ("org.freedesktop.secrets", "/org/freedesktop/secrets");
        let service = zbus::Proxy::new(&bus, name, path, "org.freedesktop.Secret.Service");
        let nothing = zbus::zvariant::Value::from("");
        let (_, session): (OwnedValue, OwnedObjectPath) =
            service.await.unwrap().call("OpenSession", &("plain", nothing)).await.unwrap();
        let secrets = Keyring::on_bus("unlocking", &self.address).service().await.unwrap();
        let keyring = secrets.get_default_collection().await.unwrap().collection_path.clone();
        let internal = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface";
        let internal = zbus::Proxy::new(&bus, name, path, internal).await.unwrap();
        let password = (session, Vec::<u8>::new(), PASSWORD.as_bytes(), "text/plain");
        let () = internal.call("UnlockWithMasterPassword", &(keyring, password)).await.unwrap();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop_keyring();
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

/// Waits for a condition that only a fault keeps from coming.
pub(crate) async fn within(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

fn kept(id: &str) -> Kept {
    let address = "https://hq:7443#sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into();
    Kept { id: id.into(), name: "HQ".into(), address, login: "ada".into(), in_keyring: false }
}

#[tokio::test]
async fn sessions_are_kept_found_replaced_and_forgotten() {
    let mut desk = Desk::new();
    let keyring = Keyring::on_bus("one", &desk.address);
    assert_eq!(keyring.fetch().await, Err(KeyringError::Absent));
    assert_eq!(keyring.keep(&kept("r1"), "x").await, Err(KeyringError::Absent));
    desk.start_keyring().await;
    keyring.keep(&kept("r1"), "first").await.unwrap();
    keyring.keep(&kept("r1"), "second").await.unwrap();
    keyring.keep(&kept("r2"), "other").await.unwrap();
    // Another instance of the app has its own.
    let elsewhere = Keyring::on_bus("two", &desk.address);
    elsewhere.keep(&kept("r1"), "theirs").await.unwrap();
    let sessions = keyring.fetch().await.unwrap();
    let expected = [("r1", "second"), ("r2", "other")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(sessions, BTreeMap::from(expected));
    keyring.forget("r1").await.unwrap();
    keyring.forget("r1").await.unwrap();
    assert_eq!(keyring.fetch().await.unwrap().len(), 1);
    assert_eq!(elsewhere.fetch().await.unwrap()["r1"], "theirs");

    // Locked, it answers at once and asks nobody; without anybody to show the dialog it stays locked.
    desk.lock().await;
    assert_eq!(keyring.fetch().await, Err(KeyringError::Locked));
    assert_eq!(keyring.keep(&kept("r1"), "x").await, Err(KeyringError::Locked));
    assert_eq!(keyring.unlock().await, Err(KeyringError::Locked));
    desk.unlock().await;
    assert_eq!(keyring.fetch().await.unwrap()["r2"], "other");
    desk.stop_keyring();
    assert_eq!(keyring.fetch().await, Err(KeyringError::Absent));
}

#[tokio::test]
async fn what_is_removed_while_it_is_read_was_not_there() {
    let mut desk = Desk::new();
    desk.start_keyring().await;
    let (reads, removes) =
        (Keyring::on_bus("one", &desk.address), Keyring::on_bus("one", &desk.address));
    removes.keep(&kept("stays"), "stays").await.unwrap();
    let reading = async {
        for _ in 0..60 {
            assert_eq!(reads.fetch().await.unwrap()["stays"], "stays");
        }
    };
    let removing = async {
        for _ in 0..30 {
            removes.keep(&kept("goes"), "goes").await.unwrap();
            // Both remove it.
            let (one, two) = tokio::join!(removes.forget("goes"), reads.forget("goes"));
            one.and(two).unwrap();
        }
    };
    tokio::join!(reading, removing);
}

#[tokio::test]
async fn without_a_session_bus_there_is_no_keyring() {
    let nowhere = Keyring::on_bus("one", "unix:path=/nonexistent/bus");
    assert_eq!(nowhere.fetch().await, Err(KeyringError::Absent));
    // One that accepts and says nothing.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let _mute = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mute = Keyring::on_bus("one", &format!("unix:path={}", path.display()));
    assert_eq!(mute.fetch().await, Err(KeyringError::Late(ANSWER.as_secs())));
}
