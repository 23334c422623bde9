//! Tells the uplink, over its standard input, how far the spool is written, and other news; the uplink answers what the
//! collector has.
//!
//! The standard input is a socket, so that the answer has a way back. It does not block on either side: when the uplink hangs,
//! what does not fit is told later, and an answer that does not fit is left out. Of positions, of progress and of answers
//! only the latest counts.

use crate::control::line;
use crate::spool::Position;
use serde::{Deserialize, Serialize};
use std::cell::{RefCell, RefMut};
use std::os::fd::OwnedFd;

/// What the recorder tells the uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// The spool is written up to here.
    Spooled(Position),
    Progress {
        percent: f64,
        text: Option<String>,
    },
    /// The terminal record is durable: deliver and end.
    Ended,
}

/// What the uplink answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The collector has everything up to this sequence number, durably.
    Acked(u64),
}

#[derive(Debug, Default)]
struct Bell {
    socket: Option<OwnedFd>,
    /// What was read of the answers and is no whole line yet.
    unread: Vec<u8>,
    acked_seq: u64,
    position: Position,
    position_waits: bool,
    progress: Option<News>,
    ended: bool,
    ended_waits: bool,
}

/// The recorder's end of the socket.
#[derive(Debug, Default)]
pub struct Doorbell(RefCell<Bell>);

impl Doorbell {
    fn bell(&self) -> RefMut<'_, Bell> {
        self.0.borrow_mut()
    }

    /// A new uplink listens on `socket` (which must not block), or none any more.
    pub fn connect(&self, socket: Option<OwnedFd>) {
        let mut bell = self.bell();
        bell.socket = socket;
        bell.unread.clear();
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

    /// What the collector has, as far as the uplink has answered.
    pub fn acked_seq(&self) -> u64 {
        let mut bell = self.bell();
        bell.listen();
        bell.acked_seq
    }

    /// Whether something could not be told yet.
    pub fn waits(&self) -> bool {
        let bell = self.bell();
        bell.socket.is_some()
            && (bell.position_waits || bell.ended_waits || bell.progress.is_some())
    }
}

impl Bell {
    fn ring(&mut self) {
        if self.position_waits && self.tell(&News::Spooled(self.position)) {
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
        let Some(socket) = &self.socket else { return false };
        // A line is far shorter than what the socket takes at once, so it is written as a whole or not at all.
        match rustix::io::write(socket, &line(news)) {
            Ok(_) => true,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            Err(_) => {
                self.socket = None;
                false
            }
        }
    }

    /// Reads the answers that came.
    fn listen(&mut self) {
        let Some(socket) = &self.socket else { return };
        let mut buffer = [0; 4096];
        // Exits when nothing more is to be read; the uplink's death is noticed elsewhere.
        while let Ok(read @ 1..) = rustix::io::read(socket, &mut buffer) {
            self.unread.extend_from_slice(&buffer[..read]);
        }
        let Some(end) = memchr::memrchr(b'\n', &self.unread) else { return };
        for line in self.unread[..end].split(|&byte| byte == b'\n') {
            if let Ok(Answer::Acked(seq)) = serde_json::from_slice(line) {
                self.acked_seq = self.acked_seq.max(seq);
            }
        }
        self.unread.drain(..=end);
    }
}
