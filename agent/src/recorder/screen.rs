//! Passes output on to the agent's own standard output, without ever blocking where that can be had.
//!
//! A slow terminal slows the command down, as it does without us: [`Screen::has_room`] says when the
//! recorder should read more. When standard output is gone, output is only recorded.
//!
//! A terminal or a pipe is opened a second time, since whether writing blocks belongs to the open description, which
//! the operator's shell shares. Files and devices that are no terminals take what they are given.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::net::SendFlags;
use rustix::termios::isatty;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Bytes that wait at most (plus one read).
const ROOM: usize = 256 * 1024;
/// What cannot be opened again (a terminal of another mount namespace) gets so much at once: a pipe that is ready takes it
/// without blocking.
const PORTION: usize = 4096;

#[derive(Debug)]
enum Output {
    /// Never blocks.
    Free(OwnedFd),
    Socket(OwnedFd),
    /// May block when it is given more than a portion.
    Shared(OwnedFd),
    Gone,
}

/// The agent's standard output.
#[derive(Debug)]
pub(super) struct Screen {
    output: Output,
    waiting: Vec<u8>,
}

impl Screen {
    pub(super) fn start() -> io::Result<Self> {
        Self::of(io::stdout().as_fd().try_clone_to_owned()?)
    }

    fn of(stdout: OwnedFd) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(fstat(&stdout)?.st_mode);
        let terminal = isatty(&stdout);
        let output = if kind == FileType::Socket {
            Output::Socket(stdout)
        } else if terminal || kind == FileType::Fifo {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&stdout));
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            open(path, flags, Mode::empty()).map_or(Output::Shared(stdout), Output::Free)
        } else {
            Output::Free(stdout)
        };
        Ok(Self { output, waiting: Vec::new() })
    }

    pub(super) fn show(&mut self, bytes: &[u8]) {
        if matches!(self.output, Output::Gone) {
            return;
        }
        let shown = if self.waiting.is_empty() { self.write(bytes) } else { 0 };
        if !matches!(self.output, Output::Gone) {
            self.waiting.extend_from_slice(&bytes[shown..]);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ROOM
    }

    /// To be watched for writing while something waits.
    pub(super) fn watched(&self) -> Option<BorrowedFd<'_>> {
        if self.waiting.is_empty() {
            return None;
        }
        match &self.output {
            Output::Free(fd) | Output::Socket(fd) | Output::Shared(fd) => Some(fd.as_fd()),
            Output::Gone => None,
        }
    }

    /// Shows more of what waits.
    pub(super) fn go_on(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let shown = self.write(&waiting);
        if !matches!(self.output, Output::Gone) {
            self.waiting = waiting;
            self.waiting.drain(..shown);
        }
    }

    /// Waits until everything is shown.
    pub(super) fn finish(mut self) {
        // Exits when nothing waits any more, or there is nobody to show it to.
        while let Some(fd) = self.watched() {
            let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None);
            self.go_on();
        }
    }

    /// Writes as much as is taken at once.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut shown = 0;
        // Exits when all is written, or no more is taken now, or ever.
        while shown < bytes.len() {
            let rest = &bytes[shown..];
            let result = match &self.output {
                Output::Free(fd) => rustix::io::write(fd, rest),
                Output::Socket(fd) => {
                    rustix::net::send(fd, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                }
                Output::Shared(fd) => {
                    let mut ready = [PollFd::new(fd, PollFlags::OUT)];
                    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                    if matches!(poll(&mut ready, Some(&now)), Ok(1)) {
                        rustix::io::write(fd, &rest[..rest.len().min(PORTION)])
                    } else {
                        Err(rustix::io::Errno::AGAIN)
                    }
                }
                Output::Gone => return shown,
            };
            match result {
                Ok(written) => shown += written,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return shown,
                Err(_) => self.output = Output::Gone,
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read as _, Seek as _};

    #[test]
    fn a_pipe_that_nobody_reads_does_not_block_and_loses_nothing() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut screen = Screen::of(writer.into()).unwrap();
        let text: Vec<u8> = (0..400_000u32).map(|n| n as u8).collect();
        screen.show(&text);
        assert!(!screen.has_room());
        let taken = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        });
        screen.finish();
        assert_eq!(taken.join().unwrap(), text);
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_showing_only() {
        let (reader, writer) = io::pipe().unwrap();
        let mut screen = Screen::of(writer.into()).unwrap();
        drop(reader);
        screen.show(b"to nobody");
        screen.show(b"nor this");
        assert!(screen.has_room() && screen.watched().is_none());
        screen.finish();
    }

    #[test]
    fn a_file_keeps_its_place() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"before ").unwrap();
        let mut screen = Screen::of(file.try_clone().unwrap().into()).unwrap();
        screen.show(b"shown");
        screen.finish();
        let mut all = String::new();
        file.rewind().unwrap();
        File::read_to_string(&mut file, &mut all).unwrap();
        assert_eq!(all, "before shown");
    }
}
