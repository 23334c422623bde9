//! Giving back: what is stored of a stream, slices of filters that are about nothing any more, and space in the file.
//!
//! All of it in small steps, each a write of its own: what consoles send waits for one of them at most. What must hold:
//! * The first step says that the stream is retired, and takes what of it is not in blocks. Whoever looks from then on finds nothing.
//! * A crash between two steps leaves blocks of a stream that is retired, or a group of which no block is left. Both are found again and
//!   deleted: [`Log::finish_retiring`], [`Log::give_back_filters`].

use super::filter::CHUNKS;
use super::{Log, LogError, StreamKey};
use crate::store::{PAGE_BYTES, Statement, Vacuum};
use std::time::Duration;
use tokio::time::Instant;

/// Blocks that are deleted in one write, a few megabytes; and chunks of slices.
const BLOCKS: usize = 16;
const SLICES: usize = 128;
/// Between two steps of giving back space there is at least as much time as a step took, and this.
const PAUSE: Duration = Duration::from_millis(10);
/// A step that takes longer is followed by smaller ones, one that takes less by larger ones.
const LONG: Duration = Duration::from_millis(20);
const SHORT: Duration = Duration::from_millis(5);

impl Log {
    /// Says that a stream is retired, with `also` in one transaction; [`Self::finish_retiring`] follows. Nobody may append to it any more.
    pub async fn retire(
        &self,
        stream: StreamKey,
        mut also: Vec<Statement>,
    ) -> Result<(), LogError> {
        for sql in ["delete from tail where stream = $1", "delete from event where stream = $1"] {
            also.push(Statement { sql, values: vec![stream.0.into()] });
        }
        self.write(also).await?;
        self.tail.forget(stream);
        Ok(())
    }

    /// Deletes the blocks of a stream that is retired.
    pub async fn finish_retiring(&self, stream: StreamKey) -> Result<(), LogError> {
        let ids: Vec<i64> = self.index.of(stream, |blocks| blocks.iter().map(|b| b.id).collect());
        // First from memory: who looks finds nothing, not something that is no longer there.
        self.index.forget(stream);
        self.filters.forget(ids.iter().copied());
        for ids in ids.chunks(BLOCKS) {
            let gone = ids.iter().flat_map(|id| {
                [
                    "delete from block_part where block_id = $1",
                    "delete from block_filter where block_id = $1",
                    "delete from block where id = $1",
                ]
                .map(|sql| Statement { sql, values: vec![(*id).into()] })
            });
            self.write(gone.collect()).await?;
        }
        Ok(())
    }

    /// Deletes slices of filters of which no block is left.
    pub async fn give_back_filters(&self) -> Result<(), LogError> {
        let blocks = self.index.large(0);
        for group in self.filters.forget_groups(|block| blocks.contains(&block)) {
            let chunks: Vec<i64> = (0..CHUNKS).collect();
            for chunks in chunks.chunks(SLICES) {
                // Each by its key: a group's slices stand far apart.
                let sql = "delete from filter_slice where chunk = $1 and group_id = $2";
                let gone = chunks
                    .iter()
                    .map(|chunk| Statement { sql, values: vec![(*chunk).into(), group.into()] });
                self.write(gone.collect()).await?;
            }
            // Last: as long as it is there, what is left of it is found.
            let sql = "delete from filter_group where id = $1";
            self.write(vec![Statement { sql, values: vec![group.into()] }]).await?;
        }
        Ok(())
    }

    /// Gives space of the file that nothing stands in back to the file system, all but what the tail needs again and again.
    /// How many bytes that were, about. May be dropped between two steps.
    pub async fn give_back_space(&self) -> Result<u64, LogError> {
        let keep = self.tail.seal_bytes() / u64::from(PAGE_BYTES);
        let free = self.store.free_pages().await?.unwrap_or(0);
        let (mut left, mut given) = (free.saturating_sub(keep), 0);
        let mut much = Vacuum::Some;
        // Goal: what is free now is given back. Exits: it is; somebody needed the rest of it meanwhile.
        while left > 0 && self.store.free_pages().await?.is_some_and(|free| free > keep) {
            let began = Instant::now();
            self.store.vacuum(much).await?;
            left = left.saturating_sub(much.pages());
            given += much.pages();
            let took = began.elapsed();
            much = match (took >= LONG, took <= SHORT, much) {
                (true, _, Vacuum::Much) | (_, true, Vacuum::Little) => Vacuum::Some,
                (true, ..) => Vacuum::Little,
                (_, true, _) => Vacuum::Much,
                (false, false, much) => much,
            };
            tokio::time::sleep(took + PAUSE).await;
        }
        Ok(given * u64::from(PAGE_BYTES))
    }
}
