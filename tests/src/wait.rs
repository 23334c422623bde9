//! Waiting for a condition with a deadline; the only place that sleeps.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A deadline that only a hang reaches, also on a busy machine with few cores.
pub const LONG: Duration = Duration::from_secs(60);

/// Sleeps. Where a test wants time to pass; never to hope that something has happened.
#[expect(clippy::disallowed_methods, reason = "this is the wait module that the rest calls")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Waits until `condition` gives a value, for `deadline` at most; the error says `what`.
pub fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waited {deadline:?} for this, in vain: {what}");
        }
        pause(LOOK);
    }
}

/// Like [`eventually`] for what can fail: the last error is part of the message.
pub fn eventually_ok<T>(
    deadline: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut last = None;
    let value = eventually(deadline, what, || match attempt() {
        Ok(value) => Some(value),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    value.map_err(|timeout| match last {
        Some(error) => error.context(timeout.to_string()),
        None => timeout,
    })
}

/// Waits for a child's end; kills it when the deadline passes.
pub fn exit_of(
    child: &mut std::process::Child,
    deadline: Duration,
    what: &str,
) -> Result<std::process::ExitStatus> {
    let ended = eventually(deadline, what, || child.try_wait().ok().flatten());
    if ended.is_err() {
        // It may just have ended; then there is nothing to kill.
        let _ = child.kill();
        let _ = child.wait();
    }
    ended
}
