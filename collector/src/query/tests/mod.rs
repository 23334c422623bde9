//! The language by examples and by properties.

mod evaluation;
mod generators;
mod language;
mod properties;

use super::{Expr, Query};

/// 2026-11-26 18:00 UTC.
const NOW_US: i64 = 1_795_716_000_000_000;
const ID: &str = "01938c5e-7f3a-7c11-9d2b-4f6a8e0c1b2d";

/// For one who asks an hour east.
fn parse(text: &str) -> Expr {
    Query::parse(text, NOW_US, 60).unwrap_or_else(|problem| panic!("{text}: {problem}")).expr
}
