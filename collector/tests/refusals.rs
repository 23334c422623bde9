//! Whatever is wrong with a request, the answer is an error of the documented form, on every route that the OpenAPI document
//! lists.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::Collector;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST};
use serde_json::Value;
use support::http::exchange;
use support::start;

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8050";

struct Told {
    status: u16,
    allow: Option<String>,
    error: Value,
}

/// Asks for something that is to be refused, and looks at the form of the refusal.
async fn refused(
    collector: &Collector,
    method: &str,
    path: &str,
    kind: Option<&str>,
    body: Vec<u8>,
) -> Told {
    let asked = format!("{method} {path} {kind:?}");
    let request = hyper::Request::builder().method(method).uri(path).header(HOST, "shell");
    let request =
        kind.into_iter().fold(request, |request, kind| request.header(CONTENT_TYPE, kind));
    let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
    let answer = exchange(collector.dial(), request).await;
    let header = |name| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, allow, kind) = (answer.status, header(ALLOW), header(CONTENT_TYPE));
    let body = answer.text();
    assert!((400..500).contains(&status), "{asked}: {status} {body}");
    assert_eq!(kind.as_deref(), Some("application/json"), "{asked}: {body}");
    let value: Value = serde_json::from_str(&body).unwrap();
    let error = value["error"].clone();
    assert!(error["code"].as_str().is_some_and(|code| !code.is_empty()), "{asked}: {body}");
    assert!(error["message"].as_str().is_some_and(|said| !said.is_empty()), "{asked}: {body}");
    assert!(error["retryable"].is_boolean(), "{asked}: {body}");
    Told { status, allow, error }
}

/// The routes of the document: path, method, and what is said of it.
async fn routes(collector: &Collector) -> Vec<(String, String, Value)> {
    let (_, document) = support::get(collector, "/api/openapi.json").await;
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // The shell is refused before anything is read: these are for consoles.
            if !path.starts_with("/api/v1/console/") {
                routes.push((path.clone(), method.to_uppercase(), operation.clone()));
            }
        }
    }
    assert!(routes.len() > 20, "the document lists only {} routes", routes.len());
    routes
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_in_the_documented_form() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let json = "application/json";
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(100 * 1024));
    let mut walked = 0;
    for (path, method, operation) in routes(&collector).await {
        if operation.pointer("/requestBody/content/application~1json").is_none() {
            continue;
        }
        walked += 1;
        let path = path.replace("{id}", ID);
        for (kind, body, code, status) in [
            (Some(json), "{\"name\": ", "bad_request", 400),
            (Some(json), "", "bad_request", 400),
            (Some(json), "\"another form\"", "bad_request", 400),
            (Some(json), "[[[[[[", "bad_request", 400),
            (Some("text/plain"), "{}", "bad_request", 400),
            (None, "{}", "bad_request", 400),
            (Some(json), &large, "body_too_large", 413),
        ] {
            let told = refused(&collector, &method, &path, kind, body.into()).await;
            let body = &body[..body.len().min(20)];
            assert_eq!(told.error["code"], code, "{method} {path} {kind:?} {body}");
            assert_eq!(told.status, status, "{method} {path} {kind:?} {body}");
        }
    }
    assert!(walked >= 4, "only {walked} routes take JSON: the test does not see them");
}

#[tokio::test]
async fn parameters_that_cannot_be_read_are_refused_in_the_documented_form() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    let mut walked = 0;
    for (path, method, operation) in routes(&collector).await {
        let named = path.replace("{id}", ID);
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let kind = parameter["schema"]["type"].to_string();
            if parameter["in"] == "query" && (kind.contains("integer") || kind.contains("boolean"))
            {
                walked += 1;
                let name = parameter["name"].as_str().unwrap();
                let asked = format!("{named}?{name}=several");
                let told = refused(&collector, &method, &asked, None, Vec::new()).await;
                assert_eq!(told.error["code"], "bad_request", "{asked}");
            }
        }
        if path.contains("{id}") {
            // No text at all, and no id.
            for id in ["%ff%fe", "nobody"] {
                let path = path.replace("{id}", id);
                let body = b"{\"name\":\"a\",\"query\":\"b\"}".to_vec();
                refused(&collector, &method, &path, Some("application/json"), body).await;
            }
        }
    }
    assert!(walked >= 15, "only {walked} parameters were tried: the test does not see them");
}

#[tokio::test]
async fn what_no_route_is_meant_for_is_refused_in_the_documented_form() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(dir.path()).await;
    for (path, method, _) in routes(&collector).await {
        let path = path.replace("{id}", ID);
        let told = refused(&collector, "PATCH", &path, None, Vec::new()).await;
        assert_eq!(told.status, 405, "{path}");
        assert!(told.allow.is_some_and(|allow| allow.contains(&method)), "{method} {path}");
    }
    for (method, path, status) in [
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/api/v1/nothing", 404),
        ("POST", "/", 405),
        // No upgrade to a socket, and no id.
        ("GET", "/ws/live", 400),
        ("POST", "/ws/live", 400),
        ("GET", "/ws/deployment/nobody", 400),
    ] {
        let told = refused(&collector, method, path, None, Vec::new()).await;
        assert_eq!(told.status, status, "{method} {path}");
    }
    // What is no file of a run, or more than a file may be.
    let told = refused(&collector, "POST", "/api/v1/import", None, b"nothing".to_vec()).await;
    assert_eq!(told.error["code"], "bad_request");
}
