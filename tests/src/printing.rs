//! Real consoles that print at a rate: `wrap -- simulate --stamp`, with recorder, stage, uplink and terminal.

use crate::api::Api;
use crate::wait::{LONG, eventually, exit_of};
use crate::{Agent, Call, programs};
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Stdio};

/// How many of them, and how much they print.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub consoles: usize,
    /// Lines a second of each.
    pub rate: u64,
    pub seconds: u64,
}

/// Consoles at work. Dropping them ends what still runs.
#[derive(Debug)]
pub struct Consoles(Vec<Child>);

impl Consoles {
    /// Starts them; `console` says where one reports to.
    pub fn start(load: Load, console: impl Fn(&str) -> Agent) -> Result<Self> {
        let mut all = Self(Vec::new());
        for number in 0..load.consoles {
            let mut agent = console(&format!("c{number}"));
            agent.options = vec!["--context".to_owned(), "quick".to_owned()];
            let simulate = Call::new(programs::agent()?).args([
                "simulate".to_owned(),
                "--stamp".to_owned(),
                "--phases=".to_owned(),
                format!("--rate={}", load.rate),
                format!("--lines={}", load.rate * load.seconds),
                format!("--seed={number}"),
            ]);
            let mut command = agent.wrap(&simulate)?.command();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            all.0.push(command.spawn().context("could not start an agent")?);
        }
        Ok(all)
    }

    /// Their deployments' ids, once the collector knows them all.
    pub fn listed(&self, api: &Api) -> Result<Vec<String>> {
        eventually(LONG, "all consoles are listed", || {
            let list = api.json("/api/v1/deployments?limit=500").ok()?;
            let ids: Vec<String> = list["deployments"]
                .as_array()?
                .iter()
                .filter_map(|entry| entry["id"].as_str().map(ToOwned::to_owned))
                .collect();
            (ids.len() == self.0.len()).then_some(ids)
        })
    }

    /// Asks them to end, and waits until the collector has what they printed.
    pub fn end(mut self) -> Result<()> {
        for child in &self.0 {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // One may have ended by itself.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for child in &mut self.0 {
            exit_of(child, LONG, "an agent ends when asked to")?;
        }
        Ok(())
    }

    /// Waits until they have ended by themselves, successfully.
    pub fn ended(mut self) -> Result<()> {
        for child in &mut self.0 {
            let status = exit_of(child, LONG, "an agent ends")?;
            anyhow::ensure!(status.success(), "an agent ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Consoles {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
