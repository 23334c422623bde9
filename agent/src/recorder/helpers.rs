//! Those who are connected to the control socket: the script's helpers and the stage.

use crate::control::{LINE_BYTES, Reply, Request, line};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// More than so many at a time are turned away.
const HELPERS: usize = 64;

#[derive(Debug)]
struct Helper {
    socket: UnixStream,
    unread: Vec<u8>,
    open: bool,
}

/// The listener and its connections.
#[derive(Debug)]
pub(super) struct Helpers {
    listener: UnixListener,
    connected: Vec<Helper>,
}

impl Helpers {
    pub(super) fn new(listener: UnixListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connected: Vec::new() })
    }

    /// What to watch for reading: the listener, then each connection.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd())
            .chain(self.connected.iter().map(|helper| helper.socket.as_fd()))
    }

    /// Takes new connections and reads what has come: who asks, and what.
    pub(super) fn read(&mut self) -> Vec<(usize, Request)> {
        while let Ok((socket, _)) = self.listener.accept() {
            if self.connected.len() < HELPERS && socket.set_nonblocking(true).is_ok() {
                self.connected.push(Helper { socket, unread: Vec::new(), open: true });
            }
        }
        let mut requests = Vec::new();
        for (who, helper) in self.connected.iter_mut().enumerate() {
            helper.read();
            while let Some(feed) = memchr::memchr(b'\n', &helper.unread) {
                let line: Vec<u8> = helper.unread.drain(..=feed).collect();
                match serde_json::from_slice(&line) {
                    Ok(request) => requests.push((who, request)),
                    Err(error) => helper.answer(&Reply {
                        ok: false,
                        message: format!("the recorder did not understand: {error}"),
                    }),
                }
            }
        }
        requests
    }

    pub(super) fn answer(&mut self, who: usize, reply: &Reply) {
        if let Some(helper) = self.connected.get_mut(who) {
            helper.answer(reply);
        }
    }

    /// Forgets those who are gone. (Not while answers are owed: places shift.)
    pub(super) fn tidy(&mut self) {
        self.connected.retain(|helper| helper.open);
    }
}

impl Helper {
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        // Exits when nothing more has come.
        while self.open {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.open = false,
            }
            if self.unread.len() > LINE_BYTES {
                self.open = false;
            }
        }
    }

    fn answer(&mut self, reply: &Reply) {
        // A helper reads its one answer; one that does not is its own fault.
        if self.socket.write_all(&line(reply)).is_err() {
            self.open = false;
        }
    }
}
