//! Adding and removing consoles.

use super::TokenCommand;
use super::client::Client;
use deckport_protocol::rows::visible;
use hyper::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(super) async fn run(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { venue, template, ttl, uses, json, target } => {
            let client = Client::new(&target)?;
            let asked = json!({ "venue": venue, "template": template, "ttl_s": ttl, "uses": uses });
            let made = client.ask(Method::POST, "/api/v1/join-tokens", Some(&asked)).await?;
            if json {
                println!("{made}");
            } else {
                print!("{}", told(&made));
            }
        }
        TokenCommand::List { json, target } => {
            let all = Client::new(&target)?.get("/api/v1/join-tokens").await?;
            let all = all["invitations"].as_array().cloned().unwrap_or_default();
            if json {
                println!("{}", Value::Array(all));
                return Ok(());
            }
            for one in all {
                println!(
                    "{}  {}  {} of {} used  {}  {}",
                    text(&one["id"]),
                    text(&one["state"]),
                    one["uses"],
                    one["most_uses"],
                    text(&one["template"]),
                    text(&one["venue"]),
                );
            }
        }
        TokenCommand::Revoke { id, target } => {
            let path = format!("/api/v1/join-tokens/{}", encoded(&id));
            Client::new(&target)?.ask(Method::DELETE, &path, None).await?;
            println!("The code lets nobody in any more.");
        }
    }
    Ok(())
}

pub(super) async fn consoles(client: &Client, json: bool) -> anyhow::Result<()> {
    let all = client.get("/api/v1/consoles").await?;
    let all = all["consoles"].as_array().cloned().unwrap_or_default();
    if json {
        println!("{}", Value::Array(all));
        return Ok(());
    }
    for one in all {
        let linked = if one["linked_since"].is_null() { "away" } else { "linked" };
        println!(
            "{}  {}  {linked}  {}",
            text(&one["id"]),
            text(&one["standing"]),
            visible(&text(&one["name"]))
        );
    }
    Ok(())
}

pub(super) async fn revoke_console(
    client: &Client,
    id: deckport_protocol::ConsoleId,
) -> anyhow::Result<()> {
    client.ask(Method::POST, &format!("/api/v1/consoles/{id}/revoke"), None).await?;
    println!("The console is removed; what it had open is closed.");
    Ok(())
}

pub(super) async fn order(
    client: &Client,
    id: deckport_protocol::ConsoleId,
    order: &str,
) -> anyhow::Result<()> {
    let asked = json!({ "order": order });
    let path = format!("/api/v1/consoles/{id}/order");
    let answer = client.ask(Method::POST, &path, Some(&asked)).await?;
    let said = text(&answer["message"]);
    let said = visible(&said);
    if answer["accepted"] != true {
        anyhow::bail!("the console refused: {said}");
    }
    println!("{said}");
    Ok(())
}

/// What somebody at a terminal needs to add a console.
fn told(made: &Value) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Code: {}", text(&made["code"]));
    let lines = made["lines"].as_array().cloned().unwrap_or_default();
    let _ = writeln!(out, "\nPaste at the console, and type the code when it asks:\n");
    for line in &lines {
        let _ = writeln!(out, "  {}", text(&line["line"]));
    }
    if made["only_here"] == true {
        let _ = writeln!(
            out,
            "\nThis collector listens on this machine only: start it with --listen 0.0.0.0:7443 for consoles elsewhere."
        );
    }
    let _ = writeln!(out, "\nThe collector's key, shortened: {}", text(&made["pin_short"]));
    out
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
