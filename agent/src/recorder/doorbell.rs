//! Tells the uplink, over its standard input, how far the spool is written, and other news; the uplink answers what the
//! collector has.
//!
//! The standard input is a socket, so that the answer has a way back. It does not block on either side: when the uplink hangs,
//! what does not fit is told later, and an answer that does not fit is left out. Of positions, of progress and of answers
//! only the latest counts.
//!
//! Each ring wakes the uplink, and what it sends wakes the collector. That is worth it for a line that somebody waits for. When
//! what was rung for is answered late, rings come 20 ms apart: what is behind is sent together, costs less, and comes to an end.

use crate::control::line;
use crate::spool::Position;
use serde::{Deserialize, Serialize};
use std::cell::{RefCell, RefMut};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// So many rings may wait for their answer until rings are held back. A line every 10 ms that is answered as late as a
/// collector answers that has the time (`ACK_WITHIN`) never has so many.
const FEW: usize = 5;
/// How far apart rings are then.
const HOLD: Duration = Duration::from_millis(20);
/// A ring that was held back waits so much longer for the next line to ring it: who prints all the time is not woken twice.
const HOLD_ALONE: Duration = Duration::from_millis(10);
/// How soon to try again when the socket was full.
const AGAIN: Duration = Duration::from_millis(50);

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
    /// What the last rings were for, the oldest at `turn`.
    rung: [u64; FEW],
    turn: usize,
    /// No ring for a position before.
    held: Option<Instant>,
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
        (bell.rung, bell.held) = Default::default();
        bell.ring();
    }

    /// The spool is written up to `position`: tells it now, or at [`Self::due`], for which to call this again.
    pub fn announce(&self, position: Position) {
        let mut bell = self.bell();
        if position != bell.position {
            bell.position = position;
            bell.position_waits = true;
        }
        if bell.held.is_none_or(|until| until <= Instant::now()) {
            bell.ring();
        }
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
        self.bell().waits()
    }

    /// When what could not be told yet is to be told.
    pub fn due(&self) -> Option<Instant> {
        let bell = self.bell();
        bell.waits()
            .then(|| bell.held.map_or_else(|| Instant::now() + AGAIN, |until| until + HOLD_ALONE))
    }
}

impl Bell {
    fn waits(&self) -> bool {
        self.socket.is_some()
            && (self.position_waits || self.ended_waits || self.progress.is_some())
    }

    fn ring(&mut self) {
        self.held = None;
        if self.position_waits && self.tell(&News::Spooled(self.position)) {
            self.position_waits = false;
            self.rung_for(self.position.last_seq);
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

    /// Notes a ring, and holds the next ones back when those before are not answered.
    fn rung_for(&mut self, last_seq: u64) {
        self.rung[self.turn] = last_seq;
        self.turn = (self.turn + 1) % FEW;
        let oldest = self.rung[self.turn];
        if oldest > self.acked_seq {
            self.listen();
        }
        self.held = (oldest > self.acked_seq).then(|| Instant::now() + HOLD);
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
        let mut buffer = [0; 1024];
        // Exits when nothing more is to be read; the uplink's death is noticed elsewhere.
        while let Ok(read @ 1..) = rustix::io::read(socket, &mut buffer) {
            self.unread.extend_from_slice(&buffer[..read]);
            if read < buffer.len() {
                break;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    fn position(last_seq: u64) -> Position {
        Position { segment: 1, offset: last_seq * 100, last_seq }
    }

    /// What was rung for since the last call.
    fn heard(uplink: &mut UnixStream) -> Vec<u64> {
        let mut said = [0; 4096];
        let read = uplink.read(&mut said).unwrap_or(0);
        said[..read]
            .split(|&byte| byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .map(|news| match news {
                News::Spooled(position) => position.last_seq,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn connected() -> (Doorbell, UnixStream) {
        let (recorder, uplink) = UnixStream::pair().unwrap();
        recorder.set_nonblocking(true).unwrap();
        uplink.set_nonblocking(true).unwrap();
        let doorbell = Doorbell::default();
        doorbell.connect(Some(recorder.into()));
        (doorbell, uplink)
    }

    #[test]
    fn who_answers_in_time_hears_of_each_line() {
        let (doorbell, mut uplink) = connected();
        heard(&mut uplink);
        for seq in 1..100 {
            doorbell.announce(position(seq));
            assert_eq!(heard(&mut uplink), [seq]);
            // As late as answers are kept back.
            let answer = crate::control::line(&Answer::Acked(seq.saturating_sub(FEW as u64 - 2)));
            uplink.write_all(&answer).unwrap();
            assert_eq!(doorbell.due(), None);
        }
    }

    #[test]
    fn who_is_behind_hears_of_many_lines_at_once_and_of_the_last_one() {
        let (doorbell, mut uplink) = connected();
        heard(&mut uplink);
        let first: Vec<u64> = (1..=FEW as u64).collect();
        for &seq in &first {
            doorbell.announce(position(seq));
        }
        assert_eq!(heard(&mut uplink), first);
        for seq in FEW as u64 + 1..=30 {
            doorbell.announce(position(seq));
        }
        // As who records does.
        while let Some(due) = doorbell.due() {
            crate::clock::pause(due.saturating_duration_since(Instant::now()));
            doorbell.announce(position(30));
        }
        let rings = heard(&mut uplink);
        assert!(rings.len() < 10 && rings.last() == Some(&30), "{rings:?}");
        // What it was behind with is answered.
        uplink.write_all(&crate::control::line(&Answer::Acked(30))).unwrap();
        crate::clock::pause(HOLD);
        for seq in 31..=40 {
            doorbell.announce(position(seq));
            uplink.write_all(&crate::control::line(&Answer::Acked(seq))).unwrap();
        }
        assert_eq!(heard(&mut uplink), (31..=40).collect::<Vec<u64>>());
    }

    #[test]
    fn the_end_is_not_held_back() {
        let (doorbell, mut uplink) = connected();
        for seq in 1..=9 {
            doorbell.announce(position(seq));
        }
        doorbell.ended();
        let mut said = String::new();
        let _ = uplink.read_to_string(&mut said);
        assert!(said.contains(r#""last_seq":9"#) && said.ends_with("\"ended\"\n"), "{said}");
    }
}
