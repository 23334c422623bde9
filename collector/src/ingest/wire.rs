//! The socket of a console: bounded reading, sending with a deadline, refusing with a reason.

use crate::metrics::Metrics;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use deckport_protocol::message::{CollectorMessage, ErrorMessage};
use deckport_protocol::{ErrorCode, Refusal};
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite;

/// RFC 6455: the peer broke a rule; try again later.
const POLICY: u16 = 1008;
const AGAIN: u16 = 1013;
const NORMAL: u16 = 1000;

/// What a message holds.
pub(super) fn message_bytes(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

/// The link is of no use any more.
#[derive(Debug)]
pub(super) struct Gone;

#[derive(Debug)]
pub(super) struct Wire {
    socket: WebSocket,
    send_time: Duration,
    message_bytes: usize,
    metrics: Arc<Metrics>,
    /// Sending failed: there is no use in saying anything more.
    deaf: bool,
}

impl Wire {
    pub(super) const fn new(
        socket: WebSocket,
        send_time: Duration,
        message_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { socket, send_time, message_bytes, metrics, deaf: false }
    }

    /// The next message. `Err(None)`: the peer is gone; `Err(Some(…))`: it broke a bound. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Message, Option<Refusal>> {
        match self.socket.recv().await {
            Some(Ok(message)) => {
                let large = message_bytes(&message) > self.message_bytes;
                if large { Err(Some(self.too_large())) } else { Ok(message) }
            }
            Some(Err(error)) => {
                let inner = error.into_inner();
                let error = inner.downcast_ref::<tungstenite::Error>();
                let capacity = matches!(error, Some(tungstenite::Error::Capacity(_)));
                Err(capacity.then(|| self.too_large()))
            }
            None => Err(None),
        }
    }

    fn too_large(&self) -> Refusal {
        Refusal::new(
            ErrorCode::FRAME_TOO_LARGE,
            format!("a message may hold at most {} bytes", self.message_bytes),
        )
    }

    pub(super) async fn send(&mut self, message: &CollectorMessage) -> Result<(), Gone> {
        self.send_raw(Message::Text(message.to_text().into())).await
    }

    async fn send_raw(&mut self, message: Message) -> Result<(), Gone> {
        if self.deaf {
            return Err(Gone);
        }
        let sent = tokio::time::timeout(self.send_time, self.socket.send(message)).await;
        self.deaf = !matches!(sent, Ok(Ok(())));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "a console could not be told something");
                Err(Gone)
            }
            Err(_) => {
                self.metrics.refuse(&ErrorCode::TOO_SLOW);
                Err(Gone)
            }
        }
    }

    /// Answers with an error; the link stays.
    pub(super) async fn refuse(
        &mut self,
        refusal: Refusal,
        acked_seq: Option<u64>,
    ) -> Result<(), Gone> {
        self.metrics.refuse(&refusal.code);
        let error = ErrorMessage { acked_seq, ..refusal.into() };
        self.send(&CollectorMessage::Error(error)).await
    }

    /// Answers with an error and closes.
    pub(super) async fn end(mut self, refusal: Refusal) {
        let code = if refusal.retryable { AGAIN } else { POLICY };
        let reason = refusal.code.as_str().to_owned();
        if self.refuse(refusal, None).await.is_ok() {
            self.close(code, &reason).await;
        }
    }

    /// Closes in good order.
    pub(super) async fn bye(mut self) {
        self.close(NORMAL, "").await;
    }

    /// Says good-bye, and reads on for a moment so that what we said is not lost to a reset.
    async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code, reason: reason.into() };
        if self.send_raw(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        let linger = self.send_time.min(Duration::from_secs(2));
        let _ = tokio::time::timeout(linger, async {
            while let Some(Ok(message)) = self.socket.recv().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
        })
        .await;
    }
}
