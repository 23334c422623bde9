//! People, their roles, and what they are known by after logging in.
//!
//! All of it is in memory and read from the store at the start; each change is durable before it is answered. Of sessions and of
//! programs' tokens only hashes are kept.
//!
//! What must hold: an operator's role is asked at each request, so a change takes effect at once; what was taken back ends what is
//! open at once ([`Pass`]); what anybody is let in with is given in the turn ([`Turn`]) in which it was found good.

mod grants;
mod identity;
mod people;
mod proof;

pub use grants::{Grant, GrantKind, Granted, LONGEST_TOKEN_US, Login};
pub use identity::Identity;
pub use people::{Operator, OperatorFields};
pub use proof::{Confirmation, Proved};

use super::lockout::{Lockout, Try};
use super::password::{self, Passwords};
use super::{Asking, Credential, Pass, Place};
use crate::store::{ReadError, Statement, Store, Write, WriteError};
use deckport_protocol::{ErrorCode, OperatorId, OrganisationId, Refusal, Role, VenueId};
use grants::forget;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// When something was last used is stored at most so often.
const STORED_EVERY_US: i64 = 60_000_000;

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

/// See the module.
#[derive(Debug)]
pub struct Operators {
    store: Arc<Store>,
    passwords: Passwords,
    state: Mutex<State>,
    turn: tokio::sync::Mutex<()>,
}

/// One change of people, or of what lets them in, after the other: what was read in a turn is what is written over in it. Comparing and
/// making passwords takes long and stands outside; what it was about is looked at again inside ([`Operators::unchanged`]).
struct Turn<'a>(#[expect(dead_code, reason = "held")] tokio::sync::MutexGuard<'a, ()>);

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
        let login = normal(login);
        self.operators.values().find(|operator| normal(&operator.login) == login)
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

/// A login as two of them are the same, however they were typed.
pub(super) fn normal(login: &str) -> String {
    // Longer than any is, it is nobody's, and need not be kept.
    login.trim().chars().take(people::LOGIN + 1).collect::<String>().to_ascii_lowercase()
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
        Ok(Self { store, passwords, state: Mutex::new(state), turn: tokio::sync::Mutex::default() })
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

    async fn turn(&self) -> Turn<'_> {
        Turn(self.turn.lock().await)
    }

    /// Whether somebody at an address may try to come in by a provider's word, or has failed too often.
    pub fn wait_at(&self, address: &str, now_us: i64) -> Result<(), OperatorError> {
        locked(self.state().lockout.wait(Try::Network(address), now_us))
    }

    /// Somebody at an address failed to come in by a provider.
    pub fn failed_at(&self, address: &str, now_us: i64) {
        self.state().lockout.failed(Try::Network(address), now_us);
    }

    /// Where somebody belongs who logs in so.
    pub fn organisation_of(&self, login: &str) -> Option<OrganisationId> {
        self.state().by_login(login).map(|operator| operator.organisation_id)
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
}
