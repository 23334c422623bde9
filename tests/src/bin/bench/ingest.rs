//! Durable lines a second, end to end: spools, the agents' side, loopback, the collector, the disk; and what is stored of them when
//! the collector has come to rest.
//!
//! The clock stops at the last acknowledgement. The collector's processor time is counted until it is at rest: sealing, filters and
//! merging are part of what a line costs.

use crate::corpus::{CONSOLES, Corpus};
use crate::stored::{self, Stored};
use crate::{Args, baseline, rsyslog};
use anyhow::{Context as _, Result, ensure};
use deckport_tests::api::Api;
use deckport_tests::measure::{Spread, cpu_here, cpu_of, median, peak, probe_disk};
use deckport_tests::report::{Figure, Report};
use deckport_tests::{Collector, spools};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

const MIB: f64 = 1024.0 * 1024.0;

struct Round {
    seconds: f64,
    /// Until the last acknowledgement, and until it was at rest.
    collector_cpu: f64,
    whole_cpu: f64,
    rest_seconds: f64,
    client_cpu: f64,
    acks: Spread,
    group: usize,
    peak: f64,
    stored: Stored,
}

/// What each console prints, and what of it is one copy of the corpus.
pub(crate) struct Lines {
    texts: Vec<Vec<u8>>,
    each: Option<usize>,
}

impl Lines {
    /// `wanted` lines in all, or the corpus once.
    pub(crate) fn of(corpus: &Corpus, consoles: usize, wanted: Option<u64>) -> Result<Self> {
        let texts = (0..consoles).map(|number| corpus.console(number)).collect::<Result<_>>()?;
        Ok(Self { texts, each: wanted.map(|lines| lines.div_ceil(consoles as u64) as usize) })
    }

    /// The lines of a console; the corpus again from its beginning where it has fewer.
    pub(crate) fn console(&self, number: usize) -> Vec<&[u8]> {
        let lines: Vec<&[u8]> = split(&self.texts[number]).collect();
        let count = self.each.unwrap_or(lines.len());
        lines.into_iter().cycle().take(count).collect()
    }

    pub(crate) fn consoles(&self) -> usize {
        self.texts.len()
    }

    /// All text, what is repeated only once.
    fn once(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for console in &self.texts {
            let lines = split(console).take(self.each.unwrap_or(usize::MAX));
            text.extend(lines.flatten().copied());
        }
        text
    }
}

fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let corpus = args.corpus()?;
    let lines = Lines::of(&corpus, args.consoles, args.lines)?;
    let consoles: Vec<_> = (0..args.consoles)
        .map(|number| {
            let lines = lines.console(number);
            let mut console = spools::fill_with(dir, number, lines.into_iter())?;
            console.batch = args.batch;
            Ok(Arc::new(console))
        })
        .collect::<Result<_>>()?;
    let count = consoles.iter().map(|console| console.lines).sum::<u64>() as f64;
    let once = lines.once();
    let once_lines = split(&once).count() as f64;
    report.add(Figure::new("ingest: lines", count, ""));
    report.add(Figure::new("ingest: distinct lines of the corpus", corpus.distinct() as f64, ""));
    report.add(Figure::new("ingest: the corpus is taken in", count / corpus.lines() as f64, "×"));
    if args.consoles > CONSOLES {
        eprintln!("  consoles beyond {CONSOLES} print what others print");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut rounds, mut probes) = (Vec::new(), Vec::new());
    let (mut straights, mut ceilings, mut rsyslogs) = (Vec::new(), Vec::new(), Vec::new());
    let syslog = rsyslog::program();
    for number in 0..args.rounds.max(1) {
        probes.push(probe_disk(dir)?);
        let data = dir.join(format!("collector-{number}"));
        let round = round(&runtime, &data, &consoles)?;
        let group = round.group;
        rounds.push(round);
        std::fs::remove_dir_all(&data)?;
        let place = dir.join(format!("baseline-{number}"));
        std::fs::create_dir_all(&place)?;
        {
            let frames: Vec<_> =
                consoles.iter().map(|console| spools::frames(console)).collect::<Result<_>>()?;
            let path = place.join("straight.db");
            straights.push(runtime.block_on(baseline::straight(&path, &frames, group))?);
        }
        ceilings.push(runtime.block_on(baseline::blocks(&place.join("blocks.db"), &once))?);
        if let Some(program) = &syslog {
            let lines: Vec<_> = (0..args.consoles).map(|number| lines.console(number)).collect();
            rsyslogs.push(rsyslog::measure(program, &place.join("rsyslog"), &lines)?);
        }
        std::fs::remove_dir_all(&place)?;
    }
    let text_bytes = once.len() as f64 / once_lines;
    let light = baseline::packed(&once, 3)? as f64 / once_lines;
    let heavy = baseline::packed(&once, 19)? as f64 / once_lines;

    let of = |figure: fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    let took = |all: &[baseline::Took], figure: fn(&baseline::Took) -> f64| {
        median(&all.iter().map(figure).collect::<Vec<_>>())
    };
    let p99 = median(&probes.iter().map(|probe| probe.at(0.99)).collect::<Vec<_>>());
    let p50 = median(&probes.iter().map(|probe| probe.at(0.5)).collect::<Vec<_>>());
    report.add(
        Figure::new("ingest: durable lines a second", count / of(|round| round.seconds), "/s")
            .beside(
                "same frames into a table like the tail",
                count / took(&straights, |t| t.seconds),
            )
            .at_least(400_000.0),
    );
    let whole = count / of(|round| round.whole_cpu);
    let ceiling = once_lines / took(&ceilings, |t| t.cpu);
    report.add(
        Figure::new("ingest: lines a CPU second, collector, until at rest", whole, "/s")
            .beside("raw block ceiling", ceiling)
            .at_least(900_000.0),
    );
    report.add(
        Figure::new(
            "ingest: lines a CPU second, until the last acknowledgement",
            count / of(|round| round.collector_cpu),
            "/s",
        )
        .beside("same frames into a table like the tail", count / took(&straights, |t| t.cpu)),
    );
    if syslog.is_some() {
        let what = "ingest: baseline, rsyslogd that syncs each batch: lines a CPU second";
        report.add(Figure::new(what, count / took(&rsyslogs, |t| t.cpu), "/s"));
        let what = "ingest: baseline, rsyslogd: lines a second";
        report.add(Figure::new(what, count / took(&rsyslogs, |t| t.seconds), "/s"));
    } else {
        eprintln!("  rsyslogd is not installed (package rsyslog): its row is skipped");
    }
    report.add(Figure::new("ingest: at rest, seconds later", of(|round| round.rest_seconds), "s"));
    report.add(Figure::new(
        "ingest: lines a CPU second, consoles",
        count / of(|round| round.client_cpu),
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
    report.add(Figure::new("ingest: writes in a commit", of(|round| round.group as f64), ""));
    report.add(
        Figure::new("ingest: the collector's memory, most", of(|round| round.peak) / MIB, "MiB")
            .at_most(200.0),
    );
    let stored = of(|round| round.stored.block_bytes + round.stored.filter_bytes) / count;
    report.add(Figure::new("ingest: bytes a line, as printed", text_bytes, "B"));
    report.add(
        Figure::new("ingest: stored bytes a line, filters included", stored, "B")
            .beside("zstd -3", light)
            .at_most(1.15 * light),
    );
    report.add(Figure::new("ingest: the same", stored, "B").beside("zstd -19", heavy));
    let filters = of(|round| round.stored.filter_bytes) / count;
    report.add(Figure::new("ingest: of that, filters", filters, "B"));
    report.add(
        Figure::new("ingest: the database's file", of(|r| r.stored.file_bytes) / count, "B")
            .beside("as printed", text_bytes),
    );
    report.add(Figure::new("ingest: blocks", of(|round| round.stored.blocks), ""));
    Ok(())
}

fn round(runtime: &Runtime, data: &Path, consoles: &[Arc<spools::Console>]) -> Result<Round> {
    let mut collector = Collector::start(data)?;
    let pid = collector.pid().context("the collector runs")?;
    let barrier = Arc::new(Barrier::new(consoles.len() + 1));
    let mut tasks = Vec::new();
    for console in consoles {
        let target = spools::target(&collector)?;
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
    let ended = Instant::now();
    let seconds = (ended - began).as_secs_f64();
    let client_cpu = cpu_here()? - client;
    let collector_cpu = cpu_of(pid)? - server;
    let (commits, writes) = groups(&api)?;
    let group = ((writes - before.1) / (commits - before.0).max(1.0)).round().max(1.0) as usize;
    let records = api.metric("deckport_records_total")?;
    let expected: u64 = consoles.iter().map(|console| console.end.last_seq).sum();
    ensure!(records == expected as f64, "{records} records came, not {expected}");
    let rest = runtime.block_on(stored::at_rest(data, pid))?;
    let whole_cpu = rest.cpu - server;
    let rest_seconds = rest.since.saturating_duration_since(ended).as_secs_f64();
    let peak = peak(pid)? as f64;
    collector.stop()?;
    let stored = runtime.block_on(stored::measure(data))?;
    let acks = Spread::of(acks);
    eprintln!(
        "  a round: {seconds:.2} s, collector {collector_cpu:.2} s, at rest {whole_cpu:.2} s, \
         consoles {client_cpu:.2} s of CPU, {:.0} MiB",
        peak / MIB
    );
    Ok(Round {
        seconds,
        collector_cpu,
        whole_cpu,
        rest_seconds,
        client_cpu,
        acks,
        group,
        peak,
        stored,
    })
}

/// Commits so far, and the writes in them.
fn groups(api: &Api) -> Result<(f64, f64)> {
    Ok((api.metric("deckport_group_writes_count")?, api.metric("deckport_group_writes_sum")?))
}
