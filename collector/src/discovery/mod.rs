//! Collectors make themselves known on the network, and are found: DNS-SD over multicast DNS, `_deckport._tcp`.
//!
//! ```text
//! INSTANCE._deckport._tcp.local.   SRV  port, deckport-….local.     TXT  v=1  name=VENUE  host=MACHINE  pin=sha256//…
//! ```
//!
//! What is heard is a **proposal** and nothing more: anybody on the network can announce anything, another's name and pin included. It
//! saves typing an address. Trust begins where a person compares the short form of the key that *answers* there with what the
//! collector's own screen shows; nothing here replaces that.

mod announce;
mod browse;

pub use announce::announce;
pub use browse::{Found, MOST, browse};

/// What is announced and looked for.
pub const SERVICE: &str = "_deckport._tcp.local.";

const VERSION_KEY: &str = "v";
const NAME_KEY: &str = "name";
const HOST_KEY: &str = "host";
const PIN_KEY: &str = "pin";

/// Multicast DNS cannot be spoken here.
#[derive(Debug, thiserror::Error)]
#[error("multicast DNS cannot be spoken on this machine: {0}")]
pub struct DiscoveryError(String);

impl From<mdns_sd::Error> for DiscoveryError {
    fn from(error: mdns_sd::Error) -> Self {
        Self(error.to_string())
    }
}
