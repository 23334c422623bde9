//! Running other programs: in the foreground, into a log, or in the background.
//!
//! What must hold: nothing that xtask started outlives it. Jobs that run into a log or in the background get a process
//! group of their own, and the whole group is ended when the job is dropped, times out or the user presses Ctrl-C.
//! Cargo's variables about xtask itself are removed, since they would make a nested cargo rebuild things.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::wait;

/// One invocation of a program.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    program: OsString,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    limit: Duration,
}

impl Job {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: vec![],
            dir: None,
            env: vec![],
            limit: Duration::from_secs(45 * 60),
        }
    }

    /// The cargo that runs us.
    pub(crate) fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    pub(crate) fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command as a person would type it.
    pub(crate) fn shown(&self) -> String {
        let program = Path::new(&self.program).file_name().unwrap_or(&self.program);
        std::iter::once(program)
            .chain(self.args.iter().map(OsString::as_os_str))
            .map(quoted)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs in the foreground, sharing the terminal; fails when the program fails.
    pub(crate) fn run(&self) -> Result<()> {
        let status = self.command().status().with_context(|| self.cannot_start())?;
        wait::check_interrupted()?;
        self.expect_success(status)
    }

    /// Replaces the idea of a result by the program's own exit code: for wrappers like `bench`.
    pub(crate) fn run_for_code(&self) -> Result<u8> {
        let status = self.command().status().with_context(|| self.cannot_start())?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    /// Standard output as text; fails when the program fails, with what it wrote to standard error.
    pub(crate) fn read(&self) -> Result<String> {
        let output = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| self.cannot_start())?;
        wait::check_interrupted()?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed ({}): {}", self.shown(), output.status, stderr.trim());
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("`{}` printed something not UTF-8", self.shown()))
    }

    /// Runs with both outputs appended to `log`, without standard input, within the time limit.
    pub(crate) fn log_to(&self, log: &Path) -> Result<()> {
        let mut running = self.start(log)?;
        let status = running.wait(self.limit)?;
        self.expect_success(status)
    }

    /// Starts in the background with both outputs appended to `log`.
    pub(crate) fn start(&self, log: &Path) -> Result<Running> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot duplicate a file handle")?;
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| self.cannot_start())?;
        Ok(Running { child, what: self.shown(), ended: None })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (key, _) in std::env::vars_os() {
            if is_about_xtask(&key) {
                command.env_remove(key);
            }
        }
        command.args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn cannot_start(&self) -> String {
        format!("cannot start `{}`", self.shown())
    }

    fn expect_success(&self, status: ExitStatus) -> Result<()> {
        if status.success() { Ok(()) } else { Err(anyhow!("`{}` failed ({status})", self.shown())) }
    }
}

/// A job in the background. Dropping it ends its whole process group.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    what: String,
    ended: Option<ExitStatus>,
}

impl Running {
    /// The exit status, once there is one.
    pub(crate) fn poll(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().with_context(|| format!("lost `{}`", self.what))?;
        }
        Ok(self.ended)
    }

    /// Waits for the end; ends the job when it takes longer than `limit` or the user interrupts.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.poll()? {
                // What it left behind in its group, such as a test's forgotten server.
                self.end_group(Duration::from_secs(2));
                return Ok(status);
            }
            if wait::interrupted() || start.elapsed() > limit {
                self.end(Duration::from_secs(10));
                wait::check_interrupted()?;
                bail!(
                    "`{}` was ended: it took longer than {} min",
                    self.what,
                    limit.as_secs() / 60
                );
            }
            wait::pause(Duration::from_millis(20));
        }
    }

    /// Asks the group to end (SIGTERM), and kills what is left of it after `patience`. Does nothing to a job that has
    /// ended before: its number may be another's by now.
    pub(crate) fn end(&mut self, patience: Duration) {
        if self.ended.is_none() {
            self.end_group(patience);
            self.ended = self.child.wait().ok();
        }
    }

    fn end_group(&mut self, patience: Duration) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        let start = Instant::now();
        let _ = kill_process_group(group, Signal::TERM);
        while test_kill_process_group(group).is_ok() {
            // Reap the leader, or the group would exist for ever as a zombie.
            let _ = self.poll();
            if start.elapsed() > patience {
                let _ = kill_process_group(group, Signal::KILL);
                break;
            }
            wait::pause(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Duration::from_secs(5));
    }
}

/// The full path of `program` on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn quoted(arg: &OsStr) -> String {
    let text = arg.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{text}'")
    }
}

fn is_about_xtask(key: &OsStr) -> bool {
    let key = key.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
        .iter()
        .any(|prefix| key.starts_with(prefix))
        || ["CARGO_PRIMARY_PACKAGE", "OUT_DIR", "RUST_RECURSION_COUNT"].contains(&key.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let job = Job::new("/usr/bin/apt-get").args(["install", "two words", ""]);
        assert_eq!(job.shown(), "apt-get install 'two words' ''");
    }

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error =
            Job::new("sh").args(["-c", "echo no >&2; exit 3"]).read().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no"), "{error}");
    }

    #[test]
    fn ending_a_job_ends_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut running =
            Job::new("sh").args(["-c", "sleep 300 & echo $!; wait"]).start(&log).unwrap();
        let pid = wait::until(
            "the child's id",
            Duration::from_secs(10),
            Duration::from_millis(10),
            || Ok(std::fs::read_to_string(&log)?.trim().parse::<i32>().ok()),
        )
        .unwrap();
        running.end(Duration::from_secs(5));
        let child = Pid::from_raw(pid).unwrap();
        wait::until("the child's end", Duration::from_secs(10), Duration::from_millis(10), || {
            Ok(rustix::process::test_kill_process(child).is_err().then_some(()))
        })
        .unwrap();
    }

    #[test]
    fn a_job_over_its_limit_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let job = Job::new("sleep").arg("300").limit(Duration::from_millis(50));
        let error = job.log_to(&dir.path().join("log")).unwrap_err().to_string();
        assert!(error.contains("took longer"), "{error}");
    }
}
