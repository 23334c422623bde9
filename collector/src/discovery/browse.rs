//! Looking for collectors on the network for a while.

use super::{DiscoveryError, HOST_KEY, NAME_KEY, PIN_KEY, SERVICE};
use deckport_protocol::{Address, Pin, address::Transport};
use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// As many are listed; a network that has more has somebody on it who makes them up.
pub const MOST: usize = 64;

/// A collector as the network describes it. All of it is somebody's word, and its texts may hold anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it calls itself: its venue's name.
    pub name: String,
    /// The machine that it runs on, as it says.
    pub machine: String,
    pub pin: Pin,
    /// Where it says that it listens, the likeliest first; never empty.
    pub at: Vec<SocketAddr>,
}

impl Found {
    /// The address to look at, with the pin that was announced.
    pub fn address(&self) -> Option<Address> {
        let at = self.at.first()?;
        let transport = Transport::Tls { pin: Some(self.pin) };
        Some(Address { host: at.ip().to_string(), port: at.port(), transport })
    }
}

/// Listens for as long as `patience`, and gives who answered, by name. Who announced one pin under several names is listed once
/// for each.
pub async fn browse(patience: Duration) -> Result<Vec<Found>, DiscoveryError> {
    let daemon = ServiceDaemon::new()?;
    daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    let heard = daemon.browse(SERVICE)?;
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let until = Instant::now() + patience;
    // Goal: the last word of each. Left when the time is over; dropping `recv_async` loses nothing.
    while let Ok(Ok(event)) = tokio::time::timeout_at(until, heard.recv_async()).await {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                if let Some(one) = read(&service)
                    && (found.len() < MOST || found.contains_key(&service.fullname))
                {
                    found.insert(service.fullname.clone(), one);
                }
            }
            ServiceEvent::ServiceRemoved(_, instance) => drop(found.remove(&instance)),
            _ => {}
        }
    }
    let _ = daemon.shutdown();
    let mut found: Vec<Found> = found.into_values().collect();
    found.sort_by(|one, other| {
        (&one.name, &one.machine, &one.at).cmp(&(&other.name, &other.machine, &other.at))
    });
    Ok(found)
}

/// None: it announces no collector that could be connected to.
fn read(service: &ResolvedService) -> Option<Found> {
    let text = |key| service.get_property_val_str(key).unwrap_or_default().to_owned();
    let pin = text(PIN_KEY).parse().ok()?;
    let mut at: Vec<SocketAddr> = service
        .get_addresses()
        .iter()
        .map(mdns_sd::ScopedIp::to_ip_addr)
        .filter(can_be_dialled)
        .map(|ip| SocketAddr::new(ip, service.get_port()))
        .collect();
    // An address of the old kind is the one that venues' networks carry for sure.
    at.sort_by_key(|at| (at.is_ipv6(), *at));
    (!at.is_empty()).then_some(Found { name: text(NAME_KEY), machine: text(HOST_KEY), pin, at })
}

/// One of link-local IPv6 would need the interface's name with it.
fn can_be_dialled(ip: &IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdns_sd::ServiceInfo;

    fn resolved(ips: &str, texts: &[(&str, &str)]) -> ResolvedService {
        let info = ServiceInfo::new(SERVICE, "One", "one.local.", ips, 7443, texts).unwrap();
        info.as_resolved_service()
    }

    #[test]
    fn what_is_heard_becomes_an_address_or_nothing() {
        let pin = Pin::of_key(b"").to_string();
        let texts = [("name", "My venue"), ("host", "desk"), ("pin", pin.as_str())];
        let one = read(&resolved("fd00::7,10.0.0.7,fe80::7,127.0.0.1", &texts)).unwrap();
        assert_eq!((one.name.as_str(), one.machine.as_str()), ("My venue", "desk"));
        assert_eq!(one.at, ["10.0.0.7:7443".parse().unwrap(), "[fd00::7]:7443".parse().unwrap()]);
        assert_eq!(one.address().unwrap().to_string(), format!("https://10.0.0.7:7443#{pin}"));
        // Nowhere to dial, no pin, a pin that is none.
        assert_eq!(read(&resolved("fe80::7,127.0.0.1", &texts)), None);
        assert_eq!(read(&resolved("10.0.0.7", &texts[..2])), None);
        assert_eq!(read(&resolved("10.0.0.7", &[("pin", "sha256//AAAA")])), None);
    }
}
