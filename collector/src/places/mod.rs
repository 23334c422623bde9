//! The places for connections over the network: how many there are, who gets one, and who gives way.
//!
//! * Whoever connects is a *stranger* until a request of theirs has shown who they are. Strangers' places are few. When they are
//!   taken, or those of one address, the stranger who has shown nothing for the longest goes, among those of the address that
//!   holds the most: whoever holds many makes room for whoever comes from elsewhere.
//! * A console or operator who was let in has a place among the consoles' or the operators', which no stranger can take; each has a bound
//!   of their own there. The stranger's place is free again, and the arrival costs their address nothing: a venue behind one address
//!   is not slowed by its own consoles.
//! * Arrivals and requests of strangers are counted by address (by network in IPv6), those of others by who they are. Who comes too often
//!   is closed before a handshake was paid for; a request that comes too soon waits.
//! * Handshakes take turns, so that many at once do not hold up everything else.
//!
//! What remains possible: somebody behind the same address as honest consoles can keep those from *coming in*, by coming more often.
//! Those that are in stay in.
//!
//! A place lives as long as its connection, also when that has become a socket: it is part of the stream ([`Watched`]).

mod files;
mod ledger;
mod turns;
mod watched;

pub use files::{allow_files, within};
pub use ledger::Network;
pub use turns::Turns;
pub use watched::Watched;

use crate::config::Bounds;
use crate::metrics::Metrics;
use deckport_protocol::{Actor, ErrorCode, Refusal};
use ledger::{Full, Holder, Id, Ledger};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::SetOnce;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longer waits are not waited for: the request is refused, and the handshake not done.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Debug)]
pub struct Places {
    ledger: Arc<Mutex<Ledger>>,
    metrics: Arc<Metrics>,
}

/// One connection's place, given back when the last of its clones is dropped.
#[derive(Clone, Debug)]
pub struct Place(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    places: Places,
    id: Id,
    known: SetOnce<()>,
    gone: CancellationToken,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.places.change(|ledger| ledger.leave(self.id));
        self.places.metrics.connections.add(-1);
    }
}

impl Places {
    pub fn new(bounds: Bounds, metrics: Arc<Metrics>) -> Self {
        let ledger = Ledger::new(bounds, Instant::now());
        Self { ledger: Arc::new(Mutex::new(ledger)), metrics }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger: MutexGuard<'_, Ledger> =
            self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut ledger);
        let strangers = i64::try_from(ledger.strangers()).unwrap_or(i64::MAX);
        drop(ledger);
        self.metrics.strangers.set(strangers);
        changed
    }

    /// A place for somebody who has just connected; none: the connection is to be closed.
    pub fn arrive(&self, from: IpAddr) -> Option<Place> {
        let gone = CancellationToken::new();
        let arrived = self.change(|ledger| ledger.arrive(Network::of(from), &gone, Instant::now()));
        match arrived {
            Ok(id) => {
                self.metrics.connections.add(1);
                let places = self.clone();
                Some(Place(Arc::new(Taken { places, id, known: SetOnce::new(), gone })))
            }
            Err(full) => {
                self.metrics.refuse(&refusal(full).code);
                None
            }
        }
    }
}

fn refusal(full: Full) -> Refusal {
    match full {
        Full::Taken => Refusal::new(
            ErrorCode::TOO_MANY_CONNECTIONS,
            "the collector holds as many connections of yours as it may; close some",
        ),
        Full::Often => Refusal::new(ErrorCode::RATE_EXCEEDED, "you ask more often than is allowed"),
    }
}

impl Place {
    /// Whoever has the place was let in as `actor`.
    pub fn prove(&self, actor: &Actor) -> Result<(), Refusal> {
        let holder = match actor {
            Actor::Console { console_id, .. } => Holder::Console(*console_id),
            Actor::Operator { operator_id, .. } => Holder::Operator(*operator_id),
            Actor::LocalAdmin { .. } | Actor::Shell { .. } | Actor::Collector { .. } => {
                Holder::Owner
            }
        };
        if self.is_known() {
            return Ok(());
        }
        let taken = &self.0;
        taken
            .places
            .change(|ledger| ledger.prove(taken.id, holder, Instant::now()))
            .map_err(refusal)?;
        // It is set already where two requests prove it at once.
        let _ = taken.known.set(());
        Ok(())
    }

    /// Whether somebody was let in over it.
    pub fn is_known(&self) -> bool {
        self.0.known.initialized()
    }

    /// Returns when somebody was let in over it.
    pub async fn known(&self) {
        self.0.known.wait().await;
    }

    /// Waits for the turn of a handshake. False: it will not have one in time.
    pub async fn handshake(&self) -> bool {
        let wait = self.0.places.change(|ledger| ledger.handshake(Instant::now()));
        if wait > LONGEST_WAIT {
            self.0.places.metrics.refuse(&ErrorCode::RATE_EXCEEDED);
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }

    /// Waits for the turn of a request.
    pub async fn request(&self) -> Result<(), Refusal> {
        let wait = self.0.places.change(|ledger| ledger.request(self.0.id, Instant::now()));
        if wait > LONGEST_WAIT {
            return Err(refusal(Full::Often));
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Returns when the place was needed for another.
    pub async fn gone(&self) {
        self.0.gone.cancelled().await;
        self.0.places.metrics.refuse(&ErrorCode::TOO_MANY_CONNECTIONS);
    }
}
