//! Reading a spool, from any sequence number up to an announced position.

use super::{Entry, Position, SpoolError, entry_at, segment_path, segments};
use crate::disk::{Disk, RealDisk};
use bytes::Bytes;
use deckport_protocol::columns::{Frame, Header};
use deckport_protocol::event::Event;
use deckport_protocol::{Body, EventText, GapAuthor, Limits, Record};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// What is read at once.
const READ_BYTES: usize = 1024 * 1024;

/// What comes next in a spool.
#[derive(Debug)]
pub enum Batch {
    /// Records, the first of them the one asked for or one before it.
    Frame { raw: Bytes, frame: Frame },
    /// Damage: these records will never come.
    Gap(Record),
}

/// Reads entries in order. It never looks beyond the position it is given.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    next_seq: u64,
    segment: u64,
    offset: u64,
    file: Option<File>,
    /// Content of the segment from `offset` on, as far as read.
    buffer: Bytes,
    /// Damage was met: the next frame may leave a hole before it.
    skipped: bool,
    limits: Limits,
}

impl Reader {
    /// A reader of the spool in `dir` whose first batch holds or follows `from_seq`.
    pub fn open(dir: PathBuf, from_seq: u64) -> Result<Self, SpoolError> {
        let numbers = segments(&RealDisk, &dir)?;
        // The last segment that begins at or before `from_seq`, else the first.
        let segment = numbers
            .iter()
            .rev()
            .copied()
            .find(|&number| first_seq(&dir, number).is_some_and(|first| first <= from_seq))
            .or_else(|| numbers.first().copied())
            .unwrap_or(1);
        Ok(Self {
            dir,
            next_seq: from_seq,
            segment,
            offset: 0,
            file: None,
            buffer: Bytes::new(),
            skipped: false,
            limits: Limits::default(),
        })
    }

    /// The lowest sequence number that the spool in `dir` holds.
    pub fn lowest_seq(dir: &std::path::Path) -> Result<Option<u64>, SpoolError> {
        Ok(segments(&RealDisk, dir)?.into_iter().find_map(|number| first_seq(dir, number)))
    }

    /// The next batch before `end`; `None` when there is none yet.
    pub fn next(&mut self, end: &Position) -> Result<Option<Batch>, SpoolError> {
        // Each turn passes an entry, some damage, or the end of a segment.
        while self.next_seq <= end.last_seq {
            let Some(content) = self.content(end)? else { return Ok(None) };
            match entry_at(&content, 0) {
                Entry::End => {
                    if self.segment >= end.segment {
                        return Ok(None);
                    }
                    if content.len() >= READ_BYTES {
                        // More zeros than are taken ahead: not the end, but a disk that lost something.
                        self.skipped = true;
                        self.pass(content.len());
                        continue;
                    }
                    self.next_segment()?;
                }
                Entry::Damaged => {
                    self.skipped = true;
                    let passed = super::resync(&content, 0).unwrap_or(content.len());
                    self.pass(passed);
                }
                Entry::Whole { frame, header } => {
                    if header.last_seq < self.next_seq {
                        self.pass(frame.end);
                        continue;
                    }
                    let raw = content.slice(frame.clone());
                    let Ok(decoded) = Frame::decode(&raw, &self.limits) else {
                        self.skipped = true;
                        self.pass(frame.end);
                        continue;
                    };
                    if header.first_seq > self.next_seq {
                        return Ok(Some(Batch::Gap(self.gap_before(&header))));
                    }
                    self.pass(frame.end);
                    self.next_seq = header.last_seq + 1;
                    return Ok(Some(Batch::Frame { raw, frame: decoded }));
                }
            }
        }
        Ok(None)
    }

    /// Where the reader stands: everything before lies in segments up to this one.
    pub const fn segment(&self) -> u64 {
        self.segment
    }

    fn gap_before(&mut self, header: &Header) -> Record {
        let first_seq = self.next_seq;
        let last_seq = header.first_seq - 1;
        self.next_seq = header.first_seq;
        let why = if std::mem::take(&mut self.skipped) {
            "the spool on the console was damaged"
        } else {
            "the console no longer has it"
        };
        let event =
            Event::Gap { first_seq, last_seq, bytes: 0, why: why.to_owned(), by: GapAuthor::Agent };
        Record {
            seq: first_seq,
            boot_us: header.boot_us,
            at_us: header.at_us,
            body: Body::Event(EventText::new(&event)),
        }
    }

    fn pass(&mut self, bytes: usize) {
        self.offset += bytes as u64;
        self.buffer = self.buffer.slice(bytes.min(self.buffer.len())..);
    }

    /// The segment's content from here on: at least one entry of it, when there is one.
    fn content(&mut self, end: &Position) -> Result<Option<Bytes>, SpoolError> {
        let limit = if self.segment == end.segment { end.offset } else { u64::MAX };
        if let Some(length) = self.buffer.first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            if length <= super::ENTRY_LIMIT && super::ENTRY_HEAD + length <= self.buffer.len() {
                return Ok(Some(self.buffer.clone()));
            }
        }
        let path = segment_path(&self.dir, self.segment);
        if self.file.is_none() {
            match File::open(&path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if self.segment >= end.segment {
                        return Ok(None);
                    }
                    self.skipped = true;
                    return Ok(Some(Bytes::new()));
                }
                Err(error) => return Err(SpoolError::disk("open", &path)(error)),
            }
        }
        let Some(file) = &self.file else { return Ok(None) };
        let wanted = limit.saturating_sub(self.offset);
        // Twice the usual when even that does not hold the entry.
        let usual = if self.buffer.len() >= READ_BYTES {
            super::ENTRY_LIMIT + super::ENTRY_HEAD
        } else {
            READ_BYTES
        };
        let length = usize::try_from(wanted).unwrap_or(usize::MAX).min(usual);
        let mut content = vec![0; length];
        let mut filled = 0;
        // Exits at the end of the file or of the buffer.
        while filled < length {
            let read = file
                .read_at(&mut content[filled..], self.offset + filled as u64)
                .map_err(SpoolError::disk("read", &path))?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        content.truncate(filled);
        self.buffer = content.into();
        // An entry that only seems damaged because the read was too short.
        if self.buffer.len() == READ_BYTES
            && let Some(head) = self.buffer.first_chunk::<4>()
        {
            let length = u32::from_le_bytes(*head) as usize + super::ENTRY_HEAD;
            if length > self.buffer.len() && length <= super::ENTRY_LIMIT {
                return self.content(end);
            }
        }
        Ok(Some(self.buffer.clone()))
    }

    fn next_segment(&mut self) -> Result<(), SpoolError> {
        let numbers = segments(&RealDisk, &self.dir)?;
        self.segment =
            numbers.into_iter().find(|&number| number > self.segment).unwrap_or(self.segment + 1);
        self.offset = 0;
        self.file = None;
        self.buffer = Bytes::new();
        Ok(())
    }
}

/// The sequence number with which a segment begins.
fn first_seq(dir: &std::path::Path, number: u64) -> Option<u64> {
    let path = segment_path(dir, number);
    let file = File::open(&path).ok()?;
    let mut head = [0; super::ENTRY_HEAD + deckport_protocol::columns::HEADER_BYTES];
    file.read_exact_at(&mut head, 0).ok()?;
    let frame = &head[super::ENTRY_HEAD..];
    if frame[..2] == [0xDC, 0x50] {
        // Damage here is met, and skipped, when the segment is read.
        return Some(u64::from_le_bytes(frame[8..16].try_into().ok()?));
    }
    let content = RealDisk.read(&path).ok()?;
    match entry_at(&content, super::resync(&content, 0)?) {
        Entry::Whole { header, .. } => Some(header.first_seq),
        _ => None,
    }
}
