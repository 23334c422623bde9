//! The log in the app's own window: a line printed → in the page's document, opening a long log, jumping in it.
//!
//! The app runs with its collector inside, under a display of its own; what is measured is measured in its page, by what
//! stands on the screen.

use crate::Args;
use anyhow::{Context as _, Result, ensure};
use deckport_tests::api::Api;
use deckport_tests::desktop::probe::{Probe, Shown};
use deckport_tests::desktop::{Session, until};
use deckport_tests::dice::Dice;
use deckport_tests::measure::{Spread, median, probe_disk, resident, resident_own};
use deckport_tests::printing::{Consoles, Load};
use deckport_tests::report::{Figure, Report};
use deckport_tests::stamped::boot_us;
use deckport_tests::steady::Watch;
use deckport_tests::{Agent, Call, Process, programs};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

const JUMPS: usize = 100;
const OPENS: usize = 5;
/// Finding everything is measured so often.
const FINDS: usize = 5;
/// Seconds that the long log still grows, at least.
const GROWS_FOR: u64 = 900;
/// What simulated installers say often; small letters find capitals too.
const FOUND: &str = "unpacking";
const MIB: f64 = 1024.0 * 1024.0;
/// Processes and pages have started.
const SETTLED_US: u64 = 5_000_000;

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    report.probe("viewer", &probe_disk(dir)?);
    runtime.block_on(seen(args, dir, report))?;
    runtime.block_on(long(args, dir, report))
}

/// The app's collector as HTTP clients reach it.
async fn api(session: &Session) -> Result<(Api, String)> {
    let url = session.collector().await?;
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
    let token = std::fs::read_to_string(session.token_file())?.trim().to_owned();
    Ok((Api { port: port.context("the collector's port")?, token: Some(token) }, url))
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Many consoles print; the log of one is open.
async fn seen(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let mut session = Session::start().await?;
    let page = session.open(any_port()).await?;
    let (api, url) = api(&session).await?;
    let probe = Probe::put(&page).await?;
    probe.watch().await?;
    let frame = probe.frame().await?;
    let measured = args.seconds * args.rounds as u64;
    let load = Load { consoles: args.consoles, rate: args.rate, seconds: measured + 120 };
    let console = |name: &str| Agent::at(url.clone(), session.token_file(), dir, name);
    let consoles = Consoles::start(load, console)?;
    let ids = consoles.listed(&api)?;
    probe.open(ids.first().context("a deployment")?).await?;
    let watch = Watch::start();
    let from = boot_us() + SETTLED_US;
    let until_us = from + measured * 1_000_000;
    let mut shown: Vec<Shown> = Vec::new();
    while boot_us() < until_us + 1_000_000 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        shown.extend(probe.shown().await?);
    }
    let seen = probe.seen().await?;
    let slow = watch.end()?;
    consoles.end()?;
    ensure!(seen.violations.is_empty(), "{:?}", seen.violations);
    let round = |number: u64| {
        let begin = from + number * args.seconds * 1_000_000;
        let within = begin..begin + args.seconds * 1_000_000;
        let lines = shown.iter().filter(|line| within.contains(&line.printed_us));
        Spread::of(lines.map(|line| line.took_ms).collect())
    };
    let rounds: Vec<Spread> = (0..args.rounds as u64).map(round).collect();
    let fewest = rounds.iter().map(Spread::count).min().unwrap_or(0) as f64;
    let expected = (args.rate * args.seconds) as f64;
    let of = |part| median(&rounds.iter().map(|round| round.at(part)).collect::<Vec<_>>());
    report.add(
        Figure::new("viewer: printed → row in the window's document, p50", of(0.5), "ms")
            .beside("one frame of the idle page", frame)
            .at_most(50.0),
    );
    report.add(
        Figure::new("viewer: printed → row in the window's document, p99", of(0.99), "ms")
            .beside("one frame of the idle page", frame)
            .at_most(120.0),
    );
    let whole =
        |line: &&Shown| (from..until_us).contains(&line.printed_us) && !slow.meets(line.printed_us);
    let steady = Spread::of(shown.iter().filter(whole).map(|line| line.took_ms).collect());
    report.slow("viewer", &slow, &steady);
    // A page that gets no processor time paints seldom, and lines pass between two frames.
    report.add(Figure::new(
        "viewer: lines that stood on the screen",
        100.0 * fewest / expected,
        "%",
    ));
    Ok(())
}

/// A long log that still grows.
async fn long(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let mut session = Session::start().await?;
    let page = session.open(any_port()).await?;
    let (api, url) = api(&session).await?;
    let probe = Probe::put(&page).await?;
    let frame = probe.frame().await?;
    let web = session.web_process()?;
    let empty = resident(web)? as f64;
    let empty_own = resident_own(web)? as f64;
    let (lines, growing) = (args.log_lines, args.growing);
    let simulate = format!("{} simulate --stamp --phases=", programs::agent()?.display());
    let later = growing * GROWS_FOR;
    let script =
        format!("{simulate} --lines={lines}; {simulate} --lines={later} --rate={growing} --seed=2");
    let agent = Agent::at(url, session.token_file(), dir, "long");
    let mut process = Process::quiet(&agent.wrap(&Call::bash(&script))?)?;
    let rows = || {
        let list = api.json("/api/v1/deployments").ok()?;
        let one = list["deployments"].as_array()?.first()?.clone();
        Some((one["id"].as_str()?.to_owned(), one["rows"].as_u64()?))
    };
    let mut last = None;
    // As long as it gets on.
    let id = loop {
        let now =
            until("the long log grows", async || rows().filter(|now| Some(now) != last.as_ref()))
                .await?;
        if now.1 > lines + 100 {
            break now.0;
        }
        last = Some(now);
    };
    let mut opens = Vec::new();
    for _ in 0..OPENS {
        page.run("location.hash = '#/live'").await?;
        until("the Live screen is there", async || {
            let script = "return document.querySelector('[data-testid=deployment-row]') !== null";
            page.run(script).await.ok().filter(|there| there == true)
        })
        .await?;
        opens.push(probe.open(&id).await?);
    }
    let opened = resident(web)? as f64;
    let mut dice = Dice::new(7);
    let mut jumps = Vec::new();
    for _ in 0..JUMPS {
        jumps.push(probe.jump(&id, 2 + dice.below(lines - 2)).await?);
    }
    let jumped = resident(web)? as f64;
    let mut finds = Vec::new();
    for _ in 0..FINDS {
        finds.push(probe.find_all(FOUND).await?);
    }
    let full = resident(web)? as f64;
    let full_own = resident_own(web)? as f64;
    process.kill();
    let (opens, jumps, finds) = (Spread::of(opens), Spread::of(jumps), Spread::of(finds));
    report.add(Figure::new("viewer: the long log grows by", growing as f64, "lines/s"));
    report.add(
        Figure::new(
            format!("viewer: find all `{FOUND}`, until counted and on the minimap, slowest"),
            finds.most(),
            "ms",
        )
        .beside("one frame of the idle page", frame)
        .at_most(1000.0),
    );
    for (what, then) in [("when the log was opened", opened), ("behind the jumps", jumped)] {
        let what = format!("viewer: the page's process above the empty window, {what}");
        report.add(Figure::new(what, (then - empty) / MIB, "MiB"));
    }
    report.add(
        Figure::new(
            "viewer: the page's process above the empty window",
            (full - empty) / MIB,
            "MiB",
        )
        .beside("empty window", empty / MIB)
        .at_most(25.0),
    );
    let own = (full_own - empty_own) / MIB;
    report.add(
        Figure::new("viewer: of that, in no file", own, "MiB")
            .beside("empty window", empty_own / MIB),
    );
    report.add(
        Figure::new(
            format!("viewer: open a running log of {lines} lines, slowest"),
            opens.most(),
            "ms",
        )
        .beside("one frame of the idle page", frame)
        .at_most(200.0),
    );
    report.add(Figure::new(
        format!("viewer: open a running log of {lines} lines, p50"),
        opens.at(0.5),
        "ms",
    ));
    report.add(
        Figure::new("viewer: jump to a random row until painted, p50", jumps.at(0.5), "ms")
            .beside("one frame of the idle page", frame),
    );
    report.add(Figure::new("viewer: jump to a random row until painted, p90", jumps.at(0.9), "ms"));
    report.add(
        Figure::new(format!("viewer: slowest of {JUMPS} jumps"), jumps.most(), "ms")
            .beside("one frame of the idle page", frame)
            .at_most(110.0),
    );
    Ok(())
}
