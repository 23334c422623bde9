//! Lines as common tools print them.

use super::Dice;
use std::io::{self, Write};

/// The end of an installation whose package cannot be installed.
pub(super) const FAILURE: &[&str] = &[
    "Reading package lists...",
    "Building dependency tree...",
    "Some packages could not be installed. This may mean that you have",
    "requested an impossible situation or if you are using the unstable",
    "distribution that some required packages have not yet been created",
    "or been moved out of Incoming.",
    "The following packages have unmet dependencies:",
    " deckport-firmware-nfc : Depends: libnfc6 (>= 1.8.0) but it is not installable",
    "E: Unable to correct problems, you have held broken packages.",
];

const PACKAGES: &[&str] = &[
    "libsdl2-2.0-0",
    "mesa-vulkan-drivers",
    "pipewire-audio",
    "libgtk-3-0",
    "fonts-noto-core",
    "libpulse0",
    "gamemode",
    "libusb-1.0-0",
    "pcscd",
    "libnfc-bin",
    "xserver-xorg-core",
    "unclutter",
    "chrony",
    "firmware-amd-graphics",
    "python3-venv",
    "libavcodec59",
    "nodejs",
    "ca-certificates",
    "openbox",
    "libdrm-amdgpu1",
    "evtest",
    "joystick",
    "alsa-utils",
    "plymouth-themes",
];
const WHEELS: &[&str] = &[
    "requests",
    "urllib3",
    "certifi",
    "pyserial",
    "evdev",
    "numpy",
    "pillow",
    "pydantic",
    "websockets",
    "charset-normalizer",
    "idna",
    "cffi",
    "cryptography",
    "packaging",
];
const UNITS: &[&str] = &[
    "deckport-kiosk.service",
    "deckport-nfc.service",
    "pcscd.socket",
    "chrony.service",
    "display-manager.service",
    "deckport-content.timer",
];
const ASSETS: &[&str] = &[
    "arena",
    "cards/base",
    "cards/expansion-2",
    "audio/music",
    "audio/voice",
    "shaders",
    "ui/fonts",
];

/// Writes line `number` of an installation that is in its `phase`.
pub(super) fn line(
    dice: &mut Dice,
    phase: usize,
    number: u64,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    // Each phase is mostly one tool's, with others in between.
    let usual = [3, 0, 4, 2, 5][phase % 5];
    let tool = if dice.below(10) < 8 { usual } else { dice.below(6) };
    match tool {
        0 => apt(dice, number, out),
        1 => pip(dice, out),
        2 => systemd(dice, number, out),
        3 => npm(dice, number, out),
        4 => content(dice, number, out),
        _ => checks(dice, number, out),
    }
}

fn version(dice: &mut Dice) -> String {
    let [major, minor, patch] = [dice.below(12), dice.below(30), dice.below(10)];
    format!("{major}.{minor}.{patch}-{}+deb12u{}", 1 + dice.below(4), 1 + dice.below(6))
}

fn apt(dice: &mut Dice, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let package = dice.of(PACKAGES);
    match dice.below(12) {
        0 | 1 => write!(
            out,
            "Get:{} http://deb.debian.org/debian bookworm/main amd64 {package} amd64 {} [{} kB]",
            1 + number % 240,
            version(dice),
            12 + dice.below(9000)
        ),
        2 | 3 => write!(out, "Selecting previously unselected package {package}:amd64."),
        4 | 5 => write!(
            out,
            "Preparing to unpack .../{:03}-{package}_{}_amd64.deb ...",
            number % 1000,
            version(dice)
        ),
        6 | 7 => write!(out, "Unpacking {package}:amd64 ({}) ...", version(dice)),
        8 | 9 => write!(out, "Setting up {package}:amd64 ({}) ...", version(dice)),
        10 => {
            write!(out, "Processing triggers for libc-bin (2.36-9+deb12u{}) ...", 1 + dice.below(9))
        }
        _ if dice.below(25) == 0 => write!(
            out,
            "W: Possible missing firmware /lib/firmware/amdgpu/{package}.bin for module amdgpu"
        ),
        _ => write!(
            out,
            "(Reading database ... {} files and directories currently installed.)",
            30_000 + number
        ),
    }
}

fn pip(dice: &mut Dice, out: &mut Vec<u8>) -> io::Result<()> {
    let wheel = dice.of(WHEELS);
    let [major, minor] = [1 + dice.below(8), dice.below(40)];
    match dice.below(6) {
        0 | 1 => write!(out, "Collecting {wheel}>={major}.{minor}"),
        2 => write!(
            out,
            "  Downloading {wheel}-{major}.{minor}.{}-py3-none-any.whl ({} kB)",
            dice.below(9),
            20 + dice.below(900)
        ),
        3 => write!(
            out,
            "Requirement already satisfied: {wheel} in ./venv/lib/python3.11/site-packages"
        ),
        4 => write!(out, "Installing collected packages: {wheel}, {}", dice.of(WHEELS)),
        _ => write!(out, "Successfully installed {wheel}-{major}.{minor}"),
    }
}

fn npm(dice: &mut Dice, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
    match dice.below(8) {
        0 if dice.below(6) == 0 => {
            write!(
                out,
                "npm warn deprecated inflight@1.0.{}: This module is not supported",
                dice.below(9)
            )
        }
        0 | 1 => write!(
            out,
            "added {} packages, and audited {} packages in {}s",
            dice.below(60),
            100 + number % 900,
            1 + dice.below(40)
        ),
        2 => write!(out, "> deckport-console-ui@2.{}.0 build", dice.below(20)),
        3 => write!(out, "vite v6.{}.{} building for production...", dice.below(4), dice.below(9)),
        4 => write!(
            out,
            "dist/assets/index-{:08x}.js   {}.{:02} kB",
            dice.next() as u32,
            dice.below(400),
            dice.below(100)
        ),
        5 => write!(out, "found 0 vulnerabilities"),
        _ => write!(
            out,
            "npm http fetch GET 200 https://registry.npmjs.org/{} {}ms",
            dice.of(WHEELS),
            8 + dice.below(400)
        ),
    }
}

fn systemd(dice: &mut Dice, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let unit = dice.of(UNITS);
    match dice.below(7) {
        0 => write!(
            out,
            "Created symlink /etc/systemd/system/multi-user.target.wants/{unit} → /lib/systemd/system/{unit}."
        ),
        1 => write!(out, "systemd[1]: Starting {unit}..."),
        2 => write!(out, "systemd[1]: Started {unit}."),
        3 => {
            write!(out, "writing /etc/deckport/conf.d/{:02}-station.toml (mode 0644)", number % 100)
        }
        4 => write!(out, "net.core.rmem_max = {}", 1 << (16 + dice.below(8))),
        5 if dice.below(20) == 0 => {
            write!(out, "{unit}: Scheduled restart job, restart counter is at 1.")
        }
        _ => write!(out, "systemd[1]: {unit}: Deactivated successfully."),
    }
}

fn content(dice: &mut Dice, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let asset = dice.of(ASSETS);
    match dice.below(5) {
        0 => write!(out, "slot b: verified {} of 4660 chunks", number % 4661),
        1 => write!(
            out,
            "  {asset}/pack-{:04}.pak  {:>6} KiB  sha256 {:016x}",
            number % 10_000,
            64 + dice.below(60_000),
            dice.next()
        ),
        2 => write!(out, "extracting {asset}/pack-{:04}.pak", number % 10_000),
        3 => write!(out, "\u{1b}[32m✓\u{1b}[0m {asset} matches its manifest"),
        _ => write!(
            out,
            "fetched {asset}/pack-{:04}.pak at {}.{} MB/s",
            number % 10_000,
            20 + dice.below(90),
            dice.below(10)
        ),
    }
}

fn checks(dice: &mut Dice, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
    match dice.below(5) {
        0 => write!(out, "check display: 1920x1080 at 60.00 Hz on HDMI-1 ... ok"),
        1 => write!(
            out,
            "check input: 2 arcade sticks on USB 1-{}.{} ... ok",
            1 + dice.below(4),
            1 + dice.below(4)
        ),
        2 => write!(out, "check nfc: card read in {} ms ... ok", 40 + dice.below(60)),
        3 => write!(
            out,
            "check frame time: p99 {}.{} ms over {} frames ... ok",
            14 + dice.below(2),
            dice.below(10),
            600 + number % 600
        ),
        _ => write!(
            out,
            "check network: {} Mbit/s, {}.{} ms to the venue's switch ... ok",
            800 + dice.below(150),
            dice.below(2),
            dice.below(10)
        ),
    }
}
