//! What is acknowledged stays: through restarts, a full disk, and any cut of a stream into frames.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::check::check;
use deckport_collector::config::{Config, Database};
use deckport_collector::deployment::{Arrived, Delivery, Deployments};
use deckport_collector::log::{Direction, Log, StreamKey, Target, Wanted};
use deckport_collector::metrics::Metrics;
use deckport_collector::query::{Query, RowView, RunFacts, RunOutcome, Simplified};
use deckport_collector::store::Store;
use deckport_collector::{Collector, StartError};
use deckport_protocol::rows::{Row, RowDeriver, RowFact, RowRenderer, RowSink};
use deckport_protocol::{
    Body, ErrorCode, Event, Frame, Level, Limits, Outcome, Output, Record, Refusal, Scope, Tenant,
};
use proptest::prelude::*;
use sqlx::Connection as _;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use support::postgres::Postgres;
use support::{Console, Run, config, event, eventually, finished, get, line, start};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    restart(&config(dir.path())).await;
}

#[tokio::test]
async fn a_restart_on_postgres_goes_on_where_it_was() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.database = Database::Postgres(postgres.database());
    restart(&config).await;
    // Somewhere else, on the same database: one at a time.
    let elsewhere = tempfile::tempdir().unwrap();
    let _first = Collector::start(config.clone()).await.unwrap();
    config.data_dir = elsewhere.path().to_owned();
    let second = Collector::start(config).await;
    assert!(matches!(second, Err(StartError::Store(_))), "{second:?}");
}

async fn restart(config: &Config) {
    let run = Run::new("Bay 1");
    let collector = Collector::start(config.clone()).await.unwrap();
    let (mut console, _) = Console::greet(&collector, &run).await;
    for first in (1..=190).step_by(10) {
        console.send(run.batch(first..=first + 9)).await;
    }
    console.acked(190).await;
    let path = format!("/api/v1/deployments/{}/rows?count=1000", run.hello.deployment_id);
    let (_, before) = get(&collector, &path).await;
    drop(console);
    collector.shutdown().await.unwrap();

    let collector = Collector::start(config.clone()).await.unwrap();
    let (_, after) = get(&collector, &path).await;
    assert_eq!(before, after);
    assert_eq!(before["total_rows"], 189);
    let detail = format!("/api/v1/deployments/{}", run.hello.deployment_id);
    let (_, body) = get(&collector, &detail).await;
    assert_eq!(body["summary"]["presence"]["kind"], "offline");
    assert_eq!(body["summary"]["acked_seq"], 190);
    let (mut console, acked) = Console::greet(&collector, &run).await;
    assert_eq!(acked, 190);
    console.send(run.frame(&[line(191, "last"), finished(192, Outcome::Succeeded)])).await;
    console.acked(192).await;
    let (_, body) = get(&collector, "/api/v1/deployments").await;
    assert_eq!(body["deployments"][0]["state"], "succeeded");
    let (_, found) = get(&collector, "/api/v1/search?q=last&count=true").await;
    assert_eq!(found["matched"], 1, "{found}");
    assert_eq!(found["hits"][0]["row"]["text"], "last");
    assert_eq!(found["hits"][0]["console_name"], "Bay 1");
    assert_eq!(found["hits"][0]["ranges"], serde_json::json!([[0, 4]]));
    let (_, found) =
        get(&collector, "/api/v1/search?q=%22line%201%22%20console:bay&limit=7&count=true").await;
    // 1 (the started record has no line), 10 to 19, 100 to 190.
    assert_eq!(found["matched"], 101, "{}", found["matched"]);
    assert_eq!(found["hits"].as_array().unwrap().len(), 7);
    let next = found["next"].as_str().unwrap();
    let path = format!("/api/v1/search?q=%22line%201%22&limit=500&before={next}");
    let (_, rest) = get(&collector, &path).await;
    assert_eq!(rest["hits"].as_array().unwrap().len(), 101 - 7);
    let (status, bad) = get(&collector, "/api/v1/search?q=%28a").await;
    assert_eq!(status, 400);
    assert_eq!(bad["error"]["code"], "bad_request");
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_row_that_is_cut_in_two_is_found_by_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.bounds.tail_bytes = 4096;
    let collector = Collector::start(config).await.unwrap();
    let (slow, busy) = (Run::new("Bay 1"), Run::new("Bay 2"));
    let part = |seq: u64, text: &str| {
        let mut part = line(seq, text);
        let Body::Output(output) = &mut part.body else { unreachable!() };
        output.bytes.truncate(text.len());
        output.continues = true;
        part
    };
    let (mut console, _) = Console::greet(&collector, &slow).await;
    console.send(slow.frame(&[slow.started(), part(2, "the curtain rises")])).await;
    console.acked(2).await;
    // The other fills the tail: what is open there has to go into a block as it is.
    let sealed = async |from: u64| {
        let (mut console, acked) = Console::greet(&collector, &busy).await;
        for first in (from..from + 900).step_by(10) {
            console.send(busy.batch(first..=first + 9)).await;
        }
        console.acked(from + 899).await;
        assert_eq!(acked, from - 1);
    };
    let found = async |query: &str, expected: &[(u64, &str)]| {
        let path = format!("/api/v1/search?q={query}&count=true");
        let (_, found) = get(&collector, &path).await;
        let hits = found["hits"].as_array().unwrap().iter();
        let hits: Vec<_> = hits
            .map(|hit| (hit["row"]["row"].as_u64().unwrap(), hit["row"]["text"].as_str().unwrap()))
            .collect();
        assert_eq!(hits, expected, "{query}");
        assert_eq!(found["matched"], expected.len(), "{query}");
    };
    found("curtain", &[(0, "the curtain rises")]).await;
    sealed(1).await;
    console.send(slow.frame(&[part(3, ", the zebra")])).await;
    console.acked(3).await;
    // Its begin is in a block, the rest in the tail.
    for query in ["curtain", "zebra", "curtain%20zebra", "%22rises,%20the%22"] {
        found(query, &[(0, "the curtain rises, the zebra")]).await;
    }
    found("curtain%20-zebra", &[]).await;
    sealed(901).await;
    console.send(slow.frame(&[line(4, " sings"), line(5, "the curtain falls")])).await;
    console.acked(5).await;
    sealed(1801).await;
    console.send(slow.frame(&[finished(6, Outcome::Succeeded)])).await;
    console.acked(6).await;
    // It lies in three blocks.
    let whole = "the curtain rises, the zebra sings";
    for query in ["zebra", "sings", "curtain%20sings", "%22zebra%20sings%22", "rises"] {
        found(query, &[(0, whole)]).await;
    }
    found("curtain", &[(1, "the curtain falls"), (0, whole)]).await;
    found("curtain%20-sings", &[(1, "the curtain falls")]).await;
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_collector_at_a_time_opens_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = start(dir.path()).await;
    let second = Collector::start(config(dir.path())).await;
    assert!(matches!(second, Err(StartError::Store(_))), "{second:?}");
    let mut abroad = config(dir.path());
    abroad.listen = Some(([0, 0, 0, 0], 0).into());
    let refused = Collector::start(abroad).await;
    assert!(matches!(refused, Err(StartError::NotLoopback(_))), "{refused:?}");
}

/// A small file system of its own; `None` where mounting is not allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals() {
    let Some(disk) = SmallDisk::new(12 * 1024 * 1024) else {
        eprintln!("skipped: mounting a small disk needs root");
        return;
    };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 6 * 1024 * 1024]).unwrap();
    let collector = start(&disk.0.path().join("data")).await;
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=1)).await;
    console.acked(1).await;
    // Lines that do not compress, until the disk is full.
    let mut random = 1u64;
    let mut noise = |seq: u64| {
        let bytes: Vec<u8> = (0..4000)
            .map(|_| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (random >> 33) as u8
            })
            .collect();
        let body = Body::Output(Output { bytes: bytes.into(), ..Output::default() });
        Record { seq, boot_us: seq, at_us: seq as i64, body }
    };
    let mut sent = vec![run.started()];
    let mut acked = 1;
    let refusal = loop {
        let first = sent.len() as u64 + 1;
        let batch: Vec<Record> = (first..first + 16).map(&mut noise).collect();
        console.send(run.frame(&batch)).await;
        sent.extend(batch);
        match console.next().await {
            Some(deckport_protocol::message::CollectorMessage::Ack(ack)) => acked = ack.acked_seq,
            Some(deckport_protocol::message::CollectorMessage::Error(error)) => break error,
            other => panic!("{other:?}"),
        }
        assert!(sent.len() < 20_000, "the disk did not become full");
    };
    assert_eq!(refusal.code, ErrorCode::STORAGE_FULL);
    assert!(refusal.retryable);
    assert!(collector.metrics().refusals(&ErrorCode::STORAGE_FULL) >= 1);
    assert_eq!(get(&collector, "/readyz").await.0, 503);
    // What was acknowledged can still be read, and is all that is there.
    let (_, body) =
        get(&collector, &format!("/api/v1/deployments/{}", run.hello.deployment_id)).await;
    assert_eq!(body["summary"]["acked_seq"], acked);
    // Space returns: the rest is taken, nothing is missing.
    std::fs::remove_file(&ballast).unwrap();
    let (mut console, resumed) = Console::greet(&collector, &run).await;
    assert_eq!(resumed, acked);
    let last = sent.len() as u64;
    console.send(run.frame(&sent[acked as usize..])).await;
    console.acked(last).await;
    assert_eq!(get(&collector, "/readyz").await.0, 200);
    let path = format!("/api/v1/deployments/{}/records?limit=1000", run.hello.deployment_id);
    let mut stored = 0;
    while stored < last {
        let (_, body) = get(&collector, &format!("{path}&after={stored}")).await;
        for record in body["records"].as_array().unwrap() {
            stored += 1;
            assert_eq!(record["seq"], stored);
        }
    }
    collector.shutdown().await.unwrap();
}

/// A piece of a stream.
#[derive(Clone, Debug)]
enum Piece {
    Output(String),
    Event(Event),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let text = prop_oneof![
        4 => "[a-z ]{0,30}\r\n",
        2 => "[a-z]{1,9}",
        1 => "[0-9]{1,3}%\r",
        1 => Just("E: Unable to locate package\r\n".to_owned()),
        1 => Just("::group::Install\r\n".to_owned()),
        1 => "\u{1b}\\[3[0-7]m[a-z]{1,5}\u{1b}\\[0m\n\n",
        1 => Just("x".repeat(3000)),
    ];
    let event = prop_oneof![
        "[a-z]{1,8}".prop_map(|name| Event::PhaseStarted { name }),
        "[a-z]{1,8}".prop_map(|text| Event::Note { level: Level::Warning, text }),
        Just(Event::BenchmarkMeasured { name: "disk".into(), value: 1.5, unit: "s".into() }),
    ];
    let piece = prop_oneof![9 => text.prop_map(Piece::Output), 1 => event.prop_map(Piece::Event)];
    prop::collection::vec(piece, 1..400)
}

/// A store with what stands on it, opened without a server.
struct Opened {
    deployments: Deployments,
    store: Arc<Store>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Opened {
    async fn new(dir: &Path, database: &Database) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let config = Config { database: database.clone(), ..config(dir) };
        let store = Store::open(&config, Arc::new(Metrics::default()), &tasks, stop.clone());
        let store = Arc::new(store.await.unwrap());
        // Small, so that frames are sealed all the time.
        let log = Log::open(Arc::clone(&store), 2000).await.unwrap();
        tasks.spawn(log.clone().keep_sealing(stop.clone()));
        let deployments = Deployments::open(&config, Arc::clone(&store), log).await.unwrap();
        Self { deployments, store, tasks, stop }
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.store.close().await;
        self.tasks.wait().await;
    }
}

/// All rows of the records, derived at once.
fn naive(records: &[Record]) -> Vec<Row> {
    let mut deriver = RowDeriver::new();
    let mut renderer = RowRenderer::new(0..u64::MAX);
    for record in records {
        deriver.feed(&record.borrow(), &mut renderer);
    }
    deriver.peek_open(&mut renderer);
    renderer.into_rows()
}

/// Rows that were drawn over while frames went on: where a block ends in one of them, it is searched as it stood there.
fn drawn_across(records: &[Record], ends: &[u64]) -> BTreeSet<u64> {
    #[derive(Default)]
    struct Drawn {
        row: u64,
        over: BTreeSet<u64>,
    }
    impl RowSink for Drawn {
        fn begin(&mut self, row: u64) {
            self.row = row;
        }
        fn bytes(&mut self, bytes: &[u8]) {
            if bytes.iter().any(|&byte| byte == b'\r' || byte == 0x1b) {
                self.over.insert(self.row);
            }
        }
        fn row(&mut self, _: &RowFact, _: Option<&str>) {}
    }
    let (mut deriver, mut drawn, mut across) =
        (RowDeriver::new(), Drawn::default(), BTreeSet::new());
    for record in records {
        deriver.feed(&record.borrow(), &mut drawn);
        across.extend(deriver.open_row().filter(|_| ends.contains(&record.seq)));
    }
    across.intersection(&drawn.over).copied().collect()
}

/// Frames follow one another and end where frames ended that were received: who goes on from memory finds no record twice.
async fn replay(log: &Log, stream: StreamKey, ends: &[u64]) {
    let mut next = 1;
    while next <= ends[ends.len() - 1] {
        let frames = log.frames(stream, next, 500).await.unwrap();
        assert!(!frames.is_empty());
        for frame in frames {
            assert_eq!(frame.first_seq, next);
            assert!(ends.contains(&frame.last_seq), "{} is inside a frame", frame.last_seq);
            let decoded = Frame::decode(&frame.payload, &Limits::default()).unwrap();
            assert_eq!(decoded.last_seq(), frame.last_seq);
            next = frame.last_seq + 1;
        }
    }
}

/// Pages and searches are those of the whole stream.
async fn read_like_a_reader(
    log: &Log,
    stream: StreamKey,
    (expected, drawn): (&[Row], &BTreeSet<u64>),
    pages: &[(u64, u64)],
) {
    for &(from, count) in pages {
        let from = from % (expected.len() as u64 + 2);
        let page = log.page(stream, from, count, usize::MAX).await.unwrap();
        let begin = (from as usize).min(expected.len());
        let end = (begin + count as usize).min(expected.len());
        assert_eq!(page.rows, expected[begin..end], "page {from} + {count}");
        if let Some(row) = page.rows.first() {
            assert_eq!(
                log.locate(stream, row.seq).await.unwrap().map(|found| found <= row.row),
                Some(true)
            );
        }
    }
    let mut texts = Vec::new();
    let from = expected.len() as u64 / 3;
    log.texts(stream, from..expected.len() as u64, |row| {
        let step = row.step.map(str::to_owned);
        texts.push((row.row, row.kind, row.level, row.phase, step, row.at_us, row.text.to_owned()));
        std::ops::ControlFlow::Continue(())
    })
    .await
    .unwrap();
    let same = |row: &Row| {
        let (step, text) = (row.step.clone(), row.text.clone());
        (row.row, row.kind, row.level, row.phase, step, row.at, text)
    };
    assert_eq!(texts, expected[from as usize..].iter().map(same).collect::<Vec<_>>());
    search_like_a_reader(log, stream, expected, drawn).await;
}

/// What searches find is what reading every row finds.
async fn search_like_a_reader(
    log: &Log,
    stream: StreamKey,
    expected: &[Row],
    drawn: &BTreeSet<u64>,
) {
    let longest = expected.iter().map(|row| row.text.as_str()).max_by_key(|text| text.len());
    let mut queries: Vec<String> = [
        "a",
        "ab",
        "E",
        "unable to LOCATE",
        "level:warning",
        "kind:phase",
        "/^[a-c]+ /",
        "-e",
        "a or kind:note",
    ]
    .map(str::to_owned)
    .into();
    queries.push("/[0-9]+%/ or level:error".to_owned());
    for row in expected.iter().step_by(7).filter(|row| row.text.trim().len() > 2) {
        queries.push(format!("'{}'", row.text.chars().take(20).collect::<String>()));
    }
    if let Some(longest) = longest.filter(|text| text.len() > 3) {
        queries.push(format!("\"{}\"", &longest[..longest.len().min(40)]));
    }
    for text in queries {
        let query = Query::parse(&text, 0, 0).unwrap();
        let run = RunFacts {
            deployment_id: deckport_protocol::DeploymentId::new(),
            console: "",
            template: "",
            venue: None,
            release: None,
            outcome: RunOutcome::Running,
            first_row_us: None,
            last_row_us: None,
        };
        let Simplified::Rest(expr) = query.on_run(&run) else { panic!("{text}") };
        let found: Vec<u64> = expected
            .iter()
            .filter(|row| {
                expr.matches(&RowView {
                    text: &row.text,
                    // What an open row will be is not known yet.
                    level: if row.open { Level::Info } else { row.level },
                    kind: row.kind,
                    phase: None,
                    step: row.step.as_deref(),
                    at_us: row.at,
                })
            })
            .map(|row| row.row)
            .collect();
        let wanted = Arc::new(Wanted::new(Some(expr)));
        let target = Target { stream, wanted };
        let matches = log.matches(target.clone(), 0, 10).await.unwrap();
        let differ = |row: &&u64| matches.rows.contains(*row) != found.contains(*row);
        let mut differing = matches.rows.iter().chain(&found).filter(differ).peekable();
        if differing.peek().is_some() && differing.all(|row| drawn.contains(row)) {
            continue;
        }
        assert_eq!(matches.rows, found, "{text}");
        assert_eq!(matches.total, found.len() as u64);
        assert_eq!(matches.buckets.values().sum::<u64>(), matches.total);
        assert_eq!((matches.until, matches.last), (expected.len() as u64, found.last().copied()));
        let middle = expected.len() as u64 / 2;
        let later = log.matches(target.clone(), middle, 10).await.unwrap();
        let behind: Vec<u64> = found.iter().filter(|row| **row >= middle).copied().collect();
        assert_eq!((later.total, later.rows), (behind.len() as u64, behind), "{text}");
        let next = found.iter().find(|row| **row >= middle).or(found.first()).copied();
        let before = found.iter().rfind(|row| **row <= middle).or(found.last()).copied();
        let (row, _) = log.find(target.clone(), middle, Direction::Next).await.unwrap();
        assert_eq!(row, next, "{text}, next from {middle}");
        let (row, _) = log.find(target, middle, Direction::Previous).await.unwrap();
        assert_eq!(row, before, "{text}, up to {middle}");
    }
}

/// Appends lines of a run, ten in each frame, and waits until they are durable.
async fn feed(opened: &Opened, run: &Run, lines: std::ops::RangeInclusive<u64>) {
    let log = opened.deployments.log();
    let hello = &run.hello;
    let claimed = log.claim(Tenant::SOLE, hello.deployment_id, hello.stream_id, 1, 0).await;
    let entry = opened.deployments.open_stream(claimed.unwrap(), hello).await.unwrap();
    let why = Refusal::new(ErrorCode::SUPERSEDED, "later");
    let (link, _orders) = entry.claim(Delivery::Console, 1, 0, why).unwrap();
    let last = *lines.end();
    for first in lines.step_by(10) {
        let bytes = run.batch(first..=last.min(first + 9));
        let frame = Frame::decode(&bytes, &Limits::default()).unwrap();
        let place = log.reserve(bytes.len(), &log.allot()).await.unwrap();
        entry.submit(link.session, log, place, Arrived::as_it_came(frame, bytes), 1).unwrap();
    }
    entry.follow().wait_for(|durable| durable.seq == last).await.unwrap();
}

#[tokio::test]
async fn one_damaged_block_keeps_no_other_from_being_sealed_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Run::new("Bay 1"), Run::new("Bay 2"));
    let opened = Opened::new(dir.path(), &Database::InDirectory).await;
    feed(&opened, &one, 1..=4000).await;
    // Nothing is left that is sealed when it is opened again.
    eventually("there are blocks", async || {
        let stored = opened.deployments.log().stored();
        stored.blocks > 8 && stored.tail_bytes < 2000
    })
    .await;
    opened.close().await;
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("collector.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let spoil = "update block_part set text_part = zeroblob(100) where block_id = (select min(id) from block)";
    assert_eq!(sqlx::query(spoil).execute(&mut database).await.unwrap().rows_affected(), 1);
    database.close().await.unwrap();

    let opened = Opened::new(dir.path(), &Database::InDirectory).await;
    let log = opened.deployments.log();
    let damaged = log.stored().blocks;
    log.merge_all().await.unwrap();
    // More may have been sealed meanwhile.
    assert!(log.stored().blocks >= damaged, "what cannot be read stays as it is");
    feed(&opened, &other, 1..=4000).await;
    eventually("the other is sealed", async || log.stored().blocks > damaged + 8).await;
    log.merge_all().await.unwrap();
    assert!(log.stored().blocks < damaged + 8, "and merged");
    opened.close().await;
}

async fn model(
    database: Database,
    pieces: Vec<Piece>,
    cuts: Vec<(usize, bool)>,
    pages: Vec<(u64, u64)>,
) {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::new("Model");
    let mut records = vec![run.started()];
    for piece in pieces {
        let seq = records.len() as u64 + 1;
        records.push(match piece {
            Piece::Output(text) => {
                let body = Body::Output(Output { bytes: text.into(), ..Output::default() });
                Record { seq, boot_us: seq, at_us: seq as i64, body }
            }
            Piece::Event(what) => event(seq, &what),
        });
    }
    let mut opened = Opened::new(dir.path(), &database).await;
    let mut rest = records.as_slice();
    let mut incarnation = 0;
    let mut cuts = cuts.into_iter().cycle();
    let limits = Limits::default();
    let mut ends = Vec::new();
    while !rest.is_empty() {
        // A claim, some frames, and perhaps a restart.
        incarnation += 1;
        let deployments = &opened.deployments;
        let hello = &run.hello;
        let log = deployments.log();
        let claimed =
            log.claim(Tenant::SOLE, hello.deployment_id, hello.stream_id, incarnation, 0).await;
        let entry = deployments.open_stream(claimed.unwrap(), hello).await.unwrap();
        let why = Refusal::new(ErrorCode::SUPERSEDED, "later");
        let (link, _orders) = entry.claim(Delivery::Console, incarnation, 0, why).unwrap();
        assert_eq!(entry.durable().seq, (records.len() - rest.len()) as u64);
        loop {
            let (size, restart) = cuts.next().unwrap();
            let (now, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let bytes = run.frame(now);
            let frame = Frame::decode(&bytes, &limits).unwrap();
            ends.push(frame.last_seq());
            let place = log.reserve(bytes.len(), &log.allot()).await.unwrap();
            entry.submit(link.session, log, place, Arrived::as_it_came(frame, bytes), 1).unwrap();
            if restart || rest.is_empty() {
                break;
            }
        }
        let stored = (records.len() - rest.len()) as u64;
        entry.follow().wait_for(|durable| durable.seq == stored).await.unwrap();
        drop(entry);
        opened.close().await;
        opened = Opened::new(dir.path(), &database).await;
    }
    let expected = naive(&records);
    let log = opened.deployments.log();
    let entry = opened.deployments.get(Scope::SOLE, run.hello.deployment_id).await;
    let entry = entry.unwrap().unwrap();
    let summary = entry.summary(0).unwrap();
    assert_eq!(summary.rows, expected.len() as u64);
    let errors = expected.iter().filter(|row| row.level == Level::Error && !row.open).count();
    assert_eq!(summary.errors, errors as u64);
    let stream = entry.head.stream;
    replay(log, stream, &ends).await;
    let drawn = drawn_across(&records, &ends);
    let blocks = log.stored().blocks;
    read_like_a_reader(log, stream, (&expected, &drawn), &pages).await;
    // And the same of fewer, larger blocks.
    log.merge_all().await.unwrap();
    assert!(log.stored().blocks <= blocks.div_ceil(4) + 3, "{blocks} blocks were not merged");
    read_like_a_reader(log, stream, (&expected, &drawn), &pages).await;
    replay(log, stream, &ends).await;
    let marks = log.marks(stream, u64::MAX).await.unwrap();
    let marked: Vec<u64> = marks.iter().filter(|m| m.errors > 0).map(|m| m.first_row).collect();
    let wrong: Vec<u64> = expected
        .iter()
        .filter(|row| row.level == Level::Error && !row.open)
        .map(|row| row.row)
        .collect();
    assert_eq!(marked, wrong);
    opened.close().await;
    let config = Config { database, ..config(dir.path()) };
    let whole = check(&config, false, |problem| panic!("{problem:?}")).await.unwrap();
    assert_eq!((whole.records, whole.rows), (records.len() as u64, expected.len() as u64));
}

type Story = (Vec<Piece>, Vec<(usize, bool)>, Vec<(u64, u64)>);

/// A stream, how it is cut into frames and restarts, and the pages that are looked at.
fn story() -> impl Strategy<Value = Story> {
    (
        pieces(),
        prop::collection::vec((1usize..40, prop::bool::weighted(0.1)), 1..20),
        prop::collection::vec((0u64..2000, 1u64..120), 8),
    )
}

fn play(database: Database, (pieces, cuts, pages): Story) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(model(database, pieces, cuts, pages));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn pages_and_searches_equal_the_whole_stream(story in story()) {
        play(Database::InDirectory, story);
    }
}

#[test]
fn pages_and_searches_on_postgres_equal_the_whole_stream() {
    let Some(postgres) = Postgres::start() else { return };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(6));
    let ran = runner.run(&story(), |story| {
        play(Database::Postgres(postgres.database()), story);
        Ok(())
    });
    ran.unwrap();
}

#[tokio::test]
async fn what_a_failed_claim_left_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Bay 1");
    for round in 0..20u64 {
        // Sockets cut in the middle of what they sent: the next one goes on behind what is stored.
        let (mut console, acked) = Console::greet(&collector, &run).await;
        for step in 0..5 {
            let first = acked + 1 + step * 7;
            console.send(run.batch(first..=first + 6)).await;
        }
        if round % 2 == 0 {
            console.acked(acked + 7).await;
        }
    }
    let id = run.hello.deployment_id;
    eventually("all sockets are gone", async || {
        let (_, body) = get(&collector, &format!("/api/v1/deployments/{id}")).await;
        body["summary"]["presence"]["kind"] == "offline"
    })
    .await;
    let (_, body) = get(&collector, &format!("/api/v1/deployments/{id}/records?limit=1000")).await;
    let records = body["records"].as_array().unwrap();
    assert!(records.len() > 70);
    for (index, record) in records.iter().enumerate().skip(1) {
        assert_eq!(record["text"], format!("line {}\r\n", index + 1));
    }
}
