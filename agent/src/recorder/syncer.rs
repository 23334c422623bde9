//! The thread that waits for the disk, so that the recorder does not have to.

use crate::disk::{Disk, RealDisk};
use crate::spool::{SpoolError, Unsynced};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

type Job = Unsynced<<RealDisk as Disk>::File>;
type Outcome = Result<(), SpoolError>;

/// The thread's other side. One job at a time.
#[derive(Debug)]
pub(super) struct Syncer {
    jobs: Sender<Job>,
    outcomes: Receiver<Outcome>,
    busy: bool,
    thread: JoinHandle<()>,
}

impl Syncer {
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, todo) = channel::<Job>();
        let (done, outcomes) = channel();
        let thread = std::thread::Builder::new().name("syncer".into()).spawn(move || {
            // Ends when the recorder does.
            while let Ok(unsynced) = todo.recv() {
                if done.send(unsynced.sync(&RealDisk)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, outcomes, busy: false, thread })
    }

    /// What became of the last job, once.
    pub(super) fn outcome(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes.try_recv().ok()?;
        self.busy = false;
        Some(outcome)
    }

    /// Whether [`Self::sync`] may be called.
    pub(super) const fn is_idle(&self) -> bool {
        !self.busy
    }

    pub(super) fn sync(&mut self, unsynced: Job) {
        self.busy = self.jobs.send(unsynced).is_ok();
    }

    /// Waits for the job under way.
    pub(super) fn finish(self) {
        drop(self.jobs);
        // A panic was reported when it happened.
        let _ = self.thread.join();
    }
}
