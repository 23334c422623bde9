//! Which blocks cannot hold what is looked for: a bit for each trigram of their rows' texts.
//!
//! Texts are folded first ([`fold_into`]), so that one filter serves searches that mind capitals and searches that do not. A trigram is three bytes of a folded text of one row. Its hash, cut to the filter's size, is the place of its bit.
//!
//! What must hold: every trigram of every row's text has its bit; a bit too many costs a look, a bit too few loses a row.
//!
//! Filters of many blocks are *sliced*: for each place one row of bits, a bit a block, so that a search reads the few rows of the
//! trigrams that it needs and never a whole filter. Rows are packed in chunks, each with a checksum: one that was damaged cannot be
//! opened, and what cannot be opened rules nothing out. (Chunks of former versions have none, and are read as they are.)

use crate::query::fold_into;
use std::collections::BTreeSet;

/// Places of the largest filter, and of all that are sliced.
pub(super) const PLACES: usize = 1 << 16;
const LEAST: usize = 1 << 9;
/// A filter is at most so full when it is made smaller.
const SPARSE: usize = 6;

/// Blocks whose filters are sliced together.
pub(super) const SLOTS: usize = 512;
/// Bytes of one row of bits.
const ROW: usize = SLOTS / 8;
/// Rows of bits that are stored together.
pub(super) const CHUNK_PLACES: usize = 64;
/// Chunks of one group.
pub(super) const CHUNKS: i64 = (PLACES / CHUNK_PLACES) as i64;

/// The place of a trigram.
pub(super) fn place(trigram: [u8; 3]) -> u16 {
    place_of(u32::from_le_bytes([trigram[0], trigram[1], trigram[2], 0]))
}

/// The place of the trigram in the lower three bytes.
fn place_of(trigram: u32) -> u16 {
    // The high bits of a multiplication by an odd constant near 2^32 divided by the golden ratio.
    ((trigram & 0xff_ffff).wrapping_mul(0x9E37_79B1) >> 16) as u16
}

/// A block's filter; a power of two of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter(Box<[u8]>);

impl Filter {
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let places = bytes.len() * 8;
        ((LEAST..=PLACES).contains(&places) && places.is_power_of_two()).then(|| Self(bytes.into()))
    }

    /// One that rules nothing out, for a block that nobody can read.
    pub(super) fn full() -> Self {
        Self(vec![u8::MAX; LEAST / 8].into())
    }

    /// One that rules everything out, for a block that is no more.
    pub(super) fn empty() -> Self {
        Self(vec![0; LEAST / 8].into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether all of these places are set.
    pub(super) fn has(&self, places: &[u16]) -> bool {
        let mask = self.0.len() * 8 - 1;
        places.iter().all(|&place| {
            let place = usize::from(place) & mask;
            self.0[place / 8] & (1 << (place % 8)) != 0
        })
    }
}

/// Collects the trigrams of a block.
#[derive(Debug)]
pub(super) struct FilterBuilder {
    /// A byte a place: setting one needs no reading.
    marks: Box<[u8; PLACES]>,
    lower: Vec<u8>,
}

impl Default for FilterBuilder {
    fn default() -> Self {
        Self { marks: Box::new([0; PLACES]), lower: Vec::new() }
    }
}

impl FilterBuilder {
    /// Adds the text of a row.
    pub(super) fn add(&mut self, text: &[u8]) {
        self.lower.clear();
        if text.is_ascii() {
            self.lower.extend_from_slice(text);
            self.lower.make_ascii_lowercase();
        } else {
            fold_into(text, &mut self.lower);
        }
        // Four bytes at a time, of which the fourth does not count: no step waits for the one before.
        let (quads, last) = match self.lower.last_chunk::<3>() {
            Some(last) => (self.lower.array_windows::<4>(), *last),
            None => return,
        };
        for quad in quads {
            self.marks[usize::from(place_of(u32::from_le_bytes(*quad)))] = 1;
        }
        self.marks[usize::from(place(last))] = 1;
    }

    /// Whether all places that were added are set.
    pub(super) fn within(&self, has: impl Fn(u16) -> bool) -> bool {
        (0..=u16::MAX).filter(|&place| self.marks[usize::from(place)] != 0).all(has)
    }

    pub(super) fn finish(self) -> Filter {
        let set = self.marks.iter().filter(|&&mark| mark != 0).count();
        let places = (set * SPARSE).next_power_of_two().clamp(LEAST, PLACES);
        let mut bits = vec![0u8; places / 8];
        for at in 0..PLACES {
            if self.marks[at] != 0 {
                let at = at & (places - 1);
                bits[at / 8] |= 1 << (at % 8);
            }
        }
        Filter(bits.into())
    }
}

/// A set of the blocks that were sliced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots(pub(super) [u64; SLOTS / 64]);

impl Slots {
    pub(super) const ALL: Self = Self([u64::MAX; SLOTS / 64]);
    pub(super) const NONE: Self = Self([0; SLOTS / 64]);

    pub(super) fn and(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(one, other)| *one &= other);
        self
    }

    pub(super) fn or(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(one, other)| *one |= other);
        self
    }

    pub(super) fn has(&self, slot: usize) -> bool {
        self.0[slot / 64] & (1 << (slot % 64)) != 0
    }
}

/// Slices filters: for each chunk of places in order their rows of bits, packed.
pub(super) fn slice(filters: &[Filter]) -> Vec<Vec<u8>> {
    debug_assert!(filters.len() <= SLOTS);
    let mut rows = vec![0u8; PLACES * ROW];
    for (slot, filter) in filters.iter().enumerate() {
        let mask = filter.0.len() * 8 - 1;
        for place in 0..PLACES {
            let at = place & mask;
            if filter.0[at / 8] & (1 << (at % 8)) != 0 {
                rows[place * ROW + slot / 8] |= 1 << (slot % 8);
            }
        }
    }
    let mut packer = zstd::bulk::Compressor::new(3).expect("the level is one that zstd knows");
    packer.include_checksum(true).expect("zstd has checksums");
    rows.chunks(CHUNK_PLACES * ROW)
        .map(|chunk| packer.compress(chunk).expect("a buffer of the bound's size is enough"))
        .collect()
}

/// The rows of bits of one chunk.
#[derive(Clone, Debug)]
pub(super) struct Chunk(Vec<u8>);

impl Chunk {
    pub(super) fn open(packed: &[u8]) -> Option<Self> {
        let rows = super::block::unpack("filters", packed).ok()?;
        (rows.len() == CHUNK_PLACES * ROW).then_some(Self(rows))
    }

    /// The blocks that have this place set.
    pub(super) fn row(&self, place: u16) -> Slots {
        let at = usize::from(place) % CHUNK_PLACES * ROW;
        let mut slots = Slots::NONE;
        for (word, bytes) in slots.0.iter_mut().zip(self.0[at..at + ROW].chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        slots
    }
}

/// All chunks of one group, those that can be opened.
#[derive(Debug)]
pub(super) struct Sliced(Vec<Option<Chunk>>);

impl Sliced {
    /// Of chunks by their number.
    pub(super) fn of(mut packed: std::collections::HashMap<i64, bytes::Bytes>) -> Self {
        let chunks = (0..CHUNKS).map(|chunk| packed.remove(&chunk));
        Self(chunks.map(|packed| packed.and_then(|packed| Chunk::open(&packed))).collect())
    }

    /// How many cannot be opened.
    pub(super) fn closed(&self) -> usize {
        self.0.iter().filter(|chunk| chunk.is_none()).count()
    }

    /// Whether the block in this slot is let through by this place.
    pub(super) fn has(&self, slot: usize, place: u16) -> bool {
        let chunk = usize::try_from(chunk_of(place)).ok().and_then(|chunk| self.0.get(chunk));
        chunk.and_then(Option::as_ref).is_none_or(|chunk| chunk.row(place).has(slot))
    }
}

/// The chunk that a place is in.
pub(super) const fn chunk_of(place: u16) -> i64 {
    place as i64 / CHUNK_PLACES as i64
}

/// The places of a folded literal's trigrams, each once; none where it is shorter than three bytes.
pub(super) fn places(folded: &[u8]) -> Vec<u16> {
    let places = folded.windows(3).map(|window| place([window[0], window[1], window[2]]));
    places.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_block_holds_its_filter_has(
            rows in proptest::collection::vec("[a-zA-Z0-9 \u{212a}\u{17f}äÖ]{0,40}", 1..20),
            at in 0usize..1000,
            length in 3usize..9,
        ) {
            let mut builder = FilterBuilder::default();
            rows.iter().for_each(|row| builder.add(row.as_bytes()));
            let filter = builder.finish();
            let mut folded = Vec::new();
            fold_into(rows[at % rows.len()].as_bytes(), &mut folded);
            if folded.len() >= length {
                let from = at % (folded.len() - length + 1);
                let places = places(&folded[from..from + length]);
                prop_assert!(filter.has(&places));
                // And so have the slices.
                let slices = slice(&[FilterBuilder::default().finish(), filter.clone()]);
                for place in places {
                    let chunk = Chunk::open(&slices[chunk_of(place) as usize]).unwrap();
                    prop_assert!(chunk.row(place).has(1));
                    prop_assert!(!chunk.row(place).has(0));
                }
            }
            prop_assert_eq!(Filter::from_bytes(filter.as_bytes()), Some(filter));
        }
    }

    #[test]
    fn a_damaged_chunk_is_not_opened_and_one_without_a_checksum_is() {
        let mut builder = FilterBuilder::default();
        (0..40).for_each(|number| builder.add(format!("package-{number}").as_bytes()));
        let chunks = slice(&[builder.finish(), Filter::empty(), Filter::full()]);
        for packed in chunks.iter().step_by(171) {
            let whole = Chunk::open(packed).unwrap();
            assert!(whole.row(0).has(2) && !whole.row(0).has(1) && !whole.row(0).has(3));
            for at in 0..packed.len() * 8 {
                let mut damaged = packed.clone();
                damaged[at / 8] ^= 1 << (at % 8);
                let opened = Chunk::open(&damaged);
                // In the head there are bits that change nothing.
                assert!(opened.is_none_or(|opened| opened.0 == whole.0), "bit {at}");
            }
            let former = zstd::bulk::compress(&whole.0, 3).unwrap();
            assert_eq!(Chunk::open(&former).unwrap().0, whole.0);
        }
    }

    #[test]
    fn most_of_what_it_does_not_hold_is_told() {
        let mut builder = FilterBuilder::default();
        for number in 0..8000 {
            builder.add(
                format!("Unpacking package-{number} (1.0-{number}) over (0.9) ...").as_bytes(),
            );
        }
        let filter = builder.finish();
        let absent =
            (0..1000).filter(|number| !filter.has(&places(format!("xq{number}zv").as_bytes())));
        assert!(absent.count() > 990);
    }
}
