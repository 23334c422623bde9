//! Scanning: finding rows in the text of a whole block, without looking at each.
//!
//! One pattern runs over the block; a hit names the row that it lies in, and the scan goes on behind that row. The
//! pattern is necessary for a row to match, and often sufficient ([`Scan::exact`]). It sees the same as a
//! pattern that is given one row: [`super::pattern`] keeps it from leaving a row, and a row's edges read the same at a
//! line break and at a text's end.

use super::expr::{RowExpr, RowTerm};
use super::pattern;
use super::text::TextTerm;
use regex_automata::Input;
use regex_automata::meta::{Cache, Regex};
use regex_syntax::hir::Hir;
use std::ops::Range;

/// What to scan for.
#[derive(Debug)]
pub struct Scan {
    regex: Option<Regex>,
    exact: bool,
}

/// The terms of which one must be found.
struct Pick<'a> {
    terms: Vec<&'a TextTerm>,
    exact: bool,
    /// The length of the shortest literal that must be found.
    strength: usize,
}

impl Scan {
    /// Finds every row.
    pub const fn everything() -> Self {
        Self { regex: None, exact: true }
    }

    pub fn of(expr: &RowExpr) -> Self {
        let none = Self { regex: None, exact: false };
        let Some(pick) = pick(expr) else { return none };
        let regex = match pick.terms.as_slice() {
            [only] => Some(only.regex().clone()),
            terms => {
                let joined =
                    Hir::alternation(terms.iter().map(|term| term.hir().clone()).collect());
                // Too large together: every row is looked at, which finds the same.
                pattern::compile(&joined, pattern::LITERAL_BYTES)
            }
        };
        regex.map_or(none, |regex| Self { regex: Some(regex), exact: pick.exact })
    }

    /// Every row that is found matches. Otherwise [`RowExpr::matches`](super::Tree::matches) decides.
    pub fn exact(&self) -> bool {
        self.exact
    }

    /// There is something to scan for. Otherwise every row is found.
    pub fn selective(&self) -> bool {
        self.regex.is_some()
    }

    /// The rows of `text`, which is what is shown of them, that may match. Rows end with a line feed or with the text; a carriage return before the end
    /// is not part of the row. Behind the last line feed there is a row only if there is text.
    pub fn rows<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut next = 0;
        self.hits(text).map(move |hit| {
            let start =
                memchr::memrchr(b'\n', &text[next..hit.at]).map_or(next, |at| next + at + 1);
            next = hit.end + 1;
            let row = &text[start..hit.end];
            start..hit.end - usize::from(row.last() == Some(&b'\r'))
        })
    }

    /// The same rows, for those who need not know where they begin.
    pub fn hits<'a>(&'a self, text: &'a [u8]) -> Hits<'a> {
        let regex = self.regex.as_ref().map(|regex| (regex, regex.create_cache()));
        Hits { regex, text, next: 0 }
    }
}

/// See [`Scan::hits`].
#[derive(Debug)]
pub struct Hits<'a> {
    /// With memory to match in of its own: asking for what all threads share costs as much as many a hit.
    regex: Option<(&'a Regex, Cache)>,
    text: &'a [u8],
    /// Where the next row begins.
    next: usize,
}

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Of one of its bytes; of an empty row its end.
    pub at: usize,
    /// Of its line feed, or the text's end.
    pub end: usize,
}

impl Iterator for Hits<'_> {
    type Item = Hit;

    fn next(&mut self) -> Option<Hit> {
        if self.next >= self.text.len() {
            return None;
        }
        let at = match &mut self.regex {
            None => self.next,
            Some((regex, cache)) => {
                let input = Input::new(self.text).range(self.next..).earliest(true);
                let Some(end) = regex.search_half_with(cache, &input) else {
                    self.next = self.text.len();
                    return None;
                };
                // What is scanned for has at least one byte, and its last one is in the row.
                end.offset() - 1
            }
        };
        let end = memchr::memchr(b'\n', &self.text[at..]).map_or(self.text.len(), |end| at + end);
        self.next = end + 1;
        Some(Hit { at, end })
    }
}

fn pick(expr: &RowExpr) -> Option<Pick<'_>> {
    match expr {
        RowExpr::And(parts) => {
            let best = parts.iter().filter_map(pick).max_by_key(|pick| pick.strength)?;
            Some(Pick { exact: false, ..best })
        }
        RowExpr::Or(parts) => {
            let picks: Vec<Pick<'_>> = parts.iter().map(pick).collect::<Option<_>>()?;
            Some(Pick {
                exact: picks.iter().all(|pick| pick.exact),
                strength: picks.iter().map(|pick| pick.strength).min()?,
                terms: picks.into_iter().flat_map(|pick| pick.terms).collect(),
            })
        }
        RowExpr::Not(_) => None,
        RowExpr::Term(RowTerm::Text(term)) => (!pattern::may_be_empty(term.hir())).then(|| Pick {
            terms: vec![term],
            exact: true,
            strength: term.need().strength(),
        }),
        RowExpr::Term(
            RowTerm::Level(_)
            | RowTerm::Kind(_)
            | RowTerm::Phase(_)
            | RowTerm::Step(_)
            | RowTerm::Time(_),
        ) => None,
    }
}
