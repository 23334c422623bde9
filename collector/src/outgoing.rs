//! What the collector itself asks of servers elsewhere: an authority for a public certificate, a provider of logins.
//!
//! Few and slow questions, so each has a connection of its own, and nothing is kept open.
//!
//! What must hold: HTTPS only, TLS 1.3, by authorities that this machine trusts (and those of a file that the collector was started
//! with); no redirect is followed; names are resolved once, and what is dialled is what was looked at; an answer has a size and a time.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The largest answer that is read.
const ANSWER_BYTES: usize = 1024 * 1024;
/// Until a connection stands, and until the answer is there.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Why nothing can be asked of anybody.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{path} holds no certificates in PEM: {why}")]
    File { path: PathBuf, why: String },
    #[error(
        "this machine trusts no authority: install the package `ca-certificates`, or name a file with --trust-ca"
    )]
    Nobody,
    #[error("TLS cannot be spoken")]
    Tls(#[from] rustls::Error),
}

/// Why an answer did not come.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    #[error("{0} is no https address")]
    NotHttps(String),
    #[error("{host} is not known to the name server")]
    Resolve { host: String, source: std::io::Error },
    #[error("{host} is at {address}, which is not a public address")]
    Private { host: String, address: IpAddr },
    #[error("{host} cannot be reached: {source}")]
    Connect { host: String, source: std::io::Error },
    #[error("{host} is not who this machine trusts under that name: {source}")]
    Handshake { host: String, source: std::io::Error },
    #[error("{host} did not answer in time")]
    Late { host: String },
    #[error("the connection to {host} broke: {source}")]
    Broke { host: String, source: hyper::Error },
    #[error("the answer of {host} could not be read: {why}")]
    Answer { host: String, why: String },
}

/// Where a question may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The address was given by whoever runs this collector.
    Anywhere,
    /// The address was told by somebody else: not into this machine or its networks.
    Public,
}

/// See the module.
#[derive(Clone)]
pub struct Outgoing {
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outgoing")
    }
}

impl Outgoing {
    /// Trusts whom this machine trusts, and the authorities in the file `trust`.
    pub fn new(trust: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "some of the authorities that this machine trusts cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = trust {
            let failed = |why: String| TrustError::File { path: path.to_owned(), why };
            let more = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| failed(error.to_string()))?;
            if more.is_empty() {
                return Err(failed("it is empty".to_owned()));
            }
            for certificate in more {
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
        if roots.is_empty() {
            return Err(TrustError::Nobody);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Asks, and reads the whole answer.
    pub async fn send<B>(
        &self,
        mut request: Request<B>,
        reach: Reach,
    ) -> Result<Response<Bytes>, OutgoingError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (host, port) = target(request.uri())?;
        let late = || OutgoingError::Late { host: host.clone() };
        let connected = tokio::time::timeout(CONNECT_TIME, self.connect(&host, port, reach));
        let stream = connected.await.map_err(|_| late())??;
        // An HTTP/1.1 server is asked for a path, and told the host beside it.
        let authority = if port == 443 { host.clone() } else { format!("{host}:{port}") };
        let no_header = |_| OutgoingError::NotHttps(host.clone());
        request.headers_mut().insert(HOST, HeaderValue::from_str(&authority).map_err(no_header)?);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse::<Uri>().map_err(|_| OutgoingError::NotHttps(host.clone()))?;
        *request.uri_mut() = path;
        let broke = |source| OutgoingError::Broke { host: host.clone(), source };
        let answer = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
            // Its error is the sender's too.
            let driver = tokio::spawn(async move {
                let _ = connection.await;
            });
            let answered = async {
                let (parts, body) = sender.send_request(request).await.map_err(broke)?.into_parts();
                let body = Limited::new(body, ANSWER_BYTES).collect().await;
                let body = body.map_err(|error| OutgoingError::Answer {
                    host: host.clone(),
                    why: error.to_string(),
                })?;
                Ok(Response::from_parts(parts, body.to_bytes()))
            };
            let answered = answered.await;
            driver.abort();
            answered
        };
        tokio::time::timeout(ANSWER_TIME, answer).await.map_err(|_| late())?
    }

    async fn connect(
        &self,
        host: &str,
        port: u16,
        reach: Reach,
    ) -> Result<TlsStream<TcpStream>, OutgoingError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let resolve = |source| OutgoingError::Resolve { host: host.to_owned(), source };
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((bare, port)).await.map_err(resolve)?.collect();
        let private = addresses.iter().find(|address| !is_public(address.ip()));
        if let (Reach::Public, Some(address)) = (reach, private) {
            return Err(OutgoingError::Private { host: host.to_owned(), address: address.ip() });
        }
        let stream = TcpStream::connect(&addresses[..]).await;
        let stream =
            stream.map_err(|source| OutgoingError::Connect { host: host.to_owned(), source })?;
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| OutgoingError::NotHttps(host.to_owned()))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector
            .connect(name, stream)
            .await
            .map_err(|source| OutgoingError::Handshake { host: host.to_owned(), source })
    }
}

/// Whether a host is on this machine or in its networks.
pub async fn is_private(uri: &Uri) -> bool {
    let Ok((host, port)) = target(uri) else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let found = tokio::time::timeout(CONNECT_TIME, tokio::net::lookup_host((bare, port))).await;
    let Ok(Ok(mut addresses)) = found else { return false };
    addresses.any(|address| !is_public(address.ip()))
}

/// Host and port of an https address.
fn target(uri: &Uri) -> Result<(String, u16), OutgoingError> {
    let not_https = || OutgoingError::NotHttps(uri.to_string());
    let https = uri.scheme_str() == Some("https");
    let authority = uri.authority().filter(|authority| https && !authority.as_str().contains('@'));
    let authority = authority.ok_or_else(not_https)?;
    Ok((authority.host().to_owned(), authority.port_u16().unwrap_or(443)))
}

/// Whether an address is on the public network: neither this machine's, nor that of a network which only some see.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || first == 0
                || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_without_credentials_is_dialled() {
        let target = |text: &str| target(&text.parse().unwrap());
        assert_eq!(target("https://a.example/x").unwrap(), ("a.example".to_owned(), 443));
        assert_eq!(target("https://[::1]:8443/").unwrap(), ("[::1]".to_owned(), 8443));
        for wrong in ["http://a.example/", "/x", "https://user@a.example/"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_only_some_see_is_not_public() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for ours in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!public(ours), "{ours}");
        }
        assert!(public("9.9.9.9") && public("2620:fe::fe") && public("100.128.0.1"));
    }

    #[tokio::test]
    async fn an_address_that_somebody_told_leads_nowhere_near() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let authority = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, authority.cert.pem()).unwrap();
        let outgoing = Outgoing::new(Some(&path)).unwrap();
        let request = Request::get(format!("https://localhost:{port}/"));
        let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
        let error = outgoing.send(request, Reach::Public).await.unwrap_err();
        assert!(matches!(error, OutgoingError::Private { .. }), "{error}");
        std::fs::write(&path, "no certificate").unwrap();
        assert!(matches!(Outgoing::new(Some(&path)), Err(TrustError::File { .. })));
    }
}
