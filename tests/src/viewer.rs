//! A viewer that counts: subscribes to `records` of one deployment, checks every frame, reconnects
//! with its cursor.
//!
//! A frame must begin right behind the one before. Anything else is written down as a violation:
//! a hole (lost), a repeat, or a frame that is not what its announcement said.

use crate::api::Api;
use crate::dice::Dice;
use crate::wait::{eventually, pause};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use deckport_protocol::{BodyRef, Chain, Frame, Limits};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

/// A WebSocket to the collector with the token, for whatever a story wants to say.
pub fn connect(api: &Api, path: &str) -> Result<WebSocket<TcpStream>> {
    let mut request = format!("ws://127.0.0.1:{}{path}", api.port).into_client_request()?;
    if let Some(token) = &api.token {
        request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
    }
    let stream = TcpStream::connect_timeout(&api.address(), Duration::from_secs(2))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    match tokio_tungstenite::tungstenite::client::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(error) => bail!("no WebSocket: {error}"),
    }
}

/// The next message; `None` when none came within `patience`.
pub fn next(socket: &mut WebSocket<TcpStream>, patience: Duration) -> Result<Option<Message>> {
    socket.get_ref().set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
    match socket.read() {
        Ok(message) => Ok(Some(message)),
        Err(Error::Io(error))
            if matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What the viewer has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The last record that came: where it goes on from.
    pub cursor: u64,
    /// All output.
    pub output: Vec<u8>,
    /// The events' JSON, with their sequence numbers.
    pub events: Vec<(u64, String)>,
    pub chain: Chain,
    /// The terminal record came.
    pub ended: bool,
    /// What must not have happened.
    pub violations: Vec<String>,
    pub connections: u64,
    /// How often it began again from nothing.
    pub restarts: u64,
}

impl Seen {
    const fn new() -> Self {
        Self {
            cursor: 0,
            output: Vec::new(),
            events: Vec::new(),
            chain: Chain::START,
            ended: false,
            violations: Vec::new(),
            connections: 0,
            restarts: 0,
        }
    }

    fn frame(&mut self, announced: (u64, u64), bytes: &Bytes) {
        let limits = Limits {
            message_bytes: usize::MAX,
            body_bytes: usize::MAX,
            records: usize::MAX,
            ..Limits::default()
        };
        let frame = match Frame::decode(bytes, &limits) {
            Ok(frame) => frame,
            Err(error) => return self.violations.push(format!("not a frame: {error}")),
        };
        if (frame.first_seq(), frame.last_seq()) != announced {
            self.violations.push(format!(
                "announced {announced:?}, came {}..={}",
                frame.first_seq(),
                frame.last_seq()
            ));
        }
        let expected = self.cursor + 1;
        if frame.first_seq() > expected {
            self.violations.push(format!("lost {expected}..{}", frame.first_seq()));
        } else if frame.first_seq() < expected {
            self.violations.push(format!("{} again, after {}", frame.first_seq(), self.cursor));
        }
        if self.ended {
            self.violations.push(format!("{} after the terminal record", frame.first_seq()));
        }
        for record in frame.records() {
            self.chain = self.chain.extend(&record);
            match record.body {
                BodyRef::Output { bytes, .. } => self.output.extend_from_slice(bytes),
                BodyRef::Event(text) => {
                    self.ended |= deckport_protocol::event::parse(text)
                        .is_ok_and(|event| event.is_terminal());
                    self.events.push((record.seq, text.to_owned()));
                }
            }
        }
        self.cursor = frame.last_seq();
    }
}

/// How a viewer treats its own connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// Breaks its own connection after so much time at most, at random. `None`: keeps it.
    pub leaves_after: Option<Duration>,
    /// One in so many of its own reconnections begins from nothing. 0: none.
    pub begins_again_one_in: u64,
    pub seed: u64,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Seen>,
    stop: std::sync::atomic::AtomicBool,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A running viewer.
#[derive(Debug)]
pub struct Viewer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Viewer {
    /// Begins to watch the deployment `id`; it may be unknown to the collector as yet.
    pub fn start(api: Api, id: &str, habit: Habit) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::new(Seen::new()),
            stop: std::sync::atomic::AtomicBool::new(false),
        });
        let (theirs, id) = (Arc::clone(&shared), id.to_owned());
        let thread = std::thread::spawn(move || {
            let mut dice = Dice::new(habit.seed);
            // Ends with the stream, or when asked to.
            while !theirs.stopped() && !theirs.seen().ended {
                // A failed connection is what fault runs are about: try again.
                let _ = watch(&theirs, &api, &id, habit, &mut dice);
                pause(Duration::from_millis(10));
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// The last record that came.
    pub fn cursor(&self) -> u64 {
        self.shared.seen().cursor
    }

    pub fn output_bytes(&self) -> usize {
        self.shared.seen().output.len()
    }

    pub fn ended(&self) -> bool {
        self.shared.seen().ended
    }

    pub fn violations(&self) -> Vec<String> {
        self.shared.seen().violations.clone()
    }

    /// Waits for the terminal record and gives everything that was seen. Any violation is an error.
    pub fn finish(mut self, deadline: Duration) -> Result<Seen> {
        let waited = eventually(deadline, "the viewer sees the end of the stream", || {
            let seen = self.shared.seen();
            (seen.ended || !seen.violations.is_empty()).then_some(())
        });
        let seen = self.stop();
        if let Some(first) = seen.violations.first() {
            bail!("{} violations, the first: {first}", seen.violations.len());
        }
        waited.with_context(|| format!("it stands at record {}", seen.cursor))?;
        Ok(seen)
    }

    /// Stops watching.
    pub fn stop(&mut self) -> Seen {
        self.shared.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread shows as a stream that never ended.
            let _ = thread.join();
        }
        self.shared.seen().clone()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.shared.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// One connection.
fn watch(shared: &Shared, api: &Api, id: &str, habit: Habit, dice: &mut Dice) -> Result<()> {
    let mut socket = connect(api, "/ws/live")?;
    let leave_at = habit.leaves_after.map(|most| Instant::now() + dice.duration(most));
    let after = {
        let mut seen = shared.seen();
        let came_back = seen.connections > 0;
        if came_back && habit.begins_again_one_in > 0 && dice.one_in(habit.begins_again_one_in) {
            let (connections, restarts) = (seen.connections, seen.restarts + 1);
            let violations = std::mem::take(&mut seen.violations);
            *seen = Seen { connections, restarts, violations, ..Seen::new() };
        }
        seen.connections += 1;
        seen.cursor
    };
    let subscribe = json!({
        "type": "subscribe", "id": 1, "topic": "records", "deployment_id": id, "after": after
    });
    socket.send(Message::text(subscribe.to_string()))?;
    let mut announced = None;
    // Ends with the stream, the connection, or this viewer's patience.
    loop {
        if shared.stopped() || leave_at.is_some_and(|at| Instant::now() >= at) {
            return Ok(());
        }
        match next(&mut socket, Duration::from_millis(50))? {
            Some(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text)?;
                match message["type"].as_str() {
                    Some("frame") => {
                        let number = |name: &str| message[name].as_u64().unwrap_or(0);
                        announced = Some((number("first_seq"), number("last_seq")));
                    }
                    // Not known yet, or the collector is leaving: come back.
                    Some("error" | "ended") => return Ok(()),
                    _ => {}
                }
            }
            Some(Message::Binary(bytes)) => {
                let mut seen = shared.seen();
                match announced.take() {
                    Some(range) => seen.frame(range, &bytes),
                    None => seen.violations.push("a frame that was not announced".to_owned()),
                }
                if seen.ended {
                    return Ok(());
                }
            }
            Some(Message::Close(_)) => return Ok(()),
            Some(_) | None => {}
        }
    }
}
