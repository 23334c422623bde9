//! The agent stands between a command and its terminal and is not noticed: exit codes, signals, the
//! keyboard, the window's size, scripts on standard input.

use anyhow::{Result, ensure};
use deckport_tests::api::find;
use deckport_tests::feed::assert_same;
use deckport_tests::pty::{COLUMNS, ROWS, Session};
use deckport_tests::wait::LONG;
use deckport_tests::{Agent, Call, Collector, Process, pty};
use std::fs::File;
use std::process::Stdio;

#[test]
fn exit_codes_and_signals_pass_through() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let plain = dir.path().join("not-a-program");
    std::fs::write(&plain, "just text\n")?;
    let cases = [
        ("succeeds", Call::bash("exit 0"), 0, "succeeded"),
        ("one", Call::bash("exit 1"), 1, "failed"),
        ("hundred", Call::bash("exit 100"), 100, "failed"),
        ("highest", Call::bash("exit 255"), 255, "failed"),
        ("terminated", Call::bash("kill -TERM $$"), 128 + 15, "failed"),
        ("killed", Call::bash("kill -KILL $$"), 128 + 9, "failed"),
        ("crashed", Call::bash("ulimit -c 0; kill -SEGV $$"), 128 + 11, "failed"),
        ("not-found", Call::new("deckport-no-such-program"), 127, "failed"),
        ("not-executable", Call::new(&plain), 126, "failed"),
    ];
    for (name, call, code, outcome) in cases {
        let ended = pty::run(&Agent::of(&collector, dir.path(), name).wrap(&call)?, LONG)?;
        ensure!(ended.code() == code, "{name}: {} in place of {code}", ended.code());
        let detail = collector.ended(&collector.find(name)?)?;
        ensure!(detail["summary"]["outcome"] == outcome, "{name}: {}", detail["summary"]);
    }
    Ok(())
}

#[test]
fn the_keyboard_reaches_the_command() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let script = "read -r -p 'Serial number? ' serial; echo \"it is $serial\"";
    let wrap = Agent::of(&collector, dir.path(), "bay-1").wrap(&Call::bash(script))?;
    let session = Session::start(&wrap, None)?;
    session.wait_for("Serial number? ", LONG)?;
    session.type_keys(b"AB-12\r")?;
    let ended = session.finish(LONG)?;
    ensure!(ended.code() == 0, "{}", ended.text());
    ensure!(ended.text().ends_with("it is AB-12\r\n"), "{:?}", ended.text());
    // What was typed was echoed, once, by the command's terminal; so it is part of the record.
    assert_same("logs --raw", &collector.raw(&collector.find("bay-1")?)?, &ended.bytes);
    Ok(())
}

#[test]
fn control_c_reaches_the_command_and_not_the_agent() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let script = "trap 'echo cleaning up; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    let wrap = Agent::of(&collector, dir.path(), "bay-1").wrap(&Call::bash(script))?;
    let session = Session::start(&wrap, None)?;
    session.wait_for("ready", LONG)?;
    session.type_keys(b"\x03")?;
    let ended = session.finish(LONG)?;
    ensure!(ended.code() == 9, "{} {}", ended.code(), ended.text());
    ensure!(ended.text().contains("cleaning up"), "{}", ended.text());
    Ok(())
}

#[test]
fn a_signal_to_the_agent_reaches_the_command() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let mark = dir.path().join("ready");
    let script = format!(
        "trap 'echo told; exit 5' TERM; touch {}; while :; do sleep 0.05; done",
        mark.display()
    );
    let wrap = Agent::of(&collector, dir.path(), "bay-1").wrap(&Call::bash(&script))?;
    let mut process = Process::quiet(&wrap)?;
    deckport_tests::eventually(LONG, "the script runs", || mark.exists().then_some(()))?;
    let pid = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| anyhow::anyhow!("a process id"))?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    ensure!(process.exit(LONG)?.code() == Some(5));
    let detail = collector.ended(&collector.find("bay-1")?)?;
    ensure!(detail["summary"]["outcome"] == "cancelled", "{}", detail["summary"]);
    Ok(())
}

#[test]
fn the_window_s_size_passes_through_and_follows() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let script = "trap 'stty size' WINCH; stty size; read -r -t 30 line; read -r -t 30 line";
    let wrap = Agent::of(&collector, dir.path(), "bay-1").wrap(&Call::bash(script))?;
    let session = Session::start(&wrap, None)?;
    session.wait_for(&format!("{ROWS} {COLUMNS}"), LONG)?;
    session.resize(41, 133)?;
    session.wait_for("41 133", LONG)?;
    session.type_keys(b"\r\r")?;
    session.finish(LONG)?;
    Ok(())
}

#[test]
fn a_long_script_on_standard_input_may_read_the_keyboard() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let mut script = String::from("echo begin\n");
    // Longer than a terminal's line buffer and than a pipe's first read.
    for line in 0..400 {
        script.push_str(&format!("# line {line} of a script that somebody wrote for version 1\n"));
    }
    script.push_str("read -r -p 'Bay? ' bay </dev/tty\necho \"bay $bay\"\n");
    for line in 0..400 {
        script.push_str(&format!("true # and {line} more\n"));
    }
    script.push_str("echo end\nexit 6\n");
    ensure!(script.len() > 3 * 4096);
    let file = dir.path().join("script");
    std::fs::write(&file, &script)?;
    let wrap = Agent::of(&collector, dir.path(), "bay-1").wrap(&Call::new("bash"))?;
    let session = Session::start(&wrap, Some(Stdio::from(File::open(&file)?)))?;
    session.wait_for("Bay? ", LONG)?;
    session.type_keys(b"12\r")?;
    let ended = session.finish(LONG)?;
    ensure!(ended.code() == 6, "{}: {}", ended.code(), ended.text());
    ensure!(ended.text().contains("bay 12\r\nend\r\n"), "{:?}", ended.text());
    assert_same("logs --raw", &collector.raw(&collector.find("bay-1")?)?, &ended.bytes);
    Ok(())
}

#[test]
fn a_script_on_standard_input_without_any_terminal() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let file = dir.path().join("script");
    std::fs::write(&file, format!("echo one\n{}echo two\nexit 8\n", "# filler\n".repeat(2000)))?;
    let wrap = Agent::of(&collector, dir.path(), "bay-1").wrap(&Call::new("bash"))?;
    let output = wrap.command().stdin(File::open(&file)?).output()?;
    ensure!(output.status.code() == Some(8), "{output:?}");
    assert_same("standard output", &output.stdout, b"one\r\ntwo\r\n");
    let raw = collector.raw(&collector.find("bay-1")?)?;
    ensure!(find(&raw, b"one\r\ntwo\r\n").is_some(), "{raw:?}");
    Ok(())
}
