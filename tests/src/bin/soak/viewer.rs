//! The app's window at the end of a fast log: every row reaches the page in order, the screen never shows a wrong or an
//! empty one for long, and the page's process does not grow.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::Agent;
use deckport_tests::api::Api;
use deckport_tests::desktop::Session;
use deckport_tests::desktop::probe::Probe;
use deckport_tests::measure::{Spread, resident};
use deckport_tests::printing::{Consoles, Load};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

const RATE: u64 = 2000;
/// Lines are printed for so many seconds more than are looked at.
const SPARE: u64 = 50;
/// So long the page fills what it holds of the log.
const WARM_UP: Duration = Duration::from_secs(20);
/// What the page's process may grow by between the first and the last minute.
const GROWTH: u64 = 20 << 20;

pub(crate) fn run(dir: &Path, short: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(follow(dir, if short { 60 } else { 600 }))
}

async fn follow(dir: &Path, seconds: u64) -> Result<()> {
    let mut session = Session::start().await?;
    let page = session.open((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let url = session.collector().await?;
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
    let token = std::fs::read_to_string(session.token_file())?.trim().to_owned();
    let api = Api { port: port.context("the collector's port")?, token: Some(token) };
    let probe = Probe::put(&page).await?;
    probe.watch().await?;
    let lines = RATE * (seconds + SPARE);
    let load = Load { consoles: 1, rate: RATE, seconds: seconds + SPARE };
    let console = |name: &str| Agent::at(url.clone(), session.token_file(), dir, name);
    let consoles = Consoles::start(load, console)?;
    probe.open(consoles.listed(&api)?.first().context("a deployment")?).await?;
    let web = session.web_process()?;
    tokio::time::sleep(WARM_UP).await;
    let begun = Instant::now();
    let mut took = Vec::new();
    // Of each minute the least and the most: a collected heap goes up and down by more than it may grow.
    let mut memory: Vec<(u64, u64)> = Vec::new();
    let mut seen = probe.seen().await?;
    // Ends with the last line.
    while seen.last_line != Some(lines - 1) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        took.extend(probe.shown().await?.into_iter().map(|line| line.took_ms));
        seen = probe.seen().await?;
        ensure!(seen.violations.is_empty(), "{:?}", seen.violations);
        let late = begun.elapsed() > Duration::from_secs(seconds + 180);
        ensure!(!late, "line {:?} of {lines} came last", seen.last_line);
        let (minute, now) = (begun.elapsed().as_secs() / 60, resident(web)?);
        if let Some((least, most)) = memory.get_mut(minute as usize) {
            (*least, *most) = ((*least).min(now), (*most).max(now));
            continue;
        }
        if let Some((least, most)) = memory.last() {
            println!(
                "the page's process, minute {minute}: {:.1} to {:.1} MiB; line {}",
                mib(*least),
                mib(*most),
                seen.last_line.unwrap_or(0),
            );
        }
        memory.push((now, now));
    }
    session.picture("followed")?;
    consoles.ended()?;
    let took = Spread::of(took);
    println!("{} rows at {RATE}/s in {:.0?}: every row came, in order", seen.rows, begun.elapsed());
    println!("{} deltas, at most {} rows in one", seen.deltas, seen.most_rows);
    println!(
        "{} frames checked, {} of them with a row that had not arrived",
        seen.frames, seen.waiting
    );
    println!(
        "printed → on the screen: p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms ({} lines)",
        took.at(0.5),
        took.at(0.99),
        took.most(),
        took.count()
    );
    // The last minute may be a short one. Not the first reading: until the log fills the screen and what is held of it the
    // page still becomes what it is.
    let whole = &memory[..memory.len().saturating_sub(1).max(1)];
    let (first, last) = (whole.first().map_or(0, |m| m.0), whole.last().map_or(0, |m| m.0));
    println!("grown by {:.1} MiB", mib(last) - mib(first));
    ensure!(last.saturating_sub(first) <= GROWTH, "the page's process grew by {}", last - first);
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
