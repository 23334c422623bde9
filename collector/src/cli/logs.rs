//! `logs`: the stream of records, shown as rows, as JSON or as the bytes that it is made of.
//!
//! What a console printed does nothing to the terminal that it is shown on, unless `--raw` asks for the bytes as they were.
//!
//! One way for all forms: the `records` subscription, resumed behind the last record after a cut.

use super::client::Client;
use anyhow::Context as _;
use deckport_protocol::rows::{Row, RowDeriver, RowRenderer, visible, visible_json};
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
                writeln!(self.out, "{}", visible_json(&serde_json::to_string(&row)?))?;
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
    format!("{mark}{}", visible(&row.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use deckport_protocol::{Body, BootId, FrameBuilder, Output, Record};

    /// A line that sets a title, moves, colours, links, rings, reverses and hides.
    const HOSTILE: &str = "a\x1b]0;title\x07b\x1b[2A\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x1b\\c\x1b]8;;\x1b\\\x07\u{9b}31m\
         \u{202e}gpj.exe\u{2066}\u{200b}\u{e0041}\r\n";

    fn printed(form: Form) -> String {
        let mut builder = FrameBuilder::new();
        let body = Body::Output(Output { bytes: HOSTILE.into(), ..Output::default() });
        builder.push(&Record { seq: 1, boot_us: 0, at_us: 0, body }.borrow());
        let frame = builder.finish(BootId::new(), true).expect("it holds a record");
        let mut printer = Printer {
            out: Vec::new(),
            form,
            deriver: RowDeriver::new(),
            renderer: RowRenderer::new(0..u64::MAX),
            seq: 0,
        };
        printer.frame(&frame, true).expect("memory takes everything");
        String::from_utf8(printer.out).expect("it was text")
    }

    #[test]
    fn a_hostile_line_does_nothing_to_the_terminal() {
        assert_eq!(printed(Form::Text), "  abredc31m�gpj.exe���\n");
        let json = printed(Form::Json);
        let row: Row = serde_json::from_str(&json).expect("a row");
        assert_eq!(row.text, "abredc31m\u{202e}gpj.exe\u{2066}\u{200b}\u{e0041}");
        for shown in [printed(Form::Text), json] {
            let line = shown.strip_suffix('\n').expect("a line");
            assert_eq!(visible(line), line, "nothing in it acts");
        }
        assert_eq!(printed(Form::Raw), HOSTILE, "the bytes are what they are");
    }
}
