//! Codes to join with: what an operator hands to a console that is not enrolled yet.
//!
//! A code is twelve letters and digits (60 bits), typed at the console or read there from a file. Only its hash is kept. It is
//! good for one console (or as many as was said), for a while, for one venue and one template.

use deckport_protocol::{ErrorCode, Refusal, Tenant};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

/// Crockford's base 32: no letter that is taken for a digit or another letter.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 12;

/// A code, as it is shown once and typed.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; LENGTH]);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = |at: usize| std::str::from_utf8(&self.0[at..at + 4]).unwrap_or_default();
        write!(f, "{}-{}-{}", group(0), group(4), group(8))
    }
}

impl Code {
    /// A new one; none where the system gives no random bytes.
    pub fn random() -> Option<Self> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(bytes.map(|byte| LETTERS[usize::from(byte % 32)])))
    }

    /// What somebody typed: small letters, spaces and hyphens do not matter, nor whether O is 0 and I or L is 1.
    pub fn typed(text: &str) -> Option<Self> {
        let mut code = Vec::with_capacity(LENGTH);
        for c in text.trim().bytes().filter(|c| !matches!(c, b'-' | b' ')) {
            let c = match c.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                c => c,
            };
            if code.len() == LENGTH || !LETTERS.contains(&c) {
                return None;
            }
            code.push(c);
        }
        code.try_into().ok().map(Self)
    }

    /// As it is kept.
    pub fn hash(&self) -> String {
        Sha256::digest(self.0).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A code that was given out. The code itself is not known any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    pub id: Uuid,
    pub tenant: Tenant,
    pub template: String,
    pub hash: String,
    pub uses: u64,
    pub most_uses: u64,
    pub created_at: i64,
    pub expires_at: i64,
    pub revoked_at: Option<i64>,
}

/// How a code stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinState {
    Open,
    Used,
    Expired,
    Revoked,
}

impl JoinToken {
    pub fn state(&self, now_us: i64) -> JoinState {
        if self.revoked_at.is_some() {
            JoinState::Revoked
        } else if self.uses >= self.most_uses {
            JoinState::Used
        } else if self.expires_at <= now_us {
            JoinState::Expired
        } else {
            JoinState::Open
        }
    }

    /// Whether a console may join with it now.
    pub fn check(&self, now_us: i64) -> Result<(), Refusal> {
        let text = match self.state(now_us) {
            JoinState::Open => return Ok(()),
            JoinState::Used => {
                "this code was used already; each is good for one console: make another under Add consoles"
            }
            JoinState::Expired => "this code has expired; make another under Add consoles",
            JoinState::Revoked => {
                "this code was taken back by an operator; make another under Add consoles"
            }
        };
        Err(Refusal::new(ErrorCode::CODE_REFUSED, text))
    }
}

/// What is said of a code that nobody gave out.
pub(super) fn unknown() -> Refusal {
    Refusal::new(
        ErrorCode::CODE_REFUSED,
        "no console may join with this code here: look whether it was typed as shown, and whether it is of this collector",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        let code = Code::random().unwrap();
        let shown = code.to_string();
        assert_eq!(shown.len(), 14);
        assert_eq!(Code::typed(&shown), Some(code.clone()));
        assert_eq!(
            Code::typed(&format!(" {} ", shown.to_lowercase().replace('-', " "))),
            Some(code)
        );
        assert_eq!(Code::typed("ol1i-0000-0000"), Code::typed("0111-0000-0000"));
        for text in ["", "1234", "1234-5678-9ABCD", "1234-5678-9AB!", "UUUU-UUUU-UUUU"] {
            assert_eq!(Code::typed(text), None, "{text}");
        }
        assert_ne!(Code::random(), Code::random());
    }
}
