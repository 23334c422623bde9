//! `deckport-agent flush`: delivers what earlier runs left in the spool.

use crate::state::{Run, State};
use crate::uplink::link::Target;
use crate::uplink::{KeptRun, deliver_kept, target_of};
use anyhow::{Context as _, Result};
use deckport_protocol::Address;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

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
        if run.is_unmade() {
            // An agent is just making it, or died as it did.
            continue;
        }
        let meta = match run.meta() {
            Ok(meta) => meta,
            // Delivered by the uplink that was left at work.
            Err(_) if !run.dir().exists() => continue,
            Err(error) => {
                kept += 1;
                eprintln!("{name}: kept; what it is cannot be read: {error:#}");
                continue;
            }
        };
        let target = match &given {
            Some(address) => Some(Target {
                address: address.clone(),
                token_file: token_file.map(Path::to_owned).or_else(|| meta.token_file.clone()),
                state: state.root().to_owned(),
            }),
            None => target_of(&meta, &state),
        };
        let Some(target) = target else {
            kept += 1;
            eprintln!("{name}: kept; no collector is known for it, name one with --collector");
            continue;
        };
        eprintln!("{name}: delivering to {} …", target.address.authority());
        let done = runtime
            .block_on(deliver(&run, &target, patience))
            .with_context(|| format!("could not deliver {name}"))?;
        match done {
            None => println!("{name}: delivered by the uplink that was left at work"),
            Some(KeptRun::Delivered { records }) => {
                println!("{name}: delivered, {records} records in all");
            }
            Some(KeptRun::Busy) if run.is_being_delivered() => {
                kept += 1;
                eprintln!("{name}: kept; another process tries to deliver it");
            }
            Some(KeptRun::Busy) => println!("{name}: still running, and delivered as it runs"),
            Some(KeptRun::Refused(why)) => {
                kept += 1;
                eprintln!("{name}: refused: {why}");
            }
            Some(KeptRun::Kept { records, why }) => {
                kept += 1;
                let why = why.as_deref().unwrap_or("the collector did not take them in time");
                eprintln!("{name}: kept, {records} records; {why}");
            }
        }
    }
    Ok(if kept == 0 { ExitCode::SUCCESS } else { ExitCode::from(125) })
}

const HANDOVER: Duration = Duration::from_millis(300);

/// Delivers one run. The uplink of a run that has just ended may still be at it: it is waited for while it gets on, and for
/// `patience` when it does not. `None`: it was first.
async fn deliver(run: &Run, target: &Target, patience: Duration) -> Result<Option<KeptRun>> {
    let begun = Instant::now();
    let mut seen = (run.acked().seq, begun);
    // Exits when the run is delivered, kept or recorded, or the one who delivers it gets no further.
    loop {
        let done = match deliver_kept(run, target.clone(), patience).await {
            // Removed between being listed and being opened.
            Err(_) if !run.dir().exists() => return Ok(None),
            done => done?,
        };
        // Who takes over from a recorder says so a moment after it has the lock.
        let recorded = !run.is_being_delivered() && begun.elapsed() >= HANDOVER;
        if done != KeptRun::Busy || recorded {
            return Ok(Some(done));
        }
        let acked = run.acked().seq;
        if acked != seen.0 {
            seen = (acked, Instant::now());
        }
        if seen.1.elapsed() >= patience {
            return Ok(Some(done));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        if !run.dir().exists() {
            return Ok(None);
        }
    }
}
