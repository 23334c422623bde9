//! What a search tells, as it goes over the wire.

use super::{Axis, Hit, Place, Progress};
use deckport_protocol::rows::Row;
use deckport_protocol::{ConsoleId, DeploymentId};
use serde::Serialize;
use std::str::FromStr;
use utoipa::ToSchema;

/// A row that was found, and the run that it is of.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SearchHit {
    pub deployment_id: DeploymentId,
    pub console_id: ConsoleId,
    pub console_name: String,
    pub template: String,
    /// The state of its deployment.
    pub state: String,
    pub row: Row,
    #[schema(required)]
    pub phase_name: Option<String>,
    /// What was found in the row's text: begin and end in UTF-16 code units.
    pub ranges: Vec<(u32, u32)>,
}

/// Matching rows over time.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Histogram {
    /// Where the first stretch begins, microseconds since the Unix epoch.
    pub from: i64,
    pub width_us: i64,
    pub matched: Vec<u64>,
    /// Rows of level error among them.
    pub errors: Vec<u64>,
}

/// How far a search is.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct SearchProgress {
    /// Blocks that are done with, looked into or ruled out.
    pub blocks: u64,
    pub of_blocks: u64,
    /// Blocks that were looked into.
    pub opened: u64,
    /// Blocks among them that could not be read: what they hold is not in the result. `store check` says more.
    pub unreadable: u64,
    /// Rows covered so far.
    pub rows: u64,
    pub done: bool,
    pub took_us: u64,
}

/// One page of what was found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SearchPage {
    pub query: String,
    /// The newest first.
    pub hits: Vec<SearchHit>,
    /// Where the next page begins.
    #[schema(required)]
    pub next: Option<String>,
    /// All that match; only where they were to be counted.
    #[schema(required)]
    pub matched: Option<u64>,
    #[schema(required)]
    pub histogram: Option<Histogram>,
    pub progress: SearchProgress,
}

impl From<Hit> for SearchHit {
    fn from(hit: Hit) -> Self {
        let ranges = hit.expr.expr().map(|expr| expr.ranges(&hit.row.text)).unwrap_or_default();
        Self {
            deployment_id: hit.run.id,
            console_id: hit.run.console_id,
            console_name: hit.run.console.as_ref().to_owned(),
            template: hit.run.template.as_ref().to_owned(),
            state: hit.run.state.as_ref().to_owned(),
            ranges: utf16(&hit.row.text, &ranges),
            row: hit.row,
            phase_name: hit.phase.map(|name| name.as_ref().to_owned()),
        }
    }
}

/// Ascending byte ranges of a text in UTF-16 code units.
fn utf16(text: &str, ranges: &[std::ops::Range<usize>]) -> Vec<(u32, u32)> {
    let (mut at, mut units) = (0, 0);
    let mut until = |byte: usize| {
        units += text[at..byte].encode_utf16().count() as u32;
        at = byte;
        units
    };
    ranges.iter().map(|range| (until(range.start), until(range.end))).collect()
}

impl SearchHit {
    /// Where the next page begins when this is the last hit of one.
    pub fn place(&self) -> Place {
        Place { at: self.row.at, deployment: self.deployment_id, row: self.row.row }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.at, self.deployment, self.row)
    }
}

/// What was given is no cursor of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`before` is the `next` of the page before")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or(NoPlace);
        Ok(Self {
            at: part()?.parse().map_err(|_| NoPlace)?,
            deployment: part()?.parse().map_err(|_| NoPlace)?,
            row: part()?.parse().map_err(|_| NoPlace)?,
        })
    }
}

impl Histogram {
    pub fn new(axis: &Axis) -> Self {
        Self {
            from: axis.from,
            width_us: axis.width_us,
            matched: vec![0; axis.buckets],
            errors: vec![0; axis.buckets],
        }
    }

    pub fn set(&mut self, (bucket, matched, errors): (usize, u64, u64)) {
        if let (Some(all), Some(wrong)) =
            (self.matched.get_mut(bucket), self.errors.get_mut(bucket))
        {
            (*all, *wrong) = (matched, errors);
        }
    }
}

impl SearchProgress {
    pub fn new(progress: &Progress, took: std::time::Duration, done: bool) -> Self {
        Self {
            blocks: progress.parts as u64,
            of_blocks: progress.of_parts as u64,
            unreadable: progress.unreadable as u64,
            opened: progress.opened as u64,
            rows: progress.rows,
            done,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }
}
