//! How many entries of one sort are written down, of those that somebody can cause at will: pure. The rest are counted, and the
//! count is an entry too.

use super::entry::{Entry, Outcome, Who};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

const MINUTE_US: i64 = 60_000_000;
/// Of all together, this many times as many as of one.
const ALL: u32 = 20;
/// Actors and addresses that are told apart; those beyond share one count.
const APART: usize = 1024;

/// Each of these has its own bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sort {
    who: Who,
    address: Option<IpAddr>,
    outcome: Outcome,
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
    /// All that were written in this minute.
    all: Window,
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
        let all = Window { since: 0, written: 0, left_out: 0 };
        Self { most, windows: HashMap::new(), all, over: Vec::new() }
    }

    /// Whether one more of this sort is written down; if not, it is counted.
    pub(super) fn admit(&mut self, entry: &Entry, now_us: i64) -> bool {
        let fresh = Window { since: now_us, written: 0, left_out: 0 };
        if past(&self.all, now_us) {
            self.all = fresh;
        }
        let mut sort = Sort {
            who: entry.who.clone(),
            address: entry.address.map(network),
            outcome: entry.outcome,
        };
        if self.windows.len() >= APART && !self.windows.contains_key(&sort) {
            sort = Sort { who: Who::Stranger, address: None, outcome: entry.outcome };
        }
        if self.windows.get(&sort).is_some_and(|window| past(window, now_us)) {
            self.end(&sort);
        }
        let window = self.windows.entry(sort).or_insert(fresh);
        if window.written < self.most && self.all.written < self.most.saturating_mul(ALL) {
            window.written += 1;
            self.all.written += 1;
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
