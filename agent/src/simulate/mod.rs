//! The simulated console's command: prints a made-up installation, the same for the same seed.
//!
//! `wrap -- deckport-agent simulate` is a real agent with a scripted command; the demo, the tests
//! and the load tests use it. Lines look like those of apt, dpkg, pip, npm, systemd and a shell
//! script of our own; phases come as `--- name` markup, which every wrapped script may use.
//!
//! With `--stamp` each line begins with `#SEQ BOOT_US `, its number from 0 and the boot-time clock
//! at which it was printed, in microseconds, for measuring latency.

mod tools;

use crate::clock;
use anyhow::{Context as _, Result};
use std::io::{self, BufRead as _, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What to print.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many lines, phases' headings not counted.
    #[arg(long, default_value_t = 400)]
    pub lines: u64,
    /// Lines a second; 0 for as fast as possible.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// The same seed prints the same lines.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print this file's lines instead of made-up ones, over and over until there are enough.
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// The phases' names, separated by commas; an empty list for none.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Preflight,Install packages,Install content,Configure,Verify"
    )]
    pub phases: Vec<String>,
    /// Fail near the end, as a package that cannot be installed does, with exit code 100.
    #[arg(long)]
    pub fail: bool,
    /// Begin each line with its number and the time of printing.
    #[arg(long)]
    pub stamp: bool,
}

/// A small generator of numbers; enough for choosing words (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `below - 1`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    pub(crate) fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// Keeps lines to a rate: line n is due n / rate after the start.
struct Pace {
    start: Instant,
    rate: f64,
}

impl Pace {
    /// Waits until line `number` is due; `before_waiting` is called first when it is not yet.
    fn wait(&self, number: u64, before_waiting: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.rate <= 0.0 {
            return Ok(());
        }
        let due = self.start + Duration::from_secs_f64(number as f64 / self.rate);
        let left = due.saturating_duration_since(Instant::now());
        if left > Duration::ZERO {
            before_waiting()?;
            clock::pause(left);
        }
        Ok(())
    }
}

/// Prints to standard output; the exit code is the made-up installation's.
pub fn run(options: &Options) -> Result<ExitCode> {
    let script = match &options.script {
        None => None,
        Some(path) => {
            let file = std::fs::File::open(path)
                .with_context(|| format!("could not open {}", path.display()))?;
            let lines: Vec<Vec<u8>> = io::BufReader::new(file)
                .split(b'\n')
                .collect::<io::Result<_>>()
                .with_context(|| format!("could not read {}", path.display()))?;
            anyhow::ensure!(!lines.is_empty(), "{} is empty", path.display());
            Some(lines)
        }
    };
    let out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    match print(options, script.as_deref(), out) {
        Ok(failed) => Ok(ExitCode::from(if failed { 100 } else { 0 })),
        // As `yes | head`: whoever read has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("could not print"),
    }
}

/// Prints the installation; whether it failed.
fn print(options: &Options, script: Option<&[Vec<u8>]>, mut out: impl Write) -> io::Result<bool> {
    let phases: Vec<&str> =
        options.phases.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
    let mut dice = Dice(options.seed);
    let pace = Pace { start: Instant::now(), rate: options.rate };
    let fails_at = options.fail.then(|| options.lines.saturating_sub(tools::FAILURE.len() as u64));
    let per_phase = options.lines.div_ceil(phases.len().max(1) as u64).max(1);
    let mut line = Vec::with_capacity(256);
    for number in 0..options.lines {
        let phase = (number / per_phase) as usize;
        if number % per_phase == 0
            && let Some(name) = phases.get(phase)
        {
            writeln!(out, "--- {name}")?;
        }
        pace.wait(number, || out.flush())?;
        line.clear();
        if options.stamp {
            write!(line, "#{number} {} ", clock::boot_us())?;
        }
        match (script, fails_at) {
            (_, Some(at)) if number >= at => {
                line.extend_from_slice(tools::FAILURE[(number - at) as usize].as_bytes());
            }
            (Some(script), _) => {
                line.extend_from_slice(&script[(number % script.len() as u64) as usize]);
            }
            (None, _) => tools::line(&mut dice, phase, number, &mut line)?,
        }
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.flush()?;
    Ok(options.fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            lines: 500,
            rate: 0.0,
            seed: 7,
            script: None,
            phases: vec!["One".into(), "Two".into()],
            fail: false,
            stamp: false,
        }
    }

    fn printed(options: &Options) -> String {
        let mut out = Vec::new();
        print(options, None, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_seed_prints_the_same_again() {
        let once = printed(&options());
        assert_eq!(once, printed(&options()));
        assert_ne!(once, printed(&Options { seed: 8, ..options() }));
        assert_eq!(once.lines().count(), 502);
        assert_eq!(once.lines().filter(|line| line.starts_with("--- ")).count(), 2);
    }

    #[test]
    fn a_failure_ends_as_apt_does() {
        let text = printed(&Options { fail: true, ..options() });
        assert!(text.lines().last().is_some_and(|line| line.starts_with("E: ")), "{text}");
    }

    #[test]
    fn stamps_count_up() {
        let text = printed(&Options { stamp: true, phases: Vec::new(), ..options() });
        for (number, line) in text.lines().enumerate() {
            assert!(line.starts_with(&format!("#{number} ")), "{line}");
        }
    }
}
