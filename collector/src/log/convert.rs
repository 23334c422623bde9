//! What a former version stored frame by frame is packed into blocks, once, before anybody reads.
//!
//! Stream by stream; a stream's frames are deleted when all of them are in blocks. After a crash the stream that was being packed
//! is packed anew: while it has frames, its blocks are only what came of the attempt before.

use super::block::{BLOCK_BYTES, Builder};
use super::seal::{rows_of, sealed};
use super::{LogError, Noting, StreamKey};
use crate::store::{Statement, Store, Write, WriteError};
use bytes::Bytes;
use deckport_protocol::rows::RowDeriver;
use deckport_protocol::{BodyRef, Frame, Limits};

/// Frames that are read at once.
const READ: &str = "select first_seq, received_at, payload from frame \
     where stream = $1 and first_seq >= $2 order by first_seq limit 64";

/// Packs the table `frame`, if it holds anything. A full disk ends the start: reading needs all of it packed.
pub(super) async fn pack_what_was_frames(store: &Store, limits: &Limits) -> Result<(), LogError> {
    let streams = store.fetch("select distinct stream from frame order by stream", []).await?;
    if streams.is_empty() {
        return Ok(());
    }
    tracing::info!(streams = streams.len(), "packing the logs that a former version stored");
    let last = store.fetch_one("select max(id) from block", []).await?;
    let mut id = last.map(|row| row.maybe_int(0)).transpose()?.flatten().unwrap_or(0);
    for row in &streams {
        pack(store, limits, StreamKey(row.int(0)?), &mut id).await?;
    }
    tracing::info!("packed");
    Ok(())
}

async fn pack(
    store: &Store,
    limits: &Limits,
    stream: StreamKey,
    id: &mut i64,
) -> Result<(), LogError> {
    let again = [
        "delete from block_part where block_id in (select id from block where stream = $1)",
        "delete from block_filter where block_id in (select id from block where stream = $1)",
        "delete from block where stream = $1",
    ];
    write(store, Write { statements: of_stream(stream, again), ..Write::default() }).await?;
    let mut deriver = RowDeriver::new();
    let mut noting = Noting::default();
    let mut building: Option<(Builder, Bytes)> = None;
    let mut next = 1u64;
    loop {
        let rows = store.fetch(READ, [stream.0.into(), next.into()]).await?;
        for row in &rows {
            let (first_seq, received_at) = (row.count(0)?, row.int(1)?);
            let damaged = |why: String| LogError::Damaged { stream, seq: first_seq, why };
            let frame =
                Frame::decode(&row.blob(2)?, limits).map_err(|error| damaged(error.to_string()))?;
            next = frame.last_seq() + 1;
            if deriver.open_row().is_none()
                && building.as_ref().is_some_and(|(builder, _)| builder.bytes() >= BLOCK_BYTES)
                && let Some(full) = building.take()
            {
                store_block(store, stream, id, full).await?;
            }
            let (builder, _) = building.get_or_insert_with(|| {
                let rows = deriver.rows();
                let goes_on = deriver.open_row().is_some();
                (Builder::new(rows, noting.at_byte, goes_on), deriver.snapshot().into())
            });
            builder.frame(received_at);
            for record in frame.records() {
                deriver.feed(&record, &mut noting);
                if let BodyRef::Output { bytes, .. } = record.body {
                    noting.at_byte += bytes.len() as u64;
                }
                builder.push(&record, frame.boot_id());
            }
            builder.notes(&noting.take());
        }
        if rows.is_empty() {
            break;
        }
    }
    if let Some(last) = building {
        store_block(store, stream, id, last).await?;
    }
    let done = of_stream(stream, ["delete from frame where stream = $1"]);
    write(store, Write { statements: done, ..Write::default() }).await
}

async fn store_block(
    store: &Store,
    stream: StreamKey,
    id: &mut i64,
    (builder, state): (Builder, Bytes),
) -> Result<(), LogError> {
    *id += 1;
    let packed = builder.finish();
    let sealed = sealed(*id, stream, &packed);
    write(store, Write { rows: rows_of(&sealed, packed, Some(state)), ..Write::default() }).await
}

fn of_stream<const N: usize>(stream: StreamKey, sql: [&'static str; N]) -> Vec<Statement> {
    sql.map(|sql| Statement { sql, values: vec![stream.0.into()] }).into()
}

async fn write(store: &Store, write: Write) -> Result<(), LogError> {
    match store.writer().write(write).await {
        Err(WriteError::Full) => Err(LogError::NoSpace),
        written => Ok(written?),
    }
}
