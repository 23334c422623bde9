//! The words of a notice. Plain sentences: what happened, where, and what it means for the operator.

use super::fleet::{Summary, named, plain};
use super::policy::Cause;
use crate::clock::Micros;

const LONGEST_MESSAGE: usize = 200;
/// How many consoles a group names before it counts the rest.
const NAMED: usize = 4;

/// Title and body for one deployment, at `collector` where there are several.
pub(crate) fn one(
    cause: Cause,
    summary: &Summary,
    collector: Option<&str>,
    now: Micros,
) -> (String, String) {
    let console = named(collector, &summary.console());
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

/// Title and body for a group of consoles, each with its collector where there are several.
pub(crate) fn many(cause: Cause, consoles: &[(Option<&str>, &str)]) -> (String, String) {
    let count = consoles.len();
    // Said once where it is the same for all.
    let first = consoles.first().and_then(|(collector, _)| *collector);
    let common = first.filter(|_| consoles.iter().all(|(collector, _)| *collector == first));
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
    let name = |(collector, console): &(Option<&str>, &str)| {
        named(collector.filter(|_| common.is_none()), console)
    };
    let mut names: Vec<String> = consoles.iter().take(NAMED).map(name).collect();
    if count > NAMED {
        names.push(format!("{} more", count - NAMED));
    }
    let names = match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    };
    let title = format!("{count} {}", if count == 1 { one } else { more });
    (named(common, &title), lines(&format!("{names}."), hint))
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
        let (title, body) = one(Cause::Failed, &summary, None, Micros(0));
        assert_eq!(title, "Bay 12: installation failed");
        assert_eq!(body, "dpkg: error[0m processing\nAutumn Cup");
        let (title, body) = one(Cause::Failed, &Summary::default(), Some("HQ"), Micros(0));
        assert_eq!(title, "HQ · A console: installation failed");
        assert_eq!(body, "Its log says why.");
    }

    #[test]
    fn groups_name_some_and_count_the_rest() {
        let alone = |consoles: &[&'static str]| -> Vec<(Option<&'static str>, &'static str)> {
            consoles.iter().map(|console| (None, *console)).collect()
        };
        let (title, body) = many(Cause::LostContact, &alone(&["A", "B", "C", "D", "E", "F"]));
        assert_eq!(title, "6 consoles lost contact");
        assert!(body.starts_with("A, B, C, D and 2 more.\nLook at the switch"), "{body}");
        assert_eq!(
            many(Cause::Succeeded, &alone(&["A"])),
            ("1 installation finished".into(), "A.".into())
        );
        assert_eq!(many(Cause::Succeeded, &alone(&["A", "B"])).1, "A and B.");
    }

    #[test]
    fn a_group_says_its_collector_once_or_for_each() {
        let (title, body) = many(Cause::Succeeded, &[(Some("HQ"), "A"), (Some("HQ"), "B")]);
        assert_eq!((title.as_str(), body.as_str()), ("HQ · 2 installations finished", "A and B."));
        let (title, body) = many(Cause::Succeeded, &[(Some("HQ"), "A"), (Some("Pier"), "A")]);
        assert_eq!(
            (title.as_str(), body.as_str()),
            ("2 installations finished", "HQ · A and Pier · A.")
        );
    }

    #[test]
    fn durations_are_short() {
        assert_eq!([5, 61, 7500].map(duration), ["5 s", "1 min", "2 h 5 min"]);
    }
}
