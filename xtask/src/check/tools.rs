//! Cargo's helpers: components of the toolchain, cargo-deny, cargo-nextest.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::job::{Job, find};
use crate::{places, say};

/// The version that is built when there is none on the PATH. It is compiled lightly optimised: that takes two to four
/// minutes on two cores instead of six, once, and it runs for two seconds either way.
const CARGO_DENY: &str = "0.20.2";

/// rustfmt and clippy, through rustup where it has left them out (its minimal profile).
pub(super) fn components() -> Result<()> {
    let missing: Vec<_> = ["fmt", "clippy"]
        .into_iter()
        .filter(|name| Job::cargo().args([*name, "--version"]).read().is_err())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|name| if *name == "fmt" { "rustfmt" } else { "clippy" });
    let job = Job::new("rustup").args(["component", "add"]).args(names);
    say::step(format!("the Rust toolchain lacks a part: {}", job.shown()));
    job.run().context("rustfmt and clippy are needed for the checks")
}

/// The path of cargo-deny: from the PATH, from an earlier run, or built now.
pub(super) fn cargo_deny() -> Result<PathBuf> {
    if let Some(path) = find("cargo-deny") {
        return Ok(path);
    }
    let tools = places::target().join("tools");
    let path = tools.join(format!("cargo-deny-{CARGO_DENY}/bin/cargo-deny"));
    if path.is_file() {
        return Ok(path);
    }
    say::info(format!(
        "building cargo-deny {CARGO_DENY} from crates.io into target/tools: once, some minutes"
    ));
    let build = tools.join("build");
    Job::cargo()
        .args(["install", "--quiet", "--locked", "--version", CARGO_DENY, "cargo-deny", "--root"])
        .arg(tools.join(format!("cargo-deny-{CARGO_DENY}")))
        .env("CARGO_TARGET_DIR", build.clone())
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        // Outside the repository, so that no configuration of ours is read.
        .dir(std::env::temp_dir())
        .run()?;
    let _ = std::fs::remove_dir_all(build);
    Ok(path)
}

/// True when `cargo nextest` works; it runs each test in a process of its own. `cargo test` does otherwise.
pub(super) fn has_nextest() -> bool {
    Job::cargo().args(["nextest", "--version"]).dir(places::root()).read().is_ok()
}
