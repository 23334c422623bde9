//! The window and what belongs to it: showing, hiding, leading to a place, asking, leaving.
//!
//! [`Desktop`] is the state that Tauri hands to commands. Closing the window hides it and keeps watching; leaving is
//! always [`Desktop::quit`], whoever asks for it, so that what is in flight is stored first.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tauri::{
    AppHandle, Emitter as _, Manager as _, Theme, WebviewUrl, WebviewWindow, WebviewWindowBuilder,
};
use tauri_plugin_window_state::{AppHandleExt as _, StateFlags};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::answers::Answers;
use crate::connection::{Connections, remote};
use crate::link;
use crate::live::Lives;
use crate::places::Places;
use crate::preferences::Preferences;
use crate::remotes::{Opened, Remotes};
use crate::supervisor::Supervisor;
use crate::watch::desk::Deed;
use crate::watch::follow::{self, News};
use crate::watch::outlook::View;

pub(crate) const WINDOW: &str = "main";
/// The longest that leaving may take; what was acknowledged is on the disk in any case.
const LEAVING: Duration = Duration::from_secs(20);
/// What of a window is kept between starts. Whether it was visible is not: that is the operator's to ask for.
pub(crate) const KEPT_OF_WINDOW: StateFlags = StateFlags::SIZE
    .union(StateFlags::POSITION)
    .union(StateFlags::MAXIMIZED)
    .union(StateFlags::FULLSCREEN);

/// Who asked to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The operator, who is told what stops.
    Operator,
    /// The system, which does not wait for answers.
    System,
}

#[derive(Debug, Clone)]
pub(crate) struct Desktop {
    pub(crate) app: AppHandle,
    pub(crate) places: Places,
    pub(crate) preferences: Arc<Preferences>,
    pub(crate) connections: Connections,
    pub(crate) remotes: Remotes,
    pub(crate) supervisor: Supervisor,
    /// Where the collector listens whatever the preferences say.
    pub(crate) told_to_listen: Option<SocketAddr>,
    /// The network may be asked for other collectors.
    pub(crate) multicast: bool,
    pub(crate) lives: Lives,
    /// What the page asked for and may give up.
    pub(crate) answers: Answers,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) deeds: mpsc::Sender<Deed>,
    /// What the desk is told of the connections' fleets, and that one of them stands differently.
    pub(crate) news: mpsc::Sender<(Arc<str>, News)>,
    pub(crate) standing: watch::Sender<()>,
    /// Ends every task that watches.
    pub(crate) leave: CancellationToken,
    pub(crate) page: Arc<Page>,
    pub(crate) dark: watch::Sender<bool>,
    pub(crate) leaving: Arc<AtomicBool>,
    pub(crate) asking: Arc<AtomicBool>,
}

/// What the page is to show when it comes up.
#[derive(Debug, Default)]
pub(crate) struct Page(Mutex<PageState>);

#[derive(Debug, Default)]
struct PageState {
    listens: bool,
    pending: Option<String>,
}

impl Page {
    fn lock(&self) -> std::sync::MutexGuard<'_, PageState> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Serialize)]
struct Quitting {
    sentence: &'static str,
    bound_us: u64,
}

impl Desktop {
    /// Watches a collector elsewhere from now on, until it is removed.
    pub(crate) fn watch_remote(&self, (connection, remote, leave): Opened) {
        self.connections.add(connection.clone());
        tokio::spawn(remote::keep(connection.clone(), remote, leave.clone()));
        tokio::spawn(follow::follow(connection.clone(), self.news.clone(), leave));
        tokio::spawn(crate::tell_standing(connection, self.standing.clone(), self.clone()));
        self.emit("connections", self.connections.describe());
    }

    /// A collector elsewhere was removed: what it told is gone as well.
    pub(crate) async fn forget_remote(&self, id: &str) {
        self.connections.remove(id);
        // The desk is gone when the app leaves; then nothing has to be forgotten.
        let _ = self.news.send((id.into(), News::Snapshot(Vec::new()))).await;
        self.standing.send_replace(());
        self.emit("connections", self.connections.describe());
    }

    /// Makes the one window.
    pub(crate) fn open_window(&self, visible: bool) -> tauri::Result<()> {
        let desktop = self.clone();
        let window =
            WebviewWindowBuilder::new(&self.app, WINDOW, WebviewUrl::App("index.html".into()))
                .title("Deckport Control Center")
                .inner_size(1280.0, 800.0)
                .min_inner_size(390.0, 480.0)
                .visible(visible)
                .data_directory(self.places.webview())
                // The page never leaves the app: other addresses are for a browser.
                .on_navigation(|url| {
                    url.scheme() == "tauri" || url.host_str() == Some("tauri.localhost")
                })
                .on_page_load(move |_, load| {
                    if load.event() == tauri::webview::PageLoadEvent::Started {
                        desktop.page.lock().listens = false;
                        desktop.lives.close_all();
                        desktop.answers.give_up_all();
                    }
                })
                .build()?;
        self.theme_is(window.theme().unwrap_or(Theme::Dark));
        Ok(())
    }

    fn window(&self) -> Option<WebviewWindow> {
        self.app.get_webview_window(WINDOW)
    }

    /// Brings the window before the operator.
    pub(crate) fn show(&self) {
        let Some(window) = self.window() else { return };
        let raised =
            window.show().and_then(|()| window.unminimize()).and_then(|()| window.set_focus());
        if let Err(error) = raised {
            tracing::warn!(%error, "the window cannot be raised");
        }
    }

    /// Raises the window at `route`, of that connection where it is known and there are several.
    pub(crate) fn lead_to(&self, route: &str, connection: Option<&str>) {
        let several = self.connections.all().len() > 1;
        let route = &link::on_connection(route, connection.filter(|_| several));
        tracing::info!(route, "leading to a place");
        {
            let mut page = self.page.lock();
            if !page.listens {
                page.pending = Some(route.to_owned());
            }
        }
        self.show();
        self.emit("navigate", route.to_owned());
    }

    /// The page listens from now on. Gives where it was asked to go meanwhile.
    pub(crate) fn page_is_ready(&self) -> Option<String> {
        let mut page = self.page.lock();
        page.listens = true;
        page.pending.take()
    }

    pub(crate) fn emit<T: Serialize + Clone>(&self, event: &str, payload: T) {
        if let Err(error) = self.app.emit_to(WINDOW, event, payload) {
            tracing::warn!(%error, event, "the page cannot be told");
        }
    }

    /// Tells the desk what the operator did. When it is that far behind, a deed is left out: it will come again.
    pub(crate) fn did(&self, deed: Deed) {
        if let Err(error) = self.deeds.try_send(deed) {
            tracing::debug!(%error, "a deed was left out");
        }
    }

    pub(crate) fn theme_is(&self, theme: Theme) {
        // GNOME's panel is dark whatever the windows are.
        let gnome =
            std::env::var("XDG_CURRENT_DESKTOP").is_ok_and(|desktop| desktop.contains("GNOME"));
        self.dark.send_replace(gnome || theme != Theme::Light);
    }

    /// The operator closes the window: it goes, the watching stays. Said once.
    pub(crate) fn window_closes(&self) {
        if let Some(window) = self.window()
            && let Err(error) = window.hide()
        {
            tracing::warn!(%error, "the window cannot be hidden");
        }
        self.keep_window_state();
        if !self.preferences.get().told_about_tray {
            let told = serde_json::Map::from_iter([("told_about_tray".to_owned(), true.into())]);
            if let Err(error) = self.preferences.set(&told) {
                tracing::warn!(%error, "the preferences cannot be stored");
            }
            tauri::async_runtime::spawn(crate::notify::say(
                "Deckport keeps watching",
                "Open it again from the tray, or by starting it again. Quit from the tray's menu.",
            ));
        }
    }

    fn keep_window_state(&self) {
        if let Err(error) = self.app.save_window_state(KEPT_OF_WINDOW) {
            tracing::warn!(%error, "the window's place cannot be kept");
        }
    }

    /// Leaves, after what is in flight was stored. A second call while that goes on does nothing.
    pub(crate) async fn quit(&self, asked: Asked) {
        if asked == Asked::Operator && !self.may_leave().await {
            return;
        }
        if self.leaving.swap(true, Ordering::AcqRel) {
            return;
        }
        let since = tokio::time::Instant::now();
        tracing::info!(?asked, "leaving");
        let bound_us = u64::try_from(LEAVING.as_micros()).unwrap_or(u64::MAX);
        self.emit("quitting", Quitting { sentence: "Storing what is in flight…", bound_us });
        self.keep_window_state();
        self.leave.cancel();
        self.lives.close_all();
        match tokio::time::timeout(LEAVING, self.supervisor.shutdown()).await {
            Ok(None) => tracing::info!(
                took_ms = since.elapsed().as_millis(),
                "the collector has stored all and stopped"
            ),
            Ok(Some(problem)) => tracing::error!(problem, "the collector did not stop cleanly"),
            Err(_) => tracing::error!(
                "the collector did not stop in time; what it acknowledged is on the disk"
            ),
        }
        self.app.exit(0);
    }

    /// Whether the operator wants to leave although deployments run. Says what stops and what does not.
    async fn may_leave(&self) -> bool {
        let running = {
            let view = self.view.borrow();
            view.running.len() + view.running_unlisted
        };
        if running == 0 {
            return true;
        }
        if self.asking.swap(true, Ordering::AcqRel) {
            return false;
        }
        let what = if running == 1 {
            "1 deployment is".to_owned()
        } else {
            format!("{running} deployments are")
        };
        let dialog = rfd::AsyncMessageDialog::new()
            .set_level(rfd::MessageLevel::Warning)
            .set_title("Quit Deckport?")
            .set_description(format!(
                "{what} running.\n\nThe installations go on by themselves and their lines are kept on the consoles \
                 until Deckport is back. But nobody watches: you will not be told when one fails."
            ))
            .set_buttons(rfd::MessageButtons::OkCancelCustom("Quit".into(), "Keep watching".into()));
        let answer = self.on_main_thread(move || dialog.show()).await;
        let answer = match answer {
            Some(shown) => shown.await,
            None => rfd::MessageDialogResult::Cancel,
        };
        self.asking.store(false, Ordering::Release);
        matches!(answer, rfd::MessageDialogResult::Custom(answer) if answer == "Quit")
    }

    /// Asks where to save a file. `None` when the operator cancels.
    pub(crate) async fn ask_where_to_save(&self, suggested: &str) -> Option<PathBuf> {
        let name = file_name(suggested);
        let dialog = rfd::AsyncFileDialog::new().set_title("Save").set_file_name(name);
        let chosen = self.on_main_thread(move || dialog.save_file()).await?.await?;
        Some(chosen.path().to_owned())
    }

    /// Asks for a run that was saved as one file. `None` when the operator cancels.
    pub(crate) async fn ask_what_to_open(&self) -> Option<PathBuf> {
        let dialog = rfd::AsyncFileDialog::new()
            .set_title("Import a run")
            .add_filter("Saved runs", &["deckport"])
            .add_filter("All files", &["*"]);
        let chosen = self.on_main_thread(move || dialog.pick_file()).await?.await?;
        Some(chosen.path().to_owned())
    }

    /// Dialogs are made where the window's toolkit lives.
    async fn on_main_thread<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, made) = tokio::sync::oneshot::channel();
        let asked = self.app.run_on_main_thread(move || {
            let _ = reply.send(make());
        });
        asked.ok()?;
        made.await.ok()
    }
}

/// A name without a path, whatever the page suggests.
fn file_name(suggested: &str) -> String {
    let name = crate::watch::fleet::plain(suggested, 120).replace(['/', '\\', '\0'], "-");
    let name = name.trim_start_matches('.').to_owned();
    if name.is_empty() { "deckport-log.txt".to_owned() } else { name }
}

/// Opens a folder in the desktop's file manager.
pub(crate) fn show_folder(folder: &Path) -> std::io::Result<()> {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let mut child = std::process::Command::new(opener).arg(folder).spawn()?;
    // Waited for by a thread of its own, so that it leaves no zombie.
    std::thread::Builder::new().name("file manager".into()).spawn(move || child.wait())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_name_cannot_leave_the_folder() {
        assert_eq!(file_name("bay 12.log"), "bay 12.log");
        assert_eq!(file_name("../../etc/passwd"), "-..-etc-passwd");
        assert_eq!(file_name("..."), "deckport-log.txt");
    }
}
