//! The one door to stored streams: append → durable, read frames, page by row, locate, search.
//!
//! A stream is stored as the frames it was received in. What must hold:
//! * Frames of a stream are contiguous: the first is seq 1, each next begins behind the one before. The
//!   caller appends in order, under one [`Guard`] a stream.
//! * `first_row` and `rows` of a frame count rows that *began*: before it, and in it. A page starts at the
//!   frame in which its first row began; where it ends is found by reading on.
//! * Readers see a frame only after it is durable.
//!
//! New frames stand in the tail first and are sealed later ([`tail`]); reading finds both.
//!
//! Nobody else reads or writes the tables `stream`, `tail`, `frame` and `segment`: what they look like is this
//! module's own business.

mod marks;
mod page;
mod read;
mod search;
mod tail;

pub use marks::Mark;
pub use page::Page;
pub use search::{Direction, MATCHES, Query, QueryError};
pub use tail::Room;

use crate::store::{Done, Guard, Permit, Row, Statement, Store, Table, Value, Write, WriteError};
use bytes::Bytes;
use deckport_protocol::{DeploymentId, Limits, StreamId, Tenant};
use sqlx::Row as _;
use std::sync::Arc;
use tail::Tail;

/// The short key of a stream in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub i64);

/// Why stored records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the database could not be read")]
    Database(#[from] sqlx::Error),
    #[error("a stored frame of stream {stream:?} at seq {seq} cannot be read: {why}")]
    Damaged { stream: StreamKey, seq: u64, why: String },
    #[error(transparent)]
    Write(#[from] WriteError),
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
    /// Rows of these levels that ended in it.
    pub errors: u64,
    pub warnings: u64,
    pub received_at: i64,
    /// Where the deriver stood in front of the frame; may be left out for most frames.
    pub state_before: Option<Bytes>,
    pub payload: Bytes,
}

/// A place in the tail and in the writer's queue.
#[derive(Debug)]
pub struct Place {
    room: Room,
    permit: Permit,
}

/// Sums of everything before some frame, written where a new segment begins with it.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub errors: u64,
    pub warnings: u64,
}

/// A frame as stored. `payload` is the columns encoding, as it was received.
#[derive(Clone, Debug)]
pub struct StoredFrame {
    pub first_seq: u64,
    pub last_seq: u64,
    pub first_row: u64,
    pub rows: u64,
    pub received_at: i64,
    pub payload: Bytes,
}

/// What the collector keeps of a stream beside its frames.
#[derive(Clone, Debug)]
pub struct StreamHead {
    pub stream: StreamKey,
    pub deployment_id: DeploymentId,
    pub stream_id: StreamId,
    pub incarnation: u64,
    pub quarantined: Option<String>,
}

/// The columns that the tables `tail` and `frame` share, in order.
fn frame_values(frame: &NewFrame) -> [Value; 12] {
    [
        frame.stream.0.into(),
        frame.first_seq.into(),
        frame.last_seq.into(),
        frame.first_row.into(),
        frame.rows.into(),
        frame.first_byte.into(),
        frame.bytes.into(),
        frame.errors.into(),
        frame.warnings.into(),
        frame.received_at.into(),
        frame.state_before.clone().into(),
        frame.payload.clone().into(),
    ]
}

static SEGMENT: Table = Table {
    insert: "insert into segment (stream, first_row, first_seq, errors, warnings)",
    columns: 5,
    conflict: "",
    last_wins: false,
};

/// See the module.
#[derive(Clone, Debug)]
pub struct Log {
    store: Arc<Store>,
    tail: Arc<Tail>,
    /// For decoding what is stored: wider than any link's limits, so that what was once accepted stays
    /// readable when limits change.
    limits: Limits,
}

impl Log {
    /// Opens the log of a store that nobody reads yet. The tail is sealed whenever it holds `seal_bytes`, by
    /// [`Log::keep_sealing`].
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
            transients_per_second: u32::MAX,
        };
        let log = Self { store, tail: Arc::new(Tail::new(seal_bytes)), limits };
        match log.seal_all().await {
            Err(LogError::Write(WriteError::Full)) => log.adopt().await?,
            sealed => sealed?,
        }
        Ok(log)
    }

    /// Bounds for decoding what is stored.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Waits for a place in the tail and in the writer's queue; the way to [`Log::append`].
    pub async fn reserve(&self, bytes: usize) -> Result<Place, WriteError> {
        let room = self.tail.room(bytes).await?;
        Ok(Place { room, permit: self.store.writer().reserve(bytes).await? })
    }

    /// Appends a frame, and `also` other rows in the same transaction. `done` is called when all of it
    /// is durable, in order within a stream; or with the reason when nothing of it was stored.
    pub fn append(
        &self,
        place: Place,
        frame: NewFrame,
        segment: Option<Segment>,
        mut also: Vec<Row>,
        guard: Arc<Guard>,
        done: Done,
    ) {
        if let Some(segment) = segment {
            also.push(Row {
                table: &SEGMENT,
                values: vec![
                    frame.stream.0.into(),
                    frame.first_row.into(),
                    frame.first_seq.into(),
                    segment.errors.into(),
                    segment.warnings.into(),
                ],
            });
        }
        let (unsealed, row) = self.tail.begin(frame, place.room);
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
        tenant: Tenant,
        deployment: DeploymentId,
    ) -> Result<Option<StreamHead>, LogError> {
        let row = sqlx::query(
            "select stream, stream_id, incarnation, quarantined_why from stream \
             where deployment_id = $1 and organisation_id = $2",
        )
        .bind(deployment.to_string())
        .bind(tenant.organisation_id.to_string())
        .fetch_optional(self.store.readers())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let id: String = row.try_get(1)?;
        Ok(Some(StreamHead {
            stream: StreamKey(row.try_get(0)?),
            deployment_id: deployment,
            stream_id: id
                .parse()
                .map_err(|_| sqlx::Error::Decode("stream_id is no UUID".into()))?,
            incarnation: row.try_get::<i64, _>(2)?.cast_unsigned(),
            quarantined: row.try_get(3)?,
        }))
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
                  set incarnation = max(incarnation, excluded.incarnation) \
                  where organisation_id = excluded.organisation_id \
                  and stream_id = excluded.stream_id",
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
        let head = self.head(tenant, deployment).await?;
        head.ok_or_else(|| LogError::Database(sqlx::Error::RowNotFound))
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
