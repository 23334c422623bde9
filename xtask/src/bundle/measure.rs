//! What the installed app costs, beside a bare WebKitGTK window in the same root: time to first paint, idle memory
//! (PSS of all its processes), idle processor time.
//!
//! The screen is an Xvfb whose frame buffer is a file: "painted" means that it holds as many colours as text with soft
//! edges makes, seen from outside by the same rule for both programs. A cold start is one without the page cache.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::root::Root;
use crate::job::{Job, Running};
use crate::{places, say, wait};

/// More than a window's frame and background have.
const COLOURS_OF_TEXT: usize = 24;
/// After the paint, until a program counts as idle.
const SETTLE: Duration = Duration::from_secs(15);
/// How long idle processor time is counted.
const IDLE: Duration = Duration::from_secs(20);
/// Starts per program; the median counts.
const STARTS: usize = 5;

#[derive(Debug, Clone, Copy)]
struct Idle {
    pss: u64,
    /// Percent of one core.
    processor: f64,
}

pub(super) fn run(root: &Root) -> Result<()> {
    let bare = compile_bare_window(root)?;
    let programs = ["/usr/bin/deckport-control-center", &bare];
    say::step(
        "starting the app and a bare WebKitGTK window in there, and measuring (some minutes)",
    );
    let mut cold = [Duration::ZERO; 2];
    let mut warm = [const { Vec::new() }; 2];
    for (which, program) in programs.iter().enumerate() {
        drop_caches()?;
        cold[which] = started(root, program)?.1;
    }
    // In turns, so that what else the machine does meets both.
    for _ in 0..STARTS {
        for (which, program) in programs.iter().enumerate() {
            warm[which].push(started(root, program)?.1);
        }
    }
    let warm = warm.map(median);
    let idle = [idle_figures(root, programs[0])?, idle_figures(root, programs[1])?];

    say::result(format_args!("{:<28} {:>10} {:>10} {:>7}", "", "app", "bare", "ratio"));
    let row = |name: &str, unit: &str, [app, bare]: [f64; 2]| {
        let ratio = if bare > 0.0 { format!("{:.2}", app / bare) } else { "-".into() };
        say::result(format_args!(
            "{name:<28} {app:>7.1} {unit:<2} {bare:>7.1} {unit:<2} {ratio:>7}"
        ));
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    row("first paint, cold", "ms", cold.map(ms));
    row("first paint, warm (median)", "ms", warm.map(ms));
    row("idle memory (PSS)", "MB", idle.map(|idle| megabytes(idle.pss)));
    row("idle processor, one core", "%", idle.map(|idle| idle.processor));
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure with one decimal for a person")]
    let bytes = bytes as f64;
    bytes / 1e6
}

fn compile_bare_window(root: &Root) -> Result<String> {
    let source = places::root().join("xtask/bundle/bare-window.c");
    let flags = Job::new("pkg-config").args(["--cflags", "--libs", "webkit2gtk-4.1"]).read()?;
    let out = root.path().join("usr/local/bin/bare-window");
    Job::new("cc")
        .args(["-O2".into(), "-o".into(), out.into_os_string(), source.into_os_string()])
        .args(flags.split_whitespace())
        .run()
        .context("the bare window for comparison does not compile")?;
    Ok("/usr/local/bin/bare-window".into())
}

fn idle_figures(root: &Root, program: &str) -> Result<Idle> {
    let (_session, _) = started(root, program)?;
    idle(SETTLE)?;
    let before = processor_time(root)?;
    idle(IDLE)?;
    let used = processor_time(root)?.saturating_sub(before);
    Ok(Idle { pss: memory(root)?, processor: used.as_secs_f64() / IDLE.as_secs_f64() * 100.0 })
}

/// A screen and the program on it. Fields are dropped in order: the program before its screen.
#[derive(Debug)]
struct Session {
    _program: Running,
    _screen: Screen,
}

/// Starts `program` on a new screen, with a fresh home, and waits for its first paint.
fn started(root: &Root, program: &str) -> Result<(Session, Duration)> {
    let screen = Screen::start()?;
    let home = root.path().join("root");
    std::fs::remove_dir_all(&home)
        .and_then(|()| std::fs::create_dir_all(&home))
        .context("cannot make a fresh home")?;
    let job = root
        .run(&["/usr/bin/dbus-run-session", "--", program])
        .env("DISPLAY", screen.name.clone())
        .env("GDK_BACKEND", "x11")
        .env("LIBGL_ALWAYS_SOFTWARE", "1")
        .env("WEBKIT_DISABLE_DMABUF_RENDERER", "1")
        .env("NO_AT_BRIDGE", "1");
    let start = Instant::now();
    let mut program = job.start(root.log())?;
    wait::until("the first paint", Duration::from_secs(60), Duration::from_millis(4), || {
        if let Some(status) = program.poll()? {
            bail!("the program ended before it painted ({status}); see {}", root.log().display());
        }
        Ok((screen.colours()? >= COLOURS_OF_TEXT).then_some(()))
    })?;
    let took = start.elapsed();
    Ok((Session { _program: program, _screen: screen }, took))
}

#[derive(Debug)]
struct Screen {
    name: String,
    frame: PathBuf,
    _dir: tempfile::TempDir,
    _server: Running,
}

impl Screen {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
        let number = dir.path().join("number");
        std::fs::write(&number, "")?;
        let script =
            "exec Xvfb -displayfd 3 -screen 0 1280x800x24 -nolisten tcp -fbdir \"$1\" 3>\"$0\"";
        let server = Job::new("sh")
            .args(["-c", script])
            .args([number.as_os_str(), dir.path().as_os_str()])
            .start(&dir.path().join("log"))?;
        let name = wait::until(
            "Xvfb's start",
            Duration::from_secs(30),
            Duration::from_millis(20),
            || {
                let text = std::fs::read_to_string(&number)?;
                Ok(text.ends_with('\n').then(|| format!(":{}", text.trim())))
            },
        )?;
        Ok(Self { name, frame: dir.path().join("Xvfb_screen0"), _dir: dir, _server: server })
    }

    /// How many colours are on the screen (counted on every third pixel).
    fn colours(&self) -> Result<usize> {
        colours(&self.frame)
    }
}

/// Reads an XWD file: a header whose first word is its length and whose twentieth the number of 12-byte colour cells,
/// all big-endian, then pixels of four bytes.
fn colours(frame: &Path) -> Result<usize> {
    let file = std::fs::read(frame).context("Xvfb's frame buffer cannot be read")?;
    let word = |index: usize| -> Option<usize> {
        let bytes: [u8; 4] = file.get(index * 4..index * 4 + 4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    };
    let (Some(header), Some(cells)) = (word(0), word(19)) else { return Ok(0) };
    let pixels = file.get(header + cells * 12..).unwrap_or_default();
    let mut seen = std::collections::HashSet::new();
    seen.extend(pixels.chunks_exact(4).step_by(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]));
    Ok(seen.len())
}

fn memory(root: &Root) -> Result<u64> {
    let mut total = 0;
    for id in counted(root) {
        let Ok(rollup) = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")) else {
            continue;
        };
        total += rollup
            .lines()
            .find_map(|line| {
                line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok()
            })
            .unwrap_or(0)
            * 1024;
    }
    if total == 0 {
        bail!("no process of the program was found");
    }
    Ok(total)
}

/// User and system time of all its processes.
fn processor_time(root: &Root) -> Result<Duration> {
    let mut ticks = 0;
    for id in counted(root) {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // Fields 14 and 15, counted after the name, which may hold blanks.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        ticks += after_name
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// The processes of the program itself: what D-Bus starts beside it is no part of it.
fn counted(root: &Root) -> Vec<u32> {
    let is_counted = |id: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        ["deckport", "bare-window", "WebKit"].iter().any(|start| name.starts_with(start))
    };
    root.processes().into_iter().filter(is_counted).collect()
}

fn idle(time: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        wait::check_interrupted()?;
        wait::pause(Duration::from_millis(100));
    }
    Ok(())
}

fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the page cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_a_frame_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("frame");
        let mut file = vec![0; 100];
        file[..4].copy_from_slice(&100_u32.to_be_bytes());
        file[76..80].copy_from_slice(&2_u32.to_be_bytes());
        file.extend([0; 24]);
        for pixel in 0..9_u8 {
            file.extend([pixel / 3, 7, 7, 0]);
        }
        std::fs::write(&path, file).unwrap();
        assert_eq!(colours(&path).unwrap(), 3);
        std::fs::write(&path, []).unwrap();
        assert_eq!(colours(&path).unwrap(), 0);
    }
}
