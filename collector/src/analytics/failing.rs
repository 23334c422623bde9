//! Which line of a failed run says why it failed.
//!
//! Programs first say what went wrong and then, one around the other, that something did: the first error of the
//! last step that has one is the reason, the last error of all is `make: *** Error 2`. Lines are looked at as
//! they come and only the best is kept. A run without any such line has its last line as the reason.

use super::compare::Line;
use super::status::{Status, words};
use super::templates::{MAX_BYTES, start};
use deckport_protocol::Level;

/// What lines say that only pass on that something else failed, in small letters.
const PASSED_ON: &[&str] = &[
    "a complete log of this run",
    "command failed",
    "error processing archive",
    "errors were encountered while processing",
    "exit code",
    "exit status",
    "exited with",
    "non-zero",
    "note: this error originates from a subprocess",
    "returned an error code",
    "subprocess-exited-with-error",
];

/// How likely a line is the reason. More is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Begins by saying that it is an error: `E: …`, `fatal: …`, or has level error and says so.
    Reason,
    /// Speaks of a failure, or has level error.
    Mention,
    /// Says that something else failed.
    PassedOn,
    /// Any line.
    Last,
}

/// The line that says why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    pub row: u64,
    pub phase: Option<String>,
    pub step: Option<String>,
    pub text: String,
}

/// Looks for the reason among lines fed in their order. If the step that failed is known, feed only its lines.
#[derive(Debug, Default)]
pub struct Reason {
    best: Option<(Rank, Failing)>,
}

impl Reason {
    pub fn push(&mut self, line: &Line<'_>) {
        let text = start(line.text.trim(), MAX_BYTES);
        if text.is_empty() {
            return;
        }
        let rank = rank(line.level, text);
        let better = self.best.as_ref().is_none_or(|(best, found)| {
            let elsewhere =
                found.phase.as_deref() != line.phase || found.step.as_deref() != line.step;
            rank < *best || rank == *best && (elsewhere || rank >= Rank::PassedOn)
        });
        if better {
            let (phase, step) = (line.phase.map(str::to_owned), line.step.map(str::to_owned));
            self.best = Some((rank, Failing { row: line.row, phase, step, text: text.to_owned() }));
        }
    }

    pub fn finish(self) -> Option<Failing> {
        self.best.map(|(_, failing)| failing)
    }
}

fn rank(level: Level, text: &str) -> Rank {
    let failure = words(text).find(|(range, status)| {
        // A warning is no reason.
        *status == Status::Failure && !text[range.clone()].to_ascii_lowercase().starts_with("warn")
    });
    let said_first = failure.as_ref().is_some_and(|(range, _)| range.start < 12);
    if failure.is_none() && !text.starts_with("E: ") {
        return if level == Level::Error { Rank::Mention } else { Rank::Last };
    }
    let lower = text.to_ascii_lowercase();
    if PASSED_ON.iter().any(|said| lower.contains(said))
        || lower.starts_with("make") && lower.contains("***")
    {
        Rank::PassedOn
    } else if level == Level::Error || said_first || text.starts_with("E: ") {
        Rank::Reason
    } else {
        Rank::Mention
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(lines: &[(&str, Level, &str)]) -> Option<u64> {
        let mut reason = Reason::default();
        for (row, (step, level, text)) in lines.iter().enumerate() {
            let line = Line {
                row: row as u64,
                phase: None,
                step: Some(step),
                level: *level,
                text,
                at_us: 0,
            };
            reason.push(&line);
        }
        reason.finish().map(|failing| failing.row)
    }

    #[test]
    fn the_first_error_of_the_last_step_with_one_is_the_reason() {
        let info = Level::Info;
        let lines = [
            ("fetch", info, "E: Could not reach the mirror, trying the next"),
            ("fetch", info, "Fetched all"),
            ("build", info, "checking for errors"),
            ("build", Level::Error, "main.c:12: error: expected ';'"),
            ("build", Level::Error, "main.c:19: error: expected '}'"),
            ("build", Level::Error, "make: *** [Makefile:3: all] Error 2"),
            ("undo", info, "removed the slot"),
        ];
        assert_eq!(reason(&lines), Some(3));
        assert_eq!(reason(&lines[5..]), Some(0));
        assert_eq!(reason(&lines[1..2]), Some(0));
        assert_eq!(reason(&[]), None);
    }

    #[test]
    fn what_only_passes_it_on_is_not() {
        let lines = [
            ("a", Level::Info, "warning: old key"),
            ("a", Level::Info, "dpkg: dependency problems prevent configuration: missing libfoo"),
            ("a", Level::Info, "E: Sub-process /usr/bin/dpkg returned an error code (1)"),
            ("a", Level::Error, "step exited with 100"),
        ];
        assert_eq!(reason(&lines), Some(1));
    }
}
