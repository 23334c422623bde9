//! One unit of a deployment's stream.

use crate::event::{EventText, GapSpan};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How much a row matters. Unknown levels read as [`Level::Info`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", from = "Cow<'_, str>")]
pub enum Level {
    Debug,
    #[default]
    Info,
    Notice,
    Warning,
    Error,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl From<Cow<'_, str>> for Level {
    fn from(name: Cow<'_, str>) -> Self {
        match name.as_ref() {
            "debug" => Self::Debug,
            "notice" => Self::Notice,
            "warning" => Self::Warning,
            "error" => Self::Error,
            _ => Self::Info,
        }
    }
}

/// Whose words a piece of output is. A PTY has no separate standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The agent's own words.
    Agent,
    /// The command's terminal. Unknown sources read as this.
    #[default]
    #[serde(other)]
    Terminal,
}

/// What the sender knows of a piece of output beyond its bytes. It takes precedence over what
/// [`crate::rows`] would find by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

impl Annotation {
    pub const fn is_empty(&self) -> bool {
        self.level.is_none() && self.phase.is_none() && self.step.is_none()
    }
}

/// A piece of output: bytes in the order in which they were read. Not a line of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub bytes: Bytes,
    /// The line that these bytes belong to is not over: the piece closed by size or by quiet.
    pub continues: bool,
    pub source: Source,
    pub annotation: Option<Annotation>,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Output(Output),
    Event(EventText),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// From 1, without holes.
    pub seq: u64,
    /// Microseconds of the console's boot-time clock (runs through suspend, restarts with the machine).
    pub boot_us: u64,
    /// Wall time by the console's clock, microseconds since the Unix epoch.
    pub at_us: i64,
    pub body: Body,
}

impl Record {
    /// The last sequence number that the record occupies: its own, except for a `gap`.
    pub fn last_seq(&self) -> u64 {
        self.borrow().last_seq()
    }

    pub fn borrow(&self) -> RecordRef<'_> {
        RecordRef {
            seq: self.seq,
            span: match &self.body {
                Body::Output(_) => 1,
                Body::Event(text) => GapSpan::of(text.as_str()).map_or(1, GapSpan::len),
            },
            boot_us: self.boot_us,
            at_us: self.at_us,
            body: match &self.body {
                Body::Output(output) => BodyRef::Output {
                    bytes: &output.bytes,
                    continues: output.continues,
                    source: output.source,
                    annotation: output.annotation.as_ref(),
                },
                Body::Event(text) => BodyRef::Event(text.as_str()),
            },
        }
    }
}

/// What a borrowed record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRef<'a> {
    Output {
        bytes: &'a [u8],
        continues: bool,
        source: Source,
        annotation: Option<&'a Annotation>,
    },
    /// The event's JSON, exactly as it came.
    Event(&'a str),
}

/// A record that borrows from the frame it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub seq: u64,
    /// How many sequence numbers it occupies: 1, except for a `gap`.
    pub span: u64,
    pub boot_us: u64,
    pub at_us: i64,
    pub body: BodyRef<'a>,
}

impl RecordRef<'_> {
    pub const fn last_seq(&self) -> u64 {
        self.seq + self.span - 1
    }

    /// The output's bytes or the event's JSON.
    pub const fn data(&self) -> &[u8] {
        match self.body {
            BodyRef::Output { bytes, .. } => bytes,
            BodyRef::Event(text) => text.as_bytes(),
        }
    }

    pub fn to_owned(&self) -> Record {
        Record {
            seq: self.seq,
            boot_us: self.boot_us,
            at_us: self.at_us,
            body: match self.body {
                BodyRef::Output { bytes, continues, source, annotation } => Body::Output(Output {
                    bytes: Bytes::copy_from_slice(bytes),
                    continues,
                    source,
                    annotation: annotation.cloned(),
                }),
                BodyRef::Event(text) => Body::Event(EventText::from_wire(text)),
            },
        }
    }
}
