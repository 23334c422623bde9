//! Which threads give way to which.
//!
//! Whoever takes in what consoles say, and answers those who belong here, runs on the threads of the runtime that the collector was started
//! in. What may wait for a moment gives way to them: packing, and whatever is done for strangers.

use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// How much nicer than whoever takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nicer {
    /// What is to be done soon.
    Little = 5,
    /// What others want of us who may want too much.
    Much = 10,
}

/// From now on the calling thread gives way to others.
pub fn give_way(nicer: Nicer) {
    // Only the calling thread, which on Linux is what the call means by a process.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let nicer = getpriority_process(None).map(|own| (own + nicer as i32).min(19));
        if let Err(error) = nicer.and_then(|nicer| setpriority_process(None, nicer)) {
            tracing::debug!(%error, "a thread has the priority of all others");
        }
    }
}

/// Where strangers are heard: handshakes, headers and requests of those who have not shown who they are. Threads of their own, so that
/// however many come, what they want is worked off beside what those who were let in want, and not before it.
#[derive(Debug)]
pub struct Doorway {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Doorway {
    pub fn open() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("doorway")
            .on_thread_start(|| give_way(Nicer::Much))
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    pub const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Doorway {
    fn drop(&mut self) {
        // Whoever ends it is in a runtime, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_stands_in_the_doorway_gives_way() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        let doorway = Doorway::open().unwrap();
        let theirs = doorway.handle().spawn(async move { own() }).await.unwrap();
        assert_eq!(theirs, (before + Nicer::Much as i32).min(19));
        assert_eq!(own(), before);
    }
}
