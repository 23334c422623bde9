//! Spools that are full before the clock starts, or are filled at a rate, and the agent's own way of delivering them.
//!
//! The lines are given or those of `deckport-agent simulate`; the spool's writer, its reader, the outbox (batches,
//! compression, chain, window) and the dialling are the agent's library. What stands here beside them is
//! the loop that notes when each frame left and when it was acknowledged.

use crate::dice::Dice;
use crate::measure::ms;
use crate::stamped::boot_us;
use crate::{Call, Collector, programs};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use deckport_agent::clock::{Stamp, boot_id};
use deckport_agent::disk::RealDisk;
use deckport_agent::spool::{Item, Position, Writer};
use deckport_agent::state::{Acked, Meta, Run, RunLock, State};
use deckport_agent::uplink::link::{Stream, Target};
use deckport_agent::uplink::outbox::Outbox;
use deckport_protocol::columns::Header;
use deckport_protocol::limits::PIECE_BYTES;
use deckport_protocol::message::{Ack, AgentMessage, CollectorMessage, Hello, Pong, Welcome};
use deckport_protocol::{
    ABILITY_COLUMNS, ABILITY_ZSTD, Chain, DeploymentId, Event, Frame, Limits, Outcome,
    PROTOCOL_VERSION, Source, StreamId,
};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// One console with a spool that nobody writes to any more.
#[derive(Debug)]
pub struct Console {
    pub run: Run,
    pub meta: Meta,
    pub end: Position,
    /// Lines of output in it.
    pub lines: u64,
    /// Records in a batch at most, if not as many as an agent likes.
    pub batch: Option<usize>,
    _lock: RunLock,
}

impl Console {
    fn bounded(&self, mut limits: Limits) -> Limits {
        limits.records = self.batch.map_or(limits.records, |batch| batch.min(limits.records));
        limits
    }
}

/// Who a console is.
pub fn meta_of(state: &State, name: &str) -> Result<Meta> {
    Ok(Meta {
        deployment_id: DeploymentId::new(),
        stream_id: StreamId::new(),
        console: state.console(Some(name))?,
        template: Some("benchmark".to_owned()),
        command: vec!["deckport-agent".to_owned(), "simulate".to_owned()],
        collector: None,
        token_file: None,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// When lines were printed: some at once, as one read of a terminal brings them, then a pause. The clock of an installation that
/// printed 2,500 lines a second until now.
#[derive(Debug)]
struct Printing {
    dice: Dice,
    stamp: Stamp,
    /// So many more lines came with the same read.
    with_it: u64,
}

impl Printing {
    /// Lines in one read are 1 to this; pauses are up to so long.
    const AT_ONCE: u64 = 49;
    const PAUSE_US: u64 = 20_000;

    fn new(lines: u64, seed: u64) -> Self {
        let now = Stamp::now();
        let took = lines * Self::PAUSE_US / (Self::AT_ONCE + 1);
        let stamp = Stamp {
            boot_us: now.boot_us.saturating_sub(took),
            at_us: now.at_us.saturating_sub_unsigned(took),
        };
        Self { dice: Dice::new(seed), stamp, with_it: 0 }
    }

    fn next(&mut self) -> Stamp {
        if self.with_it == 0 {
            self.with_it = 1 + self.dice.below(Self::AT_ONCE);
            let pause = self.dice.below(Self::PAUSE_US);
            self.stamp.boot_us += pause;
            self.stamp.at_us = self.stamp.at_us.saturating_add_unsigned(pause);
        }
        self.with_it -= 1;
        self.stamp
    }
}

/// A console that exists, with a spool in which its installation has begun.
fn begun(dir: &Path, number: usize) -> Result<(Console, Writer<RealDisk>)> {
    let name = format!("bay-{number}");
    let state = State::open(Some(dir.join(&name)))?;
    let meta = meta_of(&state, &name)?;
    let (run, lock) = state.create_run(&meta)?;
    run.raise_incarnation()?;
    let directory = run.dir().to_owned();
    let (mut writer, _) = Writer::open(RealDisk, directory, boot_id(), u64::MAX / 4, 0)?;
    let end = writer.commit(vec![event(Event::DeploymentStarted {
        console_id: meta.console.console_id,
        console_name: name,
        template: meta.template.clone(),
        command: meta.command.clone(),
        agent_version: meta.agent_version.clone(),
        boot_id: boot_id(),
        context: serde_json::json!({}),
    })])?;
    Ok((Console { run, meta, end, lines: 0, batch: None, _lock: lock }, writer))
}

fn event(event: Event) -> Item {
    Item::Event { stamp: Stamp::now(), event: Box::new(event) }
}

fn finished() -> Item {
    let message = "done".to_owned();
    event(Event::DeploymentFinished { outcome: Outcome::Succeeded, exit: None, message })
}

/// A line as a terminal passes it on, in the pieces that an agent makes of it.
fn output(line: &[u8], stamp: Stamp, items: &mut Vec<Item>) {
    let mut bytes = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
    if !bytes.ends_with(b"\r") {
        bytes.push(b'\r');
    }
    bytes.push(b'\n');
    let mut rest = Bytes::from(bytes);
    while rest.len() > PIECE_BYTES {
        let bytes = rest.split_to(PIECE_BYTES);
        items.push(Item::Output { stamp, bytes, continues: true, source: Source::Terminal });
    }
    items.push(Item::Output { stamp, bytes: rest, continues: false, source: Source::Terminal });
}

/// Fills a spool with a whole installation that printed `lines`.
pub fn fill_with<'a>(
    dir: &Path,
    number: usize,
    lines: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Result<Console> {
    let (mut console, mut writer) = begun(dir, number)?;
    let mut printing = Printing::new(lines.len() as u64, number as u64);
    let mut items = Vec::new();
    for line in lines {
        console.lines += 1;
        output(line, printing.next(), &mut items);
        if items.len() >= 4096 {
            writer.commit(std::mem::take(&mut items))?;
        }
    }
    items.push(finished());
    console.end = writer.commit(items)?;
    Ok(console)
}

/// The same with what `deckport-agent simulate` prints.
pub fn fill(dir: &Path, number: usize, lines: u64) -> Result<Console> {
    let printed = simulated(number, lines)?;
    let lines: Vec<&[u8]> = printed.split_inclusive(|&byte| byte == b'\n').collect();
    fill_with(dir, number, lines.into_iter())
}

/// What `deckport-agent simulate` prints.
pub fn simulated(number: usize, lines: u64) -> Result<Vec<u8>> {
    let simulate = Call::new(programs::agent()?).arg("simulate");
    let simulate = simulate.args(["--lines", &lines.to_string(), "--seed", &number.to_string()]);
    Ok(simulate.output()?.stdout)
}

/// Every frame that the agent would send of the console's spool, in order.
pub fn frames(console: &Console) -> Result<Vec<Bytes>> {
    let limits = console.bounded(Limits { unacked_bytes: usize::MAX, ..Limits::default() });
    let mut chain = Chain::START;
    let mut outbox = Outbox::new(&console.run, 0, chain, true, limits)?;
    let mut frames = Vec::new();
    while let Some(bytes) = outbox.next(&console.end, Instant::now())? {
        let frame = Frame::decode(&bytes, &limits)?;
        for record in frame.records() {
            chain = chain.extend(&record);
        }
        outbox.acked(frame.last_seq(), chain, Instant::now())?;
        frames.push(bytes);
    }
    Ok(frames)
}

/// Where `collector` is, as an agent sees it.
pub fn target(collector: &Collector) -> Result<Target> {
    let address = collector.url().parse().context("the collector's address")?;
    Ok(Target { address, token_file: Some(collector.token_file()), state: PathBuf::new() })
}

/// Dials and greets.
pub async fn greet(
    target: &Target,
    meta: &Meta,
    incarnation: u64,
    (lowest_seq, highest_seq): (u64, u64),
) -> Result<(WebSocketStream<Stream>, Welcome)> {
    let mut socket = target.dial(meta.deployment_id).await?;
    let hello = AgentMessage::Hello(Hello {
        protocol: PROTOCOL_VERSION,
        abilities: vec![ABILITY_COLUMNS.into(), ABILITY_ZSTD.into()],
        deployment_id: meta.deployment_id,
        stream_id: meta.stream_id,
        incarnation,
        console_id: meta.console.console_id,
        console_name: meta.console.name.clone(),
        template: meta.template.clone(),
        agent_version: meta.agent_version.clone(),
        lowest_seq,
        highest_seq,
    });
    socket.send(Message::text(hello.to_text())).await?;
    // Ends with the welcome, an error or the link.
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            match CollectorMessage::parse(&text)? {
                CollectorMessage::Welcome(welcome) => return Ok((socket, welcome)),
                CollectorMessage::Error(error) => bail!("refused: {}", error.message),
                _ => {}
            }
        }
    }
    bail!("the collector closed the link instead of a welcome")
}

/// The answer to a message of the collector that wants one.
pub fn answer(message: &CollectorMessage) -> Option<Message> {
    let CollectorMessage::Ping(ping) = message else { return None };
    let now = deckport_agent::clock::wall_us();
    let pong = Pong { sent_us: ping.sent_us, received_us: now, answered_us: now };
    Some(Message::text(AgentMessage::Pong(pong).to_text()))
}

/// A frame that was acknowledged: when it was sent, and how long that took.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub sent: Instant,
    pub took_ms: f64,
}

/// Frames on their way, and those that were acknowledged.
#[derive(Debug, Default)]
struct Sent {
    waiting: VecDeque<(u64, Instant)>,
    answered: Vec<Answered>,
}

impl Sent {
    /// Sends what the window has room for.
    async fn send(
        &mut self,
        outbox: &mut Outbox,
        end: &Position,
        sink: &mut SplitSink<WebSocketStream<Stream>, Message>,
    ) -> Result<()> {
        let mut flush = false;
        while let Some(frame) = outbox.next(end, Instant::now())? {
            self.waiting.push_back((Header::read(&frame)?.last_seq, Instant::now()));
            sink.feed(Message::Binary(frame)).await?;
            flush = true;
        }
        if flush {
            sink.flush().await?;
        }
        Ok(())
    }

    fn acked(&mut self, outbox: &mut Outbox, ack: &Ack) -> Result<()> {
        let now = Instant::now();
        while let Some((_, left)) = self.waiting.pop_front_if(|(seq, _)| *seq <= ack.acked_seq) {
            self.answered.push(Answered { sent: left, took_ms: ms(now - left) });
        }
        Ok(outbox.acked(ack.acked_seq, ack.chain, now)?)
    }
}

/// Delivers all of `console`, once all others have been greeted. How long each frame's
/// acknowledgement took, in milliseconds.
pub async fn deliver(
    console: &Console,
    target: &Target,
    all_greeted: &Barrier,
) -> Result<Vec<f64>> {
    let incarnation = console.run.incarnation();
    let greeted = greet(target, &console.meta, incarnation, (1, console.end.last_seq)).await;
    all_greeted.wait().await;
    let (socket, welcome) = greeted?;
    let limits = console.bounded(welcome.limits);
    let mut outbox = Outbox::new(&console.run, welcome.acked_seq, welcome.chain, true, limits)?;
    let (mut sink, mut stream) = socket.split();
    let mut sent = Sent::default();
    let mut noted = Instant::now();
    loop {
        sent.send(&mut outbox, &console.end, &mut sink).await?;
        let message = stream.next().await.context("the collector closed the link")??;
        let Message::Text(text) = message else { continue };
        let message = CollectorMessage::parse(&text)?;
        if let Some(answer) = answer(&message) {
            sink.send(answer).await?;
        }
        match message {
            CollectorMessage::Ack(ack) => {
                sent.acked(&mut outbox, &ack)?;
                let complete = outbox.complete(ack.acked_seq);
                // As the uplink does, five times a second.
                if complete || noted.elapsed() >= Duration::from_millis(200) {
                    noted = Instant::now();
                    let acked = Acked { seq: ack.acked_seq, chain: ack.chain, complete };
                    console.run.set_acked(&acked)?;
                }
                if complete {
                    sink.send(Message::Close(None)).await?;
                    return Ok(sent.answered.iter().map(|frame| frame.took_ms).collect());
                }
            }
            CollectorMessage::Error(error) => bail!("refused: {}", error.message),
            _ => {}
        }
    }
}

/// How a console prints while it delivers.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Lines a second.
    pub rate: u64,
    pub seconds: u64,
}

/// How often a printing console prints: as many lines at once as are due.
const TICK: Duration = Duration::from_millis(10);

/// A console that prints `texts`, again and again, at a rate, each behind its number and the time of printing as
/// `simulate --stamp` has them, and delivers it as it is written. Its state is in the folder `bay-NUMBER`.
pub async fn print(
    dir: &Path,
    number: usize,
    texts: &[&[u8]],
    target: &Target,
    pace: Pace,
) -> Result<Vec<Answered>> {
    let (mut console, mut writer) = begun(dir, number)?;
    let incarnation = console.run.incarnation();
    let (socket, welcome) = greet(target, &console.meta, incarnation, (1, 1)).await?;
    let mut outbox =
        Outbox::new(&console.run, welcome.acked_seq, welcome.chain, true, welcome.limits)?;
    let (mut sink, mut stream) = socket.split();
    let (mut sent, mut tidied) = (Sent::default(), 1);
    let total = pace.rate * pace.seconds;
    let began = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut texts = texts.iter().cycle();
    // Ends with the acknowledgement of the last record.
    loop {
        // Dropping either branch loses nothing: a tick comes again, a message stays in the socket.
        let message = tokio::select! {
            _ = tick.tick(), if console.lines < total => None,
            message = stream.next() => Some(message.context("the collector closed the link")??),
        };
        match message {
            None => {
                let due = (began.elapsed().as_secs_f64() * pace.rate as f64) as u64;
                let mut items = Vec::new();
                let stamp = Stamp::now();
                while console.lines < due.min(total) {
                    let text = texts.next().context("lines to print")?;
                    let mut line = format!("#{} {} ", console.lines, boot_us()).into_bytes();
                    line.extend_from_slice(text);
                    output(&line, stamp, &mut items);
                    console.lines += 1;
                }
                if console.lines == total {
                    items.push(finished());
                }
                console.end = writer.commit(items)?;
            }
            Some(Message::Text(text)) => {
                let message = CollectorMessage::parse(&text)?;
                if let Some(answer) = answer(&message) {
                    sink.send(answer).await?;
                }
                match message {
                    CollectorMessage::Ack(ack) => {
                        sent.acked(&mut outbox, &ack)?;
                        // As the uplink does.
                        while tidied < outbox.acked_segment() {
                            let path = console.run.dir().join(format!("{tidied:08}.seg"));
                            std::fs::remove_file(path)?;
                            tidied += 1;
                        }
                        if outbox.complete(ack.acked_seq) {
                            sink.send(Message::Close(None)).await?;
                            return Ok(sent.answered);
                        }
                    }
                    CollectorMessage::Error(error) => bail!("refused: {}", error.message),
                    _ => {}
                }
            }
            Some(_) => {}
        }
        sent.send(&mut outbox, &console.end, &mut sink).await?;
    }
}
