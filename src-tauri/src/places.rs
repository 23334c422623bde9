//! Where this instance keeps its things.
//!
//! One directory holds everything: the collector's data, preferences, log, and what the webview remembers. The usual
//! one is the desktop's data directory for this app; `--data DIR` names another, and that is another instance with
//! its own window, tray icon and single-instance lock ([`Places::instance`]).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The identifier of the app; the same as in `tauri.conf.json`.
pub(crate) const IDENTIFIER: &str = "dev.deckport.controlcenter";

#[derive(Debug, Clone)]
pub(crate) struct Places {
    root: PathBuf,
    instance: String,
}

impl Places {
    /// Settles the places and makes their directories (mode 0700: logs of installations can hold private things).
    ///
    /// `usual` is the desktop's data directory for this app, used without `chosen`.
    pub(crate) fn settle(chosen: Option<&Path>, usual: Option<PathBuf>) -> Result<Places> {
        let places = match chosen {
            Some(chosen) => {
                make_private(chosen)?;
                let root = chosen
                    .canonicalize()
                    .with_context(|| format!("cannot use {}", chosen.display()))?;
                let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
                // A D-Bus name's element must not begin with a digit.
                let short = digest
                    .iter()
                    .take(6)
                    .fold(String::from("i"), |text, byte| format!("{text}{byte:02x}"));
                Places { root, instance: format!("{IDENTIFIER}.{short}") }
            }
            None => {
                let root = usual
                    .context("this desktop names no data directory; give one with --data DIR")?;
                make_private(&root)?;
                Places { root, instance: IDENTIFIER.to_owned() }
            }
        };
        for folder in [places.collector(), places.logs(), places.webview()] {
            make_private(&folder)?;
        }
        Ok(places)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The embedded collector's data; its token for consoles is the file `token` inside.
    pub(crate) fn collector(&self) -> PathBuf {
        self.root.join("collector")
    }

    /// The app's own log, and reports of crashes.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn preferences(&self) -> PathBuf {
        self.root.join("preferences.json")
    }

    pub(crate) fn window_state(&self) -> PathBuf {
        self.root.join("window-state.json")
    }

    /// What the webview keeps between starts (theme, panel widths).
    pub(crate) fn webview(&self) -> PathBuf {
        self.root.join("webview")
    }

    /// The name under which a second start finds this instance.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }
}

fn make_private(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .with_context(|| format!("cannot make the directory {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_is_an_instance_of_its_own() {
        let first = tempfile::tempdir().unwrap();
        let second = tempfile::tempdir().unwrap();
        let one = Places::settle(Some(first.path()), None).unwrap();
        let same = Places::settle(Some(&first.path().join(".")), None).unwrap();
        let other = Places::settle(Some(second.path()), None).unwrap();
        assert_eq!(one.instance(), same.instance());
        assert_ne!(one.instance(), other.instance());
        assert!(one.collector().is_dir() && one.logs().is_dir());
        for element in one.instance().split('.') {
            assert!(element.chars().next().is_some_and(|c| c.is_ascii_alphabetic()), "{element}");
        }
    }

    #[test]
    fn without_any_directory_it_says_what_to_do() {
        let error = Places::settle(None, None).unwrap_err();
        assert!(error.to_string().contains("--data DIR"), "{error}");
    }
}
