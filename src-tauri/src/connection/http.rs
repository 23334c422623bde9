//! One HTTP request over a dialled stream.
//!
//! A stream serves one request and is dropped: dialling memory costs microseconds, and nothing then shares fate.
//! Bounds: the request's body 1 MiB, or none when it comes from the disk ([`upload`]); the answer 8 MiB, or none when it goes
//! to the disk as it comes ([`download`]); 30 s to the head of the answer (15 min behind an upload) and 30 s between parts of it. Only the collector's own paths are
//! asked for, and the headers that matter on a connection cannot be set by the caller.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Connection, ConnectionError};

pub(crate) const LARGEST_REQUEST: usize = 1 << 20;
pub(crate) const LARGEST_ANSWER: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// A file of hundreds of megabytes over a venue's network, and what the collector does with it.
const UPLOAD_PATIENCE: Duration = Duration::from_mins(15);
/// What is read of a file at once.
const PIECE: usize = 64 << 10;
const LONGEST_PATH: usize = 8 << 10;
const MOST_HEADERS: usize = 32;

/// The name that a collector answers to when it is reached without a network.
pub(crate) const HOST: &str = "localhost";

/// What is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<String>,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Ask {
        Ask { method: "GET".into(), path: path.into(), ..Ask::default() }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

/// Asks and takes the whole answer.
pub(crate) async fn fetch(connection: &Connection, ask: Ask) -> Result<Answer, ConnectionError> {
    take(send(connection, build(ask)?, PATIENCE).await?).await
}

/// Posts a file as it is, read piece by piece, and takes the whole answer.
pub(crate) async fn upload(
    connection: &Connection,
    path: String,
    file: &Path,
) -> Result<Answer, ConnectionError> {
    let unread = |error| ConnectionError::Broken(format!("the file cannot be read: {error}"));
    let file = tokio::fs::File::open(file).await.map_err(unread)?;
    let length = file.metadata().await.map_err(unread)?.len();
    let pieces = futures_util::stream::try_unfold(file, |mut file| async {
        let mut piece = bytes::BytesMut::with_capacity(PIECE);
        let more = file.read_buf(&mut piece).await? > 0;
        std::io::Result::Ok(more.then(|| (Frame::data(piece.freeze()), file)))
    });
    let kind = "application/octet-stream".to_owned();
    let headers = BTreeMap::from([("content-type".to_owned(), kind)]);
    let ask = Ask { method: "POST".into(), path, headers, body: None };
    let mut request = build(ask)?.map(|_| StreamBody::new(Box::pin(pieces)));
    request.headers_mut().insert(hyper::header::CONTENT_LENGTH, length.into());
    take(send(connection, request, UPLOAD_PATIENCE).await?).await
}

async fn take(answer: Response<Incoming>) -> Result<Answer, ConnectionError> {
    let status = answer.status().as_u16();
    let headers = readable_headers(&answer);
    let mut body = answer.into_body();
    let mut whole = Vec::new();
    while let Some(part) = next_part(&mut body).await? {
        if whole.len() + part.len() > LARGEST_ANSWER {
            return Err(ConnectionError::TooLarge(LARGEST_ANSWER >> 20));
        }
        whole.extend_from_slice(&part);
    }
    Ok(Answer { status, headers, body: whole.into() })
}

/// Asks and writes a successful answer to `target` as it comes, whatever its size. Gives the number of bytes.
///
/// `target` appears only when all of it is on the disk; until then it is `target` with `.part` added.
pub(crate) async fn download(
    connection: &Connection,
    ask: Ask,
    target: &Path,
) -> Result<u64, ConnectionError> {
    let answer = send(connection, build(ask)?, PATIENCE).await?;
    if !answer.status().is_success() {
        return Err(ConnectionError::Broken(format!("the collector answered {}", answer.status())));
    }
    let mut part_name = target.as_os_str().to_owned();
    part_name.push(".part");
    let beside = Path::new(&part_name);
    let written = write_body(answer.into_body(), beside).await;
    let written = match written {
        Ok(size) => {
            tokio::fs::rename(beside, target).await.map(|()| size).map_err(|error| disk(&error))
        }
        Err(error) => Err(error),
    };
    if written.is_err() {
        let _ = tokio::fs::remove_file(beside).await;
    }
    written
}

async fn write_body(mut body: Incoming, path: &Path) -> Result<u64, ConnectionError> {
    let mut file = tokio::fs::File::create(path).await.map_err(|error| disk(&error))?;
    let mut size = 0;
    while let Some(part) = next_part(&mut body).await? {
        file.write_all(&part).await.map_err(|error| disk(&error))?;
        size += part.len() as u64;
    }
    file.sync_all().await.map_err(|error| disk(&error))?;
    Ok(size)
}

fn disk(error: &std::io::Error) -> ConnectionError {
    ConnectionError::Broken(format!("the file cannot be written: {error}"))
}

async fn send<B>(
    connection: &Connection,
    mut request: Request<B>,
    patience: Duration,
) -> Result<Response<Incoming>, ConnectionError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let host = HeaderValue::try_from(connection.host())
        .map_err(|_| ConnectionError::Refused("the address is no name of a machine"))?;
    request.headers_mut().insert(hyper::header::HOST, host);
    if let Some(session) = connection.session() {
        let mut value = HeaderValue::try_from(format!("Bearer {session}"))
            .map_err(|_| ConnectionError::Refused("the session cannot be sent; log in again"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(hyper::header::AUTHORIZATION, value);
    }
    let stream = connection.dial().await?;
    let exchange = async {
        let (mut sender, exchange) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer: its body and `sender` are all that keep it.
        tokio::spawn(exchange);
        sender.send_request(request).await
    };
    match timeout(patience, exchange).await {
        Ok(answer) => answer.map_err(|error| ConnectionError::Broken(error.to_string())),
        Err(_) => Err(ConnectionError::TimedOut(patience.as_secs())),
    }
}

async fn next_part(body: &mut Incoming) -> Result<Option<Bytes>, ConnectionError> {
    loop {
        let frame = match timeout(PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(ConnectionError::Broken(error.to_string())),
            Ok(None) => return Ok(None),
            Err(_) => return Err(ConnectionError::TimedOut(PATIENCE.as_secs())),
        };
        if let Ok(part) = frame.into_data() {
            return Ok(Some(part));
        }
    }
}

fn build(ask: Ask) -> Result<Request<Full<Bytes>>, ConnectionError> {
    check_path(&ask.path)?;
    let method = match ask.method.as_str() {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        _ => return Err(ConnectionError::Refused("this method is not one of the API's")),
    };
    let body = ask.body.unwrap_or_default();
    if body.len() > LARGEST_REQUEST {
        return Err(ConnectionError::Refused("the request is larger than 1 MiB"));
    }
    if ask.headers.len() > MOST_HEADERS {
        return Err(ConnectionError::Refused("the request has too many headers"));
    }
    let mut request = Request::builder().method(method).uri(ask.path);
    for (name, value) in ask.headers {
        let name = HeaderName::try_from(name)
            .map_err(|_| ConnectionError::Refused("a header's name is not one"))?;
        if !matches!(
            name.as_str(),
            "accept" | "accept-language" | "content-type" | "if-none-match" | "range"
        ) {
            return Err(ConnectionError::Refused("this header is not the caller's to set"));
        }
        let value = HeaderValue::try_from(value)
            .map_err(|_| ConnectionError::Refused("a header's value is not one"))?;
        request = request.header(name, value);
    }
    request
        .body(Full::new(body.into()))
        .map_err(|_| ConnectionError::Refused("this path is not one of the API's"))
}

/// The interface reaches what the API offers and nothing else that a collector may serve.
fn check_path(path: &str) -> Result<(), ConnectionError> {
    let place = path.split('?').next().unwrap_or_default();
    let known = place.starts_with("/api/") || matches!(place, "/healthz" | "/readyz" | "/metrics");
    let plain = !place.contains("..")
        && !place.contains("//")
        && path.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if known && plain && path.len() <= LONGEST_PATH {
        Ok(())
    } else {
        Err(ConnectionError::Refused("this path is not one of the API's"))
    }
}

fn readable_headers(answer: &Response<Incoming>) -> BTreeMap<String, String> {
    let pairs = answer.headers().iter();
    pairs
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_can_be_asked() {
        for path in ["/api/v1/info", "/api/v1/deployments?limit=5&q=a%20b", "/healthz"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        let long = format!("/api/{}", "a".repeat(LONGEST_PATH));
        for path in [
            "/",
            "/ws/live",
            "/index.html",
            "/api/../etc",
            "/api//x",
            "/api/a b",
            "api/v1",
            "http://x/api/",
            &long,
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_belongs_to_the_connection_cannot_be_set() {
        let with = |name: &str| Ask {
            headers: BTreeMap::from([(name.to_owned(), "x".to_owned())]),
            ..Ask::get("/api/v1/info")
        };
        for name in [
            "host",
            "Authorization",
            "origin",
            "connection",
            "upgrade",
            "transfer-encoding",
            "bad name",
        ] {
            assert!(build(with(name)).is_err(), "{name}");
        }
        assert!(build(with("accept")).is_ok());
        assert!(build(Ask { method: "TRACE".into(), ..Ask::get("/api/v1/info") }).is_err());
        assert!(
            build(Ask { body: Some("x".repeat(LARGEST_REQUEST + 1)), ..Ask::get("/api/v1/info") })
                .is_err()
        );
    }
}
