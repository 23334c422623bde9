//! `cargo xtask bench [FILTER]`: measures, with each figure beside a baseline of the same run.
//!
//! Machines are noisy: read the ratio first. Durable figures stand beside a probe of the disk, a write
//! of 4 KiB and `fdatasync`, since that is what a durable write waits for. Each row runs real programs,
//! the agent's and the collector's, built in the same profile as this one.

mod baseline;
mod corpus;
mod idle;
mod ingest;
mod latency;
mod overhead;
mod pages;
mod revocation;
mod rsyslog;
mod search;
mod stored;
mod viewer;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use corpus::Corpus;
use deckport_tests::measure;
use deckport_tests::report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures ingest, search, latency, idle consoles, pages of a long log, the agent's overhead, revocation, and the app's log
/// viewer.
///
/// Rows: `ingest`, `search`, `latency`, `idle`, `pages`, `overhead`, `revocation`, `viewer`. `ingest` and `search` take lines of real
/// installers, which are made the first time (`bench corpus`). Medians of several rounds; the disk's probe
/// (write 4 KiB, fdatasync) beside what waits for the disk. Close what else runs on the machine.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Args {
    /// Only rows whose name contains this.
    filter: Option<String>,
    /// How often each row is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Write the figures to this file as well, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure on the disk that holds this folder [default: the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// ingest: lines in all [default: the corpus once].
    #[arg(long)]
    lines: Option<u64>,
    /// ingest: lines in one batch at most [default: as many as an agent sends when much has gathered].
    #[arg(long)]
    batch: Option<usize>,
    /// ingest, search: where the corpus is kept [default: beside the built programs].
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// ingest, search: distinct lines of the corpus, when it is made.
    #[arg(long, default_value_t = DISTINCT)]
    distinct: u64,
    /// search: lines in the store.
    #[arg(long, default_value_t = 10_000_000)]
    stored: u64,
    /// ingest, latency, revocation, viewer: consoles.
    #[arg(long, default_value_t = 64)]
    consoles: usize,
    /// latency, viewer: lines a second on each console.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// latency, viewer: seconds in each round.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// idle: connections.
    #[arg(long, default_value_t = 2000)]
    idle: usize,
    /// pages, viewer: lines of the log.
    #[arg(long, default_value_t = 1_000_000)]
    log_lines: u64,
    /// viewer: lines a second that the long log still grows by.
    #[arg(long, default_value_t = 5000)]
    growing: u64,
    /// overhead: lines printed.
    #[arg(long, default_value_t = 300_000)]
    printed: u64,
    #[command(subcommand)]
    helper: Option<Helper>,
}

impl Args {
    /// The corpus, made when it is missing.
    fn corpus(&self) -> Result<Corpus> {
        Corpus::ready(self.corpus.as_deref(), self.distinct)
    }
}

/// Lines of the corpus, distinct byte by byte.
const DISTINCT: u64 = 1_000_000;

#[derive(Debug, Subcommand)]
enum Helper {
    /// Makes the lines of `ingest` and `search` by running real installers, and says what is in them.
    Corpus {
        /// Where to keep them [default: beside the built programs].
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// How many are to be distinct.
        #[arg(long, default_value_t = DISTINCT)]
        lines: u64,
    },
    /// How well failing lines are grouped, on labelled logs: the share of lines whose group is exactly their label's, beside the
    /// library alone.
    Grouping {
        /// A folder with files `NAME_2k.log_structured.csv` in the form of LogHub; without one there is nothing to measure.
        #[arg(long, value_name = "DIR")]
        labelled: Option<PathBuf>,
    },
    /// The baseline of `idle`: a WebSocket server that does nothing.
    #[command(hide = true)]
    BareServer,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    match &args.helper {
        Some(Helper::BareServer) => {
            idle::bare_server()?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Helper::Corpus { dir, lines }) => {
            Corpus::ready(dir.as_deref(), *lines)?.print();
            return Ok(ExitCode::SUCCESS);
        }
        Some(Helper::Grouping { labelled }) => return grouping(labelled.as_deref()),
        None => {}
    }
    let dir = measure::place(args.dir.as_deref())?;
    let mut report = Report::default();
    type Row = fn(&Args, &Path, &mut Report) -> Result<()>;
    let rows: [(&str, Row); 8] = [
        ("ingest", ingest::run),
        ("search", search::run),
        ("latency", latency::run),
        ("idle", idle::run),
        ("pages", pages::run),
        ("overhead", overhead::run),
        ("revocation", revocation::run),
        ("viewer", viewer::run),
    ];
    let wanted = |name: &str| args.filter.as_ref().is_none_or(|filter| name.contains(&**filter));
    if !rows.iter().any(|(name, _)| wanted(name)) {
        let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        bail!("no row is called so; there are {}", names.join(", "));
    }
    for (name, row) in rows.iter().filter(|(name, _)| wanted(name)) {
        eprintln!("measuring {name} …");
        let place = dir.path().join(name);
        std::fs::create_dir(&place)?;
        row(&args, &place, &mut report)?;
        std::fs::remove_dir_all(&place)?;
    }
    report.print();
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()?)?;
    }
    Ok(if report.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Exit code 1: the library alone groups some set better.
fn grouping(labelled: Option<&Path>) -> Result<ExitCode> {
    use deckport_collector::analytics::grouping::{measure_folder, table};
    let measured = labelled.map(measure_folder).transpose()?.unwrap_or_default();
    if measured.is_empty() {
        println!("grouping: skipped, there are no labelled logs (--labelled DIR)");
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", table(&measured));
    let worse = measured.iter().any(|set| set.ours.right < set.plain.right);
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
