//! A link with faults between agent and collector: cut, stalled, cut off in the middle of what it
//! carries, slow, late.
//!
//! The collector takes requests for its own address only, so the proxy puts that in place of its own
//! in the head of what a client says first; both ports have five digits.

use crate::api::find;
use crate::collector::free_port;
use crate::wait::{eventually, pause};
use anyhow::{Context as _, Result};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// No bound on what a link may carry.
const UNBOUNDED: i64 = i64::MAX;

#[derive(Debug)]
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// The proxy's own address as text, and the collector's.
    names: (String, String),
    dead: AtomicBool,
    /// Bytes towards the collector until it breaks.
    left: AtomicI64,
}

impl Link {
    /// Breaks with a reset, not with a polite end.
    fn cut(&self) {
        self.dead.store(true, Ordering::Relaxed);
        for end in [&self.client, &self.server] {
            let _ = rustix::net::sockopt::set_socket_linger(end, Some(Duration::ZERO));
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Shared {
    links: Mutex<Vec<Arc<Link>>>,
    stalled: AtomicBool,
    refuses: AtomicBool,
    closed: AtomicBool,
    delay_us: AtomicU64,
    /// 0: as fast as it goes.
    bytes_per_second: AtomicU64,
    carried: AtomicU64,
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Vec<Arc<Link>> {
        let mut links = self.links();
        links.retain(|link| !link.is_dead());
        links.clone()
    }
}

/// A proxy in front of one port of this machine.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Takes connections on a port of its own and carries them to `target`.
    pub fn start(target: u16) -> Result<Self> {
        let (port, listener) = eventually(Duration::from_secs(5), "a port for the proxy", || {
            let port = free_port();
            Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?))
        })?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("proxy".into()).spawn(move || {
            for client in listener.incoming() {
                if theirs.closed.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(client) = client {
                    // A collector that is not there is a fault like any other.
                    let _ = begin(&theirs, client, port, target);
                }
            }
        })?;
        Ok(Self { port, shared })
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many links live.
    pub fn links(&self) -> usize {
        self.shared.live().len()
    }

    /// Bytes carried so far, both ways.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// Resets every link. Returns how many.
    pub fn cut(&self) -> usize {
        let links = self.shared.live();
        for link in &links {
            link.cut();
        }
        links.len()
    }

    /// Every link breaks after so many more bytes towards the collector: in the middle of a frame.
    pub fn cut_after(&self, bytes: u64) {
        for link in self.shared.live() {
            link.left.store(i64::try_from(bytes).unwrap_or(UNBOUNDED), Ordering::Relaxed);
        }
    }

    /// While set, links stay open and carry nothing, either way: neither side is told.
    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, Ordering::Relaxed);
    }

    /// While set, new connections are reset.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Relaxed);
    }

    /// What is carried comes so much later.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    /// Carries no more than so many bytes a second; 0: as fast as it goes.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.shared.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.stall(false);
        self.refuse(false);
        self.delay(Duration::ZERO);
        self.throttle(0);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the listener so that it sees that it is closed.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn begin(shared: &Arc<Shared>, client: TcpStream, own: u16, target: u16) -> Result<()> {
    if shared.refuses.load(Ordering::Relaxed) {
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).inspect_err(|_| {
        let _ = rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO));
    })?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (dead, left) = (AtomicBool::new(false), AtomicI64::new(UNBOUNDED));
    let names = (format!("127.0.0.1:{own}"), format!("127.0.0.1:{target}"));
    let link = Arc::new(Link { client, server, names, dead, left });
    shared.links().push(Arc::clone(&link));
    for towards_collector in [true, false] {
        let (shared, link) = (Arc::clone(shared), Arc::clone(&link));
        std::thread::Builder::new()
            .name("link".into())
            .spawn(move || {
                // However it ends, the link is over.
                let _ = carry(&shared, &link, towards_collector);
                link.cut();
            })
            .context("could not start a link")?;
    }
    Ok(())
}

/// Carries one direction until an end closes, or the link is cut.
fn carry(shared: &Shared, link: &Link, towards_collector: bool) -> Result<()> {
    let (mut from, mut to) =
        if towards_collector { (&link.client, &link.server) } else { (&link.server, &link.client) };
    let mut piece = [0; 16 * 1024];
    let mut first = towards_collector;
    loop {
        let read = from.read(&mut piece)?;
        if std::mem::take(&mut first)
            && let Some(at) = find(&piece[..read], link.names.0.as_bytes())
        {
            piece[at..at + link.names.1.len()].copy_from_slice(link.names.1.as_bytes());
        }
        if read == 0 {
            // What is under way still arrives: end this direction politely.
            to.shutdown(Shutdown::Write)?;
            return Ok(());
        }
        let delay = shared.delay_us.load(Ordering::Relaxed);
        if delay > 0 {
            pause(Duration::from_micros(delay));
        }
        let rate = shared.bytes_per_second.load(Ordering::Relaxed);
        if rate > 0 {
            pause(Duration::from_secs_f64(read as f64 / rate as f64));
        }
        while shared.stalled.load(Ordering::Relaxed) && !link.is_dead() {
            pause(Duration::from_millis(5));
        }
        if link.is_dead() {
            return Ok(());
        }
        let mut length = read;
        if towards_collector && link.left.load(Ordering::Relaxed) != UNBOUNDED {
            let left = link.left.fetch_sub(read as i64, Ordering::Relaxed);
            length = length.min(usize::try_from(left).unwrap_or(0));
        }
        to.write_all(&piece[..length])?;
        shared.carried.fetch_add(length as u64, Ordering::Relaxed);
        if length < read {
            return Ok(());
        }
    }
}
