//! Rows: what a viewer shows, derived from a stream by one pure function.
//!
//! A row is a line after carriage-return collapse, or an event that is worth a line. Rows are numbered
//! from 0 in stream order. The same function counts rows when a frame comes in, renders them when a
//! viewer asks, and checks both in tests.
//!
//! What must hold:
//!
//! * The rows of a stream depend on its records only, not on how they were batched: a deriver that
//!   is restored from [`RowDeriver::snapshot`] goes on exactly as the one that wrote it.
//! * A row begins with its first byte and ends at the line feed, at an event that has a row of its
//!   own, or with the stream. It belongs to the record that it begins in.
//! * Memory is bounded: of a line that does not end, at most [`CLASSIFIED_BYTES`] are kept for
//!   finding its level, and [`RENDERED_BYTES`] for showing it.
//!
//! Structure: explicit events first, then markup in the output ([`markup`]), then known tools' own
//! words ([`tools`]). Levels: the sender's annotation, then markup, then convention ([`levels`]).

mod derive;
mod failing;
mod levels;
mod line;
mod link;
mod markup;
mod render;
mod tools;
mod visible;

pub use derive::{PhaseFact, RowDeriver, RowFact, RowKind, RowSink};
pub use failing::{FailingLine, FailingLines};
pub use levels::level_of;
pub use line::{CLASSIFIED_BYTES, RENDERED_BYTES};
pub use link::{ADDRESS_BYTES, Link};
pub use render::{Row, RowRenderer, Span, TextOf, is_plain};
pub use visible::{visible, visible_char, visible_json};
