//! A venue under attack: what honest consoles, viewers and newcomers notice, and what the collector holds meanwhile.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::attack::siege::{self, Arrivals, Outcome, Plan};
use deckport_tests::attack::{Attack, Tallies, Tally, insiders, strangers};
use deckport_tests::measure::{Spread, probe_disk};
use deckport_tests::report::{Figure, Report};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

const MIB: f64 = 1024.0 * 1024.0;
const ACKNOWLEDGED_MS: f64 = 100.0;
/// A line on an operator's screen, meanwhile.
const SEEN_MS: f64 = 250.0;
/// What the memory may grow by: strangers' places, each with its buffers of TLS and HTTP, frames that wait, and viewers that do not
/// read; and what of that may still be there when it is over, since freed memory goes back to the system late.
const GROWN_MIB: f64 = 256.0;
const LEFT_MIB: f64 = 96.0;
/// Strangers' places, the honest, the insiders' bound, and the collector's own files.
const STRANGERS: f64 = 2048.0;
const FILES: f64 = STRANGERS + 1024.0 + 512.0;
/// Headers and a handshake have 5 s each, a body and an answer that is not read 10 s; a second or three for a busy machine.
const SLACK_S: f64 = 3.0;
const ARRIVED_MS: f64 = 10_000.0;

pub(crate) fn run(dir: &Path, short: bool) -> Result<()> {
    let plan = if short {
        Plan { before: 10, attack: 30, after: 10, idle: 2000, ..Plan::FULL }
    } else {
        Plan::FULL
    };
    let probe = probe_disk(dir)?;
    let outcome = siege::run(plan, dir, elsewhere)?;
    let mut report = Report::default();
    report.probe("attack", &probe);
    figures(&mut report, &plan, &outcome);
    report.print();
    tell(&outcome);
    ensure!(!report.missed(), "a bound was missed");
    Ok(())
}

/// Attacks from another process, whose processor time is not the collector's: it gives way.
#[expect(clippy::needless_pass_by_value, reason = "as whoever attacks in this process takes it")]
fn elsewhere(attack: Attack) -> Result<Tallies> {
    let mut child = Command::new("nice")
        .args(["-n", "5"])
        .arg(std::env::current_exe()?)
        .arg("attackers")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the attackers could not be started")?;
    let input = child.stdin.take().context("the attackers' input")?;
    serde_json::to_writer(input, &attack)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the attackers ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The child.
pub(crate) fn attackers() -> Result<()> {
    siege::allow_files()?;
    let mut asked = String::new();
    std::io::stdin().read_to_string(&mut asked)?;
    let attack: Attack = serde_json::from_str(&asked)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let tallies = runtime.block_on(attack.run())?;
    println!("{}", serde_json::to_string(&tallies)?);
    Ok(())
}

fn figures(report: &mut Report, plan: &Plan, outcome: &Outcome) {
    let Outcome { before, during, after, .. } = outcome;
    let held = [before.held, during.held, after.held];
    let [calm, most, over] = held;
    for (part, name) in [(0.5, "p50"), (0.99, "p99")] {
        let what = format!("attack: acknowledgement {name}, {} honest consoles", plan.consoles);
        let figure = Figure::new(what, during.acks.at(part), "ms");
        let figure = figure.beside("without an attack", before.acks.at(part));
        report.add(if part > 0.9 { figure.at_most(ACKNOWLEDGED_MS) } else { figure });
    }
    report.add(
        Figure::new("attack: acknowledgement, the slowest", during.acks.most(), "ms")
            .beside("without an attack", before.acks.most()),
    );
    report.add(
        Figure::new("attack: acknowledgement p99, after it", after.acks.at(0.99), "ms")
            .beside("before it", before.acks.at(0.99))
            .at_most(ACKNOWLEDGED_MS),
    );
    report.add(
        Figure::new("attack: printed → an operator's viewer, p99", during.seen.at(0.99), "ms")
            .beside("without an attack", before.seen.at(0.99))
            .at_most(SEEN_MS),
    );
    report.add(
        Figure::new("attack: records of the honest that were lost", outcome.lost as f64, "")
            .beside("lines", outcome.lines as f64)
            .at_most(0.0),
    );
    arrivals(report, "consoles that join", &outcome.joined);
    arrivals(report, "operators that log in", &outcome.logged_in);
    let mib = |bytes: u64| bytes as f64 / MIB;
    report.add(
        Figure::new("attack: the collector's memory, most", mib(most.memory), "MiB")
            .beside("before it", mib(calm.last_memory))
            .at_most(mib(calm.last_memory) + GROWN_MIB),
    );
    report.add(
        Figure::new("attack: its memory when it was over", mib(over.last_memory), "MiB")
            .beside("before it", mib(calm.last_memory))
            .at_most(mib(calm.last_memory) + LEFT_MIB),
    );
    report.add(
        Figure::new("attack: its open files, most", most.files as f64, "")
            .beside("before it", calm.files as f64)
            .at_most(FILES),
    );
    report.add(
        Figure::new("attack: its open files when it was over", over.last_files as f64, "")
            .beside("before it", calm.last_files as f64)
            .at_most(calm.last_files as f64 + 64.0),
    );
    report.add(
        Figure::new("attack: strangers' connections, most", most.strangers, "").at_most(STRANGERS),
    );
    report.add(
        Figure::new("attack: its processor time", 100.0 * during.cpu, "% of one")
            .beside("without an attack", 100.0 * before.cpu),
    );
    // Slow readers that were never let in would show nothing.
    let ended = |tally: &Tally, end: &str| tally.ends.get(end).copied().unwrap_or(0);
    for (what, kind) in [("viewers", insiders::DEAF), ("strangers", strangers::Kind::Deaf.name())] {
        let Some(tally) = outcome.attackers.get(kind) else { continue };
        let cut = if kind == insiders::DEAF {
            tally.done.saturating_sub(ended(tally, "lasted"))
        } else {
            ended(tally, "cut off")
        };
        report.add(
            Figure::new(
                format!("attack: {what} that read nothing and were cut off"),
                cut as f64,
                "",
            )
            .at_least(1.0),
        );
    }
    for (kind, limit) in limits() {
        if let Some(tally) = outcome.attackers.get(kind) {
            let what = format!("attack: {kind}: held the longest");
            report.add(Figure::new(what, tally.longest_s, "s").at_most(limit + SLACK_S));
        }
    }
}

/// How long each kind that holds something may do so.
fn limits() -> impl Iterator<Item = (&'static str, f64)> {
    use strangers::Kind;
    [
        (Kind::Silent.name(), 5.0),
        // The handshake, then the headers.
        (Kind::Greeted.name(), 10.0),
        (Kind::Halfway.name(), 10.0),
        (Kind::Dripping.name(), 10.0),
        (Kind::SlowBody.name(), 15.0),
        (Kind::Endless.name(), 10.0),
        (Kind::Garbled.name(), 5.0),
        // The handshake and the headers may take their time before the 5 s for a `hello`.
        (insiders::IDLE, 15.0),
    ]
    .into_iter()
}

fn arrivals(report: &mut Report, who: &str, arrivals: &Arrivals) {
    let took = Spread::of(arrivals.took.clone());
    report.add(
        Figure::new(format!("attack: {who} meanwhile"), took.count() as f64, "").at_least(1.0),
    );
    report.add(
        Figure::new(format!("attack: {who}: the slowest"), took.most(), "ms").at_most(ARRIVED_MS),
    );
    report.add(Figure::new(
        format!("attack: {who}: tries that failed"),
        arrivals.failed as f64,
        "",
    ));
    report.add(
        Figure::new(format!("attack: {who}: shut out"), arrivals.shut_out as f64, "").at_most(0.0),
    );
}

/// What became of the attackers.
fn tell(outcome: &Outcome) {
    println!("\nwhat became of the attackers:");
    for (kind, tally) in &outcome.attackers {
        let ends = tally.ends.iter().map(|(end, count)| format!("{count} {end}"));
        println!(
            "  {kind}: {} tries, {} went through; {}",
            tally.tried,
            tally.done,
            ends.collect::<Vec<_>>().join(", ")
        );
    }
    println!("refused by the collector, by code:");
    for (code, count) in &outcome.refused {
        println!("  {code}: {count}");
    }
}
