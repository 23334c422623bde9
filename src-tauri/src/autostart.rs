//! Starting with the session: a desktop entry in the operator's autostart folder, by their preference.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::places::{IDENTIFIER, Places};

/// Whether this desktop has such a folder.
pub(crate) fn is_available() -> bool {
    cfg!(target_os = "linux") && folder().is_some()
}

fn folder() -> Option<PathBuf> {
    let config =
        std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(config.join("autostart"))
}

/// Writes or removes the entry. An instance with a directory of its own starts with that one.
pub(crate) fn set(wanted: bool, places: &Places) -> Result<()> {
    let folder = folder().context("this desktop has no autostart folder")?;
    let path = folder.join(format!("{}.desktop", places.instance()));
    if !wanted {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        };
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = quoted(&program.to_string_lossy());
    if places.instance() != IDENTIFIER {
        command = format!("{command} --data {}", quoted(&places.root().to_string_lossy()));
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(&path, entry(&command))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn entry(command: &str) -> String {
    format!(
        "[Desktop Entry]\nType=Application\nName=Deckport Control Center\nExec={command} --minimized\n\
         Icon=deckport-control-center\nTerminal=false\nX-GNOME-Autostart-enabled=true\n"
    )
}

/// An argument as the desktop entry specification wants it.
fn quoted(argument: &str) -> String {
    let mut text = String::from("\"");
    for c in argument.chars() {
        match c {
            '"' | '`' | '$' => text.extend(['\\', '\\', c]),
            '\\' => text.push_str("\\\\\\\\"),
            '%' => text.push_str("%%"),
            '\n' | '\r' => {}
            _ => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_starts_in_the_tray_and_survives_odd_paths() {
        assert_eq!(quoted("/opt/a b%$\"x"), r#""/opt/a b%%\\$\\"x""#);
        let entry = entry(&quoted("/usr/bin/deckport-control-center"));
        assert!(
            entry.contains("\nExec=\"/usr/bin/deckport-control-center\" --minimized\n"),
            "{entry}"
        );
        assert!(entry.starts_with("[Desktop Entry]\n"));
    }
}
