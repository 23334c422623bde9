//! The recorder: runs the command under a PTY and keeps every byte of it.
//!
//! One thread polls everything (PTY, keyboard, signals, helpers, the uplink's reports) and writes the spool and the operator's
//! screen; another waits for the disk. What must hold:
//!
//! * the recorded bytes are the bytes read from the PTY's master, masked and nothing else;
//! * an event asked for by the script stands behind all that the script had printed before;
//! * nothing here waits for the network: the uplink is another process, reached by a socket that does
//!   not block;
//! * the operator's terminal gets its modes back.

pub mod doorbell;
pub mod end;
mod helpers;
mod pace;
mod pump;
mod screen;
mod signals;
mod spooler;
mod syncer;
mod terminal;
mod uplink_child;

pub use end::AgentExit;

use crate::clock::{self, Stamp};
use crate::control;
use crate::disk::RealDisk;
use crate::mask::Masker;
use crate::spool::{Item, Writer};
use crate::state::{Meta, Run, State};
use anyhow::{Context as _, Result};
use deckport_protocol::event::Event;
use deckport_protocol::{Address, DeploymentId, StreamId};
use doorbell::Doorbell;
use pty_process::blocking as pty;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    pub state: Option<PathBuf>,
    pub collector: Option<String>,
    pub token_file: Option<PathBuf>,
    pub name: Option<String>,
    pub template: Option<String>,
    pub command: Vec<OsString>,
    /// In bytes.
    pub spool_limit: u64,
    /// Also gather the facts that take longer and need other programs.
    pub full_context: bool,
    /// How long to wait at the end for what the collector does not have yet.
    pub linger: Duration,
}

/// Runs the command to its end.
pub fn run(plan: &Plan) -> Result<AgentExit> {
    let state = State::open(plan.state.clone())?;
    // Who was added to a collector delivers there unless told otherwise.
    let identity = crate::identity::Identity::load(state.root())?;
    let identity = identity.filter(|_| plan.collector.is_none());
    let mut plan = plan.clone();
    if let Some(identity) = identity {
        plan.name.get_or_insert(identity.name);
        plan.template.get_or_insert(identity.template);
        plan.collector = Some(identity.collector);
    }
    let plan = &plan;
    let console = state.console(plan.name.as_deref())?;
    let command: Vec<String> =
        plan.command.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    // The command inherits this environment. What is named there as a secret never reaches a disk, nor what a known form has.
    let variables = std::env::vars_os();
    let mut masker =
        Masker::of_environment(variables.map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.into_encoded_bytes())
        }));
    let command = masker.command(&command);
    let meta = Meta {
        deployment_id: DeploymentId::new(),
        stream_id: StreamId::new(),
        console,
        template: plan.template.clone(),
        command,
        collector: plan.collector.clone(),
        token_file: plan.token_file.as_ref().map(std::path::absolute).transpose()?,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let (run, lock) = state.create_run(&meta)?;
    run.raise_incarnation()?;
    let boot_id = clock::boot_id();
    let (mut writer, _) =
        Writer::open(RealDisk, run.dir().to_owned(), boot_id, plan.spool_limit, 0)?;

    let (context, slow) = crate::context::at_start(plan.collector.as_deref(), plan.full_context);
    let started = Event::DeploymentStarted {
        console_id: meta.console.console_id,
        console_name: meta.console.name.clone(),
        template: meta.template.clone(),
        command: meta.command.clone(),
        agent_version: meta.agent_version.clone(),
        boot_id,
        context,
    };
    let first = Item::Event { stamp: Stamp::now(), event: Box::new(started) };
    let doorbell = Rc::new(Doorbell::default());
    // A full disk does not stop the command either: the record waits for space.
    if let Ok(position) = writer.commit(vec![first]) {
        doorbell.announce(position);
    }

    let socket = control::socket_path(run.dir())?;
    let listener = UnixListener::bind(&socket).context("could not make the control socket")?;
    let mut terminal = terminal::Terminal::find();
    let (master, slave) = pty::open().context("could not open a PTY")?;
    if let Some(modes) = terminal.modes() {
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &modes)
            .context("could not give the PTY the terminal's modes")?;
    }
    let size = terminal.size();
    rustix::termios::tcsetwinsize(&master, size).context("could not size the PTY")?;
    let signals = signals::Signals::watch().context("could not watch for signals")?;

    let key = uuid::Uuid::new_v4().simple().to_string();
    let mut stage = pty::Command::new("/proc/self/exe")
        .arg0("deckport-agent")
        .arg("stage")
        .arg("--")
        .args(&plan.command)
        .env(control::RUN_VARIABLE, &socket)
        .env(crate::stage::KEY_VARIABLE, &key);
    if !terminal.is_stdin() {
        stage = stage.stdin(Stdio::inherit());
    }
    // Borrowed: the descriptors that the builder holds go with it, and the PTY closes when the
    // command and its children have closed it.
    let child = stage.spawn_borrowed(&slave).context("could not start the command's stage")?;
    drop(stage);
    let held = slave.as_fd().try_clone_to_owned().context("could not keep the PTY")?;
    drop(slave);
    let mut uplink =
        uplink_child::UplinkChild::new(run.clone(), state.root(), Rc::clone(&doorbell));
    if let Some(why) = address_refusal(plan) {
        uplink.leave(why);
    }
    let spooler = spooler::Spooler::start(writer, Rc::clone(&doorbell))?;
    terminal.make_raw();

    let mut pump = pump::Pump {
        master: master.into(),
        slave: Some(held),
        terminal,
        signals,
        helpers: helpers::Helpers::new(listener)?,
        uplink,
        spooler,
        screen: screen::Screen::start()?,
        doorbell: Rc::clone(&doorbell),
        stage: child,
        key,
        slow: Some(slow),
        parts: pump::Parts::new(masker),
    };
    pump.run();
    let (event, exit) = pump.judge();
    let (spooled, uplink, mut signals) = pump.finish(event);
    doorbell.announce(spooled.position);
    doorbell.ended();
    crate::context::stop();

    let delivered = deliver(uplink, &doorbell, &mut signals, plan.linger);
    // Beyond a run that is removed as a whole; one in a directory of its own leaves that too.
    let _ = std::fs::remove_file(&socket);
    if socket.parent() != Some(run.dir()) {
        let _ = socket.parent().map(std::fs::remove_dir);
    }
    finish(&run, lock, &delivered, &spooled);
    Ok(exit)
}

/// Why nothing can be streamed, when that is known from the start.
fn address_refusal(plan: &Plan) -> Option<String> {
    match &plan.collector {
        None => Some("no collector was named (--collector) and the console was never added to one, so nothing was streamed".to_owned()),
        Some(text) => text.parse::<Address>().err().map(|error| error.to_string()),
    }
}

/// What became of the delivery when the recorder stopped waiting for it.
#[derive(Debug, PartialEq, Eq)]
enum Delivered {
    All,
    Refused(String),
    /// And why there was no link, if that is it.
    Later(Option<String>),
}

/// A wait of this length is explained.
const EXPLAINED: Duration = Duration::from_secs(1);

/// Waits for the uplink to deliver everything, for `linger` at most, or until somebody is tired of it.
fn deliver(
    mut uplink: uplink_child::UplinkChild,
    doorbell: &Doorbell,
    signals: &mut signals::Signals,
    linger: Duration,
) -> Delivered {
    use crate::uplink::Report;
    let begun = Instant::now();
    let deadline = begun + linger;
    let mut explained = linger <= EXPLAINED;
    // What came before was for the command.
    signals.take();
    loop {
        let tired = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
        if signals.take().iter().any(|signal| tired.contains(signal)) {
            return Delivered::Later(None);
        }
        if !explained && begun.elapsed() >= EXPLAINED {
            explained = true;
            eprintln!(
                "deckport-agent: the command has ended; waiting up to {} s until the collector has everything \
                 (Ctrl-C leaves that to later; --linger sets the time)",
                linger.as_secs()
            );
        }
        if let Some(why) = uplink.refusal() {
            return Delivered::Refused(why.to_owned());
        }
        uplink.tend();
        for report in uplink.read() {
            match report {
                Report::Delivered => return Delivered::All,
                Report::Refused { message } => return Delivered::Refused(message),
                Report::NoLink { message } => uplink.no_link(message),
                Report::Order { .. } => {}
            }
        }
        let now = Instant::now();
        if now >= deadline {
            return Delivered::Later(uplink.why_no_link().map(ToOwned::to_owned));
        }
        let mut until = if explained { deadline } else { begun + EXPLAINED };
        if let Some(due) = uplink.due() {
            until = until.min(due);
        }
        if doorbell.waits() {
            doorbell.ended();
            until = until.min(now + Duration::from_millis(20));
        }
        let fds = [uplink.reports().map(std::os::fd::AsFd::as_fd), Some(signals.watched())];
        pump::wait(fds.into_iter().flatten(), until.saturating_duration_since(now));
    }
}

/// 1204 as `1,204`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Says what the operator at the console must know, and nothing when all went well.
fn finish(
    run: &Run,
    lock: crate::state::RunLock,
    delivered: &Delivered,
    spooled: &spooler::Spooled,
) {
    if let Some(failure) = &spooled.failure {
        eprintln!("deckport-agent: part of the record could not be kept: {failure}");
    }
    match delivered {
        Delivered::All => {
            if let Err(error) = run.remove() {
                eprintln!("deckport-agent: could not remove {}: {error}", run.dir().display());
            }
        }
        Delivered::Refused(message) | Delivered::Later(Some(message)) => {
            eprintln!("deckport-agent: {message}");
            kept(run, spooled);
        }
        Delivered::Later(None) => kept(run, spooled),
    }
    drop(lock);
}

/// Says what is kept, and how it gets to the collector.
fn kept(run: &Run, spooled: &spooler::Spooled) {
    let kept = spooled.position.last_seq.saturating_sub(run.acked().seq);
    eprintln!(
        "deckport-agent: {} records are kept in {} and will be delivered by \
         `deckport-agent flush` or the next run (to another collector: flush --collector URL)",
        grouped(kept),
        run.dir().display()
    );
}
