//! Fields of the language: their names, and what their values mean.

use super::error::Fault;
use super::expr::{How, LevelTerm, NameTerm, RowTerm, RunOutcome, RunTerm, Term, TimeTerm};
use super::lex::What;
use super::text::{Capitals, Shape, TermError, TextTerm};
use super::time::Clock;
use deckport_protocol::Level;
use deckport_protocol::rows::RowKind;
use std::ops::Range;

const LEVELS: [Level; 5] = [Level::Debug, Level::Info, Level::Notice, Level::Warning, Level::Error];
const KINDS: [RowKind; 6] =
    [RowKind::Line, RowKind::Phase, RowKind::Note, RowKind::Gap, RowKind::Marker, RowKind::Event];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Word,
    Level,
    Kind,
    Phase,
    Step,
    Console,
    Template,
    Venue,
    Release,
    Outcome,
    Deployment,
    After,
    Before,
    Since,
}

impl Field {
    const ALL: [Self; 14] = [
        Self::Word,
        Self::Level,
        Self::Kind,
        Self::Phase,
        Self::Step,
        Self::Console,
        Self::Template,
        Self::Venue,
        Self::Release,
        Self::Outcome,
        Self::Deployment,
        Self::After,
        Self::Before,
        Self::Since,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::Level => "level",
            Self::Kind => "kind",
            Self::Phase => "phase",
            Self::Step => "step",
            Self::Console => "console",
            Self::Template => "template",
            Self::Venue => "venue",
            Self::Release => "release",
            Self::Outcome => "outcome",
            Self::Deployment => "deployment",
            Self::After => "after",
            Self::Before => "before",
            Self::Since => "since",
        }
    }

    /// A value that it takes.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Word => "disk",
            Self::Level => "warning",
            Self::Kind => "note",
            Self::Phase => "install",
            Self::Step => "packages",
            Self::Console => "stage",
            Self::Template => "base",
            Self::Venue => "\"main hall\"",
            Self::Release => "24.04",
            Self::Outcome => "failed",
            Self::Deployment => "01938c5e-7f3a-7c11-9d2b-4f6a8e0c1b2d",
            Self::After | Self::Before => "2026-11-01T14:30",
            Self::Since => "2h",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str().eq_ignore_ascii_case(name))
    }

    /// The field that `name` is a slip of the keys away from. Only of longer names: too many short words are near
    /// `step` or `kind`; and not of the plural, which is likelier meant.
    pub(super) fn near(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Self::ALL.into_iter().find(|field| {
            let right = field.as_str();
            right.len() >= 5
                && name.strip_suffix('s') != Some(right)
                && one_slip(name.as_bytes(), right.as_bytes())
        })
    }

    /// What it means with a value. `whole`: the field's bytes of the query; `at`: the value's.
    pub(super) fn term(self, given: &Given<'_>, clock: Clock) -> Result<Term, Fault> {
        let Given { value, at, .. } = given;
        let row = |term| Ok(Term::Row(term));
        match self {
            Self::Word => {
                let capitals = if given.capitals { Capitals::Count } else { Capitals::Ignored };
                self.refuse_equals(given)?;
                let term = TextTerm::new(Shape::Word, capitals, value);
                row(RowTerm::Text(term.map_err(|error| text_fault(&error, at.clone(), 0))?))
            }
            Self::Level => {
                let level = one_of(self, &LEVELS, Level::as_str, value, at)?;
                row(RowTerm::Level(if given.equals {
                    LevelTerm::Exactly(level)
                } else {
                    LevelTerm::AtLeast(level)
                }))
            }
            Self::Kind => row(RowTerm::Kind(one_of(self, &KINDS, kind_name, value, at)?)),
            Self::Phase => row(RowTerm::Phase(name(given)?)),
            Self::Step => row(RowTerm::Step(name(given)?)),
            Self::Console => Ok(Term::Run(RunTerm::Console(name(given)?))),
            Self::Template => Ok(Term::Run(RunTerm::Template(name(given)?))),
            Self::Venue => Ok(Term::Run(RunTerm::Venue(name(given)?))),
            Self::Release => Ok(Term::Run(RunTerm::Release(name(given)?))),
            Self::Outcome => {
                let outcome = one_of(self, &RunOutcome::ALL, RunOutcome::as_str, value, at)?;
                Ok(Term::Run(RunTerm::Outcome(outcome)))
            }
            Self::Deployment => {
                let id = value.parse().map_err(|_| {
                    Fault::new(
                        at.clone(),
                        format!(
                            "`{value}` is not the id of a deployment, which looks like {}",
                            self.example()
                        ),
                    )
                })?;
                Ok(Term::Run(RunTerm::Deployment(id)))
            }
            Self::After | Self::Before | Self::Since => {
                self.refuse_equals(given)?;
                let time = if self == Self::Since { clock.ago(value) } else { clock.time(value) };
                let time = time.map_err(|message| Fault::new(at.clone(), message))?;
                row(RowTerm::Time(if self == Self::Before {
                    TimeTerm::Before(time)
                } else {
                    TimeTerm::From(time)
                }))
            }
        }
    }

    fn refuse_equals(self, given: &Given<'_>) -> Result<(), Fault> {
        let name = self.as_str();
        if given.equals {
            let equals = given.at.start - 1..given.at.start;
            return Err(Fault::new(
                equals,
                format!("{name}: takes its value without =, as in {name}:{}", self.example()),
            ));
        }
        Ok(())
    }
}

/// A field's value as it stands in the query.
#[derive(Clone, Debug)]
pub(super) struct Given<'a> {
    pub(super) equals: bool,
    pub(super) capitals: bool,
    pub(super) value: &'a str,
    pub(super) at: Range<usize>,
}

/// The term that a token stands for; `None` for operators and brackets.
pub(super) fn term_of(
    what: &What,
    span: &Range<usize>,
    clock: Clock,
) -> Option<Result<Term, Fault>> {
    let text = |shape, capitals, text: &str, offset| {
        TextTerm::new(shape, capitals, text)
            .map(|term| Term::Row(RowTerm::Text(term)))
            .map_err(|error| text_fault(&error, span.clone(), offset))
    };
    Some(match what {
        What::Bare(word) | What::Phrase(word) => text(Shape::Contains, Capitals::Ignored, word, 0),
        What::Exact(word) => text(Shape::Contains, Capitals::Count, word, 0),
        What::Regex { pattern, ignore_capitals } => {
            let capitals = if *ignore_capitals { Capitals::Ignored } else { Capitals::Count };
            text(Shape::Regex, capitals, pattern, 1)
        }
        What::Field { field, equals, value, capitals, value_span } => field.term(
            &Given { equals: *equals, capitals: *capitals, value, at: value_span.clone() },
            clock,
        ),
        What::Open | What::Close | What::And | What::Or | What::Not | What::Dash => return None,
    })
}

/// `offset`: where the pattern begins in the span. A pattern stands in the query as it was parsed, so that its places
/// are the query's.
fn text_fault(error: &TermError, span: Range<usize>, offset: usize) -> Fault {
    match error {
        TermError::Syntax { at, .. } => {
            let from = span.start + offset;
            let (from, to) = (from + at.start, (from + at.end).min(span.end));
            let place = if from < to { from..to } else { span };
            Fault::new(
                place,
                format!("{error}; to look for the characters, put quotes around them"),
            )
        }
        TermError::Empty | TermError::LineBreak | TermError::TooLarge => {
            Fault::new(span, error.to_string())
        }
    }
}

fn name(given: &Given<'_>) -> Result<NameTerm, Fault> {
    let how = if given.equals { How::Is } else { How::Contains };
    NameTerm::new(how, given.value)
        .ok_or_else(|| Fault::new(given.at.clone(), "this name is too long"))
}

pub(super) const fn kind_name(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Line => "line",
        RowKind::Phase => "phase",
        RowKind::Note => "note",
        RowKind::Gap => "gap",
        RowKind::Marker => "marker",
        RowKind::Event => "event",
    }
}

fn one_of<T: Copy>(
    field: Field,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    value: &str,
    at: &Range<usize>,
) -> Result<T, Fault> {
    all.iter().copied().find(|&one| name(one).eq_ignore_ascii_case(value)).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|&one| name(one)).collect();
        let field = field.as_str();
        Fault::new(at.clone(), format!("{field}: takes {}, not `{value}`", names.join(", ")))
    })
}

/// Whether one letter added, left out, changed, or two swapped make `a` into `b`.
fn one_slip(a: &[u8], b: &[u8]) -> bool {
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[head..], &b[head..]);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    match (&a[..a.len() - tail], &b[..b.len() - tail]) {
        ([], [_]) | ([_], []) | ([_], [_]) => true,
        ([v, w], [x, y]) => (v, w) == (y, x),
        _ => false,
    }
}
