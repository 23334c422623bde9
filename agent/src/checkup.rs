//! `deckport-agent checkup`: what a console that has nothing to install shows: what it is, and that it can be reached.

use crate::control::{self, Request};
use crate::enrol;
use crate::identity::Identity;
use crate::state::State;
use crate::uplink::link::Target;
use anyhow::Result;
use deckport_protocol::Level;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Looks at the console, its collector and its service, a phase each. Fails when the collector cannot be reached.
pub fn checkup(state: Option<PathBuf>) -> Result<()> {
    let state = State::open(state)?;
    let identity = Identity::must(state.root())?;
    phase("This console")?;
    let (context, _) = crate::context::at_start(None, false);
    show(&context, "");
    phase("Collector")?;
    println!("{} at {}", identity.venue, identity.collector);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let target =
        Target { address: identity.address()?, token_file: None, state: state.root().to_owned() };
    let asked = Instant::now();
    runtime.block_on(target.connect())?;
    println!("reached by TLS in {} ms, with the expected key", asked.elapsed().as_millis());
    let left = identity.ends_at - enrol::now_us();
    println!("certificate: good for {} hours, renewed by itself", left / 3_600_000_000);
    phase("Service")?;
    if Path::new("/etc/systemd/system/deckport-agent.service").exists() {
        println!("the agent starts at boot");
    } else {
        note(
            Level::Warning,
            "the agent is not a service of this machine: it will not start at boot",
        )?;
    }
    println!("Ready.");
    Ok(())
}

fn phase(name: &str) -> Result<()> {
    control::send(&Request::Phase { name: name.to_owned() }).map(drop)
}

fn note(level: Level, text: &str) -> Result<()> {
    if !control::send(&Request::Note { level, text: text.to_owned() })? {
        println!("{text}");
    }
    Ok(())
}

/// One line a fact.
fn show(value: &Value, path: &str) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                show(value, &path);
            }
        }
        Value::Null => {}
        other => println!("{path}: {other}"),
    }
}
