//! Finds secrets in files: how fast, and which lines. `cargo run --release -p deckport-protocol --example find_secrets -- [--show] FILE…`

use deckport_protocol::secrets::{self, Colour, Kind, Scanner, Sink};
use std::io::Write as _;
use std::time::Instant;

struct Count(u64);

impl Sink for Count {
    fn plain(&mut self, _: &[u8]) {}

    fn secret(&mut self, _: &[u8], _: Kind, begins: bool) {
        self.0 += u64::from(begins);
    }

    fn colour(&mut self, _: Colour) {}
}

fn main() -> std::io::Result<()> {
    let (flags, files): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|arg| arg == "--show");
    let mut all = Vec::new();
    for file in files {
        all.extend(std::fs::read(file)?);
    }
    let lines = memchr::memchr_iter(b'\n', &all).count().max(1);
    let mut out = std::io::stdout().lock();
    let mut masked = 0u64;
    for line in all.split_inclusive(|&byte| byte == b'\n') {
        if let Some(text) = secrets::mask(line) {
            masked += 1;
            if !flags.is_empty() {
                out.write_all(&text)?;
            }
        }
    }
    let share = masked as f64 / lines as f64 * 100.0;
    writeln!(out, "{masked} of {lines} lines have something masked ({share:.4} %)")?;
    let megabytes = all.len() as f64 / 1e6;
    for (what, piece) in
        [("frames of 8 KiB, whole", 8192), ("frames of 256 KiB, whole", 256 * 1024)]
    {
        let begun = Instant::now();
        let found: usize = all.chunks(piece).map(|text| secrets::find(text).len()).sum();
        let seconds = begun.elapsed().as_secs_f64();
        writeln!(
            out,
            "{what}: {:.0} MB/s, {:.1} million lines/s ({found} found)",
            megabytes / seconds,
            lines as f64 / seconds / 1e6
        )?;
    }
    for (what, piece) in [("stream, line by line", 0), ("stream, reads of 4 KiB", 4096)] {
        let (mut scanner, mut count) = (Scanner::default(), Count(0));
        let begun = Instant::now();
        if piece == 0 {
            for line in all.split_inclusive(|&byte| byte == b'\n') {
                scanner.feed(line, &mut count);
            }
        } else {
            for read in all.chunks(piece) {
                scanner.feed(read, &mut count);
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        writeln!(
            out,
            "{what}: {:.0} MB/s, {:.1} million lines/s ({} found)",
            megabytes / seconds,
            lines as f64 / seconds / 1e6,
            count.0
        )?;
    }
    Ok(())
}
