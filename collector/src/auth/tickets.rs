//! Single-use tickets for what cannot carry a header: a browser's sockets and downloads.

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
    issued: Mutex<HashMap<String, (Actor, i64)>>,
}

impl Tickets {
    /// A new ticket for `actor` and when it expires; `None` when too many are outstanding.
    pub fn issue(&self, actor: Actor, now_us: i64) -> Option<(String, i64)> {
        let ticket = super::random_token()?;
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.retain(|_, (_, expires)| *expires > now_us);
        if issued.len() >= MOST {
            return None;
        }
        let expires = now_us + LIFETIME_US;
        issued.insert(ticket.clone(), (actor, expires));
        Some((ticket, expires))
    }

    /// The actor that the ticket was issued to; the ticket is gone afterwards.
    pub fn redeem(&self, ticket: &str, now_us: i64) -> Option<Actor> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.remove(ticket).filter(|(_, expires)| *expires > now_us).map(|(actor, _)| actor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deckport_protocol::Tenant;

    #[test]
    fn tickets_expire_and_are_bounded() {
        let tickets = Tickets::default();
        let actor = || Actor::Shell { tenant: Tenant::SOLE };
        let (ticket, expires) = tickets.issue(actor(), 0).unwrap();
        assert_eq!(expires, LIFETIME_US);
        assert_eq!(tickets.redeem(&ticket, expires), None);
        for _ in 0..MOST {
            assert!(tickets.issue(actor(), 5).is_some());
        }
        assert!(tickets.issue(actor(), 5).is_none());
        assert!(tickets.issue(actor(), 6 + LIFETIME_US).is_some());
    }
}
