//! Live sockets that the interface holds open, each pumped by two tasks.
//!
//! The page asks for what has come ([`Lives::next`]) and waits where nothing has: one answer holds every message that
//! was waiting. Nothing is pushed into the page, because a webview keeps something of every script that it is handed.
//!
//! Bounds: [`MOST`] sockets a page, messages to the collector up to 64 KiB and 32 waiting, and [`WAITING`] messages and
//! [`WAITING_BYTES`] that the page has not fetched. A page that hangs therefore costs bounded memory: the shell stops
//! reading, and the collector treats it as a slow viewer. A page that is loaded anew loses the sockets of the one
//! before ([`Lives::close_all`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connection::socket::{self, Reading, Received, Writing};
use crate::connection::{Connection, ConnectionError};

pub(crate) const MOST: usize = 16;
const WAITING: usize = 512;
/// Read ahead of the page. A message may be as long as the socket allows, and takes all of this then.
const WAITING_BYTES: u32 = 4 << 20;
const LONGEST_TEXT: usize = 64 << 10;
const SENDS_WAITING: usize = 32;
/// An answer with nothing in it, rather than a request that is open for ever.
const NOTHING_AFTER: Duration = Duration::from_secs(20);
/// Stands before each message of an answer (RFC 7464). No JSON text holds it.
const RECORD_SEPARATOR: u8 = 0x1e;

/// A message, and the room that it takes.
#[derive(Debug)]
struct Came {
    text: String,
    _room: OwnedSemaphorePermit,
}

/// What the page has not fetched yet. When the other end is gone, `reason` says why the socket ended.
#[derive(Debug)]
struct Arrived {
    messages: mpsc::Receiver<Came>,
    reason: Arc<Mutex<String>>,
}

#[derive(Debug, Clone)]
struct Live {
    sends: mpsc::Sender<String>,
    arrived: Arc<Turn<Arrived>>,
    leave: CancellationToken,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Lives {
    open: Arc<Mutex<HashMap<u32, Live>>>,
    next: Arc<AtomicU32>,
}

impl Lives {
    /// Opens a socket, in a place of the collector, and gives its id.
    pub(crate) async fn open(
        &self,
        connection: &Connection,
        place: &str,
    ) -> Result<u32, ConnectionError> {
        if self.lock().len() >= MOST {
            return Err(ConnectionError::Refused("the page holds too many live sockets"));
        }
        let (reading, writing) = socket::open(connection, place).await?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sends, sending) = mpsc::channel(SENDS_WAITING);
        let (coming, messages) = mpsc::channel(WAITING);
        let reason = Arc::new(Mutex::new(String::new()));
        let arrived = Arc::new(Turn::new(Arrived { messages, reason: reason.clone() }));
        let leave = CancellationToken::new();
        self.lock().insert(id, Live { sends, arrived, leave: leave.clone() });
        tokio::spawn(write(writing, sending, leave.clone()));
        tokio::spawn(async move {
            // Leaving drops a message that is being read: the page has closed the socket and wants none.
            let why = tokio::select! {
                why = read(reading, &coming) => why,
                () = leave.cancelled() => "the socket is closed".to_owned(),
            };
            *reason.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = why;
            leave.cancel();
            // Only now is `coming` dropped, and the page told.
        });
        Ok(id)
    }

    /// Every message that has come, each behind a record separator; waits for the first. Empty when none came for a
    /// while: ask again.
    ///
    /// # Errors
    /// The socket has ended, and everything that came before was given: says why. Its id is void then.
    pub(crate) async fn next(&self, id: u32) -> Result<Vec<u8>, ConnectionError> {
        let live = self.lock().get(&id).cloned();
        let live = live.ok_or(ConnectionError::Refused("this live socket is closed"))?;
        let mut arrived = live.arrived.lock().await;
        let mut answer = Vec::new();
        let first = match timeout(NOTHING_AFTER, arrived.messages.recv()).await {
            Ok(Some(first)) => first,
            Ok(None) => {
                self.lock().remove(&id);
                let reason =
                    arrived.reason.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                return Err(ConnectionError::Broken(reason.clone()));
            }
            Err(_) => return Ok(answer),
        };
        let mut come = Some(first);
        while let Some(message) = come {
            answer.push(RECORD_SEPARATOR);
            answer.extend_from_slice(message.text.as_bytes());
            come = arrived.messages.try_recv().ok();
        }
        Ok(answer)
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

/// From the collector to the page, while there is room. Gives the reason of the end.
async fn read(mut reading: Reading, coming: &mpsc::Sender<Came>) -> String {
    let room = Arc::new(Semaphore::new(WAITING_BYTES as usize));
    loop {
        let text = match reading.next().await {
            Ok(Some(Received::Text(text))) => text,
            // The collector says everything to a viewer in JSON.
            Ok(Some(Received::Binary(_))) => continue,
            Ok(None) => return "the collector closed the socket".to_owned(),
            Err(error) => return error.to_string(),
        };
        let takes = u32::try_from(text.len()).unwrap_or(u32::MAX).min(WAITING_BYTES);
        let Ok(place) = room.clone().acquire_many_owned(takes).await else {
            return "closed".to_owned();
        };
        if coming.send(Came { text, _room: place }).await.is_err() {
            return "the page takes no messages".to_owned();
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
