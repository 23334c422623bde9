//! A running collector: everything put together, started and stopped in order.

use crate::analytics::signatures::Signatures;
use crate::api::{App, IMPORTS, router};
use crate::audit::{Audit, Entry, OpenAuditError};
use crate::auth::{
    Acme, AcmeError, Auth, Authority, AuthorityError, Enrolment, Entering, LocalToken, OidcError,
    Operators, Passwords, Provider, Tickets, TokenError, Venues, tls_server,
};
use crate::config::Config;
use crate::content::Content;
use crate::deployment::Deployments;
use crate::discovery::announce;
use crate::fleet::link::Links;
use crate::ingest::{Ingest, Shares};
use crate::live::Live;
use crate::log::{Log, LogError};
use crate::metrics::Metrics;
use crate::outgoing::{Outgoing, TrustError};
use crate::places::{allow_files, within};
use crate::search::Search;
use crate::server::{Server, Spoken};
use crate::store::{OpenError, ReadError, Statement, Store, Write, WriteError};
use crate::threads::Doorway;
use deckport_protocol::{Pin, ServerEpoch};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why a collector did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "plain HTTP is spoken on loopback only, and {0} is not: leave --plain-http out, or listen on 127.0.0.1"
    )]
    NotLoopback(SocketAddr),
    #[error("port {} is used by another program, perhaps another collector; stop it, or listen elsewhere", .0.port())]
    PortTaken(SocketAddr),
    #[error("the threads that hear strangers could not be started")]
    Doorway(#[source] std::io::Error),
    #[error("{address} cannot be listened on")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Audit(#[from] OpenAuditError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Acme(#[from] AcmeError),
    #[error(transparent)]
    Oidc(#[from] OidcError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("TLS cannot be spoken")]
    Tls(#[from] rustls::Error),
    #[error("what is stored could not be read")]
    Restore(#[from] LogError),
    #[error("the collector's identity could not be stored")]
    Identity(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a collector stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// The disk failed. What was acknowledged is on it; start again to recover.
    #[error("storage failed: {0}")]
    StorageFailed(String),
}

/// A shutdown that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    #[error("some connections did not end in time; what was acknowledged is stored")]
    Late,
}

/// A running collector. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Collector {
    server: Server,
    _doorway: Doorway,
    store: Arc<Store>,
    auth: Arc<Auth>,
    audit: Arc<Audit>,
    metrics: Arc<Metrics>,
    address: Option<SocketAddr>,
    /// Sockets and connections.
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The writer, which must outlive them.
    storage: TaskTracker,
    storage_stop: CancellationToken,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.cancel();
        self.storage_stop.cancel();
    }
}

impl Collector {
    /// Opens the data directory, restores what was running, and listens.
    pub async fn start(mut config: Config) -> Result<Self, StartError> {
        if let Some(address) = config.listen
            && config.plain_http
            && !address.ip().is_loopback()
        {
            return Err(StartError::NotLoopback(address));
        }
        // Before anything is made: a port that is taken leaves nothing behind.
        let listener = match config.listen {
            None => None,
            Some(address) => Some(TcpListener::bind(address).await.map_err(|source| {
                if source.kind() == std::io::ErrorKind::AddrInUse {
                    StartError::PortTaken(address)
                } else {
                    StartError::Listen { address, source }
                }
            })?),
        };

        if listener.is_some() {
            config.bounds = within(config.bounds, allow_files(&config.bounds));
        }
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::default());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (storage, storage_stop) = (TaskTracker::new(), CancellationToken::new());
        let opened =
            Store::open(&config, Arc::clone(&metrics), &storage, storage_stop.clone()).await;
        let store = Arc::new(opened?);
        // An error below must not leave the writer behind.
        let undo = storage_stop.clone().drop_guard();

        let audit =
            Audit::open(Arc::clone(&store), &config, &storage, storage_stop.clone()).await?;
        let local = LocalToken::open(&config.data_dir.join("token"))?;
        let authority = Authority::open(
            &config.data_dir,
            host_names(&config),
            config.certificate.clone(),
            config.clock.now_us() / 1_000_000,
        );
        let authority = Arc::new(authority?);
        let acme = public_certificate(&config, &authority)?;
        let oidc = provider(&config)?;
        let enrolment =
            Enrolment::open(Arc::clone(&store), Arc::clone(&authority), Arc::clone(&audit)).await?;
        let tls = tls_server(&authority)?;
        let passwords = Passwords::new().ok_or(TokenError::Random)?;
        let operators = Operators::open(Arc::clone(&store), passwords).await?;
        let tickets = Tickets::default();
        let venues = Arc::new(Venues::open(&store, &config.venue).await?);
        let auth = Arc::new(Auth {
            local,
            tickets,
            authority,
            oidc,
            entering: Entering::default(),
            acme: acme.clone(),
            enrolment,
            operators,
            venues,
        });
        let server_epoch = epoch(&store).await?;
        let log = Log::open(Arc::clone(&store), config.bounds.tail_bytes).await?;
        storage.spawn(log.clone().keep_sealing(storage_stop.clone()));
        let deployments = Arc::new(Deployments::open(&config, Arc::clone(&store), log).await?);
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(address) = address {
            say_where(&config, address);
        }
        let ingest = Ingest {
            config: Arc::clone(&config),
            deployments: Arc::clone(&deployments),
            metrics: Arc::clone(&metrics),
            server_epoch,
            stop: stop.clone(),
            large: Arc::new(Semaphore::new(1)),
            shares: Shares::new(config.bounds.new_runs_of_one_console),
        };
        let log = deployments.log().clone();
        let search = Arc::new(Search::new(Arc::clone(&store), log, Arc::clone(&auth.venues)));
        let live = Live::new(
            Arc::clone(&config),
            Arc::clone(&deployments),
            Arc::clone(&search),
            Arc::clone(&metrics),
            server_epoch,
            stop.clone(),
        );
        let signatures = Arc::new(Signatures::new(Arc::clone(&store), Arc::clone(&deployments)));
        let app = App {
            started_at: config.clock.now_us(),
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            audit: Arc::clone(&audit),
            deployments: Arc::clone(&deployments),
            search: Arc::clone(&search),
            links: Links::new(
                Arc::clone(&store),
                Arc::clone(&audit),
                Arc::clone(&config.clock),
                config.bounds,
                server_epoch,
                stop.clone(),
            ),
            content: Arc::new(Content::new(&config.data_dir)),
            signatures: Arc::clone(&signatures),
            auth: Arc::clone(&auth),
            metrics: Arc::clone(&metrics),
            ingest,
            live,
            server_epoch,
            address,
            imports: Arc::new(Semaphore::new(IMPORTS)),
            tasks: tasks.clone(),
            inside: Handle::current(),
        };
        let doorway = Doorway::open().map_err(StartError::Doorway)?;
        let server = Server {
            router: router(app),
            bounds: config.bounds,
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
            stop: stop.clone(),
            doorway: doorway.handle().clone(),
            inside: Handle::current(),
        };
        started(&audit, &auth, address).await?;
        if let Some(listener) = listener {
            let spoken =
                Spoken { tls: Arc::new(tls), plain: config.plain_http, pin: auth.authority.pin() };
            tasks.spawn(server.clone().accept(listener, spoken));
        }
        if let Some(address) = address.filter(|at| config.announce && !at.ip().is_loopback()) {
            let pin = auth.authority.pin();
            tasks.spawn(announce(config.venue.clone(), address, pin, stop.clone()));
        }
        let venues = Arc::clone(&auth.venues);
        tasks.spawn(give_back(Arc::clone(&deployments), signatures, search, venues, stop.clone()));
        tasks.spawn(renew(
            Arc::clone(&auth),
            Arc::clone(&audit),
            Arc::clone(&config),
            stop.clone(),
        ));
        if let Some(acme) = acme {
            tasks.spawn(acme.keep(Arc::clone(&audit), stop.clone()));
        }
        tasks.spawn(Arc::clone(&audit).keep_up(stop.clone()));
        let (giving, until) = (Arc::clone(&deployments), stop.clone());
        tasks.spawn(async move { giving.keep_giving_space_back(until).await });
        tasks.spawn(tick(deployments, config.bounds.presence_tick, stop.clone()));
        let storage_stop = undo.disarm();
        Ok(Self {
            server,
            _doorway: doorway,
            store,
            auth,
            audit,
            metrics,
            address,
            tasks,
            stop,
            storage,
            storage_stop,
        })
    }

    /// The bound address; `None` without a port.
    pub const fn listen_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The local token.
    pub fn token(&self) -> &str {
        self.auth.local.as_str()
    }

    /// By what clients know this collector.
    pub fn pin(&self) -> Pin {
        self.auth.authority.pin()
    }

    /// Counters of this collector.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// An in-memory byte stream on which HTTP/1.1 and WebSocket are spoken; whoever holds it is the
    /// local shell and needs no token.
    pub fn dial(&self) -> DuplexStream {
        self.server.dial()
    }

    /// Resolves when it stopped by itself.
    pub async fn stopped(&self) -> StopReason {
        let reason = self.store.writer().failed().await;
        StopReason::StorageFailed(reason.to_string())
    }

    /// Stops accepting, stores what is in flight, closes the database.
    pub async fn shutdown(self) -> Result<(), ShutdownError> {
        self.stop.cancel();
        self.tasks.close();
        let late = tokio::time::timeout(Duration::from_secs(10), self.tasks.wait()).await.is_err();
        if self.store.writer().failure().is_none()
            && let Err(error) = self.audit.close(Entry::own("collector_stopped")).await
        {
            tracing::warn!(%error, "the end could not be written into the audit trail");
        }
        self.storage_stop.cancel();
        self.storage.close();
        self.store.close().await;
        self.storage.wait().await;
        if late { Err(ShutdownError::Late) } else { Ok(()) }
    }
}

/// Writes down that it runs, and whether it shows another key than the last time.
async fn started(
    audit: &Audit,
    auth: &Auth,
    address: Option<SocketAddr>,
) -> Result<(), StartError> {
    let pin = auth.authority.pin().to_string();
    let mut entries = Vec::new();
    if let Some(former) = audit.last_said("collector_started", "pin").await?
        && former != pin
    {
        let entry = Entry::own("key_replaced").with("pin", pin.as_str());
        entries.push(entry.with("former", former));
    }
    let listen = address.map(|address| address.to_string());
    let entry = Entry::own("collector_started").with("version", env!("CARGO_PKG_VERSION"));
    entries.push(entry.with("pin", pin).with("listen", listen));
    for entry in entries {
        match audit.record(entry).await {
            Ok(_) => {}
            // It shows what it has on a full disk too; nothing is ordered until there is space.
            Err(WriteError::Full) => {
                tracing::error!(
                    "the disk is full: the start could not be written into the audit trail"
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn tick(deployments: Arc<Deployments>, every: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => deployments.tick(),
        }
    }
}

/// Writes where this collector is reached from its own machine, for its command line.
fn say_where(config: &Config, address: SocketAddr) {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let text = format!("https://{}\n", SocketAddr::new(ip, address.port()));
    if let Err(error) = crate::store::put_private(&config.data_dir.join("address"), &text) {
        tracing::warn!(%error, "where this collector is could not be written");
    }
}

/// By which names a certificate says that this collector is reached.
fn host_names(config: &Config) -> Vec<String> {
    let listened = config.listen.map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
    let named = config.names.iter().map(|name| match name.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.contains(':') => host.to_owned(),
        _ => name.clone(),
    });
    named.chain(listened.map(|ip| ip.to_string())).collect()
}

/// What a public authority is asked for, where it is.
fn public_certificate(
    config: &Config,
    authority: &Arc<Authority>,
) -> Result<Option<Arc<Acme>>, StartError> {
    let Some(acme) = config.acme.clone() else { return Ok(None) };
    let outgoing = Outgoing::new(config.trust_ca.as_deref())?;
    let (authority, clock) = (Arc::clone(authority), Arc::clone(&config.clock));
    let names = host_names(config);
    let opened = Acme::open(acme, &config.data_dir, &names, authority, outgoing, clock)?;
    Ok(Some(Arc::new(opened)))
}

/// By whose word operators are let in, where that was said. It is asked when somebody comes, not now.
fn provider(config: &Config) -> Result<Option<Provider>, StartError> {
    let Some(oidc) = config.oidc.clone() else { return Ok(None) };
    let outgoing = Outgoing::new(config.trust_ca.as_deref())?;
    Ok(Some(Provider::new(oidc, outgoing, Arc::clone(&config.clock))?))
}

/// Renews the certificate long before it ends.
async fn renew(auth: Arc<Auth>, audit: Arc<Audit>, config: Arc<Config>, stop: CancellationToken) {
    const EVERY: Duration = Duration::from_secs(3600);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match auth.authority.renew(config.clock.now_us() / 1_000_000) {
            Ok(false) => {}
            Ok(true) => {
                let pin = auth.authority.pin().to_string();
                let entry = Entry::own("certificate_replaced").with("pin", pin);
                if let Err(error) = audit.record(entry).await {
                    tracing::warn!(%error, "a new certificate could not be written down");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate could not be renewed; tried again in an hour");
            }
        }
    }
}

/// Applies what is said about how long logs are kept.
async fn give_back(
    deployments: Arc<Deployments>,
    signatures: Arc<Signatures>,
    search: Arc<Search>,
    venues: Arc<Venues>,
    stop: CancellationToken,
) {
    const EVERY: Duration = Duration::from_secs(3600);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for organisation in venues.organisations() {
            let last_look = signatures.catch_up(organisation.id);
            match deployments.give_back(organisation.id, last_look).await {
                Ok(gone) => {
                    for stream in gone {
                        search.forget(stream).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "logs could not be given back; tried again in an hour");
                }
            }
        }
    }
}

/// The identity of the database as a whole.
async fn epoch(store: &Store) -> Result<ServerEpoch, StartError> {
    let read = || async {
        let found =
            store.fetch_one("select value from meta where key = 'server_epoch'", []).await?;
        found.map(|row| row.parsed(0)).transpose()
    };
    if let Some(epoch) = read().await? {
        return Ok(epoch);
    }
    let epoch = ServerEpoch::new();
    let statement = Statement {
        sql: "insert into meta (key, value) values ('server_epoch', $1)",
        values: vec![epoch.to_string().into()],
    };
    let write = Write { statements: vec![statement], ..Write::default() };
    store.writer().write(write).await?;
    Ok(epoch)
}
