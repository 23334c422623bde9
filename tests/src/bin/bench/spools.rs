//! Spools that are full before the clock starts, and the agent's own way of delivering them.
//!
//! The lines are those of `deckport-agent simulate`; the spool's writer, its reader, the outbox (batches,
//! compression, chain, window) and the dialling are the agent's library. What stands here beside them is
//! the loop that notes when each frame left and when it was acknowledged.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use deckport_agent::clock::{Stamp, boot_id};
use deckport_agent::disk::RealDisk;
use deckport_agent::spool::{Item, Position, Writer};
use deckport_agent::state::{Acked, Meta, Run, RunLock, State};
use deckport_agent::uplink::link::Target;
use deckport_agent::uplink::outbox::Outbox;
use deckport_agent::uplink::target_of;
use deckport_protocol::columns::Header;
use deckport_protocol::message::{AgentMessage, CollectorMessage, Hello, Pong, Welcome};
use deckport_protocol::{
    ABILITY_COLUMNS, ABILITY_ZSTD, DeploymentId, Event, Outcome, PROTOCOL_VERSION, Source, StreamId,
};
use deckport_tests::measure::ms;
use deckport_tests::{Call, Collector, programs};
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// One console with a spool that nobody writes to any more.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) run: Run,
    pub(crate) meta: Meta,
    pub(crate) end: Position,
    /// Lines of output in it.
    pub(crate) lines: u64,
    _lock: RunLock,
}

/// Who a console is.
pub(crate) fn meta_of(state: &State, name: &str) -> Result<Meta> {
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

/// Fills a spool with a whole installation.
pub(crate) fn fill(dir: &Path, number: usize, lines: u64) -> Result<Console> {
    let name = format!("bay-{number}");
    let state = State::open(Some(dir.join(&name)))?;
    let meta = meta_of(&state, &name)?;
    let (run, lock) = state.create_run(&meta)?;
    run.raise_incarnation()?;
    let directory = run.dir().to_owned();
    let (mut writer, _) = Writer::open(RealDisk, directory, boot_id(), u64::MAX / 4, 0)?;
    let event = |event| Item::Event { stamp: Stamp::now(), event: Box::new(event) };
    let mut items = vec![event(Event::DeploymentStarted {
        console_id: meta.console.console_id,
        console_name: name,
        template: meta.template.clone(),
        command: meta.command.clone(),
        agent_version: meta.agent_version.clone(),
        boot_id: boot_id(),
        context: serde_json::json!({}),
    })];
    let simulate = Call::new(programs::agent()?).arg("simulate");
    let simulate = simulate.args(["--lines", &lines.to_string(), "--seed", &number.to_string()]);
    let printed = simulate.output()?.stdout;
    let mut count = 0;
    for line in printed.split_inclusive(|&byte| byte == b'\n') {
        // As a terminal passes it on.
        let mut bytes = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
        bytes.extend_from_slice(b"\r\n");
        count += 1;
        items.push(Item::Output {
            stamp: Stamp::now(),
            bytes: Bytes::from(bytes),
            continues: false,
            source: Source::Terminal,
        });
        if items.len() >= 4096 {
            writer.commit(std::mem::take(&mut items))?;
        }
    }
    items.push(event(Event::DeploymentFinished {
        outcome: Outcome::Succeeded,
        exit: None,
        message: "done".to_owned(),
    }));
    let end = writer.commit(items)?;
    Ok(Console { run, meta, end, lines: count, _lock: lock })
}

/// Where `collector` is, as an agent sees it.
pub(crate) fn target(collector: &Collector, meta: &Meta) -> Result<Target> {
    let mut meta = meta.clone();
    meta.collector = Some(collector.url());
    meta.token_file = Some(collector.token_file());
    target_of(&meta).context("the collector's address")
}

/// Dials and greets.
pub(crate) async fn greet(
    target: &Target,
    meta: &Meta,
    incarnation: u64,
    (lowest_seq, highest_seq): (u64, u64),
) -> Result<(WebSocketStream<TcpStream>, Welcome)> {
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
pub(crate) fn answer(message: &CollectorMessage) -> Option<Message> {
    let CollectorMessage::Ping(ping) = message else { return None };
    let now = deckport_agent::clock::wall_us();
    let pong = Pong { sent_us: ping.sent_us, received_us: now, answered_us: now };
    Some(Message::text(AgentMessage::Pong(pong).to_text()))
}

/// Delivers all of `console`, once all others have been greeted. How long each frame's
/// acknowledgement took, in milliseconds.
pub(crate) async fn deliver(
    console: &Console,
    target: &Target,
    all_greeted: &Barrier,
) -> Result<Vec<f64>> {
    let incarnation = console.run.incarnation();
    let greeted = greet(target, &console.meta, incarnation, (1, console.end.last_seq)).await;
    all_greeted.wait().await;
    let (socket, welcome) = greeted?;
    let mut outbox =
        Outbox::new(&console.run, welcome.acked_seq, welcome.chain, true, welcome.limits)?;
    let (mut sink, mut stream) = socket.split();
    let mut sent: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut took = Vec::new();
    let mut noted = Instant::now();
    loop {
        let mut flush = false;
        while let Some(frame) = outbox.next(&console.end, Instant::now())? {
            sent.push_back((Header::read(&frame)?.last_seq, Instant::now()));
            sink.feed(Message::Binary(frame)).await?;
            flush = true;
        }
        if flush {
            sink.flush().await?;
        }
        let message = stream.next().await.context("the collector closed the link")??;
        let Message::Text(text) = message else { continue };
        let message = CollectorMessage::parse(&text)?;
        if let Some(answer) = answer(&message) {
            sink.send(answer).await?;
        }
        match message {
            CollectorMessage::Ack(ack) => {
                let now = Instant::now();
                while let Some((seq, left)) = sent.front().copied()
                    && seq <= ack.acked_seq
                {
                    took.push(ms(now - left));
                    sent.pop_front();
                }
                outbox.acked(ack.acked_seq, ack.chain, now)?;
                let complete = outbox.complete(ack.acked_seq);
                // As the uplink does, five times a second.
                if complete || noted.elapsed() >= Duration::from_millis(200) {
                    noted = Instant::now();
                    let acked = Acked { seq: ack.acked_seq, chain: ack.chain, complete };
                    console.run.set_acked(&acked)?;
                }
                if complete {
                    sink.send(Message::Close(None)).await?;
                    return Ok(took);
                }
            }
            CollectorMessage::Error(error) => bail!("refused: {}", error.message),
            _ => {}
        }
    }
}
