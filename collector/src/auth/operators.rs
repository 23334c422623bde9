//! People, their roles, and what they are known by after logging in.
//!
//! All of it is in memory and read from the store at the start; each change is durable before it is answered. Of sessions and of
//! programs' tokens only hashes are kept.
//!
//! What must hold: an operator's role is asked at each request, so a change takes effect at once; what was taken back ends what is
//! open at once ([`Pass`]); the last admin is never taken away.

mod identity;
mod proof;

pub use identity::Identity;
pub use proof::{Confirmation, Proved};

use super::lockout::Lockout;
use super::password::{self, Passwords};
use super::{Asking, Credential, Pass, Place};
use crate::audit::Pen;
use crate::store::{ReadError, Statement, Store, Write, WriteError};
use deckport_protocol::{
    Actor, ErrorCode, OperatorId, OrganisationId, Refusal, Role, Scope, VenueId,
};
use proof::Typed;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use utoipa::ToSchema;
use uuid::Uuid;

/// A session that is not used for so long has ended …
const SESSION_IDLE_US: i64 = 7 * 86_400_000_000;
/// … and any after so long.
const SESSION_US: i64 = 30 * 86_400_000_000;
/// How long a program's token is good at most.
pub const LONGEST_TOKEN_US: i64 = 366 * 86_400_000_000;
/// When something was last used is stored at most so often.
const STORED_EVERY_US: i64 = 60_000_000;
const NAME: usize = 120;
/// Grants that one operator holds at once.
const MOST_GRANTS: usize = 100;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("too many logins failed; the next is looked at in {wait_s} s")]
    Locked { wait_s: i64 },
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the system gave no random bytes")]
    Random,
}

fn bad(text: impl Into<String>) -> OperatorError {
    Refusal::new(ErrorCode::BAD_REQUEST, text).into()
}

fn missing() -> OperatorError {
    Refusal::new(ErrorCode::NOT_FOUND, "there is no such operator").into()
}

/// What to say to somebody who has to wait for so many microseconds; nothing where it is none.
fn locked(wait_us: i64) -> Result<(), OperatorError> {
    match wait_us {
        ..=0 => Ok(()),
        wait => Err(OperatorError::Locked { wait_s: (wait + 999_999) / 1_000_000 }),
    }
}

/// A person.
#[derive(Clone, Debug)]
pub struct Operator {
    pub id: OperatorId,
    pub organisation_id: OrganisationId,
    pub login: String,
    pub name: String,
    password: String,
    totp: Option<String>,
    totp_step: i64,
    /// How a provider of logins knows them: their e-mail address or its own name (`sub`) for them; none: by the login, if that is an
    /// address.
    pub identity: Option<String>,
    /// By venue; none: in all venues of the organisation.
    pub roles: BTreeMap<Option<VenueId>, Role>,
    pub created_at: i64,
    pub disabled_at: Option<i64>,
}

impl Operator {
    /// Whether a password lets them in: who was brought in by a provider has none.
    pub const fn has_password(&self) -> bool {
        !self.password.is_empty()
    }

    pub const fn has_second_factor(&self) -> bool {
        self.totp.is_some()
    }

    /// The role in a venue.
    pub fn role_in(&self, venue: VenueId) -> Option<Role> {
        let of = |venue| self.roles.get(&venue).copied();
        of(Some(venue)).max(of(None))
    }

    /// The role in all venues of the organisation.
    pub fn role_everywhere(&self) -> Option<Role> {
        self.roles.get(&None).copied()
    }

    /// Where somebody acts who does not say where: everywhere if they may, else in the first venue that is theirs.
    fn home(&self) -> Option<Option<VenueId>> {
        if self.roles.contains_key(&None) { Some(None) } else { self.roles.keys().next().copied() }
    }

    /// What they are where they act, for a session or token that allows at most `most`.
    fn acting(&self, venue: Option<VenueId>, most: Role) -> Option<Actor> {
        let role = match venue {
            Some(venue) => self.role_in(venue),
            None => self.role_everywhere(),
        };
        let scope = Scope { organisation_id: self.organisation_id, venue_id: venue };
        let role = role?.min(most);
        Some(Actor::Operator { scope, operator_id: self.id, role })
    }

    fn is_admin(&self) -> bool {
        self.disabled_at.is_none() && self.roles.get(&None) == Some(&Role::Admin)
    }
}

/// What is said of a person.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct OperatorFields {
    /// What is typed to log in: letters, digits, `.`, `-`, `_`, `@`.
    pub login: String,
    pub name: String,
    /// In all venues of the organisation; none: only in those that `venues` names.
    #[serde(default)]
    pub role: Option<Role>,
    /// More in single venues: a role by the venue's id.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Role>)]
    pub venues: BTreeMap<VenueId, Role>,
    /// A new password; one that was there stays where it is left out.
    #[serde(default)]
    pub password: Option<String>,
    /// Nobody is let in with it.
    #[serde(default)]
    pub disabled: bool,
    /// Takes the second factor away: for somebody who lost their phone.
    #[serde(default)]
    pub forget_second_factor: bool,
    /// How a provider of logins knows them, where that is not their login: their e-mail address, or its own name for them (`sub`).
    /// What was there stays where it is left out; empty takes it away.
    #[serde(default)]
    pub identity: Option<String>,
    /// Forgets as whom a provider knew them: for somebody who has another account there now.
    #[serde(default)]
    pub forget_identity: bool,
}

/// How somebody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// Logged in with a password.
    Session,
    /// A program, with a token.
    Token,
}

/// A session or a program's token.
#[derive(Clone, Debug)]
pub struct Grant {
    pub id: Uuid,
    pub operator_id: OperatorId,
    pub kind: GrantKind,
    pub name: String,
    pub role: Role,
    pub created_at: i64,
    pub seen_at: i64,
    pub expires_at: i64,
    /// When its holder last showed that it is they who sit there; none: never, or so long ago that it does not matter.
    proved_at: Option<i64>,
    hash: String,
    stored_at: i64,
    pass: Pass,
}

impl Grant {
    fn is_good(&self, now_us: i64) -> bool {
        let idle = self.kind == GrantKind::Session && self.seen_at + SESSION_IDLE_US <= now_us;
        self.expires_at > now_us && !idle
    }
}

/// What somebody types to log in.
#[derive(Clone, Deserialize, ToSchema)]
pub struct Login {
    pub login: String,
    pub password: String,
    /// The six digits of the authenticator app, where the operator has one.
    #[serde(default)]
    pub code: Option<String>,
    /// What logs in, for the list of sessions ("Deckport on desk-2").
    #[serde(default)]
    pub client: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("login", &self.login).finish_non_exhaustive()
    }
}

/// A grant that was just made, with the secret that is shown this once.
#[derive(Clone, Debug)]
pub struct Granted {
    pub secret: String,
    pub grant: Grant,
    pub operator: Operator,
}

impl Granted {
    /// Who it lets in, where they act unless they say otherwise.
    pub fn actor(&self) -> Option<Actor> {
        self.operator.acting(self.operator.home()?, self.grant.role)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Operators {
    store: Arc<Store>,
    passwords: Passwords,
    state: Mutex<State>,
    /// Held while somebody comes in by a provider's word.
    entering: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    operators: HashMap<OperatorId, Operator>,
    grants: HashMap<Uuid, Grant>,
    by_hash: HashMap<String, Uuid>,
    /// Who came by a provider's word: by its address and its own name for them.
    identities: HashMap<(String, String), OperatorId>,
    lockout: Lockout,
}

impl State {
    fn by_login(&self, login: &str) -> Option<&Operator> {
        let login = login.trim();
        self.operators.values().find(|operator| operator.login.eq_ignore_ascii_case(login))
    }

    fn keep(&mut self, grant: Grant) {
        self.by_hash.insert(grant.hash.clone(), grant.id);
        self.grants.insert(grant.id, grant);
    }

    fn end(&mut self, id: Uuid) -> Option<Grant> {
        let grant = self.grants.remove(&id)?;
        self.by_hash.remove(&grant.hash);
        grant.pass.end();
        Some(grant)
    }

    /// Ends what an operator has open, and no session: it is asked anew what they may do.
    fn cut(&mut self, operator: OperatorId) {
        for grant in self.grants.values_mut().filter(|grant| grant.operator_id == operator) {
            std::mem::take(&mut grant.pass).end();
        }
    }

    /// Ends all grants of an operator but one.
    fn end_all(&mut self, operator: OperatorId, but: Option<Uuid>) {
        let of = |grant: &&Grant| grant.operator_id == operator && Some(grant.id) != but;
        let ids: Vec<Uuid> = self.grants.values().filter(of).map(|grant| grant.id).collect();
        for id in ids {
            self.end(id);
        }
    }

    fn other_admins(&self, organisation: OrganisationId, but: OperatorId) -> usize {
        let other = |operator: &&Operator| {
            operator.organisation_id == organisation && operator.id != but && operator.is_admin()
        };
        self.operators.values().filter(other).count()
    }
}

fn hash(secret: &str) -> String {
    Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A role as it is stored.
fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::TournamentDirector => "tournament_director",
        Role::Admin => "admin",
    }
}

fn role(word: &str) -> Result<Role, ReadError> {
    [Role::Viewer, Role::Operator, Role::TournamentDirector, Role::Admin]
        .into_iter()
        .find(|role| self::word(*role) == word)
        .ok_or_else(|| ReadError::unexpected(format_args!("role `{word}`")))
}

impl Operators {
    /// Reads who there is. None where the system gives no random bytes.
    pub async fn open(store: Arc<Store>, passwords: Passwords) -> Result<Self, ReadError> {
        let mut state = State::default();
        let mut roles: HashMap<OperatorId, BTreeMap<Option<VenueId>, Role>> = HashMap::new();
        for row in store.fetch("select operator_id, venue_id, role from operator_role", []).await? {
            let venue = row.text(1)?;
            let venue = if venue.is_empty() { None } else { Some(row.parsed(1)?) };
            roles.entry(row.parsed(0)?).or_default().insert(venue, role(&row.text(2)?)?);
        }
        let identities = "select issuer, subject, operator_id from operator_identity";
        for row in store.fetch(identities, []).await? {
            let known = (row.text(0)?.as_ref().to_owned(), row.text(1)?.as_ref().to_owned());
            state.identities.insert(known, row.parsed(2)?);
        }
        let operators = "select id, organisation_id, login, name, password, totp, totp_step, \
             created_at, disabled_at, identity from operator";
        for row in store.fetch(operators, []).await? {
            let text = |column| Ok::<_, ReadError>(row.text(column)?.as_ref().to_owned());
            let id = row.parsed(0)?;
            let operator = Operator {
                id,
                organisation_id: row.parsed(1)?,
                login: text(2)?,
                name: text(3)?,
                password: text(4)?,
                totp: row.maybe_text(5)?.map(|secret| secret.as_ref().to_owned()),
                totp_step: row.int(6)?,
                identity: row.maybe_text(9)?.map(|identity| identity.as_ref().to_owned()),
                roles: roles.remove(&id).unwrap_or_default(),
                created_at: row.int(7)?,
                disabled_at: row.maybe_int(8)?,
            };
            state.operators.insert(id, operator);
        }
        let grants = "select id, operator_id, kind, hash, name, role, created_at, seen_at, \
             expires_at, proved_at from grant_of_access";
        for row in store.fetch(grants, []).await? {
            let seen_at = row.int(7)?;
            state.keep(Grant {
                id: row.parsed(0)?,
                operator_id: row.parsed(1)?,
                kind: match row.text(2)?.as_ref() {
                    "session" => GrantKind::Session,
                    "token" => GrantKind::Token,
                    other => return Err(ReadError::unexpected(format_args!("grant `{other}`"))),
                },
                hash: row.text(3)?.as_ref().to_owned(),
                name: row.text(4)?.as_ref().to_owned(),
                role: role(&row.text(5)?)?,
                created_at: row.int(6)?,
                seen_at,
                expires_at: row.int(8)?,
                proved_at: row.maybe_int(9)?,
                stored_at: seen_at,
                pass: Pass::default(),
            });
        }
        Ok(Self {
            store,
            passwords,
            state: Mutex::new(state),
            entering: tokio::sync::Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who comes with this bearer token, acting in `place`.
    pub fn ask(&self, secret: &str, place: Place, now_us: i64) -> Result<Asking, Refusal> {
        let unknown = || {
            Refusal::new(
                ErrorCode::UNAUTHENTICATED,
                "the bearer token is not one that this collector knows, or it has ended; log in again",
            )
        };
        let mut state = self.state();
        let id = *state.by_hash.get(&hash(secret)).ok_or_else(unknown)?;
        let grant = state.grants.get(&id).ok_or_else(unknown)?;
        if !grant.is_good(now_us) {
            let id = grant.id;
            state.end(id);
            drop(state);
            self.later(forget(id));
            return Err(unknown());
        }
        let operator = state.operators.get(&grant.operator_id).ok_or_else(unknown)?;
        if operator.disabled_at.is_some() {
            return Err(unknown());
        }
        let nowhere = || {
            let text = "this login has no role there";
            Refusal::new(ErrorCode::FORBIDDEN, text)
        };
        let venue = match place {
            Place::Home => operator.home().ok_or_else(nowhere)?,
            Place::Everywhere if operator.role_everywhere().is_some() => None,
            // Which is less than was asked for, as the guard will say.
            Place::Everywhere => operator.home().ok_or_else(nowhere)?,
            Place::Venue(venue) if venue.organisation_id == operator.organisation_id => {
                Some(venue.venue_id)
            }
            // Whether there is such a venue is nobody else's business.
            Place::Venue(_) => return Err(nowhere()),
        };
        let actor = operator.acting(venue, grant.role).ok_or_else(nowhere)?;
        let grant = state.grants.get_mut(&id).ok_or_else(unknown)?;
        grant.seen_at = now_us;
        let (pass, proved) = (grant.pass.clone(), grant.proved());
        if now_us - grant.stored_at >= STORED_EVERY_US {
            grant.stored_at = now_us;
            drop(state);
            self.later(Statement {
                sql: "update grant_of_access set seen_at = $2 where id = $1",
                values: vec![id.to_string().into(), now_us.into()],
            });
        }
        Ok(Asking { actor, credential: Credential::Bearer, pass, grant: Some((id, proved)) })
    }

    fn later(&self, statement: Statement) {
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let write = Write { statements: vec![statement], ..Write::default() };
            if let Err(error) = store.writer().write(write).await {
                tracing::warn!(%error, "when a session was used could not be stored");
            }
        });
    }

    /// Lets somebody in. `address`: where they come from.
    pub async fn log_in(
        &self,
        login: &Login,
        address: &str,
        now_us: i64,
        pen: Pen<'_>,
    ) -> Result<Granted, OperatorError> {
        let typed = Typed {
            login: &login.login,
            password: &login.password,
            code: Some(login.code.as_deref()),
            wrong: "the login or the password is wrong",
        };
        let (operator, statement) = self.verify(typed, address, now_us).await?;
        let name = client_name(login.client.as_deref());
        let expires_at = now_us + SESSION_US;
        let role = operator.roles.values().copied().max().unwrap_or(Role::Viewer);
        let (secret, mut grant) =
            self.new_grant(&operator, GrantKind::Session, name, role, now_us, expires_at)?;
        grant.proved_at = Some(now_us);
        let statements = [insert(&grant)].into_iter().chain(statement).collect();
        let granted = Granted { secret, grant, operator };
        let pen = match granted.actor() {
            Some(actor) => pen.by(&actor),
            None => pen,
        };
        let pen = pen.with("access", granted.grant.id.to_string());
        pen.write(Write { statements, ..Write::default() }).await?;
        let mut state = self.state();
        state.keep(granted.grant.clone());
        Ok(granted)
    }

    /// Whether somebody at an address may try to come in by a provider's word, or has failed too often.
    pub fn wait_at(&self, address: &str, now_us: i64) -> Result<(), OperatorError> {
        locked(self.state().lockout.wait_at(address, now_us))
    }

    /// Somebody at an address failed to come in by a provider.
    pub fn failed_at(&self, address: &str, now_us: i64) {
        self.state().lockout.failed_at(address, now_us);
    }

    fn new_grant(
        &self,
        operator: &Operator,
        kind: GrantKind,
        name: String,
        role: Role,
        now_us: i64,
        expires_at: i64,
    ) -> Result<(String, Grant), OperatorError> {
        let of = |grant: &&Grant| grant.operator_id == operator.id && grant.is_good(now_us);
        if self.state().grants.values().filter(of).count() >= MOST_GRANTS {
            let text = format!("{MOST_GRANTS} sessions and tokens are open; end some first");
            return Err(Refusal::new(ErrorCode::RATE_EXCEEDED, text).into());
        }
        let secret = super::random_token().ok_or(OperatorError::Random)?;
        // What leaks is known for what it is.
        let secret = match kind {
            GrantKind::Session => format!("dps_{secret}"),
            GrantKind::Token => format!("dpt_{secret}"),
        };
        let grant = Grant {
            id: Uuid::now_v7(),
            operator_id: operator.id,
            kind,
            name,
            role,
            created_at: now_us,
            seen_at: now_us,
            expires_at,
            proved_at: None,
            hash: hash(&secret),
            stored_at: now_us,
            pass: Pass::default(),
        };
        Ok((secret, grant))
    }

    /// A token for a program, of an operator's own rights or less.
    pub async fn give_token(
        &self,
        operator: OperatorId,
        name: &str,
        role: Role,
        now_us: i64,
        expires_at: i64,
        pen: Pen<'_>,
    ) -> Result<Granted, OperatorError> {
        let operator = self.state().operators.get(&operator).cloned().ok_or_else(missing)?;
        let name = fit_name(name)?;
        let own = operator.roles.values().copied().max().unwrap_or(Role::Viewer);
        if role > own {
            let text = format!("a token allows no more than its operator, who is {own}");
            return Err(Refusal::new(ErrorCode::FORBIDDEN, text).into());
        }
        let (secret, grant) =
            self.new_grant(&operator, GrantKind::Token, name, role, now_us, expires_at)?;
        let pen = pen.about("access", grant.id).with("name", grant.name.as_str());
        let pen = pen.with("role", word(role)).with("expires_at", expires_at);
        pen.write(Write { statements: vec![insert(&grant)], ..Write::default() }).await?;
        self.state().keep(grant.clone());
        Ok(Granted { secret, grant, operator })
    }

    /// Sessions and tokens of an organisation, or of one operator, the newest first.
    pub fn grants(
        &self,
        organisation: OrganisationId,
        of: Option<OperatorId>,
        now_us: i64,
    ) -> Vec<(Grant, Operator)> {
        let state = self.state();
        let owned = |grant: &Grant| {
            let operator = state.operators.get(&grant.operator_id)?;
            let ours =
                operator.organisation_id == organisation && of.is_none_or(|of| of == operator.id);
            (ours && grant.is_good(now_us)).then(|| (grant.clone(), operator.clone()))
        };
        let mut all: Vec<_> = state.grants.values().filter_map(owned).collect();
        all.sort_by_key(|(grant, _)| std::cmp::Reverse(grant.id));
        all
    }

    /// Ends a session or token. False where there is none.
    pub async fn end(
        &self,
        organisation: OrganisationId,
        of: Option<OperatorId>,
        id: Uuid,
        pen: Pen<'_>,
    ) -> Result<bool, OperatorError> {
        {
            let mut state = self.state();
            let owner = state.grants.get(&id).map(|grant| grant.operator_id);
            let owner = owner.filter(|owner| of.is_none_or(|of| of == *owner));
            let owner = owner.and_then(|owner| state.operators.get(&owner));
            if owner.is_none_or(|owner| owner.organisation_id != organisation) {
                return Ok(false);
            }
            state.end(id);
        }
        let pen = pen.about("access", id);
        pen.write(Write { statements: vec![forget(id)], ..Write::default() }).await?;
        Ok(true)
    }

    /// The most that a session or token allows.
    pub fn most(&self, id: Uuid) -> Option<Role> {
        self.state().grants.get(&id).map(|grant| grant.role)
    }

    pub fn get(&self, id: OperatorId) -> Option<Operator> {
        self.state().operators.get(&id).cloned()
    }

    /// The operators of an organisation, by login.
    pub fn list(&self, organisation: OrganisationId) -> Vec<Operator> {
        let state = self.state();
        let ours = |operator: &&Operator| operator.organisation_id == organisation;
        let mut all: Vec<Operator> = state.operators.values().filter(ours).cloned().collect();
        all.sort_by(|a, b| a.login.cmp(&b.login));
        all
    }

    /// Takes somebody in, or changes what is said of them (`id`).
    pub async fn save(
        &self,
        organisation: OrganisationId,
        id: Option<OperatorId>,
        fields: &OperatorFields,
        now_us: i64,
        pen: Pen<'_>,
    ) -> Result<Operator, OperatorError> {
        let login = fit_login(&fields.login)?;
        let name = fit_name(&fields.name)?;
        let before = match id {
            None => None,
            Some(id) => {
                let known = self.get(id).filter(|known| known.organisation_id == organisation);
                Some(known.ok_or_else(missing)?)
            }
        };
        if self.state().by_login(&login).is_some_and(|other| Some(other.id) != id) {
            return Err(bad(format!("somebody else logs in as `{login}`")));
        }
        let password = match (&fields.password, &before) {
            (Some(password), _) => {
                if let Some(why) = password::unfit(password, &login) {
                    return Err(bad(why));
                }
                self.passwords.hash(password).await.ok_or(OperatorError::Random)?
            }
            (None, Some(before)) => before.password.clone(),
            (None, None)
                if fields.identity.as_ref().is_some_and(|said| !said.trim().is_empty()) =>
            {
                String::new()
            }
            (None, None) => {
                return Err(bad(
                    "a new operator needs a password, or an identity by which a login provider knows them",
                ));
            }
        };
        let mut operator = before.clone().unwrap_or_else(|| Operator {
            id: OperatorId::new(),
            organisation_id: organisation,
            login: String::new(),
            name: String::new(),
            password: String::new(),
            totp: None,
            totp_step: 0,
            identity: None,
            roles: BTreeMap::new(),
            created_at: now_us,
            disabled_at: None,
        });
        operator.login = login;
        operator.name = name;
        operator.password = password;
        operator.roles = fields.venues.iter().map(|(venue, role)| (Some(*venue), *role)).collect();
        operator.roles.extend(fields.role.map(|role| (None, role)));
        if operator.roles.is_empty() {
            return Err(bad("an operator needs a role: everywhere, or in some venue"));
        }
        operator.disabled_at = fields.disabled.then(|| operator.disabled_at.unwrap_or(now_us));
        if fields.forget_second_factor {
            operator.totp = None;
        }
        if let Some(said) = &fields.identity {
            operator.identity = identity::fit(said)?;
        }
        if let Some(identity) = &operator.identity
            && self.state().by_identity(identity).is_some_and(|other| other.id != operator.id)
        {
            return Err(bad(format!("a login provider knows somebody else as `{identity}`")));
        }
        let was_admin = before.as_ref().is_some_and(Operator::is_admin);
        if was_admin
            && !operator.is_admin()
            && self.state().other_admins(organisation, operator.id) == 0
        {
            return Err(bad("this is the last admin: make somebody else one first"));
        }
        // A new password or a closed door ends what is open.
        let ends = fields.disabled || (before.is_some() && fields.password.is_some());
        let pen = pen.with("login", operator.login.as_str());
        let pen = match operator.role_everywhere() {
            Some(role) => pen.with("role", word(role)),
            None => pen,
        };
        let venues = operator.roles.keys().flatten().count();
        let pen = if venues > 0 { pen.with("venues", venues) } else { pen };
        let pen = pen.with("disabled", fields.disabled);
        let pen = pen.with("new_password", fields.password.is_some());
        self.store_operator(&operator, ends.then_some(None), fields.forget_identity, pen).await?;
        if before.is_some_and(|before| before.roles != operator.roles) {
            self.state().cut(operator.id);
        }
        Ok(operator)
    }

    /// Stores an operator as it is now, then takes it over. `end`: all their grants, but for one. `forget`: as whom a provider knew
    /// them.
    async fn store_operator(
        &self,
        operator: &Operator,
        end: Option<Option<Uuid>>,
        forget: bool,
        pen: Pen<'_>,
    ) -> Result<(), OperatorError> {
        let id = operator.id.to_string();
        let mut statements = vec![
            Statement {
                sql: "insert into operator (id, organisation_id, login, name, password, totp, totp_step, \
                      created_at, disabled_at, identity) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                      on conflict (id) do update set login = excluded.login, name = excluded.name, \
                      password = excluded.password, totp = excluded.totp, \
                      totp_step = excluded.totp_step, disabled_at = excluded.disabled_at, \
                      identity = excluded.identity",
                values: vec![
                    id.as_str().into(),
                    operator.organisation_id.to_string().into(),
                    operator.login.as_str().into(),
                    operator.name.as_str().into(),
                    operator.password.as_str().into(),
                    operator.totp.as_deref().into(),
                    operator.totp_step.into(),
                    operator.created_at.into(),
                    operator.disabled_at.into(),
                    operator.identity.as_deref().into(),
                ],
            },
            Statement {
                sql: "delete from operator_role where operator_id = $1",
                values: vec![id.as_str().into()],
            },
        ];
        for (venue, role) in &operator.roles {
            statements.push(Statement {
                sql: "insert into operator_role (operator_id, venue_id, role) values ($1, $2, $3)",
                values: vec![
                    id.as_str().into(),
                    venue.map(|venue| venue.to_string()).unwrap_or_default().into(),
                    word(*role).into(),
                ],
            });
        }
        if let Some(but) = end {
            statements.push(Statement {
                sql: "delete from grant_of_access where operator_id = $1 and id <> $2",
                values: vec![
                    id.as_str().into(),
                    but.map(|but| but.to_string()).unwrap_or_default().into(),
                ],
            });
        }
        if forget {
            statements.push(identity::forget(operator.id));
        }
        let pen = pen.about("operator", operator.id);
        pen.write(Write { statements, ..Write::default() }).await?;
        let mut state = self.state();
        state.operators.insert(operator.id, operator.clone());
        if forget {
            state.identities.retain(|_, known| *known != operator.id);
        }
        if let Some(but) = end {
            state.end_all(operator.id, but);
        }
        Ok(())
    }

    /// Somebody changes their own password; their other sessions end.
    pub async fn change_password(
        &self,
        id: OperatorId,
        grant: Option<Uuid>,
        (old, new): (&str, &str),
        from: (&str, i64),
        pen: Pen<'_>,
    ) -> Result<(), OperatorError> {
        let wrong = "the present password is wrong";
        let mut operator = self.verify_own(id, old, wrong, from).await?;
        if let Some(why) = password::unfit(new, &operator.login) {
            return Err(bad(why));
        }
        operator.password = self.passwords.hash(new).await.ok_or(OperatorError::Random)?;
        self.store_operator(&operator, Some(grant), false, pen).await
    }

    /// Somebody proves that their authenticator app holds `secret`: from now on it is asked for.
    pub async fn take_second_factor(
        &self,
        id: OperatorId,
        password: &str,
        (secret, code): (&str, &str),
        (address, now_us): (&str, i64),
        pen: Pen<'_>,
    ) -> Result<(), OperatorError> {
        let wrong = "the password is wrong";
        let mut operator = self.verify_own(id, password, wrong, (address, now_us)).await?;
        if operator.totp.is_some() {
            return Err(bad("there is a second factor already; take it away first"));
        }
        let step = password::totp_step(secret, code, now_us).ok_or_else(|| {
            bad("these are not the six digits of now: look whether the clocks of phone and collector agree")
        })?;
        operator.totp = Some(secret.to_owned());
        operator.totp_step = step;
        self.store_operator(&operator, None, false, pen).await
    }

    /// Somebody takes their second factor away, with their password.
    pub async fn drop_second_factor(
        &self,
        id: OperatorId,
        password: &str,
        from: (&str, i64),
        pen: Pen<'_>,
    ) -> Result<(), OperatorError> {
        let mut operator = self.verify_own(id, password, "the password is wrong", from).await?;
        operator.totp = None;
        self.store_operator(&operator, None, false, pen).await
    }
}

fn fit_login(login: &str) -> Result<String, OperatorError> {
    let login = login.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '+');
    if login.is_empty() || login.len() > 64 || !login.chars().all(fits) {
        return Err(bad("a login has letters, digits, `.`, `-`, `_`, `+` and `@`, 64 at most"));
    }
    Ok(login.to_owned())
}

/// What logs in, for the list of sessions.
fn client_name(said: Option<&str>) -> String {
    said.unwrap_or("a browser").chars().filter(|c| !c.is_control()).take(NAME).collect()
}

fn fit_name(name: &str) -> Result<String, OperatorError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
        return Err(bad(format!("a name has 1 to {NAME} characters")));
    }
    Ok(name.to_owned())
}

fn insert(grant: &Grant) -> Statement {
    Statement {
        sql: "insert into grant_of_access (id, operator_id, kind, hash, name, role, created_at, \
              seen_at, expires_at, proved_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        values: vec![
            grant.id.to_string().into(),
            grant.operator_id.to_string().into(),
            match grant.kind {
                GrantKind::Session => "session",
                GrantKind::Token => "token",
            }
            .into(),
            grant.hash.as_str().into(),
            grant.name.as_str().into(),
            word(grant.role).into(),
            grant.created_at.into(),
            grant.seen_at.into(),
            grant.expires_at.into(),
            grant.proved_at.into(),
        ],
    }
}

fn forget(id: Uuid) -> Statement {
    Statement {
        sql: "delete from grant_of_access where id = $1",
        values: vec![id.to_string().into()],
    }
}
