//! Other machines, as far as a console notices: a root of its own, a network namespace of its own.
//!
//! Needs to be root. Roots of Debian are made once by debootstrap under `target/roots` and never changed: each machine gets a
//! layer of its own on top. What a machine mounts goes with its processes' mount namespace.

use crate::agent::Call;
use crate::programs;
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;

/// Runs a program to its end; its words when it fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("could not run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` ended with {}: {said}", arguments.join(" "), output.status);
    }
    Ok(output)
}

/// Two network namespaces and a link between them. The desk's end is `10.77.N.1`, the console's `10.77.N.2`.
#[derive(Debug)]
pub struct Venue {
    number: u8,
    desk: String,
    console: String,
}

impl Venue {
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        // Other tests' processes make some too.
        let number = (std::process::id() as u8)
            .wrapping_mul(7)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let name = |what: &str| format!("dp{what}{}-{number}", std::process::id());
        let venue = Self { number, desk: name("d"), console: name("c") };
        let (desk, console) = (venue.desk.as_str(), venue.console.as_str());
        run("ip", &["netns", "add", desk])?;
        run("ip", &["netns", "add", console])?;
        run(
            "ip",
            &[
                "-n", desk, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns",
                console,
            ],
        )?;
        for (netns, link, address) in [
            (desk, "lan", format!("{}/24", venue.desk_ip())),
            (console, "eth0", format!("10.77.{number}.2/24")),
        ] {
            run("ip", &["-n", netns, "addr", "add", &address, "dev", link])?;
            run("ip", &["-n", netns, "link", "set", link, "up"])?;
            run("ip", &["-n", netns, "link", "set", "lo", "up"])?;
        }
        Ok(venue)
    }

    pub fn desk_ip(&self) -> String {
        format!("10.77.{}.1", self.number)
    }

    /// The console's namespace, as a path.
    pub fn console_netns(&self) -> String {
        format!("/run/netns/{}", self.console)
    }

    /// A command at the desk.
    pub fn at_desk(&self, program: &Path) -> Call {
        Self::inside(&self.desk, program)
    }

    /// A command of this machine's in the console's network.
    pub fn in_consoles_network(&self, program: &Path) -> Call {
        Self::inside(&self.console, program)
    }

    fn inside(netns: &str, program: &Path) -> Call {
        let mut call = Call::new("ip");
        call.arguments = ["netns", "exec", netns].map(Into::into).to_vec();
        call.arguments.push(program.into());
        call
    }

    /// A line for bash in the console's root. Its terminal, if any, is the caller's.
    pub fn at_console(&self, root: &Root, line: &str) -> Call {
        // The mounts are the command's own.
        let enter = "set -e; mount -t proc proc \"$1/proc\"; mount --rbind /dev \"$1/dev\"; \
             exec chroot \"$1\" /usr/bin/env -i HOME=/root TERM=xterm \
             PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c \"$2\"";
        let mut call = Call::new("ip");
        let console = self.console.as_str();
        let words = ["netns", "exec", console, "unshare", "--mount", "--propagation", "private"];
        call.arguments = words.map(Into::into).to_vec();
        call.arguments.extend(["bash", "-c", enter, "enter"].map(Into::into));
        call.arguments.push(root.path().into());
        call.arguments.push(line.into());
        call
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        for netns in [&self.desk, &self.console] {
            let _ = run("ip", &["netns", "del", netns]);
        }
    }
}

/// The root of a machine; gone when dropped.
#[derive(Debug)]
pub struct Root {
    dir: TempDir,
    layered: bool,
}

impl Root {
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A root with bash, curl and coreutils, and what they need to run; nothing else.
    pub fn smallest() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("deckport-root-").tempdir()?;
        let root = Self { dir, layered: false };
        let at = |path: &str| root.path().join(path);
        for dir in ["proc", "dev", "etc", "root", "tmp", "usr/bin", "usr/local/bin", "var/lib"] {
            std::fs::create_dir_all(at(dir))?;
        }
        for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            std::os::unix::fs::symlink(target, at(link))?;
        }
        let listed = run("dpkg", &["-L", "coreutils"])?;
        let listed = String::from_utf8(listed.stdout)?;
        let programs = listed.lines().filter(|path| path.contains("/bin/")).map(str::to_owned);
        for program in programs.chain(["/bin/bash".to_owned(), "/usr/bin/curl".to_owned()]) {
            let program = PathBuf::from(program);
            let Some(name) = program.file_name() else { continue };
            if program.is_file() {
                std::fs::copy(&program, at("usr/bin").join(name))?;
            }
            let needed = Command::new("ldd").arg(&program).output()?;
            for library in String::from_utf8_lossy(&needed.stdout).split_whitespace() {
                if library.starts_with('/') && Path::new(library).is_file() {
                    let place = library.strip_prefix("/usr").unwrap_or(library);
                    let place = at(&format!("usr{place}"));
                    std::fs::create_dir_all(place.parent().context("a library is in a folder")?)?;
                    std::fs::copy(library, place)?;
                }
            }
        }
        Ok(root)
    }

    /// A clean root of a Debian release with systemd and curl.
    pub fn debian(release: &str) -> Result<Self> {
        let roots = programs::root().join("target/roots");
        std::fs::create_dir_all(&roots)?;
        let base = roots.join(release);
        // Tests run side by side: one of them makes it.
        let lock = File::create(roots.join(format!("{release}.lock")))?;
        lock.lock()?;
        if !base.is_dir() {
            let new = roots.join(format!("{release}.new"));
            if new.exists() {
                std::fs::remove_dir_all(&new)?;
            }
            let path = new.to_str().context("the path is no text")?;
            run(
                "debootstrap",
                &["--variant=minbase", "--include=curl,systemd,systemd-sysv,dbus", release, path],
            )?;
            std::fs::rename(&new, &base)?;
        }
        drop(lock);
        let dir = tempfile::Builder::new().prefix("deckport-root-").tempdir()?;
        // Overlays cannot lie on overlays everywhere: on a tmpfs they can.
        let path = dir.path().to_str().context("the path is no text")?.to_owned();
        run("mount", &["-t", "tmpfs", "-o", "size=512m,mode=0755", "deckport-root", &path])?;
        let root = Self { dir, layered: true };
        for name in ["root", "upper", "work"] {
            std::fs::create_dir(Path::new(&path).join(name))?;
        }
        std::fs::set_permissions(
            Path::new(&path).join("upper"),
            std::fs::Permissions::from_mode(0o755),
        )?;
        let base = base.canonicalize()?;
        let options =
            format!("lowerdir={},upperdir={path}/upper,workdir={path}/work", base.display());
        run("mount", &["-t", "overlay", "-o", &options, "overlay", &format!("{path}/root")])?;
        Ok(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.layered {
            let path = self.dir.path().to_string_lossy().into_owned();
            let _ = run("umount", &["--lazy", &format!("{path}/root")]);
            let _ = run("umount", &["--lazy", &path]);
        }
    }
}

/// Whether machines can be made here; says what is missing.
pub fn can_be_made() -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("left out: machines of their own need root");
        return false;
    }
    ["ip", "unshare", "debootstrap", "systemd-nspawn", "curl"]
        .iter()
        .all(|name| programs::installed(name))
}
