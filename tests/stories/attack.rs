//! A few hundred sockets that mean no good, for some seconds: the short form of `cargo xtask soak attack`, which measures.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::attack::siege::{self, Plan};
use deckport_tests::attack::strangers::Kind;
use deckport_tests::attack::{Attack, Tallies, insiders};
use std::time::Duration;

/// Idle sockets and others from one address: more than one address may have.
const PLAN: Plan = Plan {
    consoles: 4,
    rate: 20,
    before: 2,
    attack: 20,
    after: 2,
    addresses: 1,
    idle: 700,
    strangers: 2,
    insiders: 5,
    idle_each: 40,
    deaf_viewers: 1,
    arrivals: Duration::from_secs(3),
};
/// Of an unoptimised build, with the runs that are open.
const GROWN: u64 = 512 << 20;

fn here(attack: Attack) -> Result<Tallies> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(attack.run())
}

#[test]
fn many_who_mean_no_good_are_turned_away_and_the_honest_notice_nothing_lost() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // A link of the honest that breaks, and a line that a viewer does not see or sees twice, is an error there.
    let outcome = siege::run(PLAN, dir.path(), here)?;
    let said = format!("{outcome:#?}");
    ensure!(outcome.lost == 0 && outcome.lines > 0, "{said}");
    ensure!(outcome.joined.shut_out == 0 && outcome.logged_in.shut_out == 0, "{said}");
    ensure!(!outcome.joined.took.is_empty() && !outcome.logged_in.took.is_empty(), "{said}");

    // No more of the idle ones' address than it may have; the others are few.
    let others = PLAN.insiders * (PLAN.idle_each + 1) + 8 * PLAN.strangers + 50;
    ensure!(outcome.during.held.strangers <= (512 + others) as f64, "{said}");
    ensure!(outcome.after.held.last_files <= outcome.before.held.files + 64, "{said}");
    let grown = outcome.during.held.memory.saturating_sub(outcome.before.held.last_memory);
    ensure!(grown <= GROWN, "grown by {grown}");

    // Each is told why, where there is something to tell it in.
    for (kind, end) in [
        (Kind::Endless.name(), "431"),
        (Kind::SlowBody.name(), "400"),
        (insiders::IDLE, "out_of_turn"),
        (insiders::IDLE, "429"),
        (insiders::Flood::Broken.name(), "malformed_frame"),
    ] {
        let tally = outcome.attackers.get(kind).with_context(|| format!("{kind}: {said}"))?;
        ensure!(tally.ends.contains_key(end), "{kind} never ended with {end}: {said}");
    }
    for kind in [Kind::Silent, Kind::Greeted, Kind::Halfway, Kind::Dripping, Kind::Garbled] {
        let tally = outcome.attackers.get(kind.name()).context(kind.name())?;
        ensure!(tally.ends.contains_key("closed"), "{}: {said}", kind.name());
    }
    for code in ["rate_exceeded", "too_slow", "handshake", "too_many_connections"] {
        let counted = outcome.refused.iter().any(|(known, count)| known == code && *count > 0.0);
        ensure!(counted, "{code} is not counted: {said}");
    }
    Ok(())
}
