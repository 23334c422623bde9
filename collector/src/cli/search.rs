//! `search`: what was found, the newest first.

use super::client::Client;
use chrono::{Local, Offset as _, TimeZone as _};
use deckport_protocol::rows::{visible, visible_json};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::io::{BufWriter, Write};

/// Hits that are asked for at once.
const PAGE: usize = 500;

fn path(query: &str, limit: usize) -> String {
    let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
    let tz = Local::now().offset().fix().local_minus_utc() / 60;
    format!("/api/v1/search?q={query}&tz={tz}&limit={limit}")
}

pub(super) async fn count(client: &Client, query: &str) -> anyhow::Result<()> {
    let page = client.get(&format!("{}&count=true", path(query, 0))).await?;
    warn_of_unreadable(page["progress"]["unreadable"].as_u64());
    writeln!(std::io::stdout(), "{}", page["matched"])?;
    Ok(())
}

fn warn_of_unreadable(blocks: Option<u64>) {
    if let Some(blocks @ 1..) = blocks {
        eprintln!(
            "warning: {blocks} blocks cannot be read; what they hold is missing here (`store check` says more)"
        );
    }
}

pub(super) async fn run(
    client: &Client,
    query: &str,
    json: bool,
    limit: usize,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout());
    let mut printed = 0;
    let mut before: Option<String> = None;
    let mut unreadable = 0;
    if json {
        out.write_all(b"[")?;
    }
    // Goal: `limit` rows. Exits: they are printed; there are no more.
    loop {
        let mut path = path(query, PAGE.min(limit - printed));
        if let Some(before) = &before {
            path.push_str(&format!("&before={before}"));
        }
        let page = client.get(&path).await?;
        for hit in page["hits"].as_array().into_iter().flatten() {
            if json {
                out.write_all(if printed == 0 { b"\n" } else { b",\n" })?;
                out.write_all(visible_json(&serde_json::to_string(hit)?).as_bytes())?;
            } else {
                writeln!(out, "{}", line(hit))?;
            }
            printed += 1;
        }
        unreadable = unreadable.max(page["progress"]["unreadable"].as_u64().unwrap_or(0));
        before = page["next"].as_str().map(str::to_owned);
        if before.is_none() || printed >= limit {
            break;
        }
    }
    if json {
        out.write_all(b"\n]\n")?;
    }
    out.flush()?;
    warn_of_unreadable(Some(unreadable));
    if printed == 0 && !json {
        eprintln!("Nothing was found.");
    }
    Ok(())
}

fn line(hit: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = &hit["row"];
    let at = row["at"].as_i64().and_then(|at| Local.timestamp_micros(at).single());
    let at = at.map_or(String::new(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string());
    let level = match row["level"].as_str() {
        Some("error") => "E",
        Some("warning") => "W",
        _ => " ",
    };
    let line = format!("{at}  {:<16} {level} {}", text(&hit["console_name"]), text(&row["text"]));
    visible(&line).into_owned()
}
