//! Sessions, and tokens of programs: how they are given, listed and ended.

use super::people::{NAME, fit_name};
use super::proof::Typed;
use super::{Operator, OperatorError, Operators, hash, missing, word};
use crate::audit::Pen;
use crate::auth::{Pass, random_token};
use crate::store::{Statement, Write};
use deckport_protocol::{Actor, ErrorCode, OperatorId, OrganisationId, Refusal, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A session that is not used for so long has ended …
const SESSION_IDLE_US: i64 = 7 * 86_400_000_000;
/// … and any after so long.
const SESSION_US: i64 = 30 * 86_400_000_000;
/// How long a program's token is good at most.
pub const LONGEST_TOKEN_US: i64 = 366 * 86_400_000_000;
/// Grants that one operator holds at once.
const MOST_GRANTS: usize = 100;

/// What logs in, for the list of sessions.
pub(super) fn client_name(said: Option<&str>) -> String {
    said.unwrap_or("a browser").chars().filter(|c| !c.is_control()).take(NAME).collect()
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
    /// The most that it allows; what its operator may is asked at each request.
    pub role: Role,
    pub created_at: i64,
    pub seen_at: i64,
    pub expires_at: i64,
    /// When its holder last showed that it is they who sit there; none: never, or so long ago that it does not matter.
    pub(super) proved_at: Option<i64>,
    pub(super) hash: String,
    pub(super) stored_at: i64,
    pub(super) pass: Pass,
}

impl Grant {
    pub(super) fn is_good(&self, now_us: i64) -> bool {
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

impl Operators {
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
            within: None,
        };
        let (verified, statement) = self.verify(typed, address, now_us).await?;
        let (_turn, operator) = self.unchanged(&verified).await?;
        let name = client_name(login.client.as_deref());
        let expires_at = now_us + SESSION_US;
        // All that they may at each moment.
        let most = Role::Admin;
        let (secret, mut grant) =
            self.new_grant(&operator, GrantKind::Session, name, most, now_us, expires_at)?;
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

    pub(super) fn new_grant(
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
        let secret = random_token().ok_or(OperatorError::Random)?;
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

    /// A token for a program, of an operator's own rights or less; `by`: the session that asks.
    pub async fn give_token(
        &self,
        operator: OperatorId,
        by: Uuid,
        (name, role): (&str, Role),
        now_us: i64,
        expires_at: i64,
        pen: Pen<'_>,
    ) -> Result<Granted, OperatorError> {
        let name = fit_name(name)?;
        let _turn = self.turn().await;
        let (operator, most) = {
            let state = self.state();
            let operator = state.operators.get(&operator).cloned().ok_or_else(missing)?;
            // What asks was let in; it may have ended since.
            let asks = state.grants.get(&by).filter(|_| operator.disabled_at.is_none());
            let text = "this session has ended; log in again";
            let ended = || Refusal::new(ErrorCode::UNAUTHENTICATED, text);
            (operator, asks.ok_or_else(ended)?.role)
        };
        let own = operator.highest().min(most);
        if role > own {
            let text =
                format!("a token allows no more than whoever asks for it, who is {own} here");
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
}

pub(super) fn insert(grant: &Grant) -> Statement {
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

pub(super) fn forget(id: Uuid) -> Statement {
    Statement {
        sql: "delete from grant_of_access where id = $1",
        values: vec![id.to_string().into()],
    }
}
