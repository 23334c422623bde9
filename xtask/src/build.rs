//! Building the parts: UI, static agent, collector, desktop app.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::job::{Job, find};
use crate::{places, say};

/// The target whose agent is linked statically; the only one that is built and tested.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// How hard the compiler tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

impl Profile {
    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &[],
            Self::Release => &["--release"],
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Node as the UI's tools need it, or a sentence about what to do.
pub(crate) fn check_node() -> Result<()> {
    const NEEDED: (u32, u32) = (20, 19);
    let hint =
        "install Node 20.19 or later (https://nodejs.org) so that `node` and `npm` are on the PATH";
    if find("node").is_none() || find("npm").is_none() {
        bail!("Node is missing: {hint}");
    }
    let version = Job::new("node").arg("--version").read()?;
    let mut numbers = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let have = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if have < NEEDED {
        bail!("Node {} is too old: {hint}", version.trim());
    }
    Ok(())
}

/// `npm ci`, unless what is installed is what the lock file says.
pub(crate) fn npm_ci() -> Job {
    Job::new("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).dir(places::ui())
}

/// True when `ui/node_modules` was installed from the lock file as it is now.
pub(crate) fn npm_is_current() -> bool {
    let modified = |path: &str| {
        std::fs::metadata(places::ui().join(path)).and_then(|meta| meta.modified()).ok()
    };
    match (
        modified("node_modules/.package-lock.json"),
        modified("package-lock.json"),
        modified("package.json"),
    ) {
        (Some(installed), Some(lock), Some(package)) => installed >= lock && installed >= package,
        _ => false,
    }
}

/// An npm script of the UI.
pub(crate) fn npm(script: &str) -> Job {
    Job::new("npm").args(["run", "--silent", script]).dir(places::ui())
}

/// Installs the UI's packages and builds it into `ui/dist`.
pub(crate) fn ui() -> Result<()> {
    check_node()?;
    if !npm_is_current() {
        say::step("installing the UI's packages (npm ci, into ui/node_modules)");
        npm_ci().run()?;
    }
    say::step("building the UI (vite build, into ui/dist)");
    npm("build").run()
}

/// Builds a package's program and says where it is.
pub(crate) fn program(package: &str, name: &str, profile: Profile) -> Result<PathBuf> {
    Job::cargo()
        .args(["build", "--package", package, "--bin", name])
        .args(profile.args())
        .dir(places::root())
        .run()?;
    existing(places::target().join(profile.folder()).join(name))
}

/// The job that builds the agent as one static file, and where it will be. It has a target directory of its own, so
/// that its flags and everybody else's do not make each other rebuild.
pub(crate) fn static_agent_job(profile: Profile) -> (Job, PathBuf) {
    let dir = places::target().join("static");
    let job = Job::cargo()
        .args(["build", "--package", "deckport-agent", "--target", AGENT_TARGET, "--target-dir"])
        .arg(dir.clone())
        .args(profile.args())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .dir(places::root());
    (job, dir.join(AGENT_TARGET).join(profile.folder()).join("deckport-agent"))
}

/// Builds the static agent, and makes sure that it is one.
pub(crate) fn static_agent(profile: Profile) -> Result<PathBuf> {
    let (job, path) = static_agent_job(profile);
    job.run()?;
    let path = existing(path)?;
    check_static(&path)?;
    Ok(path)
}

/// Fails when `program` names a dynamic loader or needs a shared library: it would not start on a bare console.
pub(crate) fn check_static(program: &Path) -> Result<()> {
    let file =
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    match elf_wants_loader(&file) {
        Some(false) => Ok(()),
        Some(true) => bail!("{} is not static: it asks for a dynamic loader", program.display()),
        None => bail!("{} is not a 64-bit little-endian ELF program", program.display()),
    }
}

/// Whether an ELF64 program has a PT_INTERP header. See the ELF specification, "Program Header".
fn elf_wants_loader(file: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| Some(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?));
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(u64_at(32)?).ok()?;
    let entry = usize::from(u16_at(54)?);
    for index in 0..usize::from(u16_at(56)?) {
        if u32_at(table + index * entry)? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

/// A Chromium or Chrome that browser tests and screenshots can drive.
pub(crate) fn browser() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Ok(named.into());
    }
    ["chromium", "google-chrome", "google-chrome-stable", "chromium-browser"]
        .iter()
        .filter_map(|name| find(name))
        // Ubuntu's package is a script that asks for a snap.
        .find(|path| !std::fs::read(path).is_ok_and(|file| file.len() < 20_000 && contains(&file, b"snap")))
        .context("no Chromium or Chrome was found: install one (on Ubuntu, Google's .deb), or name it in $CHROMIUM")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() { Ok(path) } else { bail!("the build did not make {}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_other_files() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        if cfg!(all(target_os = "linux", target_pointer_width = "64")) {
            assert_eq!(elf_wants_loader(&this), Some(true));
        }
        assert_eq!(elf_wants_loader(b"#!/bin/sh\n"), None);
        let no_headers = [b"\x7fELF\x02\x01".as_slice(), &[0; 58]].concat();
        assert_eq!(elf_wants_loader(&no_headers), Some(false));
        assert_eq!(elf_wants_loader(&no_headers[..20]), None);
    }
}
