//! Logs taken out: what a stretch of rows is in bytes, and that nothing in what is taken out does more than be read.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::Collector;
use deckport_protocol::{Body, Event, Level, Outcome, Output, Record};
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HOST};
use serde_json::Value;
use support::http::{Answered, exchange};
use support::{Console, Run, event, finished, get, line, start};

fn piece(seq: u64, bytes: &str) -> Record {
    let body = Body::Output(Output { bytes: bytes.to_owned().into(), ..Output::default() });
    Record { seq, boot_us: seq, at_us: 1_760_000_000_000_000 + seq as i64, body }
}

fn note(seq: u64, text: &str) -> Record {
    event(seq, &Event::Note { level: Level::Info, text: text.into() })
}

/// Asks over TCP, as a browser does.
async fn ask(collector: &Collector, method: &str, path: &str, token: Option<&str>) -> Answered {
    let address = collector.listen_addr().unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = hyper::Request::builder().method(method).uri(path);
    let request = request.header(HOST, address.to_string());
    let request = token
        .into_iter()
        .fold(request, |request, token| request.header(AUTHORIZATION, format!("Bearer {token}")));
    let request = request.body(Full::new(bytes::Bytes::new())).unwrap();
    exchange(stream, request).await
}

/// Where rows begin in the raw output, and where the last one ends.
async fn places(collector: &Collector, path: &str) -> Vec<usize> {
    let mut places = vec![0];
    loop {
        let from = places.len() - 1;
        let (_, page) = get(collector, &format!("{path}/rows?from={from}&count=1000")).await;
        let rows = page["rows"].as_array().unwrap();
        for row in rows {
            let bytes = row["bytes"].as_u64().unwrap() as usize;
            places.push(places[places.len() - 1] + bytes);
        }
        if rows.is_empty() {
            return places;
        }
    }
}

/// The raw bytes of each of these stretches of rows are those that the rows say they have.
async fn stretches_are_exact(collector: &Collector, path: &str, stretches: &[(usize, usize)]) {
    let token = Some(collector.token());
    let whole = ask(collector, "GET", &format!("{path}/raw"), token).await.body();
    let places = places(collector, path).await;
    assert_eq!(places[places.len() - 1], whole.len(), "every byte belongs to a row");
    for &(from, to) in stretches {
        let asked = format!("{path}/export?format=raw&from={from}&to={to}");
        let answer = ask(collector, "GET", &asked, token).await;
        let place = |row: usize| places[row.min(places.len() - 1)];
        let expected = if from < to { &whole[place(from)..place(to)] } else { b"" };
        assert_eq!(answer.status, 200, "{asked}");
        assert!(
            answer.body() == expected,
            "{asked}: {:?}",
            String::from_utf8_lossy(&answer.body())
        );
    }
    for (asked, from) in [("", 0), ("&from=3", 3)] {
        let answer =
            ask(collector, "GET", &format!("{path}/export?format=raw{asked}"), token).await;
        assert!(answer.body() == whole[places[from]..], "{asked}");
    }
}

#[tokio::test]
async fn the_raw_bytes_of_any_rows_can_be_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Bay 1");
    let path = format!("/api/v1/deployments/{}", run.hello.deployment_id);
    let (mut console, _) = Console::greet(&collector, &run).await;
    let records = [
        run.started(),
        line(2, "whole"),
        // Several rows in one record, one that goes on, and an event that ends it.
        piece(3, "one\ntwo\n\nfour \u{1b}[31min"),
        piece(4, " pieces\r 40%\r100%\r\nfive\nsix, which an event "),
        note(5, "a note"),
        piece(6, "ends\r\n"),
        event(7, &Event::ContextChanged { context: serde_json::json!({}) }),
        note(8, "another"),
        piece(9, "\n"),
        piece(10, "still open"),
    ];
    console.send(run.frame(&records[..3])).await;
    console.send(run.frame(&records[3..7])).await;
    console.send(run.frame(&records[7..])).await;
    console.acked(10).await;
    let all: Vec<(usize, usize)> =
        (0..15).flat_map(|from| (0..15).map(move |to| (from, to))).collect();
    stretches_are_exact(&collector, &path, &all).await;
    console.send(run.frame(&[piece(11, " no more\n"), finished(12, Outcome::Succeeded)])).await;
    console.acked(12).await;
    support::eventually("the run that ended is in a block", async || {
        support::text(&collector, "/metrics").await.1.contains("deckport_blocks 1\n")
    })
    .await;
    stretches_are_exact(&collector, &path, &all).await;
}

#[tokio::test]
async fn a_stretch_of_raw_bytes_reaches_over_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Bay 1");
    let path = format!("/api/v1/deployments/{}", run.hello.deployment_id);
    let (mut console, _) = Console::greet(&collector, &run).await;
    let mut records = vec![run.started()];
    records.extend((2..=30_000).map(|seq| line(seq, &format!("line {seq} {:>100}", "."))));
    for batch in records.chunks(1000) {
        console.send(run.frame(batch)).await;
    }
    console.acked(30_000).await;
    support::eventually("full blocks are sealed", async || {
        let (_, metrics) = support::text(&collector, "/metrics").await;
        metrics.lines().any(|line| line.starts_with("deckport_blocks 3"))
    })
    .await;
    let stretches = [(0, 5), (9_000, 9_001), (8_000, 22_500), (29_990, 29_999), (29_998, 40_000)];
    stretches_are_exact(&collector, &path, &stretches).await;
}

#[tokio::test]
async fn a_ticket_is_enough_for_each_way_to_take_a_log_out() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Bay 1");
    let id = run.hello.deployment_id;
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=9)).await;
    console.acked(9).await;
    for format in ["raw", "text", "jsonl", "html"] {
        let issued = ask(&collector, "POST", "/api/v1/tickets", Some(collector.token())).await;
        let issued: Value = serde_json::from_slice(&issued.body()).unwrap();
        let ticket = issued["ticket"].as_str().unwrap();
        let path =
            format!("/api/v1/deployments/{id}/export?format={format}&from=1&to=3&ticket={ticket}");
        let answer = ask(&collector, "GET", &path, None).await;
        assert_eq!(answer.status, 200, "{format}: a redirect would want a ticket of its own");
        let disposition = answer.header("content-disposition");
        assert!(disposition.starts_with("attachment; filename="), "{disposition}");
        if format == "raw" {
            assert_eq!(*answer.body(), *b"line 3\r\nline 4\r\n");
        }
        assert_eq!(ask(&collector, "GET", &path, None).await.status, 401, "it is used up");
    }
}

/// A line that sets a title, colours, rings, reverses, hides, and would be markup on a page.
const HOSTILE: &str = "a\x1b]0;title\x07b\x1b[31mred\x1b[0m \u{202e}gpj.exe\u{2066}\u{200b}\u{9b} </pre><script>alert(1)</script>\r\n";

#[tokio::test]
async fn nothing_hides_or_acts_in_what_is_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("Bay\u{202e} <1>");
    let path = format!("/api/v1/deployments/{}", run.hello.deployment_id);
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.frame(&[run.started(), piece(2, HOSTILE)])).await;
    console.acked(2).await;
    let acts = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200b}".contains(c);
    for format in ["text", "jsonl", "html"] {
        let (_, shown) = support::text(&collector, &format!("{path}/export?format={format}")).await;
        assert!(!shown.contains(acts), "{format}: {shown:?}");
        match format {
            "text" => {
                assert_eq!(shown, "abred �gpj.exe�� </pre><script>alert(1)</script>\n");
            }
            "jsonl" => {
                let row: Value = serde_json::from_str(&shown).unwrap();
                let text = row["text"].as_str().unwrap();
                assert!(text.starts_with("abred \u{202e}gpj.exe\u{2066}\u{200b} "), "{text:?}");
            }
            _ => {
                assert!(shown.contains("<h1>Bay� &lt;1&gt; · base"), "{shown}");
                assert!(shown.contains("�gpj.exe�� &lt;/pre&gt;&lt;script&gt;"), "{shown}");
                assert!(!shown.contains("<script"), "{shown}");
            }
        }
    }
    let (_, raw) = support::text(&collector, &format!("{path}/export?format=raw")).await;
    assert_eq!(raw, HOSTILE);
}
