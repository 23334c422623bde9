//! From records to row facts: where rows begin and end, their level, phase and step.

use super::levels::level_of;
use super::line::{CLASSIFIED_BYTES, Line, is_blank, strip_into};
use super::markup::{self, Markup};
use super::tools;
use crate::event::{self, Event};
use crate::record::{Annotation, BodyRef, Level, RecordRef, Source};
use serde::{Deserialize, Serialize};

/// Phases that are found by tools' words stop at this number; a loop over packages is no timeline.
const TOOL_PHASES: u32 = 40;
/// Names are cut to this many bytes.
const NAME_BYTES: usize = 200;

/// What sort of row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    Line,
    /// A phase's heading.
    Phase,
    /// A sentence by the script or the agent.
    Note,
    /// Records that will never come.
    Gap,
    Marker,
    /// Any other event worth a line.
    Event,
}

/// A row that is over (or, at the end of what there is, still open).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowFact {
    /// From 0.
    pub row: u64,
    /// The record that it begins in.
    pub seq: u64,
    pub boot_us: u64,
    pub at_us: i64,
    pub kind: RowKind,
    pub level: Level,
    pub phase: Option<u32>,
    /// Nothing that would be seen, or only the end of a group.
    pub blank: bool,
    /// Its bytes in the stream, line feed included; 0 for events.
    pub bytes: u64,
    /// The line has not ended yet.
    pub open: bool,
}

/// A phase that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseFact {
    /// From 0.
    pub index: u32,
    pub name: String,
    /// Its heading, or its first row.
    pub row: u64,
    pub seq: u64,
    pub at_us: i64,
}

/// Takes what the deriver finds. Every method may do nothing.
pub trait RowSink {
    /// A row begins.
    fn begin(&mut self, _row: u64) {}
    /// Bytes of the row that is open, without line feeds.
    fn bytes(&mut self, _bytes: &[u8]) {}
    /// The text of a row that is not output.
    fn text(&mut self, _text: &str) {}
    /// The row is over; `step` is where it stands.
    fn row(&mut self, fact: &RowFact, step: Option<&str>);
    fn phase(&mut self, _phase: &PhaseFact) {}
    /// The phase in which rows were is over, and none follows it yet.
    fn phase_ended(&mut self, _index: u32, _at_us: i64) {}
}

impl RowSink for () {
    fn row(&mut self, _fact: &RowFact, _step: Option<&str>) {}
}

/// The row that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    seq: u64,
    boot_us: u64,
    at_us: i64,
    bytes: u64,
    level: Option<Level>,
    by_agent: bool,
}

/// Everything that later rows depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Rows that began, the open one included.
    rows: u64,
    open: Option<Open>,
    phase: Option<u32>,
    phases: u32,
    /// The current phase's name, to notice when an annotation names another.
    phase_name: String,
    step: Option<String>,
    /// How deep `::group::`s are nested.
    groups: u32,
    /// Explicit phases were seen: tools' words make steps only.
    explicit: bool,
    /// Where the tool that made the current phase stands.
    stage: u8,
}

/// What a snapshot holds.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    state: State,
    /// The open line's parts, base64 because they are bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    current: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    shown: String,
}

/// A snapshot that this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot of a row deriver is not readable")]
pub struct SnapshotError;

/// Derives rows from records, one after the other.
#[derive(Clone, Debug)]
pub struct RowDeriver {
    state: State,
    line: Line,
    scratch: Vec<u8>,
}

impl Default for RowDeriver {
    fn default() -> Self {
        Self::new()
    }
}

impl RowDeriver {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self {
            state: State::default(),
            line: Line::new(CLASSIFIED_BYTES),
            scratch: Vec::with_capacity(CLASSIFIED_BYTES),
        }
    }

    /// Rows that began so far, an open one included.
    pub const fn rows(&self) -> u64 {
        self.state.rows
    }

    /// The number of the row that is open.
    pub fn open_row(&self) -> Option<u64> {
        self.state.open.as_ref().map(|_| self.state.rows - 1)
    }

    /// The row that is open and what it shows so far (its head, where it is long); `None` while that is blank.
    pub fn open_line(&self) -> Option<(u64, &[u8])> {
        let row = self.open_row()?;
        let (visible, _) = self.line.visible();
        (!is_blank(visible)).then_some((row, visible))
    }

    /// The phase that the stream is in.
    pub const fn phase(&self) -> Option<u32> {
        self.state.phase
    }

    /// The name of that phase; empty where there is none.
    pub fn phase_name(&self) -> &str {
        &self.state.phase_name
    }

    pub fn step(&self) -> Option<&str> {
        self.state.step.as_deref()
    }

    /// Everything that a later deriver needs to go on from here. A few hundred bytes, at most about
    /// 3 KiB in the middle of a long line.
    pub fn snapshot(&self) -> Vec<u8> {
        use base64::Engine;
        use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
        let (current, shown) = if self.state.open.is_some() {
            self.line.parts()
        } else {
            (&[] as &[u8], &[] as &[u8])
        };
        serde_json::to_vec(&Snapshot {
            state: self.state.clone(),
            current: BASE64.encode(current),
            shown: BASE64.encode(shown),
        })
        .expect("a snapshot holds only what JSON can express")
    }

    /// Goes on from a snapshot.
    pub fn restore(snapshot: &[u8]) -> Result<Self, SnapshotError> {
        use base64::Engine;
        use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
        let Snapshot { state, current, shown } =
            serde_json::from_slice(snapshot).map_err(|_| SnapshotError)?;
        let current = BASE64.decode(current).map_err(|_| SnapshotError)?;
        let shown = BASE64.decode(shown).map_err(|_| SnapshotError)?;
        Ok(Self {
            state,
            line: Line::restore(CLASSIFIED_BYTES, &current, &shown),
            scratch: Vec::with_capacity(CLASSIFIED_BYTES),
        })
    }

    /// Takes in the next record.
    pub fn feed(&mut self, record: &RecordRef<'_>, sink: &mut impl RowSink) {
        match record.body {
            BodyRef::Output { bytes, source, annotation, .. } => {
                if let Some(annotation) = annotation {
                    self.annotated(record, annotation, sink);
                }
                self.output(record, bytes, source, annotation.and_then(|a| a.level), sink);
            }
            BodyRef::Event(text) => {
                // A frame's events were checked when it was decoded; what is not readable has no row.
                if let Ok(event) = event::parse(text) {
                    self.event(record, &event, sink);
                }
            }
        }
    }

    /// Reports the open row, if there is one, without ending it.
    pub fn peek_open(&mut self, sink: &mut impl RowSink) {
        if let Some(open) = self.state.open.clone() {
            let text = self.stripped();
            let fact = self.fact_of(&open, &text, true);
            self.scratch = text;
            sink.row(&fact, self.state.step.as_deref());
        }
    }

    fn annotated(
        &mut self,
        record: &RecordRef<'_>,
        annotation: &Annotation,
        sink: &mut impl RowSink,
    ) {
        if self.state.open.is_some() {
            return;
        }
        if let Some(name) = &annotation.phase
            && (self.state.phase.is_none() || *name != self.state.phase_name)
        {
            self.state.explicit = true;
            self.begin_phase(name, record, self.state.rows, sink);
        }
        if annotation.step.is_some() && annotation.step != self.state.step {
            self.state.step = annotation.step.as_deref().map(cut);
        }
    }

    fn output(
        &mut self,
        record: &RecordRef<'_>,
        bytes: &[u8],
        source: Source,
        level: Option<Level>,
        sink: &mut impl RowSink,
    ) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, ended) = match memchr::memchr(b'\n', rest) {
                Some(at) => (&rest[..at], true),
                None => (rest, false),
            };
            let taken = part.len() + usize::from(ended);
            rest = &rest[taken..];
            // The carriage return that a terminal puts before a line feed shows nothing.
            let shown = if ended { trim_returns(part) } else { part };
            let mut open = self.state.open.take().unwrap_or_else(|| {
                self.state.rows += 1;
                self.line.clear();
                sink.begin(self.state.rows - 1);
                Open {
                    seq: record.seq,
                    boot_us: record.boot_us,
                    at_us: record.at_us,
                    bytes: 0,
                    level: None,
                    by_agent: source == Source::Agent,
                }
            });
            let whole = ended && open.bytes == 0;
            open.bytes += taken as u64;
            open.level = open.level.max(level);
            sink.bytes(shown);
            if whole && is_bare(shown) {
                // Most lines come in one piece and are what they show: nothing is put together for them.
                self.end_line(&open, shown, record, sink);
                continue;
            }
            self.line.push(shown);
            if ended {
                let text = self.stripped();
                self.end_line(&open, &text, record, sink);
                self.scratch = text;
            } else {
                self.state.open = Some(open);
            }
        }
    }

    /// The text of the line that was put together, without escape sequences and control characters. To be given back as
    /// `scratch`.
    fn stripped(&mut self) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        strip_into(self.line.visible().0, &mut text);
        text
    }

    /// The fact of a row that shows `text`: its level by annotation, markup or convention.
    fn fact_of(&self, open: &Open, text: &[u8], still_open: bool) -> RowFact {
        let mut blank = is_blank(text);
        let mut level = open.level;
        let mut kind = if open.by_agent { RowKind::Note } else { RowKind::Line };
        if level.is_none() && !blank {
            level = Some(match markup_of(text) {
                Some(Markup::Message(level, _)) => level,
                Some(Markup::Phase(_) | Markup::Group(_)) => {
                    kind = RowKind::Phase;
                    Level::Info
                }
                Some(Markup::EndGroup) => {
                    kind = RowKind::Marker;
                    blank = true;
                    Level::Info
                }
                None => level_of(text),
            });
        }
        RowFact {
            row: self.state.rows - 1,
            seq: open.seq,
            boot_us: open.boot_us,
            at_us: open.at_us,
            kind,
            level: level.unwrap_or_default(),
            phase: self.state.phase,
            blank,
            bytes: open.bytes,
            open: still_open,
        }
    }

    fn end_line(
        &mut self,
        open: &Open,
        text: &[u8],
        record: &RecordRef<'_>,
        sink: &mut impl RowSink,
    ) {
        let phase = self.state.phase;
        if !open.by_agent {
            self.read_structure(open, text, record, sink);
        }
        let mut fact = self.fact_of(open, text, false);
        // The line that ends a group is still in it.
        fact.phase = fact.phase.or(phase);
        if fact.kind == RowKind::Phase && self.state.groups > 1 {
            // A nested group is a step.
            fact.kind = RowKind::Line;
        }
        sink.row(&fact, self.state.step.as_deref());
    }

    /// Phases and steps that the line begins or ends.
    fn read_structure(
        &mut self,
        open: &Open,
        text: &[u8],
        record: &RecordRef<'_>,
        sink: &mut impl RowSink,
    ) {
        let row = self.state.rows - 1;
        let begins = RecordRef { seq: open.seq, at_us: open.at_us, ..*record };
        match markup_of(text) {
            Some(Markup::Phase(name)) => {
                self.state.explicit = true;
                self.state.groups = 0;
                self.begin_phase(name, &begins, row, sink);
            }
            Some(Markup::Group(name)) if self.state.groups == 0 => {
                self.state.explicit = true;
                self.state.groups = 1;
                self.begin_phase(name, &begins, row, sink);
            }
            Some(Markup::Group(name)) => {
                self.state.groups += 1;
                self.state.step = Some(cut(name));
            }
            Some(Markup::EndGroup) => {
                self.state.step = None;
                match self.state.groups {
                    0 => {}
                    1 => {
                        self.state.groups = 0;
                        if let Some(index) = self.state.phase.take() {
                            sink.phase_ended(index, open.at_us);
                        }
                        self.state.phase_name.clear();
                    }
                    _ => self.state.groups -= 1,
                }
            }
            Some(Markup::Message(..)) => {}
            None => {
                if let Some(stage) = tools::stage_of(text) {
                    self.tool_stage(stage, &begins, row, sink);
                }
            }
        }
    }

    fn tool_stage(
        &mut self,
        stage: tools::Stage,
        record: &RecordRef<'_>,
        row: u64,
        sink: &mut impl RowSink,
    ) {
        if !self.state.explicit {
            let same_tool = self.state.phase.is_some() && self.state.phase_name == stage.phase;
            let anew = !same_tool || (stage.opens && self.state.stage > stage.order);
            if anew && self.state.phases < TOOL_PHASES {
                self.begin_phase(stage.phase, record, row, sink);
            }
            self.state.stage = stage.order;
        }
        if self.state.groups < 2 && self.state.step.as_deref() != Some(stage.step) {
            self.state.step = Some(stage.step.to_owned());
        }
    }

    fn begin_phase(
        &mut self,
        name: &str,
        record: &RecordRef<'_>,
        row: u64,
        sink: &mut impl RowSink,
    ) {
        let name = if name.is_empty() { "unnamed".to_owned() } else { cut(name) };
        let index = self.state.phases;
        self.state.phases += 1;
        self.state.phase = Some(index);
        self.state.phase_name.clone_from(&name);
        self.state.step = None;
        self.state.stage = 0;
        sink.phase(&PhaseFact { index, name, row, seq: record.seq, at_us: record.at_us });
    }

    fn event(&mut self, record: &RecordRef<'_>, event: &Event, sink: &mut impl RowSink) {
        let (kind, level, text) = match event {
            Event::PhaseStarted { name } => {
                self.close_open(sink);
                self.state.explicit = true;
                self.state.groups = 0;
                self.begin_phase(name, record, self.state.rows, sink);
                (RowKind::Phase, Level::Info, cut(name))
            }
            Event::StepStarted { name } => {
                self.state.step = Some(cut(name));
                (RowKind::Event, Level::Info, format!("step: {}", cut(name)))
            }
            Event::StepRetried { name, attempt, reason } => (
                RowKind::Event,
                Level::Warning,
                format!("{}: attempt {attempt} ({})", cut(name), cut(reason)),
            ),
            Event::StepCompleted { name, .. } => {
                if self.state.step.as_deref() == Some(name.as_str()) {
                    self.state.step = None;
                }
                return;
            }
            Event::StepFailed { name, message, .. } => (
                RowKind::Event,
                Level::Error,
                format!("step failed: {}: {}", cut(name), cut(message)),
            ),
            Event::UndoStarted { name } => {
                (RowKind::Event, Level::Notice, format!("undo {}", cut(name)))
            }
            Event::UndoCompleted { name, succeeded: true } => {
                (RowKind::Event, Level::Info, format!("undone: {}", cut(name)))
            }
            Event::UndoCompleted { name, succeeded: false } => {
                (RowKind::Event, Level::Error, format!("undo failed: {}", cut(name)))
            }
            Event::HealthChecked { name, passed, required, message } => {
                let level = match (passed, required) {
                    (true, _) => Level::Info,
                    (false, true) => Level::Error,
                    (false, false) => Level::Warning,
                };
                let verdict = if *passed { "passed" } else { "failed" };
                (RowKind::Event, level, format!("health: {} {verdict} {}", cut(name), cut(message)))
            }
            Event::BenchmarkMeasured { name, value, unit } => {
                (RowKind::Event, Level::Info, format!("benchmark: {} {value} {unit}", cut(name)))
            }
            Event::OrderResult { order, accepted, message, .. } => {
                let verdict = if *accepted { "accepted" } else { "refused" };
                (
                    RowKind::Event,
                    Level::Notice,
                    format!("order {}: {verdict} {}", cut(order), cut(message)),
                )
            }
            Event::Marker { name, .. } => (RowKind::Marker, Level::Info, cut(name)),
            Event::Note { level, text } => (RowKind::Note, *level, text.clone()),
            Event::Gap { bytes, why, .. } => (
                RowKind::Gap,
                Level::Warning,
                format!("{} records, {bytes} bytes are missing here: {}", record.span, cut(why)),
            ),
            Event::DeploymentFinished { .. } => {
                self.close_open(sink);
                return;
            }
            Event::DeploymentStarted { .. }
            | Event::ContextChanged { .. }
            | Event::SecretsMasked { .. }
            | Event::Unknown { .. } => return,
        };
        self.close_open(sink);
        let row = self.state.rows;
        self.state.rows += 1;
        sink.begin(row);
        sink.text(text.trim_end());
        let fact = RowFact {
            row,
            seq: record.seq,
            boot_us: record.boot_us,
            at_us: record.at_us,
            kind,
            level,
            phase: self.state.phase,
            blank: false,
            bytes: 0,
            open: false,
        };
        sink.row(&fact, self.state.step.as_deref());
    }

    /// Ends the open row where no line feed did.
    fn close_open(&mut self, sink: &mut impl RowSink) {
        if let Some(open) = self.state.open.take() {
            let text = self.stripped();
            let fact = self.fact_of(&open, &text, false);
            self.scratch = text;
            sink.row(&fact, self.state.step.as_deref());
        }
    }
}

/// Whether a line's bytes are its text: no control characters, no more than is looked at of a line.
fn is_bare(line: &[u8]) -> bool {
    // Without a branch, so that many bytes are looked at at once.
    let control = line.iter().fold(false, |any, &byte| any | (byte < 0x20) | (byte == 0x7f));
    !control && line.len() <= CLASSIFIED_BYTES
}

fn markup_of(text: &[u8]) -> Option<Markup<'_>> {
    if !matches!(text.first(), Some(b':' | b'-' | b'+' | b'~')) {
        return None;
    }
    markup::read(std::str::from_utf8(text).ok()?)
}

fn trim_returns(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |at| at + 1);
    &line[..end]
}

fn cut(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].trim().to_owned()
}
