//! Sealing: from the tail to blocks, and from small blocks to larger ones.
//!
//! Packing is work for a processor and happens on a thread of its own (`packer`); the writer only gets finished parts. What must hold is
//! said in `tail`.

use super::block::{BLOCK_BYTES, Block, Builder, CutRow, Packed};
use super::filter::{self, Filter};
use super::index::Sealed;
use super::tail::{Cut, Unsealed};
use super::{Log, LogError, NewFrame, StreamKey};
use crate::store::{Row, Statement, Table, Write, WriteError};
use bytes::Bytes;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Ids that are deleted in one write.
const SLICE_IDS: i64 = 2048;
/// How often small blocks are looked for.
const MERGE_EVERY: Duration = Duration::from_secs(20);
/// Neighbours are merged as long as they are together no larger than a block and a half.
const MERGED_BYTES: u64 = BLOCK_BYTES * 3 / 2;
/// So many neighbours of a running stream are worth it.
const MERGE_FROM: usize = 4;
/// More than what is shown of one row.
pub(super) const ROW_BYTES: usize = 1024 * 1024;
/// Blocks smaller than this are not for good.
const FOR_GOOD: u64 = BLOCK_BYTES / 2;

static BLOCK: Table = Table {
    insert: "insert into block (id, stream, first_seq, last_seq, first_row, rows_count, first_byte, bytes, \
             first_at, last_at, errors, warnings, levels, kinds, stored, takes_over)",
    columns: 16,
    conflict: "",
    last_wins: false,
};

static PART: Table = Table {
    insert: "insert into block_part (block_id, state_before, rows_part, records_part, text_part)",
    columns: 5,
    conflict: "",
    last_wins: false,
};

static FILTER: Table = Table {
    insert: "insert into block_filter (block_id, bits)",
    columns: 2,
    conflict: "",
    last_wins: false,
};

static GROUP: Table = Table {
    insert: "insert into filter_group (id, blocks)",
    columns: 2,
    conflict: "",
    last_wins: false,
};

static SLICE: Table = Table {
    insert: "insert into filter_slice (chunk, group_id, bits)",
    columns: 3,
    conflict: "",
    last_wins: false,
};

/// The rows that store a block.
pub(super) fn rows_of(sealed: &Sealed, packed: Packed, state_before: Option<Bytes>) -> Vec<Row> {
    let Sealed { id, stream, summary, stored } = sealed;
    let block = vec![
        (*id).into(),
        stream.0.into(),
        summary.first_seq.into(),
        summary.last_seq.into(),
        summary.first_row.into(),
        summary.rows.into(),
        summary.first_byte.into(),
        summary.bytes.into(),
        summary.first_at.into(),
        summary.last_at.into(),
        summary.errors.into(),
        summary.warnings.into(),
        i64::from(summary.levels).into(),
        i64::from(summary.kinds).into(),
        (*stored).into(),
        i64::from(summary.takes_over).into(),
    ];
    let parts = vec![
        (*id).into(),
        state_before.into(),
        packed.rows.into(),
        packed.records.into(),
        packed.text.into(),
    ];
    let bits = packed.filter.as_bytes().to_vec();
    vec![
        Row { table: &BLOCK, values: block },
        Row { table: &PART, values: parts },
        Row { table: &FILTER, values: vec![(*id).into(), bits.into()] },
    ]
}

/// A packed block under its id.
pub(super) fn sealed(id: i64, stream: StreamKey, packed: &Packed) -> Sealed {
    let filter = packed.filter.as_bytes().len();
    let stored = packed.text.len() + packed.rows.len() + packed.records.len() + filter;
    Sealed { id, stream, summary: packed.summary.clone(), stored: stored as u64 }
}

impl Log {
    /// Seals whenever there is something to seal, and merges now and then, until `stop`. What is left then stays in the tail.
    pub async fn keep_sealing(self, stop: CancellationToken) {
        let mut merges = tokio::time::interval(MERGE_EVERY);
        merges.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        merges.reset();
        let mut told = false;
        loop {
            // Dropping a branch loses nothing: all only wake.
            let merge = tokio::select! {
                () = stop.cancelled() => return,
                () = self.tail.grown.notified() => false,
                _ = merges.tick() => true,
            };
            // Goal: nothing is due any more. Exits: the writer is no more; or the collector stops.
            loop {
                let done = if merge { self.merge_all().await } else { self.seal().await };
                let Err(error) = done else { break };
                match error {
                    LogError::Write(WriteError::Fatal(_) | WriteError::Stopping) => return,
                    LogError::Write(WriteError::Full) => {}
                    error => {
                        tracing::error!(%error, "the log cannot be sealed; it is kept as it is");
                    }
                }
                self.tail.set_stuck(true);
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        "the log's tail cannot be sealed now; it is kept, and tried again each second"
                    );
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(TRY_AGAIN) => {}
                }
            }
            told = false;
            self.tail.set_stuck(false);
        }
    }

    /// Seals all that is due.
    pub(super) async fn seal(&self) -> Result<(), LogError> {
        loop {
            let cut = self.tail.cut();
            let nothing = cut.is_none();
            if let Some(cut) = cut {
                self.seal_cut(cut).await?;
            }
            self.tidy(nothing).await?;
            if nothing {
                self.slice_filters().await?;
                return Ok(());
            }
        }
    }

    async fn seal_cut(&self, cut: Cut) -> Result<(), LogError> {
        let Some(first) = cut.first() else { return Ok(()) };
        let (stream, first_seq) = (first.frame.stream, first.frame.first_seq);
        let state_before = first.frame.state_before.clone();
        let cut_row = self.cut_row(stream, &first.frame).await?;
        let limits = self.limits;
        let packing = self.packer.run(self.tail.is_waited_for(), move || {
            let packed = pack_frames(&cut, cut_row, &limits);
            (packed, cut)
        });
        let (packed, cut) = packing.await.ok_or_else(LogError::stopping)?;
        let packed = match packed {
            Ok(packed) => packed,
            Err(why) => {
                // Left by a former process, and damaged since: the others' frames go on into blocks.
                let error = LogError::Damaged { stream, seq: first_seq, why };
                tracing::error!(%error, "a run's frames stay in the tail");
                self.tail.leave(stream);
                return Ok(());
            }
        };
        let filter = packed.filter.clone();
        let sealed = sealed(self.index.new_id(), stream, &packed);
        let rows = rows_of(&sealed, packed, state_before);
        self.store.writer().write(Write { rows, ..Write::default() }).await?;
        self.filters.put(sealed.id, filter);
        self.index.put(sealed);
        self.tail.sealed(&cut);
        Ok(())
    }

    /// The row that is open in front of a frame, as it is now; `None`: none is, or it cannot be read.
    pub(super) async fn cut_row(
        &self,
        stream: StreamKey,
        frame: &NewFrame,
    ) -> Result<Option<CutRow>, LogError> {
        let Some(row) = frame.first_row.checked_sub(1).filter(|_| frame.goes_on) else {
            return Ok(None);
        };
        let page = match self.page(stream, row, 1, ROW_BYTES).await {
            Err(error @ LogError::Damaged { .. }) => {
                tracing::error!(%error, "what comes of a row behind a damaged block is not searched");
                return Ok(None);
            }
            page => page?,
        };
        Ok(page.rows.into_iter().next().map(|row| CutRow { text: row.text, at_us: row.at }))
    }

    /// Deletes what is sealed from the table of the tail.
    async fn tidy(&self, all: bool) -> Result<(), LogError> {
        let low = self.tail.lowest_unsealed();
        if !all && !self.tail.full() {
            return Ok(());
        }
        let mut until = self.tail.lowest_in_table().unwrap_or(low);
        while until < low {
            until = low.min(until + SLICE_IDS);
            let sql = "delete from tail where id < $1";
            let statement = Statement { sql, values: vec![until.into()] };
            let write = Write { statements: vec![statement], ..Write::default() };
            self.store.writer().write(write).await?;
            self.tail.deleted(until);
        }
        Ok(())
    }

    /// Merges small neighbours of every stream; [`Self::keep_sealing`] does it now and then.
    pub async fn merge_all(&self) -> Result<(), LogError> {
        for blocks in self.mergeable() {
            match self.merge(&blocks).await {
                Err(error @ LogError::Damaged { .. }) => {
                    // What cannot be read stays as it is, and is tried once; all else goes on.
                    tracing::error!(%error, "blocks are left unmerged");
                    let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
                    damaged.extend(blocks.iter().map(|block| block.id));
                }
                done => done?,
            }
        }
        self.slice_filters().await
    }

    /// Runs of neighbours that are small: at least [`MERGE_FROM`] of a stream that may go on, at least two of one that does not.
    fn mergeable(&self) -> Vec<Vec<Arc<Sealed>>> {
        let mut found = Vec::new();
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in self.index.streams() {
            let quiet = self.tail.of(stream, |_| ()).is_none();
            self.index.of(stream, |blocks| {
                let mut run: Vec<Arc<Sealed>> = Vec::new();
                let mut bytes = 0;
                let mut end = |run: &mut Vec<Arc<Sealed>>| {
                    let enough = if quiet { 2 } else { MERGE_FROM };
                    let run = std::mem::take(run);
                    if run.len() >= enough {
                        found.push(run);
                    }
                };
                for block in blocks {
                    let small = block.bytes < FOR_GOOD && !damaged.contains(&block.id);
                    if !run.is_empty() && (!small || bytes + block.bytes > MERGED_BYTES) {
                        end(&mut run);
                        bytes = 0;
                    }
                    if small {
                        run.push(Arc::clone(block));
                        bytes += block.bytes;
                    }
                }
                end(&mut run);
            });
        }
        found
    }

    /// Packs neighbours into one block, which takes their place.
    async fn merge(&self, blocks: &[Arc<Sealed>]) -> Result<(), LogError> {
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(()) };
        let stream = first.stream;
        let (_, state_before) = self.state_of(first).await?;
        let mut parts = Vec::with_capacity(blocks.len());
        for block in blocks {
            parts.push((Arc::clone(block), self.parts(block).await?));
        }
        let (first_row, first_byte) = (first.first_row, first.first_byte);
        let packing = self.packer.run(self.tail.is_waited_for(), move || {
            let mut builder = None;
            for (sealed, parts) in &parts {
                let block = parts.block(sealed)?;
                let builder = builder
                    .get_or_insert_with(|| Builder::new(first_row, first_byte, block.goes_on()));
                // The later knows more of a row that goes on in several.
                if let Some(row) = block.cut_row().filter(|_| sealed.first_row == first_row) {
                    builder.takes_over(row);
                }
                copy(builder, &block, &parts.records)?;
            }
            Ok(builder.map(Builder::finish))
        });
        let packed: Result<_, super::block::BlockError> =
            packing.await.ok_or_else(LogError::stopping)?;
        let damaged = |why: String| LogError::Damaged { stream, seq: first.first_seq, why };
        let Some(packed) = packed.map_err(|error| damaged(error.to_string()))? else {
            return Ok(());
        };
        if (packed.summary.rows, packed.summary.last_seq)
            != (last.first_row + last.rows - first_row, last.last_seq)
        {
            return Err(damaged("its blocks do not follow one another".to_owned()));
        }
        let filter = packed.filter.clone();
        let sealed = sealed(self.index.new_id(), stream, &packed);
        let rows = rows_of(&sealed, packed, state_before);
        let gone = blocks.iter().flat_map(|block| {
            [
                "delete from block where id = $1",
                "delete from block_part where block_id = $1",
                "delete from block_filter where block_id = $1",
            ]
            .map(|sql| Statement { sql, values: vec![block.id.into()] })
        });
        let write = Write { rows, statements: gone.collect(), ..Write::default() };
        self.store.writer().write(write).await?;
        self.filters.put(sealed.id, filter);
        self.index.put(sealed);
        self.filters.forget(blocks.iter().map(|block| block.id));
        Ok(())
    }

    /// Slices the filters of blocks that are for good, as soon as there are enough of them.
    async fn slice_filters(&self) -> Result<(), LogError> {
        while self.filters.many() {
            let large = self.index.large(FOR_GOOD);
            let Some((ids, filters)) = self.filters.due(&large) else { break };
            self.slice(ids, filters).await?;
        }
        Ok(())
    }

    /// Slices the filters of these blocks as one group.
    pub(super) async fn slice(&self, ids: Vec<i64>, filters: Vec<Filter>) -> Result<(), LogError> {
        let slicing = self.packer.run(self.tail.is_waited_for(), move || filter::slice(&filters));
        let chunks = slicing.await.ok_or_else(LogError::stopping)?;
        let group = ids.iter().copied().max().unwrap_or_default();
        let mut blocks = Vec::with_capacity(ids.len() * 8);
        for id in &ids {
            blocks.extend_from_slice(&id.to_le_bytes());
        }
        let mut rows = vec![Row { table: &GROUP, values: vec![group.into(), blocks.into()] }];
        for (chunk, bits) in (0i64..).zip(chunks) {
            rows.push(Row { table: &SLICE, values: vec![chunk.into(), group.into(), bits.into()] });
        }
        let sql = "delete from block_filter where block_id = $1";
        let statements = ids.iter().map(|id| Statement { sql, values: vec![(*id).into()] });
        let write = Write { rows, statements: statements.collect(), ..Write::default() };
        self.store.writer().write(write).await?;
        self.filters.sliced(group, ids);
        Ok(())
    }
}

/// Puts frames that follow one another into a block that is being built; and how many rows began in them.
pub(super) fn build_frames(
    frames: &[Arc<Unsealed>],
    limits: &deckport_protocol::Limits,
) -> Result<(Builder, u64), String> {
    let mut builder = None;
    let mut rows = 0;
    for unsealed in frames {
        let new = &unsealed.frame;
        let builder =
            builder.get_or_insert_with(|| Builder::new(new.first_row, new.first_byte, new.goes_on));
        let frame = unsealed.unpacked(limits).map_err(|error| error.to_string())?;
        builder.frame(new.received_at);
        for record in frame.records() {
            builder.push(&record, frame.boot_id());
        }
        builder.notes(&new.notes);
        rows += new.rows;
    }
    Ok((builder.ok_or("there are no frames")?, rows))
}

/// Packs frames that follow one another, and the row that is open in front of them.
fn pack_frames(
    frames: &[Arc<Unsealed>],
    cut_row: Option<CutRow>,
    limits: &deckport_protocol::Limits,
) -> Result<Packed, String> {
    let (mut builder, rows) = build_frames(frames, limits)?;
    if let Some(row) = cut_row {
        builder.takes_over(row);
    }
    let packed = builder.finish();
    if packed.summary.rows != rows {
        return Err(format!("{} rows were packed, not {rows}", packed.summary.rows));
    }
    Ok(packed)
}

/// Adds all of a block to one that is being built.
pub(super) fn copy(
    builder: &mut Builder,
    block: &Block,
    records: &[u8],
) -> Result<(), super::block::BlockError> {
    let records = block.records(records)?;
    let mut last = None;
    for (record, origin) in records.iter() {
        if last.replace(origin.frame) != Some(origin.frame) {
            builder.frame(origin.received_at);
        }
        builder.push(&record, origin.boot_id);
    }
    builder.notes(&block.notes);
    Ok(())
}
