//! The key that signs how far the trail is, and what is signed.

use super::OpenAuditError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deckport_protocol::Pin;
use deckport_protocol::console::Checkpoint;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use rustls::pki_types::alg_id;
use std::path::Path;

/// A hash in the chain.
pub(super) type Hash = [u8; 32];

/// In front of the first entry.
pub(super) const NOTHING: Hash = [0; 32];

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// What a checkpoint's signature is over.
fn message(position: u64, hash: &Hash, at: i64) -> Vec<u8> {
    let mut message = b"deckport-audit-checkpoint-1\n".to_vec();
    message.extend_from_slice(&position.to_le_bytes());
    message.extend_from_slice(hash);
    message.extend_from_slice(&at.to_le_bytes());
    message
}

/// The collector's own key for its trail.
pub(super) struct Key {
    pair: KeyPair,
    public: PublicKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.public.pin).finish()
    }
}

impl Key {
    /// Where it stands in a data directory.
    pub(super) fn path(data_dir: &Path) -> std::path::PathBuf {
        data_dir.join("tls").join("audit.key")
    }

    /// Reads the key, or makes it.
    pub(super) fn open(data_dir: &Path) -> Result<Self, OpenAuditError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = Self::path(data_dir);
        let failed = |source| OpenAuditError::File { path: path.clone(), source };
        let pair = match std::fs::read_to_string(&path) {
            Ok(pem) => KeyPair::from_pem(&pem)
                .ok()
                .filter(|pair| pair.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256))
                .ok_or_else(|| OpenAuditError::Unreadable { path: path.clone() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pair = KeyPair::generate().map_err(OpenAuditError::Make)?;
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(data_dir.join("tls"))
                    .map_err(failed)?;
                crate::store::put_private(&path, &pair.serialize_pem()).map_err(failed)?;
                pair
            }
            Err(error) => return Err(failed(error)),
        };
        let public = PublicKey::of(&pair.subject_public_key_info())
            .ok_or(OpenAuditError::Unreadable { path })?;
        Ok(Self { pair, public })
    }

    pub(super) const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs that the entry at `position` has this hash.
    pub(super) fn sign(
        &self,
        position: u64,
        hash: &Hash,
        at: i64,
    ) -> Result<Checkpoint, rcgen::Error> {
        let signature = self.pair.sign(&message(position, hash, at))?;
        Ok(Checkpoint {
            position,
            hash: hex(hash),
            at,
            signature: STANDARD.encode(signature),
            key: self.public.pin,
        })
    }
}

/// The other half of a [`Key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// DER, `SubjectPublicKeyInfo`.
    spki: Vec<u8>,
    point: Vec<u8>,
    pub(super) pin: Pin,
}

impl PublicKey {
    fn of(spki: &[u8]) -> Option<Self> {
        use x509_parser::prelude::FromDer as _;
        let (_, parsed) = x509_parser::x509::SubjectPublicKeyInfo::from_der(spki).ok()?;
        let point = parsed.subject_public_key.data.to_vec();
        Some(Self { spki: spki.to_vec(), point, pin: Pin::of_key(spki) })
    }

    /// That of the key in a data directory.
    pub(super) fn beside(data_dir: &Path) -> Option<Self> {
        let pem = std::fs::read_to_string(Key::path(data_dir)).ok()?;
        Self::of(&KeyPair::from_pem(&pem).ok()?.subject_public_key_info())
    }

    /// As it stands in an entry.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::of(&STANDARD.decode(text).ok()?)
    }

    pub(super) fn text(&self) -> String {
        STANDARD.encode(&self.spki)
    }

    /// Whether the checkpoint is signed by this key.
    pub(super) fn signed(&self, checkpoint: &Checkpoint) -> bool {
        let (Some(hash), Ok(signature)) =
            (unhex(&checkpoint.hash), STANDARD.decode(&checkpoint.signature))
        else {
            return false;
        };
        let provider = rustls::crypto::ring::default_provider();
        let algorithm = provider.signature_verification_algorithms.all.iter().find(|algorithm| {
            algorithm.public_key_alg_id() == alg_id::ECDSA_P256
                && algorithm.signature_alg_id() == alg_id::ECDSA_SHA256
        });
        let message = message(checkpoint.position, &hash, checkpoint.at);
        algorithm.is_some_and(|algorithm| {
            algorithm.verify_signature(&self.point, &message, &signature).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_signed_by_the_key_and_by_no_other() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (key, foreign) = (Key::open(one.path()).unwrap(), Key::open(other.path()).unwrap());
        let checkpoint = key.sign(7, &[3; 32], 9).unwrap();
        assert!(key.public().signed(&checkpoint));
        assert!(!foreign.public().signed(&checkpoint));
        let kept = PublicKey::parse(&key.public().text()).unwrap();
        assert!(kept.signed(&checkpoint) && kept == *key.public());
        assert_eq!(PublicKey::beside(one.path()).unwrap(), kept);
        assert_eq!(Key::open(one.path()).unwrap().public().pin, kept.pin, "it is made once");
        for changed in [
            Checkpoint { position: 8, ..checkpoint.clone() },
            Checkpoint { at: 10, ..checkpoint.clone() },
            Checkpoint { hash: hex(&[4; 32]), ..checkpoint.clone() },
            Checkpoint { hash: "é".repeat(32), ..checkpoint.clone() },
            Checkpoint { signature: "AAAA".to_owned(), ..checkpoint },
        ] {
            assert!(!kept.signed(&changed), "{changed:?}");
        }
    }
}
