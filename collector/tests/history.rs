//! What stands on stored logs: search as it runs, comparison, signatures, retention, kept searches, export and import.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::config::{Clock, Database};
use deckport_collector::{Collector, Config};
use deckport_protocol::{Event, Outcome, Record};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sqlx::Connection as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use support::http::exchange;
use support::postgres::Postgres;
use support::{Console, Dial, Run, config, event, finished, get, line, open, start};
use tokio_tungstenite::tungstenite::Message;

/// A run that installs a few packages; a failed one ends with this line.
async fn install(collector: &Collector, name: &str, failing: Option<&str>) -> Run {
    let run = Run::new(name);
    let (mut console, _) = Console::greet(collector, &run).await;
    let mut records: Vec<Record> = vec![run.started()];
    let mut lines = vec!["Reading package lists...".to_owned()];
    lines.extend((0..40).map(|package| format!("Unpacking package-{package} (1.{package}) ...")));
    lines.push("Setting up game (2.4) ...".to_owned());
    lines.extend(failing.map(str::to_owned));
    records.push(event(2, &Event::PhaseStarted { name: "Install".into() }));
    for text in lines {
        records.push(line(records.len() as u64 + 1, &text));
    }
    let outcome = if failing.is_some() { Outcome::Failed } else { Outcome::Succeeded };
    records.push(finished(records.len() as u64 + 1, outcome));
    console.send(run.frame(&records)).await;
    console.acked(records.len() as u64).await;
    run
}

async fn ask(collector: &Collector, method: &str, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let kind =
        if body.first() == Some(&b'{') { "application/json" } else { "application/octet-stream" };
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shell")
        .header("content-type", kind)
        .body(bytes::Bytes::from(body).into())
        .unwrap();
    let answer = exchange(collector.dial(), request).await;
    (answer.status, answer.body().to_vec())
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

#[tokio::test]
async fn a_search_tells_what_it_finds_while_it_looks() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    for bay in 1..=3 {
        install(&collector, &format!("Bay {bay}"), (bay == 2).then_some("E: no space left")).await;
    }
    let dial = Dial { token: collector.token(), host: None, origin: None };
    let mut socket = open(collector.listen_addr().unwrap(), "/ws/live", dial).await.unwrap();
    let subscribe = |id: u64, query: &str| {
        Message::text(
            json!({"type": "subscribe", "id": id, "topic": "search", "query": query, "limit": 50})
                .to_string(),
        )
    };
    socket.send(subscribe(1, "unpacking -console:\"bay 3\"")).await.unwrap();
    let (mut hits, mut last) = (Vec::new(), Value::Null);
    let snapshot = loop {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "snapshot" {
            break message;
        }
    };
    assert!(snapshot["data"]["of_blocks"].as_u64().unwrap() >= 2);
    loop {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "ended" {
            assert_eq!(message["reason"], "complete");
            break;
        }
        hits.extend(message["data"]["hits"].as_array().unwrap().clone());
        last = message["data"].clone();
    }
    assert_eq!(last["matched"], 80);
    assert_eq!(last["progress"]["done"], true);
    assert_eq!(hits.len(), 50);
    let times: Vec<i64> = hits.iter().map(|hit| hit["row"]["at"].as_i64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "the newest first");
    assert!(hits.iter().all(|hit| hit["phase_name"] == "Install"));
    assert!(hits.iter().all(|hit| hit["ranges"] == json!([[0, 9]])));
    let counted: u64 =
        last["buckets"].as_array().unwrap().iter().map(|b| b[1].as_u64().unwrap()).sum();
    assert_eq!(counted, 80);
    // A query that cannot be read says so, and the socket goes on.
    socket.send(subscribe(2, "level:loud")).await.unwrap();
    loop {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "error" {
            assert_eq!(
                (&message["id"], &message["error"]["code"]),
                (&json!(2), &json!("bad_request"))
            );
            break;
        }
    }
}

#[tokio::test]
async fn counts_are_exact_in_blocks_of_plain_lines_and_in_others() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = Run::new("bay-1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    let mut records: Vec<Record> = vec![run.started()];
    // Four blocks and a rest: plain lines, but for one with an error in the second block and one in colours in the third.
    for number in 2..=36_000u64 {
        let text = match number {
            12_000 => "E: Unable to locate package nosuch".to_owned(),
            21_000 => "\u{1b}[32mneedle\u{1b}[0m in green".to_owned(),
            _ if number % 3 == 0 => {
                format!("a needle, and another needle, in line {number} {:>80}", ".")
            }
            _ => format!("Unpacking package-{number} over an older one {:>80}", "."),
        };
        records.push(line(number, &text));
    }
    for batch in records.chunks(1000) {
        console.send(run.frame(batch)).await;
    }
    console.acked(36_000).await;
    // Sealed, as far as blocks are full.
    support::eventually("full blocks are sealed", async || {
        let (_, metrics) = support::text(&collector, "/metrics").await;
        metrics.lines().any(|line| line.starts_with("deckport_blocks 4"))
    })
    .await;
    let needles = (2..=36_000u64).filter(|number| number % 3 == 0 && *number != 12_000).count();
    for (query, expected) in [
        ("needle", needles),
        ("'needle'", needles),
        ("/need[l]e/", needles),
        ("'nowhere to be found'", 0),
        ("level:error", 1),
        ("console:bay-1", 35_999),
        ("needle+level:info", needles),
    ] {
        // Without rows, blocks of plain lines are counted as they lie.
        for limit in [0, 2] {
            let path = format!("/api/v1/search?q={query}&count=true&limit={limit}");
            let (status, page) = get(&collector, &path.replace(' ', "%20")).await;
            assert_eq!(status, 200, "{page}");
            assert_eq!(page["matched"], expected, "{query}");
            let spread = page["histogram"]["matched"].as_array().unwrap();
            let spread: u64 = spread.iter().filter_map(Value::as_u64).sum();
            assert_eq!(spread, expected as u64, "{query}");
        }
    }
}

#[tokio::test]
async fn a_failed_run_is_held_against_the_last_good_one_and_recognised_again() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let good = install(&collector, "Bay 1", None).await;
    let why =
        |pid| format!("dpkg: error processing package game (--configure): exit status 1 [{pid}]");
    let first = install(&collector, "Bay 2", Some(&why(411))).await;
    let id = first.hello.deployment_id;
    // The good one began at the very same time here: it is chosen by hand.
    let path = format!("/api/v1/deployments/{id}/comparison?with={}", good.hello.deployment_id);
    let (status, compared) = get(&collector, &path).await;
    assert_eq!(status, 200, "{compared}");
    assert_eq!(compared["first_difference"]["kind"], "only_here");
    assert_eq!(compared["first_difference"]["text"], why(411));
    assert_eq!(compared["how"], "chosen");
    let (status, _) =
        get(&collector, &format!("/api/v1/deployments/{id}/comparison?with={id}")).await;
    assert_eq!(status, 400);

    let (_, list) = get(&collector, "/api/v1/signatures").await;
    let signatures = list["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 1, "{list}");
    assert_eq!((&signatures[0]["count"], &signatures[0]["new"]), (&json!(1), &json!(true)));
    install(&collector, "Bay 3", Some(&why(98_765))).await;
    install(&collector, "Bay 3", Some("E: Unable to locate package game")).await;
    let (_, list) = get(&collector, "/api/v1/signatures").await;
    let known = signatures[0]["id"].as_str().unwrap();
    assert_eq!(list["signatures"].as_array().unwrap().len(), 2, "{list}");
    let (status, again) = get(&collector, &format!("/api/v1/signatures/{known}")).await;
    assert_eq!(status, 200);
    assert_eq!((&again["count"], &again["new"]), (&json!(2), &json!(false)));
    assert_eq!(again["consoles"].as_array().unwrap().len(), 2);
    // What was learnt is there after a restart.
    collector.shutdown().await.unwrap();
    let collector = start(dir.path()).await;
    install(&collector, "Bay 4", Some(&why(7))).await;
    let (_, again) = get(&collector, &format!("/api/v1/signatures/{known}")).await;
    assert_eq!(again["count"], 3);
}

#[tokio::test]
async fn searches_are_kept_changed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    install(&collector, "Bay 1", None).await;
    let post =
        |body: Value| ask(&collector, "POST", "/api/v1/searches", body.to_string().into_bytes());
    let (status, body) =
        post(json!({"name": "Games", "query": "\"setting up game\"", "alert": true})).await;
    assert_eq!(status, 201);
    let id = read(&body)["id"].as_str().unwrap().to_owned();
    let (_, list) = get(&collector, "/api/v1/searches").await;
    assert_eq!(list["searches"][0]["name"], "Games");
    assert!(list["searches"][0]["last_match_at"].is_i64());
    assert_eq!(post(json!({"name": "Bad", "query": "(", "alert": false})).await.0, 400);
    assert_eq!(post(json!({"name": " ", "query": "a", "alert": false})).await.0, 400);
    let path = format!("/api/v1/searches/{id}");
    let change = json!({"name": "All games", "query": "game", "alert": false}).to_string();
    let (status, body) = ask(&collector, "PUT", &path, change.into_bytes()).await;
    assert_eq!((status, &read(&body)["name"]), (200, &json!("All games")));
    assert_eq!(ask(&collector, "DELETE", &path, Vec::new()).await.0, 204);
    assert_eq!(ask(&collector, "DELETE", &path, Vec::new()).await.0, 404);
}

/// A clock that stands where it is put.
#[derive(Clone, Debug, Default)]
struct Standing(Arc<AtomicI64>);

impl Clock for Standing {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// When the lines of these tests are printed.
const PRINTED_US: i64 = 1_760_000_000_000_000;

#[tokio::test]
async fn new_runs_are_searched_also_after_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Standing::default();
    clock.0.store(PRINTED_US, Ordering::Relaxed);
    let config = Config { clock: Arc::new(clock.clone()), ..config(dir.path()) };
    let collector = Collector::start(config).await.unwrap();
    let matched = async || {
        let (_, found) = get(&collector, "/api/v1/search?q=unpacking&count=true").await;
        found["matched"].as_u64().unwrap()
    };
    install(&collector, "Bay 1", None).await;
    assert_eq!(matched().await, 40);
    // By a month: what was known until then is of a time that is to come.
    clock.0.store(PRINTED_US - 30 * 86_400_000_000, Ordering::Relaxed);
    install(&collector, "Bay 2", None).await;
    assert_eq!(matched().await, 80);
    clock.0.store(PRINTED_US + 1_000_000, Ordering::Relaxed);
    install(&collector, "Bay 3", None).await;
    assert_eq!(matched().await, 120);
}

#[tokio::test]
async fn a_kept_search_that_asks_for_as_much_as_one_can_is_counted_and_one_that_cannot_be_read_says_so()
 {
    let dir = tempfile::tempdir().unwrap();
    let clock = Standing::default();
    clock.0.store(PRINTED_US + 60_000_000, Ordering::Relaxed);
    let config = Config { clock: Arc::new(clock), ..config(dir.path()) };
    let collector = Collector::start(config).await.unwrap();
    install(&collector, "Bay 1", None).await;
    let terms: Vec<String> = (0..64).map(|package| format!("\"package-{package} \"")).collect();
    let deep = format!("{}{}{}", "(".repeat(32), terms.join(" or "), ")".repeat(32));
    let long = format!("unpacking or '{}'", "x".repeat(4096 - 15));
    assert_eq!(long.len(), 4096);
    for (name, query) in [("a", deep.as_str()), ("b", &long), ("c", "unpacking")] {
        let body = json!({"name": name, "query": query, "alert": false}).to_string();
        let (status, said) = ask(&collector, "POST", "/api/v1/searches", body.into_bytes()).await;
        assert_eq!((status, &read(&said)["problem"]), (201, &Value::Null), "{}", read(&said));
    }
    let (_, list) = get(&collector, "/api/v1/searches").await;
    for at in 0..3 {
        let search = &list["searches"][at];
        assert_eq!((&search["matches_today"], &search["problem"]), (&json!(40), &Value::Null));
    }
    // What an older version understood, perhaps.
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("collector.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let spoil = sqlx::query("update saved_search set query = 'level:loud' where name = 'c'");
    spoil.execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let (_, list) = get(&collector, "/api/v1/searches").await;
    let problem = list["searches"][2]["problem"].as_str().unwrap();
    assert!(problem.contains("loud"), "{problem}");
}

#[tokio::test]
async fn logs_are_given_back_as_the_policy_says() {
    let dir = tempfile::tempdir().unwrap();
    give_back(&config(dir.path())).await;
}

#[tokio::test]
async fn logs_on_postgres_are_given_back_as_the_policy_says() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.database = Database::Postgres(postgres.database());
    give_back(&config).await;
}

async fn give_back(config: &Config) {
    let collector = Collector::start(config.clone()).await.unwrap();
    let good = install(&collector, "Bay 1", None).await;
    let failed = install(&collector, "Bay 2", Some("E: no space left")).await;
    // By the console's clock they ended long ago; a run that goes on stays.
    let running = Run::new("Bay 3");
    let (mut console, _) = Console::greet(&collector, &running).await;
    console.send(running.batch(1..=5)).await;
    console.acked(5).await;
    let policy =
        json!({"max_age_days": 30, "max_bytes": null, "failed_age_days": 36_500}).to_string();
    let bundle = format!("/api/v1/deployments/{}/bundle", good.hello.deployment_id);
    let (_, file) = ask(&collector, "GET", &bundle, Vec::new()).await;
    let (_, preview) =
        ask(&collector, "POST", "/api/v1/retention/preview", policy.clone().into_bytes()).await;
    assert_eq!(read(&preview)["deployments"], 1);
    assert_eq!(read(&preview)["oldest"][0]["name"], "Bay 1");
    let (_, list) = get(&collector, "/api/v1/deployments").await;
    assert_eq!(list["deployments"].as_array().unwrap().len(), 3, "a preview does nothing");
    let (status, now) = ask(&collector, "PUT", "/api/v1/retention", policy.into_bytes()).await;
    assert_eq!((status, &read(&now)["deployments"]), (200, &json!(2)));
    let gone = good.hello.deployment_id;
    assert_eq!(get(&collector, &format!("/api/v1/deployments/{gone}")).await.0, 404);
    let (_, found) = get(&collector, "/api/v1/search?q=unpacking&count=true").await;
    assert_eq!(found["matched"], 40, "only the failed one is left");
    let (status, said) = ask(&collector, "POST", "/api/v1/import", file).await;
    assert_eq!(status, 400);
    assert!(read(&said)["error"]["message"].as_str().unwrap().contains("was removed"));
    // A console that sends it again is told that all of it is here.
    let (_console, acked) = Console::greet(&collector, &good).await;
    assert_eq!(acked, 45);
    let kept = failed.hello.deployment_id;
    assert_eq!(get(&collector, &format!("/api/v1/deployments/{kept}/rows")).await.0, 200);
    collector.shutdown().await.unwrap();
    deckport_collector::check::check(config, true, |problem| panic!("{problem:?}")).await.unwrap();
}

#[tokio::test]
async fn a_failure_is_known_also_when_its_log_went_before_anybody_asked() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let failed = install(&collector, "Bay 2", Some("E: no space left")).await;
    let policy = json!({"max_age_days": 30, "max_bytes": null, "failed_age_days": null});
    let path = "/api/v1/retention";
    let (status, now) = ask(&collector, "PUT", path, policy.to_string().into_bytes()).await;
    assert_eq!((status, &read(&now)["deployments"]), (200, &json!(0)));
    let (_, list) = get(&collector, "/api/v1/signatures").await;
    let signatures = list["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 1, "{list}");
    assert_eq!(signatures[0]["title"], "E: no space left");
    assert_eq!(signatures[0]["runs"][0]["deployment_id"], json!(failed.hello.deployment_id));
    collector.shutdown().await.unwrap();
    // So it is with what goes by itself, when a collector starts.
    let collector = start(dir.path()).await;
    let keep = json!({"max_age_days": null, "max_bytes": null, "failed_age_days": null});
    ask(&collector, "PUT", path, keep.to_string().into_bytes()).await;
    install(&collector, "Bay 3", Some("E: Unable to locate package game")).await;
    collector.shutdown().await.unwrap();
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("collector.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("update meta set value = $1 where key like 'retention:%'")
        .bind(policy.to_string())
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    let collector = start(dir.path()).await;
    support::eventually("it is given back", async || {
        get(&collector, "/api/v1/retention").await.1["deployments"] == 0
    })
    .await;
    let (_, list) = get(&collector, "/api/v1/signatures").await;
    assert_eq!(list["signatures"].as_array().unwrap().len(), 2, "{list}");
}

#[tokio::test]
async fn space_is_given_back_to_the_file_system_when_logs_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    // What the tail needs again and again stays.
    config.bounds.tail_bytes = 256 * 1024;
    let collector = Collector::start(config.clone()).await.unwrap();
    let run = noise(&collector, 12_000).await;
    // What failed goes last.
    let kept = install(&collector, "Bay 2", Some("E: no space left")).await;
    support::eventually("they are in blocks", async || {
        let (_, metrics) = support::text(&collector, "/metrics").await;
        metrics.contains("deckport_tail_bytes 0\n")
    })
    .await;
    let policy = json!({"max_age_days": null, "max_bytes": 100_000, "failed_age_days": null});
    let policy = policy.to_string().into_bytes();
    assert_eq!(ask(&collector, "PUT", "/api/v1/retention", policy).await.0, 200);
    let gone = format!("/api/v1/deployments/{}", run.hello.deployment_id);
    assert_eq!(get(&collector, &gone).await.0, 404);
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(dir.path().join("collector.db"))
        .read_only(true);
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    support::eventually("what nothing stands in is given back", async || {
        let free: i64 =
            sqlx::query_scalar("pragma freelist_count").fetch_one(&mut database).await.unwrap();
        free <= 2 * 256 * 1024 / 8192
    })
    .await;
    database.close().await.unwrap();
    let there = format!("/api/v1/deployments/{}/rows", kept.hello.deployment_id);
    assert_eq!(get(&collector, &there).await.0, 200);
    collector.shutdown().await.unwrap();
    let bytes = std::fs::metadata(dir.path().join("collector.db")).unwrap().len();
    assert!(bytes < 2_000_000, "{bytes}");
    deckport_collector::check::check(&config, false, |problem| panic!("{problem:?}"))
        .await
        .unwrap();
}

/// A run of lines that do not pack, a kilobyte each.
async fn noise(collector: &Collector, lines: u64) -> Run {
    let run = Run::new("Noise");
    let (mut console, _) = Console::greet(collector, &run).await;
    let mut random = 1u64;
    let mut text = || {
        let letter = || {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            char::from(b'0' + (random >> 33) as u8 % 75)
        };
        std::iter::repeat_with(letter).take(1000).collect::<String>()
    };
    let mut records: Vec<Record> = vec![run.started()];
    records.extend((2..lines).map(|seq| line(seq, &text())));
    records.push(finished(lines, Outcome::Succeeded));
    for batch in records.chunks(200) {
        console.send(run.frame(batch)).await;
    }
    console.acked(lines).await;
    run
}

/// The head of a run's file, and its frames.
fn apart(file: &[u8]) -> (String, Vec<Vec<u8>>) {
    let unpacked = zstd::decode_all(file.strip_prefix(b"deckport-bundle 1\n").unwrap()).unwrap();
    let line = unpacked.iter().position(|&byte| byte == b'\n').unwrap();
    let head = String::from_utf8(unpacked[..line].to_vec()).unwrap();
    let mut frames = Vec::new();
    let mut rest = &unpacked[line + 1..];
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (frame, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    (head, frames)
}

fn together(head: &str, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut unpacked = format!("{head}\n").into_bytes();
    for frame in frames {
        unpacked.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        unpacked.extend_from_slice(frame);
    }
    [b"deckport-bundle 1\n".as_slice(), &zstd::encode_all(unpacked.as_slice(), 1).unwrap()].concat()
}

#[tokio::test]
async fn nothing_is_taken_from_a_file_that_is_not_whole_however_large() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = start(dir.path()).await;
    let other = start(elsewhere.path()).await;
    let names = |dir: &std::path::Path| {
        let all = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name());
        all.collect::<std::collections::BTreeSet<_>>()
    };
    let before = names(elsewhere.path());
    // Larger than what waits in memory.
    let run = noise(&collector, 9000).await;
    let path = |what: &str| format!("/api/v1/deployments/{}/{what}", run.hello.deployment_id);
    let (_, file) = ask(&collector, "GET", &path("bundle"), Vec::new()).await;
    assert!(file.len() > 6_000_000, "{}", file.len());
    let (head, frames) = apart(&file);
    assert!(frames.len() > 3);
    let last = frames.len() - 1;
    let mut unreadable = frames.clone();
    unreadable[last][30..].fill(0);
    let swapped = [&frames[..last - 1], &[frames[last].clone(), frames[last - 1].clone()]].concat();
    let after = run.frame(&[line(9001, "after the end")]).to_vec();
    let mut damaged = file.clone();
    damaged[file.len() - 5] ^= 1;
    for (what, file) in [
        ("cut in the middle", file[..file.len() / 2].to_vec()),
        ("cut before its checksum", file[..file.len() - 4].to_vec()),
        ("its last bytes", damaged),
        ("the last frame is missing", together(&head, &frames[..last])),
        ("a frame is missing", together(&head, &[&frames[..1], &frames[2..]].concat())),
        ("frames in another order", together(&head, &swapped)),
        ("a frame that is none", together(&head, &unreadable)),
        ("records behind the end", together(&head, &[&frames[..], &[after]].concat())),
        ("a frame twice", together(&head, &[&frames[..1], &frames[..]].concat())),
        ("no records", together(&head, &[])),
        ("more behind it", [&file[..], b"more"].concat()),
    ] {
        let (status, said) = ask(&other, "POST", "/api/v1/import", file).await;
        assert_eq!(status, 400, "{what}: {}", read(&said));
        let message = read(&said)["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("no whole bundle"), "{what}: {message}");
        let (_, none) = get(&other, "/api/v1/deployments").await;
        assert_eq!(none["deployments"], json!([]), "{what}: something was stored");
    }
    assert_eq!(names(elsewhere.path()), before, "files are left");
    let (status, body) = ask(&other, "POST", "/api/v1/import", file).await;
    assert_eq!((status, &read(&body)["records"]), (201, &json!(9000)), "{}", read(&body));
    let (_, here) = ask(&collector, "GET", &path("raw"), Vec::new()).await;
    assert!(ask(&other, "GET", &path("raw"), Vec::new()).await.1 == here);
}

#[tokio::test]
async fn an_import_that_was_cut_off_goes_on_when_the_file_comes_again() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = start(dir.path()).await;
    let run = noise(&collector, 9000).await;
    let path = |what: &str| format!("/api/v1/deployments/{}/{what}", run.hello.deployment_id);
    let (_, file) = ask(&collector, "GET", &path("bundle"), Vec::new()).await;
    // One that stores slowly, so that there is a middle.
    let mut slow = config(elsewhere.path());
    slow.bounds.queue_bytes = 64 * 1024;
    slow.bounds.group_interval = std::time::Duration::from_millis(100);
    let other = Collector::start(slow).await.unwrap();
    let begun = support::eventually("some of it is stored", async || {
        let (_, there) = get(&other, &path("records?limit=1")).await;
        there["acked_seq"].as_u64().is_some_and(|seq| seq > 0)
    });
    tokio::select! {
        (status, said) = ask(&other, "POST", "/api/v1/import", file.clone()) => {
            panic!("it is done already: {status} {}", read(&said))
        }
        () = begun => {}
    }
    // The claim went with the request.
    let mut answer = (0, Value::Null);
    support::eventually("it is free", async || {
        let (status, said) = ask(&other, "POST", "/api/v1/import", file.clone()).await;
        answer = (status, read(&said));
        status == 201
    })
    .await;
    let records = answer.1["records"].as_u64().unwrap();
    assert!((1..9000).contains(&records), "{records}");
    let (_, here) = ask(&collector, "GET", &path("raw"), Vec::new()).await;
    assert!(ask(&other, "GET", &path("raw"), Vec::new()).await.1 == here);
    let (_, there) = get(&other, &path("")[..path("").len() - 1]).await;
    assert_eq!(there["summary"]["state"], "succeeded");
}

#[tokio::test]
async fn a_file_that_differs_from_what_is_here_is_not_taken_in() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = start(dir.path()).await;
    let other = start(elsewhere.path()).await;
    let run = Run::new("Bay 1");
    let bundle = format!("/api/v1/deployments/{}/bundle", run.hello.deployment_id);
    for (at, last) in [(&collector, 7), (&other, 5)] {
        let (mut console, _) = Console::greet(at, &run).await;
        let mut records = vec![run.started()];
        records.extend((2..=last).map(|seq| line(seq, &format!("line {seq} of {last}"))));
        console.send(run.frame(&records)).await;
        console.acked(last).await;
        drop(console);
        support::eventually("the console is gone", async || {
            let (_, list) = get(at, "/api/v1/deployments").await;
            list["deployments"][0]["presence"]["kind"] == "offline"
        })
        .await;
    }
    let (_, file) = ask(&collector, "GET", &bundle, Vec::new()).await;
    let (status, said) = ask(&other, "POST", "/api/v1/import", file).await;
    assert_eq!(status, 400);
    assert!(read(&said)["error"]["message"].as_str().unwrap().contains("not what the file holds"));
    let (_, list) = get(&other, "/api/v1/deployments").await;
    assert_eq!(list["deployments"][0]["acked_seq"], 5);
}

#[tokio::test]
async fn a_run_goes_into_a_file_and_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let run = install(&collector, "Bay 1", Some("E: <script>no space left</script>")).await;
    let id = run.hello.deployment_id;
    let path = |what: &str| format!("/api/v1/deployments/{id}/{what}");
    let (_, text) = ask(&collector, "GET", &path("export?from=1&to=3"), Vec::new()).await;
    assert_eq!(text, b"Reading package lists...\nUnpacking package-0 (1.0) ...\n");
    let (_, lines) = ask(&collector, "GET", &path("export?format=jsonl"), Vec::new()).await;
    assert_eq!(lines.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count(), 44);
    let (_, page) = ask(&collector, "GET", &path("export?format=html"), Vec::new()).await;
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("&lt;script&gt;")
            && !page.contains("<script>")
            && page.ends_with("</html>\n")
    );
    assert_eq!(get(&collector, &path("export?format=doc")).await.0, 400);
    let (_, raw) = ask(&collector, "GET", &path("raw"), Vec::new()).await;
    let (status, file) = ask(&collector, "GET", &path("bundle"), Vec::new()).await;
    assert_eq!(status, 200);

    let elsewhere = tempfile::tempdir().unwrap();
    let other = Collector::start(Config { venue: "Elsewhere".into(), ..config(elsewhere.path()) });
    let other = other.await.unwrap();
    for end in [0, 10, 18, 40, file.len() - 1] {
        let (status, told) = ask(&other, "POST", "/api/v1/import", file[..end].to_vec()).await;
        assert_eq!(status, 400, "{end}: {}", read(&told));
    }
    let mut damaged = file.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert_eq!(ask(&other, "POST", "/api/v1/import", damaged).await.0, 400);
    let (_, none) = get(&other, "/api/v1/deployments").await;
    assert_eq!(none["deployments"], json!([]), "what is not whole leaves nothing behind");
    let (status, body) = ask(&other, "POST", "/api/v1/import", file.clone()).await;
    assert_eq!((status, &read(&body)["records"]), (201, &json!(46)), "{}", read(&body));
    let (status, body) = ask(&other, "POST", "/api/v1/import", file).await;
    assert_eq!((status, &read(&body)["records"]), (201, &json!(0)), "again: nothing new");
    assert_eq!(ask(&other, "GET", &path("raw"), Vec::new()).await.1, raw);
    let (_, there) = get(&other, &format!("/api/v1/deployments/{id}")).await;
    assert_eq!(
        (&there["summary"]["state"], &there["summary"]["name"]),
        (&json!("failed"), &json!("Bay 1"))
    );
}

#[tokio::test]
async fn a_run_under_way_is_not_cut_off_by_its_own_file_and_a_longer_file_goes_on() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = start(dir.path()).await;
    let other = start(elsewhere.path()).await;
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=7)).await;
    console.acked(7).await;
    let bundle = format!("/api/v1/deployments/{}/bundle", run.hello.deployment_id);
    let (_, short) = ask(&collector, "GET", &bundle, Vec::new()).await;
    let (status, said) = ask(&collector, "POST", "/api/v1/import", short.clone()).await;
    assert_eq!(status, 400, "{}", read(&said));
    assert!(read(&said)["error"]["message"].as_str().unwrap().contains("delivering"));
    // The console goes on as if nothing had been.
    console.send(run.batch(8..=19)).await;
    console.send(run.frame(&[finished(20, Outcome::Succeeded)])).await;
    console.acked(20).await;
    // In a block, records of several batches go out as one.
    support::eventually("the run that ended is in a block", async || {
        support::text(&collector, "/metrics").await.1.contains("deckport_blocks 1\n")
    })
    .await;
    let (_, whole) = ask(&collector, "GET", &bundle, Vec::new()).await;
    for (file, records) in [(short, 7), (whole, 13)] {
        let (status, said) = ask(&other, "POST", "/api/v1/import", file).await;
        assert_eq!((status, &read(&said)["records"]), (201, &json!(records)), "{}", read(&said));
    }
    let raw = format!("/api/v1/deployments/{}/raw", run.hello.deployment_id);
    let (_, here) = ask(&collector, "GET", &raw, Vec::new()).await;
    assert_eq!(ask(&other, "GET", &raw, Vec::new()).await.1, here);
}
