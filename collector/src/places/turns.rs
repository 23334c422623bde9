//! How often something may be done: turns that come back with time. Pure; the time is an argument.

use crate::config::Rate;
use std::time::Duration;
use tokio::time::Instant;

/// The turns that somebody has left.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    rate: Rate,
    /// Negative: turns that were promised and have not come yet.
    left: f64,
    at: Instant,
}

impl Turns {
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: f64::from(rate.at_once), at: now }
    }

    fn catch_up(&mut self, now: Instant) {
        let came = now.saturating_duration_since(self.at).as_secs_f64();
        let more = came * f64::from(self.rate.per_second);
        self.left = (self.left + more).min(f64::from(self.rate.at_once));
        self.at = self.at.max(now);
    }

    /// Takes a turn, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.catch_up(now);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }

    /// How many there are.
    pub fn left(&mut self, now: Instant) -> u32 {
        self.catch_up(now);
        self.left.max(0.0) as u32
    }

    /// Takes `turns`, also those that are still to come: how long to wait for them.
    pub fn promise(&mut self, turns: u32, now: Instant) -> Duration {
        self.catch_up(now);
        self.left -= f64::from(turns);
        self.wait()
    }

    /// How long one who asks now waits for those who asked before.
    pub fn queue(&mut self, now: Instant) -> Duration {
        self.catch_up(now);
        self.wait()
    }

    fn wait(&self) -> Duration {
        Duration::from_secs_f64((-self.left).max(0.0) / f64::from(self.rate.per_second.max(1)))
    }

    /// Gives a turn back that was taken for nothing.
    pub fn give_back(&mut self) {
        self.left = (self.left + 1.0).min(f64::from(self.rate.at_once));
    }

    /// Nothing was taken that has not come back: there is nothing to remember.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.catch_up(now);
        self.left >= f64::from(self.rate.at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_back_with_time_and_no_more_than_fit() {
        let now = Instant::now();
        let mut turns = Turns::new(Rate { at_once: 3, per_second: 2 }, now);
        assert_eq!((0..5).filter(|_| turns.take(now)).count(), 3);
        let later = now + Duration::from_millis(500);
        assert_eq!((0..5).filter(|_| turns.take(later)).count(), 1);
        let late = now + Duration::from_secs(3600);
        assert!(turns.is_full(late));
        assert_eq!((0..5).filter(|_| turns.take(late)).count(), 3);
        turns.give_back();
        assert!(turns.take(late) && !turns.take(late));
    }

    #[test]
    fn promised_turns_are_waited_for_in_order() {
        let now = Instant::now();
        let mut turns = Turns::new(Rate { at_once: 1, per_second: 10 }, now);
        assert_eq!(turns.promise(1, now), Duration::ZERO);
        assert_eq!(turns.promise(1, now), Duration::from_millis(100));
        assert_eq!(turns.promise(2, now), Duration::from_millis(300));
        assert_eq!(turns.queue(now), Duration::from_millis(300));
        // A clock that jumps back gives nothing.
        assert!(!turns.take(now - Duration::from_millis(1)));
        assert_eq!(turns.queue(now + Duration::from_millis(300)), Duration::ZERO);
    }
}
