//! A clean Debian root under `target/`, and programs run inside it.
//!
//! What must hold: the host stays as it is. Mounts happen in a mount namespace of each program's own, so that they go
//! with it; processes inside are told from others by their root folder.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::job::Job;
use crate::{places, say};

#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    log: PathBuf,
}

impl Root {
    /// The host's own release, smallest variant.
    pub(super) fn debootstrap() -> Result<Self> {
        let dir = places::own("bundle")?;
        let root = Self { path: dir.join("root"), log: dir.join("trial.log") };
        let _ = std::fs::remove_file(&root.log);
        if root.path.exists() {
            std::fs::remove_dir_all(&root.path)
                .with_context(|| format!("cannot empty {}", root.path.display()))?;
        }
        let codename = codename()?;
        say::step(format!("making a clean {codename} root (debootstrap, a minute or two)"));
        Job::new("debootstrap")
            .args(["--variant=minbase", &codename])
            .arg(root.path.clone())
            .log_to(&root.log)
            .with_context(|| format!("see {}", root.log.display()))?;
        for file in ["/etc/resolv.conf", "/etc/hosts"] {
            let _ = std::fs::copy(file, root.path.join(&file[1..]));
        }
        // Services must not start in here.
        let policy = root.path.join("usr/sbin/policy-rc.d");
        std::fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
        std::fs::set_permissions(&policy, std::fs::Permissions::from_mode(0o755))?;
        Ok(root)
    }

    /// Installs the package with what it depends on, and nothing else; then what every desktop has (D-Bus, a font).
    pub(super) fn install(&self, deb: &Path) -> Result<()> {
        say::step("installing the .deb with its dependencies in there (apt-get)");
        std::fs::copy(deb, self.path.join("deckport.deb"))?;
        let apt = |args: &[&str]| {
            self.run(
                &[
                    &[
                        "/usr/bin/env",
                        "DEBIAN_FRONTEND=noninteractive",
                        "apt-get",
                        "--yes",
                        "--quiet",
                    ],
                    args,
                ]
                .concat(),
            )
            .log_to(&self.log)
            .with_context(|| format!("see {}", self.log.display()))
        };
        apt(&["update"])?;
        apt(&["install", "--no-install-recommends", "/deckport.deb"])?;
        apt(&["install", "--no-install-recommends", "dbus-daemon", "fonts-dejavu-core"])?;
        self.run(&["/usr/bin/deckport-agent", "--version"]).log_to(&self.log)?;
        self.run(&["/usr/bin/deckport-collector", "--version"]).log_to(&self.log)
    }

    /// A command inside, with /proc, /dev and a process namespace of its own.
    pub(super) fn run(&self, command: &[&str]) -> Job {
        const ENTER: &str = "mount --rbind /dev \"$0/dev\" && mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
        Job::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER])
            .arg(self.path.clone())
            .args(command.iter().copied())
            .env("HOME", "/root")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("XDG_RUNTIME_DIR", "/tmp")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Ids of the processes that live in this root.
    pub(super) fn processes(&self) -> Vec<u32> {
        let Ok(proc) = std::fs::read_dir("/proc") else { return vec![] };
        proc.filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|id| {
                std::fs::read_link(format!("/proc/{id}/root")).is_ok_and(|link| link == self.path)
            })
            .collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            say::warn(format!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

fn codename() -> Result<String> {
    let release =
        std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release names no release")
}
