//! The columns of a block's records: what there is of them beside the output.
//!
//! ```text
//! boots        varint n, then n × (varint records, 16 bytes of id, varint boot time and zigzag wall time of the first, µs)
//! frames       varint n, then n × (varint records, zigzag time of receipt against the frame before, µs)
//! kinds        a byte a record: bits 0-1 sort (0 output, 1 event, 2 gap), bit 2 continues, bit 3 the agent's own words,
//!              bit 4 annotated
//! boot times   a varint a record, against the one before; 0 for the first of a boot
//! wall times   a zigzag a record: what the wall clock's step differs from the boot clock's
//! lengths      a varint for each record of output: 0 where it ends behind its first line feed, else its length and 1
//! spans        a varint for each gap
//! events       a varint length for each event, then their JSON
//! annotations  varint n, then n × (varint length, JSON), then for each annotated record a varint index
//! ```

use super::BlockError;
use super::segments::behind_lines;
use deckport_protocol::varint;
use deckport_protocol::{Annotation, BodyRef, BootId, RecordRef, Source};
use std::cell::Cell;
use std::ops::Range;
use uuid::Uuid;

const SORT: u8 = 0b11;
const OUTPUT: u8 = 0;
const EVENT: u8 = 1;
const GAP: u8 = 2;
const CONTINUES: u8 = 1 << 2;
const BY_AGENT: u8 = 1 << 3;
const ANNOTATED: u8 = 1 << 4;

/// Outputs that are looked at one by one before they are searched.
const NEAR: usize = 16;

#[derive(Debug)]
struct Boot {
    records: u64,
    id: BootId,
    boot_us: u64,
    at_us: i64,
}

/// Takes records apart into columns.
#[derive(Debug, Default)]
pub(super) struct Writer {
    boots: Vec<Boot>,
    frames: Vec<(u64, i64)>,
    kinds: Vec<u8>,
    boot_times: Vec<u8>,
    wall_times: Vec<u8>,
    lengths: Vec<u8>,
    spans: Vec<u8>,
    event_lengths: Vec<u8>,
    events: Vec<u8>,
    annotations: Vec<Annotation>,
    annotation_ids: Vec<u8>,
    boot_us: u64,
    at_us: i64,
}

impl Writer {
    /// The next records were received at this time, of this boot.
    pub(super) fn frame(&mut self, received_at: i64) {
        self.frames.push((0, received_at));
    }

    pub(super) fn push(&mut self, record: &RecordRef<'_>, boot_id: BootId) {
        if self.boots.last().is_none_or(|boot| boot.id != boot_id || record.boot_us < self.boot_us)
        {
            let (boot_us, at_us) = (record.boot_us, record.at_us);
            self.boots.push(Boot { records: 0, id: boot_id, boot_us, at_us });
            (self.boot_us, self.at_us) = (boot_us, at_us);
        }
        if let Some(boot) = self.boots.last_mut() {
            boot.records += 1;
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.0 += 1;
        }
        let boot_step = record.boot_us - self.boot_us;
        varint::put(&mut self.boot_times, boot_step);
        let wall_step = record.at_us.wrapping_sub(self.at_us);
        let drift = wall_step.wrapping_sub(boot_step.cast_signed());
        varint::put_signed(&mut self.wall_times, drift);
        (self.boot_us, self.at_us) = (record.boot_us, record.at_us);
        let kind = match record.body {
            BodyRef::Output { bytes, continues, source, annotation } => {
                let natural = memchr::memchr(b'\n', bytes).is_some_and(|at| at + 1 == bytes.len());
                varint::put(&mut self.lengths, if natural { 0 } else { bytes.len() as u64 + 1 });
                let annotated = annotation.is_some_and(|annotation| {
                    let known = self.annotations.iter().rposition(|known| known == annotation);
                    let id = known.unwrap_or_else(|| {
                        self.annotations.push(annotation.clone());
                        self.annotations.len() - 1
                    });
                    varint::put(&mut self.annotation_ids, id as u64);
                    true
                });
                OUTPUT
                    | if continues { CONTINUES } else { 0 }
                    | if source == Source::Agent { BY_AGENT } else { 0 }
                    | if annotated { ANNOTATED } else { 0 }
            }
            BodyRef::Event(text) => {
                varint::put(&mut self.event_lengths, text.len() as u64);
                self.events.extend_from_slice(text.as_bytes());
                if record.span > 1 {
                    varint::put(&mut self.spans, record.span);
                    GAP
                } else {
                    EVENT
                }
            }
        };
        self.kinds.push(kind);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.kinds.len() * 4 + self.events.len() + 64);
        varint::put(&mut out, self.boots.len() as u64);
        for boot in &self.boots {
            varint::put(&mut out, boot.records);
            out.extend_from_slice(boot.id.as_uuid().as_bytes());
            varint::put(&mut out, boot.boot_us);
            varint::put_signed(&mut out, boot.at_us);
        }
        varint::put(&mut out, self.frames.len() as u64);
        let mut before = 0i64;
        for (records, received_at) in &self.frames {
            varint::put(&mut out, *records);
            varint::put_signed(&mut out, received_at.wrapping_sub(before));
            before = *received_at;
        }
        out.extend_from_slice(&self.kinds);
        out.extend_from_slice(&self.boot_times);
        out.extend_from_slice(&self.wall_times);
        out.extend_from_slice(&self.lengths);
        out.extend_from_slice(&self.spans);
        out.extend_from_slice(&self.event_lengths);
        out.extend_from_slice(&self.events);
        varint::put(&mut out, self.annotations.len() as u64);
        for annotation in &self.annotations {
            let json = serde_json::to_vec(annotation)
                .expect("an annotation holds only what JSON can express");
            varint::put(&mut out, json.len() as u64);
            out.extend_from_slice(&json);
        }
        out.extend_from_slice(&self.annotation_ids);
        out
    }
}

#[derive(Clone, Debug)]
struct Entry {
    kind: u8,
    annotation: u32,
    span: u64,
    boot_us: u64,
    at_us: i64,
    /// In the output, or in the events.
    data: Range<u32>,
}

/// What a record came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Origin {
    pub(in crate::log) boot_id: BootId,
    /// Which frame of the block it came in, how many records that has, and when it was received.
    pub(in crate::log) frame: usize,
    pub(in crate::log) records: u64,
    pub(in crate::log) received_at: i64,
}

/// A record that was looked for.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its sequence number against the block's first.
    pub(super) offset: u64,
    pub(super) boot_us: u64,
    pub(super) at_us: i64,
    /// Its bytes, if it is output.
    pub(super) by_output: Range<u32>,
}

/// What a part begins with.
struct Head<'a> {
    boots: Vec<Boot>,
    frames: Vec<(u64, i64)>,
    kinds: &'a [u8],
}

impl<'a> Head<'a> {
    fn take(input: &mut &'a [u8]) -> Option<Self> {
        let mut boots = Vec::new();
        for _ in 0..varint::take(input)? {
            let records = varint::take(input)?;
            let id = Uuid::from_slice(input.split_off(..16)?).ok()?;
            let (boot_us, at_us) = (varint::take(input)?, varint::take_signed(input)?);
            boots.push(Boot { records, id: BootId::from_uuid(id), boot_us, at_us });
        }
        let mut frames = Vec::new();
        let mut received_at = 0i64;
        for _ in 0..varint::take(input)? {
            let records = varint::take(input)?;
            received_at = received_at.wrapping_add(varint::take_signed(input)?);
            frames.push((records, received_at));
        }
        let count = boots.iter().try_fold(0u64, |sum, boot| sum.checked_add(boot.records))?;
        let framed = frames.iter().try_fold(0u64, |sum, frame| sum.checked_add(frame.0))?;
        if framed != count {
            return None;
        }
        let kinds = input.split_off(..usize::try_from(count).ok()?)?;
        Some(Self { boots, frames, kinds })
    }
}

/// In which stretch of time the output came, without putting its records together: ends of stretches of the output, each with the
/// stretch of time that all of it came in, as `of` says it.
pub(super) fn stretches<T: Copy + PartialEq>(
    part: &[u8],
    output: &[u8],
    of: impl Fn(i64) -> T,
) -> Result<Vec<(usize, T)>, BlockError> {
    read_stretches(part, output, of).ok_or(BlockError::Malformed { part: "records" })
}

fn read_stretches<T: Copy + PartialEq>(
    part: &[u8],
    output: &[u8],
    of: impl Fn(i64) -> T,
) -> Option<Vec<(usize, T)>> {
    let input = &mut &*part;
    let Head { boots, kinds, .. } = Head::take(input)?;
    // First how long after the one before, then when.
    let mut times: Vec<i64> = Vec::with_capacity(kinds.len());
    for _ in kinds {
        times.push(varint::take(input)?.cast_signed());
    }
    let mut rest = times.as_mut_slice();
    for boot in &boots {
        let mut at_us = boot.at_us;
        for time in rest.split_off_mut(..usize::try_from(boot.records).ok()?)? {
            at_us = at_us.wrapping_add(time.wrapping_add(varint::take_signed(input)?));
            *time = at_us;
        }
    }
    let mut stretches: Vec<(usize, T)> = Vec::new();
    // Lines that end where they do, behind `at`: they are counted before they are looked for.
    let (mut at, mut lines) = (0, 0);
    let mut now = None;
    let mut at_before = None;
    let outputs = kinds.iter().zip(&times).filter(|(kind, _)| *kind & SORT == OUTPUT);
    for (_, &at_us) in outputs {
        // Many come with one read.
        if at_before != Some(at_us) {
            at_before = Some(at_us);
            let stretch = of(at_us);
            if let Some(before) = now.filter(|before| *before != stretch) {
                at += behind_lines(output.get(at..)?, std::mem::take(&mut lines))?;
                stretches.push((at, before));
            }
            now = Some(stretch);
        }
        match varint::take(input)? {
            0 => lines += 1,
            length => {
                at += behind_lines(output.get(at..)?, std::mem::take(&mut lines))?;
                at = at.checked_add(usize::try_from(length - 1).ok()?)?;
            }
        }
    }
    // The last goes to the end, wherever its lines end.
    stretches.extend(now.map(|now| (output.len(), now)));
    (at <= output.len()).then_some(stretches)
}

/// Records put together again; their output stays where it is.
#[derive(Debug)]
pub(super) struct Records {
    /// Entries that are output and have bytes, in order: each with the end of its bytes.
    outputs: Vec<(u32, u32)>,
    /// Which of them was asked for last: who asks about many asks in order.
    last: Cell<usize>,
    /// For each entry behind a gap: the entry, and its sequence number against the block's first.
    spans: Vec<(u32, u64)>,
    boots: Vec<Boot>,
    frames: Vec<(u64, i64)>,
    entries: Vec<Entry>,
    events: Vec<u8>,
    annotations: Vec<Annotation>,
}

impl Records {
    pub(super) fn decode(part: &[u8], output: &[u8]) -> Result<Self, BlockError> {
        Self::read(part, output).ok_or(BlockError::Malformed { part: "records" })
    }

    fn read(part: &[u8], output: &[u8]) -> Option<Self> {
        let input = &mut &*part;
        let Head { boots, frames, kinds } = Head::take(input)?;
        let mut entries: Vec<Entry> = kinds
            .iter()
            .map(|&kind| Entry { kind, annotation: 0, span: 1, boot_us: 0, at_us: 0, data: 0..0 })
            .collect();
        let mut rest = entries.as_mut_slice();
        for boot in &boots {
            let mut boot_us = boot.boot_us;
            for entry in rest.split_off_mut(..usize::try_from(boot.records).ok()?)? {
                boot_us = boot_us.checked_add(varint::take(input)?)?;
                entry.boot_us = boot_us;
            }
        }
        let mut rest = entries.as_mut_slice();
        for boot in &boots {
            let (mut boot_us, mut at_us) = (boot.boot_us, boot.at_us);
            for entry in rest.split_off_mut(..usize::try_from(boot.records).ok()?)? {
                let step = (entry.boot_us - boot_us).cast_signed();
                at_us = at_us.wrapping_add(step.wrapping_add(varint::take_signed(input)?));
                boot_us = entry.boot_us;
                entry.at_us = at_us;
            }
        }
        let mut at = 0;
        for entry in entries.iter_mut().filter(|entry| entry.kind & SORT == OUTPUT) {
            let length = match varint::take(input)? {
                0 => memchr::memchr(b'\n', output.get(at..)?)? + 1,
                length => usize::try_from(length - 1).ok()?,
            };
            let end = at.checked_add(length).filter(|&end| end <= output.len())?;
            entry.data = at as u32..end as u32;
            at = end;
        }
        if at != output.len() {
            return None;
        }
        for entry in entries.iter_mut().filter(|entry| entry.kind & SORT == GAP) {
            entry.span = varint::take(input)?;
        }
        let mut end = 0u32;
        for entry in entries.iter_mut().filter(|entry| entry.kind & SORT != OUTPUT) {
            let begin = end;
            end = begin.checked_add(u32::try_from(varint::take(input)?).ok()?)?;
            entry.data = begin..end;
        }
        let events = input.split_off(..end as usize)?.to_vec();
        // Cut at what were characters' ends when they went in.
        std::str::from_utf8(&events).ok()?;
        let mut annotations = Vec::new();
        for _ in 0..varint::take(input)? {
            let length = usize::try_from(varint::take(input)?).ok()?;
            annotations.push(serde_json::from_slice(input.split_off(..length)?).ok()?);
        }
        for entry in entries.iter_mut().filter(|entry| entry.kind & ANNOTATED != 0) {
            let index = varint::take(input)?;
            entry.annotation = u32::try_from(index).ok()?;
            annotations.get(entry.annotation as usize)?;
        }
        let output = |entry: &Entry| entry.kind & SORT == OUTPUT && !entry.data.is_empty();
        let outputs = (0..).zip(&entries).filter(|(_, entry)| output(entry));
        let outputs = outputs.map(|(at, entry)| (at, entry.data.end)).collect();
        let mut spans = Vec::new();
        let mut skipped = 0u64;
        for (at, entry) in (0u32..).zip(&entries).filter(|(_, entry)| entry.span > 1) {
            skipped = skipped.checked_add(entry.span - 1)?;
            spans.push((at + 1, u64::from(at) + 1 + skipped));
        }
        let last = Cell::new(0);
        let read = Self { outputs, last, spans, boots, frames, entries, events, annotations };
        input.is_empty().then_some(read)
    }

    /// The record of output that holds this byte of the output, and where it begins: its place, its sequence number before
    /// spans are counted, and its times.
    pub(super) fn output_at(&self, at: usize) -> Option<Found> {
        let ends_before = |&(_, end): &(u32, u32)| end as usize <= at;
        let last = self.last.get();
        // The one that was asked for last, or one of those behind it; else it is looked for in all.
        let near = self.outputs.get(last..).unwrap_or_default().iter().take(NEAR);
        let behind_last = last == 0 || self.outputs.get(last - 1).is_some_and(ends_before);
        let found = match near.take_while(|output| ends_before(output)).count() {
            behind if behind_last && behind < NEAR => last + behind,
            _ => self.outputs.partition_point(ends_before),
        };
        self.last.set(found);
        let index = self.outputs.get(found)?.0 as usize;
        Some(self.found(index))
    }

    /// The record with this number, from 0, within the block.
    pub(super) fn nth(&self, offset: u64) -> Option<Found> {
        self.index_of(offset).map(|index| self.found(index))
    }

    /// Where its bytes stand in the output; `None` if it has none, or is no output.
    pub(super) fn output_of(&self, offset: u64) -> Option<Range<u32>> {
        let index = self.index_of(offset)?;
        let Entry { kind, data, .. } = &self.entries[index];
        let output = kind & SORT == OUTPUT && !data.is_empty();
        // Within a gap there is no record.
        (output && self.found(index).offset == offset).then(|| data.clone())
    }

    fn index_of(&self, offset: u64) -> Option<usize> {
        let spans = self.spans.partition_point(|&(_, before)| before <= offset);
        let skipped =
            spans.checked_sub(1).map_or(0, |at| self.spans[at].1 - u64::from(self.spans[at].0));
        let index = usize::try_from(offset - skipped).ok()?;
        (index < self.entries.len()).then_some(index)
    }

    fn found(&self, index: usize) -> Found {
        let spans = self.spans.partition_point(|&(entry, _)| (entry as usize) <= index);
        let skipped =
            spans.checked_sub(1).map_or(0, |at| self.spans[at].1 - u64::from(self.spans[at].0));
        let entry = &self.entries[index];
        Found {
            offset: index as u64 + skipped,
            boot_us: entry.boot_us,
            at_us: entry.at_us,
            by_output: entry.data.clone(),
        }
    }

    pub(super) fn iter<'a>(
        &'a self,
        first_seq: u64,
        output: &'a [u8],
    ) -> impl Iterator<Item = (RecordRef<'a>, Origin)> {
        let boots = self.boots.iter().flat_map(|boot| (0..boot.records).map(|_| boot.id));
        let frames = self.frames.iter().enumerate();
        let frames = frames.flat_map(|(at, frame)| (0..frame.0).map(move |_| (at, frame)));
        let mut seq = first_seq;
        self.entries.iter().zip(boots).zip(frames).map(move |((entry, boot_id), (frame, of))| {
            let data = entry.data.start as usize..entry.data.end as usize;
            let body = if entry.kind & SORT == OUTPUT {
                BodyRef::Output {
                    bytes: &output[data],
                    continues: entry.kind & CONTINUES != 0,
                    source: if entry.kind & BY_AGENT != 0 {
                        Source::Agent
                    } else {
                        Source::Terminal
                    },
                    annotation: (entry.kind & ANNOTATED != 0)
                        .then(|| &self.annotations[entry.annotation as usize]),
                }
            } else {
                BodyRef::Event(std::str::from_utf8(&self.events[data]).unwrap_or_default())
            };
            let (span, boot_us, at_us) = (entry.span, entry.boot_us, entry.at_us);
            let record = RecordRef { seq, span, boot_us, at_us, body };
            seq = record.last_seq() + 1;
            let (records, received_at) = *of;
            (record, Origin { boot_id, frame, records, received_at })
        })
    }
}
