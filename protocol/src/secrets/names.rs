//! What is named as a secret, and which values are worth masking.

/// A shorter value hides little, and would riddle the log with stars.
pub(super) const VALUE_BYTES: usize = 6;

/// Values that say something about a secret and are none.
const WORDS: &[&str] = &[
    "authenticated",
    "changed",
    "default",
    "deprecated",
    "disabled",
    "disallowed",
    "dummy",
    "enabled",
    "environment",
    "example",
    "expired",
    "failed",
    "granted",
    "hidden",
    "ignored",
    "inherit",
    "inherited",
    "invalid",
    "localhost",
    "masked",
    "missing",
    "mandatory",
    "not-set",
    "nullptr",
    "number",
    "object",
    "omitted",
    "optional",
    "option",
    "passed",
    "password",
    "passwords",
    "passwd",
    "placeholder",
    "present",
    "prompt",
    "protected",
    "redacted",
    "refused",
    "rejected",
    "removed",
    "required",
    "revoked",
    "sanitized",
    "secret",
    "secrets",
    "skipped",
    "string",
    "success",
    "succeeded",
    "supported",
    "system",
    "tokens",
    "undefined",
    "unknown",
    "unlimited",
    "unlocked",
    "unused",
    "updated",
    "username",
    "verified",
    "warning",
    "accepted",
    "denied",
    "expected",
    "unexpected",
    "created",
    "deleted",
    "rotated",
];

/// Whether a variable of this name holds a secret: its name ends with `TOKEN`, `SECRET`, `PASSWORD`, `PASSWD` or `PASSPHRASE`, with a part
/// `PASS` or `PWD` (but `PWD` and `OLDPWD` are where a shell stands), or with `KEY` behind what makes it a secret's, as in `API_KEY`, `ACCESS_KEY`,
/// `PRIVATE_KEY`. Capitals do not matter.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = |end: &str| name.ends_with(end);
    ["token", "secret", "password", "passwd", "passphrase"].into_iter().any(ends)
        || ["_pass", "_pwd", "-pass"].into_iter().any(ends)
        || name == "pass"
        || name.strip_suffix("key").is_some_and(|before| is_key(before.as_bytes()))
}

/// What a `key` is the key of, when it is a secret.
pub(super) const KEYS: &[&[u8]] = &[
    b"api",
    b"access",
    b"private",
    b"secret",
    b"auth",
    b"account",
    b"signing",
    b"encryption",
    b"master",
    b"session",
    b"service",
    b"license",
    b"webhook",
];

/// Whether what stands before `key` makes it a secret.
pub(super) fn is_key(before: &[u8]) -> bool {
    let before = match before {
        [rest @ .., b'_' | b'-' | b'.'] => rest,
        rest => rest,
    };
    KEYS.iter().any(|key| {
        before.len() >= key.len() && before[before.len() - key.len()..].eq_ignore_ascii_case(key)
    })
}

/// Whether the value of something that is named as a secret is worth masking: six bytes or more, and neither a common word, a path, a
/// reference (`$NAME`, `${{ … }}`, `<name>`, `%s`) nor a placeholder of one character.
pub fn is_secret_value(value: &[u8]) -> bool {
    if value.len() < VALUE_BYTES || value.iter().all(|byte| *byte == value[0]) {
        return false;
    }
    if value.iter().all(|byte| matches!(byte, b'*' | b'x' | b'X' | b'.' | b'-' | b'_' | b'#')) {
        return false;
    }
    if is_reference(value) || value.starts_with(b"***") {
        return false;
    }
    if WORDS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes())) {
        return false;
    }
    !is_path(value)
}

/// It says where a value comes from, and is none: `$NAME`, `${{ … }}`, `$(…)`, `<name>`, `[name]`, `{{ name }}`, `%NAME%`, `%(name)s`.
pub(super) fn is_reference(value: &[u8]) -> bool {
    let second = value.get(1).copied().unwrap_or(b' ');
    match value.first() {
        Some(b'$') => second.is_ascii_alphabetic() || matches!(second, b'_' | b'{' | b'('),
        Some(b'<') => value.ends_with(b">"),
        Some(b'[') => value.ends_with(b"]"),
        Some(b'{') => second == b'{' || value.ends_with(b"}"),
        Some(b'%') => matches!(second, b'(' | b'{') || value.ends_with(b"%") || value == b"%s",
        _ => false,
    }
}

/// A file rather than a secret that happens to have slashes: small letters, digits and separators only.
fn is_path(value: &[u8]) -> bool {
    (value.starts_with(b"/")
        || value.starts_with(b"./")
        || value.starts_with(b"../")
        || value.starts_with(b"~/"))
        && value.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-~".contains(byte)
        })
        || value.starts_with(b"file:")
        || value.starts_with(b"http://")
        || value.starts_with(b"https://")
        || value.starts_with(b"/home/")
        || value.starts_with(b"/etc/")
        || value.starts_with(b"/run/")
        || value.starts_with(b"/root/")
}

/// Whether the value has something that words of a sentence do not have.
pub(super) fn is_mixed(value: &[u8]) -> bool {
    let any = |test: fn(&u8) -> bool| value.iter().any(test);
    any(u8::is_ascii_digit)
        || value.iter().any(|byte| byte.is_ascii_punctuation() && !b"-_.:'/()".contains(byte))
        || (any(u8::is_ascii_lowercase) && value[1..].iter().any(u8::is_ascii_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "TOKEN",
            "GITHUB_TOKEN",
            "DB_PASSWORD",
            "PASSWORD",
            "MYSQL_ROOT_PASSWD",
            "AWS_SECRET_ACCESS_KEY",
            "OPENAI_API_KEY",
            "SSH_PRIVATE_KEY",
            "CLIENT_SECRET",
            "client-secret",
            "npm_config__authToken",
            "PGPASSWORD",
            "DB_PASS",
            "apikey",
            "MYSQL_PWD",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PWD",
            "OLDPWD",
            "PASSWORD_FILE",
            "TOKENIZER",
            "COMPASS",
            "SSH_AUTH_SOCK",
            "KEYBOARD",
            "MONKEY",
            "TOKEN_URL",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn values_worth_masking() {
        for value in [
            "hunter2",
            "s3cr3t/with/slashes",
            "/AbC+def/0123456789abcdefghijABCDEFGHIJ45",
            "correct horse",
        ] {
            assert!(is_secret_value(value.as_bytes()), "{value}");
        }
        for value in [
            "true",
            "",
            "none",
            "password",
            "Required",
            "/run/secrets/token",
            "$TOKEN",
            "${{ secrets.X }}",
            "<token>",
            "******",
            "xxxxxxxx",
        ] {
            assert!(!is_secret_value(value.as_bytes()), "{value}");
        }
    }
}
