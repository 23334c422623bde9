//! Addresses: UUIDs, MAC and IP addresses, names of hosts.

use super::{PLACEHOLDER, Scanner};
use crate::analytics::status;

impl Scanner<'_> {
    /// Whether nothing goes on at `at`, nor did before it was masked.
    fn ends(&self, at: usize) -> bool {
        !self.is_alphanumeric(at) && !self.text[at..].starts_with(PLACEHOLDER)
    }

    /// The end of a UUID, MAC or IP address at `from`.
    pub(super) fn address_end(&self, from: usize) -> Option<usize> {
        if !self.bytes[from].is_ascii_hexdigit() {
            return None;
        }
        self.uuid_end(from).or_else(|| self.colons_end(from)).or_else(|| self.dotted_quad_end(from))
    }

    fn hex_end(&self, at: usize) -> usize {
        // Longer ones are no part of an address; the bound keeps the scan linear.
        let rest = self.bytes.get(at..).unwrap_or_default();
        at + rest.iter().take(33).take_while(|byte| byte.is_ascii_hexdigit()).count()
    }

    fn uuid_end(&self, from: usize) -> Option<usize> {
        let mut at = from;
        for (position, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
            if position > 0 {
                if self.byte(at) != Some(b'-') {
                    return None;
                }
                at += 1;
            }
            if self.hex_end(at) != at + length {
                return None;
            }
            at += length;
        }
        self.ends(at).then_some(at)
    }

    /// A MAC address, or IPv6 with or without `::`.
    fn colons_end(&self, from: usize) -> Option<usize> {
        let (mut at, mut groups, mut pairs, mut double, mut digit) = (from, 0, true, false, false);
        let separator = match self.byte(self.hex_end(from)) {
            Some(separator @ (b':' | b'-')) => separator,
            _ => return None,
        };
        while groups < 9 {
            let end = self.hex_end(at);
            if end == at || end - at > 4 {
                break;
            }
            digit |= self.bytes[at..end].iter().any(u8::is_ascii_digit);
            pairs &= end - at == 2;
            groups += 1;
            at = end;
            if self.byte(at) == Some(b':')
                && self.byte(at + 1) == Some(b':')
                && separator == b':'
                && !double
            {
                double = true;
                at += 2;
            } else if self.byte(at) == Some(separator) && self.hex_end(at + 1) > at + 1 {
                at += 1;
            } else {
                break;
            }
        }
        let goes_on = self.byte(at) == Some(separator) && !self.ends(at + 1);
        let whole = self.ends(at) && !goes_on;
        let mac = groups == 6 && pairs && !double;
        let ipv6 = separator == b':'
            && digit
            && (groups == 8 || (double && groups >= 2) || (double && at == from + 6));
        (whole && (mac || ipv6)).then_some(at)
    }

    /// IPv4 with its port or prefix length.
    fn dotted_quad_end(&self, from: usize) -> Option<usize> {
        let mut at = from;
        for part in 0..4 {
            if part > 0 {
                if self.byte(at) != Some(b'.') {
                    return None;
                }
                at += 1;
            }
            let end = at
                + self
                    .bytes
                    .get(at..)?
                    .iter()
                    .take(4)
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
            self.text[at..end].parse::<u8>().ok()?;
            at = end;
        }
        if !self.ends(at) || (self.byte(at) == Some(b'.') && self.is_digit(at + 1)) {
            return None;
        }
        // `foo-1.2.3.4` is a version.
        let joined =
            matches!(self.before(from), Some(b'-' | b'_' | b'~' | b'+')) && self.joins(from - 1);
        if joined || self.after_version_word(from) {
            return None;
        }
        if matches!(self.byte(at), Some(b':' | b'/')) && self.is_digit(at + 1) {
            let end = self.digits_end(at + 1);
            if end - at <= 6 && !self.is_alphanumeric(end) {
                at = end;
            }
        }
        Some(at)
    }

    /// The end of a host's full name, with its port. `end`: of its first letters and digits.
    ///
    /// Three labels at least, the last of letters; turned round (`com.example.thing`) it names a program.
    pub(super) fn host_end(&self, from: usize, end: usize) -> Option<usize> {
        if !matches!(self.byte(end), Some(b'.' | b'-')) || self.before(from) == Some(b'.') {
            return None;
        }
        // As long as a name may be; the bound keeps the scan linear.
        let name = &self.bytes[from..self.bytes.len().min(from + 254)];
        let length = name
            .iter()
            .take_while(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
            })
            .count();
        let name = self.text[from..from + length].trim_end_matches(['.', '-']);
        let at = from + name.len();
        if !self.ends(at) || !self.ends(from + length) || self.byte(at) == Some(b'_') {
            return None;
        }
        let mut labels = name.split('.');
        let first = labels.next()?;
        let (rest, last) = (labels.clone().count(), labels.next_back()?);
        // Words parted by points may say how something went.
        if status::words(name).next().is_some() {
            return None;
        }
        let named =
            (2..=6).contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_lowercase());
        if rest < 2
            || !named
            || name.contains("..")
            || matches!(first, "com" | "org" | "net" | "io" | "edu")
        {
            return None;
        }
        let port = if self.byte(at) == Some(b':') { self.digits_end(at + 1) } else { at };
        Some(if port > at + 1 && port <= at + 6 && !self.is_alphanumeric(port) { port } else { at })
    }
}
