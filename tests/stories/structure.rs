//! Consoles side by side, phases and levels found and said, secrets gone.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::proxy::Proxy;
use deckport_tests::wait::{LONG, eventually};
use deckport_tests::{Agent, Call, Collector, Process, programs, spool};
use serde_json::Value;

#[test]
fn three_agents_on_one_machine_deploy_at_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let go = dir.path().join("go");
    let mut processes = Vec::new();
    for (bay, code) in [("bay-1", 0), ("bay-2", 0), ("bay-3", 100)] {
        let script = format!(
            "echo begin {bay}; while [ ! -e {} ]; do sleep 0.02; done; \
             for i in $(seq 1 300); do echo \"{bay} $i\"; done; exit {code}",
            go.display()
        );
        let agent = Agent::of(&collector, dir.path(), bay);
        processes.push((bay, code, Process::quiet(&agent.wrap(&Call::bash(&script))?)?));
    }
    // All three are running at once.
    eventually(LONG, "three deployments run", || {
        let list = collector.deployments().ok()?;
        (list.iter().filter(|entry| entry["state"] == "running").count() == 3).then_some(())
    })?;
    std::fs::write(&go, "")?;
    let mut consoles = std::collections::BTreeSet::new();
    for (bay, code, mut process) in processes {
        ensure!(process.exit(LONG)?.code() == Some(code), "{bay}");
        let id = collector.find(bay)?;
        let summary = &collector.ended(&id)?["summary"];
        let outcome = if code == 0 { "succeeded" } else { "failed" };
        ensure!(summary["outcome"] == outcome && summary["name"] == bay, "{summary}");
        consoles.insert(summary["console_id"].to_string());
        let raw = String::from_utf8(collector.raw(&id)?)?;
        ensure!(raw.lines().count() == 301 && raw.lines().all(|line| line.contains(bay)));
    }
    ensure!(consoles.len() == 3, "three state directories are three consoles: {consoles:?}");
    Ok(())
}

fn phases(detail: &Value) -> Vec<(String, String)> {
    let list = detail["summary"]["phases"].as_array().cloned().unwrap_or_default();
    let text = |phase: &Value, name: &str| phase[name].as_str().unwrap_or_default().to_owned();
    list.iter().map(|phase| (text(phase, "name"), text(phase, "state"))).collect()
}

fn level(rows: &[Value], text: &str) -> Result<String> {
    let row = rows.iter().find(|row| row["text"].as_str().is_some_and(|t| t.contains(text)));
    let row = row.with_context(|| format!("no row says {text:?}: {rows:#?}"))?;
    Ok(row["level"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn both_markups_make_phases_and_levels() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    for (name, script) in [
        (
            "bay-1",
            "echo '--- Prepare'; echo ok; echo '+++ Install packages'; \
             echo 'W: an old index'; echo '--- Verify'; echo 'E: broken'; exit 1",
        ),
        (
            "bay-2",
            "echo '::group::Prepare'; echo ok; echo '::endgroup::'; \
             echo '::group::Install packages'; echo '::warning::an old index'; \
             echo '::endgroup::'; echo '::group::Verify'; echo '::error file=a.sh::broken'; exit 1",
        ),
    ] {
        let agent = Agent::of(&collector, dir.path(), name);
        agent.wrap(&Call::bash(script))?.output()?;
        let id = collector.find(name)?;
        let detail = collector.ended(&id)?;
        let expected = [
            ("Prepare".to_owned(), "succeeded".to_owned()),
            ("Install packages".to_owned(), "succeeded".to_owned()),
            ("Verify".to_owned(), "failed".to_owned()),
        ];
        ensure!(phases(&detail) == expected, "{name}: {:?}", phases(&detail));
        ensure!(detail["summary"]["phases"][1]["warnings"] == 1, "{}", detail["summary"]);
        let rows = collector.rows(&id)?;
        ensure!(level(&rows, "an old index")? == "warning");
        ensure!(level(&rows, "broken")? == "error");
        let at = detail["summary"]["failure"]["row"].as_u64().context("a failing row")?;
        ensure!(rows[at as usize]["text"].as_str().is_some_and(|text| text.contains("broken")));
        // The same rows, page by page, however they are asked for.
        ensure!(rows.iter().enumerate().all(|(index, row)| row["row"] == index), "{rows:#?}");
    }
    Ok(())
}

#[test]
fn a_script_says_more_with_the_helper() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let agent = Agent::of(&collector, dir.path(), "bay-1");
    let say = programs::agent()?.display().to_string();
    let script = format!(
        "set -e; echo before; {say} phase 'Install packages'; echo inside; {say} step Unpack; \
         {say} progress 40 'half of it'; {say} note 'the stick was replaced'; \
         {say} level warning 'the fan is loud'; {say} phase Verify; echo after"
    );
    let output = agent.wrap(&Call::bash(&script))?.output()?;
    ensure!(output.status.success(), "{output:?}");
    let id = collector.find("bay-1")?;
    let detail = collector.ended(&id)?;
    let names: Vec<String> = phases(&detail).into_iter().map(|(name, _)| name).collect();
    ensure!(names.ends_with(&["Install packages".to_owned(), "Verify".to_owned()]), "{names:?}");
    let rows = collector.rows(&id)?;
    ensure!(level(&rows, "the stick was replaced")? == "info");
    ensure!(level(&rows, "the fan is loud")? == "warning");
    // An event stands where the script said it: behind what it had printed.
    let at = |text: &str| {
        rows.iter().position(|row| row["text"].as_str().is_some_and(|t| t.contains(text)))
    };
    let order = ["before", "Install packages", "inside", "the stick was", "Verify", "after"];
    let places: Vec<_> = order.iter().map(|text| at(text)).collect();
    ensure!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {rows:#?}");
    // Outside of a run it says so.
    let alone = Call::new(programs::agent()?).args(["phase", "x"]).env_remove("DECKPORT_RUN");
    ensure!(alone.output()?.status.code() == Some(125));
    Ok(())
}

#[test]
fn a_masked_secret_survives_nowhere() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let collector = Collector::start(dir.path().join("collector"))?;
    let proxy = Proxy::start(collector.port())?;
    // Kept on the console first, so that the spool is there to look at.
    proxy.refuse(true);
    let mut agent = Agent::of(&collector, dir.path(), "bay-1");
    agent.url = Some(proxy.url());
    let secret = "hunter2-swordfish";
    let go = dir.path().join("go");
    // The script has it from a file: a command line would be part of the record.
    let key = dir.path().join("key");
    std::fs::write(&key, secret)?;
    let say = programs::agent()?.display().to_string();
    let script = dir.path().join("script");
    std::fs::write(
        &script,
        format!(
            "key=$(cat {}); echo \"::add-mask::$key\"; echo \"login $key now\"; \
             printf 'cut hunter2-'; sleep 0.2; echo 'swordfish in two'; \
             {say} note \"with $key in it\"; {say} phase \"Use $key\"; echo \"$key$key\"\n\
             echo visible; while [ ! -e {} ]; do sleep 0.02; done\n",
            key.display(),
            go.display()
        ),
    )?;
    let mut process = Process::quiet(&agent.wrap(&Call::new("bash").arg(&script))?)?;
    eventually(LONG, "the spool holds the rest", || {
        let spooled = spool::read(agent.runs().first()?).ok()?;
        deckport_tests::api::find(&spooled.output, b"visible").map(|_| ())
    })?;
    ensure!(!spool::holds(&agent.state, secret.as_bytes())?, "the spool holds the secret");
    proxy.refuse(false);
    std::fs::write(&go, "")?;
    ensure!(process.exit(LONG)?.success());
    let id = collector.find("bay-1")?;
    collector.ended(&id)?;
    ensure!(!spool::holds(collector.data(), secret.as_bytes())?, "the database holds the secret");
    ensure!(!collector.log().contains(secret), "the collector's log holds the secret");
    let raw = String::from_utf8(collector.raw(&id)?)?;
    ensure!(!raw.contains(secret) && !raw.contains("swordfish"), "{raw}");
    ensure!(raw.contains("login *** now") && raw.contains("cut *** in two"), "{raw}");
    ensure!(raw.contains("visible"));
    let rows = serde_json::to_string(&collector.rows(&id)?)?;
    ensure!(!rows.contains("swordfish") && rows.contains("with *** in it"), "{rows}");
    Ok(())
}
