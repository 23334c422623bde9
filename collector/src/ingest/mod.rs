//! The console's socket: sequence, dedupe, persist, acknowledge, publish.
//!
//! One task a console. What must hold:
//! * A record is queued for writing exactly once: a batch continues behind the last queued record, what
//!   came before is compared and acknowledged again, a hole is refused with where to resume.
//! * `ack` leaves only for what the writer has called durable; one ack for everything that a commit
//!   group made durable.
//! * A secret that the agent left is masked before anything is stored; what is acknowledged is what was received.
//! * Everything that a console can make us hold is bounded: the message, its body after decompression,
//!   what waits for the writer (of one console no more than its share), what waits for the console to read.
//!
//! Failure modes: a console that breaks a rule is told which one, counted and, unless the link can go on,
//! disconnected. Nobody else notices.

mod duplicate;
mod greet;
mod masking;
mod session;
mod share;
mod wire;

pub(crate) use duplicate::behind;
pub(crate) use masking::Masking;
pub use share::Shares;

use crate::auth::Pass;
use crate::config::Config;
use crate::deployment::Deployments;
use crate::metrics::Metrics;
use axum::extract::ws::WebSocket;
use deckport_protocol::{Actor, DeploymentId, ServerEpoch, Tenant};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What all consoles' sockets share.
#[derive(Clone, Debug)]
pub struct Ingest {
    pub config: Arc<Config>,
    pub deployments: Arc<Deployments>,
    pub metrics: Arc<Metrics>,
    pub server_epoch: ServerEpoch,
    pub stop: CancellationToken,
    /// The turn of a large frame.
    pub large: Arc<Semaphore>,
    pub shares: Shares,
}

impl Ingest {
    /// Serves one console's socket until it closes, or until what let it in no longer counts.
    pub async fn serve(
        self,
        socket: WebSocket,
        actor: Actor,
        tenant: Tenant,
        pass: Pass,
        deployment_id: DeploymentId,
    ) {
        self.metrics.agents.add(1);
        let metrics = Arc::clone(&self.metrics);
        session::serve(self, socket, actor, tenant, pass, deployment_id).await;
        metrics.agents.add(-1);
    }
}
