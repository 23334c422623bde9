//! The app at two collectors: its own, and one elsewhere that an operator logs in at.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use deckport_tests::collector::Collector;
use deckport_tests::desktop::webdriver::Page;
use deckport_tests::desktop::{Session, until};
use serde_json::{Value, json};

use crate::console::Console;
use crate::{ANY_PORT, BAD, FAILING_LINE, GOOD, deployment_named, deployment_on, tray_says};

const VENUE: &str = "Headquarters";
const PASSWORD: &str = "three blind mice";

/// A collector elsewhere, as a process, with somebody who may log in.
struct Elsewhere {
    collector: Collector,
    password_file: PathBuf,
}

impl Elsewhere {
    fn start(session: &Session) -> Result<Elsewhere> {
        let root = session.data.path().join("elsewhere");
        std::fs::create_dir(&root)?;
        let password_file = root.join("password");
        std::fs::write(&password_file, PASSWORD)?;
        let mut collector = Collector::at(root.join("data")).options(&["--venue", VENUE]);
        collector.launch()?;
        let elsewhere = Elsewhere { collector, password_file };
        let password = elsewhere.password_file.to_string_lossy().into_owned();
        let add = ["operator", "add", "ada", "--role", "operator", "--password-file", &password];
        elsewhere.collector.client(&add)?;
        Ok(elsewhere)
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.collector.port())
    }

    fn pin(&self) -> Result<String> {
        let pin = std::fs::read_to_string(self.collector.data().join("pin"))?;
        Ok(pin.trim().to_owned())
    }

    /// What its own screen shows for comparing.
    fn compare(&self) -> Result<String> {
        let log = self.collector.log();
        let line = log.lines().rev().find_map(|line| line.strip_prefix("Compare:"));
        Ok(line.with_context(|| format!("no line to compare: {log}"))?.trim().to_owned())
    }

    fn console(&self, session: &Session, name: &str, script: &str) -> Result<Console> {
        let address = format!("https://{}", self.address());
        Console::start_at(session, (&address, &self.collector.token_file()), name, script)
    }

    /// The count of a metric that carries `label`, or has none.
    fn metric(&self, name: &str) -> Result<u64> {
        let answer = self.collector.api()?.get("/metrics")?;
        let text = String::from_utf8(answer.body)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.map_or(0, |count| count.trim().parse().unwrap_or_default()))
    }
}

/// What the operator does with the page: each act is something pressed, or something typed and sent off with Enter.
struct Hand<'a> {
    page: &'a Page,
    acts: usize,
}

/// More would be in an operator's way.
const MOST_ACTS: usize = 4;

impl Hand<'_> {
    /// Presses what carries the text, within what `within` selects.
    async fn press(&mut self, within: &str, text: &str) -> Result<()> {
        let script = format!(
            "const at = [...document.querySelectorAll({within})].flatMap((one) => [...one.querySelectorAll('button')])
                .find((button) => button.textContent.includes({text}) && !button.disabled);
            if (!at) return false;
            at.click(); return true;",
            within = json!(within),
            text = json!(text)
        );
        self.act(&format!("press {text}"), &script).await
    }

    /// Fills fields in, each given by its selector, and sends their form off.
    async fn enter(&mut self, fields: &[(&str, &str)]) -> Result<()> {
        let script = format!(
            "const fields = {}.map(([at, text]) => [document.querySelector(at), text]);
            if (fields.some(([field]) => !field)) return false;
            for (const [field, text] of fields) {{
                field.value = text;
                field.dispatchEvent(new Event('input', {{ bubbles: true }}));
            }}
            fields[0][0].form.requestSubmit(); return true;",
            json!(fields)
        );
        self.act("enter", &script).await
    }

    async fn act(&mut self, what: &str, script: &str) -> Result<()> {
        until(what, async || {
            self.page.run(script).await.ok().filter(|done| done == &Value::Bool(true))
        })
        .await?;
        self.acts += 1;
        Ok(())
    }
}

/// The operator adds it on the Connections screen: its address, its code compared with what stands there, a login.
async fn add(page: &Page, elsewhere: &Elsewhere) -> Result<String> {
    page.run("location.hash = '#/connections'").await?;
    let mut hand = Hand { page, acts: 0 };
    hand.press(".head", "Add").await?;
    hand.enter(&[("[data-testid=add-connection] input", &elsewhere.address())]).await?;
    let short = until("the code is shown", async || {
        let script =
            "return document.querySelector('[data-testid=short-code]')?.textContent ?? null";
        page.run(script).await.ok()?.as_str().map(str::to_owned)
    })
    .await?;
    ensure!(short == elsewhere.compare()?, "{short}");
    // The one that leads on stands last.
    let same =
        "const ways = document.querySelectorAll('[data-testid=add-connection] .buttons .primary');
        if (ways.length !== 1) return false;
        ways[0].click(); return true";
    hand.act("the codes are the same", same).await?;
    hand.enter(&[
        ("[data-testid=login-form] [name=username]", "ada"),
        ("[data-testid=login-form] [name=password]", PASSWORD),
    ])
    .await?;
    ensure!(hand.acts <= MOST_ACTS, "adding took {} acts", hand.acts);
    let added = until("it is added", async || {
        let all = page.invoke("connections", json!({})).await.ok()?;
        let one = all.as_array()?.iter().find(|one| one["kind"] == "remote")?.clone();
        one["id"].as_str().map(str::to_owned)
    });
    let text = page.text().await.unwrap_or_default();
    added.await.with_context(|| format!("the page: {text}"))
}

/// How the Connections screen says that they do.
async fn healths(page: &Page) -> Result<Vec<String>> {
    let script = "return [...document.querySelectorAll('[data-testid=connection-row]')].map((row) => row.dataset.health)";
    Ok(serde_json::from_value(page.run(script).await?)?)
}

async fn connection(page: &Page, id: &str) -> Result<Value> {
    let all = page.invoke("connections", json!({})).await?;
    let found = all.as_array().into_iter().flatten().find(|one| one["id"] == id);
    found.cloned().with_context(|| format!("no connection {id} in {all}"))
}

async fn stands(page: &Page, id: &str, state: &str, words: &str) -> Result<Value> {
    let mut last = Value::Null;
    let stood = until("the connection stands so", async || {
        last = connection(page, id).await.ok()?;
        let said = last["sentence"].as_str().unwrap_or_default().contains(words);
        (last["state"] == state && said).then(|| last.clone())
    });
    let stood = stood.await;
    stood.with_context(|| format!("wanted {state} with `{words}`: {last}"))
}

async fn raw(page: &Page, connection: &str, name: &str) -> Result<String> {
    let id = deployment_on(page, connection, name).await?["id"].clone();
    let path = format!("/api/v1/deployments/{}/raw", id.as_str().context("an id")?);
    let ask = json!({ "connection": connection, "method": "GET", "path": path });
    let answer = page.invoke("request", ask).await?;
    Ok(answer["body"].as_str().context("a body")?.to_owned())
}

/// Presses a notice's button and waits until the page shows the failing line of that run, at the collector of that name.
async fn opens(session: &Session, page: &Page, id: u32, venue: &str, run: &Value) -> Result<()> {
    session.bus.press(id, "open").await?;
    let run = run["id"].as_str().context("an id")?;
    let script = format!(
        "return [location.hash, document.querySelector('[data-testid=connection] b').textContent,
            [...document.querySelectorAll('[data-row]')].some((row) => row.textContent.includes({}))]",
        json!(FAILING_LINE)
    );
    let mut last = Value::Null;
    let shown = until("the page is at the failing line", async || {
        last = page.run(&script).await.ok()?;
        let there = last[0].as_str()?.contains(run) && last[1] == venue && last[2] == true;
        there.then_some(())
    });
    shown.await.with_context(|| format!("wanted {run} at {venue}: {last}"))
}

/// Acceptance: both collectors are watched; one is killed under the app and comes back with what was printed meanwhile; each tells of
/// its failures and a click leads to the right one; with another key nothing goes to it any more.
#[tokio::test(flavor = "multi_thread")]
async fn two_collectors_at_once() -> Result<()> {
    let mut session = Session::start().await?;
    let mut elsewhere = Elsewhere::start(&session)?;
    let page = session.open(ANY_PORT).await?;
    let local = session.collector().await?;
    let id = add(&page, &elsewhere).await?;
    stands(&page, &id, "ready", "").await?;
    until("both do well", async || (healths(&page).await.ok()? == ["good", "good"]).then_some(()))
        .await?;
    session.picture("connections")?;
    // No keyring is on this desktop: the app says what holds the login instead, and that file is the operator's alone.
    let logins = page.invoke("about", json!({})).await?["logins"].clone();
    ensure!(logins["kind"] == "file", "{logins}");
    let sentence = logins["sentence"].as_str().context("a sentence")?;
    ensure!(sentence.contains("sessions.json") && sentence.contains("no keyring"), "{sentence}");

    // Both run, and the tray says where.
    let mut here = Console::start(&session, &local, "Bay 1", GOOD)?;
    let counting = r#"n=0; until [ -e "$SIGNS/enough" ]; do n=$((n+1)); echo "line $n"; sleep 0.01; done; echo "last $n""#;
    let mut there = elsewhere.console(&session, "Bay 5", counting)?;
    tray_says(&session, "both run", "running", "2 running").await?;
    let mut menu = Vec::new();
    let listed = until("the tray names both collectors", async || {
        menu = session.bus.menu().await.ok()?;
        let has = |begin: &str| menu.iter().any(|(_, label)| label.starts_with(begin));
        (has("This computer · Bay 1") && has("Headquarters · Bay 5")).then_some(())
    });
    let listed = listed.await;
    listed.with_context(|| format!("the tray's menu: {menu:?}"))?;

    // The page follows the one elsewhere.
    let run = deployment_on(&page, &id, "Bay 5").await?["id"].as_str().context("an id")?.to_owned();
    page.run(&format!("location.hash = '#/deployments/{run}'")).await?;
    let follows = "return [...document.querySelectorAll('[data-row]')].some((row) => row.textContent.includes('line '))";
    until("its lines are on the screen", async || {
        page.run(follows).await.ok().filter(|shown| shown == &Value::Bool(true))
    })
    .await?;

    // It is killed under the app. The console prints on; the other collector is watched as before.
    elsewhere.collector.kill();
    stands(&page, &id, "waiting", "is not reached").await?;
    tray_says(&session, "the tray says which", "offline", "Headquarters · ").await?;
    here.sign("fetched")?;
    here.sign("installed")?;
    ensure!(here.ended().await?.success());
    there.sign("enough")?;

    // It comes back, and with it what was printed meanwhile: nothing is missing, nothing there twice.
    elsewhere.collector.launch()?;
    stands(&page, &id, "ready", "").await?;
    ensure!(there.ended().await?.success());
    until("the run has ended at the other collector too", async || {
        (deployment_on(&page, &id, "Bay 5").await.ok()?["state"] == "succeeded").then_some(())
    })
    .await?;
    let printed = raw(&page, &id, "Bay 5").await?;
    let count = printed.lines().last().and_then(|line| line.strip_prefix("last "));
    let count: u64 = count.context("the last line arrived")?.parse()?;
    let wanted: String = (1..=count).map(|n| format!("line {n}\r\n")).collect();
    ensure!(printed == format!("{wanted}last {count}\r\n"), "{} bytes", printed.len());
    let last = format!(
        "return [...document.querySelectorAll('[data-row]')].some((row) => row.textContent.includes('last {count}'))"
    );
    until("the last line is on the screen, without anybody's doing", async || {
        page.run(&last).await.ok().filter(|shown| shown == &Value::Bool(true))
    })
    .await?;
    tray_says(&session, "all is well", "idle", "Nothing is being installed").await?;

    // Each tells of its failure, says where it is, and leads there.
    let mut failing = [
        Console::start(&session, &local, "Bay 3", BAD)?,
        elsewhere.console(&session, "Bay 7", BAD)?,
    ];
    for (console, (name, connection, title)) in failing.iter_mut().zip([
        ("Bay 3", "local", "This computer · Bay 3: installation failed"),
        ("Bay 7", id.as_str(), "Headquarters · Bay 7: installation failed"),
    ]) {
        console.sign("fetched")?;
        let (notice, _) = until("the failure is told", async || session.bus.notice(title))
            .await
            .with_context(|| format!("{:?}", session.bus.notices()))?;
        ensure!(console.ended().await?.code() == Some(100));
        let run = match connection {
            "local" => deployment_named(&page, name).await?,
            other => deployment_on(&page, other, name).await?,
        };
        // The page shows the other one before, each time.
        let venue = if connection == "local" { "My venue" } else { VENUE };
        opens(&session, &page, notice, venue, &run).await?;
    }
    tray_says(&session, "both failures are seen", "idle", "Nothing is being installed").await?;

    // Another key answers at its address.
    elsewhere.collector.stop()?;
    let before = elsewhere.pin()?;
    std::fs::remove_dir_all(elsewhere.collector.data().join("tls"))?;
    elsewhere.collector.launch()?;
    ensure!(elsewhere.pin()? != before, "the key is another one");
    let alarm = stands(&page, &id, "waiting", "another key answers").await?;
    let sentence = alarm["sentence"].as_str().context("a sentence")?;
    ensure!(sentence.contains(&elsewhere.pin()?), "{sentence}");
    tray_says(&session, "the tray says it", "offline", "another key answers").await?;
    page.run("location.hash = '#/connections'").await?;
    until("the page raises the alarm", async || {
        (healths(&page).await.ok()? == ["good", "other-key"]).then_some(())
    })
    .await?;
    session.picture("other-key")?;
    let ask = json!({ "connection": id, "method": "GET", "path": "/api/v1/info" });
    let Err(refused) = page.invoke("request", ask).await else {
        bail!("it was asked although its key is another one");
    };
    ensure!(refused.to_string().contains("other_key"), "{refused}");
    // It saw greetings that broke off, and nobody who said who they are.
    until("the app has tried", async || {
        let broken_off = elsewhere.metric("deckport_refused_total{code=\"handshake\"}").ok()?;
        (broken_off > 0).then_some(())
    })
    .await?;
    ensure!(elsewhere.metric("deckport_viewers")? == 0);
    ensure!(elsewhere.metric("deckport_refused_total{code=\"unauthenticated\"}")? == 0);

    // The other one is watched as before.
    let mut here = Console::start(&session, &local, "Bay 2", "echo ready; sign done")?;
    until("the page still has its own collector", async || {
        deployment_named(&page, "Bay 2").await.ok()
    })
    .await?;
    here.sign("done")?;
    ensure!(here.ended().await?.success());
    // Removed, it is gone for good.
    page.invoke("remote_remove", json!({ "connection": id })).await?;
    tray_says(&session, "nothing is wrong any more", "idle", "Nothing is being installed").await?;
    let kept = std::fs::read_to_string(session.data.path().join("sessions.json"))?;
    ensure!(!kept.contains("dps_"), "the login went with it");
    Ok(())
}
