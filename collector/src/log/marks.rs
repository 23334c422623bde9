//! Where errors and warnings are: what a minimap shows.
//!
//! With few blocks that hold any the rows are exact; with many, the counts that are known of each block
//! place them at its first row, which is less than a pixel off.

use super::block::Block;
use super::index::Sealed;
use super::{Log, LogError, StreamKey};
use deckport_protocol::Level;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks that are looked into for exact rows.
const EXACT_BLOCKS: usize = 256;

/// A stretch of rows that holds errors or warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Mark {
    /// The first error or warning in it, or a row close before.
    pub first_row: u64,
    pub errors: u64,
    pub warnings: u64,
}

impl Log {
    /// In at most `buckets` stretches of rows of equal width, those that hold any.
    pub async fn marks(&self, stream: StreamKey, buckets: u64) -> Result<Vec<Mark>, LogError> {
        let (total, _) = self.size(stream).await?;
        let width = total.div_ceil(buckets.max(1)).max(1);
        // The tail first: what is sealed meanwhile is found twice, and counted once.
        let unsealed = self.tail.of(stream, |frames| {
            let notes = frames.iter().flat_map(|unsealed| &unsealed.frame.notes.levels);
            (frames[0].frame.first_seq, notes.copied().collect::<Vec<_>>())
        });
        let (tail_from, mut levels) =
            unsealed.unwrap_or_else(|| (i64::MAX.cast_unsigned(), Vec::new()));
        let troubled: Vec<Arc<Sealed>> = self.index.of(stream, |blocks| {
            let sealed = blocks.iter().filter(|block| block.first_seq < tail_from);
            sealed.filter(|block| block.errors > 0 || block.warnings > 0).cloned().collect()
        });
        let mut marks: BTreeMap<u64, Mark> = BTreeMap::new();
        let mut add = |row: u64, errors: u64, warnings: u64| {
            let first = Mark { first_row: row, errors: 0, warnings: 0 };
            let mark = marks.entry(row / width).or_insert(first);
            mark.first_row = mark.first_row.min(row);
            mark.errors += errors;
            mark.warnings += warnings;
        };
        if troubled.len() <= EXACT_BLOCKS {
            for block in &troubled {
                levels.extend(self.levels_in(block).await?);
            }
        } else {
            for block in &troubled {
                add(block.first_row, block.errors, block.warnings);
            }
        }
        for (row, level) in levels {
            match level {
                Level::Error => add(row, 1, 0),
                Level::Warning => add(row, 0, 1),
                Level::Debug | Level::Info | Level::Notice => {}
            }
        }
        Ok(marks.into_values().collect())
    }

    /// The rows of a block that are not of level info.
    async fn levels_in(&self, sealed: &Sealed) -> Result<Vec<(u64, Level)>, LogError> {
        let sql = "select rows_part from block_part where block_id = $1";
        let row = self.store.fetch_one(sql, [sealed.id.into()]).await?;
        // Merged a moment ago: the next look finds it.
        let Some(row) = row else { return Ok(Vec::new()) };
        let part = row.blob(0)?;
        let notes = Block::notes_of(&part).map_err(|error| LogError::damaged(sealed, error))?;
        Ok(notes.levels)
    }
}
