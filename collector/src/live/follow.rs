//! One subscription: a snapshot, then what changed.

use super::Live;
use super::message::{
    Delta, DeploymentDelta, FleetDelta, FleetSnapshot, LiveMessage, Snapshot, Subscribe,
    WindowDelta, WindowSnapshot,
};
use super::outlet::{Gone, Outlet};
use super::tail::Tail;
use crate::deployment::Entry;
use crate::log::LogError;
use deckport_protocol::rows::Row;
use deckport_protocol::{ErrorCode, Refusal, Scope};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// A board changes no more often than this for its viewers, and the less often the more of it changes: nobody reads dozens of
/// lines ten times a second, and a page that draws them has no time left for the log that is open.
const FLEET_PACE: Duration = Duration::from_millis(250);
const FLEET_PACE_EACH: Duration = Duration::from_millis(4);
const FLEET_PACE_MOST: Duration = Duration::from_secs(1);
/// What is said of a run beside its log: numbers that count up, mostly.
const DEPLOYMENT_PACE: Duration = Duration::from_millis(250);
/// A window changes once a painted frame.
const WINDOW_PACE: Duration = Duration::from_millis(16);
/// A window that shows none of what is new only learns how long the log is.
const TOTAL_PACE: Duration = Duration::from_millis(250);
const WINDOW_ROWS: u64 = 500;
const PAGE_BYTES: usize = 1024 * 1024;
/// Read at once for a viewer that replays, and taken at once of what is in memory anyway.
const REPLAY_BYTES: usize = 512 * 1024;
const RECENT_BYTES: usize = 64 * 1024;
const CREDITS: usize = 10_000;
/// No stream has so many records; a cursor beyond is at the end.
const BEYOND: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    from: u64,
    count: u64,
    follow: bool,
}

/// Rows behind which one who follows is not brought up to date row by row.
const CATCH_UP: u64 = super::tail::ROWS as u64;

/// What the viewer can change of a running subscription.
#[derive(Debug)]
pub(super) struct Control {
    place: std::sync::Mutex<Place>,
    /// Counts moves.
    moved: watch::Sender<u64>,
    credits: Semaphore,
    over: AtomicBool,
    moves: AtomicU64,
}

impl Control {
    pub(super) fn new(subscribe: &Subscribe, moved: watch::Sender<u64>) -> Self {
        let (from, count, follow) = (subscribe.from, subscribe.count, subscribe.follow);
        Self {
            place: std::sync::Mutex::new(Place {
                from,
                count: count.clamp(1, WINDOW_ROWS),
                follow,
            }),
            moved,
            credits: Semaphore::new((subscribe.credits as usize).min(CREDITS)),
            over: AtomicBool::new(false),
            moves: AtomicU64::new(0),
        }
    }

    pub(super) fn place(&self, from: u64, count: u64, follow: bool) {
        let place = Place { from, count: count.clamp(1, WINDOW_ROWS), follow };
        *self.place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = place;
        let moves = self.moves.fetch_add(1, Ordering::AcqRel) + 1;
        self.moved.send_replace(moves);
    }

    pub(super) fn grant(&self, credits: u32) {
        let room = CREDITS.saturating_sub(self.credits.available_permits());
        self.credits.add_permits((credits as usize).min(room));
    }

    pub(super) fn over(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn now(&self) -> Place {
        *self.place.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub(super) struct Subscription {
    pub(super) live: Live,
    pub(super) scope: Scope,
    pub(super) subscribe: Subscribe,
    pub(super) control: Arc<Control>,
    pub(super) out: Outlet,
}

/// Why a subscription ends.
pub(super) enum End {
    /// The socket is gone.
    Gone,
    Refused(Refusal),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<LogError> for End {
    fn from(error: LogError) -> Self {
        tracing::error!(error = %error, "a subscription could not read the store");
        Self::Refused(Refusal::new(ErrorCode::INTERNAL, error.to_string()))
    }
}

impl Subscription {
    pub(super) async fn run(&self) {
        let end = match self.subscribe.topic.as_str() {
            "fleet" => self.fleet().await,
            "search" => self.search().await,
            topic => match self.entry().await {
                Err(end) => Err(end),
                Ok(entry) => match topic {
                    "deployment" => self.deployment(&entry).await,
                    "window" => self.window(&entry).await,
                    _ => self.records(&entry).await,
                },
            },
        };
        self.control.over();
        if let Err(End::Refused(error)) = end {
            self.live.metrics.refuse(&error.code);
            let id = Some(self.subscribe.id);
            let _ = self.send(LiveMessage::Error { id, error }).await;
        }
    }

    async fn entry(&self) -> Result<Arc<Entry>, End> {
        let found = match self.subscribe.deployment_id {
            Some(id) => self.live.deployments.get(self.scope, id).await?,
            None => None,
        };
        found.ok_or_else(|| {
            End::Refused(Refusal::new(ErrorCode::NOT_FOUND, "there is no such deployment"))
        })
    }

    pub(super) async fn send(&self, message: LiveMessage) -> Result<(), End> {
        Ok(self.out.say(&message).await?)
    }

    pub(super) async fn snapshot(&self, cursor: u64, data: Snapshot) -> Result<(), End> {
        self.send(LiveMessage::Snapshot { id: self.subscribe.id, cursor, data }).await
    }

    pub(super) async fn delta(&self, cursor: u64, data: Delta) -> Result<(), End> {
        self.send(LiveMessage::Delta { id: self.subscribe.id, cursor, data }).await
    }

    async fn fleet(&self) -> Result<(), End> {
        let mut version = self.live.deployments.fleet();
        let mut cursor = *version.borrow_and_update();
        let deployments = self.live.deployments.board(self.scope);
        self.snapshot(cursor, Snapshot::Fleet(FleetSnapshot { deployments })).await?;
        let mut pace = FLEET_PACE;
        loop {
            tokio::time::sleep(pace).await;
            version.changed().await.map_err(|_| End::Gone)?;
            let now = *version.borrow_and_update();
            let (changed, removed) = self.live.deployments.changed(self.scope, Some(cursor));
            cursor = now;
            let many = u32::try_from(changed.len()).unwrap_or(u32::MAX);
            pace = FLEET_PACE_MOST.min(FLEET_PACE + FLEET_PACE_EACH.saturating_mul(many));
            if !changed.is_empty() || !removed.is_empty() {
                self.delta(cursor, Delta::Fleet(FleetDelta { changed, removed })).await?;
            }
        }
    }

    async fn deployment(&self, entry: &Arc<Entry>) -> Result<(), End> {
        let deployments = &self.live.deployments;
        let mut durable = entry.follow();
        durable.mark_unchanged();
        let mut last_event = 0;
        // A run that has claimed its stream but sent nothing yet has nothing to show.
        let detail = loop {
            if let Some(detail) = deployments.detail(entry).await? {
                break detail;
            }
            durable.changed().await.map_err(|_| End::Gone)?;
        };
        if let Some(event) = detail.events.last() {
            last_event = event.seq;
        }
        let cursor = detail.summary.acked_seq;
        self.snapshot(cursor, Snapshot::Deployment(Box::new(detail))).await?;
        loop {
            durable.changed().await.map_err(|_| End::Gone)?;
            let now = durable.borrow_and_update().clone();
            let events = deployments.events(entry.head.stream, last_event).await?;
            last_event = events.last().map_or(last_event, |event| event.seq);
            let summary = entry.summary(deployments.now_us()).map(Box::new);
            let delta = Delta::Deployment(DeploymentDelta { summary, events });
            self.delta(now.seq, delta).await?;
            tokio::time::sleep(DEPLOYMENT_PACE).await;
        }
    }

    /// Rows of the window from `first` on: from the tail, else from the store.
    async fn rows(
        &self,
        entry: &Arc<Entry>,
        tail: &Tail,
        place: Place,
        changed_from: Option<u64>,
    ) -> Result<Window, End> {
        let log = self.live.deployments.log();
        let begin = |total: u64| {
            if place.follow { total.saturating_sub(place.count) } else { place.from }
        };
        let first = |total: u64| match changed_from {
            // Whoever follows gets what it has not seen, also when a burst was longer than its window: it has no hole then.
            Some(from) if place.follow => {
                from.max(begin(total).min(total.saturating_sub(CATCH_UP)))
            }
            from => begin(total).max(from.unwrap_or(0)),
        };
        let mut found = tail.rows(log, &self.live.metrics, first).await?;
        let (from, total) = (begin(found.total), found.total);
        let end = from.saturating_add(place.count);
        if found.missing {
            let first = first(total);
            let page =
                log.page(entry.head.stream, first, end.saturating_sub(first), PAGE_BYTES).await?;
            // The page may be ahead of the tail: what is beyond comes with the next delta.
            found.rows = page.rows.into_iter().filter(|row| row.row < total).collect();
        }
        found.rows.retain(|row| row.row < end);
        Ok(Window { rows: found.rows, total, from, seq: found.seq, settled: found.settled })
    }

    async fn window(&self, entry: &Arc<Entry>) -> Result<(), End> {
        let tail = self.live.tail(entry);
        let mut durable = entry.follow();
        let mut moved = self.control.moved.subscribe();
        let mut place = self.control.now();
        durable.mark_unchanged();
        let turn = self.out.turn().await?;
        let first = self.rows(entry, &tail, place, None).await?;
        let mut sent_total = first.total;
        let mut sent_seq = first.seq;
        let mut settled = first.settled;
        let (total_rows, follow, from) = (first.total, place.follow, first.from);
        let data = WindowSnapshot { total_rows, follow, from, rows: first.rows };
        self.snapshot(first.seq, Snapshot::Window(data)).await?;
        drop(turn);
        loop {
            let mut whole = false;
            // Dropping a branch is safe: both only wake.
            tokio::select! {
                changed = durable.changed() => changed.map_err(|_| End::Gone)?,
                changed = moved.changed() => {
                    changed.map_err(|_| End::Gone)?;
                    whole = true;
                }
            }
            if !whole && durable.borrow().seq == sent_seq {
                continue;
            }
            // Without credit changes gather, and the next delta has them all.
            let credit = self.control.credits.acquire().await.map_err(|_| End::Gone)?;
            let turn = self.out.turn().await?;
            let began = Instant::now();
            // First the calls, then what they call for: a move in between is seen twice, not never.
            moved.mark_unchanged();
            durable.mark_unchanged();
            let now = self.control.now();
            whole |= now != place;
            place = now;
            let changed_from = (!whole).then_some(settled);
            let window = self.rows(entry, &tail, place, changed_from).await?;
            let nothing = window.rows.is_empty() && window.total == sent_total && !whole;
            (sent_seq, settled) = (window.seq, window.settled);
            if nothing {
                continue;
            }
            credit.forget();
            sent_total = window.total;
            let shown = !window.rows.is_empty();
            let delta =
                WindowDelta { total_rows: sent_total, rows: window.rows, from: window.from };
            self.delta(sent_seq, Delta::Window(delta)).await?;
            drop(turn);
            let pace = if shown || whole { WINDOW_PACE } else { TOTAL_PACE };
            // A viewer that moves is not kept waiting.
            tokio::select! {
                () = tokio::time::sleep_until(began + pace) => {}
                changed = moved.changed() => {
                    changed.map_err(|_| End::Gone)?;
                    moved.mark_changed();
                }
            }
        }
    }

    async fn records(&self, entry: &Arc<Entry>) -> Result<(), End> {
        let id = self.subscribe.id;
        let log = self.live.deployments.log();
        let stream = entry.head.stream;
        let mut durable = entry.follow();
        let mut cursor = self.subscribe.after.min(BEYOND);
        let mut caught_up = false;
        // Goal: every frame behind the cursor, in order, from memory or the store. Exit: the stream ended.
        loop {
            durable.mark_unchanged();
            let mut _turn = None;
            let frames = match entry.recent(cursor + 1, RECENT_BYTES) {
                Some(frames) => frames,
                None => {
                    _turn = Some(self.out.turn().await?);
                    if caught_up {
                        self.live.metrics.lag_fallbacks.add(1);
                    }
                    let stored = log.frames(stream, cursor + 1, REPLAY_BYTES).await?;
                    stored.into_iter().map(Arc::new).collect()
                }
            };
            let none = frames.is_empty();
            for stored in frames {
                let (first_seq, last_seq) = (stored.first_seq, stored.last_seq);
                let received_at = stored.received_at;
                let head = LiveMessage::Frame { id, first_seq, last_seq, received_at };
                self.out.pass_on(&head, stored.payload.clone()).await?;
                cursor = last_seq;
            }
            if !none {
                continue;
            }
            if !caught_up {
                caught_up = true;
                self.send(LiveMessage::CaughtUp { id, cursor }).await?;
            }
            if entry.ended() && cursor >= entry.durable().seq {
                let reason = "the deployment ended".to_owned();
                return self.send(LiveMessage::Ended { id, reason }).await;
            }
            durable.changed().await.map_err(|_| End::Gone)?;
        }
    }
}

struct Window {
    rows: Vec<Row>,
    total: u64,
    from: u64,
    seq: u64,
    /// Rows from this one on may still change.
    settled: u64,
}
