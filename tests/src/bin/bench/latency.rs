//! Line printed → durable → at a WebSocket subscriber, for many consoles at once.
//!
//! Each console is real: `wrap -- simulate --stamp`, with its recorder, stage, uplink and terminal. The
//! lines carry the time of printing by the clock that the subscriber reads too. The way has two waits for
//! the disk, the spool's and the collector's.

use crate::Args;
use crate::report::{Figure, Report};
use anyhow::{Context as _, Result, ensure};
use deckport_tests::measure::{Spread, median, ms, probe_disk};
use deckport_tests::stamped::{Follower, boot_us};
use deckport_tests::wait::{LONG, exit_of};
use deckport_tests::{Agent, Call, Collector, eventually, programs};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::{self, Message};

/// Real consoles that print. Dropping them ends what still runs.
#[derive(Debug)]
struct Consoles(Vec<Child>);

impl Consoles {
    fn start(collector: &Collector, dir: &Path, args: &Args, seconds: u64) -> Result<Self> {
        let mut all = Self(Vec::new());
        for number in 0..args.consoles {
            let name = format!("c{number}");
            let mut agent = Agent::of(collector, dir, &name);
            agent.options = vec!["--context".to_owned(), "quick".to_owned()];
            let simulate = Call::new(programs::agent()?).args([
                "simulate".to_owned(),
                "--stamp".to_owned(),
                format!("--rate={}", args.rate),
                format!("--lines={}", args.rate * seconds),
                format!("--seed={number}"),
            ]);
            let mut command = agent.wrap(&simulate)?.command();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            all.0.push(command.spawn().context("could not start an agent")?);
        }
        Ok(all)
    }

    /// Asks them to end, and waits until the collector has what they printed.
    fn end(mut self) -> Result<()> {
        for child in &self.0 {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // One may have ended by itself.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for child in &mut self.0 {
            exit_of(child, LONG, "an agent ends when asked to")?;
        }
        Ok(())
    }
}

impl Drop for Consoles {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let probe = probe_disk(dir)?;
    let mut collector = Collector::start(dir.join("collector"))?;
    let measured = args.seconds * args.rounds as u64;
    let consoles = Consoles::start(&collector, dir, args, measured + 120)?;
    let api = collector.api()?;
    let ids = eventually(LONG, "all consoles are listed", || {
        let list = api.json("/api/v1/deployments?limit=500").ok()?;
        let ids: Vec<String> = list["deployments"]
            .as_array()?
            .iter()
            .filter_map(|entry| entry["id"].as_str().map(ToOwned::to_owned))
            .collect();
        (ids.len() == args.consoles).then_some(ids)
    })?;
    let mut follower = Follower::start(&api, &ids)?;
    // The replay and the processes' start are not what is measured.
    let from = boot_us() + 5_000_000;
    let until = from + measured * 1_000_000;
    let mut came = Vec::new();
    while boot_us() < until + 1_000_000 {
        follower.take(Duration::from_millis(100), &mut came)?;
    }
    consoles.end()?;
    collector.stop()?;
    ensure!(follower.violations.is_empty(), "{:?}", follower.violations.first());
    let round = |number: u64| {
        let begin = from + number * args.seconds * 1_000_000;
        let within = begin..begin + args.seconds * 1_000_000;
        let lines = came.iter().filter(|line| within.contains(&line.printed_us));
        Spread::of(lines.map(|line| line.took_us as f64 / 1e3).collect())
    };
    let rounds: Vec<Spread> = (0..args.rounds as u64).map(round).collect();
    let expected = args.consoles as u64 * args.rate * args.seconds;
    let fewest = rounds.iter().map(Spread::count).min().unwrap_or(0) as f64;
    ensure!(fewest > 0.9 * expected as f64, "only {fewest} of {expected} lines came in a round");
    let of = |part| median(&rounds.iter().map(|round| round.at(part)).collect::<Vec<_>>());
    let echo = echo(200, 5000)?;
    report.probe("latency", &probe);
    report.add(
        Figure::new("latency: printed → durable → subscriber, p50", of(0.5), "ms")
            .beside("bare loopback echo p50", echo.at(0.5))
            .at_most(5.0),
    );
    report.add(
        Figure::new("latency: printed → durable → subscriber, p99", of(0.99), "ms")
            .beside("bare loopback echo p99", echo.at(0.99))
            .at_most(20.0 + probe.at(0.99)),
    );
    report.add(Figure::new("latency: slowest line", of(1.0), "ms"));
    report.add(Figure::new("latency: lines a second", fewest / args.seconds as f64, "/s"));
    Ok(())
}

/// A WebSocket over loopback that sends back what comes, in this process: round trips in milliseconds.
fn echo(bytes: usize, count: usize) -> Result<Spread> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || -> Result<()> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut socket = tungstenite::accept(stream)?;
        for _ in 0..count {
            let message = socket.read()?;
            socket.send(message)?;
        }
        Ok(())
    });
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream)?;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        socket.send(Message::binary(vec![b'x'; bytes]))?;
        socket.read()?;
        took.push(ms(begun.elapsed()));
    }
    server.join().map_err(|_| anyhow::anyhow!("the echo's server panicked"))??;
    Ok(Spread::of(took))
}
