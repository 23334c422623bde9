//! The dialling of the collector: TLS with its pinned key, and by what the console shows who it is.
//!
//! The pin comes from the address, from what the console was told when it was enrolled, or, for a collector on this machine, from
//! the file `pin` beside its token. Without any nothing is dialled but plain HTTP within this machine.

use crate::identity::Identity;
use deckport_protocol::address::{Address, PLAIN_HTTP, Transport, plain_http_is_allowed};
use deckport_protocol::error::Refusal;
use deckport_protocol::{DeploymentId, ErrorCode, Pin, tls};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, http::HeaderValue};
use tokio_util::either::Either;

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What bytes travel on.
pub type Stream = Either<TlsStream<TcpStream>, TcpStream>;

/// Whom to deliver to.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Address,
    /// Read anew at every dial, so that a corrected file is enough.
    pub token_file: Option<PathBuf>,
    /// The state directory, with what the console was given when it was enrolled. Read anew at every dial, too: it is renewed.
    pub state: PathBuf,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{0}")]
    Refused(Refusal),
    #[error("the collector could not be reached: {0}")]
    Unreachable(String),
    #[error("the collector's token file {path} could not be read: {source}")]
    Token { path: PathBuf, source: std::io::Error },
    /// It may be put right while we try again.
    #[error("{0}")]
    WrongPin(tls::WrongPin),
    #[error(
        "no pin is known for the collector at {0}: give its address as it prints it, https://HOST:PORT#sha256//…"
    )]
    NoPin(String),
    #[error(
        "the token is not sent to {0} without TLS: give the collector's address as it prints it, https://HOST:PORT#sha256//…, \
         or a token file with the file `pin` beside it ({PLAIN_HTTP}=1 sends it all the same)"
    )]
    Plain(String),
}

fn unreachable(error: &dyn std::fmt::Display) -> DialError {
    DialError::Unreachable(error.to_string())
}

/// Connects to the holder of one of `pins`.
pub async fn connect_tls(
    address: &Address,
    pins: &[Pin],
    identity: Option<tls::Identity>,
) -> Result<TlsStream<TcpStream>, DialError> {
    let config = tls::client(pins, identity).map_err(|error| unreachable(&error))?;
    let stream = connect(address).await?;
    let name = tls::rustls::pki_types::ServerName::try_from(address.host.clone())
        .map_err(|error| unreachable(&error))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        match tls::wrong_pin(&error) {
            Some(wrong) => DialError::WrongPin(wrong.clone()),
            None => unreachable(&error),
        }
    })
}

async fn connect(address: &Address) -> Result<TcpStream, DialError> {
    let authority = address.authority();
    let stream = TcpStream::connect(&authority).await.map_err(|error| unreachable(&error))?;
    stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
    Ok(stream)
}

/// The pin that a collector on this machine keeps beside its token.
fn pin_beside(token_file: &Path) -> Option<Pin> {
    std::fs::read_to_string(token_file.with_file_name("pin")).ok()?.trim().parse().ok()
}

impl Target {
    /// Connects, and says by what token the console is known where it is not by its certificate.
    pub async fn connect(&self) -> Result<(Stream, Option<String>), DialError> {
        if let Some(path) = &self.token_file {
            let token = std::fs::read_to_string(path)
                .map_err(|source| DialError::Token { path: path.clone(), source })?;
            let pin = match self.address.transport {
                Transport::Tls { pin: Some(pin) } => Some(pin),
                Transport::Tls { pin: None } => Some(
                    pin_beside(path).ok_or_else(|| DialError::NoPin(self.address.authority()))?,
                ),
                Transport::Plain => match pin_beside(path) {
                    None if !plain_http_is_allowed() => {
                        return Err(DialError::Plain(self.address.authority()));
                    }
                    pin => pin,
                },
            };
            let stream = match pin {
                Some(pin) => Either::Left(connect_tls(&self.address, &[pin], None).await?),
                None => Either::Right(connect(&self.address).await?),
            };
            return Ok((stream, Some(token.trim().to_owned())));
        }
        let identity = Identity::load(&self.state).ok().flatten();
        let identity = identity.filter(|identity| identity.is_of(&self.address));
        let stream = match (self.address.transport, identity) {
            (Transport::Tls { pin }, Some(identity)) => {
                let pins = match pin {
                    Some(pin) if !identity.pins.contains(&pin) => vec![pin],
                    _ => identity.pins.clone(),
                };
                let shown = identity.shown().map_err(|error| unreachable(&error))?;
                Either::Left(connect_tls(&self.address, &pins, Some(shown)).await?)
            }
            (Transport::Tls { pin: Some(pin) }, None) => {
                Either::Left(connect_tls(&self.address, &[pin], None).await?)
            }
            (Transport::Tls { pin: None }, None) => {
                return Err(DialError::NoPin(self.address.authority()));
            }
            (Transport::Plain, _) => Either::Right(connect(&self.address).await?),
        };
        Ok((stream, None))
    }

    /// Dials the collector's socket for one deployment.
    pub async fn dial(
        &self,
        deployment: DeploymentId,
    ) -> Result<WebSocketStream<Stream>, DialError> {
        self.dial_path(&format!("/ws/deployment/{deployment}")).await
    }

    /// Dials one of the collector's sockets.
    pub async fn dial_path(&self, path: &str) -> Result<WebSocketStream<Stream>, DialError> {
        tokio::time::timeout(DIAL_TIMEOUT, self.dial_now(path))
            .await
            .unwrap_or_else(|_| Err(DialError::Unreachable("it did not answer in time".into())))
    }

    async fn dial_now(&self, path: &str) -> Result<WebSocketStream<Stream>, DialError> {
        let mut request = format!("ws://{}{path}", self.address.authority())
            .into_client_request()
            .map_err(|error| unreachable(&error))?;
        let (stream, token) = self.connect().await?;
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| unreachable(&"the token file holds what no header can carry"))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        // What the collector says is short, and the buffer is cleared before each read.
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .max_message_size(Some(1024 * 1024))
            .max_frame_size(Some(1024 * 1024));
        match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(http_refusal(&response)),
            Err(error) => Err(unreachable(&error)),
        }
    }
}

/// What an HTTP answer instead of a WebSocket means.
fn http_refusal(response: &tungstenite::http::Response<Option<Vec<u8>>>) -> DialError {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Refusal,
    }
    let status = response.status();
    let said =
        response.body().as_deref().and_then(|body| serde_json::from_slice::<Body>(body).ok());
    match (said, status.as_u16()) {
        // Renewed meanwhile by whoever looks after the certificate.
        (Some(Body { error }), _) if error.code == ErrorCode::CERTIFICATE_ENDED => {
            DialError::Unreachable(error.message)
        }
        (Some(Body { error }), 401) => DialError::Refused(Refusal {
            message: format!(
                "the collector does not know this console ({}); add it with the line that the app shows under Add consoles, \
                 or give the file `token` of its data directory with --token-file",
                error.message
            ),
            ..error
        }),
        (Some(Body { error }), _) if !error.retryable => DialError::Refused(error),
        (Some(Body { error }), _) => DialError::Unreachable(error.message),
        (None, 401 | 403) => DialError::Refused(Refusal::new(
            ErrorCode::UNAUTHENTICATED,
            format!("the collector does not accept this console's token ({status})"),
        )),
        (None, _) => DialError::Unreachable(format!("it answered {status}")),
    }
}
