//! What a collector is started with: where it keeps its data, where it listens, its bounds and its clock.
//!
//! Everything that a test wants smaller, faster or repeatable is here as a value; nothing below reads
//! the environment or the clock by itself.

use deckport_protocol::{Limits, Role};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use deckport_protocol::address::DEFAULT_PORT;

/// Tells the wall time. Tests set it; durations are measured with tokio's clock, which tests pause.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Microseconds since the Unix epoch.
    fn now_us(&self) -> i64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A clock before 1970 is a machine without a battery; 0 is as wrong as any other answer.
        since.map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }
}

/// So many at once, and so many more each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub at_once: u32,
    pub per_second: u32,
}

/// Bounds of this process, beside the [`Limits`] that each console is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of those who have not shown who they are, at once, and how many of them from one address. Who comes when they
    /// are taken gets the place of the one who has been there the longest.
    pub strangers: usize,
    pub strangers_of_one_address: usize,
    /// Connections of consoles that were let in, at once, and of one console: the link of its daemon, a stream for each run that
    /// it delivers, and those of links that broke without a word, which end within 25 s.
    pub consoles: usize,
    pub of_one_console: usize,
    /// Connections of operators and their programs that were let in, at once, and of one operator: some browsers' six for each of
    /// their windows, and live sockets.
    pub operators: usize,
    pub of_one_operator: usize,
    /// Connections that come to nothing, from one address. Those of whoever is let in do not count.
    pub arrivals_of_one_address: Rate,
    /// How often one console or operator may come without counting as one who comes to nothing.
    pub arrivals_of_one_console: Rate,
    pub arrivals_of_one_operator: Rate,
    /// TLS handshakes, of all. Each costs about 0.3 ms of a processor; those that are due wait for one another, 2 s at most.
    pub handshakes_per_second: u32,
    /// Requests, of all strangers, of those from one address, of one console and of one operator. Those that come sooner wait, 2 s
    /// at most. The UI is some forty files; a console asks for its script, and renews its certificate now and then.
    pub strangers_requests: Rate,
    pub strangers_requests_of_one_address: Rate,
    pub requests_of_one_console: Rate,
    pub requests_of_one_operator: Rate,
    /// Runs that one console begins, at once; one more each ten seconds. What has begun is kept, in memory too until it ends.
    pub new_runs_of_one_console: u32,
    /// What a viewer says on one live socket; what comes sooner is read later. A subscription counts as many.
    pub viewer_messages: Rate,
    /// What the daemon of a console says on its link; what comes sooner is read later.
    pub daemon_messages: Rate,
    /// The TLS handshake must be done within this time, and a request's headers must be there within this time after it, or
    /// after the request before.
    pub header_time: Duration,
    /// A request's headers are no larger than this, nor is what is read ahead of a body.
    pub header_bytes: usize,
    /// A stranger's request must be there with its whole body within this time; of anybody else's, some of it.
    pub body_time: Duration,
    /// A console's `hello` must be there within this time after the upgrade.
    pub hello_time: Duration,
    /// Nothing at all from a console for this long: it is offline and its socket is closed.
    pub agent_deadline: Duration,
    /// One message must be taken by the peer within this time, or the peer is cut off.
    pub send_time: Duration,
    /// How often viewers are pinged; a viewer that answers none of two is cut off.
    pub viewer_ping: Duration,
    /// Subscriptions on one live socket.
    pub subscriptions: usize,
    /// Commit groups follow one another no faster than this; an idle writer commits at once.
    pub group_interval: Duration,
    /// What may wait for the writer. Full: ingest stops reading its sockets.
    pub queue_writes: usize,
    pub queue_bytes: usize,
    /// Of that, what one console's stream may have waiting. Full: only its socket is not read. It is what a commit takes in a few
    /// milliseconds, so that one console loses nothing by it and twenty that send without end are no queue of a tenth of a second.
    pub queue_bytes_of_one: usize,
    /// Recent frames of a running deployment kept in memory for those who follow.
    pub ring_bytes: usize,
    /// New frames gather in the log's tail up to about so much before they are sealed.
    pub tail_bytes: usize,
    /// The write-ahead log is folded into the database from this size on.
    pub wal_bytes: u64,
    /// How often deployments of consoles that say nothing are looked at.
    pub presence_tick: Duration,
    /// Denials of one actor and address that are written down in a minute; the rest are counted.
    pub denials_per_minute: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            strangers: 2048,
            strangers_of_one_address: 512,
            consoles: 4096,
            of_one_console: 32,
            operators: 1024,
            of_one_operator: 128,
            arrivals_of_one_address: Rate { at_once: 512, per_second: 64 },
            arrivals_of_one_console: Rate { at_once: 64, per_second: 5 },
            arrivals_of_one_operator: Rate { at_once: 256, per_second: 50 },
            handshakes_per_second: 600,
            strangers_requests: Rate { at_once: 500, per_second: 1000 },
            strangers_requests_of_one_address: Rate { at_once: 400, per_second: 50 },
            requests_of_one_console: Rate { at_once: 100, per_second: 20 },
            requests_of_one_operator: Rate { at_once: 400, per_second: 200 },
            new_runs_of_one_console: 30,
            viewer_messages: Rate { at_once: 2000, per_second: 1000 },
            daemon_messages: Rate { at_once: 100, per_second: 20 },
            header_time: Duration::from_secs(5),
            header_bytes: 16 * 1024,
            body_time: Duration::from_secs(10),
            hello_time: Duration::from_secs(5),
            agent_deadline: Duration::from_secs(10),
            send_time: Duration::from_secs(10),
            viewer_ping: Duration::from_secs(15),
            subscriptions: 64,
            group_interval: Duration::from_millis(2),
            queue_writes: 4096,
            queue_bytes: 32 * 1024 * 1024,
            queue_bytes_of_one: 512 * 1024,
            ring_bytes: 1024 * 1024,
            tail_bytes: 24 * 1024 * 1024,
            wal_bytes: 32 * 1024 * 1024,
            presence_tick: Duration::from_millis(500),
            denials_per_minute: 30,
        }
    }
}

/// Where what is stored is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// SQLite, in the data directory.
    InDirectory,
    /// PostgreSQL, at this URL.
    Postgres(String),
}

impl fmt::Debug for Database {
    /// Without what is secret in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InDirectory => f.write_str("InDirectory"),
            Self::Postgres(_) => f.write_str("Postgres"),
        }
    }
}

/// It is neither SQLite's nor PostgreSQL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a database is given as postgres://USER:PASSWORD@HOST/NAME; without one it is in the data directory"
)]
pub struct NoDatabase;

impl std::str::FromStr for Database {
    type Err = NoDatabase;

    fn from_str(url: &str) -> Result<Self, NoDatabase> {
        let postgres = ["postgres://", "postgresql://"].iter().any(|begin| url.starts_with(begin));
        if postgres { Ok(Self::Postgres(url.to_owned())) } else { Err(NoDatabase) }
    }
}

/// A certificate that somebody else made for this collector, with its key: files of PEM. Read anew each hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How a public authority is asked, by ACME (RFC 8555), for a certificate of the collector's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The address of the authority's directory.
    pub directory: String,
    /// Mail addresses that the authority may write to.
    pub contacts: Vec<String>,
    /// How often it is looked whether there is something to do.
    pub look_every: Duration,
    /// After a first failure; it doubles with each further one.
    pub first_wait: Duration,
}

/// Let's Encrypt.
pub const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            directory: ACME_DIRECTORY.to_owned(),
            contacts: Vec::new(),
            look_every: Duration::from_secs(60),
            first_wait: Duration::from_secs(120),
        }
    }
}

/// Something that is not shown where values are.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Itself, to be handed on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A provider of logins (OpenID Connect), and what its word counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcConfig {
    /// Its address, as it names itself.
    pub issuer: String,
    pub client_id: String,
    /// None: a public client.
    pub client_secret: Option<Secret>,
    /// What people call it; else the host of its address.
    pub name: Option<String>,
    /// To ask for beside `openid`, `email` and `profile`.
    pub scopes: Vec<String>,
    /// Whom it knows and nobody has added becomes an operator with this role; none: they stay out.
    pub create: Option<Role>,
    /// In which claim of its it says what somebody may do, by name or path; none: nowhere.
    pub role_claim: Option<String>,
    /// The most that a value of that claim allows.
    pub roles: BTreeMap<String, Role>,
}

/// What a collector is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Made with mode 0700 when missing. One collector at a time opens it.
    pub data_dir: PathBuf,
    pub database: Database,
    /// Where consoles and browsers reach it, by TLS. `None`: no port.
    pub listen: Option<SocketAddr>,
    /// Plain HTTP is spoken on that port too; on loopback only.
    pub plain_http: bool,
    /// It makes itself known on the network where it listens beyond loopback.
    pub announce: bool,
    /// By which names, beside those of the machine, it is reached: `NAME` or `NAME:PORT`.
    pub names: Vec<String>,
    /// A certificate to show instead of one of the collector's own authority.
    pub certificate: Option<OwnCertificate>,
    /// A public authority's certificate for those of `names` that are names.
    pub acme: Option<AcmeConfig>,
    /// By whose word operators are let in, beside their passwords.
    pub oidc: Option<OidcConfig>,
    /// Authorities (PEM) that are trusted beside this machine's own when servers elsewhere are asked something.
    pub trust_ca: Option<PathBuf>,
    /// The venue's name, for people.
    pub venue: String,
    /// A connected console whose running deployment printed nothing for this long is silent.
    pub silence_after: Duration,
    /// So long a proof that it is they who sit there opens what counts to an operator.
    pub proof_for: Duration,
    /// What each console is told in `welcome`.
    pub limits: Limits,
    pub bounds: Bounds,
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// The defaults: the collector's own port on loopback.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            database: Database::InDirectory,
            listen: Some(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT))),
            plain_http: false,
            announce: true,
            names: Vec::new(),
            certificate: None,
            acme: None,
            oidc: None,
            trust_ca: None,
            venue: "My venue".to_owned(),
            silence_after: Duration::from_secs(60),
            proof_for: Duration::from_mins(10),
            limits: Limits::default(),
            bounds: Bounds::default(),
            clock: Arc::new(SystemClock),
        }
    }
}
