//! Ten real failures: the deployment's failure points at the line that says why.

use crate::installers::package;
use anyhow::{Context as _, Result, ensure};
use deckport_tests::programs::installed;
use deckport_tests::wait::LONG;
use deckport_tests::{Agent, Call, Collector, pty};
use std::path::Path;

/// What every script prints before it fails: progress, and words that only look like errors.
const BEFORE: &str = "echo '--- Prepare'
echo 'Unpacking libgpg-error0:amd64 (1.46-1) ...'
echo '0 errors, 0 warnings'
echo 'W: Some index files are old'
echo '--- Install'
echo 'Checking error_handling ... ok'
";

struct Case {
    name: &'static str,
    script: String,
    /// Part of the failing line.
    line: &'static str,
    code: i32,
}

fn case(name: &'static str, script: impl Into<String>, line: &'static str, code: i32) -> Case {
    Case { name, script: script.into(), line, code }
}

fn cases(dir: &Path) -> Result<Vec<Case>> {
    let mut cases = vec![
        case(
            "set-e",
            "set -e\necho copying\ncp /nonexistent/game.dat /tmp/\necho never",
            "cp: cannot stat '/nonexistent/game.dat': No such file or directory",
            1,
        ),
        case(
            "command-not-found",
            "set -e\necho configuring\nfrobnicate-the-display --mode 4k\necho never",
            "frobnicate-the-display: command not found",
            127,
        ),
        case(
            "no-space",
            "set -e\necho unpacking\ndd if=/dev/zero of=/dev/full bs=4k count=4\necho never",
            "dd: error writing '/dev/full': No space left on device",
            1,
        ),
        case(
            "out-of-memory",
            "set -e\necho loading\n(ulimit -v 100000; x=$(head -c 300000000 /dev/zero | tr '\\0' x))",
            "cannot allocate",
            2,
        ),
        case(
            "signal",
            "echo 'Flashing firmware, do not turn the console off'\nkill -9 $$",
            "Flashing firmware, do not turn the console off",
            128 + 9,
        ),
        case(
            "time-out",
            "echo 'Waiting for the game server'\ntimeout 0.3 sleep 60 || {\n\
             echo \"install.sh: the game server timed out\" >&2; exit 124; }",
            "install.sh: the game server timed out",
            124,
        ),
    ];
    if installed("apt-get") {
        let script = "apt-get install -s -y deckport-no-such-package";
        let line = "E: Unable to locate package deckport-no-such-package";
        cases.push(case("apt", script, line, 100));
    }
    if installed("dpkg-deb") {
        let fails = "echo registering the card reader\nexit 7";
        let (call, _) = package(dir, "deckport-broken", fails)?;
        let arguments: Vec<_> =
            call.arguments.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let script = format!("dpkg {}", arguments.join(" "));
        cases.push(case("dpkg", script, "dpkg: error processing package deckport-broken", 1));
    }
    if installed("python3")
        && Call::new("python3").args(["-m", "pip", "--version"]).output()?.status.success()
    {
        let script = "python3 -m pip install --no-index deckport-no-such-thing";
        let line = "ERROR: Could not find a version that satisfies the requirement";
        cases.push(case("pip", script, line, 1));
    }
    if installed("npm") {
        let cache = dir.join("npm").display().to_string();
        let script = format!(
            "cd {}; npm_config_cache={cache} npm install --offline --no-audit ./absent.tgz",
            dir.display()
        );
        cases.push(case("npm", script, "npm error code ENOENT", 254));
    }
    Ok(cases)
}

#[test]
fn ten_real_failures_point_at_the_line_that_says_why() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let api = collector.api()?;
    let mut wrong = Vec::new();
    for case in cases(dir.path())? {
        let call = Call::bash(&format!("{BEFORE}{}", case.script))
            .env_remove("PIP_FIND_LINKS")
            .env("LC_ALL", "C.UTF-8");
        let ended = pty::run(&Agent::of(&collector, dir.path(), case.name).wrap(&call)?, LONG)?;
        ensure!(ended.code() == case.code, "{}: {} {}", case.name, ended.code(), ended.text());
        let id = collector.find(case.name)?;
        let detail = collector.ended(&id)?;
        let failure = &detail["summary"]["failure"];
        let row = failure["row"].as_u64().with_context(|| format!("{}: {failure}", case.name))?;
        let page = api.json(&format!("/api/v1/deployments/{id}/rows?from={row}&count=1"))?;
        let text = page["rows"][0]["text"].as_str().unwrap_or_default();
        if !text.contains(case.line) {
            wrong.push(format!("{}: {text:?} in place of {:?}", case.name, case.line));
        }
        // The link that a notification carries leads to the same place.
        let seq = failure["seq"].as_u64().context("a seq")?;
        let located = api.json(&format!("/api/v1/deployments/{id}/locate?seq={seq}"))?;
        ensure!(located["row"] == row, "{}: seq {seq} is {located}, not row {row}", case.name);
        ensure!(failure["phase"] == 1, "{}: in phase {}", case.name, failure["phase"]);
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
