//! The operator's own terminal: its size, its raw mode, its keyboard.
//!
//! What must hold: whatever happens short of `kill -9`, the terminal has its modes back when the
//! recorder ends or is stopped. A process in the background never touches it (that would stop it).

use rustix::termios::{
    OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};
use std::fs::File;
use std::io::{self, stderr, stdin, stdout};
use std::os::fd::{AsFd as _, OwnedFd};

/// What the PTY is sized to when there is no terminal to ask.
const NO_TERMINAL: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// The terminal from which the agent was started, when there is one.
#[derive(Debug)]
pub(super) struct Terminal {
    device: Option<OwnedFd>,
    /// The modes to go back to while it is raw.
    cooked: Option<Termios>,
    stdin_is_terminal: bool,
}

impl Terminal {
    pub(super) fn find() -> Self {
        let stdin_is_terminal = isatty(stdin());
        let device = if stdin_is_terminal {
            stdin().as_fd().try_clone_to_owned().ok()
        } else {
            File::options().read(true).write(true).open("/dev/tty").ok().map(OwnedFd::from)
        };
        Self { device, cooked: None, stdin_is_terminal }
    }

    /// Whether the agent's standard input is a terminal, so that the command's is to be one.
    pub(super) const fn is_stdin(&self) -> bool {
        self.stdin_is_terminal
    }

    /// Whether there is a keyboard at all, now or after being brought to the foreground.
    pub(super) const fn exists(&self) -> bool {
        self.device.is_some()
    }

    /// Its modes as the operator has them.
    pub(super) fn modes(&self) -> Option<Termios> {
        self.cooked.clone().or_else(|| tcgetattr(self.device.as_ref()?).ok())
    }

    pub(super) fn size(&self) -> Winsize {
        let known = |size: io::Result<Winsize>| size.ok().filter(|s| s.ws_col > 0 && s.ws_row > 0);
        known(tcgetwinsize(stdout()).map_err(Into::into))
            .or_else(|| {
                self.device.as_ref().and_then(|d| known(tcgetwinsize(d).map_err(Into::into)))
            })
            .or_else(|| known(tcgetwinsize(stderr()).map_err(Into::into)))
            .unwrap_or(NO_TERMINAL)
    }

    fn foreground(&self) -> bool {
        let group = rustix::process::getpgrp();
        self.device.as_ref().is_some_and(|device| tcgetpgrp(device).is_ok_and(|fg| fg == group))
    }

    /// Passes the keyboard through from now on, if this process is in the foreground.
    pub(super) fn make_raw(&mut self) {
        let Some(device) = &self.device else { return };
        if self.cooked.is_some() || !self.foreground() {
            return;
        }
        if let Ok(cooked) = tcgetattr(device) {
            let mut raw = cooked.clone();
            raw.make_raw();
            if tcsetattr(device, OptionalActions::Drain, &raw).is_ok() {
                self.cooked = Some(cooked);
            }
        }
    }

    /// Gives the terminal its modes back.
    pub(super) fn restore(&mut self) {
        if let (Some(device), Some(cooked)) = (&self.device, self.cooked.take())
            && self.foreground()
        {
            let _ = tcsetattr(device, OptionalActions::Drain, &cooked);
        }
    }

    /// The keyboard, while it is passed through.
    pub(super) fn keyboard(&self) -> Option<&OwnedFd> {
        self.cooked.is_some().then_some(self.device.as_ref()).flatten()
    }

    /// The terminal is gone (hung up).
    pub(super) fn lose(&mut self) {
        self.device = None;
        self.cooked = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}
