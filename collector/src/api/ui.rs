//! The web front end, as built into this program.

use super::App;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../ui/dist"]
#[allow_missing = true]
struct Dist;

/// Nothing from elsewhere, no inline script; sockets to this collector only.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const MISSING: &str = "This collector was built without its web front end. Build `ui` (npm run \
    build) and then the collector, or use the desktop app. The API is documented at /api/docs.\n";

pub(super) async fn serve(State(_): State<App>, method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("api/") || path.starts_with("ws/") {
        return crate::auth::Answer(deckport_protocol::Refusal::new(
            deckport_protocol::ErrorCode::NOT_FOUND,
            "there is no such route",
        ))
        .into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return super::extract::not_allowed().await;
    }
    // A path with an extension is a file; anything else is a route of the page itself.
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let found = Dist::get(path).map(|file| (path, file));
    let found = found.or_else(|| {
        (!is_file).then(|| Dist::get("index.html").map(|file| ("index.html", file))).flatten()
    });
    let Some((name, file)) = found else {
        let status = if is_file { StatusCode::NOT_FOUND } else { StatusCode::OK };
        return (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], MISSING).into_response();
    };
    // Built files carry a hash in their names.
    let cache = if name.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers =
        [(CONTENT_TYPE, mime(name)), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, cache)];
    (headers, file.data.into_owned()).into_response()
}

fn mime(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
