//! Sliced filters, and what is given back: with few blocks, where a collector slices hundreds.

use super::filter;
use super::*;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::query::{Query, RunFacts, RunOutcome, Simplified};
use deckport_protocol::rows::RowDeriver;
use deckport_protocol::{BodyRef, BootId, FrameBuilder, RecordRef, Source};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Opened {
    log: Log,
    store: Arc<Store>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Opened {
    async fn new(dir: &Path) -> Self {
        // Whatever is in the tail is due.
        Self::with(dir, 1).await
    }

    async fn with(dir: &Path, seal_bytes: usize) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let config = Config::new(dir);
        let store = Store::open(&config, Arc::new(Metrics::default()), &tasks, stop.clone());
        let store = Arc::new(store.await.unwrap());
        let log = Log::open(Arc::clone(&store), seal_bytes).await.unwrap();
        Self { log, store, tasks, stop }
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.store.close().await;
        self.tasks.wait().await;
    }

    /// A stream of blocks, each of these lines.
    async fn stream(&self, blocks: &[&[&str]]) -> StreamKey {
        self.grow(blocks, |_, _| {}).await
    }

    /// The same, and tells of each frame when it is durable and not sealed yet.
    async fn grow(&self, blocks: &[&[&str]], told: impl Fn(StreamKey, u64)) -> StreamKey {
        let (tenant, id) = (Tenant::SOLE, DeploymentId::new());
        let head = self.log.claim(tenant, id, StreamId::new(), 1, 0).await.unwrap();
        let (mut deriver, mut noting) = (RowDeriver::new(), Noting::default());
        let mut seq = 0;
        for (at, lines) in blocks.iter().enumerate() {
            let (first_row, first_byte) = (deriver.rows(), noting.at_byte);
            let state_before = Some(deriver.snapshot().into());
            let mut builder = FrameBuilder::new();
            for line in *lines {
                seq += 1;
                let bytes = format!("{line}\n");
                let body = BodyRef::Output {
                    bytes: bytes.as_bytes(),
                    continues: false,
                    source: Source::Terminal,
                    annotation: None,
                };
                let record = RecordRef { seq, span: 1, boot_us: seq, at_us: seq as i64, body };
                builder.push(&record);
                deriver.feed(&record, &mut noting);
                noting.at_byte += bytes.len() as u64;
            }
            let payload = builder.finish(BootId::new(), false).unwrap();
            let frame = Frame::decode(&payload, self.log.limits()).unwrap();
            let new = NewFrame {
                stream: head.stream,
                first_seq: frame.first_seq(),
                last_seq: seq,
                first_row,
                rows: deriver.rows() - first_row,
                first_byte,
                bytes: noting.at_byte - first_byte,
                first_at: frame.first_seq() as i64,
                last_at: seq as i64,
                received_at: 1,
                goes_on: false,
                open_row: false,
                last: at + 1 == blocks.len(),
                state_before,
                notes: noting.take(),
                payload,
            };
            let place = self.log.reserve(100, &self.log.allot()).await.unwrap();
            let (done, durable) = tokio::sync::oneshot::channel();
            let done = Box::new(move |result: Result<(), WriteError>| done.send(result).unwrap());
            self.log.append(place, new, frame, Vec::new(), Arc::default(), done);
            durable.await.unwrap().unwrap();
            told(head.stream, seq);
            self.log.seal().await.unwrap();
        }
        head.stream
    }

    /// Slices all filters that are not.
    async fn slice(&self) {
        let singles = self.log.filters.with_single(Clone::clone);
        let (ids, filters) = singles.into_iter().unzip();
        self.log.slice(ids, filters).await.unwrap();
    }

    async fn run(&self, sql: &'static str, values: Vec<crate::store::Value>) {
        self.log.write(vec![Statement { sql, values }]).await.unwrap();
    }

    async fn count(&self, sql: &'static str) -> u64 {
        self.store.fetch_one(sql, []).await.unwrap().unwrap().count(0).unwrap()
    }

    /// How many rows of a stream hold this text, and how many blocks were looked into for that.
    async fn find(&self, stream: StreamKey, text: &str) -> Result<(u64, usize), LogError> {
        let query = Query::parse(text, 0, 0).unwrap();
        let run = RunFacts {
            deployment_id: DeploymentId::new(),
            console: "",
            template: "",
            venue: None,
            release: None,
            outcome: RunOutcome::Running,
            first_row_us: None,
            last_row_us: None,
        };
        let Simplified::Rest(expr) = query.on_run(&run) else { panic!("{text}") };
        let target = Target { stream, wanted: Arc::new(Wanted::new(Some(expr))) };
        let opened = self.log.plan(std::slice::from_ref(&target)).await?.len();
        Ok((self.log.matches(target, 0, 1).await?.total, opened))
    }

    async fn check(&self, repair: bool) -> Vec<(String, bool)> {
        let mut told = Vec::new();
        let tell = |finding: Finding| told.push((finding.what, finding.repaired));
        self.log.check(&HashMap::new(), repair, tell).await.unwrap();
        told
    }
}

/// Who floods waits for themselves: nobody else does.
#[tokio::test]
async fn who_has_all_of_their_part_of_the_tail_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::with(dir.path(), 64 * 1024 * 1024).await;
    let (flood, other) = (opened.log.allot(), opened.log.allot());
    let soon = |allotment| {
        tokio::time::timeout(Duration::from_millis(100), opened.log.reserve(100_000, allotment))
    };
    let mut taken = Vec::new();
    while let Ok(place) = soon(&flood).await {
        taken.push(place.unwrap());
    }
    assert!((10..=100).contains(&taken.len()), "{}", taken.len());
    drop(soon(&other).await.expect("there is room for others").unwrap());
    taken.pop();
    drop(soon(&flood).await.expect("what is given back is there again").unwrap());
    drop(taken);
    opened.close().await;
}

/// Whoever reads while frames are sealed finds each of them, in the tail or in a block.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_while_it_is_read_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::new(dir.path()).await;
    // The last frame that is durable, as often as can be: it is sealed at some moment.
    let last = Arc::new(Mutex::new(None));
    let (log, known) = (opened.log.clone(), Arc::clone(&last));
    let until = CancellationToken::new();
    let ended = until.clone();
    let reading = tokio::spawn(async move {
        while !ended.is_cancelled() {
            tokio::task::yield_now().await;
            let Some((stream, seq)) = *known.lock().unwrap() else { continue };
            let frames = log.frames(stream, seq, 1).await.unwrap();
            assert!(frames.first().is_some_and(|first| first.first_seq <= seq), "{seq} is lost");
            let next = log.walk(stream, seq, |_| ControlFlow::Continue(())).await.unwrap();
            assert!(next > seq, "reading ended in front of {seq}");
        }
    });
    let blocks: Vec<&[&str]> = vec![&["one", "two"]; 200];
    opened.grow(&blocks, |stream, seq| *last.lock().unwrap() = Some((stream, seq))).await;
    until.cancel();
    reading.await.unwrap();
    opened.close().await;
}

const BLOCKS: [&[&str]; 3] =
    [&["Unpacking game", "needle one"], &["Setting up game"], &["a needle", "the last line"]];

#[tokio::test]
async fn slices_that_miss_something_are_found_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::new(dir.path()).await;
    let (one, other) = (opened.stream(&BLOCKS).await, opened.stream(&BLOCKS[..2]).await);
    opened.slice().await;
    assert_eq!(opened.check(false).await, []);
    assert_eq!(opened.find(one, "needle").await.unwrap(), (2, 2));
    // One with a checksum that holds, of other blocks.
    let nothing = filter::slice(&[]);
    for place in filter::places(b"needle") {
        let chunk = filter::chunk_of(place);
        let bits = nothing[chunk as usize].clone();
        let sql = "update filter_slice set bits = $2 where chunk = $1";
        opened.run(sql, vec![chunk.into(), bits.into()]).await;
    }
    assert_eq!(opened.find(one, "needle").await.unwrap(), (0, 0), "this is what must be found");
    let told = opened.check(false).await;
    assert_eq!(told.len(), 3, "of each block that holds it: {told:?}");
    assert!(told.iter().all(|(what, repaired)| what.contains("sliced filter") && !repaired));
    assert!(opened.check(true).await.iter().all(|(_, repaired)| *repaired));
    assert_eq!(opened.check(false).await, []);
    assert_eq!(opened.find(one, "needle").await.unwrap(), (2, 2));
    assert_eq!(opened.find(other, "needle").await.unwrap(), (1, 1));
    opened.close().await;
}

#[tokio::test]
async fn damaged_and_missing_slices_cost_time_and_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::new(dir.path()).await;
    let stream = opened.stream(&BLOCKS).await;
    opened.slice().await;
    let damage = "update filter_slice set bits = zeroblob(length(bits))";
    for sql in [damage, "delete from filter_slice"] {
        opened.run(sql, Vec::new()).await;
        assert_eq!(opened.find(stream, "needle").await.unwrap(), (2, 3), "{sql}");
        let told = opened.check(false).await;
        assert!(told.len() == 1 && told[0].0.contains("1024 of 1024 slices"), "{told:?}");
        assert!(opened.check(true).await.iter().all(|(_, repaired)| *repaired));
        assert_eq!(opened.check(false).await, []);
        assert_eq!(opened.find(stream, "needle").await.unwrap(), (2, 2), "{sql}");
    }
    // A block that cannot be read lets everything through: a search says that it could not look there.
    let sql = "update block_part set text_part = zeroblob(9) where block_id = (select max(id) from block)";
    opened.run(sql, Vec::new()).await;
    opened.run("delete from filter_slice", Vec::new()).await;
    assert!(opened.check(true).await.iter().any(|(_, repaired)| !repaired));
    let error = opened.find(stream, "needle").await.unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error:?}");
    opened.close().await;
}

#[tokio::test]
async fn a_block_without_a_filter_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::new(dir.path()).await;
    opened.stream(&BLOCKS).await;
    opened.run("delete from block_filter", Vec::new()).await;
    opened.close().await;
    let opened = Opened::new(dir.path()).await;
    let told = opened.check(true).await;
    assert!(told.len() == 3 && told.iter().all(|(what, done)| what.contains("no filter") && *done));
    opened.close().await;
    let opened = Opened::new(dir.path()).await;
    assert_eq!(opened.check(false).await, []);
    opened.close().await;
}

#[tokio::test]
async fn the_filter_of_a_block_that_is_no_more_is_no_later_block_s() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::new(dir.path()).await;
    let first = opened.stream(&BLOCKS[..1]).await;
    let last = opened.stream(&BLOCKS[1..2]).await;
    opened.slice().await;
    opened.log.retire(last, Vec::new()).await.unwrap();
    opened.log.finish_retiring(last).await.unwrap();
    opened.close().await;
    let opened = Opened::new(dir.path()).await;
    // It takes the place of the last one, whose filter holds no needle.
    let next = opened.stream(&BLOCKS[2..]).await;
    assert_eq!(opened.find(next, "needle").await.unwrap(), (1, 1));
    assert_eq!(opened.find(first, "needle").await.unwrap(), (1, 1));
    opened.close().await;
}

#[tokio::test]
async fn slices_are_given_back_when_no_block_of_them_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::new(dir.path()).await;
    let (one, other) = (opened.stream(&BLOCKS).await, opened.stream(&BLOCKS).await);
    opened.slice().await;
    let kept = opened.stream(&BLOCKS).await;
    opened.slice().await;
    for (stream, groups) in [(one, 2), (other, 1)] {
        opened.log.retire(stream, Vec::new()).await.unwrap();
        opened.log.finish_retiring(stream).await.unwrap();
        opened.log.give_back_filters().await.unwrap();
        assert_eq!(opened.count("select count(*) from filter_group").await, groups);
        assert_eq!(opened.count("select count(*) from filter_slice").await, groups * 1024);
    }
    assert_eq!(opened.find(kept, "needle").await.unwrap(), (2, 2));
    assert_eq!(opened.check(false).await, []);
    opened.close().await;
}

#[tokio::test]
async fn what_a_crash_left_of_a_retired_stream_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Opened::new(dir.path()).await;
    let stream = opened.stream(&BLOCKS).await;
    opened.log.retire(stream, Vec::new()).await.unwrap();
    opened.close().await;
    let opened = Opened::new(dir.path()).await;
    assert!(opened.log.has_blocks(stream));
    opened.log.finish_retiring(stream).await.unwrap();
    assert!(!opened.log.has_blocks(stream));
    assert_eq!(opened.count("select count(*) from block_part").await, 0);
    assert_eq!(opened.count("select count(*) from block_filter").await, 0);
    opened.close().await;
}
