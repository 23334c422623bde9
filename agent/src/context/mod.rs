//! What the agent knows of the machine: the system context.
//!
//! Groups of facts as JSON. Every fact is optional: what cannot be read is `null`, with a `why`
//! beside it where a person would ask. Facts come from plain files below `/proc` and `/sys` and a few
//! system calls; the slow ones (network, package manager, disk health) may also ask a bounded
//! subprocess. [`at_start`] never delays a command visibly: it returns the quick groups and a channel
//! on which the slow ones follow, to be recorded as `context_changed`.

mod edid;
mod hardware;
mod network;
mod packages;
mod parse;
mod system;
mod tool;

use serde_json::{Map, Value, json};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long the quick facts may take together before the command starts without the missing ones.
const QUICK: Duration = Duration::from_millis(150);
/// How long the slow facts may take when somebody waits for them.
const SLOW: Duration = Duration::from_secs(15);

type Probe = (&'static str, Box<dyn FnOnce() -> Value + Send>);

fn quick_probes() -> Vec<Probe> {
    vec![
        ("system", Box::new(system::system)),
        ("cpu", Box::new(hardware::cpu)),
        ("memory", Box::new(hardware::memory)),
        ("disks", Box::new(hardware::disks)),
        ("filesystems", Box::new(hardware::filesystems)),
        ("gpus", Box::new(hardware::gpus)),
        ("displays", Box::new(hardware::displays)),
        ("inputs", Box::new(hardware::inputs)),
        ("nfc_readers", Box::new(hardware::nfc_readers)),
        ("links", Box::new(network::links)),
    ]
}

fn slow_probes(collector: Option<&str>) -> Vec<Probe> {
    let collector = collector.map(ToOwned::to_owned);
    vec![
        ("gateway", Box::new(network::gateway)),
        ("dns", Box::new(network::dns)),
        ("collector", Box::new(move || network::collector(collector.as_deref()))),
        ("disk_health", Box::new(hardware::disk_health)),
        ("packages", Box::new(packages::packages)),
        ("clock", Box::new(system::clock)),
    ]
}

/// Runs the probes, each in a thread of its own, and hands on what they find.
fn start(probes: Vec<Probe>) -> (usize, Receiver<(&'static str, Value)>) {
    let (found, results) = channel();
    let mut started = 0;
    for (group, probe) in probes {
        let found = found.clone();
        let thread = std::thread::Builder::new().name(group.into()).spawn(move || {
            // Nobody may be listening any more.
            let _ = found.send((group, probe()));
        });
        started += usize::from(thread.is_ok());
    }
    (started, results)
}

/// Gathers what comes until `deadline`; a probe that is late is left out.
fn gather(
    (expected, results): (usize, Receiver<(&'static str, Value)>),
    within: Duration,
) -> Map<String, Value> {
    let deadline = Instant::now() + within;
    let mut groups = Map::new();
    for _ in 0..expected {
        let left = deadline.saturating_duration_since(Instant::now());
        match results.recv_timeout(left) {
            Ok((group, facts)) => groups.insert(group.to_owned(), facts),
            Err(_) => break,
        };
    }
    groups
}

/// The quick facts, and a channel on which the slow ones follow, once and together.
///
/// Without `full` the slow ones are left out.
pub fn at_start(collector: Option<&str>, full: bool) -> (Value, Receiver<Value>) {
    let slow = start(if full { slow_probes(collector) } else { Vec::new() });
    let quick = gather(start(quick_probes()), QUICK);
    let (found, results) = channel();
    if !full {
        return (Value::Object(quick), results);
    }
    // Without the thread the slow facts are missing, which a reader must expect anyway.
    let _ = std::thread::Builder::new().name("context".into()).spawn(move || {
        let _ = found.send(Value::Object(gather(slow, SLOW)));
    });
    (Value::Object(quick), results)
}

/// Ends what still looks for slow facts; what it would find comes too late.
pub fn stop() {
    tool::stop();
}

/// Every fact.
pub fn all(collector: Option<&str>) -> Value {
    let slow = start(slow_probes(collector));
    let mut groups = gather(start(quick_probes()), Duration::from_secs(5));
    groups.extend(gather(slow, SLOW));
    Value::Object(groups)
}

/// Prints every fact, for people or as JSON.
pub fn print(as_json: bool, collector: Option<&str>) -> anyhow::Result<()> {
    use std::io::Write as _;
    let context = all(collector);
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, &context)?;
        writeln!(out)?;
    } else {
        let mut text = String::new();
        for (group, facts) in context.as_object().into_iter().flatten() {
            text.push_str(&group.replace('_', " "));
            text.push('\n');
            describe(facts, 1, &mut text);
        }
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn describe(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(facts) => {
            for (name, fact) in facts {
                let title = name.replace('_', " ");
                match fact {
                    Value::Object(_) => {
                        out.push_str(&format!("{indent}{title}\n"));
                        describe(fact, depth + 1, out);
                    }
                    Value::Array(items) if items.iter().any(Value::is_object) => {
                        out.push_str(&format!("{indent}{title}\n"));
                        describe(fact, depth + 1, out);
                    }
                    _ => out.push_str(&format!("{indent}{title:<18} {}\n", plain(name, fact))),
                }
            }
        }
        Value::Array(items) if items.is_empty() => out.push_str(&format!("{indent}none\n")),
        Value::Array(items) => {
            for item in items {
                out.push_str(&format!("{indent}-\n"));
                describe(item, depth + 1, out);
            }
        }
        other => out.push_str(&format!("{indent}{}\n", plain("", other))),
    }
}

fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(bytes) if name.ends_with("bytes") => {
            let bytes = bytes.as_f64().unwrap_or(0.0);
            format!("{:.1} GiB", bytes / f64::from(1 << 30))
        }
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => {
            items.iter().map(|item| plain("", item)).collect::<Vec<_>>().join(", ")
        }
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// What could not be known, and why.
fn unknown(why: impl std::fmt::Display) -> Value {
    json!({ "why": why.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_probe_is_left_out_and_the_others_are_not() {
        let (never, hang) = channel::<()>();
        let probes: Vec<Probe> = vec![
            ("quick", Box::new(|| json!(1))),
            ("late", Box::new(move || json!(hang.recv().is_ok()))),
        ];
        let groups = gather(start(probes), Duration::from_millis(200));
        assert_eq!(Value::Object(groups), json!({"quick": 1}));
        drop(never);
    }

    #[test]
    fn this_machine_can_be_asked() {
        let (quick, _slow) = at_start(None, false);
        assert!(quick["memory"]["total_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{quick}");
        assert!(quick["system"]["kernel"].is_string(), "{quick}");
    }

    #[test]
    fn for_people() {
        let mut text = String::new();
        let facts = json!({"total_bytes": 1u64 << 30, "ok": true, "x": null, "list": ["a", "b"], "deep": [{"n": 1}]});
        describe(&facts, 1, &mut text);
        for line in [
            "total bytes        1.0 GiB",
            "ok                 yes",
            "x                  unknown",
            "a, b",
            "      n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}
