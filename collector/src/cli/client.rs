//! Talking to a collector: requests and its live socket, over TLS with its pinned key.

use super::Target;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use deckport_protocol::address::{Address, PLAIN_HTTP, Transport, plain_http_is_allowed};
use deckport_protocol::{Pin, tls};
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::either::Either;

pub(super) type Stream = Either<TlsStream<TcpStream>, TcpStream>;

pub(super) struct Client {
    address: Address,
    pin: Option<Pin>,
    token: String,
    /// Where it asks, as said.
    organisation: Option<String>,
    at: Option<String>,
    /// The same as parameters of an address, once it was found out.
    place: OnceCell<String>,
}

/// The pin that a collector on this machine keeps beside its token.
fn pin_beside(token_file: &Path) -> Option<Pin> {
    std::fs::read_to_string(token_file.with_file_name("pin")).ok()?.trim().parse().ok()
}

impl Client {
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        let (url, file) = match (&target.data, &target.token_file) {
            (Some(data), _) => {
                let said = data.join("address");
                let url = std::fs::read_to_string(&said).with_context(|| {
                    format!(
                        "{} does not say where its collector listens; does it run?",
                        data.display()
                    )
                })?;
                (url.trim().to_owned(), data.join("token"))
            }
            (None, Some(file)) => (target.url.clone(), file.clone()),
            (None, None) => bail!("name the file with the collector's token, --token-file"),
        };
        let address: Address = url.parse()?;
        let token = std::fs::read_to_string(&file)
            .with_context(|| format!("the token file {} cannot be read", file.display()))?;
        let pin = match address.transport {
            Transport::Tls { pin: Some(pin) } => Some(pin),
            Transport::Tls { pin: None } => Some(pin_beside(&file).with_context(|| {
                format!("no pin is known for {url}: write it as the collector prints it, {url}#sha256//…")
            })?),
            // A collector of this version on this machine speaks TLS.
            Transport::Plain => {
                let pin = pin_beside(&file);
                anyhow::ensure!(
                    pin.is_some() || plain_http_is_allowed(),
                    "the token is not sent to {url} without TLS: write the address as the collector prints it, \
                     https://HOST:PORT#sha256//…, or name the token file in its data directory, which has the file `pin` beside it \
                     ({PLAIN_HTTP}=1 sends it all the same)"
                );
                pin
            }
        };
        Ok(Self {
            address,
            pin,
            token: token.trim().to_owned(),
            organisation: target.organisation.clone(),
            at: target.at.clone(),
            place: OnceCell::new(),
        })
    }

    async fn connect(&self) -> anyhow::Result<Stream> {
        let authority = self.address.authority();
        let stream = TcpStream::connect(&authority)
            .await
            .with_context(|| format!("no collector answers at {authority}"))?;
        stream.set_nodelay(true)?;
        let Some(pin) = self.pin else { return Ok(Either::Right(stream)) };
        let name = self.address.host.clone().try_into()?;
        let connector = TlsConnector::from(Arc::new(tls::client(&[pin], None)?));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Either::Left(stream)),
            Err(error) => match tls::wrong_pin(&error) {
                Some(wrong) => Err(wrong.clone().into()),
                None => Err(error)
                    .with_context(|| format!("{authority} does not speak TLS as a collector does")),
            },
        }
    }

    /// The JSON that `path` answers with.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        self.ask(Method::GET, path, None).await
    }

    /// Asks, with an optional body; null where the answer has none.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<serde_json::Value> {
        let body = self.fetch(method, &self.placed(path).await?, body).await?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// `path` with where it is meant.
    async fn placed(&self, path: &str) -> anyhow::Result<String> {
        let place = self.place.get_or_try_init(|| self.look_up()).await?;
        let joined = match (place.is_empty(), path.contains('?')) {
            (true, _) => path.to_owned(),
            (false, true) => format!("{path}&{place}"),
            (false, false) => format!("{path}?{place}"),
        };
        Ok(joined)
    }

    /// Finds the organisation and the venue that were named.
    async fn look_up(&self) -> anyhow::Result<String> {
        let listed = async |path: &str, list: &str, named: &str| {
            let body = self.fetch(Method::GET, path, None).await?;
            let all: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            super::venue::found(&all[list], named)
                .with_context(|| format!("there is none called {named} among the {list}"))
        };
        let mut place = String::new();
        if let Some(named) = &self.organisation {
            let id = listed("/api/v1/organisations", "organisations", named).await?;
            place = format!("organisation={id}");
        }
        if let Some(named) = &self.at {
            let id = listed(&format!("/api/v1/venues?{place}"), "venues", named).await?;
            place = format!("venue={id}");
        }
        Ok(place)
    }

    /// What `path` answers with, as it is.
    pub(super) async fn bytes(&self, path: &str) -> anyhow::Result<Bytes> {
        self.fetch(Method::GET, &self.placed(path).await?, None).await
    }

    async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<Bytes> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.authority())
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.map_or_else(Bytes::new, |body| body.to_string().into())))?;
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
        if !status.is_success() {
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = value.pointer("/error/message").and_then(|message| message.as_str());
            bail!("{}", message.map_or_else(|| format!("the answer was {status}"), str::to_owned));
        }
        Ok(body)
    }

    /// A live socket.
    pub(super) async fn live(&self) -> anyhow::Result<WebSocketStream<Stream>> {
        let authority = self.address.authority();
        let mut request =
            format!("ws://{authority}{}", self.placed("/ws/live").await?).into_client_request()?;
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
