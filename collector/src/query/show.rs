//! The normal form of a query: short, with brackets only where they are needed, and read back as the same.

use super::expr::{
    Expr, How, LevelTerm, NameTerm, RowExpr, RowTerm, RunTerm, Term, TimeTerm, Tree,
};
use super::fields::kind_name;
use super::lex::{What, lex};
use super::text::{Capitals, Shape, TextTerm};
use super::time;
use std::fmt::{self, Display, Formatter};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        tree(self, f)
    }
}

impl Display for RowExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        tree(self, f)
    }
}

fn tree<T: Display>(expr: &Tree<T>, f: &mut Formatter<'_>) -> fmt::Result {
    match expr {
        Tree::And(parts) => list(parts, " ", f),
        Tree::Or(parts) => list(parts, " OR ", f),
        Tree::Not(inner) => {
            f.write_str("NOT ")?;
            part(inner, f)
        }
        Tree::Term(term) => term.fmt(f),
    }
}

fn list<T: Display>(parts: &[Tree<T>], between: &str, f: &mut Formatter<'_>) -> fmt::Result {
    for (index, one) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        part(one, f)?;
    }
    Ok(())
}

fn part<T: Display>(expr: &Tree<T>, f: &mut Formatter<'_>) -> fmt::Result {
    match expr {
        Tree::And(_) | Tree::Or(_) => {
            f.write_str("(")?;
            tree(expr, f)?;
            f.write_str(")")
        }
        Tree::Not(_) | Tree::Term(_) => tree(expr, f),
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(term) => term.fmt(f),
            Self::Run(term) => term.fmt(f),
        }
    }
}

impl Display for RowTerm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(term) => term.fmt(f),
            Self::Level(LevelTerm::AtLeast(level)) => write!(f, "level:{}", level.as_str()),
            Self::Level(LevelTerm::Exactly(level)) => write!(f, "level:={}", level.as_str()),
            Self::Kind(kind) => write!(f, "kind:{}", kind_name(*kind)),
            Self::Phase(name) => write!(f, "phase:{name}"),
            Self::Step(name) => write!(f, "step:{name}"),
            Self::Time(TimeTerm::From(at)) => write!(f, "after:{}", time::shown(*at)),
            Self::Time(TimeTerm::Before(at)) => write!(f, "before:{}", time::shown(*at)),
        }
    }
}

impl Display for RunTerm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deployment(id) => write!(f, "deployment:{id}"),
            Self::Outcome(outcome) => write!(f, "outcome:{}", outcome.as_str()),
            Self::Console(name) => write!(f, "console:{name}"),
            Self::Template(name) => write!(f, "template:{name}"),
            Self::Venue(name) => write!(f, "venue:{name}"),
            Self::Release(name) => write!(f, "release:{name}"),
        }
    }
}

/// With its `=`, without its field.
impl Display for NameTerm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.how() {
            How::Is => "=",
            How::Contains => "",
        })?;
        value(self.value(), f)
    }
}

impl Display for TextTerm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.text();
        match (self.shape(), self.capitals()) {
            (Shape::Contains, Capitals::Ignored) => {
                if is_bare(text) {
                    f.write_str(text)
                } else {
                    quoted(text, '"', f)
                }
            }
            (Shape::Contains, Capitals::Count) => quoted(text, '\'', f),
            (Shape::Word, Capitals::Ignored) => {
                f.write_str("word:")?;
                value(text, f)
            }
            (Shape::Word, Capitals::Count) => {
                f.write_str("word:")?;
                quoted(text, '\'', f)
            }
            (Shape::Regex, Capitals::Ignored) => write!(f, "/{text}/i"),
            (Shape::Regex, Capitals::Count) => write!(f, "/{text}/"),
        }
    }
}

/// Whether `text`, bare, is read as the word that it is.
fn is_bare(text: &str) -> bool {
    match lex(text).as_slice() {
        [token] => token.fault.is_none() && matches!(&token.what, What::Bare(word) if word == text),
        _ => false,
    }
}

fn value(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    let bare = !text.is_empty()
        && !text.starts_with(['=', '"', '\''])
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, '(' | ')'));
    if bare { f.write_str(text) } else { quoted(text, '"', f) }
}

fn quoted(text: &str, quote: char, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "{quote}")?;
    for c in text.chars() {
        if c == quote || c == '\\' {
            f.write_str("\\")?;
        }
        write!(f, "{c}")?;
    }
    write!(f, "{quote}")
}
