//! What all streams of one console share: its rates, and its part of the writer's queue and of the log's tail.
//!
//! By console, not by socket: one that opens many sockets gets no more by it. A share lives as long as one of its streams does;
//! whoever comes again at once begins with a second's worth, and coming is bounded itself (see `places`).

use crate::config::Rate;
use crate::log::Allotment;
use crate::places::Turns;
use deckport_protocol::{ConsoleId, Limits};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// What is waited for at once, of what was read; the rest is waited for with what comes next.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A run that begins, in turns: there is one each second.
const A_RUN: u32 = 10;

/// The shares of those that have streams, and how often each has begun a run.
#[derive(Clone, Debug)]
pub struct Shares {
    all: Arc<Mutex<HashMap<ConsoleId, Weak<Share>>>>,
    runs: Arc<Mutex<HashMap<ConsoleId, Turns>>>,
    run_rate: Rate,
}

#[derive(Debug)]
pub(super) struct Share {
    rates: Mutex<Rates>,
    pub(super) tail: Allotment,
}

#[derive(Debug)]
struct Rates {
    messages: Turns,
    bytes: Turns,
}

impl Shares {
    /// A console begins so many runs at once.
    pub fn new(runs_at_once: u32) -> Self {
        let run_rate = Rate { at_once: runs_at_once.saturating_mul(A_RUN), per_second: 1 };
        Self { all: Arc::default(), runs: Arc::default(), run_rate }
    }

    /// Whether a console may begin one more run.
    pub(super) fn may_begin(&self, console: ConsoleId) -> bool {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        runs.retain(|known, turns| *known == console || !turns.is_full(now));
        let turns = runs.entry(console).or_insert_with(|| Turns::new(self.run_rate, now));
        let may = turns.left(now) >= A_RUN;
        if may {
            turns.promise(A_RUN, now);
        }
        may
    }

    /// The share of a console that has a stream more.
    pub(super) fn of(
        &self,
        console: ConsoleId,
        limits: &Limits,
        allot: impl FnOnce() -> Allotment,
    ) -> Arc<Share> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = all.get(&console).and_then(Weak::upgrade) {
            return share;
        }
        all.retain(|_, share| share.strong_count() > 0);
        let now = Instant::now();
        let bytes = u32::try_from(limits.bytes_per_second).unwrap_or(u32::MAX);
        let each = |number| Turns::new(Rate { at_once: number, per_second: number }, now);
        let rates = Rates { messages: each(limits.messages_per_second), bytes: each(bytes) };
        let share = Arc::new(Share { rates: Mutex::new(rates), tail: allot() });
        all.insert(console, Arc::downgrade(&share));
        share
    }
}

impl Share {
    /// How long to wait before more is read, after so much was.
    pub(super) fn took(&self, messages: u32, bytes: usize) -> Duration {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let for_messages = rates.messages.promise(messages, now);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        for_messages.max(rates.bytes.promise(bytes, now)).min(LONGEST_WAIT)
    }

    /// What one of its streams may have waiting for the writer, of what the console may.
    pub(super) fn part(self: &Arc<Self>, of: usize) -> usize {
        of / Arc::strong_count(self).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_streams_of_a_console_have_the_rates_of_one() {
        let shares = Shares::new(3);
        let allot = || Allotment::new(0, 1);
        let limits =
            Limits { messages_per_second: 10, bytes_per_second: 1000, ..Limits::default() };
        let console = ConsoleId::new();
        let first = shares.of(console, &limits, allot);
        let second = shares.of(console, &limits, allot);
        assert_eq!(second.part(1000), 500);
        assert_eq!(first.took(10, 0), Duration::ZERO);
        let wait = second.took(5, 0);
        assert!((Duration::from_millis(400)..=Duration::from_millis(500)).contains(&wait));
        let wait = second.took(0, 1500);
        assert!((Duration::from_millis(400)..=Duration::from_millis(600)).contains(&wait));
        assert_eq!(shares.of(ConsoleId::new(), &limits, allot).took(10, 1000), Duration::ZERO);
        assert_eq!((0..9).filter(|_| shares.may_begin(console)).count(), 3);
        assert!(shares.may_begin(ConsoleId::new()));
        drop((first, second));
        shares.of(ConsoleId::new(), &limits, allot);
        assert_eq!(shares.all.lock().unwrap().len(), 1, "what nobody has is forgotten");
    }
}
