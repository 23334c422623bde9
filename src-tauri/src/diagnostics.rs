//! The app's own log and its reports of crashes, where an operator can find them.
//!
//! * `logs/app.YYYY-MM-DD.log`: one file a day, fourteen kept. `DECKPORT_LOG` sets the filter (default `info`).
//! * `logs/crash-STAMP-PID.txt`: written by the panic hook before anything else can go wrong: version, thread, place,
//!   message, backtrace. The newest of earlier runs is named by [`latest_crash`], so that the interface can say so.
//!
//! The log is written by a thread of its own; when that falls behind by more than its bounded queue, lines are
//! dropped rather than the app slowed down. What consoles print never goes into this log.

use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::clock;

const KEPT_LOGS: usize = 14;
const CRASH_PREFIX: &str = "crash-";

/// Starts the log in `folder`. What is returned writes the last lines when dropped.
pub(crate) fn start_log(folder: &Path) -> Result<WorkerGuard> {
    let file = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("app")
        .filename_suffix("log")
        .max_log_files(KEPT_LOGS)
        .build(folder)
        .with_context(|| format!("cannot write the log in {}", folder.display()))?;
    let (file, guard) = tracing_appender::non_blocking(file);
    let filter = EnvFilter::try_from_env("DECKPORT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,zbus=warn"));
    let to_file = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(file);
    tracing_subscriber::registry()
        .with(filter)
        .with(to_file)
        .try_init()
        .context("the log is already started")?;
    Ok(guard)
}

/// From here on a panic in any thread leaves a report in `folder`, and a line in the log.
pub(crate) fn report_crashes(folder: PathBuf) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let report = crash_report(info, &Backtrace::force_capture());
        let path = folder.join(format!(
            "{CRASH_PREFIX}{}-{}.txt",
            clock::file_stamp(),
            std::process::id()
        ));
        match std::fs::write(&path, &report) {
            Ok(()) => {
                tracing::error!(report = %path.display(), "a part of the app crashed: {}", message(info));
            }
            Err(error) => {
                tracing::error!(%error, "a part of the app crashed and its report cannot be kept: {report}");
            }
        }
        usual(info);
    }));
}

/// The newest report of a crash, if there is one.
pub(crate) fn latest_crash(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let reports = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    // The stamp in the name sorts by time.
    reports
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(CRASH_PREFIX))
        })
        .max()
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
        .to_owned()
}

fn crash_report(info: &PanicHookInfo<'_>, backtrace: &Backtrace) -> String {
    let mut report = String::new();
    let thread = std::thread::current();
    let place = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    // Writing to a string cannot fail.
    let _ = writeln!(report, "Deckport Control Center {} crashed", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(report, "time:    {}", clock::file_stamp());
    let _ = writeln!(report, "system:  {} {}", std::env::consts::OS, std::env::consts::ARCH);
    let _ = writeln!(report, "thread:  {}", thread.name().unwrap_or("unnamed"));
    let _ = writeln!(report, "place:   {place}");
    let _ = writeln!(report, "message: {}\n\n{backtrace}", message(info));
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_leaves_a_report_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(latest_crash(folder.path()), None);
        report_crashes(folder.path().to_owned());
        let crashed = std::thread::Builder::new()
            .name("doomed".into())
            .spawn(|| panic!("the dock is empty"))
            .unwrap()
            .join();
        // The hook is the process's: put the usual one back for other tests.
        let _ = std::panic::take_hook();
        assert!(crashed.is_err());
        let report = std::fs::read_to_string(latest_crash(folder.path()).unwrap()).unwrap();
        for part in ["the dock is empty", "doomed", "diagnostics.rs", env!("CARGO_PKG_VERSION")] {
            assert!(report.contains(part), "{part} is not in:\n{report}");
        }
    }
}
