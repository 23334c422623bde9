//! The tray icon: a StatusNotifierItem of its own, so that no AppIndicator library is needed.
//!
//! It shows the newest [`View`] and sends back what was chosen. It is never the only way to the window: starting the
//! app again raises it. Where no tray exists, or it goes and comes (a panel restarted), the item waits for it.

use ksni::menu::{StandardItem, SubMenu};
use ksni::{Category, Icon, MenuItem, Status, ToolTip, TrayMethods as _};
use tauri::image::Image;
use tokio::sync::{mpsc, watch};

use crate::clock::{self, Micros};
use crate::watch::fleet::Which;
use crate::watch::outlook::{Outlook, View};

/// How long notifications are to be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    HalfAnHour,
    TwoHours,
    UntilTomorrow,
    End,
}

impl Pause {
    /// When a pause that begins now ends.
    pub(crate) fn until(self) -> Option<Micros> {
        match self {
            Pause::HalfAnHour => Some(clock::now().plus_secs(30 * 60)),
            Pause::TwoHours => Some(clock::now().plus_secs(2 * 60 * 60)),
            Pause::UntilTomorrow => Some(clock::tomorrow_morning()),
            Pause::End => None,
        }
    }
}

/// What the operator chose in the tray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    Open,
    Deployment { which: Which, route: String },
    Pause(Pause),
    Quit,
}

/// Keeps the tray icon at the newest view until `view` ends.
pub(crate) async fn run(
    mut view: watch::Receiver<View>,
    mut dark: watch::Receiver<bool>,
    choices: mpsc::UnboundedSender<Choice>,
) {
    let item =
        Item { view: view.borrow_and_update().clone(), dark: *dark.borrow_and_update(), choices };
    let handle = match item.assume_sni_available(true).spawn().await {
        Ok(handle) => handle,
        Err(error) => {
            tracing::warn!(%error, "there is no tray here; starting the app again opens its window");
            return;
        }
    };
    loop {
        // Both only wake; the values are read afterwards.
        let more = tokio::select! {
            changed = view.changed() => changed.is_ok(),
            Ok(()) = dark.changed() => true,
        };
        if !more {
            break;
        }
        let (view, dark) = (view.borrow_and_update().clone(), *dark.borrow_and_update());
        let updated = handle.update(move |item| (item.view, item.dark) = (view, dark)).await;
        if updated.is_none() {
            tracing::warn!("the tray icon is gone");
            return;
        }
    }
    handle.shutdown().await;
}

struct Item {
    view: View,
    dark: bool,
    choices: mpsc::UnboundedSender<Choice>,
}

impl Item {
    fn choose(&self, choice: Choice) {
        // The receiver is gone only when the app is leaving.
        let _ = self.choices.send(choice);
    }

    fn entry(label: &str, choice: Choice) -> MenuItem<Item> {
        let activate = Box::new(move |item: &mut Item| item.choose(choice.clone()));
        StandardItem { label: label.replace('_', "__"), activate, ..StandardItem::default() }.into()
    }

    fn heading(label: impl Into<String>) -> MenuItem<Item> {
        StandardItem { label: label.into(), enabled: false, ..StandardItem::default() }.into()
    }
}

impl ksni::Tray for Item {
    fn id(&self) -> String {
        "deckport-control-center".into()
    }

    fn title(&self) -> String {
        format!("Deckport · {}", self.view.sentence)
    }

    fn category(&self) -> Category {
        Category::ApplicationStatus
    }

    fn status(&self) -> Status {
        match self.view.outlook {
            Outlook::Failed | Outlook::Attention => Status::NeedsAttention,
            Outlook::Idle | Outlook::Running | Outlook::Offline => Status::Active,
        }
    }

    fn icon_pixmap(&self) -> Vec<Icon> {
        icons(self.view.outlook, self.dark)
    }

    fn attention_icon_pixmap(&self) -> Vec<Icon> {
        icons(self.view.outlook, self.dark)
    }

    fn tool_tip(&self) -> ToolTip {
        ToolTip {
            title: "Deckport Control Center".into(),
            description: self.view.sentence.clone(),
            ..ToolTip::default()
        }
    }

    fn activate(&mut self, _x: i32, _y: i32) {
        self.choose(Choice::Open);
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        let view = &self.view;
        let mut menu = vec![
            Self::heading(view.sentence.replace('_', "__")),
            Self::entry("Open Deckport", Choice::Open),
            MenuItem::Separator,
        ];
        if !view.running.is_empty() {
            menu.push(Self::heading("Running"));
            let entry = |entry: &crate::watch::outlook::Entry| {
                let (which, route) = (entry.which.clone(), entry.route.clone());
                Self::entry(&entry.label, Choice::Deployment { which, route })
            };
            menu.extend(view.running.iter().map(entry));
            if view.running_unlisted > 0 {
                menu.push(Self::entry(&format!("{} more…", view.running_unlisted), Choice::Open));
            }
            menu.push(MenuItem::Separator);
        }
        if !view.failures.is_empty() {
            menu.push(Self::heading("Latest failures"));
            menu.extend(view.failures.iter().map(|entry| {
                let (which, route) = (entry.which.clone(), entry.route.clone());
                Self::entry(&entry.label, Choice::Deployment { which, route })
            }));
            menu.push(MenuItem::Separator);
        }
        let mut pause = vec![
            Self::entry("For 30 minutes", Choice::Pause(Pause::HalfAnHour)),
            Self::entry("For 2 hours", Choice::Pause(Pause::TwoHours)),
            Self::entry("Until tomorrow", Choice::Pause(Pause::UntilTomorrow)),
        ];
        let label = match view.paused_until {
            Some(until) => {
                pause.insert(0, Self::entry("Resume now", Choice::Pause(Pause::End)));
                format!("Notifications paused until {}", clock::hour_and_minute(until))
            }
            None => "Pause notifications".into(),
        };
        menu.push(SubMenu { label, submenu: pause, ..SubMenu::default() }.into());
        menu.push(Self::entry("Quit", Choice::Quit));
        menu
    }

    fn watcher_online(&self) {
        tracing::info!("the tray is there");
    }

    fn watcher_offline(&self, reason: ksni::OfflineReason) -> bool {
        tracing::info!(
            ?reason,
            "no tray is shown here for now; starting the app again opens its window"
        );
        true
    }
}

/// The pictures of a state at 24 and 48 pixels, for a dark or a light panel.
fn images(outlook: Outlook, dark: bool) -> [Image<'static>; 2] {
    use tauri::include_image as picture;
    match (outlook, dark) {
        (Outlook::Idle, true) => {
            [picture!("../icons/tray/idle-dark-24.png"), picture!("../icons/tray/idle-dark-48.png")]
        }
        (Outlook::Idle, false) => [
            picture!("../icons/tray/idle-light-24.png"),
            picture!("../icons/tray/idle-light-48.png"),
        ],
        (Outlook::Running, true) => [
            picture!("../icons/tray/running-dark-24.png"),
            picture!("../icons/tray/running-dark-48.png"),
        ],
        (Outlook::Running, false) => [
            picture!("../icons/tray/running-light-24.png"),
            picture!("../icons/tray/running-light-48.png"),
        ],
        (Outlook::Attention, true) => [
            picture!("../icons/tray/attention-dark-24.png"),
            picture!("../icons/tray/attention-dark-48.png"),
        ],
        (Outlook::Attention, false) => [
            picture!("../icons/tray/attention-light-24.png"),
            picture!("../icons/tray/attention-light-48.png"),
        ],
        (Outlook::Offline, true) => [
            picture!("../icons/tray/offline-dark-24.png"),
            picture!("../icons/tray/offline-dark-48.png"),
        ],
        (Outlook::Offline, false) => [
            picture!("../icons/tray/offline-light-24.png"),
            picture!("../icons/tray/offline-light-48.png"),
        ],
        (Outlook::Failed, true) => [
            picture!("../icons/tray/failed-dark-24.png"),
            picture!("../icons/tray/failed-dark-48.png"),
        ],
        (Outlook::Failed, false) => [
            picture!("../icons/tray/failed-light-24.png"),
            picture!("../icons/tray/failed-light-48.png"),
        ],
    }
}

fn icons(outlook: Outlook, dark: bool) -> Vec<Icon> {
    images(outlook, dark).iter().map(argb).collect()
}

/// The tray wants alpha first.
fn argb(image: &Image<'_>) -> Icon {
    let mut data = image.rgba().to_vec();
    for pixel in data.chunks_exact_mut(4) {
        pixel.rotate_right(1);
    }
    Icon { width: image.width().cast_signed(), height: image.height().cast_signed(), data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ksni::Tray as _;

    fn item(view: View) -> (Item, mpsc::UnboundedReceiver<Choice>) {
        let (choices, chosen) = mpsc::unbounded_channel();
        (Item { view, dark: true, choices }, chosen)
    }

    #[test]
    fn every_state_has_a_picture_of_its_own() {
        let all = [
            Outlook::Idle,
            Outlook::Running,
            Outlook::Attention,
            Outlook::Offline,
            Outlook::Failed,
        ];
        for dark in [true, false] {
            // The shapes differ, not only the colours: compare what is opaque.
            let shapes: std::collections::BTreeSet<Vec<bool>> = all
                .map(|outlook| {
                    icons(outlook, dark)[1].data.chunks(4).map(|pixel| pixel[0] > 127).collect()
                })
                .into();
            assert_eq!(shapes.len(), all.len());
        }
    }

    #[test]
    fn the_menu_leads_to_the_failing_line() {
        let which = Which { connection: "local".into(), deployment: "d1".into() };
        let route = "/deployments/d1?seq=9".to_owned();
        let entry = crate::watch::outlook::Entry {
            which: which.clone(),
            label: "Bay_1".into(),
            route: route.clone(),
        };
        let (mut item, mut chosen) = item(View { failures: vec![entry], ..View::default() });
        let menu = item.menu();
        let failure = menu.iter().find_map(|entry| match entry {
            MenuItem::Standard(entry) if entry.label == "Bay__1" => Some(entry),
            _ => None,
        });
        (failure.unwrap().activate)(&mut item);
        assert_eq!(chosen.try_recv().unwrap(), Choice::Deployment { which, route });
    }
}
