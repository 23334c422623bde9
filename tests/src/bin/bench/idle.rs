//! What an idle console costs: a connection that says hello and then only answers pings.
//!
//! Baseline: a WebSocket server that does nothing (this program again, as a child), with as many
//! connections and buffers of the same size.

use crate::Args;
use anyhow::{Context as _, Result, ensure};
use deckport_agent::state::State;
use deckport_protocol::message::CollectorMessage;
use deckport_tests::Collector;
use deckport_tests::measure::{cpu_of, resident};
use deckport_tests::report::{Figure, Report};
use deckport_tests::spools::{answer, greet, meta_of, target};
use deckport_tests::wait::{LONG, eventually, pause};
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How long the connections stay before the processor time is read.
const WATCHED: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut collector = Collector::start(dir.join("collector"))?;
    let pid = collector.pid().context("the collector runs")?;
    let before = resident(pid)?;
    let held = runtime.block_on(hold(&collector, dir, args.idle))?;
    pause(Duration::from_secs(2));
    let after = resident(pid)?;
    let cpu = cpu_of(pid)?;
    pause(WATCHED);
    let share = (cpu_of(pid)? - cpu) / WATCHED.as_secs_f64();
    ensure!(held.alive() == args.idle, "only {} connections are left", held.alive());
    drop(held);
    collector.stop()?;
    let bare = bare(&runtime, args.idle)?;
    let each = |grown: u64| grown as f64 / args.idle as f64 / 1024.0;
    report.add(
        Figure::new("idle: memory of a console", each(after.saturating_sub(before)), "KiB")
            .beside("bare WebSocket server", each(bare)),
    );
    let what = format!("idle: collector with {} consoles", args.idle);
    report.add(Figure::new(what, after as f64 / f64::from(1 << 20), "MiB"));
    report.add(Figure::new("idle: its share of a processor", share * 100.0, "%"));
    Ok(())
}

struct Held {
    tasks: JoinSet<()>,
    alive: Arc<AtomicUsize>,
}

impl Held {
    fn alive(&self) -> usize {
        debug_assert!(!self.tasks.is_empty());
        self.alive.load(Ordering::Relaxed)
    }
}

/// Connects `count` consoles that answer pings.
async fn hold(collector: &Collector, dir: &Path, count: usize) -> Result<Held> {
    let state = State::open(Some(dir.join("console")))?;
    let alive = Arc::new(AtomicUsize::new(0));
    let dialling = Arc::new(Semaphore::new(32));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let mut meta = meta_of(&state, &format!("bay-{number}"))?;
        meta.console.console_id = deckport_protocol::ConsoleId::new();
        let target = target(collector)?;
        let (alive, dialling) = (Arc::clone(&alive), Arc::clone(&dialling));
        tasks.spawn(async move {
            let Ok(_turn) = dialling.acquire().await else { return };
            let Ok((mut socket, _)) = greet(&target, &meta, 1, (0, 0)).await else { return };
            drop(_turn);
            alive.fetch_add(1, Ordering::Relaxed);
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let Some(pong) = CollectorMessage::parse(&text).ok().as_ref().and_then(answer)
                else {
                    continue;
                };
                if socket.send(pong).await.is_err() {
                    break;
                }
            }
            alive.fetch_sub(1, Ordering::Relaxed);
        });
    }
    let held = Held { tasks, alive };
    tokio::task::block_in_place(|| {
        eventually(LONG, "all consoles are connected", || (held.alive() == count).then_some(()))
    })?;
    Ok(held)
}

/// By how much a server that does nothing grows with `count` connections.
fn bare(runtime: &tokio::runtime::Runtime, count: usize) -> Result<u64> {
    let mut server = Command::new(std::env::current_exe()?)
        .arg("bare-server")
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let out = server.stdout.take().context("the server's output")?;
    BufReader::new(out).read_line(&mut line)?;
    let address = line.trim().to_owned();
    let before = resident(server.id())?;
    let sockets = runtime.block_on(async {
        let mut sockets = Vec::new();
        for _ in 0..count {
            let stream = tokio::net::TcpStream::connect(&address).await?;
            let url = format!("ws://{address}/");
            sockets.push(tokio_tungstenite::client_async(url, stream).await?.0);
        }
        anyhow::Ok(sockets)
    })?;
    let grown = resident(server.id())?.saturating_sub(before);
    drop(sockets);
    server.kill()?;
    server.wait()?;
    Ok(grown)
}

/// The child: accepts WebSockets and reads them. Prints its address.
pub(crate) fn bare_server() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        // Until it is killed.
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let accepted = tokio_tungstenite::accept_async_with_config(stream, Some(config));
                if let Ok(mut socket) = accepted.await {
                    while let Some(Ok(_)) = socket.next().await {}
                }
            });
        }
    })
}
