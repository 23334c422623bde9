//! Processor, memory, disks, graphics, and what is plugged in.

use super::system::line;
use super::{edid, parse, tool};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The entries of a directory, by name; none where it is missing.
pub(super) fn entries(dir: &str) -> Vec<(String, PathBuf)> {
    let mut entries: Vec<(String, PathBuf)> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), entry.path()))
        })
        .collect();
    entries.sort();
    entries
}

pub(super) fn cpu() -> Value {
    let mut cpu = parse::cpu(&read("/proc/cpuinfo"));
    let khz = line("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    cpu["max_mhz"] = json!(khz.and_then(|khz| khz.parse::<u64>().ok()).map(|khz| khz / 1000));
    cpu
}

pub(super) fn memory() -> Value {
    parse::memory(&read("/proc/meminfo"))
}

/// Real disks: no loops, RAM disks or compressed swap.
fn disk_paths() -> Vec<(String, PathBuf)> {
    let made_up = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
    entries("/sys/block")
        .into_iter()
        .filter(|(name, _)| !made_up.iter().any(|prefix| name.starts_with(prefix)))
        .collect()
}

pub(super) fn disks() -> Value {
    let disks = disk_paths().into_iter().map(|(name, path)| {
        // The kernel counts in units of 512 bytes whatever the disk's own sectors are.
        let sectors = line(path.join("size")).and_then(|size| size.parse::<u64>().ok());
        let flag = |name: &str| line(path.join(name)).map(|value| value == "1");
        json!({
            "name": name,
            "model": line(path.join("device/model")),
            "total_bytes": sectors.map(|sectors| sectors * 512),
            "rotational": flag("queue/rotational"),
            "removable": flag("removable"),
        })
    });
    Value::Array(disks.collect())
}

pub(super) fn filesystems() -> Value {
    let mounts = parse::mounts(&read("/proc/mounts")).into_iter().map(|mount| {
        let space = rustix::fs::statvfs(mount.place.as_str()).ok();
        json!({
            "place": mount.place,
            "device": mount.device,
            "type": mount.kind,
            "read_only": mount.read_only,
            "total_bytes": space.as_ref().map(|space| space.f_blocks * space.f_frsize),
            "free_bytes": space.as_ref().map(|space| space.f_bavail * space.f_frsize),
        })
    });
    Value::Array(mounts.collect())
}

/// SMART health, which only root may ask the disk for.
pub(super) fn disk_health() -> Value {
    let disks = disk_paths().into_iter().map(|(name, _)| {
        let device = format!("/dev/{name}");
        let asked = tool::ask("smartctl", &["-H", "-A", "-j", &device], Duration::from_secs(3));
        let answer = asked.and_then(|text| {
            serde_json::from_str::<Value>(&text).map_err(|_| "smartctl gave no answer".to_owned())
        });
        match answer {
            Ok(answer) => match answer.pointer("/smart_status/passed") {
                Some(passed) => json!({
                    "name": name,
                    "smart_passed": passed,
                    "temperature_celsius": answer.pointer("/temperature/current"),
                    "power_on_hours": answer.pointer("/power_on_time/hours"),
                    "percentage_used": answer
                        .pointer("/nvme_smart_health_information_log/percentage_used"),
                }),
                None => json!({
                    "name": name,
                    "smart_passed": null,
                    "why": answer
                        .pointer("/smartctl/messages/0/string")
                        .and_then(Value::as_str)
                        .unwrap_or("the disk does not report its health"),
                }),
            },
            Err(why) => json!({ "name": name, "smart_passed": null, "why": why }),
        }
    });
    Value::Array(disks.collect())
}

pub(super) fn gpus() -> Value {
    let ids = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"]
        .into_iter()
        .find_map(|path| std::fs::read(path).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let cards = entries("/sys/class/drm")
        .into_iter()
        .filter(|(name, _)| name.starts_with("card") && !name.contains('-'));
    let gpus = cards.map(|(name, path)| {
        let device = path.join("device");
        let vendor_id = line(device.join("vendor"));
        let device_id = line(device.join("device"));
        let known = ids.as_deref().zip(vendor_id.as_deref()).zip(device_id.as_deref());
        let driver = std::fs::read_link(device.join("driver")).ok();
        json!({
            "card": name,
            "name": known.and_then(|((ids, vendor), device)| parse::pci_name(ids, vendor, device)),
            "vendor": vendor_id.as_deref().and_then(vendor_name),
            "vendor_id": vendor_id,
            "device_id": device_id,
            "driver": driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
        })
    });
    Value::Array(gpus.collect())
}

fn vendor_name(id: &str) -> Option<&'static str> {
    Some(match id {
        "0x1002" => "AMD",
        "0x10de" => "NVIDIA",
        "0x8086" => "Intel",
        "0x1af4" => "virtio",
        "0x1234" => "QEMU",
        "0x15ad" => "VMware",
        _ => return None,
    })
}

pub(super) fn displays() -> Value {
    let connectors = entries("/sys/class/drm").into_iter().filter_map(|(name, path)| {
        let status = line(path.join("status"))?;
        let connector = name.split_once('-')?.1.to_owned();
        let told = std::fs::read(path.join("edid")).ok().and_then(|edid| edid::parse(&edid));
        Some(json!({
            "connector": connector,
            "connected": status == "connected",
            "name": told.as_ref().and_then(|told| told.name.clone()),
            "maker": told.as_ref().map(|told| told.maker.clone()),
            "preferred_mode": told
                .as_ref()
                .and_then(|told| told.preferred)
                .map(|(wide, high)| format!("{wide}x{high}"))
                .or_else(|| Some(line(path.join("modes"))?.lines().next()?.to_owned())),
        }))
    });
    Value::Array(connectors.collect())
}

pub(super) fn inputs() -> Value {
    Value::Array(parse::inputs(&read("/proc/bus/input/devices")))
}

/// Readers known to the kernel's NFC subsystem, and USB devices of the smart-card class or with a
/// telling name.
pub(super) fn nfc_readers() -> Value {
    let kernel = entries("/sys/class/nfc")
        .into_iter()
        .map(|(name, _)| json!({ "name": name, "found_by": "kernel" }));
    let usb = entries("/sys/bus/usb/devices").into_iter().filter_map(|(_, path)| {
        let product = line(path.join("product"))?;
        let upper = product.to_uppercase();
        let telling =
            ["NFC", "ACR1", "RC-S3", "CONTACTLESS"].iter().any(|word| upper.contains(word));
        (telling || has_smart_card_interface(&path)).then(|| {
            json!({
                "name": product,
                "maker": line(path.join("manufacturer")),
                "vendor_id": line(path.join("idVendor")),
                "product_id": line(path.join("idProduct")),
                "found_by": "usb",
            })
        })
    });
    Value::Array(kernel.chain(usb).collect())
}

fn has_smart_card_interface(device: &Path) -> bool {
    entries(&device.to_string_lossy())
        .into_iter()
        .any(|(_, path)| line(path.join("bInterfaceClass")).as_deref() == Some("0b"))
}
