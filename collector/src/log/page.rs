//! Rows of a stored stream by their number.
//!
//! A page of what is in blocks unpacks the blocks that it lies in and puts together the rows that are wanted, no others; of the
//! tail, and of a row that lies across blocks, rows are derived from the nearest stored state on. So a page costs the same at a
//! thousand rows and at ten million. A row that goes on through very many frames (a
//! progress bar drawn for an hour) is shown as it stood after [`PAGE_READ_BYTES`].

use super::{Log, LogError, StreamKey};
use crate::store::ReadError;
use deckport_protocol::rows::{Row, RowKind, RowRenderer};
use deckport_protocol::{BodyRef, Level};
use std::ops::{ControlFlow, Range};

/// One page reads at most about so many stored bytes.
const PAGE_READ_BYTES: usize = 32 * 1024 * 1024;

/// Rows in order. Fewer than asked for at the end of the stream or when they are large.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Rows of the whole stream, as far as it is durable.
    pub total_rows: u64,
    /// The last durable record.
    pub last_seq: u64,
}

/// Where a row begins: so many bytes into the data of this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub seq: u64,
    pub offset: usize,
}

/// A row as far as its text, and what is noted of it.
#[derive(Clone, Copy, Debug)]
pub struct TextRow<'a> {
    pub row: u64,
    pub kind: RowKind,
    pub level: Level,
    pub phase: Option<u32>,
    pub step: Option<&'a str>,
    pub at_us: i64,
    pub text: &'a str,
}

impl Log {
    /// How many rows and records are durable.
    pub async fn size(&self, stream: StreamKey) -> Result<(u64, u64), LogError> {
        let unsealed = self.tail.of(stream, |frames| {
            let last = frames.back().map(|last| &last.frame);
            last.map(|last| (last.first_row + last.rows, last.last_seq))
        });
        if let Some(size) = unsealed.flatten() {
            return Ok(size);
        }
        let last = self.index.last(stream);
        Ok(last.map_or((0, 0), |last| (last.first_row + last.rows, last.last_seq)))
    }

    /// The last sequence number stored, 0 for none.
    pub async fn last_seq(&self, stream: StreamKey) -> Result<u64, LogError> {
        Ok(self.size(stream).await?.1)
    }

    /// A record in front of which `row` has not begun, close before it; `None` beyond the end.
    pub async fn frame_of_row(&self, stream: StreamKey, row: u64) -> Result<Option<u64>, LogError> {
        let unsealed = self.tail.of(stream, |frames| {
            (frames[0].frame.first_row <= row).then(|| {
                let at = frames.partition_point(|unsealed| {
                    unsealed.frame.first_row + unsealed.frame.rows <= row
                });
                frames.get(at).map(|unsealed| unsealed.frame.first_seq)
            })
        });
        if let Some(found) = unsealed.flatten() {
            return Ok(found);
        }
        Ok(self.index.at_row(stream, row).map(|block| block.first_seq))
    }

    /// Up to `count` rows from `from` on, about `max_bytes` of text at most.
    pub async fn page(
        &self,
        stream: StreamKey,
        from: u64,
        count: u64,
        max_bytes: usize,
    ) -> Result<Page, LogError> {
        let (total_rows, last_seq) = self.size(stream).await?;
        let mut page = Page { rows: Vec::new(), total_rows, last_seq };
        let wanted = from..from.saturating_add(count).min(total_rows);
        if wanted.is_empty() {
            return Ok(page);
        }
        let mut text = 0;
        let mut row = wanted.start;
        // Goal: the rows that are in blocks. Exits: they are complete; the tail begins, or a row that does not end in its block.
        while row < wanted.end {
            let found = self.open_block(|| self.index.at_row(stream, row)).await?;
            let Some((sealed, opened)) = found else { break };
            let records = opened.block.records(&opened.records);
            let records = records.map_err(|error| LogError::damaged(&sealed, error))?;
            let end = wanted.end.min(opened.block.whole_rows());
            while row < end {
                let Some(shown) = records.row(row) else { break };
                text += shown.shown_bytes() + 200;
                page.rows.push(shown);
                if text >= max_bytes {
                    return Ok(page);
                }
                row += 1;
            }
            if row < wanted.end && row < sealed.first_row + sealed.rows {
                break;
            }
        }
        if row < wanted.end {
            self.derive(stream, row..wanted.end, max_bytes - text, &mut page).await?;
        }
        Ok(page)
    }

    /// Hands on the rows of `rows` in order, without what only a viewer wants of them, until `each` says stop. What is in blocks is read
    /// as it lies there; the rest as [`Self::page`] has it.
    pub async fn texts(
        &self,
        stream: StreamKey,
        rows: Range<u64>,
        mut each: impl FnMut(TextRow<'_>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        const REST_ROWS: u64 = 4000;
        const REST_BYTES: usize = 4 * 1024 * 1024;
        let mut row = rows.start;
        // Goal: every row. Exits: they are handed on; `each` has enough; there are no more.
        while row < rows.end {
            let mut count = REST_ROWS.min(rows.end - row);
            if let Some((sealed, opened)) =
                self.open_block(|| self.index.at_row(stream, row)).await?
            {
                let block = &opened.block;
                let records = block.records(&opened.records);
                let records = records.map_err(|error| LogError::damaged(&sealed, error))?;
                while row < rows.end.min(block.whole_rows()) {
                    let place = block.notes.place(row);
                    let text = TextRow {
                        row,
                        kind: block.notes.kind(row),
                        level: block.notes.level(row),
                        phase: place.and_then(|place| place.phase),
                        step: place.and_then(|place| place.step.as_deref()),
                        at_us: records.at_us(row).unwrap_or(sealed.first_at),
                        text: std::str::from_utf8(block.shown(row)).unwrap_or_default(),
                    };
                    if each(text).is_break() {
                        return Ok(());
                    }
                    row += 1;
                }
                if row >= rows.end.min(sealed.first_row + sealed.rows) {
                    continue;
                }
                count = 1;
            }
            // The tail, or a row that does not end in its block.
            let page = self.page(stream, row, count, REST_BYTES).await?;
            let Some(last) = page.rows.last() else { return Ok(()) };
            row = last.row + 1;
            for shown in &page.rows {
                let text = TextRow {
                    row: shown.row,
                    kind: shown.kind,
                    level: shown.level,
                    phase: shown.phase,
                    step: shown.step.as_deref(),
                    at_us: shown.at,
                    text: &shown.text,
                };
                if each(text).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Rows as the deriver tells them, from the nearest stored state on.
    async fn derive(
        &self,
        stream: StreamKey,
        wanted: Range<u64>,
        max_bytes: usize,
        page: &mut Page,
    ) -> Result<(), LogError> {
        let Some(seq) = self.frame_of_row(stream, wanted.start).await? else { return Ok(()) };
        let (next, mut deriver) = self.deriver_at(stream, seq).await?;
        let mut renderer = RowRenderer::new(wanted.clone());
        let (mut read, mut text, mut derived) = (0, 0, 0);
        // Goal: every wanted row. Exits: they are complete; the durable end; enough text; enough read.
        self.walk(stream, next, |record| {
            if record.seq > page.last_seq {
                return ControlFlow::Break(());
            }
            deriver.feed(record, &mut renderer);
            read += record.data().len();
            let mut enough = renderer.is_complete() || read >= PAGE_READ_BYTES;
            for row in renderer.take_rows() {
                text += row.shown_bytes() + 200;
                derived += 1;
                page.rows.push(row);
                if text >= max_bytes {
                    enough = true;
                    break;
                }
            }
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
        if derived < wanted.end - wanted.start && text < max_bytes {
            deriver.peek_open(&mut renderer);
            page.rows.extend(renderer.take_rows());
        }
        Ok(())
    }

    /// The row that the record `seq` belongs to.
    pub async fn locate(&self, stream: StreamKey, seq: u64) -> Result<Option<u64>, LogError> {
        let (_, last_seq) = self.size(stream).await?;
        if seq == 0 || seq > last_seq {
            return Ok(None);
        }
        if let Some((sealed, opened)) = self.open_block(|| self.index.at_seq(stream, seq)).await? {
            let records = opened.block.records(&opened.records);
            let records = records.map_err(|error| LogError::damaged(&sealed, error))?;
            if let Some(row) = records.row_of(seq) {
                return Ok(Some(row));
            }
        }
        // In the tail, or no output.
        let (next, mut deriver) = self.deriver_at(stream, seq).await?;
        let mut found = None;
        self.walk(stream, next, |record| {
            let (open, rows) = (deriver.open_row(), deriver.rows());
            deriver.feed(record, &mut ());
            if record.last_seq() < seq {
                return ControlFlow::Continue(());
            }
            // An event without a row of its own stands at the row before it.
            let last = deriver.rows().saturating_sub(1);
            found = Some(open.unwrap_or(rows).min(last));
            ControlFlow::Break(())
        })
        .await?;
        Ok(found)
    }

    /// Where `row` begins; `None` where it has not begun in the records up to `until`. Output bytes in front of that place belong to
    /// rows before it, those behind it to none of them.
    pub async fn beginning(
        &self,
        stream: StreamKey,
        row: u64,
        until: u64,
    ) -> Result<Option<Beginning>, LogError> {
        let Some(seq) = self.frame_of_row(stream, row).await? else { return Ok(None) };
        let (next, mut deriver) = self.deriver_at(stream, seq).await?;
        let mut found = None;
        // Goal: the record that the row begins in. Exits: it is found; behind `until`; the durable end.
        self.walk(stream, next, |record| {
            if record.seq > until {
                return ControlFlow::Break(());
            }
            let (open, rows) = (deriver.open_row().is_some(), deriver.rows());
            deriver.feed(record, &mut ());
            if deriver.rows() <= row {
                return ControlFlow::Continue(());
            }
            let offset = match record.body {
                // The first row of a record begins with it, each other one behind a line feed; so does the first where a row is
                // open.
                BodyRef::Output { bytes, .. } => {
                    let line_feeds = row - rows + u64::from(open);
                    let behind =
                        line_feeds.checked_sub(1).and_then(|nth| usize::try_from(nth).ok());
                    let behind = behind.and_then(|nth| memchr::memchr_iter(b'\n', bytes).nth(nth));
                    behind.map_or(0, |at| at + 1)
                }
                BodyRef::Event(_) => 0,
            };
            found = Some(Beginning { seq: record.seq, offset });
            ControlFlow::Break(())
        })
        .await?;
        Ok(found)
    }

    /// The last `count` events, oldest first: seq, time, row, JSON.
    pub async fn events(
        &self,
        stream: StreamKey,
        after: u64,
        count: u32,
    ) -> Result<Vec<(u64, i64, u64, String)>, LogError> {
        let rows = self
            .store
            .fetch(
                "select seq, at, row, body from event where stream = $1 and seq > $2 \
                 order by seq desc limit $3",
                [stream.0.into(), after.into(), i64::from(count).into()],
            )
            .await?;
        let events = rows.iter().rev().map(|row| {
            Ok((row.count(0)?, row.int(1)?, row.count(2)?, row.text(3)?.as_ref().to_owned()))
        });
        Ok(events.collect::<Result<_, ReadError>>()?)
    }
}
