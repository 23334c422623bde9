//! Where errors and warnings are: what a minimap shows.
//!
//! With few frames that hold any the rows are exact; with many, the counts stored beside the frames
//! place them at their frame's first row, which is less than a pixel off.

use super::read::unsigned;
use super::{Log, LogError, StreamKey};
use deckport_protocol::Level;
use deckport_protocol::rows::{RowFact, RowSink};
use std::collections::BTreeMap;

/// Frames that are looked into for exact rows.
const EXACT_FRAMES: usize = 256;

/// A stretch of rows that holds errors or warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Mark {
    /// The first error or warning in it, or a row close before.
    pub first_row: u64,
    pub errors: u64,
    pub warnings: u64,
}

/// Collects rows that matter.
#[derive(Default)]
struct Trouble(Vec<(u64, u64, u64)>);

impl RowSink for Trouble {
    fn row(&mut self, fact: &RowFact, _step: Option<&str>) {
        match fact.level {
            Level::Error => self.0.push((fact.row, 1, 0)),
            Level::Warning => self.0.push((fact.row, 0, 1)),
            Level::Debug | Level::Info | Level::Notice => {}
        }
    }
}

impl Log {
    /// In at most `buckets` stretches of rows of equal width, those that hold any.
    pub async fn marks(&self, stream: StreamKey, buckets: u64) -> Result<Vec<Mark>, LogError> {
        let (total, _) = self.size(stream).await?;
        let width = total.div_ceil(buckets.max(1)).max(1);
        // First seq → first row, errors, warnings. What is sealed meanwhile is found twice.
        let unsealed = self.tail.of(stream, |frames| {
            let frames = frames.iter().map(|unsealed| &unsealed.frame);
            let troubled = frames.filter(|frame| frame.errors > 0 || frame.warnings > 0);
            troubled
                .map(|frame| (frame.first_seq, (frame.first_row, frame.errors, frame.warnings)))
                .collect::<BTreeMap<_, _>>()
        });
        let mut frames = unsealed.unwrap_or_default();
        let rows = sqlx::query(
            "select first_seq, first_row, errors, warnings from frame where stream = $1 \
             and (errors > 0 or warnings > 0)",
        )
        .bind(stream.0)
        .fetch_all(self.store.readers())
        .await?;
        for row in &rows {
            let counts =
                (unsigned(row, "first_row")?, unsigned(row, "errors")?, unsigned(row, "warnings")?);
            frames.insert(unsigned(row, "first_seq")?, counts);
        }
        let mut found = Vec::with_capacity(frames.len());
        let exact = frames.len() <= EXACT_FRAMES;
        for (seq, counts) in frames {
            if exact {
                self.trouble(stream, seq, &mut found).await?;
            } else {
                found.push(counts);
            }
        }
        let mut marks: BTreeMap<u64, Mark> = BTreeMap::new();
        for (row, errors, warnings) in found {
            let first = Mark { first_row: row, errors: 0, warnings: 0 };
            let mark = marks.entry(row / width).or_insert(first);
            mark.first_row = mark.first_row.min(row);
            mark.errors += errors;
            mark.warnings += warnings;
        }
        Ok(marks.into_values().collect())
    }

    /// The errors and warnings that end in the frame at `seq`.
    async fn trouble(
        &self,
        stream: StreamKey,
        seq: u64,
        found: &mut Vec<(u64, u64, u64)>,
    ) -> Result<(), LogError> {
        let (mut next, mut deriver) = self.deriver_at(stream, seq).await?;
        let mut trouble = Trouble::default();
        while next <= seq {
            let frames = self.frames(stream, next, 1).await?;
            let Some(stored) = frames.first() else { break };
            for record in self.decode(stream, stored)?.records() {
                if record.seq < seq {
                    deriver.feed(&record, &mut ());
                } else {
                    deriver.feed(&record, &mut trouble);
                }
            }
            next = stored.last_seq + 1;
        }
        found.append(&mut trouble.0);
        Ok(())
    }
}
