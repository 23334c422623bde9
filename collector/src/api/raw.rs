//! Output bytes as they were read from the terminal: all of a run's, or those of some of its rows.

use super::App;
use super::extract::Named;
use super::routes::{ErrorBody, entry};
use crate::auth::Answer;
use crate::deployment::Entry;
use crate::log::{Beginning, Log, LogError};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use deckport_protocol::{Actor, BodyRef, DeploymentId};
use std::ops::Range;

const READ_BYTES: usize = 256 * 1024;

/// All output bytes, as they were read from the terminal.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/raw", params(("id" = DeploymentId, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = ErrorBody)))]
pub(super) async fn raw(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
) -> Result<Response, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    bytes_of(&app, &entry, 0..u64::MAX).await
}

/// A stretch of a stream's output.
#[derive(Clone, Copy)]
struct Stretch {
    from: Beginning,
    /// The byte behind it; `None`: up to the end.
    to: Option<Beginning>,
    /// The last record that is looked at.
    until: u64,
}

/// The bytes of these rows, from the first one's first to the one in front of the row that is no longer among them, as a file.
pub(super) async fn bytes_of(
    app: &App,
    entry: &Entry,
    rows: Range<u64>,
) -> Result<Response, Answer> {
    let (log, stream) = (app.deployments.log(), entry.head.stream);
    let until = entry.durable().seq;
    let from = match rows.start {
        _ if rows.is_empty() => None,
        0 => Some(Beginning { seq: 1, offset: 0 }),
        row => log.beginning(stream, row, until).await?,
    };
    let body = match from {
        None => Body::empty(),
        Some(from) => {
            let to = log.beginning(stream, rows.end, until).await?;
            streamed(log.clone(), entry, Stretch { from, to, until })
        }
    };
    let name = format!("attachment; filename=\"deployment-{}.log\"", entry.id);
    let headers =
        [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, body).into_response())
}

fn streamed(log: Log, entry: &Entry, stretch: Stretch) -> Body {
    let stream = entry.head.stream;
    Body::from_stream(futures_util::stream::try_unfold(stretch.from.seq, move |next| {
        let log = log.clone();
        async move {
            if !stretch.reaches(next) {
                return Ok(None);
            }
            let frames = log.frames(stream, next, READ_BYTES).await?;
            let mut bytes = Vec::new();
            let mut after = next;
            for stored in &frames {
                let frame = log.decode(stream, stored)?;
                for record in frame.records().filter(|record| record.seq >= next) {
                    if let BodyRef::Output { bytes: output, .. } = record.body {
                        bytes.extend_from_slice(stretch.of(record.seq, output));
                    }
                }
                after = stored.last_seq + 1;
            }
            Ok::<_, LogError>((after > next).then_some((bytes::Bytes::from(bytes), after)))
        }
    }))
}

impl Stretch {
    /// Records from this one on may hold some of it.
    fn reaches(&self, seq: u64) -> bool {
        seq <= self.to.map_or(self.until, |to| to.seq)
    }

    /// What of a record's output is in it.
    fn of<'a>(&self, seq: u64, output: &'a [u8]) -> &'a [u8] {
        if seq < self.from.seq || !self.reaches(seq) {
            return &[];
        }
        let begin = if seq == self.from.seq { self.from.offset } else { 0 };
        let end = self.to.filter(|to| to.seq == seq).map_or(output.len(), |to| to.offset);
        output.get(begin..end).unwrap_or_default()
    }
}
