//! The live socket (`/ws/live`) over a dialled stream.
//!
//! Messages up to 8 MiB come in; pings are answered by the library while somebody reads. Whoever stops reading fills
//! the stream, and the collector then treats this viewer as a slow one: it never buffers without bound for us.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Bytes, Connection, ConnectionError};

const LARGEST_MESSAGE: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
/// Two names with their ids.
const LONGEST_PLACE: usize = 128;
/// The collector pings every 15 s; a socket silent for three of those is dead.
const SILENCE: Duration = Duration::from_secs(50);

type Stream = WebSocketStream<Box<dyn Bytes>>;

/// What a viewer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    Text(String),
    Binary(Vec<u8>),
}

#[derive(Debug)]
pub(crate) struct Reading(SplitStream<Stream>);

#[derive(Debug)]
pub(crate) struct Writing(SplitSink<Stream, Message>);

/// Opens a live socket on the connection. `place`: where in the collector, as a request's query says it (`venue=ID`); empty for
/// wherever one is at home.
pub(crate) async fn open(
    connection: &Connection,
    place: &str,
) -> Result<(Reading, Writing), ConnectionError> {
    check_place(place)?;
    let stream = connection.dial().await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let refused = |_| ConnectionError::Refused("the session cannot be sent; log in again");
    let query = if place.is_empty() { String::new() } else { format!("?{place}") };
    let url = format!("ws://{}/ws/live{query}", connection.host());
    let mut request = url
        .into_client_request()
        .map_err(|_| ConnectionError::Refused("the address is no name of a machine"))?;
    if let Some(session) = connection.session() {
        let value = format!("Bearer {session}").parse().map_err(refused)?;
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let handshake = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    match timeout(PATIENCE, handshake).await {
        Ok(Ok((socket, _))) => {
            let (writing, reading) = socket.split();
            Ok((Reading(reading), Writing(writing)))
        }
        Ok(Err(Error::Http(answer))) if answer.status() == StatusCode::UNAUTHORIZED => {
            Err(ConnectionError::Unauthorized)
        }
        Ok(Err(Error::Http(answer)))
            if matches!(answer.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) =>
        {
            Err(ConnectionError::Forbidden)
        }
        Ok(Err(error)) => Err(ConnectionError::Broken(error.to_string())),
        Err(_) => Err(ConnectionError::TimedOut(PATIENCE.as_secs())),
    }
}

/// Names of ids and nothing else: a ticket, say, is not the page's to bring.
fn check_place(place: &str) -> Result<(), ConnectionError> {
    let known = |pair: &str| {
        let id = |id: &str| id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        pair.split_once('=').is_some_and(|(name, value)| {
            matches!(name, "venue" | "organisation") && !value.is_empty() && id(value)
        })
    };
    if place.len() <= LONGEST_PLACE && (place.is_empty() || place.split('&').all(known)) {
        Ok(())
    } else {
        Err(ConnectionError::Refused("this is no place in a collector"))
    }
}

impl Reading {
    /// The next message; `None` when the other side ended in good order. May be dropped between messages.
    pub(crate) async fn next(&mut self) -> Result<Option<Received>, ConnectionError> {
        loop {
            let message = match timeout(SILENCE, self.0.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(ConnectionError::Broken(error.to_string())),
                Ok(None) => return Ok(None),
                Err(_) => return Err(ConnectionError::TimedOut(SILENCE.as_secs())),
            };
            match message {
                Message::Text(text) => return Ok(Some(Received::Text(text.as_str().to_owned()))),
                Message::Binary(bytes) => return Ok(Some(Received::Binary(bytes.to_vec()))),
                Message::Close(_) => return Ok(None),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

impl Writing {
    pub(crate) async fn send(&mut self, text: String) -> Result<(), ConnectionError> {
        match timeout(PATIENCE, self.0.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|error| ConnectionError::Broken(error.to_string())),
            Err(_) => Err(ConnectionError::TimedOut(PATIENCE.as_secs())),
        }
    }

    pub(crate) async fn close(&mut self) {
        // Best effort: the other side sees the stream end in any case.
        let _ = timeout(Duration::from_secs(1), self.0.close()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_venue_or_an_organisation_and_nothing_else() {
        let id = "00000000-0000-0000-0000-000000000001";
        for place in [String::new(), format!("venue={id}"), format!("venue={id}&organisation={id}")]
        {
            assert_eq!(check_place(&place), Ok(()), "{place}");
        }
        for place in
            ["venue=", "venue", "ticket=abc", "venue=a b", "venue=ab#x", "venue=ab&ticket=cd"]
        {
            assert!(check_place(place).is_err(), "{place}");
        }
        assert!(check_place(&format!("venue={}", "a".repeat(LONGEST_PLACE))).is_err());
    }
}
