//! The stage: leads the command's terminal session, as a login shell would.
//!
//! When a session's leader ends, the kernel hangs its terminal up: what the command left running in
//! the background would be killed or could print no more. So the command does not lead the session;
//! this small process does. It starts the command in a process group of its own, in the foreground,
//! reports what becomes of it to the recorder over the control socket, then lets go of the terminal
//! and ends when the recorder says so (by closing the connection). Before that it takes the
//! foreground to itself, so that the hang-up reaches no one else.
//!
//! When the recorder dies, the PTY's master closes and the kernel hangs up the session for real.

use crate::control::{self, Request, StageReport};
use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, WaitOptions, kill_process_group, waitpid};
use rustix::termios::tcsetpgrp;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};

/// The environment variable with the stage's key; not passed on to the command.
pub const KEY_VARIABLE: &str = "DECKPORT_STAGE_KEY";

/// Runs `command` (program and arguments). The terminal is this process's standard output.
pub fn run(command: &[OsString]) -> Result<()> {
    let key = std::env::var(KEY_VARIABLE).context("`stage` is for the recorder alone")?;
    let path = std::env::var_os(control::RUN_VARIABLE).context("there is no run")?;
    let mut socket = UnixStream::connect(path).context("could not reach the recorder")?;
    let mut report = |report| -> Result<()> {
        let request = Request::Stage { key: key.clone(), report };
        socket.write_all(&control::line(&request)).context("could not report to the recorder")
    };
    // Giving the foreground away and taking it back would stop this process otherwise. Programs
    // started from here begin with no signal blocked.
    let mut set = SigSet::empty();
    set.add(Signal::SIGTTOU);
    set.thread_block().context("could not block SIGTTOU")?;

    match start(command) {
        Ok(pid) => {
            // It may have asked for the keyboard before it had the foreground.
            tcsetpgrp(io::stdout(), pid).context("could not give the command the terminal")?;
            // Fails only when the whole group has ended already.
            let _ = kill_process_group(pid, rustix::process::Signal::CONT);
            report(StageReport::Started { pid: pid.as_raw_nonzero().get() })?;
            let last = watch(pid, &mut report)?;
            let _ = tcsetpgrp(io::stdout(), rustix::process::getpgrp());
            release_terminal()?;
            report(last)?;
        }
        Err(error) => {
            let (code, why) = match error.kind() {
                io::ErrorKind::NotFound => (127, "not found".to_owned()),
                _ => (126, error.to_string()),
            };
            let name = command.first().map(OsString::as_os_str).unwrap_or_default();
            let message = format!("{}: {why}", name.to_string_lossy());
            release_terminal()?;
            report(StageReport::Refused { code, message })?;
        }
    }
    // Until the recorder has read everything.
    let _ = socket.read(&mut [0]);
    Ok(())
}

fn start(command: &[OsString]) -> io::Result<Pid> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let spawn = |program: &OsStr, arguments: &[OsString]| {
        Command::new(program).args(arguments).env_remove(KEY_VARIABLE).process_group(0).spawn()
    };
    let child = match spawn(program, arguments) {
        // A script without its first line: as every shell does.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            spawn(OsStr::new("/bin/sh"), command)?
        }
        other => other?,
    };
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the kernel gave a senseless process id"))
}

/// Waits for the command's end, reporting stops.
fn watch(pid: Pid, report: &mut impl FnMut(StageReport) -> Result<()>) -> Result<StageReport> {
    loop {
        let status = match waitpid(Some(pid), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) => status,
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).context("could not wait for the command"),
        };
        if let Some(signal) = status.stopping_signal() {
            report(StageReport::Stopped { signal })?;
            continue;
        }
        let status = ExitStatus::from_raw(status.as_raw());
        return Ok(match status.code() {
            Some(code) => StageReport::Exited { code },
            None => StageReport::Killed { signal: status.signal().unwrap_or(0) },
        });
    }
}

/// Lets go of the terminal, so that the recorder sees when no one else holds it either.
fn release_terminal() -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
