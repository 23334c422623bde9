//! What folding found out about rows and their bytes alone do not say: levels, kinds, places, the texts of events.
//!
//! Rows are facts of the moment in which they were taken in: noted once, beside the frame in which each row ended, and
//! kept with it. What searches a stored log needs no second look at every line. Only what is unusual is noted; a row that
//! nobody mentions is a line of level info, in the place of the row before it.
//!
//! What must hold: entries are in the order of their rows; a row has at most one entry of each sort.

use deckport_protocol::Level;
use deckport_protocol::rows::{RowFact, RowKind, RowSink};
use deckport_protocol::varint;
use std::sync::Arc;

/// Where rows stand, from one on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub row: u64,
    pub phase: Option<u32>,
    /// The phase's name; empty where there is none.
    pub name: Arc<str>,
    pub step: Option<Arc<str>>,
}

/// A row that is no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub row: u64,
    /// The event's record.
    pub seq: u64,
    /// Output bytes of the stream before it.
    pub at_byte: u64,
    pub text: Box<str>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Those that are not of level info.
    pub levels: Vec<(u64, Level)>,
    /// Those that are no plain lines.
    pub kinds: Vec<(u64, RowKind)>,
    pub events: Vec<EventRow>,
    pub places: Vec<Place>,
}

const LEVELS: [Level; 5] = [Level::Debug, Level::Info, Level::Notice, Level::Warning, Level::Error];
const KINDS: [RowKind; 6] =
    [RowKind::Line, RowKind::Phase, RowKind::Note, RowKind::Gap, RowKind::Marker, RowKind::Event];

/// A level's number in what is stored.
pub(super) fn number_of_level(level: Level) -> u8 {
    match level {
        Level::Debug => 0,
        Level::Info => 1,
        Level::Notice => 2,
        Level::Warning => 3,
        Level::Error => 4,
    }
}

/// A kind's number in what is stored.
pub(super) fn number_of_kind(kind: RowKind) -> u8 {
    match kind {
        RowKind::Line => 0,
        RowKind::Phase => 1,
        RowKind::Note => 2,
        RowKind::Gap => 3,
        RowKind::Marker => 4,
        RowKind::Event => 5,
    }
}

impl Notes {
    /// Errors and warnings among the rows of `rows`.
    pub(super) fn trouble(&self, rows: std::ops::Range<u64>) -> (u64, u64) {
        let within = self.levels.iter().filter(|(row, _)| rows.contains(row));
        within.fold((0, 0), |(errors, warnings), (_, level)| match level {
            Level::Error => (errors + 1, warnings),
            Level::Warning => (errors, warnings + 1),
            Level::Debug | Level::Info | Level::Notice => (errors, warnings),
        })
    }

    /// Takes in what was noted of later rows, as far as they are in `rows`.
    pub(super) fn extend(&mut self, later: &Self, rows: &std::ops::Range<u64>) {
        self.levels.extend(later.levels.iter().filter(|(row, _)| rows.contains(row)));
        self.kinds.extend(later.kinds.iter().filter(|(row, _)| rows.contains(row)));
        self.events.extend(later.events.iter().filter(|event| rows.contains(&event.row)).cloned());
        for place in later.places.iter().filter(|place| rows.contains(&place.row)) {
            let same = self.places.last().is_some_and(|last| {
                (last.phase, &last.name, &last.step) == (place.phase, &place.name, &place.step)
            });
            if !same {
                self.places.push(place.clone());
            }
        }
    }

    /// Bytes of memory beside its own size.
    pub(super) fn held(&self) -> usize {
        let texts: usize = self.events.iter().map(|event| event.text.len()).sum();
        self.levels.capacity() * size_of::<(u64, Level)>()
            + self.kinds.capacity() * size_of::<(u64, RowKind)>()
            + self.events.capacity() * size_of::<EventRow>()
            + self.places.capacity() * size_of::<Place>()
            + texts
    }

    pub(super) fn level(&self, row: u64) -> Level {
        let at = self.levels.binary_search_by_key(&row, |(row, _)| *row);
        at.map_or(Level::Info, |at| self.levels[at].1)
    }

    pub(super) fn kind(&self, row: u64) -> RowKind {
        let at = self.kinds.binary_search_by_key(&row, |(row, _)| *row);
        at.map_or(RowKind::Line, |at| self.kinds[at].1)
    }

    pub(super) fn place(&self, row: u64) -> Option<&Place> {
        let behind = self.places.partition_point(|place| place.row <= row);
        self.places.get(behind.checked_sub(1)?)
    }

    /// As it is stored. Rows are deltas, texts are preceded by their length.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut before = 0;
        let mut delta = |out: &mut Vec<u8>, row: u64| {
            varint::put_signed(out, row.wrapping_sub(before).cast_signed());
            before = row;
        };
        varint::put(&mut out, self.levels.len() as u64);
        for (row, level) in &self.levels {
            delta(&mut out, *row);
            out.push(number_of_level(*level));
        }
        varint::put(&mut out, self.kinds.len() as u64);
        for (row, kind) in &self.kinds {
            delta(&mut out, *row);
            out.push(number_of_kind(*kind));
        }
        varint::put(&mut out, self.events.len() as u64);
        for event in &self.events {
            delta(&mut out, event.row);
            varint::put(&mut out, event.seq);
            varint::put(&mut out, event.at_byte);
            put_text(&mut out, &event.text);
        }
        varint::put(&mut out, self.places.len() as u64);
        for place in &self.places {
            delta(&mut out, place.row);
            varint::put(&mut out, place.phase.map_or(0, |phase| u64::from(phase) + 1));
            put_text(&mut out, &place.name);
            varint::put(&mut out, u64::from(place.step.is_some()));
            if let Some(step) = &place.step {
                put_text(&mut out, step);
            }
        }
        out
    }

    /// Takes what [`Self::encode`] made off the front of `input`; `None` when it is something else.
    pub(super) fn decode(input: &mut &[u8]) -> Option<Self> {
        let mut notes = Self::default();
        let mut before = 0u64;
        let mut row = |input: &mut &[u8]| {
            before = before.wrapping_add(varint::take_signed(input)?.cast_unsigned());
            Some(before)
        };
        for _ in 0..varint::take(input)? {
            let row = row(input)?;
            notes.levels.push((row, *LEVELS.get(usize::from(*input.split_off_first()?))?));
        }
        for _ in 0..varint::take(input)? {
            let row = row(input)?;
            notes.kinds.push((row, *KINDS.get(usize::from(*input.split_off_first()?))?));
        }
        for _ in 0..varint::take(input)? {
            let (row, seq, at_byte) = (row(input)?, varint::take(input)?, varint::take(input)?);
            notes.events.push(EventRow { row, seq, at_byte, text: take_text(input)?.into() });
        }
        for _ in 0..varint::take(input)? {
            let row = row(input)?;
            let phase = match varint::take(input)? {
                0 => None,
                phase => Some(u32::try_from(phase - 1).ok()?),
            };
            let name = take_text(input)?.into();
            let step = match varint::take(input)? {
                0 => None,
                _ => Some(take_text(input)?.into()),
            };
            notes.places.push(Place { row, phase, name, step });
        }
        Some(notes)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(varint::take(input)?).ok()?;
    std::str::from_utf8(input.split_off(..length)?).ok()
}

/// Notes rows as they end. Belongs to one stream and goes on from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct Noting {
    notes: Notes,
    /// Output bytes of the stream so far; set by whoever feeds the deriver, in front of each record.
    pub at_byte: u64,
    text: Option<Box<str>>,
    phase: Option<u32>,
    name: Arc<str>,
}

impl Noting {
    /// Goes on in the phase that a restored deriver is in.
    pub fn in_phase(phase: Option<u32>, name: &str) -> Self {
        Self { phase, name: name.into(), ..Self::default() }
    }

    /// What was noted since the last call.
    pub fn take(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }
}

impl RowSink for Noting {
    fn begin(&mut self, _row: u64) {
        self.text = None;
    }

    fn text(&mut self, text: &str) {
        self.text = Some(text.into());
    }

    fn row(&mut self, fact: &RowFact, step: Option<&str>) {
        let notes = &mut self.notes;
        if fact.level != Level::Info {
            notes.levels.push((fact.row, fact.level));
        }
        if fact.kind != RowKind::Line {
            notes.kinds.push((fact.row, fact.kind));
        }
        if let Some(text) = self.text.take() {
            let (row, seq, at_byte) = (fact.row, fact.seq, self.at_byte);
            notes.events.push(EventRow { row, seq, at_byte, text });
        }
        // The line that ends a group is still in it: its name is that of the phase that was.
        let last = notes.places.last();
        let same =
            last.is_some_and(|last| last.phase == fact.phase && last.step.as_deref() == step);
        if !same {
            let name = if fact.phase.is_none() { Arc::default() } else { Arc::clone(&self.name) };
            debug_assert!(fact.phase.is_none() || fact.phase == self.phase);
            let step = step.map(Into::into);
            notes.places.push(Place { row: fact.row, phase: fact.phase, name, step });
        }
    }

    fn phase(&mut self, phase: &deckport_protocol::rows::PhaseFact) {
        self.phase = Some(phase.index);
        self.name = phase.name.as_str().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn notes() -> impl Strategy<Value = Notes> {
        let rows = || proptest::collection::btree_set(0u64..1 << 40, 0..6);
        let level = proptest::sample::select(&LEVELS[..]);
        let kind = proptest::sample::select(&KINDS[..]);
        (
            proptest::collection::btree_map(0u64..1000, level, 0..6),
            proptest::collection::btree_map(0u64..1000, kind, 0..6),
            rows(),
            rows(),
            ".{0,12}",
        )
            .prop_map(|(levels, kinds, events, places, text)| Notes {
                levels: levels.into_iter().collect(),
                kinds: kinds.into_iter().collect(),
                events: events
                    .into_iter()
                    .map(|row| EventRow {
                        row,
                        seq: row + 1,
                        at_byte: row * 3,
                        text: text.as_str().into(),
                    })
                    .collect(),
                places: places
                    .into_iter()
                    .map(|row| Place {
                        row,
                        phase: row.is_multiple_of(2).then_some(row as u32),
                        name: text.as_str().into(),
                        step: row.is_multiple_of(3).then(|| text.as_str().into()),
                    })
                    .collect(),
            })
    }

    proptest! {
        #[test]
        fn what_was_noted_comes_back(notes in notes(), cut in 0usize..64) {
            let bytes = notes.encode();
            let mut input = bytes.as_slice();
            prop_assert_eq!(Notes::decode(&mut input), Some(notes));
            prop_assert!(input.is_empty());
            // What is cut off is refused and never panics.
            let cut = &bytes[..bytes.len().saturating_sub(cut + 1)];
            let _ = Notes::decode(&mut &*cut);
        }
    }
}
