//! Who may import whom: the workspace's rules, read from its manifests and sources.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::programs::root;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The names under `[dependencies]` (and those of targets) of a member; not what only tests use.
fn dependencies(member: &str) -> Result<BTreeSet<String>> {
    let path = root().join(member).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section == "dependencies" || section.ends_with(".dependencies");
        } else if inside && line.starts_with(|first: char| first.is_ascii_alphabetic()) {
            names.extend(line.split(['.', ' ', '=']).next().map(ToOwned::to_owned));
        }
    }
    ensure!(!names.is_empty(), "no dependencies in {}", path.display());
    Ok(names)
}

fn files(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("node_modules") && !path.ends_with("dist") {
                files(&path, endings, found)?;
            }
        } else if path.extension().is_some_and(|end| endings.iter().any(|known| end == *known)) {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn crates_import_only_what_they_may() -> Result<()> {
    for (member, never) in [
        (
            "protocol",
            &["tokio", "sqlx", "axum", "deckport-agent", "deckport-collector", "tauri"]
                as &[&str],
        ),
        ("agent", &["sqlx", "axum", "deckport-collector", "tauri"]),
        ("collector", &["deckport-agent", "tauri", "pty-process"]),
        ("src-tauri", &["deckport-agent", "sqlx", "axum"]),
    ] {
        let names = dependencies(member)?;
        let broken: Vec<_> = never.iter().filter(|name| names.contains(**name)).collect();
        ensure!(broken.is_empty(), "{member} must not depend on {broken:?}");
    }
    Ok(())
}

#[test]
fn only_the_host_seam_knows_the_desktop_shell() -> Result<()> {
    let source = root().join("ui/src");
    let mut found = Vec::new();
    files(&source, &["ts", "js", "svelte"], &mut found)?;
    ensure!(found.len() > 10, "there is hardly any UI in {}", source.display());
    let seam = source.join("lib/host");
    let mut knows = 0;
    for path in found {
        let text = std::fs::read_to_string(&path)?;
        if text.contains("@tauri-apps/") || text.contains("__TAURI") {
            ensure!(path.starts_with(&seam), "{} knows the desktop shell", path.display());
            knows += 1;
        }
    }
    ensure!(knows > 0, "not even the seam knows the desktop shell: was it renamed?");
    Ok(())
}

#[test]
fn the_shell_opens_no_port_for_its_own_ui() -> Result<()> {
    let mut found = Vec::new();
    files(&root().join("src-tauri/src"), &["rs"], &mut found)?;
    for path in found {
        if path.to_string_lossy().ends_with("_tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        // Binding a port to see whether it is free is all that the shell may do.
        for serves in [".accept()", ".incoming()", "axum::serve", "serve_connection"] {
            ensure!(!text.contains(serves), "{} serves ({serves})", path.display());
        }
    }
    Ok(())
}
