//! One attack from its first to its last moment: the honest before, during and after it, and what the collector held.

use super::venue::Venue;
use super::watch::{Most, Watch};
use super::{Attack, Tallies};
use crate::api::Api;
use crate::measure::{Spread, cpu_of, ms};
use crate::spools::{self, Answered, Pace};
use crate::stamped::boot_us;
use crate::wait::{LONG, eventually, pause};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Honest consoles, and the lines that each prints in a second.
    pub consoles: usize,
    pub rate: u64,
    /// Seconds before the attack that are the baseline, of the attack, and after it.
    pub before: u64,
    pub attack: u64,
    pub after: u64,
    pub addresses: u8,
    pub idle: usize,
    pub strangers: usize,
    pub insiders: usize,
    pub idle_each: usize,
    pub deaf_viewers: usize,
    /// How often a console joins and an operator logs in meanwhile.
    pub arrivals: Duration,
}

impl Plan {
    /// What the acceptance asks for.
    pub const FULL: Self = Self {
        consoles: 32,
        rate: 50,
        before: 30,
        attack: 90,
        after: 30,
        addresses: 40,
        idle: 10_000,
        strangers: 20,
        insiders: 20,
        idle_each: 40,
        deaf_viewers: 8,
        arrivals: Duration::from_secs(4),
    };

    const fn seconds(&self) -> u64 {
        WARM + self.before + self.attack + self.after
    }
}

/// Until then everything has started.
const WARM: u64 = 4;
/// How often somebody tries to come in before it counts as shut out. A person does that too.
const TRIES: usize = 3;

/// What those noticed who came meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// How long it took, in milliseconds.
    pub took: Vec<f64>,
    /// Tries that failed, and those who did not come in at all.
    pub failed: usize,
    pub shut_out: usize,
}

/// Before, during and after.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// Acknowledgements to honest consoles and what a viewer saw of a line, in milliseconds.
    pub acks: Spread,
    pub seen: Spread,
    pub held: Most,
    /// Processors' worth of the collector's time.
    pub cpu: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub before: Phase,
    pub during: Phase,
    pub after: Phase,
    /// Lines of honest consoles, each acknowledged, and records of theirs that are not stored.
    pub lines: u64,
    pub lost: u64,
    pub joined: Arrivals,
    pub logged_in: Arrivals,
    pub attackers: Tallies,
    /// By code, what the collector refused.
    pub refused: Vec<(String, f64)>,
}

/// As many files as the system lets this process open.
pub fn allow_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

/// Where the honest consoles keep what they print: in memory where that can be, since their disks are not the collector's.
fn disks(dir: &Path) -> Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir_in(dir))?)
}

/// Runs it. `attackers` run the attack to its end, wherever they do that.
pub fn run(
    plan: Plan,
    dir: &Path,
    attackers: impl FnOnce(Attack) -> Result<Tallies> + Send,
) -> Result<Outcome> {
    allow_files()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let disks = disks(dir)?;
    let mut venue = Venue::open(dir, disks.path(), &runtime)?;
    let names = |what: &str, count| (0..count).map(|n| format!("{what}-{n}")).collect::<Vec<_>>();
    for name in names("bay", plan.consoles) {
        venue.join(&name)?;
    }
    let insiders = names("insider", plan.insiders);
    let insiders = insiders.iter().map(|name| venue.join(name)).collect::<Result<Vec<_>>>()?;
    let pid = venue.collector.pid().context("the collector runs")?;
    let api = venue.collector.api()?;
    let watch = Watch::start(pid, api.clone());
    let printed = spools::simulated(0, 5000)?;
    let texts: Vec<&[u8]> = printed.split_inclusive(|&byte| byte == b'\n').collect();
    let pace = Pace { rate: plan.rate, seconds: plan.seconds() };
    let attacking = Arc::new(AtomicBool::new(false));
    let (venue_here, texts) = (&venue, texts.as_slice());
    let (outcome, seen, acks, times) = std::thread::scope(|scope| {
        // A thread each, as they are a machine each: one that waits for its disk keeps no other from being answered.
        let disks = disks.path();
        let printing: Vec<_> = (0..plan.consoles)
            .map(|number| {
                scope.spawn(move || {
                    let target = venue_here.target(&format!("bay-{number}"))?;
                    let mut runtime = tokio::runtime::Builder::new_current_thread();
                    let runtime = runtime.enable_all().build()?;
                    runtime.block_on(spools::print(disks, number, texts, &target, pace))
                })
            })
            .collect();
        let ids = listed(&api, plan.consoles)?;
        let looking = {
            let id = ids.first().context("a deployment")?.clone();
            let handle = runtime.handle().clone();
            scope.spawn(move || handle.block_on(venue_here.look_at(&id)))
        };
        let arrivals = {
            let (attacking, handle) = (Arc::clone(&attacking), runtime.handle().clone());
            scope.spawn(move || arrive(venue_here, plan, &attacking, &handle))
        };
        pause(Duration::from_secs(WARM));
        let mut times = vec![Moment::now(pid)?];
        pause(Duration::from_secs(plan.before));
        times.push(Moment::now(pid)?);
        attacking.store(true, Ordering::Relaxed);
        let attack = Attack {
            collector: venue_here.door.collector,
            pin: venue_here.pin,
            seconds: plan.attack,
            addresses: plan.addresses,
            idle: plan.idle,
            strangers: plan.strangers,
            insiders,
            idle_each: plan.idle_each,
            operator: venue_here.token.clone(),
            deaf_viewers: plan.deaf_viewers,
            deployments: ids,
        };
        let attackers = attackers(attack);
        attacking.store(false, Ordering::Relaxed);
        times.push(Moment::now(pid)?);
        let (joined, logged_in) = finished(arrivals.join())?;
        let acks = printing.into_iter().map(|console| finished(console.join()));
        let acks = acks.collect::<Result<Vec<_>>>()?.concat();
        let seen = finished(looking.join())?;
        times.push(Moment::now(pid)?);
        let refused = refused(&api)?;
        let outcome =
            Outcome { joined, logged_in, attackers: attackers?, refused, ..Outcome::default() };
        anyhow::Ok((outcome, seen, acks, times))
    })?;
    let lines = plan.rate * pace.seconds;
    ensure!(seen.len() as u64 == lines, "the viewer saw {} lines, not {lines}", seen.len());
    let lost = lost(&api, plan.consoles, lines)?;
    let phase = |number: usize| {
        let (from, until) = (times[number], times[number + 1]);
        let acks: &[Answered] = &acks;
        let within = acks.iter().filter(|ack| (from.at..until.at).contains(&ack.sent));
        let lines = seen.iter().filter(|(at, _)| (from.boot_us..until.boot_us).contains(at));
        Phase {
            acks: Spread::of(within.map(|ack| ack.took_ms).collect()),
            seen: Spread::of(lines.map(|(_, took)| *took).collect()),
            held: watch.between(from.at, until.at),
            cpu: (until.cpu - from.cpu) / (until.at - from.at).as_secs_f64(),
        }
    };
    let (before, during, after) = (phase(0), phase(1), phase(2));
    drop(watch);
    venue.collector.stop()?;
    let lines = lines * plan.consoles as u64;
    Ok(Outcome { before, during, after, lines, lost, ..outcome })
}

/// Where one phase ends and the next begins.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    boot_us: u64,
    cpu: f64,
}

impl Moment {
    fn now(pid: u32) -> Result<Self> {
        Ok(Self { at: Instant::now(), boot_us: boot_us(), cpu: cpu_of(pid)? })
    }
}

fn finished<T>(thread: std::thread::Result<Result<T>>) -> Result<T> {
    thread.map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

/// The honest consoles' deployments, the first console's first.
fn listed(api: &Api, consoles: usize) -> Result<Vec<String>> {
    eventually(LONG, "all consoles are listed", || {
        let list = api.json("/api/v1/deployments?limit=500").ok()?;
        let mut found: Vec<(String, String)> = list["deployments"]
            .as_array()?
            .iter()
            .filter_map(|run| {
                Some((run["name"].as_str()?.to_owned(), run["id"].as_str()?.to_owned()))
            })
            .filter(|(name, _)| name.starts_with("bay-"))
            .collect();
        found.sort();
        (found.len() == consoles).then(|| found.into_iter().map(|(_, id)| id).collect())
    })
}

/// Records of honest consoles that are not stored, of their lines and that each began and ended.
fn lost(api: &Api, consoles: usize, lines: u64) -> Result<u64> {
    let mut lost = 0;
    for id in listed(api, consoles)? {
        let run = api.json(&format!("/api/v1/deployments/{id}"))?;
        let acked = run["summary"]["acked_seq"].as_u64().context("what is acknowledged")?;
        lost += (lines + 2).abs_diff(acked);
    }
    Ok(lost)
}

/// Consoles join and an operator logs in for as long as the attack lasts.
fn arrive(
    venue: &Venue,
    plan: Plan,
    attacking: &AtomicBool,
    runtime: &tokio::runtime::Handle,
) -> Result<(Arrivals, Arrivals)> {
    eventually(Duration::from_secs(WARM + plan.before + 60), "the attack begins", || {
        attacking.load(Ordering::Relaxed).then_some(())
    })?;
    let (mut joined, mut logged_in) = (Arrivals::default(), Arrivals::default());
    let mut number = 0;
    // Ends with the attack.
    while attacking.load(Ordering::Relaxed) {
        pause(plan.arrivals);
        number += 1;
        let name = format!("late-{number}");
        try_in(&mut joined, || venue.join(&name).map(drop));
        try_in(&mut logged_in, || runtime.block_on(venue.log_in()).map(drop));
    }
    Ok((joined, logged_in))
}

fn try_in(arrivals: &mut Arrivals, mut arrive: impl FnMut() -> Result<()>) {
    let begun = Instant::now();
    for _ in 0..TRIES {
        match arrive() {
            Ok(()) => return arrivals.took.push(ms(begun.elapsed())),
            Err(error) => {
                eprintln!("  somebody honest was turned away: {error:#}");
                arrivals.failed += 1;
            }
        }
        pause(Duration::from_millis(500));
    }
    arrivals.shut_out += 1;
}

/// What was refused, by code.
fn refused(api: &Api) -> Result<Vec<(String, f64)>> {
    let answer = api.get("/metrics")?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let of = |line: &str| {
        let (code, count) =
            line.strip_prefix("deckport_refused_total{code=\"")?.split_once("\"} ")?;
        Some((code.to_owned(), count.parse().ok()?))
    };
    Ok(text.lines().filter_map(of).collect())
}
