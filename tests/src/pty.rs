//! A terminal of the tests' own: what stands at the master is read here and nowhere else.

use crate::agent::Call;
use crate::api::find;
use crate::wait::{eventually, exit_of};
use anyhow::{Context as _, Result};
use pty_process::blocking as pty;
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Rows and columns of every terminal here.
pub const ROWS: u16 = 30;
pub const COLUMNS: u16 = 100;

/// A command under a terminal.
#[derive(Debug)]
pub struct Session {
    child: Child,
    master: Arc<File>,
    read: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    /// Everything that was read from the master.
    pub bytes: Vec<u8>,
    pub status: ExitStatus,
}

impl Ended {
    /// As a shell says it: the code, or 128 and the signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Session {
    /// Starts `call` as the leader of a session with a terminal of its own. `stdin`: in place of the
    /// terminal as standard input.
    pub fn start(call: &Call, stdin: Option<Stdio>) -> Result<Self> {
        let (master, slave) = pty::open().context("could not open a terminal")?;
        master.resize(pty_process::Size::new(ROWS, COLUMNS))?;
        let mut command = pty::Command::new(&call.program)
            .args(&call.arguments)
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8");
        for name in &call.without {
            command = command.env_remove(name);
        }
        command = command.envs(call.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &call.directory {
            command = command.current_dir(directory);
        }
        if let Some(stdin) = stdin {
            command = command.stdin(stdin);
        }
        let child = command
            .spawn(slave)
            .with_context(|| format!("could not start {}", call.program.display()))?;
        let master = Arc::new(File::from(OwnedFd::from(master)));
        let read = Arc::new(Mutex::new(Vec::new()));
        let (theirs, into) = (Arc::clone(&master), Arc::clone(&read));
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 65536];
            // Ends when nobody holds the other side any more (EIO).
            while let Ok(length @ 1..) = (&*theirs).read(&mut piece) {
                let mut all = into.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend_from_slice(&piece[..length]);
            }
        });
        Ok(Self { child, master, read, reader: Some(reader) })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What was read so far.
    pub fn so_far(&self) -> Vec<u8> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Types `keys`.
    pub fn type_keys(&self, keys: &[u8]) -> Result<()> {
        (&*self.master).write_all(keys).context("could not type")
    }

    /// Gives the terminal another size.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&*self.master, size)?)
    }

    /// Waits until `text` has been printed.
    pub fn wait_for(&self, text: &str, deadline: Duration) -> Result<()> {
        let what = format!("`{text}` is printed");
        let seen = eventually(deadline, &what, || find(&self.so_far(), text.as_bytes()));
        seen.map(|_| ()).with_context(|| String::from_utf8_lossy(&self.so_far()).into_owned())
    }

    /// Waits for the command's end and for everything it printed.
    pub fn finish(mut self, deadline: Duration) -> Result<Ended> {
        let status = exit_of(&mut self.child, deadline, "the command under the terminal ends")
            .with_context(|| String::from_utf8_lossy(&self.so_far()).into_owned())?;
        if let Some(reader) = self.reader.take() {
            eventually(deadline, "the terminal closes", || reader.is_finished().then_some(()))?;
        }
        Ok(Ended { bytes: self.so_far(), status })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ended already, or the test failed: nothing may stay behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `call` under a terminal to its end.
pub fn run(call: &Call, deadline: Duration) -> Result<Ended> {
    Session::start(call, None)?.finish(deadline)
}
