//! Strangers: whoever can reach the port, without a credential.

use super::door::{Door, address, end_of};
use super::{Attack, Notes};
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// The first address of those that are not idle.
const OTHERS_FROM: usize = 100;

/// What a stranger does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connects and says nothing.
    Silent,
    /// Greets and says nothing more.
    Greeted,
    /// Sends half of a request's headers.
    Halfway,
    /// Sends headers a byte at a time.
    Dripping,
    /// Sends headers without end.
    Endless,
    /// Sends what is no TLS but begins like it.
    Garbled,
    /// Sends the body of a login a byte at a time.
    SlowBody,
    /// Asks for a file of megabytes and reads nothing of it.
    Deaf,
    /// Asks for what anybody may have, as fast as it is answered.
    Asking,
    /// Asks for what only operators may have, as fast as it is refused.
    Denied,
    /// Greets and goes, as fast as it can.
    Shaking,
}

impl Kind {
    /// Those that hold a connection without need, and those that flood.
    pub const IDLE: [Self; 3] = [Self::Silent, Self::Greeted, Self::Halfway];
    pub const OTHERS: [Self; 8] = [
        Self::Dripping,
        Self::Endless,
        Self::Garbled,
        Self::SlowBody,
        Self::Deaf,
        Self::Asking,
        Self::Denied,
        Self::Shaking,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Greeted => "greeted",
            Self::Halfway => "halfway",
            Self::Dripping => "dripping headers",
            Self::Endless => "endless headers",
            Self::Garbled => "garbled",
            Self::SlowBody => "slow body",
            Self::Deaf => "reads nothing",
            Self::Asking => "asks",
            Self::Denied => "asks for more",
            Self::Shaking => "handshakes",
        }
    }

    /// How long one that is cut off comes again.
    const fn pause(self) -> Duration {
        match self {
            // All together come more often than there are handshakes for.
            Self::Shaking => Duration::from_millis(20),
            Self::Asking | Self::Denied => Duration::from_millis(20),
            Self::Garbled | Self::Endless => Duration::from_millis(100),
            Self::Dripping | Self::SlowBody | Self::Deaf => Duration::from_secs(1),
            // So that thousands who are turned away at once are not thousands of connections a second more.
            Self::Silent | Self::Greeted | Self::Halfway => Duration::from_secs(4),
        }
    }
}

/// Starts them all.
pub(super) fn set_out(
    attack: &Arc<Attack>,
    notes: &Notes,
    until: Instant,
    all: &mut JoinSet<()>,
) -> Result<()> {
    let door = Door::new(attack.collector, attack.pin, address(0), None)?;
    let idle = (0..attack.idle).map(|number| Kind::IDLE[number % 3]);
    let others = Kind::OTHERS.into_iter().flat_map(|kind| vec![kind; attack.strangers]);
    let addresses = usize::from(attack.addresses.max(1));
    for (number, kind) in idle.chain(others).enumerate() {
        // Not from where the idle ones are, who would make room for them.
        let first = if Kind::IDLE.contains(&kind) { 0 } else { OTHERS_FROM };
        let door = door.from(address(first + number % addresses));
        let notes = notes.clone();
        // They come within a few seconds, not in one instant: a machine cannot connect ten thousand times at once.
        let begin = Duration::from_millis(number as u64 % 3000);
        all.spawn(async move {
            sleep(begin).await;
            // Ends with the attack.
            while Instant::now() < until {
                let begun = Instant::now();
                let (end, done) = match once(&door, kind).await {
                    Ok(ended) => ended,
                    Err(_) => ("turned away".to_owned(), 0),
                };
                notes.ended(kind.name(), end, begun.elapsed(), done);
                sleep(kind.pause()).await;
            }
        });
    }
    Ok(())
}

/// Does it once, to the bitter end: how it ended, and how much went through.
pub async fn once(door: &Door, kind: Kind) -> std::io::Result<(String, u64)> {
    let host = door.collector;
    match kind {
        Kind::Silent => {
            let mut stream = door.knock(None).await?;
            Ok((end_of(&mut stream).await, 0))
        }
        Kind::Greeted => {
            let mut stream = door.open(None).await?;
            Ok((end_of(&mut stream).await, 0))
        }
        Kind::Halfway => {
            let mut stream = door.open(None).await?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await?;
            Ok((end_of(&mut stream).await, 0))
        }
        Kind::Dripping => {
            let stream = door.open(None).await?;
            let head = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX-More: ");
            Ok((drip(stream, head).await, 0))
        }
        Kind::SlowBody => {
            let stream = door.open(None).await?;
            let head = format!(
                "POST /api/v1/login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
                 Content-Length: 60000\r\n\r\n{{\"login\":\""
            );
            Ok((drip(stream, head).await, 0))
        }
        Kind::Endless => {
            let stream = door.open(None).await?;
            let (mut read, mut write) = tokio::io::split(stream);
            let send = async {
                write.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n").as_bytes()).await?;
                for number in 0..64 * 1024 {
                    write
                        .write_all(format!("X-{number}: {}\r\n", "y".repeat(60)).as_bytes())
                        .await?;
                }
                std::io::Result::Ok(())
            };
            // Sending fails once it is cut off; what was said before is read.
            let (sent, end) = tokio::join!(send, read_end(&mut read));
            Ok((if sent.is_ok() { "taken".to_owned() } else { end }, 0))
        }
        Kind::Garbled => {
            let mut stream = door.knock(None).await?;
            stream.write_all(&[22, 3, 1, 1, 0]).await?;
            stream.write_all(&[0xa5; 256]).await?;
            Ok((end_of(&mut stream).await, 0))
        }
        Kind::Deaf => {
            let mut stream = door.open(Some(16 * 1024)).await?;
            let machine = std::env::consts::ARCH;
            let ask = format!("GET /deploy/agent/{machine} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(ask.as_bytes()).await?;
            // Longer than anybody is waited for.
            sleep(Duration::from_secs(18)).await;
            let (mut came, mut whole) = (0, None);
            let mut some = vec![0; 65536];
            let rest = async {
                while let Ok(count @ 1..) = stream.read(&mut some).await {
                    whole = whole.or_else(|| length_of(&some[..count]));
                    came += count;
                }
            };
            let _ = timeout(Duration::from_secs(3), rest).await;
            // What the systems in between had taken comes; the rest was given up.
            let taken = whole.is_some_and(|whole| came >= whole);
            Ok((if taken { "taken" } else { "cut off" }.to_owned(), 0))
        }
        Kind::Asking => ask(door, "/healthz").await,
        Kind::Denied => ask(door, "/api/v1/deployments").await,
        Kind::Shaking => {
            door.open(None).await?;
            Ok(("done".to_owned(), 1))
        }
    }
}

/// What an answer says of its length.
fn length_of(head: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(head).to_lowercase();
    head.split_once("content-length:")?.1.split("\r\n").next()?.trim().parse().ok()
}

/// Sends `head`, then a byte now and then, until it is cut off.
async fn drip<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    stream: S,
    head: String,
) -> String {
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        let mut sent = write.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            sleep(Duration::from_millis(250)).await;
            sent = write.write_all(b"x").await;
        }
        // What was said is still to be read.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = send => "closed".to_owned(),
        end = read_end(&mut read) => end,
    }
}

async fn read_end<R: tokio::io::AsyncRead + Unpin>(read: &mut R) -> String {
    end_of(&mut tokio::io::join(read, tokio::io::sink())).await
}

/// Asks over one connection for as long as it is answered.
async fn ask(door: &Door, path: &str) -> std::io::Result<(String, u64)> {
    let mut stream = door.open(None).await?;
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", door.collector);
    let mut some = [0; 4096];
    let mut answered = 0;
    // Ends when it is told to go, or cut off.
    loop {
        if stream.write_all(ask.as_bytes()).await.is_err() {
            return Ok(("closed".to_owned(), answered));
        }
        match stream.read(&mut some).await {
            Ok(count @ 1..) => {
                let said = String::from_utf8_lossy(&some[..count]);
                let status = said.get(9..12).unwrap_or("closed").to_owned();
                if said.contains("connection: close") {
                    return Ok((status, answered));
                }
                answered += 1;
            }
            _ => return Ok(("closed".to_owned(), answered)),
        }
    }
}
