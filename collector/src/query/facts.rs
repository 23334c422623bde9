//! Evaluation: what is known of a run, of a block of rows, and of a row, and what a query makes of it.

use super::expr::{
    Expr, LevelTerm, NameTerm, RowExpr, RowTerm, RunOutcome, RunTerm, Simplified, Term, TimeTerm,
    Tree,
};
use deckport_protocol::rows::RowKind;
use deckport_protocol::{DeploymentId, Level};
use std::ops::Range;

/// Ranges that [`Tree::ranges`] gives of a row.
pub const MAX_RANGES: usize = 32;

/// A run, as far as queries ask.
#[derive(Clone, Copy, Debug)]
pub struct RunFacts<'a> {
    pub deployment_id: DeploymentId,
    pub console: &'a str,
    pub template: &'a str,
    pub venue: Option<&'a str>,
    pub release: Option<&'a str>,
    pub outcome: RunOutcome,
    /// No row of the run is earlier, microseconds since the Unix epoch; `None` if that is not sure. The console's clock
    /// may have been set during the run, so this is what rows say, not when the run began.
    pub first_row_us: Option<i64>,
    /// No row of the run is later; `None` if that is not sure, as while the run goes on.
    pub last_row_us: Option<i64>,
}

/// A block: consecutive rows of one run.
#[derive(Clone, Copy, Debug)]
pub struct BlockFacts<'a> {
    /// The earliest time of a row, microseconds since the Unix epoch.
    pub first_row_us: i64,
    /// The latest.
    pub last_row_us: i64,
    /// The [`level_bit`] of every level that a row has.
    pub levels: u8,
    /// The [`kind_bit`] of every kind that a row has.
    pub kinds: u8,
    pub phases: NamesIn<'a>,
    pub steps: NamesIn<'a>,
}

/// The names of the phases or steps that a block's rows are in.
#[derive(Clone, Copy, Debug)]
pub enum NamesIn<'a> {
    Unknown,
    /// Exactly these; `unnamed`: some rows are in none.
    Known {
        names: &'a [&'a str],
        unnamed: bool,
    },
}

/// A row, as far as queries ask.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// As shown, without line break.
    pub text: &'a str,
    pub level: Level,
    pub kind: RowKind,
    pub phase: Option<&'a str>,
    pub step: Option<&'a str>,
    /// Microseconds since the Unix epoch.
    pub at_us: i64,
}

/// A level's bit in [`BlockFacts::levels`]. Blocks keep these: a level never changes its bit.
pub const fn level_bit(level: Level) -> u8 {
    match level {
        Level::Debug => 1,
        Level::Info => 1 << 1,
        Level::Notice => 1 << 2,
        Level::Warning => 1 << 3,
        Level::Error => 1 << 4,
    }
}

/// A kind's bit in [`BlockFacts::kinds`]. Blocks keep these: a kind never changes its bit.
pub const fn kind_bit(kind: RowKind) -> u8 {
    match kind {
        RowKind::Line => 1,
        RowKind::Phase => 1 << 1,
        RowKind::Note => 1 << 2,
        RowKind::Gap => 1 << 3,
        RowKind::Marker => 1 << 4,
        RowKind::Event => 1 << 5,
    }
}

impl LevelTerm {
    pub fn is_match(self, level: Level) -> bool {
        match self {
            Self::AtLeast(least) => level >= least,
            Self::Exactly(wanted) => level == wanted,
        }
    }

    fn bits(self) -> u8 {
        [Level::Debug, Level::Info, Level::Notice, Level::Warning, Level::Error]
            .into_iter()
            .filter(|&level| self.is_match(level))
            .fold(0, |bits, level| bits | level_bit(level))
    }
}

impl TimeTerm {
    pub fn is_match(self, at_us: i64) -> bool {
        match self {
            Self::From(from) => at_us >= from,
            Self::Before(before) => at_us < before,
        }
    }

    /// For rows between two times, both included, where they are sure.
    fn known(self, first: Option<i64>, last: Option<i64>) -> Option<bool> {
        let (first, last) = (first.map(|at| self.is_match(at)), last.map(|at| self.is_match(at)));
        match self {
            Self::From(_) if first == Some(true) => Some(true),
            Self::From(_) if last == Some(false) => Some(false),
            Self::Before(_) if last == Some(true) => Some(true),
            Self::Before(_) if first == Some(false) => Some(false),
            Self::From(_) | Self::Before(_) => None,
        }
    }
}

impl NameTerm {
    fn known(&self, present: NamesIn<'_>) -> Option<bool> {
        match present {
            NamesIn::Unknown => None,
            NamesIn::Known { names, unnamed } => {
                let some = names.iter().any(|name| self.is_match(name));
                let all = !unnamed && names.iter().all(|name| self.is_match(name));
                agreed(some, all)
            }
        }
    }
}

/// The answer for all rows, if `some` of them and `all` of them agree on it.
fn agreed(some: bool, all: bool) -> Option<bool> {
    if !some {
        Some(false)
    } else if all {
        Some(true)
    } else {
        None
    }
}

fn masked(wanted: u8, present: u8) -> Option<bool> {
    agreed(wanted & present != 0, present & !wanted == 0)
}

impl RunFacts<'_> {
    fn answer(&self, term: &RunTerm) -> bool {
        match term {
            RunTerm::Deployment(id) => *id == self.deployment_id,
            RunTerm::Outcome(outcome) => *outcome == self.outcome,
            RunTerm::Console(name) => name.is_match(self.console),
            RunTerm::Template(name) => name.is_match(self.template),
            RunTerm::Venue(name) => self.venue.is_some_and(|venue| name.is_match(venue)),
            RunTerm::Release(name) => self.release.is_some_and(|release| name.is_match(release)),
        }
    }

    fn known(&self, term: &RowTerm) -> Option<bool> {
        match term {
            RowTerm::Time(time) => time.known(self.first_row_us, self.last_row_us),
            RowTerm::Text(_)
            | RowTerm::Level(_)
            | RowTerm::Kind(_)
            | RowTerm::Phase(_)
            | RowTerm::Step(_) => None,
        }
    }
}

impl BlockFacts<'_> {
    fn known(&self, term: &RowTerm) -> Option<bool> {
        match term {
            RowTerm::Text(_) => None,
            RowTerm::Level(level) => masked(level.bits(), self.levels),
            RowTerm::Kind(kind) => masked(kind_bit(*kind), self.kinds),
            RowTerm::Phase(name) => name.known(self.phases),
            RowTerm::Step(name) => name.known(self.steps),
            RowTerm::Time(time) => time.known(Some(self.first_row_us), Some(self.last_row_us)),
        }
    }
}

impl RowView<'_> {
    fn answer(&self, term: &RowTerm) -> bool {
        match term {
            RowTerm::Text(text) => text.is_match(self.text),
            RowTerm::Level(level) => level.is_match(self.level),
            RowTerm::Kind(kind) => *kind == self.kind,
            RowTerm::Phase(name) => self.phase.is_some_and(|phase| name.is_match(phase)),
            RowTerm::Step(name) => self.step.is_some_and(|step| name.is_match(step)),
            RowTerm::Time(time) => time.is_match(self.at_us),
        }
    }
}

impl Expr {
    /// What is left in one run: its fields are answered, and times where all its rows are on one side.
    pub fn on_run(&self, run: &RunFacts<'_>) -> Simplified<RowTerm> {
        self.simplify(&|term| match term {
            Term::Run(term) => Simplified::known(run.answer(term)),
            Term::Row(term) => run
                .known(term)
                .map_or_else(|| Simplified::Rest(Tree::Term(term.clone())), Simplified::known),
        })
    }
}

impl RowExpr {
    /// What is left in one block.
    pub fn on_block(&self, block: &BlockFacts<'_>) -> Simplified<RowTerm> {
        self.simplify(&|term| {
            block
                .known(term)
                .map_or_else(|| Simplified::Rest(Tree::Term(term.clone())), Simplified::known)
        })
    }

    /// Whether a row of the block may match; as [`Self::on_block`], for when the rest is not needed.
    pub fn may_match(&self, block: &BlockFacts<'_>) -> bool {
        self.truth(&|term| block.known(term)) != Some(false)
    }

    pub fn matches(&self, row: &RowView<'_>) -> bool {
        self.holds(&|term| row.answer(term))
    }

    /// What to highlight in a row that matched: where its text terms were found, those aside that must not be there.
    /// In bytes, ascending, merged, at most [`MAX_RANGES`].
    pub fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        self.find(text, true, &mut found);
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len().min(MAX_RANGES));
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged.truncate(MAX_RANGES);
        merged
    }

    fn find(&self, text: &str, wanted: bool, found: &mut Vec<Range<usize>>) {
        match self {
            Self::And(parts) | Self::Or(parts) => {
                for part in parts {
                    part.find(text, wanted, found);
                }
            }
            Self::Not(inner) => inner.find(text, !wanted, found),
            Self::Term(RowTerm::Text(term)) => {
                if wanted {
                    found.extend(term.find_iter(text).take(MAX_RANGES));
                }
            }
            Self::Term(
                RowTerm::Level(_)
                | RowTerm::Kind(_)
                | RowTerm::Phase(_)
                | RowTerm::Step(_)
                | RowTerm::Time(_),
            ) => {}
        }
    }
}
