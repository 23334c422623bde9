//! Who gets in, over real TLS: pins, codes, certificates, revocation.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use bytes::Bytes;
use deckport_collector::Collector;
use deckport_collector::config::{OwnCertificate, Rate};
use deckport_protocol::console::{Checkpoint, CollectorWord, ConsoleMessage, ConsoleOrder};
use deckport_protocol::joining::Joined;
use deckport_protocol::message::{AgentMessage, CollectorMessage};
use deckport_protocol::tls::rustls::pki_types::pem::PemObject as _;
use deckport_protocol::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use deckport_protocol::{BootId, ConsoleId, ErrorCode, PROTOCOL_VERSION, Pin, tls};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::{Method, Request};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::http::exchange;
use support::later::Later;
use support::{DEADLINE, Run, config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

const DAY_US: i64 = 86_400_000_000;

async fn start(dir: &Path) -> Collector {
    let mut config = config(dir);
    config.plain_http = false;
    Collector::start(config).await.unwrap()
}

async fn start_with(dir: &Path, clock: &Arc<Later>) -> Collector {
    let mut config = config(dir);
    config.plain_http = false;
    config.clock = Arc::clone(clock) as _;
    Collector::start(config).await.unwrap()
}

/// What a console holds.
#[derive(Clone)]
struct Held {
    console_id: ConsoleId,
    certificate: String,
    key: String,
}

impl Held {
    fn identity(&self) -> tls::Identity {
        tls::Identity {
            certificates: vec![
                CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap().into_owned(),
            ],
            key: PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap(),
        }
    }
}

async fn connect(
    address: SocketAddr,
    pin: Pin,
    held: Option<&Held>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = tls::client(&[pin], held.map(Held::identity)).unwrap();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(address.ip().to_string()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Asks over TLS; the status and the JSON of the answer.
async fn ask(
    collector: &Collector,
    held: Option<&Held>,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let address = collector.listen_addr().unwrap();
    let stream = connect(address, collector.pin(), held).await.unwrap();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let answer = exchange(stream, request).await;
    (answer.status, answer.json())
}

/// What an admin does: the local token, over TLS.
async fn admin(collector: &Collector, method: Method, path: &str, body: Value) -> (u16, Value) {
    let address = collector.listen_addr().unwrap();
    let stream = connect(address, collector.pin(), None).await.unwrap();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("authorization", format!("Bearer {}", collector.token()))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let answer = exchange(stream, request).await;
    (answer.status, answer.json())
}

async fn code(collector: &Collector, asked: Value) -> (String, String) {
    let (status, made) = admin(collector, Method::POST, "/api/v1/join-tokens", asked).await;
    assert_eq!(status, 201, "{made}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["code"]), text(&made["invitation"]["id"]))
}

fn request() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    (key.serialize_pem(), request)
}

async fn join(collector: &Collector, code: &str, console_id: ConsoleId) -> Result<Held, String> {
    join_as(collector, code, console_id, None).await
}

/// `shown`: what it was given before.
async fn join_as(
    collector: &Collector,
    code: &str,
    console_id: ConsoleId,
    shown: Option<&Held>,
) -> Result<Held, String> {
    let (key, request) = request();
    let asked = json!({
        "code": code, "console_id": console_id, "name": "Bay 12", "agent_version": "test",
        "request": request
    });
    let (status, answer) = ask(collector, shown, Method::POST, "/api/v1/join", asked).await;
    if status != 201 {
        return Err(answer["error"]["code"].as_str().unwrap_or_default().to_owned());
    }
    let joined: Joined = serde_json::from_value(answer).unwrap();
    Ok(Held { console_id, certificate: joined.certificate, key })
}

async fn enrolled(collector: &Collector) -> Held {
    let (code, _) = code(collector, json!({ "template": "console" })).await;
    join(collector, &code, ConsoleId::new()).await.unwrap()
}

async fn renew(collector: &Collector, held: &Held) -> Result<Held, String> {
    let (key, request) = request();
    let path = "/api/v1/console/renew";
    let asked = json!({ "request": request });
    let (status, answer) = ask(collector, Some(held), Method::POST, path, asked).await;
    if status != 200 {
        return Err(answer["error"]["code"].as_str().unwrap_or_default().to_owned());
    }
    let joined: Joined = serde_json::from_value(answer).unwrap();
    Ok(Held { certificate: joined.certificate, key, ..*held })
}

async fn socket(
    collector: &Collector,
    held: Option<&Held>,
    path: &str,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, u16> {
    let address = collector.listen_addr().unwrap();
    let request = format!("ws://{address}{path}").into_client_request().unwrap();
    let stream = connect(address, collector.pin(), held).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// How the script of the console's template is answered: what a certificate is good for.
async fn standing(collector: &Collector, held: &Held) -> Result<(), String> {
    let path = "/api/v1/console/script";
    let (status, answer) = ask(collector, Some(held), Method::GET, path, Value::Null).await;
    if status == 200 { Ok(()) } else { Err(answer["error"]["code"].as_str().unwrap().to_owned()) }
}

#[tokio::test]
async fn nothing_is_sent_to_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let address = collector.listen_addr().unwrap();
    connect(address, collector.pin(), None).await.unwrap();
    let error = connect(address, Pin::of_key(b"another"), None).await.unwrap_err();
    let wrong = tls::wrong_pin(&error).unwrap();
    assert_eq!(
        (wrong.found, wrong.expected.as_slice()),
        (collector.pin(), &[Pin::of_key(b"another")][..])
    );
}

#[tokio::test]
async fn who_comes_without_tls_is_told_how_to_come_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let mut stream = TcpStream::connect(collector.listen_addr().unwrap()).await.unwrap();
    let token = collector.token();
    let asked =
        format!("GET /api/v1/info HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("tls_required"), "{answer}");
    assert!(answer.contains(&collector.pin().to_string()), "{answer}");
}

#[tokio::test]
async fn plain_http_is_for_loopback_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.listen = Some("0.0.0.0:0".parse().unwrap());
    let error = Collector::start(config).await.unwrap_err();
    assert!(error.to_string().contains("loopback only"), "{error}");
}

#[tokio::test]
async fn a_code_lets_one_console_in_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let collector = start_with(dir.path(), &clock).await;
    let asked = || json!({ "template": "console" });
    let (good, _) = code(&collector, asked()).await;
    let held = join(&collector, &good.to_lowercase().replace('-', " "), ConsoleId::new()).await;
    standing(&collector, &held.unwrap()).await.unwrap();
    let refused = Err("code_refused".to_owned());
    let other = async |code: &str| join(&collector, code, ConsoleId::new()).await.map(drop);
    assert_eq!(other(&good).await, refused, "it is used up");
    assert_eq!(other("0000-0000-0000").await, refused, "nobody made it");
    assert_eq!(other("rubbish").await, refused);
    let (revoked, id) = code(&collector, asked()).await;
    let path = format!("/api/v1/join-tokens/{id}");
    assert_eq!(admin(&collector, Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(other(&revoked).await, refused, "it was taken back");
    let (late, _) = code(&collector, asked()).await;
    let (wide, _) =
        code(&collector, json!({ "template": "console", "uses": 2, "ttl_s": 86_400 })).await;
    clock.0.fetch_add(901_000_000, Ordering::Relaxed);
    assert_eq!(other(&late).await, refused, "it has expired");
    assert_eq!(other(&wide).await, Ok(()));
    assert_eq!(other(&wide).await, Ok(()));
    assert_eq!(other(&wide).await, refused, "it was for two");
    // A request that cannot be signed costs no code.
    let (kept, _) = code(&collector, asked()).await;
    let broken = json!({ "code": kept, "console_id": ConsoleId::new(), "name": "x",
        "agent_version": "x", "request": "none" });
    assert_eq!(ask(&collector, None, Method::POST, "/api/v1/join", broken).await.0, 400);
    assert_eq!(other(&kept).await, Ok(()));
    let (status, all) = admin(&collector, Method::GET, "/api/v1/join-tokens", Value::Null).await;
    let states: Vec<_> =
        all["invitations"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(
        (status, states),
        (
            200,
            vec![json!("used"), json!("used"), json!("expired"), json!("revoked"), json!("used")]
        )
    );
    assert!(!all.to_string().contains(&good), "codes are not known any more");
    for bad in [
        json!({ "template": "../x" }),
        json!({ "template": "none" }),
        json!({ "template": "console", "ttl_s": 1 }),
        json!({ "template": "console", "uses": 0 }),
        json!({ "template": "console", "venue": "elsewhere" }),
    ] {
        assert_eq!(
            admin(&collector, Method::POST, "/api/v1/join-tokens", bad.clone()).await.0,
            400,
            "{bad}"
        );
    }
    // What was given out outlives the collector.
    let (later, _) = code(&collector, asked()).await;
    collector.shutdown().await.unwrap();
    let collector = start_with(dir.path(), &clock).await;
    assert!(join(&collector, &later, ConsoleId::new()).await.is_ok());
    assert_eq!(join(&collector, &kept, ConsoleId::new()).await.map(drop), refused);
}

/// A console that is in is replaced by itself, or after it was removed: not by whoever knows its id and a code, in its venue or another.
#[tokio::test]
async fn a_code_replaces_no_console_that_stands() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let (held, other) = (enrolled(&collector).await, enrolled(&collector).await);
    let name = json!({ "name": "Hall B" });
    let (status, hall) = admin(&collector, Method::POST, "/api/v1/venues", name).await;
    assert_eq!(status, 201, "{hall}");
    let new_code = async |venue: &str| {
        code(&collector, json!({ "template": "console", "venue": venue })).await.0
    };
    let refused = Some("forbidden".to_owned());
    for venue in ["My venue", "Hall B"] {
        let code = new_code(venue).await;
        assert_eq!(join(&collector, &code, held.console_id).await.err(), refused);
        let shown = Some(&other);
        assert_eq!(join_as(&collector, &code, held.console_id, shown).await.err(), refused);
        standing(&collector, &held).await.unwrap();
        assert!(join(&collector, &code, ConsoleId::new()).await.is_ok(), "it cost no code");
    }
    // Itself it may move.
    let code = new_code("Hall B").await;
    let moved = join_as(&collector, &code, held.console_id, Some(&held)).await.unwrap();
    standing(&collector, &moved).await.unwrap();
    assert!(standing(&collector, &held).await.is_err());
    let joined = written(&collector).await;
    let joined = joined.iter().filter(|entry| entry["action"] == "console_joined");
    assert_eq!(joined.filter(|entry| entry.to_string().contains("from_venue")).count(), 1);
    let path = format!("/api/v1/consoles/{}/revoke", moved.console_id);
    assert_eq!(admin(&collector, Method::POST, &path, Value::Null).await.0, 204);
    assert!(join(&collector, &new_code("My venue").await, moved.console_id).await.is_ok());
    // Its former self is another by now.
    let code = new_code("My venue").await;
    assert_eq!(join_as(&collector, &code, moved.console_id, Some(&moved)).await.err(), refused);
}

#[tokio::test]
async fn a_console_writes_its_own_streams_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let held = enrolled(&collector).await;
    let mut run = Run::new("Bay 12");
    run.hello.console_id = held.console_id;
    let path = format!("/ws/deployment/{}", run.hello.deployment_id);
    let mut own = socket(&collector, Some(&held), &path).await.unwrap();
    let said = AgentMessage::Hello(run.hello.clone()).to_text();
    own.send(Message::text(said)).await.unwrap();
    let answer = own.next().await.unwrap().unwrap();
    let answer = CollectorMessage::parse(answer.to_text().unwrap()).unwrap();
    assert!(matches!(answer, CollectorMessage::Welcome(_)), "{answer:?}");
    // Another's.
    let other = Run::new("Bay 13");
    let path = format!("/ws/deployment/{}", other.hello.deployment_id);
    let mut foreign = socket(&collector, Some(&held), &path).await.unwrap();
    let said = AgentMessage::Hello(other.hello.clone()).to_text();
    foreign.send(Message::text(said)).await.unwrap();
    let answer = foreign.next().await.unwrap().unwrap();
    assert!(answer.to_text().unwrap().contains("forbidden"), "{answer:?}");
    for path in ["/api/v1/info", "/api/v1/deployments", "/api/v1/consoles", "/metrics"] {
        let (status, _) = ask(&collector, Some(&held), Method::GET, path, Value::Null).await;
        assert_eq!(status, 403, "{path}");
    }
    assert_eq!(socket(&collector, Some(&held), "/ws/live").await.err(), Some(403));
    // And nobody does without a credential.
    assert_eq!(socket(&collector, None, "/ws/console").await.err(), Some(401));
    assert_eq!(socket(&collector, None, &path_of(&run)).await.err(), Some(401));
}

fn path_of(run: &Run) -> String {
    format!("/ws/deployment/{}", run.hello.deployment_id)
}

async fn daemon(collector: &Collector, held: &Held) -> WebSocketStream<TlsStream<TcpStream>> {
    let mut socket = socket(collector, Some(held), "/ws/console").await.unwrap();
    let hello = ConsoleMessage::Hello {
        protocol: PROTOCOL_VERSION,
        name: "Bay 12".into(),
        agent_version: "test".into(),
        boot_id: BootId::new(),
    };
    socket.send(Message::text(serde_json::to_string(&hello).unwrap())).await.unwrap();
    let welcome = word(&mut socket).await.unwrap();
    assert!(matches!(welcome, CollectorWord::Welcome { checkpoint: Some(_), .. }), "{welcome:?}");
    socket
}

async fn word(socket: &mut WebSocketStream<TlsStream<TcpStream>>) -> Option<CollectorWord> {
    let message = tokio::time::timeout(DEADLINE, socket.next()).await.unwrap();
    match message {
        Some(Ok(Message::Text(text))) => Some(serde_json::from_str(&text).unwrap()),
        _ => None,
    }
}

#[tokio::test]
async fn revoking_closes_what_is_open_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let held = enrolled(&collector).await;
    let mut daemon_socket = daemon(&collector, &held).await;
    let mut run = Run::new("Bay 12");
    run.hello.console_id = held.console_id;
    let mut stream = socket(&collector, Some(&held), &path_of(&run)).await.unwrap();
    stream.send(Message::text(AgentMessage::Hello(run.hello.clone()).to_text())).await.unwrap();
    stream.next().await.unwrap().unwrap();
    // One that has not said hello yet.
    let mut mute = socket(&collector, Some(&held), &path_of(&Run::new("x"))).await.unwrap();
    let path = format!("/api/v1/consoles/{}/revoke", held.console_id);
    let asked = Instant::now();
    assert_eq!(admin(&collector, Method::POST, &path, Value::Null).await.0, 204);
    for socket in [&mut daemon_socket, &mut stream, &mut mute] {
        let mut said = String::new();
        while let Some(Ok(message)) = tokio::time::timeout(DEADLINE, socket.next()).await.unwrap() {
            if let Message::Text(text) = &message {
                said.push_str(text);
            }
        }
        assert!(said.contains("revoked"), "{said}");
    }
    println!("closed {} ms after the order", asked.elapsed().as_millis());
    assert_eq!(standing(&collector, &held).await, Err("revoked".into()));
    assert_eq!(renew(&collector, &held).await.err(), Some("revoked".into()));
    collector.shutdown().await.unwrap();
    let collector = start(dir.path()).await;
    assert_eq!(standing(&collector, &held).await, Err("revoked".into()));
    // An operator may let it in again.
    let (code, _) = code(&collector, json!({ "template": "console" })).await;
    let again = join(&collector, &code, held.console_id).await.unwrap();
    standing(&collector, &again).await.unwrap();
    assert_eq!(standing(&collector, &held).await, Err("unauthenticated".into()));
}

#[tokio::test]
async fn a_certificate_is_renewed_also_after_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let collector = start_with(dir.path(), &clock).await;
    let first = enrolled(&collector).await;
    let second = renew(&collector, &first).await.unwrap();
    standing(&collector, &second).await.unwrap();
    clock.0.fetch_add(40 * DAY_US, Ordering::Relaxed);
    assert_eq!(standing(&collector, &second).await, Err("certificate_ended".into()));
    let third = renew(&collector, &second).await.unwrap();
    standing(&collector, &third).await.unwrap();
    // Who comes with the first one now has a copy: it and the console are locked out.
    assert_eq!(standing(&collector, &first).await, Err("locked".into()));
    assert_eq!(standing(&collector, &third).await, Err("locked".into()));
    support::eventually("the lock is stored", async || {
        let path = "/api/v1/consoles";
        let (_, all) = admin(&collector, Method::GET, path, Value::Null).await;
        all["consoles"][0]["standing"] == "locked"
    })
    .await;
    let written = written(&collector).await;
    let of = |action: &str| written.iter().filter(|entry| entry["action"] == action).count();
    assert_eq!((of("console_renewed"), of("console_locked")), (2, 1));
    let denied = written.iter().find(|entry| entry["detail"]["refusal"] == "locked").unwrap();
    assert_eq!(denied["actor"]["id"], json!(first.console_id), "by its certificate it is known");
    collector.shutdown().await.unwrap();
    let collector = start_with(dir.path(), &clock).await;
    assert_eq!(standing(&collector, &third).await, Err("locked".into()));
}

/// What the audit trail says, the newest first.
async fn written(collector: &Collector) -> Vec<Value> {
    let path = "/api/v1/audit?limit=500";
    let (status, page) = admin(collector, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{page}");
    page["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn consoles_are_handed_how_far_the_audit_trail_is() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let held = enrolled(&collector).await;
    let mut socket = daemon(&collector, &held).await;
    for _ in 0..100 {
        let asked = json!({ "name": "x", "query": "y" });
        let (status, _) = admin(&collector, Method::POST, "/api/v1/searches", asked).await;
        assert_eq!(status, 201);
    }
    let Some(CollectorWord::Checkpoint(checkpoint)) = word(&mut socket).await else {
        panic!("no checkpoint")
    };
    assert_eq!(checkpoint.position, 100);
    let kept = std::fs::read_to_string(dir.path().join("audit.checkpoints")).unwrap();
    assert_eq!(serde_json::from_str::<Checkpoint>(&kept).unwrap(), checkpoint);
    let written = written(&collector).await;
    let entry = written.iter().find(|entry| entry["position"] == 100).unwrap();
    assert_eq!(entry["hash"], *checkpoint.hash);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_nobodys() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (start(ours.path()).await, start(theirs.path()).await);
    let held = enrolled(&there).await;
    let address = here.listen_addr().unwrap();
    // The refusal comes with the first read: the handshake is over for the client by then.
    let refused = match connect(address, here.pin(), Some(&held)).await {
        Err(_) => true,
        Ok(mut stream) => {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            stream.read_to_end(&mut Vec::new()).await.is_err()
        }
    };
    assert!(refused);
}

#[tokio::test]
async fn a_daemon_tells_how_it_does_and_takes_orders() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let held = enrolled(&collector).await;
    let mut socket = daemon(&collector, &held).await;
    let health = json!({ "type": "heartbeat", "health": { "uptime_s": 7, "load": 0.5 } });
    socket.send(Message::text(health.to_string())).await.unwrap();
    support::eventually("the heartbeat is seen", async || {
        let path = "/api/v1/consoles";
        let (_, all) = admin(&collector, Method::GET, path, Value::Null).await;
        all["consoles"][0]["health"]["uptime_s"] == 7
            && !all["consoles"][0]["linked_since"].is_null()
    })
    .await;
    let path = format!("/api/v1/consoles/{}/order", held.console_id);
    let order = admin(&collector, Method::POST, &path, json!({ "order": "deploy" }));
    let obeys = async {
        let Some(CollectorWord::Order { order_id, order }) = word(&mut socket).await else {
            panic!("no order")
        };
        assert_eq!(order, ConsoleOrder::Deploy);
        let result =
            ConsoleMessage::OrderResult { order_id, accepted: true, message: "it runs".into() };
        socket.send(Message::text(serde_json::to_string(&result).unwrap())).await.unwrap();
    };
    let ((status, answer), ()) = tokio::join!(order, obeys);
    assert_eq!((status, answer), (200, json!({ "accepted": true, "message": "it runs" })));
    let written = written(&collector).await;
    let order = |entry: &&Value| entry["detail"]["order"] == "deploy";
    let told: Vec<_> = written.iter().filter(order).map(|entry| entry["action"].clone()).collect();
    assert_eq!(told, ["order_answered", "console_ordered"], "the newest first");
    // A later link takes its place.
    let _later = daemon(&collector, &held).await;
    let last = word(&mut socket).await;
    assert!(
        matches!(&last, Some(CollectorWord::Error(refusal)) if refusal.code.as_str() == "superseded"),
        "{last:?}"
    );
    drop(_later);
    support::eventually("the link is gone", async || {
        let (status, _) = admin(&collector, Method::POST, &path, json!({ "order": "renew" })).await;
        status == 409
    })
    .await;
}

#[tokio::test]
async fn strangers_cannot_take_the_consoles_places() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.plain_http = false;
    config.bounds.strangers = 8;
    config.bounds.strangers_of_one_address = 8;
    config.bounds.header_time = Duration::from_secs(30);
    let collector = Collector::start(config).await.unwrap();
    let held = enrolled(&collector).await;
    let mut daemon_socket = daemon(&collector, &held).await;
    let address = collector.listen_addr().unwrap();
    // More than there are places: who was there first gives way.
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    for early in &mut idle[..12] {
        let shut = tokio::time::timeout(DEADLINE, early.read(&mut [0])).await;
        assert!(matches!(shut, Ok(Ok(0) | Err(_))), "it was not shut out");
    }
    // Who is in stays in, and who can show who they are comes in.
    let ping = json!({ "type": "ping", "sent_us": 1 });
    daemon_socket.send(Message::text(ping.to_string())).await.unwrap();
    assert!(matches!(word(&mut daemon_socket).await, Some(CollectorWord::Pong(_))));
    standing(&collector, &held).await.unwrap();
    assert_eq!(admin(&collector, Method::GET, "/api/v1/info", json!({})).await.0, 200);
    assert!(collector.metrics().strangers.get() <= 8);
}

#[tokio::test]
async fn consoles_have_so_many_places_and_sockets_keep_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.plain_http = false;
    config.bounds.consoles = 4;
    config.bounds.of_one_console = 3;
    let collector = Collector::start(config).await.unwrap();
    let (first, second) = (enrolled(&collector).await, enrolled(&collector).await);
    let run = || path_of(&Run::new("Bay 12"));
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(socket(&collector, Some(&first), &run()).await.unwrap());
    }
    assert_eq!(socket(&collector, Some(&first), &run()).await.err(), Some(429), "one console");
    let refused = standing(&collector, &first).await;
    assert_eq!(refused, Err("too_many_connections".to_owned()));
    open.push(socket(&collector, Some(&second), &run()).await.unwrap());
    assert_eq!(socket(&collector, Some(&second), &run()).await.err(), Some(429), "all consoles");
    assert_eq!(admin(&collector, Method::GET, "/api/v1/info", json!({})).await.0, 200);
    drop(open);
    support::eventually("the places are free again", async || {
        socket(&collector, Some(&second), &run()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_venue_behind_one_address_is_not_kept_out_by_its_own_consoles() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.plain_http = false;
    config.bounds.arrivals_of_one_address = Rate { at_once: 20, per_second: 1 };
    let collector = Collector::start(config).await.unwrap();
    let held = enrolled(&collector).await;
    for _ in 0..60 {
        standing(&collector, &held).await.unwrap();
    }
    let address = collector.listen_addr().unwrap();
    let mut strangers = 0;
    while connect(address, collector.pin(), None).await.is_ok() {
        strangers += 1;
        assert!(strangers <= 40, "they are counted");
    }
    assert!(collector.metrics().refusals(&ErrorCode::RATE_EXCEEDED) > 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.plain_http = false;
    config.bounds.body_time = Duration::from_millis(300);
    let collector = Collector::start(config).await.unwrap();
    let address = collector.listen_addr().unwrap();
    let mut slow = connect(address, collector.pin(), None).await.unwrap();
    let head = format!(
        "POST /api/v1/login HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: 500\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = slow.read_to_end(&mut answer);
    let _ = tokio::time::timeout(DEADLINE, read).await.expect("the connection was held open");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("did not come"), "{answer}");
}

#[tokio::test]
async fn a_console_begins_so_many_runs_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.plain_http = false;
    config.bounds.new_runs_of_one_console = 2;
    let collector = Collector::start(config).await.unwrap();
    let held = enrolled(&collector).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut run = Run::new("Bay 12");
        run.hello.console_id = held.console_id;
        let mut own = socket(&collector, Some(&held), &path_of(&run)).await.unwrap();
        own.send(Message::text(AgentMessage::Hello(run.hello.clone()).to_text())).await.unwrap();
        let answer = own.next().await.unwrap().unwrap();
        answers.push(CollectorMessage::parse(answer.to_text().unwrap()).unwrap());
    }
    assert!(matches!(answers[1], CollectorMessage::Welcome(_)), "{answers:?}");
    let refused = |code: &ErrorCode| *code == ErrorCode::RATE_EXCEEDED;
    assert!(
        matches!(&answers[2], CollectorMessage::Error(error) if refused(&error.code)),
        "{answers:?}"
    );
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["desk.venue.example".to_owned()]).unwrap();
    let made = made.self_signed(&key).unwrap();
    let (certificate, key_file) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    std::fs::write(&certificate, made.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let mut config = config(&dir.path().join("data"));
    config.plain_http = false;
    config.certificate =
        Some(OwnCertificate { certificate: certificate.clone(), key: key_file.clone() });
    let collector = Collector::start(config.clone()).await.unwrap();
    let shown = tls::pin_of(made.der()).unwrap();
    assert_eq!(collector.pin(), shown);
    let held = enrolled(&collector).await;
    standing(&collector, &held).await.unwrap();
    collector.shutdown().await.unwrap();
    std::fs::write(&key_file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = Collector::start(config).await.unwrap_err();
    assert!(error.to_string().contains("c.pem"), "{error}");
}
