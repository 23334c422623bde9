//! The stages themselves, in the order in which they run: cheap ones first, and the UI before whatever embeds it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Context, tools};
use crate::job::Job;
use crate::packages::Need;
use crate::{build, places};

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) needs: &'static [Need],
    pub(super) run: fn(&Context) -> Result<()>,
}

pub(super) const STAGES: &[Stage] = &[
    Stage { name: "fmt", what: "Rust is formatted", needs: &[], run: fmt },
    Stage {
        name: "scripts",
        what: "shell scripts pass shellcheck",
        needs: &[Need::Scripts],
        run: scripts,
    },
    Stage { name: "ui", what: "UI: format, types, component tests, build", needs: &[], run: ui },
    Stage {
        name: "clippy",
        what: "lints, whole workspace, warnings denied",
        needs: &[Need::Compiler, Need::DesktopBuild],
        run: clippy,
    },
    Stage {
        name: "deny",
        what: "dependencies: bans, licences, sources",
        needs: &[Need::Compiler],
        run: deny,
    },
    Stage {
        name: "build",
        what: "all programs; the agent as one static file",
        needs: &[Need::Compiler, Need::DesktopBuild],
        run: programs,
    },
    Stage {
        name: "api",
        what: "OpenAPI document and the UI's types are current",
        needs: &[],
        run: api,
    },
    Stage {
        name: "tests",
        what: "unit tests and stories",
        needs: &[Need::Compiler, Need::DesktopBuild, Need::Stories, Need::PublicAuthority],
        run: tests,
    },
    Stage {
        name: "doc",
        what: "doc tests, and the documentation builds",
        needs: &[Need::Compiler],
        run: doc,
    },
    Stage {
        name: "browser",
        what: "the UI in a browser, against a real collector and real agents",
        needs: &[Need::BrowserTests],
        run: browser,
    },
    Stage {
        name: "desktop",
        what: "the app in its real webview, with notifications",
        needs: &[Need::DesktopBuild, Need::VirtualDisplay, Need::DesktopTests],
        run: desktop,
    },
];

/// A cargo command in the repository, with snapshots compared and never rewritten.
fn cargo(args: &[&str]) -> Job {
    Job::cargo().args(args.iter().copied()).dir(places::root()).env("INSTA_UPDATE", "no")
}

fn fmt(context: &Context) -> Result<()> {
    context.run(&cargo(&["fmt", "--all", "--check"]))
}

fn scripts(context: &Context) -> Result<()> {
    let tracked = Job::new("git").args(["ls-files", "-z"]).dir(places::root()).read()?;
    let scripts: Vec<_> = tracked.split('\0').filter(|path| is_shell_script(path)).collect();
    if scripts.is_empty() {
        bail!("no shell script was found, not even .ci/run");
    }
    context
        .run(&Job::new("shellcheck").arg("--").args(scripts.iter().copied()).dir(places::root()))?;
    context.say(&format!("counted: {} scripts", scripts.len()))
}

fn is_shell_script(path: &str) -> bool {
    use std::io::Read as _;
    if path.is_empty() {
        return false;
    }
    let mut head = [0; 64];
    let file = std::fs::File::open(places::root().join(path));
    let length = file.and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    let first = String::from_utf8_lossy(&head[..length]);
    let first = first.lines().next().unwrap_or_default();
    first.starts_with("#!") && (first.ends_with("bash") || first.ends_with("/sh"))
}

fn ui(context: &Context) -> Result<()> {
    if !build::npm_is_current() {
        context.run(&build::npm_ci())?;
    }
    let mut failed = vec![];
    for script in ["format:check", "check", "test", "build"] {
        let mut job = build::npm(script).env("NO_COLOR", "1");
        if script == "test" {
            // A busy machine is no reason to fail.
            job = job.args(["--", "--testTimeout=60000", "--hookTimeout=60000"]);
        }
        if let Err(error) = context.run(&job) {
            crate::wait::check_interrupted()?;
            context.say(&format!("{error:#}"))?;
            failed.push(script);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: npm run {}", failed.join(", npm run ")) }
}

fn clippy(context: &Context) -> Result<()> {
    context.run(&cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--keep-going",
        "--",
        "-D",
        "warnings",
    ]))
}

fn deny(context: &Context) -> Result<()> {
    let deny = tools::cargo_deny()?;
    // The advisory database is fetched from the network and changes daily: not a property of a commit.
    context.run(&Job::new(deny).args(["check", "bans", "licenses", "sources"]).dir(places::root()))
}

fn programs(context: &Context) -> Result<()> {
    context.run(&cargo(&["build", "--workspace", "--bins"]))?;
    let (job, agent) = build::static_agent_job(build::Profile::Dev);
    context.run(&job)?;
    build::check_static(&agent)?;
    let version = Job::new(agent).arg("--version").read()?;
    context.say(&format!("counted: {} is static", version.trim()))
}

fn api(context: &Context) -> Result<()> {
    context.run(&cargo(&["build", "-p", "deckport-collector", "--bins"]))?;
    let document =
        Job::new(places::target().join("debug/deckport-collector")).arg("openapi").read()?;
    let kept = places::ui().join("openapi.json");
    same(
        context,
        &document,
        &kept,
        "cargo run -p deckport-collector -- openapi > ui/openapi.json",
    )?;
    if !build::npm_is_current() {
        context.run(&build::npm_ci())?;
    }
    let fresh = places::own("api")?.join("schema.d.ts");
    let generator = places::ui().join("node_modules/.bin/openapi-typescript");
    context.run(
        &Job::new(generator)
            .args([kept.as_os_str(), "-o".as_ref(), fresh.as_os_str()])
            .dir(places::ui()),
    )?;
    let kept = places::ui().join("src/lib/api/schema.d.ts");
    same(context, &std::fs::read_to_string(&fresh)?, &kept, "npm run generate (in ui/)")
}

fn same(context: &Context, fresh: &str, kept: &Path, how: &str) -> Result<()> {
    let old = std::fs::read_to_string(kept)
        .with_context(|| format!("cannot read {}; run `{how}`", kept.display()))?;
    if old.trim() == fresh.trim() {
        return Ok(());
    }
    let path = places::own("api")?.join("fresh");
    std::fs::write(&path, fresh)?;
    // A difference is what diff ends with 1 for; it is our error that counts.
    let _ =
        context.run(&Job::new("diff").args(["-u".as_ref(), kept.as_os_str(), path.as_os_str()]));
    bail!("{} is not what the code says: run `{how}`", kept.display())
}

/// For tests that drive a browser or a window, which may hang where others fail.
const DRIVEN_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The package of stories, and the test in it that has a stage of its own since it opens windows.
const STORIES: &str = "deckport-tests";
const DESKTOP: &str = "desktop";

/// Names of the integration tests of [`STORIES`].
fn integration_tests() -> Result<Vec<String>> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version=1"]).read()?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages
        .filter(|package| package["name"] == STORIES)
        .flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let names: Vec<_> = targets
        .filter(|target| {
            target["kind"].as_array().is_some_and(|kind| kind.contains(&"test".into()))
        })
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    if !names.iter().any(|name| name == DESKTOP) {
        bail!("the package {STORIES} has no test {DESKTOP}");
    }
    Ok(names)
}

/// The programs that stories start.
fn with_programs(job: Job) -> Job {
    let bins = places::target().join("debug");
    job.env("DECKPORT_AGENT_BIN", bins.join("deckport-agent"))
        .env("DECKPORT_COLLECTOR_BIN", bins.join("deckport-collector"))
        .env("DECKPORT_APP_BIN", bins.join("deckport-control-center"))
}

fn tests(context: &Context) -> Result<()> {
    context.run(&cargo(&["build", "--workspace", "--bins"]))?;
    if tools::has_nextest() {
        let job = cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--color=never"]);
        let job = job.args(["-E", &format!("not (package({STORIES}) and binary({DESKTOP}))")]);
        return context.run(&with_programs(job));
    }
    context.say("cargo-nextest is not installed: cargo test does its work")?;
    let others = ["test", "--workspace", "--exclude", STORIES, "--tests", "--no-fail-fast"];
    let first = context.run(&with_programs(cargo(&others)));
    let mut stories = cargo(&["test", "--package", STORIES, "--lib", "--bins", "--no-fail-fast"]);
    for name in integration_tests()?.iter().filter(|name| *name != DESKTOP) {
        stories = stories.args(["--test", name]);
    }
    context.run(&with_programs(stories))?;
    first
}

fn doc(context: &Context) -> Result<()> {
    let libraries = ["-p", "deckport-protocol", "-p", "deckport-collector"];
    context.run(&cargo(&[["test", "--doc"].as_slice(), &libraries].concat()))?;
    let doc =
        cargo(&[["doc", "--no-deps", "--document-private-items"].as_slice(), &libraries].concat());
    // It is made for those who change the code: private items are in it, and links to them resolve.
    context.run(&doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))
}

fn browser(context: &Context) -> Result<()> {
    context.run(&cargo(&[
        "build",
        "-p",
        "deckport-collector",
        "-p",
        "deckport-agent",
        "--bins",
    ]))?;
    let job = build::npm("test:browser").env("CHROMIUM", build::browser()?).limit(DRIVEN_LIMIT);
    context.run(&with_programs(job))
}

fn desktop(context: &Context) -> Result<()> {
    context.run(&cargo(&["build", "--workspace", "--bins"]))?;
    // Each story starts a screen and a session bus of its own. One window at a time.
    let job = if tools::has_nextest() {
        let job = cargo(&["nextest", "run", "--no-fail-fast", "--color=never", "-j1"]);
        job.args(["--package", STORIES, "--test", DESKTOP])
    } else {
        let job = cargo(&["test", "--no-fail-fast", "--package", STORIES, "--test", DESKTOP]);
        job.args(["--", "--test-threads=1"])
    };
    context.run(&with_programs(job).limit(DRIVEN_LIMIT))
}
