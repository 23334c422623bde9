//! `logs`: the stream of records, shown as rows, as JSON or as the bytes that it is made of.
//!
//! One way for all forms: the `records` subscription, resumed behind the last record after a cut.

use super::client::{Client, harmless};
use anyhow::Context as _;
use deckport_protocol::rows::{Row, RowDeriver, RowRenderer};
use deckport_protocol::{BodyRef, DeploymentId, Frame, Level, Limits};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Raw,
    Json,
}

struct Printer<W: Write> {
    out: W,
    form: Form,
    deriver: RowDeriver,
    renderer: RowRenderer,
    seq: u64,
}

/// How one connection ended.
enum Cut {
    /// Everything that was asked for is printed.
    Done,
    Lost(anyhow::Error),
}

pub(super) async fn run(
    client: &Client,
    id: DeploymentId,
    follow: bool,
    form: Form,
) -> anyhow::Result<()> {
    let mut printer = Printer {
        out: BufWriter::with_capacity(256 * 1024, std::io::stdout()),
        form,
        deriver: RowDeriver::new(),
        renderer: RowRenderer::new(0..u64::MAX),
        seq: 0,
    };
    let mut pause = Duration::from_millis(50);
    let mut connected_once = false;
    loop {
        let before = printer.seq;
        match once(client, id, follow, &mut printer, &mut connected_once).await? {
            Cut::Done => break,
            Cut::Lost(error) if !follow || !connected_once => return Err(error),
            Cut::Lost(_) => {}
        }
        if printer.seq > before {
            pause = Duration::from_millis(50);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    printer.finish()
}

async fn once<W: Write>(
    client: &Client,
    id: DeploymentId,
    follow: bool,
    printer: &mut Printer<W>,
    connected_once: &mut bool,
) -> anyhow::Result<Cut> {
    let mut socket = match client.live().await {
        Ok(socket) => socket,
        Err(error) => return Ok(Cut::Lost(error)),
    };
    *connected_once = true;
    let subscribe = json!({
        "type": "subscribe", "id": 1, "topic": "records",
        "deployment_id": id, "after": printer.seq,
    });
    if let Err(error) = socket.send(Message::text(subscribe.to_string())).await {
        return Ok(Cut::Lost(error.into()));
    }
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Text(body)) => {
                let message: Value = serde_json::from_str(&body)?;
                match message["type"].as_str().unwrap_or_default() {
                    "error" => anyhow::bail!(
                        "{}",
                        message["error"]["message"].as_str().unwrap_or("refused")
                    ),
                    "caught_up" => {
                        printer.out.flush()?;
                        if !follow {
                            return Ok(Cut::Done);
                        }
                    }
                    "ended" => return Ok(Cut::Done),
                    _ => {}
                }
            }
            Ok(Message::Binary(frame)) => printer.frame(&frame, follow)?,
            Ok(_) => {}
            Err(error) => return Ok(Cut::Lost(error.into())),
        }
    }
    Ok(Cut::Lost(anyhow::anyhow!("the collector closed the connection")))
}

impl<W: Write> Printer<W> {
    fn frame(&mut self, bytes: &bytes::Bytes, flush: bool) -> anyhow::Result<()> {
        const WIDE: usize = 64 * 1024 * 1024;
        let limits = Limits {
            message_bytes: WIDE,
            body_bytes: WIDE,
            records: 1024 * 1024,
            piece_bytes: WIDE,
            event_bytes: WIDE,
            ..Limits::default()
        };
        let frame = Frame::decode(bytes, &limits).context("a frame could not be read")?;
        for record in frame.records().filter(|record| record.seq > self.seq) {
            if self.form == Form::Raw {
                if let BodyRef::Output { bytes, .. } = record.body {
                    self.out.write_all(bytes)?;
                }
            } else {
                self.deriver.feed(&record, &mut self.renderer);
            }
        }
        self.seq = self.seq.max(frame.last_seq());
        self.rows()?;
        if flush {
            self.out.flush()?;
        }
        Ok(())
    }

    fn rows(&mut self) -> anyhow::Result<()> {
        for row in self.renderer.take_rows() {
            if self.form == Form::Json {
                serde_json::to_writer(&mut self.out, &row)?;
                self.out.write_all(b"\n")?;
            } else {
                writeln!(self.out, "{}", text_of(&row))?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.deriver.peek_open(&mut self.renderer);
        self.rows()?;
        self.out.flush()?;
        Ok(())
    }
}

fn text_of(row: &Row) -> String {
    let mark = match row.level {
        Level::Error => "E ",
        Level::Warning => "W ",
        Level::Debug | Level::Info | Level::Notice => "  ",
    };
    format!("{mark}{}", harmless(&row.text))
}
