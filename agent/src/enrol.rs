//! Being added to a collector, and renewing what was given.
//!
//! What must hold: the collector's key is looked at before the code is asked for, and the code goes nowhere else. The console's
//! key is made here and never leaves. A console that is added already stays so without a code: pasting the line again is how its
//! agent is upgraded.

use crate::ask::{AskError, post};
use crate::deploy::script_at;
use crate::identity::Identity;
use crate::state::State;
use crate::uplink::link::{Stream, Target, connect_tls};
use anyhow::{Context as _, Result, bail};
use deckport_protocol::address::{Address, Transport};
use deckport_protocol::joining::{Join, Joined, Renew};
use deckport_protocol::{ErrorCode, Pin, tls};
use rcgen::{CertificateParams, KeyPair};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How often a code may be typed.
const TRIES: usize = 3;

/// What `enrol` is told.
#[derive(Clone, Debug)]
pub struct Plan {
    pub state: Option<PathBuf>,
    pub collector: String,
    pub code_file: Option<PathBuf>,
    pub name: Option<String>,
}

/// A console that is one of the collector's.
#[derive(Clone, Debug)]
pub struct Added {
    pub identity: Identity,
    /// It was before, and nothing changed.
    pub before: bool,
}

/// Adds this console to a collector, or finds that it is added already and nobody wants that changed.
pub fn enrol(plan: &Plan) -> Result<Added> {
    let address: Address = plan.collector.parse()?;
    let Transport::Tls { pin: Some(pin) } = address.transport else {
        bail!(
            "`{}` has no pin: write the address as the collector prints it, https://HOST:PORT#sha256//…",
            plan.collector
        );
    };
    let state = State::open(plan.state.clone())?;
    let console = state.console(plan.name.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Looks at its key; nothing is sent yet.
        drop(connect(&address, pin, None).await?);
        eprintln!("The collector at {} has the expected key.", address.authority());
        let known = match plan.code_file {
            // Who brings a code wants it used.
            Some(_) => None,
            None => still_added(state.root(), (&address, pin), plan.name.as_deref()).await,
        };
        let mut codes = match (Codes::open(plan.code_file.as_deref()), &known) {
            (Err(_), Some(known)) => return Ok(Added { identity: known.clone(), before: true }),
            (codes, _) => codes?,
        };
        // Leaves with the first code that is accepted, or when there is no other to try.
        let (joined, key) = loop {
            let code = codes.next(known.as_ref())?;
            if let (true, Some(known)) = (code.is_empty(), &known) {
                return Ok(Added { identity: known.clone(), before: true });
            }
            let (key, request) = request()?;
            let join = Join {
                code,
                console_id: console.console_id,
                name: console.name.clone(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                request,
            };
            // A console that is in already shows that it is it.
            let before = Identity::load(state.root()).ok().flatten();
            let before = before.filter(|known| may_stay(known, (&address, pin), None));
            let shown = before.and_then(|known| known.shown().ok());
            let stream = connect(&address, pin, shown).await?;
            match post::<_, Joined>(stream, &address.authority(), "/api/v1/join", &join).await {
                Ok(joined) => break (joined, key),
                Err(AskError::Refused(refusal))
                    if refusal.code == ErrorCode::CODE_REFUSED && codes.may_try_again() =>
                {
                    eprintln!("{}", refusal.message);
                }
                Err(error) => return Err(error).context("this console was not added"),
            }
        };
        let identity = identity(joined, &key, &address, console.name);
        identity.save(state.root())?;
        Ok(Added { identity, before: false })
    })
}

/// The identity that this collector gave, as long as it is good there, under the name that is wanted. Whatever is wrong with it is said,
/// and then a code adds the console anew.
async fn still_added(
    state: &Path,
    collector: (&Address, Pin),
    name: Option<&str>,
) -> Option<Identity> {
    let known = || match Identity::load(state) {
        Ok(known) => known.filter(|known| may_stay(known, collector, name)),
        Err(error) => {
            eprintln!("What this console was given before cannot be used: {error:#}");
            None
        }
    };
    known()?;
    // It may have ended while the machine was off. What cannot be renewed is found out next.
    let _ = renew(state, false).await;
    match script_at(state, collector.0).await {
        Ok(_) => known(),
        Err(error) => {
            eprintln!("This console was added once, but: {error}");
            None
        }
    }
}

/// Whether it was given by this collector, with the key that it has now, and nobody wants another name.
fn may_stay(known: &Identity, (address, pin): (&Address, Pin), name: Option<&str>) -> bool {
    known.is_of(address) && known.pins.contains(&pin) && name.is_none_or(|name| name == known.name)
}

async fn connect(address: &Address, pin: Pin, shown: Option<tls::Identity>) -> Result<Stream> {
    Ok(Stream::Left(connect_tls(address, &[pin], shown).await?))
}

/// Gets a new certificate for a new key, if it is time to (or at once). True: it did.
pub async fn renew(state: &Path, at_once: bool) -> Result<bool> {
    let known = Identity::must(state)?;
    if !at_once && now_us() < known.renew_at {
        return Ok(false);
    }
    let address = known.address()?;
    let (key, request) = request()?;
    let target = Target { address: address.clone(), token_file: None, state: state.to_owned() };
    let (stream, _) = target.connect().await?;
    let asked = Renew { request };
    let joined: Joined =
        post(stream, &address.authority(), "/api/v1/console/renew", &asked).await?;
    identity(joined, &key, &address, known.name).save(state)?;
    Ok(true)
}

fn identity(joined: Joined, key: &KeyPair, address: &Address, name: String) -> Identity {
    let collector = Address { transport: Transport::Tls { pin: None }, ..address.clone() };
    let renew_after = i64::try_from(joined.renew_after_s).unwrap_or(i64::MAX / 2_000_000);
    Identity {
        console_id: joined.console_id,
        name,
        collector: collector.to_string(),
        pins: joined.pins,
        venue: joined.venue,
        template: joined.template,
        certificate: joined.certificate,
        key: key.serialize_pem(),
        ends_at: joined.ends_at,
        renew_at: now_us() + renew_after.saturating_mul(1_000_000),
    }
}

/// A new key, and the request for a certificate for it.
fn request() -> Result<(KeyPair, String)> {
    let key = KeyPair::generate().context("no key could be made")?;
    let request = CertificateParams::default().serialize_request(&key)?.pem()?;
    Ok((key, request))
}

/// The wall time, microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Where codes come from: a file, or whoever sits at the terminal. Standard input is the script's.
enum Codes {
    File(Option<String>),
    Terminal { input: BufReader<File>, output: File, left: usize },
}

impl Codes {
    fn open(file: Option<&Path>) -> Result<Self> {
        if let Some(file) = file {
            let code = std::fs::read_to_string(file)
                .with_context(|| format!("the code could not be read from {}", file.display()))?;
            return Ok(Self::File(Some(code.trim().to_owned())));
        }
        let open = || {
            let input = File::open("/dev/tty")?;
            let output = File::options().write(true).open("/dev/tty")?;
            Ok::<_, std::io::Error>((BufReader::new(input), output))
        };
        // Why there is none is of no use to anybody.
        let Ok((input, output)) = open() else {
            bail!(
                "there is no terminal to type the code at; put it into a file and name that with --code-file"
            );
        };
        Ok(Self::Terminal { input, output, left: TRIES })
    }

    /// The next code to try; empty, where nobody wants a console changed that is `known`.
    fn next(&mut self, known: Option<&Identity>) -> Result<String> {
        match self {
            Self::File(code) => code.take().context("the code in the file was refused"),
            Self::Terminal { input, output, left } => {
                *left = left.saturating_sub(1);
                if let Some(Identity { venue, name, template, .. }) = known {
                    writeln!(
                        output,
                        "This console is in {venue} already, as {name} (template {template}). Enter keeps it so; a new code adds it anew."
                    )?;
                }
                write!(output, "Code, as shown under Add consoles: ")?;
                output.flush()?;
                let mut code = String::new();
                if input.read_line(&mut code)? == 0 {
                    bail!("no code was typed, so this console was not added");
                }
                Ok(code.trim().to_owned())
            }
        }
    }

    fn may_try_again(&self) -> bool {
        matches!(self, Self::Terminal { left: 1.., .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deckport_protocol::ConsoleId;

    #[test]
    fn a_console_stays_where_its_collector_is_the_same() {
        let pin = |byte: u8| Pin::of_key(&[byte]);
        let known = Identity {
            console_id: ConsoleId::new(),
            name: "Bay 1".to_owned(),
            collector: "https://desk:7443".to_owned(),
            pins: vec![pin(1), pin(2)],
            venue: "Hall A".to_owned(),
            template: "console".to_owned(),
            certificate: String::new(),
            key: String::new(),
            ends_at: 0,
            renew_at: 0,
        };
        let (desk, other): (Address, Address) =
            ("https://desk:7443".parse().unwrap(), "https://desk:7444".parse().unwrap());
        assert!(may_stay(&known, (&desk, pin(2)), None));
        assert!(may_stay(&known, (&desk, pin(1)), Some("Bay 1")));
        assert!(!may_stay(&known, (&desk, pin(1)), Some("Bay 2")), "another name");
        assert!(!may_stay(&known, (&other, pin(1)), None), "another collector");
        assert!(!may_stay(&known, (&desk, pin(3)), None), "its key was made anew");
    }

    #[tokio::test]
    async fn a_damaged_identity_keeps_nobody_from_being_added_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("identity.json"), "torn {").unwrap();
        let address: Address = "https://127.0.0.1:1".parse().unwrap();
        let pin = Pin::of_key(&[1]);
        assert!(still_added(dir.path(), (&address, pin), None).await.is_none());
    }
}
