//! Tokens of a query. The lexer never stops at a mistake: it notes the fault in the token and goes on, so that a
//! half-typed query can be coloured by the same reading that runs it.

use super::error::Fault;
use super::fields::Field;
use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) what: What,
    /// Bytes of the query.
    pub(super) span: Range<usize>,
    /// The first thing that is wrong with it.
    pub(super) fault: Option<Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Open,
    Close,
    And,
    Or,
    Not,
    /// `-`
    Dash,
    Bare(String),
    /// `"…"`
    Phrase(String),
    /// `'…'`
    Exact(String),
    Regex {
        /// As written between the slashes.
        pattern: String,
        ignore_capitals: bool,
    },
    Field {
        field: Field,
        /// `=` stands before the value.
        equals: bool,
        value: String,
        /// The value stands in `'…'`.
        capitals: bool,
        /// Quotes included; empty if there is no value.
        value_span: Range<usize>,
    },
}

pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, fault: None };
    let mut tokens = Vec::new();
    loop {
        lexer.skip(char::is_whitespace);
        let from = lexer.at;
        let Some(first) = lexer.peek() else { return tokens };
        let what = lexer.token(first);
        let span = from..lexer.at;
        tokens.push(Token { what, span, fault: lexer.fault.take() });
    }
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')')
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    fault: Option<Fault>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, pass: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(pass).len();
    }

    fn blame(&mut self, span: Range<usize>, message: &str) {
        self.fault.get_or_insert_with(|| Fault::new(span, message));
    }

    fn token(&mut self, first: char) -> What {
        match first {
            '(' => {
                self.blame_touching();
                self.at += 1;
                What::Open
            }
            ')' => {
                self.at += 1;
                What::Close
            }
            '"' => What::Phrase(self.quoted('"')),
            '\'' => What::Exact(self.quoted('\'')),
            '/' => self.regex(),
            '-' if !self.rest().starts_with("--") => {
                self.at += 1;
                if self.peek().is_none_or(|c| c.is_whitespace() || c == ')') {
                    self.blame(
                        self.at - 1..self.at,
                        "`-` needs something right after it, as in -debug; to look for the character, write \"-\"",
                    );
                }
                What::Dash
            }
            _ => self.bare(),
        }
    }

    /// Before an opening bracket: only operators and brackets may touch it, as in `NOT(a)` and `-(a)`.
    fn blame_touching(&mut self) {
        let before = &self.text[..self.at];
        let word = before.rsplit(ends_word).next().unwrap_or_default();
        if !matches!(word, "" | "-") && operator(word).is_none() {
            self.blame(
                self.at..self.at + 1,
                "put a space before this bracket to group what follows; to look for the bracket itself, put quotes \
                 around the text",
            );
        }
    }

    fn bare(&mut self) -> What {
        let from = self.at;
        self.skip(|c| !ends_word(c));
        let word = &self.text[from..self.at];
        if let Some(what) = operator(word) {
            return what;
        }
        let Some((name, _)) = word.split_once(':') else { return What::Bare(word.to_owned()) };
        let Some(field) = Field::named(name) else {
            if let Some(meant) = Field::near(name) {
                let meant = meant.as_str();
                self.blame(
                    from..from + name.len() + 1,
                    &format!(
                        "there is no field `{name}:`; write {meant}: for that field, or put quotes around the text"
                    ),
                );
            }
            return What::Bare(word.to_owned());
        };
        self.at = from + name.len() + 1;
        let equals = self.peek() == Some('=');
        if equals {
            self.at += 1;
        }
        let value_from = self.at;
        let quote = self.peek().filter(|c| matches!(c, '"' | '\''));
        let value = match quote {
            Some(quote) => self.quoted(quote),
            None => {
                self.skip(|c| !ends_word(c));
                self.text[value_from..self.at].to_owned()
            }
        };
        let value_span = value_from..self.at;
        if value_span.is_empty() {
            let (name, example) = (field.as_str(), field.example());
            self.blame(
                from..self.at,
                &format!(
                    "{name}: needs a value right after it, as in {name}:{example}; to look for the text, put quotes \
                     around it"
                ),
            );
        }
        What::Field { field, equals, value, capitals: quote == Some('\''), value_span }
    }

    /// From the opening quote to behind the closing one, which is missing at the end of a half-typed query.
    fn quoted(&mut self, quote: char) -> String {
        let from = self.at;
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        let mut closed = None;
        while let Some((at, c)) = chars.next() {
            if c == quote {
                closed = Some(from + at + 1);
                break;
            }
            let escaped = chars.next_if(|&(_, next)| c == '\\' && (next == quote || next == '\\'));
            out.push(escaped.map_or(c, |(_, next)| next));
        }
        self.at = closed.unwrap_or(self.text.len());
        if closed.is_none() {
            self.blame(
                from..self.at,
                &format!("the closing {quote} is missing; inside, a {quote} is written \\{quote}"),
            );
        } else if out.is_empty() {
            self.blame(from..self.at, "there is nothing between the quotes");
        } else if out.contains(['\n', '\r']) {
            self.blame(
                from..self.at,
                "a row has no line breaks, so this would never be found; look for the text of one row",
            );
        }
        self.end(closed.is_some(), "put a space after the closing quote");
        out
    }

    /// From the opening slash to behind the flags.
    fn regex(&mut self) -> What {
        let from = self.at;
        self.at += 1;
        let mut escaped = false;
        let closing = self.rest().find(|c| {
            let closes = c == '/' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let pattern = &self.rest()[..closing.unwrap_or(self.rest().len())];
        self.at += pattern.len();
        if closing.is_none() {
            self.blame(
                from..self.at,
                "the regular expression has no closing /; to look for a path, put quotes around it",
            );
            return What::Regex { pattern: pattern.to_owned(), ignore_capitals: false };
        }
        self.at += 1;
        let flags_from = self.at;
        self.skip(|c| !ends_word(c));
        let flags = &self.text[flags_from..self.at];
        if !matches!(flags, "" | "i") {
            self.blame(
                from..self.at,
                "after the closing / of a regular expression only i may stand; to look for a path, put quotes around \
                 it",
            );
        } else if pattern.is_empty() {
            self.blame(from..self.at, "there is nothing between the slashes");
        } else if pattern.contains(['\n', '\r']) {
            self.blame(
                from..self.at,
                "a row has no line breaks, so this would never be found; look for the text of one row",
            );
        }
        What::Regex { pattern: pattern.to_owned(), ignore_capitals: flags == "i" }
    }

    /// Nothing may touch the end of what was just read, but a closing bracket.
    fn end(&mut self, closed: bool, message: &str) {
        if closed && self.peek().is_some_and(|c| !c.is_whitespace() && !matches!(c, '(' | ')')) {
            let from = self.at;
            let length = self.rest().find(ends_word).unwrap_or(self.rest().len());
            self.blame(from..from + length, message);
        }
    }
}

fn operator(word: &str) -> Option<What> {
    [("and", What::And), ("or", What::Or), ("not", What::Not)]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name))
        .map(|(_, what)| what)
}
