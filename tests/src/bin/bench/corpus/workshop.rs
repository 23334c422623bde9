//! Where commands are run for the corpus, what they printed, and how much more is wanted.

use super::{Printed, Source, lines_of};
use anyhow::{Context as _, Result};
use deckport_tests::programs::installed;
use deckport_tests::{Call, pty};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No command takes longer, on a slow link and a busy machine.
const PATIENCE: Duration = Duration::from_secs(420);
/// A command that failed and printed less than this printed nothing of use.
const FEW: usize = 20;

#[derive(Debug, Default)]
struct Tally {
    printed: Vec<Printed>,
    missing: Vec<String>,
}

/// See the module. Several threads use it.
#[derive(Debug)]
pub(super) struct Workshop {
    dir: PathBuf,
    wanted: f64,
    tally: Mutex<Tally>,
}

impl Workshop {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let workshop =
            Self { dir: std::path::absolute(dir)?, wanted: 0.0, tally: Mutex::default() };
        for part in ["raw", "work"] {
            std::fs::create_dir_all(workshop.dir.join(part))?;
        }
        Ok(workshop)
    }

    /// So many lines are to be distinct. What was printed is kept; what was left out is tried again.
    pub(super) fn want(&mut self, wanted: f64) {
        self.wanted = wanted;
        self.tally().missing.clear();
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path below the folder that is removed in the end.
    pub(super) fn work(&self, name: &str) -> PathBuf {
        self.dir.join("work").join(name)
    }

    /// A folder there, made when it is missing.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.work(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// What was printed so far. In the order of running, which differs from run to run only between installers.
    pub(super) fn printed(&self) -> Vec<Printed> {
        self.tally().printed.clone()
    }

    pub(super) fn missing(&self) -> Vec<String> {
        self.tally().missing.clone()
    }

    /// Something cannot be run here.
    pub(super) fn leave_out(&self, what: String) {
        eprintln!("  left out: {what}");
        let mut tally = self.tally();
        if !tally.missing.contains(&what) {
            tally.missing.push(what);
        }
    }

    /// It has not printed its share yet.
    pub(super) fn wants(&self, source: Source) -> bool {
        let tally = self.tally();
        let lines = tally.printed.iter().filter(|job| job.source == source);
        let lines: usize = lines.map(|job| lines_of(&job.bytes).count()).sum();
        (lines as f64) < source.share() * self.wanted
    }

    fn raw(&self, source: Source, name: &str) -> PathBuf {
        self.dir.join("raw").join(format!("{}-{name}.log", source.name()))
    }

    /// Its output is kept.
    pub(super) fn has(&self, source: Source, name: &str) -> bool {
        self.raw(source, name).is_file()
    }

    /// Runs a command for its output, if more of this installer's is wanted; `name` tells its commands apart. What ran before is
    /// not run again, unless `leaves` is wanted and no longer there. Whether there is output.
    pub(super) fn job(
        &self,
        source: Source,
        name: &str,
        call: &Call,
        leaves: Option<&Path>,
    ) -> Result<bool> {
        let command = command_of(call, &self.dir);
        let known = |job: &Printed| job.source == source && job.command == command;
        let kept = leaves.is_none_or(Path::exists);
        if kept && self.tally().printed.iter().any(known) {
            return Ok(true);
        }
        let path = self.raw(source, name);
        if kept && let Ok(bytes) = std::fs::read(&path) {
            self.keep(Printed { source, command, bytes });
            return Ok(true);
        }
        if !self.wants(source) && leaves.is_none() {
            return Ok(false);
        }
        if !installed(&call.program.to_string_lossy()) && !Path::new(&call.program).is_file() {
            self.leave_out(format!("{}: not installed", call.program.display()));
            return Ok(false);
        }
        let began = Instant::now();
        let ended = match pty::run(call, PATIENCE) {
            Ok(ended) => ended,
            Err(error) => {
                self.leave_out(format!("{command}: {}", error.root_cause()));
                return Ok(false);
            }
        };
        let (code, mut bytes) = (ended.code(), ended.bytes);
        if bytes.last().is_some_and(|&last| last != b'\n') {
            bytes.extend_from_slice(b"\r\n");
        }
        let lines = lines_of(&bytes).count();
        let took = began.elapsed();
        eprintln!(
            "  {lines} lines in {took:.0?}: {}",
            command.chars().take(110).collect::<String>()
        );
        if code != 0 && lines < FEW {
            let said = String::from_utf8_lossy(&bytes);
            let said = said.lines().last().unwrap_or_default().trim().to_owned();
            self.leave_out(format!("{command}: ended with {code}: {said}"));
            return Ok(false);
        }
        let part = path.with_extension("part");
        std::fs::write(&part, &bytes)?;
        std::fs::rename(&part, &path)?;
        self.keep(Printed { source, command, bytes });
        Ok(true)
    }

    fn keep(&self, printed: Printed) {
        let mut tally = self.tally();
        tally
            .printed
            .retain(|job| (job.source, &job.command) != (printed.source, &printed.command));
        tally.printed.push(printed);
    }

    /// Removes a root, a tree or a cache.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        remove(&self.work(name))
    }

    /// Removes all but the corpus and what was printed.
    pub(super) fn clean(&self) -> Result<()> {
        self.remove("")
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// As one would type it; the workshop's folder left out.
fn command_of(call: &Call, dir: &Path) -> String {
    let dir = format!("{}/work/", dir.display());
    let words = std::iter::once(&call.program).chain(&call.arguments);
    let words: Vec<String> =
        words.map(|word| word.to_string_lossy().replace(&dir, "").replace('\n', "; ")).collect();
    words.join(" ")
}
