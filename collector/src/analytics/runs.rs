//! Two runs side by side: reads both logs and hands them to [`compare`](super::compare).

use super::compare::{Comparer, Comparison, Line, PhaseTook, Run};
use crate::deployment::view::DeploymentSummary;
use crate::deployment::{Deployments, Entry};
use crate::log::LogError;
use crate::store::Store;
use deckport_protocol::rows::RowKind;
use deckport_protocol::{DeploymentId, Tenant};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Rows that are read at once.
const PAGE_ROWS: u64 = 4000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A run that is compared.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunRef {
    pub deployment_id: DeploymentId,
    pub console_name: String,
    pub template: String,
    #[schema(required)]
    pub hardware: Option<String>,
    pub started_at: i64,
    #[schema(required)]
    pub finished_at: Option<i64>,
    pub state: String,
    pub rows: u64,
}

/// How the other run was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    LastGoodSameHardware,
    LastGood,
    Chosen,
}

/// Two runs side by side.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Compared {
    pub this: RunRef,
    pub other: RunRef,
    pub how: Chosen,
    #[serde(flatten)]
    pub comparison: Comparison,
}

impl From<&DeploymentSummary> for RunRef {
    fn from(summary: &DeploymentSummary) -> Self {
        Self {
            deployment_id: summary.id,
            console_name: summary.name.clone(),
            template: summary.template.clone(),
            hardware: summary.hardware.clone(),
            started_at: summary.started_at,
            finished_at: summary.finished_at,
            state: summary.state.as_str().to_owned(),
            rows: summary.rows,
        }
    }
}

/// The last run of the same template that succeeded before this one began: on the same hardware, if there is one.
pub async fn last_good(
    store: &Store,
    tenant: Tenant,
    this: &DeploymentSummary,
) -> Result<Option<(DeploymentId, Chosen)>, LogError> {
    let row = store
        .fetch_one(
            "select deployment.id, console.hardware from deployment \
             join console on console.id = deployment.console_id \
             where deployment.organisation_id = $1 and deployment.template = $2 \
             and deployment.state = 'succeeded' and deployment.started_at < $3 \
             and deployment.retired_at is null and deployment.id <> $4 \
             order by case when console.hardware = $5 then 0 else 1 end, \
             deployment.started_at desc limit 1",
            [
                tenant.organisation_id.to_string().into(),
                this.template.as_str().into(),
                this.started_at.into(),
                this.id.to_string().into(),
                this.hardware.as_deref().into(),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let same = row.maybe_text(1)?.as_deref() == this.hardware.as_deref() && this.hardware.is_some();
    let how = if same { Chosen::LastGoodSameHardware } else { Chosen::LastGood };
    Ok(Some((row.parsed(0)?, how)))
}

/// Where two runs part. `None`: nothing of one of them has arrived.
pub async fn compared(
    deployments: &Deployments,
    this: &Arc<Entry>,
    other: &Arc<Entry>,
    how: Chosen,
) -> Result<Option<Compared>, LogError> {
    let now_us = deployments.now_us();
    let (Some(mine), Some(theirs)) = (this.summary(now_us), other.summary(now_us)) else {
        return Ok(None);
    };
    let mut comparer = Comparer::new();
    for (which, entry, summary) in [(Run::This, this, &mine), (Run::Other, other, &theirs)] {
        let mut from = 0;
        while from < summary.rows {
            let page =
                deployments.log().page(entry.head.stream, from, PAGE_ROWS, PAGE_BYTES).await?;
            let Some(last) = page.rows.last() else { break };
            from = last.row + 1;
            // The end of a group is no line that anybody reads.
            for row in page.rows.iter().filter(|row| row.kind != RowKind::Marker) {
                let phase = row
                    .phase
                    .and_then(|index| summary.phases.iter().find(|phase| phase.index == index));
                comparer.push(
                    which,
                    Line {
                        row: row.row,
                        phase: phase.map(|phase| phase.name.as_str()),
                        step: row.step.as_deref(),
                        level: row.level,
                        text: &row.text,
                        at_us: row.at,
                    },
                );
            }
        }
    }
    let took = |summary: &DeploymentSummary| -> Vec<PhaseTook> {
        let phases = summary.phases.iter().map(|phase| PhaseTook {
            name: phase.name.clone(),
            took_us: phase.finished_at.map(|finished| finished - phase.started_at),
            state: serde_json::to_value(phase.state)
                .ok()
                .and_then(|state| state.as_str().map(str::to_owned)),
        });
        phases.collect()
    };
    let (ours, others) = (took(&mine), took(&theirs));
    let finishing = tokio::task::spawn_blocking(move || comparer.finish(&ours, &others));
    let comparison =
        finishing.await.map_err(|_| LogError::Write(crate::store::WriteError::Stopping))?;
    Ok(Some(Compared { this: (&mine).into(), other: (&theirs).into(), how, comparison }))
}
