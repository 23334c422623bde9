//! A run as one file, to hand to somebody else, and back in.
//!
//! ```text
//! "deckport-bundle 1\n"
//! one zstd frame (with a checksum) of:
//!   a line of JSON: the run's identity and its summary when it was taken out
//!   then for each frame: its length as 4 bytes, little-endian, and the columns frame (see docs/protocol.md)
//! ```
//!
//! A run comes back as what it was: the same id, the same records, folded anew. What the agent masked stays masked: it was
//! never in the records.
//!
//! Neither way is a run held in memory. A file is read twice: once to see that it is whole and can be taken in, then to take it in. What
//! fails then (a full disk, a collector that stops) leaves the run's beginning, which the same file goes on from.

mod file;

use super::App;
use super::extract::{Named, bad};
use super::routes::{ErrorBody, entry};
use super::written::Note;
use crate::auth::Answer;
use crate::deployment::{
    Delivery, Deployments, Entry, Link, SubmitError, names_another, refusal_of,
};
use crate::ingest::{Masking, behind};
use crate::log::{Log, LogError, StreamKey};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use deckport_protocol::message::Hello;
use deckport_protocol::{
    Actor, Chain, ConsoleId, DeploymentId, ErrorCode, Frame, PROTOCOL_VERSION, Refusal, StreamId,
};
use file::{Arrived, FileError, Frames, arrive, verify};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

const MAGIC: [u8; 18] = *b"deckport-bundle 1\n";
const READ_BYTES: usize = 1024 * 1024;
/// Frames that are unpacked ahead of what is taken in.
const AHEAD: usize = 4;
const STORED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    deployment_id: DeploymentId,
    stream_id: StreamId,
    incarnation: u64,
    console_id: ConsoleId,
    console_name: String,
    template: String,
    agent_version: String,
    last_seq: u64,
    /// For people who look into the file.
    summary: serde_json::Value,
}

fn failed(error: impl std::fmt::Display) -> Answer {
    tracing::error!(%error, "a bundle could not be made or read");
    Answer(Refusal::new(ErrorCode::INTERNAL, error.to_string()))
}

/// Everything of a run in one file.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/bundle", params(("id" = DeploymentId, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = ErrorBody)))]
pub(super) async fn export(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
) -> Result<Response, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let detail = app.deployments.detail(&entry).await?;
    let missing = || Answer(Refusal::new(ErrorCode::NOT_FOUND, "nothing of that run is here yet"));
    let detail = detail.ok_or_else(missing)?;
    let last_seq = entry.durable().seq;
    let head = Head {
        deployment_id: entry.id,
        stream_id: entry.head.stream_id,
        incarnation: detail.incarnation,
        console_id: detail.summary.console_id,
        console_name: detail.summary.name.clone(),
        template: detail.summary.template.clone(),
        agent_version: detail.agent_version.clone(),
        last_seq,
        summary: serde_json::to_value(&detail.summary).map_err(failed)?,
    };
    let mut packer = zstd::stream::Encoder::new(MAGIC.to_vec(), 3).map_err(failed)?;
    packer.include_checksum(true).map_err(failed)?;
    serde_json::to_writer(&mut packer, &head).map_err(failed)?;
    packer.write_all(b"\n").map_err(failed)?;
    let log = app.deployments.log().clone();
    let packing = Packing { packer, log, stream: entry.head.stream, next: 1, last_seq };
    let pieces = futures_util::stream::try_unfold(Some(packing), |packing| async move {
        let Some(packing) = packing else { return Ok(None) };
        // Who asked sees a file that is cut off: half a run is not said to be all of it.
        packing.piece().await.map(Some).inspect_err(|error: &axum::BoxError| {
            tracing::error!(%error, "a bundle could not be made");
        })
    });
    let name = format!("attachment; filename=\"deployment-{}.deckport\"", entry.id);
    let headers =
        [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// A bundle that is being made.
struct Packing {
    packer: zstd::stream::Encoder<'static, Vec<u8>>,
    log: Log,
    stream: StreamKey,
    next: u64,
    last_seq: u64,
}

impl Packing {
    /// The next piece, and what comes behind it.
    async fn piece(mut self) -> Result<(Bytes, Option<Self>), axum::BoxError> {
        // Goal: bytes that are packed. Exits: there are some; the end.
        while self.next <= self.last_seq {
            let frames = self.log.frames(self.stream, self.next, READ_BYTES).await?;
            let Some(last) = frames.last() else {
                let (stream, seq) = (self.stream, self.next);
                let why = "it is not there any more".to_owned();
                return Err(LogError::Damaged { stream, seq, why }.into());
            };
            self.next = last.last_seq + 1;
            let packing = tokio::task::spawn_blocking(move || {
                for frame in &frames {
                    self.packer.write_all(&(frame.payload.len() as u32).to_le_bytes())?;
                    self.packer.write_all(&frame.payload)?;
                }
                std::io::Result::Ok(self)
            });
            self = packing.await??;
            let packed = std::mem::take(self.packer.get_mut());
            if !packed.is_empty() {
                return Ok((packed.into(), Some(self)));
            }
        }
        let packing = tokio::task::spawn_blocking(move || self.packer.finish());
        Ok((packing.await??.into(), None))
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Imported {
    deployment_id: DeploymentId,
    /// Records that were new here.
    records: u64,
}

/// Takes a run in that was taken out elsewhere. What is here already is left as it is.
#[utoipa::path(post, path = "/api/v1/import",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = Imported), (status = 400, body = ErrorBody)))]
pub(super) async fn import(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Result<(StatusCode, Json<Imported>), Answer> {
    let scope = actor.scope();
    let tenant = app.auth.venues.of(&actor)?;
    let log = app.deployments.log();
    let limits = *log.limits();
    // A file on the disk for each: few at a time, and the others are not read yet.
    let _one = app.imports.acquire().await.map_err(failed)?;
    let arrived = Arc::new(arrive(body, &app.config.data_dir).await?);
    let given_up = CancellationToken::new();
    let _until_here = given_up.clone().drop_guard();
    let (file, until) = (Arc::clone(&arrived), given_up.clone());
    let verifying = tokio::task::spawn_blocking(move || verify(&file, &limits, &until));
    let head = verifying.await.map_err(failed)??;
    note.about("deployment", head.deployment_id);
    note.with("console", head.console_id.to_string());
    // Before any of it is stored; how it ended follows.
    let begun = note.also(&app.audit, "run_import_begun").record().await;
    begun.map_err(|error| Answer(refusal_of(&error)))?;
    let incarnation = head.incarnation;
    let now_us = app.deployments.now_us();
    if let Some(known) = log.head(scope, head.deployment_id).await? {
        if known.stream_id != head.stream_id {
            return Err(bad("another run with the same id is here already"));
        }
        if app.deployments.get(scope, head.deployment_id).await?.is_none() {
            return Err(bad(
                "this run was here and was removed, as stored logs are; it is not taken in again",
            ));
        }
    }
    let claimed = log.claim(tenant, head.deployment_id, head.stream_id, incarnation, now_us).await;
    let foreign = |error| match error {
        LogError::Foreign => bad("another run with the same id is here already"),
        error => error.into(),
    };
    let claimed = claimed.map_err(foreign)?;
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        abilities: Vec::new(),
        deployment_id: head.deployment_id,
        stream_id: head.stream_id,
        incarnation,
        console_id: head.console_id,
        console_name: head.console_name,
        template: Some(head.template),
        agent_version: head.agent_version,
        lowest_seq: 1,
        highest_seq: head.last_seq,
    };
    let entry = app.deployments.open_stream(claimed, &hello).await?;
    if entry.lock().link.is_some() {
        return Err(bad(
            "its console is delivering this run right now; nothing is taken from a file",
        ));
    }
    let before = entry.durable().seq;
    let superseded = Refusal::new(ErrorCode::SUPERSEDED, "the run was taken in from a file");
    let claim = entry.claim(Delivery::File, incarnation, now_us, superseded);
    let taken = || bad("the run goes on here; it is not taken in from a file");
    let (link, _orders) = claim.ok_or_else(taken)?;
    let deployments = Arc::clone(&app.deployments);
    let taking = Taking { deployments, entry, link, console_id: head.console_id };
    let last = taking.submit(arrived).await?;
    let records = last.saturating_sub(before);
    Ok((StatusCode::CREATED, Json(Imported { deployment_id: head.deployment_id, records })))
}

impl From<FileError> for Answer {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Self(Refusal::new(ErrorCode::STORAGE_FULL, "there is no space for the file"))
            }
            FileError::Disk(error) => failed(error),
            FileError::Other
            | FileError::Damaged
            | FileError::Head
            | FileError::Hole(_)
            | FileError::Frame { .. }
            | FileError::AfterEnd(_)
            | FileError::Large
            | FileError::Arrive
            | FileError::GivenUp => bad(error.to_string()),
        }
    }
}

/// A run that is taken in; whatever becomes of the request, its claim ends with it.
struct Taking {
    deployments: Arc<Deployments>,
    entry: Arc<Entry>,
    link: Link,
    console_id: ConsoleId,
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.entry.release(self.link.session, self.deployments.now_us());
    }
}

impl Taking {
    /// Hands the frames on as an agent's would be, and waits until they are durable. The last record that is.
    async fn submit(&self, arrived: Arc<Arrived>) -> Result<u64, Answer> {
        let (entry, link, log) = (&self.entry, &self.link, self.deployments.log());
        let limits = *log.limits();
        let (ahead, mut frames) = mpsc::channel(AHEAD);
        let reading = tokio::task::spawn_blocking(move || {
            let (_, mut reader) = Frames::open(&arrived, limits.message_bytes)?;
            // It ends where nobody takes them any more.
            while let Some(bytes) = reader.next()?
                && ahead.blocking_send(bytes).is_ok()
            {}
            Ok::<_, FileError>(())
        });
        let known = entry.durable();
        let stored = entry.stored_chain();
        let (mut last, mut chain) = (known.seq, Chain::START);
        let mut masking = Masking::default();
        let allotment = log.allot();
        while let Some(bytes) = frames.recv().await {
            let mut bytes: Bytes = bytes;
            let decode = |bytes: &Bytes| {
                Frame::decode(bytes, log.limits()).map_err(|error| bad(error.to_string()))
            };
            let mut frame = decode(&bytes)?;
            if frame.first_seq() <= known.seq {
                // Its beginning is here: is it the same?
                let here = frame.records().take_while(|record| record.last_seq() <= known.seq);
                chain = here.fold(chain, |chain, record| chain.extend(&record));
                // From a collector where nothing was masked, or from where what is here was.
                if frame.last_seq() >= known.seq && ![known.chain, stored].contains(&chain) {
                    return Err(bad(
                        "what is here of this run is not what the file holds; nothing was taken from it",
                    ));
                }
            }
            if frame.last_seq() <= last {
                continue;
            }
            if frame.first_seq() <= last {
                let across = || bad(format!("record {last} of the file lies across what is here"));
                bytes = behind(&frame, last).ok_or_else(across)?;
                frame = decode(&bytes)?;
            }
            if names_another(&frame, self.console_id) {
                return Err(bad(
                    "the run in the file says that it is another console's than its head",
                ));
            }
            last = frame.last_seq();
            let place = log.reserve(bytes.len(), &allotment).await;
            let place = place.map_err(|error| Answer(refusal_of(&error)))?;
            let now_us = self.deployments.now_us();
            let arrived = masking.take(frame, bytes, &limits);
            let arrived = arrived.map_err(|error| bad(error.to_string()))?;
            entry.submit(link.session, log, place, arrived, now_us).map_err(
                |error| match error {
                    SubmitError::Fold(error) => bad(error.to_string()),
                    SubmitError::Cut => self.cut_off(),
                },
            )?;
        }
        reading.await.map_err(failed)??;
        let mut durable = entry.follow();
        let stored = durable.wait_for(|durable| durable.seq >= last || link.cut.is_cancelled());
        let stored = tokio::time::timeout(STORED_WITHIN, stored).await;
        match stored {
            Ok(Ok(durable)) if durable.seq >= last => Ok(last),
            _ => Err(self.cut_off()),
        }
    }

    /// Why not all of it was stored.
    fn cut_off(&self) -> Answer {
        let why = self.link.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unknown = || {
            let what = "the run could not be stored to its end; the same file goes on from there";
            Refusal::new(ErrorCode::UNAVAILABLE, what)
        };
        Answer(why.unwrap_or_else(unknown))
    }
}
