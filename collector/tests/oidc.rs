//! Logging in by the word of a provider (OpenID Connect): who comes in, as whom, and what of a provider's word does not count.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use deckport_collector::config::{OidcConfig, Secret};
use deckport_collector::{Collector, Config};
use deckport_protocol::Role;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};
use support::config;
use support::http::exchange;
use support::later::Later;
use support::provider::{CLIENT, Key, Provider, SECRET, Unsigned};
use tokio::net::TcpStream;

const WORD: &str = "a word that only this page knows";

fn with(dir: &Path, provider: &Provider) -> Config {
    let mut config = config(dir);
    config.trust_ca = Some(provider.trust());
    config.oidc = Some(OidcConfig {
        issuer: provider.issuer.clone(),
        client_id: CLIENT.to_owned(),
        client_secret: Some(Secret::new(SECRET)),
        name: Some("Example ID".to_owned()),
        scopes: Vec::new(),
        create: None,
        role_claim: None,
        roles: BTreeMap::new(),
    });
    config
}

async fn start(config: Config, provider: &Provider) -> Collector {
    let collector = Collector::start(config).await.unwrap();
    let address = collector.listen_addr().unwrap();
    provider.register(format!("http://{address}/api/v1/login/oidc/callback"));
    collector
}

/// What a request is answered with: status, where it leads, body.
async fn ask(
    collector: &Collector,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, String, Value) {
    let address = collector.listen_addr().unwrap();
    let mut request =
        Request::builder().method(method).uri(path).header("host", address.to_string());
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let answer = exchange(TcpStream::connect(address).await.unwrap(), request).await;
    (answer.status, answer.header("location"), answer.json())
}

async fn admin(collector: &Collector, method: &str, path: &str, body: Value) -> Value {
    let (status, _, answer) =
        ask(collector, Some(collector.token()), method, path, Some(body)).await;
    assert!(status < 300, "{method} {path}: {status} {answer}");
    answer
}

async fn add(collector: &Collector, login: &str, more: Value) -> Value {
    let mut fields = json!({ "login": login, "name": login, "role": "operator", "password": "three blind mice" });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    admin(collector, "POST", "/api/v1/operators", fields).await
}

/// Begins a login: where the browser goes.
async fn begin(collector: &Collector) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(WORD));
    let asked = Some(json!({ "challenge": challenge }));
    let (status, _, answer) = ask(collector, None, "POST", "/api/v1/login/oidc", asked).await;
    assert_eq!(status, 200, "{answer}");
    answer["authorize"].as_str().unwrap().to_owned()
}

/// Comes back from the provider: the code that the page gets.
async fn back(collector: &Collector, to: &str) -> String {
    let address = collector.listen_addr().unwrap();
    let path = to.strip_prefix(&format!("http://{address}")).unwrap();
    let (status, location, _) = ask(collector, None, "GET", path, None).await;
    assert_eq!(status, 303);
    location.strip_prefix("/#login=").unwrap().to_owned()
}

async fn fetch(collector: &Collector, code: &str, word: &str) -> (u16, Value) {
    let asked = json!({ "code": code, "verifier": word, "client": "Firefox on Linux" });
    let (status, _, answer) =
        ask(collector, None, "POST", "/api/v1/login/oidc/session", Some(asked)).await;
    (status, answer)
}

/// The whole way. The session, or what was said.
async fn log_in(collector: &Collector, provider: &Provider) -> Result<Value, String> {
    let to = provider.visit(&begin(collector).await).await.unwrap();
    let code = back(collector, &to).await;
    match fetch(collector, &code, WORD).await {
        (200, answer) => Ok(answer),
        (status, answer) => {
            assert_eq!(status, 403, "{answer}");
            Err(answer["error"]["message"].as_str().unwrap().to_owned())
        }
    }
}

async fn refused(collector: &Collector, provider: &Provider, why: &str) {
    let said = log_in(collector, provider).await.unwrap_err();
    assert!(said.contains(why), "{said}");
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn an_operator_comes_in_by_a_providers_word() {
    let (dir, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let clock = Arc::new(Later::default());
    let mut config = with(dir.path(), &provider);
    config.clock = Arc::clone(&clock) as _;
    let collector = start(config, &provider).await;
    let (_, _, ways) = ask(&collector, None, "GET", "/api/v1/login", None).await;
    assert_eq!(ways, json!({ "oidc": "Example ID" }));

    // Nobody has added them.
    refused(&collector, &provider, "knows you as ada@example.org, and no operator here is").await;
    let ada = add(&collector, "Ada@example.org", json!({ "role": "tournament_director" })).await;
    let session = log_in(&collector, &provider).await.unwrap();
    assert_eq!(session["operator"]["id"], ada["id"]);
    let token = session["token"].as_str().unwrap();
    let (status, _, me) = ask(&collector, Some(token), "GET", "/api/v1/me", None).await;
    assert_eq!((status, &me["role"]), (200, &json!("tournament_director")), "{me}");

    // It is listed, written down, and can be taken back like any other.
    let (_, _, open) = ask(&collector, Some(token), "GET", "/api/v1/sessions", None).await;
    let own = &open["sessions"][0];
    assert_eq!((&own["kind"], &own["name"]), (&json!("session"), &json!("Firefox on Linux")));
    let trail =
        admin(&collector, "GET", "/api/v1/audit?action=logged_in&outcome=done", json!({})).await;
    let entry = trail["entries"][0].to_string();
    assert!(entry.contains("oidc") && entry.contains(ada["id"].as_str().unwrap()), "{trail}");
    let denied =
        admin(&collector, "GET", "/api/v1/audit?action=logged_in&outcome=denied", json!({}));
    assert!(!denied.await["entries"].as_array().unwrap().is_empty());
    let id = own["id"].as_str().unwrap();
    let (status, ..) =
        ask(&collector, Some(token), "DELETE", &format!("/api/v1/sessions/{id}"), None).await;
    assert_eq!(status, 204);
    assert_eq!(ask(&collector, Some(token), "GET", "/api/v1/me", None).await.0, 401);

    // Another key, of another kind: the provider changed it.
    let read = provider.counted("/jwks");
    provider.sign_with(Key::rsa("second"));
    // Some seconds after the keys were read.
    clock.0.fetch_add(11_000_000, Ordering::Relaxed);
    log_in(&collector, &provider).await.unwrap();
    assert_eq!(provider.counted("/jwks"), read + 1);

    // Who was shut out stays out.
    let fields =
        json!({ "login": "ada@example.org", "name": "Ada", "role": "operator", "disabled": true });
    admin(&collector, "PUT", &format!("/api/v1/operators/{}", ada["id"].as_str().unwrap()), fields)
        .await;
    refused(&collector, &provider, "was shut out").await;
    collector.shutdown().await.unwrap();

    // After a restart the provider's own name for somebody still counts.
    let collector = start(with(dir.path(), &provider), &provider).await;
    refused(&collector, &provider, "was shut out").await;
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_provider_says_does_not_count_when_anything_is_wrong_with_it() {
    let (dir, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let collector = start(with(dir.path(), &provider), &provider).await;
    add(&collector, "ada@example.org", json!({})).await;
    log_in(&collector, &provider).await.unwrap();
    let wrongs = [
        (json!({ "nonce": "of another login" }), "nonce"),
        (json!({ "aud": "another client" }), "audience"),
        (json!({ "aud": [CLIENT, "another client"] }), "audience"),
        (json!({ "iss": "https://elsewhere.example" }), "issuer"),
        (json!({ "exp": now() - 120 }), "xpired"),
        (json!({ "iat": now() + 600 }), "from the future"),
        (json!({ "iat": now() - 86_400 }), "it is old"),
        (json!({ "at_hash": "AAAAAAAAAAAAAAAAAAAAAA" }), "another access token"),
    ];
    for (wrong, why) in wrongs {
        provider.says(|says| says.wrong = wrong);
        refused(&collector, &provider, why).await;
    }
    provider.says(|says| says.wrong = json!({}));
    for unsigned in [Unsigned::None, Unsigned::Secret, Unsigned::Foreign] {
        provider.says(|says| says.unsigned = Some(unsigned));
        refused(&collector, &provider, "does not count").await;
    }
    provider.says(|says| says.unsigned = None);
    // A clock that is half a minute off.
    provider.says(|says| says.wrong = json!({ "exp": now() - 30, "iat": now() + 30 }));
    log_in(&collector, &provider).await.unwrap();
    provider.says(|says| {
        says.wrong = json!({});
        says.denies = true;
    });
    refused(&collector, &provider, "access_denied").await;
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_login_is_good_once_and_only_where_it_began() {
    let (dir, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let collector = start(with(dir.path(), &provider), &provider).await;
    add(&collector, "ada@example.org", json!({})).await;

    // The provider's answer, played back.
    let to = provider.visit(&begin(&collector).await).await.unwrap();
    let code = back(&collector, &to).await;
    assert_eq!(back(&collector, &to).await, "unknown");
    // Another page gets nothing, and the code is gone with its try.
    let (status, said) = fetch(&collector, &code, "another page's word").await;
    assert!(status == 403 && said["error"]["code"] == "login_refused", "{said}");
    assert_eq!(fetch(&collector, &code, WORD).await.0, 403);

    // Once.
    let to = provider.visit(&begin(&collector).await).await.unwrap();
    let code = back(&collector, &to).await;
    assert_eq!(fetch(&collector, &code, WORD).await.0, 200);
    assert_eq!(fetch(&collector, &code, WORD).await.0, 403);

    // The provider's code of one login does not fit into another: its PKCE word is another.
    let first = provider.visit(&begin(&collector).await).await.unwrap();
    let second = provider.visit(&begin(&collector).await).await.unwrap();
    let part = |to: &str, name: &str| {
        let pairs = to.split_once('?').unwrap().1.split('&');
        let found = pairs.filter_map(|pair| pair.strip_prefix(&format!("{name}="))).next();
        found.unwrap().to_owned()
    };
    let mixed = second.replace(&part(&second, "code"), &part(&first, "code"));
    let code = back(&collector, &mixed).await;
    let (_, said) = fetch(&collector, &code, WORD).await;
    assert!(said.to_string().contains("invalid_grant"), "{said}");

    // Another provider answers.
    let to = provider.visit(&begin(&collector).await).await.unwrap();
    let code = back(&collector, &to.replace(&part(&to, "iss"), "https%3A%2F%2Felse.example")).await;
    assert!(fetch(&collector, &code, WORD).await.1.to_string().contains("another provider"));

    // Guessing gets slower.
    for _ in 0..20 {
        fetch(&collector, "guessed", WORD).await;
    }
    let (status, said) = fetch(&collector, "guessed", WORD).await;
    assert!(status == 429 && said["error"]["code"] == "rate_exceeded", "{said}");
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_somebody_is_is_never_guessed() {
    let (dir, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let collector = start(with(dir.path(), &provider), &provider).await;
    add(&collector, "ada@example.org", json!({})).await;
    let bob = add(&collector, "bob", json!({ "identity": "person-2", "password": null })).await;
    assert_eq!(bob["password"], false);

    provider.says(|says| says.verified = false);
    refused(&collector, &provider, "has not verified").await;
    provider.says(|says| says.email = None);
    refused(&collector, &provider, "no e-mail address").await;
    // By the provider's own name, as an admin said it.
    provider.says(|says| says.subject = "person-2".into());
    assert_eq!(log_in(&collector, &provider).await.unwrap()["operator"]["id"], bob["id"]);

    // Told only when asked.
    provider.says(|says| {
        says.subject = "person-1".into();
        says.email = Some("ada@example.org");
        says.verified = true;
        says.short = true;
    });
    log_in(&collector, &provider).await.unwrap();
    assert!(provider.counted("/userinfo") > 0);
    // The address was given to somebody else at the provider: they are not Ada.
    provider.says(|says| says.subject = "person-3".into());
    refused(&collector, &provider, "another account of the login provider").await;
    // Ada has another address by now, and is still Ada.
    provider.says(|says| {
        says.subject = "person-1".into();
        says.email = Some("countess@example.org");
    });
    let ada = log_in(&collector, &provider).await.unwrap()["operator"].clone();
    assert_eq!(ada["login"], "ada@example.org");
    // An admin says that the other account is hers.
    let mut fields = json!({ "login": "ada@example.org", "name": "Ada", "role": "operator" });
    fields["forget_identity"] = true.into();
    admin(&collector, "PUT", &format!("/api/v1/operators/{}", ada["id"].as_str().unwrap()), fields)
        .await;
    provider.says(|says| {
        says.subject = "person-3".into();
        says.email = Some("ada@example.org");
    });
    log_in(&collector, &provider).await.unwrap();
    // Two are not known by one name.
    let fields = json!({ "login": "eve", "name": "Eve", "role": "viewer", "password": "three blind mice", "identity": "person-2" });
    let token = Some(collector.token());
    let (status, ..) = ask(&collector, token, "POST", "/api/v1/operators", Some(fields)).await;
    assert_eq!(status, 400);
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_provider_may_bring_people_in_and_say_what_they_may_do_at_most() {
    let (dir, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = with(dir.path(), &provider);
    let oidc = config.oidc.as_mut().unwrap();
    oidc.create = Some(Role::Viewer);
    oidc.role_claim = Some("realm_access.roles".to_owned());
    oidc.roles =
        BTreeMap::from([("floor".to_owned(), Role::Operator), ("chiefs".to_owned(), Role::Admin)]);
    let collector = start(config, &provider).await;
    let groups = |groups: &[&str]| {
        let more = json!({ "realm_access": { "roles": groups }, "name": "Ada Lovelace" });
        provider.says(|says| says.more = more);
    };
    groups(&["cooks"]);
    refused(&collector, &provider, "realm_access.roles").await;
    groups(&["cooks", "floor"]);
    let made = log_in(&collector, &provider).await.unwrap()["operator"].clone();
    assert_eq!((&made["role"], &made["login"]), (&json!("operator"), &json!("ada@example.org")));
    assert_eq!(made["password"], false);
    let trail = admin(&collector, "GET", "/api/v1/audit?action=operator_added", json!({})).await;
    assert_eq!(trail["entries"].as_array().unwrap().len(), 1, "{trail}");
    // Nobody logs in with the password that they do not have.
    let typed = json!({ "login": "ada@example.org", "password": "" });
    assert_eq!(ask(&collector, None, "POST", "/api/v1/login", Some(typed)).await.0, 403);

    // More than their role here the provider cannot give them; less it can.
    groups(&["chiefs"]);
    let token = log_in(&collector, &provider).await.unwrap()["token"].as_str().unwrap().to_owned();
    let (_, _, me) = ask(&collector, Some(&token), "GET", "/api/v1/me", None).await;
    assert_eq!(me["role"], "operator");
    let fields = json!({ "login": "ada@example.org", "name": "Ada", "role": "admin" });
    admin(
        &collector,
        "PUT",
        &format!("/api/v1/operators/{}", made["id"].as_str().unwrap()),
        fields,
    )
    .await;
    groups(&["floor"]);
    provider.says(|says| says.more["auth_time"] = now().into());
    let token = log_in(&collector, &provider).await.unwrap()["token"].as_str().unwrap().to_owned();
    let (_, _, me) = ask(&collector, Some(&token), "GET", "/api/v1/me", None).await;
    assert_eq!(me["role"], "operator");
    assert_eq!(ask(&collector, Some(&token), "GET", "/api/v1/operators", None).await.0, 403);
    // Nor does a token get around that.
    let asked = |role: &str| json!({ "name": "x", "role": role, "ttl_s": 3600 });
    let path = "/api/v1/api-tokens";
    assert_eq!(ask(&collector, Some(&token), "POST", path, Some(asked("admin"))).await.0, 403);
    assert_eq!(ask(&collector, Some(&token), "POST", path, Some(asked("operator"))).await.0, 201);
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn without_a_provider_or_where_it_is_away_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let collector = support::start(dir.path()).await;
    let (_, _, ways) = ask(&collector, None, "GET", "/api/v1/login", None).await;
    assert_eq!(ways, json!({ "oidc": null }));
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(WORD));
    let asked = json!({ "challenge": challenge });
    let begin = async |collector: &Collector| {
        ask(collector, None, "POST", "/api/v1/login/oidc", Some(asked.clone())).await
    };
    assert_eq!(begin(&collector).await.0, 404);
    collector.shutdown().await.unwrap();

    let provider = Provider::start().await;
    let mut config = with(dir.path(), &provider);
    config.oidc.as_mut().unwrap().issuer = "https://localhost:9".to_owned();
    let collector = start(config, &provider).await;
    let (status, _, said) = begin(&collector).await;
    let said = said["error"]["message"].as_str().unwrap();
    assert!(status == 503 && said.contains("localhost cannot be reached"), "{status} {said}");
    collector.shutdown().await.unwrap();

    let mut config = with(dir.path(), &provider);
    config.oidc.as_mut().unwrap().issuer = "http://localhost:9".to_owned();
    let error = Collector::start(config).await.unwrap_err().to_string();
    assert!(error.contains("http://localhost:9"), "{error}");
}
