//! Masks secrets before they reach the spool.
//!
//! A line `::add-mask::VALUE` makes VALUE a secret: in that line and in everything after it, each
//! run of bytes covered by secrets becomes `***`. What must hold:
//!
//! * the result does not depend on how the stream was cut into reads: the tail of a read that may
//!   be the beginning of a secret is held back until it is decided. The hold is bounded in bytes
//!   (one less than the longest secret) and not in time, because a pause in the middle of a secret
//!   must not reveal its rest;
//! * bytes that are no part of a secret pass unchanged;
//! * the value of an unfinished `::add-mask::` line is held back until its line feed.
//!
//! As in other tools that know this line, `%25`, `%0A` and `%0D` in VALUE stand for themselves, and
//! each line of a value of several lines is a secret of its own.

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::memmem::Finder;

const MARKER: &[u8] = b"::add-mask::";
/// What stands in place of a secret.
const STARS: &[u8] = b"***";
/// The longest value; what follows in its line is masked with it and not a secret by itself.
const VALUE_BYTES: usize = 8 * 1024;
/// A shorter value hides nothing and would only riddle the log with stars.
const SECRET_BYTES: usize = 3;

/// The secrets so far, and the undecided end of the stream.
#[derive(Debug)]
pub struct Masker {
    secrets: Vec<Vec<u8>>,
    automaton: Option<AhoCorasick>,
    finder: Finder<'static>,
    /// The last bytes before the present position, raw, in which a marker may have begun.
    before: Vec<u8>,
    /// Bytes that may be the beginning of a secret.
    held: Vec<u8>,
    /// How many of the held bytes a complete secret covers already.
    held_covered: usize,
    /// The last byte decided was covered: its stars are written.
    in_run: bool,
    /// The value of an `::add-mask::` line whose line feed has not come.
    value: Option<Vec<u8>>,
}

impl Default for Masker {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            automaton: None,
            finder: Finder::new(MARKER),
            before: Vec::new(),
            held: Vec::new(),
            held_covered: 0,
            in_run: false,
            value: None,
        }
    }
}

impl Masker {
    /// Adds a secret.
    pub fn add(&mut self, secret: &[u8]) {
        if secret.is_empty() || self.secrets.iter().any(|known| known == secret) {
            return;
        }
        self.secrets.push(secret.to_vec());
        // Fails only beyond some gigabytes of patterns; then the old automaton would miss the new
        // secret, so everything is refused rather than shown.
        self.automaton =
            AhoCorasick::builder().match_kind(MatchKind::Standard).build(&self.secrets).ok();
    }

    /// Takes what was read and appends what may be shown to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        // Each turn ends with a value's line, a marker, or the end of the input.
        while !bytes.is_empty() {
            if let Some(value) = &mut self.value {
                let Some(feed) = memchr::memchr(b'\n', bytes) else {
                    value.extend_from_slice(&bytes[..bytes.len().min(VALUE_BYTES - value.len())]);
                    return;
                };
                value.extend_from_slice(&bytes[..feed.min(VALUE_BYTES - value.len())]);
                let ended_with_return = match feed {
                    0 => value.last() == Some(&b'\r'),
                    _ => bytes[feed - 1] == b'\r',
                };
                self.end_value(out);
                out.extend_from_slice(if ended_with_return { b"\r\n" } else { b"\n" });
                self.in_run = false;
                bytes = &bytes[feed + 1..];
                continue;
            }
            match self.marker_end(bytes) {
                Some(end) => {
                    self.shown(&bytes[..end], out);
                    self.flush_held(out);
                    self.before.clear();
                    self.value = Some(Vec::new());
                    bytes = &bytes[end..];
                }
                None => {
                    self.remember(bytes);
                    self.shown(bytes, out);
                    return;
                }
            }
        }
    }

    /// The stream is over: nothing held can become a secret any more.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.flush_held(out);
        if self.value.is_some() {
            self.end_value(out);
        }
        self.before.clear();
    }

    /// Masks a whole text, such as an event's.
    pub fn text(&self, text: &str) -> String {
        let mut whole = Self { secrets: self.secrets.clone(), ..Self::default() };
        whole.automaton.clone_from(&self.automaton);
        let mut out = Vec::with_capacity(text.len());
        whole.shown(text.as_bytes(), &mut out);
        whole.flush_held(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Where in `bytes` a marker ends that began in them or just before.
    fn marker_end(&self, bytes: &[u8]) -> Option<usize> {
        let overlap = &bytes[..bytes.len().min(MARKER.len() - 1)];
        let mut seam = self.before.clone();
        seam.extend_from_slice(overlap);
        if let Some(at) = self.finder.find(&seam) {
            return Some(at + MARKER.len() - self.before.len());
        }
        self.finder.find(bytes).map(|at| at + MARKER.len())
    }

    /// Keeps the last bytes for a marker that goes on in the next read.
    fn remember(&mut self, bytes: &[u8]) {
        let keep = MARKER.len() - 1;
        if bytes.len() >= keep {
            self.before.clear();
            self.before.extend_from_slice(&bytes[bytes.len() - keep..]);
        } else {
            self.before.extend_from_slice(bytes);
            let excess = self.before.len().saturating_sub(keep);
            self.before.drain(..excess);
        }
    }

    fn end_value(&mut self, out: &mut Vec<u8>) {
        let value = self.value.take().unwrap_or_default();
        let value = value.strip_suffix(b"\r").unwrap_or(&value);
        if value.is_empty() {
            return;
        }
        out.extend_from_slice(STARS);
        let decoded = unescape(value);
        for secret in decoded.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).chain([value]) {
            if secret.len() >= SECRET_BYTES {
                self.add(secret);
            }
        }
    }

    fn shown(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.secrets.is_empty() {
            out.extend_from_slice(bytes);
            return;
        }
        let mut work = std::mem::take(&mut self.held);
        work.extend_from_slice(bytes);
        let hold = self.hold_from(&work);
        // What is covered, as ranges by their beginning, beside the first of the held bytes.
        let mut ranges = Vec::new();
        match &self.automaton {
            Some(automaton) => {
                ranges.extend(automaton.find_overlapping_iter(&work).map(|found| found.range()));
            }
            None => ranges.push(0..work.len()),
        }
        ranges.sort_by_key(|range| range.start);
        let mut covered = self.held_covered;
        // Up to where secrets that begin before the held bytes cover. The others are found again.
        let mut covered_from_before = self.held_covered;
        let mut position = 0;
        for range in ranges {
            emit(&work, &mut position, covered, range.start, &mut self.in_run, hold, out);
            covered = covered.max(range.end);
            if range.start < hold {
                covered_from_before = covered;
            }
        }
        emit(&work, &mut position, covered, work.len(), &mut self.in_run, hold, out);
        self.held_covered = covered_from_before.saturating_sub(hold);
        self.held = work.split_off(hold);
    }

    /// Where the undecided end begins: the earliest place from which `work` to its end is the
    /// beginning of a secret and not all of it.
    fn hold_from(&self, work: &[u8]) -> usize {
        let longest = self.secrets.iter().map(Vec::len).max().unwrap_or(0);
        (work.len().saturating_sub(longest - 1)..work.len())
            .find(|&from| {
                let tail = &work[from..];
                self.secrets
                    .iter()
                    .any(|secret| secret.len() > tail.len() && secret.starts_with(tail))
            })
            .unwrap_or(work.len())
    }

    /// Decides the held bytes: no more comes that could make them a secret.
    fn flush_held(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        let mut covered = std::mem::take(&mut self.held_covered);
        let mut ranges: Vec<_> = match &self.automaton {
            Some(automaton) => automaton.find_overlapping_iter(&held).map(|m| m.range()).collect(),
            None => Vec::new(),
        };
        ranges.sort_by_key(|range| range.start);
        let mut position = 0;
        for range in ranges {
            emit(&held, &mut position, covered, range.start, &mut self.in_run, held.len(), out);
            covered = covered.max(range.end);
        }
        emit(&held, &mut position, covered, held.len(), &mut self.in_run, held.len(), out);
        self.in_run = false;
    }
}

/// Writes `work[*position..until]` as far as it lies before `hold`: stars for what lies before
/// `covered`, the rest as it is.
fn emit(
    work: &[u8],
    position: &mut usize,
    covered: usize,
    until: usize,
    in_run: &mut bool,
    hold: usize,
    out: &mut Vec<u8>,
) {
    let until = until.min(hold);
    if *position < covered.min(until) {
        if !*in_run {
            out.extend_from_slice(STARS);
            *in_run = true;
        }
        *position = covered.min(until);
    }
    if *position < until {
        out.extend_from_slice(&work[*position..until]);
        *in_run = false;
        *position = until;
    }
}

fn unescape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, tail)) = rest.split_first() {
        let known = match rest.get(..3).map(<[u8]>::to_ascii_uppercase).as_deref() {
            Some(b"%25") => Some(b'%'),
            Some(b"%0A") => Some(b'\n'),
            Some(b"%0D") => Some(b'\r'),
            _ => None,
        };
        out.push(known.unwrap_or(first));
        rest = if known.is_some() { &rest[3..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(chunks: &[&[u8]]) -> String {
        let mut masker = Masker::default();
        let mut out = Vec::new();
        for chunk in chunks {
            masker.feed(chunk, &mut out);
        }
        masker.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_masked_from_its_line_on() {
        let text = b"hunter2\r\n::add-mask::hunter2\r\nit is hunter2!\r\nhunter\r\n";
        let expected = "hunter2\r\n::add-mask::***\r\nit is ***!\r\nhunter\r\n";
        assert_eq!(run(&[text]), expected);
        for cut in 0..text.len() {
            assert_eq!(run(&[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(run(&bytes), expected);
    }

    #[test]
    fn the_value_of_an_unfinished_line_is_never_shown() {
        let mut masker = Masker::default();
        let mut out = Vec::new();
        masker.feed(b"::add-mask::sec", &mut out);
        assert_eq!(out, MARKER);
        masker.finish(&mut out);
        assert_eq!(out, b"::add-mask::***");
        assert_eq!(masker.text("a sec"), "a ***");
    }

    #[test]
    fn a_value_of_several_lines_masks_each() {
        assert_eq!(
            run(&[b"::add-mask::one%0Atwo\none\r\n two\n"]),
            "::add-mask::***\n***\r\n ***\n"
        );
    }

    #[test]
    fn a_secret_that_is_the_beginning_of_another() {
        let text = b"::add-mask::abc\n::add-mask::abcde\nabc abcd abcde\n";
        assert_eq!(run(&[text]), "::add-mask::***\n::add-mask::***\n*** ***d ***\n");
    }

    /// The definition: every maximal run of bytes that lies in some occurrence becomes stars.
    fn defined(secrets: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
        let mut covered = vec![false; text.len()];
        for secret in secrets {
            for start in 0..text.len() {
                if text[start..].starts_with(secret) {
                    covered[start..start + secret.len()].fill(true);
                }
            }
        }
        let mut out = Vec::new();
        for (index, &byte) in text.iter().enumerate() {
            if !covered[index] {
                out.push(byte);
            } else if index == 0 || !covered[index - 1] {
                out.extend_from_slice(STARS);
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn cuts_do_not_matter(
            secrets in prop::collection::vec("[abc]{1,5}", 1..4),
            chunks in prop::collection::vec("[abc ]{0,7}", 0..9),
        ) {
            let mut masker = Masker::default();
            let secrets: Vec<Vec<u8>> = secrets.into_iter().map(String::into_bytes).collect();
            for secret in &secrets {
                masker.add(secret);
            }
            let whole = chunks.concat();
            let mut out = Vec::new();
            for chunk in &chunks {
                masker.feed(chunk.as_bytes(), &mut out);
            }
            masker.finish(&mut out);
            prop_assert_eq!(out, defined(&secrets, whole.as_bytes()));
        }

        #[test]
        fn without_secrets_every_byte_passes(chunks in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..40), 0..8)
        ) {
            let whole = chunks.concat();
            prop_assume!(memchr::memmem::find(&whole, MARKER).is_none());
            let mut masker = Masker::default();
            let mut out = Vec::new();
            for chunk in &chunks {
                masker.feed(chunk, &mut out);
            }
            prop_assert_eq!(&out, &whole);
        }
    }
}
