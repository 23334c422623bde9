//! What the page may ask of the shell. This list and the events are the whole surface; there are no routes in it.
//!
//! Errors are the API's own shape (`code`, `message`, `retryable`). Sizes are bounded in [`crate::connection::http`]
//! and [`crate::live`]. Events to the page: `navigate`, `connections`, `preferences`, `quitting`.

#![expect(clippy::needless_pass_by_value, reason = "tauri hands a command its arguments by value")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tauri::{State, ipc};

use crate::connection::{ConnectionError, Described, http};
use crate::desktop::Desktop;
use crate::discover::{self, Proposed};
use crate::preferences::Choices;
use crate::remotes::{Holder, Login, Looked, RemoteError};
use crate::watch::desk::Deed;
use crate::watch::fleet::Which;

#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    code: Cow<'static, str>,
    message: String,
    retryable: bool,
}

impl From<ConnectionError> for Refusal {
    fn from(error: ConnectionError) -> Refusal {
        Refusal {
            code: error.code().into(),
            message: error.to_string(),
            retryable: error.retryable(),
        }
    }
}

impl Refusal {
    fn local(code: &'static str, message: impl ToString) -> Refusal {
        Refusal { code: code.into(), message: message.to_string(), retryable: false }
    }
}

type Reply<T> = Result<T, Refusal>;

#[tauri::command]
pub(crate) fn connections(desktop: State<'_, Desktop>) -> Vec<Described> {
    desktop.connections.describe()
}

impl From<RemoteError> for Refusal {
    fn from(error: RemoteError) -> Refusal {
        let message = error.to_string();
        match error {
            RemoteError::Connection(error) => error.into(),
            RemoteError::Refused { code, retryable, .. } => {
                Refusal { code: code.into(), message, retryable }
            }
            RemoteError::Address(_)
            | RemoteError::Plain
            | RemoteError::NoPin
            | RemoteError::There(_)
            | RemoteError::Unknown(_) => Refusal::local("bad_request", message),
            RemoteError::Kept(_) => Refusal::local("not_stored", message),
        }
    }
}

/// Which key answers at an address, for a person to compare with what the collector's own screen shows.
#[tauri::command]
pub(crate) async fn remote_look(desktop: State<'_, Desktop>, address: String) -> Reply<Looked> {
    Ok(desktop.remotes.look(&address).await?)
}

/// Collectors that make themselves known on this network. What they say is only their word: the key is still to be compared.
#[tauri::command]
pub(crate) async fn remote_discover(desktop: State<'_, Desktop>) -> Reply<Vec<Proposed>> {
    if !desktop.multicast {
        return Err(Refusal::local("discovery", "the app was started with --no-multicast"));
    }
    let found = discover::look(&desktop.places, &desktop.connections).await;
    found.map_err(|error| Refusal::local("discovery", error))
}

/// Adds a collector elsewhere, by its address and pin, with the operator's own login. Gives the connection's id.
#[tauri::command]
pub(crate) async fn remote_add(
    desktop: State<'_, Desktop>,
    address: String,
    name: String,
    login: Login,
) -> Reply<String> {
    let opened = desktop.remotes.add(&address, &name, &login).await?;
    let id = opened.0.id.to_string();
    desktop.watch_remote(opened);
    Ok(id)
}

/// Logs in again at a collector elsewhere.
#[tauri::command]
pub(crate) async fn remote_enter(
    desktop: State<'_, Desktop>,
    connection: String,
    login: Login,
) -> Reply<()> {
    Ok(desktop.remotes.enter(&connection, &login).await?)
}

/// Leaves a collector elsewhere: nothing of it is shown or told any more.
#[tauri::command]
pub(crate) async fn remote_remove(desktop: State<'_, Desktop>, connection: String) -> Reply<()> {
    desktop.remotes.remove(&connection).await?;
    desktop.forget_remote(&connection).await;
    Ok(())
}

#[derive(Debug, Serialize)]
pub(crate) struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    base64: bool,
}

/// `number`: of the page's, where it may give the answer up ([`request_give_up`]).
#[tauri::command]
pub(crate) async fn request(
    desktop: State<'_, Desktop>,
    connection: String,
    method: String,
    path: String,
    headers: Option<BTreeMap<String, String>>,
    body: Option<String>,
    number: Option<u32>,
) -> Reply<Response> {
    let connection = desktop.connections.get(&connection)?;
    if let Some(deployment) = deployment_in(&path) {
        let which = Which { connection: connection.id.clone(), deployment: deployment.to_owned() };
        desktop.did(Deed::Saw(which));
    }
    let ask = http::Ask { method, path, headers: headers.unwrap_or_default(), body };
    let answer = http::fetch(&connection, ask);
    let answer = match number {
        Some(number) => desktop.answers.wait(number, answer).await,
        None => Some(answer.await),
    };
    let nobody_waits = || Refusal::local("given_up", "nobody waits for this answer any more");
    Ok(answer.ok_or_else(nobody_waits)??.into())
}

/// Nobody waits for the answer with this number any more.
#[tauri::command]
pub(crate) fn request_give_up(desktop: State<'_, Desktop>, number: u32) {
    desktop.answers.give_up(number);
}

impl From<http::Answer> for Response {
    fn from(answer: http::Answer) -> Response {
        let (body, base64) = match String::from_utf8(answer.body.to_vec()) {
            Ok(text) => (text, false),
            Err(raw) => (base64::engine::general_purpose::STANDARD.encode(raw.as_bytes()), true),
        };
        Response { status: answer.status, headers: answer.headers, body, base64 }
    }
}

/// The deployment that a path of the API is about: whoever asks for it has its screen open.
fn deployment_in(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/api/v1/deployments/")?;
    rest.split(['/', '?']).next().filter(|id| !id.is_empty())
}

#[tauri::command]
pub(crate) async fn live_open(
    desktop: State<'_, Desktop>,
    connection: String,
    place: String,
) -> Reply<u32> {
    let connection = desktop.connections.get(&connection)?;
    Ok(desktop.lives.open(&connection, &place).await?)
}

#[tauri::command]
pub(crate) async fn live_next(desktop: State<'_, Desktop>, live: u32) -> Reply<ipc::Response> {
    Ok(ipc::Response::new(desktop.lives.next(live).await?))
}

#[tauri::command]
pub(crate) async fn live_send(desktop: State<'_, Desktop>, live: u32, text: String) -> Reply<()> {
    Ok(desktop.lives.send(live, text).await?)
}

#[tauri::command]
pub(crate) fn live_close(desktop: State<'_, Desktop>, live: u32) {
    desktop.lives.close(live);
}

#[derive(Debug, Serialize)]
pub(crate) struct Saved {
    /// `None`: the operator chose to save nothing.
    path: Option<PathBuf>,
    bytes: u64,
}

#[tauri::command]
pub(crate) async fn save_download(
    desktop: State<'_, Desktop>,
    connection: String,
    path: String,
    suggested_name: String,
) -> Reply<Saved> {
    let connection = desktop.connections.get(&connection)?;
    let Some(target) = desktop.ask_where_to_save(&suggested_name).await else {
        return Ok(Saved { path: None, bytes: 0 });
    };
    let bytes = http::download(&connection, http::Ask::get(path), &target).await?;
    tracing::info!(bytes, "a download was saved");
    Ok(Saved { path: Some(target), bytes })
}

/// Posts a file that the operator chooses; the page learns its name, as soon as it is chosen. `None`: they chose none.
#[tauri::command]
pub(crate) async fn upload_chosen(
    desktop: State<'_, Desktop>,
    connection: String,
    path: String,
    chosen: ipc::Channel<String>,
) -> Reply<Option<Response>> {
    let connection = desktop.connections.get(&connection)?;
    let Some(file) = desktop.ask_what_to_open().await else { return Ok(None) };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A page that has gone meanwhile needs no name.
    let _ = chosen.send(name);
    let answer = http::upload(&connection, path, &file).await?;
    tracing::info!(status = answer.status, "a file was uploaded");
    Ok(Some(answer.into()))
}

#[tauri::command]
pub(crate) fn preferences_get(desktop: State<'_, Desktop>) -> Choices {
    desktop.preferences.get()
}

/// Where the collector listens is tried first: a preference that cannot be followed is not kept.
#[tauri::command]
pub(crate) async fn preferences_set(
    desktop: State<'_, Desktop>,
    preferences: Map<String, Value>,
) -> Reply<Choices> {
    let refused = |error| Refusal::local("preferences", error);
    let before = desktop.preferences.get();
    let wanted = desktop.preferences.with(&preferences).map_err(refused)?;
    if let Some(wanted) = preferences.get("autostart").and_then(Value::as_bool) {
        crate::autostart::set(wanted, &desktop.places).map_err(|error| {
            tracing::warn!(%error, "autostart cannot be changed");
            Refusal::local("autostart", format!("{error:#}"))
        })?;
    }
    let moves = wanted.listen() != before.listen();
    if moves {
        listen(&desktop, wanted.listen()).await?;
    }
    let set = desktop.preferences.set(&preferences);
    if set.is_err()
        && moves
        && let Err(why) = desktop.supervisor.listen(before.listen()).await
    {
        tracing::warn!(why, "the collector does not listen where it did before");
    }
    set.map_err(refused)
}

async fn listen(desktop: &Desktop, at: SocketAddr) -> Reply<()> {
    if let Some(told) = desktop.told_to_listen {
        let why = format!(
            "the app was started with --listen {told}, and that counts; start it without to choose here"
        );
        return Err(Refusal::local("listen", why));
    }
    desktop.supervisor.listen(at).await.map_err(|why| {
        tracing::warn!(%at, why, "the collector cannot listen there");
        Refusal::local("listen", format!("the collector cannot listen at {at}: {why}"))
    })
}

#[derive(Debug, Serialize)]
pub(crate) struct About {
    version: &'static str,
    identifier: &'static str,
    data_dir: PathBuf,
    log_dir: PathBuf,
    config_dir: PathBuf,
    webview: String,
    autostart_available: bool,
    /// Where the app was told to listen when it was started, whatever the preferences say.
    told_to_listen: Option<SocketAddr>,
    /// What holds the operator's logins at other collectors.
    logins: Holder,
    /// The newest report of a crash, if there ever was one.
    crash_report: Option<PathBuf>,
}

#[tauri::command]
pub(crate) fn about(desktop: State<'_, Desktop>) -> About {
    let places = &desktop.places;
    About {
        version: env!("CARGO_PKG_VERSION"),
        identifier: crate::places::IDENTIFIER,
        data_dir: places.collector(),
        log_dir: places.logs(),
        config_dir: places.root().to_owned(),
        webview: tauri::webview_version().unwrap_or_else(|_| "unknown".to_owned()),
        autostart_available: crate::autostart::is_available(),
        told_to_listen: desktop.told_to_listen,
        logins: desktop.remotes.holder(),
        crash_report: crate::diagnostics::latest_crash(&places.logs()),
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Folder {
    Data,
    Logs,
}

/// Opens one of our two folders in the desktop's file manager; no other path can be named.
#[tauri::command]
pub(crate) fn open_folder(desktop: State<'_, Desktop>, which: Folder) -> Reply<()> {
    let folder = match which {
        Folder::Data => desktop.places.collector(),
        Folder::Logs => desktop.places.logs(),
    };
    crate::desktop::show_folder(&folder).map_err(|error| Refusal::local("open_folder", error))
}

/// The page listens for `navigate` now; what it should show first, if anything asked for something.
#[tauri::command]
pub(crate) fn ready(desktop: State<'_, Desktop>) -> Option<String> {
    desktop.page_is_ready()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_a_deployment_is_seen_from_what_it_asks_for() {
        assert_eq!(deployment_in("/api/v1/deployments/d1/rows?from=0"), Some("d1"));
        assert_eq!(deployment_in("/api/v1/deployments/d1"), Some("d1"));
        assert_eq!(deployment_in("/api/v1/deployments?limit=5"), None);
        assert_eq!(deployment_in("/api/v1/info"), None);
    }
}
