//! The binary encoding of a batch: a header, columns, then the raw bytes.
//!
//! All integers are little-endian; *varint* is LEB128, *zigzag* its signed form.
//!
//! ```text
//! header, 64 bytes
//!   0  magic 0xDC 0x50
//!   2  version, 1
//!   3  flags: bit 0, the body is one zstd frame
//!   4  count of records                       u32
//!   8  first_seq                              u64
//!  16  last_seq                               u64
//!  24  boot_id                                16 bytes
//!  40  boot time of the first record, µs      u64
//!  48  wall time of the first record, µs      i64
//!  56  length of the body uncompressed        u32
//!  60  length of the body as it follows       u32
//! body
//!   kinds        count bytes: bits 0-1 sort (0 output, 1 event, 2 gap), bit 2 continues,
//!                bit 3 the agent's own words, bit 4 annotated; others 0
//!   boot deltas  count varints, against the record before
//!   wall deltas  count zigzags, what the wall clock's step differs from the boot clock's
//!   lengths      count varints, bytes of data
//!   spans        a varint for each gap: how many sequence numbers it occupies
//!   annotations  only if some record is annotated: varint n, then n × (varint length, JSON), then
//!                for each annotated record a varint index
//!   data         concatenated: output bytes, or the event's JSON
//! ```
//!
//! A frame holds records of one boot. The first record's deltas are 0. Decoding checks every length
//! against [`Limits`] before it allocates, and accepts exactly what encoding can produce: trailing
//! bytes, unknown flags and sums that do not match the header are refused.

use crate::error::{ErrorCode, Refusal};
use crate::event::EventText;
use crate::ids::BootId;
use crate::limits::Limits;
use crate::record::{Annotation, BodyRef, RecordRef, Source};
use crate::varint;
use bytes::Bytes;
use std::cell::RefCell;
use uuid::Uuid;
use zstd::bulk::{Compressor, Decompressor};

const MAGIC: [u8; 2] = [0xDC, 0x50];
const VERSION: u8 = 1;
const FLAG_ZSTD: u8 = 1;
/// The length of a frame's header in bytes.
pub const HEADER_BYTES: usize = 64;
/// A batch is small, and the collector packs blocks anew later.
const LEVEL: i32 = 1;
/// A body smaller than this is not worth compressing.
const COMPRESS_FROM: usize = 512;

const SORT: u8 = 0b11;
const OUTPUT: u8 = 0;
const EVENT: u8 = 1;
const GAP: u8 = 2;
const CONTINUES: u8 = 1 << 2;
const BY_AGENT: u8 = 1 << 3;
const ANNOTATED: u8 = 1 << 4;

/// A record's byte in the kinds column; the chain uses it without the annotation bit.
pub(crate) fn kind_byte(record: &RecordRef<'_>, annotated: bool) -> u8 {
    match record.body {
        BodyRef::Output { continues, source, .. } => {
            OUTPUT
                | if continues { CONTINUES } else { 0 }
                | if source == Source::Agent { BY_AGENT } else { 0 }
                | if annotated { ANNOTATED } else { 0 }
        }
        // A gap of one sequence number needs no span: it travels as a plain event.
        BodyRef::Event(_) if record.span > 1 => GAP,
        BodyRef::Event(_) => EVENT,
    }
}

/// Why bytes are not an acceptable frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame begins with a header of {HEADER_BYTES} bytes; these are {0} bytes")]
    TooShort(usize),
    #[error("the frame does not begin with DC 50")]
    BadMagic,
    #[error("the frame is of columns version {0}; this reader knows version {VERSION}")]
    BadVersion(u8),
    #[error("the frame has flags {0:#04x} that this reader does not know")]
    BadFlags(u8),
    #[error("the frame's {what} is not well-formed")]
    Malformed { what: &'static str },
    #[error("the frame holds {count} records; at most {limit} are allowed")]
    TooManyRecords { count: usize, limit: usize },
    #[error("the frame's body is {bytes} bytes uncompressed; at most {limit} are allowed")]
    BodyTooLarge { bytes: usize, limit: usize },
    #[error("record {seq} holds {bytes} bytes; at most {limit} are allowed")]
    RecordTooLarge { seq: u64, bytes: usize, limit: usize },
}

impl FrameError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooShort(_) | Self::BadMagic | Self::BadFlags(_) | Self::Malformed { .. } => {
                ErrorCode::MALFORMED_FRAME
            }
            Self::BadVersion(_) => ErrorCode::UNSUPPORTED_ENCODING,
            Self::TooManyRecords { .. } => ErrorCode::TOO_MANY_RECORDS,
            Self::BodyTooLarge { .. } => ErrorCode::BODY_TOO_LARGE,
            Self::RecordTooLarge { .. } => ErrorCode::RECORD_TOO_LARGE,
        }
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// What a frame's header says; readable without decoding the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub compressed: bool,
    pub count: u32,
    pub first_seq: u64,
    pub last_seq: u64,
    pub boot_id: BootId,
    pub boot_us: u64,
    pub at_us: i64,
    body_bytes: u32,
    sent_bytes: u32,
}

impl Header {
    /// What the body is after decompression, as the header says; [`Frame::decode`] holds it to that.
    pub const fn body_bytes(&self) -> usize {
        self.body_bytes as usize
    }

    /// Reads the header and checks that the frame is as long as it says.
    pub fn read(frame: &[u8]) -> Result<Self, FrameError> {
        let header: &[u8; HEADER_BYTES] =
            frame.first_chunk().ok_or(FrameError::TooShort(frame.len()))?;
        if header[..2] != MAGIC {
            return Err(FrameError::BadMagic);
        }
        if header[2] != VERSION {
            return Err(FrameError::BadVersion(header[2]));
        }
        if header[3] & !FLAG_ZSTD != 0 {
            return Err(FrameError::BadFlags(header[3]));
        }
        let u32_at = |at: usize| u32::from_le_bytes(array(header, at));
        let u64_at = |at: usize| u64::from_le_bytes(array(header, at));
        let read = Self {
            compressed: header[3] & FLAG_ZSTD != 0,
            count: u32_at(4),
            first_seq: u64_at(8),
            last_seq: u64_at(16),
            boot_id: BootId::from_uuid(Uuid::from_bytes(array(header, 24))),
            boot_us: u64_at(40),
            at_us: i64::from_le_bytes(array(header, 48)),
            body_bytes: u32_at(56),
            sent_bytes: u32_at(60),
        };
        if read.sent_bytes as usize != frame.len() - HEADER_BYTES {
            return Err(FrameError::Malformed { what: "length" });
        }
        if !read.compressed && read.sent_bytes != read.body_bytes {
            return Err(FrameError::Malformed { what: "length" });
        }
        if read.count == 0 {
            return Err(FrameError::Malformed { what: "count" });
        }
        if read.first_seq == 0
            || read.last_seq == u64::MAX
            || read.last_seq < read.first_seq
            || read.last_seq - read.first_seq < u64::from(read.count) - 1
        {
            return Err(FrameError::Malformed { what: "sequence range" });
        }
        Ok(read)
    }
}

fn array<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// One decoded record's place: everything but the data itself.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u8,
    span: u64,
    boot_us: u64,
    at_us: i64,
    /// Where its data begins and ends within the body.
    begin: u32,
    end: u32,
    annotation: u32,
}

/// A decoded frame. Records borrow from it.
#[derive(Clone, Debug)]
pub struct Frame {
    header: Header,
    body: Bytes,
    entries: Vec<Entry>,
    annotations: Vec<Annotation>,
}

impl Frame {
    /// Decodes a frame and checks it against `limits`.
    pub fn decode(frame: &Bytes, limits: &Limits) -> Result<Self, FrameError> {
        let header = Header::read(frame)?;
        let count = header.count as usize;
        let body_bytes = header.body_bytes as usize;
        if count > limits.records {
            return Err(FrameError::TooManyRecords { count, limit: limits.records });
        }
        if body_bytes > limits.body_bytes {
            return Err(FrameError::BodyTooLarge { bytes: body_bytes, limit: limits.body_bytes });
        }
        let sent = frame.slice(HEADER_BYTES..);
        let body = if header.compressed { decompress(&sent, body_bytes)? } else { sent };
        let malformed = |what| FrameError::Malformed { what };

        let mut rest: &[u8] = &body;
        let kinds = rest.split_off(..count).ok_or_else(|| malformed("kinds column"))?;
        let mut entries = Vec::with_capacity(count);
        let mut boot_us = header.boot_us;
        for (index, &kind) in kinds.iter().enumerate() {
            let well_formed = match kind & SORT {
                OUTPUT => kind & !(SORT | CONTINUES | BY_AGENT | ANNOTATED) == 0,
                EVENT | GAP => kind & !SORT == 0,
                _ => false,
            };
            if !well_formed {
                return Err(malformed("kinds column"));
            }
            let delta = varint::take(&mut rest).ok_or_else(|| malformed("boot time column"))?;
            if index == 0 && delta != 0 {
                return Err(malformed("boot time column"));
            }
            boot_us = boot_us.checked_add(delta).ok_or_else(|| malformed("boot time column"))?;
            entries.push(Entry {
                kind,
                span: 1,
                boot_us,
                at_us: 0,
                begin: 0,
                end: 0,
                annotation: 0,
            });
        }
        let mut at_us = header.at_us;
        let mut before = header.boot_us;
        for (index, entry) in entries.iter_mut().enumerate() {
            let drift =
                varint::take_signed(&mut rest).ok_or_else(|| malformed("wall time column"))?;
            if index == 0 && drift != 0 {
                return Err(malformed("wall time column"));
            }
            let step = i64::try_from(entry.boot_us - before)
                .ok()
                .and_then(|step| step.checked_add(drift))
                .and_then(|step| at_us.checked_add(step));
            at_us = step.ok_or_else(|| malformed("wall time column"))?;
            before = entry.boot_us;
            entry.at_us = at_us;
        }
        let mut data_bytes = 0usize;
        for (seq, entry) in (header.first_seq..).zip(entries.iter_mut()) {
            let length = varint::take(&mut rest)
                .and_then(|length| usize::try_from(length).ok())
                .ok_or_else(|| malformed("lengths column"))?;
            let limit =
                if entry.kind & SORT == OUTPUT { limits.piece_bytes } else { limits.event_bytes };
            if length > limit {
                return Err(FrameError::RecordTooLarge { seq, bytes: length, limit });
            }
            entry.begin = data_bytes as u32;
            data_bytes += length;
            if data_bytes > body_bytes {
                return Err(malformed("lengths column"));
            }
            entry.end = data_bytes as u32;
        }
        let mut seqs = count as u64;
        for entry in entries.iter_mut().filter(|entry| entry.kind & SORT == GAP) {
            let span = varint::take(&mut rest).ok_or_else(|| malformed("spans column"))?;
            // A span of 1 would have two encodings.
            seqs = (span > 1)
                .then(|| seqs.checked_add(span - 1))
                .flatten()
                .ok_or_else(|| malformed("spans column"))?;
            entry.span = span;
        }
        if header.last_seq - header.first_seq != seqs - 1 {
            return Err(malformed("sequence range"));
        }
        let mut annotations = Vec::new();
        if entries.iter().any(|entry| entry.kind & ANNOTATED != 0) {
            annotations = take_annotations(&mut rest, count, limits)?;
            for entry in entries.iter_mut().filter(|entry| entry.kind & ANNOTATED != 0) {
                entry.annotation = varint::take(&mut rest)
                    .filter(|&index| (index as usize) < annotations.len())
                    .ok_or_else(|| malformed("annotations column"))?
                    as u32;
            }
        }
        if rest.len() != data_bytes {
            return Err(malformed("data"));
        }
        let data_from = (body.len() - data_bytes) as u32;
        for entry in &mut entries {
            entry.begin += data_from;
            entry.end += data_from;
        }
        let frame = Self { header, body, entries, annotations };
        frame.check_events()?;
        Ok(frame)
    }

    /// Events must be JSON objects with a kind, and a gap must occupy the range that it states.
    fn check_events(&self) -> Result<(), FrameError> {
        for (record, entry) in self.records().zip(&self.entries) {
            if entry.kind & SORT == OUTPUT {
                continue;
            }
            let data = &self.body[entry.begin as usize..entry.end as usize];
            let text = std::str::from_utf8(data)
                .map_err(|_| FrameError::Malformed { what: "event (it is not UTF-8)" })?;
            let event = crate::event::parse(text)
                .map_err(|_| FrameError::Malformed { what: "event (it is not of its kind)" })?;
            let stated = match event {
                crate::Event::Gap { first_seq, last_seq, .. } => {
                    (first_seq, last_seq) == (record.seq, record.last_seq())
                }
                _ => entry.kind & SORT == EVENT,
            };
            if !stated {
                return Err(FrameError::Malformed { what: "gap (its range is another)" });
            }
        }
        Ok(())
    }

    pub const fn header(&self) -> &Header {
        &self.header
    }

    pub const fn first_seq(&self) -> u64 {
        self.header.first_seq
    }

    pub const fn last_seq(&self) -> u64 {
        self.header.last_seq
    }

    pub const fn boot_id(&self) -> BootId {
        self.header.boot_id
    }

    /// Bytes of the body, uncompressed.
    pub const fn body_bytes(&self) -> usize {
        self.header.body_bytes as usize
    }

    /// The data of all records, one behind the other: output bytes and events' JSON.
    pub fn data(&self) -> &[u8] {
        match (self.entries.first(), self.entries.last()) {
            (Some(first), Some(last)) => &self.body[first.begin as usize..last.end as usize],
            _ => &[],
        }
    }

    /// What records of it were annotated with.
    pub fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.body.len() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let mut seq = self.header.first_seq;
        self.entries.iter().map(move |entry| {
            let record = RecordRef {
                seq,
                span: entry.span,
                boot_us: entry.boot_us,
                at_us: entry.at_us,
                body: self.body_of(entry),
            };
            seq += entry.span;
            record
        })
    }

    fn body_of(&self, entry: &Entry) -> BodyRef<'_> {
        let data = &self.body[entry.begin as usize..entry.end as usize];
        if entry.kind & SORT == OUTPUT {
            BodyRef::Output {
                bytes: data,
                continues: entry.kind & CONTINUES != 0,
                source: if entry.kind & BY_AGENT != 0 { Source::Agent } else { Source::Terminal },
                annotation: (entry.kind & ANNOTATED != 0)
                    .then(|| &self.annotations[entry.annotation as usize]),
            }
        } else {
            // Checked when the frame was decoded.
            BodyRef::Event(std::str::from_utf8(data).unwrap_or("{}"))
        }
    }
}

// Making these costs more than a batch of 64 lines does.
thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> =
        RefCell::new(Decompressor::new().ok());
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::new(LEVEL).ok());
}

fn compress(body: &[u8]) -> Option<Vec<u8>> {
    let packed = COMPRESSOR.with_borrow_mut(|compressor| match compressor {
        Some(compressor) => compressor.compress(body),
        None => zstd::bulk::compress(body, LEVEL),
    });
    packed.ok().filter(|packed| packed.len() < body.len())
}

fn decompress(sent: &[u8], body_bytes: usize) -> Result<Bytes, FrameError> {
    let malformed = FrameError::Malformed { what: "compressed body" };
    let body = DECOMPRESSOR.with_borrow_mut(|decompressor| match decompressor {
        Some(decompressor) => decompressor.decompress(sent, body_bytes),
        // Without memory for one of its own the thread gets one for once.
        None => zstd::bulk::decompress(sent, body_bytes),
    });
    match body {
        Ok(body) if body.len() == body_bytes => Ok(body.into()),
        _ => Err(malformed),
    }
}

fn take_annotations(
    rest: &mut &[u8],
    count: usize,
    limits: &Limits,
) -> Result<Vec<Annotation>, FrameError> {
    let malformed = || FrameError::Malformed { what: "annotations column" };
    let entries = varint::take(rest).filter(|&n| n as usize <= count).ok_or_else(malformed)?;
    (0..entries)
        .map(|_| {
            let length = varint::take(rest)
                .filter(|&length| length as usize <= limits.event_bytes)
                .ok_or_else(malformed)?;
            let json = rest.split_off(..length as usize).ok_or_else(malformed)?;
            serde_json::from_slice(json).map_err(|_| malformed())
        })
        .collect()
}

/// Builds a frame, record by record.
#[derive(Debug, Default)]
pub struct FrameBuilder {
    kinds: Vec<u8>,
    boot_deltas: Vec<u8>,
    wall_deltas: Vec<u8>,
    lengths: Vec<u8>,
    spans: Vec<u8>,
    annotations: Vec<Annotation>,
    annotation_ids: Vec<u8>,
    data: Vec<u8>,
    first_seq: u64,
    next_seq: u64,
    first_boot_us: u64,
    first_at_us: i64,
    boot_us: u64,
    at_us: i64,
}

impl FrameBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Records so far.
    pub fn count(&self) -> usize {
        self.kinds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Bytes of data so far; the columns add about 5 a record.
    pub fn data_bytes(&self) -> usize {
        self.data.len()
    }

    /// The sequence number that the next record must have; 0 while empty.
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether a record of this boot time can be added as it is: boot times of a batch never run backwards.
    pub fn keeps(&self, boot_us: u64) -> bool {
        self.is_empty() || boot_us >= self.boot_us
    }

    /// Adds a record. A boot time that runs backwards is taken as unchanged; whoever must not change the record asks
    /// [`Self::keeps`] first.
    ///
    /// # Panics
    ///
    /// When its `seq` does not follow the one before: that is a mistake of the caller.
    pub fn push(&mut self, record: &RecordRef<'_>) {
        if self.kinds.is_empty() {
            self.first_seq = record.seq;
            self.first_boot_us = record.boot_us;
            self.first_at_us = record.at_us;
            self.boot_us = record.boot_us;
            self.at_us = record.at_us;
        } else {
            assert_eq!(record.seq, self.next_seq, "records of a batch are contiguous");
        }
        let boot_us = record.boot_us.max(self.boot_us);
        let boot_step = boot_us - self.boot_us;
        varint::put(&mut self.boot_deltas, boot_step);
        let wall_step = record.at_us.wrapping_sub(self.at_us);
        varint::put_signed(&mut self.wall_deltas, wall_step.wrapping_sub(boot_step as i64));
        self.boot_us = boot_us;
        self.at_us = record.at_us;

        let annotation = match record.body {
            BodyRef::Output { annotation, .. } => annotation.filter(|a| !a.is_empty()),
            BodyRef::Event(_) => None,
        };
        let kind = kind_byte(record, annotation.is_some());
        self.kinds.push(kind);
        if kind & SORT == GAP {
            varint::put(&mut self.spans, record.span);
        }
        if let Some(annotation) = annotation {
            let known = self.annotations.iter().rposition(|known| known == annotation);
            let id = known.unwrap_or_else(|| {
                self.annotations.push(annotation.clone());
                self.annotations.len() - 1
            });
            varint::put(&mut self.annotation_ids, id as u64);
        }
        let data = record.data();
        varint::put(&mut self.lengths, data.len() as u64);
        self.data.extend_from_slice(data);
        self.next_seq = record.last_seq() + 1;
    }

    /// The finished frame, or `None` while there are no records; the builder is empty afterwards and
    /// keeps its buffers. With `compress` the body is compressed where that makes it smaller.
    pub fn finish(&mut self, boot_id: BootId, compress: bool) -> Option<Bytes> {
        if self.kinds.is_empty() {
            return None;
        }
        let mut body = Vec::with_capacity(self.data.len() + 8 * self.kinds.len() + 16);
        body.extend_from_slice(&self.kinds);
        body.extend_from_slice(&self.boot_deltas);
        body.extend_from_slice(&self.wall_deltas);
        body.extend_from_slice(&self.lengths);
        body.extend_from_slice(&self.spans);
        if !self.annotations.is_empty() {
            varint::put(&mut body, self.annotations.len() as u64);
            for annotation in &self.annotations {
                let json = serde_json::to_vec(annotation)
                    .expect("an annotation holds only what JSON can express");
                varint::put(&mut body, json.len() as u64);
                body.extend_from_slice(&json);
            }
            body.extend_from_slice(&self.annotation_ids);
        }
        body.extend_from_slice(&self.data);

        let compressed =
            (compress && body.len() >= COMPRESS_FROM).then(|| self::compress(&body)).flatten();
        let (flags, sent) = compressed.as_ref().map_or((0, &body), |packed| (FLAG_ZSTD, packed));

        let mut frame = Vec::with_capacity(HEADER_BYTES + sent.len());
        frame.extend_from_slice(&MAGIC);
        frame.extend_from_slice(&[VERSION, flags]);
        frame.extend_from_slice(&(self.kinds.len() as u32).to_le_bytes());
        frame.extend_from_slice(&self.first_seq.to_le_bytes());
        frame.extend_from_slice(&(self.next_seq - 1).to_le_bytes());
        frame.extend_from_slice(boot_id.as_uuid().as_bytes());
        frame.extend_from_slice(&self.first_boot_us.to_le_bytes());
        frame.extend_from_slice(&self.first_at_us.to_le_bytes());
        frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
        frame.extend_from_slice(&(sent.len() as u32).to_le_bytes());
        frame.extend_from_slice(sent);
        self.clear();
        Some(frame.into())
    }

    fn clear(&mut self) {
        self.kinds.clear();
        self.boot_deltas.clear();
        self.wall_deltas.clear();
        self.lengths.clear();
        self.spans.clear();
        self.annotations.clear();
        self.annotation_ids.clear();
        self.data.clear();
        self.next_seq = 0;
    }
}

/// One event as a record, for those who write streams.
pub fn event_record(seq: u64, boot_us: u64, at_us: i64, text: &EventText) -> RecordRef<'_> {
    RecordRef { seq, span: 1, boot_us, at_us, body: BodyRef::Event(text.as_str()) }
}
