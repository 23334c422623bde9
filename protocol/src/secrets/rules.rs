//! What follows a known beginning: a secret, or not.
//!
//! Each rule is monotone: once there is text enough for an answer, more text does not change it. `over` says that no more comes.

use super::classes::{self, Class};
use super::names::{VALUE_BYTES, is_mixed, is_reference, is_secret_value};
use super::{Kind, Sink};

/// No rule holds back more than so many bytes: the payload of a JSON web token begins within.
pub(super) const HELD: usize = 2048;
/// A value is held until it ends, up to so many bytes; a longer one is a secret that cannot be told elsewhere.
const VALUE_HELD: usize = 256;
/// Blanks between a sign and its value.
const LEAD: usize = 16;

/// What may begin. Of several that begin at one place the first that says yes counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Key,
    Token(Token),
    Jwt,
    Url,
    Bearer,
    Authorization,
    JoinCode,
    /// `NAME=value`.
    Environment,
    /// `name=value`.
    Assignment,
    /// `name = value`.
    SpacedAssignment,
    /// `name: value`.
    Colon,
    /// `--name value`.
    Flag,
    /// `<name>value</name>`.
    Element,
}

/// Tokens with a beginning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token {
    Age,
    AwsId,
    DigitalOcean,
    Discord,
    DiscordWebhook,
    Docker,
    Doppler,
    Github,
    GithubApp,
    GithubFine,
    Gitlab,
    GoogleKey,
    GoogleOauth,
    HuggingFace,
    Linear,
    Npm,
    OnePassword,
    Pypi,
    Sas,
    SendGrid,
    Sk,
    Slack,
    SlackApp,
    SlackWebhook,
    Stripe,
    StripeWebhook,
    Tailscale,
    Telegram,
    Vault,
}

/// How a token's rest must be.
struct Form {
    kind: Kind,
    class: Class,
    /// At least so many bytes of the class.
    least: usize,
    /// Exactly that many.
    exact: bool,
    /// What else real ones have, looked for in the first bytes.
    and: fn(&[u8]) -> bool,
    /// How many bytes `and` wants to see, if so many come.
    sees: usize,
}

const fn form(kind: Kind, class: Class, least: usize) -> Form {
    Form { kind, class, least, exact: false, and: |_| true, sees: 0 }
}

impl Token {
    /// Lengths a little below those of today's tokens, where their makers do not promise them.
    const fn form(self) -> Form {
        match self {
            Self::Age => form(Kind::Age, classes::ALNUM, 50),
            Self::AwsId => {
                Form { exact: true, and: is_upper, ..form(Kind::Aws, classes::WORD, 16) }
            }
            Self::DigitalOcean => form(Kind::DigitalOcean, classes::ALNUM, 40),
            Self::Discord => Form { and: is_discord, ..form(Kind::Discord, classes::DOTTED, 33) },
            Self::DiscordWebhook => form(Kind::Discord, classes::URL, 50),
            Self::Docker => form(Kind::Docker, classes::URL, 20),
            Self::Doppler => form(Kind::Doppler, classes::DOTTED, 36),
            Self::Github => form(Kind::Github, classes::WORD, 30),
            Self::GithubApp => form(Kind::Github, classes::DOTTED, 30),
            Self::GithubFine => form(Kind::Github, classes::WORD, 40),
            Self::Gitlab => form(Kind::Gitlab, classes::DOTTED, 20),
            Self::GoogleKey => Form { exact: true, ..form(Kind::Google, classes::URL, 35) },
            Self::GoogleOauth => form(Kind::Google, classes::URL, 20),
            Self::HuggingFace => {
                Form { and: is_capital_mix, sees: 34, ..form(Kind::HuggingFace, classes::WORD, 30) }
            }
            Self::Linear => form(Kind::Linear, classes::ALNUM, 32),
            Self::Npm => Form { exact: true, ..form(Kind::Npm, classes::WORD, 36) },
            Self::OnePassword => form(Kind::OnePassword, classes::BASE64, 100),
            Self::Pypi => form(Kind::Pypi, classes::URL, 50),
            Self::Sas => form(Kind::Azure, classes::PERCENT, 40),
            Self::SendGrid => {
                Form { and: is_two_parts, ..form(Kind::SendGrid, classes::DOTTED, 50) }
            }
            Self::Sk => Form { and: is_key_like, sees: 40, ..form(Kind::OpenAi, classes::URL, 20) },
            Self::Slack => {
                Form { and: has_digit, sees: 20, ..form(Kind::Slack, classes::DASHED, 20) }
            }
            Self::SlackApp => {
                Form { and: has_digit, sees: 20, ..form(Kind::Slack, classes::DASHED, 20) }
            }
            Self::SlackWebhook => form(Kind::Slack, classes::ALNUM, 20),
            Self::Stripe => form(Kind::Stripe, classes::ALNUM, 16),
            Self::StripeWebhook => form(Kind::Stripe, classes::BASE64, 24),
            Self::Tailscale => {
                Form { and: has_digit, sees: 40, ..form(Kind::Tailscale, classes::URL, 16) }
            }
            Self::Telegram => form(Kind::Telegram, classes::URL, 32),
            Self::Vault => form(Kind::Vault, classes::URL, 24),
        }
    }
}

fn is_upper(rest: &[u8]) -> bool {
    rest.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn has_digit(rest: &[u8]) -> bool {
    rest.iter().any(u8::is_ascii_digit)
}

fn is_capital_mix(rest: &[u8]) -> bool {
    rest.iter().filter(|byte| byte.is_ascii_uppercase()).count() >= 3
        && rest.iter().filter(|byte| byte.is_ascii_lowercase()).count() >= 3
        && !rest.contains(&b'_')
}

/// `DulyxA.brcD2x…`: a time of six bytes, then 27 or more of a signature.
fn is_discord(rest: &[u8]) -> bool {
    rest.iter().position(|&byte| byte == b'.').is_some_and(|dot| (5..=7).contains(&dot))
        && !rest[8..33].contains(&b'.')
}

/// 22 bytes of a name, then 43 of a key.
fn is_two_parts(rest: &[u8]) -> bool {
    rest.iter().position(|&byte| byte == b'.').is_some_and(|dot| (16..=32).contains(&dot))
}

/// `sk-` begins names too: a key has capitals, small letters and digits, or a long part of both letters and digits.
fn is_key_like(rest: &[u8]) -> bool {
    let count = |test: fn(&u8) -> bool| rest.iter().filter(|byte| test(byte)).count();
    let mixed = count(u8::is_ascii_uppercase) >= 2
        && count(u8::is_ascii_lowercase) >= 2
        && count(u8::is_ascii_digit) >= 1;
    mixed
        || rest.split(|byte| matches!(byte, b'-' | b'_')).any(|part| {
            part.len() >= 16
                && part.iter().filter(|byte| byte.is_ascii_digit()).count() >= 3
                && part.iter().filter(|byte| byte.is_ascii_alphabetic()).count() >= 3
        })
}

/// The answer of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Not,
    /// Wait for more; everything before `hold` may be shown.
    More {
        hold: usize,
    },
    /// A secret begins at `from`.
    Secret {
        from: usize,
        run: Run,
    },
    /// A key in PEM form begins.
    Key,
}

/// How a secret goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) kind: Kind,
    pub(super) class: Class,
    /// A backslash takes the next byte with it.
    escapes: bool,
    escaped: bool,
    /// The value is a secret wherever it stands.
    pub(super) learns: bool,
}

impl Run {
    const fn new(kind: Kind, class: Class) -> Self {
        Self { kind, class, escapes: false, escaped: false, learns: false }
    }

    /// Where the secret that goes on at `from` ends in `text`.
    pub(super) fn end(&mut self, text: &[u8], from: usize) -> usize {
        let mut at = from;
        while let Some(&byte) = text.get(at) {
            if self.escaped && !matches!(byte, b'\r' | b'\n') {
                self.escaped = false;
            } else if self.escapes && byte == b'\\' {
                self.escaped = true;
            } else if !self.class.has(byte) {
                break;
            }
            at += 1;
        }
        at
    }
}

/// Whether a secret of this rule begins behind `end`.
pub(super) fn judge(rule: Rule, text: &[u8], end: usize, over: bool) -> Verdict {
    match rule {
        Rule::Key => Verdict::Key,
        Rule::Token(token) => judge_token(token, text, end, over),
        Rule::Jwt => judge_jwt(text, end, over),
        Rule::Url => judge_url(text, end, over),
        Rule::Bearer => judge_bearer(text, end, over),
        Rule::Authorization => judge_authorization(text, end, over),
        Rule::JoinCode => judge_code(text, end, over),
        Rule::Environment
        | Rule::Assignment
        | Rule::SpacedAssignment
        | Rule::Colon
        | Rule::Flag
        | Rule::Element => judge_value(rule, text, end, over),
    }
}

fn judge_token(token: Token, text: &[u8], end: usize, over: bool) -> Verdict {
    let form = token.form();
    let wanted = form.least.max(form.sees) + usize::from(form.exact);
    let rest = &text[end..text.len().min(end + wanted)];
    let length = form.class.count(rest);
    if length == rest.len() && rest.len() < wanted && !over {
        return Verdict::More { hold: end };
    }
    let fits = if form.exact { length == form.least } else { length >= form.least };
    if !fits || !(form.and)(&rest[..length]) {
        return Verdict::Not;
    }
    let kind = match token {
        Token::Sk if rest.starts_with(b"ant-") => Kind::Anthropic,
        _ => form.kind,
    };
    Verdict::Secret { from: end, run: Run::new(kind, form.class) }
}

/// Behind `eyJ`: the rest of a header, a dot, a payload. A second part that is JSON too decides at once; of an encrypted token the
/// header must say how.
fn judge_jwt(text: &[u8], end: usize, over: bool) -> Verdict {
    const PART: usize = 16;
    let rest = &text[end..text.len().min(end + HELD)];
    let length = classes::URL.count(rest);
    let full = rest.len() == HELD;
    if length == rest.len() {
        return if full || over { Verdict::Not } else { Verdict::More { hold: end } };
    }
    if rest[length] != b'.' || length < 10 {
        return Verdict::Not;
    }
    let secret = Verdict::Secret { from: end, run: Run::new(Kind::Jwt, classes::DOTTED) };
    let payload = &text[end + length + 1..];
    if payload.starts_with(b"eyJ") {
        return secret;
    }
    let seen = &payload[..payload.len().min(PART)];
    let count = classes::DOTTED.count(seen);
    if count == seen.len() && seen.len() < PART && !over {
        return Verdict::More { hold: end };
    }
    if count == PART && says_how(&text[end - 3..end + length]) { secret } else { Verdict::Not }
}

/// The header names an algorithm.
fn says_how(header: &[u8]) -> bool {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    engine.decode(header).is_ok_and(|json| {
        memchr::memmem::find(&json, b"\"alg\"").is_some()
            || memchr::memmem::find(&json, b"\"enc\"").is_some()
    })
}

/// Behind `scheme://user:`, up to `@`.
fn judge_url(text: &[u8], end: usize, over: bool) -> Verdict {
    const PASSWORD: usize = 1024;
    let rest = &text[end..text.len().min(end + PASSWORD)];
    let length = classes::USERINFO.count(rest);
    if length == rest.len() {
        return if over || rest.len() == PASSWORD {
            Verdict::Not
        } else {
            Verdict::More { hold: end }
        };
    }
    let value = &rest[..length];
    if rest[length] != b'@' || value.is_empty() || is_reference(value) || value.starts_with(b"***")
    {
        return Verdict::Not;
    }
    let learns = value.len() >= 8 && is_mixed(value) && is_secret_value(value);
    Verdict::Secret { from: end, run: Run { learns, ..Run::new(Kind::Url, classes::USERINFO) } }
}

fn judge_bearer(text: &[u8], end: usize, over: bool) -> Verdict {
    const LEAST: usize = 16;
    const SEEN: usize = 40;
    let rest = &text[end..text.len().min(end + SEEN)];
    let length = classes::CREDENTIAL.count(rest);
    if length == rest.len() && rest.len() < SEEN && !over {
        return Verdict::More { hold: end };
    }
    let value = &rest[..length];
    if length < LEAST || !has_digit(value) || !value.iter().any(u8::is_ascii_alphabetic) {
        return Verdict::Not;
    }
    Verdict::Secret { from: end, run: Run::new(Kind::Authorization, classes::CREDENTIAL) }
}

/// Where the blanks and quotes before a value end; `None` while that is not known. With what the value is quoted.
fn lead(text: &[u8], end: usize, over: bool) -> Result<(usize, Option<Quote>), usize> {
    let mut at = end;
    while at < text.len() && at < end + LEAD && matches!(text[at], b' ' | b'\t') {
        at += 1;
    }
    let (quote, length) = match &text[at..] {
        [b'\\', b'"', ..] | [b'\\', b'\'', ..] => (Some(Quote::Escaped), 2),
        [b'"', ..] => (Some(Quote::Double), 1),
        [b'\'', ..] => (Some(Quote::Single), 1),
        [] | [b'\\'] if !over => return Err(at),
        _ => (None, 0),
    };
    Ok((at + length, quote))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Single,
    Double,
    /// Within a text that is quoted itself.
    Escaped,
}

/// Behind `Authorization:`. A scheme is shown.
fn judge_authorization(text: &[u8], end: usize, over: bool) -> Verdict {
    const SCHEMES: &[&[u8]] = &[
        b"basic",
        b"bearer",
        b"token",
        b"bot",
        b"apikey",
        b"digest",
        b"negotiate",
        b"api-key",
        b"key",
        b"ntlm",
        b"gpg",
    ];
    const LEAST: usize = 8;
    const SEEN: usize = 64;
    let (mut at, _) = match lead(text, end, over) {
        Ok(lead) => lead,
        Err(hold) => return Verdict::More { hold },
    };
    let word = classes::DASHED.count(&text[at..text.len().min(at + 12)]);
    match text.get(at + word) {
        None if !over => return Verdict::More { hold: at },
        Some(b' ')
            if SCHEMES.iter().any(|scheme| text[at..at + word].eq_ignore_ascii_case(scheme)) =>
        {
            at += word + 1;
        }
        // A sentence.
        Some(b' ') => return Verdict::Not,
        _ => {}
    }
    let rest = &text[at..text.len().min(at + SEEN)];
    let length = classes::CREDENTIAL.count(rest);
    if length == rest.len() && rest.len() < SEEN && !over {
        return Verdict::More { hold: at };
    }
    if length < LEAST || !is_mixed(&rest[..length]) {
        return Verdict::Not;
    }
    Verdict::Secret { from: at, run: Run::new(Kind::Authorization, classes::CREDENTIAL) }
}

/// A code that lets a console join, behind the word `code`: `7K2M-9QXA-T4VE`.
fn judge_code(text: &[u8], end: usize, over: bool) -> Verdict {
    const CODE: usize = 14;
    let (at, _) = match lead(text, end, over) {
        Ok(lead) => lead,
        Err(hold) => return Verdict::More { hold },
    };
    let rest = &text[at..text.len().min(at + CODE + 1)];
    let fits = |(index, byte): (usize, &u8)| match index {
        4 | 9 => *byte == b'-',
        CODE => !byte.is_ascii_alphanumeric() && *byte != b'-',
        _ => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
    };
    if !rest.iter().enumerate().all(fits)
        || !rest.get(..CODE).unwrap_or(b"0").iter().any(u8::is_ascii_digit) && rest.len() >= CODE
    {
        return Verdict::Not;
    }
    if rest.len() <= CODE && !over {
        return Verdict::More { hold: at };
    }
    if rest.len() < CODE {
        return Verdict::Not;
    }
    Verdict::Secret { from: at, run: Run::new(Kind::Deckport, classes::DASHED) }
}

/// The value of something that is named as a secret.
fn judge_value(rule: Rule, text: &[u8], end: usize, over: bool) -> Verdict {
    let mut end = end;
    if matches!(rule, Rule::Colon | Rule::Assignment | Rule::Environment | Rule::SpacedAssignment) {
        // `:=` and `=>` are signs too; `::` and `==` are not.
        match text.get(end) {
            None if !over => return Verdict::More { hold: end },
            Some(b'=') if rule == Rule::Colon => end += 1,
            Some(b'>') if rule != Rule::Colon => end += 1,
            Some(b':') if rule == Rule::Colon => return Verdict::Not,
            Some(b'=') if rule != Rule::Environment => return Verdict::Not,
            _ => {}
        }
    }
    let (from, quote) = match rule {
        Rule::Element => (end, None),
        _ => match lead(text, end, over) {
            Ok(lead) => lead,
            Err(hold) => return Verdict::More { hold },
        },
    };
    let spaced = from - usize::from(quote.is_some()) > end;
    // An empty variable, and words behind it.
    if spaced && matches!(rule, Rule::Environment) {
        return Verdict::Not;
    }
    let class = match (rule, quote) {
        (Rule::Element, _) => classes::ELEMENT,
        (_, Some(Quote::Double)) => classes::DOUBLE_QUOTED,
        (_, Some(Quote::Single)) => classes::SINGLE_QUOTED,
        (Rule::Environment, None) => classes::ENV,
        (_, Some(Quote::Escaped) | None) => classes::VALUE,
    };
    let escapes = quote == Some(Quote::Double);
    let mut run = Run { escapes, ..Run::new(Kind::Named, class) };
    let seen = &text[from..text.len().min(from + VALUE_HELD)];
    let length = run.end(seen, 0);
    run.escaped = false;
    if length == seen.len() {
        if seen.len() == VALUE_HELD {
            return Verdict::Secret { from, run };
        }
        if !over {
            return Verdict::More { hold: from };
        }
    }
    let value = &seen[..length];
    if !is_secret_value(value) {
        return Verdict::Not;
    }
    let trusted = match (rule, quote) {
        (Rule::Environment, _) => true,
        (Rule::Element, _) => seen.get(length) == Some(&b'<'),
        // `"required": "a sentence"`
        (_, Some(_)) => is_mixed(value) || !value.contains(&b' '),
        (Rule::Assignment, None) => {
            !value.iter().any(|byte| b"(){}[]<>|*".contains(byte)) && !value.ends_with(b":")
        }
        (Rule::Flag, None) => !value.starts_with(b"-") && is_mixed(value),
        (Rule::SpacedAssignment | Rule::Colon, None) => {
            if !is_mixed(value) || value.iter().any(|byte| b"(){}[]<>|*".contains(byte)) {
                return Verdict::Not;
            }
            // Not a sentence: the value is the last of its line, or of its list.
            let behind = &text[from + length..text.len().min(from + length + LEAD)];
            match behind.iter().position(|byte| !matches!(byte, b' ' | b'\t')) {
                None if behind.len() < LEAD && !over => return Verdict::More { hold: from },
                None => over,
                Some(at) => {
                    matches!(behind[at], b'\r' | b'\n' | b'"' | b'\'' | 0x1b)
                        || (matches!(behind[at], b',' | b';' | b'}' | b')' | b']' | b'&' | b'\\'))
                        || (at > 0 && behind[at] == b'#')
                }
            }
        }
        (
            Rule::Key
            | Rule::Token(_)
            | Rule::Jwt
            | Rule::Url
            | Rule::Bearer
            | Rule::Authorization
            | Rule::JoinCode,
            _,
        ) => false,
    };
    if !trusted {
        return Verdict::Not;
    }
    run.learns =
        length >= 8 && is_mixed(value) || length >= VALUE_BYTES && rule == Rule::Environment;
    Verdict::Secret { from, run }
}

/// A private key in PEM form, behind its `-----BEGIN …-----`: everything is masked up to `-----END`, over lines and reads, however much that is.
/// A key that breaks off ends with a quotation mark, or behind three lines that hold nothing of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key {
    /// Lines in a row that hold nothing of a key.
    foreign: u8,
    /// Something stands in this line; it holds a part of a key.
    any: bool,
    of_key: bool,
    /// Bytes of base64 in a row.
    run: u16,
    /// Something of it was passed on.
    begun: bool,
}

impl Key {
    const LINES: u8 = 3;
    const PART: u16 = 16;
    const END: &'static [u8] = b"-----END";

    /// Passes on what follows; says where to go on, and whether the key is over.
    pub(super) fn go_on(
        &mut self,
        text: &[u8],
        from: usize,
        over: bool,
        sink: &mut impl Sink,
    ) -> (usize, bool) {
        let mut shown = from;
        let mut begun = self.begun;
        let mut secret = |range: std::ops::Range<usize>, sink: &mut _| {
            if !range.is_empty() {
                Sink::secret(sink, &text[range], Kind::PrivateKey, !begun);
                begun = true;
            }
        };
        for at in from..text.len() {
            let byte = text[at];
            if byte == b'-' {
                let rest = &text[at..text.len().min(at + Self::END.len())];
                if rest == Self::END {
                    secret(shown..at, sink);
                    return (at, true);
                }
                if Self::END.starts_with(rest) && !over {
                    secret(shown..at, sink);
                    self.begun = begun;
                    return (at, false);
                }
            }
            match byte {
                b'"' | b'\'' => {
                    secret(shown..at, sink);
                    return (at, true);
                }
                b'\r' | b'\n' => {
                    secret(shown..at, sink);
                    sink.plain(&text[at..=at]);
                    shown = at + 1;
                    if self.any {
                        self.foreign = if self.of_key { 0 } else { self.foreign + 1 };
                    }
                    (self.any, self.of_key, self.run) = (false, false, 0);
                    if self.foreign == Self::LINES {
                        return (shown, true);
                    }
                }
                _ => {
                    self.any |= byte != b' ';
                    self.run = if byte.is_ascii_alphanumeric() || b"+/=".contains(&byte) {
                        self.run.saturating_add(1)
                    } else {
                        0
                    };
                    self.of_key |= self.run >= Self::PART;
                }
            }
        }
        secret(shown..text.len(), sink);
        self.begun = begun;
        (text.len(), false)
    }
}
