//! Making the database in the data directory anew, without what is no longer used, while no collector runs.
//!
//! What must hold: until the new file is complete, read once and on the disk, the old one is the database; then the new one takes its
//! name. So there must be space for both. What is in the write-ahead log is folded into the old one first: a log that is left would be
//! taken for the new one's.

use super::backup::{BackupError, copy, open, put};
use super::{OpenError, lock};
use sqlx::Connection as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why the database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error("stop the collector first")]
    Running(#[source] OpenError),
    #[error(transparent)]
    Copy(#[from] BackupError),
    #[error("what was written last cannot be folded into {path}: a start of the collector does it")]
    Log { path: PathBuf, source: Option<sqlx::Error> },
    #[error("{path} cannot be replaced")]
    File { path: PathBuf, source: std::io::Error },
}

/// Bytes before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub before: u64,
    pub after: u64,
}

/// Makes the database of `data_dir` anew. Nobody else may have it open.
pub async fn compact(data_dir: &Path) -> Result<Compacted, CompactError> {
    let path = data_dir.join("collector.db");
    if !path.is_file() {
        return Err(BackupError::Nothing(data_dir.to_owned()).into());
    }
    // Until the end: nobody starts a collector meanwhile.
    let _lock = lock(data_dir).map_err(CompactError::Running)?;
    let wal = data_dir.join("collector.db-wal");
    let before = size(&path) + size(&wal);
    let failed = |source| CompactError::Log { path: path.clone(), source };
    let fold = async {
        let mut database = open(&path).await?;
        sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut database).await?;
        database.close().await
    };
    fold.await.map_err(|error| failed(Some(error)))?;

    let part = data_dir.join("collector.db.part");
    let made = copy(&path, &part).await.map_err(CompactError::from).and_then(|after| {
        if size(&wal) > 0 {
            return Err(failed(None));
        }
        like(&path, &part).map_err(|source| CompactError::File { path: path.clone(), source })?;
        put(&part, &path)?;
        Ok(after)
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    Ok(Compacted { before, after: made? })
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len())
}

/// Whoever may use the old file may use the new one, whoever makes it.
fn like(old: &Path, new: &Path) -> std::io::Result<()> {
    let (old, now) = (old.metadata()?, new.metadata()?);
    if (old.uid(), old.gid()) != (now.uid(), now.gid()) {
        std::os::unix::fs::chown(new, Some(old.uid()), Some(old.gid()))?;
    }
    std::fs::set_permissions(new, std::fs::Permissions::from_mode(old.permissions().mode()))
}
