//! Every run in short, in memory: what queries ask of runs, without asking the database each time.
//!
//! It is brought up to date before each search, by what the table says has changed. A run is written within a second of what it
//! does, so a search is at most so far behind.

use crate::log::StreamKey;
use crate::query::RunOutcome;
use crate::store::{ReadError, Store, beyond};
use deckport_protocol::{ConsoleId, DeploymentId, Scope, Tenant};
use std::collections::HashMap;
use std::sync::Arc;

/// A run, as far as searches ask.
#[derive(Clone, Debug)]
pub struct Run {
    pub stream: StreamKey,
    pub id: DeploymentId,
    pub tenant: Tenant,
    pub console_id: ConsoleId,
    pub console: Arc<str>,
    pub template: Arc<str>,
    pub state: Arc<str>,
}

impl Run {
    pub(super) fn outcome(&self) -> RunOutcome {
        let known = RunOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == &*self.state);
        known.unwrap_or(RunOutcome::Running)
    }
}

#[derive(Debug, Default)]
struct Known {
    runs: HashMap<StreamKey, Arc<Run>>,
    /// Everything that changed before is known.
    until: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Directory(tokio::sync::Mutex<Known>);

/// Rows are committed a little later than they say, and not quite in that order.
const LATE_US: i64 = 10_000_000;

const CHANGED: &str = "select stream, id, organisation_id, venue_id, console_id, name, template, state, updated_at \
     from deployment where (updated_at >= $1 or stream > $2) and retired_at is null";

impl Directory {
    /// All runs in a scope, as of now.
    pub(super) async fn runs(
        &self,
        store: &Store,
        scope: Scope,
    ) -> Result<Vec<Arc<Run>>, ReadError> {
        let mut known = self.0.lock().await;
        // New runs also by their number: a clock may have been set back.
        let newest = known.runs.keys().max().map_or(0, |stream| stream.0);
        let changed = [known.until.saturating_sub(LATE_US).into(), newest.into()];
        // For whoever asks next as well.
        for row in beyond(store.fetch(CHANGED, changed)).await? {
            let run = Run {
                stream: StreamKey(row.int(0)?),
                id: row.parsed(1)?,
                tenant: Tenant { organisation_id: row.parsed(2)?, venue_id: row.parsed(3)? },
                console_id: row.parsed(4)?,
                console: row.text(5)?,
                template: row.text(6)?,
                state: row.text(7)?,
            };
            known.until = known.until.max(row.int(8)?);
            known.runs.insert(run.stream, Arc::new(run));
        }
        let within = |run: &&Arc<Run>| scope.covers(run.tenant);
        Ok(known.runs.values().filter(within).cloned().collect())
    }

    /// The run is no more.
    pub(super) async fn forget(&self, stream: StreamKey) {
        self.0.lock().await.runs.remove(&stream);
    }
}
