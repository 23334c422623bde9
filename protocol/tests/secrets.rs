//! Secrets are found, and nothing else is taken for one.
//!
//! The corpus is made here, from the formats that their makers publish (prefix, alphabet, length), by a generator with a stated seed, and put
//! into lines as programs print them. What is counted is whole secrets: one of which six bytes in a row can still be read is missed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base64::Engine as _;
use deckport_protocol::secrets::{self, Colour, Kind, Scanner, Sink};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of(&mut self, alphabet: &str, length: usize) -> String {
        (0..length).map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len())])).collect()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

const DIGITS: &str = "0123456789";
const HEX: &str = "0123456789abcdef";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BECH32: &str = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";

/// A token: what of it may be shown, and the secret.
type Made = (String, String);

fn url64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// The formats: a name, the kind's, and how one is made.
#[expect(clippy::type_complexity, reason = "a table of makers")]
fn formats() -> Vec<(&'static str, Kind, Box<dyn Fn(&mut Dice) -> Made>)> {
    fn simple(
        prefix: &'static str,
        alphabet: &'static str,
        length: usize,
    ) -> Box<dyn Fn(&mut Dice) -> Made> {
        Box::new(move |dice| (prefix.to_owned(), dice.of(alphabet, length)))
    }
    vec![
        ("github ghp", Kind::Github, simple("ghp_", ALNUM, 36)),
        ("github gho", Kind::Github, simple("gho_", ALNUM, 36)),
        ("github ghu", Kind::Github, simple("ghu_", ALNUM, 36)),
        ("github ghs", Kind::Github, simple("ghs_", ALNUM, 36)),
        ("github ghr", Kind::Github, simple("ghr_", ALNUM, 76)),
        (
            "github fine-grained",
            Kind::Github,
            Box::new(|dice| {
                ("github_pat_".into(), format!("{}_{}", dice.of(ALNUM, 22), dice.of(ALNUM, 59)))
            }),
        ),
        ("gitlab personal", Kind::Gitlab, simple("glpat-", URL, 20)),
        (
            "gitlab routable",
            Kind::Gitlab,
            Box::new(|dice| {
                (
                    "glpat-".into(),
                    format!("{}.{}.{}", dice.of(URL, 36), dice.of(DIGITS, 2), dice.of(LOWER, 9)),
                )
            }),
        ),
        ("gitlab deploy", Kind::Gitlab, simple("gldt-", URL, 20)),
        ("gitlab runner", Kind::Gitlab, simple("glrt-", URL, 20)),
        ("gitlab trigger", Kind::Gitlab, simple("glptt-", HEX, 40)),
        (
            "gitlab job",
            Kind::Gitlab,
            Box::new(|dice| ("glcbt-".into(), format!("{}_{}", dice.of(HEX, 2), dice.of(URL, 20)))),
        ),
        (
            "slack bot",
            Kind::Slack,
            Box::new(|dice| {
                (
                    "xoxb-".into(),
                    format!(
                        "{}-{}-{}",
                        dice.of(DIGITS, 12),
                        dice.of(DIGITS, 13),
                        dice.of(ALNUM, 24)
                    ),
                )
            }),
        ),
        (
            "slack user",
            Kind::Slack,
            Box::new(|dice| {
                let id = |dice: &mut Dice| dice.of(DIGITS, 12);
                (
                    "xoxp-".into(),
                    format!("{}-{}-{}-{}", id(dice), id(dice), id(dice), dice.of(HEX, 32)),
                )
            }),
        ),
        (
            "slack app",
            Kind::Slack,
            Box::new(|dice| {
                (
                    "xapp-".into(),
                    format!(
                        "1-A{}-{}-{}",
                        dice.of(UPPER, 10),
                        dice.of(DIGITS, 13),
                        dice.of(HEX, 64)
                    ),
                )
            }),
        ),
        ("aws id", Kind::Aws, simple("AKIA", BASE32, 16)),
        ("aws temporary id", Kind::Aws, simple("ASIA", BASE32, 16)),
        ("google api", Kind::Google, simple("AIza", URL, 35)),
        ("google oauth", Kind::Google, simple("ya29.", URL, 120)),
        ("stripe live", Kind::Stripe, simple("sk_live_", ALNUM, 24)),
        ("stripe restricted", Kind::Stripe, simple("rk_live_", ALNUM, 99)),
        ("stripe test", Kind::Stripe, simple("sk_test_", ALNUM, 24)),
        ("stripe webhook", Kind::Stripe, simple("whsec_", ALNUM, 32)),
        ("npm", Kind::Npm, simple("npm_", ALNUM, 36)),
        ("pypi", Kind::Pypi, simple("pypi-Ag", URL, 170)),
        ("docker", Kind::Docker, simple("dckr_pat_", URL, 27)),
        ("digitalocean", Kind::DigitalOcean, simple("dop_v1_", HEX, 64)),
        (
            "huggingface",
            Kind::HuggingFace,
            simple("hf_", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 34),
        ),
        (
            "openai",
            Kind::OpenAi,
            Box::new(|dice| {
                ("sk-".into(), format!("{}T3BlbkFJ{}", dice.of(ALNUM, 20), dice.of(ALNUM, 20)))
            }),
        ),
        (
            "openai project",
            Kind::OpenAi,
            Box::new(|dice| {
                ("sk-".into(), format!("proj-{}T3BlbkFJ{}", dice.of(URL, 74), dice.of(URL, 74)))
            }),
        ),
        (
            "anthropic",
            Kind::Anthropic,
            Box::new(|dice| ("sk-".into(), format!("ant-api03-{}AA", dice.of(URL, 93)))),
        ),
        (
            "sendgrid",
            Kind::SendGrid,
            Box::new(|dice| ("SG.".into(), format!("{}.{}", dice.of(URL, 22), dice.of(URL, 43)))),
        ),
        (
            "telegram",
            Kind::Telegram,
            Box::new(|dice| {
                (format!("{}{}:AA", dice.below(9) + 1, dice.of(DIGITS, 9)), dice.of(URL, 33))
            }),
        ),
        (
            "jwt",
            Kind::Jwt,
            Box::new(|dice| {
                let header = dice.pick(&[
                    r#"{"alg":"HS256","typ":"JWT"}"#,
                    r#"{"typ":"JWT","alg":"RS256"}"#,
                    r#"{"kid":"k-1","alg":"ES256","typ":"JWT"}"#,
                ]);
                let payload =
                    format!(r#"{{"sub":"{}","iat":17{}}}"#, dice.of(LOWER, 12), dice.of(DIGITS, 8));
                let length = [32, 64, 256][dice.below(3)];
                let token = format!(
                    "{}.{}.{}",
                    url64(header.as_bytes()),
                    url64(payload.as_bytes()),
                    url64(&dice.bytes(length))
                );
                ("eyJ".into(), token[3..].to_owned())
            }),
        ),
        (
            "azure sas",
            Kind::Azure,
            Box::new(|dice| {
                let signature = base64::engine::general_purpose::STANDARD.encode(dice.bytes(32));
                let escaped = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
                (
                    "https://x.blob.core.windows.net/c/f.img?sv=2024-11-04&sr=b&sp=r&sig=".into(),
                    escaped,
                )
            }),
        ),
        ("vault", Kind::Vault, simple("hvs.", URL, 95)),
        ("doppler", Kind::Doppler, simple("dp.pt.", ALNUM, 43)),
        ("linear", Kind::Linear, simple("lin_api_", ALNUM, 40)),
        (
            "tailscale",
            Kind::Tailscale,
            Box::new(|dice| {
                (
                    "tskey-".into(),
                    format!("auth-k{}CNTRL-{}", dice.of(ALNUM, 11), dice.of(ALNUM, 32)),
                )
            }),
        ),
        (
            "1password",
            Kind::OnePassword,
            Box::new(|dice| {
                let json = format!(
                    r#"{{"signInAddress":"my.1password.com","userAuth":{{"method":"SRPg-4096","x":"{}"}}}}"#,
                    dice.of(ALNUM, 200)
                );
                ("ops_eyJ".into(), url64(json.as_bytes())[3..].to_owned())
            }),
        ),
        ("age", Kind::Age, simple("AGE-SECRET-KEY-1", BECH32, 58)),
    ]
}

/// Lines as programs print them, around a whole token.
fn line(dice: &mut Dice, token: &str) -> String {
    match dice.below(14) {
        0 => format!("export API_CREDENTIAL={token}\r\n"),
        1 => format!("+ curl -fsSL -H 'X-Custom: {token}' https://api.example.com/v1/files\r\n"),
        2 => format!("fetching https://example.com/get?file=a.tar.gz&t={token}\r\n"),
        3 => format!(
            "{{\"level\":\"info\",\"msg\":\"using\",\"credential\":\"{token}\",\"n\":3}}\r\n"
        ),
        4 => format!("    credential: {token}\r\n"),
        5 => format!("CRED={token}\r\n"),
        6 => format!("npm error code E401 Unable to authenticate with {token}, need: Basic\r\n"),
        7 => format!("WARNING: the request with \"{token}\" was refused\r\n"),
        8 => format!("\x1b[32m{token}\x1b[0m\r\n"),
        9 => format!("//registry.example.com/:_auth={token}\r\n"),
        10 => format!("{token}\r\n"),
        11 => format!("Nov 27 02:03:47 bay12 setup[811]: got ({token})\r\n"),
        12 => format!("a = {{'credential': '{token}'}}\r\n"),
        _ => format!("using {token} for the download\r\n"),
    }
}

fn masked(text: &str) -> String {
    secrets::mask(text.as_bytes())
        .map_or_else(|| text.to_owned(), |masked| String::from_utf8(masked).unwrap())
}

/// The line with colours at some places, as `grep --color` and others set them.
fn coloured(dice: &mut Dice, line: &str) -> String {
    let mut places: Vec<usize> = (0..=dice.below(3)).map(|_| dice.below(line.len())).collect();
    places.sort_unstable();
    // Not within one that is there.
    places.retain(|&at| line[..at].rfind('\x1b').is_none_or(|begin| line[begin..at].contains('m')));
    let mut text = String::new();
    let mut from = 0;
    for at in places {
        text.push_str(&line[from..at]);
        text.push_str(dice.pick(&[
            "\x1b[01;31m\x1b[K",
            "\x1b[m\x1b[K",
            "\x1b[0m",
            "\x1b(B\x1b[m",
            "\x1b[38;5;208m",
        ]));
        from = at;
    }
    text.push_str(&line[from..]);
    text
}

fn without_colours(text: &str) -> String {
    String::from_utf8(secrets::split(text.as_bytes()).0.into_owned()).unwrap()
}

/// Nothing of the secret that says something is left.
fn is_gone(secret: &str, shown: &str) -> bool {
    !secret.as_bytes().windows(8).any(|part| shown.as_bytes().windows(8).any(|seen| seen == part))
}

#[derive(Default)]
struct Tally {
    all: usize,
    missed: Vec<String>,
}

impl Tally {
    fn recall(&self) -> f64 {
        1.0 - self.missed.len() as f64 / self.all as f64
    }
}

#[test]
fn tokens_are_found() {
    let mut dice = Dice(0x5eed);
    let mut whole = Tally::default();
    for (name, kind, make) in formats() {
        let mut tally = Tally::default();
        for _ in 0..60 {
            let (shown, secret) = make(&mut dice);
            let text = line(&mut dice, &format!("{shown}{secret}"));
            tally.all += 1;
            if !is_gone(&secret, &masked(&text)) {
                tally.missed.push(text);
            }
            let kinds: Vec<_> = secrets::find(format!("{shown}{secret}\n").as_bytes());
            assert!(
                kinds.len() == 1 && kinds[0].kind == kind || tally.missed.len() == 1,
                "{name}: {kinds:?}"
            );
        }
        assert!(tally.recall() >= 0.95, "{name}: {:#?}", tally.missed);
        whole.all += tally.all;
        whole.missed.extend(tally.missed);
    }
    println!(
        "{} tokens of {} formats: {:.3} % found",
        whole.all,
        formats().len(),
        whole.recall() * 100.0
    );
    assert!(whole.all >= 2_000);
    assert!(whole.recall() >= 0.99, "{:#?}", whole.missed);
}

#[test]
fn tokens_with_colours_in_them_are_found() {
    let mut dice = Dice(0xc0105);
    let mut tally = Tally::default();
    for (_, kind, make) in formats() {
        for _ in 0..60 {
            let (shown, secret) = make(&mut dice);
            let text = line(&mut dice, &format!("{shown}{secret}"));
            let text = coloured(&mut dice, &text);
            tally.all += 1;
            if !is_gone(&secret, &without_colours(&masked(&text))) {
                tally.missed.push(text);
            }
            // Within the secret they change nothing: what is found without them is found, once, and to the same end.
            let text = format!("{shown}{}\n", coloured(&mut dice, &secret));
            if secrets::mask(without_colours(&text).as_bytes()).is_none() {
                continue;
            }
            let spans = secrets::find(text.as_bytes());
            assert_eq!(spans.iter().filter(|span| span.begins).count(), 1, "{text:?}");
            assert!(spans.iter().all(|span| span.kind == kind), "{text:?}");
            assert_eq!(spans.last().unwrap().end, text.len() - 1, "{text:?}");
            let rest = without_colours(&masked(&text)).replace('*', "");
            assert_eq!(rest, format!("{shown}\n"), "{text:?}");
        }
    }
    println!("{} tokens with colours: {:.3} % found", tally.all, tally.recall() * 100.0);
    assert!(tally.recall() >= 0.99, "{:#?}", tally.missed);
}

#[test]
fn colours_are_kept_beside_secrets_and_between_their_parts() {
    for (text, expected) in [
        ("ghp_0123456789a\x1b[0mbcdefghijABCDEFGHIJ012345\n", "ghp_***\x1b[0m***\n"),
        ("\x1b[1mghp_0123456\x1b[22m789abcdefghijABCDEFGHIJ012345", "\x1b[1mghp_***\x1b[22m***"),
        (
            "gh\x1b[1mp_\x1b[0m0123456789abcdefghijABCDEFGHIJ012345\x1b[K\n",
            "gh\x1b[1mp_\x1b[0m***\x1b[K\n",
        ),
        // As `jq -C` has it.
        (
            "\x1b[34;1m\"password\"\x1b[0m\x1b[1;39m:\x1b[0m \x1b[0;32m\"hunter2222\"\x1b[0m\x1b[1;39m,",
            "\x1b[34;1m\"password\"\x1b[0m\x1b[1;39m:\x1b[0m \x1b[0;32m\"***\"\x1b[0m\x1b[1;39m,",
        ),
        // A colour is a word's boundary,
        ("abc\x1b[0mghp_0123456789abcdefghijABCDEFGHIJ012345\n", "abc\x1b[0mghp_***\n"),
        // and may be a secret's end: that of a token of a stated length, of a value in a sentence.
        ("\x1b[1mAKIA0123456789ABCDEF\x1b[0mworks\n", "\x1b[1mAKIA***\x1b[0mworks\n"),
        (
            "the password: \x1b[1mhunter2222\x1b[0m is a bad one\n",
            "the password: \x1b[1m***\x1b[0m is a bad one\n",
        ),
        // An address stays text.
        (
            "\x1b]8;;https://u:hunter2222@a.example/\x1b\\here",
            "\x1b]8;;https://u:***@a.example/\x1b\\here",
        ),
    ] {
        assert_eq!(masked(text), expected);
        let whole = streamed([text.as_bytes()]);
        assert_eq!(String::from_utf8_lossy(&whole.text), expected);
        for cut in 0..text.len() {
            let cut = streamed([&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            assert_eq!(String::from_utf8_lossy(&cut.text), expected);
            assert_eq!((cut.begun, cut.learned), (whole.begun, whole.learned.clone()));
        }
    }
    // What stands before the colour is a value by itself, and with what is behind it another.
    let text = b"API_KEY=hunter2222\x1b[0m, again: hunter2222\n";
    assert_eq!(streamed([&text[..]]).learned, [b"hunter2222,".to_vec(), b"hunter2222".to_vec()]);
}

#[test]
fn a_colour_does_not_wait_for_text() {
    let (mut scanner, mut shown) = (Scanner::default(), Shown::default());
    scanner.feed(b"\x1b[1mname\x1b[0m", &mut shown);
    assert_eq!(shown.text, b"\x1b[1mname\x1b[0m");
    scanner.feed(b" token: \x1b[31m", &mut shown);
    assert!(shown.text.ends_with(b" token: \x1b[31m") && !scanner.holds());
    scanner.feed(b"hunter\x1b[", &mut shown);
    assert!(shown.text.ends_with(b" token: \x1b[31m") && scanner.holds());
    scanner.feed(b"0m2222\n", &mut shown);
    assert!(shown.text.ends_with(b" token: \x1b[31m***\x1b[0m***\n") && !scanner.holds());
}

/// Passwords and keys without a form of their own, in the places where they are named.
#[test]
fn named_values_are_found() {
    const SYMBOLS: &str =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!@#%^*_-+=.:?~";
    let mut dice = Dice(0xfeed);
    let (mut tally, mut tally_coloured) = (Tally::default(), Tally::default());
    for index in 0..3000 {
        let quoted = index % 2 == 0;
        let value = if quoted {
            let length = 8 + dice.below(20);
            dice.of(SYMBOLS, length)
        } else {
            let length = 12 + dice.below(28);
            let alphabet = dice.pick(&[ALNUM, HEX, BASE64, URL]).to_owned();
            dice.of(&alphabet, length)
        };
        let upper = dice.pick(&[
            "GITHUB_TOKEN",
            "DB_PASSWORD",
            "MYSQL_ROOT_PASSWORD",
            "CLIENT_SECRET",
            "AWS_SECRET_ACCESS_KEY",
            "OPENAI_API_KEY",
            "TWILIO_AUTH_TOKEN",
            "CLOUDFLARE_API_KEY",
            "SIGNING_PRIVATE_KEY",
            "PASSWORD",
            "TOKEN",
            "SECRET",
            "DISCORD_TOKEN",
            "DB_PASS",
        ]);
        let lower = dice.pick(&[
            "password",
            "token",
            "secret",
            "api_key",
            "apiKey",
            "client_secret",
            "access_token",
            "aws_secret_access_key",
            "passwd",
            "auth_token",
            "private-key",
        ]);
        let text = if quoted {
            match index / 2 % 7 {
                0 => format!("export {upper}=\"{value}\"\r\n"),
                1 => format!("{upper}='{value}'\r\n"),
                2 => format!("{{\"user\":\"bay\",\"{lower}\":\"{value}\",\"port\":5432}}\r\n"),
                3 => format!("{lower} = \"{value}\"\r\n"),
                4 => format!("  {lower}: '{value}'\r\n"),
                5 => format!("{upper}={value}\r\n"),
                _ => format!("<{}>{value}</password>\r\n", "password"),
            }
        } else {
            match index / 2 % 9 {
                0 => format!("{upper}={value}\r\n"),
                1 => format!("export {upper}={value}\r\n"),
                2 => format!("  {lower}: {value}\r\n"),
                3 => format!(
                    "fetch https://api.example.com/v1?user=bay&{}={value}&page=2\r\n",
                    lower.replace('-', "_")
                ),
                4 => format!("+ client --{} {value} --verbose\r\n", lower.replace('_', "-")),
                5 => format!("+ client --{}={value} --verbose\r\n", lower.replace('_', "-")),
                6 => format!(
                    "cloning https://bot:{}@git.example.com/a.git\r\n",
                    value.replace('/', "%2F")
                ),
                7 => format!("> Authorization: Bearer {value}\r\n"),
                _ => format!(
                    "postgres://app:{}@db.example.com:5432/app\r\n",
                    value.replace('/', "%2F")
                ),
            }
        };
        let with_colours = coloured(&mut dice, &text);
        for (tally, text) in [(&mut tally, text), (&mut tally_coloured, with_colours)] {
            tally.all += 1;
            let shown = without_colours(&masked(&text));
            if !is_gone(&value.replace('/', "%2F"), &shown) || !is_gone(&value, &shown) {
                tally.missed.push(text);
            }
        }
    }
    println!("{} named values: {:.3} % found", tally.all, tally.recall() * 100.0);
    assert!(tally.recall() >= 0.99, "{:#?}", &tally.missed);
    println!("with colours: {:.3} % found", tally_coloured.recall() * 100.0);
    assert!(tally_coloured.recall() >= 0.99, "{:#?}", &tally_coloured.missed);
}

#[test]
fn discord_tokens_are_found_beside_a_word_that_goes_with_them() {
    let mut dice = Dice(7);
    for _ in 0..200 {
        let digits = 17 + dice.below(3);
        let id = format!("{}{}", dice.below(9) + 1, dice.of(DIGITS, digits - 1));
        let secret = format!("{}.{}", dice.of(URL, 6), dice.of(URL, 38));
        let token = format!("{}.{secret}", url64(id.as_bytes()));
        for text in [
            format!("discord: logging in with {token}\r\n"),
            format!("Authorization: Bot {token}\r\n"),
            format!("{{\"token\":\"{token}\"}}\r\n"),
        ] {
            assert!(is_gone(&secret, &masked(&text)), "{text}");
        }
    }
}

fn key(dice: &mut Dice, label: &str, bytes: usize) -> String {
    let base64 = base64::engine::general_purpose::STANDARD.encode(dice.bytes(bytes));
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\r\n{}\r\n-----END {label}-----\r\n", lines.join("\r\n"))
}

#[test]
fn private_keys_are_masked_over_lines() {
    let mut dice = Dice(11);
    for (label, bytes) in [
        ("RSA PRIVATE KEY", 1191),
        ("PRIVATE KEY", 1217),
        ("EC PRIVATE KEY", 121),
        ("OPENSSH PRIVATE KEY", 399),
        ("ENCRYPTED PRIVATE KEY", 1329),
        ("PGP PRIVATE KEY BLOCK", 3000),
        ("RSA PRIVATE KEY", 9300),
    ] {
        let key = key(&mut dice, label, bytes);
        let lines = key.lines().count();
        let text = format!("+ cat key\r\n{key}Setting up openssh-server (1:9.2p1-2) ...\r\n");
        let stars = "***\r\n".repeat(lines - 2);
        assert_eq!(
            masked(&text),
            format!(
                "+ cat key\r\n-----BEGIN {label}-----\r\n{stars}-----END {label}-----\r\nSetting up openssh-server (1:9.2p1-2) ...\r\n"
            )
        );
        assert_eq!(secrets::find(text.as_bytes()).iter().filter(|span| span.begins).count(), 1);
        let json = format!("{{\"private\":\"{}\",\"kind\":\"x\"}}\r\n", key.replace("\r\n", "\\n"));
        assert_eq!(
            masked(&json),
            format!(
                "{{\"private\":\"-----BEGIN {label}-----***-----END {label}-----\\n\",\"kind\":\"x\"}}\r\n"
            )
        );
    }
    // One that breaks off does not take the log with it.
    let broken: String = key(&mut dice, "PRIVATE KEY", 1217)
        .lines()
        .take(9)
        .map(|line| format!("{line}\r\n"))
        .collect();
    let shown = masked(&format!(
        "{broken}one thing\r\nanother thing\r\na third thing\r\nSetting up base-files\r\nagain\r\n"
    ));
    assert!(shown.ends_with("\r\nSetting up base-files\r\nagain\r\n"), "{shown}");
    assert!(masked(&key(&mut dice, "PUBLIC KEY", 294)).len() > 400, "public keys are public");
}

/// Lines of installers that hold hashes, ids, checksums and the words that go with secrets.
fn ordinary(dice: &mut Dice) -> String {
    let version = format!("{}.{}.{}", dice.below(20), dice.below(40), dice.below(90));
    let hex = |dice: &mut Dice, n| dice.of(HEX, n);
    let integrity = base64::engine::general_purpose::STANDARD.encode(dice.bytes(64));
    let word = dice.pick(&[
        "keyboard-configuration",
        "libsecret-1-0",
        "passwd",
        "base-passwd",
        "python3-secretstorage",
        "token-bucket",
        "gnome-keyring",
        "libpam-runtime",
        "sk-language-pack",
        "libnss-sss",
        "dialog-password",
        "git-credential-libsecret",
    ]);
    match dice.below(34) {
        0 => format!(
            "Get:{} http://deb.debian.org/debian bookworm/main amd64 {word} amd64 {version}-1 [{} kB]\r\n",
            dice.below(900),
            dice.below(9000)
        ),
        1 => format!(
            "Unpacking {word} ({version}-{}+deb12u1) over (1:{version}) ...\r\n",
            dice.below(9)
        ),
        2 => "npm http fetch GET 200 https://registry.npmjs.org/@types%2fnode 31ms (cache hit)\r\n".to_string(),
        3 => format!("  integrity sha512-{integrity}\r\n"),
        4 => format!(
            "\"node_modules/{word}\": {{\"version\": \"{version}\", \"integrity\": \"sha512-{integrity}\"}}\r\n"
        ),
        5 => format!(
            "  Using cached {word}-{version}-py3-none-any.whl ({} kB) --hash=sha256:{}\r\n",
            dice.below(900),
            hex(dice, 64)
        ),
        6 => format!(
            "Downloading https://files.pythonhosted.org/packages/{}/{}/{}/{word}-{version}.tar.gz\r\n",
            hex(dice, 2),
            hex(dice, 2),
            hex(dice, 60)
        ),
        7 => format!(
            "   Compiling {word} v{version} (https://github.com/a/b?rev={}#{})\r\n",
            hex(dice, 7),
            hex(dice, 8)
        ),
        8 => format!(
            "HEAD is now at {} password: ask again when the token expired\r\n",
            hex(dice, 7)
        ),
        9 => format!("commit {}\r\n", hex(dice, 40)),
        10 => format!("{}  {word}_{version}_amd64.deb\r\n", hex(dice, 64)),
        11 => format!(
            "UUID={}-{}-{}-{}-{} / ext4 defaults 0 1\r\n",
            hex(dice, 8),
            hex(dice, 4),
            hex(dice, 4),
            hex(dice, 4),
            hex(dice, 12)
        ),
        12 => format!("sha256:{}: Pulling from library/{word}\r\n", hex(dice, 64)),
        13 => "passwd: password expiry information changed.\r\n".to_string(),
        14 => "Setting password: done\r\nToken: none\r\nsecret: required\r\n".to_string(),
        15 => format!("Fingerprint: SHA256:{}\r\n", dice.of(BASE64, 43)),
        16 => {
            format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} root@bay12\r\n", dice.of(BASE64, 43))
        }
        17 => format!(
            "error: unexpected token: `}}` at line {}, expected identifier\r\n",
            dice.below(900)
        ),
        18 => "   | let token = parse_token(&mut input)?;\r\n".to_string(),
        19 => "password=$PASSWORD token=${TOKEN} secret=<secret> api_key=YOUR\r\n".to_string(),
        20 => {
            "MOK secret_key_path=/var/lib/dkms/mok.key password_file=/run/secrets/mok\r\n".to_string()
        }
        21 => "Adding user `bay' to group `audio' ... key: value\r\n".to_string(),
        22 => format!(
            "gpg: key {}: public key \"Debian Archive <a@b.org>\" imported\r\n",
            dice.of("0123456789ABCDEF", 16)
        ),
        23 => format!(
            "Listening on http://127.0.0.1:{}/ and http://console:{}/path\r\n",
            1000 + dice.below(60000),
            1000 + dice.below(60000)
        ),
        24 => format!(
            "{{\"token_type\":\"bearer\",\"expires_in\":3600,\"request_id\":\"{}\"}}\r\n",
            hex(dice, 32)
        ),
        25 => "Bearer of bad news: the authorization header was missing: 401 Unauthorized\r\n".to_string(),
        26 => format!("etag: W/\"{}\" x-amz-request-id: {}\r\n", hex(dice, 32), dice.of(UPPER, 16)),
        27 => format!("docker pull registry.example.com/app@sha256:{}\r\n", hex(dice, 64)),
        28 => format!("{}\r\n", base64::engine::general_purpose::STANDARD.encode(dice.bytes(57))),
        29 => {
            "test token::parse ... ok\r\ntest secret_is_kept ... ok\r\nerror code: 42\r\n".to_string()
        }
        30 => "Password for 'https://bay@git.example.com': \r\nEnter passphrase for key '/root/.ssh/id_ed25519': \r\n".to_string(),
        31 => format!("eyJ is how a token begins: {}\r\n", url64(&dice.bytes(40))),
        32 => "added 214 packages, ghp_ and npm_config_cache=/root/.npm were kept; TOKEN is unset\r\n".to_string(),
        _ => format!("cargo: checksum = \"{}\"\r\n", hex(dice, 64)),
    }
}

#[test]
fn ordinary_lines_are_left_alone() {
    let mut dice = Dice(0xcafe);
    let mut text: String = (0..60_000).map(|_| ordinary(&mut dice)).collect();
    for transcript in ["apt-install", "apt-simulate", "debootstrap", "npm-ci", "pip-install"] {
        let path = format!(
            "{}/../tests/fixtures/transcripts/{transcript}.txt",
            env!("CARGO_MANIFEST_DIR")
        );
        text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
    }
    let lines = text.lines().count();
    let wrong: BTreeMap<&str, usize> = text
        .lines()
        .filter(|line| secrets::mask(line.as_bytes()).is_some())
        .fold(BTreeMap::new(), |mut wrong, line| {
            *wrong.entry(line).or_default() += 1;
            wrong
        });
    let count: usize = wrong.values().sum();
    println!("{count} of {lines} ordinary lines were masked");
    assert!(
        count * 1000 <= lines,
        "{count} of {lines}: {:#?}",
        wrong.keys().take(20).map(|line| masked(line)).collect::<Vec<_>>()
    );
}

#[derive(Default)]
struct Shown {
    text: Vec<u8>,
    in_secret: bool,
    begun: usize,
    learned: Vec<Vec<u8>>,
}

impl Sink for Shown {
    fn plain(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        self.in_secret &= bytes.is_empty();
    }

    fn secret(&mut self, bytes: &[u8], _: Kind, begins: bool) {
        self.begun += usize::from(begins);
        if !bytes.is_empty() && !self.in_secret {
            self.text.extend_from_slice(secrets::STARS);
            self.in_secret = true;
        }
    }

    fn colour(&mut self, colour: Colour) {
        self.text.extend_from_slice(colour.bytes());
        self.in_secret = false;
    }

    fn learned(&mut self, value: &[u8]) {
        self.learned.push(value.to_vec());
    }
}

fn streamed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Shown {
    let (mut scanner, mut shown) = (Scanner::default(), Shown::default());
    for piece in pieces {
        scanner.feed(piece, &mut shown);
    }
    scanner.flush(&mut shown);
    shown
}

#[test]
fn prompts_are_not_held() {
    for prompt in [
        "Password: ",
        "token: ",
        "Continue? [y/N] ",
        "Enter the API_KEY=",
        "\r 40 %",
        "sk",
        "gh",
        "Authorization: ",
        "https://",
        "code: ",
    ] {
        let (mut scanner, mut shown) = (Scanner::default(), Shown::default());
        scanner.feed(prompt.as_bytes(), &mut shown);
        assert_eq!(String::from_utf8_lossy(&shown.text), prompt);
        assert!(!scanner.holds());
    }
}

#[test]
fn a_pause_within_a_secret_shows_nothing_of_it() {
    let (mut scanner, mut shown) = (Scanner::default(), Shown::default());
    scanner.feed(b"password: hunt", &mut shown);
    assert_eq!(shown.text, b"password: ");
    scanner.feed(b"er2222\r", &mut shown);
    assert_eq!(shown.text, b"password: ***\r");
    assert_eq!(shown.learned, [b"hunter2222"]);
    scanner.feed(b"\nghp_0123456789", &mut shown);
    assert!(shown.text.ends_with(b"\r\nghp_"));
    scanner.feed(b" is short\n", &mut shown);
    assert!(shown.text.ends_with(b"\r\nghp_0123456789 is short\n"));
}

/// Texts with many beginnings, ends and near misses.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("ghp_".to_owned()),
        "[A-Za-z0-9]{1,45}".boxed().prop_map(|s| s),
        Just("token".into()),
        Just("password".into()),
        Just("API_KEY".into()),
        Just("=".into()),
        Just(": ".into()),
        Just(":".into()),
        Just(" = ".into()),
        Just("\"".into()),
        Just("'".into()),
        Just("\\\"".into()),
        Just("\\".into()),
        Just(" ".into()),
        Just("\r\n".into()),
        Just("\n".into()),
        Just("\r".into()),
        Just("@".into()),
        Just("https://user:".into()),
        Just("://".into()),
        Just(".".into()),
        Just("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.".into()),
        Just("eyJ".into()),
        Just("-----BEGIN RSA PRIVATE KEY-----".into()),
        Just("-----END RSA PRIVATE KEY-----".into()),
        Just("-----EN".into()),
        Just("MIIEpAIBAAKCAQEAzq0yT3".into()),
        Just("Authorization: Basic ".into()),
        Just("Bearer ".into()),
        Just("sk-".into()),
        Just("SG.".into()),
        Just("\x1b[31m".into()),
        Just("\x1b[m\x1b[K".into()),
        Just("\x1b(B\x1b[m\x0f".into()),
        Just("\x1b[".into()),
        Just("\x1b".into()),
        Just("--".into()),
        Just("AKIA".into()),
        Just("1234567890:AA".into()),
        Just("discord ".into()),
        Just("MjQ1NTU5MDg3NTI0MjE2ODMy.DulyxA.".into()),
        Just("code ".into()),
        Just("7K2M-9QXA-T4VE".into()),
        Just("<password>".into()),
        Just(",".into()),
        Just("key".into()),
        Just("hunter2222".into()),
        Just("private_".into()),
        "[ -~]{0,12}".boxed(),
        Just("x".repeat(300)),
    ];
    prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(700) })]
    #[test]
    fn cuts_do_not_matter(text in texts(), cuts in prop::collection::vec(0usize..400, 0..6)) {
        let text = text.as_bytes();
        let whole = streamed([text]);
        let at_once = secrets::mask(text).unwrap_or_else(|| text.to_vec());
        prop_assert_eq!(
            String::from_utf8_lossy(&at_once),
            String::from_utf8_lossy(&whole.text)
        );
        let bytes = streamed(text.chunks(1));
        prop_assert_eq!(String::from_utf8_lossy(&bytes.text), String::from_utf8_lossy(&whole.text), "byte by byte");
        prop_assert_eq!((bytes.begun, &bytes.learned), (whole.begun, &whole.learned));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.sort_unstable();
        let mut at = 0;
        let mut pieces = Vec::new();
        for cut in cuts.into_iter().chain([text.len()]) {
            pieces.push(&text[at..cut]);
            at = cut;
        }
        let cut = streamed(pieces);
        prop_assert_eq!(String::from_utf8_lossy(&cut.text), String::from_utf8_lossy(&whole.text));
        prop_assert_eq!((cut.begun, cut.learned), (whole.begun, whole.learned));
    }

    #[test]
    fn any_bytes_come_through(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
        let whole = pieces.concat();
        prop_assume!(secrets::mask(&whole).is_none());
        prop_assert_eq!(streamed(pieces.iter().map(Vec::as_slice)).text, whole);
    }
}
