//! Nothing is lost, repeated or reordered, whatever dies.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::api::find;
use deckport_tests::dice::Dice;
use deckport_tests::faults::{self, Plan};
use deckport_tests::feed::{Feed, assert_same};
use deckport_tests::proxy::Proxy;
use deckport_tests::viewer::{Habit, Viewer};
use deckport_tests::wait::{LONG, eventually};
use deckport_tests::{Agent, Call, Collector, Process, agent, spool};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Command, Stdio};

fn quiet(call: &Call) -> Result<Process> {
    Process::quiet(call)
}

fn kill(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

/// The run that `agent` keeps, once it has at least `lines` complete lines of output on disk.
fn spooled_lines(agent: &Agent, lines: usize) -> Result<spool::Spooled> {
    eventually(LONG, &format!("{lines} lines are on the console's disk"), || {
        let spooled = spool::read(agent.runs().first()?).ok()?;
        let feeds = spooled.output.iter().filter(|&&byte| byte == b'\n').count();
        (feeds >= lines).then_some(spooled)
    })
}

#[test]
fn kills_and_cuts_at_random_lose_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut dice = Dice::from_environment("faults");
    let plan = Plan { kills: 30, records: 60_000, consoles: 2 }.from_environment();
    let report = faults::run(plan, dir.path(), &mut dice)?;
    println!("{report:?}");
    ensure!(report.faults() >= plan.kills, "only {} faults", report.faults());
    ensure!(report.collectors_killed > 0 && report.links_cut > 0, "the dice fell oddly");
    Ok(())
}

#[test]
fn a_killed_recorder_leaves_everything_spooled_and_an_interrupted_run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let proxy = Proxy::start(collector.port())?;
    let mut agent = Agent::of(&collector, dir.path(), "bay-1");
    agent.url = Some(proxy.url());
    let mut feed = Feed::new(dir.path(), "bay-1")?;
    let mut child = quiet(&agent.wrap(&feed.command())?)?;
    feed.lines(10)?;
    let id = collector.find("bay-1")?;
    // Nothing more reaches the collector before the recorder is dead.
    proxy.stall(true);
    feed.lines(5000)?;
    spooled_lines(&agent, 3000)?;
    let run = agent.runs().pop().context("the run's directory")?;
    child.kill();
    let kept = spool::read(&run)?;
    proxy.cut();
    proxy.stall(false);

    let detail = collector.ended(&id)?;
    ensure!(detail["summary"]["outcome"] == "interrupted", "{}", detail["summary"]);
    let raw = collector.raw(&id)?;
    // What the collector acknowledged before may have been deleted from the spool.
    ensure!(raw.ends_with(&kept.output), "what was spooled did not arrive whole");
    ensure!(raw.len() >= kept.output.len());
    ensure!(feed.expected().starts_with(&raw), "something else arrived");
    eventually(LONG, "the spool is removed", || agent.runs().is_empty().then_some(()))?;
    Ok(())
}

#[test]
fn a_console_that_lost_both_processes_delivers_by_flush() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut collector = Collector::start(dir.path().join("collector"))?;
    let agent = Agent::of(&collector, dir.path(), "bay-1");
    let mut feed = Feed::new(dir.path(), "bay-1")?;
    let mut child = quiet(&agent.wrap(&feed.command())?)?;
    feed.lines(100)?;
    let id = collector.find("bay-1")?;
    collector.kill();
    feed.lines(2000)?;
    spooled_lines(&agent, 1000)?;
    for uplink in agent::children(child.id(), "uplink") {
        kill(uplink)?;
    }
    child.kill();
    let kept = spool::read(agent.runs().first().context("the run")?)?;
    collector.launch()?;
    let flushed = agent.flush()?.output()?;
    ensure!(flushed.status.success(), "{flushed:?}");
    let detail = collector.ended(&id)?;
    ensure!(detail["summary"]["outcome"] == "interrupted", "{}", detail["summary"]);
    let raw = collector.raw(&id)?;
    ensure!(raw.ends_with(&kept.output) && feed.expected().starts_with(&raw));
    ensure!(agent.runs().is_empty(), "flush left the run behind");
    Ok(())
}

#[test]
fn a_collector_absent_for_the_whole_run_gets_it_by_flush() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut collector = Collector::at(dir.path().join("collector"));
    let mut agent = Agent::of(&collector, dir.path(), "bay-1");
    agent.linger = 0;
    let script = "for i in $(seq 1 500); do echo \"line $i\"; done; exit 7";
    let output = agent.wrap(&Call::bash(script))?.output()?;
    ensure!(output.status.code() == Some(7), "{output:?}");
    ensure!(agent.runs().len() == 1, "nothing was kept");
    // Still absent: flush says so and keeps it.
    let flushed = agent.flush()?.arg("--patience").arg("1").output()?;
    ensure!(flushed.status.code() == Some(125), "{flushed:?}");

    collector.launch()?;
    let flushed = agent.flush()?.output()?;
    ensure!(flushed.status.success(), "{flushed:?}");
    let id = collector.find("bay-1")?;
    let detail = collector.ended(&id)?;
    ensure!(detail["summary"]["outcome"] == "failed", "{}", detail["summary"]);
    ensure!(detail["summary"]["failure"]["exit"]["code"] == 7, "{}", detail["summary"]);
    assert_same("logs --raw", &collector.raw(&id)?, &output.stdout);
    ensure!(agent.runs().is_empty(), "flush left the run behind");
    Ok(())
}

#[test]
fn the_next_run_delivers_what_an_earlier_one_kept() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut collector = Collector::at(dir.path().join("collector"));
    let mut agent = Agent::of(&collector, dir.path(), "bay-1");
    agent.linger = 0;
    let first = agent.wrap(&Call::bash("echo first; exit 3"))?.output()?;
    ensure!(first.status.code() == Some(3), "{first:?}");
    collector.launch()?;
    agent.linger = 30;
    let second = agent.wrap(&Call::bash("echo second; sleep 1"))?.output()?;
    ensure!(second.status.success(), "{second:?}");
    let both = eventually(LONG, "both runs are there, ended", || {
        let list = collector.deployments().ok()?;
        let ended = list.iter().filter(|entry| !entry["outcome"].is_null()).count();
        (ended == 2).then_some(list)
    })?;
    for entry in both {
        let id = entry["id"].as_str().context("an id")?;
        let expected = if entry["outcome"] == "failed" { "first\r\n" } else { "second\r\n" };
        assert_same("logs --raw", &collector.raw(id)?, expected.as_bytes());
    }
    Ok(())
}

/// A small file system of its own; `None` where this user may not mount one.
struct Small {
    dir: std::path::PathBuf,
}

impl Small {
    fn mount(dir: &Path, megabytes: u32) -> Result<Option<Self>> {
        std::fs::create_dir_all(dir)?;
        let mounted = rustix::process::geteuid().is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "deckport-test"])
                .arg(dir)
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            println!("left out: a small file system cannot be mounted here");
        }
        Ok(mounted.then(|| Self { dir: dir.to_owned() }))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still hold it for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

#[test]
fn a_full_disk_of_the_collector_refuses_loudly_and_heals() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("collector");
    let Some(_small) = Small::mount(&data, 24)? else { return Ok(()) };
    let mut collector = Collector::start(&data)?;
    let agent = Agent::of(&collector, dir.path(), "bay-1");
    let mut feed = Feed::new(dir.path(), "bay-1")?;
    let mut child = quiet(&agent.wrap(&feed.command())?)?;
    feed.lines(10)?;
    let id = collector.find("bay-1")?;
    let viewer = Viewer::start(collector.api()?, &id, Habit::default());
    // Leave a megabyte.
    let free = rustix::fs::statvfs(&data)?;
    let ballast = data.join("ballast");
    let fill = (free.f_bavail * free.f_frsize).saturating_sub(1 << 20) as usize;
    std::fs::write(&ballast, vec![1; fill])?;
    feed.lines(60_000)?;
    let other = Agent::of(&collector, dir.path(), "bay-2");
    eventually(LONG, "the collector says that it is not ready", || {
        (collector.api().ok()?.get("/readyz").ok()?.status == 503).then_some(())
    })?;
    let stuck = viewer.cursor();
    ensure!(viewer.output_bytes() < feed.expected().len(), "the disk was not full after all");
    // The installation goes on meanwhile, and another one can begin.
    feed.lines(1000)?;
    let mut second = quiet(&other.wrap(&Call::bash("echo begun; exit 0"))?)?;
    ensure!(collector.runs(), "the collector died: {}", collector.log());

    // One that starts on a full disk cannot fold anything in, and shows all that it has.
    collector.kill();
    collector.spawn()?;
    eventually(LONG, "a collector starts on a full disk", || {
        let alive = collector.api().ok()?.get("/healthz").ok()?.status == 200;
        alive.then_some(())
    })
    .with_context(|| collector.log())?;
    ensure!(collector.log().contains("what is stored can be read"), "{}", collector.log());
    let kept = collector.raw(&id)?;
    ensure!(kept.len() >= viewer.output_bytes(), "what was shown before is not there");
    assert_same("logs --raw on a full disk", &kept, &feed.expected()[..kept.len()]);

    std::fs::remove_file(&ballast)?;
    eventually(LONG, "records flow again", || (viewer.cursor() > stuck).then_some(()))?;
    feed.close();
    let status = child.exit(LONG)?;
    ensure!(status.success(), "{status}");
    ensure!(second.exit(LONG)?.success());
    let seen = viewer.finish(LONG)?;
    assert_same("the viewer", &seen.output, feed.expected());
    assert_same("logs --raw", &collector.raw(&id)?, feed.expected());
    ensure!(find(&collector.raw(&collector.find("bay-2")?)?, b"begun").is_some());
    collector.stop()
}

#[test]
fn a_full_disk_of_the_console_leaves_a_gap_and_no_lie() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut collector = Collector::at(dir.path().join("collector"));
    let mut agent = Agent::of(&collector, dir.path(), "bay-1");
    agent.options = vec!["--spool-limit".to_owned(), "1M".to_owned()];
    agent.linger = 0;
    // Five megabytes while nobody takes any of it.
    let script = "seq -f 'line %012.0f of a long installation' 1 120000; exit 4";
    let output = agent.wrap(&Call::bash(script))?.output()?;
    ensure!(output.status.code() == Some(4), "{:?}", output.status);
    collector.launch()?;
    let flushed = agent.flush()?.output()?;
    ensure!(flushed.status.success(), "{flushed:?}");
    let id = collector.find("bay-1")?;
    let detail = collector.ended(&id)?;
    let summary = &detail["summary"];
    // One hole; an event that came meanwhile (what is known of the machine) stands in it and makes two of it.
    let gaps = summary["gaps"].as_u64().context("gaps")?;
    ensure!(summary["outcome"] == "failed" && (1..=2).contains(&gaps), "{summary}");
    let raw = collector.raw(&id)?;
    let missing = summary["missing_bytes"].as_u64().context("missing_bytes")?;
    ensure!(raw.len() as u64 + missing == output.stdout.len() as u64, "{summary}");
    // What is there is the beginning and, behind a hole, perhaps a few lines more: whole ones, in order.
    let mut printed = output.stdout.split_inclusive(|&byte| byte == b'\n');
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        ensure!(printed.any(|one| one == line.as_bytes()), "{line:?} was not printed there");
    }
    Ok(())
}

#[test]
fn the_installation_does_not_notice_a_dead_link() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let proxy = Proxy::start(collector.port())?;
    let mut agent = Agent::of(&collector, dir.path(), "bay-1");
    agent.url = Some(proxy.url());
    let mut feed = Feed::new(dir.path(), "bay-1")?;
    let mut child = quiet(&agent.wrap(&feed.command())?)?;
    feed.lines(10)?;
    let id = collector.find("bay-1")?;
    // Half open: neither side is told. The command prints on, as fast as ever.
    proxy.stall(true);
    feed.lines(20_000)?;
    feed.close();
    spooled_lines(&agent, 20_000)?;
    let behind = eventually(LONG, "the collector notices the silence", || {
        let presence = collector.detail(&id).ok()?["summary"]["presence"]["kind"].clone();
        (presence == "offline").then_some(presence)
    });
    proxy.cut();
    proxy.stall(false);
    behind?;
    ensure!(child.exit(LONG)?.success());
    assert_same("logs --raw", &collector.raw(&id)?, feed.expected());
    Ok(())
}
