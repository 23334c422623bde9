//! An attack on a collector by many at once, and what honest consoles notice of it.
//!
//! The stories run it short, `cargo xtask soak attack` in full, with the same code.
//! * [`door`]: connections from addresses of one's choice, over TLS
//! * [`strangers`]: those without a credential; [`insiders`]: enrolled consoles and operators that misbehave
//! * [`venue`]: the collector under attack, and the honest: consoles that print, a viewer, those who join and log in
//! * [`watch`]: the collector's memory, files and places meanwhile; [`siege`]: all of it, with the time before and after
//!
//! The attackers are a process of their own in the full form, with a lower priority: their processors are not the collector's.

pub mod door;
pub mod insiders;
pub mod siege;
pub mod strangers;
pub mod venue;
pub mod watch;

use anyhow::Result;
use deckport_protocol::Pin;
use door::Known;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Who attacks, how many of each, and what they know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attack {
    pub collector: SocketAddr,
    pub pin: Pin,
    pub seconds: u64,
    /// Strangers come from so many addresses.
    pub addresses: u8,
    /// Sockets of strangers that are held, a third of them each before the greeting, after it, and after half of a request's headers.
    pub idle: usize,
    /// Of each other kind of strangers.
    pub strangers: usize,
    /// Consoles that were added. Each opens idle sockets, and one after the other floods in one of the ways.
    pub insiders: Vec<Known>,
    /// Idle sockets of each of them: more than one may have.
    pub idle_each: usize,
    /// A token of an operator who looks at everything and reads nothing, and how many such viewers there are.
    pub operator: String,
    pub deaf_viewers: usize,
    /// What they look at.
    pub deployments: Vec<String>,
}

/// What attackers of one kind did, and what became of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    pub tried: u64,
    /// How it ended, and how often: `closed`, a status of HTTP, a code.
    pub ends: BTreeMap<String, u64>,
    /// The longest that a connection was held that should have been ended.
    pub longest_s: f64,
    /// Messages, requests or handshakes that went through.
    pub done: u64,
}

/// By the name of their kind.
pub type Tallies = BTreeMap<String, Tally>;

/// Where attackers note what becomes of them.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Tallies>>);

impl Notes {
    /// One more try of `kind` ended so.
    pub fn ended(&self, kind: &str, end: impl Into<String>, held: Duration, done: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = all.entry(kind.to_owned()).or_default();
        tally.tried += 1;
        tally.done += done;
        tally.longest_s = tally.longest_s.max(held.as_secs_f64());
        *tally.ends.entry(end.into()).or_default() += 1;
    }

    pub fn all(&self) -> Tallies {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Attack {
    /// Attacks until the time is over.
    pub async fn run(self) -> Result<Tallies> {
        let notes = Notes::default();
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let attack = Arc::new(self);
        let mut all = JoinSet::new();
        strangers::set_out(&attack, &notes, until, &mut all)?;
        insiders::set_out(&attack, &notes, until, &mut all)?;
        // Whoever is in the middle of something when the time is over leaves it.
        tokio::time::sleep_until(until).await;
        all.shutdown().await;
        Ok(notes.all())
    }
}
