//! The desktop's side of the session bus: a notification service and a tray, with a memory.
//!
//! Both are real D-Bus services; what the app sends them is what it would send any desktop. The test reads what
//! stands, presses buttons, and reads the tray item's own properties and menu.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{OwnedValue, Value};
use zbus::{Connection, Proxy, connection, interface};

const NOTIFICATIONS: &str = "/org/freedesktop/Notifications";

/// A notice as the app sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub title: String,
    pub body: String,
    /// Key and label of each button.
    pub actions: Vec<(String, String)>,
    pub urgency: u8,
    /// How often it was replaced in place.
    pub replaced: u32,
}

#[derive(Debug, Default)]
struct Memory {
    next: u32,
    standing: BTreeMap<u32, Notice>,
    items: Vec<String>,
}

type Shared = Arc<Mutex<Memory>>;

fn lock(memory: &Shared) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Notifications(Shared);

#[interface(name = "org.freedesktop.Notifications")]
impl Notifications {
    fn get_capabilities(&self) -> Vec<String> {
        ["body", "body-markup", "actions", "persistence"].map(str::to_owned).to_vec()
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        ("the test's desktop".into(), "deckport".into(), "1".into(), "1.2".into())
    }

    #[expect(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "the specification's method"
    )]
    fn notify(
        &self,
        _app_name: String,
        replaces_id: u32,
        _app_icon: String,
        summary: String,
        body: String,
        actions: Vec<String>,
        hints: HashMap<String, OwnedValue>,
        _expire_timeout: i32,
    ) -> u32 {
        let mut memory = lock(&self.0);
        let earlier = memory.standing.get(&replaces_id).map(|earlier| earlier.replaced);
        let id = if earlier.is_some() {
            replaces_id
        } else {
            memory.next += 1;
            memory.next
        };
        let urgency = hints.get("urgency").and_then(|value| u8::try_from(value).ok()).unwrap_or(1);
        let actions = actions
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair.get(1).cloned().unwrap_or_default()));
        let replaced = earlier.map_or(0, |replaced| replaced + 1);
        let notice = Notice { title: summary, body, actions: actions.collect(), urgency, replaced };
        memory.standing.insert(id, notice);
        id
    }

    async fn close_notification(
        &self,
        id: u32,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) {
        if lock(&self.0).standing.remove(&id).is_some() {
            // The app may be gone already.
            let _ = Self::notification_closed(&emitter, id, 3).await;
        }
    }

    #[zbus(signal)]
    async fn action_invoked(
        emitter: &SignalEmitter<'_>,
        id: u32,
        action_key: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn notification_closed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        reason: u32,
    ) -> zbus::Result<()>;
}

struct Watcher(Shared);

#[interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    async fn register_status_notifier_item(
        &self,
        service: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<()> {
        lock(&self.0).items.push(service.to_owned());
        Ok(Self::status_notifier_item_registered(&emitter, service).await?)
    }

    fn register_status_notifier_host(&self, _service: &str) {}

    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        lock(&self.0).items.clone()
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }

    #[zbus(signal)]
    async fn status_notifier_item_registered(
        emitter: &SignalEmitter<'_>,
        service: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn status_notifier_host_registered(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;
}

/// The desktop's services on one bus.
#[derive(Debug)]
pub struct Bus {
    connection: Connection,
    memory: Shared,
}

impl Bus {
    pub async fn serve(address: &str) -> Result<Bus> {
        let memory = Shared::default();
        let connection = connection::Builder::address(address)?
            .serve_at(NOTIFICATIONS, Notifications(memory.clone()))?
            .serve_at("/StatusNotifierWatcher", Watcher(memory.clone()))?
            .name("org.freedesktop.Notifications")?
            .name("org.kde.StatusNotifierWatcher")?
            .build()
            .await
            .context("the desktop's services cannot be on the bus")?;
        Ok(Bus { connection, memory })
    }

    /// The notices that stand, with their ids.
    pub fn notices(&self) -> Vec<(u32, Notice)> {
        lock(&self.memory).standing.iter().map(|(id, notice)| (*id, notice.clone())).collect()
    }

    /// The notice whose title contains `words`.
    pub fn notice(&self, words: &str) -> Option<(u32, Notice)> {
        self.notices().into_iter().find(|(_, notice)| notice.title.contains(words))
    }

    /// The operator presses a button of a notice; the desktop then closes it.
    pub async fn press(&self, id: u32, action: &str) -> Result<()> {
        let server =
            self.connection.object_server().interface::<_, Notifications>(NOTIFICATIONS).await?;
        let emitter = server.signal_emitter();
        Notifications::action_invoked(emitter, id, action).await?;
        lock(&self.memory).standing.remove(&id);
        Notifications::notification_closed(emitter, id, 2).await?;
        Ok(())
    }

    fn item(&self) -> Option<String> {
        lock(&self.memory).items.last().cloned()
    }

    /// The tray as it stands; `None` before the app has put its item there.
    pub async fn tray(&self) -> Option<Tray> {
        let item = Proxy::new(
            &self.connection,
            self.item()?,
            "/StatusNotifierItem",
            "org.kde.StatusNotifierItem",
        );
        let item = item.await.ok()?;
        // Properties change behind the cache's back: ask each time.
        let properties = Proxy::new(
            &self.connection,
            item.destination().to_owned(),
            "/StatusNotifierItem",
            "org.freedesktop.DBus.Properties",
        )
        .await
        .ok()?;
        let get = async |name: &str| -> Option<OwnedValue> {
            properties.call("Get", &("org.kde.StatusNotifierItem", name)).await.ok()
        };
        let text = |value: OwnedValue| String::try_from(value).ok();
        let icons: Vec<(i32, i32, Vec<u8>)> = get("IconPixmap").await?.try_into().ok()?;
        Some(Tray {
            title: get("Title").await.and_then(text)?,
            status: get("Status").await.and_then(text)?,
            icon: icons.into_iter().max_by_key(|(width, ..)| *width)?.2,
        })
    }

    /// The entries of the tray's menu, with their ids, submenus included.
    pub async fn menu(&self) -> Result<Vec<(i32, String)>> {
        type Layout = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);
        let menu = self.menu_proxy().await?;
        let (_, root): (u32, Layout) =
            menu.call("GetLayout", &(0i32, -1i32, Vec::<String>::new())).await?;
        let mut entries = Vec::new();
        let mut rest = vec![root];
        while let Some((id, properties, children)) = rest.pop() {
            if let Some(label) =
                properties.get("label").and_then(|label| label.downcast_ref::<String>().ok())
            {
                entries.push((id, label.replace("__", "_")));
            }
            for child in children.into_iter().rev() {
                rest.push(Layout::try_from(child).context("a menu entry of another form")?);
            }
        }
        Ok(entries)
    }

    /// Chooses the entry of the tray's menu that contains `words`.
    pub async fn choose(&self, words: &str) -> Result<()> {
        let entries = self.menu().await?;
        let (id, _) = entries
            .iter()
            .find(|(_, label)| label.contains(words))
            .with_context(|| format!("no `{words}` in the menu: {entries:?}"))?;
        let menu = self.menu_proxy().await?;
        let _: () = menu.call("Event", &(*id, "clicked", Value::from(0i32), 0u32)).await?;
        Ok(())
    }

    async fn menu_proxy(&self) -> Result<Proxy<'static>> {
        let item = self.item().context("there is no tray item yet")?;
        Ok(Proxy::new(&self.connection, item, "/MenuBar", "com.canonical.dbusmenu").await?)
    }
}

/// What a desktop would show of the tray item.
#[derive(Debug, Clone, PartialEq)]
pub struct Tray {
    pub title: String,
    pub status: String,
    /// Alpha, red, green, blue of each pixel of the largest picture.
    pub icon: Vec<u8>,
}

impl Tray {
    /// Which of the committed pictures it shows.
    pub fn state(&self) -> &'static str {
        let states = ["idle", "running", "attention", "offline", "failed"];
        let shape = |pixels: &[u8], alpha: usize| -> Vec<bool> {
            pixels.chunks(4).map(|pixel| pixel[alpha] > 127).collect()
        };
        let shown = shape(&self.icon, 0);
        let icons = crate::programs::root().join("icons/tray");
        let is = |state: &&str| {
            let picture = super::picture::rgba(&icons.join(format!("{state}-dark-48.png")));
            picture.is_ok_and(|pixels| shape(&pixels, 3) == shown)
        };
        states.into_iter().find(is).unwrap_or("of no committed picture")
    }
}
