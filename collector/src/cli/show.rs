//! `deployments` and `watch`.

use super::client::Client;
use deckport_protocol::rows::{visible, visible_json};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write as _;
use tokio_tungstenite::tungstenite::Message;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn line(summary: &Value) -> String {
    let phase = summary["current_phase"]
        .as_u64()
        .and_then(|index| summary["phases"].get(usize::try_from(index).ok()?))
        .map_or("", |phase| text(phase, "name"));
    let state = match summary["outcome"].as_str() {
        Some(outcome) => outcome.to_owned(),
        None => format!("{} ({})", text(summary, "state"), text(&summary["presence"], "kind")),
    };
    let last = match summary["failure"]["message"].as_str() {
        Some(message) => message,
        None => summary["last_line"]["text"].as_str().unwrap_or_default(),
    };
    let line = format!(
        "{}  {:<16} {:<20} {:<20} {:>8} rows  {}",
        text(summary, "id"),
        text(summary, "name"),
        state,
        phase,
        summary["rows"],
        last
    );
    visible(&line).trim_end().to_owned()
}

pub(super) async fn deployments(
    client: &Client,
    json: bool,
    state: Option<&str>,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let mut path = "/api/v1/deployments?limit=500".to_owned();
        for (name, value) in [("state", state), ("before", before.as_deref())] {
            if let Some(value) = value.filter(|v| !v.contains(['&', '#', ' '])) {
                path.push_str(&format!("&{name}={value}"));
            }
        }
        let mut page = client.get(&path).await?;
        if let Some(found) = page["deployments"].as_array_mut() {
            all.append(found);
        }
        before = page["next"].as_str().map(str::to_owned);
        if before.is_none() {
            break;
        }
    }
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", visible_json(&serde_json::to_string_pretty(&all)?))?;
    } else if all.is_empty() {
        writeln!(out, "No deployments yet.")?;
    } else {
        for summary in &all {
            writeln!(out, "{}", line(summary))?;
        }
    }
    Ok(())
}

pub(super) async fn watch(client: &Client) -> anyhow::Result<()> {
    let mut socket = client.live().await?;
    let subscribe = r#"{"type":"subscribe","id":1,"topic":"fleet"}"#;
    socket.send(Message::text(subscribe)).await?;
    // A line is printed when something other than its row count and last line changed, or it failed.
    let mut shown: HashMap<String, String> = HashMap::new();
    while let Some(message) = socket.next().await {
        let Message::Text(body) = message? else { continue };
        let message: Value = serde_json::from_str(&body)?;
        if message["type"] == "error" {
            anyhow::bail!("{}", text(&message["error"], "message"));
        }
        let data = &message["data"];
        let changed = data["deployments"].as_array().or_else(|| data["changed"].as_array());
        for summary in changed.into_iter().flatten() {
            let key = format!(
                "{} {} {}",
                summary["state"], summary["presence"]["kind"], summary["current_phase"]
            );
            let before = shown.insert(text(summary, "id").to_owned(), key.clone());
            if before.as_ref() != Some(&key) {
                writeln!(std::io::stdout().lock(), "{}", line(summary))?;
            }
        }
    }
    anyhow::bail!("the collector closed the connection")
}
