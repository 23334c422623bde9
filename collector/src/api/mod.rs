//! Every route, the OpenAPI document, and the middleware in front of them.
//!
//! The document is generated from the handlers and types below; the UI's types are generated from it.

mod audit;
mod bundle;
mod consoles;
mod deploy;
mod docs;
mod export;
mod extract;
mod find;
mod history;
mod login;
mod needs;
mod operators;
mod raw;
mod routes;
mod saved;
mod ui;
mod venues;
mod written;

use crate::analytics::signatures::Signatures;
use crate::audit::Audit;
use crate::auth::{Auth, Guarded, guard};
use crate::config::Config;
use crate::content::Content;
use crate::deployment::Deployments;
use crate::fleet::link::Links;
use crate::ingest::Ingest;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::search::Search;
use crate::store::Store;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderValue;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::Response;
use deckport_protocol::ServerEpoch;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// What handlers share.
#[derive(Clone, Debug)]
pub struct App {
    pub config: Arc<Config>,
    pub store: Arc<Store>,
    pub audit: Arc<Audit>,
    pub deployments: Arc<Deployments>,
    pub search: Arc<Search>,
    pub links: Links,
    pub content: Arc<Content>,
    pub signatures: Arc<Signatures>,
    pub auth: Arc<Auth>,
    pub metrics: Arc<Metrics>,
    pub ingest: Ingest,
    pub live: Live,
    pub server_epoch: ServerEpoch,
    pub started_at: i64,
    pub address: Option<SocketAddr>,
    /// Files of runs that are taken in at a time.
    pub imports: Arc<Semaphore>,
    /// Sockets outlive the request that opened them: they are owned here.
    pub tasks: TaskTracker,
    /// Where they are served, wherever the request was heard.
    pub inside: tokio::runtime::Handle,
}

impl App {
    /// Only programs on this machine reach it.
    fn is_only_here(&self) -> bool {
        self.address.is_none_or(|address| address.ip().is_loopback())
    }
}

/// Requests carry no bodies worth speaking of.
const BODY_BYTES: usize = 64 * 1024;
/// More wait.
pub const IMPORTS: usize = 2;

/// The router that serves TCP connections and the shell's in-memory ones alike.
pub fn router(app: App) -> Router {
    let guarded = Guarded {
        auth: Arc::clone(&app.auth),
        metrics: Arc::clone(&app.metrics),
        audit: Arc::clone(&app.audit),
        clock: Arc::clone(&app.config.clock),
        hosts: Guarded::hosts(&app.config.names),
        needs: needs::needs,
        proofs: needs::proof,
        proof_for: app.config.proof_for,
    };
    let audit = Arc::clone(&app.audit);
    let (router, document) = docs::router().split_for_parts();
    router
        .merge(routes::sockets())
        .merge(docs::pages(document))
        .method_not_allowed_fallback(extract::not_allowed)
        .fallback(ui::serve)
        .with_state(app)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(audit, written::write_down))
        .layer(axum::middleware::from_fn_with_state(guarded, guard))
        .layer(axum::middleware::map_response(harden))
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    docs::router().split_for_parts().1
}

/// Headers that every answer carries.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ));
    response
}
