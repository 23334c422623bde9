//! A venue's worth of consoles and viewers: nobody loses a line, and the slow ones harm nobody.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::measure::{Spread, probe_disk, resident};
use deckport_tests::printing::{Consoles, Load};
use deckport_tests::stamped::{Came, Follower};
use deckport_tests::wait::pause;
use deckport_tests::{Agent, Collector};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RATE: u64 = 100;
const VIEWERS: usize = 20;
/// Of the viewers, those that read ten messages a second.
const SLOW: usize = 4;
const GROWTH: u64 = 64 << 20;

pub(crate) fn run(dir: &Path, short: bool, consoles: usize) -> Result<()> {
    ensure!(consoles >= 4, "a viewer looks at four consoles");
    let seconds = if short { 60 } else { 600 };
    let lines = RATE * seconds;
    let probe = probe_disk(dir)?;
    let mut collector = Collector::start(dir.join("collector"))?;
    let pid = collector.pid().context("the collector runs")?;
    let load = Load { consoles, rate: RATE, seconds };
    let printing = Consoles::start(load, |name| Agent::of(&collector, dir, name))?;
    let api = collector.api()?;
    let ids = printing.listed(&api)?;
    let begun = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut fast = Vec::new();
    let mut slow = Vec::new();
    for viewer in 0..VIEWERS {
        // A viewer looks at four consoles; each console has at least one viewer that keeps up.
        let theirs: Vec<String> =
            (0..4).map(|n| ids[(viewer * 4 + n) % consoles].clone()).collect();
        let mut follower = Follower::start(&api, &theirs)?;
        let stop = Arc::clone(&stop);
        if viewer >= VIEWERS - SLOW {
            slow.push(std::thread::spawn(move || -> Result<u64> {
                let mut came = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    pause(Duration::from_millis(100));
                    // The collector may end the socket of one so slow: that is its right.
                    if follower.take(Duration::from_millis(10), &mut came).is_err() {
                        break;
                    }
                }
                ensure!(follower.violations.is_empty(), "{:?}", follower.violations.first());
                Ok(follower.lines)
            }));
        } else {
            fast.push(std::thread::spawn(move || -> Result<Vec<Came>> {
                let mut came = Vec::new();
                let deadline = Instant::now() + Duration::from_secs(seconds + 180);
                while !follower.ended() {
                    ensure!(Instant::now() < deadline, "the streams did not end");
                    follower.take(Duration::from_millis(500), &mut came)?;
                }
                ensure!(follower.violations.is_empty(), "{:?}", follower.violations.first());
                ensure!(follower.lines == 4 * lines, "{} lines, not {}", follower.lines, 4 * lines);
                Ok(came)
            }));
        }
    }
    let mut memory = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds - 15) {
        pause(Duration::from_secs(15));
        memory.push(resident(pid)?);
    }
    let mut took = Vec::new();
    for viewer in fast {
        let came = viewer.join().map_err(|_| anyhow::anyhow!("a viewer panicked"))??;
        // The first lines waited for the processes to start and for the replay.
        let from = came.first().map_or(0, |line| line.printed_us) + 20_000_000;
        let later = came.iter().filter(|line| line.printed_us > from);
        took.extend(later.map(|line| line.took_us as f64 / 1e3));
    }
    stop.store(true, Ordering::Relaxed);
    let mut slow_lines = 0;
    for viewer in slow {
        slow_lines += viewer.join().map_err(|_| anyhow::anyhow!("a viewer panicked"))??;
    }
    printing.ended()?;
    collector.stop()?;
    let took = Spread::of(took);
    println!(
        "{consoles} consoles × {RATE} lines/s for {seconds} s: nothing lost, repeated, reordered"
    );
    println!(
        "printed → durable → viewer: p50 {:.2} ms, p99 {:.2} ms, most {:.1} ms ({} lines)",
        took.at(0.5),
        took.at(0.99),
        took.most(),
        took.count()
    );
    println!("disk probe: p50 {:.2} ms, p99 {:.2} ms", probe.at(0.5), probe.at(0.99));
    println!("{SLOW} slow viewers took {slow_lines} lines in all");
    let (first, last) = (memory.first().copied(), memory.last().copied());
    let (first, last) = first.zip(last).context("memory was read")?;
    println!(
        "collector's memory: {:.1} MiB at first, {:.1} MiB at last",
        first as f64 / 1_048_576.0,
        last as f64 / 1_048_576.0
    );
    ensure!(last.saturating_sub(first) <= GROWTH, "the collector grew by {}", last - first);
    Ok(())
}
