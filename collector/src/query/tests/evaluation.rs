//! What queries find, and what can be left unread.

use super::super::{
    BlockFacts, MAX_RANGES, NamesIn, Need, RowExpr, RowView, RunFacts, RunOutcome, Scan,
    Simplified, kind_bit, level_bit,
};
use super::{ID, NOW_US, parse};
use deckport_protocol::Level;
use deckport_protocol::rows::RowKind;

/// The part of a query that is asked of rows, when nothing is asked of the run.
fn row_expr(query: &str) -> RowExpr {
    let facts = RunFacts {
        deployment_id: ID.parse().unwrap(),
        console: "stage",
        template: "base",
        venue: None,
        release: None,
        outcome: RunOutcome::Failed,
        first_row_us: None,
        last_row_us: None,
    };
    match parse(query).on_run(&facts) {
        Simplified::Rest(rest) => rest,
        known @ (Simplified::Never | Simplified::Always) => panic!("{query}: {known:?}"),
    }
}

fn view(text: &str) -> RowView<'_> {
    RowView {
        text,
        level: Level::Info,
        kind: RowKind::Line,
        phase: Some("Install packages"),
        step: None,
        at_us: NOW_US,
    }
}

#[test]
fn rows_match() {
    for (query, text, expected) in [
        ("FOO", "a foo", true),
        ("'FOO'", "a foo", false),
        ("straße", "STRAẞE", true),
        ("disk", "DIS\u{212a}", true),
        ("word:disk", "the disk, full", true),
        ("word:disk", "diskette", false),
        ("word:disk", "disk_1", false),
        ("word:disk", "ädisk", false),
        ("word:--force", "rm --force x", true),
        ("word:--force", "rm --force-all x", true),
        ("word:--force", "rm a--force", false),
        ("word:--force", "rm --forced", false),
        ("/^b$/", "b", true),
        (r"/\Ab\z/", "b", true),
        (r"/a\sb/", "a b", true),
        ("phase:PACKAGES", "", true),
        ("phase:=install", "", false),
        ("step:x OR NOT step:x", "", true),
        ("step:x", "", false),
        ("level:info", "", true),
        ("level:=debug OR level:notice", "", false),
        ("since:1s", "", true),
        ("before:yesterday", "", false),
        ("a -b", "a", true),
        ("a -b", "ab", false),
    ] {
        assert_eq!(row_expr(query).matches(&view(text)), expected, "{query} in {text:?}");
    }
}

#[test]
fn what_is_known_is_folded() {
    let facts = RunFacts {
        deployment_id: ID.parse().unwrap(),
        console: "Stage left",
        template: "base",
        venue: None,
        release: Some("24.04"),
        outcome: RunOutcome::Failed,
        first_row_us: Some(NOW_US - 1000),
        last_row_us: Some(NOW_US),
    };
    let on_run = |query: &str| match parse(query).on_run(&facts) {
        Simplified::Never => "never".to_owned(),
        Simplified::Always => "always".to_owned(),
        Simplified::Rest(rest) => rest.to_string(),
    };
    for (query, expected) in [
        ("console:stage", "always"),
        ("console:=stage", "never"),
        ("venue:x", "never"),
        ("-venue:x foo", "foo"),
        ("(template:base OR foo) bar", "bar"),
        ("template:other foo", "never"),
        ("outcome:failed level:error", "level:error"),
        ("release:24 OR foo", "always"),
        (&format!("deployment:{ID}"), "always"),
        ("since:1h foo", "foo"),
        ("before:today", "never"),
        ("NOT (outcome:running a OR b)", "NOT b"),
    ] {
        assert_eq!(on_run(query), expected, "{query}");
    }
    let block = BlockFacts {
        first_row_us: NOW_US - 1000,
        last_row_us: NOW_US,
        levels: level_bit(Level::Info) | level_bit(Level::Warning),
        kinds: kind_bit(RowKind::Line),
        phases: NamesIn::Known { names: &["Install", "Configure"], unnamed: false },
        steps: NamesIn::Known { names: &["Install"], unnamed: true },
    };
    for (query, expected) in [
        ("foo level:info", "foo"),
        ("foo level:error", "never"),
        ("level:warning", "level:warning"),
        ("kind:line", "always"),
        ("kind:note OR foo", "foo"),
        ("phase:in", "phase:in"),
        ("phase:i", "always"),
        ("phase:x", "never"),
        ("step:install", "step:install"),
        ("since:1h before:2030-01-01", "always"),
    ] {
        let expr = row_expr(query);
        let got = match expr.on_block(&block) {
            Simplified::Never => "never".to_owned(),
            Simplified::Always => "always".to_owned(),
            Simplified::Rest(rest) => rest.to_string(),
        };
        assert_eq!(got, expected, "{query}");
        assert_eq!(expr.may_match(&block), expected != "never", "{query}");
    }
}

#[test]
fn ranges_are_what_was_looked_for() {
    type Ranges = [(usize, usize)];
    let cases: [(&str, &str, &Ranges); 6] = [
        ("foo", "foo Foo", &[(0, 3), (4, 7)]),
        ("foo oob", "foobar", &[(0, 4)]),
        ("foo OR bar", "barfoo", &[(0, 6)]),
        ("foo -bar", "foo bar", &[(0, 3)]),
        ("foo NOT (x OR NOT bar)", "foo bar", &[(0, 3), (4, 7)]),
        ("level:info /x*/", "axxb", &[(1, 3)]),
    ];
    for (query, text, expected) in cases {
        let ranges = row_expr(query).ranges(text);
        let ranges: Vec<_> = ranges.into_iter().map(|range| (range.start, range.end)).collect();
        assert_eq!(ranges, expected, "{query} in {text:?}");
    }
    assert_eq!(row_expr("a").ranges(&"a ".repeat(50)).len(), MAX_RANGES);
}

#[test]
fn needs_are_the_literals_of_a_query() {
    let literal = |text: &str| Need::Literal(text.as_bytes().into());
    for (query, expected) in [
        ("Install", literal("install")),
        ("ab", Need::Anything),
        ("düsseldorf", Need::Any(vec![literal("dÜsseldorf"), literal("düsseldorf")])),
        ("'Düsseldorf'", literal("düsseldorf")),
        ("'Dis\u{212a}'", literal("disk")),
        ("word:disk", literal("disk")),
        ("foo bar", Need::All(vec![literal("foo"), literal("bar")])),
        ("foo OR bar", Need::Any(vec![literal("foo"), literal("bar")])),
        ("foo OR level:error", Need::Anything),
        ("foo -bar", literal("foo")),
        (
            "/disk[0-9x]+full/i",
            Need::All(vec![
                Need::Any("0123456789x".chars().map(|c| literal(&format!("disk{c}"))).collect()),
                Need::Any("0123456789x".chars().map(|c| literal(&format!("{c}full"))).collect()),
            ]),
        ),
        (r"/^foo\b.*bar$/", Need::All(vec![literal("foo"), literal("bar")])),
        ("/colou?r/", Need::Any(vec![literal("colour"), literal("color")])),
        ("/(abc|xy)/", Need::Anything),
        ("/(abc|xyz)+/", Need::Any(vec![literal("abc"), literal("xyz")])),
        ("/(a.*bcd|x.*yz0)?/", Need::Anything),
        ("/(a.*bcd|x.*yz0)+/", Need::Any(vec![literal("bcd"), literal("yz0")])),
        ("/fo{2}bar/", literal("foobar")),
        ("/ab{9}c/", literal("abbbbbbbb")),
        ("/foo(a|k*)bar/", Need::All(vec![literal("foo"), literal("bar")])),
        ("/fo+bar/", Need::All(vec![literal("obar")])),
        (r"/a\nb/", Need::Nothing),
        (r"/\w+/", Need::Anything),
    ] {
        let expected = match expected {
            Need::All(needs) if needs.len() == 1 => needs[0].clone(),
            other => other,
        };
        assert_eq!(Need::of(&row_expr(query)), expected, "{query}");
    }
}

#[test]
fn a_scan_finds_rows_and_says_whether_they_match() {
    let text = b"one foo\r\nfoo two foo\n\r\nbar\r\nfoo";
    let rows = |query: &str| {
        let scan = Scan::of(&row_expr(query));
        let rows: Vec<_> = scan
            .rows(text)
            .map(|row| std::str::from_utf8(&text[row]).unwrap().to_owned())
            .collect();
        (rows.join("|"), scan.exact(), scan.selective())
    };
    for (query, found, exact, selective) in [
        ("foo", "one foo|foo two foo|foo", true, true),
        ("foo OR BAR", "one foo|foo two foo|bar|foo", true, true),
        ("foo two", "foo two foo", false, true),
        ("foo level:error", "one foo|foo two foo|foo", false, true),
        ("bar OR (one two)", "foo two foo|bar", false, true),
        ("foo OR level:error", "one foo|foo two foo||bar|foo", false, false),
        ("-foo", "one foo|foo two foo||bar|foo", false, false),
        ("/^foo$/", "foo", true, true),
        (r"/(?m-R)\Afoo\z|^bar$/", "bar|foo", true, true),
        ("/o$/", "one foo|foo two foo|foo", true, true),
        (r"/o\s+f/", "foo two foo", true, true),
        ("/^$/", "one foo|foo two foo||bar|foo", false, false),
        (r"/(\n)?/", "one foo|foo two foo||bar|foo", false, false),
    ] {
        let expected = (found.to_owned(), exact, selective);
        let (found, exact, selective) = rows(query);
        assert_eq!((found, exact, selective), expected, "{query}");
    }
    assert_eq!(Scan::of(&row_expr("foo")).rows(b"").count(), 0);
}
