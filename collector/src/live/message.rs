//! What goes over the live socket: JSON text, except for `records`, whose frames are binary.

use crate::deployment::view::{DeploymentDetail, DeploymentSummary, EventEntry};
use crate::search::{SearchHit, SearchProgress};
use deckport_protocol::rows::Row;
use deckport_protocol::{DeploymentId, Refusal, ServerEpoch};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a viewer says. `id` is the viewer's choice, unique on the socket.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ViewerMessage {
    Subscribe(Subscribe),
    /// Moves a window.
    Window {
        id: u64,
        from: u64,
        count: u64,
        #[serde(default)]
        follow: bool,
    },
    /// Each delta of a window costs one.
    Credit {
        id: u64,
        credits: u32,
    },
    Unsubscribe {
        id: u64,
    },
    Ping {
        #[serde(default)]
        nonce: u64,
    },
}

/// `topic`: `fleet`, `deployment`, `window`, `records` or `search`. The other fields as the topic needs them.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct Subscribe {
    pub id: u64,
    pub topic: String,
    #[serde(default)]
    pub deployment_id: Option<DeploymentId>,
    /// `window`: the first row.
    #[serde(default)]
    pub from: u64,
    /// `window`: how many rows, at most 500.
    #[serde(default)]
    pub count: u64,
    /// `window`: stay at the end.
    #[serde(default)]
    pub follow: bool,
    #[serde(default)]
    pub credits: u32,
    /// `records`: the last sequence number that the viewer has.
    #[serde(default)]
    pub after: u64,
    /// `search`: in the search language.
    #[serde(default)]
    pub query: String,
    /// `search`: hits at most, 200 by default, 1,000 at most; all are counted.
    #[serde(default)]
    pub limit: Option<usize>,
    /// `search`: minutes east of UTC, for dates in the query.
    #[serde(default)]
    pub tz: i32,
}

/// What the collector says.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveMessage {
    Hello {
        server_epoch: ServerEpoch,
        version: String,
    },
    Snapshot {
        id: u64,
        cursor: u64,
        data: Snapshot,
    },
    Delta {
        id: u64,
        cursor: u64,
        data: Delta,
    },
    /// Exactly one binary message follows: the columns frame as stored.
    Frame {
        id: u64,
        first_seq: u64,
        last_seq: u64,
        received_at: i64,
    },
    /// The replay reached the live end.
    CaughtUp {
        id: u64,
        cursor: u64,
    },
    Ended {
        id: u64,
        reason: String,
    },
    Error {
        id: Option<u64>,
        error: Refusal,
    },
    Pong {
        nonce: u64,
    },
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FleetSnapshot {
    pub deployments: Vec<DeploymentSummary>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WindowSnapshot {
    pub total_rows: u64,
    pub follow: bool,
    pub from: u64,
    pub rows: Vec<Row>,
}

/// What a search is about to look into.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SearchSnapshot {
    pub query: String,
    pub of_blocks: u64,
    /// Where the histogram begins, and its stretches.
    pub histogram_from: i64,
    pub histogram_width_us: i64,
    pub histogram_buckets: u64,
}

/// By topic.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Snapshot {
    Fleet(FleetSnapshot),
    Deployment(Box<DeploymentDetail>),
    Window(WindowSnapshot),
    Search(SearchSnapshot),
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FleetDelta {
    pub changed: Vec<DeploymentSummary>,
    pub removed: Vec<DeploymentId>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeploymentDelta {
    #[schema(required)]
    pub summary: Option<Box<DeploymentSummary>>,
    pub events: Vec<EventEntry>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WindowDelta {
    pub total_rows: u64,
    /// New or changed rows inside the window.
    pub rows: Vec<Row>,
    /// Where the window begins now.
    pub from: u64,
}

/// What a search found since the last delta.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct SearchDelta {
    /// They follow those before, the newest first.
    pub hits: Vec<SearchHit>,
    /// All that matched so far.
    pub matched: u64,
    /// Stretches of the histogram that changed: which, how many rows match in it, and how many of them are errors.
    pub buckets: Vec<(usize, u64, u64)>,
    pub progress: SearchProgress,
}

/// By topic.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Delta {
    Fleet(FleetDelta),
    Deployment(DeploymentDelta),
    Window(WindowDelta),
    Search(SearchDelta),
}
