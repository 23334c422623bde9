//! One deployment in memory: what was folded ahead, what is durable, and who is connected.
//!
//! What must hold:
//! * Frames are folded and queued under one lock, so the order of folding is the order of writing.
//! * Viewers see `seen`, which moves only when the frame behind it is durable.
//! * When a write fails, what was folded ahead is dropped; the next claim restores it from the disk.
//! * The lock is held for the fold of one frame at most and never across an await.

use super::estimate::{self, Estimates};
use super::machine::hardware;
use super::track::{FoldError, Folded, Known, Received, Track};
use super::view::PresenceKind;
use crate::log::{Log, NewFrame, Place, StoredFrame, StreamHead};
use crate::store::{Guard, Row, Table, WriteError};
use bytes::Bytes;
use deckport_protocol::message::Transient;
use deckport_protocol::{Chain, DeploymentId, Frame, OrderId, Outcome, Refusal};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How far a stream is durable; the wake-up call of everyone who follows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    pub seq: u64,
    pub rows: u64,
    pub chain: Chain,
    /// Counts anything that viewers see, also what is no record.
    pub tick: u64,
}

/// What a run comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Its console's agent.
    Console,
    /// A file that somebody brought.
    File,
}

/// What a claim of the stream gets: the socket of one agent.
#[derive(Clone, Debug)]
pub struct Link {
    by: Delivery,
    /// Which claim it is; a later one has a higher number.
    pub session: u64,
    pub orders: mpsc::Sender<OrderId>,
    /// Cancelled when another agent takes over, or when writing failed.
    pub cut: CancellationToken,
    /// Why it was cut.
    pub why: Arc<Mutex<Option<Refusal>>>,
}

/// What is in memory beside the constants.
#[derive(Debug, Default)]
pub struct Inner {
    pub(super) ahead: Option<Track>,
    pub(super) guard: Arc<Guard>,
    pub(super) seen: Option<Arc<Known>>,
    ring: VecDeque<Arc<StoredFrame>>,
    ring_bytes: usize,
    pub incarnation: u64,
    pub quarantined: Option<String>,
    pub link: Option<Link>,
    /// The order to cancel, once given.
    ordered: Option<OrderId>,
    sessions: u64,
    pub transient: Transient,
    pub highest_seq: u64,
    pub heard_at: i64,
    pub connected_at: i64,
    pub clock_offset_us: Option<i64>,
    pub latency_us: Option<i64>,
    pub(super) presence: Option<(PresenceKind, i64)>,
    pub(super) estimates: Option<Arc<Estimates>>,
    saved_at: i64,
    pub(super) updated_at: i64,
}

/// One deployment.
#[derive(Debug)]
pub struct Entry {
    pub id: DeploymentId,
    pub head: StreamHead,
    inner: Mutex<Inner>,
    durable: watch::Sender<Durable>,
    /// The fleet's version at which it changed last.
    pub(super) changed: AtomicU64,
    pub(super) fleet: watch::Sender<u64>,
    ring_limit: usize,
    pub(super) silence_after_us: i64,
}

static DEPLOYMENT: Table = Table {
    insert: "insert into deployment (id, organisation_id, venue_id, stream, console_id, name, \
             template, state, started_at, finished_at, updated_at, applied_seq, document, resume)",
    columns: 14,
    conflict: "on conflict (id) do update set console_id = excluded.console_id, \
               name = excluded.name, template = excluded.template, state = excluded.state, \
               started_at = excluded.started_at, finished_at = excluded.finished_at, \
               updated_at = excluded.updated_at, applied_seq = excluded.applied_seq, \
               document = excluded.document, resume = excluded.resume",
    last_wins: true,
};

static EVENT: Table = Table {
    insert: "insert into event (stream, seq, at, row, body)",
    columns: 5,
    conflict: "",
    last_wins: false,
};

/// What is known is written beside a frame at least this often while frames come.
const SAVE_EVERY_US: i64 = 1_000_000;

/// Frames that are looked at one by one before they are searched.
const LAST_FEW: usize = 8;

/// Orders on their way to one socket.
const ORDERS: usize = 8;

/// A frame that is to be stored.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub frame: Frame,
    /// The frame as it will be stored.
    pub payload: Bytes,
    /// As it was received, if secrets were masked in it.
    pub received: Option<Received>,
}

impl Arrived {
    /// A frame in which nothing was masked here.
    pub const fn as_it_came(frame: Frame, payload: Bytes) -> Self {
        Self { frame, payload, received: None }
    }
}

/// Why a frame was not queued.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// An earlier frame could not be written, or another agent took over.
    #[error("this claim of the stream is over")]
    Cut,
}

impl Inner {
    /// The last durable record.
    pub fn seen_seq(&self) -> u64 {
        self.seen.as_ref().map_or(0, |known| known.seq)
    }
}

impl Entry {
    pub(super) fn new(
        head: StreamHead,
        fleet: watch::Sender<u64>,
        ring_limit: usize,
        silence_after_us: i64,
    ) -> Self {
        let inner = Inner {
            incarnation: head.incarnation,
            quarantined: head.quarantined.clone(),
            ..Inner::default()
        };
        Self {
            id: head.deployment_id,
            head,
            inner: Mutex::new(inner),
            durable: watch::Sender::new(Durable::default()),
            changed: AtomicU64::new(0),
            fleet,
            ring_limit,
            silence_after_us,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is durable, and a call on every change.
    pub fn follow(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    pub fn durable(&self) -> Durable {
        self.durable.borrow().clone()
    }

    /// Something that viewers see changed.
    pub fn touch(&self) {
        self.durable.send_modify(|durable| durable.tick += 1);
        self.fleet.send_modify(|version| {
            *version += 1;
            self.changed.store(*version, Ordering::Release);
        });
    }

    /// What was restored from the disk: everything in it is durable.
    pub(super) fn restored(&self, track: Track, updated_at: i64) {
        let known = Arc::new(track.known.clone());
        let mut inner = self.lock();
        inner.guard = Arc::default();
        inner.ring.clear();
        inner.ring_bytes = 0;
        inner.highest_seq = inner.highest_seq.max(known.seq);
        inner.updated_at = inner.updated_at.max(updated_at);
        inner.ahead = Some(track);
        inner.seen = Some(Arc::clone(&known));
        drop(inner);
        self.durable.send_modify(|durable| {
            durable.seq = known.seq;
            durable.rows = known.rows;
            durable.chain = known.chain;
        });
        self.touch();
    }

    /// What was folded ahead must be restored from the disk before anything more is taken.
    pub(super) fn needs_restoring(&self) -> bool {
        let inner = self.lock();
        inner.ahead.is_none() || inner.guard.is_broken()
    }

    /// The last record that was folded (not yet durable, perhaps). `None` after a failed write, until
    /// the stream was restored from the disk.
    pub fn submitted(&self) -> Option<u64> {
        let inner = self.lock();
        inner.ahead.as_ref().filter(|_| !inner.guard.is_broken()).map(|track| track.known.seq)
    }

    /// The chain over the durable records as they are stored.
    pub fn stored_chain(&self) -> Chain {
        let inner = self.lock();
        let known = inner.seen.as_ref();
        known.map_or(Chain::START, |known| known.stored_chain.unwrap_or(known.chain))
    }

    /// Whether records of it were masked here, so that what is stored is not always what was received.
    pub fn masked_here(&self) -> bool {
        let inner = self.lock();
        inner.ahead.as_ref().is_some_and(|track| track.known.stored_chain.is_some())
    }

    /// A new claim; the one before is told why it is cut. `None` when a later incarnation has it.
    pub fn claim(
        &self,
        by: Delivery,
        incarnation: u64,
        now_us: i64,
        superseded: Refusal,
    ) -> Option<(Link, mpsc::Receiver<OrderId>)> {
        let (orders, rx) = mpsc::channel(ORDERS);
        let mut inner = self.lock();
        if incarnation < inner.incarnation {
            return None;
        }
        inner.sessions += 1;
        let link = Link {
            session: inner.sessions,
            by,
            orders,
            cut: CancellationToken::new(),
            why: Arc::default(),
        };
        if let Some(old) = inner.link.replace(link.clone()) {
            old.cut_off(superseded);
        }
        // Given to a socket that may have closed before it was passed on; the same id is one order.
        if let Some(order_id) = inner.ordered {
            let _ = link.orders.try_send(order_id);
        }
        inner.incarnation = incarnation;
        inner.connected_at = now_us;
        inner.heard_at = now_us;
        drop(inner);
        self.touch();
        Some((link, rx))
    }

    /// Has the console's agent cancel the run, now or when it is back. `None` while it is not here.
    pub fn cancel(&self) -> Option<OrderId> {
        let mut inner = self.lock();
        let orders = inner.link.as_ref()?.orders.clone();
        // Asking twice is one order.
        let order_id = *inner.ordered.get_or_insert_with(OrderId::new);
        // A full channel holds this very order already.
        let _ = orders.try_send(order_id);
        Some(order_id)
    }

    /// The socket of a claim closed.
    pub fn release(&self, session: u64, now_us: i64) {
        let mut inner = self.lock();
        if inner.link.as_ref().is_some_and(|link| link.session == session) {
            inner.link = None;
            inner.heard_at = now_us;
            inner.transient = Transient::default();
        }
        drop(inner);
        self.touch();
    }

    /// Folds the frame and queues it for writing. Answered through [`Entry::follow`] when durable; when
    /// writing fails the link is cut.
    pub fn submit(
        self: &Arc<Self>,
        session: u64,
        log: &Log,
        place: Place,
        arrived: Arrived,
        received_at: i64,
    ) -> Result<Folded, SubmitError> {
        let Arrived { frame, payload, received } = arrived;
        let mut inner = self.lock();
        if inner.link.as_ref().is_none_or(|link| link.session != session) || inner.guard.is_broken()
        {
            return Err(SubmitError::Cut);
        }
        let Some(track) = inner.ahead.as_mut() else { return Err(SubmitError::Cut) };
        let mut folded = match track.fold_masked(&frame, received.as_ref(), received_at) {
            Ok(folded) => folded,
            Err(error) => {
                // Half folded: restore it from the disk before anybody goes on.
                inner.ahead = None;
                return Err(error.into());
            }
        };
        let known = Arc::new(track.known.clone());
        let stored = Arc::new(StoredFrame {
            first_seq: frame.first_seq(),
            last_seq: frame.last_seq(),
            received_at,
            payload: payload.clone(),
        });
        let mut also: Vec<Row> = folded.events.iter().map(|event| self.event_row(event)).collect();
        let save = !folded.events.is_empty()
            || folded.phases_changed
            || known.frames == 1
            // Its chain cannot be made from what is stored.
            || received.is_some()
            || received_at - inner.saved_at >= SAVE_EVERY_US;
        if save {
            inner.saved_at = received_at;
            let resume = inner.ahead.as_ref().map(Track::resume).unwrap_or_default();
            also.push(self.deployment_row(&inner, &known, resume, received_at));
        }
        if folded.described || known.frames == 1 {
            let descriptor = &known.machine.descriptor;
            let hardware = hardware(&descriptor.context);
            let seen = crate::fleet::seen(
                self.head.tenant,
                descriptor.console_id,
                &descriptor.console_name,
                hardware.as_deref(),
                received_at,
            );
            also.push(match inner.link.as_ref().map_or(Delivery::Console, |link| link.by) {
                Delivery::Console => seen,
                Delivery::File => crate::fleet::mentioned(seen),
            });
        }
        if folded.closed == Some(Outcome::Succeeded) {
            also.extend(estimate::history(self.id, self.head.tenant, &known, received_at));
        }
        let new = NewFrame {
            stream: self.head.stream,
            first_seq: stored.first_seq,
            last_seq: stored.last_seq,
            first_row: folded.first_row,
            rows: folded.rows,
            first_byte: folded.first_byte,
            bytes: folded.bytes,
            first_at: folded.first_at,
            last_at: folded.last_at,
            received_at,
            goes_on: folded.goes_on,
            open_row: folded.open_row,
            last: folded.closed.is_some(),
            state_before: folded.state_before.take().map(Bytes::from),
            notes: std::mem::take(&mut folded.notes),
            payload,
        };
        let entry = Arc::clone(self);
        let guard = Arc::clone(&inner.guard);
        let done = Box::new(move |result| entry.written(result, stored, known, received_at));
        log.append(place, new, frame, also, guard, done);
        Ok(folded)
    }

    fn event_row(&self, event: &super::track::EventFact) -> Row {
        Row {
            table: &EVENT,
            values: vec![
                self.head.stream.0.into(),
                event.seq.into(),
                event.at.into(),
                event.row.into(),
                event.body.as_str().into(),
            ],
        }
    }

    fn deployment_row(&self, inner: &Inner, known: &Known, resume: Vec<u8>, now_us: i64) -> Row {
        let mut summary = self.summary_of(inner, known, now_us);
        summary.updated_at = now_us;
        let document = serde_json::to_string(&summary).unwrap_or_default();
        Row {
            table: &DEPLOYMENT,
            values: vec![
                self.id.to_string().into(),
                self.head.tenant.organisation_id.to_string().into(),
                self.head.tenant.venue_id.to_string().into(),
                self.head.stream.0.into(),
                summary.console_id.to_string().into(),
                summary.name.into(),
                summary.template.into(),
                summary.state.as_str().into(),
                summary.started_at.into(),
                summary.finished_at.into(),
                now_us.into(),
                known.seq.into(),
                document.into(),
                Bytes::from(resume).into(),
            ],
        }
    }

    /// Runs on the writer: the frame is durable, or why it is not.
    fn written(
        &self,
        result: Result<(), WriteError>,
        stored: Arc<StoredFrame>,
        known: Arc<Known>,
        received_at: i64,
    ) {
        let mut inner = self.lock();
        if let Err(error) = result {
            inner.ahead = None;
            if let Some(link) = inner.link.take() {
                link.cut_off(refusal_of(&error));
            }
            drop(inner);
            self.touch();
            return;
        }
        inner.ring_bytes += in_ring(&stored);
        inner.ring.push_back(stored);
        while inner.ring_bytes > self.ring_limit && inner.ring.len() > 1 {
            let gone = inner.ring.pop_front().map_or(0, |frame| in_ring(&frame));
            inner.ring_bytes -= gone;
        }
        inner.updated_at = received_at;
        inner.highest_seq = inner.highest_seq.max(known.seq);
        let durable = (known.seq, known.rows, known.chain);
        inner.seen = Some(known);
        drop(inner);
        self.durable.send_modify(|now| {
            (now.seq, now.rows, now.chain) = durable;
            now.tick += 1;
        });
        self.fleet.send_modify(|version| {
            *version += 1;
            self.changed.store(*version, Ordering::Release);
        });
    }

    /// Recent durable frames from `seq` on, about `bytes` of them; `None` when they reach back too little.
    pub fn recent(&self, seq: u64, bytes: usize) -> Option<Vec<Arc<StoredFrame>>> {
        let inner = self.lock();
        let durable = inner.seen.as_ref().map_or(0, |known| known.seq);
        if seq > durable {
            return Some(Vec::new());
        }
        let first = inner.ring.front()?;
        if first.first_seq > seq {
            return None;
        }
        // Who follows wants the last few: each frame that is looked at for that is one out of the processor's cache.
        let wanted = |frame: &&Arc<StoredFrame>| frame.last_seq >= seq;
        let last = inner.ring.iter().rev().take(LAST_FEW).take_while(wanted).count();
        let from = if last < LAST_FEW {
            inner.ring.len() - last
        } else {
            inner.ring.partition_point(|frame| frame.last_seq < seq)
        };
        let mut sum = 0;
        let frames = inner.ring.iter().skip(from).take_while(|frame| {
            let take = sum < bytes;
            sum += frame.payload.len();
            take
        });
        Some(frames.cloned().collect())
    }
}

impl Link {
    /// Ends the claim; its socket tells the agent why.
    pub fn cut_off(&self, why: Refusal) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.cut.cancel();
    }
}

/// What an agent is told when its records could not be written.
pub fn refusal_of(error: &WriteError) -> Refusal {
    use deckport_protocol::ErrorCode;
    let code = match error {
        WriteError::Full => ErrorCode::STORAGE_FULL,
        WriteError::Refused(_) => ErrorCode::INTERNAL,
        WriteError::Broken | WriteError::Fatal(_) | WriteError::Stopping => ErrorCode::UNAVAILABLE,
    };
    Refusal::new(code, error.to_string())
}

/// Bytes of memory that a frame takes in the ring.
fn in_ring(stored: &StoredFrame) -> usize {
    size_of::<StoredFrame>() + 64 + stored.payload.len()
}
