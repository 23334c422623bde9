//! What an agent left unmasked is never stored, and the agent notices nothing.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::check::check;
use deckport_protocol::message::{AgentMessage, CollectorMessage};
use deckport_protocol::{Chain, Event, Outcome, Record};
use std::path::Path;
use support::{Console, Run, config, event, eventually, finished, get, line, start, text};

const TOKEN: &str = "0123456789abcdefghijABCDEFGHIJ012345";
const PASSWORD: &str = "swordfish4711";
const KEY: &str = "MIIEpAIBAAKCAQEAzq0yT3Uu0Sxkq0Yw5QeFJf1m0y2sWbqkQ0m3nS1tqvJ6hC8r";

fn records(run: &Run) -> Vec<Record> {
    let note = Event::Note {
        level: deckport_protocol::Level::Info,
        text: format!("say \"PASSWORD={PASSWORD}\" twice"),
    };
    vec![
        run.started(),
        line(2, "an ordinary line"),
        line(3, &format!("cloning https://bot:ghp_{TOKEN}@github.com/a/b")),
        line(4, "-----BEGIN PRIVATE KEY-----"),
        line(5, KEY),
        line(6, KEY),
        line(7, "-----END PRIVATE KEY-----"),
        event(8, &note),
        line(9, &format!("db_password: {PASSWORD}")),
        line(10, "another ordinary line"),
    ]
}

/// No file of the collector holds what must not be there.
fn nothing_in(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nothing_in(&path);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in [TOKEN, PASSWORD, KEY] {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert!(found.is_none(), "{secret} is in {}", path.display());
        }
    }
}

async fn ack_of(console: &mut Console, seq: u64) -> Chain {
    loop {
        match console.next().await {
            Some(CollectorMessage::Ack(ack)) if ack.acked_seq == seq => return ack.chain,
            Some(CollectorMessage::Ack(_)) => {}
            other => panic!("no ack of {seq} but {other:?}"),
        }
    }
}

async fn welcome(collector: &deckport_collector::Collector, run: &Run) -> (Console, u64, Chain) {
    let mut console = Console::dial(collector, run).await;
    console.say(&AgentMessage::Hello(run.hello.clone())).await;
    match console.next().await {
        Some(CollectorMessage::Welcome(welcome)) => (console, welcome.acked_seq, welcome.chain),
        other => panic!("no welcome but {other:?}"),
    }
}

#[tokio::test]
async fn what_an_agent_left_is_masked_before_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let mut run = Run::new("Bay 1");
    let all = records(&run);
    let chain = |upto: usize| {
        all[..upto].iter().fold(Chain::START, |chain, record| chain.extend(&record.borrow()))
    };
    let (mut console, _) = Console::greet(&collector, &run).await;
    // The key is cut between two frames. Uncompressed, so that it would be found where it is stored.
    let mut builder = deckport_protocol::FrameBuilder::new();
    let mut plain = |records: &[Record]| {
        records.iter().for_each(|record| builder.push(&record.borrow()));
        builder.finish(run.boot_id, false).unwrap()
    };
    console.send(plain(&all[..5])).await;
    assert_eq!(ack_of(&mut console, 5).await, chain(5), "what is acknowledged is what was sent");
    console.send(plain(&all[5..9])).await;
    assert_eq!(ack_of(&mut console, 9).await, chain(9));
    // The same again, cut otherwise, is the same.
    console.send(plain(&all[2..7])).await;
    console.acked(9).await;
    nothing_in(dir.path());

    // A restart knows both chains.
    drop(console);
    collector.shutdown().await.unwrap();
    nothing_in(dir.path());
    let collector = start(dir.path()).await;
    run.hello.incarnation = 2;
    let (mut console, acked, theirs) = welcome(&collector, &run).await;
    assert_eq!((acked, theirs), (9, chain(9)));
    console.send(plain(&all[6..10])).await;
    console.acked(10).await;
    // Other content is still other content.
    let id = run.hello.deployment_id;
    let (_, raw) = text(&collector, &format!("/api/v1/deployments/{id}/raw")).await;
    assert_eq!(
        raw,
        "an ordinary line\r\ncloning https://bot:***@github.com/a/b\r\n-----BEGIN PRIVATE KEY-----\r\n***\r\n***\r\n\
         -----END PRIVATE KEY-----\r\ndb_password: ***\r\nanother ordinary line\r\n"
    );
    let (_, detail) = get(&collector, &format!("/api/v1/deployments/{id}")).await;
    let summary = &detail["summary"];
    assert_eq!(summary["masked_at_ingest"], 4, "{summary}");
    assert_eq!(summary["masked"], serde_json::json!({"named": 2, "private_key": 1, "url": 1}));
    assert!(summary["quarantined"].is_null());
    console.send(plain(&[finished(11, Outcome::Succeeded)])).await;
    console.acked(11).await;
    eventually("the run is in a block", async || {
        text(&collector, "/metrics").await.1.contains("deckport_blocks 1\n")
    })
    .await;
    collector.shutdown().await.unwrap();
    nothing_in(dir.path());
    let mut problems = Vec::new();
    check(&config(dir.path()), false, |problem| problems.push(problem.clone())).await.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test]
async fn other_content_is_quarantined_also_where_records_were_masked() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.frame(&records(&run))).await;
    console.acked(10).await;
    console.send(run.frame(&[line(9, &format!("root_password: {PASSWORD}"))])).await;
    assert_eq!(console.refused().await, deckport_protocol::ErrorCode::QUARANTINED);
    collector.shutdown().await.unwrap();
}
