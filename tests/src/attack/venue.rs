//! The collector under attack, and the honest: consoles with certificates, an operator's viewer, those who join and log in.

use super::door::{Door, Known};
use crate::Collector;
use crate::measure::ms;
use crate::stamped::{boot_us, stamp};
use anyhow::{Context as _, Result, ensure};
use deckport_agent::enrol;
use deckport_agent::uplink::link::Target;
use deckport_protocol::{BodyRef, Frame, Limits, Pin};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

/// Uses of one code.
const USES: &str = "200";
const LOGIN: &str = "olga";
const PASSWORD: &str = "a long enough password";

/// See the module.
#[derive(Debug)]
pub struct Venue {
    pub collector: Collector,
    pub pin: Pin,
    /// From where the honest come.
    pub door: Door,
    /// Of an operator's program.
    pub token: String,
    /// The consoles' own disks.
    consoles: PathBuf,
    code: PathBuf,
}

impl Venue {
    /// A collector with an operator and a code to join with; the state of each console is in a folder of `consoles`.
    pub fn open(dir: &Path, consoles: &Path, runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let collector = Collector::start(dir.join("collector"))?;
        let pin = std::fs::read_to_string(collector.data().join("pin"))?;
        let pin: Pin = pin.trim().parse().context("the collector's pin")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, collector.port()));
        let door = Door::new(address, pin, Ipv4Addr::LOCALHOST.into(), None)?;
        let (password, code) = (dir.join("password"), dir.join("code"));
        std::fs::write(&password, PASSWORD)?;
        let password = password.to_str().context("a path")?;
        collector.client(&["operator", "add", LOGIN, "--password-file", password])?;
        let made =
            collector.client(&["token", "create", "--uses", USES, "--ttl", "2h", "--json"])?;
        let made: Value = serde_json::from_slice(&made)?;
        std::fs::write(&code, made["code"].as_str().context("a code")?)?;
        let mut venue = Self {
            collector,
            pin,
            door,
            token: String::new(),
            consoles: consoles.to_owned(),
            code,
        };
        venue.token = runtime.block_on(venue.program_token())?;
        Ok(venue)
    }

    async fn program_token(&self) -> Result<String> {
        let asked = json!({ "login": LOGIN, "password": PASSWORD });
        let session = self.door.must("POST", "/api/v1/login", None, &asked).await?;
        let session = session["token"].as_str();
        let asked = json!({ "name": "a wall of screens", "role": "operator", "ttl_s": 7200 });
        let given = self.door.must("POST", "/api/v1/api-tokens", session, &asked).await?;
        Ok(given["token"].as_str().context("a token")?.to_owned())
    }

    /// Logs in and out: how long that takes, in milliseconds.
    pub async fn log_in(&self) -> Result<f64> {
        let begun = Instant::now();
        let asked = json!({ "login": LOGIN, "password": PASSWORD });
        let session = self.door.must("POST", "/api/v1/login", None, &asked).await?;
        let took = ms(begun.elapsed());
        let session = session["token"].as_str();
        self.door.must("POST", "/api/v1/logout", session, &Value::Null).await?;
        Ok(took)
    }

    /// Adds a console as `deckport-agent enrol` does; its state is in the folder of its name.
    pub fn join(&self, name: &str) -> Result<Known> {
        let added = enrol::enrol(&enrol::Plan {
            state: Some(self.consoles.join(name)),
            collector: self.address(),
            code_file: Some(self.code.clone()),
            name: Some(name.to_owned()),
        })?;
        Ok(Known { identity: added.identity })
    }

    fn address(&self) -> String {
        format!("https://{}#{}", self.door.collector, self.pin)
    }

    /// Where the collector is for the console called `name`.
    pub fn target(&self, name: &str) -> Result<Target> {
        let address = self.address().parse().context("the collector's address")?;
        Ok(Target { address, token_file: None, state: self.consoles.join(name) })
    }

    /// Follows a console's lines until they end: when each was printed, by the boot clock, and how long it took, in milliseconds.
    pub async fn look_at(&self, deployment: &str) -> Result<Vec<(u64, f64)>> {
        let mut socket = self.door.socket("/ws/live", Some(&self.token), None).await?;
        let subscribe = json!({
            "type": "subscribe", "id": 1, "topic": "records", "deployment_id": deployment, "after": 0
        });
        socket.send(Message::text(subscribe.to_string())).await?;
        let (mut came, mut cursor, mut expected) = (Vec::new(), 0, 0);
        // Ends with the stream.
        loop {
            let message = tokio::time::timeout(Duration::from_secs(60), socket.next()).await;
            let message = message.context("nothing came for a minute")?;
            match message.context("the viewer was cut off")?? {
                Message::Text(text) => {
                    let said: Value = serde_json::from_str(&text)?;
                    match said["type"].as_str() {
                        Some("ended") => return Ok(came),
                        Some("error") => anyhow::bail!("the viewer was refused: {text}"),
                        _ => {}
                    }
                }
                Message::Binary(bytes) => {
                    let now = boot_us();
                    let frame = Frame::decode(&bytes, &Limits::default())?;
                    ensure!(
                        frame.first_seq() == cursor + 1,
                        "{} came behind {cursor}",
                        frame.first_seq()
                    );
                    cursor = frame.last_seq();
                    for record in frame.records() {
                        let BodyRef::Output { bytes, .. } = record.body else { continue };
                        let text = String::from_utf8_lossy(bytes);
                        let Some((number, printed_us)) = stamp(&text) else { continue };
                        ensure!(number == expected, "line {number} came in place of {expected}");
                        expected += 1;
                        came.push((printed_us, now.saturating_sub(printed_us) as f64 / 1e3));
                    }
                }
                Message::Close(_) => anyhow::bail!("the viewer was cut off"),
                _ => {}
            }
        }
    }
}
