//! What each route needs of who asks.

use crate::auth::{Need, Proof, RAW};
use axum::http::Method;
use deckport_protocol::Role;

/// What a route needs. A route of the API that is not named here needs an admin of all: whoever adds one must say who it is for.
pub(super) fn needs(method: &Method, route: Option<&str>, path: &str) -> Need {
    let Some(route) = route else {
        // The pages of the UI, which are the same for everyone. What looks like the API and is not there is nobody's.
        let inner = ["/api/", "/ws/", "/metrics"].iter().any(|begin| path.starts_with(begin));
        return if inner { Need::Role(Role::Viewer) } else { Need::Nothing };
    };
    let reads = method == Method::GET || method == Method::HEAD;
    match route {
        "/healthz" | "/readyz" => Need::Nothing,
        // A code in the body is the credential; the script and the agent are the same for everyone.
        "/api/v1/join" | "/deploy/console" | "/deploy/agent/{architecture}" => Need::Nothing,
        "/api/v1/console/renew" => Need::Renewing,
        "/api/v1/console/script" | "/ws/console" => Need::Console,
        "/ws/deployment/{deployment_id}" => Need::Streams,
        // What comes with them is the credential: a password, a provider's word, a code with its word.
        "/api/v1/login"
        | "/api/v1/login/oidc"
        | "/api/v1/login/oidc/callback"
        | "/api/v1/login/oidc/session" => Need::Nothing,
        // Everybody, for themselves.
        "/api/v1/logout"
        | "/api/v1/me"
        | "/api/v1/me/password"
        | "/api/v1/me/prove"
        | "/api/v1/me/second-factor"
        | "/api/v1/me/second-factor/remove"
        | "/api/v1/sessions"
        | "/api/v1/sessions/{id}"
        | "/api/v1/api-tokens" => Need::Role(Role::Viewer),
        // Who else is let in is the admins' business.
        "/api/v1/operators" | "/api/v1/operators/{id}" => Need::Everywhere(Role::Admin),
        "/api/v1/venues" | "/api/v1/venues/{id}" if !reads => Need::Everywhere(Role::Admin),
        "/api/v1/organisations" => Need::Owner,
        // One policy for all of an organisation's logs.
        "/api/v1/retention" if reads => Need::Everywhere(Role::Viewer),
        "/api/v1/retention" | "/api/v1/retention/preview" => Need::Everywhere(Role::Admin),
        "/ws/live" | "/api/v1/tickets" | "/api/v1/search/check" => Need::Role(Role::Viewer),
        "/api/v1/deployments/{id}/raw"
        | "/api/v1/deployments/{id}/records"
        | "/api/v1/deployments/{id}/bundle" => RAW,
        "/api/v1/deployments/{id}/cancel"
        | "/api/v1/import"
        | "/api/v1/join-tokens"
        | "/api/v1/join-tokens/{id}"
        | "/api/v1/consoles/{id}/revoke"
        | "/api/v1/consoles/{id}/order" => Need::Role(Role::Operator),
        "/api/v1/searches" | "/api/v1/searches/{id}" if !reads => Need::Role(Role::Operator),
        "/api/docs" | "/api/docs/" | "/api/docs/{*rest}" | "/api/openapi.json" => Need::Nothing,
        "/api/v1/audit" | "/api/v1/audit/export" | "/api/v1/audit/verify" => {
            Need::Everywhere(Role::Admin)
        }
        // Figures of all that the collector does.
        "/metrics" => Need::Everywhere(Role::Viewer),
        _ if reads && route.starts_with("/api/v1/") => Need::Role(Role::Viewer),
        _ => Need::Everywhere(Role::Admin),
    }
}

/// Whether a route is asked with a session alone, or who sits there shows anew that it is they: what lets somebody in, takes a
/// console out or lets history go cannot be done by whoever passes an open screen. None: nobody has decided, so it is asked.
pub(super) fn proof(method: &Method, route: Option<&str>) -> Option<Proof> {
    let Some(route) = route else { return Some(Proof::Session) };
    if method == Method::GET || method == Method::HEAD {
        return Some(Proof::Session);
    }
    match route {
        // Who is let in, where, and by what.
        "/api/v1/operators"
        | "/api/v1/operators/{id}"
        | "/api/v1/api-tokens"
        | "/api/v1/venues"
        | "/api/v1/venues/{id}"
        | "/api/v1/organisations" => Some(Proof::Fresh),
        // There is no undo.
        "/api/v1/consoles/{id}/revoke" | "/api/v1/retention" => Some(Proof::Fresh),
        // The password alone, which may have been seen being typed, must not do away with what is asked beside it.
        "/api/v1/me/second-factor/remove" => Some(Proof::Fresh),
        // They ask for the password themselves, or are how it is shown.
        "/api/v1/me/password" | "/api/v1/me/prove" | "/api/v1/me/second-factor" => {
            Some(Proof::Person)
        }
        // Whoever suspects something closes it at once.
        "/api/v1/sessions/{id}" => Some(Proof::Person),
        "/api/v1/logout" | "/api/v1/join-tokens/{id}" => Some(Proof::Session),
        // Everyday work in a hall: a code lets in a console, which may do nothing but show its own runs.
        "/api/v1/join-tokens"
        | "/api/v1/deployments/{id}/cancel"
        | "/api/v1/consoles/{id}/order"
        | "/api/v1/import"
        | "/api/v1/searches"
        | "/api/v1/searches/{id}"
        | "/api/v1/search/check"
        | "/api/v1/retention/preview"
        | "/api/v1/tickets" => Some(Proof::Session),
        // No operator's session is asked with, or none yet.
        "/api/v1/join"
        | "/api/v1/console/renew"
        | "/api/v1/login"
        | "/api/v1/login/oidc"
        | "/api/v1/login/oidc/session" => Some(Proof::Session),
        _ => None,
    }
}
