//! When to read what the command prints: at once; but of one that prints line upon line without a pause, what has gathered every two
//! milliseconds. Nobody sees the difference, and being woken for each of thousands of lines a second costs more than the lines.

use std::time::{Duration, Instant};

/// How long output gathers.
const NAP: Duration = Duration::from_millis(2);
/// Reads that come so soon behind one another …
const CLOSE: Duration = Duration::from_millis(1);
/// … so many times are a burst.
const BURST: usize = 8;
/// Whoever prints so much meanwhile is read as fast as it goes: the terminal holds little more, and it would wait for us.
const MUCH: usize = 4 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// Reads so far that came soon behind one another, and what they brought; and the read that they are behind.
    reads: usize,
    bytes: usize,
    since: Option<Instant>,
    nap: Option<Instant>,
}

impl Pace {
    /// So much was read at this time.
    pub(super) fn read(&mut self, bytes: usize, now: Instant) {
        let soon = self.last.replace(now).is_some_and(|last| now < last + CLOSE);
        if self.nap.take().is_some() {
            if (1..MUCH).contains(&bytes) {
                self.nap = Some(now + NAP);
            }
            self.begin(now);
            return;
        }
        let Some(since) = self.since.filter(|_| soon) else { return self.begin(now) };
        self.reads += 1;
        self.bytes += bytes;
        if self.reads == BURST {
            let took = now.saturating_duration_since(since).as_micros().max(1);
            if self.bytes as u128 * NAP.as_micros() / took < MUCH as u128 {
                self.nap = Some(now + NAP);
            }
            self.begin(now);
        }
    }

    fn begin(&mut self, now: Instant) {
        (self.reads, self.bytes, self.since) = (0, 0, Some(now));
    }

    /// Not before then is there anything to read.
    pub(super) const fn naps_until(&self) -> Option<Instant> {
        self.nap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of 70 bytes so far apart, read as the pace says; how often it was read, and the longest that a line waited.
    fn printed(lines: u32, apart: Duration) -> (u32, Duration) {
        let mut pace = Pace::default();
        let begin = Instant::now();
        let (mut reads, mut longest, mut read) = (0, Duration::ZERO, 0);
        // Goal: all lines are read. Each turn reads those that are there, or goes on to the next one.
        while read < lines {
            let next = begin + apart * read;
            let now = pace.naps_until().unwrap_or(next);
            let there =
                (read..lines).take_while(|line| begin + apart * *line <= now).count() as u32;
            if there > 0 {
                longest = longest.max(now.saturating_duration_since(next));
            }
            pace.read(there as usize * 70, now);
            read += there;
            reads += 1;
        }
        (reads, longest)
    }

    #[test]
    fn line_upon_line_is_read_together_and_waits_two_milliseconds_at_most() {
        let (reads, longest) = printed(5_000, Duration::from_micros(200));
        assert!(reads < 600, "{reads}");
        assert!(longest <= NAP);
    }

    #[test]
    fn a_line_now_and_then_is_read_at_once() {
        for apart in [Duration::from_millis(1), Duration::from_millis(10)] {
            assert_eq!(printed(500, apart), (500, Duration::ZERO));
        }
    }

    #[test]
    fn when_a_burst_is_over_lines_are_read_at_once_again() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            pace.read(70, now);
            now += Duration::from_micros(100);
        }
        assert!(pace.naps_until().is_some());
        pace.read(0, now + NAP);
        assert_eq!(pace.naps_until(), None);
        pace.read(70, now + 5 * NAP);
        assert_eq!(pace.naps_until(), None);
    }

    #[test]
    fn who_prints_as_fast_as_possible_is_not_kept_waiting() {
        let mut pace = Pace::default();
        let now = Instant::now();
        // Much at once, or little very often.
        for read in 0..100 {
            pace.read(4095, now + Duration::from_micros(read * 500));
            assert_eq!(pace.naps_until(), None);
        }
        for read in 0..100 {
            pace.read(150, now + Duration::from_micros(60_000 + read * 20));
            assert_eq!(pace.naps_until(), None);
        }
        // And one that begins to in the middle of naps.
        let mut now = now + Duration::from_secs(1);
        for _ in 0..20 {
            pace.read(70, now);
            now = pace.naps_until().unwrap_or(now + Duration::from_micros(200));
        }
        assert!(pace.naps_until().is_some());
        pace.read(MUCH, now);
        assert_eq!(pace.naps_until(), None);
    }
}
