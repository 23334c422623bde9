//! Stories of recorder, uplink and collector.

#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use deckport_protocol::event::Event;
use deckport_protocol::message::{ErrorMessage, Order, OrderKind};
use deckport_protocol::{ErrorCode, OrderId, Outcome};
use rustix::process::{Pid, Signal, kill_process};
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{
    AGENT, Guard, TestCollector, events, eventually, only_run, output, raw, spooled, wrap,
};

fn outcome(events: &[Event]) -> Outcome {
    match events.last() {
        Some(Event::DeploymentFinished { outcome, .. }) => *outcome,
        other => panic!("ends with {other:?}"),
    }
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The process of this run's uplink.
fn uplinks(state: &std::path::Path) -> Vec<Pid> {
    let of = |entry: std::fs::DirEntry| -> Option<Pid> {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let ours = line.contains("uplink") && line.contains(state.to_str()?);
        if ours { Pid::from_raw(pid) } else { None }
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| of(entry.ok()?)).collect()
}

#[test]
fn a_run_is_streamed_and_then_forgotten() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    let script = format!(
        "echo one; {AGENT} phase 'Install it'; printf 'two\\nthree'; {AGENT} note hello; \
         {AGENT} progress 40 halfway; {AGENT} step unpack; exit 7"
    );
    let url = collector.url();
    let done = output(wrap(
        state.path(),
        &["--collector", &url, "--name", "Bay 12", "--template", "t"],
        &["sh", "-c", &script],
    ));
    assert_eq!(done.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "one\r\ntwo\r\nthree");
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    let stored = collector.only();
    assert_eq!(raw(&stored.records), b"one\r\ntwo\r\nthree");
    let kinds: Vec<String> = stored
        .records
        .iter()
        .map(|record| match &record.body {
            deckport_protocol::Body::Output(output) => {
                String::from_utf8_lossy(&output.bytes).into_owned()
            }
            deckport_protocol::Body::Event(text) => {
                let value: serde_json::Value = serde_json::from_str(text.as_str()).unwrap();
                value["kind"].as_str().unwrap().to_owned()
            }
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "deployment_started",
            "one\r\n",
            "phase_started",
            "two\r\n",
            "three",
            "note",
            "step_started",
            "deployment_finished"
        ]
    );
    let events = events(&stored.records);
    assert!(matches!(&events[0], Event::DeploymentStarted { console_name, template, context, .. }
        if console_name == "Bay 12" && template.as_deref() == Some("t") && context["memory"].is_object()));
    assert_eq!(outcome(&events), Outcome::Failed);
    assert_eq!(std::fs::read_dir(state.path().join("runs")).unwrap().count(), 0);
}

#[test]
fn links_that_break_lose_and_repeat_nothing() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    collector.cut_every(3);
    let url = collector.url();
    let options = ["--collector", url.as_str(), "--linger", "60"];
    let command = [AGENT, "simulate", "--lines", "20000", "--seed", "3"];
    let done = output(wrap(state.path(), &options, &command));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let expected = output({
        let mut plain = Command::new(AGENT);
        plain.args(&command[1..]);
        plain
    });
    let expected = String::from_utf8(expected.stdout).unwrap().replace('\n', "\r\n");
    let stored = collector.only();
    assert!(stored.hellos.len() > 20, "the link broke {} times", stored.hellos.len());
    assert!(raw(&stored.records) == expected.as_bytes());
    assert!(stored.ended());
}

#[test]
fn killed_uplinks_lose_nothing() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    let url = collector.url();
    let command = [AGENT, "simulate", "--lines", "3000", "--rate", "1500"];
    let mut child = wrap(state.path(), &["--collector", &url, "--linger", "60"], &command);
    let mut child = Guard(child.stdout(Stdio::null()).spawn().unwrap());
    let mut killed = 0;
    while child.0.try_wait().unwrap().is_none() {
        for pid in uplinks(state.path()) {
            killed += usize::from(kill_process(pid, Signal::KILL).is_ok());
        }
        deckport_agent::clock::pause(Duration::from_millis(300));
        if killed >= 5 {
            break;
        }
    }
    assert!(child.0.wait().unwrap().success());
    assert!(killed >= 3, "killed {killed}");
    let stored = collector.only();
    assert!(stored.ended());
    let lines = raw(&stored.records).iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(lines, 3005);
}

#[test]
fn a_killed_recorder_ends_as_interrupted() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    let url = collector.url();
    let mut child =
        wrap(state.path(), &["--collector", &url], &["sh", "-c", "echo first; sleep 60"]);
    let mut child = Guard(child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("the first line arrives", || {
        collector.all().first().is_some_and(|stored| raw(&stored.records) == b"first\r\n")
    });
    child.0.kill().unwrap();
    eventually("the run ends", || collector.only().ended());
    assert_eq!(outcome(&events(&collector.only().records)), Outcome::Interrupted);
    eventually("the run is forgotten", || {
        std::fs::read_dir(state.path().join("runs")).unwrap().count() == 0
    });
}

#[test]
fn recorder_and_uplink_killed_and_the_next_run_delivers() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    let url = collector.url();
    let options = ["--collector", url.as_str()];
    let mut child = wrap(state.path(), &options, &["sh", "-c", "echo first; sleep 60"]);
    let mut child = Guard(child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("the first line arrives", || {
        collector.all().first().is_some_and(|stored| raw(&stored.records) == b"first\r\n")
    });
    let uplink = uplinks(state.path());
    child.0.kill().unwrap();
    for pid in uplink {
        let _ = kill_process(pid, Signal::KILL);
    }
    child.0.wait().unwrap();
    let done = output(wrap(state.path(), &options, &["echo", "second"]));
    assert!(done.status.success());
    eventually("both runs end", || {
        let all = collector.all();
        all.len() == 2 && all.iter().all(support::Stored::ended)
    });
    let interrupted = collector
        .all()
        .into_iter()
        .filter(|stored| outcome(&events(&stored.records)) == Outcome::Interrupted)
        .count();
    assert_eq!(interrupted, 1);
}

#[test]
fn an_absent_collector_gets_everything_later() {
    let state = tempfile::tempdir().unwrap();
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let url = format!("http://{address}");
    let options = ["--collector", url.as_str(), "--linger", "0"];
    let done = output(wrap(state.path(), &options, &["sh", "-c", "echo kept; exit 3"]));
    assert_eq!(done.status.code(), Some(3));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("will be delivered by `deckport-agent flush`"), "{said}");
    assert!(said.contains("could not be reached"), "{said}");
    let flush = || {
        let mut flush = Command::new(AGENT);
        flush.args(["flush", "--patience", "1", "--state"]).arg(state.path());
        flush.env_remove("DECKPORT_COLLECTOR");
        output(flush)
    };
    eventually("the uplink of the run lets go, and flush says that it is still kept", || {
        flush().status.code() == Some(125)
    });
    let collector = TestCollector::start_at(address);
    eventually("flush delivers", || flush().status.success());
    assert_eq!(raw(&collector.only().records), b"kept\r\n");
    assert!(collector.only().ended());
}

#[test]
fn what_cannot_be_noted_is_delivered_all_the_same() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    let url = collector.url();
    let options = ["--collector", &url, "--linger", "20"];
    // As on a full disk: no note of what the collector has can be written.
    let script = r#"mkdir "${DECKPORT_RUN%/*}/acked.new"; for i in 1 2 3 4; do echo $i; sleep 1; done; exit 9"#;
    let done = output(wrap(state.path(), &options, &["sh", "-c", script]));
    assert_eq!(done.status.code(), Some(9), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(raw(&collector.only().records), b"1\r\n2\r\n3\r\n4\r\n");
    assert!(collector.only().ended());
    assert_eq!(collector.connections(), 1, "the link was kept");
}

#[test]
fn an_uplink_whose_run_was_removed_ends() {
    let state = tempfile::tempdir().unwrap();
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let mut child = wrap(state.path(), &["--collector", &url], &["sleep", "60"]);
    let mut child = Guard(child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("there is an uplink", || uplinks(state.path()).len() == 1);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let dir = only_run(state.path()).dir().to_owned();
    // The uplink may be writing the run's end at this moment.
    eventually("the run is removed", || {
        let _ = std::fs::remove_dir_all(&dir);
        !dir.exists()
    });
    eventually("the uplink ends", || uplinks(state.path()).is_empty());
}

#[test]
fn an_operator_cancels() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    let url = collector.url();
    // It ignores the interruption, so that the order must go on to TERM.
    let script = "trap '' INT; echo ready; while :; do sleep 0.05; done";
    let mut child = wrap(state.path(), &["--collector", &url], &["sh", "-c", script]);
    let mut child = Guard(child.stdout(Stdio::null()).spawn().unwrap());
    eventually("the command is ready", || {
        collector.all().first().is_some_and(|stored| raw(&stored.records) == b"ready\r\n")
    });
    let order_id = OrderId::new();
    collector.order(Order { order_id, order: OrderKind::Cancel { grace_ms: 200 } });
    let status = child.0.wait().unwrap();
    assert!(!status.success());
    let events = events(&collector.only().records);
    assert!(events.iter().any(|event| matches!(event,
        Event::OrderResult { order_id: id, accepted: true, .. } if *id == order_id)));
    assert_eq!(outcome(&events), Outcome::Cancelled);
}

#[test]
fn a_collector_that_holds_something_else_is_noticed() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    collector.lie_about_chain();
    let url = collector.url();
    let done = output(wrap(state.path(), &["--collector", &url], &["echo", "x"]));
    assert!(done.status.success());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("chain differs"), "{said}");
    assert_eq!(raw(&spooled(&only_run(state.path()))), b"x\r\n");
}

#[test]
fn a_refusal_is_told_once_and_does_not_stop_the_command() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    collector.refuse(ErrorMessage {
        code: ErrorCode::UNSUPPORTED_VERSION,
        message: "this collector speaks version 9".into(),
        retryable: false,
        acked_seq: None,
    });
    let url = collector.url();
    let begun = Instant::now();
    let done = output(wrap(state.path(), &["--collector", &url], &["echo", "x"]));
    assert!(begun.elapsed() < Duration::from_secs(8), "a final refusal is not waited for");
    assert!(done.status.success());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(said.matches("version 9").count(), 1, "{said}");
    assert_eq!(collector.connections(), 1, "no second try");
}

#[test]
fn a_collector_that_greets_and_takes_nothing_is_not_hammered() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    collector.full(true);
    let url = collector.url();
    let mut wrap = wrap(state.path(), &["--collector", &url], &["echo", "x"]);
    let mut child = Guard(wrap.stdout(Stdio::null()).spawn().unwrap());
    let begun = Instant::now();
    eventually("it tries again and again", || collector.connections() >= 6);
    // Pauses double from 100 ms, so five of them are 3 s, more or less. If a greeting counted as progress it were half a second.
    assert!(begun.elapsed() > Duration::from_millis(1200), "{:?}", begun.elapsed());
    collector.full(false);
    assert!(child.0.wait().unwrap().success());
    assert_eq!(raw(&collector.only().records), b"x\r\n");
}

#[test]
fn who_is_tired_of_waiting_leaves_it_to_later() {
    let state = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let options = ["--collector", &url, "--linger", "600"];
    let mut wrap = wrap(state.path(), &options, &["sh", "-c", "echo x; exit 7"]);
    let mut child = wrap.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut child = Guard(child);
    let mut line = String::new();
    while !line.contains("Ctrl-C") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it says that it waits");
    }
    kill(&child.0, Signal::INT);
    assert_eq!(child.0.wait().unwrap().code(), Some(7), "it ends as the command did");
    assert_eq!(outcome(&events(&spooled(&only_run(state.path())))), Outcome::Failed);
}

#[test]
fn an_address_elsewhere_and_a_missing_token_do_not_stop_the_command() {
    let state = tempfile::tempdir().unwrap();
    let elsewhere = ["--collector", "http://192.0.2.7:7443"];
    let done = output(wrap(state.path(), &elsewhere, &["echo", "x"]));
    assert!(done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("cross the network in the clear"));
    let collector = TestCollector::start();
    let url = collector.url();
    let options = ["--collector", &url, "--token-file", "/nonexistent", "--linger", "1"];
    let done = output(wrap(state.path(), &options, &["echo", "y"]));
    assert!(done.status.success());
    assert_eq!(done.stdout, b"y\r\n");
    assert!(String::from_utf8_lossy(&done.stderr).contains("/nonexistent"), "it says why");
}

#[test]
fn terminated_from_outside() {
    let state = tempfile::tempdir().unwrap();
    let collector = TestCollector::start();
    let url = collector.url();
    let mut child = wrap(state.path(), &["--collector", &url], &["sh", "-c", "echo up; sleep 60"]);
    let mut child = Guard(child.stdout(Stdio::null()).spawn().unwrap());
    eventually("the command is up", || {
        collector.all().first().is_some_and(|stored| raw(&stored.records) == b"up\r\n")
    });
    kill(&child.0, Signal::TERM);
    let status = child.0.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    assert_eq!(outcome(&events(&collector.only().records)), Outcome::Cancelled);
}

#[test]
fn half_made_and_unreadable_runs_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    let made = |name: &str, file: &str| {
        let run = runs.join(name);
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join(file), "").unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(300);
        std::fs::File::open(&run).unwrap().set_modified(old).unwrap();
    };
    made("given-up", "lock");
    made("lost-its-description", "00000001.seg");
    std::fs::create_dir(runs.join("just-being-made")).unwrap();
    let flushed = Command::new(AGENT).arg("flush").arg("--state").arg(dir.path()).output().unwrap();
    assert_eq!(flushed.status.code(), Some(125));
    let said = String::from_utf8_lossy(&flushed.stderr);
    assert!(said.contains("lost-its-description: kept; what it is cannot be read"), "{said}");
    let mut left: Vec<_> = std::fs::read_dir(&runs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["just-being-made", "lost-its-description"]);
}
