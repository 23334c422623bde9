//! Searching all that is stored, over HTTP, beside ripgrep on plain files of the same lines. Both warm, in the same run.
//!
//! What ripgrep reads is what a viewer is shown of each line: no escapes, and of what was written over itself the end. The counts of
//! both must be equal.

use crate::Args;
use crate::ingest::Lines;
use crate::stored;
use anyhow::{Context as _, Result, ensure};
use deckport_protocol::Level;
use deckport_protocol::rows::{RowKind, TextOf};
use deckport_tests::api::Api;
use deckport_tests::measure::{Spread, ms, peak};
use deckport_tests::programs::installed;
use deckport_tests::report::{Figure, Report};
use deckport_tests::{Collector, spools};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use tokio::sync::Barrier;

/// How often each is measured.
const TIMES: usize = 9;
/// Stands in so many lines and nowhere else.
const PLANTED: &str = "zqxjkvb-rare-7731";
const PLANTS: u64 = 7;
/// Rows of a first page.
const PAGE: u64 = 100;

/// The same question to both.
struct Question {
    what: &'static str,
    query: &'static str,
    ripgrep: &'static [&'static str],
    /// The collector counts all; else it gives the newest rows.
    counts: bool,
    /// Of ripgrep's time.
    at_most: f64,
}

const QUESTIONS: [Question; 6] = [
    Question {
        what: "rare word",
        query: "word:zqxjkvb",
        ripgrep: &["-i", "-w", "-F", "zqxjkvb"],
        counts: true,
        at_most: 1.0 / 15.0,
    },
    Question {
        what: "rare substring",
        query: "'kvb-rare-77'",
        ripgrep: &["-F", "kvb-rare-77"],
        counts: true,
        at_most: 1.0 / 15.0,
    },
    Question {
        what: "what is nowhere",
        query: "'kvb-rare-78'",
        ripgrep: &["-F", "kvb-rare-78"],
        counts: true,
        at_most: 1.0 / 15.0,
    },
    Question {
        what: "first page of a frequent word",
        query: "'icons'",
        ripgrep: &["-F", "icons"],
        counts: false,
        at_most: 1.0 / 3.0,
    },
    Question {
        what: "count of a frequent word",
        query: "'icons'",
        ripgrep: &["-F", "icons"],
        counts: true,
        at_most: 2.5,
    },
    Question {
        what: "count of an unselective regular expression",
        query: r"/[a-z]+ing [^ ]+ \(/",
        ripgrep: &["-e", r"[a-z]+ing [^ ]+ \("],
        counts: true,
        at_most: 2.5,
    },
];

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    if !installed("rg") {
        eprintln!("  ripgrep is not installed (package ripgrep): the row is skipped");
        return Ok(());
    }
    let corpus = args.corpus()?;
    let lines = Lines::of(&corpus, args.consoles, Some(args.stored))?;
    report.add(Figure::new(
        "search: the corpus is stored",
        args.stored as f64 / corpus.lines() as f64,
        "×",
    ));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut collector = Collector::start(dir.join("collector"))?;
    let plain = dir.join("plain");
    std::fs::create_dir(&plain)?;
    let count = fill(&runtime, &collector, &lines, dir, &plain)?;
    let pid = collector.pid().context("the collector runs")?;
    runtime.block_on(stored::at_rest(collector.data(), pid))?;
    let api = collector.api()?;
    report.add(Figure::new("search: lines stored", count as f64, ""));
    for question in &QUESTIONS {
        ask(question, &api, &plain, report)?;
    }
    let memory = peak(pid)? as f64 / f64::from(1 << 20);
    report.add(Figure::new("search: the collector's memory, most", memory, "MiB"));
    collector.stop()
}

/// Delivers each console's lines, and writes what is shown of them beside. Lines in all.
fn fill(
    runtime: &tokio::runtime::Runtime,
    collector: &Collector,
    lines: &Lines,
    dir: &Path,
    plain: &Path,
) -> Result<u64> {
    let mut texts = TextOf::default();
    let mut count = 0;
    let consoles = lines.consoles() as u64;
    for number in 0..lines.consoles() {
        let mut theirs = lines.console(number);
        // Spread over consoles and over their logs.
        let plant = format!("restoring {PLANTED} from the image\n");
        let number = number as u64;
        let planted = (0..PLANTS).filter(|plant| plant * consoles / PLANTS == number);
        for plant_number in planted {
            let at = theirs.len() as u64 * plant_number / PLANTS;
            theirs.insert(at as usize, plant.as_bytes());
        }
        let file = std::fs::File::create(plain.join(format!("console-{number:02}.log")))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        for line in &theirs {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |at| at + 1);
            let line = &line[..end];
            if deckport_protocol::rows::is_plain(line) {
                file.write_all(line)?;
            } else {
                let shown = texts.line([line], RowKind::Line, Level::Info);
                file.write_all(shown.as_bytes())?;
            }
            file.write_all(b"\n")?;
        }
        file.flush()?;
        count += theirs.len() as u64;
        let place = dir.join("consoles");
        let console = spools::fill_with(&place, number as usize, theirs.into_iter())?;
        let target = spools::target(collector)?;
        runtime.block_on(spools::deliver(&console, &target, &Barrier::new(1)))?;
        drop(console);
        std::fs::remove_dir_all(&place)?;
    }
    Ok(count)
}

fn ask(question: &Question, api: &Api, plain: &Path, report: &mut Report) -> Result<()> {
    let (limit, count) = if question.counts { (1, "true") } else { (PAGE, "false") };
    let path = format!("/api/v1/search?q={}&limit={limit}&count={count}", encode(question.query));
    let what = question.what;
    let expected = ripgrep(question, plain)?.0;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first is for the caches of both.
    for turn in 0..=TIMES {
        let begun = Instant::now();
        let answer = api.get(&path)?;
        let took = ms(begun.elapsed());
        ensure!(
            answer.status == 200,
            "{path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        let page = answer.json()?;
        if question.counts {
            let matched = page["matched"].as_u64().context("a count")?;
            ensure!(matched == expected, "{what}: {matched} rows; ripgrep counts {expected} lines");
        } else {
            let hits = page["hits"].as_array().map_or(0, Vec::len) as u64;
            ensure!(hits == PAGE.min(expected), "{what}: {hits} rows on the first page");
        }
        let (matched, rg) = ripgrep(question, plain)?;
        ensure!(matched == expected, "ripgrep counts {matched} lines, then {expected}");
        if turn > 0 {
            ours.push(took);
            theirs.push(rg);
        }
    }
    let (ours, theirs) = (Spread::of(ours), Spread::of(theirs));
    report.add(
        Figure::new(format!("search: {what} ({expected} lines), p50"), ours.at(0.5), "ms")
            .beside("ripgrep -j2, warm", theirs.at(0.5))
            .at_most(theirs.at(0.5) * question.at_most),
    );
    report.add(
        Figure::new(format!("search: {what}, p95"), ours.at(0.95), "ms")
            .beside("ripgrep -j2, warm, p95", theirs.at(0.95)),
    );
    Ok(())
}

/// How many lines match, and the milliseconds it took.
fn ripgrep(question: &Question, plain: &Path) -> Result<(u64, f64)> {
    let begun = Instant::now();
    let output = Command::new("rg")
        .args(["-j2", "--no-config", "--text", "--count", "--no-filename"])
        .args(question.ripgrep)
        .arg(plain)
        .stdin(Stdio::null())
        .output()?;
    let took = ms(begun.elapsed());
    // 1: nothing was found.
    ensure!(matches!(output.status.code(), Some(0 | 1)), "rg: {output:?}");
    let counts = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = counts.lines().map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok((counts, took))
}

/// For a query string.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
