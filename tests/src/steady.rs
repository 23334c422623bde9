//! Whether the machine itself kept its speed while something was measured.
//!
//! A virtual machine's host may take its processors away without saying so: for tens of milliseconds everything in it runs at
//! a tenth of its speed. A thread does the same small piece of work again and again and watches the processor time that
//! it takes, which other threads of this machine cannot make longer. What was measured while that took several times as long
//! as usual says more of the host than of us; it is told apart, and never left out without saying so.

use crate::measure::Spread;
use crate::stamped::boot_us;
use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Some 30 µs of arithmetic.
const ROUNDS: u64 = 20_000;
const EVERY: Duration = Duration::from_millis(5);
/// Slow: the work takes so many times the median.
const SLOW: f64 = 4.0;

/// What begins so shortly before a slow phase is under way when that comes.
const SOON_US: u64 = 20_000;

/// A piece of work: when it was begun and over (boot-time clock), and the processor time it took, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from_us: u64,
    to_us: u64,
    took_us: f64,
}

/// Watches until it is asked.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Piece>>,
}

/// When the machine was slow: boot-time microseconds, in order.
#[derive(Clone, Debug, Default)]
pub struct Slow {
    phases: Vec<(u64, u64)>,
    /// Of the time that was watched, between 0 and 1.
    pub share: f64,
}

impl Watch {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut pieces = Vec::new();
            while !over.load(Ordering::Relaxed) {
                pieces.push(piece());
                std::thread::park_timeout(EVERY);
            }
            pieces
        });
        Self { stop, thread }
    }

    pub fn end(self) -> Result<Slow> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let pieces = self.thread.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?;
        Ok(Slow::of(&pieces))
    }
}

fn piece() -> Piece {
    let cpu_us = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
    };
    let (from_us, began) = (boot_us(), cpu_us());
    let mut sum = 0u64;
    for round in 0..ROUNDS {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(round));
    }
    Piece { from_us, to_us: boot_us(), took_us: cpu_us() - began }
}

impl Slow {
    fn of(pieces: &[Piece]) -> Self {
        let usual = Spread::of(pieces.iter().map(|piece| piece.took_us).collect()).at(0.5);
        let mut phases: Vec<(u64, u64)> = Vec::new();
        // It was not slow any more, or not yet, when the pieces beside it were done: the phase ends somewhere between.
        for around in pieces.windows(3) {
            if around[1].took_us > SLOW * usual {
                let (from, to) = (around[0].to_us, around[2].from_us);
                match phases.last_mut() {
                    Some(last) if last.1 >= from => last.1 = to,
                    _ => phases.push((from, to)),
                }
            }
        }
        let watched = match (pieces.first(), pieces.last()) {
            (Some(first), Some(last)) => (last.to_us - first.from_us).max(1) as f64,
            _ => 1.0,
        };
        let slow: u64 = phases.iter().map(|(from, to)| to - from).sum();
        Self { phases, share: slow as f64 / watched }
    }

    /// Whether the machine was slow at this time, or soon after. Asked of the moment at which something began: asking for how
    /// long it took as well would leave out what took long.
    pub fn meets(&self, at_us: u64) -> bool {
        let next = self.phases.partition_point(|&(_, to)| to < at_us);
        self.phases.get(next).is_some_and(|&(from, _)| from <= at_us + SOON_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_what_lies_around_slow_pieces() {
        let took = [30.0, 31.0, 29.0, 400.0, 500.0, 30.0, 30.0, 300.0, 30.0];
        let pieces: Vec<Piece> = took
            .iter()
            .zip(0u64..)
            .map(|(&took_us, at)| Piece { from_us: at * 5000, to_us: at * 5000 + 100, took_us })
            .collect();
        let slow = Slow::of(&pieces);
        assert_eq!(slow.phases, [(10_100, 25_000), (30_100, 40_000)]);
        assert!(slow.meets(10_100) && slow.meets(25_000) && slow.meets(30_100 - SOON_US));
        assert!(!slow.meets(40_001) && !slow.meets(99_000));
        let early = Slow { phases: vec![(50_000, 60_000)], share: 0.0 };
        assert!(early.meets(30_000) && !early.meets(29_999) && !early.meets(60_001));
    }
}
