//! The columns encoding gives back what went in, and takes nothing that encoding could not produce.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use deckport_protocol::columns::{FrameError, HEADER_BYTES, Header};
use deckport_protocol::{
    Annotation, Body, BootId, Event, EventText, Frame, FrameBuilder, GapAuthor, Level, Limits,
    Output, Record, Source,
};
use proptest::prelude::*;

fn boot_id() -> BootId {
    "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap()
}

fn body() -> impl Strategy<Value = Body> {
    let annotation =
        proptest::option::of((0..3u8, proptest::option::of("[a-z]{1,6}"))).prop_map(|annotation| {
            annotation.map(|(level, phase)| Annotation {
                level: [None, Some(Level::Error), Some(Level::Warning)][usize::from(level)],
                phase,
                step: None,
            })
        });
    let output =
        (proptest::collection::vec(any::<u8>(), 0..200), any::<bool>(), any::<bool>(), annotation)
            .prop_map(|(bytes, continues, agent, annotation)| {
                Body::Output(Output {
                    bytes: bytes.into(),
                    continues,
                    source: if agent { Source::Agent } else { Source::Terminal },
                    annotation: annotation.filter(|a| !a.is_empty()),
                })
            });
    let event = prop_oneof![
        "[a-z ]{1,20}".prop_map(|name| EventText::new(&Event::PhaseStarted { name })),
        "[a-z]{1,8}"
            .prop_map(|kind| EventText::from_wire(&format!(r#"{{"kind":"x_{kind}", "n" : 1}}"#))),
    ];
    prop_oneof![4 => output, 1 => event.prop_map(Body::Event)]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    (
        1..1u64 << 40,
        proptest::collection::vec(
            (body(), 0..5_000_000u64, -2_000_000..2_000_000i64, 0..8u64),
            1..80,
        ),
    )
        .prop_map(|(first_seq, parts)| {
            let (mut seq, mut boot_us, mut at_us) = (first_seq, 77, 1_760_000_000_000_000);
            parts
                .into_iter()
                .map(|(body, step, drift, gap)| {
                    // Some events become gaps, which occupy a range.
                    let body = match body {
                        Body::Event(_) if gap > 4 => Body::Event(EventText::new(&Event::Gap {
                            first_seq: seq,
                            last_seq: seq + gap,
                            bytes: 9,
                            why: "test".into(),
                            by: GapAuthor::Agent,
                        })),
                        body => body,
                    };
                    boot_us += step;
                    at_us += step as i64 + drift;
                    let record = Record { seq, boot_us, at_us, body };
                    seq = record.last_seq() + 1;
                    record
                })
                .collect()
        })
}

fn encode(records: &[Record], compress: bool) -> Bytes {
    let mut builder = FrameBuilder::new();
    for record in records {
        builder.push(&record.borrow());
    }
    builder.finish(boot_id(), compress).unwrap()
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(records in records(), compress: bool) {
        let frame = Frame::decode(&encode(&records, compress), &Limits::default()).unwrap();
        prop_assert_eq!(frame.boot_id(), boot_id());
        prop_assert_eq!(frame.first_seq(), records[0].seq);
        prop_assert_eq!(frame.last_seq(), records.last().unwrap().last_seq());
        let back: Vec<Record> = frame.records().map(|record| record.to_owned()).collect();
        prop_assert_eq!(back, records);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Frame::decode(&bytes.into(), &Limits::default()).is_err());
    }

    #[test]
    fn a_changed_frame_is_refused_or_still_consistent(
        records in records(), compress: bool, at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let mut bytes = encode(&records, compress).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(frame) = Frame::decode(&bytes.into(), &Limits::default()) {
            let mut seq = frame.first_seq();
            for record in frame.records() {
                prop_assert_eq!(record.seq, seq);
                seq = record.last_seq() + 1;
            }
            prop_assert_eq!(seq, frame.last_seq() + 1);
        }
    }

    #[test]
    fn a_cut_frame_is_refused(records in records(), compress: bool, at in any::<prop::sample::Index>()) {
        let bytes = encode(&records, compress);
        let cut = bytes.slice(..at.index(bytes.len()));
        prop_assert!(Frame::decode(&cut, &Limits::default()).is_err());
    }

    #[test]
    fn the_chain_does_not_depend_on_batching(records in records(), at in any::<prop::sample::Index>()) {
        use deckport_protocol::Chain;
        let whole = records.iter().fold(Chain::START, |chain, record| chain.extend(&record.borrow()));
        let (left, right) = records.split_at(at.index(records.len()));
        let batched = [left, right].into_iter().filter(|part| !part.is_empty()).fold(
            Chain::START,
            |chain, part| {
                let frame = Frame::decode(&encode(part, true), &Limits::default()).unwrap();
                frame.records().fold(chain, |chain, record| chain.extend(&record))
            },
        );
        prop_assert_eq!(whole, batched);
    }
}

fn lines(count: u64) -> Vec<Record> {
    (1..=count)
        .map(|seq| Record {
            seq,
            boot_us: 10 * seq,
            at_us: 1_760_000_000_000_000 + 10 * seq as i64,
            body: Body::Output(Output {
                bytes: format!("line {seq} of an installation, much like the one before\r\n")
                    .into(),
                ..Output::default()
            }),
        })
        .collect()
}

#[test]
fn a_frame_of_lines_is_small() {
    let plain = encode(&lines(64), false).len();
    let packed = encode(&lines(64), true).len();
    // Columns cost at most 6 bytes a record beside the text.
    let text: usize = lines(64).iter().map(|record| record.borrow().data().len()).sum();
    assert!(plain <= HEADER_BYTES + text + 6 * 64, "{plain} for {text}");
    assert!(packed * 3 < plain, "{packed} of {plain}");
}

#[test]
fn bounds_are_named() {
    let frame = encode(&lines(64), true);
    let decode = |limits: Limits| Frame::decode(&frame, &limits).unwrap_err();
    let limits = Limits::default();
    assert_eq!(
        decode(Limits { records: 63, ..limits }),
        FrameError::TooManyRecords { count: 64, limit: 63 }
    );
    assert!(matches!(
        decode(Limits { body_bytes: 100, ..limits }),
        FrameError::BodyTooLarge { limit: 100, .. }
    ));
    assert!(matches!(
        decode(Limits { piece_bytes: 3, ..limits }),
        FrameError::RecordTooLarge { seq: 1, limit: 3, .. }
    ));
}

#[test]
fn a_compression_bomb_is_refused_before_it_is_unpacked() {
    let mut frame = encode(&lines(64), true).to_vec();
    // The body is replaced by a gigabyte of zeros, packed; the header keeps its modest length.
    let bomb = zstd_of_zeros(1 << 30);
    frame.truncate(HEADER_BYTES);
    frame[60..64].copy_from_slice(&(bomb.len() as u32).to_le_bytes());
    frame.extend_from_slice(&bomb);
    let error = Frame::decode(&frame.into(), &Limits::default()).unwrap_err();
    assert_eq!(error, FrameError::Malformed { what: "compressed body" });
}

fn zstd_of_zeros(length: usize) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), length as u64), &mut encoder)
        .unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_header_can_be_read_alone() {
    let frame = encode(&lines(3), false);
    let header = Header::read(&frame).unwrap();
    assert_eq!((header.first_seq, header.last_seq, header.count), (1, 3, 3));
    // docs/protocol.md shows these bytes.
    insta::assert_debug_snapshot!(frame.as_ref());
}
