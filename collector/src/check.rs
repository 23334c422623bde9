//! `store check`: is everything that is stored whole?

use crate::config::Config;
use crate::deployment::acknowledged;
use crate::log::{Checked, Log, LogError};
use crate::metrics::Metrics;
use crate::store::{OpenError, ReadError, Store};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why it could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("there is no collector's data in {0}")]
    Nothing(std::path::PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The deployment's id, or its stream where it has none; empty for what is of no one deployment.
    pub deployment: String,
    /// From this record on; 0 for the database as a whole.
    pub seq: u64,
    pub what: String,
    /// It was only derived, and was made anew.
    pub repaired: bool,
}

/// Reads all that is stored and tells what is wrong with it. Nobody else may have it open.
pub async fn check(
    config: &Config,
    repair: bool,
    mut tell: impl FnMut(&Problem),
) -> Result<Checked, CheckError> {
    let in_directory = matches!(config.database, crate::config::Database::InDirectory);
    if in_directory && !config.data_dir.join("collector.db").exists() {
        return Err(CheckError::Nothing(config.data_dir.clone()));
    }
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let _ends = stop.clone().drop_guard();
    let store = Store::open(config, Arc::new(Metrics::default()), &tasks, stop.clone()).await?;
    let store = Arc::new(store);
    for what in store.integrity().await? {
        tell(&Problem { deployment: String::new(), seq: 0, what, repaired: false });
    }
    let log = Log::open(Arc::clone(&store), config.bounds.tail_bytes).await?;
    let known = acknowledged(&store).await?;
    let heads: HashMap<_, _> = known.iter().map(|known| (known.stream, known.head)).collect();
    let checked = log
        .check(&heads, repair, |found| {
            let run = known.iter().find(|known| Some(known.stream) == found.stream);
            let deployment = match (run, found.stream) {
                (Some(run), _) => run.id.to_string(),
                (None, Some(stream)) => format!("stream {}", stream.0),
                (None, None) => String::new(),
            };
            tell(&Problem {
                deployment,
                seq: found.seq,
                what: found.what,
                repaired: found.repaired,
            });
        })
        .await?;
    drop(log);
    stop.cancel();
    tasks.close();
    store.close().await;
    tasks.wait().await;
    Ok(checked)
}
