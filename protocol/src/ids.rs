//! Identities, each a type of its own so that one is never passed for another.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $make:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identity that no one else has.
            #[expect(clippy::new_without_default, reason = "an id is minted, it has no default")]
            pub fn new() -> Self {
                Self(Uuid::$make())
            }

            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

id!(
    /// One run of an installation or update on one console. Minted by the agent, also offline.
    DeploymentId,
    now_v7
);
id!(
    /// One machine in a venue.
    ConsoleId,
    now_v7
);
id!(
    /// The identity of a deployment's spool: random, made with it, kept in it.
    StreamId,
    new_v4
);
id!(
    /// An order from the collector to an agent, answered by an `order_result` record.
    OrderId,
    now_v7
);
id!(
    /// The collector's database as a whole; a new one after a restore from backup.
    ServerEpoch,
    new_v4
);
id!(
    /// One boot of a console, as the kernel names it (`/proc/sys/kernel/random/boot_id`).
    BootId,
    new_v4
);
id!(
    /// A tenant.
    OrganisationId,
    now_v7
);
id!(
    /// A place with consoles; belongs to an organisation.
    VenueId,
    now_v7
);
id!(
    /// A person who uses the app.
    OperatorId,
    now_v7
);

impl OrganisationId {
    /// The one that a collector has from its first start on.
    pub const SOLE: Self = Self(Uuid::from_u128(1));
}

impl VenueId {
    /// The first of the first organisation.
    pub const SOLE: Self = Self(Uuid::from_u128(1));
}
