//! Writing a spool: groups of records, each one write; and syncing what was written.

use super::{
    AHEAD_BYTES, ENTRY_RECORDS, Entry, Position, RESERVE_BYTES, SEGMENT_BYTES, SpoolError,
    entry_at, segment_path, segments,
};
use crate::clock::Stamp;
use crate::disk::Disk;
use bytes::Bytes;
use deckport_protocol::Limits;
use deckport_protocol::event::Event;
use deckport_protocol::{
    BodyRef, BootId, EventText, FrameBuilder, GapAuthor, RecordRef, Source, columns::Frame,
};
use std::collections::VecDeque;
use std::path::PathBuf;

/// Data in one entry stays below this (plus one record), so that its frame is within a link's limits.
const ENTRY_DATA: usize = 512 * 1024;
/// Space beyond the limit that only events may use.
const EVENT_RESERVE: u64 = 8 * 1024 * 1024;
/// What an entry adds to its records' data, at most: head, header, columns.
const ENTRY_OVERHEAD: u64 = 128;

/// Something to be recorded.
#[derive(Clone, Debug)]
pub enum Item {
    Output { stamp: Stamp, bytes: Bytes, continues: bool, source: Source },
    Event { stamp: Stamp, event: Box<Event> },
}

/// What a spool that is opened again holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub position: Position,
    /// Its last record is terminal: nothing may follow.
    pub ended: bool,
    /// Bytes of a torn end that were cut off.
    pub cut_bytes: u64,
    /// The boot and wall time of the last record.
    pub last: Option<Stamp>,
}

struct Segment<F> {
    number: u64,
    file: F,
    /// How far it is written; the next group goes here.
    written: u64,
    /// Its length: zeros stand between.
    length: u64,
    /// Everything that is written is durable, or somebody sees to it.
    synced: bool,
    /// A write failed behind `written`, and its traces are not off the disk yet.
    torn: bool,
}

/// Files with something written that is not durable yet.
#[derive(Debug)]
pub struct Unsynced<F>(Vec<(PathBuf, F)>);

impl<F> Unsynced<F> {
    /// Makes them durable; may wait for the disk for long. Says what the first refusal was.
    pub fn sync(&self, disk: &impl Disk<File = F>) -> Result<(), SpoolError> {
        let mut outcome = Ok(());
        for (path, file) in &self.0 {
            let synced = disk.sync(file).map_err(SpoolError::disk("sync", path));
            outcome = outcome.and(synced);
        }
        outcome
    }
}

/// Writes a run's records.
pub struct Writer<D: Disk> {
    disk: D,
    dir: PathBuf,
    boot_id: BootId,
    limit: u64,
    segment_bytes: u64,
    segment: Option<Segment<D::File>>,
    /// Segments that were left before they were synced.
    left: Vec<(PathBuf, D::File)>,
    /// Earlier segments with their sizes, oldest first; the uplink deletes acknowledged ones.
    earlier: VecDeque<(u64, u64)>,
    next_seq: u64,
    next_segment: u64,
    /// Output bytes left out since the last record.
    dropped: u64,
    dropped_why: &'static str,
    /// Events of a group that could not be written, to be tried again.
    retry: Vec<Item>,
    sync_failure: Option<SpoolError>,
    builder: FrameBuilder,
}

impl<D: Disk> std::fmt::Debug for Writer<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("dir", &self.dir).field("next_seq", &self.next_seq).finish()
    }
}

impl<D: Disk> Writer<D> {
    /// Opens the spool in `dir`, recovering what is there. `acked_seq` is what the collector is known
    /// to have: no sequence number up to it is used again. `limit` is in bytes.
    pub fn open(
        disk: D,
        dir: PathBuf,
        boot_id: BootId,
        limit: u64,
        acked_seq: u64,
    ) -> Result<(Self, Recovered), SpoolError> {
        let mut writer = Self {
            disk,
            dir,
            boot_id,
            limit,
            segment_bytes: SEGMENT_BYTES.min((limit / 8).max(64 * 1024)),
            segment: None,
            left: Vec::new(),
            earlier: VecDeque::new(),
            next_seq: acked_seq + 1,
            next_segment: 1,
            dropped: 0,
            dropped_why: "",
            retry: Vec::new(),
            sync_failure: None,
            builder: FrameBuilder::new(),
        };
        let recovered = writer.recover(acked_seq)?;
        Ok((writer, recovered))
    }

    fn recover(&mut self, acked_seq: u64) -> Result<Recovered, SpoolError> {
        let mut recovered = Recovered {
            position: Position { last_seq: acked_seq, ..Position::default() },
            ended: false,
            cut_bytes: 0,
            last: None,
        };
        let numbers = segments(&self.disk, &self.dir)?;
        for (index, &number) in numbers.iter().enumerate() {
            let path = segment_path(&self.dir, number);
            let content = self.disk.read(&path).map_err(SpoolError::disk("read", &path))?;
            // The end of the last entry that may be accepted; what follows it is torn or stale.
            let mut end = 0;
            let mut at = 0;
            loop {
                match entry_at(&content, at) {
                    Entry::Whole { frame, header } => {
                        at = frame.end;
                        end = at;
                        if header.last_seq >= recovered.position.last_seq {
                            recovered.position.last_seq = header.last_seq;
                            if let Some((stamp, ended)) = last_of(&content[frame]) {
                                recovered.last = Some(stamp);
                                recovered.ended = ended;
                            }
                        }
                    }
                    Entry::End => break,
                    Entry::Damaged => match super::resync(&content, at) {
                        Some(found) => at = found,
                        None => break,
                    },
                }
            }
            recovered.position.segment = number;
            recovered.position.offset = end as u64;
            self.next_segment = number + 1;
            let written = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let torn = written.saturating_sub(end) as u64;
            let file = self.disk.open(&path).map_err(SpoolError::disk("open", &path))?;
            if index + 1 < numbers.len() {
                self.disk.sync(&file).map_err(SpoolError::disk("sync", &path))?;
                self.earlier.push_back((number, end as u64));
                continue;
            }
            recovered.cut_bytes = torn;
            if content.len() > end {
                self.disk.truncate(&file, end as u64).map_err(SpoolError::disk("cut", &path))?;
            }
            // What was read may not have been durable yet, and will be announced now.
            self.disk.sync(&file).map_err(SpoolError::disk("sync", &path))?;
            let end = end as u64;
            let (synced, torn) = (true, false);
            self.segment = Some(Segment { number, file, written: end, length: end, synced, torn });
        }
        if !numbers.is_empty() {
            self.disk.sync_dir(&self.dir).map_err(SpoolError::disk("sync", &self.dir))?;
        }
        self.next_seq = recovered.position.last_seq + 1;
        Ok(recovered)
    }

    /// Writes `items`, as far as there is space for them, and makes them durable. Returns the new end.
    pub fn commit(&mut self, items: Vec<Item>) -> Result<Position, SpoolError> {
        let position = self.write(items)?;
        self.sync()?;
        Ok(position)
    }

    /// Writes `items`, as far as there is space for them. Returns the new end: what lies before it survives this process,
    /// and a power cut only after [`Self::sync`]. A terminal record is made durable at once: it is never sent before, so that
    /// nobody ends a run again that the collector knows as ended.
    ///
    /// When the disk refuses, output is counted for a later gap, events wait for the next call, and
    /// the error says why; the spool may be used on.
    pub fn write(&mut self, items: Vec<Item>) -> Result<Position, SpoolError> {
        let mut group = std::mem::take(&mut self.retry);
        group.extend(items);
        let before = (self.next_seq, self.dropped);
        let printed: u64 = group.iter().map(output_bytes).sum();
        let mut kept = Vec::with_capacity(group.len());
        let mut buffer = Vec::new();
        self.encode(group, &mut kept, &mut buffer);
        if buffer.is_empty() {
            return Ok(self.position());
        }
        let ends = kept
            .iter()
            .any(|item| matches!(item, Item::Event { event, .. } if event.is_terminal()));
        let events_only = kept.iter().all(|item| matches!(item, Item::Event { .. }));
        match self.append(&buffer, events_only) {
            Ok(()) => {
                if ends {
                    self.sync_failure = self.sync().err();
                }
                Ok(self.position())
            }
            Err(error) => {
                // Its numbers are used again.
                self.next_seq = before.0;
                self.dropped = before.1 + printed;
                self.dropped_why = "the console's disk did not take it";
                // In their order; a gap is made anew from the count.
                let again = kept.into_iter().filter(|item| {
                    matches!(item, Item::Event { event, .. } if !matches!(**event, Event::Gap { .. }))
                });
                self.retry.splice(..0, again);
                Err(error)
            }
        }
    }

    /// Why the terminal record could not be made durable, if it could not.
    pub fn take_sync_failure(&mut self) -> Option<SpoolError> {
        self.sync_failure.take()
    }

    /// Makes everything that is written durable. What the disk refuses then is not asked for again: nobody knows which part of
    /// it is durable.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.take_unsynced().sync(&self.disk)
    }

    /// What has to be synced, for whoever sees to it.
    pub fn take_unsynced(&mut self) -> Unsynced<D::File> {
        let mut files = std::mem::take(&mut self.left);
        if let Some(segment) = self.segment.as_mut().filter(|segment| !segment.synced) {
            segment.synced = true;
            files.push((segment_path(&self.dir, segment.number), segment.file.clone()));
        }
        Unsynced(files)
    }

    /// Whether nothing is left to sync.
    pub fn is_synced(&self) -> bool {
        self.left.is_empty() && self.segment.as_ref().is_none_or(|segment| segment.synced)
    }

    /// Whether output is left out at present, or events wait for the disk.
    pub fn in_need(&self) -> bool {
        self.dropped > 0 || !self.retry.is_empty()
    }

    /// The end of what is written.
    pub fn position(&self) -> Position {
        let (segment, offset) =
            self.segment.as_ref().map_or((0, 0), |segment| (segment.number, segment.written));
        Position { segment, offset, last_seq: self.next_seq - 1 }
    }

    /// Numbers the items that there is space for and encodes them into `buffer`.
    fn encode(&mut self, group: Vec<Item>, kept: &mut Vec<Item>, buffer: &mut Vec<u8>) {
        let incoming: u64 = group.iter().map(size).sum();
        let mut used = self.used(incoming);
        for item in group {
            let size = size(&item);
            match &item {
                Item::Output { stamp, bytes, continues, source } => {
                    // While output is being left out, it resumes only when there is room to spare.
                    let spare = if self.dropped > 0 { self.limit / 16 } else { 0 };
                    if used + size + spare > self.limit {
                        if self.dropped == 0 {
                            self.dropped_why = "the spool is at its limit";
                        }
                        self.dropped += bytes.len() as u64;
                        continue;
                    }
                    let stamp = *stamp;
                    used += self.end_gap(stamp, kept, buffer);
                    let body = BodyRef::Output {
                        bytes,
                        continues: *continues,
                        source: *source,
                        annotation: None,
                    };
                    self.push(stamp, body, buffer);
                }
                Item::Event { stamp, event } => {
                    let text = EventText::new(event);
                    if used + size > self.limit + EVENT_RESERVE || !self.retry.is_empty() {
                        // Not even the reserve has room: keep it until it has, and what comes behind it.
                        self.retry.push(item);
                        continue;
                    }
                    used += self.end_gap(*stamp, kept, buffer);
                    self.push(*stamp, BodyRef::Event(text.as_str()), buffer);
                }
            }
            used += size;
            kept.push(item);
        }
        self.close_entry(buffer);
    }

    /// Records what was left out before the record that comes now. Returns the bytes used.
    fn end_gap(&mut self, stamp: Stamp, kept: &mut Vec<Item>, buffer: &mut Vec<u8>) -> u64 {
        if self.dropped == 0 {
            return 0;
        }
        let event = Event::Gap {
            first_seq: self.next_seq,
            last_seq: self.next_seq,
            bytes: std::mem::take(&mut self.dropped),
            why: self.dropped_why.to_owned(),
            by: GapAuthor::Agent,
        };
        let text = EventText::new(&event);
        self.push(stamp, BodyRef::Event(text.as_str()), buffer);
        let item = Item::Event { stamp, event: Box::new(event) };
        let used = size(&item);
        kept.push(item);
        used
    }

    fn push(&mut self, stamp: Stamp, body: BodyRef<'_>, buffer: &mut Vec<u8>) {
        let record = RecordRef {
            seq: self.next_seq,
            span: 1,
            boot_us: stamp.boot_us,
            at_us: stamp.at_us,
            body,
        };
        self.builder.push(&record);
        self.next_seq += 1;
        if self.builder.count() >= ENTRY_RECORDS || self.builder.data_bytes() >= ENTRY_DATA {
            self.close_entry(buffer);
        }
    }

    fn close_entry(&mut self, buffer: &mut Vec<u8>) {
        if let Some(frame) = self.builder.finish(self.boot_id, false) {
            buffer.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            buffer.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
            buffer.extend_from_slice(&frame);
        }
    }

    /// Writes a group into space that was taken for it before, so that a disk that fills up refuses the space and not a part of
    /// the group. The last of that space is for events: also on a full disk there is room to say how the run ended.
    fn append(&mut self, buffer: &[u8], events_only: bool) -> Result<(), SpoolError> {
        self.mend()?;
        let bytes = buffer.len() as u64;
        let taken = match &self.segment {
            Some(open) if open.written == 0 || open.written + bytes <= self.segment_bytes => {
                self.take_space(bytes)
            }
            _ => self.next_segment(bytes),
        };
        let Some(segment) = &mut self.segment else { return taken };
        let end = segment.written + bytes;
        if taken.is_err() && !(events_only && end <= segment.length) {
            return taken;
        }
        segment.torn = true;
        segment.synced = false;
        let path = segment_path(&self.dir, segment.number);
        if let Err(error) = self.disk.write_at(&segment.file, buffer, segment.written) {
            // What stands behind the end must never be taken for ours.
            let _ = self.mend();
            return Err(SpoolError::disk("write", &path)(error));
        }
        segment.torn = false;
        segment.written = end;
        Ok(())
    }

    /// Takes space for so many bytes in the open segment, and some ahead.
    fn take_space(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let end = segment.written + bytes;
        if end + RESERVE_BYTES <= segment.length {
            return Ok(());
        }
        let path = segment_path(&self.dir, segment.number);
        let from = segment.length.max(segment.written);
        let zeros = vec![0; (end + AHEAD_BYTES - from) as usize];
        self.disk
            .write_at(&segment.file, &zeros, from)
            .map_err(SpoolError::disk("take space in", &path))?;
        segment.length = end + AHEAD_BYTES;
        Ok(())
    }

    /// Goes on to a new segment with space for so many bytes. When there is none, the old one stays, with what is left of it.
    fn next_segment(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let number = self.next_segment;
        let path = segment_path(&self.dir, number);
        let file = self.disk.create(&path).map_err(SpoolError::disk("create", &path))?;
        self.next_segment += 1;
        let (written, length) = (0, 0);
        let (synced, torn) = (true, false);
        let old = self.segment.replace(Segment { number, file, written, length, synced, torn });
        let taken = self.take_space(bytes).and_then(|()| {
            self.disk.sync_dir(&self.dir).map_err(SpoolError::disk("sync", &self.dir))
        });
        if taken.is_err() {
            self.segment = old;
            let _ = self.disk.remove(&path);
            return taken;
        }
        if let Some(full) = old {
            // Zeros at its end harm nobody, should they stay.
            let _ = self.disk.truncate(&full.file, full.written);
            if !full.synced {
                self.left.push((segment_path(&self.dir, full.number), full.file));
            }
            self.earlier.push_back((full.number, full.written));
        }
        Ok(())
    }

    /// Takes the traces of a failed write off the disk: their numbers will be used again.
    fn mend(&mut self) -> Result<(), SpoolError> {
        let Some(segment) = self.segment.as_mut().filter(|segment| segment.torn) else {
            return Ok(());
        };
        let path = segment_path(&self.dir, segment.number);
        self.disk
            .truncate(&segment.file, segment.written)
            .map_err(SpoolError::disk("cut", &path))?;
        segment.length = segment.written;
        self.disk.sync(&segment.file).map_err(SpoolError::disk("sync", &path))?;
        (segment.synced, segment.torn) = (true, false);
        Ok(())
    }

    /// Bytes that the spool occupies. Looks at the disk only when `incoming` might not fit.
    fn used(&mut self, incoming: u64) -> u64 {
        let sum = |earlier: &VecDeque<(u64, u64)>, open: u64| {
            earlier.iter().map(|(_, bytes)| bytes).sum::<u64>() + open
        };
        let open = self.segment.as_ref().map_or(0, |segment| segment.written);
        let used = sum(&self.earlier, open);
        if used + incoming <= self.limit && self.dropped == 0 {
            return used;
        }
        while let Some(&(number, _)) = self.earlier.front() {
            if !matches!(self.disk.length(&segment_path(&self.dir, number)), Ok(None)) {
                break;
            }
            self.earlier.pop_front();
        }
        sum(&self.earlier, open)
    }
}

fn output_bytes(item: &Item) -> u64 {
    match item {
        Item::Output { bytes, .. } => bytes.len() as u64,
        Item::Event { .. } => 0,
    }
}

fn size(item: &Item) -> u64 {
    match item {
        Item::Output { bytes, .. } => bytes.len() as u64 + 8 + ENTRY_OVERHEAD / 8,
        Item::Event { event, .. } => EventText::new(event).as_str().len() as u64 + ENTRY_OVERHEAD,
    }
}

/// The last record's time, and whether it is terminal.
fn last_of(frame: &[u8]) -> Option<(Stamp, bool)> {
    let frame = Frame::decode(&Bytes::copy_from_slice(frame), &Limits::default()).ok()?;
    let record = frame.records().last()?;
    let ended = match record.body {
        BodyRef::Event(text) => {
            deckport_protocol::event::parse(text).is_ok_and(|event| event.is_terminal())
        }
        BodyRef::Output { .. } => false,
    };
    Some((Stamp { boot_us: record.boot_us, at_us: record.at_us }, ended))
}
