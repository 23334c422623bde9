//! The one table that is printed.

use crate::measure::Spread;
use crate::steady::Slow;
use anyhow::Result;
use serde_json::json;

/// What a figure must reach.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    pub what: String,
    pub unit: &'static str,
    pub value: f64,
    /// What it is compared with, measured in the same run.
    pub baseline: Option<(&'static str, f64)>,
    pub target: Option<Target>,
}

impl Figure {
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), unit, value, baseline: None, target: None }
    }

    pub fn beside(mut self, what: &'static str, value: f64) -> Self {
        self.baseline = Some((what, value));
        self
    }

    pub fn at_least(mut self, target: f64) -> Self {
        self.target = Some(Target::AtLeast(target));
        self
    }

    pub fn at_most(mut self, target: f64) -> Self {
        self.target = Some(Target::AtMost(target));
        self
    }

    fn missed(&self) -> bool {
        match self.target {
            Some(Target::AtLeast(least)) => self.value.is_nan() || self.value < least,
            Some(Target::AtMost(most)) => self.value.is_nan() || self.value > most,
            None => false,
        }
    }
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    pub fn add(&mut self, figure: Figure) {
        eprintln!("  {}: {} {}", figure.what, number(figure.value), figure.unit);
        self.figures.push(figure);
    }

    /// The disk, beside the durable figures that follow.
    pub fn probe(&mut self, row: &str, probe: &Spread) {
        self.add(Figure::new(format!("{row}: disk probe p50"), probe.at(0.5), "ms"));
        self.add(Figure::new(format!("{row}: disk probe p99"), probe.at(0.99), "ms"));
    }

    /// How steady the machine was, behind the figures of a row, and what of them is left without the lines that were printed in
    /// a slow phase of the machine or just before. The targets are for all lines.
    pub fn slow(&mut self, row: &str, slow: &Slow, steady: &Spread) {
        let share = format!("{row}: the machine ran at less than a quarter of its speed for");
        self.add(Figure::new(share, 100.0 * slow.share, "%"));
        for (part, name) in [(0.5, "p50"), (0.99, "p99")] {
            let what = format!("{row}: lines printed outside such phases, {name}");
            self.add(Figure::new(what, steady.at(part), "ms"));
        }
    }

    pub fn missed(&self) -> bool {
        self.figures.iter().any(Figure::missed)
    }

    pub fn print(&self) {
        let mut lines =
            vec![["what", "this build", "baseline", "ratio", "target"].map(String::from)];
        for figure in &self.figures {
            let (baseline, ratio) =
                figure.baseline.map_or_else(Default::default, |(what, value)| {
                    (format!("{} {what}", number(value)), format!("{:.2}", figure.value / value))
                });
            let target = match figure.target {
                Some(Target::AtLeast(least)) => format!("≥ {}", number(least)),
                Some(Target::AtMost(most)) => format!("≤ {}", number(most)),
                None => String::new(),
            };
            let target = if figure.missed() { format!("{target} MISSED") } else { target };
            let value = format!("{} {}", number(figure.value), figure.unit);
            lines.push([figure.what.clone(), value, baseline, ratio, target]);
        }
        let widths: Vec<usize> = (0..5)
            .map(|column| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0))
            .collect();
        for line in lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                let fill = " ".repeat(width - cell.chars().count());
                if matches!(column, 1 | 3) {
                    format!("{fill}{cell}")
                } else {
                    format!("{cell}{fill}")
                }
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    pub fn json(&self) -> Result<String> {
        let figures = self.figures.iter().map(|figure| {
            json!({
                "what": figure.what, "value": figure.value, "unit": figure.unit,
                "baseline": figure.baseline.map(|(what, value)| json!({ "what": what, "value": value })),
                "missed": figure.missed(),
            })
        });
        Ok(serde_json::to_string_pretty(&figures.collect::<Vec<_>>())? + "\n")
    }
}

/// Short: thousands separated, small values with three digits.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.3}");
    }
    let mut digits = format!("{value:.0}");
    let mut at = digits.len();
    while at > 3 + usize::from(digits.starts_with('-')) {
        at -= 3;
        digits.insert(at, ',');
    }
    digits
}
