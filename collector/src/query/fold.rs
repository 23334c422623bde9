//! Folding: the form of a row's text that filters are built from and that needed literals are stated in.

/// The Kelvin sign, which folds with `k`.
const KELVIN: &[u8] = "\u{212a}".as_bytes();
/// The long s, which folds with `s`.
const LONG_S: &[u8] = "\u{17f}".as_bytes();

/// Appends `text` to `out` with ASCII letters in lower case and the two characters outside ASCII that fold with one
/// (Kelvin sign, long s) as `k` and `s`. Every other byte stays. Folding a text piece by piece, cut between
/// characters, gives the same bytes as folding the whole.
pub fn fold_into(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(KELVIN[0], LONG_S[0], rest) {
        out.extend(rest[..at].iter().map(u8::to_ascii_lowercase));
        rest = &rest[at..];
        let (folded, length) = if rest.starts_with(KELVIN) {
            (b'k', KELVIN.len())
        } else if rest.starts_with(LONG_S) {
            (b's', LONG_S.len())
        } else {
            (rest[0], 1)
        };
        out.push(folded);
        rest = &rest[length..];
    }
    out.extend(rest.iter().map(u8::to_ascii_lowercase));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_fold_with_ascii_become_ascii_and_others_stay() {
        let mut out = Vec::new();
        fold_into("Dis\u{212a} ŠÄ ſET €5 DONE".as_bytes(), &mut out);
        assert_eq!(std::str::from_utf8(&out).unwrap(), "disk ŠÄ set €5 done");
    }
}
