//! Stories of the command's terminal: what passes through, and how it ends.

#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use pty_process::blocking as pty;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use support::{AGENT, Guard, eventually, only_run, output, raw, spooled, wrap};

#[test]
fn exit_codes_pass_through() {
    let state = tempfile::tempdir().unwrap();
    for (command, code) in [
        (&["true"][..], 0),
        (&["false"][..], 1),
        (&["sh", "-c", "exit 3"][..], 3),
        (&["sh", "-c", "exit 125"][..], 125),
        (&["sh", "-c", "exit 255"][..], 255),
        (&["/etc/passwd"][..], 126),
        (&["no-such-program-here"][..], 127),
    ] {
        let done = output(wrap(state.path(), &[], command));
        assert_eq!(done.status.code(), Some(code), "{command:?}");
    }
    // The agent's own error: there is no place for its state.
    let done = output(wrap(std::path::Path::new("/proc/nowhere"), &[], &["true"]));
    assert_eq!(done.status.code(), Some(125));
}

#[test]
fn signals_end_the_agent_as_they_ended_the_command() {
    let state = tempfile::tempdir().unwrap();
    for signal in [15, 9, 2, 6] {
        let script = format!("kill -{signal} $$");
        let done = output(wrap(state.path(), &[], &["sh", "-c", &script]));
        assert_eq!(done.status.signal(), Some(signal), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn a_script_without_its_first_line_runs() {
    use std::os::unix::fs::PermissionsExt as _;
    let state = tempfile::tempdir().unwrap();
    let script = state.path().join("install");
    std::fs::write(&script, "echo plain $1\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let done = output(wrap(state.path(), &[], &[script.to_str().unwrap(), "script"]));
    assert_eq!(done.stdout, b"plain script\r\n");
}

/// What a PTY reader of our own gets from `command`.
fn independent(command: &[&str]) -> Vec<u8> {
    let (mut master, slave) = pty::open().unwrap();
    let size = pty_process::Size::new(24, 80);
    master.resize(size).unwrap();
    let mut child = pty::Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .spawn(slave)
        .unwrap();
    let mut all = Vec::new();
    // The error is how a PTY ends.
    let _ = master.read_to_end(&mut all);
    child.wait().unwrap();
    all
}

#[test]
fn the_spool_is_byte_exact() {
    let dir = tempfile::tempdir().unwrap();
    let random = dir.path().join("random");
    let mut number = 1u64;
    let bytes: Vec<u8> = (0..300_000)
        .map(|_| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (number >> 56) as u8
        })
        .collect();
    std::fs::write(&random, &bytes).unwrap();
    let long = dir.path().join("long");
    std::fs::write(&long, vec![b'x'; 5_000_000]).unwrap();
    let progress = "i=0; while [ $i -lt 300 ]; do printf '\\r%3d%% done' $i; i=$((i+1)); done";
    for command in [
        &["cat", random.to_str().unwrap()][..],
        &["cat", long.to_str().unwrap()][..],
        &["sh", "-c", progress][..],
        &["printf", "no last line feed"][..],
        &["printf", ""][..],
        &[AGENT, "simulate", "--lines", "20000"][..],
    ] {
        let state = tempfile::tempdir().unwrap();
        let done = output(wrap(state.path(), &[], command));
        assert!(done.status.success());
        let expected = independent(command);
        let recorded = raw(&spooled(&only_run(state.path())));
        assert!(recorded == expected, "{command:?}: {} and {}", recorded.len(), expected.len());
        assert!(done.stdout == expected, "{command:?}: what passed through");
    }
}

#[test]
fn what_runs_on_in_the_background_is_heard_and_survives() {
    let state = tempfile::tempdir().unwrap();
    let done =
        output(wrap(state.path(), &[], &["sh", "-c", "(sleep 0.1; echo late) & echo early"]));
    assert_eq!(done.stdout, b"early\r\nlate\r\n");
    let mark = state.path().join("survived");
    let script = format!("(sleep 1; echo into the void; touch {}) & exit 0", mark.display());
    let done = output(wrap(state.path(), &[], &["sh", "-c", &script]));
    assert!(done.status.success());
    assert!(!mark.exists(), "the agent did not wait for it");
    eventually("the background process lives on", || mark.exists());
}

#[test]
fn masked_values_never_reach_the_spool() {
    let state = tempfile::tempdir().unwrap();
    let script = "echo ::add-mask::hunter2; echo it is hunter2; printf hun; sleep 0.2; echo ter2; \
                  $0 note 'told hunter2'";
    let done = output(wrap(state.path(), &[], &["sh", "-c", script, AGENT]));
    assert!(
        String::from_utf8_lossy(&done.stdout).contains("it is hunter2"),
        "the screen shows all"
    );
    let run = only_run(state.path());
    let recorded = spooled(&run);
    let text = String::from_utf8(raw(&recorded)).unwrap();
    assert_eq!(text, "::add-mask::***\r\nit is ***\r\n***\r\n");
    for entry in std::fs::read_dir(run.dir()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        // The command line holds it in this test; nothing else may.
        if path.extension().is_some_and(|extension| extension == "seg") {
            let found = memchr::memmem::find_iter(&bytes, b"hunter2").count();
            assert_eq!(found, script.matches("hunter2").count(), "in {}", path.display());
        }
    }
}

#[test]
fn secrets_are_masked_without_being_asked_for() {
    let state = tempfile::tempdir().unwrap();
    let key = state.path().join("key.pem");
    let line = "MIIEpAIBAAKCAQEAzq0yT3Uu0Sxkq0Yw5QeFJf1m0y2sWbqkQ0m3nS1tqvJ6hC8r";
    let pem = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{line}\n{line}\nAQAB\n-----END RSA PRIVATE KEY-----\n"
    );
    std::fs::write(&key, pem).unwrap();
    let token = format!("ghp_{}", "0123456789abcdefghijABCDEFGHIJ012345");
    let script = state.path().join("script");
    std::fs::write(
        &script,
        format!(
            "echo \"hello $VENUE_PASSWORD\"; printf '{}'; sleep 0.2; echo '{}'; cat {}\n\
             echo 'db_password: correct7horse'; echo 'connected with correct7horse'\n\
             $1 note 'told correct7horse'; printf 'Continue? '; sleep 0.1; echo yes\n",
            &token[..9],
            &token[9..],
            key.display(),
        ),
    )
    .unwrap();
    let script = script.to_str().unwrap();
    let mut command =
        wrap(state.path(), &[], &["sh", script, AGENT, "--api-token", "zyxw9876vuts"]);
    command.env("VENUE_PASSWORD", "swordfish-42");
    output(command);
    let run = only_run(state.path());
    let recorded = spooled(&run);
    assert_eq!(
        String::from_utf8(raw(&recorded)).unwrap(),
        "hello ***\r\nghp_***\r\n-----BEGIN RSA PRIVATE KEY-----\r\n***\r\n***\r\n***\r\n-----END RSA PRIVATE KEY-----\r\n\
         db_password: ***\r\nconnected with ***\r\nContinue? yes\r\n"
    );
    for entry in std::fs::read_dir(run.dir()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for secret in
            ["swordfish-42", &token[4..], &token[9..], line, "correct7horse", "zyxw9876vuts"]
        {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert!(found.is_none(), "{secret} is in {}", path.display());
        }
    }
    let told = support::events(&recorded).into_iter().rev().find_map(|event| match event {
        deckport_protocol::Event::SecretsMasked { counts } => Some(counts),
        _ => None,
    });
    let kinds = [("environment", 1), ("github", 1), ("named", 4), ("private_key", 1)];
    assert_eq!(told.unwrap(), kinds.map(|(kind, count)| (kind.to_owned(), count)).into());
    // A question was not kept waiting for the rest of its line.
    let question = recorded.iter().any(|record| match &record.body {
        deckport_protocol::Body::Output(output) => {
            &output.bytes[..] == b"Continue? " && output.continues
        }
        deckport_protocol::Body::Event(_) => false,
    });
    assert!(question);
}

#[test]
fn helpers_outside_a_run() {
    let mut phase = Command::new(AGENT);
    phase.args(["phase", "x"]).env_remove("DECKPORT_RUN");
    let done = output(phase);
    assert_eq!(done.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&done.stderr).contains("not part of a run"));
    let mut phase = Command::new(AGENT);
    phase.args(["phase", "--if-running", "x"]).env_remove("DECKPORT_RUN");
    assert!(output(phase).status.success());
}

#[test]
fn without_a_keyboard_a_question_gets_its_end() {
    let state = tempfile::tempdir().unwrap();
    // A session of its own has no terminal.
    let mut command = Command::new("setsid");
    command.args([AGENT, "wrap", "--context", "quick", "--state"]).arg(state.path());
    command.args(["--", "sh", "-c", "read answer < /dev/tty || echo nobody"]).stdin(Stdio::null());
    let done = output(command);
    assert_eq!(done.stdout, b"nobody\r\n");
}

/// The agent at a terminal that the test sits at.
struct Sitting {
    child: Guard,
    keys: std::fs::File,
    shown: Arc<Mutex<Vec<u8>>>,
    size: pty::Pty,
}

fn sit(state: &std::path::Path, stdin: Option<Stdio>, command: &[&str]) -> Sitting {
    let (master, slave) = pty::open().unwrap();
    master.resize(pty_process::Size::new(33, 101)).unwrap();
    let mut agent = pty::Command::new(AGENT)
        .args(["wrap", "--context", "quick", "--state"])
        .arg(state)
        .arg("--")
        .args(command)
        .env_remove("DECKPORT_RUN");
    if let Some(stdin) = stdin {
        agent = agent.stdin(stdin);
    }
    let child: Child = agent.spawn(slave).unwrap();
    let fd = |master: &pty::Pty| {
        std::fs::File::from(std::os::fd::AsFd::as_fd(master).try_clone_to_owned().unwrap())
    };
    let shown = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&shown);
    let mut screen = fd(&master);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read) = screen.read(&mut buffer) {
            if read == 0 {
                break;
            }
            ours.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    });
    Sitting { child: Guard(child), keys: fd(&master), shown, size: master }
}

impl Sitting {
    fn sees(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).contains(text)
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        let deadline = std::time::Instant::now() + support::PATIENCE;
        while !self.sees(text) {
            let shown = String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned();
            assert!(std::time::Instant::now() < deadline, "no {text:?} in {shown:?}");
            deckport_agent::clock::pause(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn keyboard_size_and_ctrl_c_pass_through() {
    let state = tempfile::tempdir().unwrap();
    let script = "test -t 0 && stty size; read name; echo \"hello $name\"; \
                  trap 'stty size; echo resized' WINCH; \
                  trap 'echo interrupted; exit 9' INT; echo ready; \
                  while :; do sleep 0.05; done";
    let mut sitting = sit(state.path(), None, &["sh", "-c", script]);
    sitting.wait_for("33 101");
    sitting.keys.write_all(b"operator\r").unwrap();
    sitting.wait_for("hello operator");
    sitting.wait_for("ready");
    sitting.size.resize(pty_process::Size::new(40, 120)).unwrap();
    sitting.wait_for("40 120");
    sitting.keys.write_all(&[3]).unwrap();
    sitting.wait_for("interrupted");
    assert_eq!(sitting.child.0.wait().unwrap().code(), Some(9));
}

#[test]
fn a_script_on_standard_input_may_ask_the_keyboard() {
    let state = tempfile::tempdir().unwrap();
    let mut script = String::from("printf 'name? '; read name < /dev/tty; echo \"hello $name\"\n");
    while script.len() < 9000 {
        script.push_str(&format!("# line {} of a long installer\n", script.len()));
    }
    script.push_str("echo reached the end; exit 4\n");
    let path = state.path().join("script");
    std::fs::write(&path, script).unwrap();
    // A pipe, as from curl, so that bash reads it byte by byte.
    let mut cat = Command::new("cat").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = Stdio::from(cat.stdout.take().unwrap());
    let mut sitting = sit(state.path(), Some(pipe), &["bash"]);
    sitting.wait_for("name? ");
    sitting.keys.write_all(b"operator\r").unwrap();
    sitting.wait_for("hello operator");
    sitting.wait_for("reached the end");
    assert_eq!(sitting.child.0.wait().unwrap().code(), Some(4));
    cat.wait().unwrap();
}

#[test]
fn the_terminal_gets_its_modes_back() {
    let state = tempfile::tempdir().unwrap();
    let (_master, slave) = pty::open().unwrap();
    let modes = |slave: &pty::Pts| rustix::termios::tcgetattr(slave).unwrap();
    let before = modes(&slave);
    for script in ["exit 0", "kill -9 $$"] {
        let mut agent = pty::Command::new(AGENT)
            .args(["wrap", "--context", "quick", "--state"])
            .arg(state.path())
            .args(["--", "sh", "-c", script]);
        agent.spawn_borrowed(&slave).unwrap().wait().unwrap();
        let after = modes(&slave);
        assert_eq!(after.local_modes, before.local_modes, "{script}");
        assert_eq!(after.output_modes, before.output_modes, "{script}");
    }
}
