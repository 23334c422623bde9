//! The command line.

use crate::control::{self, Request};
use crate::recorder::{self, AgentExit, Plan};
use clap::{Args, Parser, Subcommand};
use deckport_protocol::Level;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Runs an installation on this console, keeps every byte of it, and streams it to a collector.
#[derive(Debug, Parser)]
#[command(name = "deckport-agent", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command and stream what it prints.
    ///
    /// The command runs unchanged under a terminal of its own; this program exits as it does. A
    /// script may come on standard input (`curl … | deckport-agent wrap -- bash`). Everything is
    /// kept on disk until the collector has it; then it is deleted. An absent collector never stops
    /// the command. Exit codes of this program itself: 125 its own error, 126 the command cannot be
    /// run, 127 it was not found.
    Wrap(Wrap),
    /// Begin a phase of the run that this script is part of.
    Phase {
        name: String,
        #[command(flatten)]
        helper: Helper,
    },
    /// Begin a step within the phase.
    Step {
        name: String,
        #[command(flatten)]
        helper: Helper,
    },
    /// Say how much of the phase is done, 0 to 100.
    Progress {
        #[arg(value_parser = percent)]
        percent: f64,
        text: Option<String>,
        #[command(flatten)]
        helper: Helper,
    },
    /// Add a sentence to the log.
    Note {
        text: String,
        #[command(flatten)]
        helper: Helper,
    },
    /// Add a sentence with a level: debug, info, notice, warning or error.
    Level {
        #[arg(value_parser = level)]
        level: Level,
        text: String,
        #[command(flatten)]
        helper: Helper,
    },
    /// Deliver what earlier runs kept. Exits with 125 when something is still kept.
    Flush {
        #[command(flatten)]
        to: Collector,
        #[command(flatten)]
        state: StateDir,
        /// Give a run up for now after so many seconds without progress.
        #[arg(long, default_value_t = 10, value_name = "SECONDS")]
        patience: u64,
    },
    /// Add this console to a collector, with the code that the app shows under Add consoles. One that is added already needs none.
    Enrol {
        /// The collector with its pin, as it prints it: https://HOST:PORT#sha256//…
        #[arg(long, env = "DECKPORT_COLLECTOR", value_name = "URL")]
        collector: String,
        /// Read the code from this file instead of asking for it at the terminal.
        #[arg(long, env = "DECKPORT_CODE_FILE", value_name = "FILE")]
        code_file: Option<PathBuf>,
        /// The console's name [default: the host name].
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        state: StateDir,
    },
    /// Run the daemon of an enrolled console: keeps in touch with its collector, renews its certificate, takes orders.
    Serve {
        #[command(flatten)]
        state: StateDir,
    },
    /// Run the deployment of this console's template now.
    Deploy {
        #[command(flatten)]
        state: StateDir,
        /// How much may be kept on disk; see `wrap`.
        #[arg(long, default_value = "512M", value_name = "SIZE", value_parser = size)]
        spool_limit: u64,
    },
    /// Show what this console is and whether its collector can be reached.
    Checkup {
        #[command(flatten)]
        state: StateDir,
    },
    /// The agent as a service of this machine.
    #[command(subcommand)]
    Service(Service),
    /// Print what this program knows of the machine.
    Context {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Measure the latency to this collector as well.
        #[arg(long, env = "DECKPORT_COLLECTOR", value_name = "URL")]
        collector: Option<String>,
    },
    /// Print a made-up installation, the same for the same seed: `wrap -- deckport-agent simulate`.
    Simulate(crate::simulate::Options),
    #[command(hide = true)]
    Stage {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    #[command(hide = true)]
    Uplink {
        #[arg(long)]
        run: PathBuf,
        #[arg(long)]
        state: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Service {
    /// Start it now and at each boot.
    Install,
    /// Stop it, and start it no more.
    Uninstall {
        /// Forget the collector that the console was added to as well.
        #[arg(long)]
        forget: bool,
        #[command(flatten)]
        state: StateDir,
    },
}

#[derive(Debug, Args)]
struct Collector {
    /// The collector with its pin, as it prints it: https://HOST:PORT#sha256//… For one on this machine the pin is found
    /// beside its token. [default: the one that the console was added to]
    #[arg(long, env = "DECKPORT_COLLECTOR", value_name = "URL")]
    collector: Option<String>,
    /// The file with the collector's token.
    #[arg(long, env = "DECKPORT_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StateDir {
    /// Where the spool and the console's identity are kept [default: /var/lib/deckport for root,
    /// else ~/.local/state/deckport].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Wrap {
    #[command(flatten)]
    to: Collector,
    #[command(flatten)]
    state: StateDir,
    /// The console's name [default: the host name].
    #[arg(long)]
    name: Option<String>,
    /// What kind of deployment this is; runs of one template are compared.
    #[arg(long)]
    template: Option<String>,
    /// How much may be kept on disk. Beyond it output is left out and counted in one gap; what
    /// happened (phases, the end) is still kept. The installation goes on.
    #[arg(long, default_value = "512M", value_name = "SIZE", value_parser = size)]
    spool_limit: u64,
    /// How long to wait at the end for what the collector does not have yet, in seconds.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    linger: u64,
    /// How much to find out about the machine: `quick` leaves out what takes longer and needs other
    /// programs (package manager, disk health, network).
    #[arg(long, value_enum, default_value = "full")]
    context: ContextDepth,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ContextDepth {
    Quick,
    Full,
}

#[derive(Debug, Args)]
struct Helper {
    /// Do nothing when this is not part of a run, instead of failing.
    #[arg(long)]
    if_running: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim_end_matches('%').parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&value) { Ok(value) } else { Err("0 to 100".to_owned()) }
}

fn level(text: &str) -> Result<Level, String> {
    [Level::Debug, Level::Info, Level::Notice, Level::Warning, Level::Error]
        .into_iter()
        .find(|level| level.as_str() == text)
        .ok_or_else(|| "one of debug, info, notice, warning, error".to_owned())
}

/// Bytes, with an optional K, M or G (powers of 1,024).
fn size(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.trim_end_matches('B').trim_end_matches('I');
    let (digits, unit) = match upper.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, upper.as_bytes()[upper.len() - 1]),
        None => (upper, b' '),
    };
    let shift = match unit {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| (64 * 1024..=1 << 50).contains(bytes))
        .ok_or_else(|| "a size such as 64M or 2G, at least 64K".to_owned())
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    match dispatch(cli.command) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("deckport-agent: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Wrap(wrap) => Ok(end(recorder::run(&Plan {
            state: wrap.state.state,
            collector: wrap.to.collector,
            token_file: wrap.to.token_file,
            name: wrap.name,
            template: wrap.template,
            command: wrap.command,
            spool_limit: wrap.spool_limit,
            full_context: wrap.context == ContextDepth::Full,
            linger: Duration::from_secs(wrap.linger),
        })?)),
        Command::Phase { name, helper } => ask(&Request::Phase { name }, &helper),
        Command::Step { name, helper } => ask(&Request::Step { name }, &helper),
        Command::Progress { percent, text, helper } => {
            ask(&Request::Progress { percent, text }, &helper)
        }
        Command::Note { text, helper } => ask(&Request::Note { level: Level::Info, text }, &helper),
        Command::Level { level, text, helper } => ask(&Request::Note { level, text }, &helper),
        Command::Flush { to, state, patience } => crate::flush::flush(
            state.state,
            to.collector.as_deref(),
            to.token_file.as_deref(),
            Duration::from_secs(patience),
        ),
        Command::Context { json, collector } => {
            crate::context::print(json, collector.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Enrol { collector, code_file, name, state } => {
            let plan = crate::enrol::Plan { state: state.state, collector, code_file, name };
            let crate::enrol::Added { identity, before } = crate::enrol::enrol(&plan)?;
            let what = if before { "Still in" } else { "Added to" };
            eprintln!(
                "{what} {} as {} (template {}).",
                identity.venue, identity.name, identity.template
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve { state } => {
            crate::serve::serve(state.state)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Deploy { state, spool_limit } => {
            Ok(end(crate::deploy::deploy(state.state, spool_limit)?))
        }
        Command::Checkup { state } => {
            crate::checkup::checkup(state.state)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Service(service) => {
            serve_or_not(service)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Simulate(options) => crate::simulate::run(&options),
        Command::Stage { command } => {
            crate::stage::run(&command)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Uplink { run, state } => {
            crate::uplink::run(run, state)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn serve_or_not(service: Service) -> anyhow::Result<()> {
    use crate::service::{Installed, Places};
    let places = Places::default();
    match service {
        Service::Install => {
            let program = std::env::current_exe()?;
            match crate::service::install(&places, &program)? {
                Installed::Running => println!("The agent runs, and starts at each boot."),
                Installed::AtBoot => println!("The agent starts at the next boot."),
                Installed::No => anyhow::bail!(
                    "there is no systemd on this machine; have `{} serve` started at boot by what there is",
                    program.display()
                ),
            }
        }
        Service::Uninstall { forget, state } => {
            if crate::service::uninstall(&places)? {
                println!("The agent is no service of this machine any more.");
            } else {
                println!("The agent was no service of this machine.");
            }
            if forget {
                let state = crate::state::State::open(state.state)?;
                crate::identity::Identity::forget(state.root())?;
                println!("The console has forgotten its collector; remove it there as well.");
            }
        }
    }
    Ok(())
}

fn ask(request: &Request, helper: &Helper) -> anyhow::Result<ExitCode> {
    if control::send(request)? || helper.if_running {
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::bail!(
        "this is not part of a run (there is no {}); run the script with `deckport-agent wrap`",
        control::RUN_VARIABLE
    )
}

/// Ends as the command did.
fn end(exit: AgentExit) -> ExitCode {
    match exit {
        AgentExit::Code(code) => ExitCode::from(code),
        AgentExit::Signal(signal) => {
            // No second core dump: the command's own is the one that matters.
            let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
            let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
            // Does not return where the signal's default is to end the process.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            ExitCode::from(128u8.saturating_add(signal as u8))
        }
    }
}
