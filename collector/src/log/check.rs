//! Is what is stored whole? Everything is read and held against everything else that is known of it.
//!
//! What is looked at, stream by stream: blocks follow one another without a hole, in records, rows and bytes; each unpacks (its parts
//! carry checksums) to exactly what its summary says; its filter has what its rows hold; the tail goes on behind the last block;
//! and the chain of hashes over all records comes to what was acknowledged to the console. What was acknowledged is written beside
//! the records at least each second while they come: the loss of the very last frames is not always told.
//!
//! What is only derived (summaries, filters) can be made anew from the parts; lost records cannot.

use super::block::{Block, Packed, Summary};
use super::filter::{Filter, FilterBuilder};
use super::index::Sealed;
use super::{Log, LogError, StreamKey};
use crate::query::fold_into;
use crate::store::{Statement, Write};
use deckport_protocol::{Chain, RecordRef};
use std::collections::HashMap;
use std::sync::Arc;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub stream: StreamKey,
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

/// Where a stream should be.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    seq: u64,
    row: u64,
    byte: u64,
    chain: Chain,
}

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
        for stream in streams {
            checked.streams += 1;
            let mut place = Place::default();
            let mut head = heads.get(&stream).copied();
            let mut whole = true;
            let mut tell = |seq, what: String, repaired| {
                found(Finding { stream, seq, what, repaired });
            };
            let blocks: Vec<Arc<Sealed>> = self.index.of(stream, <[Arc<Sealed>]>::to_vec);
            for sealed in blocks {
                checked.blocks += 1;
                let known = place;
                let follows = (place.seq + 1, place.row, place.byte)
                    == (sealed.first_seq, sealed.first_row, sealed.first_byte);
                if !follows {
                    whole = false;
                    let what = format!(
                        "records {} to {} are missing",
                        place.seq + 1,
                        sealed.first_seq.saturating_sub(1)
                    );
                    tell(place.seq + 1, what, false);
                }
                match self.check_block(&sealed, known.chain, head).await? {
                    Ok(sound) => {
                        place.chain = sound.chain;
                        checked.records += sound.records;
                        if sound.head_differs && whole {
                            tell(sealed.first_seq, DIFFERS.to_owned(), false);
                            head = None;
                        }
                        for (what, derived) in sound.wrong {
                            if repair {
                                self.make_anew(&sealed, &derived).await?;
                            }
                            tell(sealed.first_seq, what, repair);
                        }
                    }
                    Err(what) => {
                        whole = false;
                        tell(sealed.first_seq, what, false);
                    }
                }
                place.seq = sealed.last_seq;
                place.row = sealed.first_row + sealed.rows;
                place.byte = sealed.first_byte + sealed.bytes;
            }
            let tail = self.tail.of(stream, |frames| frames.iter().cloned().collect::<Vec<_>>());
            for unsealed in tail.unwrap_or_default() {
                let new = &unsealed.frame;
                if (place.seq + 1, place.row) != (new.first_seq, new.first_row) {
                    whole = false;
                    tell(
                        place.seq + 1,
                        format!("the tail goes on at record {}", new.first_seq),
                        false,
                    );
                }
                match unsealed.unpacked(&self.limits) {
                    Ok(frame) => {
                        for record in frame.records() {
                            checked.records += 1;
                            place.chain = place.chain.extend(&record);
                            if whole && differs(&mut head, &record, place.chain) {
                                tell(record.seq, DIFFERS.to_owned(), false);
                            }
                        }
                    }
                    Err(error) => {
                        whole = false;
                        tell(
                            new.first_seq,
                            format!("a frame of the tail cannot be read: {error}"),
                            false,
                        );
                    }
                }
                place.seq = new.last_seq;
                place.row = new.first_row + new.rows;
                place.byte = new.first_byte + new.bytes;
            }
            if let Some((seq, _)) = head
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
        Ok(checked)
    }

    /// Reads one block. What is wrong with it beyond repair is the error.
    async fn check_block(
        &self,
        sealed: &Arc<Sealed>,
        chain: Chain,
        head: Option<(u64, Chain)>,
    ) -> Result<Result<Sound, String>, LogError> {
        let Some(parts) = self.find_parts(sealed).await? else {
            return Ok(Err("the parts of a block are not there".to_owned()));
        };
        let filter = self.filters.with_single(|single| single.get(&sealed.id).cloned());
        let sealed = Arc::clone(sealed);
        let checking = tokio::task::spawn_blocking(move || {
            let block = parts.block(&sealed).map_err(|error| error.to_string())?;
            let records = block.records(&parts.records).map_err(|error| error.to_string())?;
            let mut sound = Sound { chain, ..Sound::default() };
            let mut head = head;
            let mut builder =
                super::block::Builder::new(sealed.first_row, sealed.first_byte, block.goes_on());
            let mut last = None;
            for (record, origin) in records.iter() {
                sound.records += 1;
                sound.chain = sound.chain.extend(&record);
                sound.head_differs |= differs(&mut head, &record, sound.chain);
                if last.replace(origin.frame) != Some(origin.frame) {
                    builder.frame(origin.received_at);
                }
                builder.push(&record, origin.boot_id);
            }
            builder.notes(&block.notes);
            // Made anew, it must come to the same.
            let anew = builder.finish();
            let same_place = (anew.summary.first_seq, anew.summary.last_seq)
                == (sealed.first_seq, sealed.last_seq);
            if !same_place {
                return Err("a block holds other records than it says".to_owned());
            }
            if anew.summary != sealed.summary {
                sound.wrong.push((
                    "a block's summary is wrong".to_owned(),
                    Derived::Summary(Box::new(anew.summary.clone())),
                ));
            }
            if let Some(filter) = filter
                && !has_all(&filter, &block)
            {
                sound.wrong.push((
                    "a block's filter misses what its rows hold".to_owned(),
                    Derived::Filter(Box::new(anew)),
                ));
            }
            Ok(sound)
        });
        checking.await.map_err(|_| LogError::Write(crate::store::WriteError::Stopping))
    }

    async fn make_anew(&self, sealed: &Sealed, derived: &Derived) -> Result<(), LogError> {
        let statements = match derived {
            Derived::Summary(summary) => vec![Statement {
                sql: "update block set rows_count = $2, bytes = $3, first_at = $4, last_at = $5, \
                      errors = $6, warnings = $7, levels = $8, kinds = $9 where id = $1",
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
                ],
            }],
            Derived::Filter(packed) => vec![Statement {
                sql: "update block_filter set bits = $2 where block_id = $1",
                values: vec![sealed.id.into(), packed.filter.as_bytes().to_vec().into()],
            }],
        };
        Ok(self.store.writer().write(Write { statements, ..Write::default() }).await?)
    }
}

const DIFFERS: &str = "the chain over the records is not the one that was acknowledged: something in them was changed";

/// A block that can be read.
#[derive(Debug, Default)]
struct Sound {
    chain: Chain,
    records: u64,
    head_differs: bool,
    wrong: Vec<(String, Derived)>,
}

#[derive(Debug)]
enum Derived {
    Summary(Box<Summary>),
    Filter(Box<Packed>),
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

fn has_all(filter: &Filter, block: &Block) -> bool {
    let mut folded = Vec::new();
    let rows = block.first_row..block.whole_rows();
    let mut builder = FilterBuilder::default();
    for row in rows {
        folded.clear();
        fold_into(block.shown(row), &mut folded);
        builder.add(&folded);
    }
    builder.within(filter)
}
