//! The tail: frames that are durable and in no block yet.
//!
//! A frame first goes into the table `tail`, in the order of arrival, whatever its stream: the frames of one commit stand side by
//! side on a few pages, and a commit of 64 consoles writes little more than their bytes. The sealer packs them into blocks later.
//!
//! What must hold:
//! * Every durable frame is in the table `tail` or in a block; between being sealed and being deleted from `tail`, in both.
//! * [`Tail`] holds, in memory, every durable frame that is not known to be in a block. A reader takes those first and then
//!   looks for what lies before them in blocks: what is sealed in between is found twice, not never.
//! * Rows of `tail` are deleted only below the lowest id that is not sealed, ids on their way to the disk included: whole
//!   pages become free, and none is written twice.
//! * What a former process left in `tail` is taken into memory before anybody reads ([`Tail::adopt`]).
//!
//! Bounds: appending waits while the tail takes [`FULL`] times as much memory as what it is sealed at, and while whoever appends has all of
//! their own part of it ([`Allotment`]), so that who floods waits for themselves and nobody else does. What is waited for is sealed. A full
//! disk stops sealing and nothing else: it is tried again, and meanwhile nobody waits for their own part, but is told by the writer.

use super::block::BLOCK_BYTES;
use super::{LogError, NewFrame, StreamKey};
use crate::store::{Row, Store, Table, Value, WriteError};
use deckport_protocol::columns::FrameError;
use deckport_protocol::{Frame, Limits};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// The tail's bound, in multiples of what it is sealed at.
const FULL: usize = 3;
/// It is sealed when it takes so many times as much memory, however few bytes of frames that is.
const HELD: usize = 2;
/// One who appends has so little of all the room at once; at least [`LEAST`] bytes.
const PART: usize = 64;
const LEAST: usize = 256 * 1024;
/// What a frame takes in memory beside what it holds: itself, its places in maps, what the allocator adds.
pub(super) const EACH: usize = size_of::<Unsealed>() + 256;
/// Bytes of memory for frames as they were unpacked when they came in, so that sealing need not unpack them again.
const UNPACKED: usize = 32 * 1024 * 1024;

static TAIL: Table = Table {
    insert: "insert into tail (id, stream, first_seq, last_seq, first_row, rows_count, first_byte, bytes, \
             first_at, last_at, received_at, goes_on, open_row, state_before, notes, payload)",
    columns: 16,
    conflict: "",
    last_wins: false,
};

/// What a former process left. A crash between sealing and deleting leaves frames that are in a block already.
const LEFT: &str = "select id, stream, first_seq, last_seq, first_row, rows_count, first_byte, bytes, \
     first_at, last_at, received_at, goes_on, open_row, state_before, notes, payload from tail where id > $1 \
     and not exists (select 1 from block where block.stream = tail.stream \
                     and block.first_seq <= tail.first_seq and block.last_seq >= tail.last_seq) \
     order by id limit 256";

/// A frame in the tail.
#[derive(Debug)]
pub(super) struct Unsealed {
    pub(super) id: i64,
    pub(super) frame: NewFrame,
    /// It as it was unpacked, and its share of [`UNPACKED`].
    unpacked: Option<(Frame, OwnedSemaphorePermit)>,
    /// Its share of the tail's bound; what a former process left has none.
    room: Option<Room>,
}

impl Unsealed {
    /// The frame, unpacked.
    pub(super) fn unpacked(&self, limits: &Limits) -> Result<Cow<'_, Frame>, FrameError> {
        match &self.unpacked {
            Some((frame, _)) => Ok(Cow::Borrowed(frame)),
            None => Frame::decode(&self.frame.payload, limits).map(Cow::Owned),
        }
    }
}

/// What one who appends may have in the tail at once.
#[derive(Clone, Debug)]
pub struct Allotment {
    id: u64,
    room: Arc<Semaphore>,
    most: usize,
}

impl Allotment {
    pub(crate) fn new(id: u64, most: usize) -> Self {
        Self { id, room: Arc::new(Semaphore::new(most)), most }
    }
}

/// A place in the tail for so many bytes, given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    permit: OwnedSemaphorePermit,
    /// None where nothing can be sealed.
    own: Option<OwnedSemaphorePermit>,
    /// Whose.
    of: u64,
    /// As much as those have in all.
    most: usize,
}

impl Room {
    /// Whoever has it has more than half of what they may have.
    fn presses(&self) -> bool {
        let free = self.own.as_ref().map(|own| own.semaphore().available_permits());
        free.is_some_and(|free| free < self.most / 2)
    }

    /// Gives back what is more than this.
    fn keep(&mut self, bytes: usize) {
        for permit in [Some(&mut self.permit), self.own.as_mut()].into_iter().flatten() {
            let spare = permit.num_permits().saturating_sub(bytes);
            drop(permit.split(spare));
        }
    }
}

/// Somebody waits for what they have in the tail to be sealed.
struct Waits<'a>(&'a Tail, u64);

impl<'a> Waits<'a> {
    fn of(tail: &'a Tail, id: u64) -> Self {
        *tail.lock().waiting.entry(id).or_default() += 1;
        tail.grown.notify_one();
        Self(tail, id)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        if let Some(count) = inner.waiting.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                inner.waiting.remove(&self.1);
            }
        }
    }
}

/// Somebody waits for room.
struct Wanted<'a>(&'a Tail);

impl<'a> Wanted<'a> {
    fn by(tail: &'a Tail) -> Self {
        tail.wanted.fetch_add(1, Ordering::Relaxed);
        tail.grown.notify_one();
        Self(tail)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Frames {
    frames: VecDeque<Arc<Unsealed>>,
    /// Output bytes of them.
    bytes: u64,
    /// Nothing follows the last one.
    ended: bool,
}

#[derive(Debug, Default)]
struct Inner {
    streams: HashMap<StreamKey, Frames>,
    /// Ids of all that is not sealed, or not durable yet.
    ids: BTreeSet<i64>,
    last_id: i64,
    /// Streams whose frames cannot be packed.
    left: BTreeSet<StreamKey>,
    /// Of payloads.
    bytes: usize,
    /// Of memory.
    held: usize,
    /// Bytes of payloads by the id behind them, of what is in the table: sealed or not.
    in_table: BTreeMap<i64, usize>,
    table_bytes: usize,
    /// By allotment: how many wait because all of it is taken.
    waiting: HashMap<u64, usize>,
}

/// What is to be packed next: frames of one stream, in order.
pub(super) type Cut = Vec<Arc<Unsealed>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    inner: Mutex<Inner>,
    room: Arc<Semaphore>,
    unpacked: Arc<Semaphore>,
    /// It is sealed from this size on.
    seal_bytes: usize,
    /// How many wait for room.
    wanted: AtomicUsize,
    allotments: AtomicU64,
    /// Nothing can be sealed now.
    stuck: watch::Sender<bool>,
    /// There may be something to seal.
    pub(super) grown: Notify,
}

impl Tail {
    pub(super) fn new(seal_bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            room: Arc::new(Semaphore::new(FULL * seal_bytes)),
            unpacked: Arc::new(Semaphore::new(UNPACKED)),
            seal_bytes,
            wanted: AtomicUsize::new(0),
            allotments: AtomicU64::new(0),
            stuck: watch::Sender::new(false),
            grown: Notify::new(),
        }
    }

    /// There is too much of all.
    fn is_due(&self, inner: &Inner) -> bool {
        inner.bytes >= self.seal_bytes
            || inner.table_bytes >= self.seal_bytes
            || inner.held >= HELD * self.seal_bytes
            || self.wanted.load(Ordering::Relaxed) > 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one who appends.
    pub(super) fn allot(&self) -> Allotment {
        let all = FULL * self.seal_bytes;
        let most = (all / PART).max(LEAST).min(all);
        let id = self.allotments.fetch_add(1, Ordering::Relaxed);
        Allotment::new(id, most)
    }

    /// Whether anything can be sealed.
    pub(super) fn set_stuck(&self, stuck: bool) {
        self.stuck.send_if_modified(|was| std::mem::replace(was, stuck) != stuck);
    }

    /// Somebody waits until something is sealed.
    pub(super) fn is_waited_for(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0 || !self.lock().waiting.is_empty()
    }

    /// Waits for room for a frame of about so many bytes.
    pub(super) async fn room(
        &self,
        bytes: usize,
        allotment: &Allotment,
    ) -> Result<Room, WriteError> {
        let permits = |most: usize| u32::try_from((bytes + EACH).min(most)).unwrap_or(u32::MAX);
        let (own, all) = (permits(allotment.most), permits(FULL * self.seal_bytes));
        // First what is one's own: whoever waits for that holds nothing that others wait for.
        let own = match Arc::clone(&allotment.room).try_acquire_many_owned(own) {
            Ok(permit) => Some(permit),
            Err(_) => {
                let _waits = Waits::of(self, allotment.id);
                let mut stuck = self.stuck.subscribe();
                // Dropping a branch is safe: both only wait.
                tokio::select! {
                    permit = Arc::clone(&allotment.room).acquire_many_owned(own) => {
                        Some(permit.map_err(|_| WriteError::Stopping)?)
                    }
                    _ = stuck.wait_for(|stuck| *stuck) => None,
                }
            }
        };
        let permit = match Arc::clone(&self.room).try_acquire_many_owned(all) {
            Ok(permit) => permit,
            Err(_) => {
                let _wanted = Wanted::by(self);
                let permit = Arc::clone(&self.room).acquire_many_owned(all).await;
                permit.map_err(|_| WriteError::Stopping)?
            }
        };
        Ok(Room { permit, own, of: allotment.id, most: allotment.most })
    }

    /// Gives a frame its id and the row to write.
    pub(super) fn begin(
        &self,
        frame: NewFrame,
        unpacked: Frame,
        mut room: Room,
    ) -> (Arc<Unsealed>, Row) {
        // What it takes here is what sealing counts: else all room may be taken before anything is due.
        room.keep(frame.held());
        let mut inner = self.lock();
        inner.last_id += 1;
        let id = inner.last_id;
        inner.ids.insert(id);
        drop(inner);
        let values: Vec<Value> = vec![
            id.into(),
            frame.stream.0.into(),
            frame.first_seq.into(),
            frame.last_seq.into(),
            frame.first_row.into(),
            frame.rows.into(),
            frame.first_byte.into(),
            frame.bytes.into(),
            frame.first_at.into(),
            frame.last_at.into(),
            frame.received_at.into(),
            i64::from(frame.goes_on).into(),
            i64::from(frame.open_row).into(),
            frame.state_before.clone().into(),
            frame.notes.encode().into(),
            frame.payload.clone().into(),
        ];
        let memory = u32::try_from(unpacked.memory()).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.unpacked).try_acquire_many_owned(memory);
        let unpacked = share.ok().map(|share| (unpacked, share));
        let unsealed = Unsealed { id, frame, unpacked, room: Some(room) };
        (Arc::new(unsealed), Row { table: &TAIL, values })
    }

    /// The frame is durable; or nothing of it was stored.
    pub(super) fn landed(&self, unsealed: Arc<Unsealed>, durable: bool) {
        let mut inner = self.lock();
        if !durable {
            inner.ids.remove(&unsealed.id);
            return;
        }
        let frame = &unsealed.frame;
        inner.bytes += frame.payload.len();
        inner.held += frame.held();
        inner.table_bytes += frame.payload.len();
        inner.in_table.insert(unsealed.id, frame.payload.len());
        let presses = unsealed.room.as_ref().is_some_and(Room::presses);
        let full = self.is_due(&inner) || presses || !inner.waiting.is_empty();
        let stream = inner.streams.entry(frame.stream).or_default();
        stream.bytes += frame.bytes;
        stream.ended |= frame.last;
        let ready = stream.bytes >= BLOCK_BYTES || stream.ended;
        stream.frames.push_back(unsealed);
        drop(inner);
        if full || ready {
            self.grown.notify_one();
        }
    }

    /// Takes what a former process left into memory.
    pub(super) async fn adopt(&self, store: &Store) -> Result<(), LogError> {
        let mut behind = i64::MIN;
        loop {
            let rows = store.fetch(LEFT, [behind.into()]).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let notes = row.blob(14)?;
                let frame = NewFrame {
                    stream: StreamKey(row.int(1)?),
                    first_seq: row.count(2)?,
                    last_seq: row.count(3)?,
                    first_row: row.count(4)?,
                    rows: row.count(5)?,
                    first_byte: row.count(6)?,
                    bytes: row.count(7)?,
                    first_at: row.int(8)?,
                    last_at: row.int(9)?,
                    received_at: row.int(10)?,
                    goes_on: row.int(11)? != 0,
                    open_row: row.int(12)? != 0,
                    last: false,
                    state_before: row.maybe_blob(13)?,
                    notes: super::Notes::decode(&mut &*notes).ok_or_else(|| {
                        crate::store::ReadError::unexpected("the notes of a frame in the tail")
                    })?,
                    payload: row.blob(15)?,
                };
                behind = row.int(0)?;
                self.lock().ids.insert(behind);
                self.landed(
                    Arc::new(Unsealed { id: behind, frame, unpacked: None, room: None }),
                    true,
                );
            }
        }
        // Those that are in blocks are still in the table, and an id is used once.
        let last = store.fetch_one("select max(id) from tail", []).await?;
        let last = last.map(|row| row.maybe_int(0)).transpose()?.flatten();
        let mut inner = self.lock();
        inner.last_id = inner.last_id.max(last.unwrap_or(0));
        Ok(())
    }

    /// Looks at a stream's frames, oldest first; `None` when it has none here.
    pub(super) fn of<T>(
        &self,
        stream: StreamKey,
        look: impl FnOnce(&VecDeque<Arc<Unsealed>>) -> T,
    ) -> Option<T> {
        let inner = self.lock();
        let frames = &inner.streams.get(&stream)?.frames;
        (!frames.is_empty()).then(|| look(frames))
    }

    /// About how much it holds.
    pub(super) fn seal_bytes(&self) -> u64 {
        self.seal_bytes as u64
    }

    /// Bytes of frames here.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes as u64
    }

    /// Streams that have frames here.
    pub(super) fn streams(&self) -> Vec<StreamKey> {
        self.lock().streams.keys().copied().collect()
    }

    /// Its table holds as much as it should.
    pub(super) fn full(&self) -> bool {
        self.lock().table_bytes >= self.seal_bytes
    }

    /// The next frames to pack: of a stream that fills a block or has ended; else of whoever waits for that or will soon, and has done so for
    /// the longest; else, when there is too much of all, of the stream with the oldest frame. `None`: nothing is due. What is cut ends where no row is open, if that can be.
    pub(super) fn cut(&self) -> Option<Cut> {
        let inner = self.lock();
        let streams = inner.streams.iter().filter(|(stream, _)| !inner.left.contains(stream));
        let mut streams: Vec<&Frames> = streams.map(|(_, frames)| frames).collect();
        streams.sort_unstable_by_key(|stream| stream.frames.front().map(|first| first.id));
        let mut ready = streams.iter().filter(|s| s.bytes >= BLOCK_BYTES || s.ended);
        let full = self.is_due(&inner);
        let is_waited_for = |stream: &&&Frames| {
            let room = stream.frames.front().and_then(|first| first.room.as_ref());
            room.is_some_and(|room| room.presses() || inner.waiting.contains_key(&room.of))
        };
        let mut waited_for = streams.iter().filter(is_waited_for);
        let ready = ready.find_map(|stream| cut_of(&stream.frames, stream.ended));
        let ready = ready.or_else(|| waited_for.find_map(|stream| cut_of(&stream.frames, true)));
        ready.or_else(|| {
            full.then(|| streams.first().and_then(|stream| cut_of(&stream.frames, true)))?
        })
    }

    /// These frames are in a block.
    pub(super) fn sealed(&self, cut: &Cut) {
        let mut inner = self.lock();
        let Some(stream) = cut.first().map(|first| first.frame.stream) else { return };
        // Retired meanwhile.
        if !inner.streams.contains_key(&stream) {
            return;
        }
        for unsealed in cut {
            inner.ids.remove(&unsealed.id);
            inner.bytes -= unsealed.frame.payload.len();
            inner.held -= unsealed.frame.held();
        }
        let Some(frames) = inner.streams.get_mut(&stream) else { return };
        for unsealed in cut {
            frames.bytes -= unsealed.frame.bytes;
            frames.frames.pop_front();
        }
        if frames.frames.is_empty() {
            inner.streams.remove(&stream);
        }
    }

    /// A stream's frames cannot be packed: they are not cut any more.
    pub(super) fn leave(&self, stream: StreamKey) {
        self.lock().left.insert(stream);
    }

    /// A stream's frames are no longer wanted.
    pub(super) fn forget(&self, stream: StreamKey) {
        let mut inner = self.lock();
        let gone = inner.streams.remove(&stream).map(|stream| stream.frames).unwrap_or_default();
        for unsealed in gone {
            inner.ids.remove(&unsealed.id);
            inner.bytes -= unsealed.frame.payload.len();
            inner.held -= unsealed.frame.held();
        }
    }

    /// Every row of the table below this id is in a block.
    pub(super) fn lowest_unsealed(&self) -> i64 {
        let inner = self.lock();
        inner.ids.first().copied().unwrap_or(inner.last_id + 1)
    }

    /// Rows below `id` are no longer in the table.
    pub(super) fn deleted(&self, id: i64) {
        let mut inner = self.lock();
        let kept = inner.in_table.split_off(&id);
        let gone = std::mem::replace(&mut inner.in_table, kept);
        inner.table_bytes -= gone.values().sum::<usize>();
    }

    /// The first row of the table, as far as is known.
    pub(super) fn lowest_in_table(&self) -> Option<i64> {
        self.lock().in_table.first_key_value().map(|(id, _)| *id)
    }
}

/// The first frames, up to a block's size; the end of the last one with no row open if there is one, or all that there is with `any`.
fn cut_of(frames: &VecDeque<Arc<Unsealed>>, any: bool) -> Option<Cut> {
    let mut bytes = 0;
    let mut until = 0;
    let mut taken = 0;
    for unsealed in frames {
        // One row that is larger than a block is cut.
        if until > 0 && bytes >= BLOCK_BYTES || bytes >= 2 * BLOCK_BYTES {
            break;
        }
        bytes += unsealed.frame.bytes;
        taken += 1;
        if !unsealed.frame.open_row {
            until = taken;
        }
    }
    if until == 0 && (any || bytes >= 2 * BLOCK_BYTES) {
        until = taken;
    }
    (until > 0).then(|| frames.iter().take(until).cloned().collect())
}
