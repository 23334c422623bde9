//! Waiting for a condition with a deadline, and for Ctrl-C. The only place in xtask that sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on SIGINT, SIGTERM and SIGHUP ask for an orderly end instead of ending the process, so that children are
/// stopped and temporary folders removed. A second one ends the process at once.
pub(crate) fn catch_signals() -> Result<()> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("cannot register a signal handler")?;
    }
    INTERRUPTED.get_or_init(|| flag);
    Ok(())
}

pub(crate) fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Fails as soon as the user has asked for the end.
pub(crate) fn check_interrupted() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

/// Asks `probe` until it gives a value; fails after `limit`, naming `what` was waited for.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        check_interrupted()?;
        if start.elapsed() > limit {
            bail!("{what} did not happen within {} s", limit.as_secs());
        }
        pause(every);
    }
}

/// Between two looks at something that cannot wake us.
#[expect(
    clippy::disallowed_methods,
    reason = "the one wait of xtask: callers loop on a condition around it"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
