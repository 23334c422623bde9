//! A deployment as viewers see it. These shapes are the API's: fields are added, never changed.
//!
//! Times (`*_at`) are microseconds since the Unix epoch, durations (`*_us`) microseconds.

use deckport_protocol::{ConsoleId, DeploymentId, Exit, Level, Outcome, StreamId, VenueId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Queued,
    Preparing,
    Running,
    Verifying,
    Succeeded,
    Failed,
    Cancelled,
    Interrupted,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Verifying => "verifying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Nothing follows.
    pub const fn ended(self) -> bool {
        match self {
            Self::Queued | Self::Preparing | Self::Running | Self::Verifying => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Interrupted => true,
        }
    }
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Interrupted => Self::Interrupted,
        }
    }
}

/// How present the console is. Presence is not state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresenceKind {
    Live,
    /// Records are in the console's spool that are not here yet.
    Behind,
    /// No connection.
    Offline,
    /// Connected, but nothing printed for the silence deadline.
    Silent,
    /// The deployment has ended.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Presence {
    pub kind: PresenceKind,
    pub since_at: i64,
    #[schema(required)]
    pub waiting_records: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseState {
    Pending,
    Running,
    Succeeded,
    /// Succeeded, with warnings or errors among its rows.
    Warned,
    Failed,
    Skipped,
    Interrupted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Phase {
    pub index: u32,
    pub name: String,
    pub state: PhaseState,
    pub first_row: u64,
    #[schema(required)]
    pub last_row: Option<u64>,
    pub first_seq: u64,
    pub started_at: i64,
    #[schema(required)]
    pub finished_at: Option<i64>,
    pub rows: u64,
    pub warnings: u64,
    pub errors: u64,
    /// What this phase usually takes: the median of past successful runs of the template.
    #[schema(required)]
    pub usual_us: Option<i64>,
    /// 0 to 1.
    #[schema(required)]
    pub progress: Option<f64>,
    #[schema(required)]
    pub step: Option<String>,
}

/// When it will be over, from what runs of the same template took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Eta {
    pub low_us: i64,
    pub high_us: i64,
    /// How many runs it was made from.
    pub samples: u32,
}

/// Why it failed, and the line that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    pub message: String,
    #[schema(required)]
    pub row: Option<u64>,
    #[schema(required)]
    pub seq: Option<u64>,
    #[schema(required)]
    pub exit: Option<Exit>,
    #[schema(required)]
    pub phase: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastLine {
    pub text: String,
    pub level: Level,
    pub row: u64,
}

/// What was stored before there were others belongs to the first one.
const fn first_venue() -> VenueId {
    VenueId::SOLE
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentSummary {
    pub id: DeploymentId,
    pub console_id: ConsoleId,
    /// Where it belongs.
    #[serde(default = "first_venue")]
    pub venue_id: VenueId,
    /// The console's name.
    pub name: String,
    pub template: String,
    pub command: String,
    pub state: State,
    #[schema(required)]
    pub outcome: Option<Outcome>,
    pub presence: Presence,
    pub started_at: i64,
    #[schema(required)]
    pub finished_at: Option<i64>,
    pub updated_at: i64,
    pub phases: Vec<Phase>,
    #[schema(required)]
    pub current_phase: Option<u32>,
    /// 0 to 1.
    #[schema(required)]
    pub progress: Option<f64>,
    #[schema(required)]
    pub eta: Option<Eta>,
    #[schema(required)]
    pub last_line: Option<LastLine>,
    pub rows: u64,
    pub bytes: u64,
    pub warnings: u64,
    pub errors: u64,
    pub acked_seq: u64,
    pub gaps: u64,
    pub missing_bytes: u64,
    #[schema(required)]
    pub failure: Option<Failure>,
    /// One short line: "Ryzen 5600G · 16 GB".
    #[schema(required)]
    pub hardware: Option<String>,
    /// Why nothing more is taken from this stream, if so.
    #[serde(default)]
    #[schema(required)]
    pub quarantined: Option<String>,
    /// How many secrets were masked, by kind.
    #[serde(default)]
    #[schema(required)]
    pub masked: BTreeMap<String, u64>,
    /// How many of them were masked only here: the agent is old, or is not ours.
    #[serde(default)]
    #[schema(required)]
    pub masked_at_ingest: u64,
}

/// An event of the stream as it came, with where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventEntry {
    pub seq: u64,
    pub at: i64,
    pub row: u64,
    pub kind: String,
    /// The event's JSON, as the agent sent it (large contexts left out).
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentDetail {
    pub summary: DeploymentSummary,
    /// The system context as the agent sent it, by group.
    #[schema(value_type = Option<Object>, required)]
    pub context: Option<serde_json::Value>,
    pub agent_version: String,
    pub stream_id: StreamId,
    pub incarnation: u64,
    #[schema(required)]
    pub boot_id: Option<String>,
    /// How far the console's clock is ahead of ours.
    #[schema(required)]
    pub clock_offset_us: Option<i64>,
    #[schema(required)]
    pub latency_us: Option<i64>,
    /// The last events, at most 500.
    pub events: Vec<EventEntry>,
}
