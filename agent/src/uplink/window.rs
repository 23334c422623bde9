//! How many frames may be on their way: as many as keep the link busy, and no more.
//!
//! What is sent and not acknowledged waits somewhere: on the link, in the collector's queue, for its disk. More frames than
//! keep those busy only wait longer, and make every other console's wait longer too. So the window is steered by how long
//! acknowledgements take, in the manner of delay-based congestion control (TCP Vegas; LEDBAT, RFC 6817): the shortest time
//! seen lately is what the way itself takes, and what comes on top is queueing.
//!
//! At first the window doubles each round trip. It grows by a frame each round trip while queueing is below half of what is
//! [`MUCH`] (on a far link: below an eighth of the way), stays as it is up to that, and beyond shrinks by a quarter, once
//! each round trip.

use std::time::{Duration, Instant};

/// Frames that may be unacknowledged at most, on the longest and fastest of links.
pub(super) const MOST_FRAMES: usize = 96;
const FIRST_FRAMES: f64 = 1.0;
const FEWEST_FRAMES: f64 = 1.0;
/// Queueing beyond which less is sent; less than half of it keeps the collector's groups full.
const MUCH: Duration = Duration::from_millis(8);
/// The shortest time is that of so long, or of twice that: routes and collectors change.
const LATELY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Window {
    frames: f64,
    doubling: bool,
    /// The shortest times of this period and the one before.
    shortest: [Duration; 2],
    period: Option<Instant>,
    /// Frames that left before this have had their say about shrinking.
    shrunk: Option<Instant>,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self {
            frames: FIRST_FRAMES,
            doubling: true,
            shortest: [Duration::MAX; 2],
            period: None,
            shrunk: None,
        }
    }

    /// Frames that may be unacknowledged.
    pub(super) fn frames(&self) -> usize {
        self.frames as usize
    }

    /// A frame that had left at `left` is acknowledged; `full` says whether the window was what held others back.
    pub(super) fn acknowledged(&mut self, left: Instant, now: Instant, full: bool) {
        let took = now.saturating_duration_since(left);
        if self.period.is_none_or(|since| now.saturating_duration_since(since) >= LATELY) {
            self.period = Some(now);
            self.shortest = [took, self.shortest[0]];
        }
        self.shortest[0] = self.shortest[0].min(took);
        let way = self.shortest[0].min(self.shortest[1]);
        let queueing = took - way;
        let much = MUCH.max(way / 4);
        if queueing > much {
            self.doubling = false;
            if self.shrunk.is_none_or(|at| left >= at) {
                self.shrunk = Some(now);
                self.frames = (self.frames * 0.75).max(FEWEST_FRAMES);
            }
        } else if queueing <= much / 2 && full {
            // Once a frame: over a window's frames that is one more, or as many again.
            let more = if self.doubling { 1.0 } else { 1.0 / self.frames };
            self.frames = (self.frames + more).min(MOST_FRAMES as f64);
        } else if queueing > much / 2 {
            self.doubling = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const MS: Duration = Duration::from_millis(1);

    /// A link of so long and a queue behind it that takes one frame each `each`: frames delivered in `span`, and the
    /// longest wait of its second half.
    fn run(way: Duration, each: Duration, span: Duration) -> (u64, Duration) {
        let mut window = Window::new();
        let begun = Instant::now();
        let (mut now, mut free) = (begun, begun);
        let mut sent: VecDeque<(Instant, Instant)> = VecDeque::new();
        let (mut delivered, mut longest) = (0, Duration::ZERO);
        while now < begun + span {
            while sent.len() < window.frames() {
                free = free.max(now + way / 2) + each;
                sent.push_back((now, free + way / 2));
            }
            let full = sent.len() >= window.frames();
            let Some((left, back)) = sent.pop_front() else { break };
            now = now.max(back);
            window.acknowledged(left, now, full);
            delivered += 1;
            if now > begun + span / 2 {
                longest = longest.max(now - left);
            }
        }
        (delivered, longest)
    }

    #[test]
    fn a_near_collector_is_kept_busy_and_not_flooded() {
        let span = Duration::from_secs(4);
        let (delivered, longest) = run(MS / 5, MS, span);
        assert!(delivered > 3_900, "{delivered} frames in {span:?}");
        assert!(longest < 30 * MS, "{longest:?}");
    }

    #[test]
    fn a_far_collector_gets_as_much_as_the_link_carries() {
        let span = Duration::from_secs(20);
        let (delivered, longest) = run(200 * MS, 4 * MS, span);
        assert!(delivered > 4_000, "{delivered} frames in {span:?}");
        assert!(longest < 270 * MS, "{longest:?}");
    }

    #[test]
    fn a_collector_that_gets_slower_is_given_less() {
        let mut window = Window::new();
        let mut now = Instant::now();
        for _ in 0..200 {
            window.acknowledged(now, now + MS, true);
            now += MS;
        }
        let before = window.frames();
        for _ in 0..20 {
            window.acknowledged(now, now + 100 * MS, true);
            now += 100 * MS;
        }
        assert!(before > 10 && window.frames() <= 2, "{before}, then {}", window.frames());
    }
}
