//! A million distinct lines of real installers: what benchmarks of the log take in.
//!
//! Made once, by running apt-get, dpkg, debootstrap, tar, rsync, pip, npm, cargo and make on this machine, each under a terminal
//! ([`jobs`], [`workshop`]), with the registries that they are set up for. Kept beside the built programs and never committed:
//!
//! ```text
//! DIR/console-00.log … console-63.log   each what one console prints: a stretch of each installer's output, in the order of an installation
//! DIR/manifest.json                     which commands, lines of each
//! DIR/raw/                              each command's whole output; what is here is not run again
//! DIR/work/                             roots, caches, archives; removed when the corpus is complete
//! ```
//!
//! What must hold: lines are as they were printed; consecutive lines of one installer stay together; no installer has more than
//! [`MOST`] of all lines; at least as many lines as were asked for are distinct, byte by byte.

mod jobs;
mod workshop;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Instant;
use workshop::Workshop;

/// Files, one a console.
pub(crate) const CONSOLES: usize = 64;
/// Of all lines, from one installer.
const MOST: f64 = 0.4;
/// A console has at least so many lines of an installer that it has any of.
const STRETCH: usize = 100;
/// More is run, up to this times an installer's share, until enough lines are distinct.
const FURTHER: f64 = 2.0;

/// Who prints. In the order of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Debootstrap,
    Apt,
    Dpkg,
    Tar,
    Rsync,
    Pip,
    Npm,
    Cargo,
    Make,
}

impl Source {
    const ALL: [Self; 9] = [
        Self::Debootstrap,
        Self::Apt,
        Self::Dpkg,
        Self::Tar,
        Self::Rsync,
        Self::Pip,
        Self::Npm,
        Self::Cargo,
        Self::Make,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Debootstrap => "debootstrap",
            Self::Apt => "apt-get",
            Self::Dpkg => "dpkg",
            Self::Tar => "tar",
            Self::Rsync => "rsync",
            Self::Pip => "pip",
            Self::Npm => "npm",
            Self::Cargo => "cargo",
            Self::Make => "make",
        }
    }

    /// Lines of it for each line that is to be distinct. The sum is above 1: some lines are printed more than once.
    const fn share(self) -> f64 {
        match self {
            Self::Dpkg => 0.24,
            Self::Apt => 0.22,
            Self::Tar | Self::Rsync => 0.21,
            Self::Pip => 0.20,
            Self::Npm => 0.03,
            Self::Debootstrap | Self::Cargo | Self::Make => 0.02,
        }
    }
}

/// One command's output.
#[derive(Clone, Debug)]
struct Printed {
    source: Source,
    command: String,
    bytes: Vec<u8>,
}

/// A corpus on disk.
#[derive(Debug)]
pub(crate) struct Corpus {
    dir: PathBuf,
    manifest: Value,
}

impl Corpus {
    /// Opens the corpus in `dir`, by default beside the built programs; makes it when it is not there or too small.
    pub(crate) fn ready(dir: Option<&Path>, distinct: u64) -> Result<Self> {
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None => {
                let here = std::env::current_exe()?;
                let target = here.parent().and_then(Path::parent);
                target.context("a program has a folder")?.join("bench-corpus")
            }
        };
        if let Ok(manifest) = std::fs::read(dir.join("manifest.json")) {
            let manifest: Value = serde_json::from_slice(&manifest)?;
            if manifest["distinct"].as_u64().is_some_and(|there| there >= distinct) {
                return Ok(Self { dir, manifest });
            }
        }
        make(&dir, distinct)
    }

    /// What console `number` prints.
    pub(crate) fn console(&self, number: usize) -> Result<Vec<u8>> {
        let path = console_path(&self.dir, number % CONSOLES);
        std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))
    }

    fn number(&self, name: &str) -> u64 {
        self.manifest[name].as_u64().unwrap_or_default()
    }

    pub(crate) fn lines(&self) -> u64 {
        self.number("lines")
    }

    pub(crate) fn distinct(&self) -> u64 {
        self.number("distinct")
    }

    /// The manifest as a table.
    pub(crate) fn print(&self) {
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        let row = |what: &str, entry: &Value| {
            let (lines, bytes) = (count(&entry["lines"]), count(&entry["bytes"]));
            println!(
                "{lines:>9} {:>5.1} % {:>9} {:>6.1} B  {what}",
                100.0 * lines as f64 / self.lines().max(1) as f64,
                count(&entry["distinct"]),
                bytes as f64 / lines.max(1) as f64
            );
        };
        println!("    lines   share  distinct  a line  command");
        for source in self.manifest["sources"].as_array().into_iter().flatten() {
            row(source["source"].as_str().unwrap_or_default(), source);
            for job in source["commands"].as_array().into_iter().flatten() {
                let command = job["command"].as_str().unwrap_or_default();
                let command: String = command.chars().take(100).collect();
                row(&format!("  {command}"), job);
            }
        }
        row("all", &self.manifest);
        for missing in self.manifest["missing"].as_array().into_iter().flatten() {
            println!("left out: {}", missing.as_str().unwrap_or_default());
        }
        println!("{CONSOLES} files in {}", self.dir.display());
    }
}

fn console_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("console-{number:02}.log"))
}

fn make(dir: &Path, distinct: u64) -> Result<Corpus> {
    eprintln!("making a corpus of {distinct} distinct lines in {} …", dir.display());
    let began = Instant::now();
    std::fs::create_dir_all(dir)?;
    // What is there is no corpus until it is complete again.
    let _ = std::fs::remove_file(dir.join("manifest.json"));
    let mut workshop = Workshop::open(dir)?;
    let mut factor = 1.0;
    // Exits with enough lines, or when nothing more can be printed.
    let manifest = loop {
        workshop.want(distinct as f64 * factor);
        jobs::run(&workshop)?;
        let manifest = compose(dir, &workshop, distinct as f64 * factor)?;
        let there = manifest["distinct"].as_u64().unwrap_or_default();
        if there >= distinct {
            break manifest;
        }
        factor *= 1.15;
        if factor > FURTHER {
            let missing = manifest["missing"].to_string();
            bail!("only {there} distinct lines could be printed here; left out: {missing}");
        }
    };
    std::fs::write(dir.join("manifest.json"), serde_json::to_string_pretty(&manifest)? + "\n")?;
    workshop.clean()?;
    eprintln!("made it in {:.0?}", began.elapsed());
    Ok(Corpus { dir: dir.to_owned(), manifest })
}

/// A line as a set of lines knows it: 128 bits of it.
fn mark(line: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(line);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n')
}

/// Cuts what was printed to each installer's share and writes the consoles' files.
fn compose(dir: &Path, workshop: &Workshop, wanted: f64) -> Result<Value> {
    let printed = workshop.printed();
    let budget = |source: Source| (source.share() * wanted) as usize;
    /// An installer, its lines, and how many of them each of its commands printed.
    type Share<'a> = (Source, Vec<&'a [u8]>, Vec<(&'a str, usize)>);
    let mut all: Vec<Share<'_>> = Vec::new();
    for source in Source::ALL {
        let mut lines: Vec<&[u8]> = Vec::new();
        let mut commands: Vec<(&str, usize)> = Vec::new();
        for job in printed.iter().filter(|job| job.source == source) {
            let room = budget(source).saturating_sub(lines.len());
            let before = lines.len();
            lines.extend(lines_of(&job.bytes).take(room));
            if lines.len() > before {
                commands.push((&*job.command, lines.len() - before));
            }
        }
        all.push((source, lines, commands));
    }
    let total: usize = all.iter().map(|(_, lines, _)| lines.len()).sum();
    let mut seen = HashSet::with_capacity(total);
    let mut distinct = |lines: &[&[u8]]| lines.iter().filter(|l| seen.insert(mark(l))).count();
    let size = |lines: &[&[u8]]| lines.iter().map(|line| line.len()).sum::<usize>();
    let (mut sources, mut all_distinct, mut all_bytes) = (Vec::new(), 0, 0);
    for (source, lines, commands) in &all {
        if lines.is_empty() {
            continue;
        }
        let share = lines.len() as f64 / total as f64;
        let name = source.name();
        let others = all.iter().any(|(other, lines, _)| other != source && !lines.is_empty());
        ensure!(share <= MOST || !others, "{name} printed {:.0} % of all lines", share * 100.0);
        let (mut at, mut jobs, mut new) = (0, Vec::new(), 0);
        for (command, count) in commands {
            let theirs = &lines[at..at + count];
            let found = distinct(theirs);
            jobs.push(json!({
                "command": command, "lines": count, "distinct": found, "bytes": size(theirs)
            }));
            at += count;
            new += found;
        }
        sources.push(json!({
            "source": name, "lines": lines.len(), "distinct": new, "bytes": size(lines),
            "commands": jobs
        }));
        all_distinct += new;
        all_bytes += size(lines);
    }
    let mut files = vec![Vec::new(); CONSOLES];
    for (_, lines, _) in &all {
        let parts = (lines.len() / STRETCH).clamp(1, CONSOLES);
        for part in 0..parts {
            // Few stretches are spread over the consoles.
            let file = &mut files[part * CONSOLES / parts];
            let range = part * lines.len() / parts..(part + 1) * lines.len() / parts;
            file.extend(lines[range].iter().copied());
        }
    }
    for (number, lines) in files.iter().enumerate() {
        std::fs::write(console_path(dir, number), lines.concat())?;
    }
    Ok(json!({
        "lines": total, "distinct": all_distinct, "bytes": all_bytes, "consoles": CONSOLES,
        "sources": sources, "missing": workshop.missing()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_distinct_byte_by_byte() {
        assert_eq!(mark(b"a line\r\n"), mark(b"a line\r\n"));
        assert_ne!(mark(b"a line\r\n"), mark(b"a line\n"));
        assert_eq!(lines_of(b"a\nb\n\nc").count(), 4);
    }
}
