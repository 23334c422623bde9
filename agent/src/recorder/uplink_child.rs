//! The uplink as a child process: started, started again after it died, never waited for.

use super::doorbell::Doorbell;
use crate::state::Run;
use crate::uplink::Report;
use anyhow::{Context as _, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The first restart comes after this; each next after twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// An uplink that finds a longer log begins it anew.
const LOG_BYTES: u64 = 1024 * 1024;
/// Who lived this long has done well: the next pause is the first again.
const GOOD_LIFE: Duration = Duration::from_secs(30);

/// The uplink, alive or between two lives.
#[derive(Debug)]
pub(super) struct UplinkChild {
    run: Run,
    state: std::path::PathBuf,
    doorbell: Rc<Doorbell>,
    child: Option<Child>,
    reports: Option<OwnedFd>,
    unread: Vec<u8>,
    started: Instant,
    pause: Duration,
    start_again: Option<Instant>,
    refusal: Option<String>,
    no_link: Option<String>,
}

impl UplinkChild {
    pub(super) fn new(run: Run, state: &Path, doorbell: Rc<Doorbell>) -> Self {
        Self {
            run,
            state: state.to_owned(),
            doorbell,
            child: None,
            reports: None,
            unread: Vec::new(),
            started: Instant::now(),
            pause: FIRST_PAUSE,
            start_again: Some(Instant::now()),
            refusal: None,
            no_link: None,
        }
    }

    /// When [`Self::tend`] wants to be called next.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.start_again
    }

    /// Readable when the uplink reports something or has died.
    pub(super) fn reports(&self) -> Option<&OwnedFd> {
        self.reports.as_ref()
    }

    /// Starts the uplink when it is due.
    pub(super) fn tend(&mut self) {
        if self.start_again.is_some_and(|at| at <= Instant::now()) {
            self.start_again = None;
            if self.start().is_err() {
                self.later();
            }
        }
    }

    fn start(&mut self) -> Result<()> {
        self.started = Instant::now();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.run.dir().join("uplink.log"))
            .context("could not open the uplink's log")?;
        if log.metadata().is_ok_and(|log| log.len() > LOG_BYTES) {
            log.set_len(0)?;
        }
        let (bell, theirs) = UnixStream::pair().context("could not make the doorbell")?;
        // A group of its own, so that Ctrl-C at the terminal does not reach it.
        let mut child = Command::new("/proc/self/exe")
            .arg0("deckport-agent")
            .arg("uplink")
            .arg("--run")
            .arg(self.run.dir())
            .arg("--state")
            .arg(&self.state)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("could not start the uplink")?;
        let reports = child.stdout.take().context("the uplink has no standard output")?;
        bell.set_nonblocking(true)?;
        fcntl_setfl(&reports, fcntl_getfl(&reports)? | OFlags::NONBLOCK)?;
        self.doorbell.connect(Some(bell.into()));
        self.reports = Some(reports.into());
        self.unread.clear();
        self.child = Some(child);
        Ok(())
    }

    /// Reads what the uplink reports; notices its death.
    pub(super) fn read(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        let Some(pipe) = &self.reports else { return reports };
        let mut buffer = [0; 4096];
        // Exits when nothing more is to be read, or the uplink is gone.
        let gone = loop {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => break true,
                Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
                Err(rustix::io::Errno::AGAIN) => break false,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break true,
            }
        };
        while let Some(feed) = memchr::memchr(b'\n', &self.unread) {
            let line: Vec<u8> = self.unread.drain(..=feed).collect();
            reports.extend(serde_json::from_slice::<Report>(&line));
        }
        if gone {
            self.doorbell.connect(None);
            self.reports = None;
            if let Some(mut child) = self.child.take() {
                // It closed its output by ending, or is about to.
                let _ = child.kill();
                let _ = child.wait();
            }
            self.later();
        }
        reports
    }

    /// It gave up for good, for this reason: do not start it again.
    pub(super) fn leave(&mut self, why: String) {
        self.start_again = None;
        self.refusal = Some(why);
    }

    /// The collector cannot be reached, for this reason.
    pub(super) fn no_link(&mut self, why: String) {
        self.no_link = Some(why);
    }

    /// Why the collector could not be reached the last time that it could not.
    pub(super) fn why_no_link(&self) -> Option<&str> {
        self.no_link.as_deref()
    }

    /// Why nothing is streamed any more.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    fn later(&mut self) {
        if self.refusal.is_some() {
            return;
        }
        if self.started.elapsed() >= GOOD_LIFE {
            self.pause = FIRST_PAUSE;
        }
        self.start_again = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
