//! `deckport-collector`: the collector as a server of its own, and client commands that look at one.

mod cli;

/// What an attack or a busy hour took goes back to the system within seconds; the C library's own allocator keeps most of it. How soon
/// is set where it is built (`.cargo/config.toml`).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("deckport-collector: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::run(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("deckport-collector: {error:#}");
            ExitCode::FAILURE
        }
    }
}
