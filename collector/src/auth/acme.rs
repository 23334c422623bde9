//! A certificate that every browser trusts, for a collector with a public name: ordered and renewed by ACME (RFC 8555).
//!
//! ```text
//! DIR/tls/acme/DIRECTORY/account.json     the key by which the authority knows us; DIRECTORY is made of its address
//! DIR/tls/acme/DIRECTORY/certificate.pem  its newest chain, for the collector's own key
//! ```
//!
//! The authority looks by TLS-ALPN-01: it connects to port 443 of each name, which must lead to the collector's TLS port. Nothing else
//! has to be reachable.
//!
//! What must hold: the certificate is for the key that clients pin, so nobody with a pin notices any of it; whatever the authority does,
//! the collector runs and shows the certificate of its own authority where there is no better one; a failure is said in the log, in
//! `/api/v1/info` and in the trail's absence of `certificate_replaced`, and is tried again, ever more slowly, since authorities count.

use super::authority::{Authority, AuthorityError};
use super::files;
use super::public::PublicError;
use crate::audit::{Audit, Entry};
use crate::config::{AcmeConfig, Clock};
use crate::outgoing::{Outgoing, Reach};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// However often it failed, it is tried again after so long.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);
/// Who was told to slow down waits at least so long.
const LIMITED_WAIT: Duration = Duration::from_secs(3600);
/// One try, with all its waiting for the authority.
const TRY_TIME: Duration = Duration::from_secs(300);
/// What is repeated of an authority's words.
const WORDS: usize = 600;

/// Why no certificate was ordered, or none came.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    #[error(
        "a public certificate needs a public name: say by which the collector is reached, --name collector.example.org"
    )]
    NoName,
    #[error("the authority's directory `{0}` is no https address")]
    Directory(String),
    #[error("{path} cannot be used: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} holds no account: remove it, and a new one is made")]
    Account { path: PathBuf },
    #[error("{0}")]
    Asked(#[from] instant_acme::Error),
    #[error("{name} was not confirmed: {why}")]
    Refused { name: String, why: String },
    #[error("the authority does not offer to look by TLS-ALPN-01")]
    NoWay,
    #[error("the authority took longer than {} s", TRY_TIME.as_secs())]
    Late,
    #[error("what the authority gave is not shown: {0}")]
    Given(#[from] PublicError),
    #[error("it names {names}, which are not all that were asked for")]
    NotAll { names: String },
    #[error(transparent)]
    Own(#[from] AuthorityError),
}

impl AcmeError {
    fn problem(&self) -> Option<&str> {
        match self {
            Self::Asked(instant_acme::Error::Api(Problem { r#type, .. })) => r#type.as_deref(),
            _ => None,
        }
    }
}

/// How it stands with the certificate of a public authority.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct PublicCertificate {
    /// For which names.
    names: Vec<String>,
    /// Who is asked: the address of the authority's directory.
    directory: String,
    /// When the one that is shown ends; none: the collector's own is shown to everybody.
    #[schema(required)]
    ends_at: Option<i64>,
    /// When it is renewed.
    #[schema(required)]
    renew_at: Option<i64>,
    /// Why the last try failed.
    #[schema(required)]
    failure: Option<String>,
    /// When it is tried again.
    #[schema(required)]
    next_try_at: Option<i64>,
}

/// What is kept of an account.
#[derive(Deserialize, Serialize)]
struct Kept {
    contacts: Vec<String>,
    credentials: AccountCredentials,
}

/// See the module.
#[derive(Debug)]
pub struct Acme {
    config: AcmeConfig,
    names: Vec<String>,
    dir: PathBuf,
    authority: Arc<Authority>,
    outgoing: Outgoing,
    clock: Arc<dyn Clock>,
    status: Mutex<PublicCertificate>,
}

/// Of the names by which a collector is reached those that a public authority may speak for.
fn public_names(names: &[String]) -> Vec<String> {
    let public = |name: &&String| {
        let local = name.ends_with(".local") || name.ends_with(".localhost");
        name.contains('.') && !local && name.parse::<IpAddr>().is_err()
    };
    let mut all: Vec<String> =
        names.iter().filter(public).map(|name| name.to_lowercase()).collect();
    all.sort();
    all.dedup();
    all
}

impl Acme {
    /// Shows what was ordered before. `names`: by which the collector is reached, without ports.
    pub fn open(
        config: AcmeConfig,
        data_dir: &Path,
        names: &[String],
        authority: Arc<Authority>,
        outgoing: Outgoing,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AcmeError> {
        let names = public_names(names);
        if names.is_empty() {
            return Err(AcmeError::NoName);
        }
        if !config.directory.starts_with("https://") {
            return Err(AcmeError::Directory(config.directory));
        }
        let digest = Sha256::digest(&config.directory);
        let folder: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let acme = data_dir.join("tls").join("acme");
        let dir = acme.join(folder);
        for dir in [&acme, &dir] {
            make_dir(dir).map_err(|source| AcmeError::File { path: dir.clone(), source })?;
        }
        let status = PublicCertificate {
            names: names.clone(),
            directory: config.directory.clone(),
            ..PublicCertificate::default()
        };
        let opened = Self { config, names, dir, authority, outgoing, clock, status: status.into() };
        if let Some(chain) = opened.read("certificate.pem")? {
            // One that has ended or is for a former key is ordered anew, like one that is missing.
            match opened.authority.show_public(&chain, opened.now_s()) {
                Ok(public) if public.covers(&opened.names) => {}
                Ok(_) => {
                    tracing::info!(
                        "the public certificate does not name all by which this is reached"
                    );
                }
                Err(error) => {
                    tracing::info!(%error, "the public certificate that was kept is not shown");
                }
            }
        }
        opened.say(None, None);
        Ok(opened)
    }

    /// How it stands.
    pub fn status(&self) -> PublicCertificate {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now_s(&self) -> i64 {
        self.clock.now_us() / 1_000_000
    }

    fn read(&self, name: &str) -> Result<Option<String>, AcmeError> {
        let path = self.dir.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AcmeError::File { path, source }),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), AcmeError> {
        let path = self.dir.join(name);
        files::put(&path, text).map_err(|source| AcmeError::File { path, source })
    }

    /// When the certificate that is shown is renewed, in seconds since the Unix epoch: a third of its time before its end.
    fn renew_at(&self) -> Option<i64> {
        let public = self.authority.public().filter(|public| public.covers(&self.names))?;
        Some(public.ends_at - (public.ends_at - public.begins_at) / 3)
    }

    fn say(&self, failure: Option<String>, next_try_at: Option<i64>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.ends_at = self.authority.public().map(|public| public.ends_at * 1_000_000);
        status.renew_at = self.renew_at().map(|at| at * 1_000_000);
        status.failure = failure;
        status.next_try_at = next_try_at;
    }

    /// Orders and renews until it is told to stop.
    pub async fn keep(self: Arc<Self>, audit: Arc<Audit>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.look_every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut failures, mut next_us) = (0_u32, 0_i64);
        // Until it is told to stop: one look a tick, one order at a time.
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now_us = self.clock.now_us();
            if self.authority.public().is_some_and(|public| public.ends_at <= now_us / 1_000_000) {
                tracing::error!(
                    "the public certificate has ended: the collector's own is shown, which browsers do not trust"
                );
                self.authority.hide_public();
                let status = self.status();
                self.say(status.failure, status.next_try_at);
            }
            let due = self.renew_at().is_none_or(|at| at <= now_us / 1_000_000);
            // A clock that was set back must not keep it waiting for years.
            let waits = next_us > now_us && next_us - now_us <= 2 * micros(LONGEST_WAIT);
            if !due || waits {
                continue;
            }
            // Dropping an order halfway is safe: what it proves is hidden again, and the authority forgets it.
            let tried = tokio::select! {
                () = stop.cancelled() => return,
                tried = tokio::time::timeout(TRY_TIME, self.order()) => tried,
            };
            match tried.unwrap_or(Err(AcmeError::Late)) {
                Ok(()) => {
                    // Also one that is due for renewal as it comes is not ordered over and over.
                    (failures, next_us) = (0, self.clock.now_us() + micros(self.config.first_wait));
                    self.say(None, None);
                    self.tell(&audit).await;
                }
                Err(error) => {
                    let wait = self.wait(failures, error.problem());
                    failures = failures.saturating_add(1);
                    next_us = self.clock.now_us() + micros(wait);
                    let why = plain(&error.to_string());
                    tracing::warn!(
                        acme.names = self.names.join(" "),
                        acme.directory = self.config.directory,
                        "no public certificate: {why}; tried again in {} min. Meanwhile {} is shown. The authority connects \
                         to port 443 of each name, which must lead to this collector",
                        wait.as_secs().div_ceil(60),
                        if self.authority.public().is_some() {
                            "the present one"
                        } else {
                            "the collector's own"
                        },
                    );
                    self.say(Some(why), Some(next_us));
                }
            }
        }
    }

    /// Says that there is a new certificate.
    async fn tell(&self, audit: &Audit) {
        let Some(public) = self.authority.public() else { return };
        tracing::info!(
            acme.names = self.names.join(" "),
            "a public certificate is shown, and is renewed before it ends"
        );
        let entry = Entry::own("certificate_replaced")
            .with("pin", self.authority.pin().to_string())
            .with("names", self.names.join(" "))
            .with("directory", self.config.directory.as_str())
            .with("ends_at", public.ends_at * 1_000_000);
        if let Err(error) = audit.record(entry).await {
            tracing::warn!(%error, "a new certificate could not be written down");
        }
    }

    /// How long to wait after another failure; some of it by chance, since many started at one hour.
    fn wait(&self, failures: u32, problem: Option<&str>) -> Duration {
        let wait = self.config.first_wait.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
        let limited = problem.is_some_and(|problem| problem.ends_with(":rateLimited"));
        let wait = if limited { wait.max(LIMITED_WAIT) } else { wait };
        let mut byte = [0];
        let _ = getrandom::fill(&mut byte);
        wait + wait.mul_f64(f64::from(byte[0]) / 1024.0)
    }

    /// One order, from the account to the chain that is shown.
    async fn order(&self) -> Result<(), AcmeError> {
        let account = self.account().await?;
        let names: Vec<_> = self.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let mut order = match account.new_order(&NewOrder::new(&names)).await {
            Ok(order) => order,
            Err(error) => {
                let error = AcmeError::from(error);
                if error.problem().is_some_and(|kind| kind.ends_with(":accountDoesNotExist")) {
                    // The next try makes another.
                    let path = self.dir.join("account.json");
                    std::fs::remove_file(&path)
                        .map_err(|source| AcmeError::File { path, source })?;
                }
                return Err(error);
            }
        };
        // Proofs are shown until the authority has looked.
        let mut proofs = Vec::new();
        let mut all = order.authorizations();
        while let Some(authorization) = all.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                other => {
                    let name = authorization.identifier().to_string();
                    return Err(AcmeError::Refused { name, why: format!("{other:?}") });
                }
            }
            let mut challenge =
                authorization.challenge(ChallengeType::TlsAlpn01).ok_or(AcmeError::NoWay)?;
            let name = challenge.identifier().to_string();
            let digest = challenge.key_authorization().digest();
            proofs.push(self.authority.prove(&name, digest.as_ref())?);
            challenge.set_ready().await?;
        }
        let patience = RetryPolicy::new().backoff(1.3).timeout(Duration::from_secs(150));
        match order.poll_ready(&patience).await {
            Ok(OrderStatus::Ready) => {}
            Ok(status) => {
                let name = "the order".to_owned();
                let plain = AcmeError::Refused { name, why: format!("it is {status:?}") };
                return Err(refused(&mut order).await.unwrap_or(plain));
            }
            Err(error) => return Err(refused(&mut order).await.unwrap_or(error.into())),
        }
        drop(proofs);
        order.finalize_csr(&self.authority.request(&self.names)?).await?;
        let chain = order.poll_certificate(&patience).await?;
        // Looked at before it takes the place of a good one.
        let public = self.authority.show_public(&chain, self.now_s())?;
        if !public.covers(&self.names) {
            return Err(AcmeError::NotAll { names: public.names.join(" ") });
        }
        self.write("certificate.pem", &chain)
    }

    /// The account with the authority, made when there is none.
    async fn account(&self) -> Result<Account, AcmeError> {
        let contacts: Vec<String> =
            self.config.contacts.iter().map(|mail| format!("mailto:{mail}")).collect();
        let said: Vec<&str> = contacts.iter().map(String::as_str).collect();
        let asking = Account::builder_with_http(Box::new(Asking(self.outgoing.clone())));
        let Some(text) = self.read("account.json")? else {
            let account = NewAccount {
                contact: &said,
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            let (account, credentials) =
                asking.create(&account, self.config.directory.clone(), None).await?;
            self.keep_account(contacts, credentials)?;
            return Ok(account);
        };
        let unreadable = || AcmeError::Account { path: self.dir.join("account.json") };
        let kept: Kept = serde_json::from_str(&text).map_err(|_| unreadable())?;
        if kept.contacts == contacts {
            return Ok(asking.from_credentials(kept.credentials).await?);
        }
        let again: Kept = serde_json::from_str(&text).map_err(|_| unreadable())?;
        let account = asking.from_credentials(kept.credentials).await?;
        account.update_contacts(&said).await?;
        self.keep_account(contacts, again.credentials)?;
        Ok(account)
    }

    fn keep_account(
        &self,
        contacts: Vec<String>,
        credentials: AccountCredentials,
    ) -> Result<(), AcmeError> {
        let kept = serde_json::to_string(&Kept { contacts, credentials });
        self.write("account.json", &kept.map_err(instant_acme::Error::Json)?)
    }
}

/// What the authority found when it looked, in its own words.
async fn refused(order: &mut Order) -> Option<AcmeError> {
    let mut all = order.authorizations();
    while let Some(Ok(mut authorization)) = all.next().await {
        // What was read before it looked says nothing of what it found.
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        let found = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = found {
            let why = problem.detail.clone().unwrap_or_else(|| problem.to_string());
            return Some(AcmeError::Refused { name, why });
        }
    }
    None
}

/// Somebody else's words, for a line of log and for a page.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn make_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The way to the authority.
struct Asking(Outgoing);

impl HttpClient for Asking {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let outgoing = self.0.clone();
        Box::pin(async move {
            // Where the directory leads is the authority's to say, and whom to ask was said by whoever runs the collector.
            match outgoing.send(request, Reach::Anywhere).await {
                Ok(answer) => Ok(answer.map(Full::new).into()),
                Err(error) => Err(instant_acme::Error::Other(Box::new(error))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_asked_for_that_an_authority_may_speak_for() {
        let given =
            ["Desk.Example.org", "10.0.0.1", "desk", "desk.local", "desk.example.org", "::1"];
        let found = public_names(&given.map(str::to_owned));
        assert_eq!(found, ["desk.example.org"]);
    }

    #[test]
    fn somebody_elses_words_stay_on_one_line() {
        assert_eq!(plain("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(plain(&"x".repeat(5000)).len(), WORDS);
    }
}
