//! The sockets of enrolled consoles' daemons: who is there, how they do, and orders to them.
//!
//! One task a console. A later link of the same console takes the place of an earlier one. Heartbeats are kept in memory only;
//! when a console was last heard goes to the store with the first and then at most once a minute.

use crate::audit::Audit;
use crate::auth::Pass;
use crate::config::{Bounds, Clock};
use crate::places::Turns;
use crate::store::{Store, Write};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use deckport_protocol::console::{CollectorWord, ConsoleMessage, ConsoleOrder, Health};
use deckport_protocol::message::{Ping, Pong};
use deckport_protocol::{
    ConsoleId, ErrorCode, OrderId, PROTOCOL_VERSION, Refusal, ServerEpoch, Tenant,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How often a console says how it does.
const HEARTBEAT_S: u64 = 10;
/// Nothing from it for so long: it is gone.
const DEADLINE: Duration = Duration::from_secs(25);
/// Orders that wait for a console to take them.
const ORDERS: usize = 8;
/// Letters of a console's name, which stands in lists.
const NAME_CHARS: usize = 120;
const STORED_EVERY_US: i64 = 60_000_000;
/// An order is answered within this time, or nobody knows.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const POLICY: u16 = 1008;

/// A console that is linked.
#[derive(Clone, Debug)]
pub struct Linked {
    pub tenant: Tenant,
    pub since: i64,
    pub heard_at: i64,
    pub agent_version: String,
    pub health: Option<Health>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    linked: Linked,
    orders: mpsc::Sender<Asked>,
    superseded: CancellationToken,
}

#[derive(Debug)]
struct Asked {
    order_id: OrderId,
    order: ConsoleOrder,
    answer: oneshot::Sender<(bool, String)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Links {
    store: Arc<Store>,
    audit: Arc<Audit>,
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    server_epoch: ServerEpoch,
    stop: CancellationToken,
    all: Arc<Mutex<All>>,
}

#[derive(Debug, Default)]
struct All {
    next: u64,
    entries: HashMap<ConsoleId, Entry>,
}

impl Links {
    pub fn new(
        store: Arc<Store>,
        audit: Arc<Audit>,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
        server_epoch: ServerEpoch,
        stop: CancellationToken,
    ) -> Self {
        Self { store, audit, clock, bounds, server_epoch, stop, all: Arc::default() }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a console does, while it is linked.
    pub fn linked(&self, console: ConsoleId) -> Option<Linked> {
        self.all().entries.get(&console).map(|entry| entry.linked.clone())
    }

    /// Tells a console to do something, and waits for what it says to that.
    pub async fn order(
        &self,
        console: ConsoleId,
        order: ConsoleOrder,
    ) -> Result<(bool, String), Refusal> {
        let away = || Refusal::new(ErrorCode::NOT_CONNECTED, "the console is not connected");
        let orders = self.all().entries.get(&console).map(|entry| entry.orders.clone());
        let (answer, answered) = oneshot::channel();
        let asked = Asked { order_id: OrderId::new(), order, answer };
        let busy = || Refusal::new(ErrorCode::RATE_EXCEEDED, "the console has orders waiting");
        orders.ok_or_else(away)?.try_send(asked).map_err(|_| busy())?;
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(away()),
        }
    }

    /// Serves the socket of a console's daemon until it ends.
    pub async fn serve(
        self,
        mut socket: WebSocket,
        tenant: Tenant,
        console: ConsoleId,
        pass: Pass,
    ) {
        let ended = tokio::select! {
            ended = self.run(&mut socket, tenant, console) => ended,
            refusal = pass.ended() => Some(refusal),
            () = self.stop.cancelled() => {
                Some(Refusal::new(ErrorCode::UNAVAILABLE, "the collector is stopping"))
            }
        };
        let Some(refusal) = ended else { return };
        let code = refusal.code.as_str().to_owned();
        let goodbye = async {
            let error = CollectorWord::Error(refusal);
            if let Ok(text) = serde_json::to_string(&error) {
                let _ = socket.send(Message::Text(text.into())).await;
            }
            let frame = CloseFrame { code: POLICY, reason: code.into() };
            let _ = socket.send(Message::Close(Some(frame))).await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), goodbye).await;
    }

    /// None: the console is gone.
    async fn run(
        &self,
        socket: &mut WebSocket,
        tenant: Tenant,
        console: ConsoleId,
    ) -> Option<Refusal> {
        let mut turns = Turns::new(self.bounds.daemon_messages, tokio::time::Instant::now());
        let hello = tokio::time::timeout(self.bounds.hello_time, next(socket, &mut turns)).await;
        let out_of_turn = |text: &str| Some(Refusal::new(ErrorCode::OUT_OF_TURN, text));
        let (name, agent_version) = match hello {
            Ok(Ok(ConsoleMessage::Hello { protocol, name, agent_version, .. })) => {
                if protocol != PROTOCOL_VERSION {
                    let text = format!(
                        "protocol version {protocol} is not spoken here; this collector speaks {PROTOCOL_VERSION}"
                    );
                    return Some(Refusal::new(ErrorCode::UNSUPPORTED_VERSION, text));
                }
                let short = |text: String| text.chars().take(NAME_CHARS).collect::<String>();
                (short(name), short(agent_version))
            }
            Ok(Ok(_)) => return out_of_turn("the first message is `hello`"),
            Ok(Err(refusal)) => return refusal,
            Err(_) => return out_of_turn("no `hello` came in time"),
        };
        let now = self.clock.now_us();
        let (orders, mut asked) = mpsc::channel(ORDERS);
        let superseded = CancellationToken::new();
        let number = {
            let mut all = self.all();
            all.next += 1;
            let number = all.next;
            let linked = Linked { tenant, since: now, heard_at: now, agent_version, health: None };
            let entry = Entry { number, linked, orders, superseded: superseded.clone() };
            if let Some(former) = all.entries.insert(console, entry) {
                former.superseded.cancel();
            }
            number
        };
        let _gone = Gone { links: self, console, number };
        self.store_seen(tenant, console, &name, now);
        let mut stored_at = now;
        let server_epoch = self.server_epoch;
        let mut checkpoints = self.audit.checkpoints();
        checkpoints.mark_unchanged();
        let checkpoint = self.audit.newest();
        let welcome = CollectorWord::Welcome { server_epoch, heartbeat_s: HEARTBEAT_S, checkpoint };
        self.send(socket, &welcome).await?;
        let mut waiting: HashMap<OrderId, oneshot::Sender<(bool, String)>> = HashMap::new();
        let silent = tokio::time::sleep(DEADLINE);
        tokio::pin!(silent);
        // Goal: hear how the console does and tell it what to do. Exits: it is gone or silent, or another link took its place.
        loop {
            tokio::select! {
                message = next(socket, &mut turns) => {
                    let message = match message {
                        Ok(message) => message,
                        Err(refusal) => return refusal,
                    };
                    silent.as_mut().reset(tokio::time::Instant::now() + DEADLINE);
                    let now = self.clock.now_us();
                    match message {
                        ConsoleMessage::Heartbeat { health } => {
                            if let Some(entry) = self.all().entries.get_mut(&console) {
                                entry.linked.heard_at = now;
                                entry.linked.health = Some(health);
                            }
                            if now - stored_at >= STORED_EVERY_US {
                                stored_at = now;
                                self.store_seen(tenant, console, &name, now);
                            }
                        }
                        ConsoleMessage::OrderResult { order_id, accepted, message } => {
                            if let Some(answer) = waiting.remove(&order_id) {
                                // Nobody may wait for it any more.
                                let _ = answer.send((accepted, message));
                            }
                        }
                        ConsoleMessage::Ping(Ping { sent_us }) => {
                            let pong = Pong { sent_us, received_us: now, answered_us: now };
                            self.send(socket, &CollectorWord::Pong(pong)).await?;
                        }
                        ConsoleMessage::Hello { .. } => {
                            return out_of_turn("there is one `hello`");
                        }
                        ConsoleMessage::Pong(_) | ConsoleMessage::Unknown => {}
                    }
                }
                Some(Asked { order_id, order, answer }) = asked.recv() => {
                    waiting.retain(|_, answer| !answer.is_closed());
                    waiting.insert(order_id, answer);
                    self.send(socket, &CollectorWord::Order { order_id, order }).await?;
                }
                Ok(()) = checkpoints.changed() => {
                    let newest = checkpoints.borrow_and_update().clone();
                    if let Some(newest) = newest {
                        self.send(socket, &CollectorWord::Checkpoint(newest)).await?;
                    }
                }
                () = superseded.cancelled() => {
                    let text = "another daemon of this console is linked now";
                    return Some(Refusal::new(ErrorCode::SUPERSEDED, text));
                }
                () = &mut silent => {
                    return Some(Refusal::new(ErrorCode::TOO_SLOW, "nothing was heard for too long"));
                }
            }
        }
    }

    /// None: the console does not read, and is not worth a word.
    async fn send(&self, socket: &mut WebSocket, word: &CollectorWord) -> Option<()> {
        let text = serde_json::to_string(word).ok()?;
        let sent = socket.send(Message::Text(text.into()));
        tokio::time::timeout(self.bounds.send_time, sent).await.ok()?.ok()
    }

    fn store_seen(&self, tenant: Tenant, console: ConsoleId, name: &str, now_us: i64) {
        let seen = super::seen(tenant, console, name, None, now_us);
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let write = Write { rows: vec![seen], ..Write::default() };
            if let Err(error) = store.writer().write(write).await {
                tracing::warn!(%error, "when a console was heard could not be stored");
            }
        });
    }
}

/// Takes the entry away when the link ends, unless another has taken its place.
struct Gone<'a> {
    links: &'a Links,
    console: ConsoleId,
    number: u64,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let mut all = self.links.all();
        if all.entries.get(&self.console).is_some_and(|entry| entry.number == self.number) {
            all.entries.remove(&self.console);
        }
    }
}

/// The next message; `Err(None)`: the console is gone. What comes faster than `turns` allow stays in the socket. Cancel safe.
async fn next(
    socket: &mut WebSocket,
    turns: &mut Turns,
) -> Result<ConsoleMessage, Option<Refusal>> {
    loop {
        tokio::time::sleep(turns.queue(tokio::time::Instant::now())).await;
        let received = socket.recv().await;
        turns.promise(1, tokio::time::Instant::now());
        match received {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text).map_err(|error| {
                    Some(Refusal::new(ErrorCode::MALFORMED_MESSAGE, error.to_string()))
                });
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                let text = "this socket speaks JSON in text frames";
                return Err(Some(Refusal::new(ErrorCode::MALFORMED_FRAME, text)));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(None),
        }
    }
}
