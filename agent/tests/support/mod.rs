//! What the agent's stories share: runs of the real binary, a collector of the test's own that keeps
//! what it gets and can be cut off, and a look into a spool.
#![expect(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test code, of which each binary uses its own part"
)]

use deckport_agent::clock;
use deckport_agent::spool::{Batch, Position, Reader};
use deckport_agent::state::{Run, State};
use deckport_protocol::event::{self, Event};
use deckport_protocol::message::{
    Ack, AgentMessage, CollectorMessage, ErrorMessage, Hello, Order, Welcome,
};
use deckport_protocol::{Body, Chain, ErrorCode, Frame, Limits, Record, ServerEpoch};
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

pub const AGENT: &str = env!("CARGO_BIN_EXE_deckport-agent");
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "did not happen: {what}");
        clock::pause(Duration::from_millis(5));
    }
}

/// `wrap` with the options that every test wants.
pub fn wrap(state: &Path, options: &[&str], command: &[&str]) -> Command {
    let mut wrap = Command::new(AGENT);
    wrap.args(["wrap", "--context", "quick", "--state"]).arg(state).args(options).arg("--");
    wrap.args(command).stdin(Stdio::null()).env_remove("DECKPORT_RUN");
    wrap
}

pub fn output(mut command: Command) -> Output {
    command.output().expect("the agent runs")
}

/// The only run that is kept in `state`.
pub fn only_run(state: &Path) -> Run {
    let mut runs = State::open(Some(state.to_owned())).unwrap().runs().unwrap();
    assert_eq!(runs.len(), 1, "one run is kept");
    runs.remove(0)
}

/// All records of a run's spool.
pub fn spooled(run: &Run) -> Vec<Record> {
    let mut reader = Reader::open(run.dir().to_owned(), 1).unwrap();
    let all = Position { segment: u64::MAX, offset: u64::MAX, last_seq: u64::MAX - 1 };
    let last = deckport_agent::spool::segments(&deckport_agent::disk::RealDisk, run.dir())
        .unwrap()
        .last()
        .copied()
        .unwrap_or(0);
    let end = Position { segment: last, ..all };
    let mut records = Vec::new();
    while let Some(batch) = reader.next(&end).unwrap() {
        match batch {
            Batch::Frame { frame, .. } => records.extend(frame.records().map(|r| r.to_owned())),
            Batch::Gap(gap) => records.push(gap),
        }
    }
    records
}

/// The concatenation of all output.
pub fn raw(records: &[Record]) -> Vec<u8> {
    records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Output(output) => Some(output.bytes.to_vec()),
            Body::Event(_) => None,
        })
        .flatten()
        .collect()
}

pub fn events(records: &[Record]) -> Vec<Event> {
    records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Event(text) => Some(event::parse(text.as_str()).unwrap()),
            Body::Output(_) => None,
        })
        .collect()
}

/// What the test's collector holds of one deployment.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub hellos: Vec<Hello>,
    pub records: Vec<Record>,
    pub chain: Chain,
    pub transients: Vec<deckport_protocol::message::Transient>,
}

impl Stored {
    pub fn acked(&self) -> u64 {
        self.records.last().map_or(0, Record::last_seq)
    }

    pub fn ended(&self) -> bool {
        events(&self.records).last().is_some_and(Event::is_terminal)
    }
}

#[derive(Debug, Default)]
struct Shared {
    stored: Mutex<BTreeMap<String, Stored>>,
    /// Cut the link after so many more frames; 0: never.
    cut_every: AtomicU64,
    frames: AtomicU64,
    connections: AtomicU64,
    lie_about_chain: AtomicBool,
    refuse: Mutex<Option<ErrorMessage>>,
    full: AtomicBool,
    orders: Mutex<Vec<Order>>,
    cut_now: AtomicBool,
}

/// A collector that holds the protocol's promises in the simplest way.
#[derive(Debug)]
pub struct TestCollector {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl TestCollector {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    pub fn start_at(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&theirs);
                tokio::spawn(async move {
                    shared.connections.fetch_add(1, Ordering::Relaxed);
                    // A link that breaks is the agent's business.
                    let _ = serve(&shared, stream).await;
                });
            }
        });
        Self { address, shared, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn cut_every(&self, frames: u64) {
        self.shared.cut_every.store(frames, Ordering::Relaxed);
    }

    pub fn cut_now(&self, cut: bool) {
        self.shared.cut_now.store(cut, Ordering::Relaxed);
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub fn lie_about_chain(&self) {
        self.shared.lie_about_chain.store(true, Ordering::Relaxed);
    }

    pub fn refuse(&self, refusal: ErrorMessage) {
        *self.shared.refuse.lock().unwrap() = Some(refusal);
    }

    /// Greets as ever, and takes no record: its disk is full.
    pub fn full(&self, full: bool) {
        self.shared.full.store(full, Ordering::Relaxed);
    }

    pub fn order(&self, order: Order) {
        self.shared.orders.lock().unwrap().push(order);
    }

    pub fn all(&self) -> Vec<Stored> {
        self.shared.stored.lock().unwrap().values().cloned().collect()
    }

    /// The only deployment.
    pub fn only(&self) -> Stored {
        let mut all = self.all();
        assert_eq!(all.len(), 1, "one deployment is stored");
        all.remove(0)
    }
}

impl Drop for TestCollector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(
    shared: &Shared,
    stream: tokio::net::TcpStream,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    let mut deployment = String::new();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        let message = tokio::select! {
            message = socket.next() => match message {
                Some(message) => message?,
                None => return Ok(()),
            },
            _ = tick.tick() => {
                if shared.cut_now.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let orders = std::mem::take(&mut *shared.orders.lock().unwrap());
                for order in orders {
                    socket.send(Message::text(CollectorMessage::Order(order).to_text())).await?;
                }
                continue;
            }
        };
        let answer = match message {
            Message::Text(text) => match AgentMessage::parse(&text).unwrap() {
                AgentMessage::Hello(hello) => {
                    let refusal = shared.refuse.lock().unwrap().clone();
                    if let Some(refusal) = refusal {
                        CollectorMessage::Error(refusal)
                    } else {
                        deployment = hello.deployment_id.to_string();
                        let mut all = shared.stored.lock().unwrap();
                        let stored = all.entry(deployment.clone()).or_default();
                        stored.hellos.push(hello.clone());
                        CollectorMessage::Welcome(Welcome {
                            protocol: hello.protocol,
                            abilities: hello.abilities,
                            acked_seq: stored.acked(),
                            chain: stored.chain,
                            server_epoch: ServerEpoch::new(),
                            limits: Limits::default(),
                        })
                    }
                }
                AgentMessage::Transient(transient) => {
                    let mut all = shared.stored.lock().unwrap();
                    all.entry(deployment.clone()).or_default().transients.push(transient);
                    continue;
                }
                _ => continue,
            },
            Message::Binary(_) if shared.full.load(Ordering::Relaxed) => {
                let message = "the disk is full".into();
                let code = ErrorCode::STORAGE_FULL;
                let refusal = ErrorMessage { code, message, retryable: true, acked_seq: None };
                socket.send(Message::text(CollectorMessage::Error(refusal).to_text())).await?;
                return Ok(());
            }
            Message::Binary(bytes) => {
                let frame = Frame::decode(&bytes, &Limits::default()).expect("a proper frame");
                let mut all = shared.stored.lock().unwrap();
                let stored = all.get_mut(&deployment).expect("hello came first");
                assert!(frame.header().count <= 256, "at most 256 records in a batch");
                assert_eq!(frame.first_seq(), stored.acked() + 1, "contiguous, without repeats");
                for record in frame.records() {
                    stored.chain = stored.chain.extend(&record);
                    stored.records.push(record.to_owned());
                }
                let chain = if shared.lie_about_chain.load(Ordering::Relaxed) {
                    Chain::from_bytes([1; 32])
                } else {
                    stored.chain
                };
                let frames = shared.frames.fetch_add(1, Ordering::Relaxed) + 1;
                let every = shared.cut_every.load(Ordering::Relaxed);
                if every > 0 && frames.is_multiple_of(every) {
                    // Stored, and the acknowledgement is lost.
                    return Ok(());
                }
                CollectorMessage::Ack(Ack { acked_seq: stored.acked(), chain })
            }
            Message::Close(_) => return Ok(()),
            _ => continue,
        };
        socket.send(Message::text(answer.to_text())).await?;
    }
}

/// A child that is killed when the test ends early.
#[derive(Debug)]
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
