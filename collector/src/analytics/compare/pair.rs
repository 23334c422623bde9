//! What is left when all that is the same is matched: which lines changed, how much each difference says.

use super::{
    ALONE, DifferenceKind, FirstDifference, HUNK_LINES, Hunk, MAX_HUNKS, Purpose, Side, hash_of,
    mask_into, status,
};
use deckport_protocol::Level;
use std::collections::{HashMap, HashSet};

/// Lines of a section and side that are looked at for pairs, and how many of the other side each is held against. What is beyond
/// is listed as missing here and only here: two runs that have nothing in common need no pairs.
const PAIRED: usize = 2000;
const CANDIDATES: usize = 40;
/// How alike two lines must be to be one that changed: the share of their words that both have.
const ALIKE: f64 = 0.5;
/// Missing lines with no more than this many others between them belong together.
const CLOSE: u64 = 24;
/// The same change this often is a habit, not a reason.
const HABIT: usize = 3;

/// How much a difference says. Less is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Telling,
    EndedHere,
    Noise,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Difference {
    this: Option<u32>,
    other: Option<u32>,
    /// In this run: twice the index of its line, or of the one it would follow and one more.
    place: u64,
    rank: Rank,
}

impl Difference {
    fn kind(&self) -> DifferenceKind {
        match (self.this, self.other) {
            (Some(_), Some(_)) => DifferenceKind::Changed,
            (Some(_), None) => DifferenceKind::OnlyHere,
            (None, _) => DifferenceKind::MissingHere,
        }
    }
}

/// A line that only one run has.
struct Lone {
    at: u32,
    place: u64,
    /// The place behind the last line before it, in its section, that both runs have.
    behind: u64,
    /// How many lines of its section and run are before it.
    ordinal: u64,
    /// Hashes of its words, sorted.
    words: Vec<u64>,
}

/// The lines that only one run has, of one section.
#[derive(Default)]
struct Section {
    these: Vec<Lone>,
    others: Vec<Lone>,
    /// Places of its first and last line in this run.
    extent: Option<(u64, u64)>,
    /// The place behind the furthest line of this run that both have, of those passed.
    reached: Option<u64>,
    /// Lines passed of the run at hand.
    lines: u64,
    /// Lines of the other run up to the last that both have.
    matched: u64,
}

impl Section {
    /// The others from which on they are missing because this run ended.
    ///
    /// When a run ends, each of the sources that print at once lacks its rest, and the slower ones began to lack
    /// it before the last line that both runs have: missing lines stand close together from there on.
    fn cut_from(&self) -> usize {
        let mut next = self.matched;
        let tail = self.others.partition_point(|one| one.ordinal < self.matched);
        if tail == self.others.len() {
            return tail;
        }
        let chain = self.others[..tail].iter().rev().take_while(|one| {
            let close = next - one.ordinal <= CLOSE;
            next = one.ordinal;
            close
        });
        tail - chain.count()
    }
}

/// All differences in the order of this run.
pub(super) fn differences(this: &Side, other: &Side, sections: usize) -> Vec<Difference> {
    let mut furthest = 0;
    let sections = sections_of(this, other, sections, &mut furthest);
    let last_start =
        sections.iter().filter_map(|section| section.extent).map(|(start, _)| start).max();
    let mut found = Vec::new();
    for mut section in sections {
        // One after whose last line no other began was open when this run ended.
        let open = section.extent.is_some_and(|(_, end)| Some(end) >= last_start);
        let cut_from = if open { section.cut_from() } else { section.others.len() };
        let pairs = pairs(this, other, &mut section.these, &mut section.others);
        let (mut paired, mut others_paired) = (HashSet::new(), HashSet::new());
        for (a, b) in pairs {
            paired.insert(a);
            others_paired.insert(b);
            let (a, b) = (&section.these[a], &section.others[b]);
            found.push(Difference {
                this: Some(a.at),
                other: Some(b.at),
                place: a.place,
                rank: Rank::Telling,
            });
        }
        let only = section.these.iter().enumerate().filter(|(at, _)| !paired.contains(at));
        found.extend(only.map(|(_, one)| Difference {
            this: Some(one.at),
            other: None,
            place: one.place,
            rank: Rank::Telling,
        }));
        let missing =
            section.others.iter().enumerate().filter(|(at, _)| !others_paired.contains(at));
        found.extend(missing.map(|(at, one)| {
            let ended = at >= cut_from || one.place >= furthest;
            let rank = if ended { Rank::EndedHere } else { Rank::Telling };
            Difference { this: None, other: Some(one.at), place: one.place, rank }
        }));
    }
    found.sort_by_key(|difference| (difference.place, difference.other));
    rank_noise(&mut found, this, other);
    found
}

/// Sorts what only one run has into sections. `furthest` becomes the place behind the last line of this run that both have.
fn sections_of(this: &Side, other: &Side, sections: usize, furthest: &mut u64) -> Vec<Section> {
    let mut sections: Vec<Section> = (0..sections).map(|_| Section::default()).collect();
    for (at, (entry, partner)) in this.entries.iter().zip(&this.partner).enumerate() {
        let (section, place) = (&mut sections[entry.section as usize], 2 * at as u64);
        section.extent = Some((section.extent.map_or(place, |(start, _)| start), place));
        let behind = *section.reached.get_or_insert(place);
        if *partner == ALONE {
            let ordinal = section.lines;
            section.these.push(Lone { at: at as u32, place, behind, ordinal, words: Vec::new() });
        } else {
            section.reached = Some(place + 1);
        }
        section.lines += 1;
    }
    for section in &mut sections {
        section.lines = 0;
        section.reached = section.extent.map(|(start, _)| start);
    }
    for (at, (entry, partner)) in other.entries.iter().zip(&other.partner).enumerate() {
        let section = &mut sections[entry.section as usize];
        if *partner == ALONE {
            // Behind the furthest of all lines before it that this run has: only then is it known to be missing.
            let (place, ordinal) = (section.reached.unwrap_or(*furthest), section.lines);
            section.others.push(Lone {
                at: at as u32,
                place,
                behind: place,
                ordinal,
                words: Vec::new(),
            });
            section.lines += 1;
        } else {
            let place = 2 * u64::from(*partner) + 1;
            section.reached = section.reached.max(Some(place));
            *furthest = (*furthest).max(place);
            section.lines += 1;
            section.matched = section.lines;
        }
    }
    sections
}

/// Which lines of a section are one that changed, as indices into both lists.
fn pairs(
    this: &Side,
    other: &Side,
    these: &mut [Lone],
    others: &mut [Lone],
) -> Vec<(usize, usize)> {
    let (few, others_few) = (these.len().min(PAIRED), others.len().min(PAIRED));
    if few == 0 || others_few == 0 {
        return Vec::new();
    }
    // Places grow along both lists.
    let (these, others) = (&mut these[..few], &mut others[..others_few]);
    let mut masked = String::new();
    for (side, lines) in [(this, &mut *these), (other, &mut *others)] {
        for line in lines.iter_mut() {
            mask_into(side.text(line.at), Purpose::Comparing, &mut masked);
            line.words = words(&masked).map(hash_of).collect();
            line.words.sort_unstable();
        }
    }
    let mut scored = Vec::new();
    for (a, this) in these.iter().enumerate() {
        let middle = others.partition_point(|other| other.place < this.place);
        let near = middle.saturating_sub(CANDIDATES)..others.len().min(middle + CANDIDATES);
        for b in near {
            let score = alike(&this.words, &others[b].words);
            if score >= ALIKE {
                let apart = others[b].place.abs_diff(this.place);
                scored.push((std::cmp::Reverse((score * 1000.0) as u32), apart, a, b));
            }
        }
    }
    scored.sort_unstable();
    let (mut taken, mut others_taken, mut pairs) =
        (vec![false; few], vec![false; others_few], Vec::new());
    for (_, _, a, b) in scored {
        if !taken[a] && !others_taken[b] {
            (taken[a], others_taken[b]) = (true, true);
            pairs.push((a, b));
        }
    }
    // What stands in the same place changed too, however unlike: behind the same line, one after the other.
    let mut at_place: HashMap<u64, Vec<usize>> = HashMap::new();
    for (b, line) in others.iter().enumerate().rev().filter(|(b, _)| !others_taken[*b]) {
        at_place.entry(line.behind).or_default().push(b);
    }
    for (a, line) in these.iter().enumerate().filter(|(a, _)| !taken[*a]) {
        if let Some(b) = at_place.get_mut(&line.behind).and_then(Vec::pop) {
            pairs.push((a, b));
        }
    }
    pairs
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|between: char| between.is_whitespace() || "=:,;/()[]'\"".contains(between))
        .filter(|word| !word.is_empty())
}

/// The share of words that both have, of all that either has. Both sorted.
fn alike(these: &[u64], others: &[u64]) -> f64 {
    let (mut left, mut right, mut both) = (0, 0, 0);
    while let (Some(a), Some(b)) = (these.get(left), others.get(right)) {
        both += usize::from(a == b);
        (left, right) = (left + usize::from(a <= b), right + usize::from(b <= a));
    }
    let all = these.len() + others.len();
    if all == 0 { 0.0 } else { 2.0 * both as f64 / all as f64 }
}

/// Ranks what says little.
fn rank_noise(found: &mut [Difference], this: &Side, other: &Side) {
    // How often a key stands in each run: what both have, only not as often, repeats.
    let lone_keys: HashSet<(u32, u64)> = found
        .iter()
        .flat_map(|one| {
            let this = one.this.map(|at| this.entry(at));
            let other = one.other.map(|at| other.entry(at));
            this.into_iter().chain(other).map(|entry| (entry.section, entry.key))
        })
        .collect();
    let in_both: HashSet<(u32, u64)> = this
        .entries
        .iter()
        .zip(&this.partner)
        .filter(|(entry, partner)| {
            **partner != ALONE && lone_keys.contains(&(entry.section, entry.key))
        })
        .map(|(entry, _)| (entry.section, entry.key))
        .collect();
    let mut habits: HashMap<Change, usize> = HashMap::new();
    let changes: Vec<Vec<Change>> = found
        .iter()
        .map(|one| match (one.this, one.other) {
            (Some(a), Some(b)) => change(this.text(a), other.text(b)),
            _ => Vec::new(),
        })
        .collect();
    for change in changes.iter().flatten() {
        *habits.entry(*change).or_default() += 1;
    }
    for (one, changes) in found.iter_mut().zip(changes) {
        let sides = [one.this.map(|at| (this, at)), one.other.map(|at| (other, at))];
        let mut sides = sides.into_iter().flatten();
        let repeats = |(side, at): (&Side, u32)| {
            let entry = side.entry(at);
            entry.masked && in_both.contains(&(entry.section, entry.key))
        };
        let says_nothing = |(side, at): (&Side, u32)| {
            side.entry(at).level == Level::Debug
                || !side.text(at).bytes().any(|byte| byte.is_ascii_alphabetic() || byte >= 0x80)
        };
        let failure = one.this.is_some_and(|at| {
            this.entry(at).level == Level::Error
                && one.other.is_none_or(|other_at| other.entry(other_at).level != Level::Error)
        });
        let habit = changes.iter().any(|change| *change == Change::Host || habits[change] >= HABIT);
        let noise = habit || sides.all(|side| repeats(side) || says_nothing(side));
        if noise && !failure {
            one.rank = Rank::Noise;
        }
    }
}

/// A way in which a line changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Change {
    /// This word became that, in whatever line.
    Word(u64, u64),
    /// Words at one place of lines that are otherwise the same.
    Slot(u64),
    /// The host of an address.
    Host,
}

/// How two lines differ, if it is by one word that says nothing of success or failure.
fn change(this: &str, other: &str) -> Vec<Change> {
    let masked = |text: &str| super::super::mask::mask(text, Purpose::Comparing);
    let (this, other) = (masked(this), masked(other));
    let (these, others): (Vec<&str>, Vec<&str>) = (words(&this).collect(), words(&other).collect());
    if these.len() != others.len() {
        return Vec::new();
    }
    let mut differing = these.iter().zip(&others).enumerate().filter(|(_, (a, b))| a != b);
    let (Some((place, (a, b))), None) = (differing.next(), differing.next()) else {
        return Vec::new();
    };
    if status::words(a).chain(status::words(b)).next().is_some() {
        return Vec::new();
    }
    if place > 0 && matches!(these[place - 1], "http" | "https" | "ftp") {
        return vec![Change::Host];
    }
    let mut frame = these.clone();
    frame[place] = "";
    vec![Change::Word(hash_of(a), hash_of(b)), Change::Slot(hash_of((place, frame)))]
}

/// The difference to look at.
pub(super) fn first(found: &[Difference], this: &Side, other: &Side) -> Option<FirstDifference> {
    // Of equal rank the first; they are in order.
    let first = found.iter().min_by_key(|one| one.rank)?;
    let text = |side: &Side, at: Option<u32>| at.map(|at| side.text(at).to_owned());
    let (here, there) = (text(this, first.this), text(other, first.other));
    let other_text = here.as_ref().and(there.clone());
    Some(FirstDifference {
        this_row: first.this.map(|at| this.entry(at).row),
        other_row: first.other.map(|at| other.entry(at).row),
        kind: first.kind(),
        text: here.or(there).unwrap_or_default(),
        other_text,
    })
}

/// Differences of one kind that stand together in both runs.
pub(super) fn hunks(found: &[Difference], this: &Side, other: &Side) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    // The kind and last lines of the hunk at hand.
    let mut last: Option<Difference> = None;
    for one in found {
        let follows = |last: &Difference| {
            let next = |before: Option<u32>, at: Option<u32>| match (before, at) {
                (Some(before), Some(at)) => before + 1 == at,
                _ => true,
            };
            let same_place = one.kind() != DifferenceKind::MissingHere || last.place == one.place;
            last.kind() == one.kind()
                && same_place
                && next(last.this, one.this)
                && next(last.other, one.other)
        };
        if !last.as_ref().is_some_and(follows) {
            if hunks.len() == MAX_HUNKS {
                break;
            }
            let this_row = this.row_before(one.place.div_ceil(2) as u32);
            let other_row = match (one.other, one.this) {
                (Some(at), _) => other.entry(at).row,
                (None, Some(at)) => before_in_other(this, other, at),
                (None, None) => 0,
            };
            hunks.push(Hunk {
                kind: one.kind(),
                this_from: this_row,
                this_to: this_row,
                other_from: other_row,
                other_to: other_row,
                this_lines: Vec::new(),
                other_lines: Vec::new(),
            });
        }
        if let Some(hunk) = hunks.last_mut() {
            let mut add =
                |side: &Side,
                 at: Option<u32>,
                 to: fn(&mut Hunk) -> (&mut u64, &mut Vec<String>)| {
                    if let Some(at) = at {
                        let (end, lines) = to(hunk);
                        *end = side.entry(at).row + 1;
                        if lines.len() < HUNK_LINES {
                            lines.push(side.text(at).to_owned());
                        }
                    }
                };
            add(this, one.this, |hunk| (&mut hunk.this_to, &mut hunk.this_lines));
            add(other, one.other, |hunk| (&mut hunk.other_to, &mut hunk.other_lines));
        }
        last = Some(*one);
    }
    hunks
}

/// The row of the other run before which a line stands that only this one has: behind the line before it that both have.
fn before_in_other(this: &Side, other: &Side, at: u32) -> u64 {
    let before = this.partner[..at as usize].iter().rev().find(|partner| **partner != ALONE);
    other.row_before(before.map_or(0, |before| before + 1))
}
