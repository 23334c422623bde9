//! Rows of a stored stream by their number.
//!
//! A page starts at the nearest stored state in front of the frame in which its first row begins, so it
//! costs the same at a thousand rows and at ten million. A row that goes on through very many frames (a
//! progress bar drawn for an hour) is shown as it stood after [`PAGE_READ_BYTES`].

use super::read::unsigned;
use super::{Log, LogError, StreamKey};
use deckport_protocol::rows::{Row, RowDeriver, RowRenderer};
use sqlx::Row as _;

/// One page reads at most about so many stored bytes.
const PAGE_READ_BYTES: usize = 32 * 1024 * 1024;
/// One read of the database.
const READ_BYTES: usize = 256 * 1024;

/// Rows in order. Fewer than asked for at the end of the stream or when they are large.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Rows of the whole stream, as far as it is durable.
    pub total_rows: u64,
    /// The last durable record.
    pub last_seq: u64,
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
        let row = sqlx::query(
            "select first_row + rows as total, last_seq from frame where stream = $1 \
             order by first_seq desc limit 1",
        )
        .bind(stream.0)
        .fetch_optional(self.store.readers())
        .await?;
        match row {
            Some(row) => Ok((unsigned(&row, "total")?, unsigned(&row, "last_seq")?)),
            None => Ok((0, 0)),
        }
    }

    /// The frame in which `row` begins, by its first seq; `None` beyond the end.
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
        let segment: Option<i64> = sqlx::query_scalar(
            "select first_seq from segment where stream = $1 and first_row <= $2 \
             order by first_row desc, first_seq desc limit 1",
        )
        .bind(stream.0)
        .bind(row.cast_signed())
        .fetch_optional(self.store.readers())
        .await?;
        let found: Option<i64> = sqlx::query_scalar(
            "select first_seq from frame where stream = $1 and first_seq >= $2 \
             and first_row + rows > $3 order by first_seq limit 1",
        )
        .bind(stream.0)
        .bind(segment.unwrap_or(0))
        .bind(row.cast_signed())
        .fetch_optional(self.store.readers())
        .await?;
        Ok(found.map(i64::cast_unsigned))
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
        let Some(seq) = self.frame_of_row(stream, from).await? else { return Ok(page) };
        let (mut next, mut deriver) = self.deriver_at(stream, seq).await?;
        let mut renderer = RowRenderer::new(wanted);
        let mut read = 0;
        let mut text = 0;
        // Goal: every wanted row. Exits: they are complete; the durable end; enough text; enough read.
        'pages: loop {
            let frames = self.frames(stream, next, READ_BYTES).await?;
            let Some(last) = frames.last() else { break };
            next = last.last_seq + 1;
            for stored in &frames {
                if stored.first_seq > last_seq {
                    break 'pages;
                }
                let frame = self.decode(stream, stored)?;
                for record in frame.records() {
                    deriver.feed(&record, &mut renderer);
                }
                read += stored.payload.len();
                let done = renderer.is_complete();
                for row in renderer.take_rows() {
                    text += row.text.len() + 200;
                    page.rows.push(row);
                    if text >= max_bytes {
                        break 'pages;
                    }
                }
                if done {
                    break 'pages;
                }
            }
            if read >= PAGE_READ_BYTES {
                break;
            }
        }
        let rest = page.rows.len() as u64 + from < total_rows.min(from + count);
        if rest && text < max_bytes {
            deriver.peek_open(&mut renderer);
            page.rows.extend(renderer.take_rows());
        }
        Ok(page)
    }

    /// A deriver at the nearest stored state in front of the frame at `seq`, and the seq to feed next.
    pub async fn deriver_at(
        &self,
        stream: StreamKey,
        seq: u64,
    ) -> Result<(u64, RowDeriver), LogError> {
        let (first_seq, _, state) = self.state_at(stream, seq).await?;
        if state.is_empty() {
            return Ok((1, RowDeriver::new()));
        }
        let deriver = RowDeriver::restore(&state).map_err(|error| LogError::Damaged {
            stream,
            seq: first_seq,
            why: error.to_string(),
        })?;
        Ok((first_seq, deriver))
    }

    /// The row that the record `seq` belongs to.
    pub async fn locate(&self, stream: StreamKey, seq: u64) -> Result<Option<u64>, LogError> {
        let (_, last_seq) = self.size(stream).await?;
        if seq == 0 || seq > last_seq {
            return Ok(None);
        }
        let (mut next, mut deriver) = self.deriver_at(stream, seq).await?;
        loop {
            let frames = self.frames(stream, next, READ_BYTES).await?;
            let Some(last) = frames.last() else { return Ok(None) };
            next = last.last_seq + 1;
            for stored in &frames {
                for record in self.decode(stream, stored)?.records() {
                    let open = deriver.open_row();
                    let rows = deriver.rows();
                    deriver.feed(&record, &mut ());
                    if record.last_seq() >= seq {
                        // An event without a row of its own stands at the row before it.
                        let last = deriver.rows().saturating_sub(1);
                        return Ok(Some(open.unwrap_or(rows).min(last)));
                    }
                }
            }
        }
    }

    /// The last `count` events, oldest first: seq, time, row, JSON.
    pub async fn events(
        &self,
        stream: StreamKey,
        after: u64,
        count: u32,
    ) -> Result<Vec<(u64, i64, u64, String)>, LogError> {
        let rows = sqlx::query(
            "select seq, at, row, body from event where stream = $1 and seq > $2 \
             order by seq desc limit $3",
        )
        .bind(stream.0)
        .bind(after.cast_signed())
        .bind(count)
        .fetch_all(self.store.readers())
        .await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            let entry = (unsigned(row, "seq")?, row.try_get("at")?, unsigned(row, "row")?);
            events.push((entry.0, entry.1, entry.2, row.try_get("body")?));
        }
        Ok(events)
    }
}
