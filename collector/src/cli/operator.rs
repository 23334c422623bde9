//! Operators, from the command line: how the first one comes in.

use super::OperatorCommand;
use super::client::Client;
use anyhow::{Context as _, bail};
use hyper::Method;
use serde_json::{Value, json};
use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

const PATH: &str = "/api/v1/operators";

pub(super) async fn run(command: OperatorCommand) -> anyhow::Result<()> {
    match command {
        OperatorCommand::Add { login, name, role, venue, password_file, identity, target } => {
            let client = Client::new(&target)?;
            let name = name.unwrap_or_else(|| login.clone());
            let mut venues = serde_json::Map::new();
            for venue in &venue {
                venues.insert(super::venue::id(&client, venue).await?, role.clone().into());
            }
            let everywhere = venue.is_empty().then_some(&role);
            let mut asked =
                json!({ "login": login, "name": name, "role": everywhere, "venues": venues });
            match identity {
                Some(identity) => asked["identity"] = identity.into(),
                None => asked["password"] = password(password_file.as_deref())?.into(),
            }
            client.ask(Method::POST, PATH, Some(&asked)).await?;
            let place =
                if venue.is_empty() { String::new() } else { format!(" in {}", venue.join(", ")) };
            println!("{login} may log in, as {}{place}.", role.replace('_', " "));
        }
        OperatorCommand::List { json, target } => {
            let all = listed(&Client::new(&target)?).await?;
            if json {
                println!("{}", Value::Array(all));
                return Ok(());
            }
            for one in all {
                let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
                let shut = if one["disabled_at"].is_null() { "" } else { "  (shut out)" };
                let role = match one["everywhere"].as_str() {
                    Some(role) => role.to_owned(),
                    None => format!("{} in single venues", text("role")),
                };
                println!("{}  {role}  {}{shut}", text("login"), text("name"));
            }
        }
        OperatorCommand::Password { login, password_file, forget_second_factor, target } => {
            let client = Client::new(&target)?;
            let all = listed(&client).await?;
            let known = all.into_iter().find(|one| one["login"] == login.as_str());
            let known = known.with_context(|| format!("nobody logs in as {login}"))?;
            let password = password(password_file.as_deref())?;
            let asked = json!({
                "login": login, "name": known["name"], "password": password,
                // Where they have it: a role in one venue does not become one in all.
                "role": known["everywhere"], "venues": known["venues"],
                "disabled": !known["disabled_at"].is_null(),
                "forget_second_factor": forget_second_factor,
            });
            let path = format!("{PATH}/{}", known["id"].as_str().unwrap_or_default());
            client.ask(Method::PUT, &path, Some(&asked)).await?;
            println!("{login} has a new password; what they had open has ended.");
        }
    }
    Ok(())
}

async fn listed(client: &Client) -> anyhow::Result<Vec<Value>> {
    let all = client.get(PATH).await?;
    Ok(all["operators"].as_array().cloned().unwrap_or_default())
}

/// From a file, from standard input, or typed without being shown.
fn password(file: Option<&Path>) -> anyhow::Result<String> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("the password could not be read from {}", file.display()))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    let stdin = std::io::stdin();
    let line = |stdin: &std::io::Stdin| -> anyhow::Result<String> {
        let mut line = String::new();
        if stdin.lock().read_line(&mut line)? == 0 {
            bail!("no password was given");
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    if !stdin.is_terminal() {
        return line(&stdin);
    }
    let quiet = Quiet::new()?;
    eprint!("Password: ");
    let first = line(&stdin)?;
    eprint!("\nThe same again: ");
    let second = line(&stdin)?;
    eprintln!();
    drop(quiet);
    if first != second {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(first)
}

/// The terminal shows nothing of what is typed, until this is dropped.
struct Quiet(rustix::termios::Termios);

impl Quiet {
    fn new() -> anyhow::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
