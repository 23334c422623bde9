//! Operators whom a provider of logins vouches for: which of ours somebody is.
//!
//! A provider's own name for somebody (`sub`) is theirs for good; their e-mail address may become another's. So the address finds an
//! operator once, and from then on the name does: whoever has the address later does not come in as them.
//!
//! What must hold: nobody comes in whom no admin has added, unless this collector was told to take them in; an address that the provider
//! has not verified finds nobody; a provider's word gives an operator no more than their role here.

use super::grants::{client_name, insert};
use super::people::{fit_login, fit_name};
use super::{GrantKind, Granted, Operator, OperatorError, Operators, State, bad};
use crate::audit::Pen;
use crate::store::{Statement, Write};
use deckport_protocol::{ErrorCode, OperatorId, Refusal, Role, Scope};
use std::collections::BTreeMap;

/// Such a session has ended after so long: whom the provider shuts out is out here the next day.
const SESSION_US: i64 = 24 * 3_600_000_000;
/// Letters of a provider's name for somebody.
const LONGEST: usize = 255;

/// Who somebody is by the word of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    /// The provider's own name for them.
    pub subject: String,
    pub email: Option<String>,
    pub email_verified: bool,
    pub name: Option<String>,
    /// The most that the provider allows them here; none: it has no say.
    pub most: Option<Role>,
    /// When the provider was shown who they are, as far as is known.
    pub proved_at: Option<i64>,
}

impl Identity {
    fn verified(&self) -> Option<&str> {
        self.email.as_deref().filter(|_| self.email_verified)
    }

    /// How they know themselves.
    pub fn shown(&self) -> &str {
        self.email.as_deref().unwrap_or(&self.subject)
    }
}

/// A name that a provider may know somebody by; none where it is empty.
pub(super) fn fit(said: &str) -> Result<Option<String>, OperatorError> {
    let said = said.trim();
    if said.len() > LONGEST || said.chars().any(char::is_control) {
        return Err(bad(format!("an identity is an e-mail address or a `sub`, {LONGEST} at most")));
    }
    Ok((!said.is_empty()).then(|| said.to_owned()))
}

pub(super) fn forget(operator: OperatorId) -> Statement {
    Statement {
        sql: "delete from operator_identity where operator_id = $1",
        values: vec![operator.to_string().into()],
    }
}

impl State {
    /// Whom an admin said that a provider knows by this.
    pub(super) fn by_identity(&self, identity: &str) -> Option<&Operator> {
        let is = |operator: &&Operator| {
            operator.identity.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(identity))
        };
        self.operators.values().find(is)
    }

    /// Which of ours somebody is.
    fn find(&self, identity: &Identity) -> Result<Option<&Operator>, Refusal> {
        let key = (identity.issuer.clone(), identity.subject.clone());
        if let Some(operator) = self.identities.get(&key) {
            return Ok(self.operators.get(operator));
        }
        // What looks like an address is one, and counts only where it was verified.
        let said = |operator: &&Operator| {
            !identity.subject.contains('@') && operator.identity.as_ref() == Some(&identity.subject)
        };
        let by_subject = self.operators.values().find(said);
        let by_email = || {
            let email = identity.verified()?;
            // Whose identity is said is not looked for by their login.
            let by_login = || self.by_login(email).filter(|found| found.identity.is_none());
            self.by_identity(email).or_else(by_login)
        };
        let Some(operator) = by_subject.or_else(by_email) else { return Ok(None) };
        let is_theirs = |((issuer, _), known): (&(String, String), &OperatorId)| {
            *issuer == identity.issuer && *known == operator.id
        };
        if self.identities.iter().any(is_theirs) {
            let text = format!(
                "the operator `{}` logged in with another account of the login provider before; if this is the same person, \
                 an admin forgets the former one",
                operator.login
            );
            return Err(Refusal::new(ErrorCode::LOGIN_REFUSED, text));
        }
        Ok(Some(operator))
    }
}

impl Operators {
    /// Lets somebody in whom a provider vouches for. `create`: the role of those whom nobody has added. `added`: writes down that somebody
    /// was taken in so, `pen` that they logged in.
    pub async fn enter<'a>(
        &self,
        identity: &Identity,
        create: Option<Role>,
        client: Option<&str>,
        now_us: i64,
        added: Pen<'a>,
        pen: Pen<'a>,
    ) -> Result<Granted, OperatorError> {
        // One after the other: two at once are not both taken in.
        let turn = self.turn().await;
        let found = self.state().find(identity)?.cloned();
        let (operator, is_stranger) = match (found, create) {
            (Some(operator), _) => (operator, false),
            (None, Some(role)) => (self.stranger(identity, role, now_us)?, true),
            (None, None) => return Err(unknown(identity).into()),
        };
        if operator.disabled_at.is_some() {
            let text = "this operator was shut out; an admin lets them in again";
            return Err(Refusal::new(ErrorCode::LOGIN_REFUSED, text).into());
        }
        let role = identity.most.unwrap_or(Role::Admin);
        let name = client_name(client);
        let expires_at = now_us + SESSION_US;
        let (secret, mut grant) =
            self.new_grant(&operator, GrantKind::Session, name, role, now_us, expires_at)?;
        grant.proved_at = identity.proved_at.map(|at| at.min(now_us));
        let granted = Granted { secret, grant, operator };
        let operator = &granted.operator;
        let whom = |pen: Pen<'a>| match granted.actor() {
            Some(actor) => pen.by(&actor),
            None => pen,
        };
        if is_stranger {
            let pen = whom(added).with("role", granted.grant.role.to_string());
            self.store_operator(&turn, operator, None, false, pen).await?;
        }
        let mut statements = vec![insert(&granted.grant)];
        let key = (identity.issuer.clone(), identity.subject.clone());
        let is_new = !self.state().identities.contains_key(&key);
        if is_new {
            statements.push(Statement {
                sql: "insert into operator_identity (issuer, subject, operator_id, created_at) \
                      values ($1, $2, $3, $4)",
                values: vec![
                    identity.issuer.as_str().into(),
                    identity.subject.as_str().into(),
                    operator.id.to_string().into(),
                    now_us.into(),
                ],
            });
        }
        let pen = whom(pen).about("login", &operator.login);
        let pen = pen.with("access", granted.grant.id.to_string());
        pen.write(Write { statements, ..Write::default() }).await?;
        let mut state = self.state();
        if is_new {
            state.identities.insert(key, operator.id);
        }
        state.keep(granted.grant.clone());
        Ok(granted)
    }

    /// An operator whom nobody has added, and who has no password.
    fn stranger(
        &self,
        identity: &Identity,
        role: Role,
        now_us: i64,
    ) -> Result<Operator, OperatorError> {
        let email = identity.verified().ok_or_else(|| unknown(identity))?;
        let login = fit_login(email)?;
        if self.state().by_login(&login).is_some() {
            // Somebody whom the provider knows otherwise.
            return Err(unknown(identity).into());
        }
        let name = identity.name.as_deref().and_then(|name| fit_name(name).ok());
        Ok(Operator {
            id: OperatorId::new(),
            organisation_id: Scope::SOLE.organisation_id,
            name: name.unwrap_or_else(|| login.clone()),
            login,
            password: String::new(),
            totp: None,
            totp_step: 0,
            identity: None,
            roles: BTreeMap::from([(None, identity.most.unwrap_or(role))]),
            created_at: now_us,
            disabled_at: None,
        })
    }
}

/// What somebody is told who is none of ours.
fn unknown(identity: &Identity) -> Refusal {
    let text = match (&identity.email, identity.email_verified) {
        (Some(email), true) => format!(
            "the login provider knows you as {email}, and no operator here is: ask an admin to add one with this login"
        ),
        (Some(email), false) => format!(
            "the login provider has not verified that {email} is yours, so it counts for nothing here"
        ),
        (None, _) => format!(
            "the login provider told no e-mail address of yours, only that you are `{}`: ask an admin to give an operator that identity",
            identity.subject
        ),
    };
    Refusal::new(ErrorCode::LOGIN_REFUSED, text)
}
