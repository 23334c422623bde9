//! System packages: which of them a command needs, which are missing, and getting them through apt.
//!
//! Only Debian and Ubuntu (and what calls itself like them) are served. Elsewhere the command goes on, and says which
//! programs it expects to find. Nothing is installed that is not named first, with the reason.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::job::{Job, find};
use crate::say;

/// Why packages are wanted. Each is asked for only by the commands that use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Compiling anything in the workspace (SQLite and zstd are C).
    Compiler,
    /// Building the desktop app.
    DesktopBuild,
    /// Showing a window where there is no display, and handling it.
    VirtualDisplay,
    /// Driving the app's webview.
    DesktopTests,
    /// Driving the UI in a browser.
    BrowserTests,
    /// Installing for real in the stories under `tests/`.
    Stories,
    /// Ordering certificates from a real ACME server in tests.
    PublicAuthority,
    /// Checking shell scripts.
    Scripts,
    /// A clean Debian root to try a package in.
    CleanRoot,
}

impl Need {
    fn why(self) -> &'static str {
        match self {
            Self::Compiler => "compile Rust crates with C parts",
            Self::DesktopBuild => "build the desktop app (WebKitGTK)",
            Self::VirtualDisplay => "show a window without a screen",
            Self::DesktopTests => "drive the app's webview",
            Self::BrowserTests => "drive the UI in a browser",
            Self::Stories => {
                "run real installers, a real database, a keyring and consoles of their own in tests"
            }
            Self::PublicAuthority => "order certificates from a real authority in tests",
            Self::Scripts => "check shell scripts",
            Self::CleanRoot => "try the package in a clean Debian",
        }
    }

    fn packages(self, system: &System) -> &'static [&'static str] {
        match self {
            Self::Compiler => &["gcc", "libc6-dev", "make", "pkg-config"],
            Self::DesktopBuild => &["libwebkit2gtk-4.1-dev", "libdbus-1-dev"],
            Self::VirtualDisplay => &["xvfb", "openbox", "dbus", "imagemagick", "xdotool"],
            Self::DesktopTests => &["webkit2gtk-driver"],
            // Ubuntu's `chromium` is a snap, which runs neither in a container nor as root: see `browser`.
            Self::BrowserTests if system.is_ubuntu => &[],
            Self::BrowserTests => &["chromium"],
            Self::Stories => &[
                "python3",
                "python3-pip",
                "postgresql",
                "debootstrap",
                "systemd-container",
                "iproute2",
                "sslscan",
                "curl",
                "dbus",
                "gnome-keyring",
            ],
            // Tests that want it are skipped where it is not.
            Self::PublicAuthority if system.is_ubuntu => &[],
            Self::PublicAuthority => &["pebble"],
            Self::Scripts => &["shellcheck"],
            Self::CleanRoot => &["debootstrap"],
        }
    }
}

/// How far we may go without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    Given,
    Ask,
}

impl Consent {
    /// `--yes`, or nobody there to ask.
    pub(crate) fn new(yes: bool) -> Self {
        if yes || !std::io::stdin().is_terminal() { Self::Given } else { Self::Ask }
    }
}

/// Installs what is missing for `needs`.
pub(crate) fn ensure(needs: &[Need], consent: Consent) -> Result<()> {
    let Some(system) = System::detect() else {
        say::info(
            "this is neither Debian nor Ubuntu: packages are not installed; missing programs will be named when needed",
        );
        return Ok(());
    };
    let mut missing = BTreeSet::new();
    let mut reasons = vec![];
    for need in needs {
        let of_need: Vec<_> = need
            .packages(&system)
            .iter()
            .copied()
            .filter(|package| !system.is_installed(package))
            .collect();
        if !of_need.is_empty() {
            reasons.push(format!("{:<44} to {}", of_need.join(" "), need.why()));
            missing.extend(of_need);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    say::step(format!(
        "{} missing: {}",
        system.name,
        count(missing.len(), "system package is", "system packages are")
    ));
    for reason in reasons {
        say::info(reason);
    }
    let packages: Vec<_> = missing.into_iter().collect();
    install(&packages, consent)
}

fn install(packages: &[&str], consent: Consent) -> Result<()> {
    let by_hand = format!("sudo apt-get install --no-install-recommends {}", packages.join(" "));
    let as_root = rustix::process::geteuid().is_root();
    if !as_root && find("sudo").is_none() {
        bail!(
            "cannot install system packages: neither root nor sudo is at hand; run `{by_hand}` as root, then try again"
        );
    }
    if consent == Consent::Ask && !confirmed(&format!("Install with `{by_hand}`?"))? {
        bail!("not installed, as you asked; when you want to go on: `{by_hand}`");
    }
    let apt = |args: &[&str]| {
        // A lock held by an unattended upgrade is waited for.
        let common = ["--yes", "--quiet", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"];
        let job = if as_root {
            Job::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive")
        } else if std::io::stdin().is_terminal() {
            Job::new("sudo").args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        } else {
            Job::new("sudo").args([
                "--non-interactive",
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
            ])
        };
        job.args(common).args(args.iter().copied())
    };
    let install = apt(&[&["install", "--no-install-recommends"], packages].concat());
    // Indexes may be absent (a fresh container) or point at versions that are gone: refresh, but only when needed.
    if !has_indexes() {
        say::info("reading the package indexes (apt-get update)");
        apt(&["update"])
            .run()
            .context("the package indexes could not be read; is the network there?")?;
        install.run()
    } else {
        install.run().or_else(|_| {
            say::info("that did not work; reading the package indexes once more (apt-get update)");
            apt(&["update"]).run()?;
            install.run()
        })
    }
    .with_context(|| format!("system packages could not be installed; try `{by_hand}` by hand"))
}

fn has_indexes() -> bool {
    std::fs::read_dir("/var/lib/apt/lists")
        .is_ok_and(|mut dir| dir.any(|entry| entry.is_ok_and(|entry| is_index(&entry.path()))))
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("_Packages"))
}

fn confirmed(question: &str) -> Result<bool> {
    eprint!("{question} [Y/n] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}

fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("{n} {one}") } else { format!("{n} {many}") }
}

/// The running Debian or Ubuntu, and what it has installed.
#[derive(Debug)]
struct System {
    name: String,
    is_ubuntu: bool,
    installed: BTreeSet<String>,
}

impl System {
    fn detect() -> Option<Self> {
        let release = std::fs::read_to_string("/etc/os-release").ok()?;
        let (name, is_ubuntu) = recognised(&release)?;
        // Names of installed packages and of what they provide ("awk"), one a line.
        let listed = Job::new("dpkg-query")
            .args(["--show", "--showformat", "${db:Status-Status}\t${Package}\t${Provides}\n"])
            .read()
            .ok()?;
        Some(Self { name, is_ubuntu, installed: installed_names(&listed) })
    }

    fn is_installed(&self, package: &str) -> bool {
        self.installed.contains(package)
    }
}

fn recognised(os_release: &str) -> Option<(String, bool)> {
    let field = |key: &str| {
        let value =
            os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    };
    let ids = format!("{} {}", field("ID")?, field("ID_LIKE").unwrap_or_default());
    let has = |id| ids.split_whitespace().any(|word| word == id);
    (has("debian") || has("ubuntu"))
        .then(|| (field("PRETTY_NAME").unwrap_or(ids.clone()), has("ubuntu")))
}

fn installed_names(listed: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in listed.lines() {
        let mut fields = line.split('\t');
        if fields.next() != Some("installed") {
            continue;
        }
        names.extend(fields.next().map(str::to_owned));
        let provides = fields.next().unwrap_or_default().split(',');
        names.extend(
            provides.filter_map(|entry| entry.split_whitespace().next()).map(str::to_owned),
        );
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_ubuntu_and_their_children_are_recognised() {
        assert_eq!(
            recognised("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n"),
            Some(("Debian GNU/Linux 12 (bookworm)".into(), false))
        );
        assert_eq!(
            recognised("ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME=\"U\"\n"),
            Some(("U".into(), true))
        );
        assert_eq!(
            recognised("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n").map(|(_, ubuntu)| ubuntu),
            Some(true)
        );
        assert_eq!(recognised("ID=fedora\nID_LIKE=\"rhel centos\"\n"), None);
        assert_eq!(recognised(""), None);
    }

    #[test]
    fn removed_packages_are_missing_and_provided_ones_are_there() {
        let names = installed_names(
            "installed\tmawk\tawk\nconfig-files\tdunst\t\ninstalled\tx\ta (= 1), b\n",
        );
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["a", "awk", "b", "mawk", "x"]
        );
    }
}
