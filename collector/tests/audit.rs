//! Who did what is written down, stays as it was written, and what was done to it afterwards is found, with its place.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use bytes::Bytes;
use deckport_collector::Collector;
use deckport_collector::audit::{Audit, Entry, Inspected, Outcome, Verified, Who, verify};
use deckport_collector::config::{Config, Database};
use deckport_collector::metrics::Metrics;
use deckport_collector::store::{Snapshot, Store};
use deckport_protocol::ConsoleId;
use http_body_util::Full;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::http::exchange;
use support::later::Later;
use support::postgres::Postgres;
use support::{config, start};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8050";

async fn checked(config: &Config, copies: &[PathBuf]) -> Verified {
    let (data_dir, database) = (config.data_dir.as_path(), &config.database);
    verify(Inspected { data_dir, database, copies, key: None, until: None }).await.unwrap()
}

/// Asks as the shell does, or over the network with a token or without.
async fn ask(
    collector: &Collector,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    let body =
        Full::new(Bytes::from(if body.is_null() { String::new() } else { body.to_string() }));
    let answer = match token {
        None => {
            let request = request.header("host", "shell").body(body).unwrap();
            exchange(collector.dial(), request).await
        }
        Some(token) => {
            let address = collector.listen_addr().unwrap();
            let mut request = request.header("host", address.to_string());
            if !token.is_empty() {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let stream = TcpStream::connect(address).await.unwrap();
            exchange(stream, request.body(body).unwrap()).await
        }
    };
    (answer.status, answer.json())
}

/// All entries, the oldest first.
async fn trail(collector: &Collector) -> Vec<Value> {
    let mut all = Vec::new();
    let mut before = u64::from(u32::MAX);
    loop {
        let path = format!("/api/v1/audit?limit=500&before={before}");
        let (status, page) = ask(collector, None, "GET", &path, Value::Null).await;
        assert_eq!(status, 200, "{page}");
        all.extend(page["entries"].as_array().unwrap().iter().cloned());
        match page["next"].as_u64() {
            Some(next) => before = next,
            None => break,
        }
    }
    all.reverse();
    for (at, entry) in all.iter().enumerate() {
        assert_eq!(entry["position"], at as u64 + 1);
    }
    all
}

fn with<'a>(trail: &'a [Value], action: &str) -> Vec<&'a Value> {
    trail.iter().filter(|entry| entry["action"] == action).collect()
}

fn request() -> String {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

async fn code(collector: &Collector) -> (String, String) {
    let asked = json!({ "template": "console" });
    let (status, made) = ask(collector, None, "POST", "/api/v1/join-tokens", asked).await;
    assert_eq!(status, 201, "{made}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["code"]), text(&made["invitation"]["id"]))
}

async fn join(collector: &Collector, code: &str) -> (u16, ConsoleId) {
    let console_id = ConsoleId::new();
    let asked = json!({ "code": code, "console_id": console_id, "name": "Bay 12",
        "agent_version": "test", "request": request() });
    (ask(collector, None, "POST", "/api/v1/join", asked).await.0, console_id)
}

#[tokio::test]
async fn entries_survive_restarts_and_chain_on() {
    let dir = tempfile::tempdir().unwrap();
    story(&config(dir.path())).await;
}

#[tokio::test]
async fn entries_on_postgres_survive_restarts_and_chain_on() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.database = Database::Postgres(postgres.database());
    story(&config).await;
}

async fn story(config: &Config) {
    let collector = Collector::start(config.clone()).await.unwrap();
    let (shown, id) = code(&collector).await;
    assert_eq!(join(&collector, "0000-0000-0000").await.0, 403);
    let (status, console) = join(&collector, &shown).await;
    assert_eq!(status, 201);
    let path = format!("/api/v1/consoles/{console}/order");
    let order = json!({ "order": "deploy" });
    assert_eq!(ask(&collector, None, "POST", &path, order).await.0, 409, "it is not linked");
    let path = format!("/api/v1/consoles/{console}/revoke");
    assert_eq!(ask(&collector, Some(collector.token()), "POST", &path, Value::Null).await.0, 204);
    let (_, other) = code(&collector).await;
    let path = format!("/api/v1/join-tokens/{other}");
    assert_eq!(ask(&collector, None, "DELETE", &path, Value::Null).await.0, 204);
    let search = json!({ "name": "Disks", "query": "disk full" });
    let (_, saved) = ask(&collector, None, "POST", "/api/v1/searches", search).await;
    let path = format!("/api/v1/searches/{}", saved["id"].as_str().unwrap());
    assert_eq!(ask(&collector, None, "DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(ask(&collector, None, "DELETE", &path, Value::Null).await.0, 404);
    let policy = json!({ "max_age_days": 90 });
    assert_eq!(ask(&collector, None, "PUT", "/api/v1/retention", policy).await.0, 200);
    assert_eq!(ask(&collector, Some("wrong"), "GET", "/api/v1/info", Value::Null).await.0, 401);
    assert_eq!(ask(&collector, None, "GET", "/api/v1/audit/export", Value::Null).await.0, 200);

    let all = trail(&collector).await;
    let actions: Vec<&str> = all.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let expected = [
        "trail_begun",
        "collector_started",
        "code_made",
        "code_refused",
        "console_joined",
        "console_ordered",
        "console_ordered",
        "console_revoked",
        "code_made",
        "code_taken_back",
        "search_saved",
        "search_deleted",
        "search_deleted",
        "retention_changed",
        "request_denied",
        "audit_exported",
    ];
    assert_eq!(actions, expected);
    let joined = with(&all, "console_joined")[0];
    assert_eq!(joined["subject"], json!({ "kind": "console", "id": console }));
    assert_eq!(joined["detail"]["join_token"], *id);
    assert_eq!(joined["actor"]["kind"], "stranger");
    let ordered = with(&all, "console_ordered");
    assert_eq!(
        (&ordered[0]["outcome"], &ordered[1]["outcome"]),
        (&json!("done"), &json!("failed"))
    );
    assert_eq!(ordered[1]["detail"]["refusal"], "not_connected");
    let revoked = with(&all, "console_revoked")[0];
    assert_eq!(
        (&revoked["actor"]["kind"], &revoked["address"]),
        (&json!("local_admin"), &json!("127.0.0.1"))
    );
    assert_eq!(with(&all, "search_deleted")[1]["outcome"], "failed");
    let denied = with(&all, "request_denied")[0];
    assert_eq!(
        denied["detail"],
        json!({ "method": "GET", "route": "/api/v1/info", "refusal": "unauthenticated" })
    );
    for (asked, found) in [
        ("actor=console", 0),
        ("actor=stranger", 3),
        ("outcome=denied", 2),
        ("action=console_revoked", 1),
        ("subject=console&outcome=done", 3),
        (&format!("subject={console}"), 4),
        ("text=BAY%2012", 1),
        ("text=100%25", 0),
        ("to=1", 0),
        ("from=1", 16),
    ] {
        let path = format!("/api/v1/audit?{asked}");
        let (_, page) = ask(&collector, None, "GET", &path, Value::Null).await;
        assert_eq!(page["entries"].as_array().unwrap().len(), found, "{asked}: {page}");
    }

    // While it runs, by the API and beside it.
    let (_, told) = ask(&collector, None, "GET", "/api/v1/audit/verify", Value::Null).await;
    assert_eq!((&told["sound"], &told["found"]["entries"]), (&json!(true), &json!(16)), "{told}");
    let (_, page) = ask(&collector, None, "GET", "/api/v1/audit?limit=1", Value::Null).await;
    assert_eq!(page["verified"]["position"], 16);
    let beside = checked(config, &[]).await;
    assert!(beside.is_sound(), "{beside:?}");
    collector.shutdown().await.unwrap();

    let stopped = checked(config, &[]).await;
    assert!(stopped.is_sound() && stopped.complete, "{stopped:?}");
    let collector = Collector::start(config.clone()).await.unwrap();
    let later = trail(&collector).await;
    assert_eq!(later[..16], all, "what was written stays");
    assert_eq!(with(&later, "collector_stopped").len(), 1);
    assert_eq!(with(&later, "trail_begun").len(), 1);
    // Not shut down, as after a power cut.
    drop(collector);
    support::eventually("the data directory is free", async || {
        match Collector::start(config.clone()).await {
            Ok(collector) => collector.shutdown().await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
    let again = checked(config, &[]).await;
    assert!(again.is_sound(), "{again:?}");
    assert_eq!(again.key, stopped.key);
}

#[tokio::test]
async fn a_database_that_is_put_back_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let collector = Collector::start(config.clone()).await.unwrap();
    code(&collector).await;
    collector.shutdown().await.unwrap();
    let (database, kept) = (dir.path().join("collector.db"), dir.path().join("kept.db"));
    std::fs::copy(&database, &kept).unwrap();
    let collector = Collector::start(config.clone()).await.unwrap();
    code(&collector).await;
    collector.shutdown().await.unwrap();
    // What a console holds.
    let copy = dir.path().join("bay-12");
    std::fs::copy(dir.path().join("audit.checkpoints"), &copy).unwrap();
    let whole = checked(&config, std::slice::from_ref(&copy)).await;
    assert!(whole.is_sound(), "{whole:?}");
    std::fs::copy(&kept, &database).unwrap();
    let cut = checked(&config, &[]).await;
    let told = cut.problems.iter().find(|problem| problem.what.starts_with("cut off")).unwrap();
    assert_eq!((told.from, told.to), (cut.position + 1, whole.position), "{cut:?}");
    // The files too, as by a restored backup of all: the console knows.
    let head = std::fs::read_to_string(dir.path().join("audit.checkpoints")).unwrap();
    let lines: Vec<&str> = head.lines().collect();
    std::fs::write(dir.path().join("audit.checkpoints"), format!("{}\n", lines[0])).unwrap();
    std::fs::write(dir.path().join("audit.head"), lines[0]).unwrap();
    assert!(checked(&config, &[]).await.is_sound(), "nothing here knows better");
    let by_console = checked(&config, std::slice::from_ref(&copy)).await;
    assert!(
        by_console.problems.iter().any(|problem| problem.to == whole.position),
        "{by_console:?}"
    );
    // A collector that starts on it says so in the trail, for good.
    std::fs::write(dir.path().join("audit.head"), lines[1]).unwrap();
    let collector = Collector::start(config.clone()).await.unwrap();
    let all = trail(&collector).await;
    assert_eq!(with(&all, "trail_disagreed").len(), 1);
    collector.shutdown().await.unwrap();
    assert!(!checked(&config, &[]).await.is_sound());
}

#[tokio::test]
async fn every_route_that_changes_something_leaves_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.bounds.denials_per_minute = 1000;
    let collector = Collector::start(config).await.unwrap();
    let (_, document) = support::get(&collector, "/api/openapi.json").await;
    let mut walked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|method| *method != "get") {
            walked += 1;
            let method = method.to_uppercase();
            // Nobody, somebody with a wrong token, and the one who may do everything.
            for token in [Some(""), Some("wrong"), None] {
                let asked = path.replace("{id}", ID);
                let (before, _) = positions(&collector).await;
                let body =
                    json!({ "name": "x", "query": "y", "template": "console", "order": "renew" });
                let (status, answer) = ask(&collector, token, &method, &asked, body).await;
                let (after, entries) = positions(&collector).await;
                assert!(after > before, "{method} {path} {token:?}: {status} {answer}");
                let entry = &entries[0];
                assert_eq!(entry["detail"]["route"], *path, "{method} {path}: {entry}");
                assert_eq!(entry["detail"]["method"], *method, "{method} {path}: {entry}");
                let done = entry["outcome"] == "done";
                assert_eq!(done, status < 400, "{method} {path}: {status} {entry}");
            }
        }
    }
    assert!(walked >= 12, "only {walked} routes change something: the test does not see them");
    for path in ["raw", "bundle", "export?format=raw"] {
        let (before, _) = positions(&collector).await;
        ask(&collector, None, "GET", &format!("/api/v1/deployments/{ID}/{path}"), Value::Null)
            .await;
        assert!(positions(&collector).await.0 > before, "{path}");
    }
    // Reading leaves none, nor do addresses that are not there.
    let (before, _) = positions(&collector).await;
    for path in ["/api/v1/deployments", "/api/v1/nothing", "/", "/healthz"] {
        ask(&collector, None, "GET", path, Value::Null).await;
    }
    ask(&collector, Some(""), "GET", "/api/v1/nothing", Value::Null).await;
    ask(&collector, None, "PATCH", "/api/v1/retention", Value::Null).await;
    assert_eq!(positions(&collector).await.0, before);
    // A token that is guessed at an address that is not there is a guess all the same.
    ask(&collector, Some("guess"), "GET", "/api/v1/nothing", Value::Null).await;
    assert_eq!(positions(&collector).await.0, before + 1);
}

async fn positions(collector: &Collector) -> (u64, Vec<Value>) {
    let (_, page) = ask(collector, None, "GET", "/api/v1/audit?limit=5", Value::Null).await;
    (page["position"].as_u64().unwrap(), page["entries"].as_array().unwrap().clone())
}

#[tokio::test]
async fn a_flood_of_denials_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let mut config = config(dir.path());
    config.bounds.denials_per_minute = 5;
    config.clock = Arc::clone(&clock) as _;
    let collector = Collector::start(config.clone()).await.unwrap();
    for _ in 0..100 {
        assert_eq!(ask(&collector, Some("wrong"), "GET", "/api/v1/info", Value::Null).await.0, 401);
        // Over the network, without a credential.
        assert_eq!(ask(&collector, Some(""), "POST", "/api/v1/join", json!({})).await.0, 400);
    }
    let written = with(&trail(&collector).await, "request_denied").len()
        + with(&trail(&collector).await, "console_joined").len();
    assert_eq!(written, 10, "five that were denied and five that failed");
    clock.0.fetch_add(61_000_000, Ordering::Relaxed);
    assert_eq!(ask(&collector, Some("wrong"), "GET", "/api/v1/info", Value::Null).await.0, 401);
    collector.shutdown().await.unwrap();
    let collector = Collector::start(config).await.unwrap();
    let all = trail(&collector).await;
    let rest = with(&all, "entries_left_out");
    assert_eq!(rest.len(), 2, "{rest:?}");
    for counted in rest {
        assert_eq!(counted["detail"]["count"], 95);
        assert_eq!(counted["address"], "127.0.0.1");
    }
    assert_eq!(with(&all, "request_denied").len() + with(&all, "console_joined").len(), 11);
}

#[tokio::test]
async fn no_entry_holds_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let (good, _) = code(&collector).await;
    let (wrong, _) = code(&collector).await;
    assert_eq!(join(&collector, &good).await.0, 201);
    assert_eq!(join(&collector, &good).await.0, 403);
    let token = collector.token().to_owned();
    let mut secrets = vec![good, wrong.clone(), token.clone(), "guessed-token".to_owned()];
    // Codes and tokens where they do not belong.
    let misplaced = json!({ "template": wrong, "venue": token });
    ask(&collector, None, "POST", "/api/v1/join-tokens", misplaced).await;
    ask(&collector, None, "POST", "/api/v1/searches", json!({ "name": "n", "query": token })).await;
    ask(&collector, Some("guessed-token"), "POST", "/api/v1/tickets", Value::Null).await;
    let (_, ticket) = ask(&collector, Some(&token), "POST", "/api/v1/tickets", Value::Null).await;
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/audit/export?format=jsonl&ticket={ticket}");
    assert_eq!(ask(&collector, Some(""), "GET", &path, Value::Null).await.0, 200);
    assert_eq!(ask(&collector, Some(""), "GET", &path, Value::Null).await.0, 401, "it is used up");
    secrets.push(ticket);
    let all = Value::from(trail(&collector).await).to_string();
    assert!(all.contains("ticket_made") && all.contains("audit_exported"));
    for secret in secrets {
        for form in [secret.clone(), secret.to_lowercase(), secret.replace('-', "")] {
            assert!(!all.contains(&form), "{form} stands in {all}");
        }
    }
}

#[tokio::test]
async fn exports_hold_all_of_it_and_no_formula() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    for name in ["=1+1", "@a", "plain"] {
        let asked = json!({ "name": name, "query": "x" });
        assert_eq!(ask(&collector, None, "POST", "/api/v1/searches", asked).await.0, 201);
    }
    let (_, csv) = support::text(&collector, "/api/v1/audit/export?format=csv").await;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("position,at,actor,"), "{csv}");
    assert_eq!(lines.len(), 1 + 6, "{csv}");
    let (_, csv) =
        support::text(&collector, "/api/v1/audit/export?action=search_saved&outcome=done").await;
    assert_eq!(csv.lines().count(), 4, "{csv}");
    let (_, jsonl) = support::text(&collector, "/api/v1/audit/export?format=jsonl").await;
    let last: Value = serde_json::from_str(jsonl.lines().last().unwrap()).unwrap();
    assert_eq!(last["detail"]["format"], "jsonl", "its own entry is the last");
    let (status, _) = support::text(&collector, "/api/v1/audit/export?format=xml").await;
    assert_eq!(status, 400);
    assert_eq!(ask(&collector, None, "HEAD", "/api/v1/audit/export", Value::Null).await.0, 200);
}

/// Writers at once, of whom some fail: the positions have no hole and the chain holds.
#[tokio::test]
async fn many_at_once_and_some_that_fail_leave_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let kept = Kept::open(&config).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..200u32 {
        let audit = Arc::clone(&kept.audit);
        writers.spawn(async move {
            let mut write = deckport_collector::store::Write::default();
            if number % 7 == 0 {
                write.statements.push(deckport_collector::store::Statement {
                    sql: "insert into nowhere values (1)",
                    values: Vec::new(),
                });
            }
            audit.write(Entry::own("thing_done").with("number", number), write).await.is_ok()
        });
    }
    let done = writers.join_all().await.into_iter().filter(|done| *done).count();
    assert_eq!(done, 200 - 29);
    kept.close().await;
    let found = checked(&config, &[]).await;
    assert!(found.is_sound(), "{found:?}");
    // The first, those, and the last.
    assert_eq!(found.entries, done as u64 + 2);
}

/// A trail without a collector around it.
struct Kept {
    audit: Arc<Audit>,
    store: Arc<Store>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Kept {
    async fn open(config: &Config) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let store = Store::open(config, Arc::new(Metrics::default()), &tasks, stop.clone()).await;
        let store = Arc::new(store.unwrap());
        let audit = Audit::open(Arc::clone(&store), config, &tasks, stop.clone()).await.unwrap();
        Self { audit, store, tasks, stop }
    }

    async fn close(self) {
        self.audit.close(Entry::own("collector_stopped")).await.unwrap();
        self.stop.cancel();
        self.tasks.close();
        self.store.close().await;
        self.tasks.wait().await;
    }
}

mod attacks {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{PublicKeyData as _, SigningKey as _};
    use sha2::{Digest as _, Sha256};
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
    use sqlx::{ConnectOptions as _, Connection as _, Row as _};

    /// SplitMix64: the same attacks each time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, most: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % most
        }

        fn between(&mut self, from: i64, to: i64) -> i64 {
            from + self.below((to - from + 1) as u64) as i64
        }
    }

    /// What an attack did: where, and how closely that must be told.
    struct Done {
        kind: &'static str,
        /// Some problem covers this position …
        at: i64,
        /// … and is no wider than this.
        within: i64,
    }

    type Field = Option<String>;

    /// The chain's hash, as its documentation says it.
    fn chained(
        previous: &[u8],
        (position, at, organisation, venue, actor, address, action, kind, id, detail, outcome): &(
            i64,
            i64,
            String,
            String,
            String,
            Field,
            String,
            Field,
            Field,
            String,
            String,
        ),
    ) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(b"deckport-audit-entry-1\n");
        hash.update(previous);
        hash.update(position.to_le_bytes());
        hash.update(at.to_le_bytes());
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        [organisation, venue, actor].into_iter().for_each(|field| text(field));
        for field in [address, kind, id] {
            text(if field.is_some() { "1" } else { "0" });
            text(field.as_deref().unwrap_or_default());
        }
        [action, detail, outcome].into_iter().for_each(|field| text(field));
        hash.finalize().to_vec()
    }

    struct Attack {
        db: SqliteConnection,
        last: i64,
    }

    impl Attack {
        async fn run(&mut self, sql: &'static str, values: &[&str]) -> u64 {
            let mut query = sqlx::query(sql);
            for value in values {
                query = query.bind(*value);
            }
            query.execute(&mut self.db).await.unwrap().rows_affected()
        }

        async fn hash_at(&mut self, position: i64) -> Vec<u8> {
            let sql = "select hash from audit where position = $1";
            let row = sqlx::query(sql).bind(position).fetch_optional(&mut self.db).await.unwrap();
            row.map_or_else(|| vec![0; 32], |row| row.get(0))
        }

        /// Computes every hash from an entry on anew.
        async fn rehash(&mut self, from: i64) {
            let mut previous = self.hash_at(from - 1).await;
            let sql = "select position, at, organisation_id, venue_id, actor, address, action, subject_kind, \
                 subject_id, detail, outcome from audit where position >= $1 order by position";
            let rows: Vec<_> =
                sqlx::query_as(sql).bind(from).fetch_all(&mut self.db).await.unwrap();
            for row in rows {
                previous = chained(&previous, &row);
                sqlx::query("update audit set hash = $2 where position = $1")
                    .bind(row.0)
                    .bind(&previous)
                    .execute(&mut self.db)
                    .await
                    .unwrap();
            }
        }

        /// Signs what is said of every hash with a key of the attacker's.
        async fn sign(&mut self, key: &KeyPair, last: i64) {
            let sql = "select position, at from audit_checkpoint where position <= $1";
            let rows: Vec<(i64, i64)> =
                sqlx::query_as(sql).bind(last).fetch_all(&mut self.db).await.unwrap();
            for (position, at) in rows {
                let hash = self.hash_at(position).await;
                let signature = signed(key, position, &hash, at);
                sqlx::query(
                    "update audit_checkpoint set hash = $2, signature = $3 where position = $1",
                )
                .bind(position)
                .bind(hash)
                .bind(signature)
                .execute(&mut self.db)
                .await
                .unwrap();
            }
            self.tell_head(Some(key), last).await;
        }

        /// Makes the database say that the trail is so far; the signature is the attacker's or what stood there.
        async fn tell_head(&mut self, key: Option<&KeyPair>, position: i64) {
            let text: String =
                sqlx::query_scalar("select value from meta where key = 'audit_head'")
                    .fetch_one(&mut self.db)
                    .await
                    .unwrap();
            let mut head: Value = serde_json::from_str(&text).unwrap();
            let hash = self.hash_at(position).await;
            head["position"] = position.into();
            head["hash"] = hex(&hash).into();
            if let Some(key) = key {
                let at = head["at"].as_i64().unwrap();
                head["signature"] = STANDARD.encode(signed(key, position, &hash, at)).into();
            }
            self.run("update meta set value = $1 where key = 'audit_head'", &[&head.to_string()])
                .await;
        }

        async fn checkpoints(&mut self) -> Vec<i64> {
            sqlx::query_scalar("select position from audit_checkpoint order by position")
                .fetch_all(&mut self.db)
                .await
                .unwrap()
        }

        /// The nearest signed point at or behind a position.
        async fn signed_behind(&mut self, position: i64) -> i64 {
            let all = self.checkpoints().await;
            all.into_iter().find(|at| *at >= position).unwrap_or(self.last)
        }

        async fn any(&mut self, dice: &mut Dice) -> Done {
            let last = self.last;
            let n = dice.between(1, last);
            match dice.below(16) {
                0..3 => self.edit(dice, n).await,
                3 => {
                    let count = dice.between(1, 5).min(last - n + 1);
                    sqlx::query("delete from audit where position >= $1 and position < $2")
                        .bind(n)
                        .bind(n + count)
                        .execute(&mut self.db)
                        .await
                        .unwrap();
                    Done { kind: "deleted", at: n, within: count }
                }
                4 => self.swap(dice, n).await,
                5 => self.cut(dice, n).await,
                6 | 7 => self.rewrite(dice, n).await,
                8 => {
                    // One taken out, those behind it moved up, and everything computed anew.
                    let n = n.min(last - 1);
                    sqlx::query("delete from audit where position = $1")
                        .bind(n)
                        .execute(&mut self.db)
                        .await
                        .unwrap();
                    sqlx::query("update audit set position = -(position - 1) where position > $1")
                        .bind(n)
                        .execute(&mut self.db)
                        .await
                        .unwrap();
                    self.run("update audit set position = -position where position < 0", &[]).await;
                    self.rehash(n).await;
                    self.tell_head(None, last - 1).await;
                    let within = self.signed_behind(n).await;
                    Done { kind: "closed up", at: n, within: (within - n + 100).max(100) }
                }
                9 => {
                    let all = self.checkpoints().await;
                    let at = all[dice.below(all.len() as u64) as usize];
                    let sql = if dice.below(2) == 0 {
                        "delete from audit_checkpoint where position = $1"
                    } else {
                        "delete from audit_checkpoint where position >= $1"
                    };
                    sqlx::query(sql).bind(at).execute(&mut self.db).await.unwrap();
                    Done { kind: "checkpoints cut", at, within: last }
                }
                10 => self.edit_checkpoint(dice).await,
                11 => self.add(dice).await,
                12 => self.edit_head(dice).await,
                13 => {
                    let position = -dice.between(0, 3);
                    self.copy_to(n, position).await;
                    Done { kind: "put in front", at: 0, within: 1 }
                }
                14 => {
                    // What was signed once, for a place where it does not belong.
                    let at = n;
                    sqlx::query(
                        "insert or replace into audit_checkpoint select $1, hash, at + 1, signature \
                         from audit_checkpoint limit 1",
                    )
                    .bind(at)
                    .execute(&mut self.db)
                    .await
                    .unwrap();
                    Done { kind: "checkpoint moved", at, within: 1 }
                }
                _ => {
                    // Everything anew, from the first entry's key on.
                    let key = KeyPair::generate().unwrap();
                    let spki = STANDARD.encode(key.subject_public_key_info());
                    let detail = json!({ "key": spki }).to_string();
                    self.run("update audit set detail = $1 where position = 1", &[&detail]).await;
                    self.rehash(1).await;
                    self.sign(&key, last).await;
                    Done { kind: "another key", at: 1, within: 1 }
                }
            }
        }

        async fn copy_to(&mut self, from: i64, to: i64) {
            sqlx::query(
                "insert into audit select $2, at, organisation_id, venue_id, actor, address, action, \
                 subject_kind, subject_id, detail, outcome, hash from audit where position = $1",
            )
            .bind(from)
            .bind(to)
            .execute(&mut self.db)
            .await
            .unwrap();
        }

        async fn edit(&mut self, dice: &mut Dice, n: i64) -> Done {
            let sql = match dice.below(13) {
                0 => "update audit set at = at + 1 where position = $1",
                1 => {
                    "update audit set organisation_id = organisation_id || '0' where position = $1"
                }
                2 => "update audit set venue_id = venue_id || '0' where position = $1",
                3 => "update audit set actor = '{\"kind\":\"console\"}' where position = $1",
                4 => "update audit set address = coalesce(address || '1', '') where position = $1",
                5 => "update audit set action = action || 'x' where position = $1",
                6 => {
                    "update audit set subject_kind = coalesce(subject_kind || 'x', 'x') where position = $1"
                }
                7 => {
                    "update audit set subject_id = coalesce(subject_id || '0', '') where position = $1"
                }
                8 => "update audit set detail = detail || ' ' where position = $1",
                9 => "update audit set outcome = 'unheard of' where position = $1",
                10 => "update audit set hash = randomblob(32) where position = $1",
                11 => "update audit set hash = x'00' where position = $1",
                // No text at all.
                _ => "update audit set action = cast(x'ff6162' as text) where position = $1",
            };
            sqlx::query(sql).bind(n).execute(&mut self.db).await.unwrap();
            Done { kind: "edited", at: n, within: 1 }
        }

        async fn swap(&mut self, dice: &mut Dice, n: i64) -> Done {
            let mut other = dice.between(1, self.last - 1);
            if other >= n {
                other += 1;
            }
            for (from, to) in [(n, -9_000_000), (other, n), (-9_000_000, other)] {
                sqlx::query("update audit set position = $2 where position = $1")
                    .bind(from)
                    .bind(to)
                    .execute(&mut self.db)
                    .await
                    .unwrap();
            }
            let at = n.min(other);
            if dice.below(2) == 0 {
                return Done { kind: "swapped", at, within: 1 };
            }
            self.rehash(at).await;
            let within = self.signed_behind(at).await - at + 100;
            Done { kind: "swapped and computed anew", at, within: within.max(100) }
        }

        async fn cut(&mut self, dice: &mut Dice, n: i64) -> Done {
            // At least the last one.
            let keep = n.min(self.last - 1);
            let keep = match dice.below(3) {
                // To where a signature of the collector's own stands.
                0 => {
                    let all = self.checkpoints().await;
                    all[dice.below(all.len() as u64 - 1) as usize]
                }
                _ => keep,
            };
            let head: Option<(Vec<u8>, i64, Vec<u8>)> = sqlx::query_as(
                "select hash, at, signature from audit_checkpoint where position = $1",
            )
            .bind(keep)
            .fetch_optional(&mut self.db)
            .await
            .unwrap();
            sqlx::query("delete from audit where position > $1")
                .bind(keep)
                .execute(&mut self.db)
                .await
                .unwrap();
            if dice.below(2) == 0 {
                sqlx::query("delete from audit_checkpoint where position > $1")
                    .bind(keep)
                    .execute(&mut self.db)
                    .await
                    .unwrap();
                self.tell_head(None, keep).await;
                if let Some((hash, at, signature)) = head {
                    let head = json!({ "position": keep, "hash": hex(&hash), "at": at,
                        "signature": STANDARD.encode(signature), "key": pin() });
                    let sql = "update meta set value = $1 where key = 'audit_head'";
                    self.run(sql, &[&head.to_string()]).await;
                }
            }
            Done { kind: "cut off", at: keep + 1, within: self.last }
        }

        async fn rewrite(&mut self, dice: &mut Dice, n: i64) -> Done {
            let sql = "update audit set detail = '{\"forged\":true}', outcome = 'done' where position = $1";
            sqlx::query(sql).bind(n).execute(&mut self.db).await.unwrap();
            self.rehash(n).await;
            match dice.below(3) {
                0 => {}
                1 => self.tell_head(None, self.last).await,
                _ => {
                    let key = KeyPair::generate().unwrap();
                    self.sign(&key, self.last).await;
                }
            }
            // Between the signed point before it and the one behind it.
            Done { kind: "rewritten", at: n, within: 200 }
        }

        async fn edit_checkpoint(&mut self, dice: &mut Dice) -> Done {
            let all = self.checkpoints().await;
            let at = all[dice.below(all.len() as u64) as usize];
            let sql = match dice.below(4) {
                0 => "update audit_checkpoint set hash = randomblob(32) where position = $1",
                1 => "update audit_checkpoint set at = at + 1 where position = $1",
                2 => "update audit_checkpoint set signature = randomblob(70) where position = $1",
                _ => "update audit_checkpoint set position = position - 1 where position = $1",
            };
            sqlx::query(sql).bind(at).execute(&mut self.db).await.unwrap();
            Done { kind: "checkpoint edited", at, within: 1 }
        }

        async fn add(&mut self, dice: &mut Dice) -> Done {
            let count = dice.between(1, 3);
            for more in 1..=count {
                self.copy_to(dice.between(2, self.last), self.last + more).await;
            }
            self.rehash(self.last + 1).await;
            if dice.below(2) == 0 {
                self.tell_head(None, self.last + count).await;
            }
            Done { kind: "added", at: self.last + count, within: count }
        }

        async fn edit_head(&mut self, dice: &mut Dice) -> Done {
            let last = self.last;
            match dice.below(4) {
                0 => {
                    self.run("delete from meta where key = 'audit_head'", &[]).await;
                }
                1 => {
                    self.run("update meta set value = '{}' where key = 'audit_head'", &[]).await;
                }
                2 => self.tell_head(None, last - 1).await,
                _ => {
                    let key = KeyPair::generate().unwrap();
                    self.tell_head(Some(&key), last).await;
                }
            }
            Done { kind: "head edited", at: last, within: 2 }
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn pin() -> deckport_protocol::Pin {
        deckport_protocol::Pin::of_key(b"it is not looked at")
    }

    fn signed(key: &KeyPair, position: i64, hash: &[u8], at: i64) -> Vec<u8> {
        let mut message = b"deckport-audit-checkpoint-1\n".to_vec();
        message.extend_from_slice(&position.to_le_bytes());
        message.extend_from_slice(hash);
        message.extend_from_slice(&at.to_le_bytes());
        key.sign(&message).unwrap()
    }

    /// A trail of some hundred entries of all sorts, with what is kept beside it.
    async fn victim(config: &Config) {
        let kept = Kept::open(config).await;
        for number in 0..255u32 {
            let who = if number % 3 == 0 {
                Who::Stranger
            } else {
                Who::Known(deckport_protocol::Actor::Console {
                    tenant: deckport_protocol::Tenant::SOLE,
                    console_id: ConsoleId::new(),
                })
            };
            let mut entry = Entry::new(who, "thing_done").with("number", number);
            if number % 2 == 0 {
                entry = entry.about("console", ConsoleId::new()).from("192.0.2.7".parse().ok());
            }
            if number % 5 == 0 {
                entry = entry.ended(Outcome::Denied);
            }
            kept.audit.record(entry).await.unwrap();
            if number == 150 {
                kept.audit.checkpoint().await.unwrap();
            }
        }
        kept.close().await;
    }

    async fn connect(path: &Path) -> SqliteConnection {
        let options =
            SqliteConnectOptions::new().filename(path).synchronous(SqliteSynchronous::Off);
        options.connect().await.unwrap()
    }

    async fn attacked(
        attacks: std::ops::Range<u64>,
    ) -> std::collections::BTreeMap<&'static str, u32> {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (config(dir.path()), config(copy.path()));
        victim(&from).await;
        let whole = checked(&from, &[]).await;
        assert!(whole.is_sound(), "{whole:?}");
        assert!(whole.checkpoints >= 3, "{whole:?}");
        std::fs::create_dir(copy.path().join("tls")).unwrap();
        for name in ["audit.head", "audit.checkpoints", "tls/audit.key"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let mut kinds = std::collections::BTreeMap::new();
        for seed in attacks {
            let database = copy.path().join("collector.db");
            for beside in ["collector.db-wal", "collector.db-shm"] {
                let _ = std::fs::remove_file(copy.path().join(beside));
            }
            std::fs::copy(dir.path().join("collector.db"), &database).unwrap();
            let db = connect(&database).await;
            let mut attack = Attack { db, last: whole.position.cast_signed() };
            let done = attack.any(&mut Dice(seed)).await;
            attack.db.close().await.unwrap();
            let found = checked(&to, &[]).await;
            assert!(
                !found.is_sound(),
                "attack {seed} ({} at {}) was not found",
                done.kind,
                done.at
            );
            let named = found.problems.iter().any(|problem| {
                let (from, to) = (problem.from.cast_signed(), problem.to.cast_signed());
                (from..=to).contains(&done.at) && to - from < done.within
            });
            assert!(named, "attack {seed}: {} at {} is told as {found:#?}", done.kind, done.at);
            *kinds.entry(done.kind).or_default() += 1;
        }
        kinds
    }

    #[tokio::test]
    async fn a_thousand_attacks_on_the_database_are_found() {
        let kinds = attacked(0..1000).await;
        assert!(kinds.values().sum::<u32>() == 1000 && kinds.len() >= 14, "{kinds:?}");
        println!("{kinds:?}");
    }

    /// With the key, everything on this machine fits: what a console was handed before does not.
    #[tokio::test]
    async fn a_history_written_with_the_key_contradicts_what_consoles_hold() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        victim(&config).await;
        let copy = dir.path().join("bay-12");
        std::fs::copy(dir.path().join("audit.checkpoints"), &copy).unwrap();
        let last = checked(&config, &[]).await.position.cast_signed();
        let pem = std::fs::read_to_string(dir.path().join("tls/audit.key")).unwrap();
        let key = KeyPair::from_pem(&pem).unwrap();
        let mut attack = Attack { db: connect(&dir.path().join("collector.db")).await, last };
        attack.run("update audit set outcome = 'failed' where position = 120", &[]).await;
        attack.rehash(120).await;
        attack.sign(&key, last).await;
        let mut lines = String::new();
        let sql = "select position, hash, at, signature from audit_checkpoint order by position";
        let rows: Vec<(i64, Vec<u8>, i64, Vec<u8>)> =
            sqlx::query_as(sql).fetch_all(&mut attack.db).await.unwrap();
        for (position, hash, at, signature) in rows {
            let line = json!({ "position": position, "hash": hex(&hash), "at": at,
                "signature": STANDARD.encode(signature), "key": pin() });
            lines.push_str(&format!("{line}\n"));
        }
        let head: String = sqlx::query_scalar("select value from meta where key = 'audit_head'")
            .fetch_one(&mut attack.db)
            .await
            .unwrap();
        attack.db.close().await.unwrap();
        std::fs::write(dir.path().join("audit.checkpoints"), lines).unwrap();
        std::fs::write(dir.path().join("audit.head"), head).unwrap();
        let alone = checked(&config, &[]).await;
        assert!(alone.is_sound(), "the module says so: {alone:?}");
        let held = checked(&config, std::slice::from_ref(&copy)).await;
        let first = &held.problems[0];
        assert!((first.from..=first.to).contains(&120), "{held:?}");
        assert!(first.what.contains("bay-12"), "{held:?}");
    }
}

#[tokio::test]
async fn verifying_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    collector.shutdown().await.unwrap();
    let read = || std::fs::read(dir.path().join("collector.db")).unwrap();
    let before = read();
    assert!(checked(&config(dir.path()), &[]).await.is_sound());
    assert_eq!(read(), before);
    let mut snapshot = Snapshot::open(dir.path(), &Database::InDirectory).await.unwrap();
    assert!(snapshot.fetch("delete from audit", []).await.is_err());
}
