//! A clock that a test moves on.

use deckport_collector::{Clock, SystemClock};
use std::sync::atomic::{AtomicI64, Ordering};

/// The time, and so many µs.
#[derive(Debug, Default)]
pub struct Later(pub AtomicI64);

impl Clock for Later {
    fn now_us(&self) -> i64 {
        SystemClock.now_us() + self.0.load(Ordering::Relaxed)
    }
}
