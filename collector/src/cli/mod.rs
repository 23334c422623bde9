//! The command line.

mod audit;
mod client;
mod discover;
mod logs;
mod operator;
mod search;
mod serve;
mod show;
mod store;
mod token;
mod venue;

use clap::{Args, Parser, Subcommand};
use deckport_protocol::{ConsoleId, DeploymentId};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Takes in what consoles send, stores it durably, and serves viewers.
#[derive(Debug, Parser)]
#[command(name = "deckport-collector", version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a collector.
    Serve(Box<Serve>),
    /// Lists deployments, newest first.
    Deployments {
        #[command(flatten)]
        target: Target,
        /// A list of JSON objects.
        #[arg(long)]
        json: bool,
        /// Only those in this state.
        #[arg(long)]
        state: Option<String>,
    },
    /// Prints the log of a deployment.
    Logs {
        id: DeploymentId,
        #[command(flatten)]
        target: Target,
        /// Goes on as it grows, through restarts of the collector, until the deployment ends.
        #[arg(long, short)]
        follow: bool,
        /// The bytes as they were read from the terminal, escapes and all.
        #[arg(long, conflicts_with = "json")]
        raw: bool,
        /// One JSON object a row.
        #[arg(long)]
        json: bool,
    },
    /// Finds rows in all that was ever printed, the newest first.
    ///
    /// A query is words (`disk full`), "phrases", 'exact text', /regular expressions/ and fields (level:error, phase:, step:,
    /// console:, template:, outcome:failed, since:2h, after:2026-11-01, …), combined with and, or, not and brackets. One that
    /// begins with `-` stands last, behind `--`.
    Search {
        /// What to look for; several arguments are one query.
        #[arg(required = true, num_args = 1..)]
        query: Vec<String>,
        #[command(flatten)]
        target: Target,
        /// A list of JSON objects, each on a line of its own.
        #[arg(long)]
        json: bool,
        /// Rows at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only how many rows match.
        #[arg(long, conflicts_with_all = ["json", "limit"])]
        count: bool,
    },
    /// Follows all deployments: a line for each change.
    Watch {
        #[command(flatten)]
        target: Target,
    },
    /// Lists collectors that make themselves known on this network.
    ///
    /// What is listed is only what somebody there says. Before you trust one, compare the short form of its key with what its own
    /// screen shows.
    Discover {
        /// How long to listen, such as 3s.
        #[arg(long = "for", default_value = "3s", value_parser = seconds, value_name = "DURATION")]
        patience: u64,
        /// A list of JSON objects.
        #[arg(long)]
        json: bool,
    },
    /// Codes to add consoles with.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Places with consoles.
    #[command(subcommand)]
    Venue(VenueCommand),
    /// Whoever runs venues: one collector can serve several, and none sees another's.
    #[command(subcommand)]
    Organisation(OrganisationCommand),
    /// People who may log in.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Lists consoles.
    Consoles {
        #[command(flatten)]
        target: Target,
        /// A list of JSON objects.
        #[arg(long)]
        json: bool,
    },
    /// Removes a console: its certificate counts no more, and what it has open ends at once.
    Revoke {
        id: ConsoleId,
        #[command(flatten)]
        target: Target,
    },
    /// Tells a console that is connected to do something.
    Order {
        id: ConsoleId,
        /// Run the deployment of its template, or renew its certificate.
        #[arg(value_parser = ["deploy", "renew"])]
        order: String,
        #[command(flatten)]
        target: Target,
    },
    /// Who did what: the audit trail.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Looks after what is stored.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Prints the OpenAPI document.
    Openapi,
}

/// Roles, as they are written.
const ROLES: [&str; 4] = ["viewer", "operator", "tournament_director", "admin"];

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Lets somebody log in. The password is asked for.
    Add {
        /// What they type to log in.
        login: String,
        /// Their name [default: the login].
        #[arg(long)]
        name: Option<String>,
        /// What they may do.
        #[arg(long, default_value = "operator", value_parser = ROLES)]
        role: String,
        /// Only in this venue, by name or id; may be said several times [default: in all venues].
        #[arg(long, value_name = "VENUE")]
        venue: Vec<String>,
        /// Read the password from this file instead.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// No password: a login provider knows them by this e-mail address, or by this name of its own (`sub`).
        #[arg(long, conflicts_with = "password_file")]
        identity: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Lists those who may log in.
    List {
        /// A list of JSON objects.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Gives somebody a new password; what they have open ends.
    Password {
        login: String,
        /// Read the password from this file instead.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Take the second factor away as well: the phone is lost.
        #[arg(long)]
        forget_second_factor: bool,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum VenueCommand {
    /// Makes a venue.
    Add {
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Lists venues.
    List {
        /// A list of JSON objects.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Gives a venue another name.
    Rename {
        /// Its name or id.
        venue: String,
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrganisationCommand {
    /// Makes an organisation, with a first venue of the same name.
    Add {
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Lists organisations.
    List {
        /// A list of JSON objects.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a code and prints it with the line to paste at the console.
    Create {
        /// The venue, by name or id [default: the only one].
        #[arg(long)]
        venue: Option<String>,
        /// What is installed on the console: a script in the directory `templates`, or `console`.
        #[arg(long, default_value = "console")]
        template: String,
        /// How long the code is good, such as 15m, 2h or 1d.
        #[arg(long, default_value = "15m", value_parser = seconds, value_name = "DURATION")]
        ttl: u64,
        /// How many consoles it lets in.
        #[arg(long, default_value_t = 1)]
        uses: u64,
        /// A JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Lists codes that were given out.
    List {
        /// A list of JSON objects.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Takes a code back.
    Revoke {
        /// As `list` shows it.
        id: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Finds any edit, cut, swap or truncation of the trail, and names the place. Reads only; the collector may be running.
    ///
    /// Exit code 1: something is not as it was written. Note the key that it prints somewhere else, and carry a console's
    /// file of checkpoints here (`audit.checkpoints` in its state directory): they tell of what this machine's own files cannot.
    Verify {
        /// The collector's data directory.
        #[arg(long)]
        data: PathBuf,
        /// Where the database is, if not in a file in the directory.
        #[arg(long, value_name = "URL", env = "DECKPORT_DATABASE")]
        database: Option<deckport_collector::config::Database>,
        /// Checkpoints that a console kept; may be given several times.
        #[arg(long, value_name = "FILE")]
        checkpoints: Vec<PathBuf>,
        /// The trail's key as it was noted before, sha256//…
        #[arg(long, value_name = "PIN")]
        key: Option<deckport_protocol::Pin>,
        /// A JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Lists entries, newest first.
    List {
        #[command(flatten)]
        filter: AuditFilter,
        /// Entries at most.
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// A JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Prints the trail as a file, oldest entry first.
    Export {
        #[command(flatten)]
        filter: AuditFilter,
        #[arg(long, default_value = "csv", value_parser = ["csv", "jsonl"])]
        format: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AuditFilter {
    /// Who: operator, console, local_admin, shell, collector or stranger.
    #[arg(long)]
    actor: Option<String>,
    /// What, such as console_revoked.
    #[arg(long)]
    action: Option<String>,
    #[arg(long, value_parser = ["done", "denied", "failed"])]
    outcome: Option<String>,
    /// To what: a kind such as console, or an id.
    #[arg(long)]
    subject: Option<String>,
    /// Somewhere in the entry.
    #[arg(long)]
    text: Option<String>,
}

/// A role, as it is written.
fn role(word: &str) -> Result<deckport_protocol::Role, String> {
    let known = serde_json::from_value(serde_json::Value::from(word));
    known.map_err(|_| format!("a role: {}", ROLES.join(", ")))
}

/// What a value of a claim allows: `VALUE=ROLE`.
fn mapping(text: &str) -> Result<(String, deckport_protocol::Role), String> {
    // A value may hold the sign, a role does not.
    let (value, word) = text.rsplit_once('=').ok_or("VALUE=ROLE, such as floor-staff=operator")?;
    Ok((value.to_owned(), role(word)?))
}

/// Seconds, from `90`, `90s`, `15m`, `2h` or `1d`.
fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a duration such as 90s, 15m, 2h or 1d".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a duration such as 90s, 15m, 2h or 1d")?;
    number.checked_mul(unit).ok_or_else(|| "that is too long".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Copies the database in the data directory to a file, while the collector runs.
    ///
    /// To go back to it, stop the collector and put the file into an empty data directory as `collector.db`. A database in
    /// PostgreSQL is copied with pg_dump.
    Backup {
        /// The collector's data directory.
        #[arg(long)]
        data: PathBuf,
        /// The file to write; it must not be there.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Makes the database in the data directory anew, without the space that nothing stands in; the collector must not be running.
    ///
    /// Beside the old file there must be space for the new one. A database that this version made gives such space back by itself after
    /// logs were removed; one of a former version does from then on.
    Compact {
        /// The collector's data directory.
        #[arg(long)]
        data: PathBuf,
    },
    /// Reads everything and holds it against everything else that is known of it; the collector must not be running. Exit code 1:
    /// something is wrong, and was not repaired.
    Check {
        /// The collector's data directory.
        #[arg(long)]
        data: PathBuf,
        /// Where it is kept, if not in a file in the directory.
        #[arg(long, value_name = "URL", env = "DECKPORT_DATABASE")]
        database: Option<deckport_collector::config::Database>,
        /// Make anew what is only derived (summaries, filters, states) where it is wrong.
        #[arg(long)]
        repair: bool,
        /// A JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where everything is kept; made when missing.
    #[arg(long)]
    data: PathBuf,
    /// Keep it in PostgreSQL instead of in a file in the data directory: postgres://USER:PASSWORD@HOST/NAME. The token stays in
    /// the directory.
    #[arg(long, value_name = "URL", env = "DECKPORT_DATABASE")]
    database: Option<deckport_collector::config::Database>,
    /// Where consoles and browsers reach it, by TLS. On loopback only this machine does; 0.0.0.0:7443 is everywhere.
    #[arg(long, default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// Speak plain HTTP on that port too; on loopback only.
    #[arg(long)]
    plain_http: bool,
    /// Do not make it known on the network by multicast DNS. On loopback it never is.
    #[arg(long)]
    no_announce: bool,
    /// A name or address by which it is reached from elsewhere, NAME or NAME:PORT; may be given several times.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Show this certificate (a file of PEM, with its chain) instead of one of the collector's own authority.
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// The key of that certificate (a file of PEM). Keep it when the certificate is renewed: consoles know the collector by it.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
    /// Get a certificate that every browser trusts for each --name that is public, by ACME, and renew it. Port 443 of each must lead
    /// to this collector. By this the terms of the authority are agreed to. Consoles and apps notice nothing: the key stays.
    #[arg(long, requires = "names", conflicts_with = "certificate")]
    acme: bool,
    /// The authority's directory.
    #[arg(long, value_name = "URL", requires = "acme", default_value = deckport_collector::config::ACME_DIRECTORY)]
    acme_directory: String,
    /// Where the authority may write to; may be given several times.
    #[arg(long = "acme-contact", value_name = "MAIL", requires = "acme")]
    acme_contacts: Vec<String>,
    /// Let operators in by the word of this login provider too (OpenID Connect): its address, as it names itself. With the provider,
    /// register https://NAME:PORT/api/v1/login/oidc/callback for each name by which the page is reached.
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer: Option<String>,
    /// By what the provider knows this collector.
    #[arg(long, value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,
    /// Read this collector's secret with the provider from this file; without one it is a public client.
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_client_secret_file: Option<PathBuf>,
    /// What people call the provider [default: the host of its address].
    #[arg(long, value_name = "NAME", requires = "oidc_issuer")]
    oidc_name: Option<String>,
    /// Ask for this scope beside openid, email and profile; may be given several times.
    #[arg(long = "oidc-scope", value_name = "SCOPE", requires = "oidc_issuer")]
    oidc_scopes: Vec<String>,
    /// Take in with this role whom the provider knows and no admin has added; without it they stay out.
    #[arg(long, value_name = "ROLE", value_parser = role, requires = "oidc_issuer")]
    oidc_create: Option<deckport_protocol::Role>,
    /// In which claim the provider says what somebody may do, such as groups or realm_access.roles. Whose has none of the values
    /// of --oidc-role stays out.
    #[arg(long, value_name = "CLAIM", requires = "oidc_roles")]
    oidc_role_claim: Option<String>,
    /// The most that a value of that claim allows, such as floor-staff=operator; may be given several times.
    #[arg(long = "oidc-role", value_name = "VALUE=ROLE", value_parser = mapping, requires = "oidc_role_claim")]
    oidc_roles: Vec<(String, deckport_protocol::Role)>,
    /// Trust the authorities in this file (PEM) as well, when an ACME authority or a login provider is asked: a company's own.
    #[arg(long, value_name = "FILE")]
    trust_ca: Option<PathBuf>,
    /// The venue's name, for people.
    #[arg(long, default_value = "My venue")]
    venue: String,
    /// A running deployment that prints nothing for so many seconds is silent.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    silence_after: u64,
    /// An operator's proof that it is they who sit there (the password, again) opens what counts for so long: 10m, 1h.
    #[arg(long, env = "DECKPORT_PROOF_FOR", default_value = "10m", value_parser = seconds, value_name = "DURATION")]
    proof_for: u64,
    /// The write-ahead log is folded into the database from so many bytes on.
    #[arg(long, env = "DECKPORT_WAL_BYTES", hide = true)]
    wal_bytes: Option<u64>,
    /// The log's tail is sealed from so many bytes on.
    #[arg(long, env = "DECKPORT_TAIL_BYTES", hide = true)]
    tail_bytes: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The collector with its pin, https://HOST:PORT#sha256//… For one on this machine the pin is found beside its token.
    #[arg(long, env = "DECKPORT_COLLECTOR", default_value = "https://127.0.0.1:7443")]
    url: String,
    /// The file that holds its token (`DIR/token` of the collector's data directory).
    #[arg(long, env = "DECKPORT_TOKEN_FILE", required_unless_present = "data")]
    token_file: Option<PathBuf>,
    /// The data directory of a collector that runs on this machine, in place of the other two.
    #[arg(long, value_name = "DIR", conflicts_with = "token_file")]
    data: Option<PathBuf>,
    /// Another organisation of that collector than its first, by name or id; for whoever runs the collector.
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// Only in this venue, by name or id [default: in all that the token is for].
    #[arg(long, value_name = "VENUE")]
    at: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Serve(options) => return serve::run(*options).await,
        Command::Deployments { target, json, state } => {
            show::deployments(&client::Client::new(&target)?, json, state.as_deref()).await?;
        }
        Command::Logs { id, target, follow, raw, json } => {
            let form = if raw {
                logs::Form::Raw
            } else if json {
                logs::Form::Json
            } else {
                logs::Form::Text
            };
            logs::run(&client::Client::new(&target)?, id, follow, form).await?;
        }
        Command::Search { query, target, json, limit, count } => {
            let client = client::Client::new(&target)?;
            let query = query.join(" ");
            if count {
                search::count(&client, &query).await?;
            } else {
                search::run(&client, &query, json, limit).await?;
            }
        }
        Command::Watch { target } => show::watch(&client::Client::new(&target)?).await?,
        Command::Discover { patience, json } => discover::run(patience, json).await?,
        Command::Token(command) => token::run(command).await?,
        Command::Venue(command) => venue::run(command).await?,
        Command::Organisation(command) => venue::organisations(command).await?,
        Command::Operator(command) => operator::run(command).await?,
        Command::Consoles { target, json } => {
            token::consoles(&client::Client::new(&target)?, json).await?;
        }
        Command::Revoke { id, target } => {
            token::revoke_console(&client::Client::new(&target)?, id).await?;
        }
        Command::Order { id, order, target } => {
            token::order(&client::Client::new(&target)?, id, &order).await?;
        }
        Command::Audit(command) => return audit::run(command).await,
        Command::Store(StoreCommand::Backup { data, to }) => store::backup(&data, &to).await?,
        Command::Store(StoreCommand::Compact { data }) => store::compact(&data).await?,
        Command::Store(StoreCommand::Check { data, database, repair, json }) => {
            return store::check(data, database, repair, json).await;
        }
        Command::Openapi => {
            println!("{}", deckport_collector::api::openapi().to_pretty_json()?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_values_stand_for_roles() {
        let (value, role) = mapping("cn=floor=tournament_director").unwrap();
        assert_eq!(
            (value.as_str(), role),
            ("cn=floor", deckport_protocol::Role::TournamentDirector)
        );
        assert!(mapping("floor").is_err() && mapping("floor=king").is_err());
    }

    fn search(words: &[&str]) -> (Vec<String>, bool, usize) {
        let all = ["deckport-collector", "search"].iter().chain(words);
        match Arguments::try_parse_from(all).unwrap().command {
            Command::Search { query, json, limit, target, .. } => {
                assert_eq!(target.url, "http://127.0.0.1:1");
                (query, json, limit)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_of_a_search_may_stand_behind_the_query() {
        let options = ["--url", "http://127.0.0.1:1", "--token-file", "token"];
        let behind = [&["disk", "full"][..], &options, &["--json", "--limit", "3"]].concat();
        let expected = (vec!["disk".to_owned(), "full".to_owned()], true, 3);
        assert_eq!(search(&behind), expected);
        let before = [&["--json", "--limit", "3"][..], &options, &["disk", "full"]].concat();
        assert_eq!(search(&before), expected);
        let negated = [&options[..], &["--", "-level:error"]].concat();
        assert_eq!(search(&negated), (vec!["-level:error".to_owned()], false, 100));
    }
}
