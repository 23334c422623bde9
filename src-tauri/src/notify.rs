//! Notices on the desktop, through its notification service.
//!
//! One task owns what is shown: a notice that develops replaces its earlier form in place (`replaces_id`). For each
//! one a small task waits for the operator's answer; it is aborted only after its successor is on the screen, so that
//! a click is never lost between the two. Without a notification service there is one line in the log and the tray
//! stays the only sign; each notice tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use notify_rust::{
    CloseReason, Hint, Notification, NotificationHandle, NotificationResponse, Timeout,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::watch::policy::{Act, Key, Notice, Response, Urgency};

const OPEN: &str = "open";
const SNOOZE: &str = "snooze";

/// The operator's answer to a notice, with where it leads.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) key: Key,
    pub(crate) response: Response,
    pub(crate) route: String,
    pub(crate) connection: Option<Arc<str>>,
}

#[derive(Debug)]
struct Standing {
    handle: Arc<NotificationHandle>,
    waiting: JoinHandle<()>,
}

/// Shows and withdraws until `acts` ends, then takes away what still stands.
pub(crate) async fn run(mut acts: mpsc::Receiver<Act>, answers: mpsc::Sender<Answered>) {
    let markup = takes_markup().await;
    let mut standing: BTreeMap<Key, Standing> = BTreeMap::new();
    let mut failed: BTreeSet<Key> = BTreeSet::new();
    while let Some(act) = acts.recv().await {
        match act {
            Act::Show(key, notice) => {
                let earlier = standing
                    .get(&key)
                    .filter(|earlier| !earlier.waiting.is_finished())
                    .map(|it| it.handle.id());
                match build(&notice, earlier, markup).show_async().await {
                    Ok(handle) => {
                        tracing::info!(
                            title = notice.title,
                            id = handle.id(),
                            replaces = earlier,
                            "notice shown"
                        );
                        failed.remove(&key);
                        let handle = Arc::new(handle);
                        let waiting = tokio::spawn(wait(
                            handle.clone(),
                            key.clone(),
                            (notice.route, notice.connection),
                            answers.clone(),
                        ));
                        if let Some(earlier) = standing.insert(key, Standing { handle, waiting }) {
                            earlier.waiting.abort();
                        }
                    }
                    Err(error) => {
                        if failed.insert(key) {
                            tracing::warn!(%error, title = notice.title, "a notice cannot be shown");
                        }
                    }
                }
            }
            Act::Withdraw(key) => {
                if let Some(standing) = standing.remove(&key) {
                    withdraw(standing).await;
                }
            }
        }
    }
    for (_, standing) in standing {
        withdraw(standing).await;
    }
}

/// Whether the service reads the body as markup: then what consoles say must be escaped.
async fn takes_markup() -> bool {
    // The library has this call in its blocking form only.
    let able = tokio::task::spawn_blocking(notify_rust::get_capabilities).await;
    match able {
        Ok(Ok(able)) => able.iter().any(|it| it == "body-markup"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "no notification service answers; notices will be tried all the same");
            true
        }
        Err(_) => true,
    }
}

fn build(notice: &Notice, replaces: Option<u32>, markup: bool) -> Notification {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut notification = Notification::new();
    notification
        .appname("Deckport Control Center")
        .summary(&notice.title)
        .body(&if markup { escape(&notice.body) } else { notice.body.clone() })
        .icon("deckport-control-center")
        .hint(Hint::DesktopEntry("deckport-control-center".to_owned()))
        .action("default", notice.open)
        .action(OPEN, notice.open)
        .action(SNOOZE, "Snooze 10 min");
    match notice.urgency {
        Urgency::Low => notification.urgency(notify_rust::Urgency::Low),
        Urgency::Normal => notification.urgency(notify_rust::Urgency::Normal),
        Urgency::Critical => {
            notification.urgency(notify_rust::Urgency::Critical).timeout(Timeout::Never)
        }
    };
    if let Some(id) = replaces {
        notification.id(id);
    }
    notification
}

async fn wait(
    handle: Arc<NotificationHandle>,
    key: Key,
    (route, connection): (String, Option<Arc<str>>),
    answers: mpsc::Sender<Answered>,
) {
    let mut response = None;
    let take = |answer: &NotificationResponse| {
        response = match answer {
            NotificationResponse::Default => Some(Response::Opened),
            NotificationResponse::Action(action) if action == OPEN => Some(Response::Opened),
            NotificationResponse::Action(action) if action == SNOOZE => Some(Response::Snoozed),
            NotificationResponse::Closed(CloseReason::CloseAction) => None,
            NotificationResponse::Closed(_) => Some(Response::Dismissed),
            NotificationResponse::Action(_) | NotificationResponse::Reply(_) => None,
        }
    };
    handle.wait_for_action_async(take).await;
    if let Some(response) = response {
        tracing::info!(?response, route, "notice answered");
        // The receiver is gone only when the app is leaving.
        let _ = answers.send(Answered { key, response, route, connection }).await;
    }
}

/// Takes it off the screen, also where the service leaves an answered one standing.
async fn withdraw(standing: Standing) {
    standing.waiting.abort();
    standing.handle.close_async().await;
}

/// One plain word that needs no answer.
pub(crate) async fn say(title: &str, body: &str) {
    let mut notification = Notification::new();
    notification
        .appname("Deckport Control Center")
        .summary(title)
        .body(body)
        .icon("deckport-control-center");
    if let Err(error) = notification.show_async().await {
        tracing::info!(%error, title, "this could not be said on the desktop");
    }
}
