//! Where the collector is, and the dialling of it.
//!
//! Until TLS exists only a collector on this machine is dialled: the token and everything an
//! installation prints would otherwise cross the network in the clear.

use deckport_protocol::DeploymentId;
use deckport_protocol::error::Refusal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, http::HeaderValue};

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_PORT: u16 = 7443;

/// Why a collector's address is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("`{0}` is not a collector's address; write http://127.0.0.1:7443")]
    Malformed(String),
    #[error(
        "{0} is not on this machine: this version has no TLS yet, and the token and the log would \
         cross the network in the clear, so it only streams to a collector at 127.0.0.1"
    )]
    NotLocal(String),
    #[error("`{0}`: this version has no TLS yet; write http://, and a collector on this machine")]
    Encrypted(String),
}

/// A collector's address: `http://` or `ws://`, a loopback host, a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        let not_local = || AddressError::NotLocal(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        if scheme == "https" || scheme == "wss" {
            return Err(AddressError::Encrypted(text.to_owned()));
        }
        if scheme != "http" && scheme != "ws" {
            return Err(malformed());
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '@', '?', '#', ' ']) {
            return Err(malformed());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, tail) = v6.split_once(']').ok_or_else(malformed)?;
                (host, tail.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| malformed())?,
            None => DEFAULT_PORT,
        };
        let local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !local {
            return Err(not_local());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Address {
    /// `host:port` as it is dialled.
    pub fn authority(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// Whom to deliver to.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Address,
    /// Read anew at every dial, so that a corrected file is enough.
    pub token_file: Option<PathBuf>,
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
}

impl Target {
    /// Dials the collector's socket for one deployment.
    pub async fn dial(
        &self,
        deployment: DeploymentId,
    ) -> Result<WebSocketStream<TcpStream>, DialError> {
        tokio::time::timeout(DIAL_TIMEOUT, self.dial_now(deployment))
            .await
            .unwrap_or_else(|_| Err(DialError::Unreachable("it did not answer in time".into())))
    }

    async fn dial_now(
        &self,
        deployment: DeploymentId,
    ) -> Result<WebSocketStream<TcpStream>, DialError> {
        let unreachable = |error: &dyn std::fmt::Display| DialError::Unreachable(error.to_string());
        let authority = self.address.authority();
        let mut request = format!("ws://{authority}/ws/deployment/{deployment}")
            .into_client_request()
            .map_err(|error| unreachable(&error))?;
        if let Some(path) = &self.token_file {
            let token = std::fs::read_to_string(path)
                .map_err(|source| DialError::Token { path: path.clone(), source })?;
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| unreachable(&"the token file holds what no header can carry"))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let stream = TcpStream::connect(&authority).await.map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
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
        (Some(Body { error }), 401) => DialError::Refused(Refusal {
            message: format!(
                "the collector does not accept this console's token ({}); give the file `token` of its data \
                 directory with --token-file, or in DECKPORT_TOKEN_FILE",
                error.message
            ),
            ..error
        }),
        (Some(Body { error }), _) if !error.retryable => DialError::Refused(error),
        (Some(Body { error }), _) => DialError::Unreachable(error.message),
        (None, 401 | 403) => DialError::Refused(Refusal::new(
            deckport_protocol::ErrorCode::UNAUTHENTICATED,
            format!("the collector does not accept this console's token ({status})"),
        )),
        (None, _) => DialError::Unreachable(format!("it answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_on_this_machine() {
        for (text, authority) in [
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://localhost", "localhost:7443"),
            ("ws://[::1]:80/", "[::1]:80"),
            ("http://127.8.8.8/", "127.8.8.8:7443"),
        ] {
            assert_eq!(
                text.parse::<Address>().map(|a| a.authority()),
                Ok(authority.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn any_other_is_refused_with_its_reason() {
        for text in ["https://127.0.0.1", "wss://desk.venue.example:7443"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Encrypted(text.into())));
        }
        for text in ["http://10.0.0.1:7443", "ws://desk.venue.example:7443"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::NotLocal(text.into())), "{text}");
        }
        for text in
            ["127.0.0.1:7443", "ftp://localhost", "http://", "http://localhost:x", "http://a b"]
        {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Malformed(_))), "{text}");
        }
        // What stands before an @ is not the host.
        assert!("http://localhost@evil.example:1".parse::<Address>().is_err());
    }
}
