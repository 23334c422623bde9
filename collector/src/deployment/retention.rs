//! Giving space back: which runs' logs are no longer kept, told before anything is done.
//!
//! Only runs that have ended are given back. What stays of one is its number and its chain, so that a console that sends it
//! again is told that all of it is here, and stores nothing twice; and what was made of its log before it went.

use super::Deployments;
use super::view::DeploymentSummary;
use crate::audit::Pen;
use crate::log::{LogError, StreamKey};
use crate::store::{Statement, Values, Write};
use deckport_protocol::{DeploymentId, OrganisationId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// Runs that a preview names.
const NAMED: usize = 20;

/// What is kept. What is not stated is kept for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetentionPolicy {
    /// Days after a run's end.
    #[schema(required)]
    #[serde(default)]
    pub max_age_days: Option<u32>,
    /// Bytes of all logs as they are stored; the oldest go first, those that failed last.
    #[schema(required)]
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// Days after the end of a run that failed; where not stated, as any other.
    #[schema(required)]
    #[serde(default)]
    pub failed_age_days: Option<u32>,
}

/// What is kept now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Retention {
    pub policy: RetentionPolicy,
    pub stored_bytes: u64,
    pub deployments: u64,
    #[schema(required)]
    pub oldest_at: Option<i64>,
}

/// What a policy would give back.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RetentionPreview {
    pub deployments: u64,
    pub bytes: u64,
    pub rows: u64,
    /// The first of them, the oldest first.
    pub oldest: Vec<DeploymentSummary>,
}

/// A run that may be given back.
struct Ended {
    id: DeploymentId,
    stream: StreamKey,
    failed: bool,
    finished_at: i64,
    document: std::sync::Arc<str>,
}

const ENDED: &str = "select id, stream, state, finished_at, document from deployment \
     where organisation_id = $1 and finished_at is not null and retired_at is null order by finished_at, id";

impl Deployments {
    /// The policy that holds.
    pub async fn retention_policy(
        &self,
        organisation: OrganisationId,
    ) -> Result<RetentionPolicy, LogError> {
        let key = format!("retention:{organisation}");
        let sql = "select value from meta where key = $1";
        let row = self.store.fetch_one(sql, [key.into()]).await?;
        let stored = row.map(|row| row.text(0)).transpose()?;
        Ok(stored.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// What is kept now.
    pub async fn retention(&self, organisation: OrganisationId) -> Result<Retention, LogError> {
        let sql = "select count(*), min(started_at) from deployment \
             where organisation_id = $1 and retired_at is null";
        let row = self.store.fetch_one(sql, [organisation.to_string().into()]).await?;
        let (deployments, oldest_at) = match row {
            Some(row) => (row.count(0)?, row.maybe_int(1)?),
            None => (0, None),
        };
        Ok(Retention {
            policy: self.retention_policy(organisation).await?,
            stored_bytes: self.stored_bytes(organisation).await?,
            deployments,
            oldest_at,
        })
    }

    /// Sets the policy. It is applied within the hour, and at once by [`Self::give_back`].
    pub async fn set_retention(
        &self,
        organisation: OrganisationId,
        policy: RetentionPolicy,
        pen: Pen<'_>,
    ) -> Result<(), LogError> {
        let statement = Statement {
            sql: "insert into meta (key, value) values ($1, $2) \
                  on conflict (key) do update set value = excluded.value",
            values: vec![
                format!("retention:{organisation}").into(),
                serde_json::to_string(&policy).unwrap_or_default().into(),
            ],
        };
        let pen = pen.with("policy", serde_json::to_value(policy).unwrap_or_default());
        Ok(pen.write(Write { statements: vec![statement], ..Write::default() }).await?)
    }

    /// What a policy would give back now.
    pub async fn retention_preview(
        &self,
        organisation: OrganisationId,
        policy: RetentionPolicy,
    ) -> Result<RetentionPreview, LogError> {
        let due = self.due(organisation, policy).await?;
        let mut preview =
            RetentionPreview { deployments: 0, bytes: 0, rows: 0, oldest: Vec::new() };
        for run in due {
            let (bytes, rows) = self.log.stored_of(run.stream);
            preview.deployments += 1;
            preview.bytes += bytes;
            preview.rows += rows;
            if preview.oldest.len() < NAMED
                && let Ok(summary) = serde_json::from_str(&run.document)
            {
                preview.oldest.push(summary);
            }
        }
        Ok(preview)
    }

    /// Gives back what the policy no longer keeps: the streams of those runs. `last_look` is awaited before any of them goes, for
    /// whoever wants something of their logs.
    pub async fn give_back(
        &self,
        organisation: OrganisationId,
        last_look: impl Future<Output = Result<(), LogError>>,
    ) -> Result<Vec<StreamKey>, LogError> {
        let policy = self.retention_policy(organisation).await?;
        self.finish_giving_back(organisation).await?;
        let due = self.due(organisation, policy).await?;
        if !due.is_empty() {
            last_look.await?;
        }
        let mut gone = Vec::with_capacity(due.len());
        let mut given = Ok(());
        for run in due {
            let retired = Statement {
                sql: "update deployment set retired_at = $2 where id = $1",
                values: vec![run.id.to_string().into(), self.now_us().into()],
            };
            given = self.log.retire(run.stream, vec![retired]).await;
            if given.is_ok() {
                self.forget(run.id);
                gone.push(run.stream);
                given = self.log.finish_retiring(run.stream).await;
            }
            if given.is_err() {
                break;
            }
        }
        match given {
            Ok(()) => self.log.give_back_filters().await?,
            Err(error) if gone.is_empty() => return Err(error),
            Err(error) => tracing::warn!(%error, "not all that is due could be given back"),
        }
        if !gone.is_empty() {
            self.freed.notify_one();
            tracing::info!(
                deployments = gone.len(),
                "logs were given back as the retention policy says"
            );
        }
        Ok(gone)
    }

    /// What a former process began.
    async fn finish_giving_back(&self, organisation: OrganisationId) -> Result<(), LogError> {
        let sql =
            "select stream from deployment where organisation_id = $1 and retired_at is not null";
        let rows = self.store.fetch(sql, [organisation.to_string().into()]).await?;
        for row in &rows {
            let stream = StreamKey(row.int(0)?);
            if self.log.has_blocks(stream) {
                self.log.finish_retiring(stream).await?;
            }
        }
        Ok(())
    }

    /// Gives space in the database's file back to the file system whenever logs were given back, until `stop`; what a former process
    /// left is given back first.
    pub async fn keep_giving_space_back(&self, stop: CancellationToken) {
        loop {
            // Dropping a branch loses nothing: what is not given back yet is given back later.
            let given = tokio::select! {
                () = stop.cancelled() => return,
                given = self.log.give_back_space() => given,
            };
            match given {
                Ok(0) => {}
                Ok(bytes) => tracing::info!(bytes, "space was given back to the file system"),
                Err(error) => tracing::warn!(%error, "space could not be given back"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.freed.notified() => {}
            }
        }
    }

    /// What the logs of an organisation take.
    async fn stored_bytes(&self, organisation: OrganisationId) -> Result<u64, LogError> {
        let sql = "select stream from stream where organisation_id = $1";
        let rows = self.store.fetch(sql, [organisation.to_string().into()]).await?;
        let of = |row: &Values| Ok(self.log.stored_of(StreamKey(row.int(0)?)).0);
        rows.iter().map(of).sum()
    }

    /// Runs that a policy does not keep, the oldest first.
    async fn due(
        &self,
        organisation: OrganisationId,
        policy: RetentionPolicy,
    ) -> Result<Vec<Ended>, LogError> {
        let rows = self.store.fetch(ENDED, [organisation.to_string().into()]).await?;
        let now_us = self.now_us();
        let mut kept: Vec<Ended> = Vec::new();
        let mut due = Vec::new();
        for row in &rows {
            let run = Ended {
                id: row.parsed(0)?,
                stream: StreamKey(row.int(1)?),
                failed: &*row.text(2)? != "succeeded",
                finished_at: row.int(3)?,
                document: row.text(4)?,
            };
            let days = match (run.failed, policy.failed_age_days) {
                (true, Some(days)) => Some(days),
                (true, None) | (false, _) => policy.max_age_days,
            };
            let old = days.is_some_and(|days| run.finished_at < now_us - i64::from(days) * DAY_US);
            if old { due.push(run) } else { kept.push(run) }
        }
        if let Some(most) = policy.max_bytes {
            let gone: u64 = due.iter().map(|run| self.log.stored_of(run.stream).0).sum();
            let mut stored = self.stored_bytes(organisation).await?.saturating_sub(gone);
            // Failures are what people come back for: they go last.
            kept.sort_by_key(|run| (run.failed, run.finished_at));
            for run in kept {
                if stored <= most {
                    break;
                }
                stored = stored.saturating_sub(self.log.stored_of(run.stream).0);
                due.push(run);
            }
        }
        Ok(due)
    }
}
