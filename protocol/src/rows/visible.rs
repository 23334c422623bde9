//! Text of a hostile origin made safe to look at, on a terminal, on a page or in a file.
//!
//! What a line shows must be what it says: characters that control a terminal, turn the direction of what stands around them or
//! are not seen at all become signs. `ui/src/lib/log/text.ts` does the same for the viewer. The joiners U+200C and U+200D are
//! left alone: words of several scripts, and many emoji, are not what they are without them.

use std::borrow::Cow;

/// Controls and format characters that hide something or change how their surroundings are seen.
const fn hides(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// The character, or the sign that stands for it: the picture of a control character, or `�`. A tab stays.
pub fn visible_char(c: char) -> char {
    match c {
        '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        _ if hides(c) => '\u{fffd}',
        _ => c,
    }
}

/// A line in which nothing is hidden and nothing acts.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| hides(c) && c != '\t') {
        Cow::Owned(text.chars().map(visible_char).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// JSON that reads as it did, and in which nothing acts when it is looked at: what would is escaped. Outside of its strings, JSON
/// has none of these but white space.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let acts = |c: char| hides(c) && !matches!(c, '\t' | '\n' | '\r');
    if !json.chars().any(acts) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_acts_becomes_a_sign() {
        for (text, shown) in [
            ("plain, ünïcode, \t tab", "plain, ünïcode, \t tab"),
            ("a\u{1b}]0;x\u{7}b\r\n", "a␛]0;x␇b␍␊"),
            ("\u{7f}\u{9b}31m", "␡�31m"),
            ("safe\u{202e}exe.txt\u{2066}\u{61c}\u{200f}", "safe�exe.txt���"),
            ("in\u{200b}vi\u{ad}si\u{feff}ble\u{e0041}\u{2028}", "in�vi�si�ble��"),
            ("👩\u{200d}🔧 می\u{200c}خواهم", "👩\u{200d}🔧 می\u{200c}خواهم"),
        ] {
            assert_eq!(visible(text), shown, "{text:?}");
            assert_eq!(visible(&visible(text)), shown, "signs stay signs");
        }
    }

    #[test]
    fn json_is_escaped_and_reads_as_it_did() {
        let value = serde_json::json!({
            "text": "a\u{1b}[31m\u{9b}\u{202e}b\u{e0041} \"quoted\" \\ \t\n", "none": "ü👩\u{200d}🔧",
        });
        let json = serde_json::to_string_pretty(&value).expect("a value is JSON");
        let safe = visible_json(&json);
        assert!(
            safe.contains(r"\u202e") && safe.contains(r"\u009b") && safe.contains(r"\udb40\udc41")
        );
        assert!(!safe.chars().any(|c| hides(c) && c != '\n'), "{safe:?}");
        let read: serde_json::Value = serde_json::from_str(&safe).expect("it still is JSON");
        assert_eq!(read, value);
    }
}
