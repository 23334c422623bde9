//! A collector's end of `/ws/deployment/…` in a few lines: takes everything in, and acknowledges it
//! or never does.

use crate::viewer::next;
use anyhow::{Context as _, Result, bail};
use deckport_protocol::message::{Ack, AgentMessage, CollectorMessage, Pong, Welcome};
use deckport_protocol::{BodyRef, Chain, Frame, Limits, PROTOCOL_VERSION, ServerEpoch};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// What came in, for one deployment (the only one that is expected).
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub last_seq: u64,
    pub chain: Chain,
    pub output: Vec<u8>,
    pub events: Vec<(u64, String)>,
    /// The terminal record came.
    pub ended: bool,
    pub violations: Vec<String>,
}

type Watcher = Box<dyn Fn(&Taken) + Send + Sync>;

struct Shared {
    acknowledges: bool,
    closed: AtomicBool,
    taken: Mutex<Taken>,
    watcher: Watcher,
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listening sink.
pub struct Sink {
    port: u16,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Sink {
    /// Listens. `watcher` is called with everything that came so far, after each frame and before it is acknowledged.
    pub fn start(
        acknowledges: bool,
        watcher: impl Fn(&Taken) + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::go_on(Taken::default(), acknowledges, watcher)
    }

    /// A sink that already has something.
    pub fn go_on(
        taken: Taken,
        acknowledges: bool,
        watcher: impl Fn(&Taken) + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            acknowledges,
            closed: AtomicBool::new(false),
            taken: Mutex::new(taken),
            watcher: Box::new(watcher),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.closed.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                std::thread::spawn(move || {
                    // An agent that was killed breaks its link.
                    let _ = serve(&shared, stream);
                });
            }
        });
        Ok(Self { port, shared })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn taken(&self) -> Taken {
        self.shared.taken().clone()
    }

    pub fn last_seq(&self) -> u64 {
        self.shared.taken().last_seq
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // Wakes the listener so that it sees that it is closed.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let Ok(mut socket) = tokio_tungstenite::tungstenite::accept(stream) else {
        bail!("no WebSocket")
    };
    // Without acknowledgements the agent would stop at the bound of what may be under way.
    let limits = Limits { unacked_bytes: 1 << 40, ..Limits::default() };
    // Ends with the link.
    while !shared.closed.load(Ordering::Relaxed) {
        let answer = match next(&mut socket, Duration::from_millis(200))? {
            Some(Message::Text(text)) => match AgentMessage::parse(&text)? {
                AgentMessage::Hello(hello) => {
                    let (acked_seq, chain) = if shared.acknowledges {
                        let taken = shared.taken();
                        (taken.last_seq, taken.chain)
                    } else {
                        // Forgets what it took: who comes again sends it again.
                        *shared.taken() = Taken::default();
                        (0, Chain::START)
                    };
                    Some(CollectorMessage::Welcome(Welcome {
                        protocol: PROTOCOL_VERSION,
                        abilities: hello.abilities,
                        acked_seq,
                        chain,
                        server_epoch: ServerEpoch::new(),
                        limits,
                    }))
                }
                AgentMessage::Ping(ping) => Some(CollectorMessage::Pong(Pong {
                    sent_us: ping.sent_us,
                    received_us: ping.sent_us,
                    answered_us: ping.sent_us,
                })),
                AgentMessage::Records(_) | AgentMessage::Transient(_) | AgentMessage::Pong(_) => {
                    None
                }
            },
            Some(Message::Binary(bytes)) => {
                let frame = Frame::decode(&bytes, &limits).context("the agent's frame")?;
                let ack = take(shared, &frame);
                (shared.watcher)(&shared.taken());
                shared.acknowledges.then_some(CollectorMessage::Ack(ack))
            }
            Some(Message::Close(_)) => return Ok(()),
            Some(_) | None => None,
        };
        if let Some(answer) = answer {
            say(&mut socket, &answer)?;
        }
    }
    Ok(())
}

fn take(shared: &Shared, frame: &Frame) -> Ack {
    let mut taken = shared.taken();
    if frame.first_seq() != taken.last_seq + 1 {
        let what = format!("{} after {}", frame.first_seq(), taken.last_seq);
        taken.violations.push(what);
    }
    for record in frame.records() {
        taken.chain = taken.chain.extend(&record);
        match record.body {
            BodyRef::Output { bytes, .. } => taken.output.extend_from_slice(bytes),
            BodyRef::Event(text) => {
                taken.ended |=
                    deckport_protocol::event::parse(text).is_ok_and(|event| event.is_terminal());
                taken.events.push((record.seq, text.to_owned()));
            }
        }
    }
    taken.last_seq = frame.last_seq();
    Ack { acked_seq: taken.last_seq, chain: taken.chain }
}

fn say(socket: &mut WebSocket<TcpStream>, message: &CollectorMessage) -> Result<()> {
    Ok(socket.send(Message::text(message.to_text()))?)
}
