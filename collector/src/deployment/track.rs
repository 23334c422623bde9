//! Folding a stream, frame by frame: the chain, the rows, the phases and the state machine, together.
//!
//! What must hold: a [`Track`] that is restored from [`Track::resume`] and fed the frames behind it is
//! the same as one that was fed the whole stream. So what is known of a deployment may be written
//! seldom, and after a crash the stored frames bring it up to date.

use super::machine::{Action, Descriptor, Machine};
use super::view::{LastLine, Phase, PhaseState};
use crate::log::{Notes, Noting};
use deckport_protocol::rows::{FailingLines, PhaseFact, RowDeriver, RowFact, RowRenderer, RowSink};
use deckport_protocol::secrets::Counts;
use deckport_protocol::{BodyRef, Chain, Event, Frame, Level, Outcome};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is known after some record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    pub seq: u64,
    /// Over the records as they were received; what is acknowledged.
    pub chain: Chain,
    /// Over the records as they are stored, since one was masked here and the two differ.
    #[serde(default)]
    pub stored_chain: Option<Chain>,
    /// Secrets that were masked here, because who sent them had not.
    #[serde(default)]
    pub masked_here: Counts,
    pub machine: Machine,
    pub phases: Vec<Phase>,
    pub rows: u64,
    pub bytes: u64,
    pub errors: u64,
    pub warnings: u64,
    pub failing: FailingLines,
    /// The last row that shows something, as bytes; rendered when somebody looks.
    pub last_row: Option<(u64, Level, Arc<[u8]>)>,
    /// When output came last, by our clock.
    pub output_at: i64,
    pub step: Option<String>,
    pub current_phase: Option<u32>,
    /// Frames so far, and since a state was stored beside one.
    pub frames: u64,
    pub stateless: u32,
}

/// An event that a frame held.
#[derive(Clone, Debug)]
pub struct EventFact {
    pub seq: u64,
    pub at: i64,
    pub row: u64,
    pub body: String,
}

/// What folding a frame found.
#[derive(Debug, Default)]
pub struct Folded {
    pub first_row: u64,
    pub rows: u64,
    pub first_byte: u64,
    pub bytes: u64,
    /// The earliest and the latest wall time in it.
    pub first_at: i64,
    pub last_at: i64,
    /// A row is open before it, and behind it.
    pub goes_on: bool,
    pub open_row: bool,
    /// What there is to note of the rows that ended in it.
    pub notes: Notes,
    pub records: u64,
    pub events: Vec<EventFact>,
    pub described: bool,
    pub closed: Option<Outcome>,
    pub phases_changed: bool,
    /// The deriver in front of the frame, when it is time to store one.
    pub state_before: Option<Vec<u8>>,
}

/// A frame as it was received, when it is stored in another form.
#[derive(Clone, Debug)]
pub struct Received {
    pub frame: Frame,
    /// What was masked in it.
    pub masked: Counts,
}

/// Why a frame cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("the stream has had its terminal record; nothing follows it")]
    Ended,
    #[error("what was stored to go on from is not readable")]
    Resume,
}

/// A stored state costs bytes and saves reading: small ones always, large ones every so many frames.
const SMALL_STATE: usize = 400;
const STATE_EVERY: u32 = 16;
/// Of the last row so many bytes are kept.
const LAST_ROW_BYTES: usize = 512;
/// Phases beyond this are counted to the last one: a loop is no timeline.
const PHASES: usize = 200;

#[derive(Serialize, Deserialize)]
struct Resume {
    known: Known,
    deriver: Box<serde_json::value::RawValue>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Track {
    pub known: Known,
    deriver: RowDeriver,
    noting: Noting,
    lines: Lines,
}

/// The heads of the row that is open and of the last one that shows something.
#[derive(Clone, Debug, Default)]
struct Lines {
    open: Vec<u8>,
    last: Vec<u8>,
    /// Which row the last one is, if it ended in this frame.
    ended: Option<(u64, Level)>,
}

impl Track {
    pub fn new(descriptor: Arc<Descriptor>) -> Self {
        let known = Known {
            seq: 0,
            chain: Chain::START,
            stored_chain: None,
            masked_here: Counts::new(),
            machine: Machine::new(descriptor),
            phases: Vec::new(),
            rows: 0,
            bytes: 0,
            errors: 0,
            warnings: 0,
            failing: FailingLines::default(),
            last_row: None,
            output_at: 0,
            step: None,
            current_phase: None,
            frames: 0,
            stateless: 0,
        };
        Self {
            known,
            deriver: RowDeriver::new(),
            noting: Noting::default(),
            lines: Lines::default(),
        }
    }

    /// What a later track goes on from.
    pub fn resume(&self) -> Vec<u8> {
        let deriver = String::from_utf8(self.deriver.snapshot())
            .ok()
            .and_then(|json| serde_json::value::RawValue::from_string(json).ok());
        deriver
            .and_then(|deriver| {
                serde_json::to_vec(&Resume { known: self.known.clone(), deriver }).ok()
            })
            .unwrap_or_default()
    }

    pub fn restore(resume: &[u8]) -> Result<Self, FoldError> {
        let Resume { known, deriver } =
            serde_json::from_slice(resume).map_err(|_| FoldError::Resume)?;
        let deriver =
            RowDeriver::restore(deriver.get().as_bytes()).map_err(|_| FoldError::Resume)?;
        let noting = Noting::in_phase(deriver.phase(), deriver.phase_name());
        Ok(Self { known, deriver, noting, lines: Lines::default() })
    }

    /// Takes in the next frame, which begins at `known.seq + 1`. After an error the track is of no use.
    pub fn fold(&mut self, frame: &Frame, received_at: i64) -> Result<Folded, FoldError> {
        self.fold_masked(frame, None, received_at)
    }

    /// The same for a frame that was masked here: its form as it was received is what the chain covers.
    pub fn fold_masked(
        &mut self,
        frame: &Frame,
        received: Option<&Received>,
        received_at: i64,
    ) -> Result<Folded, FoldError> {
        let known = &mut self.known;
        if let Some(received) = received {
            known.stored_chain.get_or_insert(known.chain);
            for (kind, count) in &received.masked {
                *known.masked_here.entry(kind.clone()).or_default() += count;
            }
        }
        let mut originals = received.map(|received| received.frame.records());
        let mut folded = Folded {
            first_row: self.deriver.rows(),
            first_byte: known.bytes,
            first_at: i64::MAX,
            last_at: i64::MIN,
            goes_on: self.deriver.open_row().is_some(),
            ..Folded::default()
        };
        let state = self.deriver.snapshot();
        if state.len() <= SMALL_STATE || known.stateless + 1 >= STATE_EVERY || known.frames == 0 {
            folded.state_before = Some(state);
            known.stateless = 0;
        } else {
            known.stateless += 1;
        }
        known.frames += 1;
        for record in frame.records() {
            if known.machine.ended() {
                return Err(FoldError::Ended);
            }
            folded.records += 1;
            folded.first_at = folded.first_at.min(record.at_us);
            folded.last_at = folded.last_at.max(record.at_us);
            let original = originals.as_mut().and_then(Iterator::next);
            known.chain = known.chain.extend(original.as_ref().unwrap_or(&record));
            if let Some(stored) = &mut known.stored_chain {
                *stored = stored.extend(&record);
            }
            known.seq = record.last_seq();
            self.noting.at_byte = known.bytes;
            let noting = &mut self.noting;
            let mut sink = Sink { known, folded: &mut folded, noting, lines: &mut self.lines };
            self.deriver.feed(&record, &mut sink);
            match record.body {
                BodyRef::Output { bytes, .. } => {
                    known.bytes += bytes.len() as u64;
                    known.output_at = received_at;
                }
                BodyRef::Event(text) => {
                    let row = self.deriver.rows().saturating_sub(1);
                    fold_event(known, &mut folded, &record, text, row)?;
                }
            }
        }
        known.rows = self.deriver.rows();
        if let Some((row, level)) = self.lines.ended.take() {
            known.last_row = Some((row, level, self.lines.last.as_slice().into()));
        }
        if let Some((row, visible)) = self.deriver.open_line() {
            // A progress display stays on one line for minutes: what it shows now is what is printed last.
            let head = &visible[..visible.len().min(LAST_ROW_BYTES)];
            known.last_row = Some((row, Level::Info, head.into()));
        }
        if known.step.as_deref() != self.deriver.step() {
            known.step = self.deriver.step().map(str::to_owned);
        }
        known.current_phase = self.deriver.phase();
        folded.rows = known.rows - folded.first_row;
        folded.bytes = known.bytes - folded.first_byte;
        folded.open_row = self.deriver.open_row().is_some();
        folded.notes = self.noting.take();
        Ok(folded)
    }
}

fn fold_event(
    known: &mut Known,
    folded: &mut Folded,
    record: &deckport_protocol::RecordRef<'_>,
    text: &str,
    row: u64,
) -> Result<(), FoldError> {
    let event = deckport_protocol::event::parse(text)
        .unwrap_or_else(|_| Event::Unknown { kind: String::new() });
    let (machine, actions) =
        known.machine.clone().apply(&event, record.at_us).map_err(|_| FoldError::Ended)?;
    known.machine = machine;
    for action in actions {
        match action {
            Action::Describe => folded.described = true,
            Action::Close(outcome) => {
                close_last(known, record.at_us, Some(outcome));
                folded.closed = Some(outcome);
            }
        }
    }
    folded.events.push(EventFact { seq: record.seq, at: record.at_us, row, body: text.to_owned() });
    Ok(())
}

/// Closes the phase that runs.
fn close_last(known: &mut Known, at_us: i64, outcome: Option<Outcome>) {
    let Some(phase) = known.phases.iter_mut().rfind(|p| p.state == PhaseState::Running) else {
        return;
    };
    phase.finished_at = Some(at_us);
    phase.progress = None;
    phase.state = match outcome {
        Some(Outcome::Failed) => PhaseState::Failed,
        Some(Outcome::Cancelled | Outcome::Interrupted) => PhaseState::Interrupted,
        // Installers warn all the time; what went on after an error deserves a second look.
        Some(Outcome::Succeeded) | None if phase.errors > 0 => PhaseState::Warned,
        Some(Outcome::Succeeded) | None => PhaseState::Succeeded,
    };
}

struct Sink<'a> {
    known: &'a mut Known,
    folded: &'a mut Folded,
    noting: &'a mut Noting,
    lines: &'a mut Lines,
}

impl RowSink for Sink<'_> {
    fn begin(&mut self, row: u64) {
        self.noting.begin(row);
        self.lines.open.clear();
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let line = &mut self.lines.open;
        if line.len() < LAST_ROW_BYTES {
            let room = LAST_ROW_BYTES - line.len();
            line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        } else if bytes.first() == Some(&b'\r') {
            line.clear();
        }
    }

    fn text(&mut self, text: &str) {
        self.noting.text(text);
        self.bytes(text.as_bytes());
    }

    fn row(&mut self, fact: &RowFact, step: Option<&str>) {
        self.noting.row(fact, step);
        let known = &mut *self.known;
        known.failing.row(fact);
        let (errors, warnings) = match fact.level {
            Level::Error => (1, 0),
            Level::Warning => (0, 1),
            Level::Debug | Level::Info | Level::Notice => (0, 0),
        };
        known.errors += errors;
        known.warnings += warnings;
        let phase = fact.phase.and_then(|index| known.phases.get_mut(index as usize));
        if let Some(phase) = phase {
            phase.rows += 1;
            phase.errors += errors;
            phase.warnings += warnings;
            phase.last_row = Some(fact.row);
        }
        if !fact.blank {
            // Made into what others see once a frame: most rows are not the last.
            std::mem::swap(&mut self.lines.open, &mut self.lines.last);
            self.lines.ended = Some((fact.row, fact.level));
        }
        self.lines.open.clear();
    }

    fn phase(&mut self, phase: &PhaseFact) {
        self.noting.phase(phase);
        self.folded.phases_changed = true;
        close_last(self.known, phase.at_us, None);
        if self.known.phases.len() < PHASES {
            self.known.phases.push(Phase {
                index: phase.index,
                name: phase.name.clone(),
                state: PhaseState::Running,
                first_row: phase.row,
                last_row: None,
                first_seq: phase.seq,
                started_at: phase.at_us,
                finished_at: None,
                rows: 0,
                warnings: 0,
                errors: 0,
                usual_us: None,
                progress: None,
                step: None,
            });
        }
    }

    fn phase_ended(&mut self, _index: u32, at_us: i64) {
        self.folded.phases_changed = true;
        close_last(self.known, at_us, None);
    }
}

/// The last row that shows something, as text.
pub(super) fn last_line(known: &Known) -> Option<LastLine> {
    let (row, level, bytes) = known.last_row.as_ref()?;
    let mut renderer = RowRenderer::new(*row..*row + 1);
    renderer.begin(*row);
    renderer.bytes(bytes);
    let fact = RowFact {
        row: *row,
        seq: 0,
        boot_us: 0,
        at_us: 0,
        kind: deckport_protocol::rows::RowKind::Line,
        level: *level,
        phase: None,
        blank: false,
        bytes: bytes.len() as u64,
        open: false,
    };
    renderer.row(&fact, None);
    let text = renderer.take_rows().pop()?.text;
    Some(LastLine { text, level: *level, row: *row })
}

#[cfg(test)]
mod tests {
    use super::*;
    use deckport_protocol::{BootId, ConsoleId, FrameBuilder, Limits, RecordRef, Source};

    fn track() -> Track {
        Track::new(Arc::new(Descriptor {
            console_id: ConsoleId::new(),
            console_name: "Bay 1".into(),
            template: "base".into(),
            command: String::new(),
            agent_version: String::new(),
            boot_id: None,
            context: serde_json::Value::Null,
        }))
    }

    fn print(track: &mut Track, text: &str) -> Option<LastLine> {
        let mut builder = FrameBuilder::new();
        builder.push(&RecordRef {
            seq: track.known.seq + 1,
            span: 1,
            boot_us: 0,
            at_us: 0,
            body: BodyRef::Output {
                bytes: text.as_bytes(),
                continues: !text.ends_with('\n'),
                source: Source::Terminal,
                annotation: None,
            },
        });
        let bytes = builder.finish(BootId::new(), false).unwrap();
        track.fold(&Frame::decode(&bytes, &Limits::default()).unwrap(), 0).unwrap();
        last_line(&track.known)
    }

    #[test]
    fn a_progress_display_is_the_last_line_while_it_is_drawn() {
        let mut track = track();
        let mut shown = |text| print(&mut track, text).map(|line| (line.row, line.text));
        assert_eq!(shown("Unpacking\r\n"), Some((0, "Unpacking".into())));
        assert_eq!(shown("\r 10 %"), Some((1, " 10 %".into())));
        assert_eq!(shown("\r 20 %"), Some((1, " 20 %".into())));
        assert_eq!(shown("\r"), Some((1, " 20 %".into())));
        assert_eq!(shown("\rdone\r\n::endgroup::\r\n"), Some((1, "done".into())));
    }
}
