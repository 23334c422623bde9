//! A command whose output the test itself writes, so that it knows every byte and when it came.

use crate::agent::Call;
use crate::wait::{LONG, eventually};
use anyhow::{Context as _, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat, open};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A named pipe, and `cat` at its other end.
#[derive(Debug)]
pub struct Feed {
    path: PathBuf,
    pipe: Option<File>,
    /// What a terminal shows of what was written: each line feed became CR LF.
    expected: Vec<u8>,
    lines: u64,
    label: String,
}

impl Feed {
    /// Makes the pipe `dir/LABEL.feed`.
    pub fn new(dir: &Path, label: &str) -> Result<Self> {
        let path = dir.join(format!("{label}.feed"));
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &path, FileType::Fifo, mode, 0).context("could not make a pipe")?;
        Ok(Self { path, pipe: None, expected: vec![], lines: 0, label: label.to_owned() })
    }

    /// The command that prints what is written here.
    pub fn command(&self) -> Call {
        Call::new("cat").arg(&self.path)
    }

    /// Writes the next `count` lines; each says whose it is and its number. Waits for the command to
    /// open the pipe, and while it does not read.
    pub fn lines(&mut self, count: u64) -> Result<()> {
        let mut text = String::new();
        for _ in 0..count {
            self.lines += 1;
            let number = self.lines;
            let tail = "unpacking a file of some length ".repeat((number % 4) as usize);
            text.push_str(&format!("{} line {number:08} {tail}.\n", self.label));
        }
        self.write(text.as_bytes())
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.pipe.is_none() {
            // Opening it blocks until somebody reads, perhaps for ever: ask without blocking.
            let pipe = eventually(LONG, "the command opens its pipe", || {
                open(&self.path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
                    .ok()
            })?;
            fcntl_setfl(&pipe, OFlags::empty())?;
            self.pipe = Some(pipe.into());
        }
        let pipe = self.pipe.as_mut().context("the pipe is open")?;
        pipe.write_all(bytes).context("the command does not read any more")?;
        for &byte in bytes {
            if byte == b'\n' {
                self.expected.push(b'\r');
            }
            self.expected.push(byte);
        }
        Ok(())
    }

    pub const fn count(&self) -> u64 {
        self.lines
    }

    /// What the recorder must have read when it has read everything.
    pub fn expected(&self) -> &[u8] {
        &self.expected
    }

    /// The command sees its end.
    pub fn close(&mut self) {
        self.pipe = None;
    }
}

/// Panics with the first difference, not with two megabytes.
pub fn assert_same(what: &str, got: &[u8], expected: &[u8]) {
    if got == expected {
        return;
    }
    let at = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let from = at.saturating_sub(80).min(bytes.len());
        String::from_utf8_lossy(&bytes[from..(at + 80).min(bytes.len())]).into_owned()
    };
    panic!(
        "{what}: {} bytes in place of {}, different from byte {at} on\n got: {:?}\n expected: {:?}",
        got.len(),
        expected.len(),
        around(got),
        around(expected)
    );
}
