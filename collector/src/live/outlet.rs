//! What waits for one viewer: bounded in bytes, over all subscriptions of its socket.
//!
//! A viewer that reads slowly makes its subscriptions wait, and what they wait with is bounded too: so many at a time read what is
//! long, from the store or for a window; the others have nothing in their hands yet.

use super::message::LiveMessage;
use super::socket::text;
use axum::extract::ws::Message;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};

/// Messages that wait for a viewer to read, and what they may hold together. A larger one waits until there is nothing else.
const WAITING: usize = 32;
const WAITING_BYTES: usize = 1 << 20;
/// Subscriptions that read what is long, at a time.
const READING: usize = 4;

/// Messages that belong together, with the room that they take up until they are dropped.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) messages: Vec<Message>,
    pub(super) room: OwnedSemaphorePermit,
}

/// The way to the socket.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    out: mpsc::Sender<Out>,
    room: Arc<Semaphore>,
    reading: Arc<Semaphore>,
}

/// The socket is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// An outlet, and where what is put into it comes out.
pub(super) fn outlet() -> (Outlet, mpsc::Receiver<Out>) {
    let (out, outgoing) = mpsc::channel(WAITING);
    let room = Arc::new(Semaphore::new(WAITING_BYTES));
    (Outlet { out, room, reading: Arc::new(Semaphore::new(READING)) }, outgoing)
}

impl Outlet {
    /// Waits for room.
    pub(super) async fn say(&self, message: &LiveMessage) -> Result<(), Gone> {
        self.put(vec![text(message)]).await
    }

    /// A frame behind its announcement.
    pub(super) async fn pass_on(&self, head: &LiveMessage, frame: Bytes) -> Result<(), Gone> {
        self.put(vec![text(head), Message::Binary(frame)]).await
    }

    async fn put(&self, messages: Vec<Message>) -> Result<(), Gone> {
        let bytes = messages.iter().map(|message| match message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => 0,
        });
        let bytes = u32::try_from(bytes.sum::<usize>().min(WAITING_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| Gone)?;
        self.out.send(Out { messages, room }).await.map_err(|_| Gone)
    }

    /// Waits for the turn to read what is long; kept until it is in the outlet.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Gone> {
        self.reading.acquire().await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes() {
        let (outlet, mut outgoing) = outlet();
        let frame = || Bytes::from(vec![7; WAITING_BYTES / 2]);
        let head = LiveMessage::Pong { nonce: 1 };
        outlet.pass_on(&head, frame()).await.unwrap();
        let second = outlet.pass_on(&head, frame());
        let waited = tokio::time::timeout(Duration::from_millis(50), second).await;
        assert!(waited.is_err(), "there is no room for two and their heads");
        let first = outgoing.recv().await.unwrap();
        assert_eq!(first.messages.len(), 2);
        drop(first);
        // One that is larger than all the room goes by itself.
        outlet.pass_on(&head, Bytes::from(vec![7; 3 * WAITING_BYTES])).await.unwrap();
        drop(outgoing);
        assert!(outlet.say(&head).await.is_err());
    }
}
