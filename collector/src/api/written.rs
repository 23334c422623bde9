//! Every request that changes something is written down with how it ended, and so is every read that takes out more than the
//! screens show.
//!
//! One layer, behind the guard: a route that is added is written down without its author's doing, under a name made of its method and
//! path until it has one here. A handler that knows more says so to its [`Note`]; one whose change is in the database hands on the note's
//! pen, and the entry is in the change's transaction.
//!
//! What must hold: no answer leaves before its entry is durable; where that fails, the answer is that it failed. What fails or is denied is
//! bounded (see `audit`), and so is what anybody with a credential may do at will.

use crate::audit::{Audit, Entry, Outcome, Pen, Who};
use crate::auth::{Answer, Peer, Refused};
use crate::deployment::refusal_of;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use deckport_protocol::{Actor, Scope};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a request leaves in the trail; handlers add to it.
#[derive(Clone, Debug)]
pub(super) struct Note {
    entry: Arc<Mutex<Entry>>,
    written: Arc<AtomicBool>,
}

impl Note {
    fn new(entry: Entry) -> Self {
        Self { entry: Arc::new(Mutex::new(entry)), written: Arc::default() }
    }

    fn change(&self, change: impl FnOnce(Entry) -> Entry) {
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        *entry = change(entry.clone());
    }

    pub(super) fn about(&self, kind: &'static str, id: impl std::fmt::Display) {
        self.change(|entry| entry.about(kind, id));
    }

    pub(super) fn with(&self, name: &str, value: impl Into<serde_json::Value>) {
        self.change(|entry| entry.with(name, value));
    }

    pub(super) fn concerning(&self, scope: Scope) {
        self.change(|entry| entry.concerning(scope));
    }

    fn entry(&self) -> Entry {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// To write the entry with the change, or before it.
    pub(super) fn pen<'a>(&self, audit: &'a Audit) -> Pen<'a> {
        Pen::new(audit, self.entry()).noting(Arc::clone(&self.written))
    }

    /// To write another entry of the same request's.
    pub(super) fn also<'a>(&self, audit: &'a Audit, action: &'static str) -> Pen<'a> {
        Pen::new(audit, self.entry().named(action))
    }
}

/// Whether a request is written down, and as what.
fn action(method: &Method, route: &str, query: Option<&str>) -> Option<Cow<'static, str>> {
    let raw = || query.is_some_and(|query| query.split('&').any(|pair| pair == "format=raw"));
    let name = match (method.as_str(), route) {
        ("GET" | "HEAD", "/api/v1/deployments/{id}/raw") => "raw_exported",
        ("GET" | "HEAD", "/api/v1/deployments/{id}/export") if raw() => "raw_exported",
        ("GET" | "HEAD", "/api/v1/deployments/{id}/bundle") => "bundle_exported",
        ("GET" | "HEAD", "/api/v1/audit/export") => "audit_exported",
        ("GET" | "HEAD", "/api/v1/audit/verify") => "audit_verified",
        ("GET" | "HEAD" | "OPTIONS", _) => return None,
        // A socket, whatever the method: what comes over it is told elsewhere.
        (_, route) if route.starts_with("/ws/") => return None,
        ("POST", "/api/v1/deployments/{id}/cancel") => "deployment_cancelled",
        ("POST", "/api/v1/import") => "run_imported",
        ("POST", "/api/v1/searches") => "search_saved",
        ("PUT", "/api/v1/searches/{id}") => "search_changed",
        ("DELETE", "/api/v1/searches/{id}") => "search_deleted",
        ("POST", "/api/v1/join-tokens") => "code_made",
        ("DELETE", "/api/v1/join-tokens/{id}") => "code_taken_back",
        ("POST", "/api/v1/join") => "console_joined",
        ("POST", "/api/v1/console/renew") => "console_renewed",
        ("POST", "/api/v1/consoles/{id}/revoke") => "console_revoked",
        ("POST", "/api/v1/consoles/{id}/order") => "console_ordered",
        ("PUT", "/api/v1/retention") => "retention_changed",
        ("POST", "/api/v1/retention/preview") => "retention_previewed",
        ("POST", "/api/v1/tickets") => "ticket_made",
        ("POST", "/api/v1/login" | "/api/v1/login/oidc/session") => "logged_in",
        ("POST", "/api/v1/login/oidc") => "login_begun",
        ("POST", "/api/v1/logout") => "logged_out",
        ("PUT", "/api/v1/me/password") => "password_changed",
        ("POST", "/api/v1/me/prove") => "proved",
        ("POST", "/api/v1/me/second-factor") => "second_factor_begun",
        ("PUT", "/api/v1/me/second-factor") => "second_factor_taken",
        ("POST", "/api/v1/me/second-factor/remove") => "second_factor_dropped",
        ("POST", "/api/v1/operators") => "operator_added",
        ("PUT", "/api/v1/operators/{id}") => "operator_changed",
        ("DELETE", "/api/v1/sessions/{id}") => "access_ended",
        ("POST", "/api/v1/venues") => "venue_added",
        ("PUT", "/api/v1/venues/{id}") => "venue_renamed",
        ("POST", "/api/v1/organisations") => "organisation_founded",
        ("POST", "/api/v1/api-tokens") => "api_token_made",
        (method, route) => {
            let route = route.trim_start_matches("/api/v1/");
            let words = route.split(|c: char| !c.is_ascii_alphanumeric());
            let words = std::iter::once(method).chain(words).filter(|word| !word.is_empty());
            return Some(words.collect::<Vec<_>>().join("_").to_lowercase().into());
        }
    };
    Some(name.into())
}

/// Anybody who may look can ask for these as often as they like.
fn is_bounded(action: &str) -> bool {
    matches!(
        action,
        "ticket_made"
            | "login_begun"
            | "retention_previewed"
            | "audit_verified"
            | "second_factor_begun"
    )
}

/// What a path names: the kind from the segment in front of it.
fn subject(route: &str, path: &str) -> Option<(&'static str, String)> {
    let at = route.split('/').position(|segment| segment.starts_with('{'))?;
    let kind = match route.split('/').nth(at.checked_sub(1)?)? {
        "consoles" => "console",
        "deployments" => "deployment",
        "join-tokens" => "join_token",
        "searches" => "saved_search",
        "operators" => "operator",
        "sessions" => "access",
        "venues" => "venue",
        _ => "other",
    };
    Some((kind, path.split('/').nth(at)?.to_owned()))
}

/// See the module.
pub(super) async fn write_down(
    State(audit): State<Arc<Audit>>,
    mut request: Request,
    next: Next,
) -> Response {
    let extensions = request.extensions();
    let route = extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let named = route.and_then(|route| {
        action(request.method(), route, request.uri().query()).map(|action| (route, action))
    });
    let Some((route, action)) = named else { return next.run(request).await };
    let bounded = is_bounded(&action);
    let who = extensions.get::<Actor>().map_or(Who::Stranger, |actor| Who::Known(actor.clone()));
    let mut entry = Entry::new(who, action)
        .from(extensions.get::<Peer>().and_then(Peer::address))
        .with("method", request.method().as_str())
        .with("route", route);
    if let Some((kind, id)) = subject(route, request.uri().path()) {
        entry = entry.about(kind, id);
    }
    let note = Note::new(entry);
    request.extensions_mut().insert(note.clone());
    let response = next.run(request).await;
    let status = response.status();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let entry = note.entry();
    if status.as_u16() < 400 {
        let done = note.written.load(Ordering::Acquire) || (bounded && !audit.admits(&entry));
        if !done && let Err(error) = audit.record(entry).await {
            return Answer(refusal_of(&error)).into_response();
        }
        return response;
    }
    let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let mut entry = entry.ended(if denied { Outcome::Denied } else { Outcome::Failed });
    if let Some(Refused(code)) = response.extensions().get() {
        if code.as_str() == "code_refused" {
            entry = entry.named("code_refused");
        }
        entry = entry.with("refusal", code.as_str());
    }
    audit.deny(entry.with("status", status.as_u16())).await;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_without_a_name_gets_one() {
        let post = |route| action(&Method::POST, route, None).unwrap();
        assert_eq!(post("/api/v1/operators/{id}/newer"), "post_operators_id_newer");
        assert_eq!(post("/api/v1/consoles/{id}/revoke"), "console_revoked");
        let export = "/api/v1/deployments/{id}/export";
        assert_eq!(action(&Method::GET, export, Some("from=1")), None);
        let raw = action(&Method::GET, export, Some("from=1&format=raw"));
        assert_eq!(raw.as_deref(), Some("raw_exported"));
        let found = subject("/api/v1/consoles/{id}/revoke", "/api/v1/consoles/7/revoke");
        assert_eq!(found, Some(("console", "7".to_owned())));
        assert_eq!(subject("/api/v1/import", "/api/v1/import"), None);
    }
}
