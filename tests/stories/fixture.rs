//! A database as version 1 wrote it, kept for ever: every later version opens and reads it.
//!
//! It was made by `cargo nextest run -p deckport-tests --run-ignored only make_the_database`; it is
//! not made again when the schema changes, a new one is put beside it.

use anyhow::{Context as _, Result, ensure};
use deckport_protocol::{Event, Exit, Level, Outcome};
use deckport_tests::Collector;
use deckport_tests::console::{Console, Stream};
use deckport_tests::feed::assert_same;
use deckport_tests::programs::fixture;
use deckport_tests::wait::LONG;
use serde_json::{Value, json};

const DATABASE: &str = "database-v1.db";
const EXPECTED: &str = "database-v1.json";

#[test]
fn a_database_of_version_1_opens_and_reads() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("collector");
    std::fs::create_dir(&data)?;
    std::fs::copy(fixture(DATABASE), data.join("collector.db"))?;
    let expected: Vec<Value> = serde_json::from_slice(&std::fs::read(fixture(EXPECTED))?)?;
    let mut collector = Collector::start(&data)?;
    ensure!(collector.deployments()?.len() == expected.len());
    for known in expected {
        let id = known["id"].as_str().context("an id")?;
        let detail = collector.detail(id)?;
        for name in ["name", "state", "outcome", "rows", "bytes", "errors", "warnings"] {
            let now = &detail["summary"][name];
            ensure!(*now == known[name], "{id}: {name} is {now}, was {}", known[name]);
        }
        let raw = known["raw"].as_str().context("raw")?;
        assert_same("logs --raw", &collector.raw(id)?, raw.as_bytes());
        let rows = collector.rows(id)?;
        let texts: Vec<&Value> = rows.iter().map(|row| &row["text"]).collect();
        ensure!(json!(texts) == known["texts"], "{id}: {texts:#?}");
    }
    collector.stop()
}

#[test]
#[ignore = "writes the fixture; see the module"]
fn make_the_database() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut collector = Collector::start(dir.path().join("collector"))?;
    let api = collector.api()?;
    let mut expected = Vec::new();
    let ends = [
        ("Bay 1", Some((Outcome::Succeeded, 0))),
        ("Bay 2", Some((Outcome::Failed, 100))),
        ("Bay 3", None),
    ];
    for (name, end) in ends {
        let mut stream = Stream::new(name);
        stream.hello.template = Some("Base system".to_owned());
        let mut link = Console::connect(&api, &stream.hello)?;
        link.send(stream.started()?)?;
        link.send(stream.event(&Event::PhaseStarted { name: "Prepare".to_owned() })?)?;
        let lines = |text: &str| text.split_inclusive('\n').map(Vec::from).collect::<Vec<_>>();
        let prepare = lines("Reading package lists...\r\nprogress 1%\rprogress 100%\r\n");
        link.send(stream.pieces(&prepare, false)?)?;
        link.send(stream.event(&Event::PhaseStarted { name: "Install".to_owned() })?)?;
        let many: String =
            (0..300).map(|i| format!("Unpacking package-{i} (1.0-{i}) ...\r\n")).collect();
        for part in lines(&many).chunks(64) {
            link.send(stream.pieces(part, true)?)?;
        }
        let note = Event::Note { level: Level::Warning, text: "the fan is loud".to_owned() };
        link.send(stream.event(&note)?)?;
        if let Some((outcome, code)) = end {
            if code != 0 {
                let why = lines("\x1b[31mE: Unable to locate package game\x1b[0m\r\n");
                link.send(stream.pieces(&why, false)?)?;
            }
            let exit = Some(Exit::Code { code });
            let message = if code == 0 { String::new() } else { format!("exit {code}") };
            let finished = Event::DeploymentFinished { outcome, exit, message };
            link.send(stream.event(&finished)?)?;
        } else {
            link.send(stream.pieces(&[b"a line that is not over".to_vec()], false)?)?;
        }
        link.acked(stream.last_seq(), LONG)?;
        let id = stream.id();
        if end.is_some() {
            collector.ended(&id)?;
        }
        expected.push((id, String::from_utf8(stream.output.clone())?));
        if name == "Bay 1" {
            // What was in the log's tail is sealed at a start; the others' frames stay there.
            drop(link);
            collector.stop()?;
            collector.launch()?;
        }
    }
    let mut known = Vec::new();
    for (id, raw) in expected {
        let mut entry = collector.detail(&id)?["summary"].clone();
        let texts: Vec<Value> =
            collector.rows(&id)?.iter().map(|row| row["text"].clone()).collect();
        entry["texts"] = json!(texts);
        entry["raw"] = json!(raw);
        let kept = [
            "id", "name", "state", "outcome", "rows", "bytes", "errors", "warnings", "texts", "raw",
        ];
        let entry: serde_json::Map<String, Value> =
            kept.iter().map(|name| ((*name).to_owned(), entry[*name].clone())).collect();
        known.push(Value::Object(entry));
    }
    collector.stop()?;
    std::fs::copy(collector.data().join("collector.db"), fixture(DATABASE))?;
    std::fs::write(fixture(EXPECTED), serde_json::to_vec_pretty(&known)?)?;
    Ok(())
}
