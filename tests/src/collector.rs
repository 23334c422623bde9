//! A collector as a process: started, killed, started again on the same port and directory.

use crate::api::Api;
use crate::wait::{LONG, eventually, exit_of};
use crate::{programs, wait};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// A port that nothing listens on. Below the range from which the kernel takes outgoing ports, so
/// that a connection made meanwhile does not take it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 15_000 + (std::process::id() * 37 + step) % 17_000;
        let port = u16::try_from(port).unwrap_or(15_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A collector, running or not. Dropping it kills it.
#[derive(Debug)]
pub struct Collector {
    data: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
    options: Vec<String>,
    child: Option<Child>,
}

impl Collector {
    /// Not started yet; keeps its data in `data`.
    pub fn at(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            port: free_port(),
            environment: vec![],
            options: vec![],
            child: None,
        }
    }

    /// Started and ready.
    pub fn start(data: impl Into<PathBuf>) -> Result<Self> {
        let mut collector = Self::at(data);
        collector.launch()?;
        Ok(collector)
    }

    /// Further options of `serve`, for all launches.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Sets an environment variable for the next launch.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    pub fn clear_env(&mut self) {
        self.environment.clear();
    }

    /// Starts the process and waits until it is ready.
    pub fn launch(&mut self) -> Result<()> {
        self.spawn()?;
        eventually(LONG, "the collector becomes ready", || {
            if !self.runs() {
                return Some(Err(anyhow::anyhow!("the collector ended: {}", self.log())));
            }
            let ready = self.anonymous().get("/readyz").is_ok_and(|answer| answer.status == 200);
            ready.then_some(Ok(()))
        })
        .with_context(|| self.log())?
    }

    /// Starts the process and does not wait.
    pub fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("the collector runs already");
        }
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let child = Command::new(programs::collector()?)
            .arg("serve")
            .arg("--data")
            .arg(&self.data)
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--plain-http")
            .args(&self.options)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("could not start the collector")?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether the process lives.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already dead is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop, and expects a clean end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id")?, Signal::TERM)?;
        let status = exit_of(&mut child, LONG, "the collector stops when asked to")?;
        if !status.success() {
            bail!("the collector ended with {status}: {}", self.log());
        }
        Ok(())
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn token_file(&self) -> PathBuf {
        self.data.join("token")
    }

    pub fn token(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.token_file()).context("the collector's token")?;
        Ok(text.trim().to_owned())
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// The end of what the collector said.
    pub fn log(&self) -> String {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        let from = text.len().saturating_sub(4000);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    const fn anonymous(&self) -> Api {
        Api { port: self.port, token: None }
    }

    /// Asks with the token.
    pub fn api(&self) -> Result<Api> {
        Ok(Api { port: self.port, token: Some(self.token()?) })
    }

    /// A client command of `deckport-collector`, with address and token.
    pub fn client(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let output = Command::new(programs::collector()?)
            .args(arguments)
            .arg("--url")
            .arg(self.url())
            .arg("--token-file")
            .arg(self.token_file())
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("deckport-collector {arguments:?} ended with {}: {said}", output.status);
        }
        Ok(output.stdout)
    }

    /// `deployments --json`.
    pub fn deployments(&self) -> Result<Vec<Value>> {
        Ok(serde_json::from_slice(&self.client(&["deployments", "--json"])?)?)
    }

    /// `logs ID --raw`.
    pub fn raw(&self, id: &str) -> Result<Vec<u8>> {
        self.client(&["logs", id, "--raw"])
    }

    /// The id of the deployment on the console called `name`, once it is known.
    pub fn find(&self, name: &str) -> Result<String> {
        let api = self.api()?;
        wait::eventually_ok(LONG, &format!("a deployment of {name} is listed"), || {
            let list = api.json("/api/v1/deployments")?;
            let found = list["deployments"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|entry| entry["name"] == name);
            found
                .and_then(|entry| entry["id"].as_str())
                .map(ToOwned::to_owned)
                .context("it is not in the list")
        })
    }

    /// The deployment's detail.
    pub fn detail(&self, id: &str) -> Result<Value> {
        self.api()?.json(&format!("/api/v1/deployments/{id}"))
    }

    /// The deployment's detail once it has ended.
    pub fn ended(&self, id: &str) -> Result<Value> {
        self.ended_within(id, LONG)
    }

    pub fn ended_within(&self, id: &str, deadline: Duration) -> Result<Value> {
        wait::eventually_ok(deadline, "the deployment ends", || {
            let detail = self.detail(id)?;
            let summary = &detail["summary"];
            if summary["outcome"].is_null() {
                bail!("its state is {}, acked {}", summary["state"], summary["acked_seq"]);
            }
            Ok(detail)
        })
    }

    /// All rows, page by page.
    pub fn rows(&self, id: &str) -> Result<Vec<Value>> {
        let api = self.api()?;
        let mut rows: Vec<Value> = Vec::new();
        loop {
            let from = rows.len();
            let path = format!("/api/v1/deployments/{id}/rows?from={from}&count=1000");
            let mut page = api.json(&path)?;
            let Some(more) = page["rows"].as_array_mut() else { bail!("a page without rows") };
            if more.is_empty() {
                return Ok(rows);
            }
            rows.append(more);
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}
