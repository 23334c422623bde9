//! Durability in one place: every byte that must survive a power cut goes through a [`Disk`].
//!
//! What must hold: after [`Disk::sync`] returned, the file's content up to then survives a power
//! cut, and after [`Disk::sync_dir`] so do the names in a directory. Nothing else is promised: bytes
//! written and not synced may be lost in any part. Tests put a disk under the spool that really
//! drops and tears unsynced writes; [`RealDisk`] is the operating system's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// A file system, as far as the spool needs one.
pub trait Disk {
    /// An open file; a clone is the same one.
    type File: Clone;

    /// Creates a new file; fails if it exists.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file's content durable.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    fn truncate(&self, file: &Self::File, length: u64) -> io::Result<()>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The file's length in bytes, or `None` when there is no such file.
    fn length(&self, path: &Path) -> io::Result<Option<u64>>;
    /// Names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    type File = Arc<File>;

    fn create(&self, path: &Path) -> io::Result<Arc<File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).open(path).map(Arc::new)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<File>> {
        OpenOptions::new().read(true).write(true).open(path).map(Arc::new)
    }

    fn write_at(&self, file: &Arc<File>, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &Arc<File>) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn truncate(&self, file: &Arc<File>, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

/// Replaces a small file at once: a reader sees the old content or the new, never a part, also
/// after a power cut when `durable`.
pub fn replace(path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&temporary, path)?;
    if durable && let Some(dir) = path.parent() {
        RealDisk.sync_dir(dir)?;
    }
    Ok(())
}
