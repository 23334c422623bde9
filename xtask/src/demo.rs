//! `cargo xtask demo`: the main job, with nothing made up. Three real agents run three real installations at once; one of
//! them really fails. The data directory is fresh and goes away at the end; the operator's own is never touched.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::job::{Job, Running};
use crate::packages::{self, Consent, Need};
use crate::{http, places, say, wait};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Start the collector without the desktop app, and print its address for a browser
    #[arg(long)]
    headless: bool,

    /// Build optimised programs (takes several minutes longer)
    #[arg(long)]
    release: bool,

    /// Build quickly, for development (the default)
    #[arg(long, conflicts_with = "release")]
    dev: bool,

    /// Install missing system packages without asking
    #[arg(long)]
    yes: bool,

    /// Keep the data directory at the end
    #[arg(long)]
    keep: bool,

    /// End when the three runs have ended, and fail when they did not end as they should
    #[arg(long)]
    once: bool,
}

/// One demo console.
#[derive(Debug, Clone, Copy)]
struct Console {
    name: &'static str,
    template: &'static str,
    script: &'static str,
    what: &'static str,
    exit_code: i32,
}

const CONSOLES: [Console; 3] = [
    Console {
        name: "Bay 1",
        template: "attract-screen",
        script: "content-ui.sh",
        what: "npm ci of a web front end, from the registry",
        exit_code: 0,
    },
    Console {
        name: "Bay 2",
        template: "game-content",
        script: "game-content.sh",
        what: "a bash installer in the style of version 1, unchanged",
        exit_code: 0,
    },
    Console {
        name: "Bay 3",
        template: "runtime-packages",
        script: "runtime-packages.sh",
        what: "apt-get install of a package that cannot be installed (apt runs on folders of its own: your system stays as it is)",
        exit_code: 100,
    },
];

/// The port that consoles know; another one is taken when it is busy.
const PORT: u16 = 7443;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let shows_window = !args.headless && has_display();
    if !args.headless && !shows_window {
        say::info(
            "there is no display (neither $DISPLAY nor $WAYLAND_DISPLAY): showing the same in a browser",
        );
    }
    let mut needs = vec![Need::Compiler];
    if shows_window {
        needs.push(Need::DesktopBuild);
    }
    packages::ensure(&needs, Consent::new(args.yes))?;

    let profile = if args.release { Profile::Release } else { Profile::Dev };
    build::ui()?;
    say::step("building the agent (one static file)");
    let agent = build::static_agent(profile)?;
    let server = if shows_window {
        say::step("building the desktop app (the first time takes some minutes)");
        build::program("deckport-control-center", "deckport-control-center", profile)?
    } else {
        say::step("building the collector (the first time takes some minutes)");
        build::program("deckport-collector", "deckport-collector", profile)?
    };

    let folder = Folder::fresh(args.keep)?;
    let addr = http::free_address(PORT)?;
    let mut demo = Demo::start(&folder, &server, shows_window, addr)?;
    let consoles = demo.deploy(&folder, &agent)?;
    demo.watch(consoles, args.once)
}

fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// `.demo/`, empty at the start and gone at the end.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn fresh(keep: bool) -> Result<Self> {
        let path = places::root().join(".demo");
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| {
                format!("cannot empty {} (is another demo running?)", path.display())
            })?;
        }
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, keep })
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            say::info(format!("the demo's data is kept in {}", self.path.display()));
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            say::warn(format!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// The running collector, in the app or on its own.
#[derive(Debug)]
struct Demo {
    server: Running,
    shows_window: bool,
    url: String,
    token_file: PathBuf,
}

impl Demo {
    fn start(
        folder: &Folder,
        program: &Path,
        shows_window: bool,
        addr: SocketAddr,
    ) -> Result<Self> {
        let data = folder.path.join("data");
        let log = folder.log("server");
        let url = format!("http://{addr}");
        let (job, token_file) = if shows_window {
            say::step("starting the desktop app");
            let job = Job::new(program)
                .arg("--data")
                .arg(data.clone())
                .args(["--listen", &addr.to_string()]);
            (job, data.join("collector/token"))
        } else {
            say::step("starting the collector");
            let job = Job::new(program)
                .args(["serve", "--data"])
                .arg(data.clone())
                // A browser on this machine opens it without a warning.
                .args(["--plain-http", "--listen", &addr.to_string()]);
            (job, data.join("token"))
        };
        let mut server = job.start(&log)?;
        wait::until(
            "the collector's start",
            Duration::from_secs(60),
            Duration::from_millis(50),
            || {
                if let Some(status) = server.poll()? {
                    let said = std::fs::read_to_string(&log).unwrap_or_default();
                    bail!("the collector ended at once ({status}): {}", last_lines(&said, 10));
                }
                let started = if shows_window { http::answers(addr) } else { http::is_ready(addr) };
                Ok(started.then_some(()))
            },
        )?;
        if shows_window {
            say::info(format!("its collector listens on {url}"));
        } else {
            let token = std::fs::read_to_string(&token_file).with_context(|| {
                format!("the collector left no token in {}", token_file.display())
            })?;
            say::info(
                "open this address in a browser on this machine (the part after # is the key: keep it to yourself)",
            );
            say::result(format_args!("{url}/#token={}", token.trim()));
        }
        Ok(Self { server, shows_window, url, token_file })
    }

    /// Starts the three agents, all at once.
    fn deploy(&self, folder: &Folder, agent: &Path) -> Result<Vec<(Console, Running)>> {
        say::step("three consoles deploy at once, each with an agent and a spool of its own");
        let scripts = places::root().join("xtask/demo");
        let mut running = vec![];
        for console in CONSOLES {
            say::info(format!("{}: {}", console.name, console.what));
            let slug = console.name.to_lowercase().replace(' ', "-");
            let job = Job::new(agent)
                .args(["wrap", "--collector", &self.url, "--token-file"])
                .arg(self.token_file.clone())
                .args(["--name", console.name, "--template", console.template, "--state"])
                .arg(folder.path.join(&slug))
                .args(["--", "bash", console.script])
                .arg(places::ui())
                .dir(scripts.clone());
            running.push((console, job.start(&folder.log(&slug))?));
        }
        Ok(running)
    }

    /// Tells how the runs end, then stays until the app is quit or the user presses Ctrl-C.
    fn watch(&mut self, mut consoles: Vec<(Console, Running)>, once: bool) -> Result<ExitCode> {
        let mut as_they_should = true;
        let mut told = false;
        loop {
            wait::check_interrupted()?;
            if let Some(status) = self.server.poll()? {
                if !status.success() {
                    bail!(
                        "the {} ended by itself ({status})",
                        if self.shows_window { "app" } else { "collector" }
                    );
                }
                say::info("the app was quit");
                return Ok(ExitCode::SUCCESS);
            }
            let mut index = 0;
            while let Some((console, running)) = consoles.get_mut(index) {
                let Some(status) = running.poll()? else {
                    index += 1;
                    continue;
                };
                let expected = status.code() == Some(console.exit_code);
                as_they_should &= expected;
                let verdict = match (expected, console.exit_code) {
                    (true, 0) => "succeeded".to_owned(),
                    (true, code) => {
                        format!("failed with exit code {code}, as it should: look at it in the UI")
                    }
                    (false, _) => format!("ended unexpectedly ({status})"),
                };
                say::info(format!("{} {verdict}", console.name));
                consoles.remove(index);
            }
            if consoles.is_empty() && once {
                self.check_recorded()?;
                return Ok(if as_they_should { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            if consoles.is_empty() && !told {
                told = true;
                say::step(if self.shows_window {
                    "all three have ended; the app stays until you quit it from its tray, or press Ctrl-C here"
                } else {
                    "all three have ended; the collector stays until you press Ctrl-C"
                });
            }
            wait::pause(Duration::from_millis(100));
        }
    }

    /// Asks the collector whether it saw what happened.
    fn check_recorded(&self) -> Result<()> {
        let collector = build::program("deckport-collector", "deckport-collector", Profile::Dev)?;
        let ask =
            Job::new(collector).args(["deployments", "--json", "--url", &self.url, "--token-file"]);
        let ask = ask.arg(self.token_file.clone());
        wait::until(
            "the outcome of all three at the collector",
            Duration::from_secs(30),
            Duration::from_millis(200),
            || {
                let list: serde_json::Value =
                    serde_json::from_str(&ask.read()?).context("the list is not JSON")?;
                let outcome = |name: &str| {
                    list.as_array()?.iter().find(|deployment| deployment["name"] == name)?["outcome"].as_str()
                };
                let all = CONSOLES.iter().all(|console| {
                    outcome(console.name)
                        == Some(if console.exit_code == 0 { "succeeded" } else { "failed" })
                });
                Ok(all.then_some(()))
            },
        )?;
        say::info("the collector recorded all three outcomes");
        Ok(())
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_console_has_its_script() {
        for console in CONSOLES {
            assert!(
                places::root().join("xtask/demo").join(console.script).is_file(),
                "{}",
                console.name
            );
        }
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
