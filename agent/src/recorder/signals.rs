//! Signals to the agent, as something to poll.

use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const WATCHED: [i32; 9] =
    [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH];

/// Every watched signal has a flag; any of them makes one socket readable.
#[derive(Debug)]
pub(super) struct Signals {
    came: Vec<(i32, Arc<AtomicBool>)>,
    wake: UnixStream,
}

impl Signals {
    /// Begins to watch. A signal that is ignored (`nohup`) stays ignored, here and in the command.
    pub(super) fn watch() -> std::io::Result<Self> {
        let ignored = ignored();
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut came = Vec::new();
        for signal in WATCHED.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0) {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: whoever is woken finds the flag.
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
            came.push((signal, flag));
        }
        Ok(Self { came, wake })
    }

    pub(super) fn watched(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The signals that came since the last call.
    pub(super) fn take(&mut self) -> Vec<i32> {
        // First the calls, then what they call for. A full socket wakes as well as another byte would.
        while matches!(self.wake.read(&mut [0; 64]), Ok(64)) {}
        let came = |flag: &AtomicBool| flag.swap(false, Ordering::SeqCst);
        self.came.iter().filter_map(|(signal, flag)| came(flag).then_some(*signal)).collect()
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
