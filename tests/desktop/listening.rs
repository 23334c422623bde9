//! The switch that lets consoles elsewhere reach the app's collector.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use deckport_tests::collector::free_port;
use deckport_tests::desktop::{Session, until};
use serde_json::{Value, json};

use crate::console::Console;
use crate::{deployment_named, tray_says};

/// It takes effect while a deployment runs, loses nothing of it, is kept, and refuses what cannot be had.
#[tokio::test(flavor = "multi_thread")]
async fn consoles_elsewhere_are_let_in_without_losing_a_line() -> Result<()> {
    let mut session = Session::start().await?;
    let port = free_port();
    let preferences = session.data.path().join("preferences.json");
    std::fs::write(&preferences, json!({ "listen_port": port }).to_string())?;
    let page = session.open_as_chosen().await?;
    let collector = session.collector().await?;
    ensure!(collector == format!("https://127.0.0.1:{port}"), "on this machine only: {collector}");
    let counting = r#"n=0; until [ -e "$SIGNS/enough" ]; do n=$((n+1)); echo "line $n"; sleep 0.01; done; echo "last $n""#;
    let mut console = Console::start(&session, &collector, "Bay 4", counting)?;
    tray_says(&session, "the console is there", "running", "1 running").await?;

    // The hint in Add consoles leads to the switch.
    // The key is for who may add, which the page has to learn first.
    let follow = "const link = document.querySelector('[role=dialog] [data-testid=reach-note] a');
        if (link) link.click();
        else if (!document.querySelector('[role=dialog]'))
            document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', bubbles: true }));
        return link !== null";
    let followed = until("the hint is in the dialog", async || {
        page.run(follow).await.ok().filter(|done| done == &Value::Bool(true))
    })
    .await;
    session.picture("hint")?;
    followed?;
    let press = "const box = document.querySelector('[data-testid=listen-on-network]');
        if (!box || box.disabled || document.activeElement !== box) return null;
        box.click(); return true";
    until("the switch has the focus", async || {
        page.run(press).await.ok().filter(|done| done == &Value::Bool(true))
    })
    .await?;
    let wide = format!("https://0.0.0.0:{port}");
    until("it listens everywhere", async || {
        let all = page.invoke("connections", json!({})).await.ok()?;
        (all[0]["listen"] == wide.as_str() && all[0]["state"] == "ready").then_some(())
    })
    .await?;
    // Any address of this machine's will do.
    let other = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), port);
    ensure!(std::net::TcpStream::connect(other).is_ok());
    session.picture("listening")?;

    // A port that is taken is refused with that, and all goes on as it was.
    let taken = TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))?;
    let change = json!({ "preferences": { "listen_port": taken.local_addr()?.port() } });
    let refused = page.invoke("preferences_set", change).await.err().context("a refusal")?;
    ensure!(refused.to_string().contains("is used by another program"), "{refused}");
    ensure!(page.invoke("preferences_get", json!({})).await?["listen_port"] == port);
    ensure!(std::net::TcpStream::connect(other).is_ok());

    // And back. The run has all its lines, across both restarts.
    let change = json!({ "preferences": { "listen_on_network": false } });
    page.invoke("preferences_set", change).await?;
    ensure!(std::net::TcpStream::connect(other).is_err(), "only this machine again");
    console.sign("enough")?;
    ensure!(console.ended().await?.success());
    let run = until("the run has ended", async || {
        deployment_named(&page, "Bay 4").await.ok().filter(|run| run["state"] == "succeeded")
    })
    .await?;
    let path = format!("/api/v1/deployments/{}/raw", run["id"].as_str().context("an id")?);
    let ask = json!({ "connection": "local", "method": "GET", "path": path });
    let answer = page.invoke("request", ask).await?;
    let printed = answer["body"].as_str().context("a body")?;
    let last = printed.lines().last().and_then(|line| line.strip_prefix("last "));
    let count: u64 = last.context("the last line arrived")?.parse()?;
    let wanted: String = (1..=count).map(|n| format!("line {n}\r\n")).collect();
    ensure!(printed == format!("{wanted}last {count}\r\n"), "{} bytes", printed.len());
    let kept: Value = serde_json::from_slice(&std::fs::read(&preferences)?)?;
    ensure!(kept["listen_on_network"] == false && kept["listen_port"] == port, "{kept}");
    Ok(())
}
