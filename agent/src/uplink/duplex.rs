//! A link that is written and read by one task: sending never waits, and what waits goes out while something is awaited.

use super::link::Stream as Bytes;
use futures_util::{Sink as _, SinkExt as _, Stream as _};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

#[derive(Debug)]
pub(super) struct Duplex {
    socket: WebSocketStream<Bytes>,
    /// Bounded by what may be unacknowledged.
    unsent: VecDeque<Message>,
    unflushed: bool,
}

impl Duplex {
    pub(super) const fn new(socket: WebSocketStream<Bytes>) -> Self {
        Self { socket, unsent: VecDeque::new(), unflushed: false }
    }

    /// Queues a message. It leaves with the next [`Self::next`].
    pub(super) fn send(&mut self, message: Message) {
        self.unsent.push_back(message);
    }

    /// What comes next; meanwhile what is queued goes out. May be dropped at any point.
    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|context| {
            if let Err(error) = self.write(context) {
                return Poll::Ready(Some(Err(error)));
            }
            Pin::new(&mut self.socket).poll_next(context)
        })
        .await
    }

    /// Writes what the link takes now.
    fn write(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.unsent.is_empty() && socket.as_mut().poll_ready(context)?.is_ready() {
            if let Some(message) = self.unsent.pop_front() {
                socket.as_mut().start_send(message)?;
                self.unflushed = true;
            }
        }
        if self.unflushed && socket.poll_flush(context)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    /// Sends the rest and says goodbye.
    pub(super) async fn close(mut self) -> Result<(), Error> {
        for message in self.unsent {
            self.socket.feed(message).await?;
        }
        self.socket.close(None).await
    }
}
