//! A window at the end of a fast log: every row must come, in order, and memory must stay flat.

use anyhow::{Context as _, Result, bail, ensure};
use deckport_tests::measure::resident;
use deckport_tests::stamped::stamp;
use deckport_tests::viewer::{connect, next};
use deckport_tests::wait::{LONG, exit_of};
use deckport_tests::{Agent, Call, Collector, programs};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

const RATE: u64 = 2000;
/// What the collector may grow by between the first and the last minute.
const GROWTH: u64 = 20 << 20;

/// What has been seen of the rows.
#[derive(Debug, Default)]
struct Rows {
    /// The last row that came.
    row: Option<u64>,
    /// The last numbered line.
    line: Option<u64>,
}

impl Rows {
    fn take(&mut self, row: &Value) -> Result<()> {
        let number = row["row"].as_u64().context("a row's number")?;
        // A row that was open comes again when it is complete.
        let again = self.row.is_some_and(|last| number <= last);
        let expected = self.row.map_or(number, |last| last + 1);
        ensure!(again || number == expected, "row {number} came, {expected} was next");
        self.row = self.row.max(Some(number));
        let text = row["text"].as_str().unwrap_or("");
        let Some((line, _)) = stamp(text) else { return Ok(()) };
        match self.line {
            Some(last) if line <= last => ensure!(again, "line {line} came behind {last}"),
            Some(last) => ensure!(line == last + 1, "line {line} came behind {last}"),
            None => {}
        }
        self.line = self.line.max(Some(line));
        Ok(())
    }
}

pub(crate) fn run(dir: &Path, short: bool) -> Result<()> {
    let seconds = if short { 60 } else { 600 };
    let lines = RATE * seconds;
    let mut collector = Collector::start(dir.join("collector"))?;
    let pid = collector.pid().context("the collector runs")?;
    let agent = Agent::of(&collector, dir, "bay");
    let simulate = Call::new(programs::agent()?).args([
        "simulate".to_owned(),
        "--stamp".to_owned(),
        "--phases=".to_owned(),
        format!("--rate={RATE}"),
        format!("--lines={lines}"),
    ]);
    let mut command = agent.wrap(&simulate)?.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let api = collector.api()?;
    let id = collector.find("bay")?;
    let mut socket = connect(&api, "/ws/live")?;
    let subscribe = json!({
        "type": "subscribe", "id": 1, "topic": "window", "deployment_id": id,
        "from": 0, "count": 500, "follow": true, "credits": 64
    });
    socket.send(Message::text(subscribe.to_string()))?;
    let begun = Instant::now();
    let mut rows = Rows::default();
    let (mut deltas, mut most_rows) = (0u64, 0);
    let mut memory: Vec<(u64, u64)> = Vec::new();
    // Ends with the last line, or with what must not happen.
    while rows.line != Some(lines - 1) {
        let minute = begun.elapsed().as_secs() / 60;
        if memory.last().is_none_or(|(last, _)| *last < minute) && begun.elapsed().as_secs() > 20 {
            memory.push((minute, resident(pid)?));
        }
        let late = begun.elapsed() > Duration::from_secs(seconds + 120);
        ensure!(!late, "line {:?} of {lines} came last", rows.line);
        let Some(message) = next(&mut socket, Duration::from_secs(5))? else { continue };
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text)?;
        match message["type"].as_str() {
            Some("error" | "ended") => bail!("the collector said {text}"),
            Some("snapshot" | "delta") => {}
            _ => continue,
        }
        if message["type"] == "delta" {
            deltas += 1;
            let credit = json!({ "type": "credit", "id": 1, "credits": 1 });
            socket.send(Message::text(credit.to_string()))?;
        }
        let came = message["data"]["rows"].as_array().context("rows")?;
        most_rows = most_rows.max(came.len());
        for row in came {
            rows.take(row)?;
        }
    }
    memory.push((begun.elapsed().as_secs() / 60 + 1, resident(pid)?));
    ensure!(exit_of(&mut child, LONG, "the agent ends")?.success());
    collector.stop()?;
    let (first, last) = (memory.first().map_or(0, |m| m.1), memory.last().map_or(0, |m| m.1));
    println!("{lines} lines at {RATE}/s in {:.0?}: every row came, in order", begun.elapsed());
    println!("{deltas} deltas, at most {most_rows} rows in one");
    for (minute, bytes) in &memory {
        println!("collector's memory, minute {minute}: {:.1} MiB", *bytes as f64 / 1_048_576.0);
    }
    ensure!(last.saturating_sub(first) <= GROWTH, "the collector grew by {}", last - first);
    Ok(())
}
