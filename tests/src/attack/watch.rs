//! The collector meanwhile: its memory, its open files, and how many hold places.

use crate::api::Api;
use crate::measure::resident;
use crate::wait::pause;
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(250);

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub at: Instant,
    pub memory: u64,
    pub files: usize,
    pub strangers: f64,
    pub connections: f64,
}

/// Looks until it is dropped.
#[derive(Debug)]
pub struct Watch {
    looks: Arc<Mutex<Vec<Look>>>,
    stop: Arc<AtomicBool>,
}

/// The most of some looks, and the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Most {
    pub memory: u64,
    pub last_memory: u64,
    pub files: usize,
    pub last_files: usize,
    pub strangers: f64,
    pub connections: f64,
}

fn look(pid: u32, api: &Api) -> Result<Look> {
    let memory = resident(pid)?;
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    let strangers = api.metric("deckport_strangers")?;
    let connections = api.metric("deckport_connections")?;
    Ok(Look { at: Instant::now(), memory, files, strangers, connections })
}

impl Watch {
    pub fn start(pid: u32, api: Api) -> Self {
        let (looks, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let watch = Self { looks: Arc::clone(&looks), stop: Arc::clone(&stop) };
        std::thread::spawn(move || {
            // Ends with the watch.
            while !stop.load(Ordering::Relaxed) {
                // A look that fails leaves a hole; whether the collector answers is asked elsewhere.
                if let Ok(look) = look(pid, &api) {
                    looks.lock().unwrap_or_else(PoisonError::into_inner).push(look);
                }
                pause(EVERY);
            }
        });
        watch
    }

    /// What was seen from `from` until `until`.
    pub fn between(&self, from: Instant, until: Instant) -> Most {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut most = Most::default();
        for look in looks.iter().filter(|look| (from..=until).contains(&look.at)) {
            most.memory = most.memory.max(look.memory);
            most.last_memory = look.memory;
            most.files = most.files.max(look.files);
            most.last_files = look.files;
            most.strangers = most.strangers.max(look.strangers);
            most.connections = most.connections.max(look.connections);
        }
        most
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
