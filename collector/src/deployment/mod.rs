//! One installation: its state machine, phases, outcome; and all of them that are of interest now.
//!
//! [`Deployments`] keeps in memory every deployment that has not ended and those that ended within a
//! day. Others are read when asked for. The table is the truth: after a crash each one is restored from
//! what was last written of it and the frames behind that.

pub mod entry;
mod estimate;
mod machine;
pub mod retention;
mod summary;
mod track;
pub mod view;

pub use entry::{Arrived, Delivery, Durable, Entry, Link, SubmitError, refusal_of};
pub use machine::names_another;
pub use machine::{Action, AfterEnd, Descriptor, Machine, Standing};
pub use track::{FoldError, Folded, Known, Received, Track};

use crate::config::{Clock, Config};
use crate::log::{Log, LogError, StreamHead, StreamKey};
use crate::store::Store;
use deckport_protocol::message::Hello;
use deckport_protocol::{ConsoleId, DeploymentId, Scope, Tenant};
use estimate::Estimates;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use view::{DeploymentDetail, DeploymentSummary, EventEntry};

/// Ended deployments stay on the live board for a day.
const BOARD_US: i64 = 24 * 3600 * 1_000_000;
/// Entries in a board's snapshot.
pub const BOARD: usize = 500;
/// Events in a detail.
pub const EVENTS: u32 = 500;
/// Removals that subscribers can still be told of one by one.
const REMOVED: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Deployments {
    store: Arc<Store>,
    log: Log,
    clock: Arc<dyn Clock>,
    ring_limit: usize,
    silence_after_us: i64,
    entries: Mutex<BTreeMap<DeploymentId, Arc<Entry>>>,
    fleet: watch::Sender<u64>,
    removed: Mutex<VecDeque<(u64, Tenant, DeploymentId)>>,
    /// One restore at a time for each deployment; seldom, so one lock for all will do.
    restoring: tokio::sync::Mutex<()>,
    /// Logs were given back.
    freed: tokio::sync::Notify,
}

impl Deployments {
    /// Restores what was running and what ended lately.
    pub async fn open(config: &Config, store: Arc<Store>, log: Log) -> Result<Self, LogError> {
        let now_us = config.clock.now_us();
        let all = Self {
            store,
            log,
            clock: Arc::clone(&config.clock),
            ring_limit: config.bounds.ring_bytes,
            silence_after_us: i64::try_from(config.silence_after.as_micros()).unwrap_or(i64::MAX),
            entries: Mutex::default(),
            fleet: watch::Sender::new(0),
            removed: Mutex::default(),
            restoring: tokio::sync::Mutex::default(),
            freed: tokio::sync::Notify::new(),
        };
        let rows = all
            .store
            .fetch(
                "select id, organisation_id from deployment where (finished_at is null or updated_at > $1) and retired_at is null",
                [(now_us - BOARD_US).into()],
            )
            .await?;
        for row in &rows {
            let id: DeploymentId = row.parsed(0)?;
            match all.get(Scope::all(row.parsed(1)?), id).await {
                Err(error @ LogError::Damaged { .. }) => {
                    // One run that cannot be brought up to date is no reason to serve no other.
                    tracing::error!(deployment.id = %id, %error, "a deployment cannot be read; `store check` says more");
                    all.entries().remove(&id);
                }
                read => drop(read?),
            }
        }
        Ok(all)
    }

    pub const fn log(&self) -> &Log {
        &self.log
    }

    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<DeploymentId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, scope: Scope, id: DeploymentId) -> Option<Arc<Entry>> {
        let entry = self.entries().get(&id).cloned()?;
        scope.covers(entry.head.tenant).then_some(entry)
    }

    fn entry(&self, head: &StreamHead) -> Arc<Entry> {
        let mut entries = self.entries();
        let make = || {
            let (fleet, ring) = (self.fleet.clone(), self.ring_limit);
            Arc::new(Entry::new(head.clone(), fleet, ring, self.silence_after_us))
        };
        Arc::clone(entries.entry(head.deployment_id).or_insert_with(make))
    }

    /// The deployment, from memory or from the disk.
    pub async fn get(
        &self,
        scope: Scope,
        id: DeploymentId,
    ) -> Result<Option<Arc<Entry>>, LogError> {
        if let Some(entry) = self.known(scope, id)
            && !(entry.known().is_none() && entry.needs_restoring())
        {
            return Ok(Some(entry));
        }
        let Some(head) = self.log.head(scope, id).await? else { return Ok(None) };
        let retired = self
            .store
            .fetch_one(
                "select retired_at from deployment where stream = $1 and retired_at is not null",
                [head.stream.0.into()],
            )
            .await?;
        if retired.is_some() {
            return Ok(None);
        }
        let entry = self.entry(&head);
        self.restore(&entry, None).await?;
        Ok(Some(entry))
    }

    /// The deployment that an agent's `hello` names, ready to take its next record. The stream must be
    /// recorded already.
    pub async fn open_stream(
        &self,
        head: StreamHead,
        hello: &Hello,
    ) -> Result<Arc<Entry>, LogError> {
        let entry = self.entry(&head);
        let descriptor = Descriptor {
            console_id: hello.console_id,
            console_name: hello.console_name.clone(),
            template: hello.template.clone().unwrap_or_default(),
            command: String::new(),
            agent_version: hello.agent_version.clone(),
            boot_id: None,
            context: serde_json::Value::Null,
        };
        let descriptor = descriptor.within_bounds();
        let template = descriptor.template.clone();
        self.restore(&entry, Some(descriptor)).await?;
        let estimates = Estimates::load(&self.store, head.tenant, &template).await?;
        entry.lock().estimates = estimates.map(Arc::new);
        Ok(entry)
    }

    /// Brings an entry up to what the disk holds, unless it is.
    async fn restore(
        &self,
        entry: &Arc<Entry>,
        descriptor: Option<Descriptor>,
    ) -> Result<(), LogError> {
        let _one = self.restoring.lock().await;
        if !entry.needs_restoring() {
            return Ok(());
        }
        // What is still queued of a broken claim is refused by its guard; wait until all is answered.
        self.settle().await?;
        let stream = entry.head.stream;
        let row = self
            .store
            .fetch_one(
                "select resume, updated_at from deployment where stream = $1",
                [stream.0.into()],
            )
            .await?;
        let (resume, mut updated_at) = match row {
            Some(row) => (row.blob(0)?, row.int(1)?),
            None => (bytes::Bytes::new(), 0),
        };
        let fresh = || {
            Track::new(Arc::new(descriptor.clone().unwrap_or_else(|| Descriptor {
                console_id: ConsoleId::from_uuid(*entry.id.as_uuid()),
                console_name: String::new(),
                template: String::new(),
                command: String::new(),
                agent_version: String::new(),
                boot_id: None,
                context: serde_json::Value::Null,
            })))
        };
        // What another version wrote may not be readable: then the whole stream is folded again.
        let mut track = Track::restore(&resume).unwrap_or_else(|_| fresh());
        loop {
            let frames = self.log.frames(stream, track.known.seq + 1, 1024 * 1024).await?;
            if frames.is_empty() {
                break;
            }
            for stored in frames {
                let frame = self.log.decode(stream, &stored)?;
                track.fold(&frame, stored.received_at).map_err(|error| LogError::Damaged {
                    stream,
                    seq: stored.first_seq,
                    why: error.to_string(),
                })?;
                updated_at = updated_at.max(stored.received_at);
            }
        }
        let nothing = track.known.seq == 0;
        let template = track.known.machine.descriptor.template.clone();
        let ended = track.known.machine.ended();
        entry.restored(track, updated_at);
        if nothing {
            entry.lock().seen = None;
        }
        if !ended {
            let estimates = Estimates::load(&self.store, entry.head.tenant, &template).await?;
            entry.lock().estimates = estimates.map(Arc::new);
        }
        Ok(())
    }

    /// Waits until everything that was queued before is answered.
    async fn settle(&self) -> Result<(), LogError> {
        match self.store.writer().write(crate::store::Write::default()).await {
            Ok(()) | Err(crate::store::WriteError::Full) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The fleet's version: rises with every change that viewers see.
    pub fn fleet(&self) -> watch::Receiver<u64> {
        self.fleet.subscribe()
    }

    /// Everything on the live board, newest first.
    pub fn board(&self, scope: Scope) -> Vec<DeploymentSummary> {
        let mut all = self.changed(scope, None).0;
        all.sort_unstable_by_key(|summary| std::cmp::Reverse((summary.started_at, summary.id)));
        all.truncate(BOARD);
        all
    }

    /// What changed since the fleet's version `since`, and what is no longer on the board.
    pub fn changed(
        &self,
        scope: Scope,
        since: Option<u64>,
    ) -> (Vec<DeploymentSummary>, Vec<DeploymentId>) {
        let now_us = self.now_us();
        let entries: Vec<Arc<Entry>> = self
            .entries()
            .values()
            .filter(|entry| since.is_none_or(|v| entry.changed.load(Ordering::Acquire) > v))
            .filter(|entry| scope.covers(entry.head.tenant))
            .cloned()
            .collect();
        let old = now_us - BOARD_US;
        let summaries = entries.iter().filter_map(|entry| entry.summary(now_us));
        let changed = summaries.filter(|s| !s.state.ended() || s.updated_at > old).collect();
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = removed.iter().filter(|(at, tenant, _)| {
            since.is_some_and(|since| *at > since) && scope.covers(*tenant)
        });
        (changed, gone.map(|(.., id)| *id).collect())
    }

    /// The deployment is no longer on the board, nor anywhere else.
    fn forget(&self, id: DeploymentId) {
        let known = self.entries().remove(&id);
        if let Some(entry) = known {
            self.off_the_board(&entry);
        }
    }

    fn off_the_board(&self, entry: &Entry) {
        let mut version = 0;
        self.fleet.send_modify(|now| {
            *now += 1;
            version = *now;
        });
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.push_back((version, entry.head.tenant, entry.id));
        if removed.len() > REMOVED {
            removed.pop_front();
        }
    }

    /// Notices what changes by time alone: presence, estimates, the end of a day on the board.
    pub fn tick(&self) {
        let now_us = self.now_us();
        let entries: Vec<Arc<Entry>> = self.entries().values().cloned().collect();
        for entry in entries {
            if entry.tick(now_us) {
                entry.touch();
            }
            let idle = {
                let inner = entry.lock();
                inner.link.is_none() && inner.updated_at < now_us - BOARD_US
            };
            // Two owners: the map and us. Anyone else still looks at it.
            if idle && entry.ended() && Arc::strong_count(&entry) == 2 {
                self.entries().remove(&entry.id);
                self.off_the_board(&entry);
            }
        }
    }

    /// Deployments, newest first, behind the cursor; and the cursor behind the last one.
    pub async fn list(
        &self,
        scope: Scope,
        state: Option<&str>,
        before: Option<(i64, String)>,
        limit: u32,
    ) -> Result<(Vec<DeploymentSummary>, Option<String>), LogError> {
        let (before_at, before_id) = before.unwrap_or((i64::MAX, String::new()));
        let rows = self
            .store
            .fetch(
                "select id, started_at, document from deployment where organisation_id = $1 and retired_at is null \
                 and ($2 is null or state = $2) and (started_at, id) < ($3, $4) \
                 and ($6 is null or venue_id = $6) order by started_at desc, id desc limit $5",
                [
                    scope.organisation_id.to_string().into(),
                    state.into(),
                    before_at.into(),
                    before_id.into(),
                    i64::from(limit).into(),
                    scope.venue_id.map(|venue| venue.to_string()).into(),
                ],
            )
            .await?;
        let now_us = self.now_us();
        let mut found = Vec::with_capacity(rows.len());
        let mut next = None;
        for row in &rows {
            let (id, at) = (row.text(0)?, row.int(1)?);
            let in_memory = id.parse().ok().and_then(|id| self.known(scope, id));
            let summary = in_memory.and_then(|entry| entry.summary(now_us));
            let document = row.text(2)?;
            if let Some(summary) = summary.or_else(|| serde_json::from_str(&document).ok()) {
                found.push(summary);
            }
            next = Some(format!("{at}:{id}"));
        }
        Ok((found, next.filter(|_| rows.len() == limit as usize)))
    }

    /// Everything about one deployment.
    pub async fn detail(&self, entry: &Entry) -> Result<Option<DeploymentDetail>, LogError> {
        let Some(summary) = entry.summary(self.now_us()) else { return Ok(None) };
        let events = self.events(entry.head.stream, 0).await?;
        let (incarnation, clock_offset_us, latency_us) = {
            let inner = entry.lock();
            (inner.incarnation, inner.clock_offset_us, inner.latency_us)
        };
        let descriptor = entry.known().map(|known| Arc::clone(&known.machine.descriptor));
        let context = descriptor.as_ref().map(|d| d.context.clone()).filter(|c| !c.is_null());
        Ok(Some(DeploymentDetail {
            summary,
            context,
            agent_version: descriptor.as_ref().map_or(String::new(), |d| d.agent_version.clone()),
            stream_id: entry.head.stream_id,
            incarnation,
            boot_id: descriptor.and_then(|d| d.boot_id.clone()),
            clock_offset_us,
            latency_us,
            events,
        }))
    }

    /// The last events behind `after`.
    pub async fn events(&self, stream: StreamKey, after: u64) -> Result<Vec<EventEntry>, LogError> {
        let events = self.log.events(stream, after, EVENTS).await?;
        let entries = events.into_iter().map(|(seq, at, row, body)| {
            let mut body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let kind = body["kind"].as_str().unwrap_or_default().to_owned();
            if let Some(fields) = body.as_object_mut() {
                // The context stands in the detail by itself.
                fields.remove("context");
            }
            EventEntry { seq, at, row, kind, body }
        });
        Ok(entries.collect())
    }
}

/// How far a deployment was written down, and the chain behind that record.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub stream: StreamKey,
    pub id: DeploymentId,
    pub head: (u64, deckport_protocol::Chain),
}

/// What the table says of every deployment whose log is kept; those that cannot be read are left out.
pub async fn acknowledged(store: &Store) -> Result<Vec<Acknowledged>, crate::store::ReadError> {
    let rows = store
        .fetch("select stream, id, resume from deployment where retired_at is null", [])
        .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Ok(track) = Track::restore(&row.blob(2)?) {
            let head = (track.known.seq, track.known.stored_chain.unwrap_or(track.known.chain));
            all.push(Acknowledged { stream: StreamKey(row.int(0)?), id: row.parsed(1)?, head });
        }
    }
    Ok(all)
}
