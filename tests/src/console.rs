//! A console in a few lines: says exactly what a story wants said, and sees every answer.

use crate::api::Api;
use crate::viewer::{connect, next};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use deckport_protocol::message::{AgentMessage, CollectorMessage, Hello, Welcome};
use deckport_protocol::{
    ABILITY_COLUMNS, ABILITY_ZSTD, BodyRef, BootId, Chain, ConsoleId, DeploymentId, Event,
    EventText, FrameBuilder, PROTOCOL_VERSION, RecordRef, Source, StreamId,
};
use std::net::TcpStream;
use std::time::Duration;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// A stream that is made up as it goes.
#[derive(Debug)]
pub struct Stream {
    pub hello: Hello,
    boot_id: BootId,
    next_seq: u64,
    /// The chain's head after each record; index 0 before the first.
    pub heads: Vec<Chain>,
    /// All output so far.
    pub output: Vec<u8>,
    /// The length of `output` after each record; index 0 before the first.
    pub lengths: Vec<usize>,
}

impl Stream {
    /// A new deployment of a console called `name`.
    pub fn new(name: &str) -> Self {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            abilities: vec![ABILITY_COLUMNS.to_owned(), ABILITY_ZSTD.to_owned()],
            deployment_id: DeploymentId::new(),
            stream_id: StreamId::new(),
            incarnation: 1,
            console_id: ConsoleId::new(),
            console_name: name.to_owned(),
            template: None,
            agent_version: "0.1.0".to_owned(),
            lowest_seq: 1,
            highest_seq: 1,
        };
        Self {
            hello,
            boot_id: BootId::new(),
            next_seq: 1,
            heads: vec![Chain::START],
            output: vec![],
            lengths: vec![0],
        }
    }

    pub fn id(&self) -> String {
        self.hello.deployment_id.to_string()
    }

    pub const fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// The first record.
    pub fn started(&mut self) -> Result<Bytes> {
        let event = Event::DeploymentStarted {
            console_id: self.hello.console_id,
            console_name: self.hello.console_name.clone(),
            template: None,
            command: vec!["bash".to_owned(), "install.sh".to_owned()],
            agent_version: "0.1.0".to_owned(),
            boot_id: self.boot_id,
            context: serde_json::json!({}),
        };
        self.event(&event)
    }

    /// A frame of one event.
    pub fn event(&mut self, event: &Event) -> Result<Bytes> {
        let text = EventText::new(event);
        let mut builder = FrameBuilder::new();
        self.push(&mut builder, BodyRef::Event(text.as_str()));
        builder.finish(self.boot_id, false).context("a frame of one event")
    }

    /// A frame of pieces of output.
    pub fn pieces(&mut self, pieces: &[Vec<u8>], compress: bool) -> Result<Bytes> {
        let mut builder = FrameBuilder::new();
        for bytes in pieces {
            let continues = bytes.last() != Some(&b'\n');
            let source = Source::Terminal;
            let body = BodyRef::Output { bytes, continues, source, annotation: None };
            self.push(&mut builder, body);
        }
        builder.finish(self.boot_id, compress).context("a frame of output")
    }

    fn push(&mut self, builder: &mut FrameBuilder, body: BodyRef<'_>) {
        let seq = self.next_seq;
        let record = RecordRef {
            seq,
            span: 1,
            boot_us: seq * 1000,
            at_us: 1_760_000_000_000_000 + seq as i64 * 1000,
            body,
        };
        builder.push(&record);
        if let BodyRef::Output { bytes, .. } = body {
            self.output.extend_from_slice(bytes);
        }
        let head = self.heads.last().copied().unwrap_or(Chain::START);
        self.heads.push(head.extend(&record));
        self.lengths.push(self.output.len());
        self.next_seq += 1;
    }
}

/// The console's end of one link.
#[derive(Debug)]
pub struct Console {
    socket: WebSocket<TcpStream>,
    pub welcome: Welcome,
}

impl Console {
    /// Connects and says hello; an answer other than `welcome` is an error.
    pub fn connect(api: &Api, hello: &Hello) -> Result<Self> {
        let mut socket = connect(api, &format!("/ws/deployment/{}", hello.deployment_id))?;
        let hello = AgentMessage::Hello(hello.clone());
        socket.send(Message::text(hello.to_text()))?;
        match take(&mut socket, Duration::from_secs(10))? {
            Some(CollectorMessage::Welcome(welcome)) => Ok(Self { socket, welcome }),
            other => bail!("not welcome: {other:?}"),
        }
    }

    pub fn send(&mut self, frame: Bytes) -> Result<()> {
        Ok(self.socket.send(Message::Binary(frame))?)
    }

    /// The next message but pings; `None` when none came in time.
    pub fn next(&mut self, patience: Duration) -> Result<Option<CollectorMessage>> {
        take(&mut self.socket, patience)
    }

    /// Waits until everything up to `seq` is acknowledged.
    pub fn acked(&mut self, seq: u64, patience: Duration) -> Result<()> {
        let end = std::time::Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.next(left)? {
                Some(CollectorMessage::Ack(ack)) if ack.acked_seq >= seq => return Ok(()),
                Some(CollectorMessage::Error(error)) => bail!("refused: {error:?}"),
                Some(_) => {}
                None => bail!("no acknowledgement of {seq} within {patience:?}"),
            }
        }
    }
}

fn take(socket: &mut WebSocket<TcpStream>, patience: Duration) -> Result<Option<CollectorMessage>> {
    let end = std::time::Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        match next(socket, left)? {
            Some(Message::Text(text)) => match CollectorMessage::parse(&text)? {
                CollectorMessage::Ping(_) => {}
                message => return Ok(Some(message)),
            },
            Some(Message::Close(frame)) => bail!("closed: {frame:?}"),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}
