//! `deckport-agent deploy`: gets the script of this console's template from its collector and runs it as `wrap` does.

use crate::ask::{AskError, ask};
use crate::disk;
use crate::identity::Identity;
use crate::recorder::{self, AgentExit};
use crate::state::State;
use crate::uplink::link::Target;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use deckport_protocol::address::Address;
use hyper::Method;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs the deployment of this console's template.
pub fn deploy(state: Option<PathBuf>, spool_limit: u64) -> Result<AgentExit> {
    let opened = State::open(state.clone())?;
    let identity = Identity::must(opened.root())?;
    let command = match script(opened.root(), &identity)? {
        Some(path) => vec![OsString::from("bash"), path.into_os_string()],
        // The template has none: the console shows what it is and that it can be reached.
        None => vec![OsString::from("/proc/self/exe"), "checkup".into()],
    };
    recorder::run(&recorder::Plan {
        state,
        collector: None,
        token_file: None,
        name: None,
        template: None,
        command,
        spool_limit,
        full_context: true,
        linger: Duration::from_secs(10),
    })
}

/// The template's script, as the collector at `address` has it now, for the console whose identity is in `state`; empty where there is
/// none.
pub(crate) async fn script_at(state: &Path, address: &Address) -> Result<Bytes, AskError> {
    let target = Target { address: address.clone(), token_file: None, state: state.to_owned() };
    let (stream, _) = target.connect().await?;
    let path = "/api/v1/console/script";
    ask(stream, None, &address.authority(), Method::GET, path, None).await
}

/// The same, in a file of our own.
fn script(state: &Path, identity: &Identity) -> Result<Option<PathBuf>> {
    let address = identity.address()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime
        .block_on(script_at(state, &address))
        .context("the template's script could not be got from the collector")?;
    if text.is_empty() {
        return Ok(None);
    }
    let path = state.join("template.sh");
    disk::replace(&path, &text, true)
        .with_context(|| format!("could not write {}", path.display()))?;
    Ok(Some(path))
}
