//! Reading stored frames in order.

use super::{Log, LogError, NewFrame, StoredFrame, StreamKey};
use bytes::Bytes;
use deckport_protocol::Frame;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// Frames read at once.
const FRAMES: i64 = 128;

pub(super) fn stored(row: &SqliteRow) -> Result<StoredFrame, sqlx::Error> {
    let payload: Vec<u8> = row.try_get("payload")?;
    Ok(StoredFrame {
        first_seq: unsigned(row, "first_seq")?,
        last_seq: unsigned(row, "last_seq")?,
        first_row: unsigned(row, "first_row")?,
        rows: unsigned(row, "rows")?,
        received_at: row.try_get("received_at")?,
        payload: Bytes::from(payload),
    })
}

pub(super) fn unsigned(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

impl NewFrame {
    fn stored(&self) -> StoredFrame {
        StoredFrame {
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            first_row: self.first_row,
            rows: self.rows,
            received_at: self.received_at,
            payload: self.payload.clone(),
        }
    }
}

impl Log {
    /// Frames in order, beginning with the one that holds `seq` (or the next one); about `bytes` of
    /// them, at least one when there is one.
    pub async fn frames(
        &self,
        stream: StreamKey,
        seq: u64,
        bytes: usize,
    ) -> Result<Vec<StoredFrame>, LogError> {
        // The tail first: see there.
        let unsealed = self.tail.of(stream, |frames| {
            let from = frames.partition_point(|unsealed| unsealed.frame.last_seq < seq);
            let mut sum = 0;
            let taken = frames.range(from..).take_while(|unsealed| {
                let take = sum < bytes;
                sum += unsealed.frame.payload.len();
                take
            });
            let taken: Vec<_> = taken.map(|unsealed| unsealed.frame.stored()).collect();
            (frames[0].frame.first_seq, taken)
        });
        let (tail_from, unsealed) = unsealed.unwrap_or((i64::MAX.cast_unsigned(), Vec::new()));
        if tail_from <= seq {
            return Ok(unsealed);
        }
        let mut rows = sqlx::query(
            "select first_seq, last_seq, first_row, rows, received_at, payload from frame \
             where stream = $1 and first_seq >= coalesce((select max(first_seq) from frame \
             where stream = $1 and first_seq <= $2), 0) and first_seq < $3 \
             order by first_seq limit $4",
        )
        .bind(stream.0)
        .bind(seq.cast_signed())
        .bind(tail_from.cast_signed())
        .bind(FRAMES)
        .fetch(self.store.readers());
        let mut frames = Vec::new();
        let mut sum = 0;
        use futures_util::TryStreamExt as _;
        while let Some(row) = rows.try_next().await? {
            let frame = stored(&row)?;
            if frame.last_seq < seq {
                continue;
            }
            sum += frame.payload.len();
            frames.push(frame);
            if sum >= bytes {
                return Ok(frames);
            }
        }
        if frames.last().is_none_or(|last| last.last_seq + 1 == tail_from) {
            for frame in unsealed {
                if sum >= bytes && !frames.is_empty() {
                    break;
                }
                sum += frame.payload.len();
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    /// The state in front of the frame at `seq` or of one not far before it: first seq, completed rows
    /// before it, and the deriver's state.
    pub(super) async fn state_at(
        &self,
        stream: StreamKey,
        seq: u64,
    ) -> Result<(u64, u64, Vec<u8>), LogError> {
        let unsealed = self.tail.of(stream, |frames| {
            let until = frames.partition_point(|unsealed| unsealed.frame.first_seq <= seq);
            frames.range(..until).rev().find_map(|unsealed| {
                let NewFrame { first_seq, first_row, state_before, .. } = &unsealed.frame;
                Some((*first_seq, *first_row, state_before.as_ref()?.to_vec()))
            })
        });
        if let Some(state) = unsealed.flatten() {
            return Ok(state);
        }
        let row = sqlx::query(
            "select first_seq, first_row, state_before from frame where stream = $1 \
             and first_seq <= $2 and state_before is not null order by first_seq desc limit 1",
        )
        .bind(stream.0)
        .bind(seq.cast_signed())
        .fetch_optional(self.store.readers())
        .await?;
        match row {
            Some(row) => Ok((
                unsigned(&row, "first_seq")?,
                unsigned(&row, "first_row")?,
                row.try_get("state_before")?,
            )),
            None => Ok((1, 0, Vec::new())),
        }
    }

    /// Decodes what is stored.
    pub fn decode(&self, stream: StreamKey, stored: &StoredFrame) -> Result<Frame, LogError> {
        Frame::decode(&stored.payload, &self.limits).map_err(|error| LogError::Damaged {
            stream,
            seq: stored.first_seq,
            why: error.to_string(),
        })
    }

    /// The last sequence number stored, 0 for none.
    pub async fn last_seq(&self, stream: StreamKey) -> Result<u64, LogError> {
        Ok(self.size(stream).await?.1)
    }
}
