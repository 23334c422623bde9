//! Passwords and second factors.
//!
//! Hashing a password takes tens of milliseconds and 19 MiB on purpose; it is done on a thread of its own, and only so many at
//! once, so that somebody who guesses does not keep the collector from its work.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use std::sync::Arc;
use tokio::sync::Semaphore;
use totp_rs::{Builder, Secret, Totp};

/// Passwords that are hashed at once.
const AT_ONCE: usize = 2;
/// Characters of a password.
pub const SHORTEST: usize = 10;
pub const LONGEST: usize = 200;
/// Of a second factor.
const SECRET_BYTES: usize = 20;

/// Hashes and compares passwords, a few at a time.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Compared with where there is no such login: it takes as long.
    nobodys: Arc<str>,
}

impl Passwords {
    /// None where the system gives no random bytes.
    pub fn new() -> Option<Self> {
        let nobodys = hash(&super::random_token()?)?;
        Some(Self { turns: Arc::new(Semaphore::new(AT_ONCE)), nobodys: nobodys.into() })
    }

    /// A PHC string of a password; none where the system gives no random bytes.
    pub async fn hash(&self, password: &str) -> Option<String> {
        let _turn = self.turns.acquire().await.ok()?;
        let password = password.to_owned();
        tokio::task::spawn_blocking(move || hash(&password)).await.ok()?
    }

    /// Whether a password is the one whose hash is known. `known` is none where there is no such login.
    pub async fn is(&self, password: &str, known: Option<&str>) -> bool {
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let hash = known.unwrap_or(&self.nobodys).to_owned();
        let password = password.to_owned();
        let verified = tokio::task::spawn_blocking(move || {
            let Ok(hash) = PasswordHash::new(&hash) else { return false };
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
        });
        verified.await.unwrap_or(false) && known.is_some()
    }
}

fn hash(password: &str) -> Option<String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).ok()?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).ok()?;
    Some(hash.to_string())
}

/// What is wrong with a password as a new one, if anything.
pub fn unfit(password: &str, login: &str) -> Option<String> {
    let length = password.chars().count();
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Some(format!("a password has {SHORTEST} to {LONGEST} characters"));
    }
    let lower = password.to_lowercase();
    if !login.is_empty() && lower.contains(&login.to_lowercase()) {
        return Some("a password does not hold the login".to_owned());
    }
    let mut distinct: Vec<char> = lower.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    (distinct.len() < 5).then(|| "a password has at least five different characters".to_owned())
}

/// A new second factor, in base 32.
pub fn new_secret() -> Option<String> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(Secret::from(bytes).to_base32())
}

/// The address that authenticator apps take, mostly as a QR code.
pub fn otpauth(secret: &str, login: &str, venue: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (login, venue) = (encoded(login), encoded(&format!("Deckport {venue}")));
    format!(
        "otpauth://totp/{venue}:{login}?secret={secret}&issuer={venue}&algorithm=SHA1&digits=6&period=30"
    )
}

/// The step that a code is of, if it is one of now; a step is accepted once.
pub fn totp_step(secret: &str, code: &str, now_us: i64) -> Option<i64> {
    let totp = totp(secret)?;
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let step = totp.check(&code, u64::try_from(now_us / 1_000_000).ok()?)?;
    i64::try_from(step).ok()
}

fn totp(secret: &str) -> Option<Totp> {
    Builder::new().with_secret(Secret::try_from_base32(secret).ok()?).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passwords_are_known_again_and_others_are_not() {
        let passwords = Passwords::new().unwrap();
        let known = passwords.hash("correct horse").await.unwrap();
        assert!(known.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{known}");
        assert_ne!(passwords.hash("correct horse").await.unwrap(), known);
        assert!(passwords.is("correct horse", Some(&known)).await);
        assert!(!passwords.is("correct horsf", Some(&known)).await);
        assert!(!passwords.is("correct horse", None).await);
        assert!(!passwords.is("correct horse", Some("rubbish")).await);
    }

    #[test]
    fn unfit_passwords_are_told() {
        for (password, fits) in [
            ("short", false),
            ("aaaaaaaaaaaa", false),
            ("ada-is-great-1", false),
            ("three blind mice", true),
        ] {
            assert_eq!(unfit(password, "Ada").is_none(), fits, "{password}");
        }
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // The RFC's own secret and times, the last six digits of its eight.
        let secret = Secret::from(*b"12345678901234567890").to_base32();
        for (seconds, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")]
        {
            let now = seconds * 1_000_000;
            assert_eq!(totp_step(&secret, code, now), Some(seconds / 30));
            assert_eq!(
                totp_step(&secret, &format!("{} {}", &code[..3], &code[3..]), now),
                Some(seconds / 30)
            );
            assert_eq!(totp_step(&secret, code, now + 90_000_000), None);
        }
        assert_eq!(totp_step(&secret, "abc", 0), None);
        assert!(
            otpauth(&secret, "a b", "Hall")
                .starts_with("otpauth://totp/Deckport%20Hall:a%20b?secret=GEZD")
        );
    }
}
