//! Figures: percentiles, processor time and memory of a process, what the disk itself takes.

use anyhow::{Context as _, Result};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Clock ticks in a second, as `/proc/PID/stat` counts them: 100 on every Linux that we build for.
const TICKS: f64 = 100.0;

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The middle one; not a number when there is none.
pub fn median(values: &[f64]) -> f64 {
    Spread::of(values.to_vec()).at(0.5)
}

/// Measured values, to be asked for percentiles.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self { sorted: values }
    }

    /// `at(0.99)`: what 99 % of all values do not exceed.
    pub fn at(&self, part: f64) -> f64 {
        let last = self.sorted.len().saturating_sub(1);
        let index = (last as f64 * part).round() as usize;
        self.sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    pub fn most(&self) -> f64 {
        self.at(1.0)
    }

    pub const fn count(&self) -> usize {
        self.sorted.len()
    }
}

/// User and system time of a process with all its threads, in seconds.
pub fn cpu_of(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything: look behind its end. utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("a process's times")?;
    Ok((user + system) / TICKS)
}

/// The same of this process.
pub fn cpu_here() -> Result<f64> {
    cpu_of(std::process::id())
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

/// Of that, what is in no file: what others may have mapped too is left out.
pub fn resident_own(pid: u32) -> Result<u64> {
    Ok(memory(pid, "RssAnon:")? + memory(pid, "RssShmem:")?)
}

/// The most resident memory that a process ever had, in bytes.
pub fn peak(pid: u32) -> Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, what: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let text = line.context("a process's memory")?.trim().trim_end_matches(" kB");
    Ok(text.parse::<u64>()? * 1024)
}

/// How long the disk under `dir` takes to write 4 KiB and `fdatasync`, in milliseconds.
pub fn probe_disk(dir: &Path) -> Result<Spread> {
    let path = dir.join("probe");
    let file = File::create(&path)?;
    let block = [0x5a; 4096];
    let mut took = Vec::new();
    for index in 0..400 {
        let begun = Instant::now();
        file.write_all_at(&block, index * 4096)?;
        file.sync_data()?;
        took.push(ms(begun.elapsed()));
    }
    std::fs::remove_file(&path)?;
    Ok(Spread::of(took))
}

/// A folder for measuring: below `given`, else below the system's folder for temporary files when
/// that is on a disk, else beside this program. Memory is no disk.
pub fn place(given: Option<&Path>) -> Result<tempfile::TempDir> {
    const TMPFS: u64 = 0x0102_1994;
    let temporary = std::env::temp_dir();
    let in_memory = rustix::fs::statfs(&temporary).is_ok_and(|found| found.f_type as u64 == TMPFS);
    let beside = std::env::current_exe()?.parent().map(Path::to_owned);
    let below = match given {
        Some(dir) => dir.to_owned(),
        None if in_memory => beside.unwrap_or(temporary),
        None => temporary,
    };
    tempfile::Builder::new()
        .prefix("deckport-bench-")
        .tempdir_in(&below)
        .with_context(|| format!("could not make a folder in {}", below.display()))
}
