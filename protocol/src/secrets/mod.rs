//! Finds secrets in what a console prints: token formats, values of things named as secrets, private keys. Bytes in, spans out.
//!
//! Agent and collector use the same rules: the agent before its spool, the collector for what an agent left. The formats are those
//! that their makers publish; where a maker says only "starts with", the rest is asked to be as long and as mixed as real ones are.
//!
//! What must hold:
//!
//! * **Cuts do not matter.** What [`Scanner`] says of a stream does not depend on how the stream was cut. So a rule sees at most
//!   [`LOOKBEHIND`] bytes of what was before, and never past the line's beginning (keys in PEM form apart).
//! * **Only candidates wait.** A secret is what stands *behind* something known: behind `ghp_`, `password=`, `-----BEGIN … PRIVATE KEY-----`.
//!   What is known may be shown and is; what follows it is held back until it is decided, by a bounded number of bytes
//!   ([`rules::HELD`] at most). Bytes behind nothing known pass at once.
//! * **Cheap where there is nothing.** Two passes of a vectorised search for the known beginnings; the rules run where they find something.
//!
//! Not found: secrets that nothing tells from other text (a bare password, a hexadecimal key without a name, a token of Discord's in a line
//! that speaks neither of Discord nor of a token).

mod classes;
mod names;
mod rules;
mod triggers;

pub use names::{is_secret_name, is_secret_value};

use crate::secrets::rules::{Run, Verdict};
use std::collections::BTreeMap;

/// How far a rule looks back from where a secret may begin.
pub const LOOKBEHIND: usize = 256;

/// What stands in a secret's place.
pub const STARS: &[u8] = b"***";

/// How many secrets were masked, by the name of their kind.
pub type Counts = BTreeMap<String, u64>;

/// What sort of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Age,
    Anthropic,
    /// The credential of an `Authorization` header, or behind `Bearer`.
    Authorization,
    Aws,
    Azure,
    Deckport,
    DigitalOcean,
    Discord,
    Docker,
    Doppler,
    Github,
    Gitlab,
    Google,
    HuggingFace,
    Jwt,
    Linear,
    /// The value of something that is named as a secret.
    Named,
    Npm,
    OnePassword,
    OpenAi,
    PrivateKey,
    Pypi,
    SendGrid,
    Slack,
    Stripe,
    Tailscale,
    Telegram,
    /// The password in a URL.
    Url,
    Vault,
}

impl Kind {
    /// The stable name, as in [`Counts`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Anthropic => "anthropic",
            Self::Authorization => "authorization",
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Deckport => "deckport",
            Self::DigitalOcean => "digitalocean",
            Self::Discord => "discord",
            Self::Docker => "docker",
            Self::Doppler => "doppler",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Google => "google",
            Self::HuggingFace => "huggingface",
            Self::Jwt => "jwt",
            Self::Linear => "linear",
            Self::Named => "named",
            Self::Npm => "npm",
            Self::OnePassword => "onepassword",
            Self::OpenAi => "openai",
            Self::PrivateKey => "private_key",
            Self::Pypi => "pypi",
            Self::SendGrid => "sendgrid",
            Self::Slack => "slack",
            Self::Stripe => "stripe",
            Self::Tailscale => "tailscale",
            Self::Telegram => "telegram",
            Self::Url => "url",
            Self::Vault => "vault",
        }
    }
}

/// Takes what a [`Scanner`] has decided, in order.
pub trait Sink {
    /// Bytes that are no secret.
    fn plain(&mut self, bytes: &[u8]);
    /// Bytes of a secret; with `begins` the first of a new one.
    fn secret(&mut self, bytes: &[u8], kind: Kind, begins: bool);
    /// A whole value that was named as a secret, behind its bytes. It is one wherever it appears from here on.
    fn learned(&mut self, value: &[u8]) {
        let _ = value;
    }
}

/// Where in a secret the stream stands.
#[derive(Clone, Debug)]
enum Inside {
    /// A token or value that goes on while its bytes are of its sort.
    Run(Run),
    /// A private key in PEM form.
    Key(rules::Key),
}

/// Finds secrets in a stream.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// What was passed on of the open line, at most [`LOOKBEHIND`] bytes, then what is held back.
    text: Vec<u8>,
    /// How much of `text` was passed on.
    passed: usize,
    /// What may begin at or before here was judged.
    judged: usize,
    inside: Option<Inside>,
}

impl Scanner {
    /// Takes the next bytes and hands on what is decided.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        if self.text.is_empty() {
            // Mostly the line before is over: nothing is copied.
            (self.passed, self.judged) = (0, 0);
            let passed = self.go_on(bytes, false, sink);
            self.keep(bytes, passed);
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        text.extend_from_slice(bytes);
        let passed = self.go_on(&text, false, sink);
        self.keep(&text, passed);
    }

    /// No more comes that could make what is held a secret; a key in PEM form goes on all the same.
    pub fn flush(&mut self, sink: &mut impl Sink) {
        let text = std::mem::take(&mut self.text);
        self.go_on(&text, true, sink);
        if matches!(self.inside, Some(Inside::Run(_))) {
            self.inside = None;
        }
        (self.passed, self.judged) = (0, 0);
    }

    /// A text that nothing is before and, but for the rest of a key, nothing behind.
    fn whole(&mut self, text: &[u8], sink: &mut impl Sink) {
        (self.passed, self.judged) = (0, 0);
        self.go_on(text, true, sink);
    }

    /// Whether bytes are held back.
    pub fn holds(&self) -> bool {
        self.passed < self.text.len()
    }

    /// Keeps what a later rule may look at, and what is held.
    fn keep(&mut self, text: &[u8], passed: usize) {
        let line = memchr::memrchr2(b'\n', b'\r', &text[..passed]).map_or(0, |at| at + 1);
        let from = line.max(passed.saturating_sub(LOOKBEHIND)).min(self.judged);
        self.text.clear();
        self.text.extend_from_slice(&text[from..]);
        self.passed = passed - from;
        self.judged -= from;
    }

    /// Goal: pass on as much of `text` as is decided. Ends at the text's end, or where something must be held.
    fn go_on(&mut self, text: &[u8], over: bool, sink: &mut impl Sink) -> usize {
        let mut passed = self.passed;
        if let Some(inside) = self.inside.take() {
            passed = self.within(inside, text, passed, over, false, sink);
            if self.inside.is_some() {
                self.judged = passed;
                return passed;
            }
            self.judged = passed;
        }
        let mut found = triggers::find(text, self.judged, over);
        found.sort_by_key(|found| (found.end, found.rule));
        for trigger in found {
            if trigger.end <= self.judged {
                continue;
            }
            match rules::judge(trigger.rule, text, trigger.end, over) {
                Verdict::Not => {}
                Verdict::More { hold } => {
                    let hold = hold.max(passed);
                    sink.plain(&text[passed..hold]);
                    self.judged = trigger.end - 1;
                    return hold;
                }
                Verdict::Secret { from, run } => {
                    // Of one end the first rule that says so counts.
                    let from = from.max(passed);
                    sink.plain(&text[passed..from]);
                    passed = self.within(Inside::Run(run), text, from, over, true, sink);
                    self.judged = passed;
                    if self.inside.is_some() {
                        return passed;
                    }
                }
                Verdict::Key => {
                    let from = trigger.end.max(passed);
                    sink.plain(&text[passed..from]);
                    let key = Inside::Key(rules::Key::default());
                    passed = self.within(key, text, from, over, true, sink);
                    self.judged = passed;
                    if self.inside.is_some() {
                        return passed;
                    }
                }
            }
        }
        sink.plain(&text[passed..]);
        self.judged = text.len();
        text.len()
    }

    /// Passes on the secret's bytes from `from` on; says where it ends, or where to go on.
    fn within(
        &mut self,
        mut inside: Inside,
        text: &[u8],
        from: usize,
        over: bool,
        begins: bool,
        sink: &mut impl Sink,
    ) -> usize {
        match &mut inside {
            Inside::Run(run) => {
                let end = run.end(text, from);
                sink.secret(&text[from..end], run.kind, begins);
                if run.learns && (end < text.len() || over) {
                    sink.learned(&text[from..end]);
                }
                // What is learned was seen whole before it was decided.
                run.learns = false;
                if end == text.len() && !over {
                    self.inside = Some(inside);
                }
                end
            }
            Inside::Key(key) => {
                let (end, over) = key.go_on(text, from, over, sink);
                if !over {
                    self.inside = Some(inside);
                }
                end
            }
        }
    }
}

/// A secret in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub begin: usize,
    pub end: usize,
    pub kind: Kind,
    /// It is not the further line of a secret of several lines.
    pub begins: bool,
}

#[derive(Default)]
struct Spans {
    at: usize,
    spans: Vec<Span>,
}

impl Sink for Spans {
    fn plain(&mut self, bytes: &[u8]) {
        self.at += bytes.len();
    }

    fn secret(&mut self, bytes: &[u8], kind: Kind, begins: bool) {
        if !bytes.is_empty() {
            let end = self.at + bytes.len();
            self.spans.push(Span { begin: self.at, end, kind, begins });
            self.at = end;
        }
    }
}

/// The secrets in a text that is whole.
pub fn find(text: &[u8]) -> Vec<Span> {
    let mut spans = Spans::default();
    Scanner::default().whole(text, &mut spans);
    spans.spans
}

/// Finds secrets in texts that are decided one by one, as the batches of a stream are. Only a private key that is not over goes on
/// from one to the next; a token that is cut between two is not seen.
#[derive(Clone, Debug, Default)]
pub struct Batches(Scanner);

impl Batches {
    /// The secrets in the next text.
    pub fn find(&mut self, text: &[u8]) -> Vec<Span> {
        let mut spans = Spans::default();
        self.0.whole(text, &mut spans);
        spans.spans
    }
}

/// `text` with its secrets masked, if there are any.
pub fn mask(text: &[u8]) -> Option<Vec<u8>> {
    let spans = find(text);
    let first = spans.first()?;
    let mut out = text[..first.begin].to_vec();
    for (index, span) in spans.iter().enumerate() {
        out.extend_from_slice(STARS);
        let next = spans.get(index + 1).map_or(text.len(), |next| next.begin);
        out.extend_from_slice(&text[span.end..next]);
    }
    Some(out)
}
