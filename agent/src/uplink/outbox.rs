//! What is sent next, and what was sent and not acknowledged yet.
//!
//! What must hold: batches are contiguous from the sequence number agreed in `welcome`; the chain is
//! computed over exactly what is sent, and every acknowledgement is compared with it.

use super::window::Window;
use crate::spool::{Batch, Position, Reader, SpoolError};
use crate::state::Run;
use bytes::Bytes;
use deckport_protocol::event;
use deckport_protocol::{BodyRef, BootId, Chain, FrameBuilder, Limits, RecordRef, is_prompt};
use std::collections::VecDeque;
use std::time::Instant;

/// Bytes that may be unacknowledged.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Records in one batch. A console that keeps up never has so many; one that was cut off sends what gathered in batches that
/// cost the collector less each line than small ones, and bring it forward further with each acknowledgement.
const BATCH_RECORDS: usize = 256;
/// So many frames may be on their way whatever the window says, as long as they hold few records: the collector may keep
/// their acknowledgement back for a while, to answer several at once.
const FEW_FRAMES: usize = 8;
/// Data in one batch is below this, or it is a single entry of the spool.
const BATCH_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Sent {
    last_seq: u64,
    chain: Chain,
    bytes: usize,
    records: usize,
    /// The segment that the reader stood in.
    segment: u64,
    left: Instant,
}

/// What an acknowledgement that does not fit means.
#[derive(Debug, thiserror::Error)]
#[error(
    "the collector's record of this run is not what was sent (their chain differs at record {0}); \
     nothing more is sent"
)]
pub struct ChainMismatch(pub u64);

/// One run's way out.
#[derive(Debug)]
pub struct Outbox {
    reader: Reader,
    builder: FrameBuilder,
    boot_id: BootId,
    next_seq: u64,
    chain: Chain,
    compress: bool,
    limits: Limits,
    sent: VecDeque<Sent>,
    sent_bytes: usize,
    sent_records: usize,
    window: Window,
    /// A frame that was read and could not be added to the batch under way.
    ahead: Option<Batch>,
    acked_segment: u64,
    terminal_seq: Option<u64>,
}

impl Outbox {
    /// Sends from `acked_seq + 1`, where the chain's head is `chain`.
    pub fn new(
        run: &Run,
        acked_seq: u64,
        chain: Chain,
        compress: bool,
        limits: Limits,
    ) -> Result<Self, SpoolError> {
        Ok(Self {
            reader: Reader::open(run.dir().to_owned(), acked_seq + 1)?,
            builder: FrameBuilder::new(),
            boot_id: BootId::from_uuid(uuid::Uuid::nil()),
            next_seq: acked_seq + 1,
            chain,
            compress,
            limits,
            sent: VecDeque::new(),
            sent_bytes: 0,
            sent_records: 0,
            window: Window::new(),
            ahead: None,
            acked_segment: 0,
            terminal_seq: None,
        })
    }

    fn has_room(&self) -> bool {
        let few = self.sent.len() < FEW_FRAMES && !is_prompt(self.sent_records, self.sent_bytes);
        (few || self.sent.len() < self.window.frames())
            && (self.sent.is_empty()
                || self.sent_bytes + BATCH_BYTES < WINDOW_BYTES.min(self.limits.unacked_bytes))
    }

    /// The next frame to send, at `now`, if there is one and the window has room for it.
    pub fn next(&mut self, end: &Position, now: Instant) -> Result<Option<Bytes>, SpoolError> {
        if !self.has_room() {
            return Ok(None);
        }
        let most = BATCH_RECORDS.min(self.limits.records);
        // Exits with a full batch, or when the spool has no more, or what comes does not fit in.
        while self.builder.count() < most && self.builder.data_bytes() < BATCH_BYTES {
            let batch = match self.ahead.take() {
                Some(batch) => batch,
                None => match self.reader.next(end)? {
                    Some(batch) => batch,
                    None => break,
                },
            };
            let (boot_id, boot_us, records, bytes) = match &batch {
                Batch::Frame { frame, raw } => {
                    let header = frame.header();
                    (header.boot_id, header.boot_us, header.count as usize, raw.len())
                }
                Batch::Gap(record) => (self.boot_id, record.boot_us, 1, 0),
            };
            let fits = boot_id == self.boot_id
                && self.builder.keeps(boot_us)
                && self.builder.count() + records <= most
                && self.builder.data_bytes() + bytes <= BATCH_BYTES;
            if !fits && !self.builder.is_empty() {
                self.ahead = Some(batch);
                break;
            }
            self.boot_id = boot_id;
            match &batch {
                Batch::Frame { frame, .. } => {
                    for record in frame.records() {
                        self.add(&record);
                    }
                }
                Batch::Gap(record) => self.add(&record.borrow()),
            }
        }
        let records = self.builder.count();
        let Some(frame) = self.builder.finish(self.boot_id, self.compress) else { return Ok(None) };
        self.sent_bytes += frame.len();
        self.sent_records += records;
        self.sent.push_back(Sent {
            last_seq: self.next_seq - 1,
            chain: self.chain,
            bytes: frame.len(),
            records,
            segment: self.reader.segment(),
            left: now,
        });
        Ok(Some(frame))
    }

    fn add(&mut self, record: &RecordRef<'_>) {
        if record.seq < self.next_seq {
            // The beginning of an entry that the collector has already.
            return;
        }
        self.builder.push(record);
        self.chain = self.chain.extend(record);
        self.next_seq = record.last_seq() + 1;
        if let BodyRef::Event(text) = record.body
            && text.contains("\"deployment_finished\"")
            && event::parse(text).is_ok_and(|event| event.is_terminal())
        {
            self.terminal_seq = Some(record.seq);
        }
    }

    /// Takes an acknowledgement that came at `now`.
    pub fn acked(
        &mut self,
        acked_seq: u64,
        chain: Chain,
        now: Instant,
    ) -> Result<(), ChainMismatch> {
        let full = self.sent.len() >= self.window.frames();
        while self.sent.front().is_some_and(|sent| sent.last_seq <= acked_seq) {
            let Some(sent) = self.sent.pop_front() else { break };
            self.sent_bytes -= sent.bytes;
            self.sent_records -= sent.records;
            self.acked_segment = sent.segment;
            // How long the others take says nothing about the way: they may be answered later.
            if is_prompt(sent.records, sent.bytes) {
                self.window.acknowledged(sent.left, now, full);
            }
            if sent.last_seq == acked_seq && sent.chain != chain {
                return Err(ChainMismatch(acked_seq));
            }
        }
        Ok(())
    }

    /// Everything in segments before this one is acknowledged.
    pub const fn acked_segment(&self) -> u64 {
        self.acked_segment
    }

    /// Whether the terminal record is among what is acknowledged.
    pub fn complete(&self, acked_seq: u64) -> bool {
        self.terminal_seq.is_some_and(|seq| seq <= acked_seq)
    }
}

/// The chain's head after `to`, computed from the spool on from `from`, whose head is `chain`.
/// `None` when the spool no longer holds all of it. Also says whether the terminal record was met.
pub fn chain_between(
    run: &Run,
    (from, chain): (u64, Chain),
    to: u64,
    end: &Position,
) -> Result<Option<(Chain, bool)>, SpoolError> {
    let mut reader = Reader::open(run.dir().to_owned(), from + 1)?;
    let mut head = chain;
    let mut next = from + 1;
    let mut terminal = false;
    while next <= to {
        let Some(Batch::Frame { frame, .. }) = reader.next(end)? else { return Ok(None) };
        for record in frame.records().filter(|record| record.seq >= next && record.seq <= to) {
            head = head.extend(&record);
            if let BodyRef::Event(text) = record.body {
                terminal = event::parse(text).is_ok_and(|event| event.is_terminal());
            }
        }
        next = frame.last_seq() + 1;
    }
    Ok(Some((head, terminal)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Stamp, boot_id};
    use crate::disk::RealDisk;
    use crate::spool::{Item, Writer};
    use crate::state::{Meta, State};
    use deckport_protocol::{DeploymentId, Frame, Source, StreamId};
    use proptest::prelude::*;

    fn meta(state: &State) -> Meta {
        Meta {
            deployment_id: DeploymentId::new(),
            stream_id: StreamId::new(),
            console: state.console(Some("bay")).unwrap(),
            template: None,
            command: Vec::new(),
            collector: None,
            token_file: None,
            agent_version: String::new(),
        }
    }

    fn line(boot_us: u64) -> Item {
        Item::Output {
            stamp: Stamp { boot_us, at_us: 1 },
            bytes: format!("printed at {boot_us}\r\n").into(),
            continues: false,
            source: Source::Terminal,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Two threads that stamp what they pass on may do so a moment out of order.
        #[test]
        fn what_is_sent_is_what_was_spooled_whatever_the_clocks_say(
            commits in proptest::collection::vec(proptest::collection::vec(0u64..1000, 1..40), 1..20),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let state = State::open(Some(dir.path().to_owned())).unwrap();
            let (run, _lock) = state.create_run(&meta(&state)).unwrap();
            let (mut writer, recovered) =
                Writer::open(RealDisk, run.dir().to_owned(), boot_id(), u64::MAX / 4, 0).unwrap();
            let mut end = recovered.position;
            for commit in &commits {
                end = writer.commit(commit.iter().map(|&boot_us| line(boot_us)).collect()).unwrap();
            }
            let limits = Limits { unacked_bytes: usize::MAX, ..Limits::default() };
            let mut outbox = Outbox::new(&run, 0, Chain::START, true, limits).unwrap();
            let (mut chain, mut seq) = (Chain::START, 0);
            while let Some(bytes) = outbox.next(&end, Instant::now()).unwrap() {
                let frame = Frame::decode(&bytes, &limits).unwrap();
                prop_assert_eq!(frame.first_seq(), seq + 1);
                chain = frame.records().fold(chain, |chain, record| chain.extend(&record));
                seq = frame.last_seq();
                prop_assert!(outbox.acked(seq, chain, Instant::now()).is_ok());
            }
            let spooled = chain_between(&run, (0, Chain::START), seq, &end).unwrap();
            prop_assert_eq!(spooled, Some((chain, false)));
            prop_assert_eq!(seq, end.last_seq);
        }
    }
}
