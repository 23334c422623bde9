//! The collector inside the app, as the thing that the supervisor keeps running.

use std::net::SocketAddr;
use std::path::PathBuf;

use deckport_collector::{Collector, Config, StartError};
use tokio::io::DuplexStream;

use crate::supervisor::{Server, StartFailure};

/// What every start needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) data_dir: PathBuf,
    pub(crate) plain_http: bool,
    pub(crate) announce: bool,
}

impl Server for Collector {
    type Plan = Plan;

    async fn start(plan: &Plan, listen: Option<SocketAddr>) -> Result<Self, StartFailure> {
        let (plain_http, announce) = (plan.plain_http, plan.announce);
        let config = Config { listen, plain_http, announce, ..Config::new(plan.data_dir.clone()) };
        // Opening a database blocks anyhow, and its future cannot move between threads: it gets one of its own. When
        // nobody waits any more, what was started is dropped there, which stops it.
        let runtime = tokio::runtime::Handle::current();
        let started =
            tokio::task::spawn_blocking(move || runtime.block_on(Collector::start(config))).await;
        match started {
            Ok(Ok(collector)) => Ok(collector),
            Ok(Err(error)) => Err(StartFailure {
                address_refused: is_of_the_address(&error),
                why: in_full(&error),
            }),
            Err(crash) => Err(StartFailure {
                address_refused: false,
                why: format!("it crashed while starting ({crash})"),
            }),
        }
    }

    fn listen_addr(&self) -> Option<SocketAddr> {
        Collector::listen_addr(self)
    }

    fn dial(&self) -> DuplexStream {
        Collector::dial(self)
    }

    async fn stopped(&self) -> String {
        Collector::stopped(self).await.to_string()
    }

    async fn shutdown(self) -> Result<(), String> {
        Collector::shutdown(self).await.map_err(|error| in_full(&error))
    }
}

/// Whether a start without the address may work.
fn is_of_the_address(error: &StartError) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, PermissionDenied};
    match error {
        StartError::PortTaken(_) => true,
        // A laptop that is not in the venue's network yet does not have its address there.
        StartError::Listen { source, .. } => {
            matches!(source.kind(), PermissionDenied | AddrNotAvailable)
        }
        _ => false,
    }
}

/// The error and its causes in one line.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
