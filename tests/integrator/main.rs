//! A console client that was written from `docs/protocol.md` alone, in Python, against the real
//! collector. What it shows: the page is complete, and its rules are what the collector does.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::collector::{Collector, free_port};
use deckport_tests::programs;
use deckport_tests::proxy::Proxy;
use deckport_tests::wait::{LONG, eventually, exit_of};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// Prints lines, some of them not UTF-8, some without an end for a while, then ends with a code.
const INSTALLATION: &str = r#"
import os, sys, time
lines, code, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for n in range(lines):
    os.write(1, b"line %d of an installation \xff\xc3\xa9\r\n" % n)
    if n % 97 == 0:
        os.write(1, b"Reading... %d%%\r" % (n % 100))
    if n % 200 == 0:
        time.sleep(pause)
os.write(1, b"x" * 40000 + b"\n" + b"no line feed at the end")
sys.exit(code)
"#;

fn printed(lines: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for n in 0..lines {
        all.extend_from_slice(format!("line {n} of an installation ").as_bytes());
        all.extend_from_slice(b"\xff\xc3\xa9\r\n");
        if n % 97 == 0 {
            all.extend_from_slice(format!("Reading... {}%\r", n % 100).as_bytes());
        }
    }
    all.extend_from_slice(&[b'x'; 40000]);
    all.extend_from_slice(b"\nno line feed at the end");
    all
}

/// The client, as a process.
struct Client {
    url: String,
    token_file: PathBuf,
    dir: TempDir,
}

impl Client {
    fn new(url: &str, collector: &Collector) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        Ok(Self { url: url.to_owned(), token_file: collector.token_file(), dir })
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    fn start(&self, options: &[&str], command: &[&OsStr]) -> Result<Child> {
        let mut client = Command::new("python3");
        client
            .arg(programs::root().join("tests/integrator/console.py"))
            .args(["--collector", &self.url, "--name", "Bay 7", "--template", "base"])
            .arg("--token-file")
            .arg(&self.token_file)
            .arg("--spool")
            .arg(self.spool())
            .args(options)
            .stdin(Stdio::null())
            .stderr(File::create(self.dir.path().join("said"))?);
        if !command.is_empty() {
            client.arg("--").args(command);
        }
        client.spawn().context("could not start python3")
    }

    fn install(&self, options: &[&str], lines: usize, code: i32, pause: &str) -> Result<Child> {
        let (lines, code) = (lines.to_string(), code.to_string());
        let command = ["python3", "-c", INSTALLATION, &lines, &code, pause].map(OsStr::new);
        self.start(options, &command)
    }

    fn end(&self, client: &mut Child) -> Result<(ExitStatus, Value)> {
        let status = exit_of(client, LONG, "the client ends").with_context(|| self.said())?;
        let report = self.said();
        let last = report.lines().last().unwrap_or_default();
        Ok((status, serde_json::from_str(last).with_context(|| report.clone())?))
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }
}

/// The one deployment that `deployments --json` lists.
fn only(collector: &Collector) -> Result<Value> {
    let mut all = collector.deployments()?;
    ensure!(all.len() == 1, "{all:?}");
    Ok(all.remove(0))
}

fn same(left: &[u8], right: &[u8]) {
    let differs = left.iter().zip(right).position(|(a, b)| a != b);
    assert!(left == right, "{} bytes and {}; differ at {differs:?}", left.len(), right.len());
}

#[test]
fn a_client_from_the_page_streams_and_agrees() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("data"))?;
    let client = Client::new(&collector.url(), &collector)?;
    let (status, report) = client.end(&mut client.install(&[], 3000, 3, "0.01")?)?;
    assert_eq!(status.code(), Some(3), "the client ends as the command did");
    assert_eq!(report["acked_seq"], report["records"], "{report}");

    let listed = only(&collector)?;
    assert_eq!(listed["id"], report["deployment_id"]);
    assert_eq!(listed["name"], "Bay 7");
    assert_eq!(listed["template"], "base");
    assert_eq!((&listed["state"], &listed["outcome"]), (&"failed".into(), &"failed".into()));
    assert_eq!(listed["failure"]["exit"], serde_json::json!({"kind": "code", "code": 3}));
    let id = report["deployment_id"].as_str().context("an id")?;
    same(&collector.raw(id)?, &printed(3000));
    assert_eq!(listed["bytes"].as_u64(), Some(printed(3000).len() as u64));
    Ok(())
}

#[test]
fn a_cut_link_changes_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("data"))?;
    let proxy = Proxy::start(collector.port())?;
    let client = Client::new(&proxy.url(), &collector)?;
    let mut process = client.install(&[], 20_000, 0, "0.03")?;
    let mut cuts = 0;
    // Each cut comes somewhere within what the link carries, often in the middle of a message.
    while cuts < 12 {
        let before = proxy.carried();
        eventually(LONG, "the client sends again", || {
            (proxy.links() > 0 && proxy.carried() > before + 2000).then_some(())
        })
        .with_context(|| client.said())?;
        proxy.cut_after(37 * cuts + 1);
        eventually(LONG, "the link breaks", || (proxy.links() == 0).then_some(()))?;
        cuts += 1;
    }
    let (status, report) = client.end(&mut process)?;
    assert_eq!(status.code(), Some(0));
    assert!(report["sessions"].as_u64() > Some(cuts / 2), "{report}");
    let id = report["deployment_id"].as_str().context("an id")?;
    same(&collector.raw(id)?, &printed(20_000));
    assert_eq!(only(&collector)?["outcome"], "succeeded");
    Ok(())
}

#[test]
fn a_killed_client_ends_interrupted_with_all_that_it_kept() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("data"))?;
    let client = Client::new(&collector.url(), &collector)?;
    let mut process = client.install(&[], 1_000_000, 0, "0.02")?;
    eventually(LONG, "some records are spooled", || {
        let length = std::fs::metadata(client.spool().join("records")).ok()?.len();
        (length > 300_000).then_some(())
    })?;
    process.kill()?;
    process.wait()?;
    // A power cut may leave half a record as well.
    let records = client.spool().join("records");
    let mut torn = File::options().append(true).open(&records)?;
    std::io::Write::write_all(&mut torn, b"[\"7c9e6679-7425-40de-944b-e07fc1f9")?;

    let kept = kept(&records)?;
    let (status, report) = client.end(&mut client.start(&[], &[])?)?;
    assert_eq!(status.code(), Some(0), "{report}");
    assert_eq!(report["incarnation"], 2);
    let id = report["deployment_id"].as_str().context("an id")?;
    same(&collector.raw(id)?, &kept);
    assert!(printed(1_000_000).starts_with(&kept));
    let listed = only(&collector)?;
    assert_eq!((&listed["id"], &listed["outcome"]), (&id.into(), &"interrupted".into()));
    Ok(())
}

/// The output bytes in the client's spool.
fn kept(records: &Path) -> Result<Vec<u8>> {
    let text = String::from_utf8(std::fs::read(records)?)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let limits = deckport_protocol::Limits::default();
    let mut all = Vec::new();
    for mut line in lines {
        // Through text: an event's JSON is kept as it stands, which a parsed value cannot give.
        let record = line[1].take().to_string();
        let record: deckport_protocol::json::JsonRecord = serde_json::from_str(&record)?;
        if let deckport_protocol::Body::Output(output) = record.into_record(&limits)?.body {
            all.extend_from_slice(&output.bytes);
        }
    }
    Ok(all)
}

#[test]
fn a_run_without_a_collector_is_delivered_later() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut collector = Collector::start(dir.path().join("data"))?;
    collector.stop()?;
    let client = Client::new(&collector.url(), &collector)?;
    let (status, report) = client.end(&mut client.install(&["--patience", "0"], 500, 0, "0")?)?;
    assert_eq!((status.code(), report["acked_seq"].as_u64()), (Some(0), Some(0)));

    collector.launch()?;
    let (status, report) = client.end(&mut client.start(&[], &[])?)?;
    assert_eq!(status.code(), Some(0), "{report}");
    let id = report["deployment_id"].as_str().context("an id")?;
    same(&collector.raw(id)?, &printed(500));
    assert_eq!(only(&collector)?["outcome"], "succeeded");
    Ok(())
}

#[test]
fn a_wrong_token_is_told_apart_from_an_absent_collector() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("data"))?;
    let mut client = Client::new(&collector.url(), &collector)?;
    client.token_file = client.dir.path().join("token");
    std::fs::write(&client.token_file, "not the token\n")?;
    let (status, report) = client.end(&mut client.install(&[], 10, 0, "0")?)?;
    assert_eq!(status.code(), Some(0), "the installation went on");
    assert!(report["failure"].as_str().unwrap().ends_with("(unauthenticated)"), "{report}");

    let absent = Client::new(&format!("http://127.0.0.1:{}", free_port()), &collector)?;
    let options = ["--patience", "0.5"];
    let (status, report) = absent.end(&mut absent.install(&options, 10, 0, "0")?)?;
    assert_eq!(status.code(), Some(0));
    assert!(report["failure"].as_str().unwrap().contains("refused"), "{report}");
    assert!(collector.deployments()?.is_empty());
    Ok(())
}

#[test]
fn the_collector_killed_under_way_loses_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut collector = Collector::start(dir.path().join("data"))?;
    let client = Client::new(&collector.url(), &collector)?;
    let mut process = client.install(&[], 20_000, 0, "0.03")?;
    for round in 1..=3 {
        let wanted = 1500 * round;
        eventually(LONG, "records are acknowledged", || {
            let listed = collector.deployments().ok()?;
            (listed.first()?["acked_seq"].as_u64()? >= wanted).then_some(())
        })
        .with_context(|| client.said())?;
        collector.kill();
        collector.launch()?;
    }
    let (status, report) = client.end(&mut process)?;
    assert_eq!(status.code(), Some(0), "{report}");
    let id = report["deployment_id"].as_str().context("an id")?;
    same(&collector.raw(id)?, &printed(20_000));
    Ok(())
}
