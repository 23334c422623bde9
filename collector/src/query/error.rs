//! What is wrong with a query, and where.

use std::ops::Range;

/// Why a query cannot be read. The message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub message: String,
    /// Where it begins, in UTF-16 code units of the query.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

/// A problem in bytes of the query, as the parser finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) span: Range<usize>,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span }
    }

    pub(super) fn in_query(self, text: &str) -> Problem {
        let mut units = Utf16::new(text);
        let from = units.at(self.span.start);
        Problem { message: self.message, from, to: units.at(self.span.end) }
    }
}

/// Turns ascending byte offsets of a text into UTF-16 offsets.
#[derive(Debug)]
pub(super) struct Utf16<'a> {
    text: &'a str,
    byte: usize,
    units: usize,
}

impl<'a> Utf16<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, byte: 0, units: 0 }
    }

    /// `byte` is on a character's edge and not before the one asked for last.
    pub(super) fn at(&mut self, byte: usize) -> usize {
        let passed = self.text.get(self.byte..byte).unwrap_or_default();
        self.units += passed.encode_utf16().count();
        self.byte = self.byte.max(byte);
        self.units
    }
}
