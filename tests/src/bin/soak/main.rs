//! `cargo xtask soak …`: the long forms of tests, with figures.

mod attack;
mod follow;
mod load;
mod viewer;

use anyhow::Result;
use clap::{Parser, Subcommand};
use deckport_tests::dice::Dice;
use deckport_tests::{faults, measure};
use std::path::PathBuf;

/// Runs long tests in full, or short with --short.
#[derive(Debug, Parser)]
#[command(name = "soak", max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// A minute instead of ten, a tenth of the faults.
    #[arg(long, global = true)]
    short: bool,
    /// Use the disk that holds this folder [default: the system's temporary folder].
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Uplinks, collector and links killed or cut 500 times while a million records flow: nothing lost,
    /// repeated or reordered. DECKPORT_KILLS, DECKPORT_RECORDS, DECKPORT_SEED set other counts.
    #[command(alias = "faults")]
    NothingLost,
    /// A window follows 2,000 lines a second for ten minutes; every row is checked.
    Follow,
    /// 10,000 idle sockets, slow senders, slow readers, floods of frames, requests and handshakes: acknowledgements of 32 honest
    /// consoles on time, nothing lost, memory and files bounded, others still come in.
    Attack,
    /// The attackers of `attack`: what to do on standard input.
    #[command(hide = true)]
    Attackers,
    /// The app's window follows 2,000 lines a second for ten minutes; every row is checked, in the page.
    Viewer,
    /// 64 consoles × 1,000 lines/s for ten minutes, 20 viewers, 4 of them slow: no loss, acknowledgements and viewers on time,
    /// memory flat.
    Load {
        #[arg(long, default_value_t = 64)]
        consoles: usize,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = measure::place(args.dir.as_deref())?;
    match args.command {
        Command::NothingLost => {
            let mut plan = faults::Plan::FULL;
            if args.short {
                plan = faults::Plan { kills: 50, records: 100_000, ..plan };
            }
            let mut dice = Dice::from_environment("soak");
            let report = faults::run(plan.from_environment(), dir.path(), &mut dice)?;
            println!("{} faults, nothing lost, repeated or reordered", report.faults());
            println!("{report:#?}");
            Ok(())
        }
        Command::Attack => attack::run(dir.path(), args.short),
        Command::Attackers => attack::attackers(),
        Command::Follow => follow::run(dir.path(), args.short),
        Command::Viewer => viewer::run(dir.path(), args.short),
        Command::Load { consoles } => load::run(dir.path(), args.short, consoles),
    }
}
