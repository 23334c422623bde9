//! Keeps the collector inside the app running.
//!
//! A collector stops by itself when it can no longer promise what it acknowledges (a failed sync, say). Then it is
//! started again and recovers from its store, while the window stays: waits of 1, 2, 4 … 30 s between attempts,
//! forgotten after a minute of running. If the address for consoles cannot be had, the collector runs without it, says so, and
//! it is tried again every 15 s.
//!
//! One task owns the collector; others ask it for byte streams, or to listen elsewhere, through a bounded queue (full: they wait; not
//! running: refused at once with the reason). Listening elsewhere is a restart: what consoles send meanwhile waits with them.
//! [`Supervisor::shutdown`] stores what is in flight and is bounded by its caller.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const ASKS_WAITING: usize = 32;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
struct Waits {
    /// After the first failure; it doubles with each further one.
    first: Duration,
    longest: Duration,
    /// A run this long was a good one: the next failure starts again at the first wait.
    good_run: Duration,
    port_retry: Duration,
}

const WAITS: Waits = Waits {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    good_run: Duration::from_secs(60),
    port_retry: Duration::from_secs(15),
};

impl Waits {
    /// The wait after one of `wait`, when the run between lasted `ran`.
    fn next(&self, wait: Option<Duration>, ran: Duration) -> Duration {
        match wait {
            Some(wait) if ran < self.good_run => (wait * 2).min(self.longest),
            Some(_) | None => self.first,
        }
    }
}

/// How the collector inside the app stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Starting,
    /// `problem` says why consoles cannot reach it, when they cannot.
    Ready {
        listen: Option<SocketAddr>,
        problem: Option<String>,
    },
    /// It stopped or did not start; it is tried again after `wait`.
    Waiting {
        why: String,
        wait: Duration,
    },
    Stopping,
    /// `problem` is set when it did not stop cleanly.
    Stopped {
        problem: Option<String>,
    },
}

/// Why a start failed.
#[derive(Debug)]
pub(crate) struct StartFailure {
    /// The address for consoles cannot be had: a start without it may work.
    pub(crate) address_refused: bool,
    pub(crate) why: String,
}

/// What is kept running. The collector is one; tests script another.
pub(crate) trait Server: Sized + Send + Sync + 'static {
    type Plan: Send + Sync + 'static;

    fn start(
        plan: &Self::Plan,
        listen: Option<SocketAddr>,
    ) -> impl Future<Output = Result<Self, StartFailure>> + Send;
    fn listen_addr(&self) -> Option<SocketAddr>;
    fn dial(&self) -> DuplexStream;
    /// Resolves with the reason when it stopped by itself.
    fn stopped(&self) -> impl Future<Output = String> + Send;
    fn shutdown(self) -> impl Future<Output = Result<(), String>> + Send;
}

/// What is asked of whoever keeps it running. Who drops the reply refuses.
#[derive(Debug)]
enum Ask {
    Dial(oneshot::Sender<DuplexStream>),
    Listen(SocketAddr, oneshot::Sender<Result<(), String>>),
}

/// The one who asks for streams and for the end.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    asks: mpsc::Sender<Ask>,
    standing: watch::Receiver<Standing>,
    leave: CancellationToken,
}

impl Supervisor {
    /// Starts keeping `S` running with its console port at `listen`.
    pub(crate) fn start<S: Server>(plan: S::Plan, listen: SocketAddr) -> Supervisor {
        Self::start_with::<S>(plan, listen, WAITS)
    }

    fn start_with<S: Server>(plan: S::Plan, listen: SocketAddr, waits: Waits) -> Supervisor {
        let (asks, asked) = mpsc::channel(ASKS_WAITING);
        let (tell, standing) = watch::channel(Standing::Starting);
        let leave = CancellationToken::new();
        let keeper = Keeper::<S> { plan, listen, waits, asked, tell, leave: leave.clone() };
        tokio::spawn(keeper.run());
        Supervisor { asks, standing, leave }
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// A byte stream to the running collector, or what it is doing instead.
    pub(crate) async fn dial(&self) -> Result<DuplexStream, Standing> {
        let (reply, stream) = oneshot::channel();
        // A keeper that is gone gives the reply back with the error, and dropping it ends `stream`.
        drop(self.asks.send(Ask::Dial(reply)).await);
        stream.await.map_err(|_| self.standing.borrow().clone())
    }

    /// Has it listen for consoles at another address from now on. Where that cannot be had it goes on at the one before, and the
    /// reason is given.
    pub(crate) async fn listen(&self, at: SocketAddr) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        drop(self.asks.send(Ask::Listen(at, reply)).await);
        let not_running =
            |_| Err("the collector is not running at the moment; try again when it is".to_owned());
        answer.await.unwrap_or_else(not_running)
    }

    /// Stops it and waits until it has stored what is in flight. Give it a bound.
    pub(crate) async fn shutdown(&self) -> Option<String> {
        self.leave.cancel();
        let mut standing = self.standing.clone();
        match standing.wait_for(|standing| matches!(standing, Standing::Stopped { .. })).await {
            Ok(stopped) => match &*stopped {
                Standing::Stopped { problem } => problem.clone(),
                Standing::Starting
                | Standing::Ready { .. }
                | Standing::Waiting { .. }
                | Standing::Stopping => None,
            },
            Err(_) => Some("the collector's keeper is gone".to_owned()),
        }
    }
}

struct Keeper<S: Server> {
    plan: S::Plan,
    listen: SocketAddr,
    waits: Waits,
    asked: mpsc::Receiver<Ask>,
    tell: watch::Sender<Standing>,
    leave: CancellationToken,
}

/// Why a run of the server ended.
enum End {
    Leave,
    Failed(String),
    /// The address that could not be had can be had now.
    PortFree,
    /// It is to listen there.
    Listen(SocketAddr, oneshot::Sender<Result<(), String>>),
}

impl<S: Server> Keeper<S> {
    /// Goal: a running server. Leaves only when asked to.
    async fn run(mut self) {
        let mut last_wait = None;
        let mut moving = None;
        let leave = self.leave.clone();
        let problem = loop {
            self.tell.send_replace(Standing::Starting);
            // Dropping a start that is under way is safe: nothing was acknowledged to anybody yet.
            let started = tokio::select! {
                started = self.begin(moving.take()) => started,
                () = leave.cancelled() => break None,
            };
            let since = Instant::now();
            let why = match started {
                Ok((server, port_problem)) => {
                    match self.serve(&server, port_problem).await {
                        End::Leave => {
                            self.tell.send_replace(Standing::Stopping);
                            break server.shutdown().await.err();
                        }
                        End::PortFree => {
                            tracing::info!(listen = %self.listen, "the address for consoles can be had again; restarting the collector on it");
                            stop(server).await;
                            continue;
                        }
                        End::Listen(at, reply) => {
                            tracing::info!(from = %self.listen, to = %at, "restarting the collector to listen elsewhere");
                            stop(server).await;
                            moving = Some((at, reply));
                            continue;
                        }
                        End::Failed(why) => {
                            // What it can still release (locks, files) it releases here.
                            let _ = server.shutdown().await;
                            why
                        }
                    }
                }
                Err(why) => why,
            };
            let wait = self.waits.next(last_wait, since.elapsed());
            last_wait = Some(wait);
            tracing::error!(
                why,
                wait_s = wait.as_secs(),
                "the collector inside the app is not running; starting it again"
            );
            if !self.pause(why, wait).await {
                break None;
            }
        };
        if let Some(problem) = &problem {
            tracing::error!(problem, "the collector did not stop cleanly");
        }
        self.tell.send_replace(Standing::Stopped { problem });
    }

    /// One start: there where it is to move to, or else where it was; without the address when that cannot be had.
    async fn begin(
        &mut self,
        moving: Option<(SocketAddr, oneshot::Sender<Result<(), String>>)>,
    ) -> Result<(S, Option<String>), String> {
        if let Some((at, reply)) = moving {
            match S::start(&self.plan, Some(at)).await {
                Ok(server) => {
                    self.listen = at;
                    // Whoever asked may have gone.
                    let _ = reply.send(Ok(()));
                    return Ok((server, None));
                }
                Err(failure) => {
                    tracing::warn!(listen = %at, why = failure.why, "it cannot listen there; going back");
                    let _ = reply.send(Err(failure.why));
                }
            }
        }
        match S::start(&self.plan, Some(self.listen)).await {
            Ok(server) => Ok((server, None)),
            Err(failure) if failure.address_refused => {
                tracing::warn!(listen = %self.listen, why = failure.why, "consoles cannot connect");
                let problem =
                    format!("Consoles cannot connect: {}. Trying again by itself.", failure.why);
                let server = S::start(&self.plan, None).await.map_err(|failure| failure.why)?;
                Ok((server, Some(problem)))
            }
            Err(failure) => Err(failure.why),
        }
    }

    /// Hands out streams until the server must end.
    async fn serve(&mut self, server: &S, problem: Option<String>) -> End {
        let without_port = problem.is_some();
        self.tell.send_replace(Standing::Ready { listen: server.listen_addr(), problem });
        let mut retry =
            tokio::time::interval_at(Instant::now() + self.waits.port_retry, self.waits.port_retry);
        let mut stopped = std::pin::pin!(server.stopped());
        loop {
            // Every branch may be dropped: `recv`, `tick` and `cancelled` lose nothing, `stopped` is pinned outside.
            tokio::select! {
                biased;
                () = self.leave.cancelled() => return End::Leave,
                why = &mut stopped => return End::Failed(why),
                Some(ask) = self.asked.recv() => match ask {
                    // Nobody waits for it any more: the stream is dropped with it.
                    Ask::Dial(reply) => drop(reply.send(server.dial())),
                    Ask::Listen(at, reply) if at == self.listen && !without_port => drop(reply.send(Ok(()))),
                    Ask::Listen(at, reply) => match self.refused(at, server) {
                        Some(why) => drop(reply.send(Err(why))),
                        None => return End::Listen(at, reply),
                    },
                },
                _ = retry.tick(), if without_port => {
                    if std::net::TcpListener::bind(self.listen).is_ok() {
                        return End::PortFree;
                    }
                }
            }
        }
    }

    /// Why an address cannot be had, as far as can be seen while the server runs: on its own port only a restart can tell.
    fn refused(&self, at: SocketAddr, server: &S) -> Option<String> {
        if server.listen_addr().is_some_and(|held| held.port() == at.port()) {
            return None;
        }
        let error = std::net::TcpListener::bind(at).err()?;
        Some(match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("port {} is used by another program", at.port())
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("port {} is for the system; choose one from 1024 on", at.port())
            }
            std::io::ErrorKind::AddrNotAvailable => {
                format!("{} is no address of this machine", at.ip())
            }
            _ => error.to_string(),
        })
    }

    /// Waits, refusing streams meanwhile. False when it is time to leave.
    async fn pause(&mut self, why: String, wait: Duration) -> bool {
        self.tell.send_replace(Standing::Waiting { why, wait });
        let over = tokio::time::sleep(wait);
        tokio::pin!(over);
        loop {
            // Dropping `recv` loses no request; dropping the sleep is leaving it.
            tokio::select! {
                () = &mut over => return true,
                () = self.leave.cancelled() => return false,
                Some(refused) = self.asked.recv() => drop(refused),
            }
        }
    }
}

/// Stops one that is to be started again.
async fn stop(server: impl Server) {
    if let Err(problem) = server.shutdown().await {
        tracing::warn!(problem, "the collector did not stop cleanly before its restart");
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
