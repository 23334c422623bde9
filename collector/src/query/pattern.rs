//! Patterns: regular expressions that cannot leave a row, compiled within bounds.
//!
//! Every text term is one of these. A pattern is parsed once; the same tree is compiled for single rows, joined with
//! others for scanning blocks, and read for the literals it needs, so that the three cannot disagree.

use regex_automata::meta::{Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Literal,
    Look,
};

/// Groups, classes and repetitions inside each other.
const NEST: u32 = 50;
/// Bytes that a compiled regular expression may take.
pub(super) const REGEX_BYTES: usize = 1 << 20;
/// Bytes for all regular expressions of a query: compiling so much takes a tenth of a second.
pub(super) const REGEXES_BYTES: usize = 4 << 20;
/// Bytes for plain texts and for the joined terms of a scan, whose length alone bounds them well enough.
pub(super) const LITERAL_BYTES: usize = 16 << 20;

/// Parses `pattern`. `^`, `$`, `\A` and `\z` are the row's edges, and nothing in it matches a line break.
pub(super) fn parse(pattern: &str, ignore_capitals: bool) -> Result<Hir, Box<regex_syntax::Error>> {
    let hir = ParserBuilder::new()
        .nest_limit(NEST)
        .case_insensitive(ignore_capitals)
        .multi_line(true)
        .crlf(true)
        .build()
        .parse(pattern)?;
    Ok(within_a_row(hir))
}

/// Compiles what [`parse`] gave; `None` if that takes more than `limit_bytes`.
pub(super) fn compile(hir: &Hir, limit_bytes: usize) -> Option<Regex> {
    let config =
        Config::new().nfa_size_limit(Some(limit_bytes)).which_captures(WhichCaptures::Implicit);
    Regex::builder().configure(config).build_from_hir(hir).ok()
}

/// Whether the pattern can match without a character, and so says nothing about where a row is. The library knows no
/// length of a pattern that holds an impossible part, as in `(\n)?`: it may be.
pub(super) fn may_be_empty(hir: &Hir) -> bool {
    hir.properties().minimum_len().is_none_or(|length| length == 0)
}

/// Takes line breaks out of what can match and turns the text's edges into the row's. Groups go: none is asked for.
fn within_a_row(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(Literal(bytes)) => {
            if memchr::memchr2(b'\r', b'\n', &bytes).is_some() {
                Hir::fail()
            } else {
                Hir::literal(bytes)
            }
        }
        HirKind::Class(Class::Unicode(mut class)) => {
            class.difference(&ClassUnicode::new([
                ClassUnicodeRange::new('\n', '\n'),
                ClassUnicodeRange::new('\r', '\r'),
            ]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(Class::Bytes(mut class)) => {
            class.difference(&ClassBytes::new([
                ClassBytesRange::new(b'\n', b'\n'),
                ClassBytesRange::new(b'\r', b'\r'),
            ]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Look(look) => Hir::look(match look {
            Look::Start | Look::StartLF | Look::StartCRLF => Look::StartCRLF,
            Look::End | Look::EndLF | Look::EndCRLF => Look::EndCRLF,
            word @ (Look::WordAscii
            | Look::WordAsciiNegate
            | Look::WordUnicode
            | Look::WordUnicodeNegate
            | Look::WordStartAscii
            | Look::WordEndAscii
            | Look::WordStartUnicode
            | Look::WordEndUnicode
            | Look::WordStartHalfAscii
            | Look::WordEndHalfAscii
            | Look::WordStartHalfUnicode
            | Look::WordEndHalfUnicode) => word,
        }),
        HirKind::Repetition(repetition) => {
            let sub = within_a_row((*repetition.sub).clone());
            Hir::repetition(repetition.with(sub))
        }
        HirKind::Capture(capture) => within_a_row(*capture.sub),
        HirKind::Concat(subs) => Hir::concat(subs.into_iter().map(within_a_row).collect()),
        HirKind::Alternation(subs) => {
            Hir::alternation(subs.into_iter().map(within_a_row).collect())
        }
    }
}
