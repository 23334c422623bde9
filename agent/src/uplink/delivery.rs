//! Delivers one run: dials, agrees where to go on, sends, compares acknowledgements, dials again.
//!
//! Ends when the collector has the terminal record, or refuses in a way that trying again cannot
//! help. Dropping the future at any point is safe: what matters is on disk on both sides.

use super::Report;
use super::duplex::Duplex;
use super::link::{DialError, Stream, Target};
use super::outbox::{Outbox, chain_between};
use crate::clock;
use crate::disk::{Disk as _, RealDisk};
use crate::recorder::doorbell::Answer;
use crate::spool::{self, Position, Reader};
use crate::state::{Acked, Meta, Run};
use deckport_protocol::error::{ErrorCode, Refusal};
use deckport_protocol::message::{
    AgentMessage, CollectorMessage, Hello, Ping, Pong, Transient, Welcome,
};
use deckport_protocol::{ABILITY_COLUMNS, ABILITY_ZSTD, Chain, PROTOCOL_VERSION};
use futures_util::{SinkExt as _, StreamExt as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A link that lived so long was a good one, whether or not there was anything to deliver.
const GOOD_LINK: Duration = Duration::from_secs(10);
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(5);
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// How often the link is looked after.
const TICK: Duration = Duration::from_secs(1);
/// How often progress is told at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// How often what is acknowledged is noted. It is only a hint: the collector says it again in `welcome`.
const NOTE_EVERY: Duration = Duration::from_secs(3);

/// What the recorder has told.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// The spool is written up to here.
    pub end: Position,
    pub progress: Option<(f64, Option<String>)>,
    /// Counts what was told of progress.
    pub progress_count: u64,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Delivered,
    Refused(Refusal),
}

/// Why a session ended before its time.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Refused(Refusal),
    #[error("{0}")]
    Lost(String),
}

fn lost(why: impl std::fmt::Display) -> Fault {
    Fault::Lost(why.to_string())
}

/// One run to deliver.
#[derive(Debug)]
pub struct Delivery {
    pub run: Run,
    pub meta: Meta,
    pub target: Target,
    pub feed: watch::Receiver<Feed>,
    /// Orders go here.
    pub reports: mpsc::UnboundedSender<Report>,
    /// What the collector has goes here, and to the recorder.
    pub acked: watch::Sender<u64>,
    pub recorder: Option<OwnedFd>,
    /// Nobody records any more, and the spool has no terminal record: it gets one when the collector has said what it has,
    /// which may be more than a power cut left here.
    pub unended: bool,
}

impl Delivery {
    /// Delivers until there is no more to do.
    pub async fn deliver(&mut self) -> Ended {
        let mut pause = FIRST_PAUSE;
        let mut last_fault = String::new();
        loop {
            let (acked_before, begun) = (*self.acked.borrow(), Instant::now());
            match self.session().await {
                Ok(()) => return Ended::Delivered,
                Err(Fault::Refused(refusal)) => {
                    tracing::error!(error.code = %refusal.code, "refused: {}", refusal.message);
                    return Ended::Refused(refusal);
                }
                Err(Fault::Lost(why)) => {
                    if why != last_fault {
                        tracing::warn!("no link: {why}");
                        let _ = self.reports.send(Report::NoLink { message: why.clone() });
                    }
                    last_fault = why;
                }
            }
            // A greeting alone is no progress: a collector whose disk is full greets and refuses.
            if *self.acked.borrow() > acked_before || begun.elapsed() >= GOOD_LINK {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn session(&mut self) -> Result<(), Fault> {
        if !self.run.dir().exists() {
            let gone = "the run's directory is gone, and with it what was to be delivered";
            return Err(Fault::Refused(Refusal::new(ErrorCode::NOT_FOUND, gone)));
        }
        // An uplink that was just started does not know yet how far the spool is written.
        while !self.unended && self.feed.borrow_and_update().end.last_seq == 0 {
            if self.feed.changed().await.is_err() {
                return Err(lost("the recorder has written nothing"));
            }
        }
        let mut socket =
            self.target.dial(self.meta.deployment_id).await.map_err(|error| match error {
                DialError::Refused(refusal) => Fault::Refused(refusal),
                // Whoever put the file or the collector right does not have to start us again.
                DialError::Unreachable(_)
                | DialError::Token { .. }
                | DialError::WrongPin(_)
                | DialError::NoPin(_)
                | DialError::Plain(_) => lost(error),
            })?;
        let welcome = tokio::time::timeout(WELCOME_WITHIN, self.greet(&mut socket))
            .await
            .map_err(|_| lost("the collector did not answer the greeting"))??;
        tracing::info!(acked_seq = welcome.acked_seq, "connected");
        if self.unended {
            let end = super::end_spool(&self.run, welcome.acked_seq).map_err(|error| {
                lost(format!("could not end what the recorder left: {error:#}"))
            })?;
            self.feed = watch::channel(Feed { end, ..Feed::default() }).1;
            self.unended = false;
        }
        self.exchange(socket, &welcome).await
    }

    async fn greet(&self, socket: &mut WebSocketStream<Stream>) -> Result<Welcome, Fault> {
        let lowest = Reader::lowest_seq(self.run.dir()).map_err(lost)?.unwrap_or(0);
        let hello = AgentMessage::Hello(Hello {
            protocol: PROTOCOL_VERSION,
            abilities: vec![ABILITY_COLUMNS.into(), ABILITY_ZSTD.into()],
            deployment_id: self.meta.deployment_id,
            stream_id: self.meta.stream_id,
            incarnation: self.run.incarnation(),
            console_id: self.meta.console.console_id,
            console_name: self.meta.console.name.clone(),
            template: self.meta.template.clone(),
            agent_version: self.meta.agent_version.clone(),
            lowest_seq: lowest,
            highest_seq: self.feed.borrow().end.last_seq,
        });
        socket.send(Message::text(hello.to_text())).await.map_err(lost)?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    if let Some(CollectorMessage::Welcome(welcome)) = said(&text)? {
                        return Ok(welcome);
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(closed(frame.as_ref())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(lost(error)),
                None => return Err(lost("the collector closed the link")),
            }
        }
    }

    /// Where to go on: checks that both hold the same up to there.
    fn resume(&self, welcome: &Welcome) -> Result<(Chain, bool), Fault> {
        let known = self.run.acked();
        let theirs = welcome.acked_seq;
        let mismatch = || {
            Fault::Refused(Refusal::new(
                ErrorCode::QUARANTINED,
                super::outbox::ChainMismatch(theirs).to_string(),
            ))
        };
        if theirs == known.seq {
            if theirs > 0 && welcome.chain != known.chain {
                return Err(mismatch());
            }
            return Ok((welcome.chain, known.complete));
        }
        if theirs < known.seq {
            tracing::warn!(
                theirs,
                ours = known.seq,
                "the collector has less than it had acknowledged (restored from a backup?)"
            );
            return Ok((welcome.chain, false));
        }
        let end = self.feed.borrow().end;
        if theirs > end.last_seq {
            return Err(Fault::Refused(Refusal::new(
                ErrorCode::STREAM_MISMATCH,
                format!(
                    "the collector has records up to {theirs} of this run, the spool only up to {}",
                    end.last_seq
                ),
            )));
        }
        match chain_between(&self.run, (known.seq, known.chain), theirs, &end).map_err(lost)? {
            Some((chain, _)) if chain != welcome.chain => Err(mismatch()),
            Some((chain, terminal)) => Ok((chain, terminal)),
            None => Ok((welcome.chain, false)),
        }
    }

    async fn exchange(
        &mut self,
        socket: WebSocketStream<Stream>,
        welcome: &Welcome,
    ) -> Result<(), Fault> {
        let has = |ability: &str| welcome.abilities.iter().any(|known| known == ability);
        if !has(ABILITY_COLUMNS) {
            return Err(Fault::Refused(Refusal::new(
                ErrorCode::UNSUPPORTED_ENCODING,
                "the collector does not take binary columns, and this agent sends nothing else",
            )));
        }
        let (chain, complete) = self.resume(welcome)?;
        let mut acked = Acked { seq: welcome.acked_seq, chain, complete };
        let mut outbox =
            Outbox::new(&self.run, acked.seq, chain, has(ABILITY_ZSTD), welcome.limits)
                .map_err(lost)?;
        self.note_acked(&acked);
        if acked.complete {
            return Ok(());
        }
        let mut tidied = 0;
        let mut socket = Duplex::new(socket);
        let mut tick = tokio::time::interval(TICK);
        let mut heard = Instant::now();
        let mut pinged: Option<Instant> = None;
        let mut progress_told = (0, Instant::now());
        let (mut noted, mut noted_at) = (acked.seq, Instant::now());
        let mut feed_open = true;
        let result = loop {
            let end = self.feed.borrow_and_update().end;
            while let Some(frame) = outbox.next(&end, Instant::now()).map_err(lost)? {
                socket.send(Message::Binary(frame));
            }
            // Each branch may be dropped: reading a message, a change and a tick are all resumable.
            tokio::select! {
                message = socket.next() => {
                    heard = Instant::now();
                    let text = match message {
                        Some(Ok(Message::Text(text))) => text,
                        Some(Ok(Message::Close(frame))) => break Err(closed(frame.as_ref())),
                        Some(Ok(_)) => continue,
                        Some(Err(error)) => break Err(lost(error)),
                        None => break Err(lost("the collector closed the link")),
                    };
                    let message = match said(&text) {
                        Ok(Some(message)) => message,
                        Ok(None) => continue,
                        Err(fault) => break Err(fault),
                    };
                    match message {
                        CollectorMessage::Ack(ack) => {
                            if let Err(mismatch) = outbox.acked(ack.acked_seq, ack.chain, heard) {
                                break Err(Fault::Refused(Refusal::new(
                                    ErrorCode::QUARANTINED,
                                    mismatch.to_string(),
                                )));
                            }
                            acked = Acked {
                                seq: ack.acked_seq,
                                chain: ack.chain,
                                complete: outbox.complete(ack.acked_seq),
                            };
                            self.tell(acked.seq);
                            if outbox.acked_segment() > tidied {
                                tidied = outbox.acked_segment();
                                self.tidy(tidied);
                            }
                            if acked.complete {
                                break Ok(());
                            }
                        }
                        CollectorMessage::Order(order) => {
                            let _ = self.reports.send(Report::Order { order });
                        }
                        CollectorMessage::Ping(ping) => {
                            let now = clock::wall_us();
                            socket.send(text_of(&AgentMessage::Pong(Pong {
                                sent_us: ping.sent_us,
                                received_us: now,
                                answered_us: now,
                            })));
                        }
                        CollectorMessage::Pong(_) | CollectorMessage::Welcome(_) => {}
                        // Those that end the session came back as a fault.
                        CollectorMessage::Error(error) => tracing::warn!("{}", error.message),
                    }
                }
                changed = self.feed.changed(), if feed_open => {
                    feed_open = changed.is_ok();
                    if self.feed.borrow().progress_count != progress_told.0 {
                        tick.reset_after(PROGRESS_EVERY.saturating_sub(progress_told.1.elapsed()));
                    }
                }
                _ = tick.tick() => {
                    if heard.elapsed() >= DEAD_AFTER {
                        break Err(lost("the collector fell silent"));
                    }
                    let beat = pinged.is_none_or(|at| at.elapsed() >= PING_EVERY);
                    if beat {
                        pinged = Some(Instant::now());
                        let ping = Ping { sent_us: clock::wall_us() };
                        socket.send(text_of(&AgentMessage::Ping(ping)));
                    }
                    let feed = self.feed.borrow();
                    if beat || feed.progress_count != progress_told.0 {
                        progress_told = (feed.progress_count, Instant::now());
                        let (percent, text) = feed.progress.clone().unzip();
                        socket.send(text_of(&AgentMessage::Transient(Transient {
                            percent,
                            text: text.flatten(),
                            highest_seq: Some(feed.end.last_seq),
                            ..Transient::default()
                        })));
                    }
                    drop(feed);
                    if acked.seq != noted && noted_at.elapsed() >= NOTE_EVERY {
                        (noted, noted_at) = (acked.seq, Instant::now());
                        self.note_acked(&acked);
                    }
                }
            }
        };
        self.note_acked(&acked);
        if result.is_ok() {
            // Says goodbye; the collector needs nothing more from us.
            let _ = tokio::time::timeout(Duration::from_millis(200), socket.close()).await;
        }
        result
    }

    /// Tells what the collector has: to who waits for progress, and to the recorder, which need not sync that to its own disk.
    fn tell(&self, acked_seq: u64) {
        self.acked.send_if_modified(|known| std::mem::replace(known, acked_seq) != acked_seq);
        if let Some(recorder) = &self.recorder {
            // It does not block. What the recorder has no time to read may be left out: the next says more.
            let _ = rustix::io::write(recorder, &crate::control::line(&Answer::Acked(acked_seq)));
        }
    }

    /// Notes what the collector has. A disk that does not take the note is no reason to do without the link.
    fn note_acked(&self, acked: &Acked) {
        self.tell(acked.seq);
        if let Err(error) = self.run.set_acked(acked) {
            tracing::debug!("what the collector has could not be noted: {error:#}");
        }
    }

    /// Deletes the segments before `segment`: the collector has all of them.
    fn tidy(&self, segment: u64) {
        let numbers = spool::segments(&RealDisk, self.run.dir()).unwrap_or_default();
        for number in numbers.into_iter().filter(|&number| number < segment) {
            let path = self.run.dir().join(format!("{number:08}.seg"));
            if let Err(error) = RealDisk.remove(&path) {
                tracing::warn!("could not delete {}: {error}", path.display());
            }
        }
    }
}

fn text_of(message: &AgentMessage) -> Message {
    Message::text(message.to_text())
}

/// What the collector said. A refusal that ends the session is a fault; an unknown message is none.
fn said(text: &Utf8Bytes) -> Result<Option<CollectorMessage>, Fault> {
    let message = match CollectorMessage::parse(text) {
        Ok(message) => message,
        Err(error) => {
            tracing::debug!("{error}");
            return Ok(None);
        }
    };
    if let CollectorMessage::Error(error) = &message {
        if error.code == ErrorCode::UNKNOWN_MESSAGE {
            return Ok(Some(message));
        }
        if error.retryable {
            return Err(lost(&error.message));
        }
        return Err(Fault::Refused(Refusal {
            code: error.code.clone(),
            message: error.message.clone(),
            retryable: false,
        }));
    }
    Ok(Some(message))
}

fn closed(frame: Option<&tokio_tungstenite::tungstenite::protocol::CloseFrame>) -> Fault {
    match frame {
        Some(frame) if !frame.reason.is_empty() => {
            lost(format!("the collector closed the link: {}", frame.reason))
        }
        _ => lost("the collector closed the link"),
    }
}

/// Somewhere between half of `pause` and all of it, so that consoles do not dial in step.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_bytes()[0];
    pause.mul_f64(0.5 + f64::from(random) / 512.0)
}
