//! A console: the real agent wrapping a script whose course the story decides.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use deckport_tests::desktop::{Owned, Session, until};
use deckport_tests::programs;

#[derive(Debug)]
pub(crate) struct Console {
    agent: Owned,
    /// Files that the script waits for.
    signs: PathBuf,
}

/// `sign NAME` waits for the story; everything else is an ordinary installation.
const PRELUDE: &str = r#"sign() { until [ -e "$SIGNS/$1" ]; do sleep 0.05; done; }
group() { [ -z "$open" ] || echo "::endgroup::"; open=1; echo "::group::$1"; }
"#;

impl Console {
    /// Starts an installation named `name` that runs `script`, at the app's own collector.
    pub(crate) fn start(
        session: &Session,
        collector: &str,
        name: &str,
        script: &str,
    ) -> Result<Console> {
        Self::start_at(session, (collector, &session.token_file()), name, script)
    }

    /// The same at any collector, given by its address and token file.
    pub(crate) fn start_at(
        session: &Session,
        (collector, token_file): (&str, &Path),
        name: &str,
        script: &str,
    ) -> Result<Console> {
        let home = session.data.path().join("consoles").join(name);
        let signs = home.join("signs");
        std::fs::create_dir_all(&signs)?;
        let log = std::fs::File::create(home.join("agent.log"))?;
        let agent = Command::new(programs::agent()?)
            .args([
                "wrap",
                "--collector",
                collector,
                "--name",
                name,
                "--template",
                "Autumn Cup",
                "--linger",
                "60",
            ])
            .arg("--token-file")
            .arg(token_file)
            .arg("--state")
            .arg(home.join("state"))
            .args(["--", "bash", "-c", &format!("{PRELUDE}{script}")])
            .env("SIGNS", &signs)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the agent cannot be started")?;
        Ok(Console { agent: Owned(agent), signs })
    }

    /// Lets the script go on past `sign NAME`.
    pub(crate) fn sign(&self, name: &str) -> Result<()> {
        std::fs::write(self.signs.join(name), "").context("a sign cannot be given")
    }

    /// Waits until the agent has delivered everything and ended.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        until("the agent ends", async || self.agent.0.try_wait().ok().flatten()).await
    }
}
