//! What wrapping costs the installation: the same command under a terminal, alone and wrapped.

use crate::Args;
use anyhow::{Result, ensure};
use deckport_tests::measure::{median, probe_disk};
use deckport_tests::report::{Figure, Report};
use deckport_tests::{Agent, Call, Collector, programs, pty};
use std::path::Path;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(600);

pub(crate) fn run(args: &Args, dir: &Path, report: &mut Report) -> Result<()> {
    let probe = probe_disk(dir)?;
    let mut collector = Collector::start(dir.join("collector"))?;
    let lines = args.printed.to_string();
    let simulate = Call::new(programs::agent()?).args(["simulate", "--lines", &lines]);
    let (mut bare, mut alone, mut reported) = (vec![], vec![], vec![]);
    for round in 0..args.rounds.max(1) {
        bare.push(seconds(&simulate)?);
        let mut agent = Agent::of(&collector, dir, &format!("a{round}"));
        agent.options = vec!["--context".to_owned(), "quick".to_owned()];
        reported.push(seconds(&agent.wrap(&simulate)?)?);
        agent.name = format!("b{round}");
        agent.state = dir.join(&agent.name);
        (agent.url, agent.token_file, agent.linger) = (None, None, 0);
        alone.push(seconds(&agent.wrap(&simulate)?)?);
    }
    collector.stop()?;
    let rate = |seconds: &[f64]| args.printed as f64 / median(seconds);
    report.probe("overhead", &probe);
    report.add(
        Figure::new("overhead: wrapped, no collector", rate(&alone), "lines/s")
            .beside("not wrapped", rate(&bare)),
    );
    report.add(
        Figure::new("overhead: wrapped, until all is delivered", rate(&reported), "lines/s")
            .beside("not wrapped", rate(&bare)),
    );
    Ok(())
}

fn seconds(call: &Call) -> Result<f64> {
    let begun = Instant::now();
    let ended = pty::run(call, DEADLINE)?;
    ensure!(ended.code() == 0, "it ended with {}", ended.code());
    Ok(begun.elapsed().as_secs_f64())
}
