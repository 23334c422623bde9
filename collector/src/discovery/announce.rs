//! Announcing this collector, from when it listens until it stops.

use super::{DiscoveryError, HOST_KEY, NAME_KEY, PIN_KEY, SERVICE, VERSION_KEY};
use deckport_protocol::Pin;
use mdns_sd::{DaemonEvent, IfKind, Receiver, ServiceDaemon, ServiceInfo};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A label of DNS holds 63 bytes; a few are left for the number that tells two of the same name apart.
const LONGEST_INSTANCE: usize = 58;
/// A value of a TXT record, with its key, fits into 255 bytes.
const LONGEST_VALUE: usize = 200;
/// How long leaving may take; who has not heard the goodbye forgets the collector two minutes later.
const GOODBYE: Duration = Duration::from_millis(500);

/// Announces a collector of the name `venue` that listens at `address`, until `stop`. A network that cannot be spoken to is told of in
/// the log and keeps nothing else from working.
pub async fn announce(venue: String, address: SocketAddr, pin: Pin, stop: CancellationToken) {
    let (daemon, heard, instance) = match begin(&venue, address, pin) {
        Ok(begun) => begun,
        Err(error) => {
            tracing::warn!(%error, "this collector is not announced on the network; it is reached by its address all the same");
            return;
        }
    };
    tracing::info!(%address, service = SERVICE, "announcing this collector on the network");
    // Goal: to say what changes, until it is time to leave. Both branches may be dropped at any time.
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            event = heard.recv_async() => match event {
                Ok(DaemonEvent::NameChange(change)) => {
                    tracing::info!(from = change.original, to = change.new_name, "another on the network has the name; announced as");
                }
                Ok(DaemonEvent::Error(error)) => tracing::warn!(%error, "announcing this collector"),
                Ok(_) => {}
                Err(_) => {
                    tracing::warn!("this collector is not announced on the network any more");
                    return;
                }
            },
        }
    }
    if let Ok(gone) = daemon.unregister(&instance) {
        // Heard or not, it leaves.
        let _ = tokio::time::timeout(GOODBYE, gone.recv_async()).await;
    }
    let _ = daemon.shutdown();
}

fn begin(
    venue: &str,
    address: SocketAddr,
    pin: Pin,
) -> Result<(ServiceDaemon, Receiver<DaemonEvent>, String), DiscoveryError> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let info = said(venue, &machine, address, pin)?;
    let instance = info.get_fullname().to_owned();
    let daemon = ServiceDaemon::new()?;
    // Nobody else is on loopback.
    daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    let heard = daemon.monitor()?;
    daemon.register(info)?;
    Ok((daemon, heard, instance))
}

/// What is said of a collector.
fn said(
    venue: &str,
    machine: &str,
    address: SocketAddr,
    pin: Pin,
) -> Result<ServiceInfo, DiscoveryError> {
    let instance = cut(&format!("{venue} on {machine}"), LONGEST_INSTANCE);
    // A name of its own: the machine's belongs to whatever else speaks multicast DNS there.
    let own = format!("deckport-{}.local.", pin.short().to_lowercase());
    let (pin, venue, machine) =
        (pin.to_string(), cut(venue, LONGEST_VALUE), cut(machine, LONGEST_VALUE));
    let texts = [
        (VERSION_KEY, "1"),
        (NAME_KEY, venue.as_str()),
        (HOST_KEY, machine.as_str()),
        (PIN_KEY, pin.as_str()),
    ];
    let ip = address.ip();
    let on: &[IpAddr] = if ip.is_unspecified() { &[] } else { &[ip] };
    let mut info = ServiceInfo::new(SERVICE, &instance, &own, on, address.port(), &texts[..])?;
    // Only where it listens.
    info.set_interfaces(vec![match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => IfKind::IPv4,
        IpAddr::V6(ip) if ip.is_unspecified() => IfKind::All,
        ip => IfKind::Addr(ip),
    }]);
    Ok(if ip.is_unspecified() { info.enable_addr_auto() } else { info })
}

/// At most `most` bytes of a text, whole characters.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_to_what_dns_holds() {
        let pin = Pin::of_key(b"");
        let address = "10.0.0.1:7443".parse().unwrap();
        let info = said(&"é".repeat(300), &"m".repeat(300), address, pin).unwrap();
        let instance = info.get_fullname().strip_suffix("._deckport._tcp.local.").unwrap();
        assert_eq!(instance, "é".repeat(29));
        assert_eq!(info.get_hostname(), "deckport-werc-8gmr-zge1.local.");
        assert_eq!(info.get_property_val_str("name").unwrap().len(), 200);
        assert_eq!(info.get_property_val_str("pin").unwrap(), pin.to_string());
        assert_eq!(info.get_addresses_v4().len(), 1);
        let everywhere = said("My venue", "desk", "0.0.0.0:1".parse().unwrap(), pin).unwrap();
        assert!(everywhere.is_addr_auto() && everywhere.get_addresses_v4().is_empty());
    }
}
