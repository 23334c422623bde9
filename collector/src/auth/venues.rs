//! Organisations and their venues: what things belong to, and what people call them.
//!
//! All of them are in memory and read from the store at the start; each change is durable before it is answered. A collector has one
//! organisation with one venue from its first start on. That venue goes by the name in the configuration until it is given another.
//!
//! None is ever removed: what belongs to it would belong nowhere.

use crate::audit::Pen;
use crate::store::{ReadError, Statement, Store, Write, WriteError};
use deckport_protocol::{Actor, ErrorCode, OrganisationId, Refusal, Scope, Tenant, VenueId};
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// Characters of a name.
const NAME: usize = 80;
/// Venues of one organisation, and organisations of one collector.
const MOST: usize = 1000;

/// A place with consoles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Venue {
    pub id: VenueId,
    pub organisation_id: OrganisationId,
    pub name: String,
}

impl Venue {
    pub const fn tenant(&self) -> Tenant {
        Tenant { organisation_id: self.organisation_id, venue_id: self.id }
    }
}

/// Whoever runs venues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    pub id: OrganisationId,
    pub name: String,
}

#[derive(Debug, Default)]
struct State {
    organisations: BTreeMap<OrganisationId, Organisation>,
    venues: BTreeMap<VenueId, Venue>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum VenueError {
    #[error("{0}")]
    Refused(Refusal),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<Refusal> for VenueError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn bad(text: impl Into<String>) -> VenueError {
    VenueError::Refused(Refusal::new(ErrorCode::BAD_REQUEST, text))
}

/// See the module.
#[derive(Debug)]
pub struct Venues {
    state: RwLock<State>,
}

impl Venues {
    /// Reads what there is. `first`: what the first venue is called as long as nobody said otherwise.
    pub async fn open(store: &Store, first: &str) -> Result<Self, ReadError> {
        let mut state = State::default();
        for row in store.fetch("select id, name from organisation", []).await? {
            let (id, name) = (row.parsed(0)?, row.text(1)?.as_ref().to_owned());
            state.organisations.insert(id, Organisation { id, name });
        }
        let venues = "select id, organisation_id, name from venue";
        for row in store.fetch(venues, []).await? {
            let (id, organisation_id) = (row.parsed(0)?, row.parsed(1)?);
            let name = row.text(2)?.as_ref().to_owned();
            state.venues.insert(id, Venue { id, organisation_id, name });
        }
        let sole = Organisation { id: OrganisationId::SOLE, name: first.to_owned() };
        state.organisations.entry(sole.id).or_insert(sole);
        let sole = Venue {
            id: VenueId::SOLE,
            organisation_id: OrganisationId::SOLE,
            name: first.to_owned(),
        };
        state.venues.entry(sole.id).or_insert(sole);
        Ok(Self { state: RwLock::new(state) })
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn get(&self, id: VenueId) -> Option<Venue> {
        self.read(|state| state.venues.get(&id).cloned())
    }

    pub fn organisation(&self, id: OrganisationId) -> Option<Organisation> {
        self.read(|state| state.organisations.get(&id).cloned())
    }

    /// What people call a venue.
    pub fn name(&self, id: VenueId) -> String {
        self.get(id).map_or_else(|| id.to_string(), |venue| venue.name)
    }

    /// Their names, for whoever asks often.
    pub fn names(&self) -> BTreeMap<VenueId, String> {
        self.read(|state| state.venues.values().map(|v| (v.id, v.name.clone())).collect())
    }

    /// The venues in a scope, by name.
    pub fn within(&self, scope: Scope) -> Vec<Venue> {
        let mut found: Vec<Venue> = self.read(|state| {
            state.venues.values().filter(|venue| scope.covers(venue.tenant())).cloned().collect()
        });
        found.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        found
    }

    /// All organisations, by name.
    pub fn organisations(&self) -> Vec<Organisation> {
        let mut all: Vec<_> = self.read(|state| state.organisations.values().cloned().collect());
        all.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        all
    }

    /// The one venue of a scope that somebody means: by its name or id, or the only one where they do not say.
    pub fn meant(&self, scope: Scope, said: Option<&str>) -> Result<Venue, Refusal> {
        let mut within = self.within(scope);
        let names = |venues: &[Venue]| {
            venues.iter().map(|venue| venue.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let Some(said) = said.map(str::trim).filter(|said| !said.is_empty()) else {
            return match within.len() {
                1 => Ok(within.remove(0)),
                _ => {
                    let text = format!("say which venue; there are: {}", names(&within));
                    Err(Refusal::new(ErrorCode::BAD_REQUEST, text))
                }
            };
        };
        let is = |venue: &Venue| venue.name == said || venue.id.to_string() == said;
        match within.iter().position(is) {
            Some(at) => Ok(within.swap_remove(at)),
            None => {
                let text = format!("there is no venue `{said}` here, but: {}", names(&within));
                Err(Refusal::new(ErrorCode::BAD_REQUEST, text))
            }
        }
    }

    /// Where what this actor brings belongs: where they act, or in the one venue there is. The first venue of all is where a console stands that
    /// comes with the local token, as before there were others.
    pub fn of(&self, actor: &Actor) -> Result<Tenant, Refusal> {
        match (actor, actor.scope()) {
            (Actor::Console { tenant, .. }, _) => Ok(*tenant),
            (_, Scope::SOLE) => Ok(Tenant::SOLE),
            (_, scope) => self.meant(scope, None).map(|venue| venue.tenant()),
        }
    }

    fn fit(name: &str) -> Result<String, VenueError> {
        let name = name.trim();
        let fits =
            !name.is_empty() && name.chars().count() <= NAME && !name.chars().any(char::is_control);
        if fits {
            Ok(name.to_owned())
        } else {
            Err(bad(format!("a name has 1 to {NAME} characters, and none that is not shown")))
        }
    }

    /// A new venue, or another name for one that is there (`id`).
    pub async fn save(
        &self,
        organisation_id: OrganisationId,
        id: Option<VenueId>,
        name: &str,
        pen: Pen<'_>,
    ) -> Result<Venue, VenueError> {
        let name = Self::fit(name)?;
        if self.organisation(organisation_id).is_none() {
            return Err(Refusal::new(ErrorCode::NOT_FOUND, "there is no such organisation").into());
        }
        let others = self.within(Scope::all(organisation_id));
        if let Some(id) = id
            && !others.iter().any(|venue| venue.id == id)
        {
            return Err(Refusal::new(ErrorCode::NOT_FOUND, "there is no such venue").into());
        }
        if others.iter().any(|venue| venue.name == name && Some(venue.id) != id) {
            return Err(bad(format!("there is a venue `{name}` already")));
        }
        if id.is_none() && others.len() >= MOST {
            return Err(bad(format!("{MOST} venues are the most that an organisation has")));
        }
        let venue = Venue { id: id.unwrap_or_else(VenueId::new), organisation_id, name };
        let statement = Statement {
            sql: "insert into venue (id, organisation_id, name) values ($1, $2, $3) \
                  on conflict (id) do update set name = excluded.name",
            values: vec![
                venue.id.to_string().into(),
                organisation_id.to_string().into(),
                venue.name.as_str().into(),
            ],
        };
        let pen = pen.about("venue", venue.id).with("name", venue.name.as_str());
        pen.write(Write { statements: vec![statement], ..Write::default() }).await?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.venues.insert(venue.id, venue.clone());
        Ok(venue)
    }

    /// A new organisation; it has no venue yet.
    pub async fn found(&self, name: &str, pen: Pen<'_>) -> Result<Organisation, VenueError> {
        let name = Self::fit(name)?;
        let others = self.organisations();
        if others.iter().any(|other| other.name == name) {
            return Err(bad(format!("there is an organisation `{name}` already")));
        }
        if others.len() >= MOST {
            return Err(bad(format!("{MOST} organisations are the most that a collector has")));
        }
        let made = Organisation { id: OrganisationId::new(), name };
        let statement = Statement {
            sql: "insert into organisation (id, name) values ($1, $2)",
            values: vec![made.id.to_string().into(), made.name.as_str().into()],
        };
        let pen = pen.about("organisation", made.id).with("name", made.name.as_str());
        pen.write(Write { statements: vec![statement], ..Write::default() }).await?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.organisations.insert(made.id, made.clone());
        Ok(made)
    }
}
