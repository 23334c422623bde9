//! The handlers.

use super::App;
use super::consoles::authorities;
use super::extract::{Named, Params, bad};
use super::written::Note;
use crate::auth::acme::PublicCertificate;
use crate::auth::{ABILITIES, Answer, Pass};
use crate::deployment::Entry;
use crate::deployment::view::{DeploymentDetail, DeploymentSummary, PhaseState};
use crate::log::{LogError, Mark};
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Json, Router};
use deckport_protocol::rows::Row;
use deckport_protocol::{
    Actor, DeploymentId, ErrorCode, OrderId, OrganisationId, PROTOCOL_VERSION, Pin, Refusal,
    ServerEpoch,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Most rows and bytes in one page.
const PAGE_ROWS: u64 = 1000;
const PAGE_BYTES: usize = 1024 * 1024;
/// Buffers of a socket; the defaults of 128 KiB each are for few large ones.
const SOCKET_BUFFER: usize = 8 * 1024;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: Refusal,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Info {
    version: String,
    protocol: u32,
    server_epoch: ServerEpoch,
    now_at: i64,
    venue: String,
    started_at: i64,
    /// Where consoles reach it.
    #[schema(required)]
    listen: Option<String>,
    /// By what clients know it.
    pin: Pin,
    /// The pin, shortened for two people to compare.
    pin_short: String,
    /// By what another app adds it, with the pin, the likeliest first.
    addresses: Vec<String>,
    /// Only programs on the collector's own machine reach it.
    only_here: bool,
    /// By what they will know it once its key is replaced.
    #[schema(required)]
    next_pin: Option<Pin>,
    #[schema(required)]
    token_file: Option<String>,
    abilities: Vec<String>,
    /// How it stands with a public authority's certificate; none: none is asked for.
    #[schema(required)]
    public_certificate: Option<PublicCertificate>,
    /// The disk is full: new records are refused until there is space.
    storage_full: bool,
}

impl From<LogError> for Answer {
    fn from(error: LogError) -> Self {
        tracing::error!(error = %error, "the store could not be read");
        Self(Refusal::new(ErrorCode::INTERNAL, error.to_string()))
    }
}

/// The deployment that a path names.
pub(super) async fn entry(app: &App, actor: &Actor, id: &str) -> Result<Arc<Entry>, Answer> {
    let missing = || Answer(Refusal::new(ErrorCode::NOT_FOUND, "there is no such deployment"));
    let id: DeploymentId = id.parse().map_err(|_| missing())?;
    app.deployments.get(actor.scope(), id).await?.ok_or_else(missing)
}

/// What this collector is.
#[utoipa::path(get, path = "/api/v1/info", responses((status = 200, body = Info)))]
pub(super) async fn info(State(app): State<App>, Extension(actor): Extension<Actor>) -> Json<Info> {
    // What is of the collector's own organisation is none of the others' business.
    let own = actor.scope().organisation_id == OrganisationId::SOLE;
    let theirs = || app.auth.venues.within(actor.scope()).first().map(|venue| venue.name.clone());
    let venue = if own { app.config.venue.clone() } else { theirs().unwrap_or_default() };
    let token_file = app.config.data_dir.join("token");
    let pin = app.auth.authority.pin();
    let address = |authority: String| format!("https://{authority}#{pin}");
    Json(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL_VERSION,
        server_epoch: app.server_epoch,
        now_at: app.config.clock.now_us(),
        venue,
        started_at: app.started_at,
        listen: app.address.map(|address| format!("https://{address}")),
        pin,
        pin_short: pin.short(),
        addresses: authorities(&app).into_iter().map(address).collect(),
        only_here: app.is_only_here(),
        next_pin: app.auth.authority.next_pin(),
        token_file: token_file.to_str().filter(|_| own).map(str::to_owned),
        abilities: ABILITIES.map(str::to_owned).to_vec(),
        public_certificate: app.auth.acme.as_ref().map(|acme| acme.status()),
        storage_full: app.metrics.storage_full.get() != 0,
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    state: Option<String>,
    /// At most 500, 200 by default.
    limit: Option<u32>,
    /// The `next` of the page before.
    before: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeploymentList {
    /// Newest first.
    deployments: Vec<DeploymentSummary>,
    #[schema(required)]
    next: Option<String>,
}

/// Deployments, newest first.
#[utoipa::path(get, path = "/api/v1/deployments", params(ListParams),
    responses((status = 200, body = DeploymentList), (status = 400, body = ErrorBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Params(params): Params<ListParams>,
) -> Result<Json<DeploymentList>, Answer> {
    let before = match &params.before {
        None => None,
        Some(cursor) => {
            let (at, id) = cursor.split_once(':').ok_or_else(|| bad("not a cursor"))?;
            Some((at.parse().map_err(|_| bad("not a cursor"))?, id.to_owned()))
        }
    };
    let limit = params.limit.unwrap_or(200).clamp(1, 500);
    let (deployments, next) =
        app.deployments.list(actor.scope(), params.state.as_deref(), before, limit).await?;
    Ok(Json(DeploymentList { deployments, next }))
}

/// Everything about one deployment.
#[utoipa::path(get, path = "/api/v1/deployments/{id}", params(("id" = DeploymentId, Path)),
    responses((status = 200, body = DeploymentDetail), (status = 404, body = ErrorBody)))]
pub(super) async fn detail(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
) -> Result<Json<DeploymentDetail>, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let detail = app.deployments.detail(&entry).await?;
    detail.map(Json).ok_or_else(|| {
        Answer(Refusal::new(ErrorCode::NOT_FOUND, "nothing of that deployment has arrived yet"))
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RowsParams {
    /// The first row, from 0.
    from: Option<u64>,
    /// In place of `from`: a record, whose row is to stand a third down.
    seq: Option<u64>,
    /// At most 1,000.
    count: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RowsPage {
    total_rows: u64,
    first_row: u64,
    /// Fewer than asked for at the end, or when they are large.
    rows: Vec<Row>,
    acked_seq: u64,
    /// The row that the record `seq` belongs to; none where it was not asked for or is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
}

/// Rows by their number, or around a record.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/rows",
    params(("id" = DeploymentId, Path), RowsParams),
    responses((status = 200, body = RowsPage), (status = 404, body = ErrorBody)))]
pub(super) async fn rows(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
    Params(params): Params<RowsParams>,
) -> Result<Json<RowsPage>, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let count = params.count.unwrap_or(200).min(PAGE_ROWS);
    let log = app.deployments.log();
    let row = match params.seq {
        Some(seq) => log.locate(entry.head.stream, seq).await?,
        None => None,
    };
    let from = row.map_or(params.from.unwrap_or(0), |row| row.saturating_sub(count / 3));
    let page = log.page(entry.head.stream, from, count, PAGE_BYTES).await?;
    Ok(Json(RowsPage {
        total_rows: page.total_rows,
        first_row: from,
        rows: page.rows,
        acked_seq: page.last_seq,
        row,
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LocateParams {
    seq: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Located {
    row: u64,
}

/// The row that a record belongs to.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/locate",
    params(("id" = DeploymentId, Path), LocateParams),
    responses((status = 200, body = Located), (status = 404, body = ErrorBody)))]
pub(super) async fn locate(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
    Params(params): Params<LocateParams>,
) -> Result<Json<Located>, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let row = app.deployments.log().locate(entry.head.stream, params.seq).await?;
    row.map(|row| Json(Located { row }))
        .ok_or_else(|| Answer(Refusal::new(ErrorCode::NOT_FOUND, "that record is not here")))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MarksParams {
    /// At most 2,000, 400 by default.
    buckets: Option<u64>,
}

/// Where a phase begins.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PhaseMark {
    index: u32,
    name: String,
    row: u64,
    state: PhaseState,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Marks {
    total_rows: u64,
    /// Those that hold errors or warnings.
    buckets: Vec<Mark>,
    phases: Vec<PhaseMark>,
    #[schema(required)]
    failing_row: Option<u64>,
}

/// The minimap: where errors, warnings and phases are.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/marks",
    params(("id" = DeploymentId, Path), MarksParams),
    responses((status = 200, body = Marks), (status = 404, body = ErrorBody)))]
pub(super) async fn marks(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
    Params(params): Params<MarksParams>,
) -> Result<Json<Marks>, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let buckets = params.buckets.unwrap_or(400).clamp(1, 2000);
    let buckets = app.deployments.log().marks(entry.head.stream, buckets).await?;
    let summary = entry.summary(app.deployments.now_us());
    let phases = summary.iter().flat_map(|summary| &summary.phases).map(|phase| PhaseMark {
        index: phase.index,
        name: phase.name.clone(),
        row: phase.first_row,
        state: phase.state,
    });
    Ok(Json(Marks {
        total_rows: entry.durable().rows,
        buckets,
        phases: phases.collect(),
        failing_row: summary.as_ref().and_then(|s| s.failure.as_ref()).and_then(|f| f.row),
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordsParams {
    /// The last sequence number that the reader has.
    #[serde(default)]
    after: u64,
    /// At most 1,000.
    limit: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Records {
    /// In the JSON encoding of the protocol.
    #[schema(value_type = Vec<Object>)]
    records: Vec<deckport_protocol::json::JsonRecord>,
    acked_seq: u64,
}

/// Records as they came, in JSON.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/records",
    params(("id" = DeploymentId, Path), RecordsParams),
    responses((status = 200, body = Records), (status = 404, body = ErrorBody)))]
pub(super) async fn records(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
    Params(params): Params<RecordsParams>,
) -> Result<Json<Records>, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let limit = params.limit.unwrap_or(200).min(1000);
    let log = app.deployments.log();
    let acked_seq = entry.durable().seq;
    let mut records = Vec::new();
    let mut bytes = 0;
    let after = params.after.min(acked_seq);
    let frames = log.frames(entry.head.stream, after + 1, PAGE_BYTES).await?;
    'frames: for stored in &frames {
        let frame = log.decode(entry.head.stream, stored)?;
        for record in frame.records().filter(|r| r.seq > after && r.last_seq() <= acked_seq) {
            if records.len() >= limit || bytes >= PAGE_BYTES {
                break 'frames;
            }
            bytes += record.data().len();
            records.push(deckport_protocol::json::JsonRecord::from(record));
        }
    }
    Ok(Json(Records { records, acked_seq }))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ordered {
    order_id: OrderId,
}

/// Orders the agent to end the command. Its answer is an `order_result` event.
#[utoipa::path(post, path = "/api/v1/deployments/{id}/cancel", params(("id" = DeploymentId, Path)),
    responses((status = 202, body = Ordered), (status = 409, body = ErrorBody)))]
pub(super) async fn cancel(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
) -> Result<Response, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    if entry.ended() {
        return Err(Refusal::new(ErrorCode::NOT_RUNNING, "the deployment has ended").into());
    }
    let away = || Answer(Refusal::new(ErrorCode::NOT_CONNECTED, "its console is not connected"));
    // Before it is given: what cannot be written down is not done.
    let refused = |error| crate::deployment::refusal_of(&error);
    note.pen(&app.audit).record().await.map_err(refused)?;
    let order_id = entry.cancel().ok_or_else(away)?;
    Ok((StatusCode::ACCEPTED, Json(Ordered { order_id })).into_response())
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ticket {
    ticket: String,
    expires_at: i64,
}

/// A ticket for one socket or download, good for 30 seconds.
#[utoipa::path(post, path = "/api/v1/tickets",
    responses((status = 200, body = Ticket), (status = 429, body = ErrorBody)))]
pub(super) async fn ticket(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(pass): Extension<Pass>,
) -> Result<Json<Ticket>, Answer> {
    let issued = app.auth.tickets.issue(actor, pass, app.config.clock.now_us());
    let (ticket, expires_at) = issued
        .ok_or_else(|| Refusal::new(ErrorCode::RATE_EXCEEDED, "too many tickets are unused"))?;
    Ok(Json(Ticket { ticket, expires_at }))
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", security(()), responses((status = 200, body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// It can take records: the disk neither failed nor is full.
#[utoipa::path(get, path = "/readyz", security(()),
    responses((status = 200, body = String), (status = 503, body = String)))]
pub(super) async fn readyz(State(app): State<App>) -> (StatusCode, String) {
    if let Some(reason) = app.store.writer().failure() {
        (StatusCode::SERVICE_UNAVAILABLE, format!("storage failed: {reason}\n"))
    } else if app.metrics.storage_full.get() != 0 {
        (StatusCode::SERVICE_UNAVAILABLE, "the disk is full\n".to_owned())
    } else {
        (StatusCode::OK, "ready\n".to_owned())
    }
}

/// Counters, as Prometheus text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(super) async fn metrics(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
) -> Result<String, Answer> {
    if actor.scope().organisation_id != OrganisationId::SOLE {
        let text = "these are figures of all organisations, for whoever runs this collector";
        return Err(Refusal::new(ErrorCode::FORBIDDEN, text).into());
    }
    let stored = app.deployments.log().stored();
    for (gauge, figure) in [
        (&app.metrics.blocks, stored.blocks),
        (&app.metrics.block_bytes, stored.stored_bytes),
        (&app.metrics.block_output_bytes, stored.output_bytes),
        (&app.metrics.tail_bytes, stored.tail_bytes),
    ] {
        gauge.set(figure.cast_signed());
    }
    Ok(app.metrics.render())
}

/// The sockets; OpenAPI knows only their messages.
pub(super) fn sockets() -> Router<App> {
    Router::new()
        .route("/ws/deployment/{deployment_id}", any(console_socket))
        .route("/ws/console", any(daemon_socket))
        .route("/ws/live", any(live_socket))
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

fn upgraded(upgrade: Upgrade) -> Result<WebSocketUpgrade, Answer> {
    upgrade.map_err(|error| bad(error.body_text()))
}

async fn console_socket(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(pass): Extension<Pass>,
    Named(id): Named,
    upgrade: Upgrade,
) -> Result<Response, Answer> {
    let id: DeploymentId = id.parse().map_err(|_| bad("the address names no deployment id"))?;
    let tenant = app.auth.venues.of(&actor)?;
    let most = app.config.limits.message_bytes;
    let upgrade = upgraded(upgrade)?
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(most)
        .max_frame_size(most);
    let App { ingest, tasks, inside, .. } = app;
    Ok(upgrade.on_upgrade(async move |socket| {
        tasks.spawn_on(ingest.serve(socket, actor, tenant, pass, id), &inside);
    }))
}

async fn daemon_socket(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(pass): Extension<Pass>,
    upgrade: Upgrade,
) -> Result<Response, Answer> {
    let Actor::Console { tenant, console_id } = actor else {
        return Err(Refusal::new(ErrorCode::FORBIDDEN, "this socket is for consoles").into());
    };
    let upgrade = upgraded(upgrade)?
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(16 * 1024)
        .max_frame_size(16 * 1024);
    let App { links, tasks, inside, .. } = app;
    Ok(upgrade.on_upgrade(async move |socket| {
        tasks.spawn_on(links.serve(socket, tenant, console_id, pass), &inside);
    }))
}

async fn live_socket(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(pass): Extension<Pass>,
    upgrade: Upgrade,
) -> Result<Response, Answer> {
    let upgrade = upgraded(upgrade)?
        .read_buffer_size(SOCKET_BUFFER)
        // What goes out together goes in one write.
        .write_buffer_size(64 * 1024)
        .max_write_buffer_size(4 * 1024 * 1024)
        .max_message_size(64 * 1024)
        .max_frame_size(64 * 1024);
    let App { live, tasks, inside, .. } = app;
    Ok(upgrade.on_upgrade(async move |socket| {
        tasks.spawn_on(live.serve(socket, actor, pass), &inside);
    }))
}
