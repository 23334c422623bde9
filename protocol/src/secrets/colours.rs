//! Takes out of a stream what only changes how text looks.
//!
//! `grep --color` writes a sequence into the middle of a token; a search over the bytes as they are finds neither part. So the search looks at
//! the text without such sequences, and knows where one stood. They are
//!
//! * control sequences: `ESC [`, parameters, a letter. Colours, mostly; the cursor's movements are written the same way;
//! * a choice of characters, `ESC ( B`, and the shift behind a sequence: `tput sgr0` writes them beside the end of a colour.
//!
//! All other escapes stay text: the address of a link, or a title, may hold a secret.
//!
//! The result does not depend on how the stream was cut. What is not over at the end of a read waits; it is text if it is not over within
//! [`LONGEST`] bytes. At one place stand [`TOGETHER`] sequences at most and a further one is text, so that what waits for text to be
//! decided is bounded.

use std::borrow::Cow;

/// A longer sequence is text.
const LONGEST: usize = 32;
/// So many may stand at one place.
const TOGETHER: u8 = 16;
const ESCAPE: u8 = 0x1b;
/// Back to the usual characters: what the Linux console's `tput sgr0` ends with.
const SHIFT_IN: u8 = 0x0f;

/// One sequence that was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Colour {
    bytes: [u8; LONGEST],
    length: u8,
}

/// What a byte is for a sequence that is not over.
enum Next {
    GoesOn,
    Ends,
    IsNoPart,
}

impl Colour {
    /// The bytes as they were printed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.length)] = byte;
        self.length += 1;
    }

    fn next(&self, byte: u8) -> Next {
        match (self.bytes(), byte) {
            ([_], b'[' | b'(' | b')') => Next::GoesOn,
            ([_, b'(' | b')'], b'0' | b'A' | b'B') => Next::Ends,
            ([_, b'[', ..], 0x40..=0x7e) => Next::Ends,
            ([_, b'[', ..], _) if self.bytes().len() + 1 == LONGEST => Next::IsNoPart,
            ([_, b'[', ..], 0x20..=0x2f) => Next::GoesOn,
            // Parameters stand before all else.
            ([_, b'[', .., 0x20..=0x2f], _) => Next::IsNoPart,
            ([_, b'[', ..], 0x30..=0x3f) => Next::GoesOn,
            _ => Next::IsNoPart,
        }
    }
}

/// Takes the sequences out of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Splitter {
    /// The beginning of a sequence that is not over.
    open: Colour,
    /// How many stand where the text has come to.
    here: u8,
}

impl Splitter {
    /// The text in `bytes`, mostly as it is and else in `text`. `found` is told of each sequence, and how much of the text stands before it.
    /// With `over` no more comes.
    pub(super) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        over: bool,
        text: &'a mut Vec<u8>,
        mut found: impl FnMut(usize, Colour),
    ) -> &'a [u8] {
        let shift = self.here > 0 && bytes.first() == Some(&SHIFT_IN);
        if self.open.length == 0 && !shift && memchr::memchr(ESCAPE, bytes).is_none() {
            if over || !bytes.is_empty() {
                self.here = 0;
            }
            return bytes;
        }
        text.clear();
        let mut rest = bytes;
        // Each turn takes a byte of a sequence or a stretch of text, or ends a sequence that turned out to be none.
        while let Some((&byte, behind)) = rest.split_first() {
            if self.open.length > 0 {
                match self.open.next(byte) {
                    Next::GoesOn => self.open.push(byte),
                    Next::Ends => {
                        self.open.push(byte);
                        self.end(text, &mut found);
                    }
                    Next::IsNoPart => {
                        self.give_up(text);
                        continue;
                    }
                }
                rest = behind;
            } else if byte == ESCAPE || byte == SHIFT_IN && self.here > 0 {
                self.open.push(byte);
                if byte == SHIFT_IN {
                    self.end(text, &mut found);
                }
                rest = behind;
            } else {
                let until = memchr::memchr(ESCAPE, rest).unwrap_or(rest.len());
                text.extend_from_slice(&rest[..until]);
                self.here = 0;
                rest = &rest[until..];
            }
        }
        if over {
            self.give_up(text);
        }
        text
    }

    /// Whether the beginning of a sequence waits for its end.
    pub(super) const fn holds(&self) -> bool {
        self.open.length > 0
    }

    fn end(&mut self, text: &mut Vec<u8>, found: &mut impl FnMut(usize, Colour)) {
        if self.here == TOGETHER {
            self.give_up(text);
        } else {
            self.here += 1;
            found(text.len(), std::mem::take(&mut self.open));
        }
    }

    /// What was taken for a sequence is text.
    fn give_up(&mut self, text: &mut Vec<u8>) {
        text.extend_from_slice(std::mem::take(&mut self.open).bytes());
        self.here = 0;
    }
}

/// A whole text without its colours; and these, each with how much of the text stands before it.
pub fn split(whole: &[u8]) -> (Cow<'_, [u8]>, Vec<(usize, Colour)>) {
    if memchr::memchr(ESCAPE, whole).is_none() {
        return (Cow::Borrowed(whole), Vec::new());
    }
    let (mut text, mut colours) = (Vec::new(), Vec::new());
    Splitter::default().take(whole, true, &mut text, |at, colour| colours.push((at, colour)));
    (Cow::Owned(text), colours)
}

/// Where in a text colours stood.
///
/// A colour before the first byte that has not come yet may be followed by more text or by the end: rules ask only about places that
/// have a byte behind them, or what they say would depend on how the stream was cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Seams(Vec<usize>);

impl Seams {
    /// `at` lies at the last one or behind it.
    pub(super) fn add(&mut self, at: usize) {
        if self.0.last() != Some(&at) {
            self.0.push(at);
        }
    }

    /// Whether one is directly before the byte at `at`.
    pub(super) fn before(&self, at: usize) -> bool {
        self.0.binary_search(&at).is_ok()
    }

    /// Those between `from` and `until`, without both.
    pub(super) fn between(&self, from: usize, until: usize) -> impl Iterator<Item = usize> + '_ {
        let first = self.0.partition_point(|&at| at <= from);
        self.0[first..].iter().copied().take_while(move |&at| at < until)
    }

    /// The text before `from` is gone.
    pub(super) fn forget(&mut self, from: usize) {
        let gone = self.0.partition_point(|&at| at <= from);
        self.0.drain(..gone);
        for at in &mut self.0 {
            *at -= from;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Parts = (Vec<u8>, Vec<(usize, Vec<u8>)>);

    fn taken<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Parts {
        let (mut splitter, mut text, mut colours) = (Splitter::default(), Vec::new(), Vec::new());
        let mut buffer = Vec::new();
        let mut take = |piece: &[u8], over| {
            let before = text.len();
            let part = splitter.take(piece, over, &mut buffer, |at, colour| {
                colours.push((before + at, colour.bytes().to_vec()));
            });
            text.extend_from_slice(part);
        };
        for piece in pieces {
            take(piece, false);
        }
        take(b"", true);
        (text, colours)
    }

    fn text(whole: &str) -> String {
        String::from_utf8(taken([whole.as_bytes()]).0).unwrap()
    }

    #[test]
    fn what_is_a_colour() {
        assert_eq!(
            text("a\x1b[0mb\x1b[01;31m\x1b[Kc\x1b[?25ld\x1b[38:2::1:2:3me\x1b[ qf"),
            "abcdef"
        );
        assert_eq!(text("a\x1b(B\x1b[mb\x1b[m\x0fc\x0fd"), "abc\x0fd");
        // A link's address and a title are text, and so is what is broken, cut off or too long.
        for same in [
            "\x1b]8;;https://a.example/\x1b\\word",
            "\x1b]0;title\x07",
            "\x1b[31\n",
            "a\x1b",
            "a\x1b[3",
            "\x1b[ 0m",
            "\x1bM",
            "\x1b(x",
        ] {
            assert_eq!(text(same), same);
        }
        assert_eq!(text("\x1b\x1b[3\x1b[0m"), "\x1b\x1b[3");
        let of = |length: usize| format!("\x1b[{}m", "1".repeat(length - 3));
        assert_eq!(text(&of(LONGEST)), "");
        assert_eq!(text(&of(LONGEST + 1)), of(LONGEST + 1));
    }

    #[test]
    fn many_at_one_place_are_bounded() {
        let (text, colours) = taken(["\x1b[m".repeat(40).as_bytes()]);
        assert_eq!((text.len(), colours.len()), (2 * 3, 38));
    }

    #[test]
    fn places() {
        let mut seams = Seams::default();
        for at in [2, 2, 5, 9] {
            seams.add(at);
        }
        assert!(seams.before(2) && !seams.before(3));
        assert_eq!(seams.between(2, 9).collect::<Vec<_>>(), [5]);
        seams.forget(2);
        assert_eq!(seams.between(0, 100).collect::<Vec<_>>(), [3, 7]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]
        #[test]
        fn cuts_do_not_matter(parts in prop::collection::vec(prop_oneof![
            Just("\x1b"), Just("\x1b["), Just("["), Just("0"), Just(";"), Just("m"), Just(" "), Just("\x0f"), Just("\x1b(B"), Just("\x1b[0m"),
            Just("\n"), Just("1111111111111111111"), Just("\x1b[m\x1b[m\x1b[m\x1b[m\x1b[m\x1b[m\x1b[m\x1b[m\x1b[m"),
        ], 0..14), size in 1usize..6) {
            let whole = parts.concat();
            let at_once = taken([whole.as_bytes()]);
            prop_assert_eq!(&taken(whole.as_bytes().chunks(size)), &at_once);
            let (text, colours) = split(whole.as_bytes());
            prop_assert_eq!(&text[..], &at_once.0[..]);
            // Put back at their places they are what came.
            let mut back = Vec::new();
            let mut from = 0;
            for (at, colour) in colours {
                back.extend_from_slice(&text[from..at]);
                back.extend_from_slice(colour.bytes());
                from = at;
            }
            back.extend_from_slice(&text[from..]);
            prop_assert_eq!(back, whole.into_bytes());
        }
    }
}
