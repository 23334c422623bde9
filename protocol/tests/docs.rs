//! `docs/protocol.md` is part of the product: what it shows is what the code does.
//!
//! Fenced blocks are read by their tag: `json console`, `json collector`, `json join`, `json daemon`, `json record`, `json event`
//! (one a line), `json chained` with `text heads`, `hex …` (bytes before a `;`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use deckport_protocol::columns::{Frame, Header};
use deckport_protocol::json::JsonRecord;
use deckport_protocol::message::{AgentMessage, CollectorMessage};
use deckport_protocol::{
    Chain, ErrorCode, Event, EventText, Limits, Refusal, console, event, joining,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../docs/protocol.md");
const EVENTS: &str =
    include_str!("../src/snapshots/deckport_protocol__event__tests__wire_form.snap");
const CHAIN: &str =
    include_str!("../src/snapshots/deckport_protocol__chain__tests__the_documented_example.snap");
const FRAME: &str = include_str!("snapshots/columns__the_header_can_be_read_alone.snap");

/// The content of every fenced block with this tag; at least one.
fn blocks(tag: &str) -> Vec<&'static str> {
    let opening = format!("```{tag}\n");
    let mut found = Vec::new();
    let mut rest = PAGE;
    while let Some(at) = rest.find(&opening) {
        let block = &rest[at + opening.len()..];
        let end = block.find("\n```").unwrap();
        found.push(&block[..=end]);
        rest = &block[end..];
    }
    assert!(!found.is_empty(), "the page has no block `{tag}`");
    found
}

fn hex(tag: &str) -> Vec<u8> {
    blocks(tag)[0]
        .lines()
        .filter_map(|line| line.split(';').next())
        .flat_map(str::split_whitespace)
        .map(|digits| u8::from_str_radix(digits, 16).unwrap())
        .collect()
}

/// The rows of the first table whose first column is headed `heading`, cell by cell.
fn table(heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        let mut cells: Vec<_> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
        cells[0] = cells[0].trim_matches(['*', '`']).to_owned();
        cells
    };
    let rows: Vec<_> = PAGE
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    assert!(!rows.is_empty(), "the page has no table of `{heading}`");
    rows
}

/// What follows a snapshot's head.
fn snapshot(text: &str) -> &str {
    text.splitn(3, "---\n").nth(2).unwrap()
}

/// An example must survive being read and written: a field that the code does not know would vanish.
fn assert_same(example: &str, written: &str) {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parse(example), parse(written), "{example}");
}

fn type_of(text: &str) -> String {
    serde_json::from_str::<Value>(text).unwrap()["type"].as_str().unwrap().to_owned()
}

#[test]
fn messages_of_a_console() {
    let mut types = BTreeSet::new();
    for example in blocks("json console") {
        let message = AgentMessage::parse(example).unwrap();
        assert_same(example, &message.to_text());
        types.insert(type_of(example));
        if let AgentMessage::Records(batch) = message {
            assert!(!batch.into_records(&Limits::default()).unwrap().is_empty());
        }
    }
    assert!(types.iter().eq(["hello", "ping", "pong", "records", "transient"]), "{types:?}");
}

#[test]
fn a_console_is_added() {
    fn same<T: serde::Serialize + serde::de::DeserializeOwned>(tag: &str) {
        for example in blocks(tag) {
            let message: T = serde_json::from_str(example).unwrap();
            assert_same(example, &serde_json::to_string(&message).unwrap());
        }
    }
    same::<joining::Join>("json join");
    same::<joining::Joined>("json joined");
    same::<console::ConsoleMessage>("json daemon");
    same::<console::CollectorWord>("json daemon-word");
}

#[test]
fn messages_of_a_collector() {
    let mut types = BTreeSet::new();
    for example in blocks("json collector") {
        let message = CollectorMessage::parse(example).unwrap();
        assert_same(example, &message.to_text());
        types.insert(type_of(example));
        match message {
            CollectorMessage::Welcome(welcome) => {
                assert_eq!(welcome.limits, Limits::default());
                assert_eq!(welcome.chain, Chain::START);
            }
            CollectorMessage::Error(error) => assert_eq!(error.retryable, error.code.retryable()),
            CollectorMessage::Ack(_)
            | CollectorMessage::Order(_)
            | CollectorMessage::Ping(_)
            | CollectorMessage::Pong(_) => {}
        }
    }
    assert!(types.iter().eq(["ack", "error", "order", "ping", "pong", "welcome"]), "{types:?}");
}

#[test]
fn single_records() {
    for example in blocks("json record") {
        let json: JsonRecord = serde_json::from_str(example).unwrap();
        assert_same(example, &serde_json::to_string(&json).unwrap());
        json.into_record(&Limits::default()).unwrap();
    }
}

#[test]
fn the_answer_of_a_refused_dial() {
    for example in blocks("json http-error") {
        let mut body: BTreeMap<String, Refusal> = serde_json::from_str(example).unwrap();
        let refusal = body.remove("error").unwrap();
        assert_eq!(refusal.retryable, refusal.code.retryable());
        assert!(ErrorCode::ALL.iter().any(|(code, _)| *code == refusal.code));
    }
}

#[test]
fn every_kind_of_event_with_its_fields() {
    let known: Vec<Value> = serde_json::from_str(snapshot(EVENTS)).unwrap();
    let shown: Vec<&str> = blocks("json event")[0].lines().collect();
    assert_eq!(known.len(), shown.len());
    let described = table("kind");
    for (known, shown) in known.iter().zip(&shown) {
        let event = event::parse(shown).unwrap();
        assert!(!matches!(event, Event::Unknown { .. }), "{shown}");
        assert_same(shown, EventText::new(&event).as_str());
        // The page shows what the crate's own snapshot of the wire form shows.
        assert_eq!(serde_json::from_str::<Value>(shown).unwrap(), *known);
        let kind = known["kind"].as_str().unwrap();
        let row = described.iter().find(|cells| cells[0] == kind);
        let fields = &row.unwrap_or_else(|| panic!("`{kind}` is not in the table"))[1];
        for field in known.as_object().unwrap().keys().filter(|field| *field != "kind") {
            assert!(fields.contains(&format!("`{field}`")), "{kind}: {field} is not in the table");
        }
    }
    assert_eq!(described.len(), known.len());
}

#[test]
fn optional_fields_are_those_in_brackets() {
    let known: Vec<Value> = serde_json::from_str(snapshot(EVENTS)).unwrap();
    for (known, row) in known.iter().zip(table("kind")) {
        let fields = known.as_object().unwrap();
        for field in fields.keys().filter(|field| *field != "kind") {
            let mut without = fields.clone();
            without.remove(field);
            let text = serde_json::to_string(&without).unwrap();
            let optional = row[1].contains(&format!("[`{field}`]"));
            assert_eq!(event::parse(&text).is_ok(), optional, "{}: {field}", row[0]);
        }
    }
}

#[test]
fn every_error_code_with_its_advice() {
    let known: BTreeMap<String, bool> =
        ErrorCode::ALL.iter().map(|(code, retryable)| (code.to_string(), *retryable)).collect();
    let shown: BTreeMap<String, bool> = table("code")
        .into_iter()
        .map(|cells| (cells[0].clone(), matches!(cells[1].as_str(), "yes")))
        .collect();
    assert_eq!(shown, known);
    // The table of HTTP statuses names no code that there is not.
    for cells in table("status") {
        for code in cells[1].split('`').skip(1).step_by(2) {
            assert!(known.contains_key(code), "{code}");
        }
    }
}

#[test]
fn every_limit_with_its_default() {
    let known = serde_json::to_value(Limits::default()).unwrap();
    let shown: serde_json::Map<String, Value> = table("limit")
        .into_iter()
        .map(|cells| (cells[0].clone(), cells[1].parse::<u64>().unwrap().into()))
        .collect();
    assert_eq!(Value::Object(shown), known);
}

#[test]
fn the_chains_worked_example() {
    let heads: Vec<Chain> = blocks("text heads")[0].lines().map(|h| h.parse().unwrap()).collect();
    let mut head = Chain::START;
    let mut computed = Vec::new();
    for line in blocks("json chained")[0].lines() {
        let json: JsonRecord = serde_json::from_str(line).unwrap();
        let record = json.into_record(&Limits::default()).unwrap();
        head = head.extend(&record.borrow());
        computed.push(head);
    }
    assert_eq!(computed, heads);
    assert_eq!(snapshot(CHAIN).trim(), heads[0].to_string());
    let hashed: [u8; 32] = Sha256::digest(hex("hex preimage")).into();
    assert_eq!(Chain::from_bytes(hashed), heads[0]);
}

#[test]
fn the_columns_example() {
    let shown = hex("hex frame");
    let known: Vec<u8> = snapshot(FRAME)
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').parse().ok())
        .collect();
    assert_eq!(shown, known);
    let header = Header::read(&shown).unwrap();
    assert_eq!((header.first_seq, header.last_seq, header.count), (1, 3, 3));
    let frame = Frame::decode(&shown.into(), &Limits::default()).unwrap();
    assert_eq!(frame.records().count(), 3);
}

#[test]
fn the_layouts_are_those_of_the_code() {
    // The code's own description and the page's are the same text.
    let described = |source: &'static str| -> String {
        let block = source.split("//! ```text\n").nth(1).unwrap().split("//! ```").next().unwrap();
        block
            .lines()
            .map(|line| line.strip_prefix("//! ").unwrap_or("").to_owned() + "\n")
            .collect()
    };
    for source in [include_str!("../src/columns.rs"), include_str!("../src/chain.rs")] {
        let text = described(source);
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        // The page adds that other flags are 0 and how a UUID's bytes stand; the rest is word for word.
        let page = squeezed(PAGE).replace("; others 0 4 count", " 4 count");
        let page = page.replace("16 bytes, as in the UUID's text", "16 bytes");
        assert!(page.contains(&squeezed(&text)), "{text}");
    }
}
