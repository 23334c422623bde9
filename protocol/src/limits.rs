//! The bounds of a link, stated in `welcome`. Whoever breaks one is told which.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A piece of output closes at a line feed, or at this many bytes.
pub const PIECE_BYTES: usize = 16 * 1024;

/// A batch of so many records, or bytes on the wire, is acknowledged as soon as it is durable, and so is the terminal record. The
/// acknowledgement of less may wait for [`ACK_WITHIN`], to answer several batches at once.
pub const PROMPT_RECORDS: usize = 32;
pub const PROMPT_BYTES: usize = 32 * 1024;
/// How long an acknowledgement is kept back at most, once what it tells is durable.
pub const ACK_WITHIN: Duration = Duration::from_millis(20);

/// Whether a batch is acknowledged as soon as it is durable.
pub const fn is_prompt(records: usize, bytes: usize) -> bool {
    records >= PROMPT_RECORDS || bytes >= PROMPT_BYTES
}

/// What one link may carry. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Limits {
    /// One WebSocket message, as it is on the wire.
    pub message_bytes: usize,
    /// The body of a columns frame after decompression.
    pub body_bytes: usize,
    /// Records in one batch.
    pub records: usize,
    /// One piece of output.
    pub piece_bytes: usize,
    /// One event, as JSON.
    pub event_bytes: usize,
    /// Bytes sent and not yet acknowledged.
    pub unacked_bytes: usize,
    /// Bytes a second over a few seconds, of a batch those after decompression; the collector reads no faster.
    pub bytes_per_second: u64,
    /// Messages a second, WebSocket pings among them, over a second; the collector reads no faster.
    pub messages_per_second: u32,
    /// `transient` messages a second; more are dropped.
    pub transients_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 2 * 1024 * 1024,
            body_bytes: 2 * 1024 * 1024,
            records: 1024,
            piece_bytes: PIECE_BYTES,
            event_bytes: 256 * 1024,
            unacked_bytes: 8 * 1024 * 1024,
            bytes_per_second: 16 * 1024 * 1024,
            messages_per_second: 500,
            transients_per_second: 10,
        }
    }
}
