//! One request to the collector, over a connection of its own.

use crate::uplink::link::{DialError, Stream};
use bytes::Bytes;
use deckport_protocol::error::Refusal;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(30);
const LARGEST_ANSWER: usize = 8 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The collector said no, and why.
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error("the collector did not answer as expected: {0}")]
    Broken(String),
}

fn broken(error: impl std::fmt::Display) -> AskError {
    AskError::Broken(error.to_string())
}

/// Asks for `path` with an optional body of JSON; the answer's body.
pub async fn ask(
    stream: Stream,
    token: Option<&str>,
    authority: &str,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<Bytes, AskError> {
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, authority);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let request = request.body(body).map_err(broken)?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
            drop(sender);
            Ok::<_, AskError>((status, body.map_err(broken)?.to_bytes()))
        };
        // The connection is driven beside the request and ends with it.
        let (answer, _) = tokio::join!(answer, connection);
        answer
    };
    let answer = tokio::time::timeout(WITHIN, exchange).await;
    let (status, body) = answer.map_err(|_| broken("nothing came in time"))??;
    if status.is_success() {
        return Ok(body);
    }
    #[derive(serde::Deserialize)]
    struct Said {
        error: Refusal,
    }
    match serde_json::from_slice::<Said>(&body) {
        Ok(Said { error }) => Err(AskError::Refused(error)),
        Err(_) => Err(broken(format_args!("it answered {status}"))),
    }
}

/// Sends JSON and takes JSON.
pub async fn post<Q: Serialize, A: DeserializeOwned>(
    stream: Stream,
    authority: &str,
    path: &str,
    asked: &Q,
) -> Result<A, AskError> {
    let body = serde_json::to_vec(asked).map_err(broken)?;
    let answer = ask(stream, None, authority, Method::POST, path, Some(body)).await?;
    serde_json::from_slice(&answer).map_err(broken)
}
