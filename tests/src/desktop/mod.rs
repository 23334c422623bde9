//! A desktop for one story or measurement: a display, a window manager, a session bus with the desktop's services, the driver.
//!
//! All of it is the story's own and ends with it, so stories neither see each other nor the machine's own desktop.

pub mod bus;
mod picture;
pub mod probe;
pub mod webdriver;

use crate::programs;
use anyhow::{Context as _, Result, bail, ensure};
use bus::Bus;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use webdriver::Page;

/// A deadline that only a hang reaches.
pub const LONG: Duration = Duration::from_secs(60);

/// A session bus that starts nothing by itself: what is on it, the story put there.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"#;

/// A child that ends with its owner.
#[derive(Debug)]
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a condition, for [`LONG`] at most; the error says `what`.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let end = tokio::time::Instant::now() + LONG;
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if tokio::time::Instant::now() >= end {
            bail!("waited {LONG:?} for this, in vain: {what}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(Debug)]
pub struct Session {
    pub bus: Bus,
    pub data: TempDir,
    display: String,
    bus_address: String,
    // In the order in which they end.
    _driver: Option<Owned>,
    _manager: Owned,
    _bus: Owned,
    _display: Owned,
}

impl Session {
    pub async fn start() -> Result<Session> {
        let (display_server, number) =
            saying(Command::new("Xvfb").args(["-displayfd", "1", "-nolisten", "tcp"]).args([
                "-screen",
                "0",
                "1400x900x24",
            ]))?;
        let display = format!(":{number}");
        let data = tempfile::tempdir()?;
        let bus_config = data.path().join("bus.conf");
        std::fs::write(&bus_config, BUS)?;
        let mut bus_daemon = Command::new("dbus-daemon");
        bus_daemon.args(["--nofork", "--nopidfile", "--print-address=1", "--config-file"]);
        let (bus_daemon, bus_address) = saying(bus_daemon.arg(&bus_config))?;
        let manager = Command::new("openbox")
            .env("DISPLAY", &display)
            .env("DBUS_SESSION_BUS_ADDRESS", &bus_address)
            .stderr(Stdio::null())
            .spawn()
            .context("openbox cannot be started; install it")?;
        Ok(Session {
            bus: Bus::serve(&bus_address).await?,
            data,
            display,
            bus_address,
            _driver: None,
            _manager: Owned(manager),
            _bus: bus_daemon,
            _display: display_server,
        })
    }

    /// The app's program.
    pub fn app() -> Result<PathBuf> {
        let beside = || {
            let agent = programs::agent().ok()?;
            Some(agent.parent()?.join("deckport-control-center"))
        };
        let app = std::env::var_os("DECKPORT_APP_BIN").map(PathBuf::from).or_else(beside);
        let app = app.context("where is the app? set DECKPORT_APP_BIN")?;
        ensure!(
            app.is_file(),
            "{} is missing; build it: cargo build -p deckport-control-center",
            app.display()
        );
        Ok(app)
    }

    /// Arguments of every start: the story's own data, and consoles at `listen`, where plain HTTP is spoken too for who looks in from outside.
    pub fn arguments(&self, listen: SocketAddr) -> Vec<String> {
        let listen = vec!["--listen".into(), listen.to_string(), "--plain-http".into()];
        [self.own_data(), listen].concat()
    }

    /// What goes on in a story is nothing to the machine's network.
    fn own_data(&self) -> Vec<String> {
        let data = self.data.path().to_string_lossy().into_owned();
        vec!["--no-multicast".into(), "--data".into(), data]
    }

    /// A program on this desktop.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env("DISPLAY", &self.display)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus_address)
            .env("NO_AT_BRIDGE", "1")
            .env("LIBGL_ALWAYS_SOFTWARE", "1")
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("DECKPORT_DATA_DIR")
            .env_remove("DECKPORT_LISTEN");
        command
    }

    /// Starts the app under the driver, which then can see into its page.
    pub async fn open(&mut self, listen: SocketAddr) -> Result<Page> {
        self.open_with(self.arguments(listen)).await
    }

    /// The same, with consoles where the preferences say.
    pub async fn open_as_chosen(&mut self) -> Result<Page> {
        self.open_with(self.own_data()).await
    }

    async fn open_with(&mut self, arguments: Vec<String>) -> Result<Page> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let driver = self
            .command("WebKitWebDriver")
            .arg(format!("--port={port}"))
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("WebKitWebDriver cannot be started; install webkit2gtk-driver")?;
        self._driver = Some(Owned(driver));
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        until("the driver listens", async || std::net::TcpStream::connect(address).ok()).await?;
        Page::open(address, &Self::app()?, &arguments).await
    }

    /// Starts the app without a driver.
    pub fn start_app(&self, listen: SocketAddr, more: &[&str]) -> Result<Owned> {
        let app = Self::app()?;
        let child = self
            .command(&app)
            .args(self.arguments(listen))
            .args(more)
            .stderr(Stdio::null())
            .spawn();
        Ok(Owned(child.with_context(|| format!("{} cannot be started", app.display()))?))
    }

    /// The app's own log of this story.
    pub fn log(&self) -> String {
        let Ok(entries) = std::fs::read_dir(self.data.path().join("logs")) else {
            return String::new();
        };
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        files.filter_map(|file| std::fs::read_to_string(file).ok()).collect()
    }

    /// Where consoles reach the collector in the app.
    pub async fn collector(&self) -> Result<String> {
        let found = until("the app's collector listens", async || {
            let log = self.log();
            let at = log.rfind("listen=\"https://")?;
            log[at + 8..].split('"').next().map(str::to_owned)
        });
        found.await.with_context(|| format!("the app's log:\n{}", self.log()))
    }

    /// The token of the collector in the app.
    pub fn token_file(&self) -> PathBuf {
        self.data.path().join("collector/token")
    }

    /// The process that holds the app's page.
    pub fn web_process(&self) -> Result<u32> {
        let ours = format!("DBUS_SESSION_BUS_ADDRESS={}", self.bus_address);
        let is_ours = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            name.starts_with("WebKitWebProces")
                && environment.split(|&byte| byte == 0).any(|one| one == ours.as_bytes())
        };
        std::fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .find(is_ours)
            .context("the app's web process is not running")
    }

    /// Presses keys in the window that has the focus.
    pub fn keys(&self, keys: &str) -> Result<()> {
        self.xdotool(&["key", "--clearmodifiers", keys]).map(drop)
    }

    /// The visible window whose title contains `title`.
    pub fn window(&self, title: &str) -> Option<String> {
        let found = self.xdotool(&["search", "--onlyvisible", "--name", title]).ok()?;
        found.lines().next().map(str::to_owned)
    }

    /// Gives a window the focus.
    pub fn focus(&self, window: &str) -> Result<()> {
        self.xdotool(&["windowactivate", "--sync", window]).map(drop)
    }

    fn xdotool(&self, arguments: &[&str]) -> Result<String> {
        let done = self
            .command("xdotool")
            .args(arguments)
            .output()
            .context("xdotool cannot be started")?;
        ensure!(
            done.status.success(),
            "xdotool {arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Keeps a picture of the screen where `DECKPORT_SCREENSHOTS` says, for a person to look at.
    pub fn picture(&self, name: &str) -> Result<()> {
        if let Some(folder) = std::env::var_os("DECKPORT_SCREENSHOTS") {
            let path = Path::new(&folder).join(format!("desktop-{name}.png"));
            let taken = self.command("import").args(["-window", "root"]).arg(&path).status()?;
            ensure!(taken.success(), "import (ImageMagick) could not take a picture");
        }
        Ok(())
    }
}

/// Starts a server that says one line when it is ready.
fn saying(command: &mut Command) -> Result<(Owned, String)> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child =
        Owned(child.with_context(|| format!("{program} cannot be started; install it"))?);
    let mut line = String::new();
    let said = child.0.stdout.take().context("no output")?;
    BufReader::new(said).read_line(&mut line)?;
    ensure!(!line.trim().is_empty(), "{program} ended at once");
    Ok((child, line.trim().to_owned()))
}
