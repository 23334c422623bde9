//! Signals to the agent, as something to poll.

use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

const WATCHED: [i32; 9] =
    [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH];

/// Every watched signal has a socket of its own; any of them makes `wake` readable.
#[derive(Debug)]
pub(super) struct Signals {
    pending: Vec<(i32, UnixStream)>,
}

impl Signals {
    /// Begins to watch. A signal that is ignored (`nohup`) stays ignored, here and in the command.
    pub(super) fn watch() -> std::io::Result<Self> {
        let ignored = ignored();
        let mut pending = Vec::new();
        for signal in WATCHED.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0) {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal, theirs)?;
            pending.push((signal, ours));
        }
        Ok(Self { pending })
    }

    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pending.iter().map(|(_, socket)| socket.as_fd())
    }

    /// The signals that came since the last call.
    pub(super) fn take(&mut self) -> Vec<i32> {
        let came =
            |socket: &mut UnixStream| matches!(socket.read(&mut [0; 64]), Ok(read) if read > 0);
        self.pending.iter_mut().filter_map(|(signal, s)| came(s).then_some(*signal)).collect()
    }
}

/// The kernel's mask of ignored signals of this process; bit 0 is signal 1.
fn ignored() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .unwrap_or(0)
}

/// The signal's name, as in `SIGKILL`.
pub(super) fn name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal)
        .map_or_else(|| format!("SIG{signal}"), ToOwned::to_owned)
}
