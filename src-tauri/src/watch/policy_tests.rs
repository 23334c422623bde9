use std::sync::Arc;

use proptest::prelude::*;

use super::super::fleet::{Failure, Presence};
use super::*;

const START: Micros = Micros(1_000_000_000);

fn at(seconds: i64) -> Micros {
    START.plus_secs(seconds)
}

/// A fleet to change, with the policy it is told to and the notices that a desktop would show.
struct Venue {
    policy: Policy,
    fleet: Fleet,
    desktop: BTreeMap<Key, Notice>,
    now: Micros,
}

impl Venue {
    fn new(choices: Choices) -> Venue {
        Venue {
            policy: Policy::new(START, choices),
            fleet: Fleet::default(),
            desktop: BTreeMap::new(),
            now: at(1),
        }
    }

    fn take(&mut self, acts: Vec<Act>) -> Vec<Act> {
        for act in &acts {
            match act {
                Act::Show(key, notice) => {
                    self.desktop.insert(key.clone(), notice.clone());
                }
                Act::Withdraw(key) => {
                    assert!(
                        self.desktop.remove(key).is_some(),
                        "withdrew what was not shown: {key:?}"
                    );
                }
            }
        }
        acts
    }

    fn set(&mut self, id: usize, state: &str, contact: Contact) -> Vec<Act> {
        self.stage(id, state, contact);
        self.tell()
    }

    fn stage(&mut self, id: usize, state: &str, contact: Contact) {
        let summary = Summary {
            id: id.to_string(),
            console_id: format!("c{id}"),
            name: format!("Bay {id}"),
            state: state.into(),
            outcome: (state != "running").then(|| state.to_owned()),
            presence: Presence { kind: contact, since_at: Some(self.now) },
            started_at: Some(START),
            updated_at: Some(self.now),
            failure: (state == "failed").then(|| Failure { message: "boom".into(), seq: Some(3) }),
            ..Summary::default()
        };
        self.fleet.change(&Arc::from("local"), vec![summary]);
    }

    fn tell(&mut self) -> Vec<Act> {
        let acts = self.policy.apply(self.now, &Fact::Fleet(&self.fleet));
        self.take(acts)
    }

    fn pass(&mut self, seconds: i64) -> Vec<Act> {
        self.now = self.now.plus_secs(seconds);
        self.tell()
    }

    fn respond(&mut self, key: &Key, response: Response) -> Vec<Act> {
        // The desktop closes a notice by itself when it was answered; withdrawing it then does no harm.
        let acts = self.policy.apply(self.now, &Fact::Responded(key, response));
        self.take(acts)
    }

    fn choose(&mut self, choices: Choices) -> Vec<Act> {
        let acts = self.policy.apply(self.now, &Fact::Chose(choices));
        self.take(acts)
    }

    fn titles(&self) -> Vec<&str> {
        self.desktop.values().map(|notice| notice.title.as_str()).collect()
    }
}

fn which(id: usize) -> Which {
    Which { connection: "local".into(), deployment: id.to_string() }
}

fn one(id: usize) -> Key {
    Key::One(which(id))
}

#[test]
fn a_failure_is_told_once_and_leads_to_its_line() {
    let mut venue = Venue::new(Choices::default());
    assert_eq!(venue.set(1, "running", Contact::Live), []);
    venue.set(1, "failed", Contact::Ended);
    let notice = &venue.desktop[&one(1)];
    assert_eq!(notice.urgency, Urgency::Critical);
    assert_eq!(notice.route, "/deployments/1?seq=3");
    assert_eq!(venue.tell(), []);
    assert_eq!(venue.policy.unseen_failures(), BTreeSet::from([which(1)]));
    venue.respond(&one(1), Response::Opened);
    assert_eq!(venue.titles(), Vec::<&str>::new());
    assert_eq!(venue.policy.unseen_failures(), BTreeSet::new());
    assert_eq!(venue.pass(1), []);
}

#[test]
fn what_ended_before_the_start_is_no_news() {
    let mut venue = Venue::new(Choices { notify_finish: true, ..Choices::default() });
    venue.now = at(-100);
    venue.stage(1, "failed", Contact::Ended);
    venue.stage(2, "succeeded", Contact::Ended);
    venue.now = at(1);
    assert_eq!(venue.tell(), []);
    assert!(venue.policy.unseen_failures().is_empty());
}

#[test]
fn an_incident_is_replaced_as_it_develops() {
    let mut venue = Venue::new(Choices::default());
    venue.set(1, "running", Contact::Silent);
    assert_eq!(venue.titles(), ["Bay 1 has gone quiet"]);
    assert_eq!(venue.desktop[&one(1)].urgency, Urgency::Normal);
    let acts = venue.set(1, "failed", Contact::Ended);
    assert!(matches!(acts.as_slice(), [Act::Show(key, _)] if *key == one(1)), "{acts:?}");
    assert_eq!(venue.titles(), ["Bay 1: installation failed"]);
}

#[test]
fn silence_that_ends_takes_its_notice_along() {
    let mut venue = Venue::new(Choices::default());
    venue.set(1, "running", Contact::Silent);
    assert_eq!(venue.set(1, "running", Contact::Live), [Act::Withdraw(one(1))]);
}

#[test]
fn a_short_cut_of_the_link_says_nothing() {
    let mut venue = Venue::new(Choices::default());
    venue.set(1, "running", Contact::Offline);
    assert_eq!(venue.policy.due_at(venue.now), Some(venue.now.plus_secs(30)));
    assert_eq!(venue.pass(29), []);
    venue.set(1, "running", Contact::Live);
    venue.pass(60);
    assert_eq!(venue.titles(), Vec::<&str>::new());

    venue.set(1, "running", Contact::Offline);
    venue.pass(30);
    assert_eq!(venue.titles(), ["Bay 1: no contact"]);
    assert_eq!(venue.policy.in_doubt(), BTreeSet::from([which(1)]));
}

#[test]
fn a_finish_is_told_only_by_preference() {
    let mut venue = Venue::new(Choices::default());
    venue.set(1, "succeeded", Contact::Ended);
    assert!(venue.desktop.is_empty());
    let choices = Choices { notify_finish: true, ..Choices::default() };
    assert_eq!(
        venue.choose(choices.clone()),
        [],
        "an old finish is not told when the preference changes"
    );
    venue.set(2, "succeeded", Contact::Ended);
    assert_eq!(venue.desktop[&one(2)].urgency, Urgency::Low);
}

#[test]
fn many_at_once_are_one() {
    let mut venue = Venue::new(Choices::default());
    for id in 0..5 {
        venue.stage(id, "running", Contact::Offline);
    }
    venue.tell();
    venue.pass(30);
    assert_eq!(venue.titles(), ["5 consoles lost contact"]);
    // It shrinks with them and ends with the last.
    for id in 0..4 {
        venue.set(id, "running", Contact::Live);
    }
    assert_eq!(venue.titles(), ["1 console lost contact"]);
    venue.set(4, "running", Contact::Live);
    assert!(venue.desktop.is_empty());
}

#[test]
fn the_third_in_a_row_turns_them_into_a_group() {
    let mut venue = Venue::new(Choices::default());
    venue.set(1, "failed", Contact::Ended);
    venue.pass(20);
    venue.set(2, "failed", Contact::Ended);
    assert_eq!(venue.desktop.len(), 2);
    venue.pass(20);
    venue.set(3, "failed", Contact::Ended);
    assert_eq!(venue.titles(), ["3 installations failed"]);
    // Much later it is a matter of its own.
    venue.pass(600);
    venue.set(4, "failed", Contact::Ended);
    assert_eq!(venue.desktop.len(), 2);
}

#[test]
fn a_pause_is_silent_and_its_end_tells_what_still_stands() {
    let mut venue = Venue::new(Choices::default());
    let until = venue.now.plus_secs(1800);
    venue.choose(Choices { paused_until_at: Some(until), ..Choices::default() });
    for id in 0..4 {
        venue.set(id, "failed", Contact::Ended);
        venue.pass(200);
    }
    venue.set(9, "running", Contact::Silent);
    venue.set(9, "running", Contact::Live);
    assert!(venue.desktop.is_empty());
    assert_eq!(venue.policy.due_at(venue.now), Some(until));
    venue.now = until;
    let acts = venue.policy.apply(until, &Fact::Tick);
    venue.take(acts);
    assert_eq!(venue.titles(), ["4 installations failed"]);
}

#[test]
fn a_snoozed_one_comes_back_if_it_still_stands() {
    let mut venue = Venue::new(Choices::default());
    venue.set(1, "running", Contact::Silent);
    venue.respond(&one(1), Response::Snoozed);
    assert_eq!(venue.policy.due_at(venue.now), Some(venue.now.plus_secs(600)));
    assert_eq!(venue.pass(599), []);
    venue.pass(1);
    assert_eq!(venue.titles(), ["Bay 1 has gone quiet"]);
    // A dismissed one stays away, until something else happens.
    venue.respond(&one(1), Response::Dismissed);
    assert_eq!(venue.pass(10_000), []);
    venue.set(1, "failed", Contact::Ended);
    assert_eq!(venue.titles(), ["Bay 1: installation failed"]);
}

#[test]
fn a_new_run_on_the_console_ends_the_old_failure() {
    let mut venue = Venue::new(Choices::default());
    venue.set(1, "failed", Contact::Ended);
    let next = Summary {
        id: "2".into(),
        console_id: "c1".into(),
        state: "running".into(),
        started_at: Some(at(50)),
        ..Summary::default()
    };
    venue.fleet.change(&Arc::from("local"), vec![next]);
    assert_eq!(venue.tell(), [Act::Withdraw(one(1))]);
    assert!(venue.policy.unseen_failures().is_empty());
}

#[derive(Debug, Clone)]
enum Event {
    Set(usize, &'static str, Contact),
    Pass(i64),
    Respond(usize, Response),
    Pause(i64),
    Prefer(bool, bool, bool),
    Vanish(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop::sample::select(vec![
        "running",
        "running",
        "failed",
        "interrupted",
        "succeeded",
        "cancelled",
        "odd",
    ]);
    let contacts =
        vec![Contact::Live, Contact::Offline, Contact::Silent, Contact::Behind, Contact::Unknown];
    let response =
        prop::sample::select(vec![Response::Opened, Response::Snoozed, Response::Dismissed]);
    prop_oneof![
        6 => (0..6usize, state, prop::sample::select(contacts)).prop_map(|(id, state, contact)| Event::Set(id, state, contact)),
        3 => (0..700i64).prop_map(Event::Pass),
        2 => (0..6usize, response).prop_map(|(nth, response)| Event::Respond(nth, response)),
        1 => (0..4000i64).prop_map(Event::Pause),
        1 => any::<(bool, bool, bool)>().prop_map(|(a, b, c)| Event::Prefer(a, b, c)),
        1 => (0..6usize).prop_map(Event::Vanish),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(events in prop::collection::vec(event(), 1..60)) {
        let mut venue = Venue::new(Choices::default());
        let mut choices = Choices::default();
        for event in events {
            let paused_before = choices.paused_at(venue.now);
            let acts = match event {
                Event::Set(id, state, contact) => venue.set(id, state, contact),
                Event::Pass(seconds) => venue.pass(seconds),
                Event::Respond(nth, response) => match venue.desktop.keys().nth(nth).cloned() {
                    Some(key) => venue.respond(&key, response),
                    None => Vec::new(),
                },
                Event::Pause(seconds) => {
                    choices.paused_until_at = Some(venue.now.plus_secs(seconds));
                    venue.choose(choices.clone())
                }
                Event::Prefer(failure, silence, finish) => {
                    choices.notify_failure = failure;
                    choices.notify_silence = silence;
                    choices.notify_finish = finish;
                    venue.choose(choices.clone())
                }
                Event::Vanish(id) => {
                    venue.fleet.remove(&[which(id)]);
                    venue.tell()
                }
            };
            // Nothing new during a pause.
            if paused_before && choices.paused_at(venue.now) {
                prop_assert!(!acts.iter().any(|act| matches!(act, Act::Show(..))), "{acts:?}");
            }
            // The desktop shows what the policy believes, and saying it all again changes nothing.
            prop_assert_eq!(&venue.desktop, &venue.policy.shown);
            prop_assert_eq!(venue.tell(), []);
            // A deployment is in one notice at most, and a notice is about something that is there.
            for (key, notice) in &venue.desktop {
                if let Key::One(which) = key {
                    prop_assert!(venue.fleet.get(which).is_some());
                    let incident = &venue.policy.incidents[which];
                    prop_assert!(!venue.desktop.contains_key(&Key::Group(incident.burst)));
                }
                prop_assert!(!notice.title.is_empty());
            }
            // Outside a pause a failure that nobody answered is told.
            if !choices.paused_at(venue.now) {
                for (which, incident) in &venue.policy.incidents {
                    let told = venue.desktop.contains_key(&Key::One(which.clone()))
                        || venue.desktop.contains_key(&Key::Group(incident.burst));
                    let should = incident.attention == Attention::Wanted && incident.cause.is_wanted(&choices);
                    prop_assert!(told || !should, "{which:?} {incident:?}");
                }
            }
            // Whoever wakes at the due time is never late, and never wakes for the past.
            if let Some(due) = venue.policy.due_at(venue.now) {
                prop_assert!(due > venue.now, "due {due:?} at {:?}", venue.now);
            }
        }
    }
}
