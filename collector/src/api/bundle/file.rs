//! The file of a run: where it waits while it is taken in, and reading it frame by frame.
//!
//! What must hold: of a file no more than a frame is unpacked at a time, and nothing of it is stored before all of it was read once. It
//! waits in memory while it is small, else in the data directory, in a file without a name, of which a crash leaves nothing.

use super::{Head, MAGIC};
use crate::deployment::{Descriptor, Machine};
use axum::body::{Body, Bytes};
use deckport_protocol::{BodyRef, Event, Frame, Limits};
use futures_util::StreamExt as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Cursor, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;
use zstd::stream::Decoder;

/// A file, packed. More is a case for copying the store.
const FILE_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Up to so much waits in memory.
const MEMORY_BYTES: usize = 4 * 1024 * 1024;
/// Of the line that says which run it is.
const HEAD_BYTES: u64 = 4 * 1024 * 1024;
/// Something of it comes at least so often.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// Why a file is not taken in.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("this is no whole bundle: it does not begin like one")]
    Other,
    #[error("this is no whole bundle: it is cut off or damaged")]
    Damaged,
    #[error("this is no whole bundle: its head is not readable")]
    Head,
    #[error("this is no whole bundle: record {0} comes next, and is not there")]
    Hole(u64),
    #[error("this is no whole bundle: a frame behind record {after} cannot be read: {why}")]
    Frame { after: u64, why: String },
    #[error("this is no whole bundle: something follows the end of the run, record {0}")]
    AfterEnd(u64),
    #[error("a file may be {} GiB large; copy the store instead", FILE_BYTES >> 30)]
    Large,
    #[error("the file did not arrive whole")]
    Arrive,
    #[error("the file could not be kept while it was read")]
    Disk(#[source] std::io::Error),
    #[error("nobody waits for it any more")]
    GivenUp,
}

/// A file that arrived.
#[derive(Debug)]
pub(super) enum Arrived {
    InMemory(Bytes),
    OnDisk(File),
}

/// Takes what comes, up to [`FILE_BYTES`].
pub(super) async fn arrive(body: Body, dir: &Path) -> Result<Arrived, FileError> {
    let mut pieces = body.into_data_stream();
    let mut memory: Vec<u8> = Vec::new();
    let (mut disk, mut bytes) = (None, 0);
    loop {
        let piece = tokio::time::timeout(COMES_WITHIN, pieces.next()).await;
        let Some(piece) = piece.map_err(|_| FileError::Arrive)? else { break };
        let piece = piece.map_err(|_| FileError::Arrive)?;
        bytes += piece.len() as u64;
        if bytes > FILE_BYTES {
            return Err(FileError::Large);
        }
        if disk.is_none() && memory.len() + piece.len() > MEMORY_BYTES {
            let file = tempfile::tempfile_in(dir).map_err(FileError::Disk)?;
            let mut file = tokio::fs::File::from_std(file);
            file.write_all(&std::mem::take(&mut memory)).await.map_err(FileError::Disk)?;
            disk = Some(file);
        }
        match &mut disk {
            Some(file) => file.write_all(&piece).await.map_err(FileError::Disk)?,
            None => memory.extend_from_slice(&piece),
        }
    }
    let Some(mut file) = disk else { return Ok(Arrived::InMemory(memory.into())) };
    file.flush().await.map_err(FileError::Disk)?;
    Ok(Arrived::OnDisk(file.into_std().await))
}

/// The frames of a file, in order. Reading blocks.
pub(super) struct Frames {
    unpacked: BufReader<Decoder<'static, BufReader<Box<dyn Read + Send>>>>,
    /// No frame is larger.
    largest: usize,
}

impl Frames {
    /// From the file's beginning. One reader of a file at a time.
    pub(super) fn open(arrived: &Arrived, largest: usize) -> Result<(Head, Self), FileError> {
        let mut packed: Box<dyn Read + Send> = match arrived {
            Arrived::InMemory(bytes) => Box::new(Cursor::new(bytes.clone())),
            Arrived::OnDisk(file) => {
                let mut file = file.try_clone().map_err(FileError::Disk)?;
                file.rewind().map_err(FileError::Disk)?;
                Box::new(file)
            }
        };
        let mut magic = [0; MAGIC.len()];
        packed.read_exact(&mut magic).map_err(|_| FileError::Other)?;
        if magic != MAGIC {
            return Err(FileError::Other);
        }
        let unpacked = Decoder::new(packed).map_err(FileError::Disk)?;
        let mut frames = Self { unpacked: BufReader::new(unpacked), largest };
        let mut line = Vec::new();
        let read = frames.unpacked.by_ref().take(HEAD_BYTES).read_until(b'\n', &mut line);
        read.map_err(|_| FileError::Damaged)?;
        let head = serde_json::from_slice(&line).map_err(|_| FileError::Head)?;
        Ok((head, frames))
    }

    /// The next one; `None` behind the last one, when the file's checksum was held against what it unpacked to.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, FileError> {
        if self.unpacked.fill_buf().map_err(|_| FileError::Damaged)?.is_empty() {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.unpacked.read_exact(&mut length).map_err(|_| FileError::Damaged)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > self.largest {
            return Err(FileError::Damaged);
        }
        let mut frame = vec![0; length];
        self.unpacked.read_exact(&mut frame).map_err(|_| FileError::Damaged)?;
        Ok(Some(frame.into()))
    }
}

/// Reads a file once, all of it: its checksum holds, and what it holds can be taken in, from the first record to the last that its head
/// names.
pub(super) fn verify(
    arrived: &Arrived,
    limits: &Limits,
    given_up: &CancellationToken,
) -> Result<Head, FileError> {
    let (head, mut frames) = Frames::open(arrived, limits.message_bytes)?;
    let mut machine = Machine::new(Arc::new(Descriptor {
        console_id: head.console_id,
        console_name: String::new(),
        template: String::new(),
        command: String::new(),
        agent_version: String::new(),
        boot_id: None,
        context: serde_json::Value::Null,
    }));
    let mut last = 0;
    while let Some(bytes) = frames.next()? {
        if given_up.is_cancelled() {
            return Err(FileError::GivenUp);
        }
        let broken = |error: &dyn std::fmt::Display| FileError::Frame {
            after: last,
            why: error.to_string(),
        };
        let frame = Frame::decode(&bytes, limits).map_err(|error| broken(&error))?;
        if frame.first_seq() != last + 1 {
            return Err(FileError::Hole(last + 1));
        }
        for record in frame.records() {
            if machine.ended() {
                return Err(FileError::AfterEnd(last));
            }
            last = record.last_seq();
            if let BodyRef::Event(text) = record.body {
                let event = deckport_protocol::event::parse(text)
                    .unwrap_or_else(|_| Event::Unknown { kind: String::new() });
                let next = machine.apply(&event, record.at_us);
                (machine, _) = next.map_err(|_| FileError::AfterEnd(last))?;
            }
        }
    }
    if last == 0 || last < head.last_seq {
        return Err(FileError::Hole(last + 1));
    }
    Ok(head)
}
