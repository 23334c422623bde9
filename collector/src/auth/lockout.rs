//! Who guesses is slowed down: pure, without I/O.
//!
//! Failures are counted by login and by address. From the fifth on each costs a wait that doubles, up to a quarter of an hour; a
//! success forgets those of the login. By address the allowance is larger: a venue's people share one.

use super::operators::normal;
use std::collections::HashMap;

const FREE_BY_LOGIN: u32 = 4;
const FREE_BY_ADDRESS: u32 = 19;
const FIRST_WAIT_US: i64 = 15_000_000;
const LONGEST_WAIT_US: i64 = 15 * 60_000_000;
/// Failures are forgotten after so long without another.
const FORGOTTEN_US: i64 = 60 * 60_000_000;
/// So many are remembered; of more the older half is forgotten.
const MOST: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    failures: HashMap<String, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last_at: i64,
}

fn keys(login: &str, address: &str) -> [(String, u32); 2] {
    let login = (format!("login {}", normal(login)), FREE_BY_LOGIN);
    [login, key_of(address)]
}

fn key_of(address: &str) -> (String, u32) {
    (format!("address {address}"), FREE_BY_ADDRESS)
}

fn wait(count: u32, free: u32) -> i64 {
    match count.checked_sub(free + 1) {
        None => 0,
        Some(more) => (FIRST_WAIT_US << more.min(10)).min(LONGEST_WAIT_US),
    }
}

impl Lockout {
    /// Microseconds until the next try is looked at; 0: it is now.
    pub(super) fn wait(&self, login: &str, address: &str, now_us: i64) -> i64 {
        self.longest(&keys(login, address), now_us)
    }

    /// The same where no login is known.
    pub(super) fn wait_at(&self, address: &str, now_us: i64) -> i64 {
        self.longest(&[key_of(address)], now_us)
    }

    fn longest(&self, keys: &[(String, u32)], now_us: i64) -> i64 {
        let of = |(key, free): &(String, u32)| {
            let failures = self.failures.get(key)?;
            Some(failures.last_at + wait(failures.count, *free) - now_us)
        };
        keys.iter().filter_map(of).max().unwrap_or(0).max(0)
    }

    /// Notes a failure. It counts from before the password is compared, so that many at once are not all free.
    pub(super) fn failed(&mut self, login: &str, address: &str, now_us: i64) {
        self.note(&keys(login, address), now_us);
    }

    /// The same where no login is known.
    pub(super) fn failed_at(&mut self, address: &str, now_us: i64) {
        self.note(&[key_of(address)], now_us);
    }

    fn note(&mut self, keys: &[(String, u32)], now_us: i64) {
        if self.failures.len() >= MOST {
            self.make_room(now_us);
        }
        for (key, _) in keys {
            let failures =
                self.failures.entry(key.clone()).or_insert(Failures { count: 0, last_at: now_us });
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
    pub(super) fn excused(&mut self, login: &str, address: &str) {
        for (key, _) in keys(login, address) {
            if let Some(failures) = self.failures.get_mut(&key) {
                failures.count = failures.count.saturating_sub(1);
            }
        }
    }

    /// The last try was good after all: those of the login are forgotten, and one of the address.
    pub(super) fn succeeded(&mut self, login: &str, address: &str) {
        let [(login, _), (address, _)] = keys(login, address);
        self.failures.remove(&login);
        if let Some(failures) = self.failures.get_mut(&address) {
            failures.count = failures.count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_gets_slower_and_a_good_login_forgets() {
        let mut lockout = Lockout::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..14 {
            lockout.failed("Ada", "10.0.0.1", now);
            let wait = lockout.wait(" ada\t", "10.0.0.9", now);
            waits.push(wait / 1_000_000);
            now += wait;
        }
        assert_eq!(waits, [0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 900, 900, 900, 900]);
        assert_eq!(lockout.wait("bob", "10.0.0.2", now), 0, "others are not kept waiting");
        lockout.succeeded("ada", "10.0.0.1");
        assert_eq!(lockout.wait("ada", "10.0.0.9", now), 0);
    }

    #[test]
    fn what_was_no_guess_makes_no_former_guess_good() {
        let mut lockout = Lockout::default();
        for _ in 0..5 {
            lockout.failed("ada", "10.0.0.1", 0);
            lockout.failed("ada", "10.0.0.1", 0);
            lockout.excused("ada", "10.0.0.1");
        }
        assert_eq!(lockout.wait("ada", "10.0.0.1", 0), FIRST_WAIT_US);
    }

    #[test]
    fn many_logins_from_one_address_are_slowed_too() {
        let mut lockout = Lockout::default();
        for number in 0..25 {
            lockout.failed(&format!("login{number}"), "10.0.0.1", 0);
        }
        assert!(lockout.wait("another", "10.0.0.1", 0) > 60_000_000);
        assert_eq!(lockout.wait("another", "10.0.0.2", 0), 0);
        for number in 0..30_000 {
            lockout.failed("x", &format!("2001:db8::{number}"), 1);
        }
        assert!(lockout.failures.len() <= MOST + 2);
    }
}
