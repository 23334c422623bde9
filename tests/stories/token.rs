//! The owner's token is not given away: not to whoever listens where the collector was, and not to a file that a service's output goes to.

use anyhow::{Result, ensure};
use deckport_tests::wait::{LONG, eventually, eventually_ok};
use deckport_tests::{Agent, Call, Collector, programs};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

const TOKEN: &str = "dpl_not-for-whoever-listens-here";
const PLAIN_HTTP: &str = "DECKPORT_PLAIN_HTTP";

/// Somebody listens where a collector might, and hands on what is said first on each connection.
fn listener() -> Result<(String, Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut first = [0; 4096];
            let length = stream.read(&mut first).unwrap_or(0);
            let _ =
                stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
            if said.send(String::from_utf8_lossy(&first[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    Ok((url, heard))
}

/// A file with the token and no pin beside it.
fn token_file(dir: &Path) -> Result<std::path::PathBuf> {
    let file = dir.join("token");
    std::fs::write(&file, TOKEN)?;
    Ok(file)
}

#[test]
fn a_token_goes_to_nobody_without_tls_unless_that_was_said() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = token_file(dir.path())?;
    let (url, heard) = listener()?;
    let client = Call::new(programs::collector()?)
        .args(["deployments", "--json", "--url", &url, "--token-file"])
        .arg(&file);
    let refused = client.clone().env_remove(PLAIN_HTTP).output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains(PLAIN_HTTP), "{said}");
    ensure!(said.contains("#sha256//"), "it does not say what to write instead: {said}");
    ensure!(heard.try_recv().is_err(), "something was said to whoever listens");
    client.env(PLAIN_HTTP, "1").output()?;
    let first = heard.recv_timeout(LONG)?;
    ensure!(first.contains(TOKEN), "{first}");
    Ok(())
}

#[test]
fn an_agent_keeps_its_token_and_what_it_has_to_deliver() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = token_file(dir.path())?;
    let (url, heard) = listener()?;
    let agent = Agent { linger: 1, ..Agent::at(url, file, dir.path(), "kept") };
    let wrap = agent.wrap(&Call::bash("echo installed"))?;
    let output = wrap.env_remove(PLAIN_HTTP).output()?;
    // What it wraps does not suffer.
    ensure!(output.status.success() && output.stdout.starts_with(b"installed"), "{output:?}");
    let flush = agent.flush()?.args(["--patience", "1"]).env_remove(PLAIN_HTTP);
    // The uplink that was left at work tries for a while.
    eventually_ok(LONG, "flush says why it delivers nothing", || {
        let flushed = flush.output()?;
        let said = String::from_utf8_lossy(&flushed.stderr).into_owned();
        ensure!(!flushed.status.success() && said.contains(PLAIN_HTTP), "{said}");
        Ok(())
    })?;
    ensure!(!agent.runs().is_empty(), "what is not delivered is gone");
    // It measures how far the other side is away.
    let first: Vec<String> = heard.try_iter().collect();
    ensure!(first.iter().all(String::is_empty), "{first:?}");
    Ok(())
}

/// A service's output is kept for ever, and read by more people than the data directory.
#[test]
fn a_service_does_not_print_its_token() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("data"))?;
    let token = collector.token()?;
    eventually(LONG, "it says where it is", || collector.log().contains("Open: ").then_some(()))?;
    ensure!(!collector.log().contains(&token), "{}", collector.log());
    Ok(())
}
