//! What a console may do and what not: each mistake gets its stated answer, is counted, and disturbs no
//! other console.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::Collector;
use deckport_protocol::message::{AgentMessage, CollectorMessage, Ping};
use deckport_protocol::{ErrorCode, Limits, Outcome};
use futures_util::SinkExt as _;
use std::time::Duration;
use support::{Console, Dial, Run, config, eventually, finished, get, line, open, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::{Error, Message};

/// A console that works throughout: started before the mistake, asked again after it.
struct Witness {
    run: Run,
    console: Console,
}

impl Witness {
    async fn new(collector: &Collector) -> Self {
        let run = Run::new("Witness");
        let (mut console, acked) = Console::greet(collector, &run).await;
        assert_eq!(acked, 0);
        console.send(run.batch(1..=3)).await;
        console.acked(3).await;
        Self { run, console }
    }

    async fn undisturbed(mut self, collector: &Collector, counted: &ErrorCode) {
        self.console.send(self.run.batch(4..=9)).await;
        self.console.acked(9).await;
        assert!(collector.metrics().refusals(counted) >= 1, "{counted} was not counted");
        let text = collector.metrics().render();
        let line = format!("deckport_refused_total{{code=\"{counted}\"}}");
        assert!(text.contains(&line), "{line} is not in /metrics");
    }
}

async fn status(collector: &Collector, dial: Dial<'_>) -> u16 {
    let address = collector.listen_addr().unwrap();
    match open(address, "/ws/live", dial).await {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn wrong_token_host_and_origin_open_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let witness = Witness::new(&collector).await;
    let token = collector.token();
    let port = collector.listen_addr().unwrap().port();
    let (ours, theirs) = (format!("http://127.0.0.1:{port}"), "http://evil.example");
    let good = || Dial { token, host: None, origin: None };
    assert_eq!(status(&collector, good()).await, 101);
    assert_eq!(status(&collector, Dial { origin: Some(&ours), ..good() }).await, 101);
    assert_eq!(status(&collector, Dial { token: "guess", ..good() }).await, 401);
    assert_eq!(status(&collector, Dial { host: Some("evil.example"), ..good() }).await, 421);
    assert_eq!(status(&collector, Dial { origin: Some(theirs), ..good() }).await, 403);
    assert_eq!(status(&collector, Dial { origin: Some("null"), ..good() }).await, 403);
    // A page of one of our names talks to that name only, and by the same scheme.
    for other in [format!("http://localhost:{port}"), ours.replace("http:", "https:")] {
        assert_eq!(status(&collector, Dial { origin: Some(&other), ..good() }).await, 403);
    }
    assert_eq!(collector.metrics().refusals(&ErrorCode::WRONG_HOST), 1);
    assert_eq!(collector.metrics().refusals(&ErrorCode::WRONG_ORIGIN), 4);
    witness.undisturbed(&collector, &ErrorCode::UNAUTHENTICATED).await;
}

#[tokio::test]
async fn tickets_open_sockets_of_our_pages_once() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let address = collector.listen_addr().unwrap();
    let mut http = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /api/v1/tickets HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
        collector.token()
    );
    http.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).await.unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let ticket = body["ticket"].as_str().unwrap().to_owned();
    let ask = async |origin: Option<String>| {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let uri = format!("ws://{address}/ws/live?ticket={ticket}");
        let mut request =
            tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(uri)
                .unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        tokio_tungstenite::client_async(request, stream).await.map(drop).is_ok()
    };
    assert!(ask(Some(format!("http://{address}"))).await);
    assert!(!ask(Some(format!("http://{address}"))).await, "a ticket is good once");
}

#[tokio::test]
async fn half_sent_headers_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.bounds.header_time = Duration::from_millis(300);
    let collector = Collector::start(config).await.unwrap();
    let address = collector.listen_addr().unwrap();
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the connection was held open");
}

#[tokio::test]
async fn malformed_messages_and_frames() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let witness = Witness::new(&collector).await;
    for (bad, code) in [
        ("{not json", ErrorCode::MALFORMED_MESSAGE),
        (r#"{"type":"records","records":7}"#, ErrorCode::MALFORMED_MESSAGE),
        (r#"{"type":"ping"}"#, ErrorCode::MALFORMED_MESSAGE),
    ] {
        let (mut console, _) = Console::greet(&collector, &Run::new("Bad")).await;
        console.text(bad).await;
        assert_eq!(console.refused().await, code, "{bad}");
        console.closed().await;
    }
    let run = Run::new("Bad");
    let whole = run.batch(1..=5);
    for at in [0, 2, 3, 4, 8, 57, 64, 66, whole.len() - 1] {
        let (mut console, _) = Console::greet(&collector, &Run::new("Bad")).await;
        let mut frame = whole.to_vec();
        if at == whole.len() - 1 {
            frame.pop();
        } else {
            frame[at] ^= 0xff;
        }
        console.send(frame.into()).await;
        let code = console.refused().await;
        assert!(
            [
                ErrorCode::MALFORMED_FRAME,
                ErrorCode::UNSUPPORTED_ENCODING,
                ErrorCode::TOO_MANY_RECORDS,
                ErrorCode::BODY_TOO_LARGE,
                ErrorCode::SEQUENCE_GAP
            ]
            .contains(&code),
            "byte {at}: {code}"
        );
    }
    witness.undisturbed(&collector, &ErrorCode::MALFORMED_FRAME).await;
}

#[tokio::test]
async fn unknown_types_do_not_close_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Curious");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.text(r#"{"type":"telepathy","strength":9}"#).await;
    assert_eq!(console.refused().await, ErrorCode::UNKNOWN_MESSAGE);
    console.say(&AgentMessage::Ping(Ping { sent_us: 5 })).await;
    match console.next().await {
        Some(CollectorMessage::Pong(pong)) => assert_eq!(pong.sent_us, 5),
        other => panic!("{other:?}"),
    }
    console.send(run.batch(1..=2)).await;
    console.acked(2).await;
}

#[tokio::test]
async fn order_of_the_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let witness = Witness::new(&collector).await;
    let run = Run::new("Hasty");
    let mut console = Console::dial(&collector, &run).await;
    console.send(run.batch(1..=2)).await;
    assert_eq!(console.refused().await, ErrorCode::OUT_OF_TURN);
    let mut future = Run::new("Future");
    future.hello.protocol = 99;
    let mut console = Console::dial(&collector, &future).await;
    console.say(&AgentMessage::Hello(future.hello.clone())).await;
    assert_eq!(console.refused().await, ErrorCode::UNSUPPORTED_VERSION);
    let mut plain = Run::new("Plain");
    plain.hello.abilities.clear();
    let (mut console, _) = Console::greet(&collector, &plain).await;
    console.send(plain.batch(1..=2)).await;
    assert_eq!(console.refused().await, ErrorCode::UNSUPPORTED_ENCODING);
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.say(&AgentMessage::Hello(run.hello.clone())).await;
    assert_eq!(console.refused().await, ErrorCode::OUT_OF_TURN);
    witness.undisturbed(&collector, &ErrorCode::UNSUPPORTED_VERSION).await;
}

#[tokio::test]
async fn holes_are_refused_and_repeats_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let witness = Witness::new(&collector).await;
    let run = Run::new("Jumpy");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=5)).await;
    console.acked(5).await;
    console.send(run.batch(8..=9)).await;
    match console.next().await {
        Some(CollectorMessage::Error(error)) => {
            assert_eq!(error.code, ErrorCode::SEQUENCE_GAP);
            assert_eq!(error.acked_seq, Some(5));
        }
        other => panic!("{other:?}"),
    }
    // The same again, a part of it, and more that overlaps: each record is there once.
    console.send(run.batch(1..=5)).await;
    console.acked(5).await;
    console.send(run.batch(2..=3)).await;
    console.acked(5).await;
    console.send(run.batch(4..=9)).await;
    console.acked(9).await;
    let path = format!("/api/v1/deployments/{}/records?limit=100", run.hello.deployment_id);
    let (_, body) = get(&collector, &path).await;
    let seqs: Vec<u64> =
        body["records"].as_array().unwrap().iter().map(|r| r["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=9).collect::<Vec<_>>());
    witness.undisturbed(&collector, &ErrorCode::SEQUENCE_GAP).await;
}

#[tokio::test]
async fn a_repeat_with_other_content_quarantines_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let witness = Witness::new(&collector).await;
    let run = Run::new("Forger");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=5)).await;
    console.acked(5).await;
    console.send(run.frame(&[line(4, "line 4"), line(5, "something else")])).await;
    assert_eq!(console.refused().await, ErrorCode::QUARANTINED);
    console.closed().await;
    let mut again = Console::dial(&collector, &run).await;
    again.say(&AgentMessage::Hello(run.hello.clone())).await;
    assert_eq!(again.refused().await, ErrorCode::QUARANTINED);
    let path = format!("/api/v1/deployments/{}", run.hello.deployment_id);
    let (_, body) = get(&collector, &path).await;
    assert!(body["summary"]["quarantined"].as_str().unwrap().contains("record 5"), "{body}");
    assert_eq!(body["summary"]["acked_seq"], 5);
    witness.undisturbed(&collector, &ErrorCode::QUARANTINED).await;
}

#[tokio::test]
async fn bounds_on_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits = Limits {
        message_bytes: 64 * 1024,
        body_bytes: 128 * 1024,
        records: 100,
        piece_bytes: 4096,
        ..Limits::default()
    };
    let collector = Collector::start(config).await.unwrap();
    let witness = Witness::new(&collector).await;
    let run = Run::new("Big");
    // More than the message bound, in one frame and in fragments that never end.
    let (mut console, _) = Console::greet(&collector, &run).await;
    let _ = console.socket.send(Message::Binary(vec![7; 65 * 1024].into())).await;
    assert_eq!(console.refused().await, ErrorCode::FRAME_TOO_LARGE);
    // A bomb: a few hundred bytes that unpack to more than the bound.
    let zeros =
        |count: u64| -> Vec<_> { (1..=count).map(|seq| line(seq, &"0".repeat(4000))).collect() };
    let bomb = run.frame(&zeros(99));
    assert!(bomb.len() < 8 * 1024);
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(bomb.clone()).await;
    assert_eq!(console.refused().await, ErrorCode::BODY_TOO_LARGE);
    // The same, lying about what it unpacks to.
    let mut lie = bomb.to_vec();
    lie[56..60].copy_from_slice(&1000u32.to_le_bytes());
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(lie.into()).await;
    assert_eq!(console.refused().await, ErrorCode::MALFORMED_FRAME);
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.frame(&[line(1, &"x".repeat(5000))])).await;
    assert_eq!(console.refused().await, ErrorCode::RECORD_TOO_LARGE);
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=101)).await;
    assert_eq!(console.refused().await, ErrorCode::TOO_MANY_RECORDS);
    for code in
        [&ErrorCode::BODY_TOO_LARGE, &ErrorCode::MALFORMED_FRAME, &ErrorCode::RECORD_TOO_LARGE]
    {
        assert_eq!(collector.metrics().refusals(code), 1, "{code}");
    }
    witness.undisturbed(&collector, &ErrorCode::FRAME_TOO_LARGE).await;
}

#[tokio::test]
async fn the_later_incarnation_wins() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let witness = Witness::new(&collector).await;
    let run = Run::new("Twice");
    let (mut first, _) = Console::greet(&collector, &run).await;
    first.send(run.batch(1..=4)).await;
    first.acked(4).await;
    let mut later = run.clone();
    later.hello.incarnation = 2;
    let (mut second, acked) = Console::greet(&collector, &later).await;
    assert_eq!(acked, 4);
    assert_eq!(first.refused().await, ErrorCode::SUPERSEDED);
    first.closed().await;
    second.send(run.batch(5..=6)).await;
    second.acked(6).await;
    let mut old = Console::dial(&collector, &run).await;
    old.say(&AgentMessage::Hello(run.hello.clone())).await;
    assert_eq!(old.refused().await, ErrorCode::SUPERSEDED);
    // A copy of the run with a spool of its own is no later incarnation of it.
    let mut copy = later.clone();
    copy.hello.incarnation = 3;
    copy.hello.stream_id = deckport_protocol::StreamId::new();
    let mut other = Console::dial(&collector, &copy).await;
    other.say(&AgentMessage::Hello(copy.hello.clone())).await;
    assert_eq!(other.refused().await, ErrorCode::STREAM_MISMATCH);
    witness.undisturbed(&collector, &ErrorCode::SUPERSEDED).await;
}

#[tokio::test]
async fn nothing_follows_the_terminal_record() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let witness = Witness::new(&collector).await;
    let run = Run::new("Done");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.frame(&[run.started(), line(2, "E: no"), finished(3, Outcome::Failed)])).await;
    console.acked(3).await;
    console.send(run.frame(&[line(4, "late")])).await;
    assert_eq!(console.refused().await, ErrorCode::STREAM_ENDED);
    let path = format!("/api/v1/deployments/{}", run.hello.deployment_id);
    let (_, body) = get(&collector, &path).await;
    assert_eq!(body["summary"]["state"], "failed");
    assert_eq!(body["summary"]["failure"]["row"], 0);
    assert_eq!(body["summary"]["failure"]["seq"], 2);
    assert_eq!(body["summary"]["acked_seq"], 3);
    // It may still be claimed, to learn that everything is here.
    let (_console, acked) = Console::greet(&collector, &run).await;
    assert_eq!(acked, 3);
    witness.undisturbed(&collector, &ErrorCode::STREAM_ENDED).await;
}

#[tokio::test]
async fn a_console_that_never_reads_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.bounds.send_time = Duration::from_millis(300);
    config.limits.messages_per_second = u32::MAX;
    let collector = Collector::start(config).await.unwrap();
    let witness = Witness::new(&collector).await;
    let run = Run::new("Deaf");
    let (console, _) = Console::greet(&collector, &run).await;
    let (mut sink, _kept) = futures_util::StreamExt::split(console.socket);
    // Answers pile up until the socket is full; the console only talks.
    let talk = async {
        let ping = AgentMessage::Ping(Ping { sent_us: 1 }).to_text();
        while sink.send(Message::text(ping.clone())).await.is_ok() {}
    };
    tokio::time::timeout(support::DEADLINE, talk).await.expect("it was not cut off");
    eventually("it is counted", async || collector.metrics().refusals(&ErrorCode::TOO_SLOW) == 1)
        .await;
    witness.undisturbed(&collector, &ErrorCode::TOO_SLOW).await;
}

#[tokio::test]
async fn json_records_are_stored_like_columns() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let mut run = Run::new("Json");
    run.hello.abilities.clear();
    let (mut console, _) = Console::greet(&collector, &run).await;
    let records = [
        serde_json::json!({"seq": 1, "at_us": 1, "text": "hello\r\n"}),
        serde_json::json!({"seq": 2, "at_us": 2, "bytes": "/wA=", "level": "error"}),
    ];
    let batch = serde_json::json!({"type": "records", "boot_id": run.boot_id, "records": records});
    console.text(batch.to_string()).await;
    console.acked(2).await;
    // The same once more is the same.
    console.text(batch.to_string()).await;
    console.acked(2).await;
    let path = format!("/api/v1/deployments/{}/records", run.hello.deployment_id);
    let (_, body) = get(&collector, &path).await;
    assert_eq!(body["records"][0]["text"], "hello\r\n");
    assert_eq!(body["records"][1]["bytes"], "/wA=");
}
