//! The parts of a query as it is typed, for colouring it.

use super::error::Utf16;
use super::lex::{What, lex};

/// A piece of the query, in UTF-16 code units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub from: usize,
    pub to: usize,
    pub kind: PartKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    Word,
    /// `"…"`
    Phrase,
    /// `'…'`
    Exact,
    /// `/…/`
    Regex,
    /// A field's name, its colon and its `=`.
    Field,
    Value,
    Operator,
    Bracket,
}

impl PartKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::Phrase => "phrase",
            Self::Exact => "exact",
            Self::Regex => "regex",
            Self::Field => "field",
            Self::Value => "value",
            Self::Operator => "operator",
            Self::Bracket => "bracket",
        }
    }
}

/// The parts of a query, in order; also of one that is half typed or wrong. White space is in none.
pub fn parts(text: &str) -> Vec<Part> {
    let mut units = Utf16::new(text);
    let mut parts = Vec::new();
    let mut part = |from, to, kind| {
        if from < to {
            parts.push(Part { from: units.at(from), to: units.at(to), kind });
        }
    };
    for token in lex(text) {
        let (from, to) = (token.span.start, token.span.end);
        match token.what {
            What::Open | What::Close => part(from, to, PartKind::Bracket),
            What::And | What::Or | What::Not | What::Dash => part(from, to, PartKind::Operator),
            What::Bare(_) => part(from, to, PartKind::Word),
            What::Phrase(_) => part(from, to, PartKind::Phrase),
            What::Exact(_) => part(from, to, PartKind::Exact),
            What::Regex { .. } => part(from, to, PartKind::Regex),
            What::Field { value_span, .. } => {
                part(from, value_span.start, PartKind::Field);
                part(value_span.start, to, PartKind::Value);
            }
        }
    }
    parts
}
