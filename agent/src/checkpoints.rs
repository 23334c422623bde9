//! Checkpoints of the collector's audit trail, kept where whoever controls the collector's machine cannot reach them.
//!
//! `STATE/audit.checkpoints`: a line of JSON each, as the collector signed them, the last [`KEPT`] of them. To look whether the trail
//! still is what it was, the file is carried to the collector: `deckport-collector audit verify --data DIR --checkpoints FILE`.

use deckport_protocol::console::Checkpoint;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Lines that are kept.
const KEPT: usize = 1000;
/// A line longer than this is none of a collector's.
const LINE_BYTES: usize = 1024;

/// Keeps one, unless it is the last one already. Gives back the last one where the trail has become shorter since.
pub(crate) fn keep(state: &Path, checkpoint: &Checkpoint) -> io::Result<Option<Checkpoint>> {
    let path = state.join("audit.checkpoints");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    // Half a line, which a power cut may have left, goes.
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let last: Option<Checkpoint> =
        whole.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    if last.as_ref() == Some(checkpoint) {
        return Ok(None);
    }
    let line = serde_json::to_string(checkpoint).map_err(io::Error::other)?;
    if line.len() > LINE_BYTES {
        return Err(io::Error::other("it is longer than a checkpoint is"));
    }
    let lines: Vec<&str> = whole.lines().collect();
    if lines.len() < KEPT && whole.len() == text.len() {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()?;
    } else {
        let kept = &lines[(lines.len() + 1).saturating_sub(KEPT)..];
        let new = path.with_extension("checkpoints.new");
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        for line in kept.iter().chain([&line.as_str()]) {
            file.write_all(line.as_bytes())?;
            file.write_all(b"\n")?;
        }
        file.sync_data()?;
        std::fs::rename(&new, &path)?;
        File::open(state)?.sync_all()?;
    }
    Ok(last.filter(|last| last.position > checkpoint.position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use deckport_protocol::Pin;

    fn checkpoint(position: u64) -> Checkpoint {
        let hash = "0".repeat(64);
        let key = Pin::of_key(b"key");
        Checkpoint { position, hash, at: 1, signature: "MEUCIQ==".to_owned(), key }
    }

    #[test]
    fn the_last_thousand_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.checkpoints");
        for position in 1..=1005 {
            assert_eq!(keep(dir.path(), &checkpoint(position)).unwrap(), None);
            assert_eq!(keep(dir.path(), &checkpoint(position)).unwrap(), None, "once is enough");
        }
        let kept: Vec<u64> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Checkpoint>(line).unwrap().position)
            .collect();
        assert_eq!(kept, (6..=1005).collect::<Vec<_>>());
        // A trail that was put back.
        let former = keep(dir.path(), &checkpoint(7)).unwrap().unwrap();
        assert_eq!(former.position, 1005);
    }

    #[test]
    fn half_a_line_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.checkpoints");
        keep(dir.path(), &checkpoint(1)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{}", &text[..20])).unwrap();
        keep(dir.path(), &checkpoint(2)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
