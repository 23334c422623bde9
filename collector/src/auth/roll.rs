//! Which consoles are enrolled, and whether a certificate still counts: pure, without I/O.
//!
//! A console renews its certificate with a new key each time. So of a console's certificates at most two count: the newest, and
//! until the newest was used (or for a little after: what dialled with it may still be on its way) the one before. Whoever comes
//! with an older one has a copy of a key that its console gave up. Nobody can tell the copy from the console, so both are locked
//! out until an operator adds the console again.

use deckport_protocol::{ConsoleId, ErrorCode, Pin, Refusal, Tenant};
use std::collections::HashMap;

/// How long a certificate is good.
pub const LIFETIME_US: i64 = 7 * 86_400_000_000;
/// The one before the newest counts so long after the newest was first used.
const OVERLAP_US: i64 = 5 * 60_000_000;
/// Certificates of a console that are remembered: an older one is unknown, which is refused as well.
pub(super) const REMEMBERED: usize = 16;

/// How a console stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Enrolled,
    /// An operator removed it.
    Revoked,
    /// Its key was seen in two places.
    Locked,
}

/// A certificate that was made for a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub serial: String,
    pub key: Pin,
    pub ends_at: i64,
    /// When it was first shown.
    pub used_at: Option<i64>,
}

/// A console that was enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    pub tenant: Tenant,
    pub standing: Standing,
    /// The newest last.
    pub issued: Vec<Issued>,
}

impl Enrolled {
    /// Whether a certificate that this collector gave is its present self's: one of its last two, or one that was given after those, by
    /// a collector that was restored from a backup since. An older one may be a copy, or its former self's.
    pub fn is_of(&self, serial: &str, ends_at: i64) -> bool {
        match self.issued.iter().rev().position(|issued| issued.serial == serial) {
            Some(at) => at < 2,
            None => self.issued.last().is_none_or(|newest| ends_at > newest.ends_at),
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Roll {
    consoles: HashMap<ConsoleId, Enrolled>,
}

/// What a certificate gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// `first`: it was never shown before, which is to be remembered.
    Admitted {
        tenant: Tenant,
        first: bool,
    },
    /// It has ended: good for its own renewal and for nothing else.
    Ended {
        tenant: Tenant,
        first: bool,
    },
    Refused(Refusal),
    /// A copy is about: the console is locked from now on.
    Cloned(Refusal),
}

impl Roll {
    pub fn get(&self, console: ConsoleId) -> Option<&Enrolled> {
        self.consoles.get(&console)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConsoleId, &Enrolled)> {
        self.consoles.iter().map(|(id, enrolled)| (*id, enrolled))
    }

    /// Takes a console in, or in again: what was made for it before no longer counts.
    pub fn enrol(&mut self, console: ConsoleId, tenant: Tenant, first: Issued) {
        let enrolled = Enrolled { tenant, standing: Standing::Enrolled, issued: vec![first] };
        self.consoles.insert(console, enrolled);
    }

    /// As it was stored.
    pub fn restore(&mut self, console: ConsoleId, enrolled: Enrolled) {
        self.consoles.insert(console, enrolled);
    }

    /// Adds a renewed certificate.
    pub fn renewed(&mut self, console: ConsoleId, issued: Issued) {
        if let Some(enrolled) = self.consoles.get_mut(&console) {
            enrolled.issued.push(issued);
            let excess = enrolled.issued.len().saturating_sub(REMEMBERED);
            enrolled.issued.drain(..excess);
        }
    }

    /// Changes how a console stands; false where that is how it stood or there is none.
    pub fn set(&mut self, console: ConsoleId, standing: Standing) -> bool {
        match self.consoles.get_mut(&console) {
            Some(enrolled) if enrolled.standing != standing => {
                enrolled.standing = standing;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether a certificate counts at this moment; notes that it was used.
    pub fn admit(&mut self, console: ConsoleId, serial: &str, now_us: i64) -> Admission {
        let unknown = "this console's certificate is not one that this collector knows; add the console again";
        let Some(enrolled) = self.consoles.get_mut(&console) else {
            return refused(ErrorCode::UNAUTHENTICATED, unknown);
        };
        match enrolled.standing {
            Standing::Enrolled => {}
            Standing::Revoked => {
                let text = "an operator removed this console from the collector; to let it in again, add it again";
                return refused(ErrorCode::REVOKED, text);
            }
            Standing::Locked => return Admission::Refused(locked()),
        }
        let Some(at) = enrolled.issued.iter().position(|issued| issued.serial == serial) else {
            return refused(ErrorCode::UNAUTHENTICATED, unknown);
        };
        let later = &enrolled.issued[at + 1..];
        let counts = match later {
            [] => true,
            [next] => next.used_at.is_none_or(|used| now_us - used <= OVERLAP_US),
            _ => later.iter().all(|next| next.used_at.is_none()),
        };
        if !counts {
            enrolled.standing = Standing::Locked;
            return Admission::Cloned(locked());
        }
        let tenant = enrolled.tenant;
        let issued = &mut enrolled.issued[at];
        let first = issued.used_at.is_none();
        issued.used_at.get_or_insert(now_us);
        if issued.ends_at <= now_us {
            Admission::Ended { tenant, first }
        } else {
            Admission::Admitted { tenant, first }
        }
    }
}

fn refused(code: ErrorCode, text: &str) -> Admission {
    Admission::Refused(Refusal::new(code, text))
}

fn locked() -> Refusal {
    Refusal::new(
        ErrorCode::LOCKED,
        "a key of this console was used in two places, so a copy of it is about: the console is locked out until an \
         operator adds it again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000_000;

    fn issued(number: usize) -> Issued {
        Issued {
            serial: number.to_string(),
            key: Pin::of_key(&number.to_be_bytes()),
            ends_at: LIFETIME_US,
            used_at: None,
        }
    }

    fn roll() -> (Roll, ConsoleId) {
        let (mut roll, console) = (Roll::default(), ConsoleId::new());
        roll.enrol(console, Tenant::SOLE, issued(0));
        (roll, console)
    }

    fn admitted(admission: &Admission) -> bool {
        matches!(admission, Admission::Admitted { .. })
    }

    #[test]
    fn an_answer_that_was_lost_costs_nothing() {
        let (mut roll, console) = roll();
        assert!(admitted(&roll.admit(console, "0", 0)));
        // Two renewals whose answers never arrived.
        roll.renewed(console, issued(1));
        roll.renewed(console, issued(2));
        assert!(admitted(&roll.admit(console, "0", MINUTE)));
        assert!(admitted(&roll.admit(console, "2", 2 * MINUTE)));
        assert!(roll.admit(console, "0", 9 * MINUTE) != roll.admit(console, "2", 2 * MINUTE));
    }

    #[test]
    fn a_copied_key_locks_both() {
        let (mut roll, console) = roll();
        roll.admit(console, "0", 0);
        roll.renewed(console, issued(1));
        roll.admit(console, "1", MINUTE);
        // What was on its way.
        assert!(admitted(&roll.admit(console, "0", 2 * MINUTE)));
        assert!(matches!(roll.admit(console, "0", 7 * MINUTE), Admission::Cloned(_)));
        for serial in ["0", "1"] {
            let Admission::Refused(refusal) = roll.admit(console, serial, 8 * MINUTE) else {
                panic!("{serial} is let in")
            };
            assert_eq!(refusal.code, ErrorCode::LOCKED);
        }
        roll.enrol(console, Tenant::SOLE, issued(9));
        assert!(admitted(&roll.admit(console, "9", 9 * MINUTE)));
        assert!(matches!(roll.admit(console, "1", 9 * MINUTE), Admission::Refused(_)));
    }

    #[test]
    fn who_was_off_for_long_may_renew_and_nothing_else() {
        let (mut roll, console) = roll();
        assert_eq!(
            roll.admit(console, "0", LIFETIME_US),
            Admission::Ended { tenant: Tenant::SOLE, first: true }
        );
        roll.set(console, Standing::Revoked);
        let Admission::Refused(refusal) = roll.admit(console, "0", LIFETIME_US) else {
            panic!("a revoked console is let in")
        };
        assert_eq!(refusal.code, ErrorCode::REVOKED);
    }

    proptest! {
        /// A console that renews whenever it likes, loses any answers and never uses a certificate again after a later one is never
        /// locked out; a copy taken at any time is noticed or shut out once the console has gone on.
        #[test]
        fn honest_consoles_stay_and_copies_go(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 1i64..30), 1..40),
            copied_at in 0usize..40,
        ) {
            let (mut roll, console) = roll();
            let (mut holds, mut made, mut now) = (0, 0, 0);
            let mut copy = None;
            for (at, (renews, loses, minutes)) in steps.iter().enumerate() {
                now += minutes * MINUTE;
                let admission = roll.admit(console, &holds.to_string(), now);
                prop_assert!(admitted(&admission), "{admission:?}");
                if at == copied_at {
                    copy = Some(holds);
                }
                if *renews && made < 12 {
                    made += 1;
                    roll.renewed(console, issued(made));
                    if !loses {
                        holds = made;
                    }
                }
            }
            roll.admit(console, &holds.to_string(), now);
            if let Some(copy) = copy.filter(|copy| *copy != holds) {
                let admission = roll.admit(console, &copy.to_string(), now + 6 * MINUTE);
                prop_assert!(matches!(admission, Admission::Cloned(_)), "{admission:?}");
                prop_assert!(!admitted(&roll.admit(console, &holds.to_string(), now + 7 * MINUTE)));
            }
        }
    }
}
