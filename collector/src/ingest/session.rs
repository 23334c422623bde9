//! One console's socket, from `hello` to its end.

use super::greet::{End, Greeted, greet, out_of_turn};
use super::share::Share;
use super::wire::{Gone, Wire, message_bytes};
use super::{Ingest, Masking, duplicate};
use crate::auth::Pass;
use crate::deployment::{Entry, FoldError, Link, SubmitError, names_another, refusal_of};
use crate::store::WriteError;
use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use deckport_protocol::columns::Header;
use deckport_protocol::json::JsonBatch;
use deckport_protocol::message::{
    Ack, AgentMessage, CollectorMessage, Order, OrderKind, Ping, Pong, Transient,
};
use deckport_protocol::secrets;
use deckport_protocol::{
    ABILITY_COLUMNS, ACK_WITHIN, Actor, ConsoleId, DeploymentId, ErrorCode, Frame, FrameBuilder,
    Limits, OrderId, Refusal, Tenant, is_prompt,
};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often a console is pinged.
const PING: Duration = Duration::from_secs(5);
/// INT, then TERM, then KILL, so far apart.
const GRACE_MS: u64 = 10_000;
/// So many frames are not kept waiting for their acknowledgement, however small they are.
const ACK_FRAMES: usize = 4;
/// Frames that unpack to more than an agent sends are unpacked one at a time, over all consoles: each takes a thread for
/// milliseconds, and there are no more threads than processors.
const LARGE: usize = 320 * 1024;
/// A socket that always has something does not keep the thread for itself: so many messages, then whoever else is there.
const IN_TURN: u32 = 8;
/// Smaller payloads are copied: what came over a socket is a part of the buffer that it was read into, and would keep all of it.
const COPIED: usize = 8 * 1024;
/// Sequence numbers stay below this, so that every column holds them.
const LAST_SEQ: u64 = 1 << 62;

/// Waits until `at`; for ever when there is nothing to wait for.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

pub(super) async fn serve(
    ingest: Ingest,
    socket: WebSocket,
    actor: Actor,
    tenant: Tenant,
    pass: Pass,
    deployment_id: DeploymentId,
) {
    let bounds = &ingest.config.bounds;
    let limits = ingest.config.limits;
    let metrics = Arc::clone(&ingest.metrics);
    let mut wire = Wire::new(socket, bounds.send_time, limits.message_bytes, metrics);
    let greeted = greet(&ingest, &mut wire, &actor, tenant, &pass, deployment_id).await;
    let end = match greeted {
        Ok(Greeted { console_id, entry, link, orders, abilities }) => {
            let allot = || ingest.deployments.log().allot();
            let share = ingest.shares.of(console_id, &limits, allot);
            let number = link.session;
            let mut session = Session {
                durable: entry.follow(),
                acked: 0,
                in_flight: VecDeque::new(),
                ack_due: None,
                last_gap: None,
                columns: abilities.iter().any(|ability| ability == ABILITY_COLUMNS),
                transients: (Instant::now(), 0),
                waiting: 0,
                in_turn: 0,
                share,
                best_rtt_us: i64::MAX,
                masking: Masking::default(),
                masks_told: false,
                ingest: &ingest,
                wire: &mut wire,
                entry: &entry,
                link,
                orders,
                limits,
                console_id,
            };
            session.acked = session.durable.borrow_and_update().seq;
            // What was queued is written all the same; only answering it ends.
            let end = tokio::select! {
                end = session.run() => end,
                refusal = pass.ended() => End::Refused(refusal),
            };
            entry.release(number, ingest.deployments.now_us());
            end
        }
        Err(end) => end,
    };
    match end {
        End::Gone => wire.bye().await,
        End::Refused(refusal) => {
            tracing::info!(
                deployment.id = %deployment_id, code = %refusal.code,
                "a console was refused: {}", refusal.message
            );
            wire.end(refusal).await;
        }
    }
}

/// A frame under way to the disk.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    last_seq: u64,
    /// What it holds of the writer's queue.
    bytes: usize,
    queued: Instant,
    /// Its acknowledgement is not kept back.
    prompt: bool,
}

struct Session<'a> {
    ingest: &'a Ingest,
    wire: &'a mut Wire,
    entry: &'a Arc<Entry>,
    link: Link,
    orders: mpsc::Receiver<OrderId>,
    durable: tokio::sync::watch::Receiver<crate::deployment::Durable>,
    acked: u64,
    /// What is queued.
    in_flight: VecDeque<InFlight>,
    /// When what is durable and not acknowledged yet is to be acknowledged at the latest.
    ack_due: Option<Instant>,
    /// The last record before the hole that was complained of last.
    last_gap: Option<u64>,
    columns: bool,
    transients: (Instant, u32),
    /// What is queued, in bytes.
    waiting: usize,
    /// Messages since somebody else had the thread.
    in_turn: u32,
    share: Arc<Share>,
    best_rtt_us: i64,
    masking: Masking,
    /// It was said that secrets came unmasked.
    masks_told: bool,
    limits: Limits,
    console_id: ConsoleId,
}

impl Session<'_> {
    /// Goal: take what comes and acknowledge what is durable. Exits: the console is gone, silent or
    /// breaks a rule; another agent took over or writing failed; the collector stops.
    async fn run(&mut self) -> End {
        let deadline = self.ingest.config.bounds.agent_deadline;
        let of_one = self.ingest.config.bounds.queue_bytes_of_one;
        let mut heard = Instant::now();
        let mut ping = tokio::time::interval(PING);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let cut = self.link.cut.clone();
        let stop = self.ingest.stop.clone();
        loop {
            // Dropping a branch is safe: receiving is cancel safe, the rest only wakes.
            let result = tokio::select! {
                biased;
                () = cut.cancelled() => {
                    let why = self.link.why.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if why.as_ref().is_some_and(|why| why.code == ErrorCode::SUPERSEDED) {
                        self.ingest.metrics.superseded.add(1);
                    }
                    Err(why.unwrap_or_else(|| refusal_of(&WriteError::Broken)).into())
                }
                () = stop.cancelled() => Err(refusal_of(&WriteError::Stopping).into()),
                changed = self.durable.changed() => match changed {
                    Ok(()) if self.may_wait() => Ok(()),
                    Ok(()) => self.acknowledge(false).await.map_err(End::from),
                    Err(_) => Err(End::Gone),
                },
                () = due(self.ack_due) => self.acknowledge(false).await.map_err(End::from),
                Some(order_id) = self.orders.recv() => {
                    let order = OrderKind::Cancel { grace_ms: GRACE_MS };
                    let order = CollectorMessage::Order(Order { order_id, order });
                    self.wire.send(&order).await.map_err(End::from)
                }
                // One console's frames do not fill the queue that all wait in.
                message = self.wire.next(), if self.waiting < self.share.part(of_one) => match message {
                    Ok(Message::Close(_)) | Err(None) => Err(End::Gone),
                    Err(Some(refusal)) => Err(refusal.into()),
                    Ok(message) => {
                        heard = Instant::now();
                        self.message(message).await
                    }
                },
                _ = ping.tick() => {
                    let sent_us = self.ingest.deployments.now_us();
                    let ping = CollectorMessage::Ping(Ping { sent_us });
                    self.wire.send(&ping).await.map_err(End::from)
                }
                () = tokio::time::sleep_until(heard + deadline) => {
                    Err(Refusal::new(ErrorCode::TOO_SLOW, "nothing was heard for too long").into())
                }
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    /// Whether what has become durable is so little that its acknowledgement may wait for more. Consoles that print a line now
    /// and then would otherwise be woken twice for each.
    fn may_wait(&mut self) -> bool {
        let seq = self.durable.borrow_and_update().seq;
        let durable = || self.in_flight.iter().take_while(|frame| frame.last_seq <= seq);
        if self.entry.ended()
            || durable().any(|frame| frame.prompt)
            || durable().count() >= ACK_FRAMES
        {
            return false;
        }
        self.ack_due.get_or_insert_with(|| Instant::now() + ACK_WITHIN);
        true
    }

    async fn acknowledge(&mut self, again: bool) -> Result<(), Gone> {
        self.ack_due = None;
        let now = self.durable.borrow_and_update().clone();
        if now.seq > self.acked || again {
            self.acked = now.seq;
            while self.in_flight.front().is_some_and(|frame| frame.last_seq <= now.seq) {
                if let Some(frame) = self.in_flight.pop_front() {
                    self.waiting -= frame.bytes;
                    self.ingest.metrics.ack_seconds.observe_time(frame.queued.elapsed());
                }
            }
            let ack = Ack { acked_seq: now.seq, chain: now.chain };
            self.wire.send(&CollectorMessage::Ack(ack)).await?;
        }
        Ok(())
    }

    async fn message(&mut self, message: Message) -> Result<(), End> {
        self.in_turn += 1;
        if self.in_turn >= IN_TURN {
            self.in_turn = 0;
            tokio::task::yield_now().await;
        }
        self.pace(1, message_bytes(&message)).await;
        match message {
            Message::Binary(bytes) => {
                if !self.columns {
                    let text = "columns were not agreed on; say so in `hello`";
                    return Err(Refusal::new(ErrorCode::UNSUPPORTED_ENCODING, text).into());
                }
                self.records(bytes).await
            }
            Message::Text(text) => {
                let parsed = AgentMessage::parse(&text).map_err(Refusal::from);
                drop(text);
                match parsed {
                    Ok(message) => self.control(message).await,
                    Err(refusal) if refusal.code == ErrorCode::UNKNOWN_MESSAGE => {
                        Ok(self.wire.refuse(refusal, None).await?)
                    }
                    Err(refusal) => Err(refusal.into()),
                }
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        }
    }

    /// Reads no faster than the stated rates, with a second's worth at once.
    async fn pace(&mut self, messages: u32, bytes: usize) {
        let wait = self.share.took(messages, bytes);
        if !wait.is_zero() {
            self.ingest.metrics.refuse(&ErrorCode::RATE_EXCEEDED);
            tokio::time::sleep(wait).await;
        }
    }

    async fn control(&mut self, message: AgentMessage) -> Result<(), End> {
        let now_us = self.ingest.deployments.now_us();
        self.entry.lock().heard_at = now_us;
        match message {
            AgentMessage::Hello(_) => Err(out_of_turn().into()),
            AgentMessage::Records(batch) => {
                let bytes = columns_of(batch, &self.limits)?;
                self.records(bytes).await
            }
            AgentMessage::Transient(transient) => {
                self.transient(transient);
                Ok(())
            }
            AgentMessage::Ping(Ping { sent_us }) => {
                let answered_us = self.ingest.deployments.now_us();
                let pong = Pong { sent_us, received_us: now_us, answered_us };
                Ok(self.wire.send(&CollectorMessage::Pong(pong)).await?)
            }
            AgentMessage::Pong(pong) => {
                self.pong(pong, now_us);
                Ok(())
            }
        }
    }

    fn transient(&mut self, transient: Transient) {
        let (since, count) = self.transients;
        self.transients = if since.elapsed() < Duration::from_secs(1) {
            (since, count.saturating_add(1))
        } else {
            (Instant::now(), 1)
        };
        if self.transients.1 > self.limits.transients_per_second {
            self.ingest.metrics.transients_dropped.add(1);
            return;
        }
        let mut transient = transient;
        if let Some(text) = &mut transient.text
            && let Some(masked) = secrets::mask(text.as_bytes())
        {
            *text = String::from_utf8_lossy(&masked).into_owned();
        }
        let mut inner = self.entry.lock();
        inner.highest_seq = inner.highest_seq.max(transient.highest_seq.unwrap_or(0));
        inner.transient = transient;
        drop(inner);
        self.entry.touch();
    }

    /// The offset of the console's clock, from the exchange with the least delay.
    fn pong(&mut self, pong: Pong, arrived_us: i64) {
        let rtt = arrived_us
            .saturating_sub(pong.sent_us)
            .saturating_sub(pong.answered_us.saturating_sub(pong.received_us))
            .max(0);
        let mut inner = self.entry.lock();
        inner.latency_us = Some(rtt / 2);
        if rtt <= self.best_rtt_us {
            let there = pong.received_us.saturating_sub(pong.sent_us);
            let back = pong.answered_us.saturating_sub(arrived_us);
            inner.clock_offset_us = Some(there.saturating_add(back) / 2);
            self.best_rtt_us = rtt;
        }
        // Routes and clocks drift: an old best is not the best for ever.
        self.best_rtt_us = self.best_rtt_us.saturating_add(self.best_rtt_us / 8 + 10);
    }

    /// A batch of columns.
    async fn records(&mut self, bytes: Bytes) -> Result<(), End> {
        // What it unpacks to is what it costs.
        let unpacked = Header::read(&bytes).map_err(Refusal::from)?.body_bytes();
        let unpacked = unpacked.min(self.limits.body_bytes);
        self.pace(0, unpacked.saturating_sub(bytes.len())).await;
        let _turn = if unpacked > LARGE { self.ingest.large.acquire().await.ok() } else { None };
        let frame = Frame::decode(&bytes, &self.limits).map_err(Refusal::from)?;
        if frame.first_seq() == 0 || frame.last_seq() >= LAST_SEQ {
            let text = "sequence numbers are 1 and up, below 2^62";
            return Err(Refusal::new(ErrorCode::MALFORMED_FRAME, text).into());
        }
        if names_another(&frame, self.console_id) {
            let text = "the run says that it is another console's than the one that greeted";
            return Err(Refusal::new(ErrorCode::MALFORMED_FRAME, text).into());
        }
        let Some(submitted) = self.entry.submitted() else {
            // An earlier frame could not be written; the loop tells the agent why.
            if !self.link.cut.is_cancelled() {
                self.link.cut_off(refusal_of(&WriteError::Broken));
            }
            return Ok(());
        };
        if frame.first_seq() > submitted + 1 {
            if self.last_gap.replace(submitted) == Some(submitted) {
                return Ok(());
            }
            let text = format!(
                "the batch begins at {}, but {} comes next",
                frame.first_seq(),
                submitted + 1,
            );
            let refusal = Refusal::new(ErrorCode::SEQUENCE_GAP, text);
            // What is queued is not stored yet: it may come again, it must not be thrown away.
            let stored = self.entry.durable().seq;
            return Ok(self.wire.refuse(refusal, Some(stored)).await?);
        }
        self.last_gap = None;
        if frame.first_seq() > submitted {
            return self.append(frame, bytes).await;
        }
        self.repeated(&frame, submitted).await?;
        if frame.last_seq() <= submitted {
            return Ok(self.acknowledge(true).await?);
        }
        let Some(rest) = duplicate::behind(&frame, submitted) else {
            return Err(self.quarantine(submitted).await);
        };
        let frame = Frame::decode(&rest, &self.limits).map_err(Refusal::from)?;
        self.append(frame, rest).await
    }

    async fn append(&mut self, frame: Frame, bytes: Bytes) -> Result<(), End> {
        let length = bytes.len();
        let bytes = if length < COPIED { Bytes::copy_from_slice(&bytes) } else { bytes };
        let log = self.ingest.deployments.log();
        let arrived = self.masking.take(frame, bytes, &self.limits).map_err(Refusal::from)?;
        if let Some(received) = &arrived.received {
            let masked: u64 = received.masked.values().sum();
            self.ingest.metrics.masked.add(masked);
            if !std::mem::replace(&mut self.masks_told, true) {
                tracing::warn!(
                    deployment.id = %self.entry.id, masked,
                    "a console sent secrets that it had not masked; they were masked before they were stored"
                );
            }
        }
        let frame = &arrived.frame;
        // The queue also holds what the frame's events become: reserve by what it unpacks to.
        let reserved = length + frame.body_bytes() + 256;
        let place = log.reserve(reserved, &self.share.tail).await;
        let place = place.map_err(|error| refusal_of(&error))?;
        let now_us = self.ingest.deployments.now_us();
        let (count, last_seq) = (frame.header().count as usize, frame.last_seq());
        match self.entry.submit(self.link.session, log, place, arrived, now_us) {
            Ok(folded) => {
                let prompt = is_prompt(count, length);
                let queued = Instant::now();
                self.in_flight.push_back(InFlight { last_seq, bytes: reserved, queued, prompt });
                self.waiting += reserved;
                let metrics = &self.ingest.metrics;
                metrics.frames.add(1);
                metrics.records.add(folded.records);
                metrics.bytes.add(length as u64);
                Ok(())
            }
            Err(SubmitError::Fold(error @ FoldError::Ended)) => {
                Err(Refusal::new(ErrorCode::STREAM_ENDED, error.to_string()).into())
            }
            Err(SubmitError::Fold(error @ FoldError::Resume)) => {
                Err(Refusal::new(ErrorCode::INTERNAL, error.to_string()).into())
            }
            // The loop learns the reason from the link.
            Err(SubmitError::Cut) => {
                if !self.link.cut.is_cancelled() {
                    self.link.cut_off(refusal_of(&WriteError::Broken));
                }
                Ok(())
            }
        }
    }

    /// Records up to `submitted` came again: the same content is fine, another is not.
    async fn repeated(&mut self, frame: &Frame, submitted: u64) -> Result<(), End> {
        let until = frame.last_seq().min(submitted);
        let cut = self.link.cut.clone();
        tokio::select! {
            // What is compared must be durable first. Either way nothing is lost.
            waited = self.durable.wait_for(|durable| durable.seq >= until) => {
                waited.map_err(|_| End::Gone)?;
            }
            () = cut.cancelled() => return Ok(()),
        }
        self.ingest.metrics.duplicates.add(until + 1 - frame.first_seq());
        let log = self.ingest.deployments.log();
        match duplicate::differs(log, self.entry, frame, until).await? {
            None => Ok(()),
            Some(seq) => Err(self.quarantine(seq).await),
        }
    }

    async fn quarantine(&mut self, seq: u64) -> End {
        let why = format!("record {seq} came again with other content");
        tracing::error!(deployment.id = %self.entry.id, seq, "a stream was quarantined: {why}");
        self.ingest.metrics.quarantined.add(1);
        let now_us = self.ingest.deployments.now_us();
        let log = self.ingest.deployments.log();
        if let Err(error) = log.quarantine(self.entry.head.stream, &why, now_us).await {
            return error.into();
        }
        self.entry.lock().quarantined = Some(why.clone());
        self.entry.touch();
        let text = format!("nothing more is taken from this stream: {why}");
        Refusal::new(ErrorCode::QUARANTINED, text).into()
    }
}

/// A batch of JSON as the columns that are stored.
fn columns_of(batch: JsonBatch, limits: &Limits) -> Result<Bytes, Refusal> {
    let boot_id = batch.boot_id;
    let records = batch.into_records(limits)?;
    let mut builder = FrameBuilder::new();
    for record in &records {
        builder.push(&record.borrow());
    }
    builder
        .finish(boot_id, true)
        .ok_or_else(|| Refusal::new(ErrorCode::MALFORMED_MESSAGE, "the batch holds no records"))
}
