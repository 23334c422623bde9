//! Needs: what a row's text must contain for a query to match it, in terms that a filter of a block can answer.

use super::expr::{RowExpr, RowTerm};
use super::fold::fold_into;
use regex_syntax::hir::{Class, ClassBytesRange, ClassUnicodeRange, Hir, HirKind, Literal};

/// A literal shorter than this has no trigram.
const TRIGRAM: usize = 3;
/// Alternatives that are followed side by side; a class of more characters ends a literal.
const ALTERNATIVES: usize = 16;
/// Bytes of one literal, beyond which the next begins.
const LITERAL: usize = 512;
/// Copies of a repeated piece that become part of a literal.
const COPIES: u32 = 8;

/// A necessary condition on a row's folded text (see [`fold_into`]). A block none of whose rows can fulfil it
/// holds no match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// No condition.
    Anything,
    /// No text fulfils it.
    Nothing,
    All(Vec<Need>),
    Any(Vec<Need>),
    /// The folded text contains these folded bytes, three or more.
    Literal(Box<[u8]>),
}

impl Need {
    pub fn of(expr: &RowExpr) -> Self {
        match expr {
            RowExpr::And(parts) => Self::all(parts.iter().map(Self::of).collect()),
            RowExpr::Or(parts) => Self::any(parts.iter().map(Self::of).collect()),
            // That a text is needed by what must not hold says nothing.
            RowExpr::Not(_) => Self::Anything,
            RowExpr::Term(RowTerm::Text(term)) => term.need().clone(),
            RowExpr::Term(
                RowTerm::Level(_)
                | RowTerm::Kind(_)
                | RowTerm::Phase(_)
                | RowTerm::Step(_)
                | RowTerm::Time(_),
            ) => Self::Anything,
        }
    }

    /// What a pattern needs.
    pub(super) fn of_pattern(hir: &Hir) -> Self {
        let mut walk = Walk::new();
        walk.enter(hir);
        walk.finish()
    }

    /// Whether it is fulfilled, where `contains` says whether a literal may be there.
    pub fn holds(&self, contains: &mut impl FnMut(&[u8]) -> bool) -> bool {
        match self {
            Self::Anything => true,
            Self::Nothing => false,
            Self::All(needs) => needs.iter().all(|need| need.holds(contains)),
            Self::Any(needs) => needs.iter().any(|need| need.holds(contains)),
            Self::Literal(literal) => contains(literal),
        }
    }

    /// How much it rules out, as the length of a literal that must be there: 0 for nothing.
    pub fn strength(&self) -> usize {
        match self {
            Self::Anything => 0,
            Self::Nothing => usize::MAX,
            Self::All(needs) => needs.iter().map(Self::strength).max().unwrap_or(0),
            Self::Any(needs) => needs.iter().map(Self::strength).min().unwrap_or(usize::MAX),
            Self::Literal(literal) => literal.len(),
        }
    }

    fn all(needs: Vec<Self>) -> Self {
        let mut all: Vec<Self> = Vec::with_capacity(needs.len());
        for need in needs {
            match need {
                Self::Anything => {}
                Self::Nothing => return Self::Nothing,
                Self::All(inner) => all.extend(inner),
                other @ (Self::Any(_) | Self::Literal(_)) => {
                    if !all.contains(&other) {
                        all.push(other);
                    }
                }
            }
        }
        if all.len() > 1 { Self::All(all) } else { all.pop().unwrap_or(Self::Anything) }
    }

    fn any(needs: Vec<Self>) -> Self {
        let mut any: Vec<Self> = Vec::with_capacity(needs.len());
        for need in needs {
            match need {
                Self::Anything => return Self::Anything,
                Self::Nothing => {}
                Self::Any(inner) => any.extend(inner),
                other @ (Self::All(_) | Self::Literal(_)) => {
                    if !any.contains(&other) {
                        any.push(other);
                    }
                }
            }
        }
        if any.len() > 1 { Self::Any(any) } else { any.pop().unwrap_or(Self::Nothing) }
    }
}

/// Goes through a pattern from left to right. What matched so far ends in one of `ends`, and fulfils `needs`.
struct Walk {
    /// Folded texts, one of which what matched so far ends in: the literal that is growing.
    ends: Vec<Vec<u8>>,
    needs: Vec<Need>,
    /// What matched so far is one of `ends`, no more and no less.
    whole: bool,
}

impl Walk {
    fn new() -> Self {
        Self { ends: vec![Vec::new()], needs: Vec::new(), whole: true }
    }

    fn enter(&mut self, hir: &Hir) {
        match hir.kind() {
            // They match between characters: what stands before and after still touches.
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(Literal(bytes)) => self.append(&[folded(bytes)]),
            HirKind::Class(class) => match members(class) {
                Some(members) => self.append(&members),
                None => self.cut(),
            },
            HirKind::Capture(capture) => self.enter(&capture.sub),
            HirKind::Concat(parts) => {
                for part in parts {
                    self.enter(part);
                }
            }
            HirKind::Repetition(repetition) => {
                self.repeat(&repetition.sub, repetition.min, repetition.max);
            }
            HirKind::Alternation(branches) => {
                let walks: Vec<Self> = branches
                    .iter()
                    .map(|branch| {
                        let mut walk = Self::new();
                        walk.enter(branch);
                        walk
                    })
                    .collect();
                let few = walks.iter().map(|walk| walk.ends.len()).sum::<usize>() <= ALTERNATIVES;
                if few && walks.iter().all(|walk| walk.whole) {
                    let ends: Vec<Vec<u8>> = walks.into_iter().flat_map(|walk| walk.ends).collect();
                    self.append(&ends);
                } else {
                    self.cut();
                    self.needs.push(Need::any(walks.into_iter().map(Self::finish).collect()));
                }
            }
        }
    }

    fn repeat(&mut self, sub: &Hir, min: u32, max: Option<u32>) {
        let mut walk = Self::new();
        walk.enter(sub);
        match (min, max) {
            (0, Some(1)) if walk.whole && walk.ends.len() < ALTERNATIVES => {
                walk.ends.push(Vec::new());
                self.append(&walk.ends);
            }
            (0, Some(0)) => {}
            (0, _) => self.cut(),
            (_, _) if walk.whole => {
                for _ in 0..min.min(COPIES) {
                    self.append(&walk.ends);
                }
                if min > COPIES || max != Some(min) {
                    // More copies may follow; the last of them touches what comes next.
                    self.cut();
                    self.append(&walk.ends);
                }
            }
            (_, _) => {
                self.cut();
                self.needs.push(walk.finish());
            }
        }
    }

    /// One of `next` follows.
    fn append(&mut self, next: &[Vec<u8>]) {
        let longest = |texts: &[Vec<u8>]| texts.iter().map(Vec::len).max().unwrap_or(0);
        if self.ends.len() * next.len() > ALTERNATIVES
            || longest(&self.ends) + longest(next) > LITERAL.max(longest(next))
        {
            self.cut();
        }
        let mut ends: Vec<Vec<u8>> = Vec::with_capacity(self.ends.len() * next.len());
        for end in &self.ends {
            for text in next {
                let joined = [end.as_slice(), text.as_slice()].concat();
                if !ends.contains(&joined) {
                    ends.push(joined);
                }
            }
        }
        self.ends = ends;
    }

    /// Something follows that is not known: the literal that was growing is over.
    fn cut(&mut self) {
        self.whole = false;
        let ends = std::mem::replace(&mut self.ends, vec![Vec::new()]);
        self.needs.push(Need::any(ends.into_iter().map(literal).collect()));
    }

    fn finish(mut self) -> Need {
        self.cut();
        Need::all(self.needs)
    }
}

fn literal(text: Vec<u8>) -> Need {
    if text.len() < TRIGRAM { Need::Anything } else { Need::Literal(text.into_boxed_slice()) }
}

fn folded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

/// The folded members of a class, if they are few.
fn members(class: &Class) -> Option<Vec<Vec<u8>>> {
    let mut members: Vec<Vec<u8>> = Vec::new();
    let mut add = |member: Vec<u8>| {
        if !members.contains(&member) {
            members.push(member);
        }
    };
    // Twice, for capitals; the Kelvin sign and the long s fit in, as no class of letters needs all the rest.
    let few = 2 * ALTERNATIVES;
    match class {
        Class::Unicode(class) => {
            if class.iter().map(ClassUnicodeRange::len).sum::<usize>() > few {
                return None;
            }
            for c in class.iter().flat_map(|range| range.start()..=range.end()) {
                add(folded(c.encode_utf8(&mut [0; 4]).as_bytes()));
            }
        }
        Class::Bytes(class) => {
            if class.iter().map(ClassBytesRange::len).sum::<usize>() > few {
                return None;
            }
            for byte in class.iter().flat_map(|range| range.start()..=range.end()) {
                add(folded(&[byte]));
            }
        }
    }
    (members.len() <= ALTERNATIVES).then_some(members)
}
