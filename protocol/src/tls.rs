//! The TLS of a client that knows its collector by a pin.
//!
//! What must hold: TLS 1.3 only; the server proves that it holds the pinned key before anything but the greeting is sent. Names
//! and dates of its certificate do not matter, as they do not to `curl -k --pinnedpubkey`: a console with a dead clock must
//! reach its collector, and the collector is its own authority.

use crate::pin::Pin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use std::sync::Arc;

pub use rustls;

/// The server has another key than the one that is expected of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the collector at this address has another key ({found}) than the one that is expected ({}): either its data directory \
     was made anew, or something else answers in its place; nothing was sent to it",
    expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
)]
pub struct WrongPin {
    pub expected: Vec<Pin>,
    pub found: Pin,
}

/// By what a client shows who it is: its certificates, its own first, and its key.
#[derive(Debug)]
pub struct Identity {
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// The pin of a certificate.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Result<Pin, webpki::Error> {
    let certificate = webpki::EndEntityCert::try_from(certificate)?;
    Ok(Pin::of_key(&certificate.subject_public_key_info()))
}

/// A client that talks to the holder of one of these keys.
pub fn client(pins: &[Pin], identity: Option<Identity>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = builder(provider)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { pins: pins.to_vec(), algorithms }));
    let mut config = match identity {
        Some(Identity { certificates, key }) => config.with_client_auth_cert(certificates, key)?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would not look at the key again.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])
}

/// What is wrong with the server's key, if that is why a connection failed.
pub fn wrong_pin(error: &std::io::Error) -> Option<&WrongPin> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::Other(OtherError(other)) => other.downcast_ref(),
        _ => None,
    }
}

#[derive(Debug)]
struct Pinned {
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = pin_of(end_entity).map_err(|_| rustls::CertificateError::BadEncoding)?;
        if self.pins.contains(&found) {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongPin { expected: self.pins.clone(), found };
        Err(rustls::Error::Other(OtherError(Arc::new(wrong))))
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
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
