//! Sorts of bytes.

/// Which bytes may stand in a secret, as a set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Class([u64; 4]);

impl std::fmt::Debug for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: Vec<u8> = (0..=255).filter(|&byte| self.has(byte)).collect();
        write!(f, "[{}]", bytes.escape_ascii())
    }
}

impl Class {
    pub(super) const fn has(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 == 1
    }

    /// Letters and digits, and what else is in `more`.
    const fn word(more: &[u8]) -> Self {
        let mut set = [0; 4];
        let mut byte = 0u8;
        while byte < 128 {
            if byte.is_ascii_alphanumeric() {
                set[(byte >> 6) as usize] |= 1 << (byte & 63);
            }
            byte += 1;
        }
        Self(set).and(more)
    }

    const fn and(mut self, more: &[u8]) -> Self {
        let mut index = 0;
        while index < more.len() {
            self.0[(more[index] >> 6) as usize] |= 1 << (more[index] & 63);
            index += 1;
        }
        self
    }

    /// Everything but white space, control characters and `less`.
    const fn visible(less: &[u8]) -> Self {
        let mut set = [u64::MAX; 4];
        set[0] &= !((1 << 33) - 1);
        set[1] &= !(1 << 63);
        let mut index = 0;
        while index < less.len() {
            set[(less[index] >> 6) as usize] &= !(1 << (less[index] & 63));
            index += 1;
        }
        Self(set)
    }

    /// The same with blanks.
    const fn with_blanks(self) -> Self {
        self.and(b" \t")
    }

    /// How many bytes at the beginning of `text` are of the class.
    pub(super) fn count(&self, text: &[u8]) -> usize {
        text.iter().position(|&byte| !self.has(byte)).unwrap_or(text.len())
    }
}

pub(super) const ALNUM: Class = Class::word(b"");
pub(super) const WORD: Class = Class::word(b"_");
pub(super) const URL: Class = Class::word(b"_-");
pub(super) const DASHED: Class = Class::word(b"-");
pub(super) const DOTTED: Class = Class::word(b"_-.");
pub(super) const BASE64: Class = Class::word(b"+/=_-");
pub(super) const PERCENT: Class = Class::word(b"%+/=_-");
/// RFC 6750, with what schemes of others use.
pub(super) const CREDENTIAL: Class = Class::word(b"._~+/=-:");
/// An unquoted value in a dump of the environment.
pub(super) const ENV: Class = Class::visible(b"\"'`");
/// An unquoted value among others.
pub(super) const VALUE: Class = Class::visible(b"\"'`\\,;&)}]<>");
pub(super) const DOUBLE_QUOTED: Class = Class::visible(b"\"\\").with_blanks();
pub(super) const SINGLE_QUOTED: Class = Class::visible(b"'\"\\").with_blanks();
pub(super) const ELEMENT: Class = Class::visible(b"<\"\\").with_blanks();
/// The password of a URL.
pub(super) const USERINFO: Class = Class::visible(b"@/?#\"'`<>\\|,");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_class() {
        assert!(URL.has(b'-') && URL.has(b'z') && URL.has(b'0') && !URL.has(b'.'));
        assert!(
            !ENV.has(b' ') && !ENV.has(b'\n') && !ENV.has(0x7f) && ENV.has(b'!') && ENV.has(0xc3)
        );
        assert!(DOUBLE_QUOTED.has(b' ') && !DOUBLE_QUOTED.has(b'"') && !DOUBLE_QUOTED.has(b'\r'));
        assert_eq!(ALNUM.count(b"abc_"), 3);
    }
}
