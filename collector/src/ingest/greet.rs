//! From `hello` to `welcome`: who claims which stream, and where it goes on.

use super::Ingest;
use super::wire::{Gone, Wire};
use crate::auth::Pass;
use crate::deployment::{Delivery, Entry, Link, refusal_of};
use crate::log::{LogError, StreamHead};
use crate::store::WriteError;
use axum::extract::ws::Message;
use deckport_protocol::message::{AgentMessage, CollectorMessage, Hello, Welcome};
use deckport_protocol::{
    ABILITY_COLUMNS, ABILITY_ZSTD, Actor, ConsoleId, DeploymentId, ErrorCode, OrderId,
    PROTOCOL_VERSION, Refusal, Scope, Tenant,
};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Why the session ends.
pub(super) enum End {
    /// Nobody is there to be told.
    Gone,
    Refused(Refusal),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<LogError> for End {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Write(error) => Self::Refused(refusal_of(&error)),
            LogError::Foreign => {
                Self::Refused(Refusal::new(ErrorCode::STREAM_MISMATCH, error.to_string()))
            }
            error => {
                tracing::error!(error = %error, "a stream could not be read");
                Self::Refused(Refusal::new(ErrorCode::INTERNAL, error.to_string()))
            }
        }
    }
}

/// Who was welcomed.
pub(super) struct Greeted {
    pub(super) console_id: ConsoleId,
    pub(super) entry: Arc<Entry>,
    pub(super) link: Link,
    pub(super) orders: mpsc::Receiver<OrderId>,
    pub(super) abilities: Vec<String>,
}

/// `hello` to `welcome`.
pub(super) async fn greet(
    ingest: &Ingest,
    wire: &mut Wire,
    actor: &Actor,
    tenant: Tenant,
    pass: &Pass,
    deployment_id: DeploymentId,
) -> Result<Greeted, End> {
    let hello = async {
        loop {
            match wire.next().await {
                Ok(Message::Text(text)) => {
                    return AgentMessage::parse(&text).map_err(Refusal::from);
                }
                Ok(Message::Binary(_)) => return Err(out_of_turn()),
                Ok(Message::Close(_)) | Err(None) => return Err(too_late()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Err(Some(refusal)) => return Err(refusal),
            }
        }
    };
    let hello = tokio::time::timeout(ingest.config.bounds.hello_time, hello);
    let hello = tokio::select! {
        hello = hello => hello.unwrap_or_else(|_| Err(too_late()))?,
        refusal = pass.ended() => return Err(refusal.into()),
    };
    let hello = match hello {
        AgentMessage::Hello(hello) => hello,
        AgentMessage::Records(_)
        | AgentMessage::Transient(_)
        | AgentMessage::Ping(_)
        | AgentMessage::Pong(_) => return Err(out_of_turn().into()),
    };
    if hello.protocol != PROTOCOL_VERSION {
        let text = format!(
            "protocol version {} is not spoken here; this collector speaks {PROTOCOL_VERSION}",
            hello.protocol
        );
        return Err(Refusal::new(ErrorCode::UNSUPPORTED_VERSION, text).into());
    }
    if hello.deployment_id != deployment_id {
        let text = "the address names another deployment than the hello";
        return Err(Refusal::new(ErrorCode::STREAM_MISMATCH, text).into());
    }
    if let Actor::Console { console_id, .. } = actor
        && *console_id != hello.console_id
    {
        let text = "this credential belongs to another console";
        return Err(Refusal::new(ErrorCode::FORBIDDEN, text).into());
    }
    let head = claim_stream(ingest, actor, tenant, &hello).await?;
    let deployments = &ingest.deployments;
    let entry = deployments.open_stream(head, &hello).await?;
    let superseded = Refusal::new(
        ErrorCode::SUPERSEDED,
        "another agent with a later incarnation has taken over this run",
    );
    let now_us = deployments.now_us();
    let Some((link, orders)) =
        entry.claim(Delivery::Console, hello.incarnation, now_us, superseded.clone())
    else {
        ingest.metrics.superseded.add(1);
        return Err(superseded.into());
    };
    let Some(submitted) = entry.submitted() else {
        entry.release(link.session, now_us);
        return Err(refusal_of(&WriteError::Broken).into());
    };
    if hello.highest_seq > 0 {
        let mut inner = entry.lock();
        inner.highest_seq = hello.highest_seq.max(inner.seen_seq());
    }
    // What the former socket queued is answered first, so that nothing is asked for twice.
    let mut durable = entry.follow();
    let settled = tokio::time::timeout(
        ingest.config.bounds.agent_deadline,
        durable.wait_for(|durable| durable.seq >= submitted || link.cut.is_cancelled()),
    );
    let durable = match settled.await {
        Ok(Ok(durable)) => durable.clone(),
        _ => {
            entry.release(link.session, now_us);
            return Err(refusal_of(&WriteError::Broken).into());
        }
    };
    let abilities: Vec<String> = [ABILITY_COLUMNS, ABILITY_ZSTD]
        .into_iter()
        .filter(|ability| hello.abilities.iter().any(|theirs| theirs == ability))
        .map(str::to_owned)
        .collect();
    let welcome = Welcome {
        protocol: PROTOCOL_VERSION,
        abilities: abilities.clone(),
        acked_seq: durable.seq,
        chain: durable.chain,
        server_epoch: ingest.server_epoch,
        limits: ingest.config.limits,
    };
    if wire.send(&CollectorMessage::Welcome(welcome)).await.is_err() {
        entry.release(link.session, now_us);
        return Err(End::Gone);
    }
    Ok(Greeted { console_id: hello.console_id, entry, link, orders, abilities })
}

pub(super) fn out_of_turn() -> Refusal {
    Refusal::new(ErrorCode::OUT_OF_TURN, "the first message is `hello`, and there is one of it")
}

fn too_late() -> Refusal {
    Refusal::new(ErrorCode::OUT_OF_TURN, "no `hello` came in time")
}

/// Records the stream, or a later incarnation of it.
async fn claim_stream(
    ingest: &Ingest,
    actor: &Actor,
    tenant: Tenant,
    hello: &Hello,
) -> Result<StreamHead, End> {
    let deployments = &ingest.deployments;
    let log = deployments.log();
    let known = log.head(Scope::all(tenant.organisation_id), hello.deployment_id).await?;
    if let Some(known) = known {
        if known.stream_id != hello.stream_id {
            let text = "this run belongs to another stream; a copied spool cannot go on with it";
            return Err(Refusal::new(ErrorCode::STREAM_MISMATCH, text).into());
        }
        if let Some(why) = known.quarantined {
            let text = format!("nothing more is taken from this stream: {why}");
            return Err(Refusal::new(ErrorCode::QUARANTINED, text).into());
        }
        if hello.incarnation < known.incarnation {
            ingest.metrics.superseded.add(1);
            let text = "another agent with a later incarnation has taken over this run";
            return Err(Refusal::new(ErrorCode::SUPERSEDED, text).into());
        }
        if hello.incarnation == known.incarnation {
            return Ok(known);
        }
    } else if let Actor::Console { console_id, .. } = actor
        && !ingest.shares.may_begin(*console_id)
    {
        let text =
            "this console begins runs more often than is allowed; go on spooling and dial again";
        return Err(Refusal::new(ErrorCode::RATE_EXCEEDED, text).into());
    }
    let (id, stream, incarnation) = (hello.deployment_id, hello.stream_id, hello.incarnation);
    let head = log.claim(tenant, id, stream, incarnation, deployments.now_us()).await?;
    // Another hello may have been faster.
    if head.stream_id != stream {
        let text = "this run belongs to another stream; a copied spool cannot go on with it";
        return Err(Refusal::new(ErrorCode::STREAM_MISMATCH, text).into());
    }
    if head.incarnation != incarnation {
        ingest.metrics.superseded.add(1);
        let text = "another agent with a later incarnation has taken over this run";
        return Err(Refusal::new(ErrorCode::SUPERSEDED, text).into());
    }
    Ok(head)
}
