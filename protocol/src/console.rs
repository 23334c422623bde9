//! The messages of `/ws/console`: an enrolled console's own socket, beside those of its deployments. JSON text frames with a
//! `type`, as in [`crate::message`]; unknown fields and types are ignored.

use crate::ids::{BootId, OrderId, ServerEpoch};
use crate::message::{Ping, Pong};
use crate::pin::Pin;
use serde::{Deserialize, Serialize};

/// How a console does, as it says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Health {
    /// Seconds since it was booted.
    pub uptime_s: u64,
    /// Processes that ran or waited to, on average over a minute.
    pub load: f64,
    pub memory_bytes: u64,
    pub memory_available_bytes: u64,
    /// Of the file system that its state is on.
    pub disk_bytes: u64,
    pub disk_free_bytes: u64,
    /// Runs that it keeps because the collector does not have all of them.
    pub kept_runs: u64,
    /// How far its clock is ahead of the collector's, microseconds; none before it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_us: Option<i64>,
}

/// What a console says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ConsoleMessage {
    /// The first message.
    Hello {
        protocol: u32,
        name: String,
        agent_version: String,
        boot_id: BootId,
    },
    /// Every [`CollectorWord::Welcome::heartbeat_s`] seconds.
    Heartbeat {
        health: Health,
    },
    /// What became of an order.
    OrderResult {
        order_id: OrderId,
        accepted: bool,
        message: String,
    },
    Ping(Ping),
    Pong(Pong),
    #[serde(other)]
    Unknown,
}

/// A signed point of the collector's audit trail. Consoles keep those that they are handed, so that a trail that was rewritten or
/// cut on the collector's machine is found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Of the entry that it stands behind, from 1.
    pub position: u64,
    /// That entry's hash, in hexadecimal.
    pub hash: String,
    /// When it was made, microseconds since the Unix epoch.
    pub at: i64,
    /// ECDSA over P-256 with SHA-256, in DER, in base64. What is signed stands in `docs/protocol.md`.
    pub signature: String,
    /// The pin of the key that it is signed with.
    pub key: Pin,
}

/// What the collector says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CollectorWord {
    Welcome {
        server_epoch: ServerEpoch,
        heartbeat_s: u64,
        /// How far its audit trail is; none from a collector that keeps none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<Checkpoint>,
    },
    /// Its audit trail has gone on.
    Checkpoint(Checkpoint),
    Order {
        order_id: OrderId,
        order: ConsoleOrder,
    },
    Ping(Ping),
    Pong(Pong),
    Error(crate::error::Refusal),
    #[serde(other)]
    Unknown,
}

/// What a console can be told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ConsoleOrder {
    /// Run the deployment of its template now.
    Deploy,
    /// Renew its certificate now.
    Renew,
    /// A kind that this version does not know; answered with `accepted: false`.
    #[serde(other)]
    Unknown,
}
