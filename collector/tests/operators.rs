//! Operators: logging in, roles, what was taken back; and who may do what, route by route.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use bytes::Bytes;
use deckport_collector::{Clock as _, Collector};
use futures_util::StreamExt as _;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::http::exchange;
use support::later::Later;
use support::{DEADLINE, Dial, config, open, start};
use tokio::net::TcpStream;

const PASSWORD: &str = "three blind mice";

async fn start_with(dir: &Path, clock: &Arc<Later>) -> Collector {
    let mut config = config(dir);
    config.clock = Arc::clone(clock) as _;
    Collector::start(config).await.unwrap()
}

/// Further headers of a request.
type Headers<'a> = &'a [(&'a str, &'a str)];

async fn ask_with(
    collector: &Collector,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Option<&Value>,
    headers: Headers<'_>,
) -> (u16, Value) {
    let address = collector.listen_addr().unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let answer = exchange(TcpStream::connect(address).await.unwrap(), request).await;
    // Where all are asked for, some break off.
    let body = answer.whole.unwrap_or_default();
    (answer.status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn ask(
    collector: &Collector,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    ask_with(collector, token, method, path, body.as_ref(), &[]).await
}

async fn add(collector: &Collector, login: &str, role: &str) -> Value {
    let fields = json!({ "login": login, "name": login, "role": role, "password": PASSWORD });
    let token = Some(collector.token());
    let (status, made) = ask(collector, token, "POST", "/api/v1/operators", Some(fields)).await;
    assert_eq!(status, 201, "{made}");
    made
}

async fn log_in(collector: &Collector, login: &str, more: Value) -> Result<String, (u16, String)> {
    let mut asked = json!({ "login": login, "password": PASSWORD });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, answer) = ask(collector, None, "POST", "/api/v1/login", Some(asked)).await;
    match status {
        200 => Ok(answer["token"].as_str().unwrap().to_owned()),
        _ => Err((status, answer["error"]["code"].as_str().unwrap().to_owned())),
    }
}

/// The seconds that the header of a refused login says.
async fn retry_after(collector: &Collector, login: &Value) -> u64 {
    let address = collector.listen_addr().unwrap();
    let request = Request::post("/api/v1/login")
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(login.to_string())))
        .unwrap();
    let answer = exchange(TcpStream::connect(address).await.unwrap(), request).await;
    answer.header("retry-after").parse().unwrap()
}

/// What an authenticator app shows for a secret at a time, in seconds.
fn digits(secret: &str, at_s: i64) -> String {
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    let totp = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    totp.generate(at_s.cast_unsigned()).to_string()
}

fn refused(code: &str) -> Result<String, (u16, String)> {
    Err((403, code.to_owned()))
}

#[tokio::test]
async fn an_operator_logs_in_and_out() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    add(&collector, "ada", "operator").await;
    assert_eq!(
        log_in(&collector, "ada", json!({ "password": "wrong" })).await,
        refused("login_refused")
    );
    assert_eq!(log_in(&collector, "nobody", json!({})).await, refused("login_refused"));
    let token = log_in(&collector, "ADA", json!({ "client": "a test" })).await.unwrap();
    let (_, me) = ask(&collector, Some(&token), "GET", "/api/v1/me", None).await;
    assert_eq!((&me["kind"], &me["role"]), (&json!("operator"), &json!("operator")));
    assert_eq!(me["operator"]["login"], "ada");
    let (status, _) = ask(&collector, Some(&token), "GET", "/api/v1/operators", None).await;
    assert_eq!(status, 403, "who else is let in is the admins' business");
    let (_, sessions) = ask(&collector, Some(&token), "GET", "/api/v1/sessions", None).await;
    assert_eq!(sessions["sessions"][0]["name"], "a test");
    // It outlives the collector, and ends when it is told to.
    collector.shutdown().await.unwrap();
    let collector = start(dir.path()).await;
    assert_eq!(ask(&collector, Some(&token), "GET", "/api/v1/info", None).await.0, 200);
    assert_eq!(ask(&collector, Some(&token), "POST", "/api/v1/logout", None).await.0, 204);
    assert_eq!(ask(&collector, Some(&token), "GET", "/api/v1/info", None).await.0, 401);
    // Nothing of it is in the database but hashes.
    collector.shutdown().await.unwrap();
    for file in ["collector.db", "collector.db-wal"] {
        let stored = std::fs::read(dir.path().join(file)).unwrap_or_default();
        for secret in [PASSWORD, &token] {
            assert!(!stored.windows(secret.len()).any(|part| part == secret.as_bytes()), "{file}");
        }
    }
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let collector = start_with(dir.path(), &clock).await;
    add(&collector, "ada", "viewer").await;
    // All at once, which must not be free.
    let guesses =
        (0..9).map(|number| {
            let collector = &collector;
            async move {
                log_in(collector, "ada", json!({ "password": format!("guess {number}") })).await
            }
        });
    let answers = futures_util::future::join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| **answer == refused("login_refused")).count();
    assert!(looked_at <= 5, "{looked_at} of nine guesses were looked at: {answers:?}");
    for typed in ["ada", " ada", "ADA\t", "  Ada  "] {
        let late = log_in(&collector, typed, json!({})).await;
        assert_eq!(late, Err((429, "rate_exceeded".into())), "`{typed}` is the same login");
    }
    let wait = retry_after(&collector, &json!({ "login": "ada", "password": PASSWORD })).await;
    assert!((1..=900).contains(&wait), "a page can count down: {wait}");
    clock.0.fetch_add(901_000_000, Ordering::Relaxed);
    assert!(log_in(&collector, "ada", json!({})).await.is_ok());
}

/// Comparing and making passwords takes long; what an admin does meanwhile stands.
#[tokio::test]
async fn a_change_of_ones_own_undoes_nothing_of_an_admins() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    for number in 0..12 {
        let login = format!("eve{number}");
        let path = format!(
            "/api/v1/operators/{}",
            add(&collector, &login, "operator").await["id"].as_str().unwrap()
        );
        let token = log_in(&collector, &login, json!({})).await.unwrap();
        let words = json!({ "old": PASSWORD, "new": "three kind mice" });
        let own = ask(&collector, Some(&token), "PUT", "/api/v1/me/password", Some(words));
        let fields = json!({ "login": login, "name": login, "role": "viewer", "disabled": true });
        let admins = async {
            tokio::time::sleep(std::time::Duration::from_millis(number)).await;
            ask(&collector, Some(collector.token()), "PUT", &path, Some(fields)).await
        };
        let (_, (status, _)) = tokio::join!(own, admins);
        assert_eq!(status, 200);
        let (_, all) =
            ask(&collector, Some(collector.token()), "GET", "/api/v1/operators", None).await;
        let all = all["operators"].as_array().unwrap();
        let eve = all.iter().find(|one| one["login"] == login).unwrap();
        assert!(!eve["disabled_at"].is_null() && eve["role"] == "viewer", "{number} ms: {eve}");
    }
}

#[tokio::test]
async fn of_two_changes_at_once_the_second_knows_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let token = || Some(collector.token());
    let (ada, bob) = (add(&collector, "ada", "admin").await, add(&collector, "bob", "admin").await);
    let demote = |who: &Value| {
        let path = format!("/api/v1/operators/{}", who["id"].as_str().unwrap());
        let fields = json!({ "login": who["login"], "name": "x", "role": "viewer" });
        let collector = &collector;
        async move { ask(collector, token(), "PUT", &path, Some(fields)).await.0 }
    };
    let (one, two) = tokio::join!(demote(&ada), demote(&bob));
    assert_eq!(one.min(two), 200);
    assert_eq!(one.max(two), 400, "one admin stays");
    let add = |login: &str| {
        let fields = json!({ "login": login, "name": "x", "role": "viewer", "password": PASSWORD });
        let collector = &collector;
        async move { ask(collector, token(), "POST", "/api/v1/operators", Some(fields)).await.0 }
    };
    let (one, two) = tokio::join!(add("casey"), add("CASEY"));
    assert_eq!((one.min(two), one.max(two)), (201, 400), "they could not be told apart");
}

/// A ticket is bought with a session and ends with it; it buys nothing itself.
#[tokio::test]
async fn a_ticket_outlives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    add(&collector, "ada", "admin").await;
    let session = log_in(&collector, "ada", json!({})).await.unwrap();
    let buy = async || {
        let bought = ask(&collector, Some(&session), "POST", "/api/v1/tickets", None).await.1;
        bought["ticket"].as_str().unwrap().to_owned()
    };
    let with = async |method: &str, route: &str, ticket: &str| {
        ask(&collector, None, method, &format!("{route}?ticket={ticket}"), None).await.0
    };
    assert_eq!(with("GET", "/api/v1/deployments", &buy().await).await, 200);
    assert_eq!(with("POST", "/api/v1/tickets", &buy().await).await, 401, "not for another");
    let body = json!({ "template": "console" });
    let path = format!("/api/v1/join-tokens?ticket={}", buy().await);
    assert_eq!(ask(&collector, None, "POST", &path, Some(body)).await.0, 401, "it changes nothing");
    let late = buy().await;
    assert_eq!(ask(&collector, Some(&session), "POST", "/api/v1/logout", None).await.0, 204);
    assert_eq!(with("GET", "/api/v1/deployments", &late).await, 401, "its session has ended");
}

#[tokio::test]
async fn a_role_arrives_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let ada = add(&collector, "ada", "viewer").await;
    let session = log_in(&collector, "ada", json!({})).await.unwrap();
    let operators =
        async || ask(&collector, Some(&session), "GET", "/api/v1/operators", None).await.0;
    assert_eq!(operators().await, 403);
    let path = format!("/api/v1/operators/{}", ada["id"].as_str().unwrap());
    for (role, status) in [("admin", 200), ("viewer", 403)] {
        let fields = json!({ "login": "ada", "name": "Ada", "role": role });
        add(&collector, &format!("another-{role}"), "admin").await;
        let token = Some(collector.token());
        assert_eq!(ask(&collector, token, "PUT", &path, Some(fields)).await.0, 200);
        assert_eq!(operators().await, status);
    }
}

#[tokio::test]
async fn a_session_ends_by_itself_and_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let collector = start_with(dir.path(), &clock).await;
    let ada = add(&collector, "ada", "admin").await;
    let status =
        async |token: &str| ask(&collector, Some(token), "GET", "/api/v1/info", None).await.0;
    let day = 86_400_000_000;
    let token = log_in(&collector, "ada", json!({})).await.unwrap();
    for _ in 0..4 {
        clock.0.fetch_add(6 * day, Ordering::Relaxed);
        assert_eq!(status(&token).await, 200, "it is used");
    }
    clock.0.fetch_add(6 * day, Ordering::Relaxed);
    assert_eq!(status(&token).await, 401, "after thirty days it has ended");
    let idle = log_in(&collector, "ada", json!({})).await.unwrap();
    clock.0.fetch_add(8 * day, Ordering::Relaxed);
    assert_eq!(status(&idle).await, 401, "nobody used it");

    // Ended from another place, with what was open.
    let one = log_in(&collector, "ada", json!({ "client": "one" })).await.unwrap();
    let two = log_in(&collector, "ada", json!({ "client": "two" })).await.unwrap();
    let dial = Dial { token: &one, host: None, origin: None };
    let mut live = open(collector.listen_addr().unwrap(), "/ws/live", dial).await.unwrap();
    let (_, all) = ask(&collector, Some(&two), "GET", "/api/v1/sessions", None).await;
    let of_one =
        all["sessions"].as_array().unwrap().iter().find(|session| session["name"] == "one");
    let path = format!("/api/v1/sessions/{}", of_one.unwrap()["id"].as_str().unwrap());
    assert_eq!(ask(&collector, Some(&two), "DELETE", &path, None).await.0, 204);
    let closed = async { while let Some(Ok(_)) = live.next().await {} };
    tokio::time::timeout(DEADLINE, closed).await.unwrap();
    assert_eq!((status(&one).await, status(&two).await), (401, 200));

    // The last admin stays one; shut out, nothing of theirs is open.
    let id = ada["id"].as_str().unwrap();
    let path = format!("/api/v1/operators/{id}");
    let fields = |role: &str, disabled: bool| json!({ "login": "ada", "name": "Ada", "role": role, "disabled": disabled });
    for fields in [fields("viewer", false), fields("admin", true)] {
        assert_eq!(ask(&collector, Some(&two), "PUT", &path, Some(fields)).await.0, 400);
    }
    add(&collector, "bob", "admin").await;
    let bob = log_in(&collector, "bob", json!({})).await.unwrap();
    assert_eq!(
        ask(&collector, Some(&bob), "PUT", &path, Some(fields("viewer", false))).await.0,
        200
    );
    assert_eq!(
        ask(&collector, Some(&two), "GET", "/api/v1/operators", None).await.0,
        403,
        "at once"
    );
    assert_eq!(
        ask(&collector, Some(&bob), "PUT", &path, Some(fields("viewer", true))).await.0,
        200
    );
    assert_eq!(status(&two).await, 401);
    assert_eq!(log_in(&collector, "ada", json!({})).await, refused("login_refused"));
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_each_code_is_good_once() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let collector = start_with(dir.path(), &clock).await;
    let ada = add(&collector, "ada", "admin").await;
    let token = log_in(&collector, "ada", json!({})).await.unwrap();
    let path = "/api/v1/me/second-factor";
    let (_, made) = ask(&collector, Some(&token), "POST", path, None).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(made["otpauth"].as_str().unwrap().contains(&secret));
    let digits = |ahead: i64| digits(&secret, clock.now_us() / 1_000_000 + ahead);
    let confirm = |code: String, password: &str| json!({ "secret": secret, "code": code, "password": password });
    let put = async |body| ask(&collector, Some(&token), "PUT", path, Some(body)).await.0;
    assert_eq!(put(confirm("000000".into(), PASSWORD)).await, 400);
    assert_eq!(put(confirm(digits(0), "wrong")).await, 403);
    assert_eq!(put(confirm(digits(0), PASSWORD)).await, 204);
    assert_eq!(log_in(&collector, "ada", json!({})).await, refused("code_needed"));
    assert_eq!(
        log_in(&collector, "ada", json!({ "code": digits(0) })).await,
        refused("login_refused"),
        "it was used"
    );
    let next = digits(30);
    assert!(log_in(&collector, "ada", json!({ "code": next })).await.is_ok());
    assert_eq!(
        log_in(&collector, "ada", json!({ "code": next })).await,
        refused("login_refused"),
        "twice"
    );
    // The phone is lost.
    add(&collector, "bob", "admin").await;
    let bob = log_in(&collector, "bob", json!({})).await.unwrap();
    let fields =
        json!({ "login": "ada", "name": "Ada", "role": "admin", "forget_second_factor": true });
    let path = format!("/api/v1/operators/{}", ada["id"].as_str().unwrap());
    assert_eq!(ask(&collector, Some(&bob), "PUT", &path, Some(fields)).await.0, 200);
    assert!(log_in(&collector, "ada", json!({})).await.is_ok());
}

#[tokio::test]
async fn a_password_is_changed_and_other_sessions_end() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    add(&collector, "ada", "viewer").await;
    let one = log_in(&collector, "ada", json!({})).await.unwrap();
    let two = log_in(&collector, "ada", json!({})).await.unwrap();
    let put = async |old: &str, new: &str| {
        let body = json!({ "old": old, "new": new });
        ask(&collector, Some(&one), "PUT", "/api/v1/me/password", Some(body)).await.0
    };
    assert_eq!(put("wrong", "another one, long").await, 403);
    assert_eq!(put(PASSWORD, "short").await, 400);
    assert_eq!(put(PASSWORD, "another one, long").await, 204);
    let status =
        async |token: &str| ask(&collector, Some(token), "GET", "/api/v1/info", None).await.0;
    assert_eq!((status(&one).await, status(&two).await), (200, 401));
    let new = json!({ "password": "another one, long" });
    assert!(log_in(&collector, "ada", new).await.is_ok());
}

#[tokio::test]
async fn a_programs_token_allows_what_it_says_and_no_more_than_its_operator() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    add(&collector, "ada", "operator").await;
    let session = log_in(&collector, "ada", json!({})).await.unwrap();
    let give = async |role: &str, ttl: u64| {
        let body = json!({ "name": "a script", "role": role, "ttl_s": ttl });
        ask(&collector, Some(&session), "POST", "/api/v1/api-tokens", Some(body)).await
    };
    assert_eq!(give("admin", 3600).await.0, 403);
    assert_eq!(give("viewer", 1).await.0, 400);
    let (status, given) = give("viewer", 3600).await;
    assert_eq!(status, 201, "{given}");
    let token = given["token"].as_str().unwrap();
    assert!(token.starts_with("dpt_"));
    assert_eq!(ask(&collector, Some(token), "GET", "/api/v1/info", None).await.0, 200);
    let body = json!({ "template": "console" });
    assert_eq!(
        ask(&collector, Some(token), "POST", "/api/v1/join-tokens", Some(body)).await.0,
        403
    );
    // It stands for no person: it touches neither what lets them in nor what they have open.
    let (_, all) = ask(&collector, Some(&session), "GET", "/api/v1/sessions", None).await;
    let all = all["sessions"].as_array().unwrap();
    let open = all.iter().find(|one| one["own"] == true).unwrap()["id"].as_str().unwrap();
    let words = json!({ "old": PASSWORD, "new": "three kind mice" });
    for (method, path, body) in [
        ("DELETE", format!("/api/v1/sessions/{open}"), None),
        ("PUT", "/api/v1/me/password".to_owned(), Some(words)),
        ("POST", "/api/v1/me/second-factor".to_owned(), None),
    ] {
        assert_eq!(ask(&collector, Some(token), method, &path, body).await.0, 403, "{path}");
    }
    let body = json!({ "template": "console" });
    assert_eq!(
        ask(&collector, Some(&session), "POST", "/api/v1/join-tokens", Some(body)).await.0,
        201
    );
}

/// What is to be shown anew before it is done, and that nothing else is.
#[tokio::test]
async fn what_counts_asks_who_sits_there() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let collector = start_with(dir.path(), &clock).await;
    add(&collector, "ada", "admin").await;
    let one = log_in(&collector, "ada", json!({})).await.unwrap();
    let two = log_in(&collector, "ada", json!({})).await.unwrap();
    let fields = |login: &str| json!({ "login": login, "name": login, "role": "admin", "password": PASSWORD });
    let make = async |token: &str, login: &str| {
        let (status, answer) =
            ask(&collector, Some(token), "POST", "/api/v1/operators", Some(fields(login))).await;
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let wanted = || (403, "proof_needed".to_owned());
    assert_eq!(make(&one, "bob").await.0, 201, "a login is a proof");
    let token = json!({ "name": "a script", "role": "admin", "ttl_s": 7200 });
    let (_, given) = ask(&collector, Some(&one), "POST", "/api/v1/api-tokens", Some(token)).await;
    let program = given["token"].as_str().unwrap();
    clock.0.fetch_add(601_000_000, Ordering::Relaxed);
    assert_eq!(make(&one, "eve").await, wanted());
    let (_, people) = ask(&collector, Some(&one), "GET", "/api/v1/operators", None).await;
    assert_eq!(people["operators"].as_array().unwrap().len(), 2, "nothing was done");
    assert_eq!(make(program, "eve").await, (403, "forbidden".into()), "a program never can");
    assert_eq!(make(collector.token(), "carl").await.0, 201, "who has the machine has all");

    let prove = async |token: &str, password: &str| {
        let body = json!({ "password": password });
        ask(&collector, Some(token), "POST", "/api/v1/me/prove", Some(body)).await.0
    };
    assert_eq!(prove(&one, "wrong").await, 403);
    assert_eq!(make(&one, "eve").await, wanted());
    assert_eq!(prove(program, PASSWORD).await, 403);
    assert_eq!(prove(&one, PASSWORD).await, 204);
    assert_eq!(make(&one, "dora").await.0, 201);
    assert_eq!(make(&two, "eve").await, wanted(), "of one session only");
    // It is kept over a restart, and ends.
    collector.shutdown().await.unwrap();
    let collector = start_with(dir.path(), &clock).await;
    let make = async |token: &str, login: &str| {
        ask(&collector, Some(token), "POST", "/api/v1/operators", Some(fields(login))).await.0
    };
    assert_eq!(make(&one, "emil").await, 201);
    clock.0.fetch_add(601_000_000, Ordering::Relaxed);
    assert_eq!(make(&one, "fred").await, 403);

    let mut asked = Vec::new();
    for (method, route) in routes(&collector).await {
        // It would end the session that all the others are asked with.
        if route == "/api/v1/logout" {
            continue;
        }
        let path = route.replace("{id}", "x").replace("{architecture}", "x");
        let (_, answer) = ask(&collector, Some(&one), &method, &path, Some(json!({}))).await;
        if answer["error"]["code"] == "proof_needed" {
            asked.push(format!("{method} {route}"));
        }
    }
    asked.sort();
    // A route that nobody has decided on is asked for a proof, and so is found here.
    assert_eq!(
        asked,
        [
            "POST /api/v1/api-tokens",
            "POST /api/v1/consoles/{id}/revoke",
            "POST /api/v1/me/second-factor/remove",
            "POST /api/v1/operators",
            "POST /api/v1/venues",
            "PUT /api/v1/operators/{id}",
            "PUT /api/v1/retention",
            "PUT /api/v1/venues/{id}",
        ]
    );
}

/// Whoever found an open session cannot guess the password with it.
#[tokio::test]
async fn guessing_within_a_session_is_slowed_down_too() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let collector = start_with(dir.path(), &clock).await;
    let wrong = json!({ "password": "wrong", "old": "wrong", "new": "another one, long", "secret": "", "code": "" });
    for (number, (method, path)) in [
        ("PUT", "/api/v1/me/password"),
        ("POST", "/api/v1/me/prove"),
        ("PUT", "/api/v1/me/second-factor"),
        ("POST", "/api/v1/me/second-factor/remove"),
    ]
    .into_iter()
    .enumerate()
    {
        let login = format!("ada{number}");
        add(&collector, &login, "viewer").await;
        let session = log_in(&collector, &login, json!({})).await.unwrap();
        let mut codes = Vec::new();
        for _ in 0..7 {
            let (status, answer) =
                ask(&collector, Some(&session), method, path, Some(wrong.clone())).await;
            codes.push((status, answer["error"]["code"].as_str().unwrap().to_owned()));
        }
        assert_eq!(codes[0], (403, "login_refused".to_owned()), "{path}");
        assert_eq!(codes[6], (429, "rate_exceeded".to_owned()), "{path}");
        let prove = json!({ "password": PASSWORD });
        let prove = ask(&collector, Some(&session), "POST", "/api/v1/me/prove", Some(prove)).await;
        assert_eq!(prove.0, 429, "by whatever way: {path}");
        let other = log_in(&collector, &login, json!({})).await;
        assert!(other.is_ok(), "whoever knows the password is not kept out by it");
        clock.0.fetch_add(3_600_000_000, Ordering::Relaxed);
    }
}

/// Nobody is kept out by others' guesses: not from what they have open, nor from where they came in before.
#[tokio::test]
async fn guesses_of_others_keep_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    add(&collector, "ada", "admin").await;
    let session = log_in(&collector, "ada", json!({})).await.unwrap();
    let address = collector.listen_addr().unwrap();
    let guess = async |from: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let request = Request::post("/api/v1/login")
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(json!({ "login": "ada", "password": "x" }).to_string())))
            .unwrap();
        exchange(socket.connect(address).await.unwrap(), request).await.status
    };
    let mut last = 0;
    for number in 0..60 {
        last = guess(&format!("127.0.1.{}", 1 + number / 4)).await;
    }
    assert_eq!(last, 429, "guesses from many places are slowed down all the same");
    let prove = json!({ "password": PASSWORD });
    let (status, _) =
        ask(&collector, Some(&session), "POST", "/api/v1/me/prove", Some(prove)).await;
    assert_eq!(status, 204);
    assert!(log_in(&collector, "ada", json!({})).await.is_ok(), "from where they came in before");
}

/// With a second factor, a proof is both.
#[tokio::test]
async fn a_proof_is_the_second_factor_too() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later::default());
    let collector = start_with(dir.path(), &clock).await;
    add(&collector, "ada", "admin").await;
    let token = log_in(&collector, "ada", json!({})).await.unwrap();
    let path = "/api/v1/me/second-factor";
    let (_, made) = ask(&collector, Some(&token), "POST", path, None).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    let digits = || digits(&secret, clock.now_us() / 1_000_000);
    let confirm = json!({ "secret": secret, "code": digits(), "password": PASSWORD });
    assert_eq!(ask(&collector, Some(&token), "PUT", path, Some(confirm)).await.0, 204);
    clock.0.fetch_add(601_000_000, Ordering::Relaxed);
    let prove = async |body: Value| {
        let (status, answer) =
            ask(&collector, Some(&token), "POST", "/api/v1/me/prove", Some(body)).await;
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(prove(json!({ "password": PASSWORD })).await, (403, "code_needed".into()));
    let code = digits();
    assert_eq!(prove(json!({ "password": PASSWORD, "code": code })).await.0, 204);
    let again = prove(json!({ "password": PASSWORD, "code": code })).await;
    assert_eq!(again, (403, "login_refused".into()), "each is good once");
    // Leaving the digits out between guesses of them does not make these free.
    let mut last = again;
    for _ in 0..6 {
        prove(json!({ "password": PASSWORD })).await;
        last = prove(json!({ "password": PASSWORD, "code": "000000" })).await;
    }
    assert_eq!(last, (429, "rate_exceeded".into()));
}

/// The routes of the OpenAPI document: method and path.
async fn routes(collector: &Collector) -> Vec<(String, String)> {
    let (_, document) = ask(collector, None, "GET", "/api/openapi.json", None).await;
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            routes.push((method.to_uppercase(), path.clone()));
        }
    }
    for path in ["/ws/live", "/ws/console", "/ws/deployment/{deployment_id}"] {
        routes.push(("GET".to_owned(), path.to_owned()));
    }
    assert!(routes.len() > 40, "the document lists only {} routes", routes.len());
    routes
}

/// Who may reach what: every route with every kind of credential, as a table that is looked at when it changes. `in`: the request
/// came through (whatever became of it), else the code of the refusal.
#[tokio::test]
async fn who_may_do_what() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let mut credentials = vec![("nobody", None), ("guess", Some("guess".to_owned()))];
    for role in ["viewer", "operator", "tournament_director", "admin"] {
        add(&collector, role, role).await;
        credentials.push((role, Some(log_in(&collector, role, json!({})).await.unwrap())));
    }
    let mut table = String::new();
    for (method, path) in routes(&collector).await {
        // What ends the very session, or lets one in, is asked for by tests of its own.
        if ["/api/v1/logout", "/api/v1/login"].contains(&path.as_str()) {
            continue;
        }
        let named = path
            .replace("{id}", "01890a5d-ac96-774b-bcce-b302099a8050")
            .replace("{deployment_id}", "01890a5d-ac96-774b-bcce-b302099a8050")
            .replace("{architecture}", "sparc");
        let _ = write!(table, "{method:6} {path:45}");
        let mut before = None;
        for (name, token) in &credentials {
            let (status, answer) = ask(&collector, token.as_deref(), &method, &named, None).await;
            let code = answer["error"]["code"].as_str().unwrap_or_default();
            let got = match (status, code) {
                (401 | 403, code @ ("unauthenticated" | "forbidden")) => code.to_owned(),
                _ => "in".to_owned(),
            };
            if before.as_ref() != Some(&got) {
                let _ = write!(table, " {name}: {got}");
                before = Some(got);
            }
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}

/// Whatever the route and the credential: a request that names another host, or comes from a foreign page, is turned away before
/// anything is looked at.
#[tokio::test]
async fn foreign_hosts_and_pages_reach_no_route() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = support::config(dir.path());
    // Each comes as somebody who comes to nothing.
    config.bounds.arrivals_of_one_address.at_once = u32::MAX;
    config.bounds.strangers_requests_of_one_address.at_once = u32::MAX;
    let collector = Collector::start(config).await.unwrap();
    let port = collector.listen_addr().unwrap().port();
    let ours = format!("127.0.0.1:{port}");
    let hosts = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("127.0.0.1:{port}';touch x;'"),
        "127.0.0.1:1@evil.example".to_owned(),
        "127.0.0.1:".to_owned(),
        "127.0.0.1:65536".to_owned(),
    ];
    let origins = [
        "http://evil.example".to_owned(),
        "null".to_owned(),
        format!("https://{ours}"),
        format!("http://localhost:{port}"),
        format!("http://{ours}.evil.example"),
        format!("http://127.0.0.1:{}", port ^ 1),
    ];
    for (method, path) in routes(&collector).await {
        let named = path
            .replace("{id}", "x")
            .replace("{deployment_id}", "x")
            .replace("{architecture}", "x");
        for token in [None, Some(collector.token())] {
            for host in &hosts {
                let headers = [("host", host.as_str())];
                let (status, answer) =
                    ask_with(&collector, token, &method, &named, None, &headers).await;
                assert_eq!(
                    (status, &answer["error"]["code"]),
                    (421, &json!("wrong_host")),
                    "{method} {path} {host}"
                );
            }
            for origin in &origins {
                let headers = [("origin", origin.as_str())];
                let (status, answer) =
                    ask_with(&collector, token, &method, &named, None, &headers).await;
                assert_eq!(
                    (status, &answer["error"]["code"]),
                    (403, &json!("wrong_origin")),
                    "{method} {path} {origin}"
                );
            }
        }
    }
}

/// What another app adds this collector by, and what two people compare.
#[tokio::test]
async fn a_collector_says_how_it_is_added_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let (_, info) = ask(&collector, Some(collector.token()), "GET", "/api/v1/info", None).await;
    assert_eq!(info["pin_short"], collector.pin().short());
    assert_eq!(info["only_here"], true);
    let address = format!("https://{}#{}", collector.listen_addr().unwrap(), collector.pin());
    assert!(info["addresses"].as_array().unwrap().contains(&json!(address)), "{info}");
}
