//! Jumps in a log that is much longer than what a window holds of it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use deckport_tests::api::Api;
use deckport_tests::desktop::probe::Probe;
use deckport_tests::desktop::webdriver::Page;
use deckport_tests::desktop::{Session, until};
use deckport_tests::dice::Dice;
use deckport_tests::programs;
use serde_json::{Value, json};

use crate::ANY_PORT;
use crate::console::Console;

const LINES: u64 = 20_000;

/// The rows in the document, in its order: number, record, text, and where its upper edge is.
async fn rows(page: &Page) -> Result<Vec<(u64, u64, String, f64)>> {
    let script = "return [...document.querySelectorAll('[data-testid=log-viewer] [data-row]')].map((row) =>
        [Number(row.dataset.row), Number(row.dataset.seq), row.querySelector('[data-text]').textContent, row.getBoundingClientRect().top])";
    Ok(serde_json::from_value(page.run(script).await?)?)
}

/// Each row stands under the one before it, in the document as on the screen, and shows the line of its number.
async fn in_order(page: &Page) -> Result<Vec<(u64, u64, String, f64)>> {
    let rows = rows(page).await?;
    ensure!(rows.len() > 10, "{} rows", rows.len());
    for pair in rows.windows(2) {
        ensure!(pair[1].0 == pair[0].0 + 1 && pair[1].3 > pair[0].3, "{pair:?}");
    }
    for (row, _, text, _) in &rows {
        ensure!(text.starts_with(&format!("#{row} ")), "row {row}: {text}");
    }
    Ok(rows)
}

/// Wherever a link leads in a log that somebody else reads too, its record is in sight and the rows around it are those of the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_jump_lands_on_its_record_among_its_neighbours() -> Result<()> {
    let mut session = Session::start().await?;
    let page = session.open(ANY_PORT).await?;
    let collector = session.collector().await?;
    let agent = programs::agent()?.display().to_string();
    let script = format!("'{agent}' simulate --stamp --phases= --lines={LINES}; sign enough");
    let mut console = Console::start(&session, &collector, "Bay 2", &script)?;

    // From outside of the app, as a script in the venue would look.
    let listen: SocketAddr = collector.trim_start_matches("https://").parse()?;
    let token = std::fs::read_to_string(session.token_file())?.trim().to_owned();
    let outside = Api { port: listen.port(), token: Some(token) };
    let stored = async || {
        let listed = outside.json("/api/v1/deployments").ok()?;
        let one = listed["deployments"].as_array()?.first()?.clone();
        (one["rows"].as_u64()? >= LINES).then_some(one)
    };
    let run: Value = until("all lines are stored", stored).await?;
    let id = run["id"].as_str().context("an id")?;

    let probe = Probe::put(&page).await?;
    probe.open(id).await?;
    in_order(&page).await?;

    // An answer that the page has given up is not waited for, and the next one comes as ever.
    let path = format!("/api/v1/deployments/{id}/matches?q=%23");
    let ask = json!({ "connection": "local", "method": "GET", "path": path, "number": 7 });
    page.invoke("request_give_up", json!({ "number": 7 })).await?;
    let Err(given_up) = page.invoke("request", ask.clone()).await else {
        bail!("it was answered although it was given up");
    };
    ensure!(given_up.to_string().contains("given_up"), "{given_up}");
    let answer = page.invoke("request", ask).await?;
    ensure!(answer["status"] == 200, "{answer}");

    let mut dice = Dice::new(3);
    for _ in 0..12 {
        // Not every record begins a row.
        let row = 100 + dice.below(LINES - 200);
        let there = outside.json(&format!("/api/v1/deployments/{id}/rows?from={row}&count=1"))?;
        let record = there["rows"][0]["seq"].as_u64().context("a record")?;
        probe.jump(id, record).await?;
        let rows = in_order(&page).await?;
        let found = rows.iter().find(|shown| shown.1 == record);
        ensure!(
            found.is_some_and(|shown| shown.0 == row && shown.3 > 0.0),
            "record {record} of row {row} among {rows:?}"
        );
        // From there by pages, which move the rows that stay.
        let key = ["PageDown", "PageUp"][usize::from(dice.below(2) == 1)];
        let press = format!(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true }}))"
        );
        let before = rows[0].0;
        page.run(&press).await?;
        until("the page is turned", async || {
            let there = "return document.querySelector('[data-testid=log-viewer]').dataset.complete === 'true'";
            let complete = page.run(there).await.ok()? == Value::Bool(true);
            let first = self::rows(&page).await.ok()?.first()?.0;
            (complete && first != before).then_some(())
        })
        .await?;
        in_order(&page).await?;
    }
    session.picture("jumped")?;
    console.sign("enough")?;
    ensure!(console.ended().await?.success());
    Ok(())
}
