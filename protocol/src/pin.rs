//! The pin: by what a client knows that it talks to the right collector.
//!
//! It is the SHA-256 of the public key in the collector's certificate (its DER `SubjectPublicKeyInfo`), in the form that
//! `curl --pinnedpubkey` takes: `sha256//` and 44 characters of base64. The key is kept when the certificate is renewed, so a
//! pin outlives certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "sha256//";
/// Crockford's base 32: no letter that is taken for a digit or another letter.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The hash of a collector's public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="))]
pub struct Pin([u8; 32]);

/// The text is no pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pin: it is written sha256// and 44 characters, the last of them `=`")]
pub struct PinError(String);

impl Pin {
    /// The pin of a public key, given as the DER of its `SubjectPublicKeyInfo`.
    pub fn of_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// Twelve letters and digits in three groups, for two people to compare: the first 60 bits.
    pub fn short(&self) -> String {
        let bits = self.0[..8].iter().fold(0u64, |bits, &byte| (bits << 8) | u64::from(byte)) >> 4;
        let letter = |at: u32| char::from(LETTERS[((bits >> (55 - 5 * at)) & 31) as usize]);
        (0..12).fold(String::new(), |mut text, at| {
            if at > 0 && at % 4 == 0 {
                text.push('-');
            }
            text.push(letter(at));
            text
        })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let hash = text.strip_prefix(PREFIX).and_then(|hash| STANDARD.decode(hash).ok());
        let hash = hash.and_then(|hash| hash.try_into().ok());
        hash.map(Self).ok_or_else(|| PinError(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Pin {
    type Error = PinError;

    fn try_from(text: String) -> Result<Self, PinError> {
        text.parse()
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_curl_takes_it() {
        let pin = Pin::of_key(b"");
        assert_eq!(pin.to_string(), "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(pin.short(), "WERC-8GMR-ZGE1");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "sha256//", "sha256//AAAA", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
        {
            assert_eq!(text.parse::<Pin>(), Err(PinError(text.to_owned())));
        }
    }
}
