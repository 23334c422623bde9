//! The OpenAPI document and the page that shows it.

use super::{
    App, audit, bundle, consoles, deploy, export, find, history, login, operators, raw, routes,
    saved, venues,
};
use crate::live::{
    Delta, DeploymentDelta, FleetDelta, FleetSnapshot, LiveMessage, SearchDelta, SearchSnapshot,
    Snapshot, Subscribe, ViewerMessage, WindowDelta, WindowSnapshot,
};
use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::Response;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Deckport collector",
        description = "Deployments, their rows and their records. Times are microseconds since the \
            Unix epoch. Errors are `{\"error\":{\"code\",\"message\",\"retryable\"}}`; branch on \
            `code`. The live socket `/ws/live` speaks the ViewerMessage and LiveMessage schemas.",
        license(name = "MIT OR Apache-2.0")
    ),
    modifiers(&Secured),
    security(("token" = [])),
    components(schemas(
        ViewerMessage, Subscribe, LiveMessage, Snapshot, Delta, FleetSnapshot, WindowSnapshot,
        SearchSnapshot, FleetDelta, DeploymentDelta, WindowDelta, SearchDelta, routes::ErrorBody
    ))
)]
struct Document;

struct Secured;

impl utoipa::Modify for Secured {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The routes with their part of the document.
pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(routes::info))
        .routes(routes!(routes::list))
        .routes(routes!(routes::detail))
        .routes(routes!(routes::rows))
        .routes(routes!(routes::locate))
        .routes(routes!(routes::marks))
        .routes(routes!(find::find))
        .routes(routes!(find::matches))
        .routes(routes!(find::search))
        .routes(routes!(find::check))
        .routes(routes!(saved::list, saved::create))
        .routes(routes!(saved::change, saved::delete))
        .routes(routes!(export::export))
        .routes(routes!(bundle::export))
        .routes(routes!(bundle::import))
        .routes(routes!(operators::login, login::ways))
        .routes(routes!(login::begin))
        .routes(routes!(login::callback))
        .routes(routes!(login::session))
        .routes(routes!(operators::logout))
        .routes(routes!(operators::me))
        .routes(routes!(operators::change_password))
        .routes(routes!(operators::prove))
        .routes(routes!(operators::begin_second_factor, operators::take_second_factor))
        .routes(routes!(operators::drop_second_factor))
        .routes(routes!(operators::list, operators::create))
        .routes(routes!(operators::change))
        .routes(routes!(operators::sessions))
        .routes(routes!(operators::end_session))
        .routes(routes!(operators::give_token))
        .routes(routes!(venues::list, venues::create))
        .routes(routes!(venues::rename))
        .routes(routes!(venues::organisations, venues::found))
        .routes(routes!(consoles::list))
        .routes(routes!(consoles::revoke))
        .routes(routes!(consoles::order))
        .routes(routes!(consoles::invitations, consoles::invite))
        .routes(routes!(consoles::take_back))
        .routes(routes!(consoles::templates))
        .routes(routes!(deploy::join))
        .routes(routes!(deploy::renew))
        .routes(routes!(deploy::template_script))
        .routes(routes!(deploy::bootstrap))
        .routes(routes!(deploy::agent))
        .routes(routes!(history::comparison))
        .routes(routes!(history::signatures))
        .routes(routes!(history::signature))
        .routes(routes!(history::retention, history::set_retention))
        .routes(routes!(history::retention_preview))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(audit::verify_all))
        .routes(routes!(raw::raw))
        .routes(routes!(routes::records))
        .routes(routes!(routes::cancel))
        .routes(routes!(routes::ticket))
        .routes(routes!(routes::healthz))
        .routes(routes!(routes::readyz))
        .routes(routes!(routes::metrics))
}

/// The page brings its own scripts and styles, some of them inline; it shows nothing but the document.
const PAGE_POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

pub(super) fn pages(document: utoipa::openapi::OpenApi) -> Router<App> {
    let pages: Router<App> =
        utoipa_swagger_ui::SwaggerUi::new("/api/docs").url("/api/openapi.json", document).into();
    pages.layer(axum::middleware::map_response(|mut response: Response| async {
        let policy = HeaderValue::from_static(PAGE_POLICY);
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        response
    }))
}
