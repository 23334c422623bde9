//! Expressions: what must hold of a row and of its run, as a tree.

use super::pattern;
use super::text::TextTerm;
use deckport_protocol::rows::RowKind;
use deckport_protocol::{DeploymentId, Level, Outcome};
use regex_automata::meta::Regex;
use std::fmt;

/// A condition made of terms. The parser and the methods here keep it canonical: `And` and `Or` have at least two
/// parts and none of their own kind, `Not` has no `Not` inside. Other trees mean what they say, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree<T> {
    And(Vec<Tree<T>>),
    Or(Vec<Tree<T>>),
    Not(Box<Tree<T>>),
    Term(T),
}

/// A whole query.
pub type Expr = Tree<Term>;
/// What is left of a query where the run is known.
pub type RowExpr = Tree<RowTerm>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    Row(RowTerm),
    Run(RunTerm),
}

/// What is asked of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowTerm {
    Text(TextTerm),
    Level(LevelTerm),
    Kind(RowKind),
    /// A row outside every phase has no name that matches.
    Phase(NameTerm),
    Step(NameTerm),
    Time(TimeTerm),
}

/// What is asked of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunTerm {
    Deployment(DeploymentId),
    Outcome(RunOutcome),
    Console(NameTerm),
    Template(NameTerm),
    Venue(NameTerm),
    Release(NameTerm),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelTerm {
    /// That level or worse.
    AtLeast(Level),
    Exactly(Level),
}

/// The row's time, microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeTerm {
    /// At that time or later.
    From(i64),
    /// Before that time.
    Before(i64),
}

/// How a run ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunOutcome {
    Succeeded,
    Failed,
    Cancelled,
    Interrupted,
    /// From queued to verifying: anything before the end.
    Running,
}

impl RunOutcome {
    pub const ALL: [Self; 5] =
        [Self::Succeeded, Self::Failed, Self::Cancelled, Self::Interrupted, Self::Running];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Running => "running",
        }
    }
}

impl From<Option<Outcome>> for RunOutcome {
    fn from(outcome: Option<Outcome>) -> Self {
        match outcome {
            Some(Outcome::Succeeded) => Self::Succeeded,
            Some(Outcome::Failed) => Self::Failed,
            Some(Outcome::Cancelled) => Self::Cancelled,
            Some(Outcome::Interrupted) => Self::Interrupted,
            None => Self::Running,
        }
    }
}

/// How a name is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// The name contains the value, capitals ignored.
    Contains,
    /// The name is the value, capitals count.
    Is,
}

/// A name that is asked for.
#[derive(Clone)]
pub struct NameTerm {
    value: String,
    /// Of `Contains`.
    regex: Option<Regex>,
}

impl NameTerm {
    /// `None` if the value is too long to be compiled, which no value of a query is.
    pub fn new(how: How, value: &str) -> Option<Self> {
        let regex = match how {
            How::Is => None,
            How::Contains => {
                let hir = pattern::parse(&regex_syntax::escape(value), true).ok()?;
                Some(pattern::compile(&hir, pattern::LITERAL_BYTES)?)
            }
        };
        Some(Self { value: value.to_owned(), regex })
    }

    pub fn how(&self) -> How {
        if self.regex.is_some() { How::Contains } else { How::Is }
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    pub fn is_match(&self, name: &str) -> bool {
        self.regex.as_ref().map_or_else(|| self.value == name, |regex| regex.is_match(name))
    }
}

impl PartialEq for NameTerm {
    fn eq(&self, other: &Self) -> bool {
        (self.how(), &self.value) == (other.how(), &other.value)
    }
}

impl Eq for NameTerm {}

impl fmt::Debug for NameTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.how(), self.value)
    }
}

/// What is left of an expression when some of its terms are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Simplified<T> {
    /// It holds for no row.
    Never,
    /// It holds for every row.
    Always,
    /// It holds where this does.
    Rest(Tree<T>),
}

impl<T> Simplified<T> {
    pub(super) fn known(answer: bool) -> Self {
        if answer { Self::Always } else { Self::Never }
    }
}

impl<T> Tree<T> {
    /// All of `parts`, of which there is at least one.
    pub(super) fn all(parts: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Self::And(inner) => flat.extend(inner),
                other @ (Self::Or(_) | Self::Not(_) | Self::Term(_)) => flat.push(other),
            }
        }
        match flat.pop() {
            Some(only) if flat.is_empty() => only,
            last => {
                flat.extend(last);
                Self::And(flat)
            }
        }
    }

    /// Any of `parts`, of which there is at least one.
    pub(super) fn any(parts: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Self::Or(inner) => flat.extend(inner),
                other @ (Self::And(_) | Self::Not(_) | Self::Term(_)) => flat.push(other),
            }
        }
        match flat.pop() {
            Some(only) if flat.is_empty() => only,
            last => {
                flat.extend(last);
                Self::Or(flat)
            }
        }
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::all(vec![self, other])
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::any(vec![self, other])
    }

    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other @ (Self::And(_) | Self::Or(_) | Self::Term(_)) => Self::Not(Box::new(other)),
        }
    }

    /// Whether any of its terms is such a one.
    pub fn has(&self, is: &impl Fn(&T) -> bool) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(|part| part.has(is)),
            Self::Not(inner) => inner.has(is),
            Self::Term(term) => is(term),
        }
    }

    /// Whether it holds when every term is known.
    pub(super) fn holds(&self, answer: &impl Fn(&T) -> bool) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.holds(answer)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(answer)),
            Self::Not(inner) => !inner.holds(answer),
            Self::Term(term) => answer(term),
        }
    }

    /// Whether it holds when some terms are known; `None` if that does not decide it.
    pub(super) fn truth(&self, answer: &impl Fn(&T) -> Option<bool>) -> Option<bool> {
        // The value that decides: false among `And`, true among `Or`. Without it, one unknown part leaves all unknown.
        let decide = |parts: &[Self], decisive: bool| {
            let mut all = Some(!decisive);
            for part in parts {
                match part.truth(answer) {
                    Some(known) if known == decisive => return Some(decisive),
                    Some(_) => {}
                    None => all = None,
                }
            }
            all
        };
        match self {
            Self::And(parts) => decide(parts, false),
            Self::Or(parts) => decide(parts, true),
            Self::Not(inner) => inner.truth(answer).map(|known| !known),
            Self::Term(term) => answer(term),
        }
    }

    /// Folds in what is known. `answer` gives a term's truth, or the term as it stands in what is left.
    pub(super) fn simplify<U>(&self, answer: &impl Fn(&T) -> Simplified<U>) -> Simplified<U> {
        match self {
            Self::And(parts) => {
                let mut rest = Vec::new();
                for part in parts {
                    match part.simplify(answer) {
                        Simplified::Never => return Simplified::Never,
                        Simplified::Always => {}
                        Simplified::Rest(tree) => rest.push(tree),
                    }
                }
                if rest.is_empty() { Simplified::Always } else { Simplified::Rest(Tree::all(rest)) }
            }
            Self::Or(parts) => {
                let mut rest = Vec::new();
                for part in parts {
                    match part.simplify(answer) {
                        Simplified::Always => return Simplified::Always,
                        Simplified::Never => {}
                        Simplified::Rest(tree) => rest.push(tree),
                    }
                }
                if rest.is_empty() { Simplified::Never } else { Simplified::Rest(Tree::any(rest)) }
            }
            Self::Not(inner) => match inner.simplify(answer) {
                Simplified::Never => Simplified::Always,
                Simplified::Always => Simplified::Never,
                Simplified::Rest(tree) => Simplified::Rest(tree.negated()),
            },
            Self::Term(term) => answer(term),
        }
    }
}

impl RowExpr {
    /// Whether it depends on when a row was printed.
    pub fn asks_time(&self) -> bool {
        self.has(&|term| matches!(term, RowTerm::Time(_)))
    }

    /// No row that matches is earlier than the first, or as late as the second, microseconds since the Unix epoch; as far as
    /// conditions that must all hold say so.
    pub fn times(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Term(RowTerm::Time(TimeTerm::From(from))) => (Some(*from), None),
            Self::Term(RowTerm::Time(TimeTerm::Before(before))) => (None, Some(*before)),
            Self::And(parts) => parts.iter().map(Self::times).fold((None, None), |all, part| {
                let before = [all.1, part.1].into_iter().flatten().min();
                (all.0.max(part.0), before)
            }),
            Self::Or(_) | Self::Not(_) | Self::Term(_) => (None, None),
        }
    }
}
