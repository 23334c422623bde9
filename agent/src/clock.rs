//! The one place that reads clocks and pauses.

use deckport_protocol::BootId;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds of the boot-time clock: runs through suspend, restarts with the machine.
pub fn boot_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// Wall time, microseconds since the Unix epoch.
pub fn wall_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

/// A moment by both clocks, as each record carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub boot_us: u64,
    pub at_us: i64,
}

impl Stamp {
    pub fn now() -> Self {
        Self { boot_us: boot_us(), at_us: wall_us() }
    }
}

/// The kernel's name of this boot; a random one where it gives none (some containers).
pub fn boot_id() -> BootId {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_else(BootId::new)
}

/// Sleeps. For pacing and for polling what has no event to wait for, always under a deadline.
#[expect(clippy::disallowed_methods, reason = "the one place where the agent sleeps")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
