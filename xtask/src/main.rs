//! `cargo xtask …`: the README's two commands, `demo` and `test`, and their helpers.
//!
//! Purpose: from a clean clone on a fresh Debian or Ubuntu with Rust and Node, each command sets up what it needs, says
//! what it installs, and says in one sentence what went wrong when it cannot.

mod build;
mod bundle;
mod check;
mod demo;
mod display;
mod http;
mod job;
mod packages;
mod places;
mod say;
mod screenshots;
mod wait;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::job::Job;
use crate::packages::{Consent, Need};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Deckport Control Center: build, try, check, measure, package"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job: the desktop app and three real agents deploying at once
    Demo(demo::Args),
    /// Run every check
    Test(check::Args),
    /// Measure; arguments go to the benchmark program (`cargo xtask bench latency`)
    Bench(Passed),
    /// Run long tests in full; arguments go to the soak program (`cargo xtask soak faults`)
    Soak(Passed),
    /// Make the .deb and .rpm, and try the .deb in a clean Debian root
    Bundle(bundle::Args),
    /// Write the screenshots under docs/images
    Screenshots(screenshots::Args),
    /// Build the agent as one static file, in release mode, and print its path
    Agent,
}

#[derive(Debug, clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match wait::catch_signals().and_then(|()| run(args.command)) {
        Ok(code) => code,
        Err(error) => {
            if wait::interrupted() {
                say::info("stopped, as you asked");
                return ExitCode::from(130);
            }
            eprintln!("{} {error:#}", say::paint("1;31", "error:"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => check::run(&args),
        Command::Bench(passed) => measuring_program("bench", &passed),
        Command::Soak(passed) => measuring_program("soak", &passed),
        Command::Bundle(args) => bundle::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Screenshots(args) => screenshots::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Agent => {
            say::result(build::static_agent(build::Profile::Release)?.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Builds agent, collector, a program of `tests/` and, when it is to open the app's window, the app, at release speed; then
/// becomes it.
fn measuring_program(name: &str, passed: &Passed) -> Result<ExitCode> {
    const WINDOW: &str = "viewer";
    let chosen = passed.arguments.first().filter(|first| !first.starts_with('-'));
    let help = passed.arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    let with_window = !help && chosen.is_none_or(|chosen| WINDOW.contains(chosen.as_str()));
    let mut needs = vec![Need::Compiler];
    if with_window {
        needs.extend([Need::DesktopBuild, Need::VirtualDisplay, Need::DesktopTests]);
    }
    packages::ensure(&needs, Consent::new(false))?;
    if !places::ui().join("dist/index.html").is_file() {
        build::ui()?;
    }
    let mut wanted = vec!["deckport-agent", "deckport-collector", "deckport-tests"];
    if with_window {
        wanted.push("deckport-control-center");
    }
    say::step(format!("building {} at release speed (profile bench-run)", wanted.join(", ")));
    Job::cargo()
        .args(["build", "--profile", "bench-run", "--bins"])
        .args(wanted.iter().flat_map(|package| ["-p", package]))
        .dir(places::root())
        .run()?;
    let bins = places::target().join("bench-run");
    let code = Job::new(bins.join(name))
        .args(&passed.arguments)
        .env("DECKPORT_AGENT_BIN", bins.join("deckport-agent"))
        .env("DECKPORT_COLLECTOR_BIN", bins.join("deckport-collector"))
        .env("DECKPORT_APP_BIN", bins.join("deckport-control-center"))
        .dir(places::root())
        .run_for_code()?;
    Ok(ExitCode::from(code))
}
