//! Remote connections from one start to the next.
//!
//! `DIR/connections.json` says which there are. What the operator is known by at each is in the desktop's keyring
//! ([`super::keyring`]), or, where that cannot be used, in `DIR/sessions.json`. Both files are readable by their owner only and
//! replaced whole, so that a crash leaves the old ones or the new ones.
//!
//! What must hold: a session is in one of the two until the connection goes. So one is taken out of the file only after the keyring has
//! given it back, `connections.json` is written before `sessions.json`, and where both have one, the file's counts: it is the
//! newer one, or the same.

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
    /// Its session is in the keyring, unless the file has one.
    #[serde(default)]
    pub(crate) in_keyring: bool,
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

    /// The file that holds sessions while the keyring does not.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.root.join("sessions.json")
    }

    /// What is kept, each with its session if that is in the file. What cannot be read is told in the log and left as it is;
    /// `None`: it is not known which connections there are.
    pub(crate) fn read(&self) -> Option<Vec<(Kept, Option<String>)>> {
        let kept: Vec<Kept> = read(&self.connections())?;
        let mut sessions: BTreeMap<String, String> = read(&self.sessions()).unwrap_or_default();
        let with_session = |kept: Kept| {
            let session = sessions.remove(&kept.id);
            (kept, session)
        };
        Some(kept.into_iter().map(with_session).collect())
    }

    /// Keeps these instead of what was kept, with the sessions that are not in the keyring.
    pub(crate) fn write(&self, all: &[(Kept, Option<String>)]) -> Result<(), KeptError> {
        let kept: Vec<&Kept> = all.iter().map(|(kept, _)| kept).collect();
        let session = |(kept, session): &(Kept, Option<String>)| {
            let session = session.as_ref().filter(|_| !kept.in_keyring);
            session.map(|session| (kept.id.clone(), session.clone()))
        };
        let sessions: BTreeMap<String, String> = all.iter().filter_map(session).collect();
        write(&self.connections(), &kept)?;
        write(&self.sessions(), &sessions)
    }
}

fn read<T: for<'de> Deserialize<'de> + Default>(path: &Path) -> Option<T> {
    let read = match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::from),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error),
    };
    read.inspect_err(|error| {
        tracing::warn!(%error, path = %path.display(), "remote connections cannot be read");
    })
    .ok()
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
        assert_eq!(shelf.read(), Some(vec![]));
        let kept = Kept {
            id: "r1".into(),
            name: "Headquarters".into(),
            address: "https://hq:7443#sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into(),
            login: "ada".into(),
            in_keyring: false,
        };
        let all = vec![
            (kept.clone(), Some("dps_secret".to_owned())),
            (Kept { id: "r2".into(), ..kept }, None),
        ];
        shelf.write(&all).unwrap();
        assert_eq!(shelf.read().as_ref(), Some(&all));
        for file in [shelf.connections(), shelf.sessions()] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!std::fs::read_to_string(shelf.connections()).unwrap().contains("dps_secret"));
        let moved = Kept { in_keyring: true, ..all[0].0.clone() };
        shelf.write(&[(moved.clone(), Some("dps_secret".to_owned()))]).unwrap();
        assert_eq!(shelf.read(), Some(vec![(moved, None)]));
        assert!(!std::fs::read_to_string(shelf.sessions()).unwrap().contains("dps_secret"));
        std::fs::write(shelf.connections(), "half").unwrap();
        assert_eq!(shelf.read(), None);
    }
}
