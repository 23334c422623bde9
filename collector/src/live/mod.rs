//! The viewers' socket: subscribe with a cursor, replay from the store, then follow, with no seam.
//!
//! Each subscription is a task that *pulls*: it wakes when something durable changed, takes what is new
//! behind its cursor from memory or from the store, and waits until the socket has room. So nothing is
//! buffered for a slow viewer beyond a few messages; who lags behind what memory holds reads the store.
//! Ingest never waits for a viewer.

mod follow;
mod message;
mod outlet;
mod searching;
mod socket;
mod tail;

pub use message::{
    Delta, DeploymentDelta, FleetDelta, FleetSnapshot, LiveMessage, SearchDelta, SearchSnapshot,
    Snapshot, Subscribe, ViewerMessage, WindowDelta, WindowSnapshot,
};

use crate::auth::Pass;
use crate::config::Config;
use crate::deployment::{Deployments, Entry};
use crate::metrics::Metrics;
use crate::search::Search;
use axum::extract::ws::WebSocket;
use deckport_protocol::{Actor, DeploymentId, ServerEpoch};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tail::Tail;
use tokio_util::sync::CancellationToken;

/// What all viewers' sockets share.
#[derive(Clone, Debug)]
pub struct Live {
    pub config: Arc<Config>,
    pub deployments: Arc<Deployments>,
    pub search: Arc<Search>,
    pub metrics: Arc<Metrics>,
    pub server_epoch: ServerEpoch,
    pub stop: CancellationToken,
    tails: Arc<Mutex<HashMap<DeploymentId, Weak<Tail>>>>,
}

impl Live {
    pub fn new(
        config: Arc<Config>,
        deployments: Arc<Deployments>,
        search: Arc<Search>,
        metrics: Arc<Metrics>,
        server_epoch: ServerEpoch,
        stop: CancellationToken,
    ) -> Self {
        Self { config, deployments, search, metrics, server_epoch, stop, tails: Arc::default() }
    }

    /// Serves one viewer's socket until it closes.
    pub async fn serve(self, socket: WebSocket, actor: Actor, pass: Pass) {
        self.metrics.viewers.add(1);
        let metrics = Arc::clone(&self.metrics);
        socket::serve(self, socket, actor, pass).await;
        metrics.viewers.add(-1);
    }

    /// The shared tail of a deployment.
    fn tail(&self, entry: &Arc<Entry>) -> Arc<Tail> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(&entry.id).and_then(Weak::upgrade) {
            return tail;
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let tail = Arc::new(Tail::new(Arc::clone(entry)));
        tails.insert(entry.id, Arc::downgrade(&tail));
        tail
    }
}
