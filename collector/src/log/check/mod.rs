//! Is what is stored whole? Everything is read and held against everything else that is known of it.
//!
//! What is looked at, stream by stream: blocks follow one another without a hole, in records, rows and bytes; each unpacks (its parts
//! carry checksums) to exactly what its summary says; its filter, sliced or not, has what its rows hold; the states that are kept in
//! front of blocks and frames are what the records before them come to; the tail goes on behind the last block; and the chain of hashes
//! over all records comes to what was acknowledged to the console. What was acknowledged is written beside the records at least each
//! second while they come: the loss of the very last frames is not always told.
//!
//! What is only derived (summaries, filters, states) can be made anew from the parts; lost records cannot. A version that finds phases
//! and steps by other rules than the one that took a stream in finds other states, too, and would have to tell them apart.

mod slices;

use super::block::{Block, BlockError, Builder, Packed, Summary};
use super::filter::{FilterBuilder, Sliced};
use super::index::Sealed;
use super::read::Parts;
use super::tail::Unsealed;
use super::{Log, LogError, StreamKey};
use crate::query::fold_into;
use crate::store::Statement;
use bytes::Bytes;
use deckport_protocol::rows::RowDeriver;
use deckport_protocol::{Chain, RecordRef};
use slices::Groups;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `None`: of no one stream.
    pub stream: Option<StreamKey>,
    /// From this record on.
    pub seq: u64,
    pub what: String,
    /// It could be made anew, and was.
    pub repaired: bool,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub streams: u64,
    pub blocks: u64,
    pub records: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// How far a stream was looked at.
#[derive(Debug)]
struct Place {
    /// The last record, and rows and bytes up to it.
    seq: u64,
    row: u64,
    byte: u64,
    /// These figures were counted, not read.
    counted: bool,
    /// Every record so far is here.
    whole: bool,
    chain: Chain,
    /// What the records so far come to; `None` where not all of them could be read.
    deriver: Option<RowDeriver>,
    /// The record whose chain is known, until it was passed.
    head: Option<(u64, Chain)>,
}

const DIFFERS: &str = "the chain over the records is not the one that was acknowledged: something in them was changed";
const STATE: &str =
    "the state that is kept in front of a block is not what the records before it come to";
const FRAME_STATE: &str =
    "the state that is kept in front of a frame is not what the records before it come to";
const NO_STATE: &str = "the state that is kept in front of it cannot be read";
const NO_FILTER: &str = "a block has no filter: each search looks into it";

impl Log {
    /// Reads all that is stored. `heads`: for each stream a record and the head of the chain behind it, as acknowledged.
    /// With `repair` what is derived is made anew where it is wrong.
    pub async fn check(
        &self,
        heads: &HashMap<StreamKey, (u64, Chain)>,
        repair: bool,
        mut found: impl FnMut(Finding),
    ) -> Result<Checked, LogError> {
        let mut checked = Checked::default();
        let mut streams = self.index.streams();
        streams.extend(self.tail.streams());
        streams.extend(heads.keys());
        streams.sort_unstable();
        streams.dedup();
        let mut groups = Groups::new(self.filters.groups());
        for stream in streams {
            checked.streams += 1;
            let mut place = Place {
                seq: 0,
                row: 0,
                byte: 0,
                counted: true,
                whole: true,
                chain: Chain::default(),
                deriver: Some(RowDeriver::new()),
                head: heads.get(&stream).copied(),
            };
            let mut tell = |seq, what: String, repaired| {
                found(Finding { stream: Some(stream), seq, what, repaired });
            };
            let blocks: Vec<Arc<Sealed>> = self.index.of(stream, <[Arc<Sealed>]>::to_vec);
            for sealed in blocks {
                checked.blocks += 1;
                let records =
                    self.check_block(sealed, &mut place, &mut groups, repair, &mut tell).await?;
                checked.records += records;
            }
            let tail = self.tail.of(stream, |frames| frames.iter().cloned().collect::<Vec<_>>());
            for unsealed in tail.unwrap_or_default() {
                checked.records +=
                    self.check_frame(&unsealed, &mut place, repair, &mut tell).await?;
            }
            if let Some((seq, _)) = place.head
                && seq > place.seq
            {
                tell(
                    place.seq + 1,
                    format!("records up to {seq} were acknowledged and are not here"),
                    false,
                );
            }
            checked.rows += place.row;
            checked.bytes += place.byte;
        }
        self.check_groups(groups, repair, &mut found).await?;
        Ok(checked)
    }

    /// Reads one block, which should begin where the stream is, and goes on behind it. How many records it holds.
    async fn check_block(
        &self,
        sealed: Arc<Sealed>,
        place: &mut Place,
        groups: &mut Groups,
        repair: bool,
        tell: &mut impl FnMut(u64, String, bool),
    ) -> Result<u64, LogError> {
        let begins = (sealed.first_seq, sealed.first_row, sealed.first_byte);
        let gap = gap("a block", place, begins);
        let follows = sealed.first_seq == place.seq + 1;
        if !follows {
            (place.counted, place.whole, place.deriver) = (false, false, None);
        }
        let (row, byte) = (place.row, place.byte);
        let place_of_next = |sealed: &Sealed| {
            (sealed.last_seq, sealed.first_row + sealed.rows, sealed.first_byte + sealed.bytes)
        };
        let reading = Reading {
            chain: place.chain,
            head: place.head,
            deriver: place.deriver.take(),
            state: self.state_of(&sealed).await?.1,
            filter: self.filters.with_single(|single| single.get(&sealed.id).cloned()),
            sliced: self.slices_of(groups, sealed.id).await?,
        };
        let sound = match self.find_parts(&sealed).await? {
            Some(parts) => {
                // Records follow, and rows do not: one of the two places is the right one.
                let other = (gap.is_some() && follows && place.counted).then_some((row, byte));
                let sealed = Arc::clone(&sealed);
                let reading = tokio::task::spawn_blocking(move || {
                    let moved = other.and_then(|(first_row, first_byte)| {
                        let mut moved = Sealed::clone(&sealed);
                        (moved.summary.first_row, moved.summary.first_byte) =
                            (first_row, first_byte);
                        let block = parts.block(&moved).ok()?;
                        block.fits().then_some((moved, block))
                    });
                    let (summary, block) = match moved {
                        Some((moved, block)) => (moved.summary, block),
                        None => (sealed.summary.clone(), parts.block(&sealed)?),
                    };
                    reading.read(&sealed, &summary, &block, &parts)
                });
                let read = reading.await.map_err(|_| LogError::stopping())?;
                read.map_err(|error| error.to_string())
            }
            None => Err("the parts of a block are not there".to_owned()),
        };
        let seq = sealed.first_seq;
        let sound = match sound {
            Ok(sound) => sound,
            Err(what) => {
                if let Some(gap) = gap {
                    tell(if follows { seq } else { place.seq + 1 }, gap, false);
                }
                tell(seq, what, false);
                groups.cannot_be_read(sealed.id);
                (place.seq, place.row, place.byte) = place_of_next(&sealed);
                (place.counted, place.whole, place.deriver) = (false, false, None);
                return Ok(0);
            }
        };
        let moved = (sound.summary.first_row, sound.summary.first_byte)
            != (sealed.first_row, sealed.first_byte);
        if let Some(gap) = gap {
            tell(if follows { seq } else { place.seq + 1 }, gap, moved && repair);
        }
        if sound.head_differs && place.whole {
            tell(seq, DIFFERS.to_owned(), false);
        }
        place.head = sound.head;
        for (what, derived) in &sound.wrong {
            if repair {
                self.make_anew(&sealed, derived).await?;
            }
            // That it was moved is told.
            if !(moved && matches!(derived, Derived::Summary(_))) {
                tell(seq, (*what).to_owned(), repair);
            }
        }
        for group in sound.misses {
            groups.is_wrong(group);
            tell(seq, slices::MISSES.to_owned(), repair);
        }
        if sound.unreadable_state {
            tell(seq, NO_STATE.to_owned(), false);
        }
        place.chain = sound.chain;
        place.deriver = sound.deriver;
        place.counted = true;
        let now = Sealed { summary: sound.summary, ..Sealed::clone(&sealed) };
        (place.seq, place.row, place.byte) = place_of_next(&now);
        groups.was_read(now);
        Ok(sound.records)
    }

    /// The same of a frame of the tail.
    async fn check_frame(
        &self,
        unsealed: &Unsealed,
        place: &mut Place,
        repair: bool,
        tell: &mut impl FnMut(u64, String, bool),
    ) -> Result<u64, LogError> {
        let new = &unsealed.frame;
        if let Some(gap) = gap("the tail", place, (new.first_seq, new.first_row, new.first_byte)) {
            let follows = new.first_seq == place.seq + 1;
            tell(if follows { new.first_seq } else { place.seq + 1 }, gap, false);
            if !follows {
                (place.whole, place.deriver) = (false, None);
            }
        }
        let mut records = 0;
        match unsealed.unpacked(&self.limits) {
            Ok(frame) => {
                match state(&mut place.deriver, new.state_before.as_deref(), new.first_row) {
                    State::Right => {}
                    State::Wrong(anew) => {
                        if repair {
                            let statement = Statement {
                                sql: "update tail set state_before = $2 where id = $1",
                                values: vec![unsealed.id.into(), anew.into()],
                            };
                            self.write(vec![statement]).await?;
                        }
                        tell(new.first_seq, FRAME_STATE.to_owned(), repair);
                    }
                    State::Unreadable => tell(new.first_seq, NO_STATE.to_owned(), false),
                }
                for record in frame.records() {
                    records += 1;
                    place.chain = place.chain.extend(&record);
                    if let Some(deriver) = &mut place.deriver {
                        deriver.feed(&record, &mut ());
                    }
                    if differs(&mut place.head, &record, place.chain) && place.whole {
                        tell(record.seq, DIFFERS.to_owned(), false);
                    }
                }
            }
            Err(error) => {
                (place.whole, place.deriver) = (false, None);
                tell(new.first_seq, format!("a frame of the tail cannot be read: {error}"), false);
            }
        }
        place.seq = new.last_seq;
        place.row = new.first_row + new.rows;
        place.byte = new.first_byte + new.bytes;
        Ok(records)
    }

    async fn make_anew(&self, sealed: &Sealed, derived: &Derived) -> Result<(), LogError> {
        let statement = match derived {
            Derived::Summary(summary) => Statement {
                sql: "update block set rows_count = $2, bytes = $3, first_at = $4, last_at = $5, \
                      errors = $6, warnings = $7, levels = $8, kinds = $9, first_row = $10, \
                      first_byte = $11, takes_over = $12 where id = $1",
                values: vec![
                    sealed.id.into(),
                    summary.rows.into(),
                    summary.bytes.into(),
                    summary.first_at.into(),
                    summary.last_at.into(),
                    summary.errors.into(),
                    summary.warnings.into(),
                    i64::from(summary.levels).into(),
                    i64::from(summary.kinds).into(),
                    summary.first_row.into(),
                    summary.first_byte.into(),
                    i64::from(summary.takes_over).into(),
                ],
            },
            Derived::Filter(packed) => Statement {
                sql: "insert into block_filter (block_id, bits) values ($1, $2) \
                      on conflict (block_id) do update set bits = excluded.bits",
                values: vec![sealed.id.into(), packed.filter.as_bytes().to_vec().into()],
            },
            Derived::State(state) => Statement {
                sql: "update block_part set state_before = $2 where block_id = $1",
                values: vec![sealed.id.into(), state.clone().into()],
            },
        };
        self.write(vec![statement]).await
    }
}

/// What to say where a stretch does not begin where the one before it ended.
fn gap(what: &str, place: &Place, (seq, row, byte): (u64, u64, u64)) -> Option<String> {
    let next = place.seq + 1;
    match seq.cmp(&next) {
        Ordering::Greater => Some(format!(
            "{what} goes on at record {seq}: records {next} to {} are missing",
            seq - 1
        )),
        Ordering::Less => Some(format!(
            "{what} goes on at record {seq}, and what is before it ends at record {}",
            place.seq
        )),
        Ordering::Equal if (row, byte) != (place.row, place.byte) => Some(format!(
            "{what} goes on at row {row} and byte {byte}; what is before it ends at row {} and byte {}",
            place.row, place.byte
        )),
        Ordering::Equal => None,
    }
}

/// What is known when a block is read.
struct Reading {
    chain: Chain,
    head: Option<(u64, Chain)>,
    deriver: Option<RowDeriver>,
    /// As it is kept in front of the block.
    state: Option<Bytes>,
    filter: Option<super::filter::Filter>,
    /// Groups that it is in, and its slot there.
    sliced: Vec<(i64, usize, Arc<Sliced>)>,
}

/// A block that can be read.
struct Sound {
    chain: Chain,
    deriver: Option<RowDeriver>,
    /// As it is.
    summary: Summary,
    records: u64,
    head: Option<(u64, Chain)>,
    head_differs: bool,
    unreadable_state: bool,
    wrong: Vec<(&'static str, Derived)>,
    /// Groups whose slices miss what it holds.
    misses: Vec<i64>,
}

enum Derived {
    Summary(Box<Summary>),
    Filter(Box<Packed>),
    State(Vec<u8>),
}

impl Reading {
    /// Reads the block, which is in the place that `summary` says. What is wrong with it beyond repair is the error.
    fn read(
        self,
        sealed: &Sealed,
        summary: &Summary,
        block: &Block,
        parts: &Parts,
    ) -> Result<Sound, BlockError> {
        let Self { mut chain, mut head, mut deriver, state: kept, filter, sliced } = self;
        let records = block.records(&parts.records)?;
        let mut wrong = Vec::new();
        let mut unreadable_state = false;
        match state(&mut deriver, kept.as_deref(), summary.first_row) {
            State::Right => {}
            State::Wrong(anew) => wrong.push((STATE, Derived::State(anew))),
            State::Unreadable => unreadable_state = true,
        }
        let (mut count, mut head_differs, mut last) = (0, false, None);
        let mut builder = Builder::new(summary.first_row, summary.first_byte, block.goes_on());
        if let Some(row) = block.cut_row() {
            builder.takes_over(row);
        }
        for (record, origin) in records.iter() {
            count += 1;
            chain = chain.extend(&record);
            head_differs |= differs(&mut head, &record, chain);
            if let Some(deriver) = &mut deriver {
                deriver.feed(&record, &mut ());
            }
            if last.replace(origin.frame) != Some(origin.frame) {
                builder.frame(origin.received_at);
            }
            builder.push(&record, origin.boot_id);
        }
        builder.notes(&block.notes);
        // Made anew, it must come to the same.
        let anew = builder.finish();
        if (anew.summary.first_seq, anew.summary.last_seq) != (sealed.first_seq, sealed.last_seq) {
            return Err(BlockError::OtherRecords);
        }
        if anew.summary != sealed.summary {
            let derived = Derived::Summary(Box::new(anew.summary.clone()));
            wrong.push(("a block's summary is wrong", derived));
        }
        let summary = anew.summary.clone();
        let held = held_by(block);
        let misses = sliced
            .iter()
            .filter(|(_, slot, slices)| !held.within(|place| slices.has(*slot, place)));
        let misses = misses.map(|(group, ..)| *group).collect();
        match filter {
            Some(filter) if !held.within(|place| filter.has(&[place])) => wrong.push((
                "a block's filter misses what its rows hold",
                Derived::Filter(Box::new(anew)),
            )),
            None if sliced.is_empty() => wrong.push((NO_FILTER, Derived::Filter(Box::new(anew)))),
            Some(_) | None => {}
        }
        Ok(Sound {
            chain,
            deriver,
            summary,
            records: count,
            head,
            head_differs,
            unreadable_state,
            wrong,
            misses,
        })
    }
}

/// How a kept state is.
enum State {
    Right,
    /// It should be this.
    Wrong(Vec<u8>),
    Unreadable,
}

/// Holds a kept state against what was derived; where nothing was, it is gone on from.
fn state(deriver: &mut Option<RowDeriver>, kept: Option<&[u8]>, first_row: u64) -> State {
    match (&deriver, kept) {
        (_, None) => State::Right,
        (Some(derived), Some(kept)) => {
            let derived = derived.snapshot();
            if derived == kept { State::Right } else { State::Wrong(derived) }
        }
        (None, Some(kept)) => {
            *deriver = RowDeriver::restore(kept).ok().filter(|state| state.rows() == first_row);
            if deriver.is_some() { State::Right } else { State::Unreadable }
        }
    }
}

/// The record is the one whose chain is known, and it is another.
fn differs(head: &mut Option<(u64, Chain)>, record: &RecordRef<'_>, chain: Chain) -> bool {
    match head {
        Some((seq, known)) if *seq == record.last_seq() => {
            let differs = *known != chain;
            *head = None;
            differs
        }
        Some(_) | None => false,
    }
}

/// What the texts of a block's rows hold.
fn held_by(block: &Block) -> FilterBuilder {
    let mut folded = Vec::new();
    let mut builder = FilterBuilder::default();
    let mut add = |text: &[u8]| {
        folded.clear();
        fold_into(text, &mut folded);
        builder.add(&folded);
    };
    if let Some(row) = block.cut_row() {
        add(row.text.as_bytes());
    }
    for row in block.rows() {
        add(block.shown(row));
    }
    builder
}
