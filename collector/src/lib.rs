//! The collector: takes in what consoles send, stores it, and serves viewers.
//!
//! A library with a thin binary; the desktop app embeds it. Modules stand in the order in which they may
//! import one another, see [`MODULES`]: each imports only those above it.

pub mod analytics;
pub mod api;
pub mod audit;
pub mod auth;
pub mod check;
mod collector;
pub mod config;
pub mod content;
pub mod deployment;
pub mod discovery;
pub mod fleet;
pub mod ingest;
pub mod live;
pub mod log;
pub mod metrics;
pub mod outgoing;
pub mod places;
pub mod query;
pub mod search;
pub mod server;
pub mod store;
pub mod threads;

pub use collector::{Collector, ShutdownError, StartError, StopReason};
pub use config::{Clock, Config, SystemClock};

/// The modules in their order. A test reads the sources and checks it.
pub const MODULES: [&str; 22] = [
    "config",
    "metrics",
    "outgoing",
    "threads",
    "places",
    "store",
    "query",
    "log",
    "audit",
    "auth",
    "fleet",
    "content",
    "deployment",
    "search",
    "analytics",
    "live",
    "ingest",
    "api",
    "server",
    "discovery",
    "collector",
    "check",
];
