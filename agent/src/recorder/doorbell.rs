//! Tells the uplink, over its standard input, how far the spool is durable, and other news.
//!
//! The pipe does not block: when the uplink hangs, what does not fit is told later. Of positions and
//! of progress only the latest counts.

use crate::control::line;
use crate::spool::Position;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the recorder tells the uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// The spool is durable up to here.
    Durable(Position),
    Progress {
        percent: f64,
        text: Option<String>,
    },
    /// The terminal record is durable: deliver and end.
    Ended,
}

#[derive(Debug, Default)]
struct Bell {
    pipe: Option<OwnedFd>,
    position: Position,
    position_waits: bool,
    progress: Option<News>,
    ended: bool,
    ended_waits: bool,
}

/// The recorder's end of the pipe.
#[derive(Debug, Default)]
pub struct Doorbell(Mutex<Bell>);

impl Doorbell {
    fn bell(&self) -> MutexGuard<'_, Bell> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new uplink listens on `pipe` (which must not block), or none any more.
    pub fn connect(&self, pipe: Option<OwnedFd>) {
        let mut bell = self.bell();
        bell.pipe = pipe;
        bell.position_waits = true;
        bell.ended_waits = bell.ended;
        bell.ring();
    }

    pub fn announce(&self, position: Position) {
        let mut bell = self.bell();
        if position != bell.position {
            bell.position = position;
            bell.position_waits = true;
        }
        bell.ring();
    }

    pub fn progress(&self, percent: f64, text: Option<String>) {
        let mut bell = self.bell();
        bell.progress = Some(News::Progress { percent, text });
        bell.ring();
    }

    pub fn ended(&self) {
        let mut bell = self.bell();
        bell.ended = true;
        bell.ended_waits = true;
        bell.ring();
    }

    /// Whether something could not be told yet.
    pub fn waits(&self) -> bool {
        let bell = self.bell();
        bell.pipe.is_some() && (bell.position_waits || bell.ended_waits || bell.progress.is_some())
    }
}

impl Bell {
    fn ring(&mut self) {
        if self.position_waits && self.tell(&News::Durable(self.position)) {
            self.position_waits = false;
        }
        if let Some(progress) = self.progress.take()
            && !self.tell(&progress)
        {
            self.progress = Some(progress);
        }
        if self.ended_waits && !self.position_waits && self.tell(&News::Ended) {
            self.ended_waits = false;
        }
    }

    fn tell(&mut self, news: &News) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        // Lines are shorter than PIPE_BUF, so one is written as a whole or not at all.
        match rustix::io::write(pipe, &line(news)) {
            Ok(_) => true,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            Err(_) => {
                self.pipe = None;
                false
            }
        }
    }
}
