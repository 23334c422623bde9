//! Counters and histograms, rendered as Prometheus text.
//!
//! Counting never blocks for long and never fails. Refusals are counted by their stable code, so the
//! set of label values is as small as the protocol's list of codes.

use deckport_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub fn set(&self, to: i64) {
        self.0.store(to, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

const BUCKETS: usize = 12;

/// Observations in buckets with fixed upper bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: [f64; BUCKETS],
    counts: [AtomicU64; BUCKETS],
    count: AtomicU64,
    sum_millionths: AtomicU64,
}

impl Histogram {
    fn new(bounds: [f64; BUCKETS]) -> Self {
        Self {
            bounds,
            counts: Default::default(),
            count: AtomicU64::new(0),
            sum_millionths: AtomicU64::new(0),
        }
    }

    pub fn observe(&self, value: f64) {
        if let Some(at) = self.bounds.iter().position(|&bound| value <= bound) {
            self.counts[at].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum_millionths.fetch_add((value * 1e6) as u64, Relaxed);
    }

    pub fn observe_time(&self, took: Duration) {
        self.observe(took.as_secs_f64());
    }

    fn render(&self, out: &mut String, name: &str) {
        let _ = writeln!(out, "# TYPE {name} histogram");
        let mut sum = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            sum += count.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let count = self.count.load(Relaxed);
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum {}", self.sum_millionths.load(Relaxed) as f64 / 1e6);
        let _ = writeln!(out, "{name}_count {count}");
    }
}

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Metrics {
    refused: Mutex<BTreeMap<String, u64>>,
    pub frames: Counter,
    pub records: Counter,
    pub bytes: Counter,
    pub duplicates: Counter,
    /// Secrets that were masked here.
    pub masked: Counter,
    pub quarantined: Counter,
    pub superseded: Counter,
    pub transients_dropped: Counter,
    pub lag_fallbacks: Counter,
    pub connections: Gauge,
    /// Of the connections, those of whoever has not shown who they are.
    pub strangers: Gauge,
    pub agents: Gauge,
    pub viewers: Gauge,
    pub subscriptions: Gauge,
    pub queued_writes: Gauge,
    pub queued_bytes: Gauge,
    pub storage_full: Gauge,
    pub wal_bytes: Gauge,
    pub blocks: Gauge,
    pub block_bytes: Gauge,
    pub block_output_bytes: Gauge,
    pub tail_bytes: Gauge,
    pub commit_seconds: Histogram,
    pub checkpoint_seconds: Histogram,
    pub group_writes: Histogram,
    pub ack_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
        let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];
        Self {
            refused: Mutex::default(),
            frames: Counter::default(),
            records: Counter::default(),
            bytes: Counter::default(),
            duplicates: Counter::default(),
            masked: Counter::default(),
            quarantined: Counter::default(),
            superseded: Counter::default(),
            transients_dropped: Counter::default(),
            lag_fallbacks: Counter::default(),
            connections: Gauge::default(),
            strangers: Gauge::default(),
            agents: Gauge::default(),
            viewers: Gauge::default(),
            subscriptions: Gauge::default(),
            queued_writes: Gauge::default(),
            queued_bytes: Gauge::default(),
            storage_full: Gauge::default(),
            wal_bytes: Gauge::default(),
            blocks: Gauge::default(),
            block_bytes: Gauge::default(),
            block_output_bytes: Gauge::default(),
            tail_bytes: Gauge::default(),
            commit_seconds: Histogram::new(seconds),
            checkpoint_seconds: Histogram::new(seconds),
            group_writes: Histogram::new(sizes),
            ack_seconds: Histogram::new(seconds),
        }
    }
}

impl Metrics {
    /// Counts a refusal by its code.
    pub fn refuse(&self, code: &ErrorCode) {
        let mut refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *refused.entry(code.as_str().to_owned()).or_default() += 1;
    }

    /// How often `code` was the answer.
    pub fn refusals(&self, code: &ErrorCode) -> u64 {
        let refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.get(code.as_str()).copied().unwrap_or_default()
    }

    /// The Prometheus text form.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(8192);
        for (name, counter) in [
            ("deckport_frames_total", &self.frames),
            ("deckport_records_total", &self.records),
            ("deckport_bytes_total", &self.bytes),
            ("deckport_duplicate_records_total", &self.duplicates),
            ("deckport_masked_at_ingest_total", &self.masked),
            ("deckport_quarantined_total", &self.quarantined),
            ("deckport_superseded_total", &self.superseded),
            ("deckport_transients_dropped_total", &self.transients_dropped),
            ("deckport_lag_fallbacks_total", &self.lag_fallbacks),
        ] {
            let _ = writeln!(out, "# TYPE {name} counter\n{name} {}", counter.get());
        }
        for (name, gauge) in [
            ("deckport_connections", &self.connections),
            ("deckport_strangers", &self.strangers),
            ("deckport_agents", &self.agents),
            ("deckport_viewers", &self.viewers),
            ("deckport_subscriptions", &self.subscriptions),
            ("deckport_queued_writes", &self.queued_writes),
            ("deckport_queued_bytes", &self.queued_bytes),
            ("deckport_storage_full", &self.storage_full),
            ("deckport_wal_bytes", &self.wal_bytes),
            ("deckport_blocks", &self.blocks),
            ("deckport_block_bytes", &self.block_bytes),
            ("deckport_block_raw_bytes", &self.block_output_bytes),
            ("deckport_tail_bytes", &self.tail_bytes),
        ] {
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {}", gauge.get());
        }
        self.commit_seconds.render(&mut out, "deckport_commit_seconds");
        self.checkpoint_seconds.render(&mut out, "deckport_checkpoint_seconds");
        self.group_writes.render(&mut out, "deckport_group_writes");
        self.ack_seconds.render(&mut out, "deckport_ack_seconds");
        let _ = writeln!(out, "# TYPE deckport_refused_total counter");
        let refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (code, count) in &*refused {
            let _ = writeln!(out, "deckport_refused_total{{code=\"{code}\"}} {count}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_holds_what_was_counted() {
        let metrics = Metrics::default();
        metrics.refuse(&ErrorCode::WRONG_HOST);
        metrics.refuse(&ErrorCode::WRONG_HOST);
        metrics.commit_seconds.observe_time(Duration::from_millis(3));
        let text = metrics.render();
        assert!(text.contains("deckport_refused_total{code=\"wrong_host\"} 2"), "{text}");
        assert!(text.contains("deckport_commit_seconds_bucket{le=\"0.002\"} 0"), "{text}");
        assert!(text.contains("deckport_commit_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("deckport_commit_seconds_count 1"), "{text}");
    }
}
