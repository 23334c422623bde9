//! One entry: who did what to what, and the hash that ties it to the entry before it.

use super::signing::Hash;
use crate::store::{ReadError, Row, Table, Value, Values};
use deckport_protocol::rows::visible;
use deckport_protocol::{Actor, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt::Display;
use std::net::IpAddr;
use utoipa::ToSchema;

/// What an entry may say beside its fields, in bytes of JSON; what is more is left out and said so.
const DETAIL_BYTES: usize = 4096;
/// A text in an entry that somebody else chose.
const TEXT_CHARS: usize = 200;

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// Who asked may not.
    Denied,
    /// Who asked may, and it did not come to be.
    Failed,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    Known(Actor),
    /// Somebody without a credential that counts.
    Stranger,
}

impl Who {
    fn text(&self) -> String {
        match self {
            Self::Known(actor) => serde_json::to_string(actor).unwrap_or_default(),
            Self::Stranger => r#"{"kind":"stranger"}"#.to_owned(),
        }
    }
}

/// What it was done to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub struct Subject {
    pub kind: String,
    pub id: String,
}

/// Something to write down. No part of it is ever a secret: no code, no token, no password, no body of a request.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(super) who: Who,
    /// Whose business a stranger's doing is, where that shows.
    pub(super) concerns: Option<Scope>,
    pub(super) address: Option<IpAddr>,
    pub(super) action: Cow<'static, str>,
    pub(super) subject: Option<Subject>,
    pub(super) detail: Map<String, serde_json::Value>,
    pub(super) outcome: Outcome,
}

impl Entry {
    /// `action` is a stable name in snake_case, past tense: `console_revoked`.
    pub fn new(who: Who, action: impl Into<Cow<'static, str>>) -> Self {
        Self {
            who,
            concerns: None,
            address: None,
            action: action.into(),
            subject: None,
            detail: Map::new(),
            outcome: Outcome::Done,
        }
    }

    /// What an actor did.
    pub fn by(actor: &Actor, action: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Who::Known(actor.clone()), action)
    }

    /// What the collector did unasked.
    pub fn own(action: &'static str) -> Self {
        Self::by(&Actor::Collector { scope: Scope::SOLE }, action)
    }

    /// Where the request came from.
    #[must_use]
    pub fn from(mut self, address: Option<IpAddr>) -> Self {
        self.address = address.map(|address| address.to_canonical());
        self
    }

    #[must_use]
    pub fn about(mut self, kind: &'static str, id: impl Display) -> Self {
        self.subject = Some(Subject { kind: kind.to_owned(), id: short(&id.to_string()) });
        self
    }

    /// Says more. Texts are shortened, and what would act in them is shown.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        let value = match value.into() {
            serde_json::Value::String(text) => short(&text).into(),
            value => value,
        };
        self.detail.insert(name.to_owned(), value);
        self
    }

    /// Whose trail it stands in where no actor says so.
    #[must_use]
    pub const fn concerning(mut self, scope: Scope) -> Self {
        self.concerns = Some(scope);
        self
    }

    fn scope(&self) -> Scope {
        match &self.who {
            Who::Known(actor) => actor.scope(),
            Who::Stranger => self.concerns.unwrap_or(Scope::SOLE),
        }
    }

    /// The same, done by this actor.
    #[must_use]
    pub fn by_whom(mut self, actor: &Actor) -> Self {
        self.who = Who::Known(actor.clone());
        self
    }

    /// The same under another name.
    #[must_use]
    pub fn named(mut self, action: &'static str) -> Self {
        self.action = action.into();
        self
    }

    #[must_use]
    pub fn ended(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The entry as it stands in the chain, behind `previous`.
    pub(super) fn stored(&self, position: u64, at: i64, previous: &Hash) -> Stored {
        let scope = self.scope();
        let mut detail = serde_json::to_string(&self.detail).unwrap_or_default();
        if detail.len() > DETAIL_BYTES {
            detail = r#"{"left_out":true}"#.to_owned();
        }
        let mut stored = Stored {
            position,
            at,
            organisation_id: scope.organisation_id.to_string(),
            venue_id: scope.venue_id.map(|venue| venue.to_string()).unwrap_or_default(),
            actor: self.who.text(),
            address: self.address.map(|address| address.to_string()),
            action: short(&self.action),
            subject_kind: self.subject.as_ref().map(|subject| subject.kind.clone()),
            subject_id: self.subject.as_ref().map(|subject| subject.id.clone()),
            detail,
            outcome: self.outcome.as_str().to_owned(),
            hash: [0; 32],
        };
        stored.hash = stored.chained(previous);
        stored
    }
}

fn short(text: &str) -> String {
    let shown = visible(text);
    match shown.char_indices().nth(TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown.into_owned(),
    }
}

/// An entry as it is stored: what is hashed is these texts, not what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub position: u64,
    pub at: i64,
    pub organisation_id: String,
    pub venue_id: String,
    pub actor: String,
    pub address: Option<String>,
    pub action: String,
    pub subject_kind: Option<String>,
    pub subject_id: Option<String>,
    pub detail: String,
    pub outcome: String,
    pub hash: Hash,
}

pub(super) const COLUMNS: &str = "position, at, organisation_id, venue_id, actor, address, action, subject_kind, subject_id, \
     detail, outcome, hash";

pub(super) static TABLE: Table = Table {
    insert: "insert into audit (position, at, organisation_id, venue_id, actor, address, action, subject_kind, subject_id, \
             detail, outcome, hash)",
    columns: 12,
    conflict: "",
    last_wins: false,
};

impl Stored {
    /// The hash that this entry has behind one with the hash `previous`: SHA-256 over that hash and the fields in their order, each
    /// number as 8 bytes, each text behind its length in 8 bytes (little-endian), each that may be missing behind 0 or 1.
    pub(super) fn chained(&self, previous: &Hash) -> Hash {
        let mut hash = Sha256::new();
        hash.update(b"deckport-audit-entry-1\n");
        hash.update(previous);
        hash.update(self.position.to_le_bytes());
        hash.update(self.at.to_le_bytes());
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        text(&self.organisation_id);
        text(&self.venue_id);
        text(&self.actor);
        for field in [&self.address, &self.subject_kind, &self.subject_id] {
            // A text that is there is behind its own mark, so that an empty one differs from none.
            text(if field.is_some() { "1" } else { "0" });
            text(field.as_deref().unwrap_or_default());
        }
        text(&self.action);
        text(&self.detail);
        text(&self.outcome);
        hash.finalize().into()
    }

    pub(super) fn row(&self) -> Row {
        Row {
            table: &TABLE,
            values: vec![
                self.position.into(),
                self.at.into(),
                self.organisation_id.as_str().into(),
                self.venue_id.as_str().into(),
                self.actor.as_str().into(),
                self.address.as_deref().into(),
                self.action.as_str().into(),
                self.subject_kind.as_deref().into(),
                self.subject_id.as_deref().into(),
                self.detail.as_str().into(),
                self.outcome.as_str().into(),
                Value::from(self.hash.to_vec()),
            ],
        }
    }

    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Values) -> Result<Self, ReadError> {
        let text = |column| row.text(column).map(|text| text.as_ref().to_owned());
        let maybe =
            |column| row.maybe_text(column).map(|text| text.map(|text| text.as_ref().to_owned()));
        let hash = row.blob(11)?;
        Ok(Self {
            position: row.count(0)?,
            at: row.int(1)?,
            organisation_id: text(2)?,
            venue_id: text(3)?,
            actor: text(4)?,
            address: maybe(5)?,
            action: text(6)?,
            subject_kind: maybe(7)?,
            subject_id: maybe(8)?,
            detail: text(9)?,
            outcome: text(10)?,
            hash: hash[..].try_into().map_err(|_| ReadError::unexpected("a hash has 32 bytes"))?,
        })
    }

    /// As the API and exports show it.
    pub fn shown(&self) -> AuditEntry {
        let actor: serde_json::Value = serde_json::from_str(&self.actor).unwrap_or_default();
        let said = |name: &str| actor[name].as_str().map(str::to_owned);
        AuditEntry {
            position: self.position,
            at: self.at,
            actor: AuditActor {
                kind: said("kind").unwrap_or_else(|| "unknown".to_owned()),
                id: said("operator_id").or_else(|| said("console_id")),
                role: said("role"),
            },
            address: self.address.clone(),
            action: self.action.clone(),
            subject: self
                .subject_kind
                .clone()
                .zip(self.subject_id.clone())
                .map(|(kind, id)| Subject { kind, id }),
            outcome: self.outcome.clone(),
            detail: serde_json::from_str(&self.detail).unwrap_or_default(),
            hash: super::signing::hex(&self.hash),
        }
    }
}

/// Who did something.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditActor {
    /// `shell` (the desktop app), `local_admin` (the holder of the collector's token), `operator`, `console`, `collector` (itself), `stranger`.
    pub kind: String,
    #[schema(required)]
    pub id: Option<String>,
    #[schema(required)]
    pub role: Option<String>,
}

/// An entry of the audit trail.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// From 1, without holes.
    pub position: u64,
    pub at: i64,
    pub actor: AuditActor,
    /// Where the request came from.
    #[schema(required)]
    pub address: Option<String>,
    /// A stable name, such as `console_revoked`.
    pub action: String,
    #[schema(required)]
    pub subject: Option<Subject>,
    /// `done`, `denied` or `failed`.
    pub outcome: String,
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// Over the entry and the hash of the one before it, in hexadecimal.
    pub hash: String,
}
