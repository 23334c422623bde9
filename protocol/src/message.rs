//! Control messages of `/ws/deployment/{deployment_id}`: JSON text frames with a `type`.
//!
//! Unknown fields are ignored. An unknown type is [`MessageError::UnknownType`], which the collector
//! answers with `error` and which does not close the link.

use crate::chain::Chain;
use crate::error::{ErrorCode, Refusal};
use crate::ids::{ConsoleId, DeploymentId, OrderId, ServerEpoch, StreamId};
use crate::json::JsonBatch;
use crate::limits::Limits;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The first message, by the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol version that the agent wants to speak.
    pub protocol: u32,
    /// What it can do, of [`crate::ABILITY_COLUMNS`] and so on.
    #[serde(default)]
    pub abilities: Vec<String>,
    pub deployment_id: DeploymentId,
    pub stream_id: StreamId,
    /// Raised each time the spool is opened; the later one wins.
    pub incarnation: u64,
    pub console_id: ConsoleId,
    pub console_name: String,
    #[serde(default)]
    pub template: Option<String>,
    #[serde(default)]
    pub agent_version: String,
    /// The lowest and highest sequence number in the spool; both 0 while it is empty.
    pub lowest_seq: u64,
    pub highest_seq: u64,
}

/// The answer to `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub protocol: u32,
    /// The agent's abilities that the collector shares.
    pub abilities: Vec<String>,
    /// Everything up to here is stored; send from the next one.
    pub acked_seq: u64,
    /// The chain's head after `acked_seq`.
    pub chain: Chain,
    pub server_epoch: ServerEpoch,
    pub limits: Limits,
}

/// Everything up to `acked_seq` has reached the collector's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub acked_seq: u64,
    pub chain: Chain,
}

/// Progress and presence: disposable, never spooled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transient {
    /// Share of the current phase that is done, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// What is being done, for people ("slot b: verified 4,118 of 4,660 chunks").
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// The highest sequence number in the spool, so that a viewer sees how far behind it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_seq: Option<u64>,
}

/// What the collector wants done. Answered by an `order_result` record with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub order_id: OrderId,
    pub order: OrderKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OrderKind {
    /// Ends the command: INT, after `grace_ms` TERM, after as long again KILL.
    Cancel { grace_ms: u64 },
    /// A kind that this version does not know; answered with `accepted: false`.
    #[serde(other)]
    Unknown,
}

/// Asks for presence and the time. The answer carries four timestamps in all: `sent_us` by the
/// asker's clock, `received_us` and `answered_us` by the answerer's, and the arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Wall time, microseconds since the Unix epoch.
    pub sent_us: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    pub sent_us: i64,
    pub received_us: i64,
    pub answered_us: i64,
}

/// A refusal, and where to go on from when that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMessage {
    pub code: ErrorCode,
    pub message: String,
    pub retryable: bool,
    /// With `sequence_gap`: everything up to here is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked_seq: Option<u64>,
}

impl From<Refusal> for ErrorMessage {
    fn from(Refusal { code, message, retryable }: Refusal) -> Self {
        Self { code, message, retryable, acked_seq: None }
    }
}

/// What an agent says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentMessage {
    Hello(Hello),
    /// The JSON encoding; columns come as binary frames.
    Records(JsonBatch),
    Transient(Transient),
    Ping(Ping),
    Pong(Pong),
}

/// What a collector says to an agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CollectorMessage {
    Welcome(Welcome),
    Ack(Ack),
    Order(Order),
    Ping(Ping),
    Pong(Pong),
    Error(ErrorMessage),
}

/// Why a text frame is no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("the message type `{0}` is not known here")]
    UnknownType(String),
    #[error("not a message: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Self {
        let code = match error {
            MessageError::UnknownType(_) => ErrorCode::UNKNOWN_MESSAGE,
            MessageError::Malformed(_) => ErrorCode::MALFORMED_MESSAGE,
        };
        Self::new(code, error.to_string())
    }
}

#[derive(Deserialize)]
struct TypeOnly<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
}

/// The message's type; the rest is parsed once that is known. (Event JSON inside `records` is kept
/// byte for byte, which serde cannot do from within a tagged enum.)
fn type_of(text: &str) -> Result<std::borrow::Cow<'_, str>, MessageError> {
    Ok(serde_json::from_str::<TypeOnly<'_>>(text)?.kind)
}

fn body<T: DeserializeOwned>(text: &str) -> Result<T, MessageError> {
    Ok(serde_json::from_str(text)?)
}

impl AgentMessage {
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        match type_of(text)?.as_ref() {
            "hello" => body(text).map(Self::Hello),
            "records" => body(text).map(Self::Records),
            "transient" => body(text).map(Self::Transient),
            "ping" => body(text).map(Self::Ping),
            "pong" => body(text).map(Self::Pong),
            unknown => Err(MessageError::UnknownType(unknown.to_owned())),
        }
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a message holds only what JSON can express")
    }
}

impl CollectorMessage {
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        match type_of(text)?.as_ref() {
            "welcome" => body(text).map(Self::Welcome),
            "ack" => body(text).map(Self::Ack),
            "order" => body(text).map(Self::Order),
            "ping" => body(text).map(Self::Ping),
            "pong" => body(text).map(Self::Pong),
            "error" => body(text).map(Self::Error),
            unknown => Err(MessageError::UnknownType(unknown.to_owned())),
        }
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a message holds only what JSON can express")
    }
}
