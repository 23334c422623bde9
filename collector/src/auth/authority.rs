//! The collector's own certificate authority, and the certificate that it shows.
//!
//! ```text
//! DIR/tls/authority.key  authority.pem   made at the first start; signs what is below and consoles' certificates
//! DIR/tls/server.key     server.pem      the key is what clients pin: kept across renewals
//! DIR/tls/next.key                       the key after that; its pin is announced ahead
//! DIR/tls/acme/                          what a public authority knows us by, and gave us (see `acme`)
//! DIR/pin                                the server key's pin, for clients on this machine
//! ```
//!
//! What must hold: keys are readable by their owner only; the server's key changes only when somebody says so
//! ([`Authority::replace_key`]); a certificate is renewed long before it ends, without a connection noticing.

use super::public::{Named, Proof, Public, PublicError, Sight};
use crate::config::OwnCertificate;
use deckport_protocol::{ConsoleId, Pin};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use time::OffsetDateTime;

const DAY: i64 = 86_400;
const AUTHORITY_DAYS: i64 = 20 * 365;
/// How long the server's certificate is good, and how long before its end it is renewed.
const SERVER_DAYS: i64 = 90;
const RENEW_DAYS: i64 = 30;
/// Certificates begin a little in the past: clocks differ.
const SKEW: i64 = DAY;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{path} cannot be used")]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} is no key or certificate of this collector: put back the one from the backup, or remove the directory \
         `tls` beside it, which means that every console must be added anew"
    )]
    Unreadable { path: PathBuf },
    #[error("{path} is no certificate with its key: {why}")]
    Own { path: PathBuf, why: String },
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the certificate cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

/// Why a console's key was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("that is no request for a certificate: {0}")]
    Request(rcgen::Error),
    #[error("the certificate could not be made: {0}")]
    Make(rcgen::Error),
}

/// A console's certificate, just made.
#[derive(Clone, Debug)]
pub struct Signed {
    /// In hexadecimal.
    pub serial: String,
    pub pem: String,
    /// The pin of the console's key.
    pub key: Pin,
}

/// The authority and the certificate in use.
pub struct Authority {
    dir: PathBuf,
    names: Vec<String>,
    own: Option<OwnCertificate>,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    shown: RwLock<Shown>,
    next: RwLock<Pin>,
    named: Arc<Named>,
}

/// What connections see.
#[derive(Clone, Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    pin: Pin,
    /// Seconds since the Unix epoch.
    renew_at: i64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the authority in a data directory, or makes it. `names`: by which the collector is reached, beside those of the
    /// machine itself. `own`: a certificate to show instead of one of the authority's.
    pub fn open(
        data_dir: &Path,
        names: Vec<String>,
        own: Option<OwnCertificate>,
        now_s: i64,
    ) -> Result<Self, AuthorityError> {
        let dir = data_dir.join("tls");
        make_dir(&dir)?;
        let key = key_in(&dir.join("authority.key"))?;
        let path = dir.join("authority.pem");
        let pem = match read(&path)? {
            Some(pem) => pem,
            None => {
                let made = authority_params(now_s).self_signed(&key)?;
                write(&path, &made.pem())?;
                made.pem()
            }
        };
        let unreadable = || AuthorityError::Unreadable { path: path.clone() };
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| unreadable())?;
        let known = x509_parser::parse_x509_certificate(&certificate).map_err(|_| unreadable())?;
        if known.1.public_key().raw != key.subject_public_key_info() {
            return Err(unreadable());
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| unreadable())?;
        let next = Pin::of_key(&key_in(&dir.join("next.key"))?.subject_public_key_info());
        let shown = match &own {
            Some(own) => shown_own(own)?,
            None => shown(&dir, &issuer, &certificate, &names, now_s, false)?,
        };
        let (shown, next, named) = (shown.into(), next.into(), Arc::default());
        let opened = Self { dir, names, own, issuer, certificate, shown, next, named };
        opened.write_pin()?;
        Ok(opened)
    }

    /// By what clients know this collector.
    pub fn pin(&self) -> Pin {
        self.shown().pin
    }

    /// By what they will know it after [`Self::replace_key`]; a foreign certificate's next key is not known.
    pub fn next_pin(&self) -> Option<Pin> {
        let next = *self.next.read().unwrap_or_else(PoisonError::into_inner);
        self.own.is_none().then_some(next)
    }

    /// The authority's own certificate: the root of consoles' certificates.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Renews the certificate when it is time to, with the same key; reads a foreign one anew. Whether another one is shown now.
    pub fn renew(&self, now_s: i64) -> Result<bool, AuthorityError> {
        let shown = match &self.own {
            Some(own) => shown_own(own)?,
            None if self.shown().renew_at > now_s => return Ok(false),
            None => shown(&self.dir, &self.issuer, &self.certificate, &self.names, now_s, true)?,
        };
        let changed = shown.key.cert != self.shown().key.cert;
        self.show(shown)?;
        Ok(changed)
    }

    /// The announced key takes the place of the present one, and another is announced. Gives the new pin.
    pub fn replace_key(&self, now_s: i64) -> Result<Pin, AuthorityError> {
        let (next, key) = (self.dir.join("next.key"), self.dir.join("server.key"));
        let failed = |source| AuthorityError::File { path: next.clone(), source };
        std::fs::rename(&next, &key).map_err(failed)?;
        let announced = Pin::of_key(&key_in(&next)?.subject_public_key_info());
        self.show(shown(&self.dir, &self.issuer, &self.certificate, &self.names, now_s, true)?)?;
        // It speaks of the former key.
        self.hide_public();
        *self.next.write().unwrap_or_else(PoisonError::into_inner) = announced;
        Ok(self.pin())
    }

    /// A request (DER) to a public authority for a certificate of these names, for the key that clients pin.
    pub fn request(&self, names: &[String]) -> Result<Vec<u8>, AuthorityError> {
        let key = key_in(&self.dir.join("server.key"))?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&key)?.der().to_vec())
    }

    /// Shows a public authority's chain (PEM) to those who ask for one of its names.
    pub fn show_public(&self, pem: &str, now_s: i64) -> Result<Public, PublicError> {
        let shown = self.shown();
        let public = Public::read(pem, shown.pin, Arc::clone(&shown.key.key), now_s)?;
        self.named.show(Some(public.clone()));
        Ok(public)
    }

    /// From now on everybody sees the certificate of this authority.
    pub fn hide_public(&self) {
        self.named.show(None);
    }

    /// The public authority's chain that is shown.
    pub fn public(&self) -> Option<Public> {
        self.named.public()
    }

    /// Shows a public authority that looks that `name` leads here, until the proof is dropped.
    pub fn prove(&self, name: &str, digest: &[u8]) -> Result<Proof, PublicError> {
        self.named.prove(name, digest)
    }

    /// A certificate for a console's key. Of the request only the key counts, and that whoever sent it holds it.
    pub fn sign(
        &self,
        request_pem: &str,
        console: ConsoleId,
        from_s: i64,
        until_s: i64,
    ) -> Result<Signed, SignError> {
        let request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(SignError::Request)?;
        let key = Pin::of_key(&request.public_key.subject_public_key_info());
        let mut params = params(&console.to_string(), from_s - SKEW, until_s);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = uuid::Uuid::new_v4();
        params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
        let made = params.signed_by(&request.public_key, &self.issuer).map_err(SignError::Make)?;
        Ok(Signed { serial: serial_text(serial.as_bytes()), pem: made.pem(), key })
    }

    fn shown(&self) -> Shown {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, shown: Shown) -> Result<(), AuthorityError> {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
        self.write_pin()
    }

    fn write_pin(&self) -> Result<(), AuthorityError> {
        let path = self.dir.with_file_name("pin");
        let pin = format!("{}\n", self.pin());
        if read(&path)?.as_deref() == Some(&pin) { Ok(()) } else { write(&path, &pin) }
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.named.sight(&hello) {
            Sight::Only(key) => key,
            Sight::Usual => Some(self.shown().key),
        }
    }
}

/// A serial number as it is written, without leading zeros.
pub(super) fn serial_text(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.trim_start_matches('0').to_owned()
}

fn params(name: &str, from_s: i64, until_s: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Deckport");
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = moment(from_s);
    params.not_after = moment(until_s);
    params
}

fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn authority_params(now_s: i64) -> CertificateParams {
    let until = now_s + AUTHORITY_DAYS * DAY;
    let mut params = params("Deckport collector authority", now_s - SKEW, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The certificate of the authority's, made anew when there is none, when it ends soon or when `anew` says so.
fn shown(
    dir: &Path,
    issuer: &Issuer<'static, KeyPair>,
    authority: &CertificateDer<'static>,
    names: &[String],
    now_s: i64,
    anew: bool,
) -> Result<Shown, AuthorityError> {
    let path = dir.join("server.pem");
    let key = key_in(&dir.join("server.key"))?;
    let spki = key.subject_public_key_info();
    let usable = |pem: &String| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        let dates = parsed.validity();
        let ours = parsed.public_key().raw == spki && dates.not_before.timestamp() <= now_s;
        let renew_at = dates.not_after.timestamp() - RENEW_DAYS * DAY;
        (ours && renew_at > now_s).then_some((der, renew_at))
    };
    let known = if anew { None } else { read(&path)?.as_ref().and_then(usable) };
    let (der, renew_at) = match known {
        Some((der, renew_at)) => (der.into_owned(), renew_at),
        None => {
            let until = now_s + SERVER_DAYS * DAY;
            let mut params = params("Deckport collector", now_s - SKEW, until);
            params.subject_alt_names = alternatives(names);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            let made = params.signed_by(&key, issuer)?;
            write(&path, &made.pem())?;
            (made.der().clone(), until - RENEW_DAYS * DAY)
        }
    };
    let private = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|_| AuthorityError::Unreadable { path: dir.join("server.key") })?;
    let signing = rustls::crypto::ring::sign::any_supported_type(&private)?;
    let key = Arc::new(CertifiedKey::new(vec![der, authority.clone()], signing));
    Ok(Shown { key, pin: Pin::of_key(&spki), renew_at })
}

fn shown_own(own: &OwnCertificate) -> Result<Shown, AuthorityError> {
    let failed = |path: &Path, why: String| AuthorityError::Own { path: path.to_owned(), why };
    let chain = CertificateDer::pem_file_iter(&own.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&own.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&own.key)
        .map_err(|error| failed(&own.key, error.to_string()))?;
    let signing = rustls::crypto::ring::sign::any_supported_type(&key)?;
    let key = CertifiedKey::new(chain, signing);
    key.keys_match().map_err(|error| failed(&own.certificate, error.to_string()))?;
    let first = key.end_entity_cert()?;
    let pin = deckport_protocol::tls::pin_of(first)
        .map_err(|error| failed(&own.certificate, error.to_string()))?;
    Ok(Shown { key: Arc::new(key), pin, renew_at: i64::MAX })
}

fn alternatives(names: &[String]) -> Vec<SanType> {
    let all = ["localhost", "127.0.0.1", "::1"].into_iter().chain(names.iter().map(String::as_str));
    let alternative = |name: &str| match name.parse::<IpAddr>() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => name.try_into().ok().map(SanType::DnsName),
    };
    all.filter_map(alternative).collect()
}

/// The key in a file, made there when it is missing.
fn key_in(path: &Path) -> Result<KeyPair, AuthorityError> {
    match read(path)? {
        Some(pem) => KeyPair::from_pem(&pem)
            .map_err(|_| AuthorityError::Unreadable { path: path.to_owned() }),
        None => {
            let key = KeyPair::generate()?;
            write(path, &key.serialize_pem())?;
            Ok(key)
        }
    }
}

fn make_dir(path: &Path) -> Result<(), AuthorityError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = |source| AuthorityError::File { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { path: path.to_owned(), source }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), AuthorityError> {
    super::files::put(path, text)
        .map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: i64 = 1_795_000_000;

    fn open(dir: &Path, now_s: i64) -> Authority {
        Authority::open(dir, vec!["desk.venue.example".into()], None, now_s).unwrap()
    }

    #[test]
    fn its_keys_are_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let pin = open(dir.path(), NOW).pin();
        assert_eq!(open(dir.path(), NOW).pin(), pin);
        for name in ["authority.key", "server.key", "next.key"] {
            let mode = std::fs::metadata(dir.path().join("tls").join(name)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
        let said = std::fs::read_to_string(dir.path().join("pin")).unwrap();
        assert_eq!(said.trim().parse(), Ok(pin));
    }

    #[test]
    fn a_certificate_is_renewed_before_it_ends_and_keeps_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let authority = open(dir.path(), NOW);
        let shown = |authority: &Authority| authority.shown().key.cert[0].to_vec();
        let (first, pin) = (shown(&authority), authority.pin());
        authority.renew(NOW + 59 * DAY).unwrap();
        assert_eq!(shown(&authority), first);
        authority.renew(NOW + 61 * DAY).unwrap();
        assert_ne!(shown(&authority), first);
        assert_eq!(authority.pin(), pin);
        // And by a start when it was off for long.
        let later = open(dir.path(), NOW + 1000 * DAY);
        assert_eq!(later.pin(), pin);
        let certificate = shown(&later);
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        assert!(parsed.validity().not_after.timestamp() > NOW + 1080 * DAY);
    }

    #[test]
    fn the_announced_key_comes_next() {
        let dir = tempfile::tempdir().unwrap();
        let authority = open(dir.path(), NOW);
        let (pin, next) = (authority.pin(), authority.next_pin().unwrap());
        assert_ne!(pin, next);
        assert_eq!(authority.replace_key(NOW).unwrap(), next);
        assert_eq!(authority.pin(), next);
        assert_ne!(authority.next_pin().unwrap(), next);
        assert_eq!(open(dir.path(), NOW).pin(), next);
    }

    #[test]
    fn damaged_files_are_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), NOW);
        for name in ["authority.key", "authority.pem", "server.key"] {
            let path = dir.path().join("tls").join(name);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, "half a k").unwrap();
            let error = Authority::open(dir.path(), Vec::new(), None, NOW).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), b"half a k");
            std::fs::write(&path, whole).unwrap();
        }
        open(dir.path(), NOW);
    }

    #[test]
    fn a_consoles_key_is_signed_and_nothing_else_of_its_request() {
        let dir = tempfile::tempdir().unwrap();
        let authority = open(dir.path(), NOW);
        let key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.distinguished_name.push(DnType::CommonName, "somebody else");
        let request = wish.serialize_request(&key).unwrap().pem().unwrap();
        let console = ConsoleId::new();
        let signed = authority.sign(&request, console, NOW, NOW + 7 * DAY).unwrap();
        assert_eq!(signed.key, Pin::of_key(&key.subject_public_key_info()));
        let der = CertificateDer::from_pem_slice(signed.pem.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let name = parsed.subject().iter_common_name().map(|name| name.as_str().unwrap());
        assert_eq!(name.collect::<Vec<_>>(), [console.to_string()]);
        assert!(!parsed.is_ca() && parsed.subject_alternative_name().unwrap().is_none());
        assert_eq!(serial_text(parsed.raw_serial()), signed.serial);
        assert!(authority.sign("nonsense", console, NOW, NOW + DAY).is_err());
    }
}
