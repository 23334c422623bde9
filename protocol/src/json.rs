//! The JSON encoding of a batch, for clients in any language, and of single records, for readers.
//!
//! `{"type":"records","boot_id":"…","records":[{"seq":1,"boot_us":…,"at_us":…,"event":{…}},
//! {"seq":2,…,"text":"Reading package lists...\r\n"}]}`. Output that is not UTF-8 comes as base64 in
//! `bytes` instead of `text`. `boot_us` may be left out by a client that has no such clock.

use crate::error::{ErrorCode, Refusal};
use crate::event::EventText;
use crate::ids::BootId;
use crate::limits::Limits;
use crate::record::{Annotation, Body, BodyRef, Level, Output, Record, RecordRef, Source};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One record as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct JsonRecord {
    pub seq: u64,
    #[serde(default)]
    pub boot_us: u64,
    pub at_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    #[serde(default, skip_serializing_if = "is_terminal")]
    pub source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
}

fn is_terminal(source: &Source) -> bool {
    *source == Source::Terminal
}

impl From<RecordRef<'_>> for JsonRecord {
    fn from(record: RecordRef<'_>) -> Self {
        let mut json = Self {
            seq: record.seq,
            boot_us: record.boot_us,
            at_us: record.at_us,
            ..Self::default()
        };
        match record.body {
            BodyRef::Event(text) => json.event = RawValue::from_string(text.to_owned()).ok(),
            BodyRef::Output { bytes, continues, source, annotation } => {
                match std::str::from_utf8(bytes) {
                    Ok(text) => json.text = Some(text.to_owned()),
                    Err(_) => json.bytes = Some(BASE64_STANDARD.encode(bytes)),
                }
                json.continues = continues;
                json.source = source;
                if let Some(Annotation { level, phase, step }) = annotation {
                    json.level = *level;
                    json.phase.clone_from(phase);
                    json.step.clone_from(step);
                }
            }
        }
        json
    }
}

impl JsonRecord {
    /// The record itself; an error names what is wrong with it.
    pub fn into_record(self, limits: &Limits) -> Result<Record, Refusal> {
        let seq = self.seq;
        let wrong = |what: &str| {
            Refusal::new(ErrorCode::MALFORMED_MESSAGE, format!("record {seq}: {what}"))
        };
        let too_large = |bytes: usize, limit: usize| {
            Refusal::new(
                ErrorCode::RECORD_TOO_LARGE,
                format!("record {seq} holds {bytes} bytes; at most {limit} are allowed"),
            )
        };
        let output = match (self.text, self.bytes, &self.event) {
            (Some(text), None, None) => Some(text.into_bytes()),
            (None, Some(bytes), None) => Some(
                BASE64_STANDARD.decode(bytes).map_err(|_| wrong("`bytes` is not valid base64"))?,
            ),
            (None, None, Some(_)) => None,
            _ => return Err(wrong("give exactly one of `text`, `bytes` and `event`")),
        };
        let body = match (output, self.event) {
            (Some(bytes), _) => {
                if bytes.len() > limits.piece_bytes {
                    return Err(too_large(bytes.len(), limits.piece_bytes));
                }
                let annotation =
                    Annotation { level: self.level, phase: self.phase, step: self.step };
                Body::Output(Output {
                    bytes: bytes.into(),
                    continues: self.continues,
                    source: self.source,
                    annotation: (!annotation.is_empty()).then_some(annotation),
                })
            }
            (None, event) => {
                let text = EventText::from_wire(event.as_ref().map_or("{}", |raw| raw.get()));
                if text.as_str().len() > limits.event_bytes {
                    return Err(too_large(text.as_str().len(), limits.event_bytes));
                }
                let event = text.parse().map_err(|error| wrong(&format!("event: {error}")))?;
                if let crate::Event::Gap { first_seq, last_seq, .. } = event
                    && (first_seq != seq || last_seq < first_seq || last_seq == u64::MAX)
                {
                    return Err(wrong("a gap begins at its own sequence number"));
                }
                Body::Event(text)
            }
        };
        Ok(Record { seq, boot_us: self.boot_us, at_us: self.at_us, body })
    }
}

/// The message `records`.
#[derive(Debug, Serialize, Deserialize)]
pub struct JsonBatch {
    pub boot_id: BootId,
    pub records: Vec<JsonRecord>,
}

impl JsonBatch {
    /// The records, checked one by one and against each other.
    pub fn into_records(self, limits: &Limits) -> Result<Vec<Record>, Refusal> {
        if self.records.len() > limits.records {
            return Err(Refusal::new(
                ErrorCode::TOO_MANY_RECORDS,
                format!(
                    "the batch holds {} records; at most {} are allowed",
                    self.records.len(),
                    limits.records
                ),
            ));
        }
        let mut records: Vec<Record> = Vec::with_capacity(self.records.len());
        for json in self.records {
            let record = json.into_record(limits)?;
            if record.seq == 0 {
                return Err(Refusal::new(
                    ErrorCode::MALFORMED_MESSAGE,
                    "sequence numbers begin at 1",
                ));
            }
            if let Some(last) = records.last() {
                let wrong = |what: String| Refusal::new(ErrorCode::MALFORMED_MESSAGE, what);
                let (seq, before) = (record.seq, last.last_seq());
                if seq != before + 1 {
                    return Err(wrong(format!("record {seq} does not follow record {before}")));
                }
                // Within a boot that clock does not run backwards, and columns cannot express it.
                if record.boot_us < last.boot_us {
                    return Err(wrong(format!(
                        "record {seq}: `boot_us` is less than the one before"
                    )));
                }
            }
            records.push(record);
        }
        if records.is_empty() {
            return Err(Refusal::new(ErrorCode::MALFORMED_MESSAGE, "the batch holds no records"));
        }
        Ok(records)
    }
}
