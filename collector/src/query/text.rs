//! Text terms: what a row's text must contain.

use super::need::Need;
use super::pattern;
use regex_automata::meta::Regex;
use regex_syntax::hir::Hir;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How a text term looks for its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Anywhere.
    Contains,
    /// Neither preceded nor followed by a letter, a digit or `_`.
    Word,
    /// The text is a regular expression.
    Regex,
}

/// Whether capitals matter. Where they do not, letters are the same that Unicode's simple case folding makes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capitals {
    Ignored,
    Count,
}

/// Why a text cannot be looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermError {
    #[error("there is nothing to look for")]
    Empty,
    #[error("a row has no line breaks, so this would never be found")]
    LineBreak,
    /// `at`: bytes of the pattern.
    #[error("not a regular expression: {what}")]
    Syntax { what: String, at: Range<usize> },
    #[error("the pattern is too large; repeat less, or write \\d as [0-9] and \\w as [a-z]")]
    TooLarge,
}

/// A text that is looked for, compiled. Clones share what was compiled; terms are equal that ask the same.
#[derive(Clone)]
pub struct TextTerm {
    shape: Shape,
    capitals: Capitals,
    text: String,
    compiled: Arc<Compiled>,
}

struct Compiled {
    hir: Hir,
    regex: Regex,
    need: Need,
}

impl TextTerm {
    /// `text` is taken as it is, or as a regular expression if the shape says so.
    pub fn new(shape: Shape, capitals: Capitals, text: &str) -> Result<Self, TermError> {
        if text.is_empty() {
            return Err(TermError::Empty);
        }
        if text.contains(['\n', '\r']) {
            return Err(TermError::LineBreak);
        }
        let (text, pattern, limit) = match shape {
            Shape::Contains => {
                (text.to_owned(), regex_syntax::escape(text), pattern::LITERAL_BYTES)
            }
            Shape::Word => {
                let escaped = regex_syntax::escape(text);
                let pattern = format!(r"\b{{start-half}}{escaped}\b{{end-half}}");
                (text.to_owned(), pattern, pattern::LITERAL_BYTES)
            }
            Shape::Regex => {
                let slashed = escape_slashes(text);
                (slashed.clone(), slashed, pattern::REGEX_BYTES)
            }
        };
        let hir = pattern::parse(&pattern, capitals == Capitals::Ignored)
            .map_err(|error| syntax(&error))?;
        let regex = pattern::compile(&hir, limit).ok_or(TermError::TooLarge)?;
        let need = Need::of_pattern(&hir);
        Ok(Self { shape, capitals, text, compiled: Arc::new(Compiled { hir, regex, need }) })
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn capitals(&self) -> Capitals {
        self.capitals
    }

    /// What is looked for; of a regular expression with its slashes escaped.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_match(&self, row: &str) -> bool {
        self.compiled.regex.is_match(row)
    }

    /// Where it is found in a row, in bytes; places without a character are left out.
    pub fn find_iter<'a>(&'a self, row: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        self.compiled.regex.find_iter(row).map(|found| found.range()).filter(|at| !at.is_empty())
    }

    /// What a row's folded text must contain.
    pub fn need(&self) -> &Need {
        &self.compiled.need
    }

    /// What a regular expression takes compiled. Plain texts count as nothing: the query's length bounds them.
    pub(super) fn regex_bytes(&self) -> usize {
        match self.shape {
            Shape::Contains | Shape::Word => 0,
            Shape::Regex => self.compiled.regex.memory_usage(),
        }
    }

    pub(super) fn hir(&self) -> &Hir {
        &self.compiled.hir
    }

    pub(super) fn regex(&self) -> &Regex {
        &self.compiled.regex
    }
}

impl PartialEq for TextTerm {
    fn eq(&self, other: &Self) -> bool {
        (self.shape, self.capitals, &self.text) == (other.shape, other.capitals, &other.text)
    }
}

impl Eq for TextTerm {}

impl fmt::Debug for TextTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?}, capitals {:?})", self.shape, self.text, self.capitals)
    }
}

/// `/` as `\/`, where it is not so already: between slashes the pattern is written so, and it means the same.
fn escape_slashes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut escaped = false;
    for c in pattern.chars() {
        if c == '/' && !escaped {
            out.push('\\');
        }
        escaped = c == '\\' && !escaped;
        out.push(c);
    }
    out
}

fn syntax(error: &regex_syntax::Error) -> TermError {
    let (what, span) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), Some(error.span())),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), Some(error.span())),
        // Kinds of errors that a later version of the library may have.
        other => (other.to_string(), None),
    };
    let at = span.map_or(0..0, |span| span.start.offset..span.end.offset);
    TermError::Syntax { what, at }
}
