//! Collectors that make themselves known on the network, as proposals to add.
//!
//! What comes in is anybody's word. Here it is cut to plain text, held against what this app knows already, and handed to the page;
//! the page has the operator compare the key that really answers ([`crate::remotes::Remotes::look`]) before anything is sent.

use std::time::Duration;

use deckport_collector::discovery::{DiscoveryError, Found, browse};
use deckport_protocol::Pin;
use serde::Serialize;

use crate::connection::Connections;
use crate::places::Places;
use crate::watch::fleet::plain;

/// Most answer within a second; a machine that is asleep on its network link takes longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A collector that could be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Proposed {
    /// What it calls itself.
    name: String,
    /// The machine that it runs on, as it says.
    machine: String,
    /// With the pin that it announced.
    address: String,
    pin: String,
    /// The pin, shortened, to be compared with what its own screen shows.
    short: String,
    /// The connection to it, if there is one already.
    connection: Option<String>,
}

/// Listens for a few seconds, and leaves out the collector inside this app.
pub(crate) async fn look(
    places: &Places,
    connections: &Connections,
) -> Result<Vec<Proposed>, DiscoveryError> {
    let found = browse(PATIENCE).await?;
    // The collector writes it before it announces anything.
    let own = std::fs::read_to_string(places.collector().join("pin")).unwrap_or_default();
    Ok(proposals(&found, own.trim().parse().ok(), connections))
}

fn proposals(found: &[Found], own: Option<Pin>, connections: &Connections) -> Vec<Proposed> {
    let known = connections.all();
    let others = found.iter().filter(|one| Some(one.pin) != own);
    others
        .filter_map(|one| {
            let address = one.address()?;
            let connection = known.iter().find(|known| known.pin() == Some(one.pin));
            Some(Proposed {
                name: plain(&one.name, 60),
                machine: plain(&one.machine, 60),
                address: address.to_string(),
                pin: one.pin.to_string(),
                short: one.pin.short(),
                connection: connection.map(|known| known.id.to_string()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;
    use crate::connection::remote::{Remote, Session};
    use std::sync::Arc;

    #[test]
    fn the_own_collector_is_left_out_and_known_ones_are_named() {
        let found = |key: &[u8], name: &str| Found {
            name: name.into(),
            machine: "desk\u{202e}".into(),
            pin: Pin::of_key(key),
            at: vec!["10.0.0.7:7443".parse().unwrap()],
        };
        let all = [found(b"own", "Mine"), found(b"hq", "HQ\u{1b}[2J"), found(b"new", "New")];
        let address = format!("https://hq:7443#{}", Pin::of_key(b"hq"));
        let remote = Remote::new(address.parse().unwrap(), "ada".into(), Session::None).unwrap();
        let connections = Connections::new(vec![Connection::remote("r1", "HQ", Arc::new(remote))]);
        let proposed = proposals(&all, Some(Pin::of_key(b"own")), &connections);
        let seen: Vec<_> = proposed
            .iter()
            .map(|one| (one.name.as_str(), one.machine.as_str(), one.connection.as_deref()))
            .collect();
        assert_eq!(seen, [("HQ[2J", "desk", Some("r1")), ("New", "desk", None)]);
        assert_eq!(proposed[1].address, format!("https://10.0.0.7:7443#{}", Pin::of_key(b"new")));
        assert_eq!(proposed[1].short, Pin::of_key(b"new").short());
    }
}
