//! Talking to a collector: requests and its live socket.

use super::Target;
use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub(super) struct Client {
    authority: String,
    token: String,
}

impl Client {
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        let file = &target.token_file;
        let token = std::fs::read_to_string(file)
            .with_context(|| format!("the token file {} cannot be read", file.display()))?;
        let Some(authority) = target.url.strip_prefix("http://") else {
            bail!("{} is not an http:// URL", target.url);
        };
        let authority = authority.split('/').next().unwrap_or_default();
        let authority = if authority.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        Ok(Self { authority, token: token.trim().to_owned() })
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .with_context(|| format!("no collector answers at {}", self.authority))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The JSON that `path` answers with.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let request = Request::get(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Empty::<bytes::Bytes>::new())?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            drop(sender);
            anyhow::Ok((status, body))
        };
        // The connection is driven beside the request and ends with it.
        let (answer, _) = tokio::join!(answer, connection);
        let (status, body) = answer?;
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let message = value.pointer("/error/message").and_then(|message| message.as_str());
            bail!("{}", message.map_or_else(|| format!("the answer was {status}"), str::to_owned));
        }
        Ok(value)
    }

    /// A live socket.
    pub(super) async fn live(&self) -> anyhow::Result<WebSocketStream<TcpStream>> {
        let mut request = format!("ws://{}/ws/live", self.authority).into_client_request()?;
        request.headers_mut().insert(AUTHORIZATION, format!("Bearer {}", self.token).parse()?);
        let config = WebSocketConfig::default()
            .max_message_size(Some(64 * 1024 * 1024))
            .max_frame_size(Some(64 * 1024 * 1024));
        let stream = self.connect().await?;
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config))
                .await
                .context("the live socket was refused")?;
        Ok(socket)
    }
}
