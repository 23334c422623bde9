//! The spool: a run's records on the console's own disk, until the collector has them.
//!
//! A spool is a directory of segments `00000001.seg`, `00000002.seg` …, each a sequence of entries
//!
//! ```text
//! length of the frame u32 | CRC-32 of the frame u32 | frame (columns encoding, uncompressed)
//! ```
//!
//! with integers little-endian, and behind the last one zeros: space that was taken ahead, so that a sync has only data to
//! bring to the disk and no new length. What must hold:
//!
//! * what lies before a [`Position`] that the [`Writer`] returned stays as it is, and may be sent: a sequence number is
//!   never sent with one content and used again with another, as long as this machine runs. What was synced
//!   survives a power cut as well. What was sent and not synced may be lost by one: then the collector may have more than
//!   the spool, and whoever ends the run asks it first ([`crate::uplink`]);
//! * nothing torn is accepted: an entry counts only if its CRC and its frame are right;
//! * at the limit output is left out and counted in one `gap` record, while events, which have a
//!   reserve, are kept. The same happens when the disk is full.
//!
//! Failure modes: a torn end (power cut) is cut off when the spool is next opened for writing; a
//! damaged middle (a power cut, a bad disk) is skipped by the [`Reader`] and reported as a `gap` in its range; a
//! failed write is undone before anything else is written; after a failed sync nobody knows what a power cut would leave, and
//! the next reader finds out.

mod reader;
mod writer;

pub use reader::{Batch, Reader};
pub use writer::{Item, Recovered, Unsynced, Writer};

use deckport_protocol::columns::Header;
use std::path::{Path, PathBuf};

/// A place in the spool, and the last sequence number before it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
    pub last_seq: u64,
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("could not {what} {path}")]
    Disk { what: &'static str, path: PathBuf, source: std::io::Error },
}

impl SpoolError {
    fn disk(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Disk { what, path: path.to_owned(), source }
    }
}

/// Bytes before each entry's frame.
const ENTRY_HEAD: usize = 8;
/// No entry is larger; a greater length is damage.
const ENTRY_LIMIT: usize = 4 * 1024 * 1024;
/// Records in one entry.
const ENTRY_RECORDS: usize = 64;
/// So much space is taken at once behind the last entry.
const AHEAD_BYTES: u64 = 128 * 1024;
/// Of that, so much is for events alone.
const RESERVE_BYTES: u64 = 32 * 1024;
/// A segment that has grown to this size is followed by a new one.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// The numbers of the segments among `names`, ascending.
fn segment_numbers(names: &[String]) -> Vec<u64> {
    let number = |name: &String| name.strip_suffix(".seg")?.parse().ok();
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The segments in `dir`, ascending.
pub fn segments(disk: &impl crate::disk::Disk, dir: &Path) -> Result<Vec<u64>, SpoolError> {
    Ok(segment_numbers(&disk.list(dir).map_err(SpoolError::disk("list", dir))?))
}

/// What stands at some place of a segment.
enum Entry {
    /// A whole entry: where its frame lies, and its header.
    Whole {
        frame: std::ops::Range<usize>,
        header: Header,
    },
    /// Nothing that could be accepted.
    Damaged,
    End,
}

/// Reads the entry at `at`.
fn entry_at(content: &[u8], at: usize) -> Entry {
    let rest = &content[at.min(content.len())..];
    if rest.is_empty() {
        return Entry::End;
    }
    if rest[0] == 0 && rest.iter().all(|&byte| byte == 0) {
        // Space that was taken ahead.
        return Entry::End;
    }
    let Some((head, rest)) = rest.split_first_chunk::<ENTRY_HEAD>() else {
        return Entry::Damaged;
    };
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let check = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length == 0 || length > ENTRY_LIMIT || length > rest.len() {
        return Entry::Damaged;
    }
    if crc32fast::hash(&rest[..length]) != check {
        return Entry::Damaged;
    }
    match Header::read(&rest[..length]) {
        Ok(header) => {
            let begin = at + ENTRY_HEAD;
            Entry::Whole { frame: begin..begin + length, header }
        }
        Err(_) => Entry::Damaged,
    }
}

/// The next place after damage at `at` where a whole entry stands.
fn resync(content: &[u8], at: usize) -> Option<usize> {
    // A frame begins with DC 50; its entry's head stands before it.
    memchr::memmem::find_iter(&content[at.min(content.len())..], &[0xDC, 0x50, 0x01])
        .filter_map(|found| (at + found).checked_sub(ENTRY_HEAD))
        .find(|&begin| begin > at && matches!(entry_at(content, begin), Entry::Whole { .. }))
}
