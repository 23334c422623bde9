//! Requests and live sockets against a scripted collector behind the same dial.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::http::{Ask, download, fetch, upload};
use super::socket::Received;
use super::*;
use crate::answers::Answers;
use crate::live::Lives;
use crate::supervisor::{Server, StartFailure};

/// Answers every stream with what the test planned.
struct Scripted(Answer);

#[derive(Clone)]
enum Answer {
    /// These bytes, once a whole request head has come.
    Bytes(Vec<u8>),
    /// A body of this size without an announced length.
    Endless(usize),
    /// Says back the head and the length of the body that came.
    Taken,
    Echo,
    /// Never: says that it was asked, and that nobody waits any more.
    Never(mpsc::UnboundedSender<&'static str>),
    /// A WebSocket that says so much, as fast as it is taken, and tells how many messages went out.
    Flood {
        messages: usize,
        bytes: usize,
        sent: Arc<AtomicUsize>,
    },
}

impl Server for Scripted {
    type Plan = Answer;

    async fn start(answer: &Answer, _: Option<SocketAddr>) -> Result<Self, StartFailure> {
        Ok(Scripted(answer.clone()))
    }

    fn listen_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn dial(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(answer(self.0.clone(), far));
        near
    }

    async fn stopped(&self) -> String {
        std::future::pending().await
    }

    async fn shutdown(self) -> Result<(), String> {
        Ok(())
    }
}

async fn answer(answer: Answer, mut far: DuplexStream) {
    if let Answer::Echo = answer {
        let Ok(mut socket) = tokio_tungstenite::accept_async(far).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                let _ = socket.send(Message::Ping(b"p".to_vec().into())).await;
                let _ =
                    socket.send(Message::Binary(text.as_str().as_bytes().to_vec().into())).await;
                let _ = socket.send(Message::text(format!("you said {text}"))).await;
            }
        }
        return;
    }
    if let Answer::Flood { messages, bytes, sent } = answer {
        let Ok(mut socket) = tokio_tungstenite::accept_async(far).await else { return };
        for number in 0..messages {
            let text = format!("{{\"number\":{number},\"pad\":\"{}\"}}", "x".repeat(bytes));
            if socket.send(Message::text(text)).await.is_err() {
                return;
            }
            sent.fetch_add(1, Ordering::SeqCst);
        }
        let _ = socket.close(None).await;
        return;
    }
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let Ok(byte) = far.read_u8().await else { return };
        head.push(byte);
    }
    match answer {
        Answer::Bytes(bytes) => drop(far.write_all(&bytes).await),
        Answer::Taken => {
            let head = String::from_utf8(head).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            far.read_exact(&mut body).await.unwrap();
            let whole = body.iter().enumerate().all(|(at, &byte)| byte == at as u8);
            let said = format!("{} whole={whole}\n{head}", body.len());
            let answer =
                format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{said}", said.len());
            let _ = far.write_all(answer.as_bytes()).await;
        }
        Answer::Endless(size) => {
            let _ = far
                .write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n",
                )
                .await;
            let _ = far.write_all(&vec![b'x'; size]).await;
        }
        Answer::Never(says) => {
            says.send("asked").unwrap();
            let _ = far.read_u8().await.unwrap_err();
            says.send("left").unwrap();
        }
        Answer::Echo | Answer::Flood { .. } => {}
    }
}

async fn connection(answer: Answer) -> Connection {
    let supervisor = Supervisor::start::<Scripted>(answer, ([127, 0, 0, 1], 0).into());
    let mut standing = supervisor.standing();
    standing.wait_for(|standing| matches!(standing, Standing::Ready { .. })).await.unwrap();
    Connection::local(supervisor)
}

#[tokio::test]
async fn an_answer_comes_back_as_it_was_sent() {
    let answer =
        b"HTTP/1.1 409 Conflict\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
            .to_vec();
    let connection = connection(Answer::Bytes(answer)).await;
    let answer = fetch(&connection, Ask::get("/api/v1/info")).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (409, b"{}".as_slice()));
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_refused_but_a_download_is_not() {
    let size = http::LARGEST_ANSWER + 1;
    let connection = connection(Answer::Endless(size)).await;
    let refused = fetch(&connection, Ask::get("/api/v1/x")).await.unwrap_err();
    assert_eq!(refused, ConnectionError::TooLarge(8));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("log.txt");
    assert_eq!(download(&connection, Ask::get("/api/v1/x"), &target).await.unwrap(), size as u64);
    assert_eq!(std::fs::metadata(&target).unwrap().len(), size as u64);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left behind");
}

#[tokio::test]
async fn a_download_that_breaks_leaves_no_file() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    let connection = connection(Answer::Bytes(cut)).await;
    let folder = tempfile::tempdir().unwrap();
    let broken = download(&connection, Ask::get("/api/v1/x"), &folder.path().join("log.txt")).await;
    assert!(matches!(broken, Err(ConnectionError::Broken(_))), "{broken:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stream_that_ends_at_once_is_an_error_that_may_pass() {
    let connection = connection(Answer::Bytes(Vec::new())).await;
    let error = fetch(&connection, Ask::get("/api/v1/info")).await.unwrap_err();
    assert!(error.retryable() && error.code() == "broken", "{error:?}");
}

#[tokio::test]
async fn the_collector_is_left_when_an_answer_is_given_up() {
    let (says, mut said) = mpsc::unbounded_channel();
    let connection = connection(Answer::Never(says)).await;
    let answers = Answers::default();
    let waits = answers.wait(3, fetch(&connection, Ask::get("/api/v1/x")));
    let gives_up = async {
        assert_eq!(said.recv().await, Some("asked"));
        answers.give_up(3);
    };
    let (came, ()) = tokio::join!(waits, gives_up);
    assert!(came.is_none(), "{came:?}");
    assert_eq!(said.recv().await, Some("left"));
}

#[tokio::test]
async fn a_live_socket_carries_text_and_bytes() {
    let connection = connection(Answer::Echo).await;
    let (mut reading, mut writing) = socket::open(&connection, "").await.unwrap();
    writing.send("hello".into()).await.unwrap();
    assert_eq!(reading.next().await.unwrap(), Some(Received::Binary(b"hello".to_vec())));
    assert_eq!(reading.next().await.unwrap(), Some(Received::Text("you said hello".into())));
    writing.close().await;
    assert_eq!(reading.next().await.unwrap(), None);
}

fn messages(answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    text.split('\x1e').skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_fetches_all_that_has_come_and_then_why_it_ended() {
    let sent = Arc::new(AtomicUsize::new(0));
    let flood = Answer::Flood { messages: 100, bytes: 10, sent: sent.clone() };
    let (connection, lives) = (connection(flood).await, Lives::default());
    let live = lives.open(&connection, "").await.unwrap();
    let mut numbers = Vec::new();
    let mut answers = 0;
    let ended = loop {
        match lives.next(live).await {
            Ok(answer) => {
                answers += 1;
                numbers.extend(messages(&answer));
                // So that more than one is waiting.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Err(ended) => break ended,
        }
    };
    let wanted = (0..100).map(|number| format!("{{\"number\":{number},\"pad\":\"xxxxxxxxxx\"}}"));
    assert_eq!(numbers, wanted.collect::<Vec<_>>());
    assert!(answers < 100, "{answers} answers");
    assert_eq!(ended, ConnectionError::Broken("the collector closed the socket".into()));
    assert!(matches!(lives.next(live).await, Err(ConnectionError::Refused(_))), "its id is void");
}

#[tokio::test]
async fn a_page_that_fetches_nothing_holds_a_bounded_amount() {
    let sent = Arc::new(AtomicUsize::new(0));
    let flood = Answer::Flood { messages: 200, bytes: 100_000, sent: sent.clone() };
    let (connection, lives) = (connection(flood).await, Lives::default());
    let live = lives.open(&connection, "").await.unwrap();
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!((10..60).contains(&before), "{before} messages of 100 kB were read ahead");
    let mut came = 0;
    while let Ok(answer) = lives.next(live).await {
        came += messages(&answer).len();
    }
    assert_eq!(came, 200, "a slow page misses nothing");
}

#[tokio::test]
async fn closing_a_socket_ends_the_wait_for_it() {
    let (connection, lives) = (connection(Answer::Echo).await, Lives::default());
    let live = lives.open(&connection, "").await.unwrap();
    let waiting = tokio::spawn({
        let lives = lives.clone();
        async move { lives.next(live).await }
    });
    tokio::task::yield_now().await;
    lives.close(live);
    assert!(waiting.await.unwrap().is_err());
    for _ in 0..crate::live::MOST {
        lives.open(&connection, "").await.unwrap();
    }
    assert!(lives.open(&connection, "").await.is_err(), "a page holds so many and no more");
}

#[tokio::test]
async fn a_collector_that_is_down_says_so() {
    let connection = connection(Answer::Echo).await;
    let Way::Local(supervisor) = &connection.way else { panic!("the collector inside the app") };
    assert_eq!(supervisor.shutdown().await, None);
    let error = fetch(&connection, Ask::get("/api/v1/info")).await.unwrap_err();
    assert_eq!(error, ConnectionError::NotReady("The collector has stopped.".into()));
    assert_eq!(connection.describe().state, State::Stopped);
}

#[tokio::test]
async fn a_file_is_posted_as_it_is_and_never_held_whole() {
    let connection = connection(Answer::Taken).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.deckport");
    let bytes: Vec<u8> = (0..300_000usize).map(|at| at as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let path = "/api/v1/import".to_owned();
    let answer = upload(&connection, path.clone(), &file).await.unwrap();
    let said = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(answer.status, 201);
    assert!(said.starts_with("300000 whole=true\nPOST /api/v1/import HTTP/1.1"), "{said}");
    assert!(said.contains("content-type: application/octet-stream"), "{said}");

    let gone = upload(&connection, path, &folder.path().join("gone")).await.unwrap_err();
    assert!(gone.to_string().contains("the file cannot be read"), "{gone}");
    let elsewhere = upload(&connection, "/etc/passwd".to_owned(), &file).await.unwrap_err();
    assert!(matches!(elsewhere, ConnectionError::Refused(_)), "{elsewhere}");
}
