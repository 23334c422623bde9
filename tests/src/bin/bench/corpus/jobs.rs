//! What is run for the corpus. Four threads: two wait for registries, one unpacks and copies, one installs into a
//! root.
//!
//! Whatever cannot be run here (no root, no such tool, no such registry, no such package any more) is left out and told; the others
//! print as much as they are asked for, and more of each when the sum is too small.

use super::Source;
use super::workshop::Workshop;
use anyhow::{Context as _, Result, ensure};
use deckport_tests::Call;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Archives of many files, unpacked by dpkg. Names of several releases: those that are not there are left out.
const UNPACKED: [&str; 14] = [
    "golang-1.19-src",
    "mate-icon-theme",
    "ruby3.1-doc",
    "openclipart-svg",
    "openjdk-17-doc",
    "lxde-icon-theme",
    "libboost1.81-doc",
    "gnome-icon-theme",
    "linux-doc-6.1",
    "golang-1.24-src",
    "openjdk-21-doc",
    "ruby3.3-doc",
    "linux-doc-6.12",
    "libboost1.83-doc",
];

/// Trees of many files, unpacked by tar and copied by rsync.
const TREES: [&str; 9] = [
    "numix-icon-theme",
    "deepin-icon-theme",
    "faenza-icon-theme",
    "moka-icon-theme",
    "yaru-theme-icon",
    "breeze-icon-theme",
    "oxygen-icon-theme",
    "elementary-xfce-icon-theme",
    "papirus-icon-theme",
];

/// Packages of an archive's section in one simulated installation.
const SIMULATED: usize = 60;
const SECTIONS: [&str; 6] = ["games", "electronics", "sound", "video", "graphics", "science"];

const PIP: [&[&str]; 15] = [
    &["numpy", "lxml", "cffi", "tornado"],
    &["pandas", "cython", "psutil", "markupsafe"],
    &["scipy", "pillow", "pyyaml"],
    &["matplotlib", "aiohttp", "wrapt"],
    &["grpcio", "greenlet", "msgpack"],
    &["scikit-learn", "cryptography", "frozenlist"],
    &["pyzmq", "sqlalchemy", "multidict"],
    &["coverage", "yarl", "regex"],
    &["pydantic-core", "orjson"],
    &["rpds-py", "contourpy"],
    &["kiwisolver", "h5py", "gevent"],
    &["fonttools", "shapely", "bcrypt"],
    &["websockets", "zstandard", "simplejson"],
    &["psycopg2-binary", "asyncpg", "lz4"],
    &["protobuf", "pymongo", "uvloop"],
];

const NPM: [&[&str]; 7] = [
    &["react-scripts", "@angular/cli"],
    &["gatsby"],
    &["expo"],
    &["nx", "@storybook/react-webpack5"],
    &["serverless"],
    &["@vue/cli"],
    &["ember-cli"],
];

const CRATES: &str = "[package]
name = \"console\"
version = \"1.0.0\"
edition = \"2021\"

[dependencies]
axum = \"0.8\"
clap = { version = \"4\", features = [\"derive\"] }
regex = \"1\"
serde_json = \"1\"
tikv-jemallocator = \"0.6\"
tokio = { version = \"1\", features = [\"full\"] }
zstd = \"0.13\"
";

/// Runs what is wanted and has not run yet.
pub(super) fn run(workshop: &Workshop) -> Result<()> {
    let apt = Apt::prepare(workshop)?;
    std::thread::scope(|scope| {
        let registries = scope.spawn(|| pip(workshop).and_then(|()| cargo_and_make(workshop)));
        let more = scope.spawn(|| -> Result<()> {
            apt.as_ref().map_or(Ok(()), Apt::simulate)?;
            npm(workshop)
        });
        let trees = scope.spawn(|| apt.as_ref().map_or(Ok(()), Apt::trees));
        let root = match &apt {
            Some(apt) => in_root(workshop, apt),
            None => Ok(()),
        };
        let ended = [registries.join(), more.join(), trees.join()];
        for thread in ended {
            thread.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        root
    })
}

/// Installs into a root that is made for it.
fn in_root(workshop: &Workshop, apt: &Apt<'_>) -> Result<()> {
    let root = debootstrap(workshop)?;
    if let Some(root) = &root {
        install(workshop, root)?;
    }
    apt.unpack(root.as_deref())
}

/// `apt-get` with folders of its own, so that nothing of this machine's packages changes.
#[derive(Debug)]
struct Apt<'a> {
    workshop: &'a Workshop,
    options: Vec<String>,
    /// Section and name of all packages.
    known: Vec<(String, String)>,
}

impl<'a> Apt<'a> {
    fn prepare(workshop: &'a Workshop) -> Result<Option<Self>> {
        for part in ["apt/state/lists/partial", "apt/cache/archives/partial"] {
            workshop.folder(part)?;
        }
        let status = workshop.work("apt/status");
        File::create(&status)?;
        let (state, cache) = (workshop.work("apt/state"), workshop.work("apt/cache"));
        let options = [
            format!("Dir::State={}", state.display()),
            format!("Dir::Cache={}", cache.display()),
            format!("Dir::State::status={}", status.display()),
            "Debug::NoLocking=1".to_owned(),
            "APT::Sandbox::User=".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        let mut apt = Self { workshop, options, known: Vec::new() };
        let updated = workshop.work("apt/updated");
        let update = apt.get(&["Debug::Acquire::http"], &["update"]);
        if !workshop.job(Source::Apt, "update", &update, Some(&updated))? {
            return Ok(None);
        }
        File::create(&updated)?;
        let dump = Call::new("apt-cache").args(&apt.options).arg("dumpavail").output()?;
        let dump = String::from_utf8_lossy(&dump.stdout);
        let mut name = "";
        for line in dump.lines() {
            if let Some(package) = line.strip_prefix("Package: ") {
                name = package;
            } else if let Some(section) = line.strip_prefix("Section: ") {
                apt.known.push((section.to_owned(), name.to_owned()));
            }
        }
        apt.known.sort_unstable();
        apt.known.dedup();
        Ok(Some(apt))
    }

    fn get(&self, debug: &[&str], arguments: &[&str]) -> Call {
        let debug = debug.iter().flat_map(|name| ["-o".to_owned(), format!("{name}=1")]);
        Call::new("apt-get").args(&self.options).args(debug).args(arguments)
    }

    /// A package's archive, downloaded.
    fn archive(&self, package: &str) -> Result<Option<PathBuf>> {
        if !self.known.iter().any(|(_, name)| name == package) {
            return Ok(None);
        }
        let workshop = self.workshop;
        let folder = workshop.folder(&format!("archives/{package}"))?;
        let done = folder.join("done");
        let debug = ["Debug::Acquire::http", "Debug::pkgAcquire::Worker"];
        let call = self.get(&debug, &["download", package]).dir(&folder);
        let name = format!("download-{package}");
        if !workshop.job(Source::Apt, &name, &call, Some(&done))? {
            return Ok(None);
        }
        File::create(&done)?;
        let mut entries = std::fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(entries.find(|path| path.extension().is_some_and(|end| end == "deb")))
    }

    /// `dpkg --unpack` with its debugging of each file, in the root that there is, or in an empty one.
    fn unpack(&self, root: Option<&Path>) -> Result<()> {
        let workshop = self.workshop;
        for package in UNPACKED {
            let name = format!("unpack-{package}");
            if !workshop.wants(Source::Dpkg) {
                break;
            }
            let Some(archive) = self.archive(package)? else { continue };
            let file = archive.file_name().context("an archive's name")?;
            let call = if let Some(root) = root {
                let inside = Path::new("/var/cache/apt/archives").join(file);
                std::fs::copy(&archive, root.join(inside.strip_prefix("/")?))?;
                Call::new("chroot").arg(root).arg("dpkg").args(DPKG).arg(inside)
            } else {
                let root = workshop.folder("unpacked")?;
                for part in ["info", "updates", "triggers"] {
                    workshop.folder(&format!("unpacked/var/lib/dpkg/{part}"))?;
                }
                File::create(root.join("var/lib/dpkg/status"))?;
                let root = format!("--root={}", root.display());
                let call = Call::new("dpkg").args([&*root, "--force-script-chrootless"]);
                call.args(DPKG).arg(&archive)
            };
            workshop.job(Source::Dpkg, &name, &call, None)?;
            workshop.remove("unpacked")?;
        }
        Ok(())
    }

    /// Unpacks trees with tar, and copies them with rsync.
    fn trees(&self) -> Result<()> {
        let workshop = self.workshop;
        for package in TREES {
            if !workshop.wants(Source::Tar) && !workshop.wants(Source::Rsync) {
                break;
            }
            let known = workshop.has(Source::Tar, package) && workshop.has(Source::Rsync, package);
            let (tree, copy) = (format!("tree/{package}"), format!("copy/{package}"));
            let (from, to) = (workshop.folder(&tree)?, workshop.folder(&copy)?);
            let tar = workshop.work(&format!("{package}.tar"));
            let leaves = (!known).then(|| from.join("usr"));
            if !known {
                let Some(archive) = self.archive(package)? else { continue };
                let unpacked = Command::new("dpkg-deb")
                    .arg("--fsys-tarfile")
                    .arg(archive)
                    .stdout(File::create(&tar)?)
                    .stdin(Stdio::null())
                    .status()?;
                ensure!(unpacked.success(), "dpkg-deb ended with {unpacked}");
            }
            let call = Call::new("tar").arg("xvvf").arg(&tar).arg("-C").arg(&from);
            workshop.job(Source::Tar, package, &call, leaves.as_deref())?;
            let rsync = Call::new("rsync").args(["-aivv", &format!("{}/", from.display())]).arg(to);
            workshop.job(Source::Rsync, package, &rsync, None)?;
            workshop.remove(&tree)?;
            workshop.remove(&copy)?;
            if !known {
                std::fs::remove_file(&tar)?;
            }
        }
        Ok(())
    }

    /// Works out large installations and says why each package is in them.
    fn simulate(&self) -> Result<()> {
        let debug = [
            "Debug::pkgProblemResolver",
            "Debug::pkgDepCache::Marker",
            "Debug::pkgDepCache::AutoInstall",
        ];
        for section in SECTIONS {
            let packages = self.known.iter().filter(|(theirs, _)| theirs == section);
            let packages: Vec<&str> = packages.map(|(_, name)| name.as_str()).collect();
            let packages = &packages[..packages.len().min(SIMULATED)];
            if packages.is_empty() || !self.workshop.wants(Source::Apt) {
                continue;
            }
            let call = self.get(&debug, &["--simulate", "--no-install-recommends", "install"]);
            let name = format!("simulate-{section}");
            self.workshop.job(Source::Apt, &name, &call.args(packages.iter().copied()), None)?;
        }
        Ok(())
    }
}

/// Each file: what is found, made and renamed.
const DPKG: [&str; 5] = ["-D13", "--force-all", "--force-unsafe-io", "--log=/dev/null", "--unpack"];

/// A root of this machine's release; `None` where that cannot be.
fn debootstrap(workshop: &Workshop) -> Result<Option<PathBuf>> {
    if !rustix::process::geteuid().is_root() {
        workshop.leave_out("debootstrap, and apt-get in its root: only root may".to_owned());
        return Ok(None);
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let Some(codename) = codename else {
        workshop.leave_out("debootstrap: the release has no name".to_owned());
        return Ok(None);
    };
    let root = workshop.work("root");
    let complete = workshop.work("root-complete");
    if !complete.exists() {
        workshop.remove("root")?;
    }
    let bootstrap = Call::new("debootstrap").args(["--verbose", "--variant=minbase", codename]);
    let call = bootstrap.arg(&root);
    if !workshop.job(Source::Debootstrap, "minbase", &call, Some(&complete))? {
        return Ok(None);
    }
    if !root.join("usr/bin/apt-get").is_file() {
        workshop.leave_out("apt-get in a root: debootstrap did not finish it".to_owned());
        return Ok(None);
    }
    // Nothing that is installed there is started.
    let policy = root.join("usr/sbin/policy-rc.d");
    std::fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
    std::fs::set_permissions(&policy, Permissions::from_mode(0o755))?;
    File::create(&complete)?;
    Ok(Some(root))
}

/// Installs for real, in the root.
fn install(workshop: &Workshop, root: &Path) -> Result<()> {
    let apt = |debug: &[&str], arguments: &[&str]| {
        let debug = debug.iter().flat_map(|option| ["-o", option]);
        let call = Call::new("chroot").arg(root).args(["apt-get", "--yes"]).args(debug);
        call.args(arguments.iter().copied()).env("DEBIAN_FRONTEND", "noninteractive")
    };
    let few = "--no-install-recommends";
    let worker = ["Debug::Acquire::http=1", "Debug::pkgAcquire::Worker=1"];
    let each = ["Dpkg::Options::=-D13", "Dpkg::Options::=--force-unsafe-io"];
    let dpkg = ["Debug::pkgDPkgPM=1", "Dpkg::Options::=--force-unsafe-io"];
    let quick = ["Dpkg::Options::=--force-unsafe-io"];
    let jobs: [(&str, Call); 7] = [
        ("root-update", apt(&worker, &["update"])),
        ("root-tools", apt(&quick, &["install", few, "git", "cmake", "curl", "python3-pip"])),
        ("root-reinstall", apt(&dpkg, &["install", "--reinstall", "coreutils", "bash", "tar"])),
        ("root-fetch", apt(&worker, &["--download-only", "install", few, "kodi", "mpv", "gimp"])),
        ("root-boost", apt(&each, &["install", few, "libboost-dev", "python3-django"])),
        ("root-ansible", apt(&each, &["install", few, "ansible", "python3-numpy"])),
        ("root-scipy", apt(&each, &["install", few, "python3-scipy", "python3-sympy", "nodejs"])),
    ];
    for (name, call) in jobs {
        workshop.job(Source::Apt, name, &call, None)?;
    }
    Ok(())
}

fn pip(workshop: &Workshop) -> Result<()> {
    let venv = workshop.work("venv");
    let pip = venv.join("bin/pip");
    for (number, packages) in PIP.iter().enumerate() {
        let name = number.to_string();
        if !workshop.has(Source::Pip, &name) && workshop.wants(Source::Pip) && !pip.is_file() {
            let made = Call::new("python3").args(["-m", "venv"]).arg(&venv).output();
            if !made.is_ok_and(|made| made.status.success()) {
                workshop.leave_out("pip: no virtual environment can be made".to_owned());
                return Ok(());
            }
        }
        let call = Call::new(&pip).args(["--no-cache-dir", "download", "-vvv", "--no-deps"]);
        let call = call.args(["--progress-bar", "off", "-d"]).arg(workshop.work("wheels"));
        workshop.job(Source::Pip, &name, &call.args(packages.iter().copied()), None)?;
        if number == 0 {
            let call = Call::new(&pip).args(["--no-cache-dir", "install", "-v", "jupyterlab"]);
            workshop.job(Source::Pip, "install", &call, None)?;
        }
    }
    Ok(())
}

fn npm(workshop: &Workshop) -> Result<()> {
    let call = |name: &str, arguments: &[&str], packages: &[&str]| -> Result<Call> {
        let folder = workshop.folder(&format!("npm-{name}"))?;
        std::fs::write(folder.join("package.json"), r#"{"name":"console","version":"1.0.0"}"#)?;
        let call = Call::new("npm").args(["install", "--loglevel", "silly", "--ignore-scripts"]);
        let call = call.args(arguments.iter().copied()).args(packages.iter().copied());
        Ok(call.env("npm_config_cache", workshop.work("npm-cache")).dir(folder))
    };
    let first = call("tools", &[], &["typescript", "eslint", "jest", "express"])?;
    workshop.job(Source::Npm, "tools", &first, None)?;
    workshop.remove("npm-tools")?;
    let plain = ["--package-lock-only", "--color=false", "--progress=false"];
    for (number, packages) in NPM.iter().enumerate() {
        let name = number.to_string();
        workshop.job(Source::Npm, &name, &call(&name, &plain, packages)?, None)?;
        workshop.remove(&format!("npm-{name}"))?;
    }
    Ok(())
}

/// Builds a small program with many crates, and one of the C libraries among them by hand.
fn cargo_and_make(workshop: &Workshop) -> Result<()> {
    let project = workshop.folder("project")?;
    std::fs::create_dir_all(project.join("src"))?;
    std::fs::write(project.join("Cargo.toml"), CRATES)?;
    std::fs::write(project.join("src/main.rs"), "fn main() {}\n")?;
    let home = workshop.work("cargo-home");
    let sources = home.join("registry/src");
    let call = Call::new("cargo")
        .args(["build", "-vv"])
        .env("CARGO_HOME", &home)
        .env("CARGO_TARGET_DIR", workshop.work("cargo-target"))
        .dir(project);
    let made = workshop.has(Source::Make, "jemalloc");
    let leaves = (!made && workshop.wants(Source::Make)).then_some(&*sources);
    if !workshop.job(Source::Cargo, "build", &call, leaves)? {
        return Ok(());
    }
    let make = workshop.folder("make")?;
    let script = format!(
        "cp -r {}/*/tikv-jemalloc-sys-*/. . && cp configure/configure jemalloc/ && cd jemalloc && \
         sh ./configure --disable-doc && make -j2 build_lib_static && make --dry-run --debug=v tests",
        sources.display()
    );
    let call = Call::new("sh").args(["-c", &script]).dir(make);
    workshop.job(Source::Make, "jemalloc", &call, None)?;
    Ok(())
}
