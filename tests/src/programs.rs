//! Where the programs under test are.
//!
//! In order: the program's own variable (`DECKPORT_AGENT_BIN`, …, as `cargo xtask` sets it), the
//! folder `DECKPORT_BIN_DIR`, the folder that the running test was built into.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// `deckport-agent`.
pub fn agent() -> Result<PathBuf> {
    find("deckport-agent", "DECKPORT_AGENT_BIN")
}

/// The agent as one static file, as consoles get it: where `cargo xtask test` builds it.
pub fn static_agent() -> Result<PathBuf> {
    let path = root().join("target/static/x86_64-unknown-linux-gnu/debug/deckport-agent");
    if !path.is_file() {
        bail!("{} is missing; build it: cargo xtask test --only build", path.display());
    }
    Ok(path)
}

/// `deckport-collector`.
pub fn collector() -> Result<PathBuf> {
    find("deckport-collector", "DECKPORT_COLLECTOR_BIN")
}

fn find(name: &str, variable: &str) -> Result<PathBuf> {
    let path = match (std::env::var_os(variable), std::env::var_os("DECKPORT_BIN_DIR")) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(dir)) => Path::new(&dir).join(name),
        (None, None) => {
            let test = std::env::current_exe().context("where is this test?")?;
            // target/PROFILE/deps/stories-HASH, or target/PROFILE/soak.
            let dir = test.parent().context("a program has a folder")?;
            let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
            dir.join(name)
        }
    };
    if !path.is_file() {
        bail!("{} is missing; build it: cargo build -p {name}", path.display());
    }
    Ok(path)
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file under `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Whether a program is on the `PATH`. A story that needs one that is not always there says so when
/// it leaves its part out.
pub fn installed(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join(name).is_file()));
    if !found {
        println!("left out: `{name}` is not installed here");
    }
    found
}
