//! Reading stored streams in order: from blocks, then from the tail.

use super::block::{Block, BlockError, Origin};
use super::index::Sealed;
use super::{Log, LogError, StoredFrame, StreamKey};
use bytes::Bytes;
use deckport_protocol::rows::RowDeriver;
use deckport_protocol::{Frame, FrameBuilder, RecordRef};
use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// A frame made from a block holds about so much.
const FRAME_BYTES: usize = 256 * 1024;
const FRAME_RECORDS: u64 = 1024;
/// Unpacked blocks that are kept: whoever pages through a log comes back to the same ones.
const KEPT: usize = 6;
/// A block that took others' place is in the index a moment after it is in the database.
pub(super) const MOVED: Duration = Duration::from_millis(5);
pub(super) const MOVES: usize = 400;

/// The parts of a block as they are stored.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) rows: Bytes,
    pub(super) records: Bytes,
    pub(super) text: Bytes,
}

impl Parts {
    pub(super) fn block(&self, sealed: &Sealed) -> Result<Block, BlockError> {
        let place = (sealed.first_seq, sealed.first_row, sealed.first_byte);
        Block::open(place, &self.text, &self.rows)
    }

    /// The same for a search, which may look into thousands: the checksum of a block's text is looked at once.
    pub(super) fn block_searched(
        &self,
        sealed: &Sealed,
        sound: &Sound,
    ) -> Result<Block, BlockError> {
        let place = (sealed.first_seq, sealed.first_row, sealed.first_byte);
        let is_sound = sound.has(sealed.id);
        let block = Block::open_searched(place, &self.text, &self.rows, is_sound)?;
        if !is_sound {
            sound.put(sealed.id);
        }
        Ok(block)
    }
}

/// Blocks of which the checksums were found right since the collector was started. Whoever pages through a log, exports or checks it looks at
/// them each time. A few bytes for each block; numbers of blocks do not come again.
#[derive(Debug, Default)]
pub(super) struct Sound(RwLock<HashSet<i64>>);

impl Sound {
    fn has(&self, id: i64) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    fn put(&self, id: i64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(id);
    }
}

/// A block that was unpacked, with its records as they are stored.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) block: Block,
    pub(super) records: Bytes,
}

/// Blocks that were unpacked last.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<VecDeque<(i64, Arc<Opened>)>>);

impl Kept {
    fn get(&self, id: i64) -> Option<Arc<Opened>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| *known == id)?;
        let found = kept.remove(at)?;
        kept.push_front(found.clone());
        Some(found.1)
    }

    fn put(&self, id: i64, opened: &Arc<Opened>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((id, Arc::clone(opened)));
        kept.truncate(KEPT);
    }
}

impl LogError {
    pub(super) fn damaged(sealed: &Sealed, why: impl std::fmt::Display) -> Self {
        Self::Damaged { stream: sealed.stream, seq: sealed.first_seq, why: why.to_string() }
    }
}

impl Log {
    /// The parts of a block; `None` where another has taken its place.
    pub(super) async fn find_parts(&self, sealed: &Sealed) -> Result<Option<Parts>, LogError> {
        let sql = "select rows_part, records_part, text_part from block_part where block_id = $1";
        let row = self.store.fetch_one(sql, [sealed.id.into()]).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Parts { rows: row.blob(0)?, records: row.blob(1)?, text: row.blob(2)? }))
    }

    /// The parts of a block that nobody else may merge.
    pub(super) async fn parts(&self, sealed: &Sealed) -> Result<Parts, LogError> {
        let parts = self.find_parts(sealed).await?;
        parts.ok_or_else(|| LogError::damaged(sealed, "its parts are not there"))
    }

    /// The block that `find` finds in the index, unpacked.
    pub(super) async fn open_block(
        &self,
        find: impl Fn() -> Option<Arc<Sealed>>,
    ) -> Result<Option<(Arc<Sealed>, Arc<Opened>)>, LogError> {
        for _ in 0..MOVES {
            let Some(sealed) = find() else { return Ok(None) };
            if let Some(kept) = self.kept.get(sealed.id) {
                return Ok(Some((sealed, kept)));
            }
            if let Some(parts) = self.find_parts(&sealed).await? {
                let block =
                    parts.block(&sealed).map_err(|error| LogError::damaged(&sealed, error))?;
                let opened = Arc::new(Opened { block, records: parts.records });
                self.kept.put(sealed.id, &opened);
                return Ok(Some((sealed, opened)));
            }
            // Merged a moment ago: the index learns of it.
            tokio::time::sleep(MOVED).await;
        }
        match find() {
            Some(sealed) => Err(LogError::damaged(&sealed, "its parts are not there")),
            None => Ok(None),
        }
    }

    /// Where a stream's frames in the tail begin; beyond all where it has none there.
    fn tail_from(&self, stream: StreamKey) -> u64 {
        let first = self.tail.of(stream, |frames| frames[0].frame.first_seq);
        first.unwrap_or(i64::MAX.cast_unsigned())
    }

    /// Frames of the tail from the one that holds `seq` on, about `bytes` of them.
    fn unsealed(&self, stream: StreamKey, seq: u64, bytes: usize) -> Vec<StoredFrame> {
        let taken = self.tail.of(stream, |frames| {
            let from = frames.partition_point(|unsealed| unsealed.frame.last_seq < seq);
            let mut sum = 0;
            let taken = frames.range(from..).take_while(|unsealed| {
                let take = sum < bytes;
                sum += unsealed.frame.payload.len();
                take
            });
            taken.map(|unsealed| unsealed.frame.stored()).collect()
        });
        taken.unwrap_or_default()
    }

    /// Feeds the records from `seq` on, in order, until `each` says stop. Returns the seq behind the last one that was fed.
    pub async fn walk(
        &self,
        stream: StreamKey,
        seq: u64,
        mut each: impl FnMut(&RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<u64, LogError> {
        const READ_BYTES: usize = 256 * 1024;
        let mut next = seq;
        // Goal: every record from `seq` on. Exits: `each` has enough; the durable end.
        loop {
            // The tail first: see there.
            let tail_from = self.tail_from(stream);
            if tail_from <= next {
                let frames = self.unsealed(stream, next, READ_BYTES);
                let there = frames.first().is_some_and(|first| first.first_seq <= next);
                if !there && self.index.at_seq(stream, next).is_none() {
                    return Ok(next);
                }
                // Else they were sealed in between, and are in a block.
                for stored in frames.into_iter().filter(|_| there) {
                    let frame = self.decode(stream, &stored)?;
                    let from = next;
                    for record in frame.records().filter(|record| record.seq >= from) {
                        next = record.last_seq() + 1;
                        if each(&record).is_break() {
                            return Ok(next);
                        }
                    }
                }
                if there {
                    continue;
                }
            }
            let found = self.open_block(|| self.index.at_seq(stream, next)).await?;
            let Some((sealed, opened)) = found else {
                // What was not in the tail and is in no block was sealed in between, or is not there.
                if self.index.at_seq(stream, next).is_none() && self.tail_from(stream) > next {
                    return Ok(next);
                }
                continue;
            };
            let records = opened.block.records(&opened.records);
            let records = records.map_err(|error| LogError::damaged(&sealed, error))?;
            let from = next;
            for (record, ..) in records.iter().filter(|(record, ..)| record.seq >= from) {
                next = record.last_seq() + 1;
                if each(&record).is_break() {
                    return Ok(next);
                }
            }
            next = next.max(sealed.last_seq + 1);
            tokio::task::yield_now().await;
        }
    }

    /// Frames in order, beginning with the one that holds `seq` (or the next one); about `bytes` of
    /// them, at least one when there is one. Those from blocks are made anew and hold what they held when they were received.
    pub async fn frames(
        &self,
        stream: StreamKey,
        seq: u64,
        bytes: usize,
    ) -> Result<Vec<StoredFrame>, LogError> {
        let unsealed = self.unsealed(stream, seq, bytes);
        if unsealed.first().is_some_and(|first| first.first_seq <= seq) {
            return Ok(unsealed);
        }
        let found = self.open_block(|| self.index.at_seq(stream, seq)).await?;
        // In no block either: what there is, is behind `seq`.
        let Some((sealed, opened)) = found else { return Ok(unsealed) };
        let records = opened.block.records(&opened.records);
        let records = records.map_err(|error| LogError::damaged(&sealed, error))?;
        Ok(frames_of(records.iter(), seq, bytes))
    }

    /// The state in front of the block, or of one not far before it, and the seq that it is in front of.
    pub(super) async fn state_of(&self, sealed: &Sealed) -> Result<(u64, Option<Bytes>), LogError> {
        let sql = "select state_before from block_part where block_id = $1";
        let row = self.store.fetch_one(sql, [sealed.id.into()]).await?;
        let state = row.map(|row| row.maybe_blob(0)).transpose()?.flatten();
        Ok((sealed.first_seq, state))
    }

    /// A deriver in front of the record `seq`, or not far before it, and the seq to feed next.
    pub async fn deriver_at(
        &self,
        stream: StreamKey,
        seq: u64,
    ) -> Result<(u64, RowDeriver), LogError> {
        let unsealed = self.tail.of(stream, |frames| {
            let until = frames.partition_point(|unsealed| unsealed.frame.first_seq <= seq);
            frames.range(..until).rev().find_map(|unsealed| {
                let frame = &unsealed.frame;
                Some((frame.first_seq, frame.state_before.clone()?))
            })
        });
        let mut found = unsealed.flatten();
        let mut before = self.index.at_seq(stream, seq).filter(|block| block.first_seq <= seq);
        if found.is_none() && before.is_none() {
            before = self.index.last(stream).filter(|block| block.first_seq <= seq);
        }
        while let (None, Some(block)) = (&found, &before) {
            let (first_seq, state) = self.state_of(block).await?;
            match state {
                Some(state) => found = Some((first_seq, state)),
                None if first_seq <= 1 => break,
                None => before = self.index.at_seq(stream, first_seq - 1),
            }
        }
        let Some((first_seq, state)) = found else { return Ok((1, RowDeriver::new())) };
        let deriver = RowDeriver::restore(&state).map_err(|error| LogError::Damaged {
            stream,
            seq: first_seq,
            why: error.to_string(),
        })?;
        Ok((first_seq, deriver))
    }

    /// Decodes what is stored.
    pub fn decode(&self, stream: StreamKey, stored: &StoredFrame) -> Result<Frame, LogError> {
        Frame::decode(&stored.payload, &self.limits).map_err(|error| LogError::Damaged {
            stream,
            seq: stored.first_seq,
            why: error.to_string(),
        })
    }
}

/// Records from `seq` on as frames, about `bytes` of them. Each ends where a frame ended that was received: whoever goes on behind it
/// may find those.
fn frames_of<'a>(
    records: impl Iterator<Item = (RecordRef<'a>, Origin)>,
    seq: u64,
    bytes: usize,
) -> Vec<StoredFrame> {
    let mut frames = Vec::new();
    let mut builder = FrameBuilder::new();
    let (mut held, mut count, mut sum) = (0, 0, 0);
    // The first record, the last, and what that came with.
    let mut open: Option<(u64, u64, Origin)> = None;
    let mut close = |builder: &mut FrameBuilder, (first_seq, last_seq, origin): (_, _, Origin)| {
        // Packed: a viewer may be far away.
        if let Some(payload) = builder.finish(origin.boot_id, true) {
            let received_at = origin.received_at;
            frames.push(StoredFrame { first_seq, last_seq, received_at, payload });
        }
    };
    for (record, origin) in records.filter(|(record, _)| record.last_seq() >= seq) {
        if let Some(last) = open
            && last.2.frame != origin.frame
            && (last.2.boot_id != origin.boot_id
                || !builder.keeps(record.boot_us)
                || held >= FRAME_BYTES
                || count + origin.records > FRAME_RECORDS)
        {
            close(&mut builder, last);
            open = None;
            (held, count) = (0, 0);
            if sum >= bytes {
                break;
            }
        }
        let first_seq = open.map_or(record.seq, |open| open.0);
        builder.push(&record);
        held += record.data().len();
        sum += record.data().len();
        count += 1;
        open = Some((first_seq, record.last_seq(), origin));
    }
    if let Some(last) = open {
        close(&mut builder, last);
    }
    frames
}
