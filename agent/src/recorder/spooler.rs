//! Writes the spool and rings the uplink's doorbell, on the recorder's own thread.
//!
//! A write survives this process. Against a power cut it is synced, beside the recorder ([`Syncer`]), unless the collector has
//! it on its own disk within [`SYNC_WITHIN`] (or [`SYNC_WITHIN_ANSWERED`]): with a link that works a console's disk is hardly
//! ever waited for.
//!
//! What the disk refuses is tried again; meanwhile output is counted for a gap (see [`Writer::write`]).

use super::doorbell::Doorbell;
use super::syncer::Syncer;
use crate::disk::RealDisk;
use crate::spool::{Item, Position, SpoolError, Writer};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One write holds about so many bytes at most.
const GROUP_BYTES: usize = 1024 * 1024;
/// A record is on this disk or on the collector's so soon after it was written …
const SYNC_WITHIN: Duration = Duration::from_millis(100);
/// … and so soon while the collector answers, only later than that: what it is behind with was sent, and hundreds of syncs a
/// second, perhaps on the disk that it waits for too, would only put it further behind.
const SYNC_WITHIN_ANSWERED: Duration = Duration::from_millis(500);
/// How soon to try again what the disk refused, or to look again after a disk that takes its time.
const AGAIN: Duration = Duration::from_millis(50);
/// After the end, what the disk refuses is tried this often more.
const LAST_TRIES: usize = 40;

/// What the spooler leaves at its end.
#[derive(Clone, Debug)]
pub(super) struct Spooled {
    pub(super) position: Position,
    /// The disk's last refusal, when something was left unwritten.
    pub(super) failure: Option<String>,
}

#[derive(Debug)]
pub(super) struct Spooler {
    writer: Writer<RealDisk>,
    doorbell: Rc<Doorbell>,
    syncer: Syncer,
    pending: Pending,
    again: Option<Instant>,
    failure: Option<SpoolError>,
}

impl Spooler {
    pub(super) fn start(writer: Writer<RealDisk>, doorbell: Rc<Doorbell>) -> std::io::Result<Self> {
        let syncer = Syncer::start()?;
        let pending = Pending::default();
        Ok(Self { writer, doorbell, syncer, pending, again: None, failure: None })
    }

    /// Writes `items` and announces them.
    pub(super) fn record(&mut self, items: impl IntoIterator<Item = Item>) {
        let mut group = Vec::new();
        let mut bytes = 0;
        for item in items {
            if let Item::Output { bytes: output, .. } = &item {
                bytes += output.len();
            }
            group.push(item);
            if bytes > GROUP_BYTES {
                self.write(std::mem::take(&mut group));
                bytes = 0;
            }
        }
        if !group.is_empty() {
            self.write(group);
        }
    }

    fn write(&mut self, group: Vec<Item>) {
        match self.writer.write(group) {
            Ok(position) => {
                self.doorbell.announce(position);
                if self.writer.is_synced() {
                    self.pending.clear();
                } else {
                    self.pending.written(position.last_seq);
                }
            }
            Err(error) => self.failure = Some(error),
        }
        self.again =
            if self.writer.in_need() { Some(Instant::now() + AGAIN) } else { self.doorbell.due() };
    }

    /// When [`Self::tend`] wants to be called next.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.again, self.pending.due()].into_iter().flatten().min()
    }

    /// Tries again what is to be tried again, and has synced what has to be.
    pub(super) fn tend(&mut self) {
        let now = Instant::now();
        if self.again.is_some_and(|at| at <= now) {
            self.write(Vec::new());
        }
        if self.pending.due().is_none_or(|at| at > now) {
            return;
        }
        self.pending.acked(self.doorbell.acked_seq(), now);
        if self.pending.due().is_none_or(|at| at > now) {
            return;
        }
        if let Some(outcome) = self.syncer.outcome() {
            self.failure = outcome.err().or(self.failure.take());
        }
        if self.syncer.is_idle() {
            self.pending.clear();
            self.syncer.sync(self.writer.take_unsynced());
        } else {
            // The disk takes its time.
            self.pending.postpone(now);
        }
    }

    /// Writes and syncs the rest.
    pub(super) fn finish(mut self) -> Spooled {
        for _ in 0..LAST_TRIES {
            self.write(Vec::new());
            if !self.writer.in_need() {
                break;
            }
            crate::clock::pause(AGAIN);
        }
        let synced = self.writer.sync().err().or(self.writer.take_sync_failure());
        self.syncer.finish();
        let failure = self.failure.filter(|_| self.writer.in_need()).or(synced);
        Spooled {
            position: self.writer.position(),
            failure: failure.map(|error| format!("{:#}", anyhow::Error::from(error))),
        }
    }
}

/// The groups that are written, and neither synced nor known to be with the collector.
#[derive(Debug, Default)]
struct Pending {
    /// The last sequence number of each, and when it was written.
    groups: VecDeque<(u64, Instant)>,
    /// When the first of them is to be looked at, if that is later than [`SYNC_WITHIN`] after it was written.
    not_before: Option<Instant>,
    acked_seq: u64,
    /// When the collector was last seen to have more than before.
    answered: Option<Instant>,
}

impl Pending {
    fn written(&mut self, last_seq: u64) {
        if self.groups.back().is_none_or(|&(seq, _)| seq < last_seq) {
            self.groups.push_back((last_seq, Instant::now()));
        }
    }

    fn due(&self) -> Option<Instant> {
        let &(_, written) = self.groups.front()?;
        Some(self.not_before.unwrap_or(written).max(written + SYNC_WITHIN))
    }

    /// The collector has everything up to `acked_seq`, as is known at `now`.
    fn acked(&mut self, acked_seq: u64, now: Instant) {
        if acked_seq > self.acked_seq {
            (self.acked_seq, self.answered) = (acked_seq, Some(now));
        }
        while self.groups.front().is_some_and(|&(seq, _)| seq <= acked_seq) {
            self.groups.pop_front();
        }
        self.not_before = None;
        let answers = self.answered.is_some_and(|at| now < at + SYNC_WITHIN_ANSWERED);
        if answers && let Some(&(_, written)) = self.groups.front() {
            self.not_before = Some((written + SYNC_WITHIN_ANSWERED).min(now + SYNC_WITHIN));
        }
    }

    fn postpone(&mut self, now: Instant) {
        self.not_before = Some(now + AGAIN);
    }

    fn clear(&mut self) {
        self.groups.clear();
        self.not_before = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_nobody_answers_is_synced_soon() {
        let mut pending = Pending::default();
        pending.written(1);
        let (_, written) = pending.groups[0];
        assert_eq!(pending.due(), Some(written + SYNC_WITHIN));
        pending.acked(0, written + SYNC_WITHIN);
        assert_eq!(pending.due(), Some(written + SYNC_WITHIN));
    }

    #[test]
    fn what_is_answered_late_has_more_time_and_not_for_ever() {
        let mut pending = Pending::default();
        pending.written(5);
        pending.written(9);
        let (_, written) = pending.groups[1];
        // It answers: looked at again before the bound, and synced at the bound.
        pending.acked(5, written + SYNC_WITHIN);
        let mut now = pending.due().unwrap();
        assert_eq!(now, written + SYNC_WITHIN * 2);
        while now < written + SYNC_WITHIN_ANSWERED {
            pending.acked(5, now);
            assert!(pending.due().unwrap() > now);
            assert!(pending.due().unwrap() <= written + SYNC_WITHIN_ANSWERED);
            now = pending.due().unwrap();
        }
        pending.acked(5, now);
        assert!(pending.due().unwrap() <= now);
        pending.acked(9, now);
        assert_eq!(pending.due(), None);
    }

    #[test]
    fn who_has_gone_silent_is_not_waited_for() {
        let mut pending = Pending::default();
        let long_ago = Instant::now();
        pending.acked(3, long_ago);
        pending.written(4);
        let (_, written) = pending.groups[0];
        let later = long_ago.max(written) + SYNC_WITHIN_ANSWERED + MS;
        pending.acked(3, later);
        assert!(pending.due().unwrap() <= later);
    }
}
