//! The state machine of one installation: pure, and total over every event that a stream can hold.
//!
//! First event `deployment_started`, terminal event `deployment_finished`. Events that this version does
//! not know change nothing.

use super::view::State;
use deckport_protocol::secrets::Counts;
use deckport_protocol::{BodyRef, ConsoleId, Event, EventText, Exit, Frame, Outcome};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the deployment is, as its first record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    pub console_id: ConsoleId,
    pub console_name: String,
    pub template: String,
    pub command: String,
    pub agent_version: String,
    pub boot_id: Option<String>,
    pub context: serde_json::Value,
}

/// Letters of what stands in lists: a console says of itself what it likes, and every viewer of a list gets it.
const NAME_CHARS: usize = 120;
const COMMAND_CHARS: usize = 1000;
const MESSAGE_CHARS: usize = 2000;

impl Descriptor {
    /// The same with no text longer than lists can bear.
    #[must_use]
    pub fn within_bounds(mut self) -> Self {
        for name in [&mut self.console_name, &mut self.template, &mut self.agent_version] {
            shorten(name, NAME_CHARS);
        }
        shorten(&mut self.command, COMMAND_CHARS);
        self
    }
}

/// Cuts what is too long, and shows that it was.
fn shorten(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
}

fn shortened(text: &str, most: usize) -> String {
    let mut text = text.to_owned();
    shorten(&mut text, most);
    text
}

/// Whether a run says that it is another console's than `console`.
pub fn names_another(frame: &Frame, console: ConsoleId) -> bool {
    frame.records().any(|record| match record.body {
        // Nearly no event is one: it is not parsed for this.
        BodyRef::Event(text) if text.contains("deployment_started") => matches!(
            EventText::from_wire(text).parse(),
            Ok(Event::DeploymentStarted { console_id, .. }) if console_id != console
        ),
        BodyRef::Event(_) | BodyRef::Output { .. } => false,
    })
}

/// Where it stands; what each standing needs to know is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Standing {
    Queued,
    Running { since_at: i64 },
    Ended { since_at: i64, finished_at: i64, outcome: Outcome, exit: Option<Exit>, message: String },
}

/// One installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub standing: Standing,
    pub descriptor: Arc<Descriptor>,
    pub gaps: u64,
    pub missing_bytes: u64,
    /// What the last step that failed said; a better reason than an exit code.
    pub complaint: Option<String>,
    /// What the agent told of secrets that it masked.
    #[serde(default)]
    pub masked: Counts,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The console and what it is are known (again).
    Describe,
    /// It is over: close what is open, remember how long its phases took if it succeeded.
    Close(Outcome),
}

/// An event that cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream has had its terminal record")]
pub struct AfterEnd;

impl Machine {
    pub const fn new(descriptor: Arc<Descriptor>) -> Self {
        Self {
            standing: Standing::Queued,
            descriptor,
            gaps: 0,
            missing_bytes: 0,
            complaint: None,
            masked: Counts::new(),
        }
    }

    pub fn state(&self) -> State {
        match &self.standing {
            Standing::Queued => State::Queued,
            Standing::Running { .. } => State::Running,
            Standing::Ended { outcome, .. } => (*outcome).into(),
        }
    }

    pub const fn ended(&self) -> bool {
        matches!(self.standing, Standing::Ended { .. })
    }

    /// What follows from `event`, which happened at `at_us` by the console's clock.
    pub fn apply(mut self, event: &Event, at_us: i64) -> Result<(Self, Vec<Action>), AfterEnd> {
        let mut actions = Vec::new();
        let since_at = match self.standing {
            Standing::Ended { .. } => return Err(AfterEnd),
            Standing::Running { since_at } => since_at,
            Standing::Queued => {
                self.standing = Standing::Running { since_at: at_us };
                at_us
            }
        };
        match event {
            Event::DeploymentStarted {
                console_id,
                console_name,
                template,
                command,
                agent_version,
                boot_id,
                context,
            } => {
                let descriptor = Descriptor {
                    console_id: *console_id,
                    console_name: console_name.clone(),
                    template: template.clone().unwrap_or_else(|| self.descriptor.template.clone()),
                    command: command.join(" "),
                    agent_version: agent_version.clone(),
                    boot_id: Some(boot_id.to_string()),
                    context: context.clone(),
                };
                self.descriptor = Arc::new(descriptor.within_bounds());
                actions.push(Action::Describe);
            }
            Event::ContextChanged { context } => {
                let mut descriptor = (*self.descriptor).clone();
                merge(&mut descriptor.context, context);
                self.descriptor = Arc::new(descriptor);
                actions.push(Action::Describe);
            }
            Event::StepFailed { name, message, .. } => {
                let complaint = if message.is_empty() { name } else { message };
                self.complaint = Some(shortened(complaint, MESSAGE_CHARS));
            }
            Event::SecretsMasked { counts } => self.masked.clone_from(counts),
            Event::Gap { bytes, .. } => {
                self.gaps += 1;
                self.missing_bytes += bytes;
            }
            Event::DeploymentFinished { outcome, exit, message } => {
                self.standing = Standing::Ended {
                    since_at,
                    finished_at: at_us,
                    outcome: *outcome,
                    exit: exit.clone(),
                    message: shortened(message, MESSAGE_CHARS),
                };
                actions.push(Action::Close(*outcome));
            }
            Event::PhaseStarted { .. }
            | Event::StepStarted { .. }
            | Event::StepRetried { .. }
            | Event::StepCompleted { .. }
            | Event::UndoStarted { .. }
            | Event::UndoCompleted { .. }
            | Event::HealthChecked { .. }
            | Event::BenchmarkMeasured { .. }
            | Event::OrderResult { .. }
            | Event::Marker { .. }
            | Event::Note { .. }
            | Event::Unknown { .. } => {}
        }
        Ok((self, actions))
    }
}

/// Facts that came later replace those of the same group.
fn merge(context: &mut serde_json::Value, later: &serde_json::Value) {
    let serde_json::Value::Object(later) = later else { return };
    if !context.is_object() {
        *context = serde_json::Value::Object(serde_json::Map::new());
    }
    if let serde_json::Value::Object(context) = context {
        for (group, facts) in later {
            context.insert(group.clone(), facts.clone());
        }
    }
}

/// "Ryzen 5600G · 16 GB", from what the context says.
pub(super) fn hardware(context: &serde_json::Value) -> Option<String> {
    let cpu = context.pointer("/cpu/model").and_then(serde_json::Value::as_str);
    let memory = ["/memory/total_bytes", "/memory/total", "/memory/bytes"]
        .iter()
        .find_map(|path| context.pointer(path).and_then(serde_json::Value::as_u64));
    // Memory is sold in powers of two and reported a little less.
    let memory = memory.map(|bytes| format!("{} GB", (bytes as f64 / (1u64 << 30) as f64).ceil()));
    let parts: Vec<String> = cpu.map(short_cpu).into_iter().chain(memory).collect();
    (!parts.is_empty()).then(|| parts.join(" · "))
}

fn short_cpu(model: &str) -> String {
    let noise = ["(R)", "(TM)", "AMD ", "Intel ", " CPU", " Processor", " with Radeon Graphics"];
    let short = noise.iter().fold(model.to_owned(), |text, noise| text.replace(noise, ""));
    short.split(" @").next().unwrap_or(&short).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine::new(Arc::new(Descriptor {
            console_id: ConsoleId::new(),
            console_name: "Bay 1".into(),
            template: "base".into(),
            command: String::new(),
            agent_version: String::new(),
            boot_id: None,
            context: serde_json::Value::Null,
        }))
    }

    #[test]
    fn nothing_follows_the_terminal_record() {
        let finished =
            |outcome| Event::DeploymentFinished { outcome, exit: None, message: String::new() };
        for outcome in
            [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled, Outcome::Interrupted]
        {
            let (ended, actions) = machine().apply(&finished(outcome), 7).unwrap();
            assert_eq!(ended.state(), State::from(outcome));
            assert_eq!(actions, [Action::Close(outcome)]);
            let marker = Event::Marker { name: "x".into(), fields: Default::default() };
            assert_eq!(ended.clone().apply(&marker, 8), Err(AfterEnd));
            assert_eq!(ended.apply(&finished(Outcome::Succeeded), 8), Err(AfterEnd));
        }
    }

    #[test]
    fn later_facts_replace_those_of_their_group() {
        let change = |json| Event::ContextChanged { context: json };
        let (m, _) = machine().apply(&change(serde_json::json!({"a": 1, "b": 1})), 1).unwrap();
        let (m, _) = m.apply(&change(serde_json::json!({"b": 2})), 2).unwrap();
        assert_eq!(m.descriptor.context, serde_json::json!({"a": 1, "b": 2}));
    }

    #[test]
    fn hardware_is_one_short_line() {
        let context = serde_json::json!({
            "cpu": {"model": "AMD Ryzen 5 5600G with Radeon Graphics"},
            "memory": {"total_bytes": 16_500_000_000u64}
        });
        assert_eq!(hardware(&context).as_deref(), Some("Ryzen 5 5600G · 16 GB"));
        assert_eq!(hardware(&serde_json::Value::Null), None);
    }
}
