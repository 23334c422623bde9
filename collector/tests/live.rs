//! Viewers: a snapshot and then what follows, with no seam, at their own pace.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::Collector;
use deckport_protocol::{ErrorCode, Frame, Limits, Outcome};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Console, DEADLINE, Dial, Run, config, eventually, finished, get, line, open, start};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

struct Viewer(WebSocketStream<TcpStream>);

impl Viewer {
    async fn new(collector: &Collector) -> Self {
        let dial = Dial { token: collector.token(), host: None, origin: None };
        let socket = open(collector.listen_addr().unwrap(), "/ws/live", dial).await.unwrap();
        let mut viewer = Self(socket);
        assert_eq!(viewer.next().await["type"], "hello");
        viewer
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn message(&mut self) -> Message {
        let message = tokio::time::timeout(DEADLINE, self.0.next()).await;
        message.expect("the collector speaks in time").unwrap().unwrap()
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.message().await {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

fn keep(rows: &mut BTreeMap<u64, Value>, message: &Value) {
    for row in message["data"]["rows"].as_array().unwrap() {
        rows.insert(row["row"].as_u64().unwrap(), row.clone());
    }
}

#[tokio::test]
async fn a_window_at_the_end_shows_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=100)).await;
    console.acked(100).await;
    let mut viewer = Viewer::new(&collector).await;
    let id = run.hello.deployment_id;
    viewer
        .say(json!({"type": "subscribe", "id": 7, "topic": "window", "deployment_id": id,
            "count": 50, "follow": true, "credits": 10_000}))
        .await;
    let snapshot = viewer.next().await;
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["data"]["total_rows"], 99);
    assert_eq!(snapshot["data"]["from"], 49);
    let mut rows = BTreeMap::new();
    keep(&mut rows, &snapshot);
    assert_eq!(rows.len(), 50);
    let mut first = 101;
    while first < 1000 {
        console.send(run.batch(first..=first + 9)).await;
        first += 10;
        // As many as a window holds may come between two deltas.
        if first % 40 == 1 {
            console.acked(first - 1).await;
            while *rows.keys().next_back().unwrap() + 2 < first - 1 {
                let delta = viewer.next().await;
                assert_eq!(delta["type"], "delta", "{delta}");
                assert!(delta["data"]["rows"].as_array().unwrap().len() <= 50);
                keep(&mut rows, &delta);
            }
        }
    }
    let last = *rows.keys().next_back().unwrap();
    assert_eq!(rows.len() as u64, last - 49 + 1, "a row was left out");
    let path = format!("/api/v1/deployments/{id}/rows?from=49&count=1000");
    let (_, page) = get(&collector, &path).await;
    for row in page["rows"].as_array().unwrap().iter().take(rows.len()) {
        assert_eq!(&rows[&row["row"].as_u64().unwrap()], row);
    }
    // Back to the beginning, which is long out of memory.
    viewer.say(json!({"type": "window", "id": 7, "from": 3, "count": 5, "follow": false})).await;
    loop {
        let delta = viewer.next().await;
        if delta["data"]["from"] == 3 {
            let numbers: Vec<u64> = delta["data"]["rows"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["row"].as_u64().unwrap())
                .collect();
            assert_eq!(numbers, [3, 4, 5, 6, 7]);
            break;
        }
    }
}

#[tokio::test]
async fn without_credits_changes_gather() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=2)).await;
    console.acked(2).await;
    let mut viewer = Viewer::new(&collector).await;
    viewer
        .say(json!({"type": "subscribe", "id": 1, "topic": "window",
            "deployment_id": run.hello.deployment_id, "count": 500, "follow": true, "credits": 0}))
        .await;
    assert_eq!(viewer.next().await["type"], "snapshot");
    for first in (3..=203).step_by(10) {
        console.send(run.batch(first..=first + 9)).await;
    }
    console.acked(212).await;
    viewer.say(json!({"type": "ping", "nonce": 5})).await;
    assert_eq!(viewer.next().await["type"], "pong", "a delta came without a credit");
    viewer.say(json!({"type": "credit", "id": 1, "credits": 1})).await;
    let delta = viewer.next().await;
    assert_eq!(delta["data"]["total_rows"], 211);
    assert_eq!(delta["data"]["rows"].as_array().unwrap().len(), 210);
}

#[tokio::test]
async fn records_replay_and_follow_without_a_seam() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    // So little in memory that whoever is late reads the store.
    config.bounds.ring_bytes = 2000;
    let collector = Collector::start(config).await.unwrap();
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    for first in (1..=496).step_by(5) {
        console.send(run.batch(first..=first + 4)).await;
    }
    console.acked(100).await;
    let mut viewer = Viewer::new(&collector).await;
    let id = run.hello.deployment_id;
    viewer
        .say(json!({"type": "subscribe", "id": 3, "topic": "records", "deployment_id": id,
            "after": 42}))
        .await;
    for first in (501..=996).step_by(5) {
        console.send(run.batch(first..=first + 4)).await;
    }
    console.send(run.frame(&[finished(1001, Outcome::Succeeded)])).await;
    console.acked(1001).await;
    let mut seq = 42;
    let mut caught_up = 0;
    let ended = loop {
        match viewer.message().await {
            Message::Binary(bytes) => {
                let frame = Frame::decode(&bytes, &Limits::default()).unwrap();
                assert!(frame.first_seq() <= seq + 1 && frame.last_seq() > seq, "{seq}");
                seq = frame.last_seq();
            }
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                match message["type"].as_str().unwrap() {
                    "frame" => {}
                    "caught_up" => caught_up += 1,
                    "ended" => break message,
                    _ => panic!("{message}"),
                }
            }
            _ => {}
        }
    };
    assert_eq!((ended["id"].as_u64(), seq, caught_up), (Some(3), 1001, 1));
}

#[tokio::test]
async fn a_viewer_that_never_reads_is_cut_off_and_a_slow_one_gets_everything() {
    const FRAMES: u64 = 100;
    const LINES: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.bounds.send_time = Duration::from_secs(3);
    let collector = Collector::start(config).await.unwrap();
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=1)).await;
    // More than the buffers of a socket hold, also when it is packed.
    for first in (0..FRAMES).map(|frame| 2 + frame * LINES) {
        let lines = first..first + LINES;
        let records: Vec<_> = lines.map(|seq| line(seq, &noise(seq, 16_000))).collect();
        console.send(run.frame(&records)).await;
        console.acked(first + LINES - 1).await;
    }
    let last = 2 + FRAMES * LINES;
    console.send(run.frame(&[finished(last, Outcome::Succeeded)])).await;
    console.acked(last).await;
    let id = run.hello.deployment_id;
    let subscribe = json!({"type": "subscribe", "id": 1, "topic": "records", "deployment_id": id,
        "after": 0});
    let mut deaf = Viewer::new(&collector).await;
    deaf.say(subscribe.clone()).await;
    let mut slow = Viewer::new(&collector).await;
    slow.say(subscribe).await;
    let mut seq = 0;
    loop {
        // All that waits for it takes far longer than one message may.
        tokio::time::sleep(Duration::from_millis(40)).await;
        match slow.message().await {
            Message::Binary(bytes) => {
                let frame = Frame::decode(&bytes, &Limits::default()).unwrap();
                assert_eq!(frame.first_seq(), seq + 1);
                seq = frame.last_seq();
            }
            Message::Text(text) if text.contains("\"ended\"") => break,
            Message::Close(why) => panic!("cut off at {seq}: {why:?}"),
            _ => {}
        }
    }
    assert_eq!(seq, last);
    eventually("one is cut off", async || collector.metrics().refusals(&ErrorCode::TOO_SLOW) == 1)
        .await;
    drop(deaf);
}

/// Text that packs badly.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state >> 32) as u8 % 64)
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn the_board_tells_what_changes() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let mut viewer = Viewer::new(&collector).await;
    viewer.say(json!({"type": "subscribe", "id": 1, "topic": "fleet"})).await;
    let snapshot = viewer.next().await;
    assert_eq!(snapshot["data"]["deployments"], json!([]));
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=5)).await;
    console.acked(5).await;
    console.send(run.frame(&[finished(6, Outcome::Succeeded)])).await;
    loop {
        let delta = viewer.next().await;
        assert_eq!(delta["type"], "delta");
        if delta["data"]["changed"][0]["state"] == "succeeded" {
            assert_eq!(delta["data"]["changed"][0]["name"], "Bay 1");
            break;
        }
    }
    viewer.say(json!({"type": "subscribe", "id": 1, "topic": "fleet"})).await;
    assert_eq!(viewer.next().await["error"]["code"], "bad_request");
    viewer
        .say(json!({"type": "subscribe", "id": 2, "topic": "deployment",
        "deployment_id": deckport_protocol::DeploymentId::new()}))
        .await;
    assert_eq!(viewer.next().await["error"]["code"], "not_found");
    viewer.say(json!({"type": "dance"})).await;
    assert_eq!(viewer.next().await["error"]["code"], "malformed_message");
}
