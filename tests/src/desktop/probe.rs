//! Eyes in the app's page: which lines stand on the screen and since when, how long opening and jumping take.

use super::webdriver::Page;
use crate::stamped::boot_us;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the probe has seen since it was put there.
#[derive(Clone, Debug)]
pub struct Seen {
    pub frames: u64,
    /// Frames in which a row on the screen had not arrived.
    pub waiting: u64,
    pub deltas: u64,
    /// Rows that the page was given, repeats not counted.
    pub rows: u64,
    pub most_rows: u64,
    /// The last line that the page was given.
    pub last_line: Option<u64>,
    pub violations: Vec<String>,
}

/// A line on the screen.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub printed_us: u64,
    /// From being printed to standing in the document, in milliseconds. The page's clock is rounded to a millisecond.
    pub took_ms: f64,
}

/// The page with the probe in it.
#[derive(Debug)]
pub struct Probe<'a> {
    page: &'a Page,
    /// Wall time minus boot time, in microseconds: the page knows the one, lines carry the other.
    offset_us: i64,
}

impl<'a> Probe<'a> {
    pub async fn put(page: &'a Page) -> Result<Self> {
        page.run(include_str!("probe.js")).await?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        Ok(Self { page, offset_us: i64::try_from(wall)? - i64::try_from(boot_us())? })
    }

    /// Looks at each row that comes into sight and at each frame, from now on.
    pub async fn watch(&self) -> Result<()> {
        self.page.run("window.__probe.watch()").await.map(drop)
    }

    /// The lines that came into sight since the last call, of those since [`Self::watch`].
    pub async fn shown(&self) -> Result<Vec<Shown>> {
        let came = self.page.run("return window.__probe.came.splice(0)").await?;
        let came: Vec<(u64, u64, f64)> = serde_json::from_value(came)?;
        Ok(came
            .into_iter()
            .map(|(_, printed_us, seen_ms)| {
                let printed_ms = (printed_us as i64 + self.offset_us) as f64 / 1e3;
                Shown { printed_us, took_ms: (seen_ms - printed_ms).max(0.0) }
            })
            .collect())
    }

    pub async fn seen(&self) -> Result<Seen> {
        let script = "const { frames, waiting, deltas, rows, mostRows, lastLine, violations } = window.__probe;
            return { frames, waiting, deltas, rows, mostRows, lastLine, violations }";
        let seen = self.page.run(script).await?;
        let number = |name: &str| seen[name].as_u64().with_context(|| format!("{name}: {seen}"));
        Ok(Seen {
            frames: number("frames")?,
            waiting: number("waiting")?,
            deltas: number("deltas")?,
            rows: number("rows")?,
            most_rows: number("mostRows")?,
            last_line: seen["lastLine"].as_u64(),
            violations: serde_json::from_value(seen["violations"].clone())?,
        })
    }

    /// Opens a log from another screen: milliseconds until it fills the screen.
    pub async fn open(&self, deployment: &str) -> Result<f64> {
        let arguments = json!([format!("#/deployments/{deployment}")]);
        self.timed("window.__probe.open(arguments[0], arguments[1])", arguments).await
    }

    /// Goes to a record of the open log: milliseconds until its row is painted.
    pub async fn jump(&self, deployment: &str, seq: u64) -> Result<f64> {
        let arguments = json!([format!("#/deployments/{deployment}?seq={seq}"), seq]);
        self.timed("window.__probe.jump(arguments[0], arguments[1], arguments[2])", arguments).await
    }

    /// Looks for `text` in all of the open log, as if it were typed: milliseconds until the matches are counted and on the minimap.
    /// Then looks for nothing again.
    pub async fn find_all(&self, text: &str) -> Result<f64> {
        self.timed("window.__probe.findAll(arguments[0], arguments[1])", json!([text])).await
    }

    /// One frame of an idle page, in milliseconds: nothing can be seen sooner.
    pub async fn frame(&self) -> Result<f64> {
        let script = "const done = arguments[0]; let begun = null; let frames = 0;
            const next = () => {
                begun ??= performance.now();
                if (frames++ < 60) requestAnimationFrame(next);
                else done((performance.now() - begun) / 60);
            };
            requestAnimationFrame(next)";
        self.timed(script, json!([])).await
    }

    async fn timed(&self, script: &str, arguments: Value) -> Result<f64> {
        let took = self.page.run_until_done(script, arguments).await?;
        took.as_f64().with_context(|| format!("the page answered {took}"))
    }
}
