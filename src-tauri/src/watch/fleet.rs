//! The little that the shell reads of a deployment.
//!
//! The shell is a viewer like any other: it must live with fields and values that a later collector adds. Unknown
//! states count as under way until an outcome says otherwise; unknown presence says nothing. Names and lines come
//! from consoles: what is shown outside the webview goes through [`plain`] first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use crate::clock::Micros;

/// A deployment as the shell knows it, of whichever connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Which {
    pub(crate) connection: Arc<str>,
    pub(crate) deployment: String,
}

impl Which {
    /// The route of the interface that shows it, at `seq` when there is one.
    pub(crate) fn route(&self, seq: Option<u64>) -> String {
        match seq {
            Some(seq) => format!("/deployments/{}?seq={seq}", self.deployment),
            None => format!("/deployments/{}", self.deployment),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    Succeeded,
    Failed,
    Cancelled,
    Interrupted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contact {
    Live,
    Behind,
    Offline,
    Silent,
    Ended,
    #[default]
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Presence {
    pub(crate) kind: Contact,
    pub(crate) since_at: Option<Micros>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) seq: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Phase {
    pub(crate) index: u64,
    pub(crate) name: String,
}

/// The summary as it comes, the part we read.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) console_id: String,
    pub(crate) name: String,
    pub(crate) template: Option<String>,
    pub(crate) state: String,
    pub(crate) outcome: Option<String>,
    pub(crate) presence: Presence,
    pub(crate) started_at: Option<Micros>,
    pub(crate) finished_at: Option<Micros>,
    pub(crate) updated_at: Option<Micros>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) current_phase: Option<u64>,
    pub(crate) progress: Option<f64>,
    pub(crate) failure: Option<Failure>,
}

impl Summary {
    pub(crate) fn standing(&self) -> Standing {
        match self.outcome.as_deref().unwrap_or(self.state.as_str()) {
            "succeeded" => Standing::Succeeded,
            "failed" => Standing::Failed,
            "cancelled" => Standing::Cancelled,
            "interrupted" => Standing::Interrupted,
            // An outcome that we do not know is still an end.
            _ if self.outcome.is_some() => Standing::Succeeded,
            _ => Standing::Active,
        }
    }

    /// The console, in a few plain words.
    pub(crate) fn console(&self) -> String {
        let name = plain(&self.name, 40);
        if name.is_empty() { "A console".to_owned() } else { name }
    }

    pub(crate) fn template(&self) -> Option<String> {
        let template = plain(self.template.as_deref()?, 60);
        (!template.is_empty()).then_some(template)
    }

    /// The phase it is in, or was in at its end.
    pub(crate) fn phase(&self) -> Option<String> {
        let index = self.current_phase?;
        let phase = self.phases.iter().find(|phase| phase.index == index)?;
        let name = plain(&phase.name, 60);
        (!name.is_empty()).then_some(name)
    }

    pub(crate) fn failing_seq(&self) -> Option<u64> {
        self.failure.as_ref()?.seq
    }
}

/// All deployments that the connections have told of.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    deployments: BTreeMap<Which, Summary>,
    /// The connections by their ids, as the operator calls their collectors.
    collectors: BTreeMap<Arc<str>, String>,
}

impl Fleet {
    /// Which connections there are now, by id and name.
    pub(crate) fn know(&mut self, connections: impl Iterator<Item = (Arc<str>, Arc<str>)>) {
        self.collectors = connections.map(|(id, name)| (id, plain(&name, 30))).collect();
    }

    /// The collector that a deployment is at; nothing where there is only one.
    pub(crate) fn collector(&self, which: &Which) -> Option<&str> {
        let several = self.collectors.len() > 1;
        let name = self.collectors.get(&which.connection).filter(|_| several)?;
        (!name.is_empty()).then_some(name.as_str())
    }

    /// Everything of one connection anew. Gives what is no longer there.
    pub(crate) fn replace(&mut self, connection: &Arc<str>, all: Vec<Summary>) -> Vec<Which> {
        let of_it = self.deployments.keys().filter(|which| which.connection == *connection);
        let mut gone: Vec<Which> = of_it.cloned().collect();
        gone.retain(|which| !all.iter().any(|summary| summary.id == which.deployment));
        self.remove(&gone);
        self.change(connection, all);
        gone
    }

    pub(crate) fn change(&mut self, connection: &Arc<str>, changed: Vec<Summary>) {
        for summary in changed {
            let which = Which { connection: connection.clone(), deployment: summary.id.clone() };
            self.deployments.insert(which, summary);
        }
    }

    pub(crate) fn remove(&mut self, gone: &[Which]) {
        for which in gone {
            self.deployments.remove(which);
        }
    }

    pub(crate) fn get(&self, which: &Which) -> Option<&Summary> {
        self.deployments.get(which)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Which, &Summary)> {
        self.deployments.iter()
    }

    /// When the latest deployment of each console was started: it takes the place of those before it.
    pub(crate) fn latest_of_each_console(&self) -> HashMap<(&str, &str), Option<Micros>> {
        let mut latest = HashMap::new();
        for (which, summary) in self.iter() {
            let at: &mut Option<Micros> = latest.entry(console_of(which, summary)).or_default();
            *at = (*at).max(summary.started_at);
        }
        latest
    }
}

/// The console of a deployment; without an id of one, the deployment stands for itself.
pub(crate) fn console_of<'a>(which: &'a Which, summary: &'a Summary) -> (&'a str, &'a str) {
    let console =
        if summary.console_id.is_empty() { &which.deployment } else { &summary.console_id };
    (&which.connection, console)
}

/// A console's name, with its collector's before it where there are several.
pub(crate) fn named(collector: Option<&str>, console: &str) -> String {
    match collector {
        Some(collector) => format!("{collector} · {console}"),
        None => console.to_owned(),
    }
}

/// One line of plain text of at most `most` characters: no control characters, no tricks with the writing direction.
pub(crate) fn plain(text: &str, most: usize) -> String {
    let direction = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let clean = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    let clean: String =
        clean.filter(|c| !c.is_control() && !direction(*c)).take(most * 4).collect();
    let clean = clean.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if clean.chars().count() <= most {
        return clean;
    }
    let mut short: String = clean.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_later_collector_can_be_read() {
        let summary: Summary = serde_json::from_value(json!({
            "id": "d1", "console_id": "c1", "name": "Bay 1", "template": null, "state": "rehearsing", "outcome": null,
            "presence": {"kind": "orbiting", "since_at": 5, "more": true}, "phases": [{"index": 0, "name": "Fetch", "x": 1}],
            "current_phase": 0, "failure": null, "brand_new": {}
        }))
        .unwrap();
        assert_eq!(summary.standing(), Standing::Active);
        assert_eq!(summary.presence.kind, Contact::Unknown);
        assert_eq!(summary.phase().as_deref(), Some("Fetch"));
    }

    #[test]
    fn words_of_a_console_are_made_plain() {
        assert_eq!(plain("Bay\u{1b}[31m 7\n\n\u{202e}x", 40), "Bay[31m 7 x");
        assert_eq!(plain(&"é".repeat(50), 10), format!("{}…", "é".repeat(9)));
        assert_eq!(plain("  \t ", 10), "");
    }

    #[test]
    fn a_snapshot_replaces_one_connection_only() {
        let (local, remote): (Arc<str>, Arc<str>) = ("local".into(), "remote".into());
        let of = |id: &str| Summary { id: id.into(), ..Summary::default() };
        let mut fleet = Fleet::default();
        fleet.replace(&local, vec![of("a"), of("b")]);
        fleet.replace(&remote, vec![of("a")]);
        let gone = fleet.replace(&local, vec![of("b"), of("c")]);
        assert_eq!(gone, [Which { connection: local, deployment: "a".into() }]);
        assert_eq!(fleet.iter().count(), 3);
    }
}
