//! The recorder's loop.

use super::doorbell::Doorbell;
use super::end::{AgentExit, Asked, judge};
use super::helpers::Helpers;
use super::pace::Pace;
use super::screen::Screen;
use super::signals::Signals;
use super::spooler::{Spooled, Spooler};
use super::terminal::Terminal;
use super::uplink_child::UplinkChild;
use crate::clock::Stamp;
use crate::control::{Reply, Request, StageReport};
use crate::mask::Masker;
use crate::pieces::{Piece, Pieces};
use crate::spool::Item;
use crate::uplink::Report;
use deckport_protocol::event::Event;
use deckport_protocol::message::{Order, OrderKind};
use deckport_protocol::{Level, Source};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr, tcgetpgrp, tcsetwinsize};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::Child;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// A piece closes after so much quiet.
const QUIET: Duration = Duration::from_millis(20);
/// How long to listen, after the command's end, to what it left running in the background.
const GRACE: Duration = Duration::from_millis(300);
/// Read at once before anything else gets its turn.
const READ_BYTES: usize = 256 * 1024;
/// A read that brings less has probably brought all.
const SHORT_READ: usize = 1024;
/// Keystrokes that the PTY does not take yet.
const KEYS: usize = 64 * 1024;
/// How often at most it is told how many secrets were masked, before the end.
const MASKS_TOLD: Duration = Duration::from_secs(10);
/// How often to look whether somebody waits for a keyboard that is not there.
const NO_KEYBOARD: Duration = Duration::from_millis(250);

/// What the loop itself keeps.
#[derive(Debug, Default)]
pub(super) struct Parts {
    masker: Masker,
    pieces: Pieces,
    last_output: Option<Stamp>,
    quiet_from: Option<Instant>,
    keys: Vec<u8>,
    command: Option<Pid>,
    /// Signals for a command that has not started yet.
    early: Vec<Signal>,
    last_report: Option<StageReport>,
    ended_at: Option<Instant>,
    master_gone: bool,
    pace: Pace,
    asked: Asked,
    cancel: Option<Cancel>,
    no_keyboard_at: Option<Instant>,
    buffer: Vec<u8>,
    /// How many masked secrets were told, and when.
    told: Option<(u64, Instant)>,
}

impl Parts {
    pub(super) fn new(masker: Masker) -> Self {
        Self { masker, ..Self::default() }
    }
}

/// An order to end the command, step by step.
#[derive(Debug)]
struct Cancel {
    grace: Duration,
    next: Option<(Instant, Signal)>,
}

/// Everything that the loop looks after.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) master: OwnedFd,
    /// Kept open until the command has ended, so that the PTY lives while nobody else holds it.
    pub(super) slave: Option<OwnedFd>,
    pub(super) terminal: Terminal,
    pub(super) signals: Signals,
    pub(super) helpers: Helpers,
    pub(super) uplink: UplinkChild,
    pub(super) spooler: Spooler,
    pub(super) screen: Screen,
    pub(super) doorbell: Rc<Doorbell>,
    pub(super) stage: Child,
    pub(super) key: String,
    /// Facts about the system that take longer to gather.
    pub(super) slow: Option<Receiver<serde_json::Value>>,
    pub(super) parts: Parts,
}

/// What has something to say.
#[derive(Clone, Copy, Debug)]
struct Ready {
    signals: bool,
    output: bool,
    screen: bool,
    reports: bool,
    keyboard: bool,
    helpers: bool,
    nothing: bool,
}

/// Waits until one of `fds` is readable, or for `timeout`.
pub(super) fn wait<'a>(fds: impl IntoIterator<Item = BorrowedFd<'a>>, timeout: Duration) {
    let mut fds: Vec<PollFd<'_>> =
        fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    // An interruption or an error only makes the caller look sooner.
    let _ = poll(&mut fds, Some(&timespec(timeout)));
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up, so that what is waited for has come.
    let duration = duration + Duration::from_micros(1);
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

impl Pump {
    /// Runs until the command has ended and everything it printed was read.
    pub(super) fn run(&mut self) {
        if let Ok(flags) = fcntl_getfl(&self.master) {
            let _ = fcntl_setfl(&self.master, flags | OFlags::NONBLOCK);
        }
        // Exits when the command has ended, and its terminal is closed or the grace is over.
        // Only what is ready is asked: each question is a call of the system, for each line that is printed.
        while !self.over() {
            let ready = self.poll();
            if ready.signals {
                for signal in self.signals.take() {
                    self.signal(signal);
                }
            }
            if ready.keyboard {
                self.read_keyboard();
            }
            self.write_keys();
            if ready.output && self.takes_output() {
                let read = self.read_output(READ_BYTES);
                self.parts.pace.read(read, Instant::now());
            }
            if ready.screen {
                self.screen.go_on();
            }
            if ready.helpers {
                self.serve_helpers();
            }
            if ready.reports {
                for report in self.uplink.read() {
                    self.uplink_says(report);
                }
            }
            self.uplink.tend();
            self.spooler.tend();
            // A stage that dies lets go of its helper's socket.
            if ready.helpers || ready.nothing {
                self.look_after_stage();
            }
            self.tick();
        }
        // Whatever the kernel still has, also if the screen lags behind.
        self.read_output(usize::MAX);
    }

    fn over(&self) -> bool {
        self.parts.ended_at.is_some_and(|at| self.parts.master_gone || at.elapsed() >= GRACE)
    }

    fn takes_output(&self) -> bool {
        !self.parts.master_gone && self.screen.has_room()
    }

    /// Sleeps until something is to be done; says what.
    fn poll(&self) -> Ready {
        let mut fds = Vec::with_capacity(16);
        fds.push(PollFd::from_borrowed_fd(self.signals.watched(), PollFlags::IN));
        let output = (!self.parts.master_gone).then_some(fds.len());
        let takes_output = self.takes_output();
        let nap = self.parts.pace.naps_until().filter(|_| takes_output);
        if output.is_some() {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, takes_output && nap.is_none());
            events.set(PollFlags::OUT, !self.parts.keys.is_empty());
            if events.is_empty() {
                // A hang-up alone would be told again and again.
                fds.push(PollFd::from_borrowed_fd(self.signals.watched(), PollFlags::empty()));
            } else {
                fds.push(PollFd::new(&self.master, events));
            }
        }
        let screen = self.screen.watched().map(|fd| {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
            fds.len() - 1
        });
        let reports = self.uplink.reports().map(|reports| {
            fds.push(PollFd::new(reports, PollFlags::IN));
            fds.len() - 1
        });
        let keyboard =
            self.terminal.keyboard().filter(|_| self.parts.keys.len() < KEYS).map(|keyboard| {
                fds.push(PollFd::new(keyboard, PollFlags::IN));
                fds.len() - 1
            });
        let helpers = fds.len();
        for fd in self.helpers.watched() {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        let mut due = [
            self.parts.quiet_from.map(|from| from + QUIET),
            self.parts.ended_at.map(|at| at + GRACE),
            self.parts.cancel.as_ref().and_then(|cancel| Some(cancel.next?.0)),
            self.uplink.due(),
            self.spooler.due(),
            self.parts.no_keyboard_at,
            nap,
            // The screen is behind: look again soon.
            (!takes_output && !self.parts.master_gone)
                .then(|| Instant::now() + Duration::from_millis(5)),
            self.slow.is_some().then(|| Instant::now() + Duration::from_millis(100)),
        ]
        .into_iter()
        .flatten()
        .min();
        if self.parts.last_report.is_none() && self.parts.command.is_none() {
            // The stage might die before it says anything.
            let soon = Instant::now() + QUIET;
            due = Some(due.map_or(soon, |due| due.min(soon)));
        } else {
            due = Some(due.unwrap_or_else(|| Instant::now() + Duration::from_secs(1)));
        }
        let timeout = due.map(|due| timespec(due.saturating_duration_since(Instant::now())));
        // An interruption means that nothing is ready yet.
        let count = poll(&mut fds, timeout.as_ref()).unwrap_or(0);
        let told = |at: usize| count > 0 && !fds[at].revents().is_empty();
        let napped = nap.is_some_and(|until| until <= Instant::now());
        Ready {
            signals: told(0),
            output: napped || output.is_some_and(told),
            screen: screen.is_some_and(told),
            reports: reports.is_some_and(told),
            keyboard: keyboard.is_some_and(told),
            helpers: (helpers..fds.len()).any(told),
            nothing: count == 0 && !napped,
        }
    }

    /// Reads what the command printed, up to about `most` bytes. How many there were.
    fn read_output(&mut self, most: usize) -> usize {
        let mut buffer = std::mem::take(&mut self.parts.buffer);
        buffer.clear();
        let mut piece = [0u8; 16 * 1024];
        // Exits when the PTY is empty or gone, or others should have their turn.
        loop {
            match rustix::io::read(&self.master, &mut piece) {
                Ok(0) => {
                    self.parts.master_gone = true;
                    break;
                }
                Ok(read) => {
                    buffer.extend_from_slice(&piece[..read]);
                    // A line or two: what comes next wakes us again. Who wants everything asks until there is none.
                    if read < SHORT_READ && most == READ_BYTES {
                        break;
                    }
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => break,
                // EIO: nobody holds the other side any more.
                Err(_) => {
                    self.parts.master_gone = true;
                    break;
                }
            }
            if buffer.len() >= most {
                break;
            }
        }
        let read = buffer.len();
        if !buffer.is_empty() {
            self.output(&buffer);
        }
        self.parts.buffer = buffer;
        read
    }

    fn output(&mut self, bytes: &[u8]) {
        self.screen.show(bytes);
        let stamp = Stamp::now();
        let mut shown = Vec::new();
        self.parts.masker.feed(bytes, &mut shown);
        self.keep(&shown, stamp);
    }

    fn keep(&mut self, shown: &[u8], stamp: Stamp) {
        let mut items = Vec::new();
        self.parts.pieces.feed(shown, |piece| items.push(output_item(piece, stamp)));
        self.spooler.record(items);
        self.parts.last_output = Some(stamp);
        self.parts.quiet_from = self.parts.pieces.open().then(Instant::now);
    }

    fn close_piece(&mut self) {
        self.parts.quiet_from = None;
        let stamp = self.parts.last_output.unwrap_or_else(Stamp::now);
        self.spooler.record(self.parts.pieces.close().map(|piece| output_item(piece, stamp)));
    }

    /// Records an event behind everything that was read.
    fn event(&mut self, event: Event) {
        self.close_piece();
        self.spooler.record([Item::Event { stamp: Stamp::now(), event: Box::new(event) }]);
    }

    /// Tells how many secrets were masked, when there are more than was told.
    fn tell_masks(&mut self) {
        let counts = self.parts.masker.counts();
        let total = counts.values().sum();
        if total > self.parts.told.map_or(0, |(told, _)| told) {
            let counts = counts.clone();
            self.parts.told = Some((total, Instant::now()));
            self.event(Event::SecretsMasked { counts });
        }
    }

    fn serve_helpers(&mut self) {
        let requests = self.helpers.read();
        if !requests.is_empty() {
            // What the script printed before it asked stands before what it asks for.
            self.read_output(4 * READ_BYTES);
        }
        for (who, request) in requests {
            let mut mask = |text: &str| self.parts.masker.text(text);
            match request {
                Request::Phase { name } => {
                    let name = mask(&name);
                    self.event(Event::PhaseStarted { name });
                }
                Request::Step { name } => {
                    let name = mask(&name);
                    self.event(Event::StepStarted { name });
                }
                Request::Note { level, text } => {
                    let text = mask(&text);
                    self.event(Event::Note { level, text });
                }
                Request::Progress { percent, text } => {
                    let text = text.map(|text| mask(&text).chars().take(200).collect());
                    self.doorbell.progress(percent, text);
                }
                Request::Stage { key, report } => {
                    if key == self.key {
                        self.stage_says(report);
                    }
                    continue;
                }
            }
            self.helpers.answer(who, &Reply { ok: true, message: String::new() });
        }
        self.helpers.tidy();
    }

    fn stage_says(&mut self, report: StageReport) {
        match report {
            StageReport::Started { pid } => {
                self.parts.command = Pid::from_raw(pid);
                for signal in std::mem::take(&mut self.parts.early) {
                    self.signal_command(signal);
                }
                if !self.terminal.exists() {
                    self.parts.no_keyboard_at = Some(Instant::now());
                }
            }
            StageReport::Stopped { .. } => self.stop_with_command(),
            StageReport::Refused { .. }
            | StageReport::Exited { .. }
            | StageReport::Killed { .. } => {
                self.parts.last_report = Some(report);
                self.ended();
            }
        }
    }

    fn ended(&mut self) {
        self.parts.ended_at.get_or_insert_with(Instant::now);
        self.parts.no_keyboard_at = None;
        self.parts.cancel = None;
        self.slave = None;
    }

    /// Job control stopped the command (Ctrl-Z): stop too, so that the operator's shell sees it.
    fn stop_with_command(&mut self) {
        if !self.terminal.exists() {
            return;
        }
        self.terminal.restore();
        let _ = signal_hook::low_level::raise(signal_hook::consts::SIGSTOP);
        self.resume();
    }

    fn resume(&mut self) {
        self.terminal.make_raw();
        self.resize();
        self.signal_command(Signal::CONT);
    }

    fn resize(&self) {
        let _ = tcsetwinsize(&self.master, self.terminal.size());
    }

    fn signal(&mut self, signal: i32) {
        match signal {
            SIGWINCH => self.resize(),
            SIGCONT => self.resume(),
            SIGTSTP => self.signal_command(Signal::TSTP),
            _ => {
                if [SIGINT, SIGTERM, SIGHUP].contains(&signal) {
                    self.parts.asked.by_signal = true;
                }
                if signal == SIGHUP {
                    self.terminal.lose();
                }
                if let Some(signal) = Signal::from_named_raw(signal) {
                    self.signal_command(signal);
                }
            }
        }
    }

    /// Signals the command, and what it has in the foreground of its terminal; one that is still being started gets it
    /// when it runs.
    fn signal_command(&mut self, signal: Signal) {
        let Some(command) = self.parts.command else {
            self.parts.early.push(signal);
            return;
        };
        let _ = kill_process_group(command, signal);
        if let Ok(foreground) = tcgetpgrp(&self.master)
            && foreground != command
            && foreground.as_raw_nonzero().get() as u32 != self.stage.id()
        {
            let _ = kill_process_group(foreground, signal);
        }
    }

    fn read_keyboard(&mut self) {
        if self.parts.keys.len() >= KEYS {
            return;
        }
        let Some(keyboard) = self.terminal.keyboard() else { return };
        let mut buffer = [0; 4096];
        match rustix::io::read(keyboard, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO) => self.terminal.lose(),
            Ok(read) => self.parts.keys.extend_from_slice(&buffer[..read]),
            Err(_) => {}
        }
    }

    fn write_keys(&mut self) {
        if self.parts.keys.is_empty() {
            return;
        }
        if self.parts.master_gone || self.parts.ended_at.is_some() {
            self.parts.keys.clear();
            return;
        }
        if let Ok(written) = rustix::io::write(&self.master, &self.parts.keys) {
            self.parts.keys.drain(..written);
        }
    }

    /// Without any keyboard, who reads from it is told its end, as without a terminal.
    fn answer_no_keyboard(&mut self) {
        let Some(slave) = &self.slave else { return };
        let mut ready = [PollFd::new(slave, PollFlags::IN)];
        let waiting = poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if waiting != Ok(0) {
            return;
        }
        if let Ok(modes) = tcgetattr(slave)
            && modes.local_modes.contains(LocalModes::ICANON)
        {
            let end = modes.special_codes[SpecialCodeIndex::VEOF];
            let _ = rustix::io::write(&self.master, &[end]);
        }
    }

    fn uplink_says(&mut self, report: Report) {
        match report {
            Report::Order { order } => self.order(&order),
            Report::Refused { message } => self.uplink.leave(message),
            Report::NoLink { message } => self.uplink.no_link(message),
            Report::Delivered => {}
        }
    }

    fn order(&mut self, order: &Order) {
        let (name, accepted, message) = match order.order {
            OrderKind::Cancel { grace_ms } if self.parts.ended_at.is_none() => {
                self.parts.asked.by_order = true;
                let grace = Duration::from_millis(grace_ms.clamp(100, 600_000));
                if self.parts.cancel.is_none() {
                    self.signal_command(Signal::INT);
                    self.signal_command(Signal::CONT);
                    let next = Some((Instant::now() + grace, Signal::TERM));
                    self.parts.cancel = Some(Cancel { grace, next });
                }
                ("cancel", true, String::new())
            }
            OrderKind::Cancel { .. } => ("cancel", false, "the command has ended".to_owned()),
            OrderKind::Unknown => ("unknown", false, "this agent does not know it".to_owned()),
        };
        self.event(Event::OrderResult {
            order_id: order.order_id,
            order: name.to_owned(),
            accepted,
            message,
        });
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.parts.quiet_from.is_some_and(|from| now >= from + QUIET) {
            self.close_piece();
        }
        // Not within a line: its piece would be cut for it.
        if !self.parts.pieces.open() && self.parts.told.is_none_or(|(_, at)| now >= at + MASKS_TOLD)
        {
            self.tell_masks();
        }
        if let Some(cancel) = &mut self.parts.cancel
            && let Some((at, signal)) = cancel.next
            && now >= at
        {
            cancel.next = (signal == Signal::TERM).then(|| (now + cancel.grace, Signal::KILL));
            self.signal_command(signal);
        }
        if self.parts.no_keyboard_at.is_some_and(|at| now >= at) {
            self.answer_no_keyboard();
            self.parts.no_keyboard_at = Some(now + NO_KEYBOARD);
        }
        if let Some(slow) = &self.slow {
            match slow.try_recv() {
                Ok(context) => self.event(Event::ContextChanged { context }),
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
                Err(std::sync::mpsc::TryRecvError::Disconnected) => self.slow = None,
            }
        }
    }

    fn look_after_stage(&mut self) {
        // The stage ends by itself only when it was killed, or could not even begin.
        if self.parts.ended_at.is_none() && matches!(self.stage.try_wait(), Ok(Some(_))) {
            self.serve_helpers();
            if self.parts.ended_at.is_none() {
                self.ended();
            }
        }
    }

    /// The terminal record and how the agent ends.
    pub(super) fn judge(&self) -> (Event, AgentExit) {
        judge(self.parts.last_report.as_ref(), self.parts.asked)
    }

    /// Records the rest and the terminal event, lets the stage go, and shows the rest.
    pub(super) fn finish(mut self, last: Event) -> (Spooled, UplinkChild, Signals) {
        if let Some(StageReport::Refused { message, .. }) = &self.parts.last_report {
            eprintln!("deckport-agent: {message}");
            let text = self.parts.masker.text(message);
            self.event(Event::Note { level: Level::Error, text });
        }
        let mut rest = Vec::new();
        self.parts.masker.finish(&mut rest);
        if !rest.is_empty() {
            self.keep(&rest, Stamp::now());
        }
        // Facts that came at the last moment; those that have not come are not waited for.
        if let Some(slow) = self.slow.take() {
            for context in slow.try_iter() {
                self.event(Event::ContextChanged { context });
            }
        }
        let last = match last {
            Event::DeploymentFinished { outcome, exit, message } => {
                let message = self.parts.masker.text(&message);
                Event::DeploymentFinished { outcome, exit, message }
            }
            other => other,
        };
        self.tell_masks();
        self.event(last);
        let spooled = self.spooler.finish();
        self.screen.finish();
        // Only now: what the screen still had to show is already as a terminal wants it.
        self.terminal.restore();
        // Closing the control socket lets the stage end; then the terminal may hang up.
        drop(self.helpers);
        let _ = self.stage.wait();
        (spooled, self.uplink, self.signals)
    }
}

fn output_item(piece: Piece, stamp: Stamp) -> Item {
    Item::Output { stamp, bytes: piece.bytes, continues: piece.continues, source: Source::Terminal }
}
