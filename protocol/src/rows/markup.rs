//! Structure that scripts put into their output: the two common log-group vocabularies.
//!
//! * `--- name`, `+++ name`, `~~~ name` begin a group (a phase); `^^^ +++` opens the one before.
//! * `::group::name`, `::endgroup::`, `::error …::text`, `::warning …::text`, `::notice …::text`,
//!   `::debug::text`. `::add-mask::value` is acted on by the agent before the spool; here it is text.

use crate::record::Level;

/// What a line's markup means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markup<'a> {
    /// A phase begins; the rest of the line is its name.
    Phase(&'a str),
    /// `::group::`: a phase, or a step when groups are nested.
    Group(&'a str),
    EndGroup,
    /// A message with a level of its own.
    Message(Level, &'a str),
}

/// Reads a line that was stripped of escape sequences.
pub(super) fn read(line: &str) -> Option<Markup<'_>> {
    match line.as_bytes().first()? {
        b':' => workflow_command(line),
        b'-' | b'+' | b'~' => group(line),
        _ => None,
    }
}

fn group(line: &str) -> Option<Markup<'_>> {
    let name = ["--- ", "+++ ", "~~~ "].iter().find_map(|mark| line.strip_prefix(mark))?.trim();
    // `--- a/file` and `+++ b/file` (or a path, a tab and a date) head a diff, not a group.
    let heads_a_diff = name.starts_with("a/")
        || name.starts_with("b/")
        || name.starts_with("/dev/null")
        || line.contains('\t');
    let named = name.chars().any(char::is_alphanumeric) && !heads_a_diff;
    // A test runner's `--- FAIL: TestX (0.00s)` and ruled headings `--- x ---` are no groups.
    let ruled = name.ends_with("--") || name.starts_with('-');
    let verdict = ["FAIL:", "PASS:", "SKIP:"].iter().any(|word| name.starts_with(word));
    (named && !ruled && !verdict).then_some(Markup::Phase(name))
}

fn workflow_command(line: &str) -> Option<Markup<'_>> {
    let (command, text) = line.strip_prefix("::")?.split_once("::")?;
    let name = command.split_ascii_whitespace().next().unwrap_or("");
    match name {
        "group" => Some(Markup::Group(text.trim())),
        "endgroup" => Some(Markup::EndGroup),
        "error" => Some(Markup::Message(Level::Error, text)),
        "warning" => Some(Markup::Message(Level::Warning, text)),
        "notice" => Some(Markup::Message(Level::Notice, text)),
        "debug" => Some(Markup::Message(Level::Debug, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_vocabularies() {
        assert_eq!(read("--- Install packages"), Some(Markup::Phase("Install packages")));
        assert_eq!(read("+++ Deploy"), Some(Markup::Phase("Deploy")));
        assert_eq!(read("::group::Build"), Some(Markup::Group("Build")));
        assert_eq!(read("::endgroup::"), Some(Markup::EndGroup));
        assert_eq!(
            read("::error file=a.sh,line=3::no such disk"),
            Some(Markup::Message(Level::Error, "no such disk"))
        );
        assert_eq!(read("::debug::x"), Some(Markup::Message(Level::Debug, "x")));
    }

    #[test]
    fn look_alikes_are_plain_lines() {
        for line in [
            "--- a/src/main.rs",
            "+++ b/src/main.rs",
            "--- /dev/null",
            "--- old.c\t2024-01-01 00:00:00",
            "-----",
            "--- ---",
            "---",
            "--- FAIL: TestDisk (0.00s)",
            "--- summary ---",
            "::",
            "::1 is the loopback address",
            "::set-output name=x::1",
            "",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
