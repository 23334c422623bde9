//! Takes out of a line what differs from run to run: times, durations, sizes, ids, hashes, addresses.
//!
//! One pass over the bytes, each looked at a bounded number of times, so that a hostile line costs no more
//! than its length. What was taken out becomes [`PLACEHOLDER`], stretches of white space or control characters one blank,
//! progress bars and rules one short rule.
//!
//! What must hold:
//! * Words stay. Only something with a digit in it is masked; but for what follows `/tmp/`, the names of a date's
//!   weekday and month, and for grouping the full names of hosts and the paths of requests. No status word is
//!   taken for one of a host's name.
//! * Masking a masked line changes nothing.
//! * For comparing, what may be the reason of a failure stays: versions, exit codes, counts of errors, and
//!   digits that belong to a name (`libssl3`, `gcc-12-base`). For grouping those go too.
//!
//! It guesses. A guess too many hides a difference (a bare count), a guess too few shows one that is noise
//! (a random name without digits); [`super::compare`] ranks differences for the sake of the latter.
//!
//! A change of what is masked changes signatures: raise [`super::templates::VERSION`] with it.

mod address;
mod moment;
mod number;

use std::borrow::Cow;
use std::ops::Range;

/// Stands where something was taken out.
pub const PLACEHOLDER: &str = "<*>";

/// What the masked line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Two runs side by side: versions, exit codes and names with digits are kept.
    Comparing,
    /// What the same failure looks like anywhere: those are taken out as well.
    Grouping,
}

/// The line without what differs from run to run.
pub fn mask(line: &str, purpose: Purpose) -> String {
    let mut masked = String::with_capacity(line.len());
    mask_into(line, purpose, &mut masked);
    masked
}

/// As [`mask`], into a buffer that is used again. What it held is gone.
pub fn mask_into(line: &str, purpose: Purpose, masked: &mut String) {
    masked.clear();
    let line = tidy(line);
    let scanner = Scanner {
        text: &line,
        bytes: line.as_bytes(),
        at: 0,
        purpose,
        masked,
        word: 0..0,
        earlier: 0..0,
        pending: 0..0,
    };
    scanner.run();
}

/// The line with one blank where white space or control characters are, and none at its ends.
///
/// Done before anything else, so that no rule can see in a masked line what it did not see in the line.
fn tidy(line: &str) -> Cow<'_, str> {
    let blank = |character: char| character.is_whitespace() || character.is_control();
    let plain = if line.is_ascii() {
        let bytes = line.as_bytes();
        !bytes.iter().any(u8::is_ascii_control)
            && !bytes.starts_with(b" ")
            && !bytes.ends_with(b" ")
            && !bytes.windows(2).any(|pair| pair == b"  ")
    } else {
        let blanks = line.chars().filter(|character| blank(*character));
        blanks.count() + 1 == line.split(' ').filter(|word| !word.is_empty()).count()
            && !line.contains(|character: char| character != ' ' && blank(character))
    };
    if plain {
        return Cow::Borrowed(line);
    }
    let mut tidied = String::with_capacity(line.len());
    for word in line.split(blank).filter(|word| !word.is_empty()) {
        if !tidied.is_empty() {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    Cow::Owned(tidied)
}

/// Words after which a small number is an outcome, not noise.
const SAYS_CODE: &[&str] = &[
    "code", "err", "errno", "error", "exit", "exited", "hresult", "http", "rc", "result",
    "returned", "signal", "status",
];
/// Words that may stand between one of [`SAYS_CODE`] and the number.
const BETWEEN: &[&str] = &["is", "of", "was", "with"];
/// Words before which a number counts failures.
const COUNTED: &[&str] = &[
    "broken",
    "conflict",
    "conflicts",
    "error",
    "errors",
    "fail",
    "failed",
    "failing",
    "failure",
    "failures",
    "fatal",
    "missing",
    "passed",
    "skipped",
    "unmet",
    "vulnerabilities",
    "vulnerability",
    "warning",
    "warnings",
];
/// Words before which a number with one point is a version.
const VERSIONED: &[&str] = &[
    "cuda", "debian", "driver", "firmware", "gcc", "glibc", "go", "java", "kernel", "node",
    "openjdk", "openssl", "perl", "php", "python", "release", "ruby", "rust", "ubuntu", "v",
    "version",
];
/// Things of which there are many, told apart by a number that means nothing: `worker-3`, `job_17`.
const NUMBERED: &[&str] = &[
    "attempt",
    "build",
    "chunk",
    "conn",
    "connection",
    "container",
    "id",
    "instance",
    "item",
    "job",
    "layer",
    "part",
    "pid",
    "proc",
    "process",
    "req",
    "request",
    "run",
    "session",
    "shard",
    "task",
    "thread",
    "tid",
    "worker",
];
/// After these stands the path of a request.
const METHODS: &[&str] = &["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];
/// Hash functions: what follows their name and a separator is a digest.
const DIGESTS: &[&str] =
    &["blake2b", "blake3", "md5", "sha1", "sha224", "sha256", "sha384", "sha512"];

fn among(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Where a scan stands. Offsets are into `text`; `at` is always at a character's first byte.
struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    purpose: Purpose,
    masked: &'a mut String,
    /// The last word of letters, the one before it, and what of the text is not yet written.
    word: Range<usize>,
    earlier: Range<usize>,
    pending: Range<usize>,
}

impl Scanner<'_> {
    fn run(mut self) {
        // Each turn handles one token at `at` and moves behind it; the end of the text is the only exit.
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => self.alphanumeric(),
                b'<' if self.bytes[self.at..].starts_with(PLACEHOLDER.as_bytes()) => {
                    self.replace(self.at + PLACEHOLDER.len());
                }
                0x80.. => self.foreign(),
                _ => self.punctuation(byte),
            }
        }
        self.flush();
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn is_digit(&self, at: usize) -> bool {
        self.byte(at).is_some_and(|byte| byte.is_ascii_digit())
    }

    fn is_alphanumeric(&self, at: usize) -> bool {
        self.byte(at).is_some_and(|byte| byte.is_ascii_alphanumeric())
    }

    /// The byte before `at`, if it is what `at`'s token is joined to.
    fn before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).and_then(|before| self.byte(before))
    }

    /// Whether a letter, digit or placeholder ends at `at`.
    fn joins(&self, at: usize) -> bool {
        self.before(at).is_some_and(|before| before.is_ascii_alphanumeric())
            || self.text[..at].ends_with(PLACEHOLDER)
    }

    /// The end of the letters and digits from `at` on.
    fn alphanumeric_end(&self, at: usize) -> usize {
        at + self.bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count()
    }

    fn digits_end(&self, at: usize) -> usize {
        at + self.bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// The end of the blanks from `at` on, of which there may be none.
    fn blanks_end(&self, at: usize) -> usize {
        at + self.bytes[at..].iter().take_while(|byte| **byte == b' ').count()
    }

    fn flush(&mut self) {
        self.masked.push_str(&self.text[self.pending.clone()]);
        self.pending = self.at..self.at;
    }

    /// Keeps the text up to `end`.
    fn keep(&mut self, end: usize) {
        self.at = end;
        self.pending.end = end;
    }

    /// Leaves out the text up to `end`, and writes `instead`.
    fn write(&mut self, end: usize, instead: &str) {
        self.flush();
        self.masked.push_str(instead);
        self.at = end;
        self.pending = end..end;
    }

    fn replace(&mut self, end: usize) {
        self.write(end, PLACEHOLDER);
    }

    /// Letters and digits at `at`, the token before which ended.
    fn alphanumeric(&mut self) {
        let from = self.at;
        if let Some(end) = moment::end(self.text, from) {
            return self.replace(end);
        }
        if let Some(end) = self.address_end(from) {
            return self.replace(end);
        }
        let end = self.alphanumeric_end(from);
        let run = &self.bytes[from..end];
        let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
        if self.purpose == Purpose::Grouping
            && let Some(end) = self.host_end(from, end)
        {
            return self.replace(end);
        }
        if digits == 0 {
            self.keep(end);
            self.earlier = std::mem::replace(&mut self.word, from..end);
            return;
        }
        if run[0].is_ascii_digit() {
            return self.number(end, digits);
        }
        if looks_random(run) {
            return self.replace(end);
        }
        if among(&self.text[from..end], DIGESTS) {
            self.keep(end);
            return self.digest();
        }
        self.name_with_digits(end);
    }

    /// A name that starts with a letter and holds digits: `v1.2`, `libssl3`, `eth0`, `python3.11`.
    fn name_with_digits(&mut self, end: usize) {
        let from = self.at;
        if matches!(self.bytes[from], b'v' | b'V')
            && self.digits_end(from + 1) == end
            && self.byte(end) == Some(b'.')
        {
            let end = self.version_end(end);
            return match self.purpose {
                Purpose::Comparing => self.keep(end),
                Purpose::Grouping => self.replace(end),
            };
        }
        // Digits at its end count things of a kind; digits inside are its spelling.
        let tail =
            self.bytes[from..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        match self.purpose {
            Purpose::Comparing if among(&self.text[from..end - tail], NUMBERED) => {
                self.keep(end - tail);
                self.replace(end);
            }
            Purpose::Comparing => {
                let mut end = end;
                while self.byte(end) == Some(b'.') && self.is_digit(end + 1) {
                    end = self.alphanumeric_end(end + 1);
                }
                self.keep(end);
            }
            Purpose::Grouping => {
                self.keep(end - tail);
                if tail > 0 {
                    self.replace(end);
                }
            }
        }
    }

    /// The digest that may follow a hash function's name.
    fn digest(&mut self) {
        if !matches!(self.byte(self.at), Some(b':' | b'-' | b'=')) {
            return;
        }
        let from = self.at + 1;
        let length = self.bytes[from..]
            .iter()
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-')
            })
            .count();
        if length >= 16 {
            self.keep(from);
            self.replace(from + length);
        }
    }

    /// Whether only separators stand between the last word and `at`, as in `exit code: 1`.
    fn joined_to(&self, word: &Range<usize>, at: usize) -> bool {
        !word.is_empty()
            && at - word.end <= 4
            && self.bytes[word.end..at].iter().all(|byte| {
                matches!(byte, b' ' | b':' | b'=' | b'#' | b'(' | b'[' | b'\'' | b'"' | b'-' | b'/')
            })
    }

    /// Whether a number at `at` is a code, as in `exited with status 1`.
    fn after_code_word(&self, at: usize) -> bool {
        if !self.joined_to(&self.word, at) {
            return false;
        }
        among(&self.text[self.word.clone()], SAYS_CODE)
            || (among(&self.text[self.word.clone()], BETWEEN)
                && self.joined_to(&self.earlier, self.word.start)
                && among(&self.text[self.earlier.clone()], SAYS_CODE))
    }

    fn after_version_word(&self, at: usize) -> bool {
        self.joined_to(&self.word, at) && among(&self.text[self.word.clone()], VERSIONED)
    }

    /// Whether the word after a number that ends at `at` says that it counts failures.
    fn before_counted_word(&self, at: usize) -> bool {
        if self.byte(at) != Some(b' ') {
            return false;
        }
        let from = self.blanks_end(at);
        let end = from
            + self.bytes[from..]
                .iter()
                .take(16)
                .take_while(|byte| byte.is_ascii_alphabetic())
                .count();
        !self.is_alphanumeric(end) && among(&self.text[from..end], COUNTED)
    }

    /// The end of a version's tail, at `at` behind its first digits. A point that ends a sentence is not part of it.
    fn version_end(&self, at: usize) -> usize {
        let length = self.bytes[at..]
            .iter()
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'~' | b'-')
            })
            .count();
        let tail = &self.bytes[at..at + length];
        at + length - tail.iter().rev().take_while(|byte| !byte.is_ascii_alphanumeric()).count()
    }

    fn punctuation(&mut self, byte: u8) {
        // A sign belongs to its number.
        let joined = self.joins(self.at) || matches!(self.before(self.at), Some(b'-' | b'+'));
        if matches!(byte, b'-' | b'+') && !joined && self.is_digit(self.at + 1) {
            let sign = self.at;
            if self.after_code_word(sign) && self.purpose == Purpose::Comparing {
                return self.keep(sign + 1);
            }
            return self.write(sign + 1, "");
        }
        // So does what makes it vague.
        let alone = self.before(self.at).is_none_or(|before| before == b' ');
        let signed = matches!(self.byte(self.at + 1), Some(b'-' | b'+'));
        let numeric = self.is_digit(self.at + 1 + usize::from(signed));
        if matches!(byte, b'<' | b'>' | b'~') && alone && numeric {
            return self.write(self.at + 1, "");
        }
        let requested = || {
            let word = &self.text[self.word.clone()];
            self.at == self.word.end + 1
                && self.before(self.at) == Some(b' ')
                && METHODS.contains(&word)
        };
        if byte == b'/' && self.purpose == Purpose::Grouping && requested() {
            let path = self.bytes[self.at..]
                .iter()
                .take_while(|byte| byte.is_ascii_graphic() && **byte != b'"')
                .count();
            return self.replace(self.at + path);
        }
        if byte == b'/' {
            for volatile in ["/tmp/", "/var/tmp/"] {
                if self.text[self.at..].starts_with(volatile) {
                    return self.temporary(self.at + volatile.len());
                }
            }
        }
        let rest = &self.text[self.at..];
        let mut run = rest.bytes().take_while(|same| *same == byte).count();
        if byte == b'<' && rest[run - 1..].starts_with(PLACEHOLDER) {
            run -= 1;
        }
        // A rule or bar: its length says how far something is, or how wide a terminal.
        let from = self.at;
        self.keep(from + run.min(3));
        if run > 3 {
            self.flush();
            self.at = from + run;
            self.pending = self.at..self.at;
        }
    }

    /// What lies right in a folder for temporary files has a name made up for it.
    fn temporary(&mut self, from: usize) {
        let length = self.bytes[from..]
            .iter()
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'~')
            })
            .count();
        let name = &self.bytes[from..from + length];
        let length = length - name.iter().rev().take_while(|byte| **byte == b'.').count();
        self.keep(from);
        if length > 0 {
            self.replace(from + length);
        }
    }

    /// A character beyond ASCII at `at`.
    fn foreign(&mut self) {
        let Some(first) = self.text[self.at..].chars().next() else { return };
        let end = self.at + first.len_utf8();
        if is_drawn(first) {
            let drawn = self.text[self.at..].chars().take_while(|next| is_drawn(*next));
            let end = self.at + drawn.map(char::len_utf8).sum::<usize>();
            self.write(end, "\u{2501}");
        } else {
            self.keep(end);
        }
    }
}

/// What bars, spinners and trees are drawn with.
fn is_drawn(character: char) -> bool {
    matches!(character, '\u{2500}'..='\u{259f}' | '\u{2800}'..='\u{28ff}')
}

/// Whether letters and digits that start with a letter were made up by a machine: hexadecimal with both, or
/// changing between letters, digits and capitals too often for a name.
fn looks_random(run: &[u8]) -> bool {
    if run.len() < 6 {
        return false;
    }
    if run.len() >= 7 && run.iter().all(u8::is_ascii_hexdigit) {
        return true;
    }
    let (mut between_digits, mut humps) = (0, 0);
    for pair in run.windows(2) {
        if pair[0].is_ascii_digit() != pair[1].is_ascii_digit() {
            between_digits += 1;
        } else if pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase() {
            humps += 1;
        }
    }
    // `libssl3t64` is a name: made up names seldom start with four letters.
    let named = run.iter().take(4).all(u8::is_ascii_alphabetic);
    between_digits >= if named { 5 } else { 3 }
        || (between_digits > 0 && between_digits + humps >= if named { 6 } else { 4 })
}

#[cfg(test)]
mod tests;
