//! A connection's stream: it keeps the place, and ends when the other side takes nothing for too long.
//!
//! Under TLS and under HTTP, so that it holds for an answer, a download and a socket alike. Nothing of it costs a call of the
//! system: a timer runs only while the other side does not read.

use super::Place;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// See the module.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    /// Held, not used.
    _place: Place,
    /// How long the other side may take nothing while there is something for it.
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, place: Place, patience: Duration) -> Self {
        Self { stream, _place: place, patience, waiting: None }
    }

    /// Passes on what writing gave, or an error once that has been nothing for too long.
    fn patiently(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.patiently(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.patiently(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bounds;
    use crate::metrics::Metrics;
    use crate::places::Places;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn who_reads_slowly_and_steadily_stays_and_who_stops_goes() {
        let metrics = Arc::new(Metrics::default());
        let places = Places::new(Bounds::default(), Arc::clone(&metrics));
        let place = places.arrive(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let (ours, mut theirs) = tokio::io::duplex(16);
        let patience = Duration::from_millis(500);
        let mut watched = Watched::new(ours, place, patience);
        let reads = async {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                theirs.read_exact(&mut [0; 4]).await.unwrap();
            }
            theirs
        };
        let (written, _theirs) = tokio::join!(watched.write_all(&[7; 48]), reads);
        written.unwrap();
        let error = watched.write_all(&[7; 48]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(metrics.connections.get(), 1);
        drop(watched);
        assert_eq!((metrics.connections.get(), metrics.strangers.get()), (0, 0));
    }
}
