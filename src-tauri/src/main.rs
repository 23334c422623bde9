//! Deckport Control Center, the desktop app: a thin shell around the collector and the interface.
//!
//! It keeps the collector running ([`supervisor`]), gives the page two ways to a collector and little else ([`ipc`],
//! [`connection`], [`live`]), and does what only a desktop can do: tray, notifications, links, one instance
//! ([`watch`], [`tray`], [`notify`], [`desktop`]). It opens no port for its own interface.
//!
//! Order of a start: arguments → places → log and crash reports → one instance (a second start hands over its
//! arguments and ends here, before it touches any data) → collector → watchers → window.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod answers;
mod autostart;
mod cli;
mod clock;
mod connection;
mod desktop;
mod diagnostics;
mod discover;
mod ipc;
mod link;
mod live;
mod notify;
mod places;
mod preferences;
mod remotes;
mod supervisor;
mod tray;
mod watch;
mod webview;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::Parser as _;
use tauri::{AppHandle, Manager as _, RunEvent, WindowEvent};
use tokio::sync::{mpsc, watch as watching};
use tokio_util::sync::CancellationToken;

use crate::cli::Args;
use crate::connection::embedded::Plan;
use crate::connection::kept::Shelf;
use crate::connection::keyring::Keyring;
use crate::connection::{Connection, Connections};
use crate::desktop::{Asked, Desktop};
use crate::places::Places;
use crate::preferences::Preferences;
use crate::remotes::Remotes;
use crate::supervisor::Supervisor;
use crate::tray::Choice;
use crate::watch::desk::{Deed, Desk};
use crate::watch::outlook::View;
use crate::watch::policy::Response;

const NEWS_WAITING: usize = 64;
const DEEDS_WAITING: usize = 64;
const ACTS_WAITING: usize = 64;

fn main() -> ExitCode {
    webview::prepare();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(said) => {
            // Help and version come this way too. Nothing can be done where nothing can be printed.
            let _ = said.print();
            return ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2));
        }
    };
    match run(args) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("deckport-control-center: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tauri's generated context exits where its assets are damaged"
)]
fn run(args: Args) -> Result<ExitCode> {
    let places = Places::settle(args.data.as_deref(), usual_root())?;
    let _log = diagnostics::start_log(&places.logs())?;
    diagnostics::report_crashes(places.logs());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data = %places.root().display(), "starting");

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("deckport")
        .build()
        .context("the runtime cannot be started")?;
    tauri::async_runtime::set(runtime.handle().clone());
    // Tasks of the plugins are started on this thread too.
    let _entered = runtime.enter();

    let window_state = tauri_plugin_window_state::Builder::new()
        .with_state_flags(desktop::KEPT_OF_WINDOW)
        .with_filename(places.window_state().to_string_lossy())
        .build();
    let one_instance = tauri_plugin_single_instance::Builder::new()
        .dbus_id(places.instance())
        .callback(|app, arguments, _| second_start(app, &arguments))
        .build();
    let app = tauri::Builder::default()
        .plugin(one_instance)
        .plugin(window_state)
        .invoke_handler(tauri::generate_handler![
            ipc::connections,
            ipc::remote_look,
            ipc::remote_discover,
            ipc::remote_add,
            ipc::remote_enter,
            ipc::remote_remove,
            ipc::request,
            ipc::request_give_up,
            ipc::live_open,
            ipc::live_next,
            ipc::live_send,
            ipc::live_close,
            ipc::save_download,
            ipc::upload_chosen,
            ipc::preferences_get,
            ipc::preferences_set,
            ipc::about,
            ipc::open_folder,
            ipc::ready,
        ])
        .setup(move |app| Ok(set_up(app.handle(), &args, places)?))
        .build(tauri::generate_context!())
        .context("the window system cannot be used")?;
    let code = app.run_return(on_event);
    tracing::info!(code, "left");
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Where the app keeps its things unless told otherwise.
fn usual_root() -> Option<std::path::PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .filter(|path| !path.is_empty())
        .map(std::path::PathBuf::from);
    let data = data.or_else(|| Some(std::env::home_dir()?.join(".local/share")))?;
    Some(data.join(places::IDENTIFIER))
}

fn set_up(app: &AppHandle, args: &Args, places: Places) -> Result<()> {
    let preferences = Arc::new(Preferences::open(places.preferences()));
    let keyring = Keyring::of(places.instance());
    let shelf = Shelf::at(places.root());
    let plan = Plan {
        data_dir: places.collector(),
        plain_http: args.plain_http,
        announce: !args.no_multicast,
    };
    let listen = args.listen.unwrap_or_else(|| preferences.get().listen());
    let supervisor = Supervisor::start::<deckport_collector::Collector>(plan, listen);
    let connections = Connections::new(vec![Connection::local(supervisor.clone())]);

    let leave = CancellationToken::new();
    let (news, hear_news) = mpsc::channel(NEWS_WAITING);
    let (deeds, hear_deeds) = mpsc::channel(DEEDS_WAITING);
    let (acts, hear_acts) = mpsc::channel(ACTS_WAITING);
    let (answers, hear_answers) = mpsc::channel(DEEDS_WAITING);
    let (choices, hear_choices) = mpsc::unbounded_channel();
    let (standing, hear_standing) = watching::channel(());
    let (view, see_view) = watching::channel(View::default());
    let (dark, see_dark) = watching::channel(true);

    let desktop = Desktop {
        app: app.clone(),
        places,
        preferences: preferences.clone(),
        connections: connections.clone(),
        remotes: Remotes::new(shelf, keyring, leave.clone()),
        supervisor,
        told_to_listen: args.listen,
        multicast: !args.no_multicast,
        lives: live::Lives::default(),
        answers: answers::Answers::default(),
        view: see_view.clone(),
        deeds,
        news: news.clone(),
        standing: standing.clone(),
        leave: leave.clone(),
        page: Arc::default(),
        dark,
        leaving: Arc::new(AtomicBool::new(false)),
        asking: Arc::new(AtomicBool::new(false)),
    };
    app.manage(desktop.clone());

    for connection in connections.all() {
        tokio::spawn(watch::follow::follow(connection.clone(), news.clone(), leave.clone()));
        tokio::spawn(tell_standing(connection.clone(), standing.clone(), desktop.clone()));
    }
    for opened in desktop.remotes.open_kept() {
        desktop.watch_remote(opened);
    }
    tokio::spawn(desktop.remotes.clone().tend());
    let desk = Desk {
        connections,
        preferences,
        news: hear_news,
        deeds: hear_deeds,
        acts,
        view,
        standing: hear_standing,
        leave,
    };
    tokio::spawn(desk.run());
    tokio::spawn(notify::run(hear_acts, answers));
    tokio::spawn(tray::run(see_view, see_dark, choices));
    tokio::spawn(follow_answers(desktop.clone(), hear_answers));
    tokio::spawn(follow_choices(desktop.clone(), hear_choices));
    tokio::spawn(tell_preferences(desktop.clone()));
    tokio::spawn(leave_on_signal(desktop.clone()));

    desktop.open_window(!args.minimized).context("the window cannot be made")?;
    if let Some(link) = &args.link {
        desktop.lead_to(&link.route(), None);
    }
    Ok(())
}

fn on_event(app: &AppHandle, event: RunEvent) {
    match event {
        RunEvent::WindowEvent { event: WindowEvent::CloseRequested { api, .. }, .. } => {
            api.prevent_close();
            app.state::<Desktop>().window_closes();
        }
        RunEvent::WindowEvent { event: WindowEvent::ThemeChanged(theme), .. } => {
            app.state::<Desktop>().theme_is(theme);
        }
        // Without a code it is only that no window is left: watching goes on.
        RunEvent::ExitRequested { api, code: None, .. } => api.prevent_exit(),
        _ => {}
    }
}

/// The app was started again: that start ends, and this one comes forward.
fn second_start(app: &AppHandle, arguments: &[String]) {
    tracing::info!("started a second time");
    // The first start may still be on its way to its window.
    let Some(desktop) = app.try_state::<Desktop>() else { return };
    match Args::forwarded(arguments) {
        Some(Args { link: Some(link), .. }) => desktop.lead_to(&link.route(), None),
        Some(Args { minimized: true, .. }) => {}
        Some(_) | None => desktop.show(),
    }
}

async fn follow_answers(desktop: Desktop, mut answers: mpsc::Receiver<notify::Answered>) {
    while let Some(answered) = answers.recv().await {
        desktop.did(Deed::Responded(answered.key, answered.response));
        if answered.response == Response::Opened {
            desktop.lead_to(&answered.route, answered.connection.as_deref());
        }
    }
}

async fn follow_choices(desktop: Desktop, mut choices: mpsc::UnboundedReceiver<Choice>) {
    while let Some(choice) = choices.recv().await {
        match choice {
            Choice::Open => desktop.show(),
            Choice::Deployment { which, route } => {
                desktop.lead_to(&route, Some(&which.connection));
                desktop.did(Deed::Saw(which));
            }
            Choice::Pause(pause) => {
                if let Err(error) = desktop.preferences.pause_until(pause.until()) {
                    tracing::warn!(%error, "the pause cannot be stored");
                }
            }
            Choice::Quit => {
                let desktop = desktop.clone();
                tokio::spawn(async move { desktop.quit(Asked::Operator).await });
            }
        }
    }
}

/// Tells page and desk when a connection changes how it stands.
pub(crate) async fn tell_standing(
    connection: Connection,
    told: watching::Sender<()>,
    desktop: Desktop,
) {
    let mut standing = connection.standing();
    while standing.changed().await.is_ok() {
        let described = connection.describe();
        tracing::info!(connection = %connection.id, state = ?described.state, listen = described.listen, sentence = described.sentence, "connection");
        told.send_replace(());
        desktop.emit("connections", desktop.connections.describe());
    }
}

async fn tell_preferences(desktop: Desktop) {
    let mut choices = desktop.preferences.watch();
    while choices.changed().await.is_ok() {
        let chosen = choices.borrow_and_update().clone();
        desktop.emit("preferences", chosen);
    }
}

#[cfg(unix)]
async fn leave_on_signal(desktop: Desktop) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be heard; only the tray's Quit leaves cleanly");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    desktop.quit(Asked::System).await;
}

#[cfg(not(unix))]
async fn leave_on_signal(desktop: Desktop) {
    if tokio::signal::ctrl_c().await.is_ok() {
        desktop.quit(Asked::System).await;
    }
}
