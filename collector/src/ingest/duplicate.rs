//! Records that came before: are they the same?

use crate::deployment::Entry;
use crate::log::{Log, LogError};
use bytes::Bytes;
use deckport_protocol::secrets::STARS;
use deckport_protocol::{BodyRef, Frame, FrameBuilder, RecordRef};
use memchr::memmem::Finder;

/// The first record of `frame` up to `until` whose content differs from what is stored, if any. All of
/// them must be durable.
pub(super) async fn differs(
    log: &Log,
    entry: &Entry,
    frame: &Frame,
    until: u64,
) -> Result<Option<u64>, LogError> {
    let stream = entry.head.stream;
    let masked = entry.masked_here();
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
                if !ours.next().is_some_and(|known| same(&known, &record, masked)) {
                    return Ok(Some(record.seq));
                }
            }
            next = stored.last_seq() + 1;
        }
    }
    Ok(None)
}

/// Annotations are hints; everything else that the chain covers counts.
/// With `masked` the first may be the second with secrets masked.
fn same(one: &RecordRef<'_>, other: &RecordRef<'_>, masked: bool) -> bool {
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
        && (one.data() == other.data() || masked && is_masked(one.data(), other.data()))
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

/// Whether `stored` is `received` with stars for some of its bytes: what is between the stars stands there in the same order. Where secrets are
/// found depends on how a stream was cut into batches, so masking again what came again would not do.
fn is_masked(stored: &[u8], received: &[u8]) -> bool {
    let mut rest = received;
    let stars = Finder::new(STARS);
    if stars.find(stored).is_none() {
        return false;
    }
    let mut from = 0;
    for at in stars.find_iter(stored) {
        let part = &stored[from..at];
        let found = if from == 0 {
            rest.starts_with(part).then_some(0)
        } else {
            Finder::new(part).find(rest)
        };
        let Some(found) = found else { return false };
        rest = &rest[found + part.len()..];
        from = at + STARS.len();
    }
    rest.ends_with(&stored[from..])
}

#[cfg(test)]
mod tests {
    use super::is_masked;

    #[test]
    fn stars_stand_for_what_was_masked() {
        let same = |stored: &str, received: &str| is_masked(stored.as_bytes(), received.as_bytes());
        assert!(same("password: ***\r\n", "password: hunter2\r\n"));
        assert!(same("***", "all of it"));
        assert!(same("a *** b *** c", "a 1 b 2 c"));
        assert!(!same("password: ***\r\n", "pass: hunter2\r\n"));
        assert!(!same("password: ***\r\n", "password: hunter2"));
        assert!(!same("a *** b *** c", "a 1 2 c"));
        assert!(!same("no stars", "other"));
    }
}
