//! The fault run: records flow while uplinks, the collector and the links are killed or cut at random.
//!
//! The stories run it short, `cargo xtask soak faults` in full, with the same code. What must hold at
//! its end, for every console: the viewers saw each record once and in order, one that kept its
//! connection as well as it could, one that left and came back again and again, and one that came
//! only at the end; and `logs --raw` is what the command printed, to the byte.

use crate::agent::{Agent, Process, children};
use crate::dice::{Dice, count};
use crate::feed::{Feed, assert_same};
use crate::proxy::Proxy;
use crate::viewer::{Habit, Viewer};
use crate::wait::{eventually, pause};
use crate::{Collector, wait};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Faults in all.
    pub kills: u64,
    /// Lines printed in all.
    pub records: u64,
    /// Consoles that print at once.
    pub consoles: u64,
}

impl Plan {
    /// `DECKPORT_KILLS` and `DECKPORT_RECORDS`, else as given.
    pub fn from_environment(self) -> Self {
        Self {
            kills: count("DECKPORT_KILLS", self.kills),
            records: count("DECKPORT_RECORDS", self.records),
            consoles: self.consoles,
        }
    }

    /// The full form: what the acceptance asks for.
    pub const FULL: Self = Self { kills: 500, records: 1_000_000, consoles: 3 };
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub uplinks_killed: u64,
    pub collectors_killed: u64,
    pub links_cut: u64,
    pub links_torn: u64,
    pub links_stalled: u64,
    pub links_slowed: u64,
    /// Lines printed, and records stored.
    pub lines: u64,
    pub records: u64,
    pub bytes: u64,
    pub viewer_connections: u64,
    pub viewer_restarts: u64,
    pub took: Duration,
}

impl Report {
    /// All faults.
    pub const fn faults(&self) -> u64 {
        self.uplinks_killed
            + self.collectors_killed
            + self.links_cut
            + self.links_torn
            + self.links_stalled
            + self.links_slowed
    }
}

struct Running {
    agent: Agent,
    child: Process,
    proxy: Proxy,
    feed: Feed,
    id: String,
    stays: Viewer,
    returns: Viewer,
}

/// Runs the plan below `dir`. An error or a panic says what did not hold.
pub fn run(plan: Plan, dir: &Path, dice: &mut Dice) -> Result<Report> {
    let begun = Instant::now();
    let mut report = Report::default();
    let mut collector = Collector::start(dir.join("collector"))?;
    let mut consoles = Vec::new();
    for number in 0..plan.consoles.max(1) {
        consoles.push(start(&collector, dir, &format!("bay-{number}"), dice)?);
    }
    let turns = plan.kills.max(1);
    let each = plan.records / turns / consoles.len() as u64;
    for turn in 0..turns {
        for running in &mut consoles {
            running.feed.lines(each.max(1))?;
        }
        pause(dice.duration(Duration::from_millis(40)));
        let pick = dice.below(consoles.len() as u64) as usize;
        fault(&mut report, &mut collector, &consoles[pick], dice)
            .with_context(|| format!("fault {turn} of {turns}"))?;
        for running in &consoles {
            if let Some(first) = running.stays.violations().first() {
                bail!("{} at a viewer that stays, after fault {turn}: {first}", running.agent.name);
            }
            if let Some(first) = running.returns.violations().first() {
                bail!("{} at one that returns, after fault {turn}: {first}", running.agent.name);
            }
        }
        // Now and then everything goes well for a while, so that there is progress to interrupt.
        if dice.one_in(4) {
            let before = consoles[pick].stays.cursor();
            let end = consoles[pick].feed.expected().len();
            eventually(wait::LONG, "records flow again after faults", || {
                let viewer = &consoles[pick].stays;
                (viewer.cursor() > before || viewer.output_bytes() == end).then_some(())
            })?;
        }
    }
    for running in consoles {
        end(&mut report, &collector, running)?;
    }
    collector.stop()?;
    report.took = begun.elapsed();
    Ok(report)
}

fn start(collector: &Collector, dir: &Path, name: &str, dice: &mut Dice) -> Result<Running> {
    let proxy = Proxy::start(collector.port())?;
    let mut agent = Agent::of(collector, dir, name);
    agent.url = Some(proxy.url());
    agent.linger = 600;
    let mut feed = Feed::new(dir, name)?;
    let shown = File::create(dir.join(format!("{name}.shown")))?;
    let said = File::create(dir.join(format!("{name}.err")))?;
    let child = Process::start(agent.wrap(&feed.command())?.command().stdout(shown).stderr(said))?;
    feed.lines(1)?;
    let id = collector.find(name)?;
    let api = collector.api()?;
    let stays = Viewer::start(api.clone(), &id, Habit::default());
    let habit = Habit {
        leaves_after: Some(Duration::from_millis(900)),
        begins_again_one_in: 20,
        seed: dice.number(),
    };
    let returns = Viewer::start(api, &id, habit);
    Ok(Running { agent, child, proxy, feed, id, stays, returns })
}

/// One fault, at a moment when there is something to break.
fn fault(
    report: &mut Report,
    collector: &mut Collector,
    running: &Running,
    dice: &mut Dice,
) -> Result<()> {
    eventually(wait::LONG, "the console is connected again", || {
        (running.proxy.links() > 0).then_some(())
    })?;
    match dice.below(12) {
        0..=1 => {
            let uplinks = children(running.child.id(), "uplink");
            for pid in &uplinks {
                let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw).context("a pid")?;
                // It may have ended just now.
                let _ = kill_process(pid, Signal::KILL);
            }
            report.uplinks_killed += u64::from(!uplinks.is_empty());
            report.links_cut += u64::from(uplinks.is_empty() && running.proxy.cut() > 0);
        }
        2..=4 => {
            collector.kill();
            pause(dice.duration(Duration::from_millis(100)));
            collector.launch()?;
            report.collectors_killed += 1;
        }
        5..=7 => {
            running.proxy.cut();
            report.links_cut += 1;
        }
        8..=9 => {
            // In the middle of a frame, of a frame's header, of a handshake.
            running.proxy.cut_after(dice.below(3000));
            report.links_torn += 1;
        }
        10 => {
            running.proxy.stall(true);
            pause(dice.duration(Duration::from_millis(500)));
            running.proxy.cut();
            running.proxy.stall(false);
            report.links_stalled += 1;
        }
        _ => {
            running.proxy.delay(dice.duration(Duration::from_millis(20)));
            running.proxy.throttle(200_000 + dice.below(2_000_000));
            pause(dice.duration(Duration::from_millis(200)));
            running.proxy.heal();
            report.links_slowed += 1;
        }
    }
    Ok(())
}

fn end(report: &mut Report, collector: &Collector, mut running: Running) -> Result<()> {
    let patience = Duration::from_secs(300);
    let name = running.agent.name.clone();
    running.feed.close();
    let status = running.child.exit(patience)?;
    if !status.success() {
        bail!("{name}: the agent ended with {status}, not as its command did");
    }
    let stays = running.stays.finish(patience).context("a viewer that stays")?;
    let returns = running.returns.finish(patience).context("a viewer that returns")?;
    let fresh = Viewer::start(collector.api()?, &running.id, Habit::default());
    let fresh = fresh.finish(patience).context("a viewer that comes at the end")?;
    let expected = running.feed.expected();
    for (who, seen) in [("stays", &stays), ("returns", &returns), ("comes late", &fresh)] {
        assert_same(&format!("{name} at a viewer that {who}"), &seen.output, expected);
        if (seen.cursor, seen.chain) != (stays.cursor, stays.chain) {
            bail!("{name}: a viewer that {who} saw other records than one that stays");
        }
    }
    assert_same(&format!("{name} logs --raw"), &collector.raw(&running.id)?, expected);
    if !running.agent.runs().is_empty() {
        bail!("{name}: everything is delivered and the spool is still there");
    }
    report.lines += running.feed.count();
    report.records += stays.cursor;
    report.bytes += expected.len() as u64;
    report.viewer_connections += stays.connections + returns.connections;
    report.viewer_restarts += returns.restarts;
    Ok(())
}
