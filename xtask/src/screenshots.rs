//! `cargo xtask screenshots`: the pictures under `docs/images`, of the real UI on a real collector with real runs.
//!
//! Three moments: empty; busy (three consoles install, nothing has failed yet); failed (one has failed, the others still
//! run). Each is taken in dark and light, at desk and phone size; the app's own window once.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::display::Display;
use crate::job::{Job, Running};
use crate::packages::{self, Consent, Need};
use crate::{http, places, say, wait};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking
    #[arg(long)]
    yes: bool,

    /// Leave the app's own window out (no desktop build)
    #[arg(long)]
    browser_only: bool,

    /// Use the programs and the UI as they were built last
    #[arg(long)]
    no_build: bool,
}

/// Long enough that two consoles still install when the third has failed.
const PACKS: &str = "400";

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut needs = vec![Need::Compiler, Need::BrowserTests, Need::VirtualDisplay];
    if !args.browser_only {
        needs.push(Need::DesktopBuild);
    }
    packages::ensure(&needs, Consent::new(args.yes))?;
    let chromium = build::browser()?;
    if !args.no_build {
        build_all(!args.browser_only)?;
    }
    let bins = places::target().join("debug");
    let (agent, collector) = (bins.join("deckport-agent"), bins.join("deckport-collector"));

    let images = places::root().join("docs/images");
    std::fs::create_dir_all(&images)?;
    let work = tempfile::Builder::new().prefix("deckport-").rand_bytes(4).tempdir()?;
    let addr = http::free_address(0)?;
    let url = format!("http://{addr}");
    let data = work.path().join("data");
    let serve = Job::new(&collector).args(["serve", "--data"]).arg(data.clone()).args([
        "--plain-http",
        "--listen",
        &addr.to_string(),
    ]);
    let _server = serve.start(&work.path().join("collector.log"))?;
    wait::until(
        "the collector's start",
        Duration::from_secs(60),
        Duration::from_millis(50),
        || Ok(http::is_ready(addr).then_some(())),
    )?;
    let token_file = data.join("token");
    let token = std::fs::read_to_string(&token_file).context("the collector left no token")?;

    let raw = work.path().join("raw");
    std::fs::create_dir(&raw)?;
    let shoot = |moment: &str| {
        say::step(format!("taking the pictures: {moment}"));
        Job::new("node")
            .arg(places::root().join("xtask/screenshots/shoot.mjs"))
            .arg(moment)
            .arg(raw.clone())
            .env("DECKPORT_URL", url.clone())
            .env("DECKPORT_TOKEN", token.trim())
            .env("CHROMIUM", chromium.clone())
            .run()
    };
    shoot("empty")?;
    let state = |name: &str| state_of(&collector, &url, &token_file, name);
    let start = |name, template, script| {
        console(&agent, &url, &token_file, work.path(), (name, template, script))
    };
    let _first = start("Bay 12", "game-content", "game-content.sh")?;
    let _second = start("Bay 7", "game-content", "game-content.sh")?;
    let _third = start("Bay 3", "runtime-packages", "runtime-packages.sh")?;
    for name in ["Bay 12", "Bay 7", "Bay 3"] {
        wait::until(
            &format!("{name}'s start"),
            Duration::from_secs(30),
            Duration::from_millis(100),
            || Ok((state(name)?.as_deref() == Some("running")).then_some(())),
        )?;
    }
    shoot("busy")?;
    wait::until("Bay 3's failure", Duration::from_secs(180), Duration::from_millis(200), || {
        Ok((state("Bay 3")?.as_deref() == Some("failed")).then_some(()))
    })?;
    shoot("failed")?;
    if !args.browser_only {
        window(&bins.join("deckport-control-center"), &agent, work.path(), &raw)?;
    }
    shrink(&raw, &images)
}

fn build_all(with_app: bool) -> Result<()> {
    build::ui()?;
    say::step("building agent and collector");
    build::program("deckport-agent", "deckport-agent", Profile::Dev)?;
    build::program("deckport-collector", "deckport-collector", Profile::Dev)?;
    if with_app {
        say::step("building the desktop app");
        build::program("deckport-control-center", "deckport-control-center", Profile::Dev)?;
    }
    Ok(())
}

/// Starts one demo script under an agent.
fn console(
    agent: &Path,
    url: &str,
    token_file: &Path,
    work: &Path,
    (name, template, script): (&str, &str, &str),
) -> Result<Running> {
    let slug = format!(
        "{}-{}",
        name.to_lowercase().replace(' ', "-"),
        url.rsplit(':').next().unwrap_or_default()
    );
    Job::new(agent)
        .args(["wrap", "--collector", url, "--token-file"])
        .arg(token_file)
        .args(["--name", name, "--template", template, "--state"])
        .arg(work.join(&slug))
        .args(["--", "bash", script])
        .dir(places::root().join("xtask/demo"))
        .env("PACKS", PACKS)
        .start(&work.join(format!("{slug}.log")))
}

fn state_of(collector: &Path, url: &str, token_file: &Path, name: &str) -> Result<Option<String>> {
    let list = Job::new(collector)
        .args(["deployments", "--json", "--url", url, "--token-file"])
        .arg(token_file)
        .read()?;
    let list: serde_json::Value =
        serde_json::from_str(&list).context("the list of deployments is not JSON")?;
    let found =
        list.as_array().and_then(|list| list.iter().find(|deployment| deployment["name"] == name));
    Ok(found.and_then(|deployment| deployment["state"].as_str()).map(str::to_owned))
}

/// The app's own window, on a screen that nobody sees.
fn window(app: &Path, agent: &Path, work: &Path, out: &Path) -> Result<()> {
    say::step("taking the pictures: the app's own window");
    let display = Display::start(1280, 800)?;
    let addr = http::free_address(0)?;
    let data = work.join("app");
    let command = vec![
        app.as_os_str().to_owned(),
        "--data".into(),
        data.clone().into_os_string(),
        "--listen".into(),
        addr.to_string().into(),
    ];
    let home = work.join("home");
    std::fs::create_dir_all(&home)?;
    let _app = display.with_session(command).env("HOME", home).start(&work.join("app.log"))?;
    wait::until("the app's collector", Duration::from_secs(60), Duration::from_millis(50), || {
        Ok(http::answers(addr).then_some(()))
    })?;
    let url = format!("http://{addr}");
    let token_file = data.join("collector/token");
    let _first =
        console(agent, &url, &token_file, work, ("Bay 12", "game-content", "game-content.sh"))?;
    let _second = console(
        agent,
        &url,
        &token_file,
        work,
        ("Bay 3", "runtime-packages", "runtime-packages.sh"),
    )?;
    let search =
        display.on(Job::new("xdotool").args(["search", "--onlyvisible", "--name", "Deckport"]));
    wait::until("the window", Duration::from_secs(60), Duration::from_millis(200), || {
        Ok(search.read().ok().filter(|found| !found.trim().is_empty()))
    })?;
    // Inside its frame the window holds as many colours as text makes: the page is there. Then rows come in.
    let file = out.join("desktop-window.png");
    let import = display.on(Job::new("import").args(["-window", "root"]).arg(file.clone()));
    let colours =
        Job::new("convert").arg(file).args(["-crop", "1200x700+40+60", "-format", "%k", "info:"]);
    let mut painted_since = None;
    wait::until("the window's content", Duration::from_secs(60), Duration::from_millis(300), || {
        import.read()?;
        if colours.read()?.trim().parse::<u32>().unwrap_or(0) > 60 {
            let since = *painted_since.get_or_insert_with(std::time::Instant::now);
            return Ok((since.elapsed() > Duration::from_secs(5)).then_some(()));
        }
        Ok(None)
    })
}

/// Pictures of text need few colours: a third of the size, and no difference to see.
fn shrink(from: &Path, to: &Path) -> Result<()> {
    let mut names: Vec<_> = std::fs::read_dir(from)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for path in names {
        let out = to.join(path.file_name().context("a picture without a name")?);
        Job::new("convert")
            .arg(path)
            .args([
                "-strip",
                "-dither",
                "None",
                "-colors",
                "192",
                "-define",
                "png:compression-level=9",
            ])
            .arg(format!("png8:{}", out.display()))
            .run()?;
        say::info(format!("{} ({})", out.display(), say::bytes(std::fs::metadata(&out)?.len())));
    }
    Ok(())
}
