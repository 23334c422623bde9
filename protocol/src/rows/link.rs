//! Links that a tool makes of its words: `ESC ] 8 ; parameters ; address ST`, the words, and the same again without an address.
//!
//! Words may say one address and lead to another, so a viewer must be able to show where they lead. An address is carried only in
//! a form in which it is what it looks like: it begins with `http://` or `https://`, and is printable ASCII without blanks (the
//! rest of the world's letters are escaped in a link, says its own definition), [`ADDRESS_BYTES`] at most. Words with any other
//! address are words. A link, like a style, ends with its row.

use serde::{Deserialize, Serialize};

/// Longer addresses are left out.
pub const ADDRESS_BYTES: usize = 2048;
/// The parser knows no more parts of a sequence; of one that has as many, some may be missing.
const MOST_PARTS: usize = 16;

/// A stretch of a row's text that is a link: begin and end in UTF-16 code units, then the address as the tool gave it. To be shown,
/// never to be followed unseen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Link(pub u32, pub u32, pub String);

/// Where an operating system command makes what follows lead: `None` where it is about something else, and an empty address
/// where it leads nowhere.
pub(super) fn address_of(command: &[&[u8]]) -> Option<String> {
    let [b"8", parts @ ..] = command else { return None };
    // An address may hold what parts are told apart by.
    let address = parts.get(1..).unwrap_or_default().join(&b';');
    let shown = command.len() < MOST_PARTS
        && address.len() <= ADDRESS_BYTES
        && address.iter().all(u8::is_ascii_graphic)
        && is_web(&address);
    Some(if shown { String::from_utf8(address).unwrap_or_default() } else { String::new() })
}

fn is_web(address: &[u8]) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        let begin = address.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.as_bytes()))
            && address.len() > scheme.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_shown_as_it_is_is_an_address() {
        let long = format!("https://example.com/{}", "a".repeat(ADDRESS_BYTES));
        let read = |address: &str| {
            let parts: Vec<&[u8]> = address.as_bytes().split(|&byte| byte == b';').collect();
            let command: Vec<&[u8]> = [&b"8"[..], b"id=1:x=y"].into_iter().chain(parts).collect();
            address_of(&command).expect("it is a link's command")
        };
        for address in [
            "http://example.com",
            "https://example.com/a?b=c&d=%20#e",
            "HTTPS://user@example.com:8080/;a;b",
            &long[..ADDRESS_BYTES],
        ] {
            assert_eq!(read(address), address);
        }
        for address in [
            "",
            "https://",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "ftp://example.com",
            "https:example.com",
            "https://example.com/a b",
            "https://example.com/\u{202e}",
            "https://ex\u{e4}mple.com",
            "https://example.com/;;;;;;;;;;;;;;;;;;;;",
            &long[..=ADDRESS_BYTES],
        ] {
            assert_eq!(read(address), "", "{address}");
        }
        assert_eq!(address_of(&[b"8"]), Some(String::new()));
        assert_eq!(address_of(&[b"0", b"title"]), None);
        assert_eq!(address_of(&[b"88", b"", b"https://example.com"]), None);
        assert_eq!(address_of(&[]), None);
    }
}
