//! How a run ended: what is recorded, and what the agent exits with.

use super::signals;
use crate::control::StageReport;
use deckport_protocol::event::Event;
use deckport_protocol::{Exit, Outcome};

/// How the agent itself ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentExit {
    Code(u8),
    /// By the signal that ended the command.
    Signal(i32),
}

/// Who asked the command to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// An operator, by an order.
    pub by_order: bool,
    /// Someone at the console: a signal to the agent.
    pub by_signal: bool,
}

/// The terminal record and the agent's own end for the stage's last report. `None`: the stage
/// itself was killed.
pub fn judge(report: Option<&StageReport>, asked: Asked) -> (Event, AgentExit) {
    let asked_to_stop = asked.by_order || asked.by_signal;
    let (exit, message, succeeded, agent) = match report {
        Some(StageReport::Exited { code }) => (
            Some(Exit::Code { code: *code }),
            if *code == 0 { String::new() } else { format!("exit {code}") },
            *code == 0,
            AgentExit::Code(*code as u8),
        ),
        Some(StageReport::Killed { signal }) => {
            let name = signals::name(*signal);
            let message = format!("ended by {name}");
            (
                Some(Exit::Signal { signal: *signal, name }),
                message,
                false,
                AgentExit::Signal(*signal),
            )
        }
        Some(StageReport::Refused { code, message }) => (
            Some(Exit::Code { code: i32::from(*code) }),
            message.clone(),
            false,
            AgentExit::Code(*code),
        ),
        Some(StageReport::Started { .. } | StageReport::Stopped { .. }) | None => (
            Some(Exit::Signal { signal: 9, name: "SIGKILL".into() }),
            "the process that held the command's terminal was killed".to_owned(),
            false,
            AgentExit::Code(125),
        ),
    };
    // Ctrl-C reaches the command through its own terminal; nobody else sends it SIGINT.
    let interrupted_by_keyboard = matches!(report, Some(StageReport::Killed { signal: 2 }));
    let outcome = if succeeded {
        Outcome::Succeeded
    } else if asked_to_stop || interrupted_by_keyboard {
        Outcome::Cancelled
    } else {
        Outcome::Failed
    };
    let message = if outcome == Outcome::Cancelled && asked.by_order {
        format!("cancelled by an operator ({message})")
    } else if outcome == Outcome::Cancelled {
        format!("stopped at the console ({message})")
    } else {
        message
    };
    (Event::DeploymentFinished { outcome, exit, message }, agent)
}
