//! The audit trail: who did what, in a chain of entries of which none can be changed, taken out, moved or cut off unnoticed.
//!
//! ```text
//! table audit             the entries, from position 1 without holes; each has the SHA-256 of itself and of the hash before it
//! table audit_checkpoint  every 100 entries, every hour and at the end: position and hash, signed
//! meta  audit_head        the newest entry's position and hash, signed; written with every entry
//! DIR/tls/audit.key       the key that signs (ECDSA, P-256); its public half stands in the first entry
//! DIR/audit.head          as `audit_head`, replaced behind each commit
//! DIR/audit.checkpoints   every checkpoint, a line of JSON each, appended
//! consoles                are handed how far the trail is when they link, and each checkpoint; they keep the last 1,000
//! ```
//!
//! What must hold:
//! * An entry is durable before what it tells of is answered: in one transaction with the change where the change is in the database
//!   ([`Audit::write`]), else before it ([`Audit::record`]).
//! * Positions are given out under one lock and committed in their order. A commit that fails takes back those behind it, so there
//!   is never a hole.
//! * Nobody without a credential can flood the trail: denials are bounded for each actor and address and all together, and the rest
//!   are counted in an entry ([`Audit::deny`]).
//! * No entry holds a secret: no code, token, password or body.
//!
//! What [`verify()`] finds, and what it cannot:
//! * Who can write to the **database alone** is always found out. An edit, a hole or a swap breaks the chain at its place; a chain that
//!   is computed anew from some entry on does not come to the hashes that were signed, and the newest hash is; what is cut off is
//!   missed by `DIR/audit.head`, which the database does not hold.
//! * Who can also write to the **files, without the key**, can put database and files back to how they were together at an earlier
//!   moment, as a restored backup does. Only a checkpoint that somebody else keeps, a console or a person who noted one, tells of that.
//! * Who also has the **key** (root on the collector's machine) can write another history, in which everything fits. What consoles hold
//!   contradicts it up to the newest checkpoint that any of them was handed; behind that one nothing does.
//! * Nobody can be kept from *not* writing: who controls the running program decides what it writes from then on.
//! * After a restore without the files, or with another key, the trail says so in an entry, and [`verify()`] goes on telling of it.

mod entry;
mod files;
mod limit;
mod read;
mod signing;
mod verify;

pub use entry::{AuditActor, AuditEntry, Entry, Outcome, Stored, Subject, Who};
pub use read::{Order, Wanted};
pub use verify::{Inspected, Problem, Verified, VerifyError, verify};

use crate::config::{Clock, Config};
use crate::store::{
    Guard, Permit, ReadError, Row, Statement, Store, Table, Value, Write, WriteError,
};
use deckport_protocol::console::Checkpoint;
use deckport_protocol::{Actor, Scope};
use files::Files;
use limit::Limiter;
use signing::{Hash, Key, NOTHING, PublicKey, unhex};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A checkpoint stands behind every entry whose position is divisible by this.
const CHECKPOINT_EVERY: u64 = 100;
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(3600);
const COUNTED_EVERY: Duration = Duration::from_secs(5);
/// How often an entry is tried again when one before it could not be stored. Each time at least one that stood before it is decided.
const TRIES: usize = 64;

const BEGUN: &str = "trail_begun";
const KEY_CHANGED: &str = "trail_key_changed";
const DISAGREED: &str = "trail_disagreed";

/// Why the trail cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum OpenAuditError {
    #[error("{path} cannot be used")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} is no key of this collector's audit trail: put back the one from the backup")]
    Unreadable { path: PathBuf },
    #[error("a key for the audit trail could not be made: {0}")]
    Make(rcgen::Error),
    #[error("the audit trail could not be read")]
    Read(#[from] ReadError),
}

/// Answers when what was handed to the writer is durable, or why it is not.
type Written = oneshot::Receiver<Result<(), WriteError>>;

static CHECKPOINT: Table = Table {
    insert: "insert into audit_checkpoint (position, hash, at, signature)",
    columns: 4,
    // One that is there already is not replaced: whoever put it there is found out.
    conflict: "on conflict (position) do nothing",
    last_wins: false,
};

static HEAD: Table = Table {
    insert: "insert into meta (key, value)",
    columns: 2,
    conflict: "on conflict (key) do update set value = excluded.value",
    last_wins: true,
};

const HEAD_KEY: &str = "audit_head";

/// How far the trail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    position: u64,
    hash: Hash,
    /// The newest checkpoint's position.
    checkpoint: u64,
}

#[derive(Debug)]
struct State {
    /// With what is on its way.
    head: Head,
    durable: Head,
    /// The durable head, signed.
    signed: Option<Checkpoint>,
    /// Writes on their way.
    pending: usize,
    guard: Arc<Guard>,
    /// Checkpoints that are durable and not in the file yet.
    unfiled: Vec<Checkpoint>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A write was answered.
    answered: Notify,
    /// The durable position.
    durable: watch::Sender<u64>,
    /// The position that the files tell.
    filed: watch::Sender<u64>,
    newest: watch::Sender<Option<Checkpoint>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Audit {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    files: Files,
    key: Key,
    shared: Arc<Shared>,
    limiter: Mutex<Limiter>,
    /// What is to be written in front of everything else, and whether it was.
    first: Vec<Entry>,
    begun: OnceCell<()>,
    verified: Mutex<Option<(Verified, i64)>>,
}

fn damaged(what: &str) -> Entry {
    Entry::own(DISAGREED).with("what", what).ended(Outcome::Failed)
}

impl Audit {
    /// Opens the trail and keeps its files up to date until `stop`.
    pub async fn open(
        store: Arc<Store>,
        config: &Config,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, OpenAuditError> {
        let key = Key::open(&config.data_dir)?;
        let files = Files::of(&config.data_dir);
        if let Err(error) = files.mend() {
            tracing::warn!(%error, "{} cannot be read", files.checkpoints.display());
        }
        let newest = format!("select {} from audit order by position desc limit 1", entry::COLUMNS);
        let newest = store.fetch_one(sqlx::AssertSqlSafe(newest), []).await?;
        let newest = newest.as_ref().map(Stored::read).transpose()?;
        let told = store.fetch_one("select value from meta where key = 'audit_head'", []).await?;
        let told = told.map(|row| row.text(0)).transpose()?;
        let told: Option<Checkpoint> = told.and_then(|text| serde_json::from_str(&text).ok());
        let checkpoint = store.fetch_one("select max(position) from audit_checkpoint", []).await?;
        let checkpoint = checkpoint.map(|row| row.maybe_int(0)).transpose()?.flatten();
        let head = Head {
            position: newest.as_ref().map_or(0, |entry| entry.position),
            hash: newest.as_ref().map_or(NOTHING, |entry| entry.hash),
            checkpoint: checkpoint.map_or(0, i64::cast_unsigned),
        };
        let first = Self::to_say_first(&store, &files, &key, head, told.as_ref()).await?;
        let state = State {
            head,
            durable: head,
            signed: told.filter(|told| told.position == head.position),
            pending: 0,
            guard: Arc::default(),
            unfiled: Vec::new(),
        };
        let audit = Arc::new(Self {
            store,
            clock: Arc::clone(&config.clock),
            files,
            key,
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                answered: Notify::new(),
                durable: watch::Sender::new(head.position),
                filed: watch::Sender::new(head.position),
                newest: watch::Sender::new(None),
            }),
            limiter: Mutex::new(Limiter::new(config.bounds.denials_per_minute)),
            first,
            begun: OnceCell::new(),
            verified: Mutex::default(),
        });
        tasks.spawn(Arc::clone(&audit).keep_filed(stop));
        Ok(audit)
    }

    /// How the trail begins, or in what it is found other than it was left.
    async fn to_say_first(
        store: &Store,
        files: &Files,
        key: &Key,
        head: Head,
        told: Option<&Checkpoint>,
    ) -> Result<Vec<Entry>, OpenAuditError> {
        let mut first = Vec::new();
        let with_key = |action| Entry::own(action).with("key", key.public().text());
        if head.position == 0 {
            first.push(with_key(BEGUN));
        } else {
            let sql = "select detail from audit where action in ('trail_begun', 'trail_key_changed') \
                 order by position desc limit 1";
            let row = store.fetch_one(sql, []).await?;
            let said = row.map(|row| row.text(0)).transpose()?;
            let known = said.as_deref().and_then(key_in);
            if known.as_ref() != Some(key.public()) {
                first.push(with_key(KEY_CHANGED).ended(Outcome::Failed));
            }
        }
        let at = |position: u64, hash: Hash| {
            move |told: &&Checkpoint| told.position == position && unhex(&told.hash) == Some(hash)
        };
        if head.position > 0 && told.filter(at(head.position, head.hash)).is_none() {
            let what =
                "the database's own word of how far the trail is does not fit its newest entry";
            first.push(
                damaged(what).with("found", head.position).with("told", told.map(|t| t.position)),
            );
        }
        match files.head() {
            Ok(None) if head.position == 0 => {}
            Ok(None) => first.push(damaged("audit.head is missing").with("found", head.position)),
            Err(error) => {
                first.push(damaged("audit.head cannot be read").with("why", error.to_string()));
            }
            Ok(Some(filed)) if filed.position > head.position => {
                let what =
                    "entries are missing: the trail was cut off or put back to an earlier state";
                first.push(damaged(what).with("found", head.position).with("told", filed.position));
            }
            Ok(Some(filed)) => {
                let sql = "select hash from audit where position = $1";
                let row = store.fetch_one(sql, [filed.position.into()]).await?;
                let hash = row.map(|row| row.blob(0)).transpose()?;
                if hash.map(|hash| signing::hex(&hash)).as_deref() != Some(&filed.hash) {
                    let what = "the entry that audit.head names is another one now";
                    first.push(damaged(what).with("told", filed.position));
                }
            }
        }
        for entry in first.iter().filter(|entry| entry.outcome == Outcome::Failed) {
            tracing::error!(
                what = ?entry.detail.get("what"),
                "the audit trail is not as it was left; `deckport-collector audit verify` says more"
            );
        }
        Ok(first)
    }

    /// Writes an entry; returns when it is durable, with its position.
    pub async fn record(&self, entry: Entry) -> Result<u64, WriteError> {
        self.write(entry, Write::default()).await
    }

    /// Writes an entry and what it tells of in one transaction. Of `write` its rows and statements count.
    pub async fn write(&self, entry: Entry, write: Write) -> Result<u64, WriteError> {
        self.begun.get_or_try_init(|| self.begin()).await?;
        self.put(Some(&entry), &write).await
    }

    async fn begin(&self) -> Result<(), WriteError> {
        for entry in &self.first {
            self.put(Some(entry), &Write::default()).await?;
        }
        Ok(())
    }

    /// Writes a denial, or anything else that somebody without rights could cause at will: so many a minute, then a count.
    pub async fn deny(&self, entry: Entry) {
        if self.admits(&entry)
            && let Err(error) = self.record(entry).await
        {
            tracing::warn!(%error, "a denial could not be written down");
        }
    }

    /// Whether one more of what [`Self::deny`] bounds is written down; if not, it is counted.
    pub fn admits(&self, entry: &Entry) -> bool {
        let now_us = self.clock.now_us();
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner).admit(entry, now_us)
    }

    /// How far the trail is, signed.
    pub fn newest(&self) -> Option<Checkpoint> {
        self.shared.state().signed.clone()
    }

    /// Tells each checkpoint as it is made.
    pub fn checkpoints(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.shared.newest.subscribe()
    }

    /// The durable position and that of the newest checkpoint.
    pub fn positions(&self) -> (u64, u64) {
        let state = self.shared.state();
        (state.durable.position, state.durable.checkpoint)
    }

    /// Signs how far the trail is, if it has gone on since the last time.
    pub async fn checkpoint(&self) -> Result<(), WriteError> {
        let head = self.shared.state().head;
        if head.position == head.checkpoint || head.position == 0 {
            return Ok(());
        }
        self.put(None, &Write::default()).await.map(drop)
    }

    /// Writes the entry, or a checkpoint where there is none.
    async fn put(&self, entry: Option<&Entry>, write: &Write) -> Result<u64, WriteError> {
        let mut filed = self.shared.filed.subscribe();
        let mut broken = 0;
        while broken < TRIES {
            let permit = self.store.writer().reserve(2048).await?;
            let answered = self.shared.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            let Some((position, done)) = self.submit(permit, entry, write)? else {
                // One before it failed; what was given out behind that is taken back when all are answered. Each answer wakes
                // all who wait: that is no try.
                answered.await;
                continue;
            };
            match done.await.unwrap_or(Err(WriteError::Stopping)) {
                Ok(()) => {
                    // The keeper of the files ends with the collector.
                    let _ = filed.wait_for(|filed| *filed >= position).await;
                    return Ok(position);
                }
                Err(WriteError::Broken) => broken += 1,
                Err(error) => return Err(error),
            }
        }
        Err(WriteError::Broken)
    }

    /// Hands the next entry to the writer. None: it has to wait until what failed before it is taken back.
    fn submit(
        &self,
        permit: Permit,
        entry: Option<&Entry>,
        write: &Write,
    ) -> Result<Option<(u64, Written)>, WriteError> {
        let unsigned = |error: rcgen::Error| WriteError::Refused(error.to_string().into());
        let mut state = self.shared.state();
        if state.guard.is_broken() {
            if state.pending > 0 {
                return Ok(None);
            }
            state.head = state.durable;
            state.guard = Arc::default();
        }
        let at = self.clock.now_us();
        let mut head = state.head;
        let mut rows = write.rows.clone();
        let mut signed = None;
        if let Some(entry) = entry {
            let stored = entry.stored(head.position + 1, at, &head.hash);
            head.position = stored.position;
            head.hash = stored.hash;
            rows.push(stored.row());
            let newest = self.key.sign(head.position, &head.hash, at).map_err(unsigned)?;
            let text = serde_json::to_string(&newest).unwrap_or_default();
            rows.push(Row { table: &HEAD, values: vec![HEAD_KEY.into(), text.into()] });
            signed = Some(newest);
        }
        let mut checkpoint = None;
        if entry.is_none() || head.position.is_multiple_of(CHECKPOINT_EVERY) {
            let made = match &signed {
                Some(signed) => signed.clone(),
                None => self.key.sign(head.position, &head.hash, at).map_err(unsigned)?,
            };
            rows.push(row_of(&made, &head.hash));
            head.checkpoint = head.position;
            checkpoint = Some(made);
        }
        let (tx, done) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let answer = move |result: Result<(), WriteError>| {
            let mut state = shared.state();
            state.pending -= 1;
            if result.is_ok() {
                state.durable = head;
                state.signed = signed.or(state.signed.take());
                state.unfiled.extend(checkpoint);
            }
            drop(state);
            if result.is_ok() {
                shared.durable.send_replace(head.position);
            }
            shared.answered.notify_waiters();
            let _ = tx.send(result);
        };
        state.pending += 1;
        state.head = head;
        let guard = Some(Arc::clone(&state.guard));
        let statements: Vec<Statement> = write.statements.clone();
        // Under the lock: the order in the queue is that of the positions.
        permit.submit(Write { rows, statements, guard, done: Some(Box::new(answer)) });
        Ok(Some((head.position, done)))
    }

    /// Writes behind each commit how far the trail is.
    async fn keep_filed(self: Arc<Self>, stop: CancellationToken) {
        let mut durable = self.shared.durable.subscribe();
        durable.mark_changed();
        let mut said = false;
        // Goal: the files tell what is durable. Exit: the collector has ended and nothing more comes.
        loop {
            // Dropping either branch loses nothing: what is durable stands in the state.
            let last = tokio::select! {
                biased;
                changed = durable.changed() => changed.is_err(),
                () = stop.cancelled() => true,
            };
            let (position, signed, checkpoints) = {
                let mut state = self.shared.state();
                durable.borrow_and_update();
                let checkpoints = std::mem::take(&mut state.unfiled);
                (state.durable.position, state.signed.clone(), checkpoints)
            };
            let files = self.files.clone();
            let to_file = checkpoints.clone();
            let filed = tokio::task::spawn_blocking(move || {
                files.append(&to_file)?;
                signed.as_ref().map_or(Ok(()), |head| files.put_head(head))
            });
            let filed = filed.await.map_err(std::io::Error::other).and_then(|filed| filed);
            if let Err(error) = &filed
                && !std::mem::replace(&mut said, true)
            {
                tracing::warn!(%error, "how far the audit trail is could not be written beside the database");
            }
            if filed.is_ok() {
                said = false;
            }
            if let Some(newest) = checkpoints.last() {
                self.shared.newest.send_replace(Some(newest.clone()));
            }
            // At the end nobody waits for the files any more.
            self.shared.filed.send_replace(if last { u64::MAX } else { position });
            if last {
                return;
            }
        }
    }

    /// Makes a checkpoint every hour, and writes down how many denials were only counted.
    pub async fn keep_up(self: Arc<Self>, stop: CancellationToken) {
        let mut hours = tokio::time::interval(CHECKPOINT_WITHIN);
        let mut ticks = tokio::time::interval(COUNTED_EVERY);
        for ticks in [&mut hours, &mut ticks] {
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        hours.reset();
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                _ = hours.tick() => self.checkpoint().await,
                _ = ticks.tick() => self.counted(Some(self.clock.now_us())).await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "the audit trail could not be written to");
            }
        }
    }

    async fn counted(&self, now_us: Option<i64>) -> Result<(), WriteError> {
        let counted = {
            let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
            limiter.counted(now_us)
        };
        for entry in counted {
            self.record(entry).await?;
        }
        Ok(())
    }

    /// The last entry, and a checkpoint behind it.
    pub async fn close(&self, last: Entry) -> Result<(), WriteError> {
        self.counted(None).await?;
        self.record(last).await?;
        self.checkpoint().await
    }
}

fn row_of(checkpoint: &Checkpoint, hash: &Hash) -> Row {
    use base64::Engine as _;
    let signature = base64::engine::general_purpose::STANDARD.decode(&checkpoint.signature);
    Row {
        table: &CHECKPOINT,
        values: vec![
            checkpoint.position.into(),
            Value::from(hash.to_vec()),
            checkpoint.at.into(),
            Value::from(signature.unwrap_or_default()),
        ],
    }
}

/// The key that an entry's detail names.
fn key_in(detail: &str) -> Option<PublicKey> {
    let detail: serde_json::Value = serde_json::from_str(detail).ok()?;
    PublicKey::parse(detail["key"].as_str()?)
}

/// Something that is to be written down, carried to where it is done: the entry goes with the change.
#[derive(Debug)]
pub struct Pen<'a> {
    audit: &'a Audit,
    entry: Entry,
    written: Option<Arc<std::sync::atomic::AtomicBool>>,
}

impl<'a> Pen<'a> {
    pub const fn new(audit: &'a Audit, entry: Entry) -> Self {
        Self { audit, entry, written: None }
    }

    /// Sets `written` when the entry is durable.
    #[must_use]
    pub fn noting(mut self, written: Arc<std::sync::atomic::AtomicBool>) -> Self {
        self.written = Some(written);
        self
    }

    #[must_use]
    pub fn about(mut self, kind: &'static str, id: impl std::fmt::Display) -> Self {
        self.entry = self.entry.about(kind, id);
        self
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.entry = self.entry.with(name, value);
        self
    }

    /// See [`Entry::concerning`].
    #[must_use]
    pub fn concerning(mut self, scope: Scope) -> Self {
        self.entry = self.entry.concerning(scope);
        self
    }

    /// Who it turned out to be: for what comes without a credential and proves one.
    #[must_use]
    pub fn by(mut self, actor: &Actor) -> Self {
        self.entry = self.entry.by_whom(actor);
        self
    }

    #[must_use]
    pub fn ended(mut self, outcome: Outcome) -> Self {
        self.entry = self.entry.ended(outcome);
        self
    }

    /// See [`Audit::write`].
    pub async fn write(self, write: Write) -> Result<(), WriteError> {
        self.audit.write(self.entry, write).await?;
        if let Some(written) = self.written {
            written.store(true, std::sync::atomic::Ordering::Release);
        }
        Ok(())
    }

    /// Writes the change, and the entry with it as long as there are not too many of them (see [`Audit::deny`]).
    pub async fn write_bounded(self, write: Write) -> Result<(), WriteError> {
        if self.audit.admits(&self.entry) {
            return self.write(write).await;
        }
        if let Some(written) = self.written {
            written.store(true, std::sync::atomic::Ordering::Release);
        }
        self.audit.store.writer().write(write).await
    }

    /// Writes the entry, before what it tells of is done.
    pub async fn record(self) -> Result<(), WriteError> {
        self.write(Write::default()).await
    }
}
