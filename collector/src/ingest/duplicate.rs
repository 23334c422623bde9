//! Records that came before: are they the same?

use crate::deployment::Entry;
use crate::log::{Log, LogError};
use bytes::Bytes;
use deckport_protocol::{BodyRef, Frame, FrameBuilder, RecordRef};

/// The first record of `frame` up to `until` whose content differs from what is stored, if any. All of
/// them must be durable.
pub(super) async fn differs(
    log: &Log,
    entry: &Entry,
    frame: &Frame,
    until: u64,
) -> Result<Option<u64>, LogError> {
    let stream = entry.head.stream;
    let mut next = frame.first_seq();
    while next <= until.min(frame.last_seq()) {
        let stored = log.frames(stream, next, 1024 * 1024).await?;
        if stored.is_empty() {
            return Ok(None);
        }
        for stored in stored {
            let range = stored.first_seq.max(next)..=stored.last_seq.min(until);
            let stored = log.decode(stream, &stored)?;
            let mut ours = stored.records().skip_while(|known| known.seq < *range.start());
            for record in frame.records().filter(|record| range.contains(&record.seq)) {
                if !ours.next().is_some_and(|known| same(&known, &record)) {
                    return Ok(Some(record.seq));
                }
            }
            next = stored.last_seq() + 1;
        }
    }
    Ok(None)
}

/// Annotations are hints; everything else that the chain covers counts.
fn same(one: &RecordRef<'_>, other: &RecordRef<'_>) -> bool {
    let alike = match (one.body, other.body) {
        (
            BodyRef::Output { continues: a, source: b, .. },
            BodyRef::Output { continues: c, source: d, .. },
        ) => a == c && b == d,
        (BodyRef::Event(_), BodyRef::Event(_)) => true,
        (BodyRef::Output { .. }, BodyRef::Event(_))
        | (BodyRef::Event(_), BodyRef::Output { .. }) => false,
    };
    alike
        && (one.seq, one.span, one.boot_us, one.at_us)
            == (other.seq, other.span, other.boot_us, other.at_us)
        && one.data() == other.data()
}

/// The records of `frame` behind `after`, as a frame of their own; `None` when a record lies across.
pub(crate) fn behind(frame: &Frame, after: u64) -> Option<Bytes> {
    let mut builder = FrameBuilder::new();
    for record in frame.records().filter(|record| record.last_seq() > after) {
        if record.seq <= after {
            return None;
        }
        builder.push(&record);
    }
    builder.finish(frame.boot_id(), true)
}
