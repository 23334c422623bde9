//! `cargo xtask test`: every check, in stages.
//!
//! A failing stage does not stop the others (unless `--fail-fast`), so that one run shows everything that is wrong. A
//! stage's output goes to `target/xtask/test/STAGE.log`; of a failing stage it is shown, of a passing one only what it
//! counted. The last line of standard output is `N passed, N failed`, and the exit code says the same.

mod stages;
mod tools;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::job::Job;
use crate::packages::{self, Consent, Need};
use crate::{build, places, say, wait};

use stages::{STAGES, Stage};

/// How many of a failing stage's last lines are shown; the log file has them all.
const SHOWN_LINES: usize = 400;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking
    #[arg(long)]
    yes: bool,

    /// Run only this stage (may be given several times)
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,

    /// Leave this stage out (may be given several times)
    #[arg(long, value_name = "STAGE")]
    skip: Vec<String>,

    /// Stop at the first stage that fails
    #[arg(long)]
    fail_fast: bool,

    /// List the stages and end
    #[arg(long)]
    list: bool,
}

/// What a stage works with.
#[derive(Debug)]
struct Context {
    log: PathBuf,
}

impl Context {
    /// Runs a job into the stage's log.
    fn run(&self, job: &Job) -> Result<()> {
        self.say(&format!("$ {}", job.shown()))?;
        job.log_to(&self.log)
    }

    /// Adds a line to the stage's log.
    fn say(&self, text: &str) -> Result<()> {
        let mut log = std::fs::File::options().create(true).append(true).open(&self.log)?;
        writeln!(log, "{text}").with_context(|| format!("cannot write {}", self.log.display()))
    }
}

#[derive(Debug)]
struct Ended {
    stage: &'static str,
    took: Duration,
    note: String,
    failed: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let chosen = chosen(args)?;
    if args.list {
        for stage in chosen {
            say::result(format_args!("{:<10} {}", stage.name, stage.what));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    prepare(&chosen, args)?;
    let logs = places::own("test")?;
    let mut ended: Vec<Ended> = vec![];
    for stage in chosen {
        wait::check_interrupted()?;
        let result = run_stage(stage, logs.join(format!("{}.log", stage.name)))?;
        let failed = result.failed;
        ended.push(result);
        if failed && args.fail_fast {
            say::warn("stopping here, because of --fail-fast");
            break;
        }
    }
    say::result(table(&ended, start.elapsed()));
    let failed = ended.iter().filter(|stage| stage.failed).count();
    say::result(format_args!("{} passed, {failed} failed", ended.len() - failed));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(args: &Args) -> Result<Vec<&'static Stage>> {
    for name in args.only.iter().chain(&args.skip) {
        if !STAGES.iter().any(|stage| stage.name == name) {
            let names: Vec<_> = STAGES.iter().map(|stage| stage.name).collect();
            bail!("there is no stage {name:?}; the stages are: {}", names.join(", "));
        }
    }
    let named = |names: &[String], stage: &Stage| names.iter().any(|name| name == stage.name);
    Ok(STAGES
        .iter()
        .filter(|stage| {
            (args.only.is_empty() || named(&args.only, stage)) && !named(&args.skip, stage)
        })
        .collect())
}

/// Gets everything that the chosen stages need before the first of them runs.
fn prepare(chosen: &[&Stage], args: &Args) -> Result<()> {
    let mut needs: Vec<Need> = vec![];
    for need in chosen.iter().flat_map(|stage| stage.needs) {
        if !needs.contains(need) {
            needs.push(*need);
        }
    }
    packages::ensure(&needs, Consent::new(args.yes))?;
    tools::components()?;
    build::check_node()?;
    // The collector and the app take the UI in at compile time: without it nothing compiles.
    if !places::ui().join("dist/index.html").is_file()
        && !chosen.iter().any(|stage| stage.name == "ui")
    {
        build::ui()?;
    }
    Ok(())
}

fn run_stage(stage: &'static Stage, log: PathBuf) -> Result<Ended> {
    say::step(format!("{}: {}", stage.name, stage.what));
    if log.exists() {
        std::fs::remove_file(&log).with_context(|| format!("cannot replace {}", log.display()))?;
    }
    let context = Context { log };
    let start = Instant::now();
    let result = (stage.run)(&context);
    wait::check_interrupted()?;
    let took = start.elapsed();
    let output = std::fs::read(&context.log).unwrap_or_default();
    let output = String::from_utf8_lossy(&output);
    let note = match &result {
        Ok(()) => counted(&output),
        Err(error) => {
            show_end(&output, &context.log);
            format!("{error:#}")
        }
    };
    let verdict =
        if result.is_ok() { say::paint("32", "passed") } else { say::paint("1;31", "FAILED") };
    say::info(format!(
        "{verdict} in {}{}{note}",
        say::duration(took),
        if note.is_empty() { "" } else { ": " }
    ));
    Ok(Ended { stage: stage.name, took, note, failed: result.is_err() })
}

fn show_end(output: &str, log: &std::path::Path) {
    let lines: Vec<_> = output.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN_LINES);
    if skipped > 0 {
        say::info(format!("… {skipped} earlier lines are in {}", log.display()));
    }
    for line in &lines[skipped..] {
        eprintln!("    | {line}");
    }
}

/// The lines in which test runners count, joined: all that is shown of a stage that passed.
fn counted(output: &str) -> String {
    let plain = without_sgr(output);
    let mut counts: Vec<String> = vec![];
    for line in plain.lines().map(str::trim) {
        let vitest = line.strip_prefix("Tests ").filter(|rest| rest.contains("passed"));
        let nextest = line
            .split_once("tests run: ")
            .filter(|_| line.starts_with("Summary"))
            .map(|(_, rest)| rest);
        let cargo = line
            .strip_prefix("test result: ok. ")
            .and_then(|rest| rest.split_once(';'))
            .map(|(passed, _)| passed)
            .filter(|passed| *passed != "0 passed");
        let browser = line.split_once(" checks passed").map(|(number, _)| number);
        let own = line.strip_prefix("counted: ");
        if let Some(count) = vitest.or(nextest).or(cargo).or(browser).or(own) {
            counts.push(count.trim().to_owned());
        }
    }
    counts.join("; ")
}

fn without_sgr(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.get(1..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

fn table(ended: &[Ended], total: Duration) -> String {
    let mut text = String::from("\n");
    for stage in ended {
        let verdict = if stage.failed { "FAILED" } else { "passed" };
        let _ = writeln!(
            text,
            "  {:<10} {verdict}  {:>13}  {}",
            stage.stage,
            say::duration(stage.took),
            stage.note
        );
    }
    let _ = writeln!(text, "  {:<10} {:6}  {:>13}", "together", "", say::duration(total));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runners_count_is_kept() {
        let log = "\x1b[32m     Summary\x1b[0m [   1.2s] 41 tests run: 41 passed, 0 skipped\n\
                   \x1b[2m      Tests \x1b[22m \x1b[1m\x1b[32m12 passed\x1b[39m\x1b[22m (12)\n\
                   test result: ok. 3 passed; 0 failed; 0 ignored\ntest result: ok. 0 passed; 0 failed\n\
                   counted: static\n";
        assert_eq!(counted(log), "41 passed, 0 skipped; 12 passed (12); 3 passed; static");
    }

    #[test]
    fn stages_are_chosen_by_name() {
        let args = |only: &[&str], skip: &[&str]| Args {
            yes: true,
            only: only.iter().map(ToString::to_string).collect(),
            skip: skip.iter().map(ToString::to_string).collect(),
            fail_fast: false,
            list: false,
        };
        let names = |args| {
            chosen(&args).map(|stages| stages.iter().map(|stage| stage.name).collect::<Vec<_>>())
        };
        assert_eq!(names(args(&["fmt", "deny"], &["deny"])).unwrap(), ["fmt"]);
        assert_eq!(names(args(&[], &[])).unwrap().len(), STAGES.len());
        assert!(names(args(&["nothing"], &[])).unwrap_err().to_string().contains("no stage"));
    }
}
