//! Venues and organisations.

use super::client::Client;
use super::{OrganisationCommand, VenueCommand};
use anyhow::Context as _;
use deckport_protocol::rows::visible;
use hyper::Method;
use serde_json::{Value, json};

const VENUES: &str = "/api/v1/venues";
const ORGANISATIONS: &str = "/api/v1/organisations";

pub(super) async fn run(command: VenueCommand) -> anyhow::Result<()> {
    match command {
        VenueCommand::Add { name, target } => {
            let asked = json!({ "name": name });
            let made = Client::new(&target)?.ask(Method::POST, VENUES, Some(&asked)).await?;
            println!("There is a venue {} now.", told(&made["name"]));
        }
        VenueCommand::List { json, target } => {
            let all = Client::new(&target)?.get(VENUES).await?;
            list(&all["venues"], json);
        }
        VenueCommand::Rename { venue, name, target } => {
            let client = Client::new(&target)?;
            let id = id(&client, &venue).await?;
            let asked = json!({ "name": name });
            client.ask(Method::PUT, &format!("{VENUES}/{id}"), Some(&asked)).await?;
            println!("{} is called {} now.", visible(&venue), visible(&name));
        }
    }
    Ok(())
}

pub(super) async fn organisations(command: OrganisationCommand) -> anyhow::Result<()> {
    match command {
        OrganisationCommand::Add { name, target } => {
            let asked = json!({ "name": name });
            let made = Client::new(&target)?.ask(Method::POST, ORGANISATIONS, Some(&asked)).await?;
            println!(
                "There is an organisation {} now, with a venue of that name.",
                told(&made["name"])
            );
        }
        OrganisationCommand::List { json, target } => {
            let all = Client::new(&target)?.get(ORGANISATIONS).await?;
            list(&all["organisations"], json);
        }
    }
    Ok(())
}

/// The id of a venue that is named by name or id.
pub(super) async fn id(client: &Client, venue: &str) -> anyhow::Result<String> {
    let all = client.get(VENUES).await?;
    found(&all["venues"], venue).with_context(|| format!("there is no venue {}", visible(venue)))
}

/// The id of the one in `all` that has this name or id.
pub(super) fn found(all: &Value, named: &str) -> Option<String> {
    let mut all = all.as_array().into_iter().flatten();
    let one = all.find(|one| one["name"] == named || one["id"] == named)?;
    one["id"].as_str().map(str::to_owned)
}

fn list(all: &Value, json: bool) {
    if json {
        println!("{all}");
        return;
    }
    for one in all.as_array().into_iter().flatten() {
        println!("{}  {}", told(&one["id"]), told(&one["name"]));
    }
}

fn told(value: &Value) -> String {
    visible(value.as_str().unwrap_or_default()).into_owned()
}
