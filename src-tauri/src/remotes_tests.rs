use super::*;
use crate::connection::keyring::tests::{Desk, within};
use crate::supervisor::Standing;
use deckport_collector::{Collector, Config};
use std::path::Path;
use std::time::Duration;

/// As on a desktop without a keyring.
fn without_keyring(own: &Path) -> Remotes {
    let keyring = Keyring::on_bus("test", "unix:path=/nonexistent/bus");
    Remotes::new(Shelf::at(own), keyring, CancellationToken::new())
}

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
    let remotes = without_keyring(own.path());
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
    let (_reading, _writing) = crate::connection::socket::open(&connection, "").await.unwrap();

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
    let next = without_keyring(own.path());
    let (connection, remote, leave) = next.open_kept().pop().unwrap();
    assert_eq!(connection.describe().login.as_deref(), Some("bob"));
    tokio::spawn(remote::keep(connection.clone(), remote, leave));
    stands(&connection, |standing| matches!(standing, Standing::Ready { .. })).await;
    next.remove(&connection.id).await.unwrap();
    assert!(without_keyring(own.path()).open_kept().is_empty());
    let gone = http::fetch(&connection, http::Ask::get("/api/v1/info")).await.unwrap();
    assert_eq!(gone.status, 401, "the session there is over");
    let live = crate::connection::socket::open(&connection, "").await;
    assert_eq!(live.unwrap_err(), ConnectionError::Unauthorized);
    there.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_changed_key_is_an_alarm() {
    let (data, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let there = collector(data.path(), 0).await;
    let port = there.listen_addr().unwrap().port();
    let_in(&there, "ada").await;
    let remotes = without_keyring(own.path());
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
    stands(
        &connection,
        |standing| matches!(standing, Standing::Waiting { why, .. } if why.contains("another key")),
    )
    .await;
    assert!(connection.describe().sentence.unwrap().contains("another key"));
    there.shutdown().await.unwrap();
}

/// The app with a keyring at hand, which looks at it again soon.
fn start(desk: &Desk, own: &Path) -> (Remotes, Vec<Connection>) {
    let keyring = Keyring::on_bus("test", &desk.address);
    let mut remotes = Remotes::new(Shelf::at(own), keyring, CancellationToken::new());
    remotes.look_again = Duration::from_millis(200);
    let opened = remotes.open_kept();
    let connections = opened.iter().map(|(connection, ..)| connection.clone()).collect();
    for (connection, remote, leave) in opened {
        tokio::spawn(remote::keep(connection, remote, leave));
    }
    tokio::spawn(remotes.clone().tend());
    (remotes, connections)
}

fn in_file(own: &Path) -> bool {
    let text = std::fs::read_to_string(own.join("sessions.json")).unwrap_or_default();
    text.contains("dps_")
}

async fn in_keyring(desk: &Desk) -> usize {
    Keyring::on_bus("test", &desk.address).fetch().await.unwrap().len()
}

#[tokio::test]
async fn a_login_moves_to_the_keyring_and_is_never_lost() {
    let (data, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let there = collector(data.path(), 0).await;
    let_in(&there, "ada").await;
    let mut desk = Desk::new();
    let ready = |standing: &Standing| matches!(standing, Standing::Ready { .. });

    // Without a keyring the file holds it, and the app says so.
    let (remotes, _) = start(&desk, own.path());
    let port = there.listen_addr().unwrap().port();
    let looked = remotes.look(&format!("127.0.0.1:{port}")).await.unwrap();
    let added = remotes.add(&looked.address, "HQ", &login("three blind mice")).await.unwrap();
    assert!(in_file(own.path()));
    let holder = remotes.holder();
    assert_eq!(holder.kind, "file");
    assert!(holder.sentence.contains("no keyring that answers"), "{}", holder.sentence);

    // One appears: the login moves there.
    desk.start_keyring().await;
    within("the login moves", async || !in_file(own.path())).await;
    assert_eq!(in_keyring(&desk).await, 1);
    within("it is said", async || remotes.holder().kind == "keyring").await;
    remotes.leave.cancel();

    // The next start takes it from there.
    let (remotes, connections) = start(&desk, own.path());
    stands(&connections[0], ready).await;
    remotes.leave.cancel();

    // Locked: the start does not wait for it, nothing is asked of the collector, and the connection says what to do.
    desk.lock().await;
    let (remotes, connections) = start(&desk, own.path());
    let says = |standing: &Standing| matches!(standing, Standing::Waiting { why, .. } if why.contains("keyring is locked"));
    stands(&connections[0], says).await;
    let asked = http::fetch(&connections[0], http::Ask::get("/api/v1/info")).await.unwrap_err();
    assert_eq!(asked.code(), "not_ready");
    // Unlocked by the operator's own means, it goes on by itself.
    desk.unlock().await;
    stands(&connections[0], ready).await;
    remotes.leave.cancel();

    // Locked again, and the operator logs in again instead: the file has the newer login, and gives it up in time.
    desk.lock().await;
    let (remotes, connections) = start(&desk, own.path());
    remotes.enter(&connections[0].id, &login("three blind mice")).await.unwrap();
    stands(&connections[0], ready).await;
    assert!(in_file(own.path()));
    remotes.leave.cancel();
    let (remotes, connections) = start(&desk, own.path());
    stands(&connections[0], ready).await;
    desk.unlock().await;
    within("the newer login moves", async || !in_file(own.path())).await;
    let session = added.1.session().unwrap();
    let held = Keyring::on_bus("test", &desk.address).fetch().await.unwrap();
    assert!(!held.values().any(|held| *held == session), "the older one is gone");

    // Removed while it is locked: what is left in the keyring goes when it can.
    desk.lock().await;
    remotes.remove(&connections[0].id).await.unwrap();
    desk.unlock().await;
    remotes.leave.cancel();
    let (remotes, connections) = start(&desk, own.path());
    assert!(connections.is_empty());
    within("nothing is left", async || in_keyring(&desk).await == 0).await;
    remotes.leave.cancel();
    there.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_keyring_that_is_gone_is_waited_for_and_said() {
    let (data, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let there = collector(data.path(), 0).await;
    let_in(&there, "ada").await;
    let mut desk = Desk::new();
    desk.start_keyring().await;
    let (remotes, _) = start(&desk, own.path());
    let port = there.listen_addr().unwrap().port();
    let looked = remotes.look(&format!("127.0.0.1:{port}")).await.unwrap();
    remotes.add(&looked.address, "HQ", &login("three blind mice")).await.unwrap();
    // It never was in the file.
    assert!(!in_file(own.path()));
    remotes.leave.cancel();
    desk.stop_keyring();
    let (remotes, connections) = start(&desk, own.path());
    let says = |standing: &Standing| matches!(standing, Standing::Waiting { why, .. } if why.contains("no keyring that answers"));
    stands(&connections[0], says).await;
    desk.start_keyring().await;
    stands(&connections[0], |standing| matches!(standing, Standing::Ready { .. })).await;
    remotes.leave.cancel();
    there.shutdown().await.unwrap();
}
