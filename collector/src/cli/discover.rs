//! `discover`: who makes itself known on this network.

use deckport_collector::discovery::browse;
use deckport_protocol::rows::visible;
use std::time::Duration;

pub(super) async fn run(patience_s: u64, json: bool) -> anyhow::Result<()> {
    let found = browse(Duration::from_secs(patience_s)).await?;
    if json {
        let all: Vec<_> = found
            .iter()
            .map(|one| {
                serde_json::json!({
                    "name": one.name, "machine": one.machine, "pin": one.pin, "short": one.pin.short(),
                    "address": one.address().map(|address| address.to_string()), "at": one.at,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for one in &found {
        let Some(address) = one.address() else { continue };
        // The texts are whatever somebody on the network sent.
        println!(
            "{}  {:<24} {:<16} {address}",
            one.pin.short(),
            visible(&one.name),
            visible(&one.machine)
        );
    }
    if found.is_empty() {
        eprintln!(
            "no collector makes itself known on this network; one does that when it listens beyond loopback"
        );
    }
    Ok(())
}
