//! Connections to the collector under attack: from an address of one's choice, with or without a certificate.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use deckport_agent::identity::Identity;
use deckport_protocol::tls::rustls::ClientConfig;
use deckport_protocol::tls::rustls::pki_types::ServerName;
use deckport_protocol::{Pin, tls};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Nobody waits for longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A console that was added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    pub identity: Identity,
}

/// Where the collector is, and from where it is reached.
#[derive(Clone, Debug)]
pub struct Door {
    pub collector: SocketAddr,
    pub from: IpAddr,
    tls: Arc<ClientConfig>,
}

/// The `number`th address that attackers have: none that the honest have.
pub fn address(number: usize) -> IpAddr {
    let number = u8::try_from(number % 250).unwrap_or(0);
    Ipv4Addr::new(127, 0, 1, number + 1).into()
}

impl Door {
    pub fn new(
        collector: SocketAddr,
        pin: Pin,
        from: IpAddr,
        known: Option<&Known>,
    ) -> Result<Self> {
        let shown = known.map(|known| known.identity.shown()).transpose()?;
        Ok(Self { collector, from, tls: Arc::new(tls::client(&[pin], shown)?) })
    }

    /// The same from another address.
    #[must_use]
    pub fn from(&self, from: IpAddr) -> Self {
        Self { from, ..self.clone() }
    }

    /// Connects, and says nothing. `buffer`: what the system takes in unread.
    pub async fn knock(&self, buffer: Option<u32>) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer)?;
        }
        socket.bind(SocketAddr::new(self.from, 0))?;
        let stream = socket.connect(self.collector).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Connects and greets.
    pub async fn open(&self, buffer: Option<u32>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.knock(buffer).await?;
        let name = ServerName::from(self.collector.ip());
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await
    }

    /// Opens a socket.
    pub async fn socket(
        &self,
        path: &str,
        token: Option<&str>,
        buffer: Option<u32>,
    ) -> Result<WebSocketStream<TlsStream<TcpStream>>, Error> {
        let mut request = format!("ws://{}{path}", self.collector).into_client_request()?;
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
        }
        let stream = self.open(buffer).await?;
        Ok(tokio_tungstenite::client_async(request, stream).await?.0)
    }

    /// Asks once, over a connection of its own.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Result<(u16, Value)> {
        let stream = TokioIo::new(self.open(None).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.collector.to_string())
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let asked = async move {
            let answer = sender.send_request(request.body(Full::new(body))?).await?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        let (answer, _) = tokio::join!(asked, connection);
        answer
    }

    /// The same with patience, for an answer that says yes.
    pub async fn must(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Result<Value> {
        let asked = tokio::time::timeout(PATIENCE, self.ask(method, path, token, body)).await;
        let (status, answer) = asked.context("no answer came")??;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {answer}");
        }
        Ok(answer)
    }
}

/// Reads to the end, and says what it was: `closed`, or the status of an answer in HTTP.
pub async fn end_of<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    let mut some = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut some).await {
        if head.len() < 64 {
            head.extend_from_slice(&some[..count.min(64)]);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.unwrap_or("closed").to_owned()
}

/// Why no socket was opened, or why one was closed.
pub fn why(error: &Error) -> String {
    match error {
        Error::Http(answer) => answer.status().as_u16().to_string(),
        _ => "closed".to_owned(),
    }
}

/// The code that a socket was ended with, if this message says one.
pub fn code(message: &Message) -> Option<String> {
    match message {
        Message::Text(text) => {
            let said: Value = serde_json::from_str(text).ok()?;
            let error = (said["type"] == "error").then_some(&said)?;
            let code = error["code"].as_str().or_else(|| error["error"]["code"].as_str());
            code.map(str::to_owned)
        }
        Message::Close(Some(frame)) if !frame.reason.is_empty() => Some(frame.reason.to_string()),
        _ => None,
    }
}
