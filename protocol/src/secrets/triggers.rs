//! Where a secret may begin: the known beginnings, found in one pass.

use super::colours::Seams;
use super::names;
use super::rules::{Rule, Token};
use aho_corasick::packed::{Config, MatchKind, Searcher};
use aho_corasick::{AhoCorasick, Span};
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Behind `end` a secret of this rule may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    pub(super) end: usize,
    pub(super) rule: Rule,
}

/// What a literal is the beginning of.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Token(Token),
    /// `_pat_`, `_v1_`, `_live_`, `_test_`: what stands before decides.
    Middle,
    Slack,
    Pypi,
    Discord,
    Jwt,
    Bearer,
    Authorization,
    Key,
    Url,
    Telegram,
    Webhook,
    Services,
    Sas,
    Code,
    Named(Name),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Token,
    Secret,
    Pass,
    Key,
}

/// Of four bytes and more, and chosen so that their first four are rare in what installers print: that, more than their number, is what
/// the search's speed hangs on. So some begin within what they stand for: `rization` for `Authorization`, `i-Ag` for `pypi-Ag`.
/// No literal is the beginning of another.
#[rustfmt::skip]
const LONG: &[(&str, Mark)] = &[
    ("ghp_", Mark::Token(Token::Github)), ("gho_", Mark::Token(Token::Github)), ("ghu_", Mark::Token(Token::Github)),
    ("ghs_", Mark::Token(Token::GithubApp)), ("ghr_", Mark::Token(Token::Github)),
    ("_pat_", Mark::Middle), ("_v1_", Mark::Middle), ("_live_", Mark::Middle), ("k_test_", Mark::Middle),
    ("glpat-", Mark::Token(Token::Gitlab)), ("glptt-", Mark::Token(Token::Gitlab)), ("gldt-", Mark::Token(Token::Gitlab)),
    ("glrt-", Mark::Token(Token::Gitlab)), ("glcbt-", Mark::Token(Token::Gitlab)), ("glagent-", Mark::Token(Token::Gitlab)),
    ("glsoat-", Mark::Token(Token::Gitlab)), ("gloas-", Mark::Token(Token::Gitlab)),
    ("xoxa", Mark::Slack), ("xoxb", Mark::Slack), ("xoxe", Mark::Slack), ("xoxp", Mark::Slack), ("xoxr", Mark::Slack), ("xoxs", Mark::Slack),
    ("xapp-", Mark::Token(Token::SlackApp)),
    ("AKIA", Mark::Token(Token::AwsId)), ("ASIA", Mark::Token(Token::AwsId)),
    ("AIza", Mark::Token(Token::GoogleKey)), ("ya29.", Mark::Token(Token::GoogleOauth)),
    ("whsec_", Mark::Token(Token::StripeWebhook)), ("npm_", Mark::Token(Token::Npm)), ("i-Ag", Mark::Pypi),
    ("hvs.", Mark::Token(Token::Vault)), ("hvb.", Mark::Token(Token::Vault)),
    ("dp.pt.", Mark::Token(Token::Doppler)), ("dp.st.", Mark::Token(Token::Doppler)), ("dp.ct.", Mark::Token(Token::Doppler)),
    ("dp.sa.", Mark::Token(Token::Doppler)),
    ("lin_api_", Mark::Token(Token::Linear)), ("lin_oauth_", Mark::Token(Token::Linear)),
    ("tskey-", Mark::Token(Token::Tailscale)), ("AGE-SECRET-KEY-1", Mark::Token(Token::Age)),
    ("earer ", Mark::Bearer), ("rization", Mark::Authorization), ("PRIVATE KEY", Mark::Key),
    ("hooks/", Mark::Webhook), (".slack.com/services/T", Mark::Services), ("sig=", Mark::Sas),
    ("code", Mark::Code), ("CODE", Mark::Code), ("iscord", Mark::Discord),
    ("oken", Mark::Named(Name::Token)), ("OKEN", Mark::Named(Name::Token)),
    ("ecret", Mark::Named(Name::Secret)), ("ECRET", Mark::Named(Name::Secret)),
    ("pass", Mark::Named(Name::Pass)), ("PASS", Mark::Named(Name::Pass)), ("Pass", Mark::Named(Name::Pass)),
    ("key=", Mark::Named(Name::Key)), ("key:", Mark::Named(Name::Key)), ("key\"", Mark::Named(Name::Key)), ("key'", Mark::Named(Name::Key)),
    ("key\\", Mark::Named(Name::Key)), ("key =", Mark::Named(Name::Key)), ("pi-key ", Mark::Named(Name::Key)),
    ("te-key ", Mark::Named(Name::Key)), ("ss-key ", Mark::Named(Name::Key)), ("et-key ", Mark::Named(Name::Key)), ("iKey ", Mark::Named(Name::Key)),
    ("KEY=", Mark::Named(Name::Key)), ("KEY:", Mark::Named(Name::Key)), ("KEY =", Mark::Named(Name::Key)),
    ("Key=", Mark::Named(Name::Key)), ("Key:", Mark::Named(Name::Key)), ("Key\"", Mark::Named(Name::Key)), ("Key =", Mark::Named(Name::Key)),
];

/// Those of three bytes, for which the search looks at fewer; by themselves they are as fast as the others without them.
const SHORT: &[(&str, Mark)] = &[
    ("hf_", Mark::Token(Token::HuggingFace)),
    ("sk-", Mark::Token(Token::Sk)),
    ("SG.", Mark::Token(Token::SendGrid)),
    ("eyJ", Mark::Jwt),
    (":AA", Mark::Telegram),
];

/// One vectorised search for a set of literals.
#[derive(Debug)]
enum Search {
    Packed(Searcher),
    /// For processors without the vectors that the other wants.
    Plain(AhoCorasick),
}

impl Search {
    fn new(marks: &[(&str, Mark)]) -> Self {
        let literals = marks.iter().map(|(literal, _)| literal);
        let packed = Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .heuristic_pattern_limits(false)
            .builder()
            .extend(literals.clone())
            .build();
        packed.map_or_else(
            || Self::Plain(AhoCorasick::new(literals).expect("a few short literals")),
            Self::Packed,
        )
    }

    /// Whatever begins at each place, also within another.
    fn each(&self, text: &[u8], mut found: impl FnMut(usize, usize, usize)) {
        match self {
            Self::Packed(searcher) => {
                let mut from = 0;
                while let Some(hit) = searcher.find_in(text, Span::from(from..text.len())) {
                    from = hit.start() + 1;
                    found(hit.pattern().as_usize(), hit.start(), hit.end());
                }
            }
            Self::Plain(searcher) => {
                for hit in searcher.find_overlapping_iter(text) {
                    found(hit.pattern().as_usize(), hit.start(), hit.end());
                }
            }
        }
    }
}

static LONG_SEARCH: LazyLock<Search> = LazyLock::new(|| Search::new(LONG));
static SHORT_SEARCH: LazyLock<Search> = LazyLock::new(|| Search::new(SHORT));
static SCHEME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"://"));

/// All triggers in `text` that end behind `judged`, in no order. With `over` no text follows.
pub(super) fn find(text: &[u8], seams: &Seams, judged: usize, over: bool) -> Vec<Trigger> {
    let mut found = Vec::new();
    let mut add = |end: usize, rule| {
        if end > judged {
            found.push(Trigger { end, rule });
        }
    };
    LONG_SEARCH
        .each(text, |which, begin, end| mark(text, seams, begin, end, LONG[which].1, &mut add));
    SHORT_SEARCH
        .each(text, |which, begin, end| mark(text, seams, begin, end, SHORT[which].1, &mut add));
    // Addresses are common; those with a password have an @, which is not.
    if !over || memchr::memchr(b'@', text).is_some() {
        for begin in SCHEME.find_iter(text) {
            mark(text, seams, begin, begin + 3, Mark::Url, &mut add);
        }
    }
    found
}

/// What a literal at `begin..end` may be the beginning of, and where that is.
fn mark(
    text: &[u8],
    seams: &Seams,
    begin: usize,
    end: usize,
    mark: Mark,
    add: &mut impl FnMut(usize, Rule),
) {
    let behind = &text[end..];
    match mark {
        Mark::Token(token) => {
            // Short beginnings stand within words all the time.
            let strict = matches!(
                token,
                Token::Sk | Token::SendGrid | Token::HuggingFace | Token::Npm | Token::Doppler
            );
            let joined = matches!(text[..begin].last(), Some(b'-' | b'.')) && !seams.before(begin);
            if bounded(text, seams, begin) && !(strict && joined) {
                add(end, Rule::Token(token));
            }
        }
        Mark::Middle => {
            let prefixes: &[(&[u8], Token)] = match text[end - 2] {
                b't' if text[begin] == b'_' => {
                    &[(b"github", Token::GithubFine), (b"dckr", Token::Docker)]
                }
                b'1' => &[
                    (b"dop", Token::DigitalOcean),
                    (b"doo", Token::DigitalOcean),
                    (b"dor", Token::DigitalOcean),
                ],
                b'e' => &[(b"sk", Token::Stripe), (b"rk", Token::Stripe)],
                _ => &[(b"s", Token::Stripe), (b"r", Token::Stripe)],
            };
            for &(prefix, token) in prefixes {
                if text[..begin].ends_with(prefix) && bounded(text, seams, begin - prefix.len()) {
                    add(end, Rule::Token(token));
                }
            }
        }
        Mark::Slack => {
            if let Some(b'-' | b'.') = behind.first()
                && bounded(text, seams, begin)
            {
                add(end + 1, Rule::Token(Token::Slack));
            }
        }
        Mark::Pypi => {
            if text[..begin].ends_with(b"pyp") && bounded(text, seams, begin - 3) {
                add(end, Rule::Token(Token::Pypi));
            }
        }
        Mark::Discord => discord(text, seams, end, add),
        Mark::Jwt => {
            if text[..begin].ends_with(b"ops_") && bounded(text, seams, begin - 4) {
                add(end, Rule::Token(Token::OnePassword));
            } else if bounded(text, seams, begin) {
                add(end, Rule::Jwt);
            }
        }
        Mark::Bearer => {
            if matches!(text.get(begin.wrapping_sub(1)), Some(b'B' | b'b'))
                && bounded(text, seams, begin - 1)
            {
                add(end, Rule::Bearer);
            }
        }
        Mark::Authorization => {
            if let Some(separator) = separator(behind, b":=")
                && text[..begin].ends_with(b"utho")
            {
                add(end + separator, Rule::Authorization);
            }
        }
        Mark::Key => {
            let behind = behind.strip_prefix(b" BLOCK").unwrap_or(behind);
            let label = &text[begin.saturating_sub(40)..begin];
            if behind.starts_with(b"-----")
                && memchr::memmem::rfind(label, b"-----BEGIN ").is_some_and(|at| {
                    label[at + 11..].iter().all(|byte| {
                        byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' '
                    })
                })
            {
                add(text.len() - behind.len() + 5, Rule::Key);
            }
        }
        Mark::Url => {
            let user = behind
                .iter()
                .take(129)
                .position(|byte| !(byte.is_ascii_alphanumeric() || b"-._~%+!$*=".contains(byte)));
            if let Some(user) = user
                && behind[user] == b':'
                && behind.get(user + 1) != Some(&b'/')
                && begin > 0
                && text[begin - 1].is_ascii_alphanumeric()
            {
                add(end + user + 1, Rule::Url);
            }
        }
        Mark::Telegram => {
            let digits = text[..begin]
                .iter()
                .rev()
                .take(17)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if (5..=16).contains(&digits)
                && (bounded(text, seams, begin - digits)
                    || text[..begin - digits].ends_with(b"/bot"))
            {
                add(end, Rule::Token(Token::Telegram));
            }
        }
        Mark::Webhook => {
            let digits = behind.iter().take(24).take_while(|byte| byte.is_ascii_digit()).count();
            if (15..=22).contains(&digits)
                && behind.get(digits) == Some(&b'/')
                && text[..begin].ends_with(b"/web")
            {
                add(end + digits + 1, Rule::Token(Token::DiscordWebhook));
            }
        }
        Mark::Services => {
            let part = |text: &[u8]| {
                let length =
                    text.iter().take(16).take_while(|byte| byte.is_ascii_alphanumeric()).count();
                (length >= 6 && text.get(length) == Some(&b'/')).then_some(length + 1)
            };
            if let Some(team) = part(behind)
                && let Some(hook) = part(&behind[team..])
            {
                add(end + team + hook, Rule::Token(Token::SlackWebhook));
            }
        }
        Mark::Sas => {
            if begin > 0 && b"?&;\"' ".contains(&text[begin - 1]) {
                add(end, Rule::Token(Token::Sas));
            }
        }
        Mark::Code => {
            let quoted = usize::from(matches!(behind.first(), Some(b'"' | b'\'')));
            if let Some(separator) = separator(&behind[quoted..], b":= ") {
                add(end + quoted + separator, Rule::JoinCode);
            }
        }
        Mark::Named(name) => named(text, seams, begin, end, name, add),
    }
}

/// How long the white space and the separator at the beginning of `text` are.
fn separator(text: &[u8], which: &[u8]) -> Option<usize> {
    let quote = match text {
        [b'\\', b'"' | b'\'', ..] => 2,
        [b'"' | b'\'', ..] => 1,
        _ => 0,
    };
    let blanks =
        text[quote..].iter().take(8).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let at = quote + blanks;
    match text.get(at) {
        Some(byte) if which.contains(byte) => Some(at + 1),
        _ => (blanks > 0 && quote == 0 && which.contains(&b' ')).then_some(at),
    }
}

/// `password: `, `FOO_TOKEN=`, `"apiKey": `, `--token `, `<password>`.
fn named(
    text: &[u8],
    seams: &Seams,
    begin: usize,
    end: usize,
    name: Name,
    add: &mut impl FnMut(usize, Rule),
) {
    let mut begin = begin;
    let mut at = end;
    let rest = &text[end..];
    match name {
        Name::Token | Name::Secret => {
            let Some(first) = begin.checked_sub(1) else { return };
            if !matches!(text[first], b't' | b'T' | b's' | b'S') {
                return;
            }
            begin = first;
            if name == Name::Token {
                discord(text, seams, end, add);
            }
        }
        Name::Pass => {
            let more = ["word", "wd", "phrase"].iter().find(|more| {
                rest.len() >= more.len() && rest[..more.len()].eq_ignore_ascii_case(more.as_bytes())
            });
            match more {
                Some(more) => at += more.len(),
                // `bypass=`, `compass:`
                None if begin > 0 && text[begin - 1].is_ascii_alphabetic() => return,
                None => {}
            }
        }
        Name::Key => {
            // The literal has what stands behind the name, too.
            let key =
                text[begin..end].windows(3).position(|part| part.eq_ignore_ascii_case(b"key"));
            begin += key.unwrap_or(0);
            at = begin + 3;
            if !names::is_key(&text[begin.saturating_sub(12)..begin]) {
                return;
            }
        }
    }
    let Some(&next) = text.get(at) else { return };
    let first = text[..begin]
        .iter()
        .rev()
        .take(40)
        .position(|byte| !(byte.is_ascii_alphanumeric() || b"-_.".contains(byte)))
        .map_or(begin.saturating_sub(40), |back| begin - back);
    if next == b'>' && first > 0 && text[first - 1] == b'<' {
        add(at + 1, Rule::Element);
        return;
    }
    let flag = text[first..begin].starts_with(b"--");
    if flag && matches!(next, b' ' | b'\t') {
        add(at + 1, Rule::Flag);
        return;
    }
    if let Some(separator) = separator(&text[at..], b"=:") {
        let sign = text[at + separator - 1];
        let tight = separator == 1;
        let environment =
            sign == b'=' && tight && text[first..at].iter().all(|byte| !byte.is_ascii_lowercase());
        add(
            at + separator,
            match sign {
                b':' => Rule::Colon,
                _ if environment => Rule::Environment,
                _ if tight => Rule::Assignment,
                _ => Rule::SpacedAssignment,
            },
        );
    }
}

/// Nothing that could belong to a word stands before `at`: what stands before a colour does not.
fn bounded(text: &[u8], seams: &Seams, at: usize) -> bool {
    let Some(&before) = at.checked_sub(1).and_then(|before| text.get(before)) else { return true };
    if !(before.is_ascii_alphanumeric() || before == b'_') || seams.before(at) {
        return true;
    }
    // `\n` and `\t` as programs print them, `%3D` as addresses have it.
    if before.is_ascii_alphabetic() && at >= 2 && text[at - 2] == b'\\' {
        return true;
    }
    at >= 3
        && text[at - 3] == b'%'
        && text[at - 2].is_ascii_hexdigit()
        && before.is_ascii_hexdigit()
}

/// Behind a word that goes with Discord's tokens, which have no beginning of their own: a dot behind a snowflake in base64,
/// `MjQ1NTU5MDg3NTI0MjE2ODMy.`
fn discord(text: &[u8], seams: &Seams, from: usize, add: &mut impl FnMut(usize, Rule)) {
    const REACH: usize = 200;
    let near = &text[from..text.len().min(from + REACH)];
    let line = memchr::memchr2(b'\n', b'\r', near).unwrap_or(near.len());
    for dot in memchr::memchr_iter(b'.', &near[..line]).map(|at| from + at) {
        let id = [24usize, 26, 23].iter().any(|&length| {
            dot >= length
                && matches!(text[dot - length], b'M'..=b'O')
                && text[dot - length..dot].iter().all(u8::is_ascii_alphanumeric)
                && bounded(text, seams, dot - length)
        });
        if id {
            add(dot + 1, Rule::Token(Token::Discord));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_literal_begins_another() {
        for (marks, least) in [(LONG, 4), (SHORT, 3)] {
            for (index, (one, _)) in marks.iter().enumerate() {
                assert!(one.len() >= least, "{one}");
                for (other, _) in &marks[index + 1..] {
                    assert!(!one.starts_with(other) && !other.starts_with(one), "{one} {other}");
                }
            }
        }
    }
}
