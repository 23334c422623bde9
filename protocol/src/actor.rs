//! Who asks. Every seam of the collector takes an [`Actor`], from the first day on.

use crate::ids::{ConsoleId, OperatorId, OrganisationId, VenueId};
use serde::{Deserialize, Serialize};

/// The organisation and venue that something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tenant {
    pub organisation_id: OrganisationId,
    pub venue_id: VenueId,
}

impl Tenant {
    /// Where everything belongs while a collector has one organisation and one venue.
    pub const SOLE: Self = Self { organisation_id: OrganisationId::SOLE, venue_id: VenueId::SOLE };
}

/// What an actor may see and do something in: all venues of an organisation, or one of them. It comes from the credential; a request
/// may only name one venue of those that the credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    pub organisation_id: OrganisationId,
    /// None: all of the organisation's.
    pub venue_id: Option<VenueId>,
}

impl Scope {
    /// All of the organisation that a collector has from its first start on.
    pub const SOLE: Self = Self { organisation_id: OrganisationId::SOLE, venue_id: None };

    /// All venues of an organisation.
    pub const fn all(organisation_id: OrganisationId) -> Self {
        Self { organisation_id, venue_id: None }
    }

    /// Whether what belongs to `tenant` lies within.
    pub fn covers(self, tenant: Tenant) -> bool {
        self.organisation_id == tenant.organisation_id
            && self.venue_id.is_none_or(|venue| venue == tenant.venue_id)
    }
}

impl From<Tenant> for Scope {
    fn from(tenant: Tenant) -> Self {
        Self { organisation_id: tenant.organisation_id, venue_id: Some(tenant.venue_id) }
    }
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
    Shell { scope: Scope },
    /// The holder of the collector's local token.
    LocalAdmin { scope: Scope },
    /// A console, writing its own streams.
    Console { tenant: Tenant, console_id: ConsoleId },
    /// A person who logged in.
    Operator { scope: Scope, operator_id: OperatorId, role: Role },
    /// The collector itself, for what it does unasked.
    Collector { scope: Scope },
}

impl Actor {
    /// What this actor may see.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Shell { scope }
            | Self::LocalAdmin { scope }
            | Self::Operator { scope, .. }
            | Self::Collector { scope } => *scope,
            Self::Console { tenant, .. } => (*tenant).into(),
        }
    }
}
