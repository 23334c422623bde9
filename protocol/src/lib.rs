//! What goes over the wire between a console's agent, the collector and viewers.
//!
//! A deployment's stream is a sequence of [`Record`]s, numbered from 1 without holes. A record is a
//! piece of terminal output (bytes, exactly as read from the PTY) or an [`Event`]. Records travel in
//! batches: as a binary [`Frame`] of columns (our agent), or as JSON (any client).
//!
//! * [`record`], [`event`]: the units of a stream
//! * [`columns`], [`json`]: the two encodings of a batch
//! * [`chain`]: the running hash by which both ends prove that they hold the same records
//! * [`message`]: the control messages of `/ws/deployment/{deployment_id}`
//! * [`rows`]: the one pure function from records to the rows that a viewer shows
//! * [`address`], [`pin`], `tls`: where a collector is, and how a client knows that it is the right one
//! * [`secrets`]: which bytes of a text are secrets
//! * [`limits`], [`error`], [`ids`], [`actor`]: bounds, stable error codes, identities
//!
//! Nothing here does I/O. `docs/protocol.md` describes the same for those who write a client in
//! another language.

pub mod actor;
pub mod address;
pub mod chain;
pub mod columns;
pub mod console;
pub mod error;
pub mod event;
pub mod ids;
pub mod joining;
pub mod json;
pub mod limits;
pub mod message;
pub mod pin;
pub mod record;
pub mod rows;
pub mod secrets;
#[cfg(feature = "tls")]
pub mod tls;
pub mod varint;

pub use actor::{Actor, Role, Scope, Tenant};
pub use address::{Address, AddressError};
pub use chain::Chain;
pub use columns::{Frame, FrameBuilder};
pub use error::{ErrorCode, Refusal};
pub use event::{Event, EventText, Exit, GapAuthor, Outcome, StepOutcome};
pub use ids::{
    BootId, ConsoleId, DeploymentId, OperatorId, OrderId, OrganisationId, ServerEpoch, StreamId,
    VenueId,
};
pub use limits::{ACK_WITHIN, Limits, is_prompt};
pub use pin::{Pin, PinError};
pub use record::{Annotation, Body, BodyRef, Level, Output, Record, RecordRef, Source};

/// The version of this protocol that the crate speaks. `hello` names it, `welcome` accepts it.
pub const PROTOCOL_VERSION: u32 = 1;

/// The ability to send batches as binary columns; without it a client sends JSON.
pub const ABILITY_COLUMNS: &str = "columns";
/// The ability to compress the body of a columns frame with zstd.
pub const ABILITY_ZSTD: &str = "zstd";
