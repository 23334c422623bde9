//! The package manager's state: how old its index is, what waits, what is locked or broken.

use super::{parse, tool, unknown};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

const STATUS: &str = "/var/lib/dpkg/status";
const LOCKS: [&str; 3] =
    ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"];

pub(super) fn packages() -> Value {
    let Ok(status) = std::fs::read(STATUS) else {
        return unknown("this machine has no dpkg, and this agent knows no other package manager");
    };
    let (installed, broken) = parse::dpkg_status(&String::from_utf8_lossy(&status));
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let locked_by = LOCKS
        .into_iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .find_map(|lock| parse::lock_holder(&locks, lock.ino()));
    let locked_by = locked_by.map(|pid| {
        let name = super::system::line(format!("/proc/{pid}/comm"));
        json!({ "pid": pid, "name": name })
    });
    let simulate = ["-s", "-o", "Debug::NoLocking=true", "upgrade"];
    let pending = tool::ask("apt-get", &simulate, Duration::from_secs(10));
    let mut facts = json!({
        "manager": "apt",
        "installed": installed,
        "broken": broken,
        "locked_by": locked_by,
        "index_age_seconds": index_age(),
    });
    match pending {
        Ok(simulated) => {
            let (all, security) = parse::apt_pending(&simulated);
            facts["pending_updates"] = json!(all);
            facts["pending_security_updates"] = json!(security);
        }
        Err(why) => {
            facts["pending_updates"] = Value::Null;
            facts["pending_updates_why"] = json!(why);
        }
    }
    facts
}

/// Seconds since the newest index was fetched.
fn index_age() -> Option<u64> {
    let newest = std::fs::read_dir("/var/lib/apt/lists")
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            (name.ends_with("Release")).then(|| entry.metadata().ok()?.modified().ok()).flatten()
        })
        .max()?;
    Some(SystemTime::now().duration_since(newest).unwrap_or_default().as_secs())
}
