//! How long a console's sockets stay open when the console is revoked, while the others' carry on.
//!
//! Every console is enrolled and has its certificate, its link (`/ws/console`) and a run's stream open. They are revoked one after the
//! other: each makes one row of the audit trail durable first. Baseline: the same way over TLS and back, for something that
//! changes nothing.

use crate::Args;
use anyhow::{Context as _, Result, ensure};
use deckport_protocol::console::ConsoleMessage;
use deckport_protocol::message::AgentMessage;
use deckport_protocol::{BootId, PROTOCOL_VERSION};
use deckport_tests::attack::door::{Door, Known};
use deckport_tests::attack::insiders;
use deckport_tests::attack::venue::Venue;
use deckport_tests::measure::{Spread, ms, probe_disk};
use deckport_tests::report::{Figure, Report};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// The acceptance's bound.
const CLOSED_MS: f64 = 1000.0;
const PATIENCE: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TlsStream<TcpStream>>;

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let probe = probe_disk(dir)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut venue = Venue::open(dir, dir, &runtime)?;
    let names = (0..args.consoles).map(|number| format!("bay-{number}"));
    let consoles = names.map(|name| venue.join(&name)).collect::<Result<Vec<_>>>()?;
    let token = venue.collector.token()?;
    let (closed, asked) = runtime.block_on(revoke(&venue, &consoles, &token))?;
    venue.collector.stop()?;
    report.probe("revocation", &probe);
    let what = |part: &str| format!("revocation: ordered → both sockets closed, {part}");
    report.add(
        Figure::new(what("p50"), closed.at(0.5), "ms")
            .beside("a request and its answer, p50", asked.at(0.5)),
    );
    report.add(
        Figure::new(what("the slowest"), closed.most(), "ms")
            .beside("a request and its answer, the slowest", asked.most())
            .at_most(CLOSED_MS),
    );
    report.add(Figure::new("revocation: consoles", closed.count() as f64, ""));
    Ok(())
}

/// What each revocation and each bare request took, in milliseconds.
async fn revoke(venue: &Venue, consoles: &[Known], token: &str) -> Result<(Spread, Spread)> {
    let mut open = Vec::with_capacity(consoles.len());
    for known in consoles {
        let door = Door::new(venue.door.collector, venue.pin, venue.door.from, Some(known))?;
        open.push((
            known.identity.console_id,
            link(&door, known).await?,
            stream(&door, known).await?,
        ));
    }
    let (mut closed, mut asked) = (Vec::new(), Vec::new());
    while let Some((console, link, stream)) = open.pop() {
        let begun = Instant::now();
        venue.door.must("GET", "/api/v1/me", Some(token), &Value::Null).await?;
        asked.push(ms(begun.elapsed()));
        let path = format!("/api/v1/consoles/{console}/revoke");
        let begun = Instant::now();
        let (ordered, link, stream) = tokio::join!(
            venue.door.must("POST", &path, Some(token), &Value::Null),
            end(link),
            end(stream),
        );
        ordered?;
        closed.push(ms(link?.max(stream?).duration_since(begun)));
        // Nobody else's was closed with it.
        if let Some((_, _, other)) = open.last_mut() {
            other.send(Message::Ping(Default::default())).await?;
            let said = tokio::time::timeout(PATIENCE, other.next()).await?;
            let said = said.context("another console's socket was closed")??;
            ensure!(!said.is_close(), "another console's socket was closed");
        }
    }
    Ok((Spread::of(closed), Spread::of(asked)))
}

async fn link(door: &Door, known: &Known) -> Result<Socket> {
    let mut socket = door.socket("/ws/console", None, None).await?;
    let hello = ConsoleMessage::Hello {
        protocol: PROTOCOL_VERSION,
        name: known.identity.name.clone(),
        agent_version: "0.1.0".to_owned(),
        boot_id: BootId::new(),
    };
    socket.send(Message::text(serde_json::to_string(&hello)?)).await?;
    socket.next().await.context("no welcome")??;
    Ok(socket)
}

async fn stream(door: &Door, known: &Known) -> Result<Socket> {
    let hello = insiders::hello(known);
    let path = format!("/ws/deployment/{}", hello.deployment_id);
    let mut socket = door.socket(&path, None, None).await?;
    socket.send(Message::text(AgentMessage::Hello(hello).to_text())).await?;
    socket.next().await.context("no welcome")??;
    Ok(socket)
}

/// When it was closed.
async fn end(mut socket: Socket) -> Result<Instant> {
    let rest = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(PATIENCE, rest).await.context("a socket was not closed")?;
    Ok(Instant::now())
}
