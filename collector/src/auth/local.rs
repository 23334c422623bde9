//! The local token: whoever can read the data directory is an admin of this collector.

use super::files;
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Fewer letters can be guessed.
const SHORTEST: usize = 32;

/// Why the token could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the token file {path} cannot be used")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the token file {path} holds no token")]
    Empty { path: PathBuf },
    #[error(
        "others on this machine can write into {path}, so its token may be theirs: delete it, and the next start makes another"
    )]
    Open { path: PathBuf },
    #[error(
        "the token in {path} is too short to be one: delete it, and the next start makes another"
    )]
    Weak { path: PathBuf },
    #[error("the system gave no random bytes")]
    Random,
}

/// See the module.
pub struct LocalToken {
    token: String,
    digest: [u8; 32],
}

impl std::fmt::Debug for LocalToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalToken")
    }
}

impl LocalToken {
    /// Reads the token from `path`, or makes one there (mode 0600) at the first start.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File { path: path.to_owned(), source };
        let token = match std::fs::read_to_string(path) {
            Ok(token) => {
                let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
                if mode & 0o022 != 0 {
                    return Err(TokenError::Open { path: path.to_owned() });
                }
                if mode & 0o007 != 0 {
                    tracing::warn!(
                        path = %path.display(),
                        "everybody on this machine could read the token; now only its owner can. If somebody may have, delete it and start again"
                    );
                    let own = std::fs::Permissions::from_mode(0o600);
                    std::fs::set_permissions(path, own).map_err(failed)?;
                }
                token.trim().to_owned()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let token = super::random_token().ok_or(TokenError::Random)?;
                files::put(path, &format!("{token}\n")).map_err(failed)?;
                token
            }
            Err(error) => return Err(failed(error)),
        };
        if token.is_empty() {
            return Err(TokenError::Empty { path: path.to_owned() });
        }
        if token.len() < SHORTEST {
            return Err(TokenError::Weak { path: path.to_owned() });
        }
        let digest = Sha256::digest(&token).into();
        Ok(Self { token, digest })
    }

    /// The token itself.
    pub fn as_str(&self) -> &str {
        &self.token
    }

    /// Digests are compared, so the time tells nothing of where two tokens differ.
    pub fn is(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.digest.iter().zip(given).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = LocalToken::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(LocalToken::open(&path).unwrap().as_str(), token.as_str());
        assert_eq!(token.as_str().len(), 43);
        assert!(token.is(token.as_str()));
        assert!(!token.is(&token.as_str()[..42]) && !token.is(""));
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(LocalToken::open(&path), Err(TokenError::Empty { .. })));
        std::fs::write(&path, "hunter2\n").unwrap();
        assert!(matches!(LocalToken::open(&path), Err(TokenError::Weak { .. })));
        std::fs::write(&path, "x".repeat(43)).unwrap();
        let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        allow(0o644).unwrap();
        assert!(LocalToken::open(&path).is_ok());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        allow(0o666).unwrap();
        assert!(matches!(LocalToken::open(&path), Err(TokenError::Open { .. })));
    }
}
