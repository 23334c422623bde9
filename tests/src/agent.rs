//! An agent's command lines, for a process with or without a terminal.

use crate::collector::Collector;
use crate::programs;
use crate::wait::exit_of;
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// A program to be run: with pipes as a [`Command`], or under a terminal by [`crate::pty`].
#[derive(Clone, Debug)]
pub struct Call {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
    /// Variables that are taken away.
    pub without: Vec<OsString>,
    pub directory: Option<PathBuf>,
}

impl Call {
    pub fn new<S: Into<OsString>>(program: S) -> Self {
        Self {
            program: program.into(),
            arguments: vec![],
            environment: vec![],
            without: vec![],
            directory: None,
        }
    }

    /// `bash -c SCRIPT`.
    pub fn bash(script: &str) -> Self {
        Self::new("bash").arg("-c").arg(script)
    }

    #[must_use]
    pub fn arg<S: Into<OsString>>(mut self, argument: S) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env<K: Into<OsString>, V: Into<OsString>>(mut self, name: K, value: V) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn env_remove<K: Into<OsString>>(mut self, name: K) -> Self {
        self.without.push(name.into());
        self
    }

    #[must_use]
    pub fn dir<P: Into<PathBuf>>(mut self, directory: P) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Without a terminal.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for name in &self.without {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// Runs it to its end without a terminal and without input.
    pub fn output(&self) -> Result<Output> {
        let mut command = self.command();
        command.stdin(Stdio::null());
        command.output().with_context(|| format!("could not run {}", self.program.display()))
    }
}

/// A process that does not outlive its test.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `call` without a terminal, input or a place for its words.
    pub fn quiet(call: &Call) -> Result<Self> {
        Self::start(call.command().stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Starts `command` without input.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn().context("could not start a process")?;
        Ok(Self { child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        // Already dead is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop, and waits for its end.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.exit(deadline)
    }

    /// Waits for its end; kills it when `deadline` passes.
    pub fn exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        exit_of(&mut self.child, deadline, "the process ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An agent's uplink ends by itself some time after its recorder; not in a failed test's time.
        if matches!(self.child.try_wait(), Ok(None)) {
            for uplink in children(self.child.id(), "uplink") {
                let pid = i32::try_from(uplink).ok().and_then(rustix::process::Pid::from_raw);
                let _ = pid
                    .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            }
        }
        self.kill();
    }
}

/// One console: a state directory, a name, and where its records go.
#[derive(Clone, Debug)]
pub struct Agent {
    pub name: String,
    pub state: PathBuf,
    pub url: Option<String>,
    pub token_file: Option<PathBuf>,
    pub template: Option<String>,
    /// Seconds to wait at the end for what the collector does not have yet.
    pub linger: u64,
    /// Further options of `wrap`.
    pub options: Vec<String>,
    pub environment: Vec<(OsString, OsString)>,
}

impl Agent {
    /// A console that reports to `collector` and keeps its state in `dir/NAME`.
    pub fn of(collector: &Collector, dir: &Path, name: &str) -> Self {
        Self::at(collector.url(), collector.token_file(), dir, name)
    }

    /// The same for a collector that is no process of ours: the one in the app.
    pub fn at(url: String, token_file: PathBuf, dir: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: dir.join(name),
            url: Some(url),
            token_file: Some(token_file),
            template: None,
            linger: 60,
            options: vec![],
            environment: vec![],
        }
    }

    fn address(&self, mut call: Call) -> Call {
        if let Some(url) = &self.url {
            call = call.arg("--collector").arg(url);
        }
        if let Some(file) = &self.token_file {
            call = call.arg("--token-file").arg(file);
        }
        call = call.arg("--state").arg(&self.state);
        call.environment.extend(self.environment.iter().cloned());
        call
    }

    /// `deckport-agent wrap … -- COMMAND`.
    pub fn wrap(&self, command: &Call) -> Result<Call> {
        let mut call = self.address(Call::new(programs::agent()?).arg("wrap"));
        call = call.arg("--name").arg(&self.name).arg("--linger").arg(self.linger.to_string());
        if let Some(template) = &self.template {
            call = call.arg("--template").arg(template);
        }
        call = call.args(&self.options).arg("--").arg(&command.program).args(&command.arguments);
        call.environment.extend(command.environment.iter().cloned());
        call.without.extend(command.without.iter().cloned());
        call.directory.clone_from(&command.directory);
        Ok(call)
    }

    /// `deckport-agent flush`.
    pub fn flush(&self) -> Result<Call> {
        Ok(self.address(Call::new(programs::agent()?).arg("flush")))
    }

    /// The directories of the runs that are kept.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.state.join("runs")) else { return vec![] };
        let mut runs: Vec<_> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_dir()).collect();
        runs.sort();
        runs
    }
}

/// The process ids of the direct children of `parent` whose command line has `word` among its
/// arguments.
pub fn children(parent: u32, word: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // `pid (name) state ppid …`; the name may hold anything, so look behind its end.
            let fields = stat.rsplit(") ").next().unwrap_or("");
            fields.split(' ').nth(1) == Some(&parent.to_string()) && !fields.starts_with('Z')
        })
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes())
        })
        .collect()
}
