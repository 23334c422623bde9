//! The machine as a whole, and its clock.

use super::{parse, tool, unknown};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A line of a file, trimmed; `None` where there is nothing in it.
pub(super) fn line(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn system() -> Value {
    let os = std::fs::read_to_string("/etc/os-release")
        .map(|text| parse::os_release(&text))
        .unwrap_or_default();
    let dmi = |name: &str| line(format!("/sys/class/dmi/id/{name}"));
    let kernel = rustix::system::uname();
    json!({
        "model": dmi("product_name").or_else(|| line("/sys/firmware/devicetree/base/model")),
        "vendor": dmi("sys_vendor"),
        "board": dmi("board_name"),
        "firmware": dmi("bios_version"),
        "hostname": crate::state::hostname(),
        "os": os.get("PRETTY_NAME").or_else(|| os.get("NAME")),
        "os_id": os.get("ID"),
        "os_version": os.get("VERSION_ID"),
        "kernel": kernel.release().to_string_lossy(),
        "architecture": kernel.machine().to_string_lossy(),
        "boot_id": line("/proc/sys/kernel/random/boot_id"),
        "up_seconds": crate::clock::boot_us() / 1_000_000,
        "secure_boot": secure_boot(),
    })
}

/// As the firmware reports it; the variable's value follows four bytes of attributes.
fn secure_boot() -> Value {
    let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    if !Path::new("/sys/firmware/efi").exists() {
        return json!({ "enabled": null, "why": "not started by UEFI" });
    }
    match std::fs::read(variable) {
        Ok(bytes) => json!({ "enabled": bytes.get(4).map(|&value| value == 1) }),
        Err(error) => json!({ "enabled": null, "why": error.to_string() }),
    }
}

/// Whether the clock is kept right, and by whom. The offset against the collector is measured over
/// the link, by the collector.
pub(super) fn clock() -> Value {
    if let Ok(tracking) = tool::ask("chronyc", &["-n", "-c", "tracking"], Duration::from_secs(1)) {
        // Reference id, name, stratum, time, then the offset in seconds.
        let fields: Vec<&str> = tracking.trim().split(',').collect();
        if let Some(offset) = fields.get(4).and_then(|field| field.parse::<f64>().ok()) {
            return json!({
                "synchronised": fields.last() != Some(&"Not synchronised"),
                "offset_us": (offset * 1e6).round() as i64,
                "source": "chrony",
            });
        }
    }
    if Path::new("/run/systemd/timesync").exists() {
        return json!({
            "synchronised": Path::new("/run/systemd/timesync/synchronized").exists(),
            "offset_us": null,
            "source": "systemd-timesyncd",
        });
    }
    unknown("no time service that this agent knows is running")
}
