//! Two runs side by side: reads both logs and hands them to [`compare`](super::compare).
//!
//! Hundreds of thousands of lines are seconds of work for a processor: all of it, reading included, happens on threads for such work,
//! one a run, and ends soon after nobody waits for it any more.

use super::compare::{Comparison, Line, Lines, PhaseTook, compare};
use crate::deployment::view::DeploymentSummary;
use crate::deployment::{Deployments, Entry};
use crate::log::{Log, LogError, StreamKey};
use crate::store::{Store, WriteError};
use deckport_protocol::rows::RowKind;
use deckport_protocol::{DeploymentId, Scope};
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

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
    scope: Scope,
    this: &DeploymentSummary,
) -> Result<Option<(DeploymentId, Chosen)>, LogError> {
    let row = store
        .fetch_one(
            "select deployment.id, console.hardware from deployment \
             join console on console.id = deployment.console_id \
             where deployment.organisation_id = $1 and deployment.template = $2 \
             and deployment.state = 'succeeded' and deployment.started_at < $3 \
             and deployment.retired_at is null and deployment.id <> $4 \
             and ($6 is null or deployment.venue_id = $6) \
             order by case when console.hardware = $5 then 0 else 1 end, \
             deployment.started_at desc limit 1",
            [
                scope.organisation_id.to_string().into(),
                this.template.as_str().into(),
                this.started_at.into(),
                this.id.to_string().into(),
                this.hardware.as_deref().into(),
                scope.venue_id.map(|venue| venue.to_string()).into(),
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
    let given_up = CancellationToken::new();
    let _until_here = given_up.clone().drop_guard();
    let lines = |entry: &Entry, summary: &DeploymentSummary| {
        let (log, stream, summary) =
            (deployments.log().clone(), entry.head.stream, summary.clone());
        let (runtime, given_up) = (tokio::runtime::Handle::current(), given_up.clone());
        tokio::task::spawn_blocking(move || {
            runtime.block_on(read(&log, stream, &summary, &given_up))
        })
    };
    let (this_lines, other_lines) = tokio::join!(lines(this, &mine), lines(other, &theirs));
    let stopping = |_| LogError::Write(WriteError::Stopping);
    let (this_lines, other_lines) =
        (this_lines.map_err(stopping)??, other_lines.map_err(stopping)??);
    let (ours, others) = (took(&mine), took(&theirs));
    let comparing =
        tokio::task::spawn_blocking(move || compare((this_lines, &ours), (other_lines, &others)));
    let comparison = comparing.await.map_err(stopping)?;
    Ok(Some(Compared { this: (&mine).into(), other: (&theirs).into(), how, comparison }))
}

/// The lines of a run, as far as they are compared.
async fn read(
    log: &Log,
    stream: StreamKey,
    summary: &DeploymentSummary,
    given_up: &CancellationToken,
) -> Result<Lines, LogError> {
    let mut lines = Lines::new();
    log.texts(stream, 0..summary.rows, |row| {
        // The end of a group is no line that anybody reads.
        if row.kind != RowKind::Marker {
            let phase = row
                .phase
                .and_then(|index| summary.phases.iter().find(|phase| phase.index == index));
            lines.push(Line {
                row: row.row,
                phase: phase.map(|phase| phase.name.as_str()),
                step: row.step,
                level: row.level,
                text: row.text,
                at_us: row.at_us,
            });
        }
        // What comes behind is not compared; or nobody waits for it any more.
        if lines.is_full() || given_up.is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .await?;
    Ok(lines)
}

fn took(summary: &DeploymentSummary) -> Vec<PhaseTook> {
    let phases = summary.phases.iter().map(|phase| PhaseTook {
        name: phase.name.clone(),
        took_us: phase.finished_at.map(|finished| finished - phase.started_at),
        state: serde_json::to_value(phase.state)
            .ok()
            .and_then(|state| state.as_str().map(str::to_owned)),
    });
    phases.collect()
}
