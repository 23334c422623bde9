//! The rows page of a long log, as a viewer asks for it over HTTP.

use crate::Args;
use anyhow::{Result, ensure};
use deckport_tests::Collector;
use deckport_tests::api::Api;
use deckport_tests::dice::Dice;
use deckport_tests::measure::{Spread, median, ms, probe_disk};
use deckport_tests::report::{Figure, Report};
use deckport_tests::spools;
use std::path::Path;
use std::time::Instant;
use tokio::sync::Barrier;

/// Rows of one answer: two screens.
const PAGE: u64 = 100;

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let mut collector = Collector::start(dir.join("collector"))?;
    let console = spools::fill(dir, 0, args.log_lines)?;
    let target = spools::target(&collector)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    runtime.block_on(spools::deliver(&console, &target, &Barrier::new(1)))?;
    let delivered = console.lines as f64 / begun.elapsed().as_secs_f64();
    let api = collector.api()?;
    let id = console.meta.deployment_id;
    let mut dice = Dice::new(7);
    let (mut firsts, mut jumps, mut bares) = (vec![], vec![], vec![]);
    // A collector that has just started has nothing of the log in memory.
    collector.stop()?;
    collector.launch()?;
    let (page, open) = timed(&api, &format!("/api/v1/deployments/{id}/rows?from=0&count={PAGE}"))?;
    let total = page["total_rows"].as_u64().unwrap_or(0);
    ensure!(total >= args.log_lines, "the log has {total} rows");
    for _ in 0..args.rounds.max(1) {
        for _ in 0..100 {
            let from = dice.below(total - PAGE);
            let path = format!("/api/v1/deployments/{id}/rows?from={from}&count={PAGE}");
            let (page, took) = timed(&api, &path)?;
            let rows = page["rows"].as_array().map_or(0, Vec::len);
            ensure!(
                rows as u64 == PAGE && page["rows"][0]["row"] == from,
                "row {from}: {rows} rows"
            );
            jumps.push(took);
            let begun = Instant::now();
            api.get("/healthz")?;
            bares.push(ms(begun.elapsed()));
        }
        firsts.push(timed(&api, &format!("/api/v1/deployments/{id}/rows?from=0&count={PAGE}"))?.1);
    }
    let search = timed(&api, &format!("/api/v1/deployments/{id}/matches?q=no-such-text-here"))?.1;
    collector.stop()?;
    let (jumps, bares) = (Spread::of(jumps), Spread::of(bares));
    report.probe("pages", &probe_disk(dir)?);
    let lines = args.log_lines;
    report.add(
        Figure::new(format!("pages: open a log of {lines} lines, just started"), open, "ms")
            .beside("GET /healthz p50", bares.at(0.5)),
    );
    report.add(
        Figure::new("pages: its first page again", median(&firsts), "ms")
            .beside("GET /healthz p50", bares.at(0.5)),
    );
    report.add(
        Figure::new("pages: random jump p50", jumps.at(0.5), "ms")
            .beside("GET /healthz p50", bares.at(0.5)),
    );
    report.add(
        Figure::new("pages: random jump p99", jumps.at(0.99), "ms")
            .beside("GET /healthz p99", bares.at(0.99))
            .at_most(100.0),
    );
    report.add(Figure::new("pages: look for what is nowhere", search, "ms"));
    report.add(Figure::new("pages: one console's delivery, lines a second", delivered, "/s"));
    Ok(())
}

/// The JSON, and the milliseconds until all of it was here.
fn timed(api: &Api, path: &str) -> Result<(serde_json::Value, f64)> {
    let begun = Instant::now();
    let answer = api.get(path)?;
    let took = ms(begun.elapsed());
    ensure!(answer.status == 200, "{path}: {}", answer.status);
    Ok((answer.json()?, took))
}
