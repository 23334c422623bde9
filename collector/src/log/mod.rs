//! The one door to stored streams: append → durable, read records, page by row, locate, search.
//!
//! A stream is taken in as the frames it was received in and stored as *blocks*, each a stretch of one stream, packed. What must
//! hold:
//! * Frames of a stream are contiguous: the first is seq 1, each next begins behind the one before. The
//!   caller appends in order, under one [`Guard`] a stream. So are blocks, and the frames behind the last one.
//! * `first_row` and `rows` of a frame count rows that *began*: before it, and in it. A page starts at the
//!   frame in which its first row began; where it ends is found by reading on.
//! * Readers see a frame only after it is durable.
//!
//! New frames stand in the tail first ([`tail`]) and are sealed into blocks later ([`seal`]); reading finds both. Every
//! block in short is held in memory ([`index`]), and so is what tells which of them need not be looked into ([`filter`]).
//!
//! Nobody else reads or writes the tables `stream`, `tail`, `block`, `block_part`, `block_filter`, `filter_group` and
//! `filter_slice`: what they look like is this module's own business.

mod block;
mod check;
mod convert;
mod filter;
mod filters;
mod index;
mod marks;
mod notes;
mod packer;
mod page;
mod read;
mod retire;
mod seal;
mod search;
mod tail;
#[cfg(test)]
mod tests;

pub use check::{Checked, Finding};
pub use marks::Mark;
pub use notes::{Notes, Noting};
pub use page::{Beginning, Page, TextRow};
pub use search::{
    Axis, Cursor, Direction, Found, MATCHES, Matches, Plan, Spec, Spread, Target, Wanted,
};
pub use tail::{Allotment, Room};

use crate::store::{
    Done, Guard, Permit, ReadError, Row, Statement, Store, Values, Write, WriteError,
};
use bytes::Bytes;
use deckport_protocol::{DeploymentId, Frame, Limits, Scope, StreamId, Tenant};
use filters::Filters;
use index::Index;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tail::Tail;

/// The short key of a stream in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub i64);

/// Why stored records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the database could not be read")]
    Database(#[from] ReadError),
    #[error("what is stored of stream {stream:?} from seq {seq} on cannot be read: {why}")]
    Damaged { stream: StreamKey, seq: u64, why: String },
    #[error("there is no space to pack what a former version stored; make some and start again")]
    NoSpace,
    /// A deployment of that id is somebody else's.
    #[error("this run belongs to another stream; a copied spool cannot go on with it")]
    Foreign,
    #[error("there is no thread to pack on: {0}")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl LogError {
    /// Work was given up because the collector stops.
    fn stopping() -> Self {
        Self::Write(WriteError::Stopping)
    }
}

/// A frame to append, with what folding it found.
#[derive(Clone, Debug)]
pub struct NewFrame {
    pub stream: StreamKey,
    pub first_seq: u64,
    pub last_seq: u64,
    /// Rows that began before the frame, and in it.
    pub first_row: u64,
    pub rows: u64,
    /// Output bytes before the frame, and in it.
    pub first_byte: u64,
    pub bytes: u64,
    /// The earliest and the latest wall time in it, by the console's clock.
    pub first_at: i64,
    pub last_at: i64,
    pub received_at: i64,
    /// A row is open before it, and behind it.
    pub goes_on: bool,
    pub open_row: bool,
    /// Nothing follows it.
    pub last: bool,
    /// Where the deriver stood in front of the frame; may be left out for most frames.
    pub state_before: Option<Bytes>,
    /// What folding found out about the rows that ended in it.
    pub notes: Notes,
    pub payload: Bytes,
}

impl NewFrame {
    /// Bytes of memory that it takes while it is in the tail. Of many small ones most is not their payload.
    fn held(&self) -> usize {
        let state = self.state_before.as_ref().map_or(0, Bytes::len);
        tail::EACH + self.payload.len() + state + self.notes.held()
    }

    fn stored(&self) -> StoredFrame {
        StoredFrame {
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            received_at: self.received_at,
            payload: self.payload.clone(),
        }
    }
}

/// A place in the tail and in the writer's queue.
#[derive(Debug)]
pub struct Place {
    room: Room,
    permit: Permit,
}

/// A frame of a stored stream. `payload` is the columns encoding.
#[derive(Clone, Debug)]
pub struct StoredFrame {
    pub first_seq: u64,
    pub last_seq: u64,
    pub received_at: i64,
    pub payload: Bytes,
}

/// What is stored, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub blocks: u64,
    /// Bytes of blocks as they are stored, filters included.
    pub stored_bytes: u64,
    /// Bytes of output in them.
    pub output_bytes: u64,
    /// Bytes of frames that are in no block yet.
    pub tail_bytes: u64,
}

/// What the collector keeps of a stream beside its frames.
#[derive(Clone, Debug)]
pub struct StreamHead {
    pub stream: StreamKey,
    pub deployment_id: DeploymentId,
    pub tenant: Tenant,
    pub stream_id: StreamId,
    pub incarnation: u64,
    pub quarantined: Option<String>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Log {
    store: Arc<Store>,
    tail: Arc<Tail>,
    index: Arc<Index>,
    filters: Arc<Filters>,
    kept: Arc<read::Kept>,
    sound: Arc<read::Sound>,
    packer: Arc<packer::Packer>,
    /// Blocks that could not be merged because they cannot be read.
    damaged: Arc<Mutex<HashSet<i64>>>,
    /// For decoding what is stored: wider than any link's limits, so that what was once accepted stays
    /// readable when limits change.
    limits: Limits,
}

impl Log {
    /// Opens the log of a store that nobody reads yet. Whatever is due is sealed by [`Log::keep_sealing`]; the tail holds about
    /// `seal_bytes`.
    pub async fn open(store: Arc<Store>, seal_bytes: usize) -> Result<Self, LogError> {
        const WIDE: usize = 64 * 1024 * 1024;
        let limits = Limits {
            message_bytes: WIDE,
            body_bytes: WIDE,
            records: 1024 * 1024,
            piece_bytes: WIDE,
            event_bytes: WIDE,
            unacked_bytes: WIDE,
            bytes_per_second: u64::MAX,
            messages_per_second: u32::MAX,
            transients_per_second: u32::MAX,
        };
        if store.has_a_past() {
            convert::pack_what_was_frames(&store, &limits).await?;
        }
        let index = Arc::new(Index::load(&store).await?);
        let filters = Arc::new(Filters::load(&store).await?);
        // A group still names blocks that were given back: their filters are no other block's.
        index.no_id_up_to(filters.last_id());
        let tail = Arc::new(Tail::new(seal_bytes));
        tail.adopt(&store).await?;
        Ok(Self {
            store,
            tail,
            index,
            filters,
            kept: Arc::default(),
            sound: Arc::default(),
            packer: Arc::new(packer::Packer::start().map_err(LogError::Thread)?),
            damaged: Arc::default(),
            limits,
        })
    }

    /// What there is, in figures.
    pub fn stored(&self) -> Stored {
        let (blocks, stored, bytes) = self.index.totals();
        Stored { blocks, stored_bytes: stored, output_bytes: bytes, tail_bytes: self.tail.bytes() }
    }

    /// Something of the stream is in blocks.
    pub fn has_blocks(&self, stream: StreamKey) -> bool {
        self.index.last(stream).is_some()
    }

    /// Bytes as stored, and rows, of one stream.
    pub fn stored_of(&self, stream: StreamKey) -> (u64, u64) {
        self.index.of(stream, |blocks| {
            blocks
                .iter()
                .fold((0, 0), |(bytes, rows), block| (bytes + block.stored, rows + block.rows))
        })
    }

    /// Bounds for decoding what is stored.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What one who appends may have in the tail at once, whatever of their streams it is for.
    pub fn allot(&self) -> Allotment {
        self.tail.allot()
    }

    /// Waits for a place in the tail and in the writer's queue; the way to [`Log::append`].
    pub async fn reserve(&self, bytes: usize, allotment: &Allotment) -> Result<Place, WriteError> {
        let room = self.tail.room(bytes, allotment).await?;
        Ok(Place { room, permit: self.store.writer().reserve(bytes).await? })
    }

    /// Appends a frame, which was `unpacked` from its payload, and `also` other rows in the same transaction. `done` is called when all of it
    /// is durable, in order within a stream; or with the reason when nothing of it was stored.
    pub fn append(
        &self,
        place: Place,
        frame: NewFrame,
        unpacked: Frame,
        mut also: Vec<Row>,
        guard: Arc<Guard>,
        done: Done,
    ) {
        let (unsealed, row) = self.tail.begin(frame, unpacked, place.room);
        also.push(row);
        let tail = Arc::clone(&self.tail);
        place.permit.submit(Write {
            rows: also,
            statements: Vec::new(),
            guard: Some(guard),
            done: Some(Box::new(move |result| {
                // Readers find it before anybody is told of it.
                tail.landed(unsealed, result.is_ok());
                done(result);
            })),
        });
    }

    /// The stream of a deployment, if it has one.
    pub async fn head(
        &self,
        scope: Scope,
        deployment: DeploymentId,
    ) -> Result<Option<StreamHead>, LogError> {
        let row = self
            .store
            .fetch_one(
                "select stream, stream_id, incarnation, quarantined_why, organisation_id, venue_id \
                 from stream where deployment_id = $1 and organisation_id = $2 \
                 and ($3 is null or venue_id = $3)",
                [
                    deployment.to_string().into(),
                    scope.organisation_id.to_string().into(),
                    scope.venue_id.map(|venue| venue.to_string()).into(),
                ],
            )
            .await?;
        let head = |row: Values| {
            Ok(StreamHead {
                stream: StreamKey(row.int(0)?),
                deployment_id: deployment,
                tenant: Tenant { organisation_id: row.parsed(4)?, venue_id: row.parsed(5)? },
                stream_id: row.parsed(1)?,
                incarnation: row.count(2)?,
                quarantined: row.maybe_text(3)?.map(|why| why.as_ref().to_owned()),
            })
        };
        row.map(head).transpose()
    }

    /// Records a new stream, or a later incarnation of a known one.
    pub async fn claim(
        &self,
        tenant: Tenant,
        deployment: DeploymentId,
        stream_id: StreamId,
        incarnation: u64,
        now_us: i64,
    ) -> Result<StreamHead, LogError> {
        let statement = Statement {
            sql: "insert into stream (organisation_id, venue_id, deployment_id, stream_id, \
                  incarnation, created_at) values ($1, $2, $3, $4, $5, $6) \
                  on conflict (deployment_id) do update \
                  set incarnation = case when excluded.incarnation > stream.incarnation \
                  then excluded.incarnation else stream.incarnation end \
                  where stream.organisation_id = excluded.organisation_id \
                  and stream.stream_id = excluded.stream_id",
            values: vec![
                tenant.organisation_id.to_string().into(),
                tenant.venue_id.to_string().into(),
                deployment.to_string().into(),
                stream_id.to_string().into(),
                incarnation.into(),
                now_us.into(),
            ],
        };
        let write = Write { statements: vec![statement], ..Write::default() };
        self.store.writer().write(write).await?;
        // A console that was moved goes on with what it began where it stood.
        let head = self.head(Scope::all(tenant.organisation_id), deployment).await?;
        // Nothing was recorded where another organisation has it.
        head.ok_or(LogError::Foreign)
    }

    async fn write(&self, statements: Vec<Statement>) -> Result<(), LogError> {
        Ok(self.store.writer().write(Write { statements, ..Write::default() }).await?)
    }

    /// Nothing more is taken from the stream, for the stated reason.
    pub async fn quarantine(
        &self,
        stream: StreamKey,
        why: &str,
        now_us: i64,
    ) -> Result<(), LogError> {
        let statement = Statement {
            sql: "update stream set quarantined_at = $2, quarantined_why = $3 \
                  where stream = $1 and quarantined_at is null",
            values: vec![stream.0.into(), now_us.into(), why.into()],
        };
        let write = Write { statements: vec![statement], ..Write::default() };
        Ok(self.store.writer().write(write).await?)
    }
}
