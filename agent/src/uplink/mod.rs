//! The uplink: reads spools and delivers them to the collector. Never touches the PTY.
//!
//! A process of its own, started by the recorder ([`run`]). Its standard input is the recorder's
//! doorbell, its standard output takes [`Report`]s; both are lines of JSON. When the doorbell closes
//! without the run's end, the recorder has died: the uplink takes over the spool, ends it as
//! `interrupted`, and delivers that too.
//!
//! What is sent is written in the spool and perhaps not synced yet. So after a power cut the collector may have more of a run
//! than the spool: whoever delivers such a run ([`deliver_kept`]) numbers the record that ends it behind both.
//!
//! Beside its own run it delivers older ones that this console still keeps, one at a time.

pub mod delivery;
mod duplex;
pub mod link;
pub mod outbox;
mod window;

use crate::clock::{self, Stamp};
use crate::disk::RealDisk;
use crate::recorder::doorbell::News;
use crate::spool::{Item, Position, Recovered, Writer};
use crate::state::{Holder, Meta, Run, RunLock, State};
use anyhow::{Context as _, Result};
use deckport_protocol::Outcome;
use deckport_protocol::event::Event;
use deckport_protocol::message::Order;
use delivery::{Delivery, Ended, Feed};
use link::Target;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

/// A delivery without a recorder ends after so long without progress …
const NO_PROGRESS: Duration = Duration::from_secs(10);
/// … and one that has to say that the recorder died after so long.
const NO_PROGRESS_INTERRUPTED: Duration = Duration::from_secs(600);

/// Older runs may take so long after this one is delivered.
const OLDER_WITHIN: Duration = Duration::from_secs(600);

/// What the uplink tells the recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Order {
        order: Order,
    },
    /// The collector has the terminal record.
    Delivered,
    /// There is no link, for this reason; it is tried again.
    NoLink {
        message: String,
    },
    /// The collector refused for good.
    Refused {
        message: String,
    },
}

/// The doorbell as the uplink sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Recorder {
    /// It has written the terminal record.
    ended: bool,
    /// It has closed the doorbell.
    gone: bool,
}

/// The uplink process.
pub fn run(run_dir: PathBuf, state: PathBuf) -> Result<()> {
    // The log may lie on a full disk: what it does not take is left out.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let uplink = uplink(Run::at(run_dir), State::open(Some(state))?);
    // As a task: what wakes the runtime's outermost future makes it ask the system for news once more, for each line.
    runtime.block_on(async { tokio::spawn(uplink).await? })
}

async fn uplink(run: Run, state: State) -> Result<()> {
    let meta = run.meta()?;
    let target = target_of(&meta, &state).context("there is no collector to deliver to")?;
    let (feed_in, feed) = watch::channel(Feed::default());
    let (recorder_in, mut recorder) = watch::channel(Recorder::default());
    let doorbell = std::io::stdin().as_fd().try_clone_to_owned()?;
    let answers = doorbell.try_clone()?;
    let doorbell = std::os::unix::net::UnixStream::from(doorbell);
    doorbell.set_nonblocking(true)?;
    let doorbell = UnixStream::from_std(doorbell).context("the doorbell is no socket")?;
    tokio::spawn(listen(doorbell, feed_in.clone(), recorder_in));
    let (reports, mut outgoing) = mpsc::unbounded_channel::<Report>();
    let report = |report: &Report| {
        let mut out = std::io::stdout().lock();
        // When nobody reads, the doorbell says so.
        let _ = out.write_all(&crate::control::line(report)).and_then(|()| out.flush());
    };
    let (acked, acked_seen) = watch::channel(0);
    let mut own = Delivery {
        run: run.clone(),
        meta: meta.clone(),
        target: target.clone(),
        feed,
        reports: reports.clone(),
        acked,
        recorder: Some(answers),
        unended: false,
    };
    let mut older = std::pin::pin!(deliver_older(&state, &run, &meta));
    let mut older_done = false;
    let mut ended: Option<Ended> = None;
    let mut lock: Option<RunLock> = None;
    let mut patience: Option<Duration> = None;
    {
        let mut deliver = std::pin::pin!(own.deliver());
        let mut quiet = std::pin::pin!(no_progress(acked_seen.clone(), None));
        // Every branch may be dropped (while the spool is taken over, the delivery waits): deliveries keep their state on disk, the others are channels.
        loop {
            tokio::select! {
                how = &mut deliver, if ended.is_none() => {
                    report(&match &how {
                        Ended::Delivered => Report::Delivered,
                        Ended::Refused(refusal) => {
                            Report::Refused { message: refusal.message.clone() }
                        }
                    });
                    ended = Some(how);
                }
                Some(order) = outgoing.recv() => report(&order),
                () = &mut older, if !older_done => older_done = true,
                () = &mut quiet, if patience.is_some() => break,
                _ = recorder.changed(), if patience.is_none() => {
                    let now = *recorder.borrow_and_update();
                    if now.gone {
                        lock = take_over(&run, &feed_in).await?;
                        if lock.is_none() {
                            tracing::info!("someone else delivers this run now");
                            return Ok(());
                        }
                        let wait = if now.ended { NO_PROGRESS } else { NO_PROGRESS_INTERRUPTED };
                        patience = Some(wait);
                        quiet.set(no_progress(acked_seen.clone(), Some(wait)));
                    }
                }
            }
            if patience.is_some() && ended.is_some() {
                break;
            }
        }
    }
    if ended == Some(Ended::Delivered) && patience.is_some() {
        // The collector is there: older runs are finished too, without keeping anyone waiting.
        if !older_done {
            let _ = tokio::time::timeout(OLDER_WITHIN, &mut older).await;
        }
        if lock.is_some() && run.dir().exists() {
            run.remove().context("could not remove the delivered run")?;
        }
    }
    Ok(())
}

/// Ends when `acked` has not moved for `patience`; never without patience.
async fn no_progress(mut acked: watch::Receiver<u64>, patience: Option<Duration>) {
    let Some(patience) = patience else { return std::future::pending().await };
    while matches!(tokio::time::timeout(patience, acked.changed()).await, Ok(Ok(()))) {}
}

/// Follows the doorbell until it closes.
async fn listen(
    doorbell: UnixStream,
    feed: watch::Sender<Feed>,
    recorder: watch::Sender<Recorder>,
) {
    let mut lines = tokio::io::BufReader::new(doorbell).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(News::Spooled(position)) => {
                feed.send_if_modified(|feed| {
                    let newer = position > feed.end;
                    feed.end = feed.end.max(position);
                    newer
                });
            }
            Ok(News::Progress { percent, text }) => feed.send_modify(|feed| {
                feed.progress = Some((percent, text));
                feed.progress_count += 1;
            }),
            Ok(News::Ended) => {
                recorder.send_modify(|recorder| recorder.ended = true);
            }
            Err(error) => tracing::warn!("the recorder said what is not known here: {error}"),
        }
    }
    recorder.send_modify(|recorder| recorder.gone = true);
}

/// Takes the place of a recorder that is gone, and ends its spool if it died. From here on nobody else delivers this run: two
/// who did would cut each other off. `None` when someone else does already.
async fn take_over(run: &Run, feed: &watch::Sender<Feed>) -> Result<Option<RunLock>> {
    // A dying process may close its end of the pipe before the kernel releases its lock.
    let mut tries_left = 250;
    let lock = loop {
        match run.lock(Holder::Delivery)? {
            Some(lock) => break lock,
            None if tries_left == 0 || run.is_being_delivered() => return Ok(None),
            None => tries_left -= 1,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    // The machine runs on, so everything that was written is there, and no collector has more.
    let end = end_spool(run, 0)?;
    feed.send_modify(|feed| feed.end = end);
    Ok(Some(lock))
}

/// Recovers a spool that nobody writes to and, when it has no terminal record, gives it one, with a number behind all that the
/// collector has (`theirs`). The caller holds the run's lock.
fn end_spool(run: &Run, theirs: u64) -> Result<Position> {
    let (mut writer, recovered) = recover(run, theirs)?;
    if recovered.ended || run.acked().complete {
        return Ok(recovered.position);
    }
    let event = Event::DeploymentFinished {
        outcome: Outcome::Interrupted,
        exit: None,
        message: "the recorder ended before the command did".to_owned(),
    };
    let stamp = Stamp::now();
    Ok(writer.commit(vec![Item::Event { stamp, event: Box::new(event) }])?)
}

/// Opens a spool that nobody writes to.
fn recover(run: &Run, theirs: u64) -> Result<(Writer<RealDisk>, Recovered)> {
    let acked_seq = run.acked().seq.max(theirs);
    let boot_id = clock::boot_id();
    let opened = Writer::open(RealDisk, run.dir().to_owned(), boot_id, u64::MAX / 4, acked_seq)?;
    run.raise_incarnation()?;
    Ok(opened)
}

/// Where a run goes, if it was told.
pub fn target_of(meta: &Meta, state: &State) -> Option<Target> {
    let address = meta.collector.as_deref()?.parse().ok()?;
    let state = state.root().to_owned();
    Some(Target { address, token_file: meta.token_file.clone(), state })
}

/// Delivers a run that nobody records any more, as long as that gets on.
pub async fn deliver_kept(run: &Run, target: Target, patience: Duration) -> Result<KeptRun> {
    let Some(_lock) = run.lock(Holder::Delivery)? else { return Ok(KeptRun::Busy) };
    let meta = run.meta()?;
    let recovered = recover(run, 0)?.1;
    let end = recovered.position;
    let feed = watch::Sender::new(Feed { end, ..Feed::default() });
    let (reports, mut told) = mpsc::unbounded_channel();
    let (acked, seen) = watch::channel(run.acked().seq);
    let mut delivery = Delivery {
        run: run.clone(),
        meta,
        target,
        feed: feed.subscribe(),
        reports,
        acked,
        recorder: None,
        unended: !recovered.ended && !run.acked().complete,
    };
    // Dropping the delivery is safe at any point.
    tokio::select! {
        ended = delivery.deliver() => match ended {
            Ended::Delivered => {
                run.remove().context("could not remove the delivered run")?;
                Ok(KeptRun::Delivered { records: *seen.borrow() })
            }
            Ended::Refused(refusal) => Ok(KeptRun::Refused(refusal.message)),
        },
        () = no_progress(seen.clone(), Some(patience)) => {
            let records = end.last_seq - run.acked().seq.min(end.last_seq);
            let mut why = None;
            while let Ok(report) = told.try_recv() {
                if let Report::NoLink { message } = report {
                    why = Some(message);
                }
            }
            Ok(KeptRun::Kept { records, why })
        }
    }
}

/// What became of a kept run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptRun {
    Delivered {
        records: u64,
    },
    Refused(String),
    /// There was no link, or it carried nothing; `why`, where that is known.
    Kept {
        records: u64,
        why: Option<String>,
    },
    /// Its recorder or another uplink is at work.
    Busy,
}

async fn deliver_older(state: &State, own: &Run, own_meta: &Meta) {
    let Ok(runs) = state.runs() else { return };
    for run in runs.into_iter().filter(|run| run.dir() != own.dir()) {
        let Ok(meta) = run.meta() else { continue };
        let target = if meta.collector.is_none() || meta.collector == own_meta.collector {
            target_of(own_meta, state)
        } else {
            // An address that cannot be used is not tried for ever.
            target_of(&meta, state).or_else(|| target_of(own_meta, state))
        };
        let Some(target) = target else { continue };
        match deliver_kept(&run, target, Duration::from_secs(60)).await {
            Ok(kept) => tracing::info!("an older run: {kept:?}"),
            Err(error) => tracing::warn!("an older run: {error:#}"),
        }
    }
}
