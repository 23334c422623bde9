//! Small files beside the database that are nobody else's business.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Writes a file that its owner alone may read: beside it and moved there, so that a crash leaves no half of it.
pub fn put_private(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => std::fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Sees to it that only its owner writes into a collector's directory: whoever may could replace what lies in it. False where it is
/// everybody's, as `/tmp` is, or somebody else's, so that its rights are not the collector's to change.
pub(super) fn keep_others_out(dir: &Path) -> io::Result<bool> {
    const STICKY: u32 = 0o1000;
    let mode = std::fs::metadata(dir)?.permissions().mode();
    if mode & 0o022 == 0 {
        return Ok(true);
    }
    let own = dir.join("collector.db").exists() || std::fs::read_dir(dir)?.next().is_none();
    let everybodys = ["/tmp", "/var/tmp", "/dev/shm"].iter().any(|shared| dir == Path::new(shared));
    if everybodys || mode & STICKY != 0 && !own {
        return Ok(false);
    }
    let mode = if own { 0o700 } else { mode & 0o755 };
    match std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        set => set?,
    }
    tracing::warn!(dir = %dir.display(), "others could write into the data directory; now only its owner can");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_the_collectors_alone_or_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert!(keep_others_out(&at("read", 0o755)).unwrap());
        assert_eq!(mode(&at("read", 0o755)), 0o755, "what is in it is private anyway");
        let empty = at("empty", 0o777);
        assert!(keep_others_out(&empty).unwrap());
        assert_eq!(mode(&empty), 0o700);
        let mounted = at("mounted", 0o1777);
        assert!(keep_others_out(&mounted).unwrap(), "a disk of its own");
        assert_eq!(mode(&mounted), 0o700);
        let begun = at("begun", 0o775);
        std::fs::create_dir(begun.join("templates")).unwrap();
        assert!(keep_others_out(&begun).unwrap());
        assert_eq!(mode(&begun), 0o755);
        let shared = at("shared", 0o1777);
        std::fs::write(shared.join("somebody's"), "").unwrap();
        assert!(!keep_others_out(&shared).unwrap(), "as /tmp is");
        assert_eq!(mode(&shared), 0o1777);
        assert!(!keep_others_out(Path::new("/tmp")).unwrap());
    }
}
