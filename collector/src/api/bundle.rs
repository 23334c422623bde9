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

use super::App;
use super::extract::{File, Named, bad};
use super::routes::{ErrorBody, entry};
use super::written::Note;
use crate::auth::Answer;
use crate::deployment::Entry;
use crate::ingest::behind;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use deckport_protocol::message::Hello;
use deckport_protocol::{
    Actor, ConsoleId, DeploymentId, ErrorCode, Frame, PROTOCOL_VERSION, Refusal, StreamId,
};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

const MAGIC: &[u8] = b"deckport-bundle 1\n";
/// A bundle, packed; and what it holds, unpacked. More is a case for copying the store.
pub(super) const BUNDLE_BYTES: usize = 256 * 1024 * 1024;
const UNPACKED_BYTES: u64 = 4 * 1024 * 1024 * 1024;
const READ_BYTES: usize = 1024 * 1024;
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
    let mut next = 1;
    while next <= last_seq {
        let frames = app.deployments.log().frames(entry.head.stream, next, READ_BYTES).await?;
        let Some(last) = frames.last() else { break };
        next = last.last_seq + 1;
        for frame in &frames {
            packer.write_all(&(frame.payload.len() as u32).to_le_bytes()).map_err(failed)?;
            packer.write_all(&frame.payload).map_err(failed)?;
        }
        if packer.get_ref().len() > BUNDLE_BYTES {
            return Err(bad("the run is too large for one file; copy the store instead"));
        }
    }
    let file = packer.finish().map_err(failed)?;
    let name = format!("attachment; filename=\"deployment-{}.deckport\"", entry.id);
    let headers =
        [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, file).into_response())
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
    File(body): File,
) -> Result<(StatusCode, Json<Imported>), Answer> {
    let (head, frames) =
        tokio::task::spawn_blocking(move || read(&body)).await.map_err(failed)??;
    let tenant = actor.tenant();
    note.about("deployment", head.deployment_id);
    note.with("console", head.console_id.to_string());
    // Before any of it is stored; how it ended follows.
    let begun = note.also(&app.audit, "run_import_begun").record().await;
    begun.map_err(|error| crate::deployment::refusal_of(&error))?;
    let log = app.deployments.log();
    let incarnation = head.incarnation;
    let now_us = app.deployments.now_us();
    if let Some(known) = log.head(tenant, head.deployment_id).await? {
        if known.stream_id != head.stream_id {
            return Err(bad("another run with the same id is here already"));
        }
        if app.deployments.get(tenant, head.deployment_id).await?.is_none() {
            return Err(bad(
                "this run was here and was removed, as stored logs are; it is not taken in again",
            ));
        }
    }
    let claimed =
        log.claim(tenant, head.deployment_id, head.stream_id, incarnation, now_us).await?;
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
    let entry = app.deployments.open_stream(tenant, claimed, &hello).await?;
    if entry.lock().link.is_some() {
        return Err(bad(
            "its console is delivering this run right now; nothing is taken from a file",
        ));
    }
    let before = entry.durable().seq;
    let superseded = Refusal::new(ErrorCode::SUPERSEDED, "the run was taken in from a file");
    let claim = entry.claim(incarnation, now_us, superseded);
    let taken = || bad("the run goes on here; it is not taken in from a file");
    let (link, _orders) = claim.ok_or_else(taken)?;
    let done = submit(&app, &entry, &link, frames).await;
    entry.release(link.session, app.deployments.now_us());
    let last = done?;
    let records = last.saturating_sub(before);
    Ok((StatusCode::CREATED, Json(Imported { deployment_id: head.deployment_id, records })))
}

/// Hands the frames on as an agent's would be, and waits until they are durable.
async fn submit(
    app: &App,
    entry: &Arc<Entry>,
    link: &crate::deployment::Link,
    frames: Vec<Bytes>,
) -> Result<u64, Answer> {
    let log = app.deployments.log();
    let mut last = entry.durable().seq;
    for bytes in frames {
        let mut bytes = bytes;
        let decode = |bytes: &Bytes| {
            Frame::decode(bytes, log.limits()).map_err(|error| bad(error.to_string()))
        };
        let mut frame = decode(&bytes)?;
        if frame.last_seq() <= last {
            continue;
        }
        if frame.first_seq() <= last {
            // Its beginning is here.
            let gap = || bad(format!("the file has a hole in front of record {}", last + 1));
            bytes = behind(&frame, last).ok_or_else(gap)?;
            frame = decode(&bytes)?;
        }
        if frame.first_seq() != last + 1 {
            return Err(bad(format!(
                "the file has a hole in front of record {}",
                frame.first_seq()
            )));
        }
        last = frame.last_seq();
        let place = log.reserve(bytes.len()).await.map_err(|error| bad(error.to_string()))?;
        let now_us = app.deployments.now_us();
        entry
            .submit(link.session, log, place, frame, bytes, now_us)
            .map_err(|error| bad(error.to_string()))?;
    }
    let mut durable = entry.follow();
    let stored = durable.wait_for(|durable| durable.seq >= last || link.cut.is_cancelled());
    let stored = tokio::time::timeout(STORED_WITHIN, stored).await;
    match stored {
        Ok(Ok(durable)) if durable.seq >= last => Ok(last),
        _ => Err(Answer(Refusal::new(ErrorCode::UNAVAILABLE, "the run could not be stored"))),
    }
}

/// Takes a file apart; all of it is read and its checksum held against it before anything is stored.
fn read(file: &[u8]) -> Result<(Head, Vec<Bytes>), Answer> {
    let broken = |what: &str| bad(format!("this is no whole bundle: {what}"));
    let packed = file.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin like one"))?;
    let unpacker = zstd::stream::Decoder::new(packed).map_err(failed)?;
    let mut unpacked = Vec::new();
    let read = unpacker.take(UNPACKED_BYTES).read_to_end(&mut unpacked);
    read.map_err(|_| broken("it is cut off or damaged"))?;
    let line = memchr::memchr(b'\n', &unpacked).ok_or_else(|| broken("its head is missing"))?;
    let head: Head = serde_json::from_slice(&unpacked[..line])
        .map_err(|_| broken("its head is not readable"))?;
    let unpacked = Bytes::from(unpacked);
    let mut frames = Vec::new();
    let mut at = line + 1;
    while at < unpacked.len() {
        let length = unpacked.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        let length = u32::from_le_bytes(length.ok_or_else(|| broken("it is cut off"))?) as usize;
        let end = (at + 4).checked_add(length).filter(|&end| end <= unpacked.len());
        let end = end.ok_or_else(|| broken("it is cut off"))?;
        frames.push(unpacked.slice(at + 4..end));
        at = end;
    }
    Ok((head, frames))
}
