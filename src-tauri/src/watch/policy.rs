//! What the operator is told of, and when: the notification policy. Pure; time is an argument.
//!
//! **Incidents.** A deployment has at most one: it failed, was interrupted, fell silent (connected, but nothing printed
//! for the collector's deadline), lost contact (for longer than [`CONTACT_GRACE`], so that a short cut of the link
//! says nothing), or finished. It changes its cause as the deployment develops, and ends when the cause does.
//!
//! **Notices.** [`Policy::apply`] works out which notices *should* stand and answers with the difference to those that
//! do: [`Act::Show`] (also to replace one in place) and [`Act::Withdraw`]. So the same facts twice say nothing twice.
//!
//! **Groups.** Incidents of one cause that follow each other within [`BURST`] belong together; from the third on they
//! are one notice, which grows and shrinks with them. Those before the third are withdrawn: told at once, never twice.
//!
//! **Urgency.** *Critical* (stays until dismissed, passes do-not-disturb) is for what stops play: a deployment that
//! failed or was interrupted leaves its console unusable until somebody acts. Silence and lost contact are *normal*:
//! the installation goes on by itself. A finish is *low*.
//!
//! **Quiet.** While paused nothing is shown or changed; what still stands at the end of the pause is told then, as one
//! group where it is many. A snoozed notice comes back after [`SNOOZE`] if its cause still stands. One that was opened
//! or dismissed stays away until the deployment's cause changes. What had ended before the app started is no news.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Contact, Fleet, Standing, Summary, Which, console_of};
use super::text;
use crate::clock::Micros;
use crate::preferences::Choices;

pub(crate) const CONTACT_GRACE: Duration = Duration::from_secs(30);
pub(crate) const BURST: Duration = Duration::from_secs(60);
pub(crate) const SNOOZE: Duration = Duration::from_secs(600);
/// From this many on, incidents of a burst are one notice.
pub(crate) const GROUP_FROM: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Failed,
    Interrupted,
    Silent,
    LostContact,
    Succeeded,
    Cancelled,
}

impl Cause {
    fn urgency(self) -> Urgency {
        match self {
            Cause::Failed | Cause::Interrupted => Urgency::Critical,
            Cause::Silent | Cause::LostContact => Urgency::Normal,
            Cause::Succeeded | Cause::Cancelled => Urgency::Low,
        }
    }

    /// Something that the operator should look at until it is seen or over.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Cause::Failed | Cause::Interrupted)
    }

    fn is_wanted(self, choices: &Choices) -> bool {
        match self {
            Cause::Failed | Cause::Interrupted => choices.notify_failure,
            Cause::Silent | Cause::LostContact => choices.notify_silence,
            Cause::Succeeded | Cause::Cancelled => choices.notify_finish,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Low,
    Normal,
    Critical,
}

/// What a notice is about; one is shown per key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    One(Which),
    Group(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) urgency: Urgency,
    pub(crate) title: String,
    pub(crate) body: String,
    /// Where a click leads, and on which connection that is; a group may be of several.
    pub(crate) route: String,
    pub(crate) connection: Option<Arc<str>>,
    /// What the button that follows it says.
    pub(crate) open: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Show this, in place of what stands under the key.
    Show(Key, Notice),
    Withdraw(Key),
}

/// What the operator did with a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Response {
    Opened,
    Snoozed,
    Dismissed,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Fact<'a> {
    /// The fleet is as given.
    Fleet(&'a Fleet),
    Responded(&'a Key, Response),
    /// The operator opened the deployment, by whatever way.
    Seen(&'a Which),
    Chose(Choices),
    /// Time has passed.
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attention {
    Wanted,
    Snoozed { until: Micros },
    Settled,
}

#[derive(Debug, Clone)]
struct Incident {
    cause: Cause,
    burst: u64,
    attention: Attention,
    seen: bool,
    title: String,
    body: String,
    console: String,
    /// Where it is, as it was when it began: a notice that stands is not told anew because a collector was added.
    collector: Option<String>,
    route: String,
}

#[derive(Debug)]
struct Burst {
    id: u64,
    last_at: Micros,
}

#[derive(Debug)]
pub(crate) struct Policy {
    started_at: Micros,
    choices: Choices,
    incidents: BTreeMap<Which, Incident>,
    /// The burst that is going on, of each cause.
    bursts: BTreeMap<Cause, Burst>,
    /// Bursts that reached the size of a group once; they stay one.
    grouped: BTreeSet<u64>,
    next_burst: u64,
    /// Since when a console of a running deployment is out of contact.
    out_of_contact: BTreeMap<Which, Micros>,
    shown: BTreeMap<Key, Notice>,
}

impl Policy {
    /// `started_at`: what ended before is no news.
    pub(crate) fn new(started_at: Micros, choices: Choices) -> Policy {
        Policy {
            started_at,
            choices,
            incidents: BTreeMap::new(),
            bursts: BTreeMap::new(),
            grouped: BTreeSet::new(),
            next_burst: 1,
            out_of_contact: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Takes in a fact and says what to do. Call it with [`Fact::Tick`] at [`Policy::due_at`].
    pub(crate) fn apply(&mut self, now: Micros, fact: &Fact<'_>) -> Vec<Act> {
        match fact {
            Fact::Fleet(fleet) => self.compare(now, fleet),
            Fact::Responded(key, response) => self.responded(now, key, *response),
            Fact::Seen(which) => self.seen(which),
            Fact::Chose(choices) => self.choices = choices.clone(),
            Fact::Tick => {}
        }
        for incident in self.incidents.values_mut() {
            if matches!(incident.attention, Attention::Snoozed { until } if until <= now) {
                incident.attention = Attention::Wanted;
            }
        }
        self.difference(now)
    }

    /// When [`Fact::Tick`] (with a [`Fact::Fleet`] before it, for consoles out of contact) may change something.
    pub(crate) fn due_at(&self, now: Micros) -> Option<Micros> {
        let snoozes = self.incidents.values().filter_map(|incident| match incident.attention {
            Attention::Snoozed { until } => Some(until),
            Attention::Wanted | Attention::Settled => None,
        });
        let pending =
            self.out_of_contact.iter().filter(|(which, _)| !self.incidents.contains_key(*which));
        let graces =
            pending.map(|(_, since)| since.plus_secs(CONTACT_GRACE.as_secs().cast_signed()));
        let pause = self.choices.paused_until_at.filter(|until| now < *until);
        snoozes.chain(graces).chain(pause).min()
    }

    /// Deployments that failed and that nobody has looked at.
    pub(crate) fn unseen_failures(&self) -> BTreeSet<Which> {
        let unseen = self
            .incidents
            .iter()
            .filter(|(_, incident)| incident.cause.is_failure() && !incident.seen);
        unseen.map(|(which, _)| which.clone()).collect()
    }

    /// Running deployments that have gone quiet or out of contact.
    pub(crate) fn in_doubt(&self) -> BTreeSet<Which> {
        let doubtful = |cause| matches!(cause, Cause::Silent | Cause::LostContact);
        self.incidents
            .iter()
            .filter(|(_, incident)| doubtful(incident.cause))
            .map(|(which, _)| which.clone())
            .collect()
    }

    fn compare(&mut self, now: Micros, fleet: &Fleet) {
        self.incidents.retain(|which, _| fleet.get(which).is_some());
        self.out_of_contact.retain(|which, _| fleet.get(which).is_some());
        let latest = fleet.latest_of_each_console();
        for (which, summary) in fleet.iter() {
            let superseded =
                latest.get(&console_of(which, summary)).is_some_and(|at| *at > summary.started_at);
            let cause = self.cause(now, which, summary, superseded);
            self.develop(now, which, summary, fleet.collector(which), cause);
        }
    }

    /// What stands with this deployment now.
    fn cause(
        &mut self,
        now: Micros,
        which: &Which,
        summary: &Summary,
        superseded: bool,
    ) -> Option<Cause> {
        let ended = match summary.standing() {
            Standing::Active => None,
            Standing::Failed => Some(Cause::Failed),
            Standing::Interrupted => Some(Cause::Interrupted),
            Standing::Succeeded => Some(Cause::Succeeded),
            Standing::Cancelled => Some(Cause::Cancelled),
        };
        if let Some(cause) = ended {
            self.out_of_contact.remove(which);
            let ended_at = summary.updated_at.or(summary.finished_at);
            let news = self.incidents.contains_key(which)
                || ended_at.is_none_or(|at| at >= self.started_at);
            return (news && !superseded).then_some(cause);
        }
        match summary.presence.kind {
            Contact::Offline => {
                let since = *self.out_of_contact.entry(which.clone()).or_insert(now);
                (now.since(since) >= CONTACT_GRACE).then_some(Cause::LostContact)
            }
            Contact::Silent => {
                self.out_of_contact.remove(which);
                Some(Cause::Silent)
            }
            Contact::Live | Contact::Behind | Contact::Ended | Contact::Unknown => {
                self.out_of_contact.remove(which);
                None
            }
        }
    }

    fn develop(
        &mut self,
        now: Micros,
        which: &Which,
        summary: &Summary,
        collector: Option<&str>,
        cause: Option<Cause>,
    ) {
        let Some(cause) = cause else {
            self.incidents.remove(which);
            return;
        };
        let route = which.route(summary.failing_seq());
        match self.incidents.get_mut(which) {
            Some(incident) if incident.cause == cause => {
                // Details may come later than the fact; a clock in the words must not move it.
                if cause.is_failure() {
                    let (title, body) =
                        text::one(cause, summary, incident.collector.as_deref(), now);
                    (incident.title, incident.body, incident.route) = (title, body, route);
                }
            }
            _ => {
                let attention = if cause.is_wanted(&self.choices) {
                    Attention::Wanted
                } else {
                    Attention::Settled
                };
                let burst = self.burst(now, cause);
                let (title, body) = text::one(cause, summary, collector, now);
                let incident = Incident {
                    cause,
                    burst,
                    attention,
                    seen: false,
                    title,
                    body,
                    console: summary.console(),
                    collector: collector.map(str::to_owned),
                    route,
                };
                self.incidents.insert(which.clone(), incident);
            }
        }
    }

    /// The burst that an incident of this cause joins now.
    fn burst(&mut self, now: Micros, cause: Cause) -> u64 {
        let paused = self.choices.paused_at(now);
        if let Some(burst) = self.bursts.get_mut(&cause)
            && (paused || now.since(burst.last_at) <= BURST)
        {
            burst.last_at = now;
            return burst.id;
        }
        let id = self.next_burst;
        self.next_burst += 1;
        self.bursts.insert(cause, Burst { id, last_at: now });
        id
    }

    fn responded(&mut self, now: Micros, key: &Key, response: Response) {
        let until = now.plus_secs(SNOOZE.as_secs().cast_signed());
        for (which, incident) in &mut self.incidents {
            let meant = match key {
                Key::One(one) => one == which,
                Key::Group(burst) => *burst == incident.burst,
            };
            if meant && incident.attention == Attention::Wanted {
                match response {
                    Response::Opened => {
                        (incident.attention, incident.seen) = (Attention::Settled, true);
                    }
                    Response::Dismissed => incident.attention = Attention::Settled,
                    Response::Snoozed => incident.attention = Attention::Snoozed { until },
                }
            }
        }
    }

    fn seen(&mut self, which: &Which) {
        if let Some(incident) = self.incidents.get_mut(which) {
            incident.seen = true;
            incident.attention = Attention::Settled;
        }
    }

    /// From what stands to what should stand.
    fn difference(&mut self, now: Micros) -> Vec<Act> {
        let should = self.should_stand();
        let paused = self.choices.paused_at(now);
        let mut acts = Vec::new();
        let gone: Vec<Key> =
            self.shown.keys().filter(|key| !should.contains_key(*key)).cloned().collect();
        for key in gone {
            self.shown.remove(&key);
            acts.push(Act::Withdraw(key));
        }
        if paused {
            return acts;
        }
        for (key, notice) in should {
            if self.shown.get(&key) != Some(&notice) {
                self.shown.insert(key.clone(), notice.clone());
                acts.push(Act::Show(key, notice));
            }
        }
        acts
    }

    fn should_stand(&mut self) -> BTreeMap<Key, Notice> {
        let mut bursts: BTreeMap<u64, Vec<(&Which, &Incident)>> = BTreeMap::new();
        let wanted = self.incidents.iter().filter(|(_, incident)| {
            incident.attention == Attention::Wanted && incident.cause.is_wanted(&self.choices)
        });
        for (which, incident) in wanted {
            bursts.entry(incident.burst).or_default().push((which, incident));
        }
        let large = bursts.iter().filter(|(_, members)| members.len() >= GROUP_FROM);
        self.grouped.extend(large.map(|(id, _)| *id));
        let current: BTreeSet<u64> = self.bursts.values().map(|burst| burst.id).collect();
        self.grouped.retain(|id| current.contains(id) || bursts.contains_key(id));

        let mut notices = BTreeMap::new();
        for (id, members) in bursts {
            let Some((of, first)) = members.first() else { continue };
            if self.grouped.contains(&id) {
                let consoles: Vec<(Option<&str>, &str)> = members
                    .iter()
                    .map(|(_, incident)| (incident.collector.as_deref(), incident.console.as_str()))
                    .collect();
                let common = members.iter().all(|(which, _)| which.connection == of.connection);
                let (title, body) = text::many(first.cause, &consoles);
                let notice = Notice {
                    urgency: first.cause.urgency(),
                    title,
                    body,
                    route: "/live".into(),
                    connection: common.then(|| of.connection.clone()),
                    open: "Open Live",
                };
                notices.insert(Key::Group(id), notice);
                continue;
            }
            for (which, incident) in members {
                let notice = Notice {
                    urgency: incident.cause.urgency(),
                    title: incident.title.clone(),
                    body: incident.body.clone(),
                    route: incident.route.clone(),
                    connection: Some(which.connection.clone()),
                    open: "Open log",
                };
                notices.insert(Key::One(which.clone()), notice);
            }
        }
        notices
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
