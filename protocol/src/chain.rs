//! The running hash by which both ends of a stream prove that they hold the same records.
//!
//! `head(0)` is 32 zero bytes. `head(n)` is the SHA-256 of
//!
//! ```text
//! head before (32) | seq (8) | last seq (8) | boot µs (8) | wall µs (8) | kind (1) | length (4) | data
//! ```
//!
//! with integers little-endian; `kind` is the record's byte of the columns encoding without its
//! annotation bit, `data` the output's bytes or the event's JSON as sent. It goes record by record, so
//! it does not depend on how records were batched. Annotations are hints and not covered.

use crate::columns::kind_byte;
use crate::record::RecordRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The head of the chain after some record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Chain([u8; 32]);

impl Chain {
    /// The head before the first record.
    pub const START: Self = Self([0; 32]);

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The head after `record`.
    #[must_use]
    pub fn extend(&self, record: &RecordRef<'_>) -> Self {
        let data = record.data();
        let mut head = [0u8; 69];
        head[..32].copy_from_slice(&self.0);
        head[32..40].copy_from_slice(&record.seq.to_le_bytes());
        head[40..48].copy_from_slice(&record.last_seq().to_le_bytes());
        head[48..56].copy_from_slice(&record.boot_us.to_le_bytes());
        head[56..64].copy_from_slice(&record.at_us.to_le_bytes());
        head[64] = kind_byte(record, false);
        head[65..69].copy_from_slice(&(data.len() as u32).to_le_bytes());
        let mut hasher = Sha256::new();
        hasher.update(head);
        hasher.update(data);
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({self})")
    }
}

/// A chain head that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chain head is 64 hexadecimal digits")]
pub struct ParseChainError;

impl FromStr for Chain {
    type Err = ParseChainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(ParseChainError);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16)
                .map_err(|_| ParseChainError)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Chain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Body, Output, Record};

    #[test]
    fn the_documented_example() {
        // docs/protocol.md prints this head, so that clients in other languages can check theirs.
        let record = Record {
            seq: 1,
            boot_us: 5_000_000,
            at_us: 1_760_000_000_000_000,
            body: Body::Output(Output { bytes: "Hello\r\n".into(), ..Output::default() }),
        };
        let head = Chain::START.extend(&record.borrow());
        insta::assert_snapshot!(head);
        assert_eq!(head.to_string().parse(), Ok(head));
    }

    #[test]
    fn senseless_heads_are_refused() {
        for text in ["", "zz", &"g".repeat(64), &"ä".repeat(32)] {
            assert_eq!(text.parse::<Chain>(), Err(ParseChainError), "{text}");
        }
    }
}
