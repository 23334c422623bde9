//! The last rows of a running deployment, rendered once for everyone who watches.
//!
//! It exists while somebody watches. What must hold: a tail equals the page of the same rows; it is
//! brought forward only by durable frames, from memory where they are still there, else from the store.

use crate::deployment::Entry;
use crate::log::{Log, LogError};
use crate::metrics::Metrics;
use deckport_protocol::rows::{Row, RowDeriver, RowRenderer};
use std::collections::VecDeque;
use std::sync::Arc;

/// Complete rows kept.
pub(super) const ROWS: usize = 1000;
const READ_BYTES: usize = 512 * 1024;

#[derive(Debug)]
struct State {
    deriver: RowDeriver,
    renderer: RowRenderer,
    rows: VecDeque<Row>,
    open: Option<Row>,
    seq: u64,
    /// Rows before this one are not here.
    first: u64,
}

#[derive(Debug)]
pub(super) struct Tail {
    entry: Arc<Entry>,
    state: tokio::sync::Mutex<Option<State>>,
}

/// Rows of the tail, and how far it is.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) total: u64,
    pub(super) seq: u64,
    /// The first row that may still change.
    pub(super) settled: u64,
    /// What was asked for reaches further back than the tail.
    pub(super) missing: bool,
}

impl Tail {
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        Self { entry, state: tokio::sync::Mutex::default() }
    }

    /// Rows from `from` on, as far as they are durable.
    pub(super) async fn rows(
        &self,
        log: &Log,
        metrics: &Metrics,
        from: impl FnOnce(u64) -> u64,
    ) -> Result<Rows, LogError> {
        let mut state = self.state.lock().await;
        if state.is_none() {
            *state = Some(self.begin(log).await?);
        }
        let Some(state) = state.as_mut() else { return Ok(Rows::default()) };
        self.advance(state, log, metrics).await?;
        let complete = state.rows.back().map_or(state.first, |row| row.row + 1);
        let total = state.open.as_ref().map_or(complete, |open| open.row + 1);
        let from = from(total);
        let skip = state.rows.partition_point(|row| row.row < from);
        let rows = state.rows.iter().skip(skip).chain(&state.open).filter(|row| row.row >= from);
        Ok(Rows {
            rows: rows.cloned().collect(),
            total,
            seq: state.seq,
            settled: complete,
            missing: from < state.first.min(complete),
        })
    }

    async fn begin(&self, log: &Log) -> Result<State, LogError> {
        let stream = self.entry.head.stream;
        let (total, _) = log.size(stream).await?;
        let first = total.saturating_sub(ROWS as u64);
        let seq = log.frame_of_row(stream, first).await?.unwrap_or(1);
        let (next, deriver) = log.deriver_at(stream, seq).await?;
        Ok(State {
            deriver,
            renderer: RowRenderer::new(first..u64::MAX),
            rows: VecDeque::new(),
            open: None,
            seq: next - 1,
            first,
        })
    }

    async fn advance(
        &self,
        state: &mut State,
        log: &Log,
        metrics: &Metrics,
    ) -> Result<(), LogError> {
        let stream = self.entry.head.stream;
        while state.seq < self.entry.durable().seq {
            let frames = match self.entry.recent(state.seq + 1, READ_BYTES) {
                Some(frames) => frames,
                None => {
                    metrics.lag_fallbacks.add(1);
                    let stored = log.frames(stream, state.seq + 1, READ_BYTES).await?;
                    stored.into_iter().map(Arc::new).collect()
                }
            };
            if frames.is_empty() {
                break;
            }
            for stored in frames {
                let frame = log.decode(stream, &stored)?;
                for record in frame.records().filter(|record| record.seq > state.seq) {
                    state.deriver.feed(&record, &mut state.renderer);
                }
                state.seq = stored.last_seq;
                state.rows.extend(state.renderer.take_rows());
            }
            while state.rows.len() > ROWS {
                state.rows.pop_front();
            }
            if let Some(front) = state.rows.front() {
                state.first = front.row;
            }
        }
        state.deriver.peek_open(&mut state.renderer);
        state.open = state.renderer.take_rows().pop();
        Ok(())
    }
}
