//! The script that adds a console, as it stands behind the one-liner.

use super::Agent;
use deckport_protocol::Pin;

const SCRIPT: &str = include_str!("console.sh");
/// The line of it that there is one of for each agent.
const ONE_HASH: &str = "    '@ARCHITECTURE@') sha256='@SHA256@' ;;\n";

/// Why there is no script to hand out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    #[error(
        "this collector has no agent to hand out: put deckport-agent beside it, or deckport-agent-ARCHITECTURE into the \
         directory `agents` of its data directory"
    )]
    NoAgent,
}

/// What the script is about.
#[derive(Clone, Debug)]
pub struct Bootstrap<'a> {
    /// `host:port`, as the console reached it.
    pub authority: &'a str,
    pub pin: Pin,
    pub agents: &'a [Agent],
}

impl Bootstrap<'_> {
    /// The script's text. It ends without a line feed: cut off anywhere, even by one byte, it runs nothing.
    pub fn text(&self) -> Result<String, BootstrapError> {
        if self.agents.is_empty() {
            return Err(BootstrapError::NoAgent);
        }
        let hashes: String = self
            .agents
            .iter()
            .map(|Agent { architecture, sha256, .. }| {
                ONE_HASH.replace("@ARCHITECTURE@", architecture).replace("@SHA256@", sha256)
            })
            .collect();
        let text = SCRIPT
            .replace("@AUTHORITY@", self.authority)
            .replace("@PIN@", &self.pin.to_string())
            .replace(ONE_HASH, &hashes);
        Ok(text.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn text() -> String {
        let agent = Agent {
            path: "/agent".into(),
            architecture: "x86_64".into(),
            sha256: "00".repeat(32),
            size: 1,
        };
        let pin = Pin::of_key(b"key");
        let agents = [agent];
        Bootstrap { authority: "127.0.0.1:1", pin, agents: &agents }.text().unwrap()
    }

    #[test]
    fn everything_is_filled_in() {
        let text = text();
        for place in ["@AUTHORITY@", "@PIN@", "@ARCHITECTURE@", "@SHA256@"] {
            assert!(!text.contains(place), "{text}");
        }
        assert!(text.ends_with('}'));
        let none = Bootstrap { authority: "a:1", pin: Pin::of_key(b""), agents: &[] };
        assert_eq!(none.text(), Err(BootstrapError::NoAgent));
    }

    /// Bash itself is asked at every length whether anything runs: every command that the script could begin with is replaced by
    /// one that leaves a trace.
    #[test]
    fn cut_off_anywhere_it_runs_nothing() {
        let text = text();
        let dir = tempfile::tempdir().unwrap();
        let run = |script: &[u8]| {
            let mut bash = Command::new("/bin/bash");
            // Nothing can be found, so whatever ran would have to be a builtin, and `set -x` would show it.
            bash.env_clear().env("PATH", dir.path()).args(["-x", "-s", "--", "--dry-run"]);
            let mut child = bash
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), script).unwrap();
            child.wait_with_output().unwrap()
        };
        let traced = |output: &std::process::Output| {
            !output.stdout.is_empty()
                || output.stderr.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"+"))
        };
        assert!(traced(&run(text.as_bytes())), "the whole script runs");
        for length in 0..text.len() {
            let output = run(&text.as_bytes()[..length]);
            assert!(!traced(&output), "{length} bytes of {} ran: {output:?}", text.len());
        }
    }
}
