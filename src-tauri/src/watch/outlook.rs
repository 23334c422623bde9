//! What the tray shows: one state, a sentence, the running deployments and the latest failures. Pure.
//!
//! The state is the worst of all connections: a failure that nobody has looked at, then a connection that is down
//! (nothing is known there), then something that needs attention (silence, lost contact, consoles cannot connect), then
//! running, then idle.

use std::collections::BTreeSet;

use super::fleet::{Fleet, Standing, Summary, Which, named, plain};
use crate::clock::Micros;
use crate::connection::{Described, State};

const RUNNING_LISTED: usize = 10;
const FAILURES_LISTED: usize = 5;

/// Worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outlook {
    Idle,
    Running,
    Attention,
    Offline,
    Failed,
}

/// One line of the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) which: Which,
    pub(crate) label: String,
    pub(crate) route: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) outlook: Outlook,
    /// Counts, and what stands in the way.
    pub(crate) sentence: String,
    pub(crate) running: Vec<Entry>,
    pub(crate) running_unlisted: usize,
    pub(crate) failures: Vec<Entry>,
    pub(crate) paused_until: Option<Micros>,
}

impl Default for View {
    fn default() -> Self {
        View {
            outlook: Outlook::Idle,
            sentence: "Starting".to_owned(),
            running: Vec::new(),
            running_unlisted: 0,
            failures: Vec::new(),
            paused_until: None,
        }
    }
}

/// What the policy knows beside the fleet.
#[derive(Debug)]
pub(crate) struct Concerns {
    pub(crate) unseen_failures: BTreeSet<Which>,
    pub(crate) in_doubt: BTreeSet<Which>,
}

pub(crate) fn view(
    fleet: &Fleet,
    concerns: &Concerns,
    connections: &[Described],
    paused_until: Option<Micros>,
) -> View {
    let mut active: Vec<(&Which, &Summary)> =
        fleet.iter().filter(|(_, summary)| summary.standing() == Standing::Active).collect();
    active.sort_by_key(|(which, summary)| (summary.started_at, *which));
    let mut failed: Vec<(&Which, &Summary)> = fleet
        .iter()
        .filter(|(_, summary)| {
            matches!(summary.standing(), Standing::Failed | Standing::Interrupted)
        })
        .collect();
    failed.sort_by_key(|(which, summary)| {
        std::cmp::Reverse((summary.finished_at.or(summary.updated_at), *which))
    });

    let down: Vec<&Described> = connections
        .iter()
        .filter(|connection| matches!(connection.state, State::Waiting | State::Stopped))
        .collect();
    let hindered = connections
        .iter()
        .find(|connection| connection.state == State::Ready && connection.sentence.is_some());

    let outlook = [
        (!concerns.unseen_failures.is_empty(), Outlook::Failed),
        (!down.is_empty(), Outlook::Offline),
        (!concerns.in_doubt.is_empty() || hindered.is_some(), Outlook::Attention),
        (!active.is_empty(), Outlook::Running),
    ]
    .into_iter()
    .find_map(|(stands, outlook)| stands.then_some(outlook))
    .unwrap_or(Outlook::Idle);

    let mut parts = Vec::new();
    for (count, words) in [
        (active.len(), "running"),
        (concerns.unseen_failures.len(), "failed"),
        (concerns.in_doubt.len(), "quiet or out of contact"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    let mut sentence =
        if parts.is_empty() { "Nothing is being installed".to_owned() } else { parts.join(", ") };
    if let Some(connection) = down.first().or(hindered.as_ref())
        && let Some(said) = &connection.sentence
    {
        let collector = Some(plain(&connection.name, 30)).filter(|_| connections.len() > 1);
        sentence = format!("{sentence}. {}", named(collector.as_deref(), said));
    }

    View {
        outlook,
        sentence,
        running_unlisted: active.len().saturating_sub(RUNNING_LISTED),
        running: active
            .into_iter()
            .take(RUNNING_LISTED)
            .map(|(which, summary)| running_entry(fleet, which, summary))
            .collect(),
        failures: failed
            .into_iter()
            .take(FAILURES_LISTED)
            .map(|(which, summary)| failed_entry(fleet, which, summary))
            .collect(),
        paused_until,
    }
}

fn running_entry(fleet: &Fleet, which: &Which, summary: &Summary) -> Entry {
    let mut label = named(fleet.collector(which), &summary.console());
    if let Some(phase) = summary.phase().or_else(|| summary.template()) {
        label = format!("{label} · {phase}");
    }
    if let Some(progress) = summary.progress.filter(|progress| progress.is_finite()) {
        label = format!("{label} · {:.0} %", (progress * 100.0).clamp(0.0, 100.0));
    }
    Entry { which: which.clone(), label, route: which.route(None) }
}

fn failed_entry(fleet: &Fleet, which: &Which, summary: &Summary) -> Entry {
    let console = named(fleet.collector(which), &summary.console());
    let why = summary
        .failure
        .as_ref()
        .map(|failure| plain(&failure.message, 60))
        .filter(|why| !why.is_empty());
    let why = why.unwrap_or_else(|| match summary.standing() {
        Standing::Interrupted => "interrupted".to_owned(),
        Standing::Active | Standing::Succeeded | Standing::Failed | Standing::Cancelled => {
            "failed".to_owned()
        }
    });
    Entry {
        which: which.clone(),
        label: format!("{console} · {why}"),
        route: which.route(summary.failing_seq()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::fleet::Failure;
    use std::sync::Arc;

    fn fleet(states: &[(&str, &str)]) -> Fleet {
        let mut fleet = Fleet::default();
        let summaries = states.iter().enumerate().map(|(at, (id, state))| Summary {
            id: (*id).into(),
            name: format!("Bay {id}"),
            state: (*state).into(),
            outcome: (*state != "running").then(|| (*state).to_owned()),
            started_at: Some(Micros(at.cast_signed() as i64)),
            finished_at: Some(Micros(at.cast_signed() as i64)),
            failure: (*state == "failed")
                .then(|| Failure { message: "no space".into(), seq: Some(7) }),
            ..Summary::default()
        });
        fleet.replace(&Arc::from("local"), summaries.collect());
        fleet
    }

    fn which(id: &str) -> Which {
        Which { connection: "local".into(), deployment: id.into() }
    }

    fn described(state: State, sentence: Option<&str>) -> Described {
        Described {
            id: "local".into(),
            name: "This computer".into(),
            kind: "local",
            state,
            sentence: sentence.map(Into::into),
            listen: None,
            login: None,
        }
    }

    fn none() -> Concerns {
        Concerns { unseen_failures: BTreeSet::new(), in_doubt: BTreeSet::new() }
    }

    #[test]
    fn the_worst_wins() {
        let ready = [described(State::Ready, None)];
        let running = fleet(&[("1", "running"), ("2", "failed"), ("3", "succeeded")]);
        assert_eq!(view(&fleet(&[]), &none(), &ready, None).outlook, Outlook::Idle);
        assert_eq!(view(&running, &none(), &ready, None).outlook, Outlook::Running);
        let hindered = [described(State::Ready, Some("Consoles cannot connect"))];
        assert_eq!(view(&running, &none(), &hindered, None).outlook, Outlook::Attention);
        let doubt = Concerns { in_doubt: BTreeSet::from([which("1")]), ..none() };
        assert_eq!(view(&running, &doubt, &ready, None).outlook, Outlook::Attention);
        let down = [described(State::Ready, None), described(State::Waiting, Some("It stopped"))];
        assert_eq!(view(&running, &doubt, &down, None).outlook, Outlook::Offline);
        let failed = Concerns { unseen_failures: BTreeSet::from([which("2")]), ..doubt };
        let worst = view(&running, &failed, &down, None);
        assert_eq!(worst.outlook, Outlook::Failed);
        assert_eq!(
            worst.sentence,
            "1 running, 1 failed, 1 quiet or out of contact. This computer · It stopped"
        );
    }

    #[test]
    fn the_menu_lists_what_runs_and_what_failed_last() {
        let states: Vec<(String, &str)> = (0..14).map(|id| (id.to_string(), "running")).collect();
        let mut states: Vec<(&str, &str)> =
            states.iter().map(|(id, state)| (id.as_str(), *state)).collect();
        states.extend([("f1", "failed"), ("f2", "interrupted")]);
        let view = view(&fleet(&states), &none(), &[], None);
        assert_eq!((view.running.len(), view.running_unlisted), (10, 4));
        assert_eq!(view.failures[0].label, "Bay f2 · interrupted");
        assert_eq!(view.failures[1].label, "Bay f1 · no space");
        assert_eq!(view.failures[1].route, "/deployments/f1?seq=7");
    }

    #[test]
    fn with_several_collectors_each_line_says_which() {
        let mut fleet = fleet(&[("1", "running"), ("2", "failed")]);
        fleet.replace(
            &Arc::from("r1"),
            vec![Summary { id: "3".into(), name: "Bay 3".into(), ..Summary::default() }],
        );
        let names = [("local", "This computer"), ("r1", "HQ\u{202e}")];
        fleet.know(names.iter().map(|(id, name)| (Arc::from(*id), Arc::from(*name))));
        let view = view(&fleet, &none(), &[], None);
        let labels: Vec<&str> = view.running.iter().map(|entry| entry.label.as_str()).collect();
        assert_eq!(labels, ["HQ · Bay 3", "This computer · Bay 1"]);
        assert_eq!(view.failures[0].label, "This computer · Bay 2 · no space");
        assert_eq!(&*view.running[0].which.connection, "r1");
    }
}
