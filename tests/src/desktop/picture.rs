//! Pictures as pixels, through ImageMagick, which the desktop stage has for screenshots anyway.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Red, green, blue, alpha of each pixel.
pub(super) fn rgba(path: &Path) -> Result<Vec<u8>> {
    let read = Command::new("convert").arg(path).args(["-depth", "8", "rgba:-"]).output();
    let read = read.context("convert (ImageMagick) cannot be started")?;
    ensure!(read.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&read.stderr));
    Ok(read.stdout)
}
