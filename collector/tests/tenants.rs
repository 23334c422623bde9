//! Organisations and venues: nobody reaches what is not theirs, whatever the route, the role and the venue that a request names.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use bytes::Bytes;
use deckport_collector::Collector;
use deckport_collector::config::Database;
use deckport_protocol::message::AgentMessage;
use deckport_protocol::{ConsoleId, Outcome};
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::http::{Answered, exchange};
use support::postgres::Postgres;
use support::{Console, Dial, Run, config, finished, line, open, start};
use tokio::net::TcpStream;

const PASSWORD: &str = "three blind mice";

async fn ask_whole(
    collector: &Collector,
    token: &str,
    method: &str,
    path: &str,
    body: Bytes,
) -> Answered {
    let address = collector.listen_addr().unwrap();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let request = request.body(Full::new(body)).unwrap();
    exchange(TcpStream::connect(address).await.unwrap(), request).await
}

async fn ask_text(
    collector: &Collector,
    token: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, String) {
    let body = body.map(Value::to_string).unwrap_or_default();
    let answer = ask_whole(collector, token, method, path, body.into()).await;
    (answer.status, answer.text())
}

async fn ask(
    collector: &Collector,
    token: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let (status, text) = ask_text(collector, token, method, path, body.as_ref()).await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

async fn made(collector: &Collector, token: &str, path: &str, body: Value) -> Value {
    let (status, made) = ask(collector, token, "POST", path, Some(body)).await;
    assert!(status == 200 || status == 201, "{path}: {status} {made}");
    made
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A venue with one of everything, all of it recognisable by `word`.
struct Place {
    word: &'static str,
    organisation: String,
    venue: String,
    /// By the segment of a path that stands in front of such an id.
    ids: BTreeMap<&'static str, String>,
    /// Somebody who may everything there.
    admin: String,
}

impl Place {
    async fn new(
        collector: &Collector,
        word: &'static str,
        organisation: String,
        venue: String,
    ) -> Self {
        let owner = collector.token();
        let here = |path: &str| {
            let more = if path.contains('?') { '&' } else { '?' };
            format!("{path}{more}venue={venue}")
        };
        let name = format!("console-{word}");
        let run = Run::new(&name);
        let path = here(&format!("/ws/deployment/{}", run.hello.deployment_id));
        let dial = Dial { token: owner, host: None, origin: None };
        let socket = open(collector.listen_addr().unwrap(), &path, dial).await.unwrap();
        let mut console = Console { socket };
        console.say(&AgentMessage::Hello(run.hello.clone())).await;
        console.next().await.unwrap();
        console
            .send(run.frame(&[
                run.started(),
                line(2, &format!("common error: {word} is missing")),
                finished(3, Outcome::Failed),
            ]))
            .await;
        console.acked(3).await;
        let join = json!({ "template": "console", "venue": venue });
        let code = made(collector, owner, &here("/api/v1/join-tokens"), join).await;
        let search = json!({ "name": format!("search-{word}"), "query": word, "alert": false });
        let search = made(collector, owner, &here("/api/v1/searches"), search).await;
        let path = format!("/api/v1/operators?organisation={organisation}");
        let login = format!("owner-{word}");
        let fields = json!({ "login": login, "name": login, "password": PASSWORD,
            "venues": { venue.clone(): "admin" } });
        let operator = made(collector, owner, &path, fields).await;
        let admin = log_in(collector, &login).await;
        let (_, sessions) = ask(collector, &admin, "GET", "/api/v1/sessions", None).await;
        let ids = BTreeMap::from([
            ("deployments", run.hello.deployment_id.to_string()),
            ("deployment", run.hello.deployment_id.to_string()),
            ("consoles", run.hello.console_id.to_string()),
            ("join-tokens", text(&code["invitation"]["id"])),
            ("searches", text(&search["id"])),
            ("operators", text(&operator["id"])),
            ("sessions", text(&sessions["sessions"][0]["id"])),
            ("venues", venue.clone()),
        ]);
        Self { word, organisation, venue, ids, admin }
    }

    /// What there is, as its own people see it.
    async fn state(&self, collector: &Collector) -> Vec<(u16, Value)> {
        let mut state = Vec::new();
        for path in [
            "/api/v1/deployments".to_owned(),
            format!("/api/v1/deployments/{}/rows", self.ids["deployments"]),
            "/api/v1/join-tokens".to_owned(),
            "/api/v1/searches".to_owned(),
            "/api/v1/venues".to_owned(),
            "/api/v1/me".to_owned(),
        ] {
            let (status, mut found) = ask(collector, &self.admin, "GET", &path, None).await;
            assert_eq!(status, 200, "{path}: {found}");
            for list in ["invitations", "searches", "venues"] {
                // What others made in the meantime may be here; what was here stays as it was.
                if let Some(all) = found[list].as_array_mut() {
                    all.retain(|one| self.ids.values().any(|id| *id == one["id"]));
                }
            }
            state.push((status, found));
        }
        state
    }
}

async fn log_in(collector: &Collector, login: &str) -> String {
    let asked = json!({ "login": login, "password": PASSWORD });
    text(&made(collector, collector.token(), "/api/v1/login", asked).await["token"])
}

/// What a route is asked with.
fn body(path: &str) -> Option<Value> {
    let name = |word: &str| format!("{word}-{}", ConsoleId::new());
    Some(match path {
        "/api/v1/consoles/{id}/order" => json!({ "order": "deploy" }),
        "/api/v1/join-tokens" => json!({ "template": "console" }),
        "/api/v1/searches" => json!({ "name": "one more", "query": "x", "alert": false }),
        "/api/v1/searches/{id}" => json!({ "name": "taken", "query": "taken", "alert": true }),
        "/api/v1/operators" => {
            json!({ "login": name("o"), "name": "new", "role": "viewer", "password": PASSWORD })
        }
        "/api/v1/operators/{id}" => {
            json!({ "login": name("o"), "name": "taken", "role": "admin", "disabled": true })
        }
        "/api/v1/venues" => json!({ "name": name("v") }),
        "/api/v1/venues/{id}" => json!({ "name": name("taken") }),
        "/api/v1/organisations" => json!({ "name": name("taken") }),
        "/api/v1/retention" | "/api/v1/retention/preview" => json!({ "max_age_days": null,
            "failed_age_days": null, "max_bytes": null }),
        "/api/v1/api-tokens" => json!({ "name": "t", "role": "viewer", "ttl_s": 3600 }),
        _ => return None,
    })
}

/// The routes of the document but for those that let in, or end the very session that asks.
async fn routes(collector: &Collector) -> Vec<(String, String)> {
    let (_, document) = ask(collector, collector.token(), "GET", "/api/openapi.json", None).await;
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let own = ["/api/v1/login", "/api/v1/logout", "/api/v1/join", "/api/v1/api-tokens"];
            if !own.contains(&path.as_str()) && !path.starts_with("/api/v1/me/") {
                routes.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    assert!(routes.len() > 45, "the document lists only {} routes", routes.len());
    routes
}

/// The other queries that name things.
fn pointed(own: &Place, foreign: &Place) -> Vec<String> {
    let (mine, theirs) = (&own.ids["deployments"], &foreign.ids["deployments"]);
    vec![
        format!("/api/v1/deployments/{mine}/comparison?with={theirs}"),
        format!("/api/v1/deployments?before=9000000000000000:{theirs}"),
        format!("/api/v1/search?q={}&count=true", foreign.word),
        "/api/v1/search?q=common&limit=100".to_owned(),
        format!("/api/v1/search?q=console:console-{}", foreign.word),
        "/api/v1/sessions?all=true".to_owned(),
        "/api/v1/signatures?since=0".to_owned(),
        format!("/api/v1/venues?organisation={}", foreign.organisation),
        format!("/api/v1/deployments?organisation={}", foreign.organisation),
    ]
}

#[tokio::test]
async fn nobody_reaches_what_is_not_theirs() {
    let dir = tempfile::tempdir().unwrap();
    everybody_asks_for_everything(start(dir.path()).await).await;
}

/// Where row-level security stands behind what the queries say, everybody sees as much.
#[tokio::test]
async fn nobody_reaches_what_is_not_theirs_on_postgres() {
    let Some(postgres) = Postgres::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.database = Database::Postgres(postgres.database());
    everybody_asks_for_everything(Collector::start(config).await.unwrap()).await;
}

async fn everybody_asks_for_everything(collector: Collector) {
    let owner = collector.token();
    let (_, all) = ask(&collector, owner, "GET", "/api/v1/venues", None).await;
    let (home, first) = (text(&all["organisation"]["id"]), text(&all["venues"][0]["id"]));
    let second = made(&collector, owner, "/api/v1/venues", json!({ "name": "second" })).await;
    let other = made(&collector, owner, "/api/v1/organisations", json!({ "name": "other" })).await;
    let other = text(&other["id"]);
    let path = format!("/api/v1/venues?organisation={other}");
    let third = text(&ask(&collector, owner, "GET", &path, None).await.1["venues"][0]["id"]);
    let places = [
        Place::new(&collector, "alder", home.clone(), first).await,
        Place::new(&collector, "birch", home.clone(), text(&second["id"])).await,
        Place::new(&collector, "cedar", other.clone(), third).await,
    ];
    // Signatures carry the line that failed; each place's is its own.
    let (_, signatures) =
        ask(&collector, &places[0].admin, "GET", "/api/v1/signatures", None).await;
    assert_eq!(signatures["signatures"].as_array().unwrap().len(), 1, "{signatures}");

    // Who: a role in one venue, and a role in all of an organisation.
    let mut people = Vec::new();
    for role in ["viewer", "operator", "tournament_director", "admin"] {
        for (place, at) in places.iter().zip(0..) {
            let login = format!("{role}-{}", place.word);
            let fields = json!({ "login": login, "name": "somebody", "password": PASSWORD,
                "venues": { place.venue.clone(): role } });
            let path = format!("/api/v1/operators?organisation={}", place.organisation);
            made(&collector, owner, &path, fields).await;
            people.push((log_in(&collector, &login).await, login, vec![at]));
        }
        for (organisation, own) in [(&home, vec![0, 1]), (&other, vec![2])] {
            let login = format!("{role}-of-{}", own.len());
            let fields =
                json!({ "login": login, "name": "somebody", "password": PASSWORD, "role": role });
            let path = format!("/api/v1/operators?organisation={organisation}");
            made(&collector, owner, &path, fields).await;
            people.push((log_in(&collector, &login).await, login, own));
        }
    }

    let mut before = Vec::new();
    for place in &places {
        before.push(place.state(&collector).await);
    }
    let routes = routes(&collector).await;
    let mut asked = 0;
    for (token, who, own) in &people {
        for (at, foreign) in places.iter().enumerate().filter(|(at, _)| !own.contains(at)) {
            let mine = &places[own[0]];
            let mut tries = Vec::new();
            for (method, path) in &routes {
                let kind = path.split("/{").next().unwrap().rsplit('/').next().unwrap();
                let named = foreign.ids.get(kind).map_or("0123", String::as_str);
                let named = path.replace("{id}", named).replace("{architecture}", "sparc");
                let by_id = path.contains("{id}") && foreign.ids.contains_key(kind);
                for place in [String::new(), mine.venue.clone(), foreign.venue.clone()] {
                    let venue = if place.is_empty() { place } else { format!("?venue={place}") };
                    tries.push((method.clone(), format!("{named}{venue}"), body(path), by_id));
                }
            }
            for path in pointed(mine, foreign) {
                tries.push(("GET".to_owned(), path, None, false));
            }
            for (method, path, body, by_id) in tries {
                let (status, answer) =
                    ask_text(&collector, token, &method, &path, body.as_ref()).await;
                asked += 1;
                let what = format!("{who} {method} {path}: {status} {answer:.500}");
                assert!(status < 500, "{what}");
                // Operators of one's own organisation are an admin's business in all its venues.
                let own_person = path.contains("/operators") || path.contains("/sessions");
                let same = foreign.organisation == mine.organisation;
                if by_id && !(same && own_person && who.starts_with("admin-of")) {
                    assert!(status >= 400, "{what}");
                }
                if status < 400 && !(same && own_person) && !path.contains("/audit") {
                    // What was asked for is in some answers; what was found must not be.
                    let found = answer.replace(&format!("console:console-{}", foreign.word), "");
                    // The first organisation and its first venue have one id.
                    let told = |id: &&String| !path.contains(*id) && **id != mine.organisation;
                    for mark in foreign.ids.values().filter(told) {
                        assert!(!found.contains(mark), "{mark} in {what}");
                    }
                    let shown = format!("{} is missing", foreign.word);
                    assert!(!found.contains(&shown), "{what}");
                    assert!(!found.contains(&format!("console-{}", foreign.word)), "{what}");
                }
            }
            assert_eq!(places[at].state(&collector).await, before[at], "after {who}");
        }
        // And what is theirs they see, in all of it at once or one by one.
        for at in own {
            let path = format!("/api/v1/deployments/{}", places[*at].ids["deployments"]);
            let (status, seen) = ask(&collector, token, "GET", &path, None).await;
            assert_eq!(status, 200, "{who} does not see {path}: {seen}");
        }
    }
    assert!(asked > 3000, "{asked}");
}

/// A run's file says whose it was; neither who brings it nor what it says changes a console that is known, here or elsewhere.
#[tokio::test]
async fn a_file_renames_no_console() {
    let (dir, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, elsewhere) = (start(dir.path()).await, start(far.path()).await);
    let owner = here.token();
    let (_, all) = ask(&here, owner, "GET", "/api/v1/venues", None).await;
    let (home, first) = (text(&all["organisation"]["id"]), text(&all["venues"][0]["id"]));
    let place = Place::new(&here, "alder", home, first).await;
    let other = made(&here, owner, "/api/v1/organisations", json!({ "name": "other" })).await;
    let path = format!("/api/v1/operators?organisation={}", text(&other["id"]));
    let otto = json!({ "login": "otto", "name": "Otto", "password": PASSWORD, "role": "admin" });
    made(&here, owner, &path, otto).await;
    let otto = log_in(&here, "otto").await;

    for (token, status) in [(&otto, 201), (&place.admin, 201)] {
        let mut run = Run::new("taken");
        run.hello.console_id = place.ids["consoles"].parse().unwrap();
        let path = format!("/ws/deployment/{}", run.hello.deployment_id);
        let dial = Dial { token: elsewhere.token(), host: None, origin: None };
        let socket = open(elsewhere.listen_addr().unwrap(), &path, dial).await.unwrap();
        let mut console = Console { socket };
        console.say(&AgentMessage::Hello(run.hello.clone())).await;
        console.next().await.unwrap();
        console.send(run.frame(&[run.started(), finished(2, Outcome::Succeeded)])).await;
        console.acked(2).await;
        let path = format!("/api/v1/deployments/{}/bundle", run.hello.deployment_id);
        let file = ask_whole(&elsewhere, elsewhere.token(), "GET", &path, Bytes::new()).await;
        let file = file.whole.unwrap();
        let taken = ask_whole(&here, token, "POST", "/api/v1/import", file).await;
        assert_eq!(taken.status, status, "{}", taken.text());
        let (_, consoles) = ask(&here, owner, "GET", "/api/v1/consoles", None).await;
        let consoles = consoles["consoles"].as_array().unwrap();
        assert_eq!(consoles.len(), 1);
        assert_eq!(consoles[0]["name"], "console-alder");
    }
}

/// What somebody without a credential does stands in the trail of whom it concerns.
#[tokio::test]
async fn a_failed_login_stands_where_its_operator_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let owner = collector.token();
    let other = made(&collector, owner, "/api/v1/organisations", json!({ "name": "other" })).await;
    let path = format!("/api/v1/operators?organisation={}", text(&other["id"]));
    let otto = json!({ "login": "otto", "name": "Otto", "password": PASSWORD, "role": "admin" });
    made(&collector, owner, &path, otto).await;
    let wrong = json!({ "login": "otto", "password": "guessed" });
    assert_eq!(ask(&collector, owner, "POST", "/api/v1/login", Some(wrong)).await.0, 403);
    let otto = log_in(&collector, "otto").await;
    let denied = async |token: &str| {
        let (status, trail) = ask(&collector, token, "GET", "/api/v1/audit", None).await;
        assert_eq!(status, 200, "{trail}");
        let entries = trail["entries"].as_array().unwrap().clone();
        entries.iter().filter(|entry| entry["outcome"] == "denied").count()
    };
    assert_eq!((denied(&otto).await, denied(owner).await), (1, 0));
    assert_eq!(ask(&collector, &otto, "GET", "/metrics", None).await.0, 403);
}
