//! What queries mean, and what is said about bad ones.

use super::super::{
    Capitals, Expr, How, LevelTerm, NameTerm, PartKind, Query, RowTerm, RunOutcome, RunTerm, Shape,
    Term, TextTerm, TimeTerm, Tree, parts,
};
use super::{ID, NOW_US, parse};
use deckport_protocol::rows::RowKind;
use deckport_protocol::{DeploymentId, Level};

fn text(shape: Shape, capitals: Capitals, text: &str) -> Expr {
    Tree::Term(Term::Row(RowTerm::Text(TextTerm::new(shape, capitals, text).unwrap())))
}

fn word(word: &str) -> Expr {
    text(Shape::Contains, Capitals::Ignored, word)
}

fn row(term: RowTerm) -> Expr {
    Tree::Term(Term::Row(term))
}

fn run(term: RunTerm) -> Expr {
    Tree::Term(Term::Run(term))
}

fn name(how: How, value: &str) -> NameTerm {
    NameTerm::new(how, value).unwrap()
}

#[test]
fn terms_mean_what_they_say() {
    let id: DeploymentId = ID.parse().unwrap();
    for (query, meaning) in [
        ("foo", word("foo")),
        ("  foo\u{a0}", word("foo")),
        ("\"install failed\"", word("install failed")),
        (r#""a \"b\" \\ c:\d""#, word(r#"a "b" \ c:\d"#)),
        ("'ERR_FOO'", text(Shape::Contains, Capitals::Count, "ERR_FOO")),
        (r"'it\'s'", text(Shape::Contains, Capitals::Count, "it's")),
        ("don't", word("don't")),
        ("--force", word("--force")),
        ("x=\"1\"", word("x=\"1\"")),
        ("http://x.org/a", word("http://x.org/a")),
        ("steps:", word("steps:")),
        ("find:", word("find:")),
        ("\"and\"", word("and")),
        ("word:disk", text(Shape::Word, Capitals::Ignored, "disk")),
        ("WORD:'Disk full'", text(Shape::Word, Capitals::Count, "Disk full")),
        ("word:/etc", text(Shape::Word, Capitals::Ignored, "/etc")),
        ("/pat(tern)?s/", text(Shape::Regex, Capitals::Count, "pat(tern)?s")),
        ("/a b|\"c/i", text(Shape::Regex, Capitals::Ignored, "a b|\"c")),
        (r"/\/etc\/[a-z]+/", text(Shape::Regex, Capitals::Count, "/etc/[a-z]+")),
        ("level:Warning", row(RowTerm::Level(LevelTerm::AtLeast(Level::Warning)))),
        ("level:=warning", row(RowTerm::Level(LevelTerm::Exactly(Level::Warning)))),
        ("kind:gap", row(RowTerm::Kind(RowKind::Gap))),
        ("phase:install", row(RowTerm::Phase(name(How::Contains, "install")))),
        ("step:=\"unpack (all)\"", row(RowTerm::Step(name(How::Is, "unpack (all)")))),
        ("console:'x y'", run(RunTerm::Console(name(How::Contains, "x y")))),
        ("template:=base", run(RunTerm::Template(name(How::Is, "base")))),
        ("venue:-x", run(RunTerm::Venue(name(How::Contains, "-x")))),
        ("release:24.04", run(RunTerm::Release(name(How::Contains, "24.04")))),
        ("outcome:running", run(RunTerm::Outcome(RunOutcome::Running))),
        (&format!("deployment:{ID}"), run(RunTerm::Deployment(id))),
    ] {
        assert_eq!(parse(query), meaning, "{query}");
        assert_eq!(parse(&meaning.to_string()), meaning, "{query} is shown as {meaning}");
    }
}

#[test]
fn any_text_is_shown_so_that_it_is_read_again() {
    for looked_for in [
        r"a b\",
        r#"\" x"#,
        r"\\' x",
        "(",
        ")",
        "\"",
        "'",
        "and",
        "--",
        "-",
        "-x",
        "/",
        "/x/",
        "=x",
        "level:",
        "levle:",
        "x:y",
        " ",
        "ß \u{212a}",
    ] {
        for shape in [Shape::Contains, Shape::Word] {
            for capitals in [Capitals::Ignored, Capitals::Count] {
                let expr = text(shape, capitals, looked_for);
                assert_eq!(parse(&expr.to_string()), expr, "{looked_for} is shown as {expr}");
            }
        }
        for how in [How::Contains, How::Is] {
            let expr = row(RowTerm::Step(name(how, looked_for)));
            assert_eq!(parse(&expr.to_string()), expr, "{looked_for} is shown as {expr}");
        }
    }
    for (pattern, shown) in [("a/b", r"/a\/b/"), (r"a\/b", r"/a\/b/"), (r"a\\/b", r"/a\\\/b/")] {
        let expr = text(Shape::Regex, Capitals::Count, pattern);
        assert_eq!(expr.to_string(), shown);
        assert_eq!(parse(shown), expr);
    }
}

#[test]
fn not_binds_before_and_and_before_or() {
    for (query, normal) in [
        ("a b", "a b"),
        ("a AND b and c", "a b c"),
        ("a b OR c d or e", "(a b) OR (c d) OR e"),
        ("a (b OR c)", "a (b OR c)"),
        ("(a b) (c (d))", "a b c d"),
        ("a OR (b OR c)", "a OR b OR c"),
        ("not a b", "NOT a b"),
        ("-a -b", "NOT a NOT b"),
        ("NOT NOT a", "a"),
        ("NOT -a", "a"),
        ("-(a OR b) c", "NOT (a OR b) c"),
        ("NOT(a)", "NOT a"),
        ("(a)(b)", "a b"),
        ("-\"x y\"", "NOT \"x y\""),
        ("-level:error", "NOT level:error"),
        ("a\nAND\tb", "a b"),
    ] {
        let expr = parse(query);
        assert_eq!(expr.to_string(), normal, "{query}");
        assert_eq!(parse(normal), expr, "{query}");
    }
}

#[test]
fn times_are_instants_in_the_askers_zone() {
    let (hour, day) = (3_600_000_000, 86_400_000_000);
    // Midnight by the clock of the one who asks, an hour east.
    let midnight = NOW_US - 19 * hour;
    for (query, term) in [
        ("after:today", TimeTerm::From(midnight)),
        ("before:yesterday", TimeTerm::Before(midnight - day)),
        ("after:2026-11-26", TimeTerm::From(midnight)),
        ("after:2026-11-26T14:30", TimeTerm::From(midnight + 29 * hour / 2)),
        ("after:\"2026-11-26 14:30\"", TimeTerm::From(midnight + 29 * hour / 2)),
        ("before:\"2026-11-26 14:30:05\"", TimeTerm::Before(midnight + 29 * hour / 2 + 5_000_000)),
        ("after:2026-11-26T18:00Z", TimeTerm::From(NOW_US)),
        ("after:\"2026-11-26 18:00:00.25 z\"", TimeTerm::From(NOW_US + 250_000)),
        ("after:2026-11-26T13:30-04:30", TimeTerm::From(NOW_US)),
        ("after:2026-11-26T20:00+0200", TimeTerm::From(NOW_US)),
        ("since:2h", TimeTerm::From(NOW_US - 2 * hour)),
        ("since:1H30m", TimeTerm::From(NOW_US - 3 * hour / 2)),
        ("since:90s", TimeTerm::From(NOW_US - 90_000_000)),
        ("since:2w", TimeTerm::From(NOW_US - 14 * day)),
        ("since:9999999999999999d", TimeTerm::From(-62_135_596_800_000_000)),
    ] {
        let expr = parse(query);
        assert_eq!(expr, row(RowTerm::Time(term)), "{query}");
        assert_eq!(parse(&expr.to_string()), expr, "{query} is shown as {expr}");
    }
    assert_eq!(parse("after:2026-11-26T18:00Z").to_string(), "after:2026-11-26T18:00:00Z");
}

#[test]
fn bad_queries_say_what_is_wrong_and_where() {
    for (query, from, to, message) in [
        ("", 0, 0, "say what to look for"),
        ("   ", 0, 3, "say what to look for"),
        ("a OR", 2, 4, "OR needs something after it"),
        ("or a", 0, 2, "OR needs something before it"),
        ("a AND or b", 2, 5, "AND needs something after it"),
        ("NOT", 0, 3, "NOT needs something after it"),
        ("(a or)", 3, 5, "OR needs something after it"),
        ("a - b", 2, 3, "`-` needs something right after it, as in -debug"),
        ("a (b", 2, 3, "this bracket is never closed; add a )"),
        ("a (", 2, 3, "this bracket is never closed; add a )"),
        ("a) b", 1, 2, "this bracket was never opened"),
        (") b", 0, 1, "this bracket was never opened"),
        ("x ( ) y", 2, 5, "there is nothing between the brackets"),
        (
            "exit(1)",
            4,
            5,
            "put a space before this bracket to group what follows; to look for the bracket itself",
        ),
        ("ü \"abc", 2, 6, "the closing \" is missing; inside, a \" is written \\\""),
        ("𝄞 'abc", 3, 7, "the closing ' is missing"),
        ("\"\"", 0, 2, "there is nothing between the quotes"),
        ("\"a\"b", 3, 4, "put a space after the closing quote"),
        ("\"a\nb\"", 0, 5, "a row has no line breaks"),
        (
            "/etc",
            0,
            4,
            "the regular expression has no closing /; to look for a path, put quotes around it",
        ),
        (
            "/etc/fstab",
            0,
            10,
            "after the closing / of a regular expression only i may stand; to look for a path",
        ),
        ("//", 0, 2, "there is nothing between the slashes"),
        (
            "a /x(/",
            4,
            5,
            "not a regular expression: unclosed group; to look for the characters, put quotes",
        ),
        (r"/ä\y/", 2, 4, "not a regular expression: unrecognized escape sequence"),
        (r"/(?=a)/", 1, 4, "not a regular expression: look-around"),
        (r"/\w{999}/", 0, 9, "the pattern is too large; repeat less"),
        ("level:", 0, 6, "level: needs a value right after it, as in level:warning"),
        ("level: error", 0, 6, "level: needs a value right after it"),
        ("level:warn", 6, 10, "level: takes debug, info, notice, warning, error, not `warn`"),
        ("kind:x", 5, 6, "kind: takes line, phase, note, gap, marker, event, not `x`"),
        (
            "outcome:ok",
            8,
            10,
            "outcome: takes succeeded, failed, cancelled, interrupted, running, not `ok`",
        ),
        ("deployment:7", 11, 12, "`7` is not the id of a deployment, which looks like 01938c5e-"),
        ("word:=x", 5, 6, "word: takes its value without =, as in word:disk"),
        ("since:soon", 6, 10, "`soon` is no length of time; write a number and s, m, h, d or w"),
        ("since:2", 6, 7, "`2` is no length of time"),
        ("since:2hé", 6, 9, "`2hé` is no length of time"),
        ("after:monday", 6, 12, "`monday` is no time; write 2026-11-01, 2026-11-01T14:30"),
        ("after:2026-13-01", 6, 16, "`2026-13-01` is no time"),
        ("after:2026-11-01T25:00", 6, 22, "`2026-11-01T25:00` is no time"),
        ("after:2026-11-01T14:30+2é", 6, 25, "`2026-11-01T14:30+2é` is no time"),
        (
            "levle:error",
            0,
            6,
            "there is no field `levle:`; write level: for that field, or put quotes around",
        ),
        ("a tempalte:x", 2, 11, "there is no field `tempalte:`; write template:"),
    ] {
        let problem = Query::parse(query, NOW_US, 0).expect_err(query);
        assert!(problem.message.starts_with(message), "{query}: {problem}");
        assert_eq!((problem.from, problem.to), (from, to), "{query}: {problem}");
    }
    for (query, message) in [
        ("x".repeat(4097), "a query may be 4096 bytes long, and this one is 4097"),
        ("x ".repeat(65), "a query may ask for 64 things at most"),
        (r"/\w{20}x/ ".repeat(20), "the regular expressions are too large together"),
        ("(".repeat(40), "brackets and negations may be 32 deep"),
        ("not ".repeat(40), "brackets and negations may be 32 deep"),
        (format!("/{}a{}/", "(".repeat(60), ")".repeat(60)), "not a regular expression: exceed"),
    ] {
        let problem = Query::parse(&query, NOW_US, 0).expect_err(&query);
        assert!(problem.message.starts_with(message), "{query}: {problem}");
    }
}

#[test]
fn parts_are_told_apart_while_typing() {
    use PartKind::{Bracket, Exact, Field, Operator, Phrase, Regex, Value, Word};
    for (query, expected) in [
        (
            "a OR (b)",
            vec![(0, 1, Word), (2, 4, Operator), (5, 6, Bracket), (6, 7, Word), (7, 8, Bracket)],
        ),
        ("-'x' /y/i \"z", vec![(0, 1, Operator), (1, 4, Exact), (5, 9, Regex), (10, 12, Phrase)]),
        ("level:=warning", vec![(0, 7, Field), (7, 14, Value)]),
        ("𝄞 step:\"𝄞", vec![(0, 2, Word), (3, 8, Field), (8, 11, Value)]),
        ("level:", vec![(0, 6, Field)]),
        ("levle:x", vec![(0, 7, Word)]),
        ("/x(", vec![(0, 3, Regex)]),
        ("", vec![]),
    ] {
        let got: Vec<_> = parts(query).iter().map(|part| (part.from, part.to, part.kind)).collect();
        assert_eq!(got, expected, "{query}");
    }
}
