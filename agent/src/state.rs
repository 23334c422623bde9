//! What the agent keeps on disk: the console's identity, and a directory for each run.
//!
//! ```text
//! STATE/console.json                 the console's id, minted once, and its name
//! STATE/runs/DEPLOYMENT_ID/
//!   meta.json       what is being run, and where its records go
//!   lock            held (flock) by the recorder, later by whoever delivers what it left; says which
//!   incarnation     raised and made durable each time the spool is opened for writing
//!   00000001.seg …  the spool
//!   acked           what the collector has, as far as the uplink knows
//!   control.sock    where the script's helpers speak to the recorder
//!   uplink.log      the uplink's own words
//! ```
//!
//! A run directory is removed when the collector has its terminal record.

use crate::disk;
use anyhow::{Context as _, Result, bail};
use deckport_protocol::{Chain, ConsoleId, DeploymentId, StreamId};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The state directory.
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
}

/// Who this console is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    pub console_id: ConsoleId,
    pub name: String,
}

/// What a run is, as far as delivering it later needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    pub deployment_id: DeploymentId,
    pub stream_id: StreamId,
    pub console: Console,
    pub template: Option<String>,
    pub command: Vec<String>,
    pub collector: Option<String>,
    pub token_file: Option<PathBuf>,
    pub agent_version: String,
}

/// What the collector has acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    pub seq: u64,
    pub chain: Chain,
    /// The terminal record is among it.
    #[serde(default)]
    pub complete: bool,
}

/// Where the state lives when `--state` does not say.
pub fn default_root() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/deckport".into();
    }
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("XDG_STATE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("deckport")
}

fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("could not make the directory {}", path.display()))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what this program wrote", path.display()))
}

fn write_json<T: Serialize>(path: &Path, value: &T, durable: bool) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    disk::replace(path, &text, durable)
        .with_context(|| format!("could not write {}", path.display()))
}

impl State {
    /// Opens the state directory, making it when it is missing.
    pub fn open(root: Option<PathBuf>) -> Result<Self> {
        let root = root.unwrap_or_else(default_root);
        make_dir(&root.join("runs"))?;
        let root = std::path::absolute(&root)?;
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// This console's identity; minted at the first call.
    pub fn console(&self, name: Option<&str>) -> Result<Console> {
        let path = self.root.join("console.json");
        let lock = open_lock(&self.root.join("console.lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut console = if path.exists() {
            read_json(&path)?
        } else {
            let name = name.map_or_else(hostname, ToOwned::to_owned);
            let console = Console { console_id: ConsoleId::new(), name };
            write_json(&path, &console, true)?;
            console
        };
        if let Some(name) = name {
            name.clone_into(&mut console.name);
        }
        Ok(console)
    }

    /// Makes the directory of a new run and takes its lock.
    pub fn create_run(&self, meta: &Meta) -> Result<(Run, RunLock)> {
        let dir = self.root.join("runs").join(meta.deployment_id.to_string());
        make_dir(&dir)?;
        let run = Run { dir };
        let Some(lock) = run.lock(Holder::Recorder)? else {
            bail!("another process holds the new run's lock")
        };
        if let Err(error) = write_json(&run.dir.join("meta.json"), meta, true) {
            // An empty directory would only puzzle whoever tidies up.
            let _ = run.remove();
            return Err(error);
        }
        disk::Disk::sync_dir(&disk::RealDisk, &self.root.join("runs"))?;
        Ok((run, lock))
    }

    /// All runs kept here, oldest first (their ids begin with their time). Tidies up behind an agent that died while it
    /// removed one, or while it made one.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let (removed, mut dirs): (Vec<PathBuf>, Vec<PathBuf>) =
            std::fs::read_dir(self.root.join("runs"))?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.is_dir())
                .partition(|path| is_removed(path));
        for leftover in removed {
            // Whoever removes it may be at work right now; one of us succeeds.
            let _ = std::fs::remove_dir_all(leftover);
        }
        dirs.sort();
        let mut runs: Vec<Run> = dirs.into_iter().map(|dir| Run { dir }).collect();
        runs.retain(|run| {
            let given_up = run.is_unmade() && run.age().is_some_and(|age| age > UNMADE_FOR);
            !(given_up && run.remove().is_ok())
        });
        Ok(runs)
    }
}

/// After so long nobody is still making the directory of a run.
const UNMADE_FOR: Duration = Duration::from_secs(60);

/// What the directory of a run that is being removed begins with.
const REMOVED: &str = ".removed-";

fn is_removed(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(REMOVED))
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("could not open {}", path.display()))
}

/// The right to write to a run's spool; given up when dropped, also by a crash.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Who holds a run's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The run is being recorded.
    Recorder,
    /// The run is over, and someone delivers what it left.
    Delivery,
}

impl Holder {
    const fn word(self) -> &'static str {
        match self {
            Self::Recorder => "recorder\n",
            Self::Delivery => "delivery\n",
        }
    }
}

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct Run {
    dir: PathBuf,
}

impl Run {
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn meta(&self) -> Result<Meta> {
        read_json(&self.dir.join("meta.json"))
    }

    /// Whether the directory was made and nothing was ever recorded in it.
    pub fn is_unmade(&self) -> bool {
        let named = |entry: io::Result<std::fs::DirEntry>| Some(entry.ok()?.file_name());
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return false };
        let mut names = entries.filter_map(named);
        // The description is written before the first record.
        names.all(|name| name != "meta.json" && !name.to_string_lossy().ends_with(".seg"))
    }

    fn age(&self) -> Option<Duration> {
        std::fs::metadata(&self.dir).ok()?.modified().ok()?.elapsed().ok()
    }

    /// Takes the run's lock as `holder`; `None` while another process holds it.
    pub fn lock(&self, holder: Holder) -> Result<Option<RunLock>> {
        let file = open_lock(&self.dir.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // Only for whoever finds it held, to say what goes on: a full disk must not matter.
                let _ = file.set_len(0);
                let _ = (&file).write_all(holder.word().as_bytes());
                Ok(Some(RunLock { _file: file }))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).context("could not lock the run"),
        }
    }

    /// Whether whoever holds the lock (or held it last) only delivers.
    pub fn is_being_delivered(&self) -> bool {
        std::fs::read_to_string(self.dir.join("lock"))
            .is_ok_and(|word| word == Holder::Delivery.word())
    }

    /// The incarnation of the spool's last opening; 0 before the first.
    pub fn incarnation(&self) -> u64 {
        std::fs::read_to_string(self.dir.join("incarnation"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Raises the incarnation, durably.
    pub fn raise_incarnation(&self) -> Result<u64> {
        let raised = self.incarnation() + 1;
        disk::replace(&self.dir.join("incarnation"), format!("{raised}\n").as_bytes(), true)?;
        Ok(raised)
    }

    pub fn acked(&self) -> Acked {
        read_json(&self.dir.join("acked")).unwrap_or_default()
    }

    /// Notes what the collector has. Not made durable: the collector says it again in `welcome`.
    pub fn set_acked(&self, acked: &Acked) -> Result<()> {
        write_json(&self.dir.join("acked"), acked, false)
    }

    /// Removes the run; the collector has all of it. At once for everybody else: nobody finds half of it.
    pub fn remove(&self) -> io::Result<()> {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let removed = self.dir.with_file_name(format!("{REMOVED}{name}"));
        std::fs::rename(&self.dir, &removed)?;
        match std::fs::remove_dir_all(&removed) {
            // Someone else tidied up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// The machine's host name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
