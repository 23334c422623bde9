//! What the operator reads while a command runs: one line per step, the same on a terminal and in a CI log.
//!
//! Everything goes to standard error except results that a person or a script may want to keep (the demo's
//! address, the closing line of `test`, figures), which go to standard output.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// A step begins.
pub(crate) fn step(text: impl Display) {
    line(format_args!("{} {text}", paint("1;36", "==>")));
}

/// A detail of the running step.
pub(crate) fn info(text: impl Display) {
    line(format_args!("    {text}"));
}

/// Something that the reader should know and that does not stop the command.
pub(crate) fn warn(text: impl Display) {
    line(format_args!("{} {text}", paint("1;33", "  ! ")));
}

/// A result, on standard output.
pub(crate) fn result(text: impl Display) {
    // Nobody may be reading any more (`| head`): that is no reason to fail.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// `text` in an SGR style when standard error is a terminal.
pub(crate) fn paint(style: &str, text: &str) -> String {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// "4.2 s", "3 min 07 s".
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

/// "12.3 MB" (decimal, as package managers print it).
pub(crate) fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a figure with one decimal for a person")]
    let bytes = bytes as f64;
    if bytes < 1e6 { format!("{:.1} kB", bytes / 1e3) } else { format!("{:.1} MB", bytes / 1e6) }
}

fn line(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
