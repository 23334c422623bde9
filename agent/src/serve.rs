//! `deckport-agent serve`: the daemon of an enrolled console.
//!
//! It keeps one socket to the collector, says how the console does, renews the certificate, delivers what earlier runs left, and
//! takes orders. What must hold: it comes back from every fault by itself (a dead link, a collector that is away for days, a
//! certificate that ended meanwhile); it never runs a deployment inside itself, so that its own end or upgrade hurts none.

use crate::checkpoints;
use crate::clock;
use crate::enrol::{self, now_us};
use crate::identity::Identity;
use crate::state::State;
use crate::uplink::link::{DialError, Target};
use crate::uplink::{deliver_kept, target_of};
use anyhow::{Context as _, Result, bail};
use deckport_protocol::console::{Checkpoint, CollectorWord, ConsoleMessage, ConsoleOrder, Health};
use deckport_protocol::message::{Ping, Pong};
use deckport_protocol::{PROTOCOL_VERSION, Refusal};
use futures_util::{SinkExt as _, StreamExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::tungstenite::Message;

/// Waits between attempts: doubled up to the longest, forgotten after a link that held.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A refusal is not likely to change soon, and may: an operator adds the console again.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
const HELD: Duration = Duration::from_secs(60);
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// Nothing at all from the collector for so long: the link is dead.
const SILENCE: Duration = Duration::from_secs(30);
/// Kept runs are looked for so often while the collector is there.
const FLUSH_EVERY: Duration = Duration::from_secs(60);
const FLUSH_PATIENCE: Duration = Duration::from_secs(30);
const RENEW_LOOK: Duration = Duration::from_secs(60);

/// Runs until it is told to stop.
pub fn serve(state: Option<PathBuf>) -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let state = State::open(state)?;
    Identity::must(state.root())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        // Dropping any of them is safe: deliveries keep their state on disk, the link says nothing that must not be lost.
        tokio::select! {
            () = keep_linked(&state) => {}
            () = keep_delivering(&state) => {}
            () = keep_renewed(&state) => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        Ok(())
    })
}

async fn keep_renewed(state: &State) {
    loop {
        match enrol::renew(state.root(), false).await {
            Ok(true) => tracing::info!("the certificate was renewed"),
            Ok(false) => {}
            Err(error) => tracing::warn!("the certificate could not be renewed: {error:#}"),
        }
        tokio::time::sleep(RENEW_LOOK).await;
    }
}

async fn keep_delivering(state: &State) {
    loop {
        for run in state.runs().unwrap_or_default() {
            let Ok(meta) = run.meta() else { continue };
            let Some(target) = target_of(&meta, state) else { continue };
            match deliver_kept(&run, target, FLUSH_PATIENCE).await {
                Ok(kept) => tracing::info!("a kept run: {kept:?}"),
                Err(error) => tracing::warn!("a kept run could not be delivered: {error:#}"),
            }
        }
        tokio::time::sleep(FLUSH_EVERY).await;
    }
}

async fn keep_linked(state: &State) {
    let mut wait = FIRST_WAIT;
    // Goal: a link. Left only by being dropped.
    loop {
        let begun = tokio::time::Instant::now();
        let refused = match link(state).await {
            Ok(()) => false,
            Err(error) => {
                let refused = error.downcast_ref::<DialError>();
                let refused =
                    matches!(refused, Some(DialError::Refused(_) | DialError::WrongPin(_)))
                        || error
                            .downcast_ref::<Refusal>()
                            .is_some_and(|refusal| !refusal.retryable);
                tracing::warn!("no link to the collector: {error:#}");
                refused
            }
        };
        if begun.elapsed() >= HELD {
            wait = FIRST_WAIT;
        }
        tokio::time::sleep(if refused { REFUSED_WAIT } else { wait }).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// One link, from its greeting to its end.
async fn link(state: &State) -> Result<()> {
    let identity = Identity::must(state.root())?;
    let target =
        Target { address: identity.address()?, token_file: None, state: state.root().to_owned() };
    let mut socket = match target.dial_path("/ws/console").await {
        Err(DialError::Unreachable(why)) if identity.ends_at <= now_us() => {
            // Was off for longer than its certificate is good.
            tracing::info!("{why}; renewing the certificate");
            enrol::renew(state.root(), true).await?;
            target.dial_path("/ws/console").await?
        }
        dialled => dialled?,
    };
    let hello = ConsoleMessage::Hello {
        protocol: PROTOCOL_VERSION,
        name: identity.name.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: clock::boot_id(),
    };
    socket.send(text(&hello)?).await?;
    let mut heartbeat = None;
    let mut clock_ahead_us = None;
    let mut silent = Box::pin(tokio::time::sleep(WELCOME_WITHIN));
    // Goal: heartbeats out, orders in. Exits: the link ends, or says nothing for too long.
    loop {
        let beat = async {
            match &mut heartbeat {
                Some(heartbeat) => tokio::time::Interval::tick(heartbeat).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = socket.next() => {
                let message = message.context("the collector closed the link")??;
                silent.as_mut().reset(tokio::time::Instant::now() + SILENCE);
                let Message::Text(word) = message else { continue };
                match serde_json::from_str(&word)? {
                    CollectorWord::Welcome { heartbeat_s, checkpoint, .. } => {
                        tracing::info!(collector = %identity.collector, "linked");
                        let every = Duration::from_secs(heartbeat_s.clamp(1, 60));
                        heartbeat = Some(tokio::time::interval(every));
                        if let Some(checkpoint) = checkpoint {
                            keep(state, &checkpoint);
                        }
                    }
                    CollectorWord::Checkpoint(checkpoint) => keep(state, &checkpoint),
                    CollectorWord::Order { order_id, order } => {
                        let (accepted, message) = obey(state, &order).await;
                        tracing::info!(?order, accepted, "{message}");
                        let result = ConsoleMessage::OrderResult { order_id, accepted, message };
                        socket.send(text(&result)?).await?;
                    }
                    CollectorWord::Ping(Ping { sent_us }) => {
                        let now = now_us();
                        let pong = Pong { sent_us, received_us: now, answered_us: now };
                        socket.send(text(&ConsoleMessage::Pong(pong))?).await?;
                    }
                    CollectorWord::Pong(pong) => {
                        let now = now_us();
                        let theirs = pong.received_us.midpoint(pong.answered_us);
                        clock_ahead_us = Some(pong.sent_us.midpoint(now) - theirs);
                    }
                    CollectorWord::Error(refusal) => return Err(refusal.into()),
                    CollectorWord::Unknown => {}
                }
            }
            _ = beat => {
                let health = health(state, clock_ahead_us);
                socket.send(text(&ConsoleMessage::Heartbeat { health })?).await?;
                socket.send(text(&ConsoleMessage::Ping(Ping { sent_us: now_us() }))?).await?;
            }
            () = &mut silent => bail!("the collector says nothing any more"),
        }
    }
}

/// Keeps how far the collector's audit trail is. A console that cannot is no worse a console.
fn keep(state: &State, checkpoint: &Checkpoint) {
    match checkpoints::keep(state.root(), checkpoint) {
        Ok(None) => {}
        Ok(Some(former)) => tracing::warn!(
            now = checkpoint.position,
            former = former.position,
            "the collector's audit trail is shorter than it was: it was cut, or put back from a backup"
        ),
        Err(error) => tracing::warn!(%error, "a checkpoint of the audit trail could not be kept"),
    }
}

/// Does what it is told, as far as that is something for it.
async fn obey(state: &State, order: &ConsoleOrder) -> (bool, String) {
    let done = match order {
        ConsoleOrder::Renew => {
            enrol::renew(state.root(), true).await.map(|_| "the certificate was renewed".to_owned())
        }
        ConsoleOrder::Deploy => start_deployment(state.root()).await,
        ConsoleOrder::Unknown => Err(anyhow::anyhow!("this agent does not know that order")),
    };
    match done {
        Ok(message) => (true, message),
        Err(error) => (false, format!("{error:#}")),
    }
}

/// Starts the deployment outside of this daemon: in a transient unit where systemd runs the machine, else as a process of its own.
async fn start_deployment(state: &Path) -> Result<String> {
    let program = std::env::current_exe().context("where this program is, is not known")?;
    let by_systemd =
        Path::new("/run/systemd/system").is_dir() && rustix::process::geteuid().is_root();
    let mut command = if by_systemd {
        let mut command = tokio::process::Command::new("systemd-run");
        command.args(["--collect", "--quiet", "--description=Deckport deployment"]).arg(&program);
        command
    } else {
        tokio::process::Command::new(&program)
    };
    command.arg("deploy").arg("--state").arg(state);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if by_systemd {
        let status = command.status().await.context("could not run systemd-run")?;
        if !status.success() {
            bail!("systemd-run ended with {status}");
        }
    } else {
        let mut child =
            command.process_group(0).spawn().context("could not start the deployment")?;
        tokio::spawn(async move { child.wait().await });
    }
    Ok("the deployment was started".to_owned())
}

fn health(state: &State, clock_ahead_us: Option<i64>) -> Health {
    let system = rustix::system::sysinfo();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    let disk = rustix::fs::statvfs(state.root()).ok();
    Health {
        uptime_s: u64::try_from(system.uptime).unwrap_or(0),
        load: std::fs::read_to_string("/proc/loadavg")
            .ok()
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .unwrap_or(0.0),
        memory_bytes: kib("MemTotal:").unwrap_or(0) * 1024,
        memory_available_bytes: kib("MemAvailable:").unwrap_or(0) * 1024,
        disk_bytes: disk.as_ref().map_or(0, |disk| disk.f_blocks * disk.f_frsize),
        disk_free_bytes: disk.as_ref().map_or(0, |disk| disk.f_bavail * disk.f_frsize),
        kept_runs: state.runs().map_or(0, |runs| runs.len() as u64),
        clock_ahead_us,
    }
}

fn text(message: &ConsoleMessage) -> Result<Message> {
    Ok(Message::text(serde_json::to_string(message)?))
}
