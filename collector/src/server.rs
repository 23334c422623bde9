//! Accepting connections: the TCP port and the shell's in-memory ones, served by the same router.
//!
//! Our own accept loop, because what must hold cannot be said to `axum::serve`: a request's headers
//! arrive within a stated time, connections are bounded, and every one of them ends at shutdown. On one port TLS is spoken and,
//! where that was said, plain HTTP: the first byte tells which.

use crate::auth::{ConsoleCertificate, PROOF_PROTOCOL, Peer, Remote};
use crate::config::Bounds;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::Request;
use deckport_protocol::{ErrorCode, Pin};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// What an in-memory connection holds in each direction.
const DUPLEX_BYTES: usize = 64 * 1024;
/// The first byte of a TLS connection: a handshake record.
const HANDSHAKE: u8 = 22;

/// Serves connections until it is told to stop.
#[derive(Clone, Debug)]
pub struct Server {
    pub router: Router,
    pub bounds: Bounds,
    pub metrics: Arc<Metrics>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// What is spoken on the port.
#[derive(Clone)]
pub struct Spoken {
    pub tls: Arc<rustls::ServerConfig>,
    /// Plain HTTP too.
    pub plain: bool,
    /// For the sentence to those who come without TLS.
    pub pin: Pin,
}

impl std::fmt::Debug for Spoken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spoken").field("plain", &self.plain).finish_non_exhaustive()
    }
}

/// The places for connections. Consoles with a certificate have their own, so that strangers cannot take them all; and one
/// address gets only so many of a stranger's.
#[derive(Clone, Debug)]
struct Room {
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most_by_address: usize,
}

/// A stranger's place, given back when dropped.
#[derive(Debug)]
struct StrangersPlace {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for StrangersPlace {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

impl Room {
    fn new(bounds: &Bounds) -> Self {
        Self {
            known: Arc::new(Semaphore::new(bounds.connections)),
            strangers: Arc::new(Semaphore::new(bounds.strangers)),
            by_address: Arc::default(),
            most_by_address: bounds.strangers_of_one_address,
        }
    }

    fn stranger(&self, address: IpAddr) -> Option<StrangersPlace> {
        let permit = Arc::clone(&self.strangers).try_acquire_owned().ok()?;
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= self.most_by_address {
            return None;
        }
        *count += 1;
        let by_address = Arc::clone(&self.by_address);
        Some(StrangersPlace { _permit: permit, address, by_address })
    }
}

impl Server {
    /// Accepts until `stop` is cancelled.
    pub async fn accept(self, listener: TcpListener, spoken: Spoken) {
        let room = Room::new(&self.bounds);
        let acceptor = TlsAcceptor::from(Arc::clone(&spoken.tls));
        loop {
            // Dropping either branch loses nothing: accepting is cancel safe.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: others will close some.
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(place) = room.stranger(from.ip()) else {
                self.metrics.refuse(&ErrorCode::TOO_MANY_CONNECTIONS);
                continue;
            };
            let _ = stream.set_nodelay(true);
            let (server, acceptor, spoken, room) =
                (self.clone(), acceptor.clone(), spoken.clone(), room.clone());
            self.tasks.spawn(async move {
                // Dropping the greeting closes the connection.
                tokio::select! {
                    () = server.stop.cancelled() => {}
                    () = server.clone().greet(stream, from, &acceptor, &spoken, &room, place) => {}
                }
            });
        }
    }

    /// Finds out what the other side speaks and who it is, then serves it.
    async fn greet(
        self,
        stream: TcpStream,
        from: SocketAddr,
        acceptor: &TlsAcceptor,
        spoken: &Spoken,
        room: &Room,
        place: StrangersPlace,
    ) {
        let Ok(at) = stream.local_addr() else { return };
        let mut first = [0];
        let peeked = tokio::time::timeout(self.bounds.header_time, stream.peek(&mut first)).await;
        if !matches!(peeked, Ok(Ok(1))) {
            return;
        }
        if first[0] != HANDSHAKE {
            if spoken.plain {
                let peer = Peer::Remote(Remote { from, at, encrypted: false, console: None });
                self.serve(stream, peer).await;
            } else {
                self.metrics.refuse(&ErrorCode::TLS_REQUIRED);
                let _ =
                    tokio::time::timeout(self.bounds.send_time, say_tls(stream, at, spoken.pin))
                        .await;
            }
            return;
        }
        let handshake = tokio::time::timeout(self.bounds.header_time, acceptor.accept(stream));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "a TLS handshake failed");
                self.metrics.refuse(&ErrorCode::HANDSHAKE);
                return;
            }
            Err(_) => {
                self.metrics.refuse(&ErrorCode::HANDSHAKE);
                return;
            }
        };
        if stream.get_ref().1.alpn_protocol() == Some(PROOF_PROTOCOL) {
            // A public authority, which has seen in the handshake what it came for.
            let mut stream = stream;
            let _ = tokio::time::timeout(self.bounds.send_time, stream.shutdown()).await;
            return;
        }
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let console = shown.and_then(ConsoleCertificate::read).map(Arc::new);
        let peer = Peer::Remote(Remote { from, at, encrypted: true, console: console.clone() });
        if console.is_none() {
            self.serve(stream, peer).await;
            return;
        }
        let Ok(_place) = Arc::clone(&room.known).try_acquire_owned() else {
            self.metrics.refuse(&ErrorCode::TOO_MANY_CONNECTIONS);
            return;
        };
        drop(place);
        self.serve(stream, peer).await;
    }

    /// An in-memory connection to this server, as the shell.
    pub fn dial(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
        let server = self.clone();
        self.tasks.spawn(async move { server.serve(ours, Peer::Shell).await });
        theirs
    }

    async fn serve<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.metrics.connections.add(1);
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let router = router.clone();
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer.clone());
            async move { router.oneshot(request).await }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.bounds.header_time)
            .max_buf_size(64 * 1024);
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        // Dropping a branch is safe: the connection is told to finish, then finished or dropped.
        tokio::select! {
            result = connection.as_mut() => if let Err(error) = result {
                tracing::debug!(error = %error, "a connection ended early");
            },
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(self.bounds.header_time, connection).await;
            }
        }
        self.metrics.connections.add(-1);
    }
}

/// Tells somebody who came without TLS how to come with it, in words that both curl and people can read.
async fn say_tls(mut stream: TcpStream, at: SocketAddr, pin: Pin) {
    let message = format!(
        "this collector speaks TLS: use https://{at}#{pin}, or start it with --plain-http (on this machine only)"
    );
    let body = serde_json::json!({
        "error": { "code": ErrorCode::TLS_REQUIRED, "message": message, "retryable": false }
    });
    let body = format!("{body}\n");
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.shutdown().await;
    // What it sent is read to the end of its own doing: a reset would take the answer with it.
    let mut unread = [0; 4096];
    while matches!(tokio::io::AsyncReadExt::read(&mut stream, &mut unread).await, Ok(1..)) {}
}
