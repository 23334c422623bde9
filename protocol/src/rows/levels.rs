//! The level of a line by its tool's own convention.
//!
//! A rule is a pattern with the level that it means. Rules are strict on purpose: a package called
//! `libgpg-error0` that is unpacked, "0 errors", or a test named `error_handling` are no errors, and
//! one false error above the true one would be the line that a viewer jumps to.

use super::line::CLASSIFIED_BYTES;
use crate::record::Level;
use aho_corasick::packed;
use memchr::memmem;
use regex::bytes::{RegexSet, RegexSetBuilder};
use std::cell::RefCell;
use std::sync::LazyLock;

/// Words in lower case, each with three letters of it that few lines hold. A line without any of them, that also is none of
/// those of [`is_suspicious`], matches none of the rules that make it anything but [`Level::Info`]; a test draws lines from
/// the rules to check that.
const WORDS: &[(&str, &str)] = &[
    ("err", "err"),
    ("warn", "war"),
    ("fail", "fai"),
    ("fatal", "fat"),
    ("panic", "nic"),
    ("kill", "kil"),
    ("crit", "cri"),
    ("severe", "sev"),
    ("emerg", "eme"),
    ("alert", "ler"),
    ("abort", "abo"),
    ("exception", "xce"),
    ("traceback", "eba"),
    ("level", "lev"),
    ("notice", "oti"),
    ("denied", "nie"),
    ("refused", "efu"),
    ("unmet", "nme"),
    ("prevent", "rev"),
    ("dump", "dum"),
    ("invalid", "nva"),
    ("terminated", "rmi"),
    ("interrupt", "rru"),
    ("memory", "mor"),
    ("exhausted", "xha"),
    ("timed out", "d o"),
    ("timeout", "eou"),
    ("not found", "t f"),
    ("not installable", "lla"),
    ("not permitted", "t p"),
    ("no such", "uch"),
    ("no space", "spa"),
    ("no route", "o r"),
    ("cannot", "nno"),
    ("can't", "n't"),
    ("could not", "uld"),
    ("unable", "una"),
    ("unbound", "nbo"),
    ("unexpected", "nex"),
    ("exiting", "xit"),
    ("deprecat", "dep"),
    ("segmentation", "egm"),
    ("illegal inst", "lle"),
    ("bad interp", "d i"),
    ("held broken", "d b"),
    ("is a direc", "a d"),
    ("not a direc", "a d"),
    ("read-only", "d-o"),
    (" busy", " bu"),
    ("unreachable", "nre"),
    ("too many open", "oo "),
    ("quota", "uot"),
    ("connection reset", "n r"),
    ("curl: ", "rl:"),
    ("wget: ", "wge"),
    ("process exited", "xit"),
    ("***", "***"),
];
/// Words that count in capitals only: some tools speak of debugging all the time.
const CAPITALS: [&[u8]; 2] = [b"DEBUG", b"TRACE"];

/// How lines of tools at work begin. They are no more than info, whatever the names in them say.
const AT_WORK: &[&str] = &[
    "Selecting previously unselected package",
    "Preparing to unpack",
    "Unpacking",
    "Setting up",
    "Get:",
    "Hit:",
    "Removing",
    "Purging configuration files",
    "Collecting",
    "Downloading",
    "  Downloading",
    "   Compiling",
    "  Downloaded",
    "Requirement already satisfied",
    "Processing triggers",
    "I: ",
    "Using cached",
    "Installing collected packages",
    "Successfully installed",
    "+ ",
];

/// In order of precedence: the first level with a matching rule wins.
const RULES: &[(Level, &[&str])] = &[
    // What looks like an error and is none.
    (Level::Info, &[r"(?i)^\W*\b(0|no) (errors?|warnings?|failures?|failed)\b"]),
    (
        Level::Error,
        &[
            // apt and dpkg
            r"^E: ",
            r"^Err:[0-9]+ ",
            r"^dpkg(-[a-z]+)?: error",
            r"^dpkg: dependency problems prevent",
            r"^ *(installed |new |old )?\S+ package (pre|post)-(installation|removal) script subprocess returned error",
            r"subprocess (new|installed|old|was).*returned error exit status",
            r"^The following packages have unmet dependencies",
            // pip and Python
            r"^ *ERROR: ",
            r"^ *(× |error: )",
            r"^Traceback \(most recent call last\)",
            r"^[A-Za-z_][A-Za-z0-9_.]*(Error|Exception|Interrupt): ",
            r"^[A-Za-z_][A-Za-z0-9_.]*(Error|Exception)$",
            // npm
            r"^npm (ERR!|error)( |$)",
            // compilers, cargo, make, git
            r"^(error|fatal|ERROR|FATAL|Error|Fatal|Fatal error|fatal error|Failed|FAILED|failed|PANIC|panic)(\[E[0-9]+\])?:",
            r"^[^\s:]+:[0-9]+(:[0-9]+)?: (fatal )?error:",
            r"^[^:]{1,80}: (fatal error|fatal|error|ERROR):? ",
            r"^make(\[[0-9]+\])?: \*\*\* ",
            r"^thread '.*' (\([0-9]+\) )?panicked at ",
            // shells and what the system says
            r": command not found\s*$",
            r": not found\s*$",
            r"^\S+: .*: (No such file or directory|Permission denied|Operation not permitted|Is a directory|Not a directory|Read-only file system|Exec format error|Text file busy|Device or resource busy|Input/output error|cannot execute.*|bad interpreter.*)\s*$",
            r"(No space left on device|Cannot allocate memory|Disk quota exceeded|Too many open files|Connection refused|Network is unreachable|No route to host|Temporary failure in name resolution|Connection timed out|Operation timed out|Connection reset by peer|Could not resolve host)",
            r"^(\S+: (line )?[0-9]+: )?.*\bunbound variable\s*$",
            r": syntax error\b",
            r"^(bash|sh|dash|zsh|[^\s:]+\.sh): (line )?[0-9]+: .*(Killed|Terminated|Aborted|Segmentation fault|Bus error|Illegal instruction|Floating point exception)",
            r"^(Killed|Terminated|Aborted|Segmentation fault|Bus error|Illegal instruction)( \(core dumped\))?\s*$",
            r"(?i)\bout of memory\b",
            r"(?i)^(memory allocation|virtual memory exhausted)",
            r"^curl: \([0-9]+\) ",
            r"^wget: ",
            r"^(tar|gzip|unzip|cp|mv|mkdir|ln|rm|mount|dd|install|rsync|ssh|scp): .*(cannot|failed|Error|error|Exiting|unexpected)",
            r"(?i)\b(timed out|timeout expired|timeout exceeded)\b",
            // systemd
            r"^Failed to [a-z]+ ",
            r"^Job for \S+ failed",
            r"^(\[FAILED\]|\[ *FAILED *\]) ",
            r"^A dependency job for \S+ failed",
            r"(: |^)(Main process exited, code=(exited|killed|dumped)|Failed with result )",
            r"^<[0-3]>",
            // what programs agree on
            r"^(\S+ ){0,4}\[?(ERROR|FATAL|CRITICAL|PANIC|EMERG|ALERT|SEVERE)\]?[: ]",
            r"(?i)\[(error|fatal|critical|crit|emerg|alert)\]",
            r"(?i)\blevel=(error|fatal|critical|panic)\b",
            r#"(?i)"level" ?: ?"(error|fatal|critical|panic)""#,
            r"^(Unable|Could not|Cannot|Can't|unable|could not|cannot|can't) ",
            r"^(\S+: ){1,2}(unable to|could not|cannot|can't|failed to) ",
            r"^(✗|✘|✖|❌) ",
        ],
    ),
    (
        Level::Warning,
        &[
            r"^W: ",
            r"^dpkg(-[a-z]+)?: warning",
            r"^ *WARNING: ",
            r"^ *DEPRECATION: ",
            r"^npm (WARN|warn)( |$)",
            r"^(warning|Warning|WARN|warn)(\[[^\]]*\])?: ",
            r"^[^\s:]+:[0-9]+(:[0-9]+)?: (\w*[Ww]arning):",
            r"^[^:]{1,80}: (warning|WARNING|Warning): ",
            r"^<4>",
            r"^(\S+ ){0,4}\[?(WARNING|WARN)\]?[: ]",
            r"(?i)\[(warning|warn)\]",
            r"(?i)\blevel=(warning|warn)\b",
            r#"(?i)"level" ?: ?"(warning|warn)""#,
            r"(DeprecationWarning|UserWarning|FutureWarning|RuntimeWarning): ",
            r"^(⚠|⚠️) ",
        ],
    ),
    (
        Level::Notice,
        &[r"^N: ", r"^npm notice( |$)", r"^<5>", r"(?i)\blevel=notice\b", r"(?i)\[notice\]"],
    ),
    (
        Level::Debug,
        &[
            r"^D: ",
            r"^<7>",
            r"(?i)\blevel=(debug|trace)\b",
            r#"(?i)"level" ?: ?"(debug|trace)""#,
            r"^(\S+ ){0,4}\[?(DEBUG|TRACE)\]?[: ]",
        ],
    ),
];

/// Places that three bytes are hashed to.
const PLACES: usize = 1 << 16;

struct Rules {
    /// Where the three letters of any of [`WORDS`] are hashed to, by one function and by another: each alone takes far too many
    /// others for them.
    letters: [Box<[bool; PLACES]>; 2],
    capitals: [memmem::Finder<'static>; CAPITALS.len()],
    /// Finds any of [`WORDS`], many bytes at once; `None` where the processor cannot.
    words: Option<packed::Searcher>,
    set: RegexSet,
    /// The level of each rule of the set, in order.
    levels: Vec<Level>,
}

static COMPILED: LazyLock<Rules> = LazyLock::new(|| {
    let flat = || RULES.iter().flat_map(|(level, rules)| rules.iter().map(move |r| (*level, *r)));
    let mut letters = [Box::new([false; PLACES]), Box::new([false; PLACES])];
    for (_, rare) in WORDS {
        let rare = rare.as_bytes();
        let [one, other] = places(u32::from_le_bytes([rare[0], rare[1], rare[2], 0]));
        letters[0][one] = true;
        letters[1][other] = true;
    }
    Rules {
        letters,
        capitals: CAPITALS.map(memmem::Finder::new),
        words: packed::Searcher::new(WORDS.iter().map(|(word, _)| word)),
        set: RegexSetBuilder::new(flat().map(|(_, rule)| rule))
            .unicode(false)
            .size_limit(64 << 20)
            .dfa_size_limit(16 << 20)
            .build()
            .expect("the patterns are constants, and a test compiles them"),
        levels: flat().map(|(level, _)| level).collect(),
    }
});

/// Whether a line begins as rules want it that have no word.
fn begins_like_one(line: &[u8]) -> bool {
    match line {
        [b'<' | 0x80..=0xff, ..] => true,
        [letter, b':', b' ', ..] => letter.is_ascii_uppercase(),
        // `  × …`, as pip draws it.
        [b' ', ..] => line.trim_ascii_start().first().is_some_and(|&first| first >= 0x80),
        _ => false,
    }
}

/// Two places of the lower three bytes.
fn places(quad: u32) -> [usize; 2] {
    // High bits of a multiplication by an odd constant near 2^32 divided by the golden ratio.
    let mixed = (quad & 0xff_ffff).wrapping_mul(0x9E37_79B1);
    [(mixed >> 16) as usize, (mixed >> 8) as usize & (PLACES - 1)]
}

/// Whether some rule may match the line. Nearly all lines are told by a look at a table for each of their bytes.
fn is_suspicious(rules: &Rules, line: &[u8]) -> bool {
    if begins_like_one(line) || rules.capitals.iter().any(|word| word.find(line).is_some()) {
        return true;
    }
    let (Some(words), true) = (&rules.words, line.len() <= CLASSIFIED_BYTES) else { return true };
    thread_local! {
        static LOWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    LOWER.with_borrow_mut(|lower| {
        lower.clear();
        lower.extend_from_slice(line);
        lower.make_ascii_lowercase();
        // The last three bytes are the first of four, too.
        lower.push(0);
        let any = lower.array_windows::<4>().any(|quad| {
            let [one, other] = places(u32::from_le_bytes(*quad));
            rules.letters[0][one] && rules.letters[1][other]
        });
        any && words.find(&*lower).is_some()
    })
}

/// The level of a line that was stripped of escape sequences and has no markup of its own.
pub fn level_of(line: &[u8]) -> Level {
    let rules = &*COMPILED;
    if AT_WORK.iter().any(|begin| line.starts_with(begin.as_bytes())) || !is_suspicious(rules, line)
    {
        return Level::Info;
    }
    // Rules stand in order of precedence, and matches come in order of rules.
    rules.set.matches(line).iter().next().map_or(Level::Info, |rule| rules.levels[rule])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::{Strategy as _, ValueTree as _};
    use proptest::test_runner::TestRunner;

    #[test]
    fn every_line_that_a_rule_wants_is_looked_at() {
        let rules = &*COMPILED;
        assert!(rules.words.is_some() || cfg!(not(target_arch = "x86_64")));
        for (word, rare) in WORDS {
            assert!(word.contains(rare) && rare.len() == 3, "{word}");
        }
        let mut runner = TestRunner::deterministic();
        let flat = RULES.iter().flat_map(|(level, rules)| rules.iter().map(move |r| (*level, *r)));
        for (number, (level, rule)) in flat.enumerate() {
            if level == Level::Info {
                continue;
            }
            // The generator knows neither places in a line nor letters of either case; most of what it draws matches all
            // the same.
            let drawable = rule.replace("(: |^)", "").replace('^', "\u{1}").replace("[\u{1}", "[^");
            let drawable = drawable.replace('\u{1}', "").replace(['$'], "").replace(r"\b", "");
            let drawable = drawable.replace(r"[^\s:]+", "[a-z./]+").replace("[^:]", "[ -9]");
            let drawable = drawable.replace(".*", "[ -~]{0,9}").replace(r"\S", "[!-~]");
            let lines = proptest::string::bytes_regex(&drawable).expect(rule);
            let mut matched = 0;
            for _ in 0..200 {
                let line = lines.new_tree(&mut runner).unwrap().current();
                if rules.set.matches(&line).matched(number) {
                    matched += 1;
                    let shown = String::from_utf8_lossy(&line).into_owned();
                    assert!(is_suspicious(rules, &line), "{rule} wants {shown}");
                }
            }
            assert!(matched > 0, "nothing that was drawn matches {rule}");
        }
    }

    #[test]
    fn errors() {
        for line in [
            "E: Unable to locate package deckport-nothing",
            "E: Sub-process /usr/bin/dpkg returned an error code (1)",
            "Err:1 http://deb.debian.org/debian bookworm InRelease",
            "dpkg: error processing package nvidia-driver-535 (--configure):",
            " installed nvidia-driver-535 package post-installation script subprocess returned error exit status 10",
            "dpkg: dependency problems prevent configuration of foo:",
            "ERROR: Could not find a version that satisfies the requirement nosuchthing",
            "ERROR: No matching distribution found for nosuchthing",
            "  error: subprocess-exited-with-error",
            "npm error code E404",
            "npm ERR! 404 Not Found",
            "error[E0425]: cannot find value `x` in this scope",
            "error: could not compile `foo` (bin \"foo\") due to 1 previous error",
            "main.c:3:1: error: expected ';'",
            "make: *** [Makefile:2: all] Error 1",
            "install.sh: line 12: frobnicate: command not found",
            "sh: 1: frobnicate: not found",
            "cp: cannot stat '/nope': No such file or directory",
            "cat: /nope: No such file or directory",
            "dd: error writing '/mnt/full/x': No space left on device",
            "tar: game/data.bin: Cannot write: No space left on device",
            "install.sh: line 4:  1234 Killed                  ./hungry",
            "Killed",
            "Segmentation fault (core dumped)",
            "MemoryError: cannot allocate",
            "MemoryError",
            "Traceback (most recent call last):",
            "ValueError: bad thing",
            "curl: (6) Could not resolve host: nowhere.invalid",
            "curl: (28) Connection timed out after 2001 milliseconds",
            "Job for deckport.service failed because the control process exited with error code.",
            "[FAILED] Failed to start game.service - Game.",
            "Failed to start unit: Unit nope.service not found.",
            "2026-11-01T10:00:00 ERROR disk is on fire",
            "level=error msg=\"no\"",
            "fatal: not a git repository",
            "thread 'main' panicked at src/main.rs:2:5:",
            "modprobe: ERROR: could not insert 'nvidia_current': Key was rejected by service",
            "bash: line 3: x: unbound variable",
            "deploy.sh: the health check timed out after 5 s",
        ] {
            assert_eq!(level_of(line.as_bytes()), Level::Error, "{line}");
        }
    }

    #[test]
    fn no_errors() {
        for line in [
            "Unpacking libgpg-error0:amd64 (1.46-1) ...",
            "Setting up liberror-perl (0.17029-2) ...",
            "Get:3 http://deb.debian.org/debian bookworm/main amd64 libgpg-error0 amd64 1.46-1 [76.4 kB]",
            "   Compiling thiserror v2.0.11",
            "0 errors, 0 warnings",
            "found 0 vulnerabilities",
            "Collecting exceptiongroup",
            "test error_handling ... ok",
            "checking whether strerror is declared... yes",
            "I: Extracting liberror...",
            "Downloading failure-0.1.8.tar.gz",
            "100% done",
            "",
        ] {
            assert_eq!(level_of(line.as_bytes()), Level::Info, "{line}");
        }
    }

    #[test]
    fn warnings_notices_and_debug() {
        for (line, level) in [
            ("W: Some index files failed to download.", Level::Warning),
            ("dpkg: warning: files list file missing", Level::Warning),
            ("WARNING: Running pip as the 'root' user", Level::Warning),
            ("npm warn deprecated foo@1.0.0: old", Level::Warning),
            ("warning: unused variable: `x`", Level::Warning),
            ("main.c:3:1: warning: unused", Level::Warning),
            ("N: Download is performed unsandboxed as root", Level::Notice),
            ("npm notice New major version", Level::Notice),
            ("level=debug msg=x", Level::Debug),
            ("<4>careful", Level::Warning),
            ("<3>broken", Level::Error),
        ] {
            assert_eq!(level_of(line.as_bytes()), level, "{line}");
        }
    }
}
