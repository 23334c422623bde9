//! Random rows, patterns and queries.

use super::super::{
    Capitals, Expr, How, LevelTerm, NameTerm, RowTerm, RowView, RunOutcome, RunTerm, Shape, Term,
    TextTerm, TimeTerm, Tree,
};
use deckport_protocol::rows::RowKind;
use deckport_protocol::{DeploymentId, Level};
use proptest::prelude::*;
use proptest::sample::select;

const LEVELS: [Level; 5] = [Level::Debug, Level::Info, Level::Notice, Level::Warning, Level::Error];
const KINDS: [RowKind; 6] =
    [RowKind::Line, RowKind::Phase, RowKind::Note, RowKind::Gap, RowKind::Marker, RowKind::Event];
pub(super) const NAMES: [&str; 4] = ["Install", "configure disks", "kß", "a"];

/// Few different characters, so that patterns meet them, and all that folding minds; split at bars.
const PIECES: &str = concat!(
    "a|A|k|K|\u{212a}|s|S|ſ|ü|Ü|ß|ẞ|1| |_|-|.|\t|€|\u{308}|",
    "disk|DIS\u{212a}|ſet|foo|Foo|kss|/|\\|\"|'|("
);

/// A row's text.
pub(super) fn row_text() -> impl Strategy<Value = String> {
    let of = |pieces: &'static str, length| {
        let pieces: Vec<&str> = pieces.split('|').collect();
        prop::collection::vec(select(pieces), length).prop_map(|pieces| pieces.concat())
    };
    prop_oneof![of(PIECES, 0..12), of("a|s|foo| |-", 0..5)]
}

/// Patterns that texts can be made from; leaves are split at spaces.
const MATCHING: &str = concat!(
    r"a k K s ſ \u{212a} ü ß foo dis kss et \x20 1 [ks] [a-k] [^a] [S-k] \d . \S [[:alpha:]]",
    r" (?-u:[k-s]) [fd] [0-9] /",
);
/// The same with longer literals in it.
const LITERALS: &str = r"foo disk bar k ab [ks] x .";
/// Patterns with everything.
const LOOKING: &str = concat!(
    r"a k s ü foo disk k s o [ks] [^a] \W \s \w . ^ $ \b \B \A \z (?s:.) (?-R:$) (?-m:^)",
    r" \b{start} \b{end-half} (?-u:\b) \n [\r\na] (?s-R:.) \x20 -",
);
/// Patterns that are mostly about a row's edges.
const EDGES: &str = concat!(
    r"a s foo \x20 - [^a] [a-s] \A \z ^ $ (?-m:^) (?-R:$) (?-m:$) \b \B \s \S (?-u:[\x00-\x7f])",
    r" (?s-R:.) \b{start-half} \b{end}",
);

fn pattern(leaves: &'static str) -> impl Strategy<Value = String> {
    let leaves: Vec<&str> = leaves.split(' ').collect();
    select(leaves).prop_map(str::to_owned).prop_recursive(4, 24, 4, |inner| {
        let repeats = select(&["*", "+", "?", "{2}", "{1,3}", "{9}", "{9,}", "{0}", "+?", "{0,2}"][..]);
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            2 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join("|"))),
            2 => (inner.clone(), repeats).prop_map(|(part, times)| format!("(?:{part}){times}")),
            1 => inner.prop_map(|part| format!("(?i:{part})")),
        ]
    })
}

fn term(shape: Shape, capitals: Capitals, text: &str) -> Option<TextTerm> {
    TextTerm::new(shape, capitals, text).ok()
}

/// A pattern and a text made from it; no pattern if it is too large or matches nothing but the empty text.
pub(super) fn term_and_text() -> impl Strategy<Value = (Option<TextTerm>, String)> {
    let pattern = prop_oneof![pattern(MATCHING), pattern(LITERALS)];
    (pattern, capitals()).prop_flat_map(|(pattern, capitals)| {
        let flags = if capitals == Capitals::Ignored { "(?i)" } else { "" };
        let made = proptest::string::string_regex(&format!("{flags}{pattern}")).unwrap();
        (Just(term(Shape::Regex, capitals, &pattern)), made)
    })
}

fn capitals() -> impl Strategy<Value = Capitals> {
    select(&[Capitals::Ignored, Capitals::Count][..])
}

pub(super) fn text_term() -> impl Strategy<Value = TextTerm> {
    prop_oneof![
        (select(&[Shape::Contains, Shape::Word][..]), capitals(), row_text()),
        (Just(Shape::Regex), capitals(), pattern(LOOKING)),
        (Just(Shape::Regex), capitals(), pattern(EDGES)),
    ]
    .prop_filter_map("not a pattern", |(shape, capitals, text)| term(shape, capitals, &text))
}

fn name_term() -> impl Strategy<Value = NameTerm> {
    let value =
        prop_oneof![select(&["I", "in", "ß", "Install", "disk", "=x", "\"a b", "(", "'x"][..])];
    (select(&[How::Contains, How::Is][..]), value)
        .prop_filter_map("too long", |(how, value)| NameTerm::new(how, value))
}

pub(super) fn row_term() -> impl Strategy<Value = RowTerm> {
    prop_oneof![
        4 => text_term().prop_map(RowTerm::Text),
        1 => select(&LEVELS[..]).prop_map(|level| RowTerm::Level(LevelTerm::AtLeast(level))),
        1 => select(&LEVELS[..]).prop_map(|level| RowTerm::Level(LevelTerm::Exactly(level))),
        1 => select(&KINDS[..]).prop_map(RowTerm::Kind),
        1 => name_term().prop_map(RowTerm::Phase),
        1 => name_term().prop_map(RowTerm::Step),
        1 => (0..20i64).prop_map(|at| RowTerm::Time(TimeTerm::From(at))),
        1 => (0..20i64).prop_map(|at| RowTerm::Time(TimeTerm::Before(at * 500_000))),
    ]
}

fn run_term() -> impl Strategy<Value = RunTerm> {
    prop_oneof![
        any::<u128>().prop_map(|id| RunTerm::Deployment(deployment(id))),
        select(&RunOutcome::ALL[..]).prop_map(RunTerm::Outcome),
        name_term().prop_map(RunTerm::Console),
        name_term().prop_map(RunTerm::Template),
        name_term().prop_map(RunTerm::Venue),
        name_term().prop_map(RunTerm::Release),
    ]
}

pub(super) fn deployment(id: u128) -> DeploymentId {
    let hex = format!("{id:032x}");
    hex.parse().unwrap()
}

pub(super) fn tree<T: std::fmt::Debug + Clone + 'static>(
    leaf: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Tree<T>> {
    leaf.prop_map(Tree::Term).prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::all),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::any),
            inner.prop_map(Tree::negated),
        ]
    })
}

pub(super) fn expr() -> impl Strategy<Value = Expr> {
    tree(prop_oneof![row_term().prop_map(Term::Row), run_term().prop_map(Term::Run)])
}

#[derive(Clone, Debug)]
pub(super) struct OwnedRow {
    pub(super) text: String,
    pub(super) level: Level,
    pub(super) kind: RowKind,
    pub(super) phase: Option<&'static str>,
    pub(super) step: Option<&'static str>,
    pub(super) at_us: i64,
}

impl OwnedRow {
    pub(super) fn view(&self) -> RowView<'_> {
        RowView {
            text: &self.text,
            level: self.level,
            kind: self.kind,
            phase: self.phase,
            step: self.step,
            at_us: self.at_us,
        }
    }
}

pub(super) fn rows() -> impl Strategy<Value = Vec<OwnedRow>> {
    let name = || prop::option::of(select(&NAMES[..]));
    let row = (row_text(), select(&LEVELS[..2]), select(&KINDS[..2]), name(), name(), 5..9i64)
        .prop_map(|(text, level, kind, phase, step, at_us)| OwnedRow {
            text,
            level,
            kind,
            phase,
            step,
            at_us,
        });
    prop::collection::vec(row, 1..5)
}
