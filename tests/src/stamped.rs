//! Follows the output of `simulate --stamp`: each line tells its number and when it was printed.
//!
//! The printing process and the subscriber are on one machine and read the same clock, so the
//! difference is the whole way: terminal, spool, link, commit, subscription. Line numbers must come
//! one after the other in each deployment; anything else is a violation.

use crate::api::Api;
use crate::viewer::{connect, next};
use anyhow::{Context as _, Result, ensure};
use deckport_protocol::{BodyRef, Frame, Limits};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::TcpStream;
use std::time::Duration;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// Microseconds of the boot-time clock, as `--stamp` prints them.
pub fn boot_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// The number and the time that a line begins with.
pub fn stamp(line: &str) -> Option<(u64, u64)> {
    let mut words = line.strip_prefix('#')?.splitn(3, ' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// A line that came: when it was printed, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    pub printed_us: u64,
    pub took_us: u64,
    /// Of that, until the agent had read it, and until the collector had received it.
    pub read_us: u64,
    pub received_us: u64,
}

#[derive(Debug, Default)]
struct Stream {
    cursor: u64,
    line: Option<u64>,
    ended: bool,
}

/// One live socket with a `records` subscription for each of some deployments.
#[derive(Debug)]
pub struct Follower {
    socket: WebSocket<TcpStream>,
    streams: HashMap<u64, Stream>,
    /// The subscription whose frame comes next, and when the collector received it (wall time).
    announced: Option<(u64, i64)>,
    /// Wall time minus boot time.
    offset_us: i64,
    pub lines: u64,
    pub violations: Vec<String>,
}

impl Follower {
    /// From the beginning of each.
    pub fn start(api: &Api, deployments: &[String]) -> Result<Self> {
        let mut socket = connect(api, "/ws/live")?;
        let mut streams = HashMap::new();
        for (id, deployment) in (1u64..).zip(deployments) {
            let subscribe = json!({
                "type": "subscribe", "id": id, "topic": "records", "deployment_id": deployment,
                "after": 0
            });
            socket.send(Message::text(subscribe.to_string()))?;
            streams.insert(id, Stream::default());
        }
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros();
        let offset_us = i64::try_from(wall)? - boot_us() as i64;
        Ok(Self { socket, streams, announced: None, offset_us, lines: 0, violations: vec![] })
    }

    pub fn ended(&self) -> bool {
        self.streams.values().all(|stream| stream.ended)
    }

    /// Takes one message, if one comes within `patience`; the lines in it go into `came`.
    pub fn take(&mut self, patience: Duration, came: &mut Vec<Came>) -> Result<bool> {
        let Some(message) = next(&mut self.socket, patience)? else { return Ok(false) };
        match message {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text)?;
                let id = message["id"].as_u64();
                match message["type"].as_str() {
                    Some("frame") => {
                        self.announced = id.zip(message["received_at"].as_i64());
                    }
                    Some("ended") => {
                        if let Some(stream) = id.and_then(|id| self.streams.get_mut(&id)) {
                            stream.ended = true;
                        }
                    }
                    Some("error") => ensure!(false, "the collector refused: {text}"),
                    _ => {}
                }
            }
            Message::Binary(bytes) => {
                let now = boot_us();
                let (id, received_at) =
                    self.announced.take().context("a frame that was not announced")?;
                let stream = self.streams.get_mut(&id).context("a subscription of ours")?;
                let frame = Frame::decode(&bytes, &Limits::default())?;
                if frame.first_seq() != stream.cursor + 1 {
                    let text = format!("{} came behind {}", frame.first_seq(), stream.cursor);
                    self.violations.push(text);
                }
                stream.cursor = frame.last_seq();
                for record in frame.records() {
                    let BodyRef::Output { bytes, .. } = record.body else { continue };
                    let text = String::from_utf8_lossy(bytes);
                    let Some((number, printed_us)) = stamp(&text) else { continue };
                    if number != stream.line.map_or(0, |line| line + 1) {
                        let text = format!("line {number} came behind {:?}", stream.line);
                        self.violations.push(text);
                    }
                    stream.line = Some(number);
                    self.lines += 1;
                    let received = (received_at - self.offset_us).max(0).cast_unsigned();
                    came.push(Came {
                        printed_us,
                        took_us: now.saturating_sub(printed_us),
                        read_us: record.boot_us.saturating_sub(printed_us),
                        received_us: received.saturating_sub(printed_us),
                    });
                }
            }
            Message::Close(_) => anyhow::bail!("the collector closed the socket"),
            _ => {}
        }
        Ok(true)
    }
}
