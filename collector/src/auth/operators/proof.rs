//! What somebody types to show who they are: to log in, and again within their session before what counts.
//!
//! Wherever a password is compared, the same slowing down of guesses stands in front of it: whoever found an open session cannot use
//! it to guess what would let them in for good.

use super::{GrantKind, Operator, OperatorError, Operators, locked, missing, password};
use crate::audit::Pen;
use crate::auth::lockout::Try;
use crate::store::{Statement, Write};
use deckport_protocol::{ErrorCode, OperatorId, Refusal};
use serde::Deserialize;
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

/// Whether what somebody asks with shows who sits there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proved {
    /// Their session did, at this time; none: not that anybody knows.
    At(Option<i64>),
    /// It never can: a program's token, or a ticket.
    Never,
}

impl Proved {
    /// What to say to somebody who does what counts; a proof is fresh for so long.
    pub fn demand(self, now_us: i64, fresh: Duration) -> Result<(), Refusal> {
        // One from the future is none: the clock was set back since.
        let age = |at: i64| u64::try_from(now_us.saturating_sub(at)).map(Duration::from_micros);
        match self {
            Self::At(Some(at)) if age(at).is_ok_and(|age| age < fresh) => Ok(()),
            Self::At(_) => Err(Refusal::new(
                ErrorCode::PROOF_NEEDED,
                "this needs a fresh proof that it is you who sits there: your password, or another login at the provider",
            )),
            Self::Never => Err(never()),
        }
    }

    /// What to say to a program that does what only people do.
    pub fn demand_person(self) -> Result<(), Refusal> {
        match self {
            Self::At(_) => Ok(()),
            Self::Never => Err(never()),
        }
    }
}

fn never() -> Refusal {
    let text = "this is for people, who log in: a program's token does not do";
    Refusal::new(ErrorCode::FORBIDDEN, text)
}

/// What somebody types within their session.
#[derive(Clone, Deserialize, ToSchema)]
pub struct Confirmation {
    pub password: String,
    /// The six digits of the authenticator app, where the operator has one.
    #[serde(default)]
    pub code: Option<String>,
}

impl std::fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confirmation").finish_non_exhaustive()
    }
}

/// Whom it is about, and what was typed.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    pub(super) login: &'a str,
    pub(super) password: &'a str,
    /// None: the second factor is not asked for.
    pub(super) code: Option<Option<&'a str>>,
    /// What is wrong when the password is.
    pub(super) wrong: &'static str,
    /// Within which session; none: to log in.
    pub(super) within: Option<Uuid>,
}

impl Operators {
    /// Who has typed this, and what is to be stored for it. Wrong ones count for the next try's wait.
    pub(super) async fn verify(
        &self,
        typed: Typed<'_>,
        address: &str,
        now_us: i64,
    ) -> Result<(Operator, Option<Statement>), OperatorError> {
        let who = match typed.within {
            Some(session) => Try::Session(session),
            None => Try::Login { login: typed.login, network: address },
        };
        let known = {
            let mut state = self.state();
            locked(state.lockout.wait(who, now_us))?;
            // Taken back when it was good: many at once are not all free.
            state.lockout.failed(who, now_us);
            state.by_login(typed.login).cloned()
        };
        let has_one = known.as_ref().filter(|operator| operator.has_password());
        let good = has_one.map(|operator| operator.password.as_str());
        let good = self.passwords.is(typed.password, good).await;
        let wrong = || Refusal::new(ErrorCode::LOGIN_REFUSED, typed.wrong);
        let operator = known.filter(|_| good).ok_or_else(wrong)?;
        if operator.disabled_at.is_some() {
            let text = "this operator was shut out; an admin lets them in again";
            return Err(Refusal::new(ErrorCode::LOGIN_REFUSED, text).into());
        }
        let mut statement = None;
        if let (Some(secret), Some(code)) = (&operator.totp, typed.code) {
            let Some(code) = code.filter(|code| !code.trim().is_empty()) else {
                // No guess; but those before it were, and leaving the digits out does not undo them.
                self.state().lockout.excused(who);
                let text = "the six digits of the authenticator app are needed as well";
                return Err(Refusal::new(ErrorCode::CODE_NEEDED, text).into());
            };
            let found = password::totp_step(secret, code, now_us);
            let fresh = found.filter(|step| *step > operator.totp_step);
            let text = "the six digits are wrong, or were used already: wait for the next ones";
            let refused = || Refusal::new(ErrorCode::LOGIN_REFUSED, text);
            let step = fresh.ok_or_else(refused)?;
            // Under the lock: of two at once one is first.
            let mut state = self.state();
            let stands = state.operators.get_mut(&operator.id).ok_or_else(missing)?;
            if step <= stands.totp_step {
                return Err(refused().into());
            }
            stands.totp_step = step;
            statement = Some(Statement {
                sql: "update operator set totp_step = $2 where id = $1",
                values: vec![operator.id.to_string().into(), step.into()],
            });
        }
        self.state().lockout.succeeded(who, now_us);
        Ok((operator, statement))
    }

    /// Whether this is somebody's own password, who is logged in.
    pub(super) async fn verify_own(
        &self,
        (id, session): (OperatorId, Option<Uuid>),
        password: &str,
        wrong: &'static str,
        (address, now_us): (&str, i64),
    ) -> Result<Operator, OperatorError> {
        let login = self.get(id).ok_or_else(missing)?.login;
        let typed = Typed { login: &login, password, code: None, wrong, within: session };
        Ok(self.verify(typed, address, now_us).await?.0)
    }

    /// Somebody shows, within their session, that it is they.
    pub async fn prove(
        &self,
        id: OperatorId,
        grant: Uuid,
        typed: &Confirmation,
        address: &str,
        now_us: i64,
        pen: Pen<'_>,
    ) -> Result<(), OperatorError> {
        let of_session = {
            let state = self.state();
            state.grants.get(&grant).is_some_and(|grant| grant.kind == GrantKind::Session)
        };
        if !of_session {
            return Err(never().into());
        }
        let operator = self.get(id).ok_or_else(missing)?;
        if !operator.has_password() {
            let text = "you have no password here: log in again at the login provider";
            return Err(Refusal::new(ErrorCode::BAD_REQUEST, text).into());
        }
        let shown = Typed {
            login: &operator.login,
            password: &typed.password,
            code: Some(typed.code.as_deref()),
            wrong: "the password is wrong",
            within: Some(grant),
        };
        let (_, statement) = self.verify(shown, address, now_us).await?;
        let proved = Statement {
            sql: "update grant_of_access set proved_at = $2 where id = $1",
            values: vec![grant.to_string().into(), now_us.into()],
        };
        let statements = statement.into_iter().chain([proved]).collect();
        pen.write(Write { statements, ..Write::default() }).await?;
        let mut state = self.state();
        // It may have ended meanwhile.
        if let Some(grant) = state.grants.get_mut(&grant) {
            grant.proved_at = Some(now_us);
        }
        Ok(())
    }
}

impl super::Grant {
    pub(super) fn proved(&self) -> Proved {
        match self.kind {
            GrantKind::Session => Proved::At(self.proved_at),
            GrantKind::Token => Proved::Never,
        }
    }
}
