//! Where two runs part: the first line that matters, all that differ, and durations side by side.
//!
//! Lines are compared masked ([`super::mask`], so that times, ids and hashes do not count), and within their
//! section: the lines of one step of one phase. Of a section each run has a bag of lines. What both bags
//! hold is the same, wherever it stands: output of things that run at once comes in another order each time.
//! What only one holds is a difference; a line of either that are alike, or stand in the same place, are one line
//! that changed.
//!
//! There is no generalising by Drain here: what it would call a variable may be the word that differs.
//!
//! Which of several equal lines is the surplus one is settled by the unmasked text, then by the neighbours,
//! then by the order.
//!
//! The first difference is not simply the topmost. By rank, then by place:
//! 1. what says something: lines with words of their own that only one run has, or that changed;
//! 2. what is missing only because this run ended there: it follows from what came before;
//! 3. noise: how often a line with numbers repeats (progress), what changes in the same way again and again (a
//!    host's name, a mirror), lines without words, debug output.
//!
//! An error that only this run has is of the first rank whatever its words.
//!
//! What must hold: a run compared with itself, or with itself reordered within sections, has no difference.
//! Time is that of sorting; memory is [`MAX_LINES`] entries and [`MAX_TEXT`] bytes a run. Lines beyond are not
//! compared, and [`Comparison::complete`] says so.

mod pair;

use super::mask::{Purpose, mask_into};
use super::status;
use super::templates::start;
use deckport_protocol::Level;
use serde::Serialize;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Lines of one run that are compared.
pub const MAX_LINES: usize = 1_000_000;
/// Bytes of text of one run that are kept to be shown.
pub const MAX_TEXT: usize = 64 << 20;
/// Bytes of one line that are shown.
pub const SHOWN_BYTES: usize = 512;
/// Hunks that are listed, and lines of each side of a hunk that are shown.
pub const MAX_HUNKS: usize = 500;
pub const HUNK_LINES: usize = 50;

/// One row of a run's log.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub row: u64,
    pub phase: Option<&'a str>,
    pub step: Option<&'a str>,
    pub level: Level,
    pub text: &'a str,
    /// Microseconds since the Unix epoch.
    pub at_us: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    Changed,
    OnlyHere,
    MissingHere,
}

/// The line where the runs part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FirstDifference {
    #[schema(required)]
    pub this_row: Option<u64>,
    #[schema(required)]
    pub other_row: Option<u64>,
    pub kind: DifferenceKind,
    /// Of this run; of the other if it is missing here.
    pub text: String,
    /// The other run's line, if it changed.
    #[schema(required)]
    pub other_text: Option<String>,
}

/// Neighbouring lines that differ. Rows are half open; where a side has no line, both are the row before which they would stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Hunk {
    pub kind: DifferenceKind,
    pub this_from: u64,
    pub this_to: u64,
    pub other_from: u64,
    pub other_to: u64,
    /// The first [`HUNK_LINES`] at most.
    pub this_lines: Vec<String>,
    pub other_lines: Vec<String>,
}

/// What is known of a phase beside its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseTook {
    pub name: String,
    /// Microseconds.
    pub took_us: Option<i64>,
    pub state: Option<String>,
}

/// A phase of either run or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PhasePair {
    pub name: String,
    #[schema(required)]
    pub this_us: Option<i64>,
    #[schema(required)]
    pub other_us: Option<i64>,
    #[schema(required)]
    pub this_state: Option<String>,
    #[schema(required)]
    pub other_state: Option<String>,
}

/// What came out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Comparison {
    #[schema(required)]
    pub first_difference: Option<FirstDifference>,
    pub phases: Vec<PhasePair>,
    /// In the order of this run's rows, the first [`MAX_HUNKS`].
    pub hunks: Vec<Hunk>,
    /// Rows of this run that the other has too, those `ignored` included.
    pub same_rows: u64,
    /// Rows that are the same but for times, ids and hashes.
    pub ignored: u64,
    /// No run was longer than what is compared.
    pub complete: bool,
}

/// No line matches this one.
const ALONE: u32 = u32::MAX;

/// A line as far as it is kept.
struct Entry {
    row: u64,
    /// Of the unmasked text.
    raw: u64,
    section: u32,
    /// The hash of the masked text. Texts are not kept: of a million lines the odds that two hashes are equal are one in
    /// ten million, and then one difference is overlooked.
    key: u64,
    /// Where the text to show is; its end is the next entry's start.
    text: u32,
    level: Level,
    /// Something was masked.
    masked: bool,
}

#[derive(Default)]
struct Side {
    entries: Vec<Entry>,
    texts: String,
    /// For each entry the other side's, or [`ALONE`].
    partner: Vec<u32>,
    complete: bool,
}

impl Side {
    fn text(&self, at: u32) -> &str {
        let next =
            self.entries.get(at as usize + 1).map_or(self.texts.len(), |next| next.text as usize);
        &self.texts[self.entries[at as usize].text as usize..next]
    }

    fn entry(&self, at: u32) -> &Entry {
        &self.entries[at as usize]
    }

    /// The row before which something stands that follows the entry before `at`.
    fn row_before(&self, at: u32) -> u64 {
        match self.entries.get(at as usize) {
            Some(entry) => entry.row,
            None => self.entries.last().map_or(0, |last| last.row + 1),
        }
    }
}

/// A phase and a step of it.
type Section = (Option<String>, Option<String>);

/// Takes the lines of one run, in their order.
pub struct Lines {
    side: Side,
    sections: HashMap<Section, u32>,
    masked: String,
    last_section: Option<(Section, u32)>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Lines")
            .field("lines", &self.side.entries.len())
            .finish_non_exhaustive()
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Lines {
    pub fn new() -> Self {
        Self {
            side: Side { complete: true, ..Side::default() },
            sections: HashMap::new(),
            masked: String::new(),
            last_section: None,
        }
    }

    /// Adds the next line. Lines without a visible character are no lines.
    pub fn push(&mut self, line: Line<'_>) {
        let text = line.text.trim();
        if text.is_empty() {
            return;
        }
        let shown = start(text, SHOWN_BYTES);
        let (lines, bytes) = (self.side.entries.len(), self.side.texts.len());
        if self.is_full() || lines >= MAX_LINES || bytes + shown.len() > MAX_TEXT {
            self.side.complete = false;
            return;
        }
        mask_into(text, Purpose::Comparing, &mut self.masked);
        let section = match &self.last_section {
            Some(((phase, step), section))
                if phase.as_deref() == line.phase && step.as_deref() == line.step =>
            {
                *section
            }
            _ => {
                let named = (line.phase.map(str::to_owned), line.step.map(str::to_owned));
                let next = self.sections.len() as u32;
                let section = *self.sections.entry(named.clone()).or_insert(next);
                self.last_section = Some((named, section));
                section
            }
        };
        let side = &mut self.side;
        side.entries.push(Entry {
            row: line.row,
            raw: hash_of(text),
            section,
            key: hash_of(self.masked.as_str()),
            text: side.texts.len() as u32,
            level: line.level,
            masked: self.masked.contains(super::mask::PLACEHOLDER),
        });
        side.texts.push_str(shown);
    }

    /// What comes now is not compared any more.
    pub const fn is_full(&self) -> bool {
        !self.side.complete
    }
}

/// Compares two runs: the one that is looked at, and the one that it is held against, each with its phases in their order.
pub fn compare(
    (this, our_phases): (Lines, &[PhaseTook]),
    (other, their_phases): (Lines, &[PhaseTook]),
) -> Comparison {
    let Lines { side: mut ours, mut sections, .. } = this;
    let Lines { side: mut theirs, sections: their_sections, .. } = other;
    // Each counted sections by itself.
    let mut same = vec![0; their_sections.len()];
    for (named, section) in their_sections {
        let next = sections.len() as u32;
        same[section as usize] = *sections.entry(named).or_insert(next);
    }
    for entry in &mut theirs.entries {
        entry.section = same[entry.section as usize];
    }
    let ignored = match_same(&mut ours, &mut theirs);
    let differences = pair::differences(&ours, &theirs, sections.len());
    let same_rows = ours.partner.iter().filter(|partner| **partner != ALONE).count();
    Comparison {
        first_difference: pair::first(&differences, &ours, &theirs),
        phases: phases(our_phases, their_phases),
        hunks: pair::hunks(&differences, &ours, &theirs),
        same_rows: same_rows as u64,
        ignored,
        complete: ours.complete && theirs.complete,
    }
}

/// Matches each line with one that is the same in the other run. Returns how many are so only when masked.
fn match_same(this: &mut Side, other: &mut Side) -> u64 {
    this.partner = vec![ALONE; this.entries.len()];
    other.partner = vec![ALONE; other.entries.len()];
    let sorted = |side: &Side| {
        let entries = (0u32..).zip(&side.entries);
        let mut order: Vec<(u32, u64, u32)> =
            entries.map(|(at, entry)| (entry.section, entry.key, at)).collect();
        order.sort_unstable();
        order.into_iter().map(|(.., at)| at).collect::<Vec<u32>>()
    };
    let (these, others) = (sorted(this), sorted(other));
    let bag = |side: &Side, order: &[u32], from: usize| {
        let of = |at: u32| (side.entry(at).section, side.entry(at).key);
        order.get(from).map(|first| {
            let length = order[from..].iter().take_while(|at| of(**at) == of(*first)).count();
            (of(*first), from + length)
        })
    };
    let (mut at_this, mut at_other, mut ignored) = (0, 0, 0);
    // Walks the bags of both sides in their common order; ends with the shorter side.
    while let (Some((key, this_end)), Some((other_key, other_end))) =
        (bag(this, &these, at_this), bag(other, &others, at_other))
    {
        if key == other_key {
            ignored +=
                match_bag(this, other, &these[at_this..this_end], &others[at_other..other_end]);
        }
        if key <= other_key {
            at_this = this_end;
        }
        if other_key <= key {
            at_other = other_end;
        }
    }
    ignored
}

/// Matches equal lines: those the same unmasked, then those with the same neighbours, with one, then in order.
fn match_bag(this: &mut Side, other: &mut Side, these: &[u32], others: &[u32]) -> u64 {
    let (mut these, mut others, mut ignored) = (these.to_vec(), others.to_vec(), 0);
    let neighbour = |side: &Side, at: u32, by: i64| {
        let at = usize::try_from(i64::from(at) + by).ok();
        at.and_then(|at| side.entries.get(at)).map_or(u64::MAX, |entry| entry.key)
    };
    type Likeness = fn(u64, u64, u64) -> (u64, u64);
    let rules: [Likeness; 5] = [
        |raw, _, _| (raw, 0),
        |_, before, after| (before, after),
        |_, before, _| (before, 0),
        |_, _, after| (0, after),
        |_, _, _| (0, 0),
    ];
    for (rule, of) in rules.iter().enumerate() {
        if these.is_empty() || others.is_empty() {
            break;
        }
        // Bags of one size leave nothing over, so that nobody asks which line is whose.
        if rule > 0 && rule < 4 && these.len() == others.len() {
            continue;
        }
        let key = |side: &Side, at: u32| {
            of(side.entry(at).raw, neighbour(side, at, -1), neighbour(side, at, 1))
        };
        these.sort_by_cached_key(|at| (key(this, *at), *at));
        others.sort_by_cached_key(|at| (key(other, *at), *at));
        let (mut left, mut right) = (0, 0);
        while let (Some(a), Some(b)) = (these.get(left).copied(), others.get(right).copied()) {
            match key(this, a).cmp(&key(other, b)) {
                std::cmp::Ordering::Less => left += 1,
                std::cmp::Ordering::Greater => right += 1,
                std::cmp::Ordering::Equal => {
                    this.partner[a as usize] = b;
                    other.partner[b as usize] = a;
                    ignored += u64::from(rule > 0);
                    (left, right) = (left + 1, right + 1);
                }
            }
        }
        these.retain(|at| this.partner[*at as usize] == ALONE);
        others.retain(|at| other.partner[*at as usize] == ALONE);
    }
    ignored
}

/// Phases of both runs by name, the second of a name with the second: in this run's order, then what only the other has.
fn phases(this: &[PhaseTook], other: &[PhaseTook]) -> Vec<PhasePair> {
    let mut left: Vec<Option<&PhaseTook>> = other.iter().map(Some).collect();
    let mut pairs = Vec::with_capacity(this.len());
    for phase in this {
        let same =
            left.iter_mut().find(|other| other.is_some_and(|other| other.name == phase.name));
        let same = same.and_then(Option::take);
        pairs.push(PhasePair {
            name: phase.name.clone(),
            this_us: phase.took_us,
            other_us: same.and_then(|same| same.took_us),
            this_state: phase.state.clone(),
            other_state: same.and_then(|same| same.state.clone()),
        });
    }
    pairs.extend(left.into_iter().flatten().map(|phase| PhasePair {
        name: phase.name.clone(),
        this_us: None,
        other_us: phase.took_us,
        this_state: None,
        other_state: phase.state.clone(),
    }));
    pairs
}

#[cfg(test)]
mod tests;
