//! What happened, apart from output. Past tense, with a first and a terminal one.
//!
//! An event travels as a JSON object whose `kind` names it. [`EventText`] keeps that JSON exactly as
//! it came, so that readers pass on kinds they do not know and the hash chain covers what was sent;
//! [`EventText::parse`] gives the typed [`Event`].

use crate::ids::{BootId, ConsoleId, OrderId};
use crate::record::Level;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed,
    Cancelled,
    /// The recorder ended before the command did, or the console lost power. Also what a reader
    /// takes an unknown outcome for: it did not demonstrably succeed.
    #[serde(other)]
    Interrupted,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Exit {
    /// It returned a status, 0 to 255.
    Code { code: i32 },
    /// A signal ended it; `name` as in `SIGKILL`.
    Signal { signal: i32, name: String },
}

/// How a step ended when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    Succeeded,
    Skipped,
    #[serde(other)]
    Warned,
}

/// Who left records out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapAuthor {
    Agent,
    #[serde(other)]
    Collector,
}

/// What happened. Times and numbers are those of the record that carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The first record of every stream.
    DeploymentStarted {
        console_id: ConsoleId,
        /// The console's name, for people.
        console_name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        template: Option<String>,
        /// Program and arguments.
        command: Vec<String>,
        agent_version: String,
        boot_id: BootId,
        /// The system context, by group. Open: new groups and facts may appear.
        #[serde(default)]
        context: serde_json::Value,
    },
    PhaseStarted {
        name: String,
    },
    StepStarted {
        name: String,
    },
    StepRetried {
        name: String,
        attempt: u32,
        #[serde(default)]
        reason: String,
    },
    StepCompleted {
        name: String,
        outcome: StepOutcome,
    },
    StepFailed {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<Exit>,
        #[serde(default)]
        message: String,
        #[serde(default)]
        causes: Vec<String>,
    },
    UndoStarted {
        name: String,
    },
    UndoCompleted {
        name: String,
        succeeded: bool,
    },
    HealthChecked {
        name: String,
        passed: bool,
        #[serde(default)]
        required: bool,
        #[serde(default)]
        message: String,
    },
    BenchmarkMeasured {
        name: String,
        value: f64,
        unit: String,
    },
    /// Facts that became known or changed after the start; merged over `context` by group.
    ContextChanged {
        context: serde_json::Value,
    },
    OrderResult {
        order_id: OrderId,
        /// What was ordered, as in the order's `kind`.
        order: String,
        accepted: bool,
        #[serde(default)]
        message: String,
    },
    /// A place worth finding again.
    Marker {
        name: String,
        #[serde(default)]
        fields: BTreeMap<String, String>,
    },
    /// A sentence by the script or the agent.
    Note {
        #[serde(default)]
        level: Level,
        text: String,
    },
    /// How many secrets were masked in the stream so far, by the name of their kind. The last one counts.
    SecretsMasked {
        counts: BTreeMap<String, u64>,
    },
    /// Records that will never come. It occupies its whole range.
    Gap {
        first_seq: u64,
        last_seq: u64,
        /// Output bytes left out.
        bytes: u64,
        why: String,
        by: GapAuthor,
    },
    /// The terminal record. Nothing follows it.
    DeploymentFinished {
        outcome: Outcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<Exit>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// A kind that this version does not know; its text is passed on as it came.
    #[serde(skip)]
    Unknown {
        kind: String,
    },
}

/// The kinds that this version knows; any other is [`Event::Unknown`].
const KINDS: &[&str] = &[
    "deployment_started",
    "phase_started",
    "step_started",
    "step_retried",
    "step_completed",
    "step_failed",
    "undo_started",
    "undo_completed",
    "health_checked",
    "benchmark_measured",
    "context_changed",
    "order_result",
    "marker",
    "note",
    "secrets_masked",
    "gap",
    "deployment_finished",
];

impl Event {
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::DeploymentFinished { .. })
    }
}

#[derive(Deserialize)]
struct KindOnly<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
}

/// An event's JSON, exactly as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventText(Box<str>);

impl EventText {
    /// The wire form of `event`.
    ///
    /// # Panics
    ///
    /// For [`Event::Unknown`], which has no wire form of its own.
    pub fn new(event: &Event) -> Self {
        let text = serde_json::to_string(event)
            .expect("an event of a known kind holds only what JSON can express");
        Self(text.into_boxed_str())
    }

    /// JSON that came over the wire. It is checked when it is parsed.
    pub fn from_wire(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The typed event; an unknown kind is no error, a known kind with a wrong body is.
    pub fn parse(&self) -> Result<Event, serde_json::Error> {
        parse(&self.0)
    }
}

/// See [`EventText::parse`].
pub fn parse(text: &str) -> Result<Event, serde_json::Error> {
    let KindOnly { kind } = serde_json::from_str(text)?;
    if KINDS.contains(&kind.as_ref()) {
        serde_json::from_str(text)
    } else {
        Ok(Event::Unknown { kind: kind.into_owned() })
    }
}

/// The range that a `gap` occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GapSpan {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
}

impl GapSpan {
    /// Reads the range from an event's JSON; `None` for any other kind or a senseless range.
    pub(crate) fn of(text: &str) -> Option<Self> {
        // Most events are no gaps: look before parsing.
        memchr::memmem::find(text.as_bytes(), b"\"gap\"")?;
        match parse(text).ok()? {
            Event::Gap { first_seq, last_seq, .. } if first_seq <= last_seq => {
                Some(Self { first_seq, last_seq })
            }
            _ => None,
        }
    }

    pub(crate) const fn len(self) -> u64 {
        (self.last_seq - self.first_seq).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_kind_is_listed() {
        // A variant that is missing from KINDS would read back as Unknown.
        for event in samples() {
            let text = EventText::new(&event);
            assert_eq!(text.parse().unwrap(), event, "{}", text.as_str());
        }
        assert_eq!(samples().len(), KINDS.len());
    }

    #[test]
    fn wire_form() {
        let all: Vec<serde_json::Value> = samples()
            .iter()
            .map(|event| serde_json::from_str(EventText::new(event).as_str()).unwrap())
            .collect();
        insta::assert_json_snapshot!(all);
    }

    #[test]
    fn an_unknown_kind_is_kept_as_it_came() {
        let text = EventText::from_wire(r#"{"kind":"moon_landed", "crew" : 3}"#);
        assert_eq!(text.parse().unwrap(), Event::Unknown { kind: "moon_landed".into() });
        assert_eq!(text.as_str(), r#"{"kind":"moon_landed", "crew" : 3}"#);
    }

    #[test]
    fn a_known_kind_with_a_wrong_body_is_an_error() {
        assert!(parse(r#"{"kind":"phase_started"}"#).is_err());
        assert!(parse(r#"{"name":"x"}"#).is_err());
        assert!(parse("[]").is_err());
    }

    #[test]
    fn unknown_fields_and_outcomes_do_not_break_a_reader() {
        let event = parse(r#"{"kind":"deployment_finished","outcome":"vaporised","new":1}"#);
        assert_eq!(
            event.unwrap(),
            Event::DeploymentFinished {
                outcome: Outcome::Interrupted,
                exit: None,
                message: String::new()
            }
        );
    }

    fn samples() -> Vec<Event> {
        let name = || "Install packages".to_owned();
        vec![
            Event::DeploymentStarted {
                console_id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
                console_name: "Bay 12".into(),
                template: Some("base + game".into()),
                command: vec!["bash".into(), "install.sh".into()],
                agent_version: "0.1.0".into(),
                boot_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
                context: serde_json::json!({"cpu": {"model": "Ryzen 5600G", "threads": 12}}),
            },
            Event::PhaseStarted { name: name() },
            Event::StepStarted { name: name() },
            Event::StepRetried { name: name(), attempt: 2, reason: "exit 100".into() },
            Event::StepCompleted { name: name(), outcome: StepOutcome::Warned },
            Event::StepFailed {
                name: name(),
                exit: Some(Exit::Signal { signal: 9, name: "SIGKILL".into() }),
                message: "killed".into(),
                causes: vec!["out of memory".into()],
            },
            Event::UndoStarted { name: name() },
            Event::UndoCompleted { name: name(), succeeded: true },
            Event::HealthChecked {
                name: "display".into(),
                passed: false,
                required: true,
                message: "no display".into(),
            },
            Event::BenchmarkMeasured { name: "disk".into(), value: 512.5, unit: "MB/s".into() },
            Event::ContextChanged { context: serde_json::json!({"apt": {"pending": 3}}) },
            Event::OrderResult {
                order_id: "01890a5d-ac96-774b-bcce-b302099a8058".parse().unwrap(),
                order: "cancel".into(),
                accepted: true,
                message: String::new(),
            },
            Event::Marker {
                name: "game started".into(),
                fields: BTreeMap::from([("pid".into(), "77".into())]),
            },
            Event::Note { level: Level::Warning, text: "fan is loud".into() },
            Event::SecretsMasked {
                counts: BTreeMap::from([("environment".into(), 3), ("github".into(), 1)]),
            },
            Event::Gap {
                first_seq: 7,
                last_seq: 9,
                bytes: 1024,
                why: "spool full".into(),
                by: GapAuthor::Agent,
            },
            Event::DeploymentFinished {
                outcome: Outcome::Failed,
                exit: Some(Exit::Code { code: 100 }),
                message: "exit 100".into(),
            },
        ]
    }
}
