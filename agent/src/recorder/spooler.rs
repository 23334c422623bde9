//! The thread that writes the spool and rings the uplink's doorbell.
//!
//! It takes what has gathered as one group, one write, and announces the new end. What comes meanwhile is the next group.
//! Groups begin no closer than 2 ms, unless 64 records wait; an idle thread takes a record at once. When more waits than it
//! can hold ([`Spooler::has_room`]) the recorder reads no more: only the disk can slow a command down.
//!
//! What is written survives this process. Against a power cut it is synced, unless the collector has it on its own disk
//! within [`SYNC_WITHIN`]: with a link that works a console's disk is hardly ever waited for.

use super::doorbell::Doorbell;
use crate::disk::Disk;
use crate::spool::{Item, Position, Writer};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A group begins so long after the one before …
const GROUP_TIME: Duration = Duration::from_millis(2);
/// … or when so many records wait.
const GROUP_RECORDS: usize = 64;
/// A group is cut at about so many bytes, which bounds what one write holds.
const GROUP_BYTES: usize = 1024 * 1024;
/// What waits at most (plus one read).
const ROOM: usize = 4 * 1024 * 1024;
/// A record is on this disk or on the collector's so soon after it was written.
const SYNC_WITHIN: Duration = Duration::from_millis(100);
/// How soon to try again what the disk refused, or a doorbell that was full.
const AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Queue {
    items: Vec<Item>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// The bytes that wait, to be asked without the lock.
    bytes: AtomicUsize,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the spooler leaves at its end.
#[derive(Clone, Debug)]
pub(super) struct Spooled {
    pub(super) position: Position,
    /// The disk's last refusal, when something was left unwritten.
    pub(super) failure: Option<String>,
}

/// The thread's other side.
#[derive(Debug)]
pub(super) struct Spooler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Spooled>>,
}

impl Spooler {
    pub(super) fn start<D>(writer: Writer<D>, doorbell: Arc<Doorbell>) -> std::io::Result<Self>
    where
        D: Disk + Send + 'static,
        D::File: Send,
    {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("spooler".into())
            .spawn(move || spool(&theirs, writer, &doorbell))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn record(&self, items: impl IntoIterator<Item = Item>) {
        let mut queue = self.shared.queue();
        let before = queue.items.len();
        for item in items {
            if let Item::Output { bytes, .. } = &item {
                self.shared.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
            }
            queue.items.push(item);
        }
        let now = queue.items.len();
        // First unlocked: who is woken would only wait for us.
        drop(queue);
        if now > before && (before == 0 || (before < GROUP_RECORDS && now >= GROUP_RECORDS)) {
            self.shared.changed.notify_one();
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.shared.bytes.load(Ordering::Relaxed) < ROOM
    }

    /// Writes the rest and ends.
    pub(super) fn finish(mut self) -> Spooled {
        self.shared.queue().closed = true;
        self.shared.changed.notify_one();
        let lost =
            |why: &str| Spooled { position: Position::default(), failure: Some(why.to_owned()) };
        self.thread.take().map_or_else(
            || lost("the spool's thread is missing"),
            |thread| thread.join().unwrap_or_else(|_| lost("the spool's thread panicked")),
        )
    }
}

fn spool<D: Disk>(shared: &Shared, mut writer: Writer<D>, doorbell: &Doorbell) -> Spooled {
    let mut failure = None;
    // After the end, what the disk refuses is tried this often more.
    let mut tries_left = 40;
    let mut began = None;
    let mut unsynced = Unsynced::default();
    // Exits when the queue is closed and empty and the disk has everything that it will take.
    loop {
        let again = writer.in_need() || doorbell.waits();
        let wait = [unsynced.due(), again.then_some(AGAIN)].into_iter().flatten().min();
        let (items, closed) = next_group(shared, began, wait);
        began = Some(Instant::now());
        let idle = items.is_empty();
        match writer.write(items) {
            Ok(position) => {
                doorbell.announce(position);
                unsynced.written(position.last_seq);
            }
            Err(error) => failure = Some(error),
        }
        if writer.is_synced() {
            unsynced.groups.clear();
        } else if closed || unsynced.is_due(doorbell) {
            unsynced.groups.clear();
            if let Err(error) = writer.sync() {
                failure = Some(error);
            }
        }
        if closed && idle {
            if !writer.in_need() || tries_left == 0 {
                let failure = failure
                    .filter(|_| writer.in_need())
                    .map(|error| format!("{:#}", anyhow::Error::from(error)));
                return Spooled { position: writer.position(), failure };
            }
            tries_left -= 1;
            crate::clock::pause(AGAIN);
        }
    }
}

/// The groups that are written, and neither synced nor known to be with the collector.
#[derive(Debug, Default)]
struct Unsynced {
    /// The last sequence number of each, and when it was written.
    groups: VecDeque<(u64, Instant)>,
}

impl Unsynced {
    fn written(&mut self, last_seq: u64) {
        if self.groups.back().is_none_or(|&(seq, _)| seq < last_seq) {
            self.groups.push_back((last_seq, Instant::now()));
        }
    }

    /// How long until [`Self::is_due`] is to be asked.
    fn due(&self) -> Option<Duration> {
        self.groups.front().map(|(_, written)| SYNC_WITHIN.saturating_sub(written.elapsed()))
    }

    /// Whether a group has waited too long for the collector's acknowledgement.
    fn is_due(&mut self, doorbell: &Doorbell) -> bool {
        if self.due().is_none_or(|left| !left.is_zero()) {
            return false;
        }
        let acked_seq = doorbell.acked_seq();
        while self.groups.front().is_some_and(|&(seq, _)| seq <= acked_seq) {
            self.groups.pop_front();
        }
        self.due().is_some_and(|left| left.is_zero())
    }
}

/// Waits for a group, the one before having begun at `began`; no longer than `most`.
fn next_group(
    shared: &Shared,
    began: Option<Instant>,
    most: Option<Duration>,
) -> (Vec<Item>, bool) {
    let mut queue = shared.queue();
    let asked = Instant::now();
    loop {
        let wait = if !queue.items.is_empty() {
            let age = began.map_or(GROUP_TIME, |began| began.elapsed());
            if queue.closed || queue.items.len() >= GROUP_RECORDS || age >= GROUP_TIME {
                break;
            }
            Some(GROUP_TIME - age)
        } else if queue.closed {
            break;
        } else if let Some(most) = most {
            match most.checked_sub(asked.elapsed()) {
                Some(left) if !left.is_zero() => Some(left),
                _ => break,
            }
        } else {
            None
        };
        queue = match wait {
            Some(wait) => {
                shared.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
    }
    let mut bytes = 0;
    let cut = queue.items.iter().position(|item| {
        if let Item::Output { bytes: output, .. } = item {
            bytes += output.len();
        }
        bytes > GROUP_BYTES
    });
    let taken = match cut {
        Some(cut) => queue.items.drain(..=cut).collect(),
        None => std::mem::take(&mut queue.items),
    };
    shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
    (taken, queue.closed)
}
