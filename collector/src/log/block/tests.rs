//! What goes into blocks comes out: records in every bit, rows as a viewer sees them, filters that have what rows hold.

use super::*;
use crate::log::filter;
use crate::log::notes::Noting;
use crate::query::fold_into;
use deckport_protocol::rows::{Row, RowDeriver, RowRenderer};
use deckport_protocol::{
    Annotation, Body, BootId, Event, EventText, Level, Output, Record, Source,
};
use proptest::prelude::*;

/// A piece of a stream.
#[derive(Clone, Debug)]
pub(in crate::log) enum Piece {
    Output(Vec<u8>, bool, Option<Level>),
    Event(Event),
    Boot,
    /// A frame ends here.
    Frame,
    /// A block ends here.
    Block,
}

pub(in crate::log) fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let text = prop_oneof![
        6 => "[a-zA-Z ü\u{212a}]{0,30}\r\n",
        2 => "[a-z]{1,9}",
        1 => "[0-9]{1,3}%\r",
        1 => Just("E: Unable to locate package\r\n".to_owned()),
        1 => Just("::group::Install\r\n".to_owned()),
        1 => Just("::endgroup::\r\n".to_owned()),
        1 => Just("::error file=a::no disk\r\n".to_owned()),
        1 => Just("--- Deploy\r\n".to_owned()),
        2 => "\u{1b}\\[[0-2]?[KGm][a-z]{0,5}(\u{1b}\\[0m)?(\r?\n)?",
        1 => "[ \t]{1,3}\r?(\r\n)?",
        1 => Just("\u{1b}[2".to_owned()),
        1 => Just("K".to_owned()),
        1 => Just("x".repeat(20_000)),
    ];
    let bytes = prop_oneof![
        12 => text.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..20),
    ];
    let level = prop_oneof![9 => Just(None), 1 => Just(Some(Level::Warning))];
    let output = (bytes, prop::bool::weighted(0.1), level);
    let event = prop_oneof![
        "[a-z]{1,8}".prop_map(|name| Event::PhaseStarted { name }),
        "[a-z\n\t]{1,8}".prop_map(|text| Event::Note { level: Level::Warning, text }),
        Just(Event::StepStarted { name: "fetch".into() }),
        Just(Event::BenchmarkMeasured { name: "disk".into(), value: 1.5, unit: "s".into() }),
    ];
    let piece = prop_oneof![
        30 => output.prop_map(|(bytes, by_agent, level)| Piece::Output(bytes, by_agent, level)),
        4 => event.prop_map(Piece::Event),
        1 => Just(Piece::Boot),
        6 => Just(Piece::Frame),
        2 => Just(Piece::Block),
    ];
    prop::collection::vec(piece, 1..120)
}

/// Between one record and the next, of seven.
pub(in crate::log) const STEP_US: i64 = 400_000;

/// Packs the pieces as a collector does. The blocks, and every record with its boot and when it came.
pub(in crate::log) fn packed(pieces: Vec<Piece>) -> (Vec<Packed>, Vec<(Record, BootId, i64)>) {
    let (mut deriver, mut noting) = (RowDeriver::new(), Noting::default());
    let mut builder = Builder::new(0, 0, false);
    builder.frame(7);
    let (mut blocks, mut records) = (Vec::new(), Vec::new());
    let (mut boot, mut boot_us, mut received_at) = (BootId::new(), 5, 7);
    for piece in pieces {
        let seq = records.len() as u64 + 1;
        let body = match piece {
            Piece::Output(bytes, by_agent, level) => {
                let source = if by_agent { Source::Agent } else { Source::Terminal };
                let annotation =
                    level.map(|level| Annotation { level: Some(level), ..Annotation::default() });
                let continues = bytes.last() != Some(&b'\n');
                Body::Output(Output { bytes: bytes.into(), continues, source, annotation })
            }
            Piece::Event(event) => Body::Event(EventText::new(&event)),
            Piece::Boot => {
                (boot, boot_us) = (BootId::new(), 1);
                continue;
            }
            Piece::Frame => {
                received_at += 11;
                builder.notes(&noting.take());
                builder.frame(received_at);
                continue;
            }
            Piece::Block => {
                builder.notes(&noting.take());
                let next =
                    Builder::new(deriver.rows(), noting.at_byte, deriver.open_row().is_some());
                let full = std::mem::replace(&mut builder, next);
                builder.frame(received_at);
                if full.is_begun() {
                    blocks.push(full.finish());
                }
                continue;
            }
        };
        boot_us += seq % 3;
        let record = Record { seq, boot_us, at_us: 1_000 + (seq as i64 % 7) * STEP_US, body };
        deriver.feed(&record.borrow(), &mut noting);
        if let Body::Output(output) = &record.body {
            noting.at_byte += output.bytes.len() as u64;
        }
        builder.push(&record.borrow(), boot);
        records.push((record, boot, received_at));
    }
    builder.notes(&noting.take());
    if builder.is_begun() {
        blocks.push(builder.finish());
    }
    (blocks, records)
}

pub(in crate::log) fn open(packed: &Packed) -> Block {
    let summary = &packed.summary;
    let place = (summary.first_seq, summary.first_row, summary.first_byte);
    Block::open(place, &packed.text, &packed.rows).unwrap()
}

/// All rows that are over, derived at once.
fn naive(records: &[(Record, BootId, i64)]) -> Vec<Row> {
    let mut deriver = RowDeriver::new();
    let mut renderer = RowRenderer::new(0..u64::MAX);
    for (record, ..) in records {
        deriver.feed(&record.borrow(), &mut renderer);
    }
    renderer.into_rows()
}

/// For each record of output, the row that its first byte belongs to.
fn naive_places(records: &[(Record, BootId, i64)]) -> Vec<(u64, u64)> {
    let mut deriver = RowDeriver::new();
    let mut places = Vec::new();
    for (record, ..) in records {
        let row = deriver.open_row().unwrap_or(deriver.rows());
        deriver.feed(&record.borrow(), &mut ());
        if matches!(&record.body, Body::Output(output) if !output.bytes.is_empty()) {
            places.push((record.seq, row));
        }
    }
    places
}

/// The rows of `packed` are what a viewer sees; those that lie across blocks aside.
fn check(packed: &Packed, block: &Block, expected: &[Row]) -> Result<(), TestCaseError> {
    let summary = &packed.summary;
    let rows = summary.first_row..summary.first_row + summary.rows;
    // One of which nobody has found out yet where all rows stand.
    let fresh = open(packed);
    let (mut of, mut from) = (fresh.places(), fresh.places());
    for (row, segment) in rows.clone().zip(block.segments()) {
        match segment {
            Segment::Output { begin, end } => {
                prop_assert_eq!(of.bytes_of(row), Some(*begin as usize..*end as usize));
                prop_assert_eq!(from.bytes_from(row), *begin as usize);
            }
            Segment::Event => prop_assert_eq!(of.bytes_of(row), None),
        }
    }
    prop_assert_eq!(of.bytes_of(rows.end), None);
    prop_assert_eq!(from.bytes_from(rows.end), block.output().len());
    let records = block.records(&packed.records).unwrap();
    for row in expected.iter().filter(|row| rows.contains(&row.row)) {
        let across = row.row + 1 == rows.end && block.output().last() != Some(&b'\n');
        if across {
            continue;
        }
        let text = std::str::from_utf8(block.shown(row.row)).unwrap();
        prop_assert_eq!(text, &row.text, "row {}", row.row);
        prop_assert_eq!(block.notes.level(row.row), row.level);
        prop_assert_eq!(block.notes.kind(row.row), row.kind);
        let place = block.notes.place(row.row);
        prop_assert_eq!(place.and_then(|place| place.phase), row.phase);
        prop_assert_eq!(place.and_then(|place| place.step.as_deref()), row.step.as_deref());
        let whole = records.row(row.row);
        prop_assert_eq!(whole.as_ref(), Some(row));
        prop_assert_eq!(records.at_us(row.row), Some(row.at));
        let mut folded = Vec::new();
        fold_into(text.as_bytes(), &mut folded);
        prop_assert!(packed.filter.has(&filter::places(&folded)));
        if !text.is_empty() {
            let mut rows = block.rows_by_place();
            let at = memchr::memmem::find_iter(block.searched(), text)
                .filter_map(|at| rows.row_at(at))
                .any(|found| found == row.row);
            prop_assert!(at, "row {} is not found by its text {:.40?}", row.row, text);
        }
    }
    Ok(())
}

/// The records of output in `packed` are found in their rows.
fn check_places(
    packed: &Packed,
    block: &Block,
    places: &[(u64, u64)],
) -> Result<(), TestCaseError> {
    let records = block.records(&packed.records).unwrap();
    for seq in packed.summary.first_seq..=packed.summary.last_seq {
        let expected = places.binary_search_by_key(&seq, |place| place.0).ok();
        prop_assert_eq!(records.row_of(seq), expected.map(|at| places[at].1), "record {}", seq);
    }
    prop_assert_eq!(records.row_of(packed.summary.last_seq + 1), None);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(pieces in pieces()) {
        let (blocks, records) = packed(pieces);
        let expected = naive(&records);
        let places = naive_places(&records);
        let mut came = Vec::new();
        let (mut seq, mut row) = (1, 0);
        for packed in &blocks {
            let block = open(packed);
            prop_assert_eq!((packed.summary.first_seq, packed.summary.first_row), (seq, row));
            (seq, row) = (packed.summary.last_seq + 1, row + packed.summary.rows);
            check(packed, &block, &expected)?;
            check_places(packed, &block, &places)?;
            for (record, origin) in block.records(&packed.records).unwrap().iter() {
                came.push((record.to_owned(), origin.boot_id, origin.received_at));
            }
        }
        prop_assert!(came == records);
        // And all blocks as one.
        let Some(first) = blocks.first() else { return Ok(()) };
        let mut builder = Builder::new(0, 0, false);
        for packed in &blocks {
            crate::log::seal::copy(&mut builder, &open(packed), &packed.records).unwrap();
        }
        let merged = builder.finish();
        prop_assert_eq!(merged.summary.first_seq, first.summary.first_seq);
        prop_assert_eq!(merged.summary.rows, row);
        let block = open(&merged);
        check(&merged, &block, &expected)?;
        check_places(&merged, &block, &places)?;
        let again = block.records(&merged.records).unwrap();
        let again = again.iter().map(|(record, origin)| {
            (record.to_owned(), origin.boot_id, origin.received_at)
        });
        prop_assert!(again.eq(records));
    }

    #[test]
    fn what_is_damaged_is_told(pieces in pieces(), at in any::<prop::sample::Index>(), part in 0..3) {
        let (blocks, _) = packed(pieces);
        let Some(first) = blocks.first() else { return Ok(()) };
        let mut damaged = first.clone();
        let bytes = match part {
            0 => &mut damaged.text,
            1 => &mut damaged.rows,
            _ => &mut damaged.records,
        };
        let at = at.index(bytes.len());
        bytes[at] ^= 0x55;
        let summary = &damaged.summary;
        let place = (summary.first_seq, summary.first_row, summary.first_byte);
        let opened = Block::open(place, &damaged.text, &damaged.rows);
        // A bit of a frame's header that nobody looks at may change without a word; then nothing else did.
        if let Ok(block) = opened
            && let Ok(records) = block.records(&damaged.records)
        {
            let sound = open(first);
            let before = sound.records(&first.records).unwrap();
            prop_assert!(records.iter().map(|r| r.0.to_owned()).eq(before.iter().map(|r| r.0.to_owned())));
        }
    }
}
