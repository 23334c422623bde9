//! Who this console is for a collector that it was enrolled at: a certificate, its key, and the collector's pins.
//!
//! `STATE/identity.json`, readable by its owner only, replaced at once: a crash leaves the old one or the new one.

use crate::disk;
use anyhow::{Context as _, Result, bail};
use deckport_protocol::address::Address;
use deckport_protocol::tls::rustls::pki_types::pem::PemObject as _;
use deckport_protocol::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use deckport_protocol::{ConsoleId, Pin, tls};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    pub console_id: ConsoleId,
    pub name: String,
    /// Where the collector is, without a pin.
    pub collector: String,
    /// Its present key's, and the announced one's.
    pub pins: Vec<Pin>,
    pub venue: String,
    pub template: String,
    /// PEM.
    pub certificate: String,
    pub key: String,
    /// Microseconds since the Unix epoch, by the collector's clock.
    pub ends_at: i64,
    /// When it is to be renewed, by this machine's clock.
    pub renew_at: i64,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("console_id", &self.console_id)
            .field("collector", &self.collector)
            .finish_non_exhaustive()
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("identity.json")
}

impl Identity {
    /// What the console was given; none where it was never enrolled.
    pub fn load(state: &Path) -> Result<Option<Self>> {
        let path = path(state);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("could not read {}", path.display()));
            }
        };
        let read = serde_json::from_slice(&text);
        read.map(Some).with_context(|| format!("{} is not what this program wrote", path.display()))
    }

    /// The same, where there must be one.
    pub fn must(state: &Path) -> Result<Self> {
        match Self::load(state)? {
            Some(identity) => Ok(identity),
            None => bail!(
                "this console was never added to a collector; paste the line that the app shows under Add consoles"
            ),
        }
    }

    pub fn save(&self, state: &Path) -> Result<()> {
        let path = path(state);
        let text = serde_json::to_vec_pretty(self)?;
        disk::replace(&path, &text, true)
            .with_context(|| format!("could not write {}", path.display()))
    }

    /// Forgets it. What the collector has of the console stays there.
    pub fn forget(state: &Path) -> std::io::Result<()> {
        match std::fs::remove_file(path(state)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn address(&self) -> Result<Address> {
        self.collector.parse().with_context(|| format!("`{}` is no address", self.collector))
    }

    /// Whether it was given by the collector at this address.
    pub fn is_of(&self, address: &Address) -> bool {
        self.address().is_ok_and(|own| own.authority() == address.authority())
    }

    /// What is shown to the collector.
    pub fn shown(&self) -> Result<tls::Identity> {
        let certificates = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .context("the console's certificate is damaged; add the console again")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .context("the console's key is damaged; add the console again")?;
        Ok(tls::Identity { certificates, key })
    }
}
