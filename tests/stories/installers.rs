//! Real installers run live under `wrap`; the record equals a tee at the master of the terminal that
//! they were started from. (The agent passes its terminal through unchanged, which `byte_exact`
//! checks, so what that terminal shows is what the agent read.)

use anyhow::{Context as _, Result, ensure};
use deckport_tests::feed::assert_same;
use deckport_tests::programs::installed;
use deckport_tests::{Agent, Call, Collector, pty};
use std::path::Path;
use std::time::Duration;

/// For installers on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn live(dir: &Path, call: &Call, code: i32, says: &str) -> Result<()> {
    let collector = Collector::start(dir.join("collector"))?;
    let ended = pty::run(&Agent::of(&collector, dir, "bay-1").wrap(call)?, PATIENCE)?;
    ensure!(ended.code() == code, "{}: {}", ended.code(), ended.text());
    ensure!(ended.text().contains(says), "`{says}` is not in: {}", ended.text());
    let id = collector.find("bay-1")?;
    collector.ended(&id)?;
    assert_same("logs --raw", &collector.raw(&id)?, &ended.bytes);
    Ok(())
}

/// A package with a maintainer script, installed for real into a root of its own.
pub(crate) fn package(dir: &Path, name: &str, postinst: &str) -> Result<(Call, String)> {
    let tree = dir.join(format!("{name}-tree"));
    std::fs::create_dir_all(tree.join("DEBIAN"))?;
    std::fs::create_dir_all(tree.join("opt").join(name))?;
    std::fs::write(tree.join("opt").join(name).join("game.dat"), "data\n")?;
    let control = format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Deckport <a@example.org>\n\
         Description: a package for a test\n"
    );
    std::fs::write(tree.join("DEBIAN/control"), control)?;
    let script = tree.join("DEBIAN/postinst");
    std::fs::write(&script, format!("#!/bin/sh\n{postinst}\n"))?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let deb = dir.join(format!("{name}.deb"));
    let built = Call::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&tree).arg(&deb);
    let built = built.output()?;
    ensure!(built.status.success(), "{built:?}");
    let root = dir.join(format!("{name}-root"));
    for part in ["info", "updates", "triggers"] {
        std::fs::create_dir_all(root.join("var/lib/dpkg").join(part))?;
    }
    std::fs::write(root.join("var/lib/dpkg/status"), "")?;
    let call = Call::new("dpkg")
        .arg(format!("--root={}", root.display()))
        .args(["--force-not-root", "--force-script-chrootless", "--log=/dev/null", "-i"])
        .arg(&deb);
    Ok((call, deb.display().to_string()))
}

/// `apt-get install` of a package, for real, with all of apt's and dpkg's folders below a root of its own.
fn apt_install(dir: &Path, root: &Path, deb: &str) -> Result<Call> {
    for part in ["var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt"] {
        std::fs::create_dir_all(root.join(part))?;
    }
    for part in ["apt.conf.d", "preferences.d", "sources.list.d", "trusted.gpg.d"] {
        std::fs::create_dir_all(root.join("etc/apt").join(part))?;
    }
    let root = root.display();
    let options = [
        format!("Dir={root}"),
        format!("Dir::State::status={root}/var/lib/dpkg/status"),
        "Dir::Bin::dpkg=/usr/bin/dpkg".to_owned(),
        "Debug::NoLocking=true".to_owned(),
        "APT::Sandbox::User=".to_owned(),
        format!("Dpkg::Options::=--root={root}"),
        "Dpkg::Options::=--force-not-root".to_owned(),
        "Dpkg::Options::=--force-script-chrootless".to_owned(),
        "Dpkg::Options::=--log=/dev/null".to_owned(),
    ];
    let call = Call::new("apt-get").args(options.iter().flat_map(|option| ["-o", option]));
    Ok(call.args(["--yes", "install", deb]).dir(dir))
}

#[test]
fn apt() -> Result<()> {
    if !installed("apt-get") || !installed("dpkg-deb") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (_, deb) = package(dir.path(), "deckport-game", "echo calibrating the stick")?;
    let root = dir.path().join("deckport-game-root");
    let call = apt_install(dir.path(), &root, &deb)?;
    live(dir.path(), &call, 0, "Setting up deckport-game (1.0)")?;
    ensure!(root.join("opt/deckport-game/game.dat").is_file(), "nothing was installed");
    Ok(())
}

#[test]
fn dpkg() -> Result<()> {
    if !installed("dpkg-deb") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (call, _) = package(dir.path(), "deckport-game", "echo calibrating the stick")?;
    live(dir.path(), &call, 0, "calibrating the stick")
}

#[test]
fn pip() -> Result<()> {
    if !installed("python3") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    if !Call::new("python3").args(["-m", "pip", "--version"]).output()?.status.success() {
        println!("left out: pip is not installed here");
        return Ok(());
    }
    let make = "import zipfile
z = zipfile.ZipFile('deckport_game-1.0-py3-none-any.whl', 'w')
d = 'deckport_game-1.0.dist-info/'
z.writestr('deckport_game.py', 'answer = 42\\n')
z.writestr(d + 'METADATA', 'Metadata-Version: 2.1\\nName: deckport-game\\nVersion: 1.0\\n')
z.writestr(d + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
z.writestr(d + 'RECORD', 'deckport_game.py,,\\n')
z.close()";
    let made = Call::new("python3").args(["-c", make]).dir(dir.path()).output()?;
    ensure!(made.status.success(), "{made:?}");
    let call = Call::new("python3")
        .args(["-m", "pip", "install", "--no-index", "--no-deps", "--target", "site"])
        .arg("deckport_game-1.0-py3-none-any.whl")
        .dir(dir.path());
    live(dir.path(), &call, 0, "Successfully installed deckport-game-1.0")?;
    ensure!(dir.path().join("site/deckport_game.py").is_file());
    Ok(())
}

#[test]
fn npm() -> Result<()> {
    if !installed("npm") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let package = dir.path().join("package");
    std::fs::create_dir(&package)?;
    std::fs::write(package.join("package.json"), r#"{"name":"tiny","version":"1.0.0"}"#)?;
    let packed = Call::new("tar").args(["czf", "tiny.tgz", "package"]).dir(dir.path()).output()?;
    ensure!(packed.status.success(), "{packed:?}");
    let project = r#"{"name":"game","version":"1.0.0","dependencies":{"tiny":"file:tiny.tgz"}}"#;
    std::fs::write(dir.path().join("package.json"), project)?;
    let npm = |arguments: &[&str]| {
        let quiet = ["--offline", "--no-audit", "--no-fund", "--no-update-notifier"];
        Call::new("npm")
            .args(arguments)
            .args(quiet)
            .env("npm_config_cache", dir.path().join("cache"))
            .dir(dir.path())
    };
    let locked = npm(&["install"]).output().context("npm")?;
    ensure!(locked.status.success(), "{locked:?}");
    live(dir.path(), &npm(&["ci"]), 0, "added 1 package")?;
    ensure!(dir.path().join("node_modules/tiny/package.json").is_file());
    Ok(())
}
