//! The search language: what people type to find rows, and what a search needs to know to answer fast.
//!
//! ```text
//! foo                the row's text contains `foo`, capitals ignored
//! "install failed"   contains this phrase, capitals ignored; \" and \\ inside
//! 'ERR_FOO'          as "…", but capitals count; \' and \\ inside
//! word:disk          contains `disk` as a whole word, not `diskette`; word:'Disk' minds capitals
//! /pat(tern)?s/      a regular expression, capitals count; /…/i ignores them; \/ inside
//! level:warning      that level or worse; level:=warning exactly that
//! kind:line          line, phase, note, gap, marker or event
//! phase: step: console: template: venue: release:
//!                    the name contains the value, capitals ignored; template:=base is exactly `base`, capitals count
//! outcome:failed     succeeded, failed, cancelled, interrupted or running
//! deployment:ID      one run
//! after: before: since:
//!                    the row's time: 2026-11-01, 2026-11-01T14:30, "2026-11-01 14:30:05", each with Z or +02:00 or in
//!                    the asker's zone; today, yesterday; since:1h30m (s, m, h, d, w). `after` begins at its time,
//!                    `before` ends short of it, so that after:yesterday before:today is a day.
//! a b   a AND b      both
//! a OR b             either; binds weaker than AND
//! NOT a   -a         not; binds stronger than AND
//! ( … )              brackets; a space or another bracket stands before the opening one
//! ```
//!
//! Operators and names of fields are read in any case. A word that begins with two dashes is itself (`--force`), and
//! so is a word with a colon whose first part is no field (`http://…`, `dpkg:`).
//!
//! What must hold:
//!
//! * A row has no line break, and nothing that is searched for can span rows: `.`, `\s`, `[^a]` and `$` stay inside,
//!   whatever flags a regular expression sets.
//! * [`Need`] and [`Scan`] are necessary conditions of [`Tree::matches`], never more: both are made from the very
//!   expression that matches, and property tests hold them against it.
//! * What is known of a run or of a block is folded in exactly; what is not known stays in the rest.
//! * A query, displayed and parsed again, is the same query. Times are displayed as instants.
//! * Whatever is asked, the work is bounded: [`MAX_BYTES`], [`MAX_TERMS`], [`MAX_DEPTH`], and limits on the size and
//!   the nesting of regular expressions, which match in linear time.
//!
//! Failure modes: a query that cannot be read is a [`Problem`] that says what is wrong, where, and what to write
//! instead. Nothing else fails.

mod error;
mod expr;
mod facts;
mod fields;
mod fold;
mod lex;
mod need;
mod parse;
mod parts;
mod pattern;
mod scan;
mod show;
mod text;
mod time;

#[cfg(test)]
mod tests;

pub use error::Problem;
pub use expr::{
    Expr, How, LevelTerm, NameTerm, RowExpr, RowTerm, RunOutcome, RunTerm, Simplified, Term,
    TimeTerm, Tree,
};
pub use facts::{BlockFacts, MAX_RANGES, NamesIn, RowView, RunFacts, kind_bit, level_bit};
pub use fold::fold_into;
pub use need::Need;
pub use parts::{Part, PartKind, parts};
pub use scan::{Hit, Hits, Scan};
pub use text::{Capitals, Shape, TermError, TextTerm};

/// Bytes of a query.
pub const MAX_BYTES: usize = 4096;
/// Terms of a query; each costs a compiled pattern.
pub const MAX_TERMS: usize = 64;
/// Brackets and negations inside each other.
pub const MAX_DEPTH: usize = 32;

/// What is asked, as it was typed and as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub text: String,
    pub expr: Expr,
}

impl Query {
    /// Reads a query. `now_us`: the time that `since:` and `today` count from, microseconds since the Unix epoch.
    /// `tz_minutes`: the asker's zone, minutes east of UTC, for dates that state none.
    pub fn parse(text: &str, now_us: i64, tz_minutes: i32) -> Result<Self, Problem> {
        let clock = time::Clock { now_us, tz_minutes };
        let expr = parse::parse(text, clock).map_err(|fault| fault.in_query(text))?;
        Ok(Self { text: text.to_owned(), expr })
    }

    /// What is left of the query in one run.
    pub fn on_run(&self, run: &RunFacts<'_>) -> Simplified<RowTerm> {
        self.expr.on_run(run)
    }
}
