//! What a console gets from its collector: the agent, and the scripts of templates.
//!
//! ```text
//! DIR/templates/NAME.sh          what a console of that template runs; a template without one shows a checkup
//! DIR/templates/ID/NAME.sh       the same for a further organisation, whose id this is: none sees another's
//! DIR/agents/deckport-agent-ARCH the agent for that architecture; for this machine's own the one beside the collector does
//! ```
//!
//! The hash of an agent is of the file as it is now: it is kept as long as the file's size and time stay as they were.

mod script;

pub use script::{Bootstrap, BootstrapError};

use deckport_protocol::OrganisationId;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// A template of an installation's that has no script of its own.
pub const PLAIN_TEMPLATE: &str = "console";
const NAME: usize = 64;
/// The largest script.
const SCRIPT_BYTES: u64 = 4 << 20;

/// See the module.
#[derive(Debug)]
pub struct Content {
    dir: PathBuf,
    /// The agent beside the collector's own program.
    beside: Option<PathBuf>,
    hashes: Mutex<HashMap<PathBuf, Hashed>>,
}

#[derive(Clone, Debug)]
struct Hashed {
    size: u64,
    changed: SystemTime,
    sha256: String,
}

/// An agent to hand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub path: PathBuf,
    /// As `uname -m` says it.
    pub architecture: String,
    /// In hexadecimal.
    pub sha256: String,
    pub size: u64,
}

impl Content {
    pub fn new(data_dir: &Path) -> Self {
        let beside = std::env::current_exe().ok();
        let beside = beside.and_then(|own| Some(own.parent()?.join("deckport-agent")));
        Self { dir: data_dir.to_owned(), beside, hashes: Mutex::default() }
    }

    /// The agents that can be handed out. Reads files: not for the async threads.
    pub fn agents(&self) -> Vec<Agent> {
        let mut found: Vec<Agent> = Vec::new();
        let known = std::fs::read_dir(self.dir.join("agents")).into_iter().flatten().flatten();
        for entry in known {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(architecture) = name.strip_prefix("deckport-agent-")
                && is_name(architecture)
                && let Ok(agent) = self.agent_at(&entry.path(), architecture)
            {
                found.push(agent);
            }
        }
        let own = std::env::consts::ARCH;
        if !found.iter().any(|agent| agent.architecture == own)
            && let Some(beside) = &self.beside
            && let Ok(agent) = self.agent_at(beside, own)
        {
            found.push(agent);
        }
        found.sort_by(|a, b| a.architecture.cmp(&b.architecture));
        found
    }

    /// The agent for an architecture.
    pub fn agent(&self, architecture: &str) -> Option<Agent> {
        self.agents().into_iter().find(|agent| agent.architecture == architecture)
    }

    fn agent_at(&self, path: &Path, architecture: &str) -> std::io::Result<Agent> {
        let metadata = std::fs::metadata(path)?;
        let (size, changed) = (metadata.len(), metadata.modified()?);
        // Held while a file is read: whoever else asks meanwhile would read it as well.
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let as_it_was = |hashed: &&Hashed| (hashed.size, hashed.changed) == (size, changed);
        let sha256 = match hashes.get(path).filter(as_it_was) {
            Some(hashed) => hashed.sha256.clone(),
            None => {
                let sha256 = hash(path)?;
                let hashed = Hashed { size, changed, sha256: sha256.clone() };
                hashes.insert(path.to_owned(), hashed);
                sha256
            }
        };
        drop(hashes);
        let architecture = architecture.to_owned();
        Ok(Agent { path: path.to_owned(), architecture, sha256, size })
    }

    fn templates_of(&self, organisation: OrganisationId) -> PathBuf {
        let all = self.dir.join("templates");
        if organisation == OrganisationId::SOLE { all } else { all.join(organisation.to_string()) }
    }

    /// The templates that an organisation's consoles can be added with, by name.
    pub fn templates(&self, organisation: OrganisationId) -> Vec<String> {
        let folder = self.templates_of(organisation);
        let known = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = known
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.strip_suffix(".sh").filter(|name| is_name(name)).map(str::to_owned)
            })
            .collect();
        if !names.iter().any(|name| name == PLAIN_TEMPLATE) {
            names.push(PLAIN_TEMPLATE.to_owned());
        }
        names.sort();
        names
    }

    /// The script of a template; none where it has none.
    pub fn template_script(
        &self,
        organisation: OrganisationId,
        name: &str,
    ) -> std::io::Result<Option<Vec<u8>>> {
        if !is_name(name) {
            return Ok(None);
        }
        let path = self.templates_of(organisation).join(format!("{name}.sh"));
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(metadata) if metadata.len() > SCRIPT_BYTES => {
                return Err(std::io::Error::other(format!(
                    "{} is larger than {} MiB",
                    path.display(),
                    SCRIPT_BYTES >> 20
                )));
            }
            Ok(_) => {}
        }
        std::fs::read(&path).map(Some)
    }
}

/// In hexadecimal, of a file of any size.
fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut some = vec![0; 64 * 1024];
    while let count @ 1.. = file.read(&mut some)? {
        hash.update(&some[..count]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether a text can name a template: what can be part of a file's name and of a command line.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty()
        && name.len() <= NAME
        && !name.starts_with(['.', '-'])
        && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_by_their_names_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::new(dir.path());
        let templates = || content.templates(OrganisationId::SOLE);
        let template_script = |name: &str| content.template_script(OrganisationId::SOLE, name);
        assert_eq!(templates(), ["console"]);
        std::fs::create_dir(dir.path().join("templates")).unwrap();
        std::fs::write(dir.path().join("templates/arcade.sh"), "echo hi\n").unwrap();
        std::fs::write(dir.path().join("templates/.hidden.sh"), "").unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        assert_eq!(templates(), ["arcade", "console"]);
        assert_eq!(template_script("arcade").unwrap().unwrap(), b"echo hi\n");
        for name in ["console", "../secret", "", "..", "a/b"] {
            assert_eq!(template_script(name).unwrap(), None, "{name}");
        }
        let other = OrganisationId::new();
        assert_eq!(content.templates(other), ["console"]);
        assert_eq!(content.template_script(other, "arcade").unwrap(), None);
        let theirs = dir.path().join("templates").join(other.to_string());
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("hall.sh"), "echo theirs\n").unwrap();
        assert_eq!(content.templates(other), ["console", "hall"]);
        assert_eq!(templates(), ["arcade", "console"]);
        assert_eq!(template_script(&format!("{other}/hall")).unwrap(), None);
    }

    #[test]
    fn an_agents_hash_follows_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content { beside: None, ..Content::new(dir.path()) };
        assert!(content.agents().is_empty());
        std::fs::create_dir(dir.path().join("agents")).unwrap();
        let path = dir.path().join("agents/deckport-agent-riscv64");
        std::fs::write(&path, "one").unwrap();
        let one = content.agent("riscv64").unwrap();
        assert_eq!(one.sha256, "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
        std::fs::write(&path, "another").unwrap();
        assert_ne!(content.agent("riscv64").unwrap().sha256, one.sha256);
        assert_eq!(content.agent("sparc"), None);
    }
}
