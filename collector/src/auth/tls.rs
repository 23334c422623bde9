//! What is spoken on the listener: TLS 1.3, with a certificate of the console's own where there is one.
//!
//! Who shows no certificate is a stranger until a token says otherwise. Who shows one must hold its key, and it must be of this
//! collector's authority; whether it still counts is the guard's to say, request by request. A certificate that has ended is
//! let through the handshake: a console that was switched off for weeks renews it and goes on.

use super::authority::{Authority, serial_text};
use super::public::PROOF_PROTOCOL;
use deckport_protocol::{ConsoleId, Pin};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

/// The certificate that a console showed, with a key that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleCertificate {
    pub console_id: ConsoleId,
    /// In hexadecimal.
    pub serial: String,
    pub key: Pin,
    /// Microseconds since the Unix epoch.
    pub ends_at: i64,
}

impl ConsoleCertificate {
    /// Reads a certificate that the handshake has verified.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
        Some(Self {
            console_id: name.parse().ok()?,
            serial: serial_text(parsed.raw_serial()),
            key: Pin::of_key(parsed.public_key().raw),
            ends_at: parsed.validity().not_after.timestamp().saturating_mul(1_000_000),
        })
    }
}

/// The settings of the listener.
pub fn server(authority: &Arc<Authority>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(Consoles(verifier)))
        .with_cert_resolver(Arc::clone(authority) as _);
    // The second is for public authorities that look whether a name leads here; who asks for it is shown nothing unless one is expected.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), PROOF_PROTOCOL.to_vec()];
    // A resumed session would not show the console's certificate again.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Verifies consoles' certificates by the authority, whatever the date.
#[derive(Debug)]
struct Consoles(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Consoles {
    /// None: which authorities are known here is nobody else's business.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let bad = || rustls::Error::from(rustls::CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(end_entity).map_err(|_| bad())?;
        let dates = parsed.validity();
        let seconds = |at: x509_parser::time::ASN1Time| u64::try_from(at.timestamp());
        let begins = seconds(dates.not_before).map_err(|_| bad())?;
        let ends = seconds(dates.not_after).map_err(|_| bad())?;
        // Also one that was made before the collector's clock was set back.
        let at = now.as_secs().max(begins).min(ends);
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        self.0.verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
