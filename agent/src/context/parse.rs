//! Pure parsers of the kernel's and the package manager's text.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// `/proc/cpuinfo`: model, cores, threads.
pub(super) fn cpu(cpuinfo: &str) -> Value {
    let mut threads = 0;
    let mut model = None;
    let mut cores = BTreeSet::new();
    let mut socket = "";
    for line in cpuinfo.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        match (key.trim(), value.trim()) {
            ("processor", _) => threads += 1,
            ("model name" | "Model", name) => model = model.or(Some(name)),
            ("physical id", id) => socket = id,
            ("core id", id) => {
                cores.insert((socket, id));
            }
            _ => {}
        }
    }
    let cores = if cores.is_empty() { None } else { Some(cores.len()) };
    json!({ "model": model, "cores": cores, "threads": threads })
}

/// `/proc/meminfo`, in bytes.
pub(super) fn memory(meminfo: &str) -> Value {
    let of = |wanted: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    json!({
        "total_bytes": of("MemTotal"),
        "available_bytes": of("MemAvailable"),
        "swap_total_bytes": of("SwapTotal"),
        "swap_free_bytes": of("SwapFree"),
    })
}

/// `/etc/os-release`.
pub(super) fn os_release(text: &str) -> BTreeMap<String, String> {
    let unquote = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), unquote(value)))
        .collect()
}

/// `/proc/bus/input/devices`: those that a person touches.
pub(super) fn inputs(devices: &str) -> Vec<Value> {
    devices
        .split("\n\n")
        .filter_map(|block| {
            let of = |prefix: &str| block.lines().find_map(|line| line.strip_prefix(prefix));
            let id = of("I: ")?;
            let field = |name: &str| id.split(' ').find_map(|part| part.strip_prefix(name));
            let bus = match field("Bus=")? {
                "0003" => "usb",
                "0005" => "bluetooth",
                _ => return None,
            };
            let handlers = of("H: Handlers=").unwrap_or("");
            let has = |word: &str| handlers.split_whitespace().any(|h| h.starts_with(word));
            let kind = if has("js") {
                "game controller"
            } else if has("mouse") {
                "pointer"
            } else if has("kbd") {
                "keyboard"
            } else {
                "other"
            };
            Some(json!({
                "name": of("N: Name=").map(|name| name.trim().trim_matches('"')),
                "bus": bus,
                "kind": kind,
                "vendor": field("Vendor="),
                "product": field("Product="),
            }))
        })
        .collect()
}

/// A mounted file system that holds data on a device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) place: String,
    pub(super) kind: String,
    pub(super) read_only: bool,
}

/// `/proc/mounts`: each device once, at the place where it was mounted first.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let mut seen = BTreeSet::new();
    text.lines()
        .filter_map(|line| {
            let mut parts = line.split(' ');
            let (device, place, kind, options) =
                (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            let data = device.starts_with("/dev/") && !device.starts_with("/dev/loop");
            (data && seen.insert(device.to_owned())).then(|| Mount {
                device: unescape(device),
                place: unescape(place),
                kind: kind.to_owned(),
                read_only: options.split(',').any(|option| option == "ro"),
            })
        })
        .collect()
}

/// Spaces and such are octal in `/proc/mounts`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// `/proc/net/route`: the gateway of the default route with the lowest metric, and its link.
pub(super) fn gateway(route: &str) -> Option<(Ipv4Addr, String)> {
    route
        .lines()
        .skip(1)
        .filter_map(|line| {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let [link, destination, gateway, flags, _, _, metric, mask, ..] = parts[..] else {
                return None;
            };
            // RTF_GATEWAY
            let through = u16::from_str_radix(flags, 16).ok()? & 2 != 0;
            let default = destination == "00000000" && mask == "00000000" && through;
            // The kernel prints the address as a number of the machine's own byte order.
            let address = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
            default.then_some((metric.parse::<u32>().ok()?, address, link.to_owned()))
        })
        .min_by_key(|(metric, ..)| *metric)
        .map(|(_, address, link)| (address, link))
}

/// `/proc/net/arp`: whether `address` has answered (`None`: it is not in the table).
pub(super) fn arp_complete(arp: &str, address: Ipv4Addr) -> Option<bool> {
    let address = address.to_string();
    arp.lines().skip(1).find_map(|line| {
        let mut parts = line.split_whitespace();
        (parts.next()? == address).then(|| {
            let flags =
                parts.nth(1).and_then(|f| u32::from_str_radix(f.trim_start_matches("0x"), 16).ok());
            flags.unwrap_or(0) & 2 != 0
        })
    })
}

/// `/etc/resolv.conf`: name servers.
pub(super) fn name_servers(resolv: &str) -> Vec<String> {
    resolv
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next())
        .map(ToOwned::to_owned)
        .collect()
}

/// `/var/lib/dpkg/status`: how many packages are installed, and which are neither installed nor
/// removed properly.
pub(super) fn dpkg_status(status: &str) -> (usize, Vec<String>) {
    let mut installed = 0;
    let mut broken = Vec::new();
    let mut name = "";
    for line in status.lines() {
        if let Some(package) = line.strip_prefix("Package: ") {
            name = package.trim();
        } else if let Some(state) = line.strip_prefix("Status: ") {
            let words: Vec<&str> = state.split_whitespace().collect();
            let [_, error, state] = words[..] else { continue };
            installed += usize::from(state == "installed");
            let settled = ["installed", "not-installed", "config-files"].contains(&state);
            if !settled || error != "ok" {
                broken.push(format!("{name} ({state})"));
            }
        }
    }
    (installed, broken)
}

/// `/proc/locks`: the process that holds a lock on `inode`.
pub(super) fn lock_holder(locks: &str, inode: u64) -> Option<i32> {
    locks.lines().find_map(|line| {
        // 1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF
        let parts: Vec<&str> = line.split_whitespace().collect();
        let place = parts.iter().position(|part| part.matches(':').count() == 2)?;
        let of: u64 = parts[place].rsplit(':').next()?.parse().ok()?;
        (of == inode).then(|| parts[place - 1].parse().ok()).flatten()
    })
}

/// `apt-get --simulate upgrade`: how many packages would be upgraded, and how many of them for security.
pub(super) fn apt_pending(simulated: &str) -> (usize, usize) {
    let upgrades = || simulated.lines().filter(|line| line.starts_with("Inst "));
    (upgrades().count(), upgrades().filter(|line| line.contains("ecurity")).count())
}

/// A PCI device's name in `pci.ids`; ids as in `0x1002`.
pub(super) fn pci_name(ids: &str, vendor: &str, device: &str) -> Option<String> {
    let vendor = vendor.trim_start_matches("0x");
    let device = device.trim_start_matches("0x");
    let mut lines = ids.lines().skip_while(|line| !line.starts_with(vendor));
    let maker = lines.next()?.get(4..)?.trim();
    let name = lines
        .take_while(|line| line.starts_with('\t') || line.starts_with('#'))
        .filter_map(|line| line.strip_prefix('\t'))
        .find_map(|line| line.strip_prefix(device))
        .map_or(device, str::trim);
    Some(format!("{maker} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../testdata/", $name))
        };
    }

    #[test]
    fn a_processor_with_threads() {
        assert_eq!(
            cpu(sample!("cpuinfo.txt")),
            json!({"model": "AMD Ryzen 5 5600G with Radeon Graphics", "cores": 2, "threads": 4})
        );
        assert_eq!(cpu(""), json!({"model": null, "cores": null, "threads": 0}));
    }

    #[test]
    fn memory_in_bytes() {
        let memory = memory(sample!("meminfo.txt"));
        assert_eq!(memory["total_bytes"], 16_103_624u64 * 1024);
        assert_eq!(memory["swap_total_bytes"], 0);
        assert_eq!(super::memory("MemTotal: much")["total_bytes"], Value::Null);
    }

    #[test]
    fn input_devices_that_a_person_touches() {
        let inputs = inputs(sample!("input-devices.txt"));
        assert_eq!(
            inputs,
            vec![
                json!({"name": "Logitech USB Receiver", "bus": "usb", "kind": "keyboard", "vendor": "046d", "product": "c52b"}),
                json!({"name": "DragonRise Inc. Generic USB Joystick", "bus": "usb", "kind": "game controller", "vendor": "0079", "product": "0006"}),
            ]
        );
    }

    #[test]
    fn mounted_devices_once() {
        let mounts = mounts(sample!("mounts.txt"));
        let places: Vec<&str> = mounts.iter().map(|mount| mount.place.as_str()).collect();
        assert_eq!(places, ["/", "/boot/efi", "/srv/game content"]);
        assert!(mounts[2].read_only && !mounts[0].read_only);
    }

    #[test]
    fn routes_and_neighbours() {
        let gateway = gateway(sample!("route.txt"));
        let expected = (Ipv4Addr::new(192, 168, 1, 1), "enp3s0".to_owned());
        assert_eq!(gateway, Some(expected));
        let arp = sample!("arp.txt");
        assert_eq!(arp_complete(arp, Ipv4Addr::new(192, 168, 1, 1)), Some(true));
        assert_eq!(arp_complete(arp, Ipv4Addr::new(192, 168, 1, 9)), Some(false));
        assert_eq!(arp_complete(arp, Ipv4Addr::new(10, 0, 0, 1)), None);
        assert_eq!(super::gateway("Iface\n"), None);
    }

    #[test]
    fn packages_that_are_broken() {
        let (installed, broken) = dpkg_status(sample!("dpkg-status.txt"));
        assert_eq!(installed, 2);
        assert_eq!(broken, ["pcscd (half-configured)", "libnfc6 (unpacked)"]);
    }

    #[test]
    fn who_holds_a_lock() {
        let locks = sample!("locks.txt");
        assert_eq!(lock_holder(locks, 1_311_512), Some(4711));
        assert_eq!(lock_holder(locks, 1), None);
    }

    #[test]
    fn upgrades_that_wait() {
        assert_eq!(apt_pending(sample!("apt-upgrade.txt")), (3, 2));
        assert_eq!(apt_pending(""), (0, 0));
    }

    #[test]
    fn names_of_graphics_cards() {
        let ids = "# head\n1002  Advanced Micro Devices, Inc. [AMD/ATI]\n\t1638  Cezanne\n\t\t1043 8809  Board\n10de  NVIDIA\n";
        assert_eq!(
            pci_name(ids, "0x1002", "0x1638").as_deref(),
            Some("Advanced Micro Devices, Inc. [AMD/ATI] Cezanne")
        );
        assert_eq!(pci_name(ids, "0x10de", "0x1111").as_deref(), Some("NVIDIA 1111"));
        assert_eq!(pci_name(ids, "0xffff", "0x1111"), None);
    }

    #[test]
    fn the_operating_system() {
        let os = os_release("NAME=\"Debian GNU/Linux\"\nVERSION_ID='12'\nbroken\n");
        assert_eq!(os.get("NAME").map(String::as_str), Some("Debian GNU/Linux"));
        assert_eq!(os.get("VERSION_ID").map(String::as_str), Some("12"));
        assert_eq!(
            name_servers("# x\nnameserver 9.9.9.9\nnameserver fe80::1%eth0\n"),
            ["9.9.9.9", "fe80::1%eth0"]
        );
    }
}
