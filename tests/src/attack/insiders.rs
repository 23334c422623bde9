//! Insiders: consoles that were added and are now somebody else's, and an operator's viewers that do not read.

use super::door::{Door, Known, address, code, why};
use super::{Attack, Notes};
use anyhow::Result;
use bytes::Bytes;
use deckport_protocol::message::{AgentMessage, Hello, Ping};
use deckport_protocol::{
    ABILITY_COLUMNS, ABILITY_ZSTD, BodyRef, BootId, DeploymentId, FrameBuilder, PROTOCOL_VERSION,
    RecordRef, Source, StreamId,
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::{Error, Message};

/// What an insider floods with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Pings of the protocol and of WebSocket.
    Pings,
    /// Frames of one short line.
    Tiny,
    /// The largest frames there are, which a few bytes become.
    Large,
    /// What is no frame.
    Broken,
    /// Connections.
    Knocks,
}

impl Flood {
    pub const ALL: [Self; 5] = [Self::Pings, Self::Tiny, Self::Large, Self::Broken, Self::Knocks];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Pings => "console: pings",
            Self::Tiny => "console: tiny frames",
            Self::Large => "console: large frames",
            Self::Broken => "console: broken frames",
            Self::Knocks => "console: connects",
        }
    }
}

/// Frames of nearly two megabytes in a second: twice what a console's rate lets through.
const LARGE: u64 = 16;

pub const IDLE: &str = "console: idle sockets";
pub const DEAF: &str = "viewer: reads nothing";

/// Starts them all.
pub(super) fn set_out(
    attack: &Arc<Attack>,
    notes: &Notes,
    until: Instant,
    all: &mut JoinSet<()>,
) -> Result<()> {
    // Made once: what attackers do with their own processors is to come out of nobody's but theirs.
    let mut large = Frames::new(120, 16_000);
    let large: Arc<[Bytes]> = (0..LARGE * attack.seconds).map(|_| large.next()).collect();
    for (number, known) in attack.insiders.iter().enumerate() {
        let from = address(200 + number);
        let door = Door::new(attack.collector, attack.pin, from, Some(known))?;
        for _ in 0..attack.idle_each {
            let (door, notes) = (door.clone(), notes.clone());
            all.spawn(async move {
                // Ends with the attack.
                while Instant::now() < until {
                    let begun = Instant::now();
                    let end = idle(&door).await;
                    notes.ended(IDLE, end, begun.elapsed(), 0);
                    sleep(Duration::from_secs(1)).await;
                }
            });
        }
        let flood = Flood::ALL[number % Flood::ALL.len()];
        let (known, notes, large) = (known.clone(), notes.clone(), Arc::clone(&large));
        all.spawn(async move {
            while Instant::now() < until {
                let begun = Instant::now();
                let (end, done) = match once(&door, &known, (flood, &large), until).await {
                    Ok(ended) => ended,
                    Err(error) => (why(&error), 0),
                };
                notes.ended(flood.name(), end, begun.elapsed(), done);
                let pause = if flood == Flood::Knocks { 0 } else { 100 };
                sleep(Duration::from_millis(pause)).await;
            }
        });
    }
    for number in 0..attack.deaf_viewers {
        let door = Door::new(attack.collector, attack.pin, address(240 + number), None)?;
        let (attack, notes) = (Arc::clone(attack), notes.clone());
        all.spawn(async move {
            while Instant::now() < until {
                let begun = Instant::now();
                let (end, done) = match deaf(&door, &attack).await {
                    Ok(ended) => ended,
                    Err(error) => (why(&error), 0),
                };
                notes.ended(DEAF, end, begun.elapsed(), done);
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    Ok(())
}

/// Opens a stream's socket and says nothing: the code that it is ended with.
async fn idle(door: &Door) -> String {
    let path = format!("/ws/deployment/{}", DeploymentId::new());
    let mut socket = match door.socket(&path, None, None).await {
        Ok(socket) => socket,
        Err(error) => return why(&error),
    };
    let mut end = "closed".to_owned();
    while let Some(Ok(message)) = socket.next().await {
        end = code(&message).unwrap_or(end);
    }
    end
}

/// What a console says first on a new run's socket.
pub fn hello(known: &Known) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        abilities: vec![ABILITY_COLUMNS.to_owned(), ABILITY_ZSTD.to_owned()],
        deployment_id: DeploymentId::new(),
        stream_id: StreamId::new(),
        incarnation: 1,
        console_id: known.identity.console_id,
        console_name: known.identity.name.clone(),
        template: None,
        agent_version: "0.1.0".to_owned(),
        lowest_seq: 1,
        highest_seq: 1,
    }
}

/// Frames of `count` lines of `length` bytes, one behind the other.
struct Frames {
    boot_id: BootId,
    next: u64,
    count: u64,
    line: Vec<u8>,
}

impl Frames {
    fn new(count: u64, length: usize) -> Self {
        let mut line = vec![b'.'; length];
        line.push(b'\n');
        Self { boot_id: BootId::new(), next: 1, count, line }
    }

    fn next(&mut self) -> Bytes {
        let mut builder = FrameBuilder::new();
        for seq in self.next..self.next + self.count {
            let body = BodyRef::Output {
                bytes: &self.line,
                continues: false,
                source: Source::Terminal,
                annotation: None,
            };
            builder.push(&RecordRef { seq, span: 1, boot_us: seq, at_us: 1, body });
        }
        self.next += self.count;
        builder.finish(self.boot_id, true).unwrap_or_default()
    }
}

/// Floods until it is cut off or the time is over: the code that it ended with, and the messages that were taken.
async fn once(
    door: &Door,
    known: &Known,
    (flood, large): (Flood, &[Bytes]),
    until: Instant,
) -> Result<(String, u64), Error> {
    if flood == Flood::Knocks {
        door.open(None).await?;
        return Ok(("done".to_owned(), 1));
    }
    let hello = hello(known);
    let path = format!("/ws/deployment/{}", hello.deployment_id);
    let mut socket = door.socket(&path, None, None).await?;
    socket.send(Message::text(AgentMessage::Hello(hello).to_text())).await?;
    let (mut sink, mut stream) = socket.split();
    let mut frames = Frames::new(1, 20);
    let mut large = large.iter().cloned();
    let ping = AgentMessage::Ping(Ping { sent_us: 1 }).to_text();
    let mut sent = 0;
    let send = async {
        while Instant::now() < until {
            let message = match flood {
                Flood::Pings if sent % 2 == 0 => Message::Ping(Bytes::from_static(b"?")),
                Flood::Pings => Message::text(ping.clone()),
                Flood::Broken => Message::Binary(Bytes::from_static(b"this is no frame at all")),
                Flood::Large => match large.next() {
                    Some(frame) => Message::Binary(frame),
                    // More than is taken in all the time.
                    None => std::future::pending().await,
                },
                Flood::Tiny | Flood::Knocks => Message::Binary(frames.next()),
            };
            if sink.send(message).await.is_err() {
                break;
            }
            sent += 1;
        }
        if Instant::now() < until {
            // The reason is still to be read.
            std::future::pending::<()>().await;
        }
    };
    let read = async {
        let mut end = "closed".to_owned();
        while let Some(Ok(message)) = stream.next().await {
            end = code(&message).unwrap_or(end);
        }
        end
    };
    let end = tokio::select! {
        () = send => "lasted".to_owned(),
        end = read => end,
    };
    Ok((end, sent))
}

/// Subscribes to everything and reads nothing for longer than anybody is waited for: how it ended, and that it had begun.
async fn deaf(door: &Door, attack: &Attack) -> Result<(String, u64), Error> {
    let mut socket = door.socket("/ws/live", Some(&attack.operator), Some(16 * 1024)).await?;
    for (id, deployment) in attack.deployments.iter().take(60).enumerate() {
        let subscribe = json!({
            "type": "subscribe", "id": id, "topic": "records", "deployment_id": deployment, "after": 0
        });
        socket.send(Message::text(subscribe.to_string())).await?;
    }
    let fleet = json!({ "type": "subscribe", "id": 1000, "topic": "fleet" });
    socket.send(Message::text(fleet.to_string())).await?;
    sleep(Duration::from_secs(25)).await;
    // What was on its way comes, and then the end, if there is one.
    let mut end = "lasted".to_owned();
    let rest = async {
        while let Some(message) = socket.next().await {
            match message {
                Ok(message) => {
                    if let Some(code) = code(&message) {
                        end = code;
                    }
                }
                Err(_) => break,
            }
        }
        if end == "lasted" {
            end = "closed".to_owned();
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), rest).await;
    Ok((end, 1))
}
