//! `cargo xtask bundle`: the .deb and the .rpm, and the .deb tried in a clean Debian root.
//!
//! The bundler is Tauri's own, pinned in `xtask/tauri-cli` (an npm package that carries a ready program). The packages
//! hold the app, the static agent (to copy to consoles) and the collector. Nothing is installed on this system: the
//! trial happens in a root made with debootstrap under `target/`, which needs root, and ends with figures.

mod measure;
mod root;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::job::Job;
use crate::packages::{self, Consent, Need};
use crate::{places, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking
    #[arg(long)]
    yes: bool,

    /// Make the packages and stop: no clean root, no figures
    #[arg(long)]
    no_trial: bool,

    /// Try the packages that are there already
    #[arg(long, conflicts_with = "no_trial")]
    no_build: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut needs = vec![Need::Compiler, Need::DesktopBuild];
    if !args.no_trial {
        needs.extend([Need::VirtualDisplay, Need::CleanRoot]);
        if !rustix::process::geteuid().is_root() {
            bail!(
                "the trial makes a Debian root and so must be root: run it as root, or with --no-trial"
            );
        }
    }
    packages::ensure(&needs, Consent::new(args.yes))?;
    if !args.no_build {
        make()?;
    }
    let deb = newest("deb")?;
    for path in [&deb, &newest("rpm")?] {
        let size = std::fs::metadata(path)?.len();
        say::result(format_args!("{:<28} {:>10}  {}", "package", say::bytes(size), path.display()));
    }
    if args.no_trial {
        return Ok(());
    }
    let root = root::Root::debootstrap()?;
    root.install(&deb)?;
    measure::run(&root)
}

fn make() -> Result<()> {
    build::ui()?;
    say::step("building the agent (one static file, release)");
    let agent = build::static_agent(Profile::Release)?;
    say::step("building the collector (release)");
    let collector = build::program("deckport-collector", "deckport-collector", Profile::Release)?;

    let cli = places::root().join("xtask/tauri-cli");
    if !cli.join("node_modules/.bin/tauri").is_file() {
        say::step("installing the bundler (npm, into xtask/tauri-cli/node_modules)");
        // Not `npm ci`: that refuses a lock file without the programs of platforms that a registry does not carry.
        let arguments = ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"];
        Job::new("npm").args(arguments).dir(cli.clone()).run()?;
    }
    say::step("building the app (release) and making the packages");
    let files = serde_json::json!({
        "/usr/bin/deckport-agent": agent,
        "/usr/bin/deckport-collector": collector,
    });
    let config = serde_json::json!({ "bundle": { "linux": { "deb": { "files": files }, "rpm": { "files": files } } } });
    Job::new(cli.join("node_modules/.bin/tauri"))
        .args(["build", "--ci", "--bundles", "deb,rpm", "--config"])
        .arg(config.to_string())
        .dir(places::root().join("src-tauri"))
        .run()?;
    ["deb", "rpm"].iter().try_for_each(|kind| without_blanks(&newest(kind)?))
}

/// The bundler names files as people name the app; in a shell a name without blanks is kinder.
fn without_blanks(package: &Path) -> Result<()> {
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let plain = name.replace(' ', "-").to_lowercase();
    std::fs::rename(package, package.with_file_name(plain))
        .with_context(|| format!("cannot rename {name}"))
}

fn newest(kind: &str) -> Result<PathBuf> {
    let dir = places::target().join("release/bundle").join(kind);
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    std::fs::read_dir(&dir)
        .with_context(|| format!("there is no {}", dir.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == kind))
        .max_by_key(|path| modified(path))
        .with_context(|| format!("there is no .{kind} in {}", dir.display()))
}
