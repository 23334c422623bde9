//! A bounded subprocess, which does not outlive the run that asked: a console has better things to do
//! than to simulate an upgrade that nobody waits for.

use crate::clock;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Nobody waits for answers any more.
static OVER: AtomicBool = AtomicBool::new(false);

/// How often a running tool is looked after.
const PERIOD: Duration = Duration::from_millis(10);

/// Ends the tools that still run, soon: call it when their answers come too late.
pub(super) fn stop() {
    OVER.store(true, Ordering::Release);
    // Long enough for each thread that waits for a tool to end it.
    clock::pause(2 * PERIOD);
}

/// More output than this is not read.
const OUTPUT_BYTES: u64 = 4 * 1024 * 1024;

/// What a tool printed on standard output; `Err` says why there is nothing.
pub(super) fn ask(name: &str, arguments: &[&str], within: Duration) -> Result<String, String> {
    let mut child = Command::new(name)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("{name} is not installed"),
            _ => format!("{name} could not be run: {error}"),
        })?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // What was read before an error still counts.
        let _ = stdout.map(|out| out.take(OUTPUT_BYTES).read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let deadline = Instant::now() + within;
    // Exits when the tool has ended, its time is over or nobody waits.
    while matches!(child.try_wait(), Ok(None)) {
        let over = OVER.load(Ordering::Acquire);
        if over || Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            let why = if over {
                "the run ended first".to_owned()
            } else {
                format!("{name} took longer than {} s", within.as_secs())
            };
            return Err(why);
        }
        clock::pause(PERIOD);
    }
    reader.join().map_err(|_| format!("{name}'s output could not be read"))
}
