//! Accepting connections: the TCP port and the shell's in-memory ones, served by the same router.
//!
//! Our own accept loop, because what must hold cannot be said to `axum::serve`: a request's headers
//! arrive within a stated time, connections are bounded, and every one of them ends at shutdown.

use crate::auth::Peer;
use crate::config::Bounds;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// What an in-memory connection holds in each direction.
const DUPLEX_BYTES: usize = 64 * 1024;

/// Serves connections until it is told to stop.
#[derive(Clone, Debug)]
pub struct Server {
    pub router: Router,
    pub bounds: Bounds,
    pub metrics: Arc<Metrics>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl Server {
    /// Accepts until `stop` is cancelled.
    pub async fn accept(self, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(self.bounds.connections));
        loop {
            // Dropping either branch loses nothing: accepting is cancel safe.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: others will close some.
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                self.metrics.refuse(&deckport_protocol::ErrorCode::TOO_MANY_CONNECTIONS);
                continue;
            };
            let _ = stream.set_nodelay(true);
            let server = self.clone();
            self.tasks.spawn(async move {
                server.serve(stream, Peer::Tcp(address)).await;
                drop(permit);
            });
        }
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
            request.extensions_mut().insert(peer);
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
