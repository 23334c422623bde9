//! Live sockets that the interface holds open, each pumped by two tasks.
//!
//! Bounds: [`MOST`] sockets a page, messages to the collector up to 64 KiB and 32 waiting, and at most [`WINDOW`]
//! messages on their way to the page that it has not acknowledged. A page that hangs therefore costs bounded memory:
//! the shell stops reading, and the collector treats it as a slow viewer. A page that is loaded anew loses the sockets
//! of the one before ([`Lives::close_all`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use base64::Engine as _;
use serde::Serialize;
use tauri::ipc::Channel;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::connection::socket::{self, Reading, Received, Writing};
use crate::connection::{Connection, ConnectionError};

pub(crate) const MOST: usize = 16;
pub(crate) const WINDOW: usize = 512;
const LONGEST_TEXT: usize = 64 << 10;
const SENDS_WAITING: usize = 32;

/// What the page gets on its channel; exactly one `closed` is the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Delivered {
    Text { text: String },
    Binary { base64: String },
    Closed { reason: String },
}

#[derive(Debug)]
struct Live {
    sends: mpsc::Sender<String>,
    /// Free places among the messages on their way to the page.
    room: Arc<Semaphore>,
    unacknowledged: Arc<AtomicUsize>,
    leave: CancellationToken,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Lives {
    open: Arc<Mutex<HashMap<u32, Live>>>,
    next: Arc<AtomicU32>,
}

impl Lives {
    /// Opens a socket and gives its id; messages go to `channel` from then on.
    pub(crate) async fn open(
        &self,
        connection: &Connection,
        channel: Channel<Delivered>,
    ) -> Result<u32, ConnectionError> {
        if self.lock().len() >= MOST {
            return Err(ConnectionError::Refused("the page holds too many live sockets"));
        }
        let (reading, writing) = socket::open(connection).await?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sends, sending) = mpsc::channel(SENDS_WAITING);
        let room = Arc::new(Semaphore::new(WINDOW));
        let unacknowledged = Arc::new(AtomicUsize::new(0));
        let leave = CancellationToken::new();
        let live = Live {
            sends,
            room: room.clone(),
            unacknowledged: unacknowledged.clone(),
            leave: leave.clone(),
        };
        self.lock().insert(id, live);
        tokio::spawn(write(writing, sending, leave.clone()));
        let lives = self.clone();
        tokio::spawn(async move {
            // Leaving drops a message that is being read: the page has closed the socket and wants none.
            let reason = tokio::select! {
                reason = read(reading, &channel, &room, &unacknowledged) => reason,
                () = leave.cancelled() => "closed by the page".to_owned(),
            };
            leave.cancel();
            lives.lock().remove(&id);
            // A page that is gone takes nothing; that is how it should be.
            let _ = channel.send(Delivered::Closed { reason });
        });
        Ok(id)
    }

    /// Sends a message to the collector. Waits while 32 are waiting.
    pub(crate) async fn send(&self, id: u32, text: String) -> Result<(), ConnectionError> {
        if text.len() > LONGEST_TEXT {
            return Err(ConnectionError::Refused("the message is longer than 64 KiB"));
        }
        let sends = self.lock().get(&id).map(|live| live.sends.clone());
        let sends = sends.ok_or(ConnectionError::Refused("this live socket is closed"))?;
        sends.send(text).await.map_err(|_| ConnectionError::Refused("this live socket is closed"))
    }

    /// The page has handled `count` messages. It cannot acknowledge more than it was given.
    pub(crate) fn acknowledge(&self, id: u32, count: usize) {
        if let Some(live) = self.lock().get(&id) {
            let taken = |held: usize| Some(held.saturating_sub(count));
            let held = live
                .unacknowledged
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, taken)
                .unwrap_or(0);
            live.room.add_permits(count.min(held));
        }
    }

    pub(crate) fn close(&self, id: u32) {
        if let Some(live) = self.lock().remove(&id) {
            live.leave.cancel();
        }
    }

    pub(crate) fn close_all(&self) {
        for (_, live) in self.lock().drain() {
            live.leave.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Live>> {
        self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// From the collector to the page, with room. Gives the reason of the end.
async fn read(
    mut reading: Reading,
    channel: &Channel<Delivered>,
    room: &Semaphore,
    unacknowledged: &AtomicUsize,
) -> String {
    loop {
        match room.acquire().await {
            // Given back by the page's acknowledgement.
            Ok(place) => place.forget(),
            Err(_) => return "closed".to_owned(),
        }
        let message = match reading.next().await {
            Ok(Some(Received::Text(text))) => Delivered::Text { text },
            Ok(Some(Received::Binary(bytes))) => Delivered::Binary {
                base64: base64::engine::general_purpose::STANDARD.encode(bytes),
            },
            Ok(None) => return "the collector closed the socket".to_owned(),
            Err(error) => return error.to_string(),
        };
        unacknowledged.fetch_add(1, Ordering::AcqRel);
        if let Err(error) = channel.send(message) {
            return format!("the page takes no messages: {error}");
        }
    }
}

/// From the page to the collector, until the page closes or the socket ends.
async fn write(
    mut writing: Writing,
    mut sending: mpsc::Receiver<String>,
    leave: CancellationToken,
) {
    loop {
        tokio::select! {
            () = leave.cancelled() => break,
            text = sending.recv() => {
                let Some(text) = text else { break };
                // Not dropped half-way: a message is written whole or the socket ends.
                if let Err(error) = writing.send(text).await {
                    tracing::info!(%error, "a live socket takes no more messages");
                    leave.cancel();
                    break;
                }
            }
        }
    }
    writing.close().await;
}
