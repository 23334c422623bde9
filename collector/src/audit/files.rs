//! What is kept of the trail beside the database: how far it is, and every checkpoint.

use deckport_protocol::console::Checkpoint;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Where they stand in a data directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) head: PathBuf,
    pub(super) checkpoints: PathBuf,
}

/// The lines of a file of checkpoints.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// With the number of the line, from 1.
    pub(super) checkpoints: Vec<(usize, Checkpoint)>,
    /// Lines that are no checkpoints.
    pub(super) other: Vec<usize>,
}

impl Files {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self { head: data_dir.join("audit.head"), checkpoints: data_dir.join("audit.checkpoints") }
    }

    /// How far the trail was; none where it was never said.
    pub(super) fn head(&self) -> io::Result<Option<Checkpoint>> {
        match std::fs::read_to_string(&self.head) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn put_head(&self, head: &Checkpoint) -> io::Result<()> {
        let text = serde_json::to_string(head).map_err(io::Error::other)?;
        crate::store::put_private(&self.head, &format!("{text}\n"))
    }

    pub(super) fn append(&self, checkpoints: &[Checkpoint]) -> io::Result<()> {
        if checkpoints.is_empty() {
            return Ok(());
        }
        let there = self.checkpoints.exists();
        let mut file =
            OpenOptions::new().create(true).append(true).mode(0o600).open(&self.checkpoints)?;
        let mut text = String::new();
        for checkpoint in checkpoints {
            text.push_str(&serde_json::to_string(checkpoint).map_err(io::Error::other)?);
            text.push('\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        match self.checkpoints.parent() {
            Some(dir) if !there => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// Takes away half a line, which a power cut may leave at the end.
    pub(super) fn mend(&self) -> io::Result<()> {
        let bytes = match std::fs::read(&self.checkpoints) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            OpenOptions::new().write(true).open(&self.checkpoints)?.set_len(whole as u64)?;
        }
        Ok(())
    }
}

/// Reads a file of checkpoints: the collector's, or a console's copy. Half a line at the end counts for nothing.
pub(super) fn lines(path: &Path) -> io::Result<Lines> {
    let bytes = std::fs::read(path)?;
    let mut lines = Lines::default();
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    for (at, line) in bytes[..whole].split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(checkpoint) => lines.checkpoints.push((at + 1, checkpoint)),
            Err(_) => lines.other.push(at + 1),
        }
    }
    Ok(lines)
}
