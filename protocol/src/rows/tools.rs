//! Phases of tools that a script runs without saying so: each run of a package manager is a phase,
//! each of its stages a step. Used only while the stream has no explicit phases.

/// A stage of a known tool's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// The phase's name.
    pub(super) phase: &'static str,
    /// The step's name.
    pub(super) step: &'static str,
    /// Where the stage stands in a run; a run never goes back except by starting anew.
    pub(super) order: u8,
    /// The line can only be the first of a run.
    pub(super) opens: bool,
}

struct Words {
    phase: &'static str,
    step: &'static str,
    order: u8,
    opens: bool,
    prefixes: &'static [&'static str],
}

const fn words(
    phase: &'static str,
    step: &'static str,
    order: u8,
    opens: bool,
    prefixes: &'static [&'static str],
) -> Words {
    Words { phase, step, order, opens, prefixes }
}

const APT: &str = "apt packages";
const PIP: &str = "pip packages";
const NPM: &str = "npm packages";
const CARGO: &str = "cargo build";
const DEBOOTSTRAP: &str = "base system";

const TABLE: &[Words] = &[
    words(APT, "Read package lists", 1, true, &["Reading package lists..."]),
    words(APT, "Resolve", 2, false, &["Building dependency tree", "Reading state information"]),
    words(APT, "Download", 3, false, &["Get:", "Hit:", "Ign:"]),
    words(APT, "Unpack", 4, false, &["Selecting previously unselected package ", "Unpacking "]),
    words(APT, "Configure", 5, false, &["Setting up "]),
    words(APT, "Run triggers", 6, false, &["Processing triggers for "]),
    words(PIP, "Collect", 1, false, &["Collecting ", "Looking in indexes: ", "Looking in links: "]),
    words(PIP, "Build", 2, false, &["Building wheels for collected packages"]),
    words(PIP, "Install", 3, false, &["Installing collected packages: "]),
    words(PIP, "Done", 4, false, &["Successfully installed "]),
    words(NPM, "Install", 1, false, &["npm warn ", "npm WARN ", "npm notice "]),
    words(CARGO, "Update index", 1, false, &["    Updating crates.io index"]),
    words(CARGO, "Download", 2, false, &["  Downloaded ", " Downloading crates"]),
    words(CARGO, "Compile", 3, false, &["   Compiling "]),
    words(CARGO, "Finish", 4, false, &["    Finished `"]),
    words(DEBOOTSTRAP, "Retrieve", 1, false, &["I: Retrieving ", "I: Target architecture "]),
    words(DEBOOTSTRAP, "Extract", 2, false, &["I: Extracting "]),
    words(DEBOOTSTRAP, "Install core", 3, false, &["I: Installing core packages"]),
    words(DEBOOTSTRAP, "Unpack", 4, false, &["I: Unpacking "]),
    words(DEBOOTSTRAP, "Configure", 5, false, &["I: Configuring "]),
];

/// The stage whose words a stripped line begins with.
pub(super) fn stage_of(line: &[u8]) -> Option<Stage> {
    // Every word of the table begins with one of these; most lines do not.
    if !matches!(
        line.first(),
        Some(b'R' | b'B' | b'G' | b'H' | b'I' | b'S' | b'U' | b'P' | b'C' | b'L' | b'n' | b' ')
    ) {
        return None;
    }
    TABLE.iter().find(|words| words.prefixes.iter().any(|p| line.starts_with(p.as_bytes()))).map(
        |words| Stage {
            phase: words.phase,
            step: words.step,
            order: words.order,
            opens: words.opens,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_found_by_their_words() {
        let step = |line: &str| stage_of(line.as_bytes()).map(|stage| (stage.phase, stage.step));
        assert_eq!(step("Setting up bash (5.2) ..."), Some((APT, "Configure")));
        assert_eq!(step("Collecting requests"), Some((PIP, "Collect")));
        assert_eq!(step("   Compiling serde v1.0"), Some((CARGO, "Compile")));
        assert_eq!(step("Hello"), None);
        assert_eq!(step(""), None);
    }

    #[test]
    fn the_first_byte_test_lets_every_word_through() {
        for words in TABLE {
            for prefix in words.prefixes {
                assert!(stage_of(prefix.as_bytes()).is_some(), "{prefix}");
            }
        }
    }
}
