//! Consoles come in with a code, renew what they were given, and are sent away.
//!
//! What decides is in memory ([`Roll`], [`JoinToken`]) and read from the store at the start; each change is durable before it is
//! answered. A code is counted as used before the certificate is handed out: an answer that is lost costs a code and never lets
//! two consoles in.

use super::authority::{Authority, SignError, Signed};
use super::joining::{Code, JoinToken, unknown};
use super::roll::{Admission, Enrolled, Issued, LIFETIME_US, REMEMBERED, Roll, Standing};
use super::tls::ConsoleCertificate;
use crate::audit::{Audit, Entry, Outcome, Pen};
use crate::store::{ReadError, Statement, Store, Write, WriteError};
use deckport_protocol::{
    Actor, ConsoleId, ErrorCode, OrganisationId, Refusal, Scope, Tenant, VenueId,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Codes that can be open at once in an organisation.
const MOST_OPEN: usize = 200;
/// Consoles that one code may let in.
pub const MOST_USES: u64 = 500;
/// Codes that do not count any more are forgotten after so long.
const KEPT_US: i64 = 30 * 86_400_000_000;

/// Why a console was not let in, or something else did not happen.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the system gave no random bytes")]
    Random,
}

/// What a console gets.
#[derive(Clone, Debug)]
pub struct Joined {
    pub console_id: ConsoleId,
    pub tenant: Tenant,
    pub template: String,
    pub signed: Signed,
    pub ends_at: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Enrolment {
    store: Arc<Store>,
    authority: Arc<Authority>,
    audit: Arc<Audit>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    roll: Roll,
    tokens: HashMap<Uuid, JoinToken>,
    templates: HashMap<ConsoleId, String>,
    numbers: HashMap<ConsoleId, u64>,
    /// Ends what an enrolled console has open, when it is sent away.
    admitted: HashMap<ConsoleId, CancellationToken>,
}

impl Enrolment {
    /// Reads who is enrolled.
    pub async fn open(
        store: Arc<Store>,
        authority: Arc<Authority>,
        audit: Arc<Audit>,
    ) -> Result<Self, ReadError> {
        let mut state = State::default();
        let certificates = "select console_id, serial, number, key, ends_at, used_at from \
             console_certificate order by console_id, number";
        let mut issued: HashMap<ConsoleId, Vec<Issued>> = HashMap::new();
        for row in store.fetch(certificates, []).await? {
            let console = row.parsed(0)?;
            state.numbers.insert(console, row.count(2)?);
            issued.entry(console).or_default().push(Issued {
                serial: row.text(1)?.as_ref().to_owned(),
                key: row.parsed(3)?,
                ends_at: row.int(4)?,
                used_at: row.maybe_int(5)?,
            });
        }
        let consoles = "select console_id, organisation_id, venue_id, template, standing \
             from enrolled_console";
        for row in store.fetch(consoles, []).await? {
            let console = row.parsed(0)?;
            let standing = match row.text(4)?.as_ref() {
                "enrolled" => Standing::Enrolled,
                "revoked" => Standing::Revoked,
                "locked" => Standing::Locked,
                other => return Err(ReadError::unexpected(format_args!("standing `{other}`"))),
            };
            let issued = issued.remove(&console).unwrap_or_default();
            let tenant = tenant(row.parsed(1)?, row.parsed(2)?);
            state.roll.restore(console, Enrolled { tenant, standing, issued });
            state.templates.insert(console, row.text(3)?.as_ref().to_owned());
        }
        let tokens = "select id, organisation_id, venue_id, template, hash, uses, most_uses, \
             created_at, expires_at, revoked_at from join_token";
        for row in store.fetch(tokens, []).await? {
            let token = JoinToken {
                id: row.parsed(0)?,
                tenant: tenant(row.parsed(1)?, row.parsed(2)?),
                template: row.text(3)?.as_ref().to_owned(),
                hash: row.text(4)?.as_ref().to_owned(),
                uses: row.count(5)?,
                most_uses: row.count(6)?,
                created_at: row.int(7)?,
                expires_at: row.int(8)?,
                revoked_at: row.maybe_int(9)?,
            };
            state.tokens.insert(token.id, token);
        }
        Ok(Self { store, authority, audit, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a code that lets `uses` consoles in until `expires_at`. This is the only time that the code itself is known.
    pub async fn invite(
        &self,
        tenant: Tenant,
        template: &str,
        uses: u64,
        now_us: i64,
        expires_at: i64,
        pen: Pen<'_>,
    ) -> Result<(Code, JoinToken), EnrolError> {
        let code = Code::random().ok_or(EnrolError::Random)?;
        let token = JoinToken {
            id: Uuid::now_v7(),
            tenant,
            template: template.to_owned(),
            hash: code.hash(),
            uses: 0,
            most_uses: uses,
            created_at: now_us,
            expires_at,
            revoked_at: None,
        };
        let open = |other: &&JoinToken| {
            other.tenant.organisation_id == tenant.organisation_id && other.check(now_us).is_ok()
        };
        if self.state().tokens.values().filter(open).count() >= MOST_OPEN {
            let text = format!("{MOST_OPEN} codes are open already; take some back first");
            return Err(Refusal::new(ErrorCode::RATE_EXCEEDED, text).into());
        }
        let statements = vec![
            Statement {
                sql: "insert into join_token (id, organisation_id, venue_id, template, hash, uses, \
                      most_uses, created_at, expires_at) values ($1, $2, $3, $4, $5, 0, $6, $7, $8)",
                values: vec![
                    token.id.to_string().into(),
                    tenant.organisation_id.to_string().into(),
                    tenant.venue_id.to_string().into(),
                    template.into(),
                    token.hash.as_str().into(),
                    uses.into(),
                    now_us.into(),
                    expires_at.into(),
                ],
            },
            Statement {
                sql: "delete from join_token where expires_at < $1",
                values: vec![(now_us - KEPT_US).into()],
            },
        ];
        let pen = pen.about("join_token", token.id).with("template", template);
        let pen = pen.with("venue", tenant.venue_id.to_string());
        let pen = pen.with("uses", uses).with("expires_at", expires_at);
        pen.write(Write { statements, ..Write::default() }).await?;
        let mut state = self.state();
        state.tokens.retain(|_, token| token.expires_at >= now_us - KEPT_US);
        state.tokens.insert(token.id, token.clone());
        Ok((code, token))
    }

    /// The codes of a scope, the newest first.
    pub fn invitations(&self, scope: Scope) -> Vec<JoinToken> {
        let state = self.state();
        let ours = |token: &&JoinToken| scope.covers(token.tenant);
        let mut tokens: Vec<JoinToken> = state.tokens.values().filter(ours).cloned().collect();
        tokens.sort_by_key(|token| std::cmp::Reverse(token.id));
        tokens
    }

    /// Takes a code back. False where there is none.
    pub async fn take_back(
        &self,
        scope: Scope,
        id: Uuid,
        now_us: i64,
        pen: Pen<'_>,
    ) -> Result<bool, WriteError> {
        {
            let mut state = self.state();
            let token = state.tokens.get_mut(&id);
            let Some(token) = token.filter(|token| scope.covers(token.tenant)) else {
                return Ok(false);
            };
            token.revoked_at.get_or_insert(now_us);
        }
        let statements = vec![Statement {
            sql: "update join_token set revoked_at = $2 where id = $1 and revoked_at is null",
            values: vec![id.to_string().into(), now_us.into()],
        }];
        pen.about("join_token", id).write(Write { statements, ..Write::default() }).await?;
        Ok(true)
    }

    /// Lets a console in that knows a code. One that is in already is replaced by none but itself: by whoever holds its key (`shown`),
    /// or, where that was copied, with a code of its own venue.
    pub async fn join(
        &self,
        code: &str,
        console: ConsoleId,
        shown: Option<&ConsoleCertificate>,
        request_pem: &str,
        now_us: i64,
        pen: Pen<'_>,
    ) -> Result<Joined, EnrolError> {
        let hash = Code::typed(code).ok_or_else(unknown)?.hash();
        let ends_at = now_us + LIFETIME_US;
        // Before the code is used up: a request that cannot be signed should not cost one.
        let signed =
            self.authority.sign(request_pem, console, seconds(now_us), seconds(ends_at))?;
        let (token, before) = {
            let mut state = self.state();
            let known = state.roll.get(console).map(|known| (known.tenant, known.standing));
            let enrolled = state.roll.get(console);
            let is_itself = shown.zip(enrolled).is_some_and(|(shown, enrolled)| {
                shown.console_id == console && enrolled.is_of(&shown.serial, shown.ends_at)
            });
            let mut tokens = state.tokens.values_mut();
            let token = tokens.find(|token| token.hash == hash).ok_or_else(unknown)?;
            token.check(now_us)?;
            // A console of somebody else's is not taken over with a code of one's own.
            let belongs = known.map(|(known, _)| known.organisation_id);
            if belongs.is_some_and(|known| known != token.tenant.organisation_id) {
                let text = "this console is another organisation's; without its state directory it is a new one";
                return Err(Refusal::new(ErrorCode::FORBIDDEN, text).into());
            }
            let may = known.is_none_or(|(known, standing)| match standing {
                Standing::Revoked => true,
                Standing::Enrolled => is_itself,
                // The key may be in two hands: somebody who knows the venue lets it in again.
                Standing::Locked => known == token.tenant,
            });
            if !may {
                let text = "a console with this id is in already, and this one did not show its key: an operator \
                            removes that one first (Fleet, Remove), then the code adds this one";
                return Err(Refusal::new(ErrorCode::FORBIDDEN, text).into());
            }
            token.uses += 1;
            (token.clone(), known.map(|(known, _)| known))
        };
        let number = self.next_number(console);
        let tenant = token.tenant;
        let statements = vec![
            Statement {
                sql: "update join_token set uses = uses + 1 where id = $1",
                values: vec![token.id.to_string().into()],
            },
            Statement {
                sql: "insert into enrolled_console (console_id, organisation_id, venue_id, template, \
                      standing, enrolled_at, changed_at) values ($1, $2, $3, $4, 'enrolled', $5, $5) \
                      on conflict (console_id) do update set organisation_id = excluded.organisation_id, \
                      venue_id = excluded.venue_id, template = excluded.template, \
                      standing = excluded.standing, enrolled_at = excluded.enrolled_at, \
                      changed_at = excluded.changed_at",
                values: vec![
                    console.to_string().into(),
                    tenant.organisation_id.to_string().into(),
                    tenant.venue_id.to_string().into(),
                    token.template.as_str().into(),
                    now_us.into(),
                ],
            },
            // What was made for it before no longer counts.
            Statement {
                sql: "delete from console_certificate where console_id = $1",
                values: vec![console.to_string().into()],
            },
            insert(console, number, &signed, ends_at),
        ];
        let pen = pen.concerning(tenant.into()).about("console", console);
        let pen = pen.with("join_token", token.id.to_string());
        let pen = pen.with("venue", tenant.venue_id.to_string());
        let pen = pen.with("template", token.template.as_str()).with("key", signed.key.to_string());
        let pen = match before {
            Some(before) => pen.with("from_venue", before.venue_id.to_string()),
            None => pen,
        };
        if let Err(error) = pen.write(Write { statements, ..Write::default() }).await {
            // Nobody came in with it.
            if let Some(token) = self.state().tokens.get_mut(&token.id) {
                token.uses -= 1;
            }
            return Err(error.into());
        }
        let open = {
            let mut state = self.state();
            state.roll.enrol(console, tenant, issued(&signed, ends_at));
            state.templates.insert(console, token.template.clone());
            state.admitted.remove(&console)
        };
        if let Some(open) = open {
            // What its former self has open ends here.
            open.cancel();
        }
        Ok(Joined { console_id: console, tenant, template: token.template, signed, ends_at })
    }

    /// A new certificate for a console that shows one that counts.
    pub async fn renew(
        &self,
        console: ConsoleId,
        request_pem: &str,
        now_us: i64,
        pen: Pen<'_>,
    ) -> Result<Joined, EnrolError> {
        let ends_at = now_us + LIFETIME_US;
        let signed =
            self.authority.sign(request_pem, console, seconds(now_us), seconds(ends_at))?;
        let number = self.next_number(console);
        let forget = Statement {
            sql: "delete from console_certificate where console_id = $1 and number <= $2",
            values: vec![
                console.to_string().into(),
                number.saturating_sub(REMEMBERED as u64).into(),
            ],
        };
        let statements = vec![insert(console, number, &signed, ends_at), forget];
        let pen = pen.about("console", console).with("key", signed.key.to_string());
        // A console can renew as often as it likes.
        pen.write_bounded(Write { statements, ..Write::default() }).await?;
        let mut state = self.state();
        state.roll.renewed(console, issued(&signed, ends_at));
        let enrolled = state.roll.get(console).map(|enrolled| enrolled.tenant);
        let tenant = enrolled.ok_or_else(unknown)?;
        let template = state.templates.get(&console).cloned().unwrap_or_default();
        Ok(Joined { console_id: console, tenant, template, signed, ends_at })
    }

    fn next_number(&self, console: ConsoleId) -> u64 {
        let mut state = self.state();
        let number = state.numbers.entry(console).or_default();
        *number += 1;
        *number
    }

    /// Sends a console away: what it has open ends at once. False where there is none.
    pub async fn revoke(
        &self,
        scope: Scope,
        console: ConsoleId,
        now_us: i64,
        pen: Pen<'_>,
    ) -> Result<bool, WriteError> {
        let open = {
            let mut state = self.state();
            let known = state.roll.get(console);
            if known.is_none_or(|known| !scope.covers(known.tenant)) {
                return Ok(false);
            }
            state.roll.set(console, Standing::Revoked);
            state.admitted.remove(&console)
        };
        if let Some(open) = open {
            open.cancel();
        }
        let statements = vec![stands(console, "revoked", now_us)];
        pen.about("console", console).write(Write { statements, ..Write::default() }).await?;
        Ok(true)
    }

    /// Who comes with a certificate: the actor, and what ends when it is sent away.
    pub fn admit(
        &self,
        certificate: &ConsoleCertificate,
        may_be_ended: bool,
        now_us: i64,
    ) -> Result<(Actor, CancellationToken), Refusal> {
        let console = certificate.console_id;
        let mut state = self.state();
        let (tenant, first) = match state.roll.admit(console, &certificate.serial, now_us) {
            Admission::Admitted { tenant, first } => (tenant, first),
            Admission::Ended { tenant, first } if may_be_ended => (tenant, first),
            Admission::Ended { .. } => {
                let text = "this console's certificate has ended; its agent renews it by itself";
                return Err(Refusal::new(ErrorCode::CERTIFICATE_ENDED, text));
            }
            Admission::Refused(refusal) => return Err(refusal),
            Admission::Cloned(refusal) => {
                let open = state.admitted.remove(&console);
                drop(state);
                if let Some(open) = open {
                    open.cancel();
                }
                tracing::warn!(console.id = %console, "a key of a console was used in two places; it is locked out");
                self.lock_later(console, &certificate.serial, now_us);
                return Err(refusal);
            }
        };
        let open = state.admitted.entry(console).or_default().clone();
        drop(state);
        if first {
            self.later(Statement {
                sql: "update console_certificate set used_at = $2 where serial = $1",
                values: vec![certificate.serial.as_str().into(), now_us.into()],
            });
        }
        Ok((Actor::Console { tenant, console_id: console }, open))
    }

    /// Written down with what is stored, without anybody waiting: memory knows it already.
    fn lock_later(&self, console: ConsoleId, serial: &str, now_us: i64) {
        let entry = Entry::own("console_locked").about("console", console);
        let entry = entry.with("why", "key_in_two_places").with("serial", serial);
        let audit = Arc::clone(&self.audit);
        tokio::spawn(async move {
            let statements = vec![stands(console, "locked", now_us)];
            let write = Write { statements, ..Write::default() };
            if let Err(error) = audit.write(entry.ended(Outcome::Done), write).await {
                tracing::warn!(%error, "how a console stands could not be stored");
            }
        });
    }

    /// Stored without anybody waiting: memory knows it already.
    fn later(&self, statement: Statement) {
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let write = Write { statements: vec![statement], ..Write::default() };
            if let Err(error) = store.writer().write(write).await {
                tracing::warn!(%error, "how a console stands could not be stored");
            }
        });
    }

    /// Where a console belongs.
    pub fn tenant_of(&self, console: ConsoleId) -> Option<Tenant> {
        self.state().roll.get(console).map(|enrolled| enrolled.tenant)
    }

    /// The consoles of a scope and how they stand.
    pub fn consoles(&self, scope: Scope) -> Vec<(ConsoleId, Enrolled)> {
        let state = self.state();
        let all = state.roll.iter();
        all.filter(|(_, enrolled)| scope.covers(enrolled.tenant))
            .map(|(console, enrolled)| (console, enrolled.clone()))
            .collect()
    }

    /// The template that a console was enrolled for.
    pub fn template(&self, console: ConsoleId) -> Option<String> {
        self.state().templates.get(&console).cloned()
    }
}

fn tenant(organisation_id: OrganisationId, venue_id: VenueId) -> Tenant {
    Tenant { organisation_id, venue_id }
}

const fn seconds(us: i64) -> i64 {
    us / 1_000_000
}

fn issued(signed: &Signed, ends_at: i64) -> Issued {
    Issued { serial: signed.serial.clone(), key: signed.key, ends_at, used_at: None }
}

fn insert(console: ConsoleId, number: u64, signed: &Signed, ends_at: i64) -> Statement {
    Statement {
        sql: "insert into console_certificate (serial, console_id, number, key, ends_at) \
              values ($1, $2, $3, $4, $5)",
        values: vec![
            signed.serial.as_str().into(),
            console.to_string().into(),
            number.into(),
            signed.key.to_string().into(),
            ends_at.into(),
        ],
    }
}

fn stands(console: ConsoleId, standing: &'static str, now_us: i64) -> Statement {
    Statement {
        sql: "update enrolled_console set standing = $2, changed_at = $3 where console_id = $1",
        values: vec![console.to_string().into(), standing.into(), now_us.into()],
    }
}
