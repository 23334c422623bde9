//! A public certificate by ACME: ordered from a real authority, renewed, and done without; the pin stays.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use deckport_collector::config::{AcmeConfig, OwnCertificate};
use deckport_collector::{Collector, Config, StartError};
use deckport_protocol::tls::pin_of;
use deckport_protocol::tls::rustls::pki_types::pem::PemObject as _;
use deckport_protocol::tls::rustls::pki_types::{CertificateDer, ServerName};
use deckport_protocol::{Pin, tls};
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::pebble::Place;
use support::{config, eventually, get};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const NAME: &str = "collector.example.org";
/// Longer than any test.
const YEAR: u64 = 365 * 86_400;

fn named(dir: &Path, place: &Place) -> Config {
    let mut config = config(dir);
    config.names = vec![format!("{NAME}:7443")];
    config.trust_ca = Some(place.trust());
    config.acme = Some(AcmeConfig {
        directory: place.directory(),
        contacts: vec!["venue@example.org".to_owned()],
        look_every: Duration::from_millis(100),
        first_wait: Duration::from_millis(500),
    });
    config
}

/// The certificates that somebody sees who asks for `name`; pinned, like a console.
async fn seen(address: SocketAddr, pin: Pin, name: &str) -> Vec<CertificateDer<'static>> {
    let config = tls::client(&[pin], None).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    shown.iter().map(|certificate| certificate.clone().into_owned()).collect()
}

/// Whether somebody who knows the authority alone, like a browser, trusts what is shown under `name`.
async fn is_trusted(address: SocketAddr, root: &str, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
}

async fn public(collector: &Collector) -> Value {
    let (status, info) = get(collector, "/api/v1/info").await;
    assert_eq!(status, 200);
    info["public_certificate"].clone()
}

async fn ordered(collector: &Collector) {
    eventually("a public certificate", async || {
        let public = public(collector).await;
        public["ends_at"].is_i64() && public["failure"].is_null()
    })
    .await;
}

#[tokio::test]
async fn a_public_certificate_is_ordered_as_soon_as_the_authority_answers() {
    let Some(place) = Place::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start(named(dir.path(), &place)).await.unwrap();
    let (address, pin) = (collector.listen_addr().unwrap(), collector.pin());

    // Nobody answers: the collector runs, with its own certificate, and says so.
    eventually("a failure", async || public(&collector).await["failure"].is_string()).await;
    let failed = public(&collector).await;
    assert!(
        failed["failure"].as_str().unwrap().contains("localhost cannot be reached"),
        "{failed}"
    );
    assert!(failed["ends_at"].is_null() && failed["next_try_at"].is_i64(), "{failed}");
    assert_eq!(failed["names"][0], NAME);
    let own = seen(address, pin, NAME).await;

    let authority = place.start(address.port(), YEAR);
    let root = place.root();
    assert!(!is_trusted(address, &root, NAME).await);
    ordered(&collector).await;
    assert!(is_trusted(address, &root, NAME).await, "browsers see a chain that they trust");
    let given = seen(address, pin, NAME).await;
    assert_ne!(given, own);
    assert_eq!(pin_of(&given[0]).unwrap(), pin, "it is for the key that consoles know");
    assert_eq!(collector.pin(), pin);
    // By address, like consoles.
    assert_eq!(seen(address, pin, "127.0.0.1").await, own);

    let acme = dir.path().join("tls/acme");
    let inner = std::fs::read_dir(&acme).unwrap().next().unwrap().unwrap().path();
    for (path, mode) in [
        (acme, 0o700),
        (inner.clone(), 0o700),
        (inner.join("account.json"), 0o600),
        (inner.join("certificate.pem"), 0o600),
    ] {
        let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }

    // After a restart it is shown at once, whether or not the authority is there; nothing is ordered.
    drop(authority);
    collector.shutdown().await.unwrap();
    let collector = Collector::start(named(dir.path(), &place)).await.unwrap();
    let address = collector.listen_addr().unwrap();
    assert_eq!(seen(address, pin, NAME).await, given);
    let after = public(&collector).await;
    assert!(after["failure"].is_null() && after["renew_at"].is_i64(), "{after}");
    let (_, trail) = get(&collector, "/api/v1/audit?action=certificate_replaced").await;
    let details = trail["entries"][0].to_string();
    assert!(details.contains(NAME), "{trail}");
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn it_is_renewed_before_it_ends_for_the_same_key() {
    let Some(place) = Place::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start(named(dir.path(), &place)).await.unwrap();
    let (address, pin) = (collector.listen_addr().unwrap(), collector.pin());
    let authority = place.start(address.port(), 30);
    ordered(&collector).await;
    let (first, begun) = (seen(address, pin, NAME).await, Instant::now());
    // A connection stays whatever happens to certificates.
    let mut other = first.clone();
    while other == first {
        assert!(begun.elapsed() < Duration::from_secs(30), "it was not renewed before its end");
        tokio::time::sleep(Duration::from_millis(50)).await;
        other = seen(address, pin, NAME).await;
    }
    let root = place.root();
    assert!(is_trusted(address, &root, NAME).await);
    assert_eq!(pin_of(&other[0]).unwrap(), pin);

    // The authority goes away: what is there is shown to its end, then the collector's own.
    let own = seen(address, pin, "127.0.0.1").await;
    drop(authority);
    let begun = Instant::now();
    while seen(address, pin, NAME).await != own {
        assert!(begun.elapsed() < Duration::from_secs(60), "one that has ended is still shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ended = public(&collector).await;
    assert!(ended["ends_at"].is_null() && ended["failure"].is_string(), "{ended}");
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_told_and_tried_ever_more_slowly() {
    let Some(place) = Place::new() else { return };
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Another collector, which has nothing to prove, stands where the name leads.
    let elsewhere = support::start(other.path()).await;
    let _authority = place.start(elsewhere.listen_addr().unwrap().port(), YEAR);
    let collector = Collector::start(named(dir.path(), &place)).await.unwrap();
    let (address, pin) = (collector.listen_addr().unwrap(), collector.pin());
    eventually("a failure", async || public(&collector).await["failure"].is_string()).await;
    let failed = public(&collector).await;
    let why = failed["failure"].as_str().unwrap();
    assert!(why.contains(NAME) && why.contains("was not confirmed"), "{why}");
    assert_eq!(seen(address, pin, NAME).await, seen(address, pin, "127.0.0.1").await);
    let next = |status: &Value| status["next_try_at"].as_i64().unwrap();
    let mut last = next(&failed);
    let mut waits = Vec::new();
    while waits.len() < 3 {
        eventually("another try", async || next(&public(&collector).await) != last).await;
        let now = next(&public(&collector).await);
        waits.push(now - last);
        last = now;
    }
    assert!(waits[2] > waits[0], "{waits:?}");
    collector.shutdown().await.unwrap();
    elsewhere.shutdown().await.unwrap();
}

/// Nothing is shown to somebody who looks like an authority while none is expected.
#[tokio::test]
async fn nobody_gets_a_proof_who_is_not_expected() {
    let dir = tempfile::tempdir().unwrap();
    let collector = support::start(dir.path()).await;
    let mut config = tls::client(&[collector.pin()], None).unwrap();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let stream = TcpStream::connect(collector.listen_addr().unwrap()).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    assert!(TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_err());
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_said_at_the_start() {
    let start = async |change: &dyn Fn(&mut Config)| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.acme = Some(AcmeConfig::default());
        config.names = vec![NAME.to_owned()];
        change(&mut config);
        Collector::start(config).await.unwrap_err()
    };
    let error = start(&|config| config.names = vec!["10.0.0.1".into(), "desk.local".into()]).await;
    assert!(
        matches!(error, StartError::Acme(_)) && error.to_string().contains("--name"),
        "{error}"
    );
    let plain = "http://acme.example/dir";
    let error = start(&|config| {
        config.acme = Some(AcmeConfig { directory: plain.into(), ..AcmeConfig::default() });
    })
    .await;
    assert!(error.to_string().contains(plain), "{error}");
    let error = start(&|config| config.trust_ca = Some("/nowhere/ca.pem".into())).await;
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    let own = OwnCertificate { certificate: "/a.pem".into(), key: "/a.key".into() };
    let error = start(&|config| config.certificate = Some(own.clone())).await;
    assert!(error.to_string().contains("/a."), "{error}");
}
