//! What is skipped without being read never held a match, and nothing that is typed breaks anything.

use super::super::{
    BlockFacts, MAX_RANGES, NamesIn, Need, Query, RowExpr, RowTerm, RunFacts, RunOutcome, RunTerm,
    Scan, Simplified, Term, fold_into, kind_bit, level_bit, parts,
};
use super::generators::{
    NAMES, OwnedRow, deployment, expr, row_term, row_text, rows, term_and_text, text_term, tree,
};
use proptest::prelude::*;
use proptest::sample::select;
use std::ops::Range;

fn folded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    fold_into(text.as_bytes(), &mut out);
    out
}

fn fulfils(need: &Need, text: &str) -> bool {
    let text = folded(text);
    need.holds(&mut |literal| {
        assert!(literal.len() >= 3);
        text.windows(literal.len()).any(|window| window == literal)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_query_shown_and_read_again_is_the_same(expr in expr()) {
        let shown = expr.to_string();
        let again = Query::parse(&shown, 0, 90);
        prop_assert_eq!(again.map(|query| query.expr), Ok(expr), "{}", shown);
    }

    #[test]
    fn whatever_is_typed_is_answered(
        text in prop_oneof![
            any::<String>(),
            prop::collection::vec(
                select(&["a", " ", "(", ")", "-", "\"", "'", "/", "or ", "not ", "level:", "=", "word:", "\\", "since:",
                    "after:", "2h", "2026-11-01", "T1", "é", "𝄞", "x"][..]),
                0..12,
            ).prop_map(|pieces| pieces.concat()),
        ],
    ) {
        let units = text.encode_utf16().count();
        let mut end = 0;
        for part in parts(&text) {
            prop_assert!(end <= part.from && part.from < part.to && part.to <= units);
            end = part.to;
        }
        match Query::parse(&text, 0, 0) {
            Ok(query) => {
                let shown = query.expr.to_string();
                prop_assert_eq!(Query::parse(&shown, 0, 0).map(|again| again.expr), Ok(query.expr));
            }
            Err(problem) => {
                prop_assert!(problem.from <= problem.to && problem.to <= units, "{:?}", problem);
                prop_assert!(problem.from < problem.to || text.trim().is_empty(), "{:?}", problem);
            }
        }
    }

    #[test]
    fn a_row_that_matches_fulfils_the_need(expr in tree(row_term()), rows in rows()) {
        let need = Need::of(&expr);
        for row in &rows {
            prop_assert!(!expr.matches(&row.view()) || fulfils(&need, &row.text), "{} {:?}", expr, need);
        }
    }

    /// As above with texts made from the pattern, so that nearly all match.
    #[test]
    fn a_text_made_from_a_pattern_fulfils_its_need(
        (term, text) in term_and_text(),
        before in row_text(),
        after in row_text(),
    ) {
        // A pattern that is too large, or matches nothing but the empty text.
        let Some(term) = term else { return Ok(()) };
        let text = format!("{before}{text}{after}").replace(['\r', '\n'], " ");
        if term.is_match(&text) {
            prop_assert!(fulfils(term.need(), &text), "{:?} {:?} {:?}", term, term.need(), text);
        }
    }

    #[test]
    fn a_scan_finds_the_rows_that_match(
        expr in prop_oneof![tree(row_term()), text_term().prop_map(|term| RowExpr::Term(RowTerm::Text(term)))],
        rows in rows(),
        ends in prop::collection::vec(select(&["\r\n", "\n"][..]), 5),
        last_ends in any::<bool>(),
    ) {
        let mut text = String::new();
        let mut places = Vec::new();
        for (row, end) in rows.iter().zip(ends) {
            places.push(text.len()..text.len() + row.text.len());
            text.push_str(&row.text);
            text.push_str(end);
        }
        if !last_ends && !rows[rows.len() - 1].text.is_empty() {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        let scan = Scan::of(&expr);
        let found: Vec<Range<usize>> = scan.rows(text.as_bytes()).collect();
        for range in &found {
            prop_assert!(places.contains(range), "{:?} of {:?}", range, places);
        }
        for (row, place) in rows.iter().zip(&places) {
            let hit = found.contains(place);
            let matches = expr.matches(&row.view());
            prop_assert!(hit || !matches, "{} missed {:?}", expr, row);
            prop_assert!(!scan.exact() || hit == matches, "{} is not exact in {:?}", expr, row);
        }
        prop_assert!(found.is_sorted_by(|a, b| a.end < b.start));
    }

    #[test]
    fn what_is_folded_in_changes_no_answer(
        expr in expr(),
        rows in rows(),
        outcome in select(&RunOutcome::ALL[..]),
        names in prop::array::uniform4(select(&NAMES[..])),
        sure in any::<bool>(),
    ) {
        let ends = (rows.iter().map(|row| row.at_us).min(), rows.iter().map(|row| row.at_us).max());
        let run = RunFacts {
            deployment_id: deployment(7),
            console: names[0],
            template: names[1],
            venue: Some(names[2]),
            release: None,
            outcome,
            first_row_us: ends.0.filter(|_| sure),
            last_row_us: ends.1.filter(|_| sure),
        };
        let of_run = |term: &RunTerm| match term {
            RunTerm::Deployment(id) => *id == deployment(7),
            RunTerm::Outcome(wanted) => *wanted == outcome,
            RunTerm::Console(name) => name.is_match(names[0]),
            RunTerm::Template(name) => name.is_match(names[1]),
            RunTerm::Venue(name) => name.is_match(names[2]),
            RunTerm::Release(_) => false,
        };
        let truth = |row: &OwnedRow| {
            expr.holds(&|term| match term {
                Term::Run(term) => of_run(term),
                Term::Row(term) => RowExpr::Term(term.clone()).matches(&row.view()),
            })
        };
        let phases: Vec<&str> = rows.iter().filter_map(|row| row.phase).collect();
        let steps: Vec<&str> = rows.iter().filter_map(|row| row.step).collect();
        let block = BlockFacts {
            first_row_us: ends.0.unwrap(),
            last_row_us: ends.1.unwrap(),
            levels: rows.iter().fold(0, |bits, row| bits | level_bit(row.level)),
            kinds: rows.iter().fold(0, |bits, row| bits | kind_bit(row.kind)),
            phases: NamesIn::Known { names: &phases, unnamed: phases.len() < rows.len() },
            steps: if sure {
                NamesIn::Known { names: &steps, unnamed: steps.len() < rows.len() }
            } else {
                NamesIn::Unknown
            },
        };
        let left = match expr.on_run(&run) {
            Simplified::Rest(rest) => {
                for row in &rows {
                    prop_assert_eq!(rest.matches(&row.view()), truth(row), "{}", rest);
                }
                let left = rest.on_block(&block);
                prop_assert_eq!(rest.may_match(&block), left != Simplified::Never, "{}", rest);
                left
            }
            known => known,
        };
        for row in &rows {
            let answer = match &left {
                Simplified::Never => false,
                Simplified::Always => true,
                Simplified::Rest(rest) => rest.matches(&row.view()),
            };
            prop_assert_eq!(answer, truth(row), "{} left {:?}", expr, left);
        }
    }

    #[test]
    fn ranges_are_in_order_and_cut_between_characters(expr in tree(row_term()), text in row_text()) {
        let ranges = expr.ranges(&text);
        prop_assert!(ranges.len() <= MAX_RANGES);
        prop_assert!(ranges.is_sorted_by(|a, b| a.end < b.start));
        for range in ranges {
            prop_assert!(text.get(range).is_some_and(|found| !found.is_empty()));
        }
    }

    #[test]
    fn folding_in_pieces_is_folding_the_whole(a in row_text(), b in row_text()) {
        prop_assert_eq!([folded(&a), folded(&b)].concat(), folded(&format!("{a}{b}")));
    }
}
