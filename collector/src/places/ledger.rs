//! Who holds which place, and who gives way: pure, without I/O. The time is an argument.
//!
//! What must hold, whatever happens in whatever order:
//! * no more places are held than there are, by all, by one network and by one holder;
//! * somebody who comes from another network than those that hold the most gets in, whatever they do;
//! * a place of somebody who was let in is never taken for another.

use super::turns::Turns;
use crate::config::{Bounds, Rate};
use deckport_protocol::{ConsoleId, OperatorId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Networks and holders whose rates are remembered. Those of whom there is something to remember go last.
const REMEMBERED: usize = 8192;
/// Handshakes wait for one another. When they wait so long, the networks that caused it have had theirs: what counts then is
/// [`RARE`].
const BUSY: Duration = Duration::from_millis(500);
/// What a network gets while others ask for more handshakes than there are. Six hundred networks at once are served so.
const RARE: Rate = Rate { at_once: 8, per_second: 1 };

/// Where somebody comes from: an address, or the network of an IPv6 address, of which one person has more addresses than could be
/// told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Network {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// Whose place it is once they were let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Console(ConsoleId),
    Operator(OperatorId),
    /// Who holds the token of the collector's own machine: its owner, whom nothing here keeps out.
    Owner,
}

/// A place, as long as the ledger knows it.
pub(super) type Id = u64;

/// Why somebody gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All are taken, or all of this holder's.
    Taken,
    /// They came too often.
    Often,
}

/// Those from one network who have not shown who they are.
#[derive(Debug)]
struct Neighbours {
    /// In the order in which they came.
    here: BTreeMap<Id, CancellationToken>,
    arrivals: Turns,
    rare: Turns,
    requests: Turns,
}

impl Neighbours {
    fn is_forgettable(&mut self, now: Instant) -> bool {
        self.here.is_empty()
            && self.arrivals.is_full(now)
            && self.rare.is_full(now)
            && self.requests.is_full(now)
    }
}

/// One console or operator.
#[derive(Debug)]
struct Standing {
    held: usize,
    arrivals: Turns,
    requests: Turns,
}

#[derive(Debug)]
enum Held {
    Stranger(Network),
    Known(Holder),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    bounds: Bounds,
    next: Id,
    places: HashMap<Id, Held>,
    strangers: usize,
    networks: HashMap<Network, Neighbours>,
    /// The networks that hold places, by how many.
    sizes: BTreeSet<(usize, Network)>,
    consoles: usize,
    operators: usize,
    standings: HashMap<Holder, Standing>,
    handshakes: Turns,
    /// Of strangers.
    requests: Turns,
}

impl Ledger {
    pub(super) fn new(bounds: Bounds, now: Instant) -> Self {
        // Spread evenly: handshakes that come together would hold up everything else for as long as they take.
        let handshakes = Rate { at_once: 16, per_second: bounds.handshakes_per_second };
        Self {
            bounds,
            next: 0,
            places: HashMap::new(),
            strangers: 0,
            networks: HashMap::new(),
            sizes: BTreeSet::new(),
            consoles: 0,
            operators: 0,
            standings: HashMap::new(),
            handshakes: Turns::new(handshakes, now),
            requests: Turns::new(bounds.strangers_requests, now),
        }
    }

    /// A place for somebody who has not shown who they are. `gone` is cancelled when it is needed for another; who had to go for
    /// this one is already told so.
    pub(super) fn arrive(
        &mut self,
        network: Network,
        gone: &CancellationToken,
        now: Instant,
    ) -> Result<Id, Full> {
        if !self.networks.contains_key(&network) && self.networks.len() >= REMEMBERED {
            self.networks.retain(|_, neighbours| !neighbours.is_forgettable(now));
            if self.networks.len() >= REMEMBERED {
                self.networks.retain(|_, neighbours| !neighbours.here.is_empty());
            }
        }
        let (bounds, busy) = (self.bounds, self.handshakes.queue(now) > BUSY);
        let neighbours = self.networks.entry(network).or_insert_with(|| Neighbours {
            here: BTreeMap::new(),
            arrivals: Turns::new(bounds.arrivals_of_one_address, now),
            rare: Turns::new(RARE, now),
            requests: Turns::new(bounds.strangers_requests_of_one_address, now),
        });
        if !neighbours.arrivals.take(now) {
            return Err(Full::Often);
        }
        if !neighbours.rare.take(now) && busy {
            return Err(Full::Often);
        }
        let here = neighbours.here.len();
        if here >= bounds.strangers_of_one_address {
            self.evict(network);
        } else if self.strangers >= bounds.strangers
            && let Some(&(_, most)) = self.sizes.last()
        {
            self.evict(most);
        }
        if self.strangers >= bounds.strangers {
            return Err(Full::Taken);
        }
        self.next += 1;
        let id = self.next;
        self.places.insert(id, Held::Stranger(network));
        self.resize(network, |here| here.insert(id, gone.clone()));
        self.strangers += 1;
        Ok(id)
    }

    /// The one from `network` who has been here the longest without showing who they are goes.
    fn evict(&mut self, network: Network) {
        let first = self.networks.get(&network).and_then(|n| n.here.first_key_value());
        if let Some((&id, gone)) = first {
            gone.cancel();
            self.leave(id);
        }
    }

    /// Changes who is here from a network, and notes how many they are.
    fn resize<T>(
        &mut self,
        network: Network,
        change: impl FnOnce(&mut BTreeMap<Id, CancellationToken>) -> T,
    ) -> Option<T> {
        let neighbours = self.networks.get_mut(&network)?;
        self.sizes.remove(&(neighbours.here.len(), network));
        let changed = change(&mut neighbours.here);
        if !neighbours.here.is_empty() {
            self.sizes.insert((neighbours.here.len(), network));
        }
        Some(changed)
    }

    /// How long a handshake waits for its turn.
    pub(super) fn handshake(&mut self, now: Instant) -> Duration {
        self.handshakes.promise(1, now)
    }

    /// Whoever has the place has shown who they are: it is one of theirs from now on, and the stranger's is free.
    pub(super) fn prove(&mut self, id: Id, holder: Holder, now: Instant) -> Result<(), Full> {
        let Some(Held::Stranger(network)) = self.places.get(&id) else { return Ok(()) };
        let network = *network;
        let honest = self.take(holder, now)?;
        self.places.insert(id, Held::Known(holder));
        self.resize(network, |here| here.remove(&id));
        self.strangers -= 1;
        if honest && let Some(neighbours) = self.networks.get_mut(&network) {
            neighbours.arrivals.give_back();
            neighbours.rare.give_back();
            neighbours.requests.give_back();
            self.requests.give_back();
        }
        Ok(())
    }

    /// A place of the holder's. Whether they come seldom enough to cost their network nothing.
    fn take(&mut self, holder: Holder, now: Instant) -> Result<bool, Full> {
        let (held, most, of_one, rates) = match holder {
            Holder::Owner => return Ok(true),
            Holder::Console(_) => (
                &mut self.consoles,
                self.bounds.consoles,
                self.bounds.of_one_console,
                (self.bounds.arrivals_of_one_console, self.bounds.requests_of_one_console),
            ),
            Holder::Operator(_) => (
                &mut self.operators,
                self.bounds.operators,
                self.bounds.of_one_operator,
                (self.bounds.arrivals_of_one_operator, self.bounds.requests_of_one_operator),
            ),
        };
        if self.standings.len() >= REMEMBERED && !self.standings.contains_key(&holder) {
            self.standings.retain(|_, standing| {
                standing.held > 0
                    || !(standing.arrivals.is_full(now) && standing.requests.is_full(now))
            });
        }
        let standing = self.standings.entry(holder).or_insert_with(|| Standing {
            held: 0,
            arrivals: Turns::new(rates.0, now),
            requests: Turns::new(rates.1, now),
        });
        if *held >= most || standing.held >= of_one {
            return Err(Full::Taken);
        }
        *held += 1;
        standing.held += 1;
        Ok(standing.arrivals.take(now))
    }

    /// How long a request that came over the place waits for its turn.
    pub(super) fn request(&mut self, id: Id, now: Instant) -> Duration {
        match self.places.get(&id) {
            Some(Held::Stranger(network)) => {
                let neighbours = self.networks.get_mut(network);
                let first = neighbours.map_or(Duration::ZERO, |n| n.requests.promise(1, now));
                // Those whom their own neighbours keep waiting take no turns of others.
                first.max(if first.is_zero() {
                    self.requests.promise(1, now)
                } else {
                    self.requests.queue(now)
                })
            }
            Some(Held::Known(holder)) => self
                .standings
                .get_mut(holder)
                .map_or(Duration::ZERO, |standing| standing.requests.promise(1, now)),
            None => Duration::ZERO,
        }
    }

    /// The place is free again. One that was taken away is already.
    pub(super) fn leave(&mut self, id: Id) {
        match self.places.remove(&id) {
            Some(Held::Stranger(network)) => {
                self.resize(network, |here| here.remove(&id));
                self.strangers -= 1;
            }
            Some(Held::Known(holder)) => {
                match holder {
                    Holder::Console(_) => self.consoles -= 1,
                    Holder::Operator(_) => self.operators -= 1,
                    Holder::Owner => {}
                }
                if let Some(standing) = self.standings.get_mut(&holder) {
                    standing.held -= 1;
                }
            }
            None => {}
        }
    }

    pub(super) const fn strangers(&self) -> usize {
        self.strangers
    }
}

#[cfg(test)]
mod tests;
