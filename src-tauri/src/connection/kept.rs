//! Remote connections from one start to the next.
//!
//! `DIR/connections.json` says which there are; `DIR/sessions.json` holds what the operator is known by at each. Both are readable
//! by their owner only and replaced whole, so that a crash leaves the old ones or the new ones.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A remote connection as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) name: String,
    /// With the pin: `https://HOST:PORT#sha256//…`.
    pub(crate) address: String,
    pub(crate) login: String,
}

/// They could not be read or stored.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be used")]
pub(crate) struct KeptError {
    path: PathBuf,
    source: std::io::Error,
}

/// The files.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    root: PathBuf,
}

impl Shelf {
    pub(crate) fn at(root: &Path) -> Shelf {
        Shelf { root: root.to_owned() }
    }

    fn connections(&self) -> PathBuf {
        self.root.join("connections.json")
    }

    fn sessions(&self) -> PathBuf {
        self.root.join("sessions.json")
    }

    /// What is kept, each with its session. What cannot be read is told in the log and left as it is.
    pub(crate) fn read(&self) -> Vec<(Kept, Option<String>)> {
        let kept: Vec<Kept> = read(&self.connections());
        let mut sessions: BTreeMap<String, String> = read(&self.sessions());
        kept.into_iter()
            .map(|kept| {
                let session = sessions.remove(&kept.id);
                (kept, session)
            })
            .collect()
    }

    /// Keeps these instead of what was kept.
    pub(crate) fn write(&self, all: &[(Kept, Option<String>)]) -> Result<(), KeptError> {
        let kept: Vec<&Kept> = all.iter().map(|(kept, _)| kept).collect();
        let session = |(kept, session): &(Kept, Option<String>)| {
            session.as_ref().map(|session| (kept.id.clone(), session.clone()))
        };
        let sessions: BTreeMap<String, String> = all.iter().filter_map(session).collect();
        write(&self.sessions(), &sessions)?;
        write(&self.connections(), &kept)
    }
}

fn read<T: for<'de> Deserialize<'de> + Default>(path: &Path) -> T {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return T::default(),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "remote connections cannot be read");
            return T::default();
        }
    };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "remote connections cannot be read");
        T::default()
    })
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), KeptError> {
    let failed = |source| KeptError { path: path.to_owned(), source };
    let new = path.with_extension("new");
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    let mut options = std::fs::File::options();
    let file = options.create(true).truncate(true).write(true).mode(0o600).open(&new);
    let mut file = file.map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_kept_comes_back_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::at(dir.path());
        assert!(shelf.read().is_empty());
        let kept = Kept {
            id: "r1".into(),
            name: "Headquarters".into(),
            address: "https://hq:7443#sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into(),
            login: "ada".into(),
        };
        let all = vec![
            (kept.clone(), Some("dps_secret".to_owned())),
            (Kept { id: "r2".into(), ..kept }, None),
        ];
        shelf.write(&all).unwrap();
        assert_eq!(shelf.read(), all);
        for file in [shelf.connections(), shelf.sessions()] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!std::fs::read_to_string(shelf.connections()).unwrap().contains("dps_secret"));
        std::fs::write(shelf.connections(), "half").unwrap();
        assert!(shelf.read().is_empty());
    }
}
