//! The tail: frames that are durable and not sealed yet.
//!
//! A frame first goes into the table `tail`, in the order of arrival, whatever its stream. The frames of one commit then
//! stand side by side on a few pages; in `frame`, where a stream's frames stand together, each would be on a page of its
//! own, and a commit of 64 consoles would write several times its bytes. The sealer moves frames to `frame` later, many of
//! one stream at once.
//!
//! What must hold:
//! * Every durable frame is in `tail` or in `frame`; between being sealed and being deleted from `tail`, in both.
//! * [`Tail`] holds, in memory, every durable frame that is not known to be sealed. A reader takes those first and then
//!   reads `frame` for what lies before them: what is sealed in between is found twice, not never.
//! * Rows of `tail` are deleted only below the lowest id that is not sealed, ids on their way to the disk included.
//! * What a former process left in `tail` is sealed before anybody reads ([`Log::open`]); where the disk is too full for that,
//!   it is read into memory and sealed later, like what is new.
//!
//! Bounds: appending waits while the tail holds [`FULL`] times what it is sealed at. A full disk stops sealing and nothing
//! else: it is tried again.

use super::{Log, LogError, NewFrame, StreamKey, frame_values};
use crate::store::{Row, Statement, Table, Value, Write, WriteError};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The tail's bound, in multiples of what it is sealed at.
const FULL: usize = 8;
/// Frames, and bytes, that are sealed in one write: it must not hold up those that wait to be acknowledged.
const SLICE_FRAMES: usize = 64;
const SLICE_BYTES: usize = 256 * 1024;
/// Ids that are deleted in one write.
const SLICE_IDS: i64 = 512;
const TRY_AGAIN: Duration = Duration::from_secs(1);

static FRAME: Table = Table {
    insert: "insert into frame (stream, first_seq, last_seq, first_row, rows, first_byte, bytes, \
             errors, warnings, received_at, state_before, payload)",
    columns: 12,
    conflict: "",
    last_wins: false,
};

static TAIL: Table = Table {
    insert: "insert into tail (id, stream, first_seq, last_seq, first_row, rows, first_byte, bytes, \
             errors, warnings, received_at, state_before, payload)",
    columns: 13,
    conflict: "",
    last_wins: false,
};

/// What a former process left. A crash between sealing and deleting leaves frames in both tables.
const SEAL_ALL: [&str; 2] = [
    "insert or ignore into frame (stream, first_seq, last_seq, first_row, rows, first_byte, bytes, \
     errors, warnings, received_at, state_before, payload) \
     select stream, first_seq, last_seq, first_row, rows, first_byte, bytes, \
     errors, warnings, received_at, state_before, payload from tail order by stream, first_seq",
    "delete from tail",
];

/// What a former process left and had not sealed.
const LEFT: &str = "select id, stream, first_seq, last_seq, first_row, rows, first_byte, bytes, \
     errors, warnings, received_at, state_before, payload from tail \
     where not exists (select 1 from frame \
                       where frame.stream = tail.stream and frame.first_seq = tail.first_seq) \
     order by id";

/// A frame in the tail.
#[derive(Debug)]
pub(super) struct Unsealed {
    id: i64,
    pub(super) frame: NewFrame,
    /// Its share of the tail's bound; what a former process left has none.
    _room: Option<Room>,
}

/// A place in the tail for so many bytes, given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Inner {
    streams: HashMap<StreamKey, VecDeque<Arc<Unsealed>>>,
    /// Ids of all that is not sealed, or not durable yet.
    ids: BTreeSet<i64>,
    last_id: i64,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    inner: Mutex<Inner>,
    room: Arc<Semaphore>,
    /// It is sealed from this size on.
    seal_bytes: usize,
    grown: Notify,
}

impl Tail {
    pub(super) fn new(seal_bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            room: Arc::new(Semaphore::new(FULL * seal_bytes)),
            seal_bytes,
            grown: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for a frame of about so many bytes.
    pub(super) async fn room(&self, bytes: usize) -> Result<Room, WriteError> {
        let bytes = u32::try_from(bytes.clamp(1, FULL * self.seal_bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        permit.map(|permit| Room { _permit: permit }).map_err(|_| WriteError::Stopping)
    }

    /// Gives a frame its id and the row to write.
    pub(super) fn begin(&self, frame: NewFrame, room: Room) -> (Arc<Unsealed>, Row) {
        let mut inner = self.lock();
        inner.last_id += 1;
        let id = inner.last_id;
        inner.ids.insert(id);
        drop(inner);
        let mut values: Vec<Value> = Vec::with_capacity(TAIL.columns);
        values.push(id.into());
        values.extend(frame_values(&frame));
        (Arc::new(Unsealed { id, frame, _room: Some(room) }), Row { table: &TAIL, values })
    }

    /// The frame is durable; or nothing of it was stored.
    pub(super) fn landed(&self, unsealed: Arc<Unsealed>, durable: bool) {
        let mut inner = self.lock();
        if !durable {
            inner.ids.remove(&unsealed.id);
            return;
        }
        inner.bytes += unsealed.frame.payload.len();
        let full = inner.bytes >= self.seal_bytes;
        inner.streams.entry(unsealed.frame.stream).or_default().push_back(unsealed);
        drop(inner);
        if full {
            self.grown.notify_one();
        }
    }

    fn adopt(&self, unsealed: Unsealed) {
        self.lock().ids.insert(unsealed.id);
        self.landed(Arc::new(unsealed), true);
    }

    fn begin_behind(&self, id: i64) {
        let mut inner = self.lock();
        inner.last_id = inner.last_id.max(id);
    }

    /// Looks at a stream's frames, oldest first; `None` when it has none here.
    pub(super) fn of<T>(
        &self,
        stream: StreamKey,
        look: impl FnOnce(&VecDeque<Arc<Unsealed>>) -> T,
    ) -> Option<T> {
        let inner = self.lock();
        inner.streams.get(&stream).filter(|frames| !frames.is_empty()).map(look)
    }

    /// The next frames to seal, of streams from `stream` on, up to the id `last`.
    fn slice(&self, streams: &[StreamKey], last: i64) -> Vec<Arc<Unsealed>> {
        let inner = self.lock();
        let mut bytes = 0;
        streams
            .iter()
            .filter_map(|stream| inner.streams.get(stream))
            .flat_map(|frames| frames.iter().take_while(|unsealed| unsealed.id <= last))
            .take(SLICE_FRAMES)
            .take_while(|unsealed| {
                let take = bytes < SLICE_BYTES;
                bytes += unsealed.frame.payload.len();
                take
            })
            .cloned()
            .collect()
    }

    fn sealed(&self, slice: &[Arc<Unsealed>]) {
        let mut inner = self.lock();
        for unsealed in slice {
            let stream = unsealed.frame.stream;
            inner.ids.remove(&unsealed.id);
            inner.bytes -= unsealed.frame.payload.len();
            // A slice is the beginning of its streams' frames.
            let Some(frames) = inner.streams.get_mut(&stream) else { continue };
            frames.pop_front();
            if frames.is_empty() {
                inner.streams.remove(&stream);
            }
        }
    }

    /// Streams with frames here, and the last id given.
    fn streams(&self) -> (Vec<StreamKey>, i64) {
        let inner = self.lock();
        let mut streams: Vec<_> = inner.streams.keys().copied().collect();
        streams.sort_unstable();
        (streams, inner.last_id)
    }

    /// Everything below this id is sealed.
    fn lowest_unsealed(&self) -> i64 {
        let inner = self.lock();
        inner.ids.first().copied().unwrap_or(inner.last_id + 1)
    }
}

impl Log {
    /// Seals what a former process left.
    pub(super) async fn seal_all(&self) -> Result<(), LogError> {
        let none =
            sqlx::query_scalar::<_, i64>("select count(*) from (select 1 from tail limit 1)")
                .fetch_one(self.store.readers())
                .await?;
        if none == 0 {
            return Ok(());
        }
        let statements = SEAL_ALL.map(|sql| Statement { sql, values: Vec::new() });
        let write = Write { statements: statements.into(), ..Write::default() };
        Ok(self.store.writer().write(write).await?)
    }

    /// Takes what a former process left into the tail in memory.
    pub(super) async fn adopt(&self) -> Result<(), LogError> {
        let mut rows = sqlx::query(LEFT).fetch(self.store.readers());
        while let Some(row) = rows.try_next().await? {
            let count = |at: usize| row.try_get::<i64, _>(at).map(i64::cast_unsigned);
            let frame = NewFrame {
                stream: StreamKey(row.try_get(1)?),
                first_seq: count(2)?,
                last_seq: count(3)?,
                first_row: count(4)?,
                rows: count(5)?,
                first_byte: count(6)?,
                bytes: count(7)?,
                errors: count(8)?,
                warnings: count(9)?,
                received_at: row.try_get(10)?,
                state_before: row.try_get::<Option<Vec<u8>>, _>(11)?.map(Bytes::from),
                payload: row.try_get::<Vec<u8>, _>(12)?.into(),
            };
            self.tail.adopt(Unsealed { id: row.try_get(0)?, frame, _room: None });
        }
        drop(rows);
        // Those that were sealed are still in the table, and an id is used once.
        let last = sqlx::query_scalar::<_, Option<i64>>("select max(id) from tail")
            .fetch_one(self.store.readers())
            .await?;
        self.tail.begin_behind(last.unwrap_or(0));
        Ok(())
    }

    /// Seals the tail whenever it has grown, until `stop`. What is left then is sealed at the next start.
    pub async fn keep_sealing(self, stop: CancellationToken) {
        let mut deleted = 0;
        loop {
            // Dropping either branch loses nothing: both only wake.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.tail.grown.notified() => {}
            }
            let mut told = false;
            // Exits when the tail is sealed, or the writer is no more.
            while let Err(error) = self.seal(&mut deleted).await {
                if matches!(error, WriteError::Fatal(_) | WriteError::Stopping) {
                    return;
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the log's tail cannot be sealed; it is kept, and tried again each second");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(TRY_AGAIN) => {}
                }
            }
        }
    }

    /// Seals all that is in the tail now. `deleted`: rows of `tail` below this id are gone.
    async fn seal(&self, deleted: &mut i64) -> Result<(), WriteError> {
        let (streams, last) = self.tail.streams();
        let mut streams = streams.as_slice();
        // A slice may span streams: of a quiet one there is little to seal.
        loop {
            let slice = self.tail.slice(streams, last);
            let Some(end) = slice.last() else { break };
            let rows = slice
                .iter()
                .map(|unsealed| Row { table: &FRAME, values: frame_values(&unsealed.frame).into() })
                .collect();
            self.store.writer().write(Write { rows, ..Write::default() }).await?;
            self.tail.sealed(&slice);
            let at = streams.iter().position(|stream| *stream == end.frame.stream);
            streams = &streams[at.unwrap_or(0)..];
        }
        let low = self.tail.lowest_unsealed();
        while *deleted < low {
            let until = low.min(*deleted + SLICE_IDS);
            let sql = "delete from tail where id < $1";
            let statement = Statement { sql, values: vec![until.into()] };
            self.store
                .writer()
                .write(Write { statements: vec![statement], ..Write::default() })
                .await?;
            *deleted = until;
        }
        Ok(())
    }
}
