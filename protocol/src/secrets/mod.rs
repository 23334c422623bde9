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
//! * **Colours do not matter.** The rules look at the text without them (see [`colours`]); each is handed on at its place. One directly before a
//!   known beginning is not part of a word, and one behind a secret may be its end.
//! * **Cheap where there is nothing.** Two passes of a vectorised search for the known beginnings; the rules run where they find something.
//!
//! Not found: secrets that nothing tells from other text (a bare password, a hexadecimal key without a name, a token of Discord's in a line
//! that speaks neither of Discord nor of a token).

mod classes;
mod colours;
mod decide;
mod names;
mod rules;
mod triggers;

pub use colours::{Colour, split};
pub use names::{is_secret_name, is_secret_value};

use colours::Splitter;
use decide::Decider;
use std::collections::{BTreeMap, VecDeque};

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
    /// A colour between the bytes before it and those behind it. A secret goes on over it.
    fn colour(&mut self, colour: Colour);
    /// A whole value that was named as a secret, behind its bytes. It is one wherever it appears from here on.
    fn learned(&mut self, value: &[u8]) {
        let _ = value;
    }
}

/// Finds secrets in a stream, also where colours stand within them.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    splitter: Splitter,
    decider: Decider,
    /// Colours before which text is held back, each with how much of it.
    waiting: VecDeque<(usize, Colour)>,
    /// For the text without colours.
    buffer: Vec<u8>,
}

impl Scanner {
    /// Takes the next bytes and hands on what is decided.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        self.go_on(bytes, false, sink, |decider, text, sink| {
            if !text.is_empty() {
                decider.feed(text, sink);
            }
        });
    }

    /// No more comes that could make what is held a secret; a key in PEM form goes on all the same.
    pub fn flush(&mut self, sink: &mut impl Sink) {
        self.go_on(b"", true, sink, |decider, text, sink| {
            if !text.is_empty() {
                decider.feed(text, sink);
            }
            decider.flush(sink);
        });
    }

    /// A text that nothing is before and, but for the rest of a key, nothing behind.
    fn whole(&mut self, text: &[u8], sink: &mut impl Sink) {
        self.go_on(text, true, sink, |decider, text, sink| decider.whole(text, sink));
    }

    /// Whether bytes are held back.
    pub fn holds(&self) -> bool {
        self.decider.held() > 0 || self.splitter.holds()
    }

    fn go_on<S: Sink>(
        &mut self,
        bytes: &[u8],
        over: bool,
        sink: &mut S,
        decide: impl FnOnce(&mut Decider, &[u8], &mut Between<'_, S>),
    ) {
        let held = self.decider.held();
        let Self { splitter, decider, waiting, buffer } = self;
        let text = splitter.take(bytes, over, buffer, |at, colour| {
            waiting.push_back((held + at, colour));
            decider.colour_behind(at);
        });
        let mut between = Between { sink, waiting, passed: 0 };
        decide(decider, text, &mut between);
        between.end();
    }
}

/// Puts the colours back between what is decided.
struct Between<'a, S> {
    sink: &'a mut S,
    waiting: &'a mut VecDeque<(usize, Colour)>,
    passed: usize,
}

impl<S: Sink> Between<'_, S> {
    /// Hands on `bytes` in parts, and the colours that stand before, between and directly behind them.
    fn parts(&mut self, bytes: &[u8], mut part: impl FnMut(&mut S, &[u8])) {
        let mut rest = bytes;
        loop {
            self.colours();
            if rest.is_empty() {
                return;
            }
            let until = self.waiting.front().map_or(rest.len(), |(at, _)| at - self.passed);
            let (now, later) = rest.split_at(until.min(rest.len()));
            part(self.sink, now);
            self.passed += now.len();
            rest = later;
        }
    }

    fn colours(&mut self) {
        while let Some((_, colour)) = self.waiting.pop_front_if(|(at, _)| *at <= self.passed) {
            self.sink.colour(colour);
        }
    }

    /// What still waits stands behind text that is held back.
    fn end(mut self) {
        self.colours();
        for (at, _) in self.waiting {
            *at -= self.passed;
        }
    }
}

impl<S: Sink> Sink for Between<'_, S> {
    fn plain(&mut self, bytes: &[u8]) {
        self.parts(bytes, S::plain);
    }

    fn secret(&mut self, bytes: &[u8], kind: Kind, begins: bool) {
        let mut begins = begins;
        self.parts(bytes, |sink, part| sink.secret(part, kind, std::mem::take(&mut begins)));
    }

    fn colour(&mut self, colour: Colour) {
        self.sink.colour(colour);
    }

    fn learned(&mut self, value: &[u8]) {
        self.sink.learned(value);
    }
}

/// A secret in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub begin: usize,
    pub end: usize,
    pub kind: Kind,
    /// It is not the further part of a secret that goes over lines or colours.
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

    fn colour(&mut self, colour: Colour) {
        self.at += colour.bytes().len();
    }
}

/// The secrets in a text that is whole. One with colours in it is as many spans as parts: the colours are no part of it, and what ends a colour
/// must not be lost, or the rest of a log has it.
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
