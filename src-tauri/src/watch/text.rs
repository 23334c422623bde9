//! The words of a notice. Plain sentences: what happened, where, and what it means for the operator.

use super::fleet::{Summary, plain};
use super::policy::Cause;
use crate::clock::Micros;

const LONGEST_MESSAGE: usize = 200;
/// How many consoles a group names before it counts the rest.
const NAMED: usize = 4;

/// Title and body for one deployment.
pub(crate) fn one(cause: Cause, summary: &Summary, now: Micros) -> (String, String) {
    let console = summary.console();
    let minutes = |since: Option<Micros>| since.map_or(0, |since| now.since(since).as_secs() / 60);
    let what =
        [summary.template(), summary.phase()].into_iter().flatten().collect::<Vec<_>>().join(" · ");
    match cause {
        Cause::Failed => {
            (format!("{console}: installation failed"), lines(&message(summary), &what))
        }
        Cause::Interrupted => (
            format!("{console}: installation was interrupted"),
            lines(
                "It ended without saying how: the console may have lost power or been restarted.",
                &what,
            ),
        ),
        Cause::Silent => {
            let silence = match minutes(summary.presence.since_at) {
                0 => "Connected, but nothing has been printed for a while.".to_owned(),
                1 => "Connected, but nothing has been printed for a minute.".to_owned(),
                minutes => {
                    format!("Connected, but nothing has been printed for {minutes} minutes.")
                }
            };
            (format!("{console} has gone quiet"), lines(&silence, &what))
        }
        Cause::LostContact => (
            format!("{console}: no contact"),
            lines(
                "The installation goes on there by itself; its lines arrive when the console is back.",
                &what,
            ),
        ),
        Cause::Succeeded => (format!("{console}: finished"), lines(&took(summary), &what)),
        Cause::Cancelled => (format!("{console}: cancelled"), what),
    }
}

/// Title and body for a group.
pub(crate) fn many(cause: Cause, consoles: &[&str]) -> (String, String) {
    let count = consoles.len();
    let (one, more, hint) = match cause {
        Cause::Failed => (
            "installation failed",
            "installations failed",
            "If the reason is the same, fix it once and retry all.",
        ),
        Cause::Interrupted => (
            "installation was interrupted",
            "installations were interrupted",
            "Look at the power of these consoles first.",
        ),
        Cause::Silent => (
            "console has gone quiet",
            "consoles have gone quiet",
            "They may all wait for the same thing.",
        ),
        Cause::LostContact => (
            "console lost contact",
            "consoles lost contact",
            "Look at the switch or the network first. The installations go on by themselves.",
        ),
        Cause::Succeeded => ("installation finished", "installations finished", ""),
        Cause::Cancelled => ("installation was cancelled", "installations were cancelled", ""),
    };
    let mut named: Vec<String> =
        consoles.iter().take(NAMED).map(|name| (*name).to_owned()).collect();
    if count > NAMED {
        named.push(format!("{} more", count - NAMED));
    }
    let names = match named.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    };
    (format!("{count} {}", if count == 1 { one } else { more }), lines(&format!("{names}."), hint))
}

fn message(summary: &Summary) -> String {
    let message = summary.failure.as_ref().map(|failure| plain(&failure.message, LONGEST_MESSAGE));
    message.filter(|message| !message.is_empty()).unwrap_or_else(|| "Its log says why.".to_owned())
}

fn took(summary: &Summary) -> String {
    match (summary.started_at, summary.finished_at) {
        (Some(started), Some(finished)) => {
            format!("Took {}.", duration(finished.since(started).as_secs()))
        }
        _ => String::new(),
    }
}

/// `48 s`, `12 min`, `2 h 5 min`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn lines(first: &str, second: &str) -> String {
    [first, second].into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::fleet::Failure;

    #[test]
    fn a_failure_says_why_and_where() {
        let summary = Summary {
            name: "Bay 12".into(),
            template: Some("Autumn Cup".into()),
            failure: Some(Failure {
                message: "dpkg: error\u{1b}[0m processing".into(),
                seq: Some(9),
            }),
            ..Summary::default()
        };
        let (title, body) = one(Cause::Failed, &summary, Micros(0));
        assert_eq!(title, "Bay 12: installation failed");
        assert_eq!(body, "dpkg: error[0m processing\nAutumn Cup");
        let (_, body) = one(Cause::Failed, &Summary::default(), Micros(0));
        assert_eq!(body, "Its log says why.");
    }

    #[test]
    fn groups_name_some_and_count_the_rest() {
        let (title, body) = many(Cause::LostContact, &["A", "B", "C", "D", "E", "F"]);
        assert_eq!(title, "6 consoles lost contact");
        assert!(body.starts_with("A, B, C, D and 2 more.\nLook at the switch"), "{body}");
        assert_eq!(many(Cause::Succeeded, &["A"]), ("1 installation finished".into(), "A.".into()));
        assert_eq!(many(Cause::Succeeded, &["A", "B"]).1, "A and B.");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!([5, 61, 7500].map(duration), ["5 s", "1 min", "2 h 5 min"]);
    }
}
