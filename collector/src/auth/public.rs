//! What a public authority says of the collector's key, and what is shown to it while it looks.
//!
//! The key is the one that clients pin, so whoever holds a pin sees no difference. The public chain is shown to those who ask for one
//! of its names; everybody else sees the certificate of the collector's own authority. An authority that looks (TLS-ALPN-01, RFC 8737)
//! asks for the protocol `acme-tls/1` and nothing else, and sees a certificate that is made for this one look.

use deckport_protocol::Pin;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SigningKey};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use x509_parser::extensions::GeneralName;

/// The protocol by which an authority looks.
pub const PROOF_PROTOCOL: &[u8] = b"acme-tls/1";

/// Why a chain is not shown.
#[derive(Debug, thiserror::Error)]
pub enum PublicError {
    #[error("it is no chain of certificates in PEM")]
    Unreadable,
    #[error("it is for another key than the collector's")]
    AnotherKey,
    #[error("it has ended")]
    Ended,
    #[error("the proof could not be made: {0}")]
    Proof(#[from] rcgen::Error),
    #[error("the proof cannot be shown: {0}")]
    Use(#[from] rustls::Error),
}

/// A chain of a public authority's.
#[derive(Clone, Debug)]
pub struct Public {
    key: Arc<CertifiedKey>,
    /// In lower case.
    pub names: Vec<String>,
    /// Seconds since the Unix epoch.
    pub begins_at: i64,
    pub ends_at: i64,
}

impl Public {
    /// Reads a chain that is for the key `signing`, whose pin is `pin`.
    pub(super) fn read(
        pem: &str,
        pin: Pin,
        signing: Arc<dyn SigningKey>,
        now_s: i64,
    ) -> Result<Self, PublicError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| PublicError::Unreadable)?;
        let first = chain.first().ok_or(PublicError::Unreadable)?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(first).map_err(|_| PublicError::Unreadable)?;
        if Pin::of_key(parsed.public_key().raw) != pin {
            return Err(PublicError::AnotherKey);
        }
        let dates = parsed.validity();
        let (begins_at, ends_at) = (dates.not_before.timestamp(), dates.not_after.timestamp());
        if ends_at <= now_s {
            return Err(PublicError::Ended);
        }
        let alternatives =
            parsed.subject_alternative_name().map_err(|_| PublicError::Unreadable)?;
        let names = alternatives.map(|found| found.value.general_names.as_slice());
        let names = names.unwrap_or_default().iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        });
        let names = names.collect();
        Ok(Self { names, begins_at, ends_at, key: Arc::new(CertifiedKey::new(chain, signing)) })
    }

    /// Whether it is good for all of these.
    pub fn covers(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.is_for(name))
    }

    fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// What is shown under which name, beside the certificate of the collector's own authority.
#[derive(Debug, Default)]
pub(super) struct Named {
    public: RwLock<Option<Public>>,
    proofs: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

/// What somebody who connects is to see.
pub(super) enum Sight {
    /// This, or nothing at all.
    Only(Option<Arc<CertifiedKey>>),
    Usual,
}

impl Named {
    pub(super) fn public(&self) -> Option<Public> {
        self.public.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn show(&self, public: Option<Public>) {
        *self.public.write().unwrap_or_else(PoisonError::into_inner) = public;
    }

    /// What is shown to somebody who says this.
    pub(super) fn sight(&self, hello: &ClientHello<'_>) -> Sight {
        let name = hello.server_name();
        let mut asked = hello.alpn().into_iter().flatten();
        if asked.next() == Some(PROOF_PROTOCOL) && asked.next().is_none() {
            let proofs = self.proofs.read().unwrap_or_else(PoisonError::into_inner);
            let proof = name.and_then(|name| proofs.get(&name.to_lowercase()));
            return Sight::Only(proof.cloned());
        }
        let public = self.public.read().unwrap_or_else(PoisonError::into_inner);
        let public = public.as_ref().zip(name).filter(|(public, name)| public.is_for(name));
        public.map_or(Sight::Usual, |(public, _)| Sight::Only(Some(Arc::clone(&public.key))))
    }

    /// Shows a proof for a name until it is dropped. `digest`: of the key authorization.
    pub(super) fn prove(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Proof, PublicError> {
        let name = name.to_lowercase();
        let mut params = CertificateParams::new(vec![name.clone()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let private = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|_| PublicError::Proof(rcgen::Error::CouldNotParseKeyPair))?;
        let signing = rustls::crypto::ring::sign::any_supported_type(&private)?;
        let shown = Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing));
        let mut proofs = self.proofs.write().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(name.clone(), shown);
        Ok(Proof { named: Arc::clone(self), name })
    }
}

/// See [`Named::prove`].
#[derive(Debug)]
pub struct Proof {
    named: Arc<Named>,
    name: String,
}

impl Drop for Proof {
    fn drop(&mut self) {
        let mut proofs = self.named.proofs.write().unwrap_or_else(PoisonError::into_inner);
        proofs.remove(&self.name);
    }
}
