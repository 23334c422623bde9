//! Rows do not depend on batching, rendering finds the rows that counting counted, and the failing
//! line is the right one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use deckport_protocol::rows::{
    FailingLines, PhaseFact, Row, RowDeriver, RowFact, RowKind, RowRenderer, RowSink,
};
use deckport_protocol::{Body, Event, EventText, Exit, Level, Outcome, Output, Record, Source};
use proptest::prelude::*;

fn output(bytes: impl Into<Vec<u8>>) -> Body {
    Body::Output(Output { bytes: bytes.into().into(), ..Output::default() })
}

fn stream(bodies: impl IntoIterator<Item = Body>) -> Vec<Record> {
    bodies
        .into_iter()
        .zip(1..)
        .map(|(body, seq)| Record { seq, boot_us: 100 * seq, at_us: 1_000_000 * seq as i64, body })
        .collect()
}

fn text(text: &str) -> Vec<Record> {
    stream(text.split_inclusive('\n').map(output))
}

#[derive(Default)]
struct Facts {
    rows: Vec<RowFact>,
    phases: Vec<PhaseFact>,
    failing: FailingLines,
}

impl RowSink for Facts {
    fn row(&mut self, fact: &RowFact, _: Option<&str>) {
        self.failing.row(fact);
        self.rows.push(*fact);
    }
    fn phase(&mut self, phase: &PhaseFact) {
        self.phases.push(phase.clone());
    }
}

fn facts(records: &[Record]) -> Facts {
    let mut deriver = RowDeriver::new();
    let mut facts = Facts::default();
    for record in records {
        deriver.feed(&record.borrow(), &mut facts);
    }
    deriver.peek_open(&mut facts);
    facts
}

fn render(records: &[Record]) -> Vec<Row> {
    let mut deriver = RowDeriver::new();
    let mut renderer = RowRenderer::new(0..u64::MAX);
    for record in records {
        deriver.feed(&record.borrow(), &mut renderer);
    }
    deriver.peek_open(&mut renderer);
    renderer.into_rows()
}

fn texts(records: &[Record]) -> Vec<String> {
    render(records).into_iter().map(|row| row.text).collect()
}

fn failing(log: &str) -> String {
    let records = text(log);
    let found = facts(&records).failing.get().unwrap();
    let row = render(&records).swap_remove(found.row as usize);
    assert_eq!(row.seq, found.seq);
    row.text
}

fn fragment() -> impl Strategy<Value = Body> {
    let piece = prop_oneof![
        Just(b"Setting up bash (5.2) ...\r\n".to_vec()),
        Just(b"Reading package lists... 0%\rReading package lists... Done\r\n".to_vec()),
        Just(b"E: Unable to locate package x\r\n".to_vec()),
        Just(b"::group::Build\n".to_vec()),
        Just(b"::endgroup::\n".to_vec()),
        Just(b"--- Phase two\n".to_vec()),
        Just(b"::warn".to_vec()),
        Just(b"ing::careful\n".to_vec()),
        Just(b"\x1b[31mred\x1b[0m".to_vec()),
        Just(b"\x1b]8;;https://example.com\x1b\\words\x08\x08\x1b]8;;\x07".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"Continue? [y/N] ".to_vec()),
        proptest::collection::vec(any::<u8>(), 1..40),
        Just(vec![b'x'; 3000]),
    ]
    .prop_map(output);
    let event = prop_oneof![
        Just(Event::PhaseStarted { name: "Drivers".into() }),
        Just(Event::StepStarted { name: "modprobe".into() }),
        Just(Event::Note { level: Level::Warning, text: "fan".into() }),
        Just(Event::ContextChanged { context: serde_json::json!({}) }),
    ]
    .prop_map(|event| Body::Event(EventText::new(&event)));
    prop_oneof![5 => piece, 1 => event]
}

proptest! {
    #[test]
    fn a_restored_deriver_goes_on_as_the_one_before(
        bodies in proptest::collection::vec(fragment(), 1..60), every in 1..7usize,
    ) {
        let records = stream(bodies);
        let whole = facts(&records);
        let mut parts = Facts::default();
        let mut snapshot = RowDeriver::new().snapshot();
        for batch in records.chunks(every) {
            let mut deriver = RowDeriver::restore(&snapshot).unwrap();
            for record in batch {
                deriver.feed(&record.borrow(), &mut parts);
            }
            snapshot = deriver.snapshot();
        }
        RowDeriver::restore(&snapshot).unwrap().peek_open(&mut parts);
        prop_assert_eq!(&parts.rows, &whole.rows);
        prop_assert_eq!(&parts.phases, &whole.phases);
        prop_assert_eq!(parts.failing, whole.failing);
        // Rows are numbered without holes.
        prop_assert!(whole.rows.iter().map(|fact| fact.row).eq(0..whole.rows.len() as u64));
    }

    #[test]
    fn any_range_renders_as_it_does_in_the_whole(
        bodies in proptest::collection::vec(fragment(), 1..60), every in 1..7usize,
        at in any::<prop::sample::Index>(), count in 1..20u64,
    ) {
        let records = stream(bodies);
        let all = render(&records);
        // A stream of nothing but changed contexts has no rows, and a page may begin behind the last.
        let from = at.index(all.len() + 1) as u64;
        let wanted = from..(from + count).min(all.len() as u64);
        // Snapshots before each batch, as the collector keeps them.
        let mut deriver = RowDeriver::new();
        let mut marks = Vec::new();
        for batch in records.chunks(every) {
            marks.push((deriver.rows(), deriver.snapshot()));
            for record in batch {
                deriver.feed(&record.borrow(), &mut ());
            }
        }
        // Row r begins in the last batch whose first new row is not after it.
        let start = marks.iter().rposition(|(rows, _)| *rows <= wanted.start).unwrap();
        let mut deriver = RowDeriver::restore(&marks[start].1).unwrap();
        let mut renderer = RowRenderer::new(wanted.clone());
        for record in records.chunks(every).skip(start).flatten() {
            deriver.feed(&record.borrow(), &mut renderer);
        }
        deriver.peek_open(&mut renderer);
        prop_assert_eq!(renderer.into_rows(), &all[wanted.start as usize..wanted.end as usize]);
    }

    #[test]
    fn rendered_text_holds_no_control_characters(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for row in render(&stream([output(bytes)])) {
            prop_assert!(!row.text.chars().any(char::is_control), "{:?}", row.text);
            let length = row.text.encode_utf16().count() as u32;
            let mut before = 0;
            for span in &row.spans {
                prop_assert!(before <= span.0 && span.0 < span.1 && span.1 <= length);
                before = span.1;
            }
            before = 0;
            for link in &row.links {
                prop_assert!(before <= link.0 && link.0 < link.1 && link.1 <= length);
                before = link.1;
            }
        }
    }
}

#[test]
fn carriage_returns_collapse() {
    let log = "Reading... 0%\r\rReading... 50%\r\rReading... Done\r\nnext\r\n";
    assert_eq!(texts(&text(log)), ["Reading... Done", "next"]);
}

#[test]
fn colours_become_spans_and_everything_else_goes() {
    let rows = render(&text(
        "\x1b]0;title\x07a\x1b[1;31mred\x1b[0m \x1b[38;5;214mo\x1b[38;2;1;2;3mr\x1b[m\x1b[5Aup\x1b]8;;http://evil\x07link\x1b]8;;\x07\n",
    ));
    assert_eq!(rows[0].text, "ared ouplink".replacen("ou", "oru", 1));
    insta::assert_json_snapshot!(rows[0]);
}

fn links(line: &str) -> Vec<(String, String)> {
    let rows = render(&text(&format!("{line}\n")));
    let units: Vec<u16> = rows[0].text.encode_utf16().collect();
    let words = |from: u32, to: u32| {
        String::from_utf16(&units[from as usize..to as usize]).expect("a link cuts no character")
    };
    rows[0].links.iter().map(|link| (words(link.0, link.1), link.2.clone())).collect()
}

#[test]
fn links_tell_where_their_words_lead() {
    let none: [(String, String); 0] = [];
    let one = |words: &str, address: &str| vec![(words.to_owned(), address.to_owned())];
    let (a, b) = ("https://a.example/x;y?z=1", "http://b.example");
    // Both ways to end a sequence, with parameters, behind what is two code units, over a change of colour.
    assert_eq!(links(&format!("🔧 \x1b]8;;{a}\x07log\x1b]8;;\x07 end")), one("log", a));
    assert_eq!(
        links(&format!("\x1b]8;id=7:k=v;{a}\x1b\\se\x1b[31me\x1b]8;;\x1b\\ ok")),
        one("see", a)
    );
    // One that is not ended, one that ends another, one that is begun anew at every word, one without words.
    assert_eq!(links(&format!("\x1b]8;;{a}\x07to the end")), one("to the end", a));
    assert_eq!(
        links(&format!("\x1b]8;;{a}\x07one\x1b]8;;{b}\x07two")),
        [one("one", a), one("two", b)].concat()
    );
    assert_eq!(links(&format!("\x1b]8;;{b}\x07t\x1b]8;;\x07\x1b]8;;{b}\x07wo")), one("two", b));
    assert_eq!(links(&format!("\x1b]8;;{a}\x07\x1b]8;;\x07no")), none);
    // What a backspace or a carriage return takes back.
    assert_eq!(links(&format!("\x1b]8;;{b}\x07abc\x1b]8;;\x07\x08\x08x")), one("a", b));
    assert_eq!(links(&format!("ab\x1b]8;;{b}\x07\x08\x08xyz")), one("xyz", b));
    assert_eq!(links(&format!("\x1b]8;;{a}\x07old\x1b]8;;\x07\rnew")), none);
    // Markup goes, and the link stays with its words.
    assert_eq!(
        links(&format!("::error file=a::see \x1b]8;;{b}\x07this\x1b]8;;\x07!")),
        one("this", b)
    );
    // Words that lead to anything but a web address are words.
    for address in ["file:///etc/passwd", "javascript:alert(1)", "https://a b", "data:text/html,x"]
    {
        let line = format!("\x1b]8;;{address}\x07words\x1b]8;;\x07");
        assert_eq!(links(&line), none, "{address}");
        assert_eq!(texts(&text(&line)), ["words"]);
    }
}

#[test]
fn rows_of_before_there_were_links_are_read() {
    let row = &render(&text("plain\n"))[0];
    let json = serde_json::to_string(row).unwrap();
    assert!(!json.contains("links"), "nothing is said where there are none: {json}");
    assert_eq!(&serde_json::from_str::<Row>(&json).unwrap(), row);
}

#[test]
fn phases_by_markup_tools_and_events() {
    let names = |log: &str| -> Vec<String> {
        facts(&text(log)).phases.into_iter().map(|phase| phase.name).collect()
    };
    assert_eq!(names("--- One\nx\n+++ Two\ny\n"), ["One", "Two"]);
    assert_eq!(names("::group::One\n::group::inner\n::endgroup::\n::endgroup::\n"), ["One"]);
    assert_eq!(
        names(
            "Reading package lists... Done\nSetting up a (1) ...\nReading package lists... Done\nCollecting x\n"
        ),
        ["apt packages", "apt packages", "pip packages"]
    );
    // Explicit phases silence the tools' own.
    assert_eq!(names("--- Mine\nReading package lists... Done\n"), ["Mine"]);
}

#[test]
fn an_event_in_the_middle_of_a_line_that_has_no_row_does_not_split_it() {
    let records = stream([
        output("half "),
        Body::Event(EventText::new(&Event::ContextChanged { context: serde_json::json!({}) })),
        output("whole\n"),
        output("cut "),
        Body::Event(EventText::new(&Event::Note { level: Level::Info, text: "note".into() })),
        output("off\n"),
    ]);
    assert_eq!(texts(&records), ["half whole", "cut ", "note", "off"]);
}

#[test]
fn the_agents_own_words_are_notes() {
    let records = stream([Body::Output(Output {
        bytes: "deckport: spool is full\n".into(),
        source: Source::Agent,
        ..Output::default()
    })]);
    assert_eq!(facts(&records).rows[0].kind, RowKind::Note);
}

#[test]
fn an_open_row_is_reported_as_open() {
    let rows = render(&text("Continue? [y/N] "));
    assert!(rows[0].open);
    let finished = Body::Event(EventText::new(&Event::DeploymentFinished {
        outcome: Outcome::Failed,
        exit: Some(Exit::Code { code: 1 }),
        message: String::new(),
    }));
    let rows = render(&stream([output("Continue? [y/N] "), finished]));
    assert!(!rows[0].open);
}

#[test]
fn a_long_line_is_truncated_and_counted() {
    let rows = render(&stream([output(vec![b'x'; 5_000_000]), output("\n")]));
    assert_eq!((rows.len(), rows[0].truncated, rows[0].bytes), (1, true, 5_000_001));
    assert_eq!(rows[0].text.len(), 16 * 1024);
}

#[test]
fn the_failing_line_is_the_first_error_of_the_failing_phase() {
    assert_eq!(
        failing(
            "--- Preflight\nerror: an old one, survived\n--- Install\nok\nE: Unable to locate package x\nE: again\nbye\n"
        ),
        "E: Unable to locate package x"
    );
}

#[test]
fn tidying_up_after_an_error_does_not_hide_it() {
    let error = "E: Unable to locate package foo";
    assert_eq!(failing(&format!("--- Install\n{error}\n--- Cleanup\nremoving files\n")), error);
    let group = "::group::Install\n::error::cannot fetch foo\n::endgroup::\nCleaning up\n";
    assert_eq!(failing(group), "cannot fetch foo");
    // An old one was survived, and an error while tidying up is the newer news.
    assert_eq!(failing(&format!("--- A\n{error}\n--- B\nfine\n--- C\nbye\n")), "bye");
    assert_eq!(failing(&format!("--- A\n{error}\n--- B\nE: new\n")), "E: new");
}

#[test]
fn without_an_error_row_it_is_the_last_line_of_the_phase() {
    assert_eq!(
        failing("--- A\nfine\n--- B\nchecking disk\nnot what I want\n\n"),
        "not what I want"
    );
    // Nothing came after the group ended: the group is where it failed.
    assert_eq!(failing("::group::A\nchecking disk\n::endgroup::\n"), "checking disk");
}
