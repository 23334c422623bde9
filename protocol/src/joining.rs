//! What a console and its collector say to each other when the console is added, and when its certificate is renewed.

use crate::ids::ConsoleId;
use crate::pin::Pin;
use serde::{Deserialize, Serialize};

/// `POST /api/v1/join`: somebody typed a code at a console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Join {
    /// As it was typed.
    pub code: String,
    pub console_id: ConsoleId,
    pub name: String,
    pub agent_version: String,
    /// A PKCS #10 request in PEM, signed with the console's key. Only the key counts.
    pub request: String,
}

/// `POST /api/v1/console/renew`, with a certificate that counts or has only ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Renew {
    /// Like [`Join::request`], for a new key.
    pub request: String,
}

/// The answer to both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Joined {
    pub console_id: ConsoleId,
    /// PEM.
    pub certificate: String,
    /// When the certificate ends, microseconds since the Unix epoch by the collector's clock.
    pub ends_at: i64,
    /// The console renews it after so many seconds.
    pub renew_after_s: u64,
    /// The collector's key, and the one after it: from now on either is the right one.
    pub pins: Vec<Pin>,
    /// The venue's name.
    pub venue: String,
    pub template: String,
}
