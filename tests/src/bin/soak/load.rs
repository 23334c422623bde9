//! A venue's worth of consoles and viewers: nobody loses a line, and the slow ones harm nobody.
//!
//! The consoles are the agent's library without a terminal, all in this process: 64,000 lines a second of 64 real agents would be
//! 64,000 wakings of a process a second, which is more than a small machine has for all else.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::Collector;
use deckport_tests::api::Api;
use deckport_tests::measure::{Spread, peak, probe_disk, resident};
use deckport_tests::spools::{self, Pace};
use deckport_tests::stamped::{Came, Follower};
use deckport_tests::wait::{LONG, eventually, pause};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RATE: u64 = 1000;
const VIEWERS: usize = 20;
/// Of the viewers, those that read ten messages a second.
const SLOW: usize = 4;
const GROWTH: u64 = 64 << 20;
/// Until then, everything has started and the replay is over.
const SETTLED_US: u64 = 20_000_000;
const ACKNOWLEDGED_MS: f64 = 100.0;
const LAG_MS: f64 = 250.0;
/// Looks at the memory before what is kept for viewers and for sealing is as full as it gets: one minute.
const WARM: usize = 3;
/// Different lines that a console prints, again and again.
const TEXTS: u64 = 20_000;
/// Of so many lines, one is kept for the figures.
const KEPT: u64 = 8;
const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn run(dir: &Path, short: bool, consoles: usize) -> Result<()> {
    ensure!(consoles >= 4, "a viewer looks at four consoles");
    let pace = Pace { rate: RATE, seconds: if short { 60 } else { 600 } };
    let lines = pace.rate * pace.seconds;
    let probe = probe_disk(dir)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut collector = Collector::start(dir.join("collector"))?;
    let pid = collector.pid().context("the collector runs")?;
    let api = collector.api()?;
    let printed = spools::simulated(0, TEXTS)?;
    let texts: Vec<&[u8]> = printed.split_inclusive(|&byte| byte == b'\n').collect();
    let (memory, took, acks, slow_lines) = std::thread::scope(|scope| {
        let printing = scope.spawn(|| {
            runtime.block_on(async {
                let target = spools::target(&collector)?;
                let consoles =
                    (0..consoles).map(|number| spools::print(dir, number, &texts, &target, pace));
                let acks = futures_util::future::try_join_all(consoles).await?;
                anyhow::Ok(acks.concat())
            })
        });
        let ids = listed(&api, consoles)?;
        let begun = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let mut fast = Vec::new();
        let mut slow = Vec::new();
        for viewer in 0..VIEWERS {
            // A viewer looks at four consoles; each console has at least one viewer that keeps up.
            let theirs: Vec<String> =
                (0..4).map(|n| ids[(viewer * 4 + n) % consoles].clone()).collect();
            let follower = Follower::start(&api, &theirs)?;
            if viewer >= VIEWERS - SLOW {
                let stop = Arc::clone(&stop);
                slow.push(scope.spawn(move || dawdle(follower, &stop)));
            } else {
                fast.push(scope.spawn(move || follow(follower, pace, 4 * lines)));
            }
        }
        let mut memory = Vec::new();
        while begun.elapsed() < Duration::from_secs(pace.seconds - 15) && !printing.is_finished() {
            pause(Duration::from_secs(15));
            memory.push(resident(pid)?);
        }
        let acks = joined(printing.join())?;
        let mut took = Vec::new();
        for viewer in fast {
            took.extend(joined(viewer.join())?);
        }
        stop.store(true, Ordering::Relaxed);
        let mut slow_lines = 0;
        for viewer in slow {
            slow_lines += joined(viewer.join())?;
        }
        anyhow::Ok((memory, took, acks, slow_lines))
    })?;
    // Each console's lines, and that it began and ended.
    let records = api.metric("deckport_records_total")?;
    let expected = consoles as u64 * (lines + 2);
    ensure!(records == expected as f64, "{records} records came, not {expected}");
    let peak = peak(pid)? as f64 / MIB;
    collector.stop()?;
    let acks = acks.iter().map(|frame| frame.took_ms).collect();
    let (took, acks) = (Spread::of(took), Spread::of(acks));
    println!(
        "{consoles} consoles × {RATE} lines/s for {} s: nothing lost, repeated, reordered",
        pace.seconds
    );
    println!(
        "printed → durable → viewer: p50 {:.2} ms, p99 {:.2} ms, most {:.1} ms ({} lines)",
        took.at(0.5),
        took.at(0.99),
        took.most(),
        took.count()
    );
    println!(
        "acknowledgement: p50 {:.2} ms, p99 {:.2} ms, most {:.1} ms ({} frames)",
        acks.at(0.5),
        acks.at(0.99),
        acks.most(),
        acks.count()
    );
    println!("disk probe: p50 {:.2} ms, p99 {:.2} ms", probe.at(0.5), probe.at(0.99));
    println!("{SLOW} slow viewers took {slow_lines} lines in all");
    let first = memory.get(WARM).or(memory.first()).copied();
    let last = memory.last().copied();
    let (first, last) = first.zip(last).context("memory was read")?;
    println!(
        "collector's memory: {:.1} MiB after a minute, {:.1} MiB at last, {peak:.1} MiB at most",
        first as f64 / MIB,
        last as f64 / MIB
    );
    ensure!(last.saturating_sub(first) <= GROWTH, "the collector grew by {}", last - first);
    ensure!(
        acks.at(0.99) <= ACKNOWLEDGED_MS,
        "acknowledgements took longer than {ACKNOWLEDGED_MS} ms"
    );
    ensure!(took.at(0.99) <= LAG_MS, "viewers lagged by more than {LAG_MS} ms");
    Ok(())
}

/// All consoles' deployments.
fn listed(api: &Api, consoles: usize) -> Result<Vec<String>> {
    eventually(LONG, "all consoles are listed", || {
        let list = api.json("/api/v1/deployments?limit=500").ok()?;
        let ids = list["deployments"].as_array()?.iter();
        let ids: Vec<String> =
            ids.filter_map(|entry| Some(entry["id"].as_str()?.to_owned())).collect();
        (ids.len() == consoles).then_some(ids)
    })
}

fn joined<T>(thread: std::thread::Result<Result<T>>) -> Result<T> {
    thread.map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

/// A viewer that keeps up: every line must come, in order. How long each took, in milliseconds, once all has settled.
fn follow(mut follower: Follower, pace: Pace, lines: u64) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    let mut came: Vec<Came> = Vec::new();
    let (mut settled, mut number) = (None, 0u64);
    let deadline = Instant::now() + Duration::from_secs(pace.seconds + 180);
    while !follower.ended() {
        ensure!(Instant::now() < deadline, "the streams did not end");
        follower.take(Duration::from_millis(500), &mut came)?;
        for line in came.drain(..) {
            let from = *settled.get_or_insert(line.printed_us + SETTLED_US);
            number += 1;
            if line.printed_us > from && number % KEPT == 0 {
                took.push(line.took_us as f64 / 1e3);
            }
        }
    }
    ensure!(follower.violations.is_empty(), "{:?}", follower.violations.first());
    ensure!(follower.lines == lines, "{} lines, not {lines}", follower.lines);
    Ok(took)
}

/// A viewer that is too slow. Lines that came.
fn dawdle(mut follower: Follower, stop: &AtomicBool) -> Result<u64> {
    let mut came = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        pause(Duration::from_millis(100));
        came.clear();
        // The collector may end the socket of one so slow: that is its right.
        if follower.take(Duration::from_millis(10), &mut came).is_err() {
            break;
        }
    }
    ensure!(follower.violations.is_empty(), "{:?}", follower.violations.first());
    Ok(follower.lines)
}
