//! Durable lines a second, end to end: spools, the agents' side, loopback, the collector, the disk.

use crate::report::{Figure, Report};
use crate::{Args, baseline, spools};
use anyhow::{Context as _, Result, ensure};
use deckport_tests::Collector;
use deckport_tests::api::Api;
use deckport_tests::measure::{Spread, cpu_here, cpu_of, median, probe_disk};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Barrier;

struct Round {
    seconds: f64,
    collector_cpu: f64,
    client_cpu: f64,
    acks: Spread,
    straight: baseline::Straight,
}

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let each = args.lines.div_ceil(args.consoles as u64);
    let consoles: Vec<_> = (0..args.consoles)
        .map(|number| spools::fill(dir, number, each).map(Arc::new))
        .collect::<Result<_>>()?;
    let lines = consoles.iter().map(|console| console.lines).sum::<u64>() as f64;
    let mut rounds = Vec::new();
    let mut probes = Vec::new();
    for number in 0..args.rounds.max(1) {
        probes.push(probe_disk(dir)?);
        rounds.push(round(&dir.join(format!("collector-{number}")), &consoles)?);
    }
    let of = |figure: fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    let p99 = median(&probes.iter().map(|probe| probe.at(0.99)).collect::<Vec<_>>());
    let p50 = median(&probes.iter().map(|probe| probe.at(0.5)).collect::<Vec<_>>());
    let straight = lines / of(|round| round.straight.seconds);
    let straight_cpu = lines / of(|round| round.straight.cpu);
    report.add(
        Figure::new("ingest: durable lines a second", lines / of(|round| round.seconds), "/s")
            .beside("same frames into the same table", straight)
            .at_least(200_000.0),
    );
    report.add(
        Figure::new("ingest: lines a CPU second, collector", lines / of(|r| r.collector_cpu), "/s")
            .beside("same frames into the same table", straight_cpu),
    );
    report.add(Figure::new(
        "ingest: lines a CPU second, consoles",
        lines / of(|round| round.client_cpu),
        "/s",
    ));
    report.add(
        Figure::new("ingest: acknowledgement p50", of(|round| round.acks.at(0.5)), "ms")
            .beside("disk probe p50", p50),
    );
    report.add(
        Figure::new("ingest: acknowledgement p99", of(|round| round.acks.at(0.99)), "ms")
            .beside("disk probe p99", p99)
            .at_most(50.0 + p99),
    );
    report.add(Figure::new("ingest: frames in a commit", of(|r| r.straight.group as f64), ""));
    report.add(Figure::new("ingest: stored bytes a line", of(|r| r.straight.bytes) / lines, "B"));
    Ok(())
}

fn round(data: &Path, consoles: &[Arc<spools::Console>]) -> Result<Round> {
    let mut collector = Collector::start(data)?;
    let pid = collector.pid().context("the collector runs")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let barrier = Arc::new(Barrier::new(consoles.len() + 1));
    let mut tasks = Vec::new();
    for console in consoles {
        let target = spools::target(&collector, &console.meta)?;
        let (console, barrier) = (Arc::clone(console), Arc::clone(&barrier));
        tasks
            .push(runtime.spawn(async move { spools::deliver(&console, &target, &barrier).await }));
    }
    let api = collector.api()?;
    let (began, client, server, acks, before) = runtime.block_on(async {
        barrier.wait().await;
        // The claims of the streams were commits of their own; they are not what is measured.
        let before = groups(&api)?;
        let (began, client, server) = (Instant::now(), cpu_here()?, cpu_of(pid)?);
        let mut acks = Vec::new();
        for task in tasks {
            acks.extend(task.await??);
        }
        anyhow::Ok((began, client, server, acks, before))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let client_cpu = cpu_here()? - client;
    let collector_cpu = cpu_of(pid)? - server;
    let (commits, writes) = groups(&api)?;
    let group = ((writes - before.1) / (commits - before.0).max(1.0)).round().max(1.0) as usize;
    let records = api.metric("deckport_records_total")?;
    let expected: u64 = consoles.iter().map(|console| console.end.last_seq).sum();
    ensure!(records == expected as f64, "{records} records came, not {expected}");
    collector.stop()?;
    let straight = runtime.block_on(baseline::straight(data, group))?;
    ensure!(straight.records == expected, "{} records are stored", straight.records);
    let acks = Spread::of(acks);
    std::fs::remove_dir_all(data)?;
    eprintln!(
        "  a round: {seconds:.2} s, collector {collector_cpu:.2} s, consoles {client_cpu:.2} s of CPU"
    );
    Ok(Round { seconds, collector_cpu, client_cpu, acks, straight })
}

/// Commits so far, and the writes in them.
fn groups(api: &Api) -> Result<(f64, f64)> {
    Ok((api.metric("deckport_group_writes_count")?, api.metric("deckport_group_writes_sum")?))
}
