//! Passes output on to the agent's own standard output, in a thread of its own.
//!
//! A slow terminal slows the command down, as it does without us: [`Screen::has_room`] says when the
//! recorder should read more. When standard output is gone, output is only recorded.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Bytes that wait at most (plus one read).
const ROOM: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    closed: bool,
    gone: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent's standard output.
#[derive(Debug)]
pub(super) struct Screen {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    wake: OwnedFd,
}

impl Screen {
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (wake, waker) = rustix::pipe::pipe_with(
            rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
        )?;
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("screen".into())
            .spawn(move || write_out(&theirs, &waker))?;
        Ok(Self { shared, thread: Some(thread), wake })
    }

    pub(super) fn show(&self, bytes: Bytes) {
        let mut queue = self.shared.queue();
        if !queue.gone {
            queue.bytes += bytes.len();
            queue.waiting.push_back(bytes);
            self.shared.changed.notify_one();
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.shared.queue().bytes < ROOM
    }

    /// Readable when there may be room again.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(super) fn woken(&self) {
        let mut drain = [0; 64];
        while matches!(rustix::io::read(&self.wake, &mut drain), Ok(read) if read == drain.len()) {}
    }

    /// Waits until everything is shown.
    pub(super) fn finish(mut self) {
        self.shared.queue().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_out(shared: &Shared, waker: &OwnedFd) {
    let mut out = std::io::stdout().lock();
    loop {
        let mut queue = shared.queue();
        while queue.waiting.is_empty() {
            if queue.closed {
                return;
            }
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let batch = std::mem::take(&mut queue.waiting);
        drop(queue);
        let mut shown = Ok(());
        let mut bytes = 0;
        for piece in &batch {
            bytes += piece.len();
            shown = shown.and_then(|()| out.write_all(piece));
        }
        shown = shown.and_then(|()| out.flush());
        let mut queue = shared.queue();
        queue.bytes -= bytes;
        if shown.is_err() {
            queue.gone = true;
            queue.waiting.clear();
            queue.bytes = 0;
        }
        drop(queue);
        // A full pipe wakes as well as another byte would.
        let _ = rustix::io::write(waker, &[1]);
    }
}
