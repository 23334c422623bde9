//! Masks secrets before they reach the spool.
//!
//! Secrets are: what `deckport_protocol::secrets` finds (token formats, values of what is named as a secret, private keys); the values of
//! variables of the command's environment that are named as secrets; and VALUE behind a line `::add-mask::VALUE`. A value that was
//! named once is a secret in everything after it. Each run of bytes covered by secrets becomes `***`. What must hold:
//!
//! * the result does not depend on how the stream was cut into reads: the tail of a read that may
//!   be the beginning of a secret is held back until it is decided. The hold is bounded in bytes
//!   (one less than the longest known secret; behind the beginning of a token a few hundred) and not in time,
//!   because a pause in the middle of a secret must not reveal its rest;
//! * bytes that are no part of a secret pass unchanged. Colours within one are none of it: the search looks at the text without them
//!   (see [`secrets::split`]), and they are written behind the stars;
//! * the value of an unfinished `::add-mask::` line is held back until its line feed.
//!
//! As in other tools that know this line, `%25`, `%0A` and `%0D` in VALUE stand for themselves, and
//! each line of a value of several lines is a secret of its own. What is told of is looked for as it is, as JSON writes it, and as addresses do.

use aho_corasick::{AhoCorasick, MatchKind};
use deckport_protocol::secrets::{self, Colour, Counts, Kind, Scanner, Sink};
use memchr::memmem::Finder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::collections::VecDeque;
use std::ops::Range;

const MARKER: &[u8] = b"::add-mask::";
/// What stands in place of a secret.
const STARS: &[u8] = secrets::STARS;
/// The longest value; what follows in its line is masked with it and not a secret by itself.
const VALUE_BYTES: usize = 8 * 1024;
/// A shorter value hides nothing and would only riddle the log with stars.
const SECRET_BYTES: usize = 3;
/// Values that were named in the output, beyond which no more are remembered. Each makes the search be built anew.
const LEARNED: usize = 500;
/// Where a secret was told of, in what is counted.
const ASKED: &str = "add_mask";
const ENVIRONMENT: &str = "environment";

/// The secrets so far, and the undecided end of the stream.
#[derive(Debug)]
pub struct Masker {
    /// Finds what has a known form; what it has decided goes on to [`Known`].
    scanner: Scanner,
    known: Known,
    finder: Finder<'static>,
    /// The last bytes before the present position, raw, in which a marker may have begun.
    before: Vec<u8>,
    /// The value of an `::add-mask::` line whose line feed has not come.
    value: Option<Vec<u8>>,
}

/// Secrets that are known as they are, and the end of the stream that may be the beginning of one.
#[derive(Debug, Default)]
struct Known {
    /// With where they were told of.
    secrets: Vec<(Vec<u8>, &'static str)>,
    automaton: Option<AhoCorasick>,
    learned: usize,
    /// Bytes that may be the beginning of a secret.
    held: Vec<u8>,
    /// How many of the held bytes a complete secret covers already.
    held_covered: usize,
    /// What of the held bytes the scanner found to be secret.
    held_found: Vec<Found>,
    /// Colours behind so many of the held bytes.
    held_colours: VecDeque<(usize, Colour)>,
    /// The last byte decided was covered: its stars are written.
    in_run: bool,
    counts: Counts,
}

/// What `encodeURIComponent` does not leave as it is.
const IN_ADDRESS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// What is covered, and what is counted for it if it is the beginning of a secret.
type Found = (Range<usize>, Option<&'static str>);

impl Default for Masker {
    fn default() -> Self {
        Self {
            scanner: Scanner::default(),
            known: Known::default(),
            finder: Finder::new(MARKER),
            before: Vec::new(),
            value: None,
        }
    }
}

/// What the scanner decides goes on to the known secrets.
struct Decided<'a> {
    known: &'a mut Known,
    out: &'a mut Vec<u8>,
}

impl Sink for Decided<'_> {
    fn plain(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.known.shown(bytes, None, self.out);
        }
    }

    fn secret(&mut self, bytes: &[u8], kind: Kind, begins: bool) {
        if !bytes.is_empty() {
            self.known.shown(bytes, Some(begins.then(|| kind.name())), self.out);
        }
    }

    fn colour(&mut self, colour: Colour) {
        self.known.colour(colour, self.out);
    }

    fn learned(&mut self, value: &[u8]) {
        if self.known.learned < LEARNED && !self.known.has(value) {
            self.known.learned += 1;
            self.known.add(value, Kind::Named.name());
        }
    }
}

impl Masker {
    /// A masker that knows the values of those variables that are named as secrets. Each line of a value is one.
    pub fn of_environment<K: AsRef<str>, V: AsRef<[u8]>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut masker = Self::default();
        for (name, value) in variables {
            if secrets::is_secret_name(name.as_ref()) {
                let (value, _) = secrets::split(value.as_ref());
                for line in value.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
                    if secrets::is_secret_value(line) && !line.starts_with(b"-----") {
                        masker.known.add(line, ENVIRONMENT);
                    }
                }
            }
        }
        masker
    }

    /// Adds a secret.
    pub fn add(&mut self, secret: &[u8]) {
        self.known.add(&secrets::split(secret).0, ASKED);
    }

    /// How many secrets were masked so far, by kind.
    pub const fn counts(&self) -> &Counts {
        &self.known.counts
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
                self.known.in_run = false;
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
    pub fn text(&mut self, text: &str) -> String {
        let known = Known {
            secrets: self.known.secrets.clone(),
            automaton: self.known.automaton.clone(),
            learned: LEARNED,
            counts: std::mem::take(&mut self.known.counts),
            ..Known::default()
        };
        let mut whole = Self { known, ..Self::default() };
        let mut out = Vec::with_capacity(text.len());
        whole.shown(text.as_bytes(), &mut out);
        whole.flush_held(&mut out);
        self.known.counts = whole.known.counts;
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Masks a command line; the part behind `--password` and its like is a secret.
    pub fn command(&mut self, parts: &[String]) -> Vec<String> {
        let mut named = false;
        let mask = |part: &String| {
            let secret = std::mem::take(&mut named) && secrets::is_secret_value(part.as_bytes());
            named = part.strip_prefix("--").is_some_and(secrets::is_secret_name);
            if secret {
                self.known.add(&secrets::split(part.as_bytes()).0, Kind::Named.name());
            }
            self.text(part)
        };
        parts.iter().map(mask).collect()
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
        self.known.count(ASKED);
        let decoded = unescape(value);
        let (decoded, _) = secrets::split(&decoded);
        let (value, colours) = secrets::split(value);
        for (_, colour) in colours {
            out.extend_from_slice(colour.bytes());
        }
        for secret in decoded.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).chain([&*value])
        {
            if secret.len() >= SECRET_BYTES {
                self.known.add(secret, ASKED);
            }
        }
    }

    /// Decides what is known of `bytes` and may be shown.
    fn shown(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.scanner.feed(bytes, &mut Decided { known: &mut self.known, out });
    }

    /// Decides the held bytes: no more comes that could make them a secret.
    fn flush_held(&mut self, out: &mut Vec<u8>) {
        self.scanner.flush(&mut Decided { known: &mut self.known, out });
        self.known.flush(out);
    }
}

impl Known {
    fn has(&self, secret: &[u8]) -> bool {
        self.secrets.iter().any(|(known, _)| known == secret)
    }

    /// Adds a secret that is free of colours, and other ways to write it.
    fn add(&mut self, secret: &[u8], told: &'static str) {
        if secret.is_empty() || self.has(secret) {
            return;
        }
        let forms = [Some(secret.to_vec()), in_json(secret), Some(in_address(secret))];
        for form in forms.into_iter().flatten() {
            if !self.has(&form) {
                self.secrets.push((form, told));
            }
        }
        // Fails only beyond some gigabytes of patterns; then the old automaton would miss the new
        // secret, so everything is refused rather than shown.
        self.automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(self.secrets.iter().map(|(secret, _)| secret))
            .ok();
    }

    fn count(&mut self, kind: &str) {
        *self.counts.entry(kind.to_owned()).or_default() += 1;
    }

    /// `bytes` follow; with `found` they are of a secret in any case, and this is what is counted for it.
    fn shown(&mut self, bytes: &[u8], found: Option<Option<&'static str>>, out: &mut Vec<u8>) {
        if self.held.is_empty() && self.secrets.is_empty() {
            let mut position = 0;
            let covered = if found.is_some() { bytes.len() } else { 0 };
            if let Some(kind) = found.flatten() {
                self.count(kind);
            }
            self.emit(bytes, &mut position, covered, bytes.len(), bytes.len(), out);
            return;
        }
        let mut work = std::mem::take(&mut self.held);
        if let Some(kind) = found {
            let range = work.len()..work.len() + bytes.len();
            match self.held_found.last_mut() {
                // The rest of one that came in several parts.
                Some((begun, _)) if kind.is_none() && begun.end == range.start => {
                    begun.end = range.end;
                }
                _ => self.held_found.push((range, kind)),
            }
        }
        work.extend_from_slice(bytes);
        let hold = self.hold_from(&work);
        self.decide(&work, hold, out);
        self.held = work.split_off(hold);
    }

    /// Writes what of `work` lies before `hold`, and remembers what covers the rest.
    fn decide(&mut self, work: &[u8], hold: usize, out: &mut Vec<u8>) {
        // What is covered, as ranges by their beginning, beside the first of the held bytes.
        let found = std::mem::take(&mut self.held_found);
        let mut ranges = found.clone();
        match &self.automaton {
            Some(automaton) => ranges.extend(
                automaton
                    .find_overlapping_iter(work)
                    .map(|found| (found.range(), Some(self.secrets[found.pattern().as_usize()].1))),
            ),
            None if self.secrets.is_empty() => {}
            None => ranges.push((0..work.len(), None)),
        }
        // What goes on here began before all others.
        let order =
            |(range, kind): &Found| (range.start, kind.is_some(), std::cmp::Reverse(range.end));
        ranges.sort_by_key(order);
        let mut covered = self.held_covered;
        // Up to where secrets that begin before the held bytes cover. The others are found again.
        let mut covered_from_before = self.held_covered;
        let mut position = 0;
        for (range, kind) in ranges {
            self.emit(work, &mut position, covered, range.start, hold, out);
            if range.start < hold {
                // What begins within another is counted with that.
                if let Some(kind) = kind.filter(|_| range.start >= covered) {
                    self.count(kind);
                }
                covered_from_before = covered.max(range.end);
            }
            covered = covered.max(range.end);
        }
        self.emit(work, &mut position, covered, work.len(), hold, out);
        for (at, _) in &mut self.held_colours {
            *at -= hold;
        }
        self.held_covered = covered_from_before.saturating_sub(hold);
        self.held_found = found
            .into_iter()
            .filter(|(range, _)| range.start >= hold)
            .map(|(range, kind)| (range.start - hold..range.end - hold, kind))
            .collect();
    }

    /// A colour stands behind what came so far.
    fn colour(&mut self, colour: Colour, out: &mut Vec<u8>) {
        if self.held.is_empty() {
            out.extend_from_slice(colour.bytes());
        } else {
            self.held_colours.push_back((self.held.len(), colour));
        }
    }

    /// Writes `work[*position..until]` as far as it lies before `hold`, with the colours up to there: stars for what lies before
    /// `covered`, the rest as it is. A colour does not end a run of covered bytes, so one within it comes behind its stars.
    fn emit(
        &mut self,
        work: &[u8],
        position: &mut usize,
        covered: usize,
        until: usize,
        hold: usize,
        out: &mut Vec<u8>,
    ) {
        let until = until.min(hold);
        if *position < covered.min(until) {
            if !self.in_run {
                out.extend_from_slice(STARS);
                self.in_run = true;
            }
            *position = covered.min(until);
            self.colours(*position, out);
        }
        while *position < until {
            let next = self.held_colours.front().map_or(until, |(at, _)| until.min(*at));
            out.extend_from_slice(&work[*position..next]);
            self.in_run = false;
            *position = next;
            self.colours(next, out);
        }
    }

    /// Writes the colours up to `until`.
    fn colours(&mut self, until: usize, out: &mut Vec<u8>) {
        while let Some((_, colour)) = self.held_colours.pop_front_if(|(at, _)| *at <= until) {
            out.extend_from_slice(colour.bytes());
        }
    }

    /// Where the undecided end begins: the earliest place from which `work` to its end is the
    /// beginning of a secret and not all of it.
    fn hold_from(&self, work: &[u8]) -> usize {
        let mut hold = work.len();
        for (secret, _) in &self.secrets {
            let from = work.len().saturating_sub(secret.len() - 1);
            for at in memchr::memchr_iter(secret[0], &work[from..hold.max(from)]) {
                if secret.starts_with(&work[from + at..]) {
                    hold = from + at;
                    break;
                }
            }
        }
        hold
    }

    /// Decides the held bytes: no more comes that could make them a secret.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        self.decide(&held, held.len(), out);
        self.held_covered = 0;
        self.in_run = false;
    }
}

/// The secret as a text in JSON, without the quotation marks.
fn in_json(secret: &[u8]) -> Option<Vec<u8>> {
    let json = serde_json::to_string(std::str::from_utf8(secret).ok()?).ok()?;
    Some(json.as_bytes()[1..json.len() - 1].to_vec())
}

/// The secret as a part of an address, as `encodeURIComponent` writes it.
fn in_address(secret: &[u8]) -> Vec<u8> {
    percent_encode(secret, IN_ADDRESS).to_string().into_bytes()
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
    fn values_of_the_environment_are_secrets_from_the_start() {
        let mut masker = Masker::of_environment([
            ("GITHUB_TOKEN", "ghp_0123456789abcdefghijABCDEFGHIJ012345"),
            ("DB_PASSWORD", "two words\nand-a-line\n"),
            ("SECRET", "true"),
            ("API_KEY_FILE", "/run/keys/api"),
            ("HOME", "/home/player"),
        ]);
        let mut out = Vec::new();
        masker.feed(
            b"at ghp_0123456789abcdefghijABCDEFGHIJ012345 two words, and-a-line\r\n",
            &mut out,
        );
        masker.feed(b"true in /home/player, /run/keys/api\r\n", &mut out);
        masker.finish(&mut out);
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "at *** ***, ***\r\ntrue in /home/player, /run/keys/api\r\n");
        assert_eq!(masker.counts(), &Counts::from([("environment".into(), 3)]));
    }

    #[test]
    fn a_value_that_was_named_is_a_secret_from_then_on() {
        let mut masker = Masker::default();
        let mut out = Vec::new();
        masker.feed(b"hunter22! once\nDB_PASSWORD=hunter22!\nit is hunter22! again\n", &mut out);
        masker.feed(b"token glpat-0123456789abcdefghij\n", &mut out);
        masker.finish(&mut out);
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "hunter22! once\nDB_PASSWORD=***\nit is *** again\ntoken glpat-***\n");
        assert_eq!(masker.counts(), &Counts::from([("named".into(), 2), ("gitlab".into(), 1)]));
        assert_eq!(masker.text("say hunter22!"), "say ***");
    }

    #[test]
    fn a_command_line_shows_no_password() {
        let command = ["tool", "--password", "hunter2", "--token=abcdef123456", "--verbose", "run"];
        let command: Vec<String> = command.map(ToOwned::to_owned).into();
        let shown = Masker::default().command(&command);
        assert_eq!(shown, ["tool", "--password", "***", "--token=***", "--verbose", "run"]);
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

    #[test]
    fn colours_within_a_secret_stand_behind_its_stars() {
        for (text, expected) in [
            ("ghp_0123456789a\x1b[0mbcdefghijABCDEFGHIJ012345\r\n", "ghp_***\x1b[0m\r\n"),
            ("\x1b[1mghp_0123456\x1b[22m789abcdefghijABCDEFGHIJ012345", "\x1b[1mghp_***\x1b[22m"),
            (
                "::add-mask::SuperVal77xy\r\nSuper\x1b[0mVal77xy\r\n",
                "::add-mask::***\r\n***\x1b[0m\r\n",
            ),
            // A colour in the line that tells of it is no part of the value either.
            (
                "\x1b[33m::add-mask::Super\x1b[1mVal77xy\x1b[0m\r\nis SuperVal77xy\x1b[K now\r\n",
                "\x1b[33m::add-mask::***\x1b[1m\x1b[0m\r\nis ***\x1b[K now\r\n",
            ),
            // The beginning of a known value that is none, with colours between.
            (
                "::add-mask::SuperVal77xy\nSu\x1b[31mper\x1b[0mVal\x1b[Kue\n",
                "::add-mask::***\nSu\x1b[31mper\x1b[0mVal\x1b[Kue\n",
            ),
            (
                "the DB_PASSWORD=\x1b[01;31m\x1b[Khunter\x1b[m\x1b[K22!\r\nhunter22!",
                "the DB_PASSWORD=\x1b[01;31m\x1b[K***\x1b[m\x1b[K\r\n***",
            ),
        ] {
            assert_eq!(run(&[text.as_bytes()]), expected);
            for cut in 0..text.len() {
                let (before, behind) = text.as_bytes().split_at(cut);
                assert_eq!(run(&[before, behind]), expected, "cut at {cut}");
            }
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(run(&bytes), expected);
        }
        let mut masker = Masker::of_environment([("API_TOKEN", "\x1b[1mhunter22!\x1b[0m")]);
        assert_eq!(masker.text("it is hunt\x1b[1mer22!"), "it is ***\x1b[1m");
    }

    #[test]
    fn a_colour_waits_only_for_text_before_it() {
        let mut masker = Masker::default();
        masker.add(b"hunter22");
        let mut out = Vec::new();
        masker.feed(b"name\x1b[0m \x1b[31m", &mut out);
        assert_eq!(out, b"name\x1b[0m \x1b[31m");
        out.clear();
        masker.feed(b"hunt\x1b[0m", &mut out);
        assert_eq!(out, b"");
        masker.feed(b"s\x1b[1m", &mut out);
        assert_eq!(out, b"hunt\x1b[0ms\x1b[1m");
        // However many come, what waits for the text before them is bounded.
        out.clear();
        masker.feed(b"hunt", &mut out);
        let many = b"\x1b[?25l\x1b[?25h".repeat(100);
        masker.feed(&many, &mut out);
        assert!(out.starts_with(b"hunt\x1b[?25l") && out.len() > many.len() - 200, "{}", out.len());
        masker.finish(&mut out);
        assert_eq!(out, [b"hunt", &many[..]].concat());
    }

    #[test]
    fn a_value_is_a_secret_in_other_spellings() {
        let mut masker = Masker::of_environment([("DB_PASSWORD", "a\"b c/ü+1")]);
        let spelt = r#"a"b c/ü+1, {"p":"a\"b c/ü+1"}, ?p=a%22b%20c%2F%C3%BC%2B1&q"#;
        assert_eq!(masker.text(spelt), r#"***, {"p":"***"}, ?p=***&q"#);
        assert_eq!(masker.counts(), &Counts::from([("environment".into(), 3)]));
        assert_eq!(in_address(b"AZaz09-_.!~*'() %\xff"), b"AZaz09-_.!~*'()%20%25%FF");
        // Each is one of the values that may be learned.
        let mut out = Vec::new();
        for number in 0..LEARNED {
            masker.feed(format!("TOKEN='a b/{number:06}'\n").as_bytes(), &mut out);
        }
        assert_eq!(masker.known.learned, LEARNED);
        assert_eq!(masker.text("a b/000499 a%20b%2F000499"), "*** ***");
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

    fn colours() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            Just("\x1b[0m"),
            Just("\x1b[01;31m\x1b[K"),
            Just("\x1b[m\x1b[K"),
            Just("\x1b(B\x1b[m"),
            Just("\x1b[m\x0f"),
            Just("\x1b[38;2;255;128;0m"),
        ]
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
        fn cuts_do_not_matter_with_both_sorts(
            parts in prop::collection::vec(prop_oneof![
                Just("ghp_0123456789abcdefghijABCDEFGHIJ012345"), Just("ghp_"), Just("password: "), Just("hunter22"), Just("hunt"),
                Just("\r\n"), Just("TOKEN="), Just(" "), Just("0123"), Just("cdefghij"), Just("\""), Just("::add-mask::"), Just("-----BEGIN PRIVATE KEY-----"),
                Just("MIIEpAIBAAKCAQEAzq0yT3"), Just("-----END PRIVATE KEY-----"), Just("https://u:"), Just("@h"),
                Just("\x1b[0m"), Just("\x1b[01;31m\x1b[K"), Just("\x1b["),
            ], 0..12),
            cut in 1usize..7,
        ) {
            let whole = parts.concat();
            let run = |chunks: &mut dyn Iterator<Item = &[u8]>| {
                let mut masker = Masker::of_environment([("X_SECRET", "cdefghijABCDE"), ("Y_TOKEN", "hunter22")]);
                let mut out = Vec::new();
                for chunk in chunks {
                    masker.feed(chunk, &mut out);
                }
                masker.finish(&mut out);
                (String::from_utf8(out).unwrap(), masker.counts().clone())
            };
            let at_once = run(&mut std::iter::once(whole.as_bytes()));
            prop_assert_eq!(run(&mut whole.as_bytes().chunks(cut)), at_once);
        }

        #[test]
        fn colours_anywhere_in_a_secret_show_nothing_of_it(
            which in 0usize..4,
            places in prop::collection::vec((0usize..37, colours()), 0..6),
            size in 1usize..50,
        ) {
            let (before, secret, behind) = [
                ("at ghp_", "0123456789abcdefghijABCDEFGHIJ012345", " now\r\n"),
                ("\"password\": \"", "hunter 22!", "\",\n"),
                ("a ", "SuperVal77xy", "z\n"),
                ("https://u:", "hunter22!", "@host/\n"),
            ][which];
            let mut places: Vec<_> = places.into_iter().map(|(at, colour)| (at.min(secret.len()), colour)).collect();
            places.sort_by_key(|(at, _)| *at);
            let (mut text, mut outside, mut from) = (before.to_owned(), [before, "***"].map(ToOwned::to_owned), 0);
            for (at, colour) in places {
                text += &secret[from..at];
                text += colour;
                outside[usize::from(at > 0)] += colour;
                from = at;
            }
            text += &secret[from..];
            text += behind;
            let expected = outside.concat() + behind;
            let mut masker = Masker::of_environment([("A_SECRET", "SuperVal77xy")]);
            let mut out = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                masker.feed(chunk, &mut out);
            }
            masker.finish(&mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), &*expected);
            prop_assert_eq!(masker.counts().values().sum::<u64>(), 1);
            prop_assert_eq!(masker.text(&text), expected);
        }

        #[test]
        fn colours_without_secrets_pass(
            parts in prop::collection::vec(prop_oneof![
                colours(), Just("\x1b"), Just("\x1b["), Just("m"), Just("0"), Just("hunt"), Just("er2"), Just("password: "), Just("ghp_"),
                Just(" "), Just("\r\n"), Just("0123456789"), Just("https://u:"), Just("\x1b]8;;https://a.example/\x1b\\"),
            ], 0..30),
            size in 1usize..9,
        ) {
            let whole = parts.concat();
            let run = |size| {
                let mut masker = Masker::of_environment([("A_SECRET", "hunter22")]);
                let mut out = Vec::new();
                for chunk in whole.as_bytes().chunks(size) {
                    masker.feed(chunk, &mut out);
                }
                masker.finish(&mut out);
                (String::from_utf8(out).unwrap(), masker.counts().clone())
            };
            let (shown, counts) = run(size);
            prop_assert_eq!(&run(whole.len().max(1)), &(shown.clone(), counts.clone()));
            let (text, colours) = secrets::split(whole.as_bytes());
            if counts.is_empty() {
                prop_assert_eq!(shown, whole);
            } else if !text.contains(&0x1b) {
                // Each colour is still there, in the same order.
                prop_assert_eq!(
                    secrets::split(shown.as_bytes()).1.iter().map(|(_, colour)| *colour).collect::<Vec<_>>(),
                    colours.iter().map(|(_, colour)| *colour).collect::<Vec<_>>()
                );
            }
        }

        #[test]
        fn without_secrets_every_byte_passes(chunks in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..40), 0..8)
        ) {
            let whole = chunks.concat();
            prop_assume!(memchr::memmem::find(&whole, MARKER).is_none());
            prop_assume!(secrets::mask(&whole).is_none());
            let mut masker = Masker::default();
            let mut out = Vec::new();
            for chunk in &chunks {
                masker.feed(chunk, &mut out);
            }
            masker.finish(&mut out);
            prop_assert_eq!(&out, &whole);
        }
    }
}
