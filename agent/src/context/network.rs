//! Network links, and whether gateway, name server and collector can be reached.

use super::hardware::entries;
use super::system::line;
use super::{parse, unknown};
use crate::clock;
use deckport_protocol::Address;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

const REACH: Duration = Duration::from_millis(800);

pub(super) fn links() -> Value {
    let mut addresses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let address = entry.address.as_ref();
        let ip = address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|a| a.ip().to_string());
            v4.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().to_string()))
        });
        addresses.entry(entry.interface_name).or_default().extend(ip);
    }
    let links = entries("/sys/class/net").into_iter().filter(|(name, _)| name != "lo");
    let links = links.map(|(name, path)| {
        // The kernel says -1 where there is no cable, and an error where there is no speed.
        let speed = line(path.join("speed")).and_then(|mbps| mbps.parse::<u32>().ok());
        let wireless = path.join("wireless").exists();
        json!({
            "state": line(path.join("operstate")),
            "speed_mbps": speed,
            "wireless": wireless,
            "mac": line(path.join("address")),
            "addresses": addresses.get(&name).cloned().unwrap_or_default(),
            "name": name,
        })
    });
    Value::Array(links.collect())
}

/// A datagram makes the kernel ask for the gateway's hardware address; whoever answers is there.
pub(super) fn gateway() -> Value {
    let route = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let Some((address, link)) = parse::gateway(&route) else {
        return unknown("there is no default route");
    };
    let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(&[0], (address, 9)));
    let deadline = Instant::now() + REACH;
    // Exits when the gateway is known to answer, or its time is over.
    let reachable = loop {
        let arp = std::fs::read_to_string("/proc/net/arp").unwrap_or_default();
        match parse::arp_complete(&arp, address) {
            Some(true) => break Some(true),
            known if Instant::now() >= deadline || sent.is_err() => break known,
            _ => clock::pause(Duration::from_millis(20)),
        }
    };
    json!({ "address": address.to_string(), "link": link, "reachable": reachable })
}

/// Asks the first name server for the root's name servers: any answer will do.
pub(super) fn dns() -> Value {
    // id, recursion desired, one question: the root, NS, IN.
    const QUESTION: [u8; 17] = [0xD5, 0x0C, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = parse::name_servers(&resolv);
    let Some(server) = servers.first() else {
        return unknown("no name server is configured");
    };
    let asked = Instant::now();
    let answer = || -> std::io::Result<()> {
        let any = if server.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect((server.as_str(), 53))?;
        socket.set_read_timeout(Some(REACH))?;
        socket.send(&QUESTION)?;
        let mut reply = [0; 512];
        let length = socket.recv(&mut reply)?;
        if length < 12 || reply[..2] != QUESTION[..2] {
            return Err(std::io::Error::other("what answered was no name server"));
        }
        Ok(())
    };
    match answer() {
        Ok(()) => json!({
            "servers": servers,
            "reachable": true,
            "latency_us": asked.elapsed().as_micros() as u64,
        }),
        Err(error) => json!({
            "servers": servers,
            "reachable": false,
            "latency_us": null,
            "why": if error.kind() == std::io::ErrorKind::WouldBlock {
                "it did not answer".to_owned()
            } else {
                error.to_string()
            },
        }),
    }
}

/// How long a connection to the collector takes: one round trip.
pub(super) fn collector(url: Option<&str>) -> Value {
    let Some(url) = url else { return unknown("no collector was named") };
    let failed = |why: String| json!({ "url": url, "latency_us": null, "why": why });
    let address: Address = match url.parse() {
        Ok(address) => address,
        Err(error) => return failed(format!("{error}")),
    };
    let resolved = address.authority().to_socket_addrs().ok().and_then(|mut all| all.next());
    let Some(socket) = resolved else { return failed("its name is not known".to_owned()) };
    let asked = Instant::now();
    match TcpStream::connect_timeout(&socket, REACH) {
        Ok(_) => json!({ "url": url, "latency_us": asked.elapsed().as_micros() as u64 }),
        Err(error) => failed(error.to_string()),
    }
}
