//! Where things are in the checkout, and where xtask puts what it makes: always under `target/` or `.demo/`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The repository's root, independent of the working directory: that of the checkout that cargo runs in, also where another one shares its
/// target directory and built this program.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|package| package.ends_with("xtask"))
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

pub(crate) fn ui() -> PathBuf {
    root().join("ui")
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(PathBuf::from(dir)))
}

/// A folder for logs and products of ours, made when asked for.
pub(crate) fn own(name: &str) -> Result<PathBuf> {
    let dir = target().join("xtask").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}
