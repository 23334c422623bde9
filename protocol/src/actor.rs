//! Who asks. Every seam of the collector takes an [`Actor`], from the first day on.

use crate::ids::{ConsoleId, OperatorId, OrganisationId, VenueId};
use serde::{Deserialize, Serialize};

/// The organisation and venue that an actor's credential is bound to. It comes from the credential
/// only, never from a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tenant {
    pub organisation_id: OrganisationId,
    pub venue_id: VenueId,
}

impl Tenant {
    /// The tenant of a collector that has only one.
    pub const SOLE: Self = Self { organisation_id: OrganisationId::SOLE, venue_id: VenueId::SOLE };
}

/// What a person may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Add and remove consoles, start and cancel deployments.
    Operator,
    /// Lead a tournament.
    TournamentDirector,
    /// Let others in, keep and delete what is stored.
    Admin,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::TournamentDirector => "tournament director",
            Self::Admin => "admin",
        })
    }
}

/// Who asks for something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// The desktop shell that embeds this collector, over its in-memory connection.
    Shell { tenant: Tenant },
    /// The holder of the collector's local token.
    LocalAdmin { tenant: Tenant },
    /// A console, writing its own streams.
    Console { tenant: Tenant, console_id: ConsoleId },
    /// A person who logged in.
    Operator { tenant: Tenant, operator_id: OperatorId, role: Role },
    /// The collector itself, for what it does unasked.
    Collector { tenant: Tenant },
}

impl Actor {
    pub const fn tenant(&self) -> Tenant {
        match self {
            Self::Shell { tenant }
            | Self::LocalAdmin { tenant }
            | Self::Console { tenant, .. }
            | Self::Operator { tenant, .. }
            | Self::Collector { tenant } => *tenant,
        }
    }
}
