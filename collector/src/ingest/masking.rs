//! Masks what an agent left: an old one, or a client that is not ours.
//!
//! Each frame is looked through as it came, before it is folded or stored. Nearly always nothing is found, and nothing is copied. Else the frame is
//! built anew with stars in place of the secrets, and the received form is kept for as long as the chain needs it (see
//! `docs/decisions/0016-masked-again-at-ingest.md`).
//!
//! Not seen: a token that is cut between two frames, and in an event's text one with a colour in it (JSON has that escaped). A private key that
//! goes on in the next frame is, and in output a token with colours: each of its parts becomes stars, and the colours stay.

use crate::deployment::{Arrived, Received};
use bytes::Bytes;
use deckport_protocol::columns::FrameError;
use deckport_protocol::secrets::{self, Batches, Counts, STARS, Span};
use deckport_protocol::{Annotation, BodyRef, EventText, Frame, FrameBuilder, Limits, RecordRef};

/// What goes on from one frame of a stream to the next.
#[derive(Debug, Default)]
pub(crate) struct Masking(Batches);

impl Masking {
    /// The frame as it may be stored. What cannot be masked is refused rather than stored.
    pub(crate) fn take(
        &mut self,
        frame: Frame,
        payload: Bytes,
        limits: &Limits,
    ) -> Result<Arrived, FrameError> {
        let spans = self.0.find(frame.data());
        let notes = frame.annotations().iter().any(|note| annotation(note).is_some());
        if spans.is_empty() && !notes {
            return Ok(Arrived::as_it_came(frame, payload));
        }
        let mut masked = Counts::new();
        for span in spans.iter().filter(|span| span.begins) {
            *masked.entry(span.kind.name().to_owned()).or_default() += 1;
        }
        let payload = build(&frame, &spans);
        let anew = Frame::decode(&payload, limits)?;
        Ok(Arrived { frame: anew, payload, received: Some(Received { frame, masked }) })
    }
}

fn build(frame: &Frame, spans: &[Span]) -> Bytes {
    let mut builder = FrameBuilder::new();
    let mut begin = 0;
    for record in frame.records() {
        let end = begin + record.data().len();
        // What of the spans lies in this record.
        let part: Vec<(usize, usize)> = spans
            .iter()
            .filter(|span| span.begin < end && span.end > begin)
            .map(|span| (span.begin.max(begin) - begin, span.end.min(end) - begin))
            .collect();
        begin = end;
        match record.body {
            BodyRef::Output { bytes, continues, source, annotation: note } => {
                let bytes = starred(bytes, &part);
                let masked = note.and_then(annotation);
                let annotation = masked.as_ref().or(note);
                let body = BodyRef::Output { bytes: &bytes, continues, source, annotation };
                builder.push(&RecordRef { body, ..record });
            }
            BodyRef::Event(_) if part.is_empty() => builder.push(&record),
            BodyRef::Event(text) => {
                let text = event(text, &part);
                builder.push(&RecordRef { body: BodyRef::Event(&text), ..record });
            }
        }
    }
    builder.finish(frame.boot_id(), true).unwrap_or_default()
}

fn starred(bytes: &[u8], part: &[(usize, usize)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for &(begin, end) in part {
        out.extend_from_slice(&bytes[from..begin]);
        out.extend_from_slice(STARS);
        from = end;
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

/// The event with stars. A secret may have reached over what makes it JSON; then each of its texts is masked by itself.
fn event(text: &str, part: &[(usize, usize)]) -> String {
    let starred = String::from_utf8_lossy(&starred(text.as_bytes(), part)).into_owned();
    let parsed = |text: &str| EventText::from_wire(text).parse();
    let same = |before: &str, after: &str| match (parsed(before), parsed(after)) {
        (Ok(before), Ok(after)) => {
            std::mem::discriminant(&before) == std::mem::discriminant(&after)
        }
        _ => false,
    };
    if same(text, &starred) {
        return starred;
    }
    let Ok(mut value) = serde_json::from_str(text) else { return starred };
    texts(&mut value);
    value.to_string()
}

fn texts(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if let Some(masked) = secrets::mask(text.as_bytes()) {
                *text = String::from_utf8_lossy(&masked).into_owned();
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(texts),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(texts),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// The hint with its names masked, if they hold a secret.
fn annotation(note: &Annotation) -> Option<Annotation> {
    let mask = |name: &Option<String>| {
        let masked = secrets::mask(name.as_ref()?.as_bytes())?;
        Some(String::from_utf8_lossy(&masked).into_owned())
    };
    let (phase, step) = (mask(&note.phase), mask(&note.step));
    (phase.is_some() || step.is_some()).then(|| Annotation {
        level: note.level,
        phase: phase.or_else(|| note.phase.clone()),
        step: step.or_else(|| note.step.clone()),
    })
}
