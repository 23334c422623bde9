//! Who guesses is slowed down: pure, without I/O.
//!
//! From the fifth failure on each costs a wait that doubles, up to a quarter of an hour. Failures are counted
//! * by login and network together: who guesses from elsewhere keeps nobody waiting who comes from where they always do;
//! * by login alone, with a larger allowance, for who guesses from many networks. Networks from which that login came in lately are let
//!   off this;
//! * by network alone: a venue's people share one;
//! * within an open session by that session alone: nobody outside can keep its holder from showing who they are.
//!
//! A success forgets what was counted for its login and network, or its session.

use super::operators::normal;
use std::collections::HashMap;
use uuid::Uuid;

const FREE_HERE: u32 = 4;
const FREE_BY_LOGIN: u32 = 39;
const FREE_BY_NETWORK: u32 = 19;
const FIRST_WAIT_US: i64 = 15_000_000;
const LONGEST_WAIT_US: i64 = 15 * 60_000_000;
/// Failures are forgotten after so long without another.
const FORGOTTEN_US: i64 = 60 * 60_000_000;
/// Where somebody came in is remembered so long.
const KNOWN_US: i64 = 30 * 86_400_000_000;
/// So many are remembered; of more the older half is forgotten.
const MOST: usize = 10_000;

/// What a try is counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Here { login: String, network: String },
    Login(String),
    Network(String),
    Session(Uuid),
}

impl Key {
    const fn free(&self) -> u32 {
        match self {
            Self::Here { .. } | Self::Session(_) => FREE_HERE,
            Self::Login(_) => FREE_BY_LOGIN,
            Self::Network(_) => FREE_BY_NETWORK,
        }
    }
}

/// Who tries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Try<'a> {
    /// Whoever comes from a network and gives this login.
    Login { login: &'a str, network: &'a str },
    /// Whoever comes from a network and gives none.
    Network(&'a str),
    /// Whoever has this session open.
    Session(Uuid),
}

impl Try<'_> {
    fn keys(self) -> Vec<Key> {
        match self {
            Self::Login { login, network } => {
                let (login, network) = (normal(login), network.to_owned());
                let here = Key::Here { login: login.clone(), network: network.clone() };
                vec![here, Key::Login(login), Key::Network(network)]
            }
            Self::Network(network) => vec![Key::Network(network.to_owned())],
            Self::Session(session) => vec![Key::Session(session)],
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    failures: HashMap<Key, Failures>,
    /// By login and network: when that login last came in from there.
    known: HashMap<(String, String), i64>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last_at: i64,
}

fn wait(count: u32, free: u32) -> i64 {
    match count.checked_sub(free + 1) {
        None => 0,
        Some(more) => (FIRST_WAIT_US << more.min(10)).min(LONGEST_WAIT_US),
    }
}

impl Lockout {
    /// Microseconds until the next try is looked at; 0: it is now.
    pub(super) fn wait(&self, who: Try<'_>, now_us: i64) -> i64 {
        let of = |key: &Key| {
            let failures = self.failures.get(key)?;
            Some(failures.last_at + wait(failures.count, key.free()) - now_us)
        };
        let keys = who.keys();
        let counts = keys.iter().filter(|key| match (key, who) {
            (Key::Login(login), Try::Login { network, .. }) => {
                let came = self.known.get(&(login.clone(), network.to_owned()));
                came.is_none_or(|came| now_us - came >= KNOWN_US)
            }
            _ => true,
        });
        counts.filter_map(of).max().unwrap_or(0).max(0)
    }

    /// Notes a failure. It counts from before the password is compared, so that many at once are not all free.
    pub(super) fn failed(&mut self, who: Try<'_>, now_us: i64) {
        if self.failures.len() >= MOST {
            self.make_room(now_us);
        }
        for key in who.keys() {
            let failures =
                self.failures.entry(key).or_insert(Failures { count: 0, last_at: now_us });
            if now_us - failures.last_at >= FORGOTTEN_US {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last_at = now_us;
        }
    }

    /// Forgets what is old enough, and of the rest the older half.
    fn make_room(&mut self, now_us: i64) {
        self.failures.retain(|_, failures| now_us - failures.last_at < FORGOTTEN_US);
        let mut times: Vec<i64> = self.failures.values().map(|f| f.last_at).collect();
        let half = times.len() / 2;
        if half == 0 {
            return;
        }
        let middle = *times.select_nth_unstable(half).1;
        let mut room = half;
        // Of those of one moment chance tells which stay.
        self.failures.retain(|_, failures| {
            let keep = failures.last_at >= middle && room > 0;
            room -= usize::from(keep);
            keep
        });
    }

    /// The last try was no guess after all, and no success either: it counts for nothing, what was before still does.
    pub(super) fn excused(&mut self, who: Try<'_>) {
        for key in who.keys() {
            if let Some(failures) = self.failures.get_mut(&key) {
                failures.count = failures.count.saturating_sub(1);
            }
        }
    }

    /// The last try was good after all: what was counted for it is forgotten, and one of what others share.
    pub(super) fn succeeded(&mut self, who: Try<'_>, now_us: i64) {
        for key in who.keys() {
            match key {
                Key::Here { .. } | Key::Session(_) => {
                    self.failures.remove(&key);
                }
                Key::Login(_) | Key::Network(_) => {
                    if let Some(failures) = self.failures.get_mut(&key) {
                        failures.count = failures.count.saturating_sub(1);
                    }
                }
            }
        }
        if let Try::Login { login, network } = who {
            if self.known.len() >= MOST {
                self.known.retain(|_, came| now_us - *came < KNOWN_US / 4);
            }
            self.known.insert((normal(login), network.to_owned()), now_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(login: &'a str, network: &'a str) -> Try<'a> {
        Try::Login { login, network }
    }

    #[test]
    fn guessing_gets_slower_and_a_good_login_forgets() {
        let mut lockout = Lockout::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..14 {
            lockout.failed(at("Ada", "10.0.0.1"), now);
            let wait = lockout.wait(at(" ada\t", "10.0.0.1"), now);
            waits.push(wait / 1_000_000);
            now += wait;
        }
        assert_eq!(waits, [0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 900, 900, 900, 900]);
        assert_eq!(lockout.wait(at("bob", "10.0.0.2"), now), 0, "others are not kept waiting");
        lockout.succeeded(at("ada", "10.0.0.1"), now);
        assert_eq!(lockout.wait(at("ada", "10.0.0.1"), now), 0);
    }

    #[test]
    fn who_guesses_from_elsewhere_keeps_nobody_out() {
        let mut lockout = Lockout::default();
        lockout.succeeded(at("ada", "desk"), 0);
        for number in 0..200 {
            lockout.failed(at("ada", &format!("10.0.0.{number}")), 0);
        }
        assert!(lockout.wait(at("ada", "10.0.1.1"), 0) > 0, "from many networks is guessing too");
        assert_eq!(lockout.wait(at("ada", "desk"), 0), 0, "there they came in before");
        assert!(lockout.wait(at("ada", "desk"), KNOWN_US) == 0, "by then all is forgotten");
        let session = Try::Session(Uuid::from_u128(1));
        assert_eq!(lockout.wait(session, 0), 0);
        for _ in 0..5 {
            lockout.failed(session, 0);
        }
        assert_eq!(lockout.wait(session, 0), FIRST_WAIT_US);
        assert_eq!(lockout.wait(Try::Session(Uuid::from_u128(2)), 0), 0);
    }

    #[test]
    fn what_was_no_guess_makes_no_former_guess_good() {
        let mut lockout = Lockout::default();
        for _ in 0..5 {
            lockout.failed(at("ada", "10.0.0.1"), 0);
            lockout.failed(at("ada", "10.0.0.1"), 0);
            lockout.excused(at("ada", "10.0.0.1"));
        }
        assert_eq!(lockout.wait(at("ada", "10.0.0.1"), 0), FIRST_WAIT_US);
    }

    #[test]
    fn many_logins_from_one_address_are_slowed_too() {
        let mut lockout = Lockout::default();
        for number in 0..25 {
            lockout.failed(at(&format!("login{number}"), "10.0.0.1"), 0);
        }
        assert!(lockout.wait(at("another", "10.0.0.1"), 0) > 60_000_000);
        assert_eq!(lockout.wait(at("another", "10.0.0.2"), 0), 0);
        for number in 0..30_000 {
            lockout.failed(at("x", &format!("2001:db8::{number}")), 1);
        }
        assert!(lockout.failures.len() <= MOST + 3);
    }
}
