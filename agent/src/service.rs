//! The agent as a service of the machine: started at boot by systemd, hardened as far as its job allows.
//!
//! The daemon itself needs little: its state, the network, and to read what the machine is. What it *starts* (a deployment) must be
//! free to change the machine, so deployments run in a transient unit of their own, not inside the daemon's.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

const UNIT: &str = "deckport-agent.service";
const UNIT_TEXT: &str = include_str!("deckport-agent.service");

/// Where things are, beneath a root that tests set.
#[derive(Clone, Debug)]
pub struct Places {
    pub root: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Places {
    fn unit(&self) -> PathBuf {
        self.root.join("etc/systemd/system").join(UNIT)
    }

    fn wanted(&self) -> PathBuf {
        self.root.join("etc/systemd/system/multi-user.target.wants").join(UNIT)
    }

    /// Whether systemd runs this machine now.
    fn systemd_runs(&self) -> bool {
        self.root.join("run/systemd/system").is_dir()
    }

    /// Whether systemd will run it: a root that is not booted yet has it installed.
    fn systemd_is_there(&self) -> bool {
        self.systemd_runs()
            || ["lib/systemd/systemd", "usr/lib/systemd/systemd"]
                .iter()
                .any(|path| self.root.join(path).exists())
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It runs, and will after each boot.
    Running,
    /// It will run after the next boot.
    AtBoot,
    /// There is no systemd here.
    No,
}

/// Makes the daemon a service, for a program at `program`. Doing it again changes nothing but what is new.
pub fn install(places: &Places, program: &Path) -> Result<Installed> {
    if !places.systemd_is_there() {
        return Ok(Installed::No);
    }
    let program = program.to_str().context("the program's path is no text")?;
    if program.contains(['"', '\\', '%', '\n']) {
        bail!("systemd cannot start a program at {program}");
    }
    let text = UNIT_TEXT.replace("@PROGRAM@", program);
    write(&places.unit(), &text)?;
    let wanted = places.wanted();
    if let Some(dir) = wanted.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match std::os::unix::fs::symlink(Path::new("/etc/systemd/system").join(UNIT), &wanted) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("could not make {}", wanted.display()));
        }
        _ => {}
    }
    if !places.systemd_runs() {
        return Ok(Installed::AtBoot);
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["restart", UNIT])?;
    Ok(Installed::Running)
}

/// The service is gone afterwards; true where there was one.
pub fn uninstall(places: &Places) -> Result<bool> {
    let there = places.unit().exists();
    if there && places.systemd_runs() {
        systemctl(&["stop", UNIT])?;
    }
    for path in [places.wanted(), places.unit()] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("could not remove {}", path.display()));
            }
            _ => {}
        }
    }
    if there && places.systemd_runs() {
        systemctl(&["daemon-reload"])?;
    }
    Ok(there)
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let status: ExitStatus =
        Command::new("systemctl").args(arguments).status().context("could not run systemctl")?;
    if !status.success() {
        bail!("`systemctl {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_not_booted_starts_it_at_boot() {
        let root = tempfile::tempdir().unwrap();
        let places = Places { root: root.path().to_owned() };
        let program = Path::new("/usr/local/bin/deckport-agent");
        assert_eq!(install(&places, program).unwrap(), Installed::No);
        std::fs::create_dir_all(root.path().join("usr/lib/systemd")).unwrap();
        std::fs::write(root.path().join("usr/lib/systemd/systemd"), "").unwrap();
        for _ in 0..2 {
            assert_eq!(install(&places, program).unwrap(), Installed::AtBoot);
        }
        let unit = std::fs::read_to_string(places.unit()).unwrap();
        assert!(unit.contains("ExecStart=/usr/local/bin/deckport-agent serve\n"), "{unit}");
        assert!(places.wanted().symlink_metadata().unwrap().is_symlink());
        assert!(uninstall(&places).unwrap());
        assert!(!places.unit().exists() && places.wanted().symlink_metadata().is_err());
        assert!(!uninstall(&places).unwrap());
    }
}
