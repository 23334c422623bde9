//! How many entries of one sort are written down, of those that somebody can cause at will: pure. The rest are counted, and the
//! count is an entry too.

use super::entry::{Entry, Outcome, Who};
use deckport_protocol::Actor;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

const MINUTE_US: i64 = 60_000_000;
/// Of all together, this many times as many as of one.
const ALL: u32 = 20;
/// Actors and addresses that are told apart; those beyond share one count.
const APART: usize = 1024;

/// Of what together there is only so much: who knocks without any credential must not keep out of the trail who tries one, nor these what
/// those do who were let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    People,
    Consoles,
    /// A password, a code, a certificate that does not count.
    Tries,
    /// Requests with nothing.
    Knocks,
}

impl Class {
    const COUNT: usize = 4;

    fn of(entry: &Entry) -> Self {
        match &entry.who {
            Who::Known(Actor::Console { .. }) => Self::Consoles,
            Who::Known(_) => Self::People,
            Who::Stranger if entry.action == "request_denied" => Self::Knocks,
            Who::Stranger => Self::Tries,
        }
    }
}

/// Each of these has its own bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sort {
    who: Who,
    address: Option<IpAddr>,
    outcome: Outcome,
    knocks: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: i64,
    written: u32,
    left_out: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Limiter {
    most: u32,
    windows: HashMap<Sort, Window>,
    /// All that were written in this minute, by class.
    all: [Window; Class::COUNT],
    over: Vec<Entry>,
}

/// Somebody with an IPv6 network has more addresses than could be told apart.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

fn past(window: &Window, now_us: i64) -> bool {
    !(0..MINUTE_US).contains(&now_us.saturating_sub(window.since))
}

impl Limiter {
    pub(super) fn new(most: u32) -> Self {
        let all = [Window { since: 0, written: 0, left_out: 0 }; Class::COUNT];
        Self { most, windows: HashMap::new(), all, over: Vec::new() }
    }

    /// Whether one more of this sort is written down; if not, it is counted.
    pub(super) fn admit(&mut self, entry: &Entry, now_us: i64) -> bool {
        let fresh = Window { since: now_us, written: 0, left_out: 0 };
        let class = Class::of(entry);
        if past(&self.all[class as usize], now_us) {
            self.all[class as usize] = fresh;
        }
        let mut sort = Sort {
            who: entry.who.clone(),
            address: entry.address.map(network),
            outcome: entry.outcome,
            knocks: class == Class::Knocks,
        };
        if self.windows.len() >= APART && !self.windows.contains_key(&sort) {
            sort = Sort { who: Who::Stranger, address: None, ..sort };
        }
        if self.windows.get(&sort).is_some_and(|window| past(window, now_us)) {
            self.end(&sort);
        }
        let window = self.windows.entry(sort).or_insert(fresh);
        let all = &mut self.all[class as usize];
        if window.written < self.most && all.written < self.most.saturating_mul(ALL) {
            window.written += 1;
            all.written += 1;
            true
        } else {
            window.left_out += 1;
            false
        }
    }

    fn end(&mut self, sort: &Sort) {
        let Some(window) = self.windows.remove(sort).filter(|window| window.left_out > 0) else {
            return;
        };
        let entry = Entry::new(sort.who.clone(), "entries_left_out")
            .from(sort.address)
            .with("count", window.left_out)
            .with("since", window.since)
            .ended(sort.outcome);
        self.over.push(entry);
    }

    /// The counts of minutes that are over; `None`: of all.
    pub(super) fn counted(&mut self, now_us: Option<i64>) -> Vec<Entry> {
        let over = |window: &Window| now_us.is_none_or(|now_us| past(window, now_us));
        let ended: Vec<Sort> = self
            .windows
            .iter()
            .filter(|(_, window)| over(window))
            .map(|(sort, _)| sort.clone())
            .collect();
        ended.iter().for_each(|sort| self.end(sort));
        std::mem::take(&mut self.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(address: &str) -> Entry {
        Entry::new(Who::Stranger, "request_denied").from(address.parse().ok())
    }

    #[test]
    fn what_is_not_written_down_is_counted() {
        let mut limiter = Limiter::new(3);
        let at = 1_000_000_000;
        let written = (0..10).filter(|_| limiter.admit(&denial("192.0.2.1"), at)).count();
        assert_eq!(written, 3);
        assert!(limiter.admit(&denial("192.0.2.2"), at), "another address has its own");
        assert!(limiter.counted(Some(at + MINUTE_US - 1)).is_empty());
        let counted = limiter.counted(Some(at + MINUTE_US));
        assert_eq!(counted.len(), 1, "one entry for the rest");
        assert_eq!(counted[0].detail["count"], 7);
        assert!(limiter.admit(&denial("192.0.2.1"), at + MINUTE_US), "a new minute");
    }

    #[test]
    fn who_only_knocks_keeps_no_try_out_of_the_trail() {
        let mut limiter = Limiter::new(3);
        for number in 0..1000u32 {
            let address = std::net::Ipv4Addr::from(number);
            limiter.admit(&denial(&address.to_string()), 0);
        }
        let login = Entry::new(Who::Stranger, "logged_in").from("192.0.2.1".parse().ok());
        assert!(limiter.admit(&login.ended(Outcome::Denied), 0));
    }

    #[test]
    fn many_addresses_are_bounded_together() {
        let mut limiter = Limiter::new(3);
        let at = 1_000_000_000;
        let mut written = 0;
        for number in 0..5000u32 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number as u16);
            written += u32::from(limiter.admit(&denial(&address.to_string()), at));
            let address = std::net::Ipv4Addr::from(number);
            written += u32::from(limiter.admit(&denial(&address.to_string()), at));
        }
        assert!(written <= 3 * ALL, "{written}");
        assert!(limiter.windows.len() <= APART + 1);
        let counted: u64 =
            limiter.counted(None).iter().filter_map(|entry| entry.detail["count"].as_u64()).sum();
        assert_eq!(u64::from(written) + counted, 10_000);
    }
}
