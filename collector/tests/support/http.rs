//! One request over a stream of its own, and what it is answered with.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer, to its end.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    /// None: it broke off.
    pub whole: Option<Bytes>,
}

impl Answered {
    pub fn body(&self) -> Bytes {
        self.whole.clone().unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// Null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body()).unwrap_or_default()
    }

    /// Empty where there is none.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
    }
}

/// Sends it, and takes the answer, which comes to its end within the deadline.
pub async fn exchange<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Answered
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let answer = async move {
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(super::DEADLINE, body.collect()).await.unwrap();
        let whole = body.ok().map(Collected::to_bytes);
        Answered { status: head.status.as_u16(), headers: head.headers, whole }
    };
    tokio::join!(answer, connection).0
}
