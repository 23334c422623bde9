//! Reads what an agent keeps on disk, by the format's description and not with the agent's code.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use deckport_protocol::{BodyRef, Frame, Limits};
use std::path::Path;

/// The whole of a spool.
#[derive(Clone, Debug, Default)]
pub struct Spooled {
    /// 0: nothing.
    pub first_seq: u64,
    pub last_seq: u64,
    /// All output, in order.
    pub output: Vec<u8>,
    /// The events' JSON, with their sequence numbers.
    pub events: Vec<(u64, String)>,
}

/// Reads every whole entry of a run's directory, in order. A torn end is left out; a hole is an error.
pub fn read(run: &Path) -> Result<Spooled> {
    let mut segments: Vec<_> = std::fs::read_dir(run)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    segments.sort();
    let limits = Limits {
        message_bytes: usize::MAX,
        body_bytes: usize::MAX,
        records: usize::MAX,
        ..Limits::default()
    };
    let mut spooled = Spooled::default();
    for path in segments {
        let content = Bytes::from(std::fs::read(&path)?);
        let mut at = 0;
        while let Some(head) = content.get(at..at + 8) {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let Some(end) = (at + 8).checked_add(length).filter(|&end| end <= content.len()) else {
                break;
            };
            let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            if crc32fast::hash(&content[at + 8..end]) != sum {
                break;
            }
            let Ok(frame) = Frame::decode(&content.slice(at + 8..end), &limits) else { break };
            if spooled.last_seq != 0 && frame.first_seq() != spooled.last_seq + 1 {
                bail!("{} jumps to {}", path.display(), frame.first_seq());
            }
            if spooled.first_seq == 0 {
                spooled.first_seq = frame.first_seq();
            }
            for record in frame.records() {
                match record.body {
                    BodyRef::Output { bytes, .. } => spooled.output.extend_from_slice(bytes),
                    BodyRef::Event(text) => spooled.events.push((record.seq, text.to_owned())),
                }
            }
            spooled.last_seq = frame.last_seq();
            at = end;
        }
    }
    Ok(spooled)
}

/// Whether `needle` stands in any file below `dir`.
pub fn holds(dir: &Path, needle: &[u8]) -> Result<bool> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let kind = std::fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            if holds(&path, needle)? {
                return Ok(true);
            }
        } else if kind.is_file() && crate::api::find(&std::fs::read(&path)?, needle).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
