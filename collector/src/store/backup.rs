//! A copy of the database in the data directory, taken while a collector writes to it.
//!
//! SQLite copies what one reader sees, page by page and without what is no longer used, into a new file. The collector goes on
//! meanwhile; its write-ahead log grows until the copy is complete. What was acknowledged before the copy began is in it.
//!
//! What must hold: `to` appears only when all of it is on the disk and can be read; until then it is `to` with `.part` added.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is no collector's database in {0}")]
    Nothing(PathBuf),
    #[error("{0} is there already; a backup replaces nothing")]
    Exists(PathBuf),
    #[error("{path} cannot be written")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} cannot be copied to {}", from.display(), to.display())]
    Copy { from: PathBuf, to: PathBuf, source: sqlx::Error },
    #[error(
        "the copy is not whole: {0}; is the disk sound? `store check` says what is wrong with the original"
    )]
    Damaged(String),
}

/// Copies the database of `data_dir` to the file `to`, which must not be there. How large it is, in bytes.
pub async fn backup(data_dir: &Path, to: &Path) -> Result<u64, BackupError> {
    let from = data_dir.join("collector.db");
    if !from.is_file() {
        return Err(BackupError::Nothing(data_dir.to_owned()));
    }
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let copied = copy(&from, &part).await.and_then(|bytes| {
        put(&part, to)?;
        Ok(bytes)
    });
    if copied.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    copied
}

/// Copies the database `from` to the file `part`, which is read once and is on the disk when this returns. How large it is.
pub(super) async fn copy(from: &Path, part: &Path) -> Result<u64, BackupError> {
    let file = |source| BackupError::File { path: part.to_owned(), source };
    let failed = |source| BackupError::Copy { from: from.to_owned(), to: part.to_owned(), source };
    // What an earlier one left that was cut off. The new one is its owner's alone, as the database is.
    if part.exists() {
        std::fs::remove_file(part).map_err(file)?;
    }
    private(part).map_err(file)?;
    let mut database = open(from).await.map_err(failed)?;
    // Of a former version's file, too, what is made is one that can give space back.
    let mode: i64 =
        sqlx::query_scalar("pragma auto_vacuum").fetch_one(&mut database).await.map_err(failed)?;
    if mode == 0 {
        let set = sqlx::query("pragma auto_vacuum = incremental").execute(&mut database);
        set.await.map_err(failed)?;
    }
    let name = part.to_string_lossy().into_owned();
    sqlx::query("vacuum into $1").bind(name).execute(&mut database).await.map_err(failed)?;
    database.close().await.map_err(failed)?;

    let mut copy = open(part).await.map_err(failed)?;
    let said: Vec<String> =
        sqlx::query_scalar("pragma quick_check(1)").fetch_all(&mut copy).await.map_err(failed)?;
    copy.close().await.map_err(failed)?;
    if said != ["ok"] {
        return Err(BackupError::Damaged(said.join("; ")));
    }
    let written = File::open(part).map_err(file)?;
    written.sync_all().map_err(file)?;
    Ok(written.metadata().map_err(file)?.len())
}

/// Gives what is complete its name.
pub(super) fn put(part: &Path, to: &Path) -> Result<(), BackupError> {
    let file = |source| BackupError::File { path: to.to_owned(), source };
    std::fs::rename(part, to).map_err(file)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(file)
}

/// An empty file that only its owner may read; SQLite fills it.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

pub(super) async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(30))
        .log_statements(tracing::log::LevelFilter::Off)
        .connect()
        .await
}
