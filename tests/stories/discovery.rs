//! A collector that listens on a network makes itself known there, and whoever looks finds it with its key.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::agent::Process;
use deckport_tests::programs;
use deckport_tests::roots::{Venue, can_be_made};
use deckport_tests::wait::{LONG, eventually};
use serde_json::Value;
use std::path::Path;

/// Starts a collector at the desk and waits until it listens.
fn collector(venue: &Venue, data: &Path, more: &[&str]) -> Result<Process> {
    let listen = format!("{}:7443", venue.desk_ip());
    let call = venue.at_desk(&programs::collector()?);
    let call = call.args(["serve", "--listen", &listen, "--venue", "Pier\u{1b}[2J 7", "--data"]);
    let mut command = call.arg(data).args(more).command();
    let log = std::fs::File::create(data.with_extension("log"))?;
    command.stdout(log.try_clone()?).stderr(log);
    let process = Process::start(&mut command)?;
    eventually(LONG, "the collector listens", || data.join("address").exists().then_some(()))?;
    Ok(process)
}

/// Who is found from the console's side of the venue.
fn found(venue: &Venue, more: &[&str]) -> Result<String> {
    let call = venue.in_consoles_network(&programs::collector()?);
    let output = call.args(["discover", "--for", "3s"]).args(more).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn a_collector_on_the_network_is_found_until_it_leaves() -> Result<()> {
    if !can_be_made() {
        return Ok(());
    }
    let venue = Venue::new()?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("loud");
    let mut process = collector(&venue, &data, &[])?;
    let pin = std::fs::read_to_string(data.join("pin"))?;
    let one = eventually(LONG, "it is found", || {
        let all: Value = serde_json::from_str(&found(&venue, &["--json"]).ok()?).ok()?;
        all.as_array()?.first().cloned()
    })?;
    ensure!(one["name"] == "Pier\u{1b}[2J 7", "{one}");
    ensure!(one["pin"] == pin.trim(), "{one}");
    let address = format!("https://{}:7443#{}", venue.desk_ip(), pin.trim());
    ensure!(one["address"] == address.as_str(), "{one}");
    // For people: the short form of the key first, and nothing that moves the cursor.
    let shown = found(&venue, &[])?;
    let short = one["short"].as_str().context("a short form")?;
    ensure!(shown.starts_with(short) && !shown.contains('\u{1b}'), "{shown:?}");

    // Its goodbye is heard: nobody finds it for the two minutes that it was announced for.
    ensure!(process.stop(LONG)?.success());
    ensure!(found(&venue, &["--json"])?.trim() == "[]");

    // One that is not to be announced is not.
    let quiet = dir.path().join("quiet");
    let _process = collector(&venue, &quiet, &["--no-announce"])?;
    ensure!(found(&venue, &["--json"])?.trim() == "[]");
    Ok(())
}
