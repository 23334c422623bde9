//! The bounds of a link, stated in `welcome`. Whoever breaks one is told which.

use serde::{Deserialize, Serialize};

/// A piece of output closes at a line feed, or at this many bytes.
pub const PIECE_BYTES: usize = 16 * 1024;

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
    /// Bytes a second over a few seconds; the collector reads no faster.
    pub bytes_per_second: u64,
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
            bytes_per_second: 64 * 1024 * 1024,
            transients_per_second: 10,
        }
    }
}
