//! Failures that are recognised again: a signature for each run that failed, kept and counted.
//!
//! Runs that failed since the last look are looked at when somebody asks, and before the log of any run is given back, in the order in
//! which they failed. What the templates learn is stored with what they said, in one transaction, so that after a restart they say the same.

use super::runs::{self, Chosen};
use super::templates::{Place, Templates, VERSION};
use crate::deployment::Deployments;
use crate::deployment::view::DeploymentSummary;
use crate::log::LogError;
use crate::store::{Row, Store, Table, Values, Write, beyond};
use deckport_protocol::{DeploymentId, OrganisationId, Scope};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Runs that are listed of a signature.
const RUNS: usize = 50;
/// Failed runs that a later good one is looked for.
const FIXED_LOOKED_AT: usize = 10;
/// Failed runs that are looked at in one go.
const LOOKED_AT: i64 = 200;

static LESSON: Table = Table {
    insert: "insert into lesson (position, version, line)",
    columns: 3,
    conflict: "on conflict (position) do nothing",
    last_wins: false,
};

static SIGNATURE: Table = Table {
    insert: "insert into signature (id, organisation_id, version, title)",
    columns: 4,
    conflict: "on conflict (organisation_id, id) do update set title = excluded.title",
    last_wins: true,
};

static RUN: Table = Table {
    insert: "insert into signature_run (deployment_id, organisation_id, signature_id, at, row)",
    columns: 5,
    conflict: "on conflict (deployment_id) do nothing",
    last_wins: false,
};

/// A run that failed so.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SignatureRun {
    pub deployment_id: DeploymentId,
    pub console_name: String,
    pub at: i64,
    /// The failing line.
    #[schema(required)]
    pub row: Option<u64>,
}

/// A later run of the same console and template that succeeded.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FixedBy {
    pub deployment_id: DeploymentId,
    /// The failed run that it came after.
    pub failed: DeploymentId,
    pub console_name: String,
    pub at: i64,
    /// The first line that it printed otherwise; empty where that was not looked for, or there is none.
    pub difference: String,
}

/// A failure that is recognised again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Signature {
    pub id: String,
    /// The failing line, with `<*>` where it varies.
    pub title: String,
    /// Of the rules by which lines are recognised.
    pub version: u32,
    pub count: u64,
    /// Their names.
    pub consoles: Vec<String>,
    pub templates: Vec<String>,
    pub first_seen_at: i64,
    pub last_seen_at: i64,
    /// Never seen before the last run that had it.
    pub new: bool,
    /// The newest first, at most 50.
    pub runs: Vec<SignatureRun>,
    #[schema(required)]
    pub fixed_by: Option<FixedBy>,
}

/// See the module.
#[derive(Debug)]
pub struct Signatures {
    store: Arc<Store>,
    deployments: Arc<Deployments>,
    /// Read from the table when first needed.
    templates: tokio::sync::Mutex<Option<Templates>>,
}

const FAILED: &str = "select deployment.id from deployment \
     left join signature_run on signature_run.deployment_id = deployment.id \
     where deployment.organisation_id = $1 and deployment.state = 'failed' \
     and deployment.retired_at is null and signature_run.deployment_id is null \
     order by deployment.finished_at, deployment.id limit $2";

const ALL: &str = "select signature.id, signature.title, signature.version, \
     signature_run.deployment_id, signature_run.at, signature_run.row, deployment.name, deployment.template \
     from signature join signature_run on signature_run.signature_id = signature.id \
     and signature_run.organisation_id = signature.organisation_id \
     join deployment on deployment.id = signature_run.deployment_id \
     where signature.organisation_id = $1 and ($2 is null or signature.id = $2) \
     and ($3 is null or deployment.venue_id = $3) \
     order by signature_run.at desc, signature_run.deployment_id";

const FIXED: &str = "select deployment.id, deployment.name, deployment.finished_at from deployment \
     join deployment as failed on failed.console_id = deployment.console_id \
     and failed.template = deployment.template and deployment.started_at > failed.started_at \
     where failed.id = $1 and deployment.organisation_id = $2 and deployment.state = 'succeeded' \
     and deployment.retired_at is null order by deployment.started_at limit 1";

impl Signatures {
    pub fn new(store: Arc<Store>, deployments: Arc<Deployments>) -> Self {
        Self { store, deployments, templates: tokio::sync::Mutex::default() }
    }

    /// All signatures, or one; the latest first.
    pub async fn list(&self, scope: Scope, id: Option<&str>) -> Result<Vec<Signature>, LogError> {
        self.catch_up(scope.organisation_id).await?;
        let organisation = scope.organisation_id.to_string();
        let venue = scope.venue_id.map(|venue| venue.to_string());
        let rows = self.store.fetch(ALL, [organisation.into(), id.into(), venue.into()]).await?;
        let mut order: Vec<String> = Vec::new();
        let mut found: BTreeMap<String, Signature> = BTreeMap::new();
        for row in &rows {
            let id = row.text(0)?.as_ref().to_owned();
            let at = row.int(4)?;
            let signature = match found.entry(id.clone()) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    order.push(id.clone());
                    place.insert(of_row(id, row)?)
                }
            };
            signature.count += 1;
            signature.first_seen_at = at;
            let (console, template) = (row.text(6)?, row.text(7)?);
            for (known, name) in
                [(&mut signature.consoles, &console), (&mut signature.templates, &template)]
            {
                if !known.iter().any(|known| **known == **name) {
                    known.push(name.as_ref().to_owned());
                }
            }
            if signature.runs.len() < RUNS {
                signature.runs.push(SignatureRun {
                    deployment_id: row.parsed(3)?,
                    console_name: console.as_ref().to_owned(),
                    at,
                    row: row.maybe_int(5)?.map(i64::cast_unsigned),
                });
            }
        }
        let mut all = Vec::with_capacity(order.len());
        for id in order {
            if let Some(mut signature) = found.remove(&id) {
                signature.new = signature.count == 1;
                signature.fixed_by = self.fixed_by(scope, &signature).await?;
                all.push(signature);
            }
        }
        Ok(all)
    }

    /// One signature, with what a later good run did differently.
    pub async fn detail(&self, scope: Scope, id: &str) -> Result<Option<Signature>, LogError> {
        let Some(mut signature) = self.list(scope, Some(id)).await?.pop() else { return Ok(None) };
        if let Some(fixed) = &mut signature.fixed_by {
            let good = self.deployments.get(scope, fixed.deployment_id).await?;
            let bad = self.deployments.get(scope, fixed.failed).await?;
            if let (Some(good), Some(bad)) = (good, bad) {
                let compared =
                    runs::compared(&self.deployments, &good, &bad, Chosen::Chosen).await?;
                let first = compared.and_then(|compared| compared.comparison.first_difference);
                fixed.difference = first.map(|first| first.text).unwrap_or_default();
            }
        }
        Ok(Some(signature))
    }

    async fn fixed_by(
        &self,
        scope: Scope,
        signature: &Signature,
    ) -> Result<Option<FixedBy>, LogError> {
        // The console that failed last may still wait for what helped another.
        for run in signature.runs.iter().take(FIXED_LOOKED_AT) {
            let values =
                [run.deployment_id.to_string().into(), scope.organisation_id.to_string().into()];
            if let Some(row) = self.store.fetch_one(FIXED, values).await? {
                return Ok(Some(FixedBy {
                    deployment_id: row.parsed(0)?,
                    failed: run.deployment_id,
                    console_name: row.text(1)?.as_ref().to_owned(),
                    at: row.maybe_int(2)?.unwrap_or(0),
                    difference: String::new(),
                }));
            }
        }
        Ok(None)
    }

    /// Looks at runs that failed since the last look.
    pub async fn catch_up(&self, organisation: OrganisationId) -> Result<(), LogError> {
        // For all of its venues, whoever asks, and with what was learned from everybody's lines.
        beyond(self.look_at_failed(organisation)).await
    }

    async fn look_at_failed(&self, organisation: OrganisationId) -> Result<(), LogError> {
        let mut templates = self.templates.lock().await;
        if templates.is_none() {
            let sql = "select line from lesson where version = $1 order by position";
            let rows = self.store.fetch(sql, [i64::from(VERSION).into()]).await?;
            let lines: Vec<_> = rows.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?;
            *templates = Some(Templates::replay(lines.iter().map(|line| &**line)));
        }
        let Some(templates) = templates.as_mut() else { return Ok(()) };
        let scope = Scope::all(organisation);
        loop {
            let organisation = organisation.to_string();
            let rows =
                self.store.fetch(FAILED, [organisation.clone().into(), LOOKED_AT.into()]).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                let id: DeploymentId = row.parsed(0)?;
                let (line, at, row) = match self.failing(scope, id).await {
                    Err(error @ LogError::Damaged { .. }) => {
                        tracing::error!(deployment.id = %id, %error, "a failed run cannot be read");
                        (("the log cannot be read".to_owned(), None, None), 0, None)
                    }
                    read => read?,
                };
                let place = Place { phase: line.1.as_deref(), step: line.2.as_deref() };
                let learnt = templates.lessons().len();
                let signature = templates.signature(&line.0, place);
                let mut rows: Vec<Row> = Vec::new();
                for (position, lesson) in templates.lessons().iter().enumerate().skip(learnt) {
                    rows.push(Row {
                        table: &LESSON,
                        values: vec![
                            (position as u64).into(),
                            i64::from(VERSION).into(),
                            lesson.as_str().into(),
                        ],
                    });
                }
                rows.push(Row {
                    table: &SIGNATURE,
                    values: vec![
                        signature.id.as_str().into(),
                        organisation.as_str().into(),
                        i64::from(signature.version).into(),
                        signature.title.into(),
                    ],
                });
                rows.push(Row {
                    table: &RUN,
                    values: vec![
                        id.to_string().into(),
                        organisation.as_str().into(),
                        signature.id.into(),
                        at.into(),
                        row.into(),
                    ],
                });
                self.store.writer().write(Write { rows, ..Write::default() }).await?;
            }
        }
    }

    /// The failing line of a run with its phase and step, when it failed, and the line's row.
    async fn failing(
        &self,
        scope: Scope,
        id: DeploymentId,
    ) -> Result<((String, Option<String>, Option<String>), i64, Option<u64>), LogError> {
        let nothing = (("nothing was printed".to_owned(), None, None), 0, None);
        let Some(entry) = self.deployments.get(scope, id).await? else { return Ok(nothing) };
        let Some(summary) = entry.summary(self.deployments.now_us()) else { return Ok(nothing) };
        let at = summary.finished_at.unwrap_or(summary.updated_at);
        let failure = summary.failure.as_ref();
        let message = failure.map_or_else(String::new, |failure| failure.message.clone());
        let Some(row) = failure.and_then(|failure| failure.row) else {
            return Ok(((message, None, None), at, None));
        };
        let page = self.deployments.log().page(entry.head.stream, row, 1, 64 * 1024).await?;
        let Some(shown) = page.rows.into_iter().next() else {
            return Ok(((message, None, None), at, Some(row)));
        };
        let phase = phase_name(&summary, shown.phase);
        Ok(((shown.text, phase, shown.step), at, Some(row)))
    }
}

fn phase_name(summary: &DeploymentSummary, index: Option<u32>) -> Option<String> {
    let phase = summary.phases.iter().find(|phase| Some(phase.index) == index)?;
    Some(phase.name.clone())
}

fn of_row(id: String, row: &Values) -> Result<Signature, LogError> {
    let at = row.int(4)?;
    Ok(Signature {
        id,
        title: row.text(1)?.as_ref().to_owned(),
        version: row.int(2)? as u32,
        count: 0,
        consoles: Vec::new(),
        templates: Vec::new(),
        first_seen_at: at,
        last_seen_at: at,
        new: false,
        runs: Vec::new(),
        fixed_by: None,
    })
}
