//! Finding rows by text, level and phase: a scan over the stored stream.
//!
//! The scan renders each row, so what is found is what is seen. It reads a stretch at a time and gives
//! way to others between stretches; dropping its future ends it. The block store of a later version
//! answers the same questions from filters.

use super::{Log, LogError, StreamKey};
use deckport_protocol::Level;
use deckport_protocol::rows::{Row, RowRenderer};
use regex::{Regex, RegexBuilder};
use std::ops::ControlFlow;

/// Rows that `matches` lists; beyond, they are only counted.
pub const MATCHES: usize = 10_000;

/// What to look for. All that is stated must hold.
#[derive(Clone, Debug)]
pub struct Query {
    text: Option<Regex>,
    level: Option<Level>,
    phase: Option<u32>,
}

/// The pattern is not a regular expression, or too large a one.
#[derive(Debug, thiserror::Error)]
#[error("the pattern cannot be searched for: {0}")]
pub struct QueryError(#[from] regex::Error);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Next,
    Previous,
}

impl Query {
    /// `regex`: `text` is a regular expression. `case`: capitals matter.
    pub fn new(
        text: &str,
        regex: bool,
        case: bool,
        level: Option<Level>,
        phase: Option<u32>,
    ) -> Result<Self, QueryError> {
        let pattern = if regex { text.to_owned() } else { regex::escape(text) };
        let text = (!text.is_empty())
            .then(|| {
                RegexBuilder::new(&pattern).case_insensitive(!case).size_limit(1 << 20).build()
            })
            .transpose()?;
        Ok(Self { text, level, phase })
    }

    fn matches(&self, row: &Row) -> bool {
        // `warning` finds errors too: whoever looks for trouble wants both.
        self.level.is_none_or(|level| row.level >= level)
            && self.phase.is_none_or(|phase| row.phase == Some(phase))
            && self.text.as_ref().is_none_or(|text| text.is_match(&row.text))
    }
}

impl Log {
    /// Calls `found` with each matching row's number from row `from` on, until it says stop. Returns the rows looked at.
    async fn scan(
        &self,
        stream: StreamKey,
        query: &Query,
        from: u64,
        mut found: impl FnMut(u64) -> bool,
    ) -> Result<u64, LogError> {
        let (total, last_seq) = self.size(stream).await?;
        if from >= total {
            return Ok(0);
        }
        let Some(seq) = self.frame_of_row(stream, from).await? else { return Ok(0) };
        let (next, mut deriver) = self.deriver_at(stream, seq).await?;
        let mut renderer = RowRenderer::new(from..total);
        let mut scanned = 0;
        let mut stopped = false;
        self.walk(stream, next, |record| {
            if record.seq > last_seq {
                return ControlFlow::Break(());
            }
            deriver.feed(record, &mut renderer);
            for row in renderer.take_rows() {
                scanned += 1;
                stopped = query.matches(&row) && !found(row.row);
                if stopped {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
        if !stopped {
            deriver.peek_open(&mut renderer);
            for row in renderer.take_rows() {
                scanned += 1;
                if query.matches(&row) && !found(row.row) {
                    break;
                }
            }
        }
        Ok(scanned)
    }

    /// The nearest match from row `from` on (or up to it), and whether the search went round the end.
    pub async fn find(
        &self,
        stream: StreamKey,
        query: &Query,
        from: u64,
        direction: Direction,
    ) -> Result<(Option<u64>, bool), LogError> {
        match direction {
            Direction::Next => {
                let mut row = None;
                self.scan(stream, query, from, |found| {
                    row = Some(found);
                    false
                })
                .await?;
                if row.is_some() || from == 0 {
                    return Ok((row, false));
                }
                self.scan(stream, query, 0, |found| {
                    row = Some(found);
                    false
                })
                .await?;
                Ok((row, row.is_some()))
            }
            Direction::Previous => {
                let (mut before, mut last) = (None, None);
                self.scan(stream, query, 0, |found| {
                    if found <= from {
                        before = Some(found);
                    }
                    last = Some(found);
                    // Behind `from` only the very last one matters, and only if none was before.
                    found <= from || before.is_none()
                })
                .await?;
                Ok((before.or(last), before.is_none() && last.is_some()))
            }
        }
    }

    /// All matching rows: how many, the first [`MATCHES`] of them, and how many rows were looked at.
    pub async fn matches(
        &self,
        stream: StreamKey,
        query: &Query,
    ) -> Result<(u64, Vec<u64>, u64), LogError> {
        let mut total = 0;
        let mut rows = Vec::new();
        let scanned = self
            .scan(stream, query, 0, |row| {
                total += 1;
                if rows.len() < MATCHES {
                    rows.push(row);
                }
                true
            })
            .await?;
        Ok((total, rows, scanned))
    }
}
