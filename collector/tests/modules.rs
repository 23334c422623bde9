//! Modules import only modules above them, in the order that `MODULES` states.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use deckport_collector::MODULES;
use std::path::Path;

fn sources(path: &Path, found: &mut Vec<std::path::PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The modules that `text` names behind `crate::`, one a line that names any.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| {
        line.match_indices("crate::").map(|(at, found)| {
            let rest = &line[at + found.len()..];
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
        })
    })
}

#[test]
fn modules_import_only_those_above_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for (place, module) in MODULES.iter().enumerate() {
        let mut files = Vec::new();
        for path in [src.join(module), src.join(format!("{module}.rs"))] {
            if path.exists() {
                sources(&path, &mut files);
            }
        }
        assert!(!files.is_empty(), "there is no module {module}");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for name in named(&text) {
                let above = MODULES.iter().position(|known| *known == name);
                let above = above.unwrap_or_else(|| panic!("{}: crate::{name}", file.display()));
                assert!(above <= place, "{} imports {name}, which is below it", file.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} imports were found: the test does not see them");
}
