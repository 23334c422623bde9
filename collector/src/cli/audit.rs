//! `audit verify`, `audit list` and `audit export`.

use super::client::Client;
use super::{AuditCommand, AuditFilter};
use deckport_collector::audit::{Inspected, verify};
use deckport_collector::config::Database;
use deckport_protocol::Pin;
use deckport_protocol::rows::visible;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) async fn run(command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify { data, database, checkpoints, key, json } => {
            verify_all(data, database, checkpoints, key, json).await
        }
        AuditCommand::List { filter, limit, json, target } => {
            list(&Client::new(&target)?, &filter, limit, json).await?;
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Export { filter, format, target } => {
            let path = format!("/api/v1/audit/export?format={format}{}", asked(&filter));
            let mut out = std::io::stdout().lock();
            out.write_all(&Client::new(&target)?.bytes(&path).await?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn verify_all(
    data: PathBuf,
    database: Option<Database>,
    copies: Vec<PathBuf>,
    key: Option<Pin>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let database = database.unwrap_or(Database::InDirectory);
    let inspected =
        Inspected { data_dir: &data, database: &database, copies: &copies, key, until: None };
    let found = verify(inspected).await?;
    let mut out = std::io::stdout().lock();
    if as_json {
        let told = json!({ "sound": found.is_sound(), "found": found });
        serde_json::to_writer_pretty(&mut out, &told)?;
        writeln!(out)?;
    } else {
        for problem in &found.problems {
            writeln!(out, "{}", visible(&problem.to_string()))?;
        }
        if found.more_problems > 0 {
            writeln!(out, "and {} more", found.more_problems)?;
        }
        let key = found.key.map_or_else(|| "none".to_owned(), |key| key.to_string());
        let word = if found.is_sound() {
            "as they were written".to_owned()
        } else {
            match found.problems.len() as u64 + found.more_problems {
                1 => "1 problem".to_owned(),
                many => format!("{many} problems"),
            }
        };
        writeln!(
            out,
            "{} entries, {} signed points, key {key}: {word}",
            found.entries, found.checkpoints
        )?;
    }
    Ok(if found.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn list(
    client: &Client,
    filter: &AuditFilter,
    limit: u64,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut before: Option<u64> = None;
    let mut left = limit;
    // Goal: so many entries. Exit: that many, or there are no more.
    while left > 0 {
        let mut path = format!("/api/v1/audit?limit={}{}", left.min(500), asked(filter));
        if let Some(before) = before {
            path.push_str(&format!("&before={before}"));
        }
        let page = client.get(&path).await?;
        for entry in page["entries"].as_array().into_iter().flatten() {
            left = left.saturating_sub(1);
            if as_json {
                let line = entry.to_string();
                writeln!(out, "{}", deckport_protocol::rows::visible_json(&line))?;
            } else {
                writeln!(out, "{}", visible(&line_of(entry)))?;
            }
        }
        before = page["next"].as_u64();
        if before.is_none() {
            break;
        }
    }
    Ok(())
}

fn line_of(entry: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let at = chrono::DateTime::from_timestamp_micros(entry["at"].as_i64().unwrap_or(0));
    let at = at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)).unwrap_or_default();
    let who = match (entry["actor"]["id"].as_str(), entry["address"].as_str()) {
        (Some(id), _) => format!("{} {id}", text(&entry["actor"]["kind"])),
        (None, Some(address)) => format!("{} at {address}", text(&entry["actor"]["kind"])),
        (None, None) => text(&entry["actor"]["kind"]),
    };
    let subject = match entry["subject"]["id"].as_str() {
        Some(id) => format!("  {} {id}", text(&entry["subject"]["kind"])),
        None => String::new(),
    };
    let outcome = text(&entry["outcome"]);
    let line = format!(
        "{:>6}  {at}  {outcome:<6}  {}  {who}{subject}",
        entry["position"],
        text(&entry["action"])
    );
    line.trim_end().to_owned()
}

/// The filter, as it stands behind the first parameter.
fn asked(filter: &AuditFilter) -> String {
    let given = [
        ("actor", &filter.actor),
        ("action", &filter.action),
        ("outcome", &filter.outcome),
        ("subject", &filter.subject),
        ("text", &filter.text),
    ];
    given
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
        .map(|(name, value)| {
            let set = percent_encoding::NON_ALPHANUMERIC;
            format!("&{name}={}", percent_encoding::utf8_percent_encode(value, set))
        })
        .collect()
}
