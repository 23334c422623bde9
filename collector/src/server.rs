//! Accepting connections: the TCP port and the shell's in-memory ones, served by the same router.
//!
//! Our own accept loop, because what must hold cannot be said to `axum::serve`: a request's headers
//! and bodies arrive within a stated time, answers are taken within one, connections are bounded (see `places`), and every one of
//! them ends at shutdown. On one port TLS is spoken and, where that was said, plain HTTP: the first byte tells which.

use crate::auth::{Answer, ConsoleCertificate, PROOF_PROTOCOL, Peer, Remote};
use crate::config::Bounds;
use crate::metrics::Metrics;
use crate::places::{Place, Places, Watched};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::IntoResponse as _;
use axum::{BoxError, Router};
use deckport_protocol::{ErrorCode, Pin};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// What an in-memory connection holds in each direction.
const DUPLEX_BYTES: usize = 64 * 1024;
/// A connection over the network.
type Stream = Watched<TcpStream>;
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
    /// Where strangers are heard (see `threads`).
    pub doorway: Handle,
    /// Where those are who were let in.
    pub inside: Handle,
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

impl Server {
    /// Accepts until `stop` is cancelled.
    pub async fn accept(self, listener: TcpListener, spoken: Spoken) {
        let places = Places::new(self.bounds, Arc::clone(&self.metrics));
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
            // Dropping the stream closes it. Nothing can be said to it: what it speaks is not known yet.
            let Some(place) = places.arrive(from.ip()) else { continue };
            let _ = stream.set_nodelay(true);
            let (server, spoken) = (self.clone(), spoken.clone());
            let hearing = async move {
                // Dropping the greeting closes the connection.
                tokio::select! {
                    () = server.stop.cancelled() => {}
                    () = place.gone() => {}
                    arrived = server.greet(stream, from, &spoken, &place) => {
                        if let Some((stream, peer)) = arrived {
                            server.clone().serve(stream, peer, Some(place)).await;
                        }
                    }
                }
            };
            self.tasks.spawn_on(hearing, &self.doorway);
        }
    }

    /// Finds out what the other side speaks and who it is.
    async fn greet(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        spoken: &Spoken,
        place: &Place,
    ) -> Option<(Either<TlsStream<Stream>, Stream>, Peer)> {
        let at = stream.local_addr().ok()?;
        let until = Instant::now() + self.bounds.header_time;
        let mut first = [0];
        let peeked = tokio::time::timeout_at(until, stream.peek(&mut first)).await;
        if !matches!(peeked, Ok(Ok(1))) {
            // Who connects and goes is none that was too slow.
            if peeked.is_err() {
                self.metrics.refuse(&ErrorCode::TOO_SLOW);
            }
            return None;
        }
        // Later than sockets end by themselves, which say why.
        let patience = self.bounds.send_time + self.bounds.header_time;
        let stream = Watched::new(stream, place.clone(), patience);
        if first[0] != HANDSHAKE {
            if spoken.plain {
                let peer = Peer::Remote(Remote { from, at, encrypted: false, console: None });
                return Some((Either::Right(stream), peer));
            }
            self.metrics.refuse(&ErrorCode::TLS_REQUIRED);
            let said = say_tls(stream, at, spoken.pin);
            let _ = tokio::time::timeout(self.bounds.send_time, said).await;
            return None;
        }
        let shaken = tokio::time::timeout_at(until, shake_hands(stream, spoken, place)).await;
        let stream = match shaken {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) => return None,
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "a TLS handshake failed");
                self.metrics.refuse(&ErrorCode::HANDSHAKE);
                return None;
            }
            Err(_) => {
                self.metrics.refuse(&ErrorCode::HANDSHAKE);
                return None;
            }
        };
        if stream.get_ref().1.alpn_protocol() == Some(PROOF_PROTOCOL) {
            // A public authority, which has seen in the handshake what it came for.
            let mut stream = stream;
            let _ = tokio::time::timeout(self.bounds.send_time, stream.shutdown()).await;
            return None;
        }
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let console = shown.and_then(ConsoleCertificate::read).map(Arc::new);
        let peer = Peer::Remote(Remote { from, at, encrypted: true, console });
        Some((Either::Left(stream), peer))
    }

    /// An in-memory connection to this server, as the shell.
    pub fn dial(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
        let server = self.clone();
        self.tasks.spawn(async move { server.serve(ours, Peer::Shell, None).await });
        theirs
    }

    /// Speaks HTTP until the other side or the collector stops. Over a network that takes a place; once that is somebody's who was let
    /// in, the connection moves inside, with whatever it is doing.
    async fn serve<S>(self, stream: S, peer: Peer, place: Option<Place>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (router, body_time) = (self.router.clone(), self.bounds.body_time);
        let metrics = Arc::clone(&self.metrics);
        let needed = place.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let (router, place, metrics) = (router.clone(), place.clone(), Arc::clone(&metrics));
            let mut request: Request = match &place {
                Some(place) if !request.body().is_end_stream() => request
                    .map(|body| axum::body::Body::new(InTime::new(body, place.clone(), body_time))),
                Some(_) | None => request.map(axum::body::Body::new),
            };
            request.extensions_mut().insert(peer.clone());
            async move {
                if let Some(place) = place {
                    if let Err(refusal) = place.request().await {
                        metrics.refuse(&refusal.code);
                        let mut answer = Answer(refusal).into_response();
                        // Coming again costs more than asking again.
                        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                        return Ok(answer);
                    }
                    request.extensions_mut().insert(place);
                }
                router.oneshot(request).await
            }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.bounds.header_time)
            .max_buf_size(self.bounds.header_bytes);
        let mut connection =
            Box::pin(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        if let Some(place) = &needed {
            // Dropping either branch is safe: the connection goes on where it was.
            tokio::select! {
                biased;
                result = connection.as_mut() => return self.ended(result),
                () = place.known() => {}
            }
        }
        let (tasks, inside, moves) = (self.tasks.clone(), self.inside.clone(), needed.is_some());
        let rest = async move {
            let gone = async {
                match &needed {
                    Some(place) => place.gone().await,
                    None => std::future::pending().await,
                }
            };
            // Dropping a branch is safe: the connection is told to finish, then finished or dropped.
            tokio::select! {
                result = connection.as_mut() => self.ended(result),
                () = gone => {}
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(self.bounds.header_time, connection).await;
                }
            }
        };
        if moves {
            tasks.spawn_on(rest, &inside);
        } else {
            rest.await;
        }
    }

    fn ended(&self, result: hyper::Result<()>) {
        if let Err(error) = result {
            if is_late(&error) {
                self.metrics.refuse(&ErrorCode::TOO_SLOW);
            }
            tracing::debug!(error = %error, "a connection ended early");
        }
    }
}

/// Headers did not come in time, or an answer was not taken.
fn is_late(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    error.is_timeout()
        || source.is_some_and(|error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut)
}

/// Does the handshake when its turn has come. The turn counts from the other side's greeting: whoever says nothing holds up nobody.
async fn shake_hands(
    stream: Stream,
    spoken: &Spoken,
    place: &Place,
) -> std::io::Result<Option<TlsStream<Stream>>> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    if !place.handshake().await {
        return Ok(None);
    }
    start.into_stream(Arc::clone(&spoken.tls)).await.map(Some)
}

/// The body of a request, which comes in time or not at all: a stranger's as a whole, that of somebody who was let in piece by piece.
struct InTime {
    body: Incoming,
    place: Place,
    time: Duration,
    late: Option<Pinned<Box<tokio::time::Sleep>>>,
}

impl InTime {
    const fn new(body: Incoming, place: Place, time: Duration) -> Self {
        Self { body, place, time, late: None }
    }
}

impl Body for InTime {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pinned<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pinned::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            if self.place.is_known() {
                self.late = None;
            }
            return polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        }
        let time = self.time;
        let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Some(Err("the body of the request did not come in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells somebody who came without TLS how to come with it, in words that both curl and people can read.
async fn say_tls(mut stream: Stream, at: SocketAddr, pin: Pin) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Doorway;
    use axum::Extension;
    use axum::routing::get;
    use deckport_protocol::{Actor, Scope};
    use tokio::io::AsyncReadExt as _;

    /// A handler says on which thread it is, before it knows who asks and after.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_was_let_in_is_answered_inside() {
        let doorway = Doorway::open().unwrap();
        let is_doorway = || std::thread::current().name() == Some("doorway");
        let let_in = move |Extension(place): Extension<Place>| async move {
            tokio::task::yield_now().await;
            let before = is_doorway();
            place.prove(&Actor::LocalAdmin { scope: Scope::SOLE }).unwrap();
            tokio::task::yield_now().await;
            format!("{before} {}", is_doorway())
        };
        let bounds = Bounds::default();
        let places = Places::new(bounds, Arc::default());
        let place = places.arrive("127.0.0.1".parse().unwrap()).unwrap();
        let server = Server {
            router: Router::new().route("/", get(let_in)),
            bounds,
            metrics: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            doorway: doorway.handle().clone(),
            inside: Handle::current(),
        };
        let (ours, mut theirs) = tokio::io::duplex(4096);
        server
            .tasks
            .spawn_on(server.clone().serve(ours, Peer::Shell, Some(place)), &server.doorway);
        // Its second request is heard inside.
        for expected in ["true false", "false false"] {
            theirs.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 1024];
            let length = theirs.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(answer.ends_with(expected), "{answer}");
        }
        server.stop.cancel();
        server.tasks.close();
        server.tasks.wait().await;
    }
}
