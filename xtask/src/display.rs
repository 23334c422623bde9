//! A screen that nobody sees: Xvfb with a window manager, and a D-Bus session in front of what runs there.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::job::{Job, Running};
use crate::{places, wait};

/// Xvfb and openbox; both end when this is dropped.
#[derive(Debug)]
pub(crate) struct Display {
    name: String,
    // Dropped in this order.
    _window_manager: Running,
    _server: Running,
}

impl Display {
    /// Starts a server on the first free display number, and a window manager on it.
    pub(crate) fn start(width: u32, height: u32) -> Result<Self> {
        let dir = places::own("display")?;
        let number = dir.join(format!("number-{}", std::process::id()));
        std::fs::write(&number, "").context("cannot prepare a display")?;
        // The server writes the number that it took to descriptor 3 when it is ready.
        let script =
            format!("exec Xvfb -displayfd 3 -screen 0 {width}x{height}x24 -nolisten tcp 3>\"$0\"");
        let server = Job::new("sh")
            .args(["-c", &script])
            .arg(number.clone())
            .start(&dir.join("xvfb.log"))
            .context("no Xvfb")?;
        let name = wait::until(
            "Xvfb's start",
            Duration::from_secs(30),
            Duration::from_millis(20),
            || {
                let text = std::fs::read_to_string(&number)?;
                Ok(text.ends_with('\n').then(|| format!(":{}", text.trim())))
            },
        )?;
        let _ = std::fs::remove_file(&number);
        let window_manager = Job::new("openbox")
            .env("DISPLAY", name.clone())
            .start(&dir.join("openbox.log"))
            .context("no openbox")?;
        Ok(Self { name, _window_manager: window_manager, _server: server })
    }

    /// `job` on this display, with a D-Bus session of its own. Software rendering, as there is no GPU behind it.
    pub(crate) fn with_session(&self, job: Vec<std::ffi::OsString>) -> Job {
        self.on(Job::new("dbus-run-session").arg("--").args(job))
    }

    /// `job` on this display.
    pub(crate) fn on(&self, job: Job) -> Job {
        job.env("DISPLAY", self.name.clone())
            .env("WAYLAND_DISPLAY", "")
            .env("GDK_BACKEND", "x11")
            .env("LIBGL_ALWAYS_SOFTWARE", "1")
            .env("WEBKIT_DISABLE_DMABUF_RENDERER", "1")
            .env("NO_AT_BRIDGE", "1")
    }
}
