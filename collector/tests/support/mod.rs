//! A collector on a free port, and a console that speaks the protocol by hand.
#![allow(clippy::allow_attributes, reason = "`expect` would fail where a file uses everything")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

pub mod http;
pub mod later;
pub mod pebble;
pub mod postgres;
pub mod provider;

use bytes::Bytes;
use deckport_collector::{Collector, Config};
use deckport_protocol::message::{AgentMessage, CollectorMessage, Hello};
use deckport_protocol::{
    Body, BootId, ConsoleId, DeploymentId, ErrorCode, Event, EventText, FrameBuilder, Outcome,
    Output, PROTOCOL_VERSION, Record, StreamId,
};
use futures_util::{SinkExt as _, StreamExt as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir);
    config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    // TLS has tests of its own.
    config.plain_http = true;
    config
}

pub async fn start(dir: &Path) -> Collector {
    Collector::start(config(dir)).await.unwrap()
}

/// One run on one console.
#[derive(Clone, Debug)]
pub struct Run {
    pub hello: Hello,
    pub boot_id: BootId,
}

impl Run {
    pub fn new(name: &str) -> Self {
        Self {
            hello: Hello {
                protocol: PROTOCOL_VERSION,
                abilities: vec!["columns".into(), "zstd".into()],
                deployment_id: DeploymentId::new(),
                stream_id: StreamId::new(),
                incarnation: 1,
                console_id: ConsoleId::new(),
                console_name: name.into(),
                template: Some("base".into()),
                agent_version: "test".into(),
                lowest_seq: 0,
                highest_seq: 0,
            },
            boot_id: BootId::new(),
        }
    }

    pub fn started(&self) -> Record {
        event(
            1,
            &Event::DeploymentStarted {
                console_id: self.hello.console_id,
                console_name: self.hello.console_name.clone(),
                template: self.hello.template.clone(),
                command: vec!["bash".into()],
                agent_version: "test".into(),
                boot_id: self.boot_id,
                context: serde_json::Value::Null,
            },
        )
    }

    pub fn frame(&self, records: &[Record]) -> Bytes {
        let mut builder = FrameBuilder::new();
        for record in records {
            builder.push(&record.borrow());
        }
        builder.finish(self.boot_id, true).unwrap()
    }

    /// `deployment_started` for seq 1, lines for the others.
    pub fn batch(&self, seqs: std::ops::RangeInclusive<u64>) -> Bytes {
        let records: Vec<Record> = seqs
            .map(|seq| if seq == 1 { self.started() } else { line(seq, &format!("line {seq}")) })
            .collect();
        self.frame(&records)
    }
}

pub fn event(seq: u64, event: &Event) -> Record {
    Record { seq, boot_us: seq, at_us: at(seq), body: Body::Event(EventText::new(event)) }
}

pub fn line(seq: u64, text: &str) -> Record {
    let bytes = format!("{text}\r\n").into();
    let body = Body::Output(Output { bytes, ..Output::default() });
    Record { seq, boot_us: seq, at_us: at(seq), body }
}

pub fn finished(seq: u64, outcome: Outcome) -> Record {
    event(seq, &Event::DeploymentFinished { outcome, exit: None, message: String::new() })
}

fn at(seq: u64) -> i64 {
    1_760_000_000_000_000 + seq as i64
}

/// A socket to the collector.
pub struct Console {
    pub socket: WebSocketStream<TcpStream>,
}

pub struct Dial<'a> {
    pub token: &'a str,
    pub host: Option<&'a str>,
    pub origin: Option<&'a str>,
}

pub async fn open(
    address: SocketAddr,
    path: &str,
    dial: Dial<'_>,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{address}{path}").into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {}", dial.token).parse().unwrap());
    if let Some(host) = dial.host {
        headers.insert("host", host.parse().unwrap());
    }
    if let Some(origin) = dial.origin {
        headers.insert("origin", origin.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

impl Console {
    pub async fn dial(collector: &Collector, run: &Run) -> Self {
        let path = format!("/ws/deployment/{}", run.hello.deployment_id);
        let dial = Dial { token: collector.token(), host: None, origin: None };
        let socket = open(collector.listen_addr().unwrap(), &path, dial).await.unwrap();
        Self { socket }
    }

    /// Dials, says hello, and returns the acknowledged sequence number of the welcome.
    pub async fn greet(collector: &Collector, run: &Run) -> (Self, u64) {
        let mut console = Self::dial(collector, run).await;
        console.say(&AgentMessage::Hello(run.hello.clone())).await;
        match console.next().await {
            Some(CollectorMessage::Welcome(welcome)) => (console, welcome.acked_seq),
            other => panic!("no welcome but {other:?}"),
        }
    }

    pub async fn say(&mut self, message: &AgentMessage) {
        self.text(message.to_text()).await;
    }

    pub async fn text(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    pub async fn send(&mut self, frame: Bytes) {
        self.socket.send(Message::Binary(frame)).await.unwrap();
    }

    /// The next message that is no ping; `None` when the collector closed.
    pub async fn next(&mut self) -> Option<CollectorMessage> {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.socket.next()).await;
            match message.expect("the collector answers in time") {
                Some(Ok(Message::Text(text))) => match CollectorMessage::parse(&text).unwrap() {
                    CollectorMessage::Ping(_) => {}
                    message => return Some(message),
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Waits until `seq` is acknowledged.
    pub async fn acked(&mut self, seq: u64) {
        loop {
            match self.next().await {
                Some(CollectorMessage::Ack(ack)) if ack.acked_seq >= seq => return,
                Some(CollectorMessage::Ack(_)) => {}
                other => panic!("no ack of {seq} but {other:?}"),
            }
        }
    }

    /// The code of the next error.
    pub async fn refused(&mut self) -> ErrorCode {
        loop {
            match self.next().await {
                Some(CollectorMessage::Error(error)) => return error.code,
                Some(CollectorMessage::Ack(_)) => {}
                other => panic!("no error but {other:?}"),
            }
        }
    }

    /// The collector closes after what it said.
    pub async fn closed(&mut self) {
        while let Some(message) = self.next().await {
            assert!(matches!(message, CollectorMessage::Ack(_)), "{message:?}");
        }
    }
}

/// The JSON that a GET answers with, and its status.
pub async fn get(collector: &Collector, path: &str) -> (u16, serde_json::Value) {
    let (status, body) = text(collector, path).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// What a path answers with.
pub async fn text(collector: &Collector, path: &str) -> (u16, String) {
    let request = hyper::Request::get(path).header("host", "shell");
    let answer = http::exchange(collector.dial(), request.body(Bytes::new().into()).unwrap()).await;
    (answer.status, answer.text())
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
