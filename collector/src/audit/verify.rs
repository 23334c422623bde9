//! Is the trail as it was written?
//!
//! Reads all of it, beside a collector that may be running, and changes nothing. Three things are held against each other: the
//! chain (each entry's hash over itself and the one before), what was signed (checkpoints and the newest hash), and what is kept
//! elsewhere (`DIR/audit.head`, `DIR/audit.checkpoints`, consoles' copies). The files are read before the database: a collector
//! writes them behind it, so they are never ahead of what is found there.

use super::entry::{COLUMNS, Stored};
use super::files::{Files, lines};
use super::signing::{Hash, NOTHING, PublicKey, hex, unhex};
use super::{BEGUN, DISAGREED, HEAD_KEY, KEY_CHANGED, key_in};
use crate::config::Database;
use crate::store::{OpenError, ReadError, Snapshot, Values};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deckport_protocol::Pin;
use deckport_protocol::console::Checkpoint;
use serde::Serialize;
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokio::time::Instant;
use utoipa::ToSchema;

const PAGE: u64 = 1000;
/// Problems that are told one by one.
const TOLD: usize = 100;

/// What is to be verified.
#[derive(Clone, Debug)]
pub struct Inspected<'a> {
    pub data_dir: &'a Path,
    pub database: &'a Database,
    /// Checkpoints that were kept elsewhere: consoles' files.
    pub copies: &'a [PathBuf],
    /// By what the trail's key is known, where that was noted elsewhere.
    pub key: Option<Pin>,
    /// Read no further after this.
    pub until: Option<Instant>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("there is no collector's database in {0}")]
    Nothing(PathBuf),
    #[error("this database has no audit trail: no collector of this version has used it yet")]
    None,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{path} cannot be read")]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The first entry that may be concerned, by its position.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// In a sentence.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.from == self.to {
            write!(f, "entry {}: {}", self.from, self.what)
        } else {
            write!(f, "entries {} to {}: {}", self.from, self.to, self.what)
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verified {
    pub entries: u64,
    /// The last entry that was read, and its hash in hexadecimal.
    pub position: u64,
    pub hash: String,
    /// Signed points that it was held against.
    pub checkpoints: u64,
    /// By what the key that signed is known: note it elsewhere.
    #[schema(required)]
    pub key: Option<Pin>,
    /// False: there was no time for all of it.
    pub complete: bool,
    /// Empty: it is as it was written.
    pub problems: Vec<Problem>,
    /// Problems beside those.
    pub more_problems: u64,
}

impl Verified {
    pub const fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn tell(&mut self, from: u64, to: u64, what: impl Into<String>) {
        if self.problems.len() < TOLD {
            self.problems.push(Problem { from, to: to.max(from), what: what.into() });
        } else {
            self.more_problems += 1;
        }
    }
}

/// A place that says which hash stands at a position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Table,
    Meta,
    Head,
    File,
    Copy(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table => f.write_str("a checkpoint in the database"),
            Self::Meta => f.write_str("the database's word of how far the trail is"),
            Self::Head => f.write_str("DIR/audit.head"),
            Self::File => f.write_str("DIR/audit.checkpoints"),
            Self::Copy(name) => f.write_str(name),
        }
    }
}

#[derive(Debug, Default)]
struct Marks(BTreeMap<u64, Vec<(Place, Checkpoint)>>);

impl Marks {
    fn add(&mut self, place: Place, checkpoint: Checkpoint) {
        let at = self.0.entry(checkpoint.position).or_default();
        if !at.contains(&(place.clone(), checkpoint.clone())) {
            at.push((place, checkpoint));
        }
    }

    fn of(&self, place: &Place) -> BTreeSet<u64> {
        let of = self.0.iter().filter(|(_, marks)| marks.iter().any(|(of, _)| of == place));
        of.map(|(position, _)| *position).collect()
    }
}

/// Reads the whole trail and tells what is wrong with it.
pub async fn verify(inspected: Inspected<'_>) -> Result<Verified, VerifyError> {
    let Inspected { data_dir, database, copies, key, until } = inspected;
    if matches!(database, Database::InDirectory) && !data_dir.join("collector.db").is_file() {
        return Err(VerifyError::Nothing(data_dir.to_owned()));
    }
    let mut verified = Verified { complete: true, ..Verified::default() };
    let mut marks = Marks::default();
    let files = Files::of(data_dir);
    let mut told = Vec::new();
    match files.head() {
        Ok(Some(head)) => marks.add(Place::Head, head),
        Ok(None) => {
            told.push(
                "DIR/audit.head is missing: it is not known how far the trail was".to_owned(),
            );
        }
        Err(error) => told.push(format!("DIR/audit.head cannot be read: {error}")),
    }
    let mut kept = vec![(Place::File, files.checkpoints.clone())];
    kept.extend(copies.iter().map(|copy| (Place::Copy(copy.display().to_string()), copy.clone())));
    for (place, path) in kept {
        match lines(&path) {
            Ok(lines) => {
                for (_, checkpoint) in lines.checkpoints {
                    marks.add(place.clone(), checkpoint);
                }
                for line in lines.other {
                    told.push(format!("line {line} of {place} is no checkpoint"));
                }
            }
            Err(error) if place == Place::File && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(VerifyError::File { path, source }),
        }
    }
    let mut snapshot = Snapshot::open(data_dir, database).await?;
    if !snapshot.has_table("audit").await? {
        return Err(VerifyError::None);
    }
    let before = snapshot.fetch("select count(*) from audit where position < 1", []).await?;
    if before.first().map(|row| row.int(0)).transpose()?.unwrap_or(0) > 0 {
        verified.tell(0, 0, "there are entries in front of the first");
    }
    checkpoints(&mut snapshot, &mut marks, &mut verified).await?;
    head(&mut snapshot, &mut marks, &mut told).await?;

    let mut chain = Chain::default();
    chain.read(&mut snapshot, &marks, &mut verified, until).await?;
    drop(snapshot);
    verified.position = chain.last;
    verified.hash = chain.hash.map(|hash| hex(&hash)).unwrap_or_default();
    for what in told {
        verified.tell(chain.last, chain.last, what);
    }
    let keys = keys(&chain, data_dir, key, &mut verified);
    hold_against(&chain, &marks, &keys, &mut verified);
    Ok(verified)
}

/// What the table of checkpoints says.
async fn checkpoints(
    snapshot: &mut Snapshot,
    marks: &mut Marks,
    verified: &mut Verified,
) -> Result<(), VerifyError> {
    let sql = "select position, hash, at, signature from audit_checkpoint order by position";
    let read = |row: &Values| {
        Ok::<_, ReadError>(Checkpoint {
            position: row.count(0)?,
            hash: hex(&row.blob(1)?),
            at: row.int(2)?,
            signature: STANDARD.encode(row.blob(3)?),
            // Which key it is with, its position tells.
            key: Pin::of_key(&[]),
        })
    };
    match snapshot.fetch(sql, []).await {
        Ok(rows) => {
            for row in &rows {
                match read(row) {
                    Ok(checkpoint) => marks.add(Place::Table, checkpoint),
                    Err(_) => verified.tell(0, 0, "a checkpoint in the database cannot be read"),
                }
            }
        }
        Err(error) => {
            verified.tell(0, 0, format!("the checkpoints in the database cannot be read: {error}"));
        }
    }
    Ok(())
}

/// What the database says of how far the trail is.
async fn head(
    snapshot: &mut Snapshot,
    marks: &mut Marks,
    told: &mut Vec<String>,
) -> Result<(), VerifyError> {
    let sql = "select value from meta where key = $1";
    let rows = snapshot.fetch(sql, [HEAD_KEY.into()]).await?;
    let text = rows.first().map(|row| row.text(0)).transpose().ok().flatten();
    match text.as_deref().map(serde_json::from_str::<Checkpoint>) {
        Some(Ok(head)) => marks.add(Place::Meta, head),
        Some(Err(_)) => {
            told.push("the database's word of how far the trail is cannot be read".to_owned());
        }
        None => told.push("the database's word of how far the trail is, is missing".to_owned()),
    }
    Ok(())
}

/// The entries, as they were read.
#[derive(Debug, Default)]
struct Chain {
    last: u64,
    /// Of the last entry; none where it could not be read.
    hash: Option<Hash>,
    /// At the positions of marks.
    seen: BTreeMap<u64, Hash>,
    /// Which key signs from which entry on.
    keys: Vec<(u64, PublicKey)>,
}

impl Chain {
    async fn read(
        &mut self,
        snapshot: &mut Snapshot,
        marks: &Marks,
        verified: &mut Verified,
        until: Option<Instant>,
    ) -> Result<(), VerifyError> {
        self.hash = Some(NOTHING);
        let sql =
            format!("select {COLUMNS} from audit where position > $1 order by position limit $2");
        let mut limit = PAGE;
        // Goal: every entry. Exits: there is none behind the last, or no time.
        loop {
            if until.is_some_and(|until| Instant::now() >= until) {
                verified.complete = false;
                return Ok(());
            }
            let rows =
                snapshot.fetch(AssertSqlSafe(sql.clone()), [self.last.into(), limit.into()]).await;
            let entries: Result<Vec<Stored>, ReadError> =
                rows.and_then(|rows| rows.iter().map(Stored::read).collect());
            match entries {
                Ok(entries) if entries.is_empty() => return Ok(()),
                Ok(entries) => {
                    for entry in &entries {
                        self.take(entry, marks, verified);
                    }
                    limit = PAGE;
                }
                // Which one is it?
                Err(_) if limit > 1 => limit = (limit / 8).max(1),
                Err(error) => {
                    let next = "select min(position) from audit where position > $1";
                    let rows = snapshot.fetch(next, [self.last.into()]).await?;
                    let next = rows.first().map(|row| row.maybe_int(0)).transpose()?.flatten();
                    let Some(next) = next.map(i64::cast_unsigned) else { return Ok(()) };
                    verified.tell(next, next, format!("it cannot be read: {}", cause(&error)));
                    verified.entries += 1;
                    self.last = next;
                    self.hash = None;
                }
            }
        }
    }

    fn take(&mut self, entry: &Stored, marks: &Marks, verified: &mut Verified) {
        let at = entry.position;
        let expected = self.last + 1;
        let follows = at == expected;
        if !follows {
            let what = if at == 0 {
                "there is no entry with this number".to_owned()
            } else {
                format!("missing: what follows entry {} is entry {at}", self.last)
            };
            verified.tell(expected, at.saturating_sub(1), what);
        }
        match self.hash {
            // Behind a hole nothing can be expected.
            Some(previous) if follows && entry.chained(&previous) != entry.hash => {
                verified.tell(
                    at,
                    at,
                    "changed: its hash does not come of what it says and of the entry before it",
                );
            }
            _ => {}
        }
        if at == 1 && entry.action != BEGUN {
            verified.tell(1, 1, "the trail does not begin with its beginning");
        }
        if (at == 1 && entry.action == BEGUN) || entry.action == KEY_CHANGED {
            match key_in(&entry.detail) {
                Some(key) => self.keys.push((at, key)),
                None => verified.tell(at, at, "it names no key"),
            }
        }
        if entry.action == KEY_CHANGED {
            verified.tell(at, at, "the key that signs the trail was another one from here on: it was lost or replaced");
        }
        if entry.action == DISAGREED {
            let detail = &entry.detail;
            verified.tell(at, at, format!("here the collector started and found the trail other than it had left it: {detail}"));
        }
        if marks.0.contains_key(&at) {
            self.seen.insert(at, entry.hash);
        }
        verified.entries += 1;
        self.last = at;
        self.hash = Some(entry.hash);
    }
}

fn cause(error: &ReadError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The keys that sign, each from its entry on. What is beside the trail counts more than what the trail says of itself.
fn keys(
    chain: &Chain,
    data_dir: &Path,
    known: Option<Pin>,
    verified: &mut Verified,
) -> Vec<(u64, PublicKey)> {
    let mut keys = chain.keys.clone();
    let beside = PublicKey::beside(data_dir);
    let last = keys.last().cloned();
    match (&last, &beside) {
        (Some((at, named)), Some(beside)) if named != beside => {
            verified.tell(
                *at,
                *at,
                format!(
                    "it names another key ({}) than DIR/tls/audit.key ({})",
                    named.pin, beside.pin
                ),
            );
            if let Some((_, key)) = keys.last_mut() {
                *key = beside.clone();
            }
        }
        (None, Some(beside)) => keys.push((1, beside.clone())),
        (_, None) if known.is_none() => {
            let at = last.as_ref().map_or(1, |(at, _)| *at);
            let what = "DIR/tls/audit.key cannot be read, and no key was named: whose signatures these are is not known";
            verified.tell(at, at, what);
        }
        _ => {}
    }
    verified.key = keys.last().map(|(_, key)| key.pin);
    if let (Some(known), Some((at, key))) = (known, keys.last())
        && key.pin != known
    {
        verified.tell(
            *at,
            *at,
            format!(
                "the trail is signed with another key ({}) than the one that was named ({known})",
                key.pin
            ),
        );
    }
    keys
}

/// Holds the entries against what was signed and what is kept elsewhere.
fn hold_against(chain: &Chain, marks: &Marks, keys: &[(u64, PublicKey)], verified: &mut Verified) {
    // The last place where what was signed stands.
    let mut good = 0;
    let mut ahead: BTreeMap<String, u64> = BTreeMap::new();
    for (&at, marks) in &marks.0 {
        let key = keys.iter().rfind(|(from, _)| *from <= at).or(keys.first());
        let (mut forged, mut differs, mut fits) = (BTreeSet::new(), BTreeSet::new(), false);
        verified.checkpoints += 1;
        for (place, mark) in marks {
            let signed = key.is_some_and(|(_, key)| key.signed(mark));
            if !signed {
                forged.insert(place.to_string());
            } else if at > chain.last {
                ahead.insert(place.to_string(), at);
            }
            if let Some(seen) = chain.seen.get(&at)
                && unhex(&mark.hash) != Some(*seen)
            {
                differs.insert(place.to_string());
            } else if signed && chain.seen.contains_key(&at) {
                fits = true;
            }
        }
        let list = |places: BTreeSet<String>| places.into_iter().collect::<Vec<_>>().join(", ");
        if !forged.is_empty() {
            let what = format!(
                "what is said of its hash is not signed with the trail's key: {}",
                list(forged)
            );
            verified.tell(at, at, what);
        }
        if !differs.is_empty() {
            let what =
                format!("rewritten: entry {at} has another hash than is said by {}", list(differs));
            verified.tell((good + 1).min(at), at, what);
        }
        if fits {
            good = at;
        }
    }
    if !verified.complete {
        return;
    }
    if let Some(most) = ahead.values().max() {
        let places = ahead.keys().cloned().collect::<Vec<_>>().join(", ");
        verified.tell(chain.last + 1, *most, format!("cut off: {places}"));
    }
    if good < chain.last {
        verified.tell(good + 1, chain.last, "no signature vouches for what stands here");
    }
    let newest = marks.of(&Place::Meta).last().copied().unwrap_or(0);
    if newest < chain.last {
        verified.tell(newest + 1, chain.last, "added behind the newest entry that was signed");
    }
    let (table, file) = (marks.of(&Place::Table), marks.of(&Place::File));
    let taken: Vec<u64> = file.difference(&table).copied().collect();
    if let (Some(first), Some(last)) = (taken.first(), taken.last()) {
        verified.tell(
            *first,
            *last,
            format!("{} checkpoints of DIR/audit.checkpoints are not in the database", taken.len()),
        );
    }
    // The newest may be on its way to the file.
    let newest = table.last().copied();
    let lacking: Vec<u64> =
        table.difference(&file).copied().filter(|at| Some(*at) != newest).collect();
    if let (Some(first), Some(last)) = (lacking.first(), lacking.last()) {
        verified.tell(
            *first,
            *last,
            format!(
                "{} checkpoints of the database are not in DIR/audit.checkpoints",
                lacking.len()
            ),
        );
    }
}
