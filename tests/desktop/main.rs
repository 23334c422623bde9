//! Stories of the desktop app in its real webview: window, tray, notifications, one instance, leaving.
//!
//! Each story has a display, a session bus and a desktop of its own ([`Session`]); agents are the real ones. They need
//! Xvfb, openbox, dbus-daemon, WebKitWebDriver, xdotool and ImageMagick, and say which one is missing.

mod connections;
mod console;
mod jumping;
mod listening;

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use deckport_tests::desktop::webdriver::Page;
use deckport_tests::desktop::{Owned, Session, until};
use serde_json::{Value, json};

use console::Console;

const WINDOW: &str = "Deckport Control Center";
const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An installation that runs through when its signs are given.
const GOOD: &str = r#"group "Fetch"; echo "fetching"; sign fetched
group "Install"; for n in $(seq 200); do echo "unpacking part $n"; done; sign installed
echo "all done""#;

/// One that really fails, in its second phase: no such package exists anywhere.
const BAD: &str = r#"group "Fetch"; echo "fetching"; sign fetched
group "Install"; for n in $(seq 300); do echo "preparing part $n"; done
apt-get install -y deckport-package-that-nobody-made; code=$?
for n in $(seq 100); do echo "cleaning up part $n"; done; exit $code"#;
const FAILING_LINE: &str = "Unable to locate package deckport-package-that-nobody-made";

/// What the Live screen shows: name and state of each row.
async fn rows(page: &Page) -> Result<Vec<(String, String)>> {
    let script = "return [...document.querySelectorAll('[data-testid=deployment-row]')]
        .map((row) => [row.querySelector('b').textContent, row.dataset.state])";
    let mut rows: Vec<(String, String)> = serde_json::from_value(page.run(script).await?)?;
    rows.sort();
    Ok(rows)
}

async fn deployment_named(page: &Page, name: &str) -> Result<Value> {
    deployment_on(page, "local", name).await
}

/// The deployment of that name at one of the connections.
async fn deployment_on(page: &Page, connection: &str, name: &str) -> Result<Value> {
    let ask = json!({ "connection": connection, "method": "GET", "path": "/api/v1/deployments" });
    let answer = page.invoke("request", ask).await?;
    let listed: Value = serde_json::from_str(answer["body"].as_str().context("a body")?)?;
    let found =
        listed["deployments"].as_array().into_iter().flatten().find(|it| it["name"] == name);
    found.cloned().with_context(|| format!("no deployment of {name} in {listed}"))
}

/// Waits until the tray shows `state` and its title says `words`.
async fn tray_says(session: &Session, what: &str, state: &str, words: &str) -> Result<()> {
    let mut last = None;
    let said = until(what, async || {
        last = session.bus.tray().await;
        last.as_ref().filter(|tray| tray.state() == state && tray.title.contains(words)).map(drop)
    });
    let said = said.await;
    said.with_context(|| {
        format!("the tray: {:?}", last.map(|tray| (tray.state(), tray.title, tray.status)))
    })
}

/// Acceptance: three consoles deploy, one fails, the operator is told and lands on the line; the window goes, the tray
/// goes on counting; starting the app again brings the window back.
#[tokio::test(flavor = "multi_thread")]
async fn three_consoles_and_one_failure() -> Result<()> {
    let mut session = Session::start().await?;
    let page = session.open(ANY_PORT).await?;
    let collector = session.collector().await?;
    tray_says(&session, "the tray is idle", "idle", "Nothing is being installed").await?;

    let mut consoles = Vec::new();
    for (name, script) in [("Bay 1", GOOD), ("Bay 2", GOOD), ("Bay 3", BAD)] {
        consoles.push(Console::start(&session, &collector, name, script)?);
    }
    until("three rows run", async || {
        let rows = rows(&page).await.ok()?;
        (rows.len() == 3 && rows.iter().all(|(_, state)| state == "running")).then_some(())
    })
    .await?;
    tray_says(&session, "the tray counts them", "running", "3 running").await?;
    session.picture("running")?;

    // Phases advance, in the page as in the tray's menu.
    let mut menu = Vec::new();
    let mut listed = async |label: &str| {
        let shown = until("a phase is in the tray's menu", async || {
            menu = session.bus.menu().await.ok()?;
            menu.iter().any(|(_, shown)| shown.starts_with(label)).then_some(())
        });
        let shown = shown.await;
        shown.with_context(|| format!("no `{label}` in the tray's menu: {menu:?}"))
    };
    listed("Bay 1 · Fetch").await?;
    for console in &consoles {
        console.sign("fetched")?;
    }
    listed("Bay 1 · Install").await?;

    // The failure is told, with what can be done about it.
    let (id, notice) = until("the failure is told", async || session.bus.notice("Bay 3")).await?;
    ensure!(notice.title == "Bay 3: installation failed", "{notice:?}");
    ensure!(notice.urgency == 2, "a failure stops play: {notice:?}");
    let buttons: Vec<&str> = notice.actions.iter().map(|(key, _)| key.as_str()).collect();
    ensure!(buttons == ["default", "open", "snooze"], "{notice:?}");
    ensure!(session.bus.notices().len() == 1, "{:?}", session.bus.notices());
    tray_says(&session, "the tray shows the failure", "failed", "2 running, 1 failed").await?;
    ensure!(
        consoles[2].ended().await?.code() == Some(100),
        "apt-get fails with 100, and so does the agent"
    );

    // Its click lands on the failing line.
    session.bus.press(id, "open").await?;
    let failed = deployment_named(&page, "Bay 3").await?;
    let seq = failed["failure"]["seq"].as_u64().context("the failure names its record")?;
    let wanted = format!("#/deployments/{}?seq={seq}", failed["id"].as_str().unwrap_or_default());
    until("the page is at the failure", async || {
        let at = page.run("return location.hash").await.ok()?;
        (at.as_str() == Some(&wanted)).then_some(())
    })
    .await?;
    let script = format!(
        "const row = [...document.querySelectorAll('[data-row]')].find((row) => row.textContent.includes({}));
        if (!row) return null;
        const box = row.getBoundingClientRect();
        return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight;",
        json!(FAILING_LINE)
    );
    let shown = until("the failing line is on the screen", async || {
        page.run(&script).await.ok().filter(|shown| shown == &Value::Bool(true))
    })
    .await;
    session.picture("failure")?;
    shown.with_context(|| format!("failure: {}", failed["failure"]))?;
    tray_says(&session, "the failure is seen", "running", "2 running").await?;

    // The window closes; the tray goes on counting.
    let window = session.window(WINDOW).context("the window is visible")?;
    session.focus(&window)?;
    session.keys("alt+F4")?;
    until("the window is gone", async || session.window(WINDOW).is_none().then_some(())).await?;
    until("the operator is told that watching goes on", async || {
        session.bus.notice("keeps watching")
    })
    .await?;
    consoles[0].sign("installed")?;
    ensure!(consoles[0].ended().await?.success());
    tray_says(&session, "the tray counts without a window", "running", "1 running").await?;
    consoles[1].sign("installed")?;
    ensure!(consoles[1].ended().await?.success());
    tray_says(&session, "the tray is idle again", "idle", "Nothing is being installed").await?;

    // A second start ends at once and brings the first one's window back, at the link it was given.
    let id = deployment_named(&page, "Bay 1").await?["id"].as_str().context("an id")?.to_owned();
    let mut second =
        session.start_app(ANY_PORT, &[&format!("deckport://deployment/{id}?seq=1")])?;
    let ended = until("the second start ends", async || second.0.try_wait().ok().flatten()).await?;
    ensure!(ended.success(), "{ended}");
    until("the window is back", async || session.window(WINDOW)).await?;
    until("the page is at the link", async || {
        let at = page.run("return location.hash").await.ok()?;
        at.as_str()?.contains(&id).then_some(())
    })
    .await?;
    ensure!(!page.text().await?.is_empty());
    Ok(())
}

/// Leaving stores what is in flight; after the next start nothing is missing and nothing is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_loses_nothing() -> Result<()> {
    let mut session = Session::start().await?;
    let mut app = session.start_app(ANY_PORT, &[])?;
    let collector = session.collector().await?;
    let listen: SocketAddr = collector.trim_start_matches("https://").parse()?;
    // Some two thousand lines a second, so that something is always in flight.
    let script = r#"n=0; until [ -e "$SIGNS/enough" ]; do
        n=$((n+1)); echo "line $n"; [ $((n % 50)) != 0 ] || sleep 0.02
    done; echo "last $n""#;
    let mut console = Console::start(&session, &collector, "Bay 7", script)?;
    tray_says(&session, "the console is there", "running", "1 running").await?;

    // The operator's Quit asks first, because a deployment runs.
    session.bus.choose("Quit").await?;
    let question = until("the question is asked", async || session.window("Quit Deckport")).await?;
    session.picture("quit")?;
    session.focus(&question)?;
    session.keys("Escape")?;
    until("the question is gone", async || session.window("Quit Deckport").is_none().then_some(()))
        .await?;
    ensure!(app.0.try_wait()?.is_none(), "the app stays");

    // The system's does not.
    let ended = terminate(&mut app).await?;
    ensure!(ended.success(), "{ended}");
    let log = session.log();
    ensure!(log.contains("stored all and stopped") && log.contains("left code=0"), "{log}");

    // The console went on meanwhile; now it delivers.
    console.sign("enough")?;
    let page = session.open(listen).await?;
    ensure!(console.ended().await?.success());
    let id = deployment_named(&page, "Bay 7").await?["id"].as_str().context("an id")?.to_owned();
    until("it is known as succeeded", async || {
        (deployment_named(&page, "Bay 7").await.ok()?["state"] == "succeeded").then_some(())
    })
    .await?;
    let path = format!("/api/v1/deployments/{id}/raw");
    let ask = json!({ "connection": "local", "method": "GET", "path": path });
    let answer = page.invoke("request", ask).await?;
    let raw = answer["body"].as_str().context("a body")?;
    let last = raw.lines().last().and_then(|line| line.strip_prefix("last "));
    let count: u64 = last.with_context(|| format!("the last line arrived: {answer}"))?.parse()?;
    ensure!(count > 1, "the console printed while the app was away");
    let mut wanted: String = (1..=count).map(|n| format!("line {n}\r\n")).collect();
    wanted.push_str(&format!("last {count}\r\n"));
    let differs = raw.lines().zip(wanted.lines()).find(|(got, wanted)| got != wanted);
    ensure!(
        raw == wanted,
        "first difference: {differs:?}; {} bytes for {}",
        raw.len(),
        wanted.len()
    );
    Ok(())
}

/// The port for consoles is taken: the app says so and runs; when it is free the collector is started again on it, and
/// window and page stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said_and_taken_back() -> Result<()> {
    let mut session = Session::start().await?;
    let taken = std::net::TcpListener::bind(ANY_PORT)?;
    let listen = taken.local_addr()?;
    let page = session.open(listen).await?;
    let window = until("the window is there", async || session.window(WINDOW)).await?;
    let words = format!("port {} is used by another program", listen.port());
    tray_says(&session, "the tray says it", "attention", &words).await?;
    until("the page says it", async || page.text().await.ok().filter(|text| text.contains(&words)))
        .await?;
    session.picture("port")?;
    page.run("window.stillTheSamePage = true").await?;

    drop(taken);
    let collector = session.collector().await?;
    ensure!(collector == format!("https://{listen}"), "{collector}");
    tray_says(&session, "all is well", "idle", "Nothing is being installed").await?;
    let mut console = Console::start(&session, &collector, "Bay 4", "echo ready; sign done")?;
    until("the page shows the console", async || {
        rows(&page).await.ok()?.iter().any(|(name, _)| name == "Bay 4").then_some(())
    })
    .await?;
    console.sign("done")?;
    ensure!(console.ended().await?.success());
    ensure!(
        page.run("return window.stillTheSamePage").await? == true,
        "the page was not loaded again"
    );
    ensure!(session.window(WINDOW) == Some(window), "the window is the same");
    Ok(())
}

async fn terminate(app: &mut Owned) -> Result<std::process::ExitStatus> {
    let pid = rustix::process::Pid::from_raw(app.0.id().cast_signed()).context("a process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    until("the app ends", async || app.0.try_wait().ok().flatten()).await
}
