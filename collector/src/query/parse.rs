//! The grammar: OR of ANDs of perhaps negated terms and brackets.

use super::error::Fault;
use super::expr::{Expr, RowTerm, Term, Tree};
use super::fields::term_of;
use super::lex::{Token, What, lex};
use super::pattern::REGEXES_BYTES;
use super::time::Clock;
use super::{MAX_BYTES, MAX_DEPTH, MAX_TERMS};

pub(super) fn parse(text: &str, clock: Clock) -> Result<Expr, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::new(
            0..text.len(),
            format!("a query may be {MAX_BYTES} bytes long, and this one is {}", text.len()),
        ));
    }
    let tokens = lex(text);
    if tokens.is_empty() {
        return Err(Fault::new(0..text.len(), "say what to look for"));
    }
    let mut parser = Parser { tokens: &tokens, next: 0, clock, terms: 0, regex_bytes: 0, depth: 0 };
    let expr = parser.any()?;
    match parser.peek()? {
        None => Ok(expr),
        // Only a closing bracket ends an expression before its text's end.
        Some(token) => Err(never_opened(token)),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    clock: Clock,
    terms: usize,
    /// Of the compiled regular expressions so far.
    regex_bytes: usize,
    /// Brackets and negations around the current place.
    depth: usize,
}

impl<'a> Parser<'a> {
    /// The next token, or what is wrong with it.
    fn peek(&self) -> Result<Option<&'a Token>, Fault> {
        match self.tokens.get(self.next) {
            Some(Token { fault: Some(fault), .. }) => Err(fault.clone()),
            token => Ok(token),
        }
    }

    /// The token before the next one.
    fn before(&self) -> Option<&'a Token> {
        self.next.checked_sub(1).and_then(|at| self.tokens.get(at))
    }

    fn any(&mut self) -> Result<Expr, Fault> {
        let mut parts = vec![self.all()?];
        while self.peek()?.is_some_and(|token| token.what == What::Or) {
            self.next += 1;
            parts.push(self.all()?);
        }
        Ok(Tree::any(parts))
    }

    fn all(&mut self) -> Result<Expr, Fault> {
        let mut parts = vec![self.one()?];
        while let Some(token) = self.peek()? {
            match token.what {
                What::Or | What::Close => break,
                What::And => self.next += 1,
                What::Open
                | What::Not
                | What::Dash
                | What::Bare(_)
                | What::Phrase(_)
                | What::Exact(_)
                | What::Regex { .. }
                | What::Field { .. } => {}
            }
            parts.push(self.one()?);
        }
        Ok(Tree::all(parts))
    }

    fn one(&mut self) -> Result<Expr, Fault> {
        let Some(token) = self.peek()? else { return Err(self.missing(None)) };
        if let Some(term) = term_of(&token.what, &token.span, self.clock) {
            self.terms += 1;
            if self.terms > MAX_TERMS {
                return Err(Fault::new(
                    token.span.clone(),
                    format!("a query may ask for {MAX_TERMS} things at most; leave some out"),
                ));
            }
            self.next += 1;
            return Ok(Tree::Term(self.within_bounds(term?, token)?));
        }
        match token.what {
            What::Not | What::Dash => {
                self.deeper(token)?;
                let inner = self.one()?;
                self.depth -= 1;
                Ok(inner.negated())
            }
            What::Open => {
                self.deeper(token)?;
                if let Some(close) = self.peek()?.filter(|token| token.what == What::Close) {
                    return Err(Fault::new(
                        token.span.start..close.span.end,
                        "there is nothing between the brackets; to look for the brackets, write \"()\"",
                    ));
                }
                let inner = self.any()?;
                if self.peek()?.is_none() {
                    return Err(Fault::new(
                        token.span.clone(),
                        "this bracket is never closed; add a ), or write \"(\" to look for it",
                    ));
                }
                self.next += 1;
                self.depth -= 1;
                Ok(inner)
            }
            What::And
            | What::Or
            | What::Close
            | What::Bare(_)
            | What::Phrase(_)
            | What::Exact(_)
            | What::Regex { .. }
            | What::Field { .. } => Err(self.missing(Some(token))),
        }
    }

    fn within_bounds(&mut self, term: Term, token: &Token) -> Result<Term, Fault> {
        if let Term::Row(RowTerm::Text(text)) = &term {
            self.regex_bytes += text.regex_bytes();
            if self.regex_bytes > REGEXES_BYTES {
                return Err(Fault::new(
                    token.span.clone(),
                    "the regular expressions are too large together; leave some out, or repeat less in them",
                ));
            }
        }
        Ok(term)
    }

    fn deeper(&mut self, token: &Token) -> Result<(), Fault> {
        self.next += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(
                token.span.clone(),
                format!(
                    "brackets and negations may be {MAX_DEPTH} deep; write the query with fewer of them"
                ),
            ));
        }
        Ok(())
    }

    /// Something to look for should stand here, and it is `instead` or the end.
    fn missing(&self, instead: Option<&Token>) -> Fault {
        let operator =
            |token: &&Token| matches!(token.what, What::And | What::Or | What::Not | What::Dash);
        let quoting = "to look for the word itself, put it in quotes";
        if let Some(token) = self.before().filter(operator) {
            let name = name_of(&token.what);
            return Fault::new(
                token.span.clone(),
                format!("{name} needs something after it to look for; {quoting}"),
            );
        }
        match instead {
            Some(token) if token.what == What::Close => never_opened(token),
            Some(token) => Fault::new(
                token.span.clone(),
                format!(
                    "{} needs something before it to look for; {quoting}",
                    name_of(&token.what)
                ),
            ),
            // After an opening bracket, the last of the query.
            None => {
                let span = self.before().map_or(0..0, |token| token.span.clone());
                Fault::new(
                    span,
                    "this bracket is never closed; add a ), or write \"(\" to look for it",
                )
            }
        }
    }
}

fn never_opened(token: &Token) -> Fault {
    Fault::new(
        token.span.clone(),
        "this bracket was never opened; leave it out, or put quotes around the text",
    )
}

fn name_of(what: &What) -> &'static str {
    match what {
        What::And => "AND",
        What::Or => "OR",
        What::Not => "NOT",
        What::Dash => "-",
        What::Open
        | What::Close
        | What::Bare(_)
        | What::Phrase(_)
        | What::Exact(_)
        | What::Regex { .. }
        | What::Field { .. } => "this",
    }
}
