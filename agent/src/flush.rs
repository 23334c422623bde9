//! `deckport-agent flush`: delivers what earlier runs left in the spool.

use crate::state::State;
use crate::uplink::link::{Address, Target};
use crate::uplink::{KeptRun, deliver_kept, target_of};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Delivers every kept run; says what became of each. Fails when something is still kept.
pub fn flush(
    state: Option<PathBuf>,
    collector: Option<&str>,
    token_file: Option<&Path>,
    patience: Duration,
) -> Result<ExitCode> {
    let state = State::open(state)?;
    let given = collector.map(str::parse::<Address>).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut kept = 0;
    for run in state.runs()? {
        let name = run.dir().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(meta) = run.meta() else {
            // The agent died while it made the directory: there is nothing in it.
            continue;
        };
        let target = match &given {
            Some(address) => Some(Target {
                address: address.clone(),
                token_file: token_file.map(Path::to_owned).or_else(|| meta.token_file.clone()),
            }),
            None => target_of(&meta),
        };
        let Some(target) = target else {
            kept += 1;
            eprintln!("{name}: kept; no collector is known for it, name one with --collector");
            continue;
        };
        let done = runtime
            .block_on(deliver_kept(&run, target, patience))
            .with_context(|| format!("could not deliver {name}"))?;
        match done {
            KeptRun::Delivered { records } => {
                println!("{name}: delivered, {records} records in all");
            }
            KeptRun::Busy => println!("{name}: still running"),
            KeptRun::Refused(why) => {
                kept += 1;
                eprintln!("{name}: refused: {why}");
            }
            KeptRun::Kept { records } => {
                kept += 1;
                eprintln!("{name}: kept, {records} records; the collector could not be reached");
            }
        }
    }
    Ok(if kept == 0 { ExitCode::SUCCESS } else { ExitCode::from(125) })
}
