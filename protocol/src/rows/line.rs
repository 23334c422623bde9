//! The line that is being put together: carriage-return collapse within a bound.
//!
//! A terminal that meets a carriage return writes over what it has; progress displays live on that.
//! What stays visible at the end of the line is, for all practical purposes, the last part that is
//! not blank. `ESC [ G`, `ESC [ 1 G` (cursor to the first column) and `ESC [ 2 K` (erase the line)
//! count as carriage returns, as npm and cargo use them.

/// Of each line, so many bytes are looked at to find its level and markup.
pub const CLASSIFIED_BYTES: usize = 1024;
/// Of each line, so many bytes are shown; a longer one is marked as truncated.
pub const RENDERED_BYTES: usize = 16 * 1024;

/// What a line shows so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    cap: usize,
    /// The part since the last carriage return.
    current: Part,
    /// The last part before that which was not blank.
    shown: Part,
}

#[derive(Clone, Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Part {
    fn clear(&mut self) {
        self.bytes.clear();
        self.truncated = false;
    }

    fn push(&mut self, bytes: &[u8], cap: usize) {
        let room = cap.saturating_sub(self.bytes.len());
        if bytes.len() > room {
            self.truncated = true;
        }
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Line {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, ..Self::default() }
    }

    /// Restores what [`Line::parts`] gave.
    pub(super) fn restore(cap: usize, current: &[u8], shown: &[u8]) -> Self {
        let mut line = Self::new(cap);
        line.current.push(current, cap);
        line.shown.push(shown, cap);
        line
    }

    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.current.bytes, &self.shown.bytes)
    }

    pub(super) fn clear(&mut self) {
        self.current.clear();
        self.shown.clear();
    }

    /// Adds bytes that hold no line feed.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr2(b'\r', 0x1b, rest) {
            let (before, from) = rest.split_at(at);
            self.current.push(before, self.cap);
            let returning = if from[0] == b'\r' { 1 } else { returning_escape(from) };
            if returning > 0 {
                self.carriage_return();
                rest = &from[returning..];
            } else {
                self.current.push(&from[..1], self.cap);
                rest = &from[1..];
            }
        }
        self.current.push(rest, self.cap);
    }

    fn carriage_return(&mut self) {
        if !is_blank(&self.current.bytes) {
            std::mem::swap(&mut self.current, &mut self.shown);
        }
        self.current.clear();
    }

    /// What the line shows, and whether that is only its head.
    pub(super) fn visible(&self) -> (&[u8], bool) {
        let part = if is_blank(&self.current.bytes) && !is_blank(&self.shown.bytes) {
            &self.shown
        } else {
            &self.current
        };
        (&part.bytes, part.truncated)
    }
}

/// The length of an escape sequence at the start of `bytes` that returns to the first column or
/// erases the line; 0 for any other.
fn returning_escape(bytes: &[u8]) -> usize {
    [b"\x1b[G".as_slice(), b"\x1b[1G", b"\x1b[0G", b"\x1b[2K"]
        .iter()
        .find(|sequence| bytes.starts_with(sequence))
        .map_or(0, |sequence| sequence.len())
}

/// Nothing that would be seen: white space and escape sequences only.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        match first {
            b' ' | b'\t' => rest = after,
            0x1b => rest = &rest[escape_length(rest)..],
            0..0x20 | 0x7f => rest = after,
            _ => return false,
        }
    }
    true
}

/// The length of the escape sequence that `bytes` begins with, at least 1: CSI, OSC or two bytes.
pub(super) fn escape_length(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'[') => bytes[2..]
            .iter()
            .position(|byte| (0x40..=0x7e).contains(byte))
            .map_or(bytes.len(), |at| at + 3),
        Some(b']' | b'P' | b'_' | b'^' | b'X') => bytes[2..]
            .iter()
            .position(|&byte| byte == 0x07 || byte == 0x1b)
            .map_or(bytes.len(), |at| {
                let end = at + 3;
                // String terminator ESC \ is two bytes.
                if bytes[end - 1] == 0x1b && bytes.get(end) == Some(&b'\\') { end + 1 } else { end }
            }),
        // ESC, intermediates, a final byte: `ESC ( B`, `ESC # 8`.
        Some(b' '..=b'/') => bytes[1..]
            .iter()
            .position(|byte| !(b' '..=b'/').contains(byte))
            .map_or(bytes.len(), |at| at + 2),
        Some(_) => 2,
        None => 1,
    }
}

/// `bytes` without escape sequences and control characters, appended to `out`.
pub(super) fn strip_into(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        match first {
            0x1b => rest = &rest[escape_length(rest).min(rest.len())..],
            b'\t' => {
                out.push(b' ');
                rest = after;
            }
            0..0x20 | 0x7f => rest = after,
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(bytes: &[u8]) -> String {
        let mut line = Line::new(64);
        line.push(bytes);
        String::from_utf8_lossy(line.visible().0).into_owned()
    }

    #[test]
    fn the_last_part_that_is_not_blank_is_shown() {
        assert_eq!(visible(b"plain"), "plain");
        assert_eq!(visible(b"plain\r"), "plain");
        assert_eq!(visible(b"  0%\r 50%\r100%\r"), "100%");
        assert_eq!(visible(b"Done\r\x1b[K"), "Done");
        assert_eq!(visible(b"one\x1b[2K\x1b[1Gtwo"), "two");
        assert_eq!(visible(b"\r\r\r"), "");
        assert_eq!(visible(b"\x1b[32mgreen\x1b[0m\r"), "\x1b[32mgreen\x1b[0m");
    }

    #[test]
    fn a_long_line_is_kept_to_its_head() {
        let mut line = Line::new(8);
        line.push(b"0123456789");
        line.push(b"abc");
        assert_eq!(line.visible(), (b"01234567".as_slice(), true));
        line.push(b"\rshort");
        assert_eq!(line.visible(), (b"short".as_slice(), false));
    }

    #[test]
    fn cut_off_escapes_do_not_panic() {
        for cut in [b"\x1b".as_slice(), b"\x1b[", b"\x1b[3", b"\x1b]0;title", b"\x1b(", b"\x1bP"] {
            assert!(is_blank(cut), "{cut:?}");
            let mut out = Vec::new();
            strip_into(cut, &mut out);
            assert!(out.is_empty(), "{cut:?}");
        }
    }
}
