//! Numbers: quantities with their units, versions, codes, ids.

use super::{NUMBERED, Purpose, Scanner, among, looks_random};

/// Units that may stand right behind a number or after a blank.
const SIZES: &[&str] = &[
    "b", "byte", "bytes", "kb", "kib", "mb", "mib", "gb", "gib", "tb", "tib", "bit", "bits",
    "kbit", "mbit", "gbit", "kbps", "mbps", "gbps", "bps", "hz", "khz", "mhz", "ghz",
];
const TIMES: &[&str] = &[
    "ns",
    "us",
    "ms",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "min",
    "mins",
    "minute",
    "minutes",
    "h",
    "hr",
    "hrs",
    "hour",
    "hours",
    "day",
    "days",
    "week",
    "weeks",
    "millisecond",
    "milliseconds",
    "microseconds",
    "nanoseconds",
];
/// Those only right behind a number: after a blank they may be anything.
const JOINED: &[&str] = &["m", "d", "k", "g", "t", "w", "kb", "x"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Size,
    Time,
}

impl Scanner<'_> {
    /// A token that starts with a digit: letters and digits up to `end`, of which `digits` are digits.
    pub(super) fn number(&mut self, end: usize, digits: usize) {
        let from = self.at;
        let run = &self.bytes[from..end];
        if digits < run.len() {
            return self.digits_and_letters(end);
        }
        let number = self.grouped_end(end);
        let (mut points, mut last) = (0, number);
        while self.byte(last) == Some(b'.') && self.is_digit(last + 1) {
            points += 1;
            last = self.digits_end(last + 1);
        }
        if points <= 1
            && let Some(end) = self.quantity_end(last)
        {
            return self.replace(end);
        }
        let versioned = self.version_tail(last);
        if points >= 2 || (points == 1 && (versioned || self.says_version(from))) {
            return self.version(last);
        }
        if points == 0 && number == end {
            return self.integer(end);
        }
        self.replace(last);
    }

    /// An integer without a unit: a code, a count of failures, a part of a name, or any number.
    fn integer(&mut self, end: usize) {
        let from = self.at;
        let short = end - from <= 3;
        if self.purpose == Purpose::Comparing {
            let joined = matches!(self.before(from), Some(b'-' | b'_' | b'.' | b'@' | b'+' | b'~'))
                && from.checked_sub(1).is_some_and(|before| self.joins(before));
            let numbered =
                self.word.end + 1 == from && among(&self.text[self.word.clone()], NUMBERED);
            let joined = joined && !numbered;
            let version = self.before(from) == Some(b'=')
                && from.checked_sub(2).is_some_and(|at| self.byte(at) == Some(b'='));
            if (short && (joined || version || self.after_code_word(from)))
                || (end - from <= 4 && self.before_counted_word(end))
                || (short && self.after_version_word(from))
            {
                return self.keep(end);
            }
        }
        self.replace(end);
    }

    /// `12ms`, `3s`, `1h2m3s`, `10GiB`, `0x1f`, `9f86d081`, `7zip`, `64bit`.
    fn digits_and_letters(&mut self, end: usize) {
        let from = self.at;
        let run = &self.bytes[from..end];
        if run.len() > 2
            && run[0] == b'0'
            && matches!(run[1], b'x' | b'X')
            && run[2..].iter().all(u8::is_ascii_hexdigit)
        {
            if self.purpose == Purpose::Comparing && run.len() <= 10 && self.after_code_word(from) {
                return self.keep(end);
            }
            return self.replace(end);
        }
        if looks_random(run) || (run.len() >= 7 && run.iter().all(u8::is_ascii_hexdigit)) {
            return self.replace(end);
        }
        let number = self.digits_end(from);
        if let Some(quantity) = self.quantity_end(number).filter(|quantity| *quantity >= end) {
            return self.replace(quantity);
        }
        match self.purpose {
            Purpose::Comparing => self.keep(end),
            Purpose::Grouping => self.replace(number),
        }
    }

    /// Behind groups of thousands that go on at `at`: `1,234,567`.
    fn grouped_end(&self, at: usize) -> usize {
        let mut end = at;
        while self.byte(end) == Some(b',') && self.digits_end(end + 1) == end + 4 {
            end += 4;
        }
        end
    }

    fn version(&mut self, at: usize) {
        let end = self.version_end(at);
        match self.purpose {
            Purpose::Comparing => self.keep(end),
            Purpose::Grouping => self.replace(end),
        }
    }

    /// Whether what follows a number with one point makes it a version: `2.10-5`, `1.2rc1`.
    fn version_tail(&self, at: usize) -> bool {
        match self.byte(at) {
            Some(b'-' | b'+' | b'~') => self.is_alphanumeric(at + 1),
            Some(byte) => byte.is_ascii_alphabetic(),
            None => false,
        }
    }

    /// Whether what stands before a number with one point makes it a version: `python-3.11`, `foo==2.1`.
    fn says_version(&self, from: usize) -> bool {
        let before = |at: usize| from.checked_sub(at).and_then(|at| self.byte(at));
        match before(1) {
            Some(b'-' | b'_' | b'@' | b'~') => self.joins(from - 1),
            Some(b'=') => before(2).is_some_and(|byte| matches!(byte, b'=' | b'>' | b'<' | b'~')),
            // The version of a package in parentheses: `hello (2.10)`.
            Some(b'(') => self.byte(self.digits_end(self.digits_end(from) + 1)) == Some(b')'),
            _ => self.after_version_word(from),
        }
    }

    /// Behind the unit of a number that ends at `at`, and what repeats it: `1m 12s`, `786 bytes (1.2 KB)`, `53 %`.
    fn quantity_end(&self, at: usize) -> Option<usize> {
        if self.byte(at) == Some(b'%') {
            return Some(at + 1);
        }
        // `12 %s` is a format.
        let goes_on = self.is_alphanumeric(at + 2) || self.byte(at + 2) == Some(b'<');
        if self.byte(at) == Some(b' ') && self.byte(at + 1) == Some(b'%') && !goes_on {
            return Some(at + 2);
        }
        let (unit, mut end) = self.unit_end(at)?;
        // Goes on as long as the next number has a unit of the kind too; each turn moves `end` on.
        loop {
            let mut next = end;
            if unit == Unit::Time {
                next = if self.byte(next) == Some(b',') { next + 1 } else { next };
                next = self.blanks_end(next);
            } else {
                next = self.blanks_end(next);
                if self.byte(next) != Some(b'(') {
                    break;
                }
                next += 1;
            }
            let Some((also, mut after)) = self.number_with_unit(next) else { break };
            if also != unit {
                break;
            }
            if unit == Unit::Size {
                while self.byte(after) == Some(b',') && self.byte(after + 1) == Some(b' ') {
                    let Some((Unit::Size, more)) = self.number_with_unit(after + 2) else { break };
                    after = more;
                }
                if self.byte(after) != Some(b')') {
                    break;
                }
                after += 1;
            }
            end = after;
        }
        Some(end)
    }

    fn number_with_unit(&self, at: usize) -> Option<(Unit, usize)> {
        if !self.is_digit(at) {
            return None;
        }
        let mut end = self.grouped_end(self.digits_end(at));
        if self.byte(end) == Some(b'.') && self.is_digit(end + 1) {
            end = self.digits_end(end + 1);
        }
        self.unit_end(end)
    }

    /// The unit at `at`, right there or after one blank, with what it is per (`MB/s`).
    fn unit_end(&self, at: usize) -> Option<(Unit, usize)> {
        let from = if self.byte(at) == Some(b' ') { at + 1 } else { at };
        // Micro is no ASCII letter.
        for micro in ["\u{b5}s", "\u{3bc}s"] {
            if self.text.get(from..).is_some_and(|rest| rest.starts_with(micro))
                && !self.is_alphanumeric(from + 3)
            {
                return Some((Unit::Time, from + 3));
            }
        }
        let letters = self
            .bytes
            .get(from..)?
            .iter()
            .take(13)
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        let end = from + letters;
        if letters == 0 || self.is_digit(end) && from != at {
            return None;
        }
        let word = &self.text[from..end];
        let known = |units: &[&str]| units.iter().any(|unit| unit.eq_ignore_ascii_case(word));
        let unit = if known(TIMES) {
            Unit::Time
        } else if known(SIZES) || (from == at && known(JOINED)) {
            if from == at && matches!(word, "m" | "d" | "w") { Unit::Time } else { Unit::Size }
        } else {
            return None;
        };
        let rate = ["/sec", "/s", "ps"].iter().find(|rate| self.text[end..].starts_with(**rate));
        let end = rate
            .filter(|rate| !self.is_alphanumeric(end + rate.len()))
            .map_or(end, |rate| end + rate.len());
        // `1h2m3s` goes on with a digit; anything else must end here.
        let ends = !self.byte(end).is_some_and(|byte| byte.is_ascii_alphabetic());
        (ends && (!self.is_digit(end) || unit == Unit::Time)).then_some((unit, end))
    }
}
