//! How long a deployment will still take, from what runs of the same template took.
//!
//! Per phase the quantiles of past successful runs; the rest of a run is the rest of its phase and the
//! phases that usually follow. There is no estimate before one run of the template succeeded.

use super::track::Known;
use super::view::{Eta, PhaseState};
use crate::store::{ReadError, Row, Store, Table, beyond};
use deckport_protocol::{DeploymentId, Tenant};
use std::collections::HashMap;

/// Runs that an estimate is made from.
const RUNS: i64 = 20;

/// What the phases of a template usually take, in their usual order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Estimates {
    pub(super) samples: u32,
    phases: Vec<Usual>,
}

#[derive(Clone, Debug, PartialEq)]
struct Usual {
    name: String,
    position: i64,
    /// Ascending.
    durations_us: Vec<i64>,
}

impl Usual {
    fn quantile(&self, q: f64) -> i64 {
        let last = self.durations_us.len().saturating_sub(1);
        self.durations_us.get((last as f64 * q).round() as usize).copied().unwrap_or_default()
    }
}

static HISTORY: Table = Table {
    insert: "insert into phase_history (deployment_id, organisation_id, venue_id, template, \
             position, name, duration_us, finished_at)",
    columns: 8,
    conflict: "on conflict (deployment_id, position) do nothing",
    last_wins: false,
};

/// What a successful run adds to the history.
pub(super) fn history(
    id: DeploymentId,
    tenant: Tenant,
    known: &Known,
    finished_at: i64,
) -> Vec<Row> {
    let template = known.machine.descriptor.template.as_str();
    let took = known.phases.iter().filter_map(|phase| {
        let duration = (phase.finished_at? - phase.started_at).max(0);
        Some(Row {
            table: &HISTORY,
            values: vec![
                id.to_string().into(),
                tenant.organisation_id.to_string().into(),
                tenant.venue_id.to_string().into(),
                template.into(),
                i64::from(phase.index).into(),
                phase.name.as_str().into(),
                duration.into(),
                finished_at.into(),
            ],
        })
    });
    took.collect()
}

impl Estimates {
    pub(super) async fn load(
        store: &Store,
        tenant: Tenant,
        template: &str,
    ) -> Result<Option<Self>, ReadError> {
        // What is usual is learned from all venues of the organisation.
        let usual = store.fetch(
            "select deployment_id, name, position, duration_us from phase_history \
                 where template = $1 and organisation_id = $2 and deployment_id in \
                 (select deployment_id from phase_history where template = $1 \
                 group by deployment_id order by max(finished_at) desc limit $3)",
            [template.into(), tenant.organisation_id.to_string().into(), RUNS.into()],
        );
        let rows = beyond(usual).await?;
        let mut runs = std::collections::HashSet::new();
        let mut phases: HashMap<String, Usual> = HashMap::new();
        for row in &rows {
            let (run, name) = (row.text(0)?, row.text(1)?.as_ref().to_owned());
            runs.insert(run);
            let position = row.int(2)?;
            let usual = phases.entry(name.clone()).or_insert_with(|| Usual {
                name,
                position,
                durations_us: Vec::new(),
            });
            usual.durations_us.push(row.int(3)?);
        }
        Ok((!runs.is_empty()).then(|| Self::from_runs(runs.len() as u32, phases.into_values())))
    }

    fn from_runs(samples: u32, phases: impl Iterator<Item = Usual>) -> Self {
        let mut phases: Vec<Usual> = phases.collect();
        for phase in &mut phases {
            phase.durations_us.sort_unstable();
        }
        phases.sort_by(|a, b| (a.position, &a.name).cmp(&(b.position, &b.name)));
        Self { samples, phases }
    }

    /// The median of a phase.
    pub(super) fn usual_us(&self, phase: &str) -> Option<i64> {
        self.phases.iter().find(|usual| usual.name == phase).map(|usual| usual.quantile(0.5))
    }

    /// What is left at `now_us` (by the console's clock), and how far it is, 0 to 1.
    pub(super) fn left(&self, known: &Known, now_us: i64) -> (Eta, f64) {
        let (mut low, mut high, mut done, mut total) = (0, 0, 0, 0);
        for usual in &self.phases {
            let median = usual.quantile(0.5);
            total += median;
            let seen = known.phases.iter().rfind(|phase| phase.name == usual.name);
            match seen {
                Some(phase) if phase.state == PhaseState::Running => {
                    let elapsed = (now_us - phase.started_at).max(0);
                    low += (usual.quantile(0.2) - elapsed).max(0);
                    high += (usual.quantile(0.8) - elapsed).max(0);
                    done += elapsed.min(median);
                }
                Some(_) => done += median,
                None => {
                    low += usual.quantile(0.2);
                    high += usual.quantile(0.8);
                }
            }
        }
        let share = if total == 0 { 0.0 } else { done as f64 / total as f64 };
        (Eta { low_us: low, high_us: high.max(low), samples: self.samples }, share.min(0.99))
    }
}
