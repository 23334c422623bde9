//! Where a collector is.
//!
//! ```text
//! https://desk.venue.example:7443#sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
//! ```
//!
//! The pin stands behind a `#`, where URLs have what is never sent. `http://` is for a collector on the same machine only.
//! `wss://` and `ws://` are the same as `https://` and `http://`.

use crate::pin::{Pin, PinError};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The port that a collector is found at unless told otherwise.
pub const DEFAULT_PORT: u16 = 7443;

/// Why a text is no address of a collector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("`{0}` is not a collector's address; write https://HOST:PORT#sha256//…")]
    Malformed(String),
    #[error(
        "{0} is not on this machine, and over plain HTTP the token and the log would cross the network in the clear: \
         write https://HOST:PORT#sha256//…, as the collector prints it"
    )]
    NotLocal(String),
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Without encryption, within this machine.
    Plain,
    /// TLS; the pin may be known from elsewhere.
    Tls { pin: Option<Pin> },
}

/// A collector's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    pub port: u16,
    pub transport: Transport,
}

impl Address {
    /// `host:port` as it is dialled and as the Host header says it.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The address with TLS and this pin.
    #[must_use]
    pub fn pinned(self, pin: Pin) -> Self {
        Self { transport: Transport::Tls { pin: Some(pin) }, ..self }
    }

    /// Whether it is on this machine, by its name alone.
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.authority();
        match self.transport {
            Transport::Plain => write!(f, "http://{authority}"),
            Transport::Tls { pin: None } => write!(f, "https://{authority}"),
            Transport::Tls { pin: Some(pin) } => write!(f, "https://{authority}#{pin}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.chars().take(200).collect());
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        let encrypted = match scheme {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return Err(malformed()),
        };
        let (rest, pin) = match rest.split_once('#') {
            Some((rest, pin)) if encrypted => (rest, Some(pin.parse()?)),
            Some(_) => return Err(malformed()),
            None => (rest, None),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, tail) = v6.split_once(']').ok_or_else(malformed)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| malformed())?;
                match (tail, tail.strip_prefix(':')) {
                    ("", _) => (host, None),
                    (_, Some(port)) => (host, Some(port)),
                    _ => return Err(malformed()),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        // What a host may hold, and nothing that a URL could hide another one behind.
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if host.is_empty() || !host.chars().all(fits) {
            return Err(malformed());
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| malformed())?,
            None => DEFAULT_PORT,
        };
        if !encrypted && !is_local(host) {
            return Err(AddressError::NotLocal(text.to_owned()));
        }
        let transport = if encrypted { Transport::Tls { pin } } else { Transport::Plain };
        Ok(Self { host: host.to_owned(), port, transport })
    }
}

/// Set to 1, a token is sent without TLS to an `http://` address of which no pin is known. Else it is not: while the collector is down
/// anybody on the machine can listen in its place.
pub const PLAIN_HTTP: &str = "DECKPORT_PLAIN_HTTP";

/// Whether whoever started this program said so.
pub fn plain_http_is_allowed() -> bool {
    std::env::var_os(PLAIN_HTTP).is_some_and(|said| said == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000".to_owned()),
            ("http://localhost", "http://localhost:7443".to_owned()),
            ("ws://[::1]:80/", "http://[::1]:80".to_owned()),
            ("http://127.8.8.8/", "http://127.8.8.8:7443".to_owned()),
            ("https://desk.venue.example", "https://desk.venue.example:7443".to_owned()),
            ("wss://10.0.0.1:1", "https://10.0.0.1:1".to_owned()),
            (&format!("https://[fd00::1]:99/#{PIN}"), format!("https://[fd00::1]:99#{PIN}")),
        ] {
            let address = text.parse::<Address>();
            assert_eq!(address.map(|address| address.to_string()), Ok(written), "{text}");
        }
    }

    #[test]
    fn any_other_is_refused_with_its_reason() {
        for text in ["http://10.0.0.1:7443", "ws://desk.venue.example:7443"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::NotLocal(text.into())), "{text}");
        }
        for text in [
            "127.0.0.1:7443",
            "ftp://localhost",
            "http://",
            "http://localhost:x",
            "http://a b",
            "https://[::1",
            "https://[::1]x",
            "https://a/b",
            "https://a?b",
            "http://localhost#sha256//",
            // What stands before an @ is not the host.
            "http://localhost@evil.example:1",
            "https://desk.venue.example@evil.example",
        ] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Malformed(_))), "{text}");
        }
        let short = "https://desk.venue.example#sha256//AAAA";
        assert!(matches!(short.parse::<Address>(), Err(AddressError::Pin(_))));
    }
}
