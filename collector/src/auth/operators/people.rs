//! People: who there is, what they may do and what lets them in; how that is changed.
//!
//! What must hold: a change begins with what is there now, read in its turn ([`Turn`]), so that of two at once none undoes the other; the
//! last admin is never taken away.

use super::{OperatorError, Operators, Turn, bad, identity, missing, password, word};
use crate::audit::Pen;
use crate::store::{Statement, Write};
use deckport_protocol::{
    Actor, ErrorCode, OperatorId, OrganisationId, Refusal, Role, Scope, VenueId,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Letters of a name.
pub(super) const NAME: usize = 120;
/// Letters of a login.
pub(super) const LOGIN: usize = 64;

/// A person.
#[derive(Clone, Debug)]
pub struct Operator {
    pub id: OperatorId,
    pub organisation_id: OrganisationId,
    pub login: String,
    pub name: String,
    pub(super) password: String,
    pub(super) totp: Option<String>,
    pub(super) totp_step: i64,
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

    /// The most that they are anywhere.
    pub fn highest(&self) -> Role {
        self.roles.values().copied().max().unwrap_or(Role::Viewer)
    }

    /// Where somebody acts who does not say where: everywhere if they may, else in the first venue that is theirs.
    pub(super) fn home(&self) -> Option<Option<VenueId>> {
        if self.roles.contains_key(&None) { Some(None) } else { self.roles.keys().next().copied() }
    }

    /// What they are where they act, for a session or token that allows at most `most`.
    pub(super) fn acting(&self, venue: Option<VenueId>, most: Role) -> Option<Actor> {
        let role = match venue {
            Some(venue) => self.role_in(venue),
            None => self.role_everywhere(),
        };
        let scope = Scope { organisation_id: self.organisation_id, venue_id: venue };
        let role = role?.min(most);
        Some(Actor::Operator { scope, operator_id: self.id, role })
    }

    /// The roles in words: `admin everywhere, viewer in ID`.
    fn roles_text(&self) -> String {
        let each = self.roles.iter().map(|(venue, role)| match venue {
            Some(venue) => format!("{} in {venue}", word(*role)),
            None => format!("{} everywhere", word(*role)),
        });
        each.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn is_admin(&self) -> bool {
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
    /// Nobody is let in with it. As it was where it is left out.
    #[serde(default)]
    pub disabled: Option<bool>,
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

impl Operators {
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
        let password = match &fields.password {
            Some(password) => {
                if let Some(why) = password::unfit(password, &login) {
                    return Err(bad(why));
                }
                Some(self.passwords.hash(password).await.ok_or(OperatorError::Random)?)
            }
            None => None,
        };
        let turn = self.turn().await;
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
        let password = match (password, &before) {
            (Some(password), _) => password,
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
        let disabled = fields.disabled.unwrap_or(operator.disabled_at.is_some());
        operator.disabled_at = disabled.then(|| operator.disabled_at.unwrap_or(now_us));
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
        let ends = disabled || (before.is_some() && fields.password.is_some());
        let pen = tell(pen, &operator, before.as_ref(), fields);
        self.store_operator(&turn, &operator, ends.then_some(None), fields.forget_identity, pen)
            .await?;
        if before.is_some_and(|before| before.roles != operator.roles) {
            self.state().cut(operator.id);
        }
        Ok(operator)
    }

    /// Somebody whose password was compared, if nothing that lets them in has changed since; and the turn in which that holds.
    pub(super) async fn unchanged(
        &self,
        compared: &Operator,
    ) -> Result<(Turn<'_>, Operator), OperatorError> {
        let turn = self.turn().await;
        let now = self.get(compared.id).ok_or_else(missing)?;
        let same = now.password == compared.password && now.totp == compared.totp;
        if same && now.disabled_at.is_none() {
            return Ok((turn, now));
        }
        let text = "what lets this operator in was changed a moment ago; try again";
        Err(Refusal::new(ErrorCode::LOGIN_REFUSED, text).into())
    }

    /// Stores an operator as it is now, then takes it over. `end`: all their grants, but for one. `forget`: as whom a provider knew
    /// them.
    pub(super) async fn store_operator(
        &self,
        _turn: &Turn<'_>,
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
                      password = excluded.password, totp = excluded.totp, totp_step = \
                      case when operator.totp_step > excluded.totp_step then operator.totp_step \
                      else excluded.totp_step end, disabled_at = excluded.disabled_at, \
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
        // Codes are used up without a turn: none that was becomes good again.
        let used = state.operators.get(&operator.id).map_or(0, |known| known.totp_step);
        let totp_step = operator.totp_step.max(used);
        state.operators.insert(operator.id, Operator { totp_step, ..operator.clone() });
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
        let verified = self.verify_own((id, grant), old, wrong, from).await?;
        if let Some(why) = password::unfit(new, &verified.login) {
            return Err(bad(why));
        }
        let password = self.passwords.hash(new).await.ok_or(OperatorError::Random)?;
        let (turn, operator) = self.unchanged(&verified).await?;
        let operator = Operator { password, ..operator };
        self.store_operator(&turn, &operator, Some(grant), false, pen).await
    }

    /// Somebody proves that their authenticator app holds `secret`: from now on it is asked for.
    pub async fn take_second_factor(
        &self,
        who: (OperatorId, Option<Uuid>),
        password: &str,
        (secret, code): (&str, &str),
        (address, now_us): (&str, i64),
        pen: Pen<'_>,
    ) -> Result<(), OperatorError> {
        let wrong = "the password is wrong";
        let verified = self.verify_own(who, password, wrong, (address, now_us)).await?;
        let (turn, mut operator) = self.unchanged(&verified).await?;
        if operator.totp.is_some() {
            return Err(bad("there is a second factor already; take it away first"));
        }
        let step = password::totp_step(secret, code, now_us).ok_or_else(|| {
            bad("these are not the six digits of now: look whether the clocks of phone and collector agree")
        })?;
        operator.totp = Some(secret.to_owned());
        operator.totp_step = step;
        self.store_operator(&turn, &operator, None, false, pen).await
    }

    /// Somebody takes their second factor away, with their password.
    pub async fn drop_second_factor(
        &self,
        who: (OperatorId, Option<Uuid>),
        password: &str,
        from: (&str, i64),
        pen: Pen<'_>,
    ) -> Result<(), OperatorError> {
        let verified = self.verify_own(who, password, "the password is wrong", from).await?;
        let (turn, mut operator) = self.unchanged(&verified).await?;
        operator.totp = None;
        self.store_operator(&turn, &operator, None, false, pen).await
    }
}
/// Writes down what somebody is from now on, and what they were where that is another.
fn tell<'a>(
    pen: Pen<'a>,
    operator: &Operator,
    before: Option<&Operator>,
    fields: &OperatorFields,
) -> Pen<'a> {
    let mut pen = pen
        .with("login", operator.login.as_str())
        .with("roles", operator.roles_text())
        .with("disabled", operator.disabled_at.is_some())
        .with("new_password", fields.password.is_some());
    if let Some(before) = before {
        if before.roles != operator.roles {
            pen = pen.with("former_roles", before.roles_text());
        }
        if before.login != operator.login {
            pen = pen.with("former_login", before.login.as_str());
        }
    }
    if fields.forget_second_factor || fields.forget_identity {
        pen = pen
            .with("second_factor_forgotten", fields.forget_second_factor)
            .with("account_forgotten", fields.forget_identity);
    }
    if operator.identity.as_ref() != before.and_then(|before| before.identity.as_ref()) {
        pen = pen.with("identity", operator.identity.as_deref());
    }
    pen
}

pub(super) fn fit_login(login: &str) -> Result<String, OperatorError> {
    let login = login.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '+');
    if login.is_empty() || login.len() > LOGIN || !login.chars().all(fits) {
        return Err(bad(format!(
            "a login has letters, digits, `.`, `-`, `_`, `+` and `@`, {LOGIN} at most"
        )));
    }
    Ok(login.to_owned())
}

pub(super) fn fit_name(name: &str) -> Result<String, OperatorError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
        return Err(bad(format!("a name has 1 to {NAME} characters, and none that is not shown")));
    }
    Ok(name.to_owned())
}
