//! Line printed → durable → at a WebSocket subscriber, for many consoles at once.
//!
//! Each console is real: `wrap -- simulate --stamp`, with its recorder, stage, uplink and terminal. The
//! lines carry the time of printing by the clock that the subscriber reads too. The way has two waits for
//! the disk, the spool's and the collector's.

use crate::Args;
use anyhow::{Result, ensure};
use deckport_tests::measure::{Spread, median, ms, probe_disk};
use deckport_tests::printing::{Consoles, Load};
use deckport_tests::report::{Figure, Report};
use deckport_tests::stamped::{Came, Follower, boot_us};
use deckport_tests::steady::Watch;
use deckport_tests::{Agent, Collector};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::{self, Message};

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let probe = probe_disk(dir)?;
    let mut collector = Collector::start(dir.join("collector"))?;
    let measured = args.seconds * args.rounds as u64;
    let load = Load { consoles: args.consoles, rate: args.rate, seconds: measured + 120 };
    let console = |name: &str| Agent::of(&collector, dir, name);
    let consoles = Consoles::start(load, console)?;
    let api = collector.api()?;
    let ids = consoles.listed(&api)?;
    let mut follower = Follower::start(&api, &ids)?;
    let watch = Watch::start();
    // The replay and the processes' start are not what is measured.
    let from = boot_us() + 5_000_000;
    let until = from + measured * 1_000_000;
    let mut came = Vec::new();
    while boot_us() < until + 1_000_000 {
        follower.take(Duration::from_millis(100), &mut came)?;
    }
    let slow = watch.end()?;
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
    let whole =
        |line: &&Came| (from..until).contains(&line.printed_us) && !slow.meets(line.printed_us);
    let steady =
        Spread::of(came.iter().filter(whole).map(|line| line.took_us as f64 / 1e3).collect());
    report.slow("latency", &slow, &steady);
    let part = |of: fn(&Came) -> u64| {
        let within = from..until;
        let lines = came.iter().filter(|line| within.contains(&line.printed_us));
        Spread::of(lines.map(|line| of(line) as f64 / 1e3).collect())
    };
    for (what, part) in [
        ("the agent has read it", part(|line| line.read_us)),
        ("the collector has received it", part(|line| line.received_us)),
    ] {
        for (name, at) in [("p50", 0.5), ("p99", 0.99)] {
            report.add(Figure::new(format!("latency: until {what}, {name}"), part.at(at), "ms"));
        }
    }
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
