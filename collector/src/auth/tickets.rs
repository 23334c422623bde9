//! Single-use tickets for what cannot carry a header: a browser's sockets and downloads.

use super::Pass;
use deckport_protocol::Actor;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How long a ticket is good, in microseconds.
const LIFETIME_US: i64 = 30_000_000;
/// Tickets outstanding at once; further ones are refused until old ones expire.
const MOST: usize = 1024;

/// Tickets issued and not yet used.
#[derive(Debug, Default)]
pub struct Tickets {
    issued: Mutex<HashMap<String, (Actor, Pass, i64)>>,
}

impl Tickets {
    /// A new ticket for `actor` and when it expires; `None` when too many are outstanding.
    pub fn issue(&self, actor: Actor, pass: Pass, now_us: i64) -> Option<(String, i64)> {
        let ticket = super::random_token()?;
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.retain(|_, (.., expires)| *expires > now_us);
        if issued.len() >= MOST {
            return None;
        }
        let expires = now_us + LIFETIME_US;
        issued.insert(ticket.clone(), (actor, pass, expires));
        Some((ticket, expires))
    }

    /// The actor that the ticket was issued to, and what ends when it is taken back; the ticket is gone afterwards. None, too, where it
    /// was taken back meanwhile.
    pub fn redeem(&self, ticket: &str, now_us: i64) -> Option<(Actor, Pass)> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let good = |(_, pass, expires): &(_, Pass, i64)| *expires > now_us && !pass.has_ended();
        let issued = issued.remove(ticket).filter(good);
        issued.map(|(actor, pass, _)| (actor, pass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deckport_protocol::Scope;

    #[test]
    fn a_ticket_ends_with_what_it_was_bought_with() {
        let tickets = Tickets::default();
        let pass = Pass::default();
        let issue = || tickets.issue(Actor::Shell { scope: Scope::SOLE }, pass.clone(), 0);
        let (first, second) = (issue().unwrap().0, issue().unwrap().0);
        assert!(tickets.redeem(&first, 1).is_some());
        pass.end();
        assert!(tickets.redeem(&second, 1).is_none());
    }

    #[test]
    fn tickets_expire_and_are_bounded() {
        let tickets = Tickets::default();
        let actor = || Actor::Shell { scope: Scope::SOLE };
        let pass = Pass::default;
        let (ticket, expires) = tickets.issue(actor(), pass(), 0).unwrap();
        assert_eq!(expires, LIFETIME_US);
        assert!(tickets.redeem(&ticket, expires).is_none());
        for _ in 0..MOST {
            assert!(tickets.issue(actor(), pass(), 5).is_some());
        }
        assert!(tickets.issue(actor(), pass(), 5).is_none());
        assert!(tickets.issue(actor(), pass(), 6 + LIFETIME_US).is_some());
    }
}
