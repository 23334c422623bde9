//! A clean machine becomes a console by the printed line alone, and by no other.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::agent::Process;
use deckport_tests::pty::{Ended, Session};
use deckport_tests::roots::{Root, Venue, can_be_made};
use deckport_tests::wait::{LONG, eventually, eventually_ok};
use deckport_tests::{Call, programs};
use serde_json::Value;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const MINUTES: Duration = Duration::from_secs(180);

/// A collector at the desk of a venue.
struct Desk<'a> {
    venue: &'a Venue,
    dir: TempDir,
    _collector: Process,
}

impl<'a> Desk<'a> {
    fn open(venue: &'a Venue, port: u16) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let agents = dir.path().join("agents");
        std::fs::create_dir(&agents)?;
        std::fs::copy(programs::static_agent()?, agents.join("deckport-agent-x86_64"))?;
        let listen = format!("{}:{port}", venue.desk_ip());
        let call = venue.at_desk(&programs::collector()?);
        let call = call.args(["serve", "--listen", &listen, "--data"]).arg(dir.path());
        let log = std::fs::File::create(dir.path().join("said"))?;
        let mut command = call.command();
        command.stdout(log.try_clone()?).stderr(log);
        let collector = Process::start(&mut command)?;
        let desk = Self { venue, dir, _collector: collector };
        eventually_ok(LONG, "the collector at the desk answers", || {
            desk.json(&["consoles", "--json"])
        })
        .with_context(|| {
            std::fs::read_to_string(desk.dir.path().join("said")).unwrap_or_default()
        })?;
        Ok(desk)
    }

    fn data(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let call = self.venue.at_desk(&programs::collector()?);
        let output = call.args(arguments).arg("--data").arg(self.data()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(arguments)?)?)
    }

    /// A code, and the line to paste.
    fn invite(&self, more: &[&str]) -> Result<(String, String)> {
        let made =
            self.json(&[&["token", "create", "--venue", "My venue", "--json"], more].concat())?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
        Ok((text(&made["code"])?, text(&made["lines"][0]["line"])?))
    }

    fn console(&self, name: &str) -> Result<Option<Value>> {
        let all = self.json(&["consoles", "--json"])?;
        let all = all.as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().find(|console| console["name"] == name))
    }

    fn outcome(&self, name: &str) -> Result<Value> {
        let all = self.json(&["deployments", "--json"])?;
        let all = all.as_array().cloned().unwrap_or_default();
        let run = all.into_iter().find(|run| run["name"] == name).context("no deployment of it")?;
        ensure!(run["state"] == "succeeded", "{run}");
        Ok(run)
    }
}

/// Pastes `line` at the console's terminal and types `code` when it is asked for.
fn paste(venue: &Venue, root: &Root, line: &str, code: &str) -> Result<Ended> {
    let session = Session::start(&venue.at_console(root, line), None)?;
    session.wait_for("Code, as shown", LONG)?;
    session.type_keys(format!("{code}\n").as_bytes())?;
    session.finish(MINUTES)
}

/// Pastes `line`, which must end without asking for anything.
fn refused(venue: &Venue, root: &Root, line: &str, words: &str) -> Result<()> {
    let ended = Session::start(&venue.at_console(root, line), None)?.finish(LONG)?;
    ensure!(ended.text().contains(words), "{}", ended.text());
    ensure!(!ended.text().contains("Code, as shown"), "{}", ended.text());
    ensure!(!root.path().join("var/lib/deckport/identity.json").exists());
    Ok(())
}

fn named(line: &str, name: &str) -> String {
    format!("{line} -s -- --name '{name}'")
}

#[test]
fn a_root_with_only_bash_curl_and_coreutils() -> Result<()> {
    if !can_be_made() {
        return Ok(());
    }
    let venue = Venue::new()?;
    let desk = Desk::open(&venue, 7443)?;
    let root = Root::smallest()?;
    let (code, line) = desk.invite(&["--template", "console", "--ttl", "15m"])?;
    // As short as can be; it ends while other things are tried.
    let (short, _) = desk.invite(&["--ttl", "30s"])?;
    let elsewhere = Desk::open(&venue, 7444)?;
    let (foreign, _) = elsewhere.invite(&[])?;

    let dry = format!("{line} -s -- --dry-run");
    refused(&venue, &root, &dry, "nothing was done")?;
    ensure!(!root.path().join("usr/local/bin/deckport-agent").exists(), "a dry run does nothing");

    // Another collector stands at the address: its key is not the pinned one, and it gets no byte but the greeting.
    let other = wrong_pin(&line);
    let ended =
        Session::start(&venue.at_console(&root, &format!("set -o pipefail; {other}")), None)?
            .finish(LONG)?;
    ensure!(ended.code() == 90, "curl says that the key is wrong: {}", ended.text());

    // The agent is another than the script knows.
    let agent = desk.data().join("agents/deckport-agent-x86_64");
    let script = format!("{} > /tmp/script", line.trim_end_matches(" | bash"));
    let got = Session::start(&venue.at_console(&root, &script), None)?.finish(LONG)?;
    ensure!(got.code() == 0, "{}", got.text());
    let whole = std::fs::read(&agent)?;
    std::fs::write(&agent, [whole.as_slice(), b"x"].concat())?;
    refused(&venue, &root, "bash /tmp/script", "not the agent that this script knows")?;
    std::fs::write(&agent, &whole)?;

    // Codes that let nobody in: each is said why.
    std::fs::write(root.path().join("tmp/code"), "0000-0000-0000")?;
    let with_file = |line: &str| format!("{line} -s -- --name 'Bay 1' --code-file /tmp/code");
    let ended = Session::start(&venue.at_console(&root, &with_file(&line)), None)?.finish(LONG)?;
    ensure!(ended.text().contains("no console may join with this code"), "{}", ended.text());
    let (taken_back, _) = desk.invite(&[])?;
    let tokens = desk.json(&["token", "list", "--json"])?;
    desk.run(&["token", "revoke", tokens[0]["id"].as_str().context("an id")?])?;
    std::fs::write(root.path().join("tmp/code"), taken_back)?;
    let ended = Session::start(&venue.at_console(&root, &with_file(&line)), None)?.finish(LONG)?;
    ensure!(ended.text().contains("taken back by an operator"), "{}", ended.text());

    std::fs::write(root.path().join("tmp/code"), foreign)?;
    let ended = Session::start(&venue.at_console(&root, &with_file(&line)), None)?.finish(LONG)?;
    ensure!(ended.text().contains("no console may join with this code"), "{}", ended.text());
    drop(elsewhere);

    // The line as it was printed, the code typed at the prompt: first wrongly, then as it is shown.
    let session = Session::start(&venue.at_console(&root, &named(&line, "Bay 1")), None)?;
    session.wait_for("Code, as shown", LONG)?;
    session.type_keys(b"1111-1111-1111\n")?;
    session.wait_for("no console may join with this code", LONG)?;
    session.type_keys(format!("{}\n", code.to_lowercase()).as_bytes())?;
    let ended = session.finish(MINUTES)?;
    let text = ended.text();
    ensure!(text.contains("Added to My venue as Bay 1"), "{text}");
    ensure!(text.contains("reached by TLS"), "the checkup ran: {text}");
    ensure!(ended.code() == 0, "{}: {text}", ended.code());
    desk.outcome("Bay 1")?;
    let console = desk.console("Bay 1")?.context("the console is listed")?;
    ensure!(console["standing"] == "enrolled", "{console}");

    // A used code adds nobody.
    std::fs::write(root.path().join("tmp/code"), &code)?;
    let ended = Session::start(&venue.at_console(&root, &with_file(&line)), None)?.finish(LONG)?;
    ensure!(ended.text().contains("was used already"), "{}", ended.text());
    eventually(Duration::from_secs(40), "the short code has ended", || {
        let tokens = desk.json(&["token", "list", "--json"]).ok()?;
        let mut tokens = tokens.as_array()?.iter();
        tokens.any(|token| token["state"] == "expired").then_some(())
    })?;
    std::fs::write(root.path().join("tmp/code"), &short)?;
    let ended = Session::start(&venue.at_console(&root, &with_file(&line)), None)?.finish(LONG)?;
    ensure!(ended.text().contains("this code has expired"), "{}", ended.text());

    // The daemon of a machine without systemd, started by hand; its template has a script now.
    let templates = desk.data().join("templates");
    std::fs::create_dir(&templates)?;
    std::fs::write(
        templates.join("console.sh"),
        "echo '::group::Games'\necho installing the games\n",
    )?;
    let daemon = venue.at_console(&root, "exec deckport-agent serve 2>/tmp/daemon.log");
    let mut daemon = Process::quiet(&daemon)?;
    let id = console["id"].as_str().context("an id")?.to_owned();
    eventually(LONG, "the daemon is linked", || {
        let console = desk.console("Bay 1").ok()??;
        (!console["linked_since"].is_null()).then_some(())
    })
    .with_context(|| {
        std::fs::read_to_string(root.path().join("tmp/daemon.log")).unwrap_or_default()
    })?;

    // Removed by an operator, it is out at once and stays out.
    desk.run(&["revoke", &id])?;
    eventually(Duration::from_secs(5), "the daemon is shut out", || {
        let console = desk.console("Bay 1").ok()??;
        (console["linked_since"].is_null() && console["standing"] == "revoked").then_some(())
    })?;
    let ended =
        Session::start(&venue.at_console(&root, "deckport-agent deploy"), None)?.finish(LONG)?;
    ensure!(ended.text().contains("an operator removed this console"), "{}", ended.text());
    daemon.kill();

    let uninstall = format!("{line} -s -- --uninstall");
    let ended = Session::start(&venue.at_console(&root, &uninstall), None)?.finish(LONG)?;
    ensure!(ended.code() == 0, "{}", ended.text());
    ensure!(!root.path().join("usr/local/bin/deckport-agent").exists());
    ensure!(!root.path().join("var/lib/deckport/identity.json").exists());
    Ok(())
}

/// The line with the pin of another key.
fn wrong_pin(line: &str) -> String {
    let at = line.find("sha256//").unwrap_or(0) + 8;
    let flipped = if line[at..].starts_with('A') { "B" } else { "A" };
    format!("{}{flipped}{}", &line[..at], &line[at + 1..])
}

#[test]
fn debian_12() -> Result<()> {
    debian("bookworm")
}

#[test]
fn debian_13() -> Result<()> {
    debian("trixie")
}

fn debian(release: &str) -> Result<()> {
    if !can_be_made() {
        return Ok(());
    }
    let root = Root::debian(release)?;
    let venue = Venue::new()?;
    let desk = Desk::open(&venue, 7443)?;
    let (code, line) = desk.invite(&["--template", "console"])?;
    let ended = paste(&venue, &root, &named(&line, release), &code)?;
    let text = ended.text();
    ensure!(text.contains("Added to My venue as"), "{text}");
    ensure!(text.contains("The agent starts at the next boot."), "{text}");
    ensure!(ended.code() == 0, "{}: {text}", ended.code());
    desk.outcome(release)?;

    // The machine boots; nobody logs in.
    let machine = boot(&venue, &root)?;
    let linked = eventually(MINUTES, "the daemon is linked after the boot", || {
        let console = desk.console(release).ok()??;
        (!console["linked_since"].is_null()).then_some(console)
    });
    let linked =
        linked.with_context(|| std::fs::read_to_string(booted_log(&root)).unwrap_or_default())?;
    // And obeys: the deployment runs outside of the daemon's own unit.
    std::fs::create_dir(desk.data().join("templates"))?;
    let script =
        "echo '::group::Games'\ntouch /usr/local/games-are-here\necho the games are here\n";
    std::fs::write(desk.data().join("templates/console.sh"), script)?;
    let id = linked["id"].as_str().context("an id")?;
    desk.run(&["order", id, "deploy"])?;
    eventually(LONG, "the ordered deployment succeeds", || {
        let all = desk.json(&["deployments", "--json"]).ok()?;
        let done = |run: &&Value| run["state"] == "succeeded";
        (all.as_array()?.iter().filter(done).count() == 2).then_some(())
    })?;
    ensure!(root.path().join("usr/local/games-are-here").exists(), "it may change the machine");
    upgrade(&desk, &root, &machine, release, &line)
}

/// The line is pasted again while a deployment runs, and the collector has a newer agent.
fn upgrade(desk: &Desk<'_>, root: &Root, machine: &Machine, name: &str, line: &str) -> Result<()> {
    let before = desk.console(name)?.context("the console is listed")?;
    let script = "echo '::group::Slow'\necho begun\n\
         until [ -e /run/go-on ]; do sleep 0.2; done\necho went on\n";
    std::fs::write(desk.data().join("templates/console.sh"), script)?;
    desk.run(&["order", before["id"].as_str().context("an id")?, "deploy"])?;
    let run = eventually(LONG, "a deployment is on its way", || {
        let all = desk.json(&["deployments", "--json"]).ok()?;
        all.as_array()?.iter().find(|run| run["state"] == "running").cloned()
    })?;
    // What runs is not looked at behind its end: the same program, and another file.
    let agent = desk.data().join("agents/deckport-agent-x86_64");
    let newer = [std::fs::read(&agent)?.as_slice(), b"newer"].concat();
    std::fs::write(&agent, &newer)?;
    let upgraded = machine.inside(&format!("{line} -s -- --no-deploy"))?.output()?;
    let said = String::from_utf8_lossy(&upgraded.stderr).into_owned()
        + &String::from_utf8_lossy(&upgraded.stdout);
    ensure!(upgraded.status.success(), "{said}");
    ensure!(said.contains(&format!("Still in My venue as {name}")), "{said}");
    ensure!(std::fs::read(root.path().join("usr/local/bin/deckport-agent"))? == newer);
    let running =
        "cmp /proc/$(systemctl show -P MainPID deckport-agent)/exe /usr/local/bin/deckport-agent";
    eventually(LONG, "the daemon that runs is the newer one, and linked", || {
        let same = machine.inside(running).ok()?.output().ok()?.status.success();
        let console = desk.console(name).ok()??;
        let anew =
            !console["linked_since"].is_null() && console["linked_since"] != before["linked_since"];
        (same && anew).then_some(())
    })?;
    ensure!(desk.console(name)?.context("it is listed")?["id"] == before["id"], "nobody else");
    // The deployment that began under the older one goes on, and all of it arrives.
    let went = machine.inside("touch /run/go-on")?.output()?;
    ensure!(went.status.success());
    let id = run["id"].as_str().context("an id")?;
    eventually(LONG, "the deployment succeeds", || {
        let all = desk.json(&["deployments", "--json"]).ok()?;
        all.as_array()?.iter().find(|run| run["id"] == id && run["state"] == "succeeded").map(drop)
    })?;
    let text = desk.run(&["logs", id])?;
    ensure!(text.contains("begun") && text.contains("went on"), "{text}");
    Ok(())
}

/// A machine that was switched on. Switched off with it: whoever kills nspawn alone leaves the machine running.
struct Machine(Process);

impl Machine {
    /// A line for bash as root in the machine, without a terminal.
    fn inside(&self, line: &str) -> Result<Call> {
        let nspawn = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children"))?;
        let first = children.split_whitespace().next().context("the machine's first process")?;
        let enter = ["--target", first, "--all", "--root", "--wd=/", "/usr/bin/env", "-i"];
        Ok(Call::new("nsenter")
            .args(enter)
            .args(["HOME=/root", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["setsid", "--wait", "bash", "-c", line]))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.0.stop(LONG) {
            eprintln!("the machine was not switched off: {error:#}");
        }
    }
}

fn booted_log(root: &Root) -> PathBuf {
    root.path().with_file_name("booted.log")
}

fn boot(venue: &Venue, root: &Root) -> Result<Machine> {
    let netns = format!("--network-namespace-path={}", venue.console_netns());
    let call = Call::new("systemd-nspawn")
        .args(["--register=no", "--keep-unit", "--boot", "--quiet", "--console=pipe", &netns])
        // What it is told to stop with is the end of it.
        .args(["--kill-signal=SIGKILL", "-D"])
        .arg(root.path());
    let log = std::fs::File::create(booted_log(root))?;
    let mut command = call.command();
    command.stdout(log.try_clone()?).stderr(log);
    Ok(Machine(Process::start(&mut command)?))
}

/// Somebody answers in the collector's place: nothing of the code, or of anything, reaches them.
#[test]
fn a_rogue_in_the_collectors_place_gets_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let code = "7K2M-9QXA-T4VE";
    std::fs::write(dir.path().join("code"), code)?;
    let rogue = TcpListener::bind("127.0.0.1:0")?;
    let address = rogue.local_addr()?;
    let heard = std::thread::spawn(move || -> Result<Vec<u8>> {
        let mut heard = Vec::new();
        // curl, then the agent.
        for _ in 0..2 {
            let (mut stream, _) = rogue.accept()?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let mut some = [0; 4096];
            // It does not answer: what it hears is what was sent unasked.
            while let Ok(length @ 1..) = stream.read(&mut some) {
                heard.extend_from_slice(&some[..length]);
            }
        }
        Ok(heard)
    });
    let pin = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let line = format!(
        "timeout 5 curl -fsSk --proto =https --tlsv1.3 --pinnedpubkey {pin} https://{address}/deploy/console | bash"
    );
    Call::bash(&line).output()?;
    let enrol = Call::new(programs::agent()?)
        .args(["enrol", "--collector", &format!("https://{address}#{pin}"), "--code-file"])
        .arg(dir.path().join("code"))
        .arg("--state")
        .arg(dir.path().join("state"));
    let output = enrol.output()?;
    ensure!(!output.status.success());
    let heard = heard.join().map_err(|_| anyhow::anyhow!("the rogue crashed"))??;
    // Two greetings of TLS and not a byte of anything else: each is one record of a handshake.
    let mut rest = heard.as_slice();
    let mut records = 0;
    while let [22, 3, _, high, low, ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(5 + length..).context("a record is whole")?;
        records += 1;
    }
    ensure!(records == 2 && rest.is_empty(), "{records} records and {} bytes", rest.len());
    let text = String::from_utf8_lossy(&heard).into_owned();
    ensure!(!text.contains("7K2M") && !text.contains("deploy/console"));
    Ok(())
}

/// What a scanner finds of the port's TLS: one version, strong ciphers, nothing that it calls weak.
#[test]
fn a_scanner_finds_nothing_weak() -> Result<()> {
    if !programs::installed("sslscan") {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let collector = deckport_tests::Collector::start(dir.path())?;
    let target = format!("127.0.0.1:{}", collector.port());
    let output = Call::new("sslscan").args(["--no-colour", &target]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for version in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2"] {
        let line = said.lines().find(|line| line.starts_with(version));
        ensure!(line.is_some_and(|line| line.ends_with("disabled")), "{version}: {said}");
    }
    ensure!(
        said.lines().any(|line| line.starts_with("TLSv1.3") && line.ends_with("enabled")),
        "{said}"
    );
    let accepted: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("Accepted") || line.starts_with("Preferred"))
        .collect();
    ensure!(!accepted.is_empty() && accepted.iter().all(|line| line.contains("TLSv1.3")), "{said}");
    for word in ["vulnerable to heartbleed", "NULL", "EXPORT", "RC4", "DES", "MD5", "sha1With"] {
        let weak =
            said.lines().find(|line| line.contains(word) && !line.contains("not vulnerable"));
        ensure!(weak.is_none(), "{weak:?}");
    }
    Ok(())
}
