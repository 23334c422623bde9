//! Packing. It has a thread that gives way to those that take in and answer: a block may wait for a moment, an acknowledgement may not. What an
//! acknowledgement waits for is packed on another that gives way to nobody.

use crate::threads::{Nicer, give_way};
use std::io;
use std::sync::mpsc;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// See the module. The thread ends with the last of these.
#[derive(Debug)]
pub(super) struct Packer {
    jobs: mpsc::Sender<Job>,
}

impl Packer {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, asked) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("log-packer".to_owned()).spawn(move || {
            give_way(Nicer::Little);
            while let Ok(job) = asked.recv() {
                job();
            }
        })?;
        Ok(Self { jobs })
    }

    /// What came of it; none where it panicked. `at_once`: somebody waits for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        at_once: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if at_once {
            return tokio::task::spawn_blocking(work).await.ok();
        }
        let (done, came) = oneshot::channel();
        let job = move || {
            let work = std::panic::AssertUnwindSafe(work);
            if let Ok(made) = std::panic::catch_unwind(work) {
                // Whoever asked may not wait any more.
                let _ = done.send(made);
            }
        };
        self.jobs.send(Box::new(job)).ok()?;
        came.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_packs_one_after_the_other_and_outlives_a_panic() {
        let packer = Packer::start().unwrap();
        assert_eq!(packer.run(false, || 1 + 1).await, Some(2));
        assert_eq!(packer.run(false, || -> u8 { panic!("on purpose") }).await, None);
        assert_eq!(packer.run(true, || 3).await, Some(3));
    }
}
