//! `logs --raw` is what stood at the terminal's master, to the byte.
//!
//! Each case runs twice under a terminal of the tests' own: alone, and under `deckport-agent wrap`.
//! What the terminal showed alone, what it showed with the agent in between, and what the collector
//! gives must be the same.

use anyhow::{Result, ensure};
use deckport_tests::dice::Dice;
use deckport_tests::feed::assert_same;
use deckport_tests::programs::{fixture, installed};
use deckport_tests::wait::LONG;
use deckport_tests::{Agent, Call, Collector, pty};
use std::path::Path;

fn exact(collector: &Collector, dir: &Path, name: &str, call: &Call) -> Result<Vec<u8>> {
    let alone = pty::run(call, LONG)?;
    let agent = Agent::of(collector, dir, name);
    let wrapped = pty::run(&agent.wrap(call)?, LONG)?;
    let tail = String::from_utf8_lossy(&wrapped.bytes[wrapped.bytes.len().saturating_sub(300)..]);
    ensure!(
        wrapped.code() == alone.code(),
        "{name}: {} in place of {}: {tail}",
        wrapped.code(),
        alone.code()
    );
    let id = collector.find(name)?;
    collector.ended(&id)?;
    assert_same(&format!("{name}: logs --raw"), &collector.raw(&id)?, &alone.bytes);
    assert_same(&format!("{name}: the operator's screen"), &wrapped.bytes, &alone.bytes);
    Ok(alone.bytes)
}

#[test]
fn transcripts_of_real_installers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let mut count = 0;
    for entry in std::fs::read_dir(fixture("transcripts"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        exact(&collector, dir.path(), &name, &Call::new("cat").arg(&path))?;
        count += 1;
    }
    ensure!(count >= 3, "only {count} transcripts");
    Ok(())
}

#[test]
fn an_installer_in_the_style_of_version_1() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let call = Call::new("bash")
        .arg(fixture("install-v1.sh"))
        .env("DECKPORT_V1_ROOT", "target")
        .dir(dir.path());
    let first = exact(&collector, dir.path(), "bay-1", &call)?;
    ensure!(first.len() > 8000, "the installer said only {} bytes", first.len());
    Ok(())
}

#[test]
fn output_that_is_hard_to_keep() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let random = dir.path().join("random.bin");
    std::fs::write(&random, Dice::from_environment("random bytes").bytes(1 << 20))?;
    let progress = "for i in $(seq 1 400); do printf '\\rDownloading %3d%%  [%-40s]' $((i / 4)) \
                    \"$(printf '#%.0s' $(seq 1 $((i / 10 + 1))))\"; done; echo; echo done";
    let cases = [
        ("random", Call::new("cat").arg(&random)),
        ("long-line", Call::bash("head -c 5000000 /dev/zero | tr '\\0' x; echo; echo after")),
        ("progress", Call::bash(progress)),
        ("no-last-newline", Call::bash("echo first; printf 'no newline at the end'")),
        ("nothing", Call::new("true")),
        ("only-newlines", Call::bash("printf '\\n\\n\\n'")),
        ("half-a-character", Call::bash("printf 'gr\\303'; sleep 0.1; printf '\\274n\\n'")),
        ("broken-utf8", Call::bash("printf '\\377\\376 \\303( \\360\\237 end\\n\\0\\0x\\n'")),
        ("escapes", Call::bash("printf '\\033[31;1mred\\033[0m \\033]0;title\\007 \\033[2Jx\\n'")),
        ("slow", Call::bash("for i in 1 2 3; do printf \"$i \"; sleep 0.05; done; echo")),
    ];
    for (name, call) in cases {
        exact(&collector, dir.path(), name, &call)?;
    }
    Ok(())
}

/// Alone under a terminal the end of the session's leader would hang up on what it left behind. The agent keeps the
/// terminal a moment longer, as a shell that stays does.
#[test]
fn what_the_command_leaves_in_the_background_is_kept_too() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let call = Call::bash("(sleep 0.1; echo late) & echo early");
    let ended = pty::run(&Agent::of(&collector, dir.path(), "bay-1").wrap(&call)?, LONG)?;
    ensure!(ended.code() == 0, "{}", ended.code());
    let id = collector.find("bay-1")?;
    collector.ended(&id)?;
    assert_same("logs --raw", &collector.raw(&id)?, b"early\r\nlate\r\n");
    assert_same("the operator's screen", &ended.bytes, b"early\r\nlate\r\n");
    Ok(())
}

#[test]
fn a_program_that_fills_the_screen() -> Result<()> {
    if !installed("python3") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let call = Call::new("python3").arg(fixture("full-screen.py"));
    let bytes = exact(&collector, dir.path(), "bay-1", &call)?;
    ensure!(bytes.len() > 2000, "the program drew only {} bytes", bytes.len());
    Ok(())
}
