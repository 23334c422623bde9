//! The recorder's control socket: how a script's helpers and the stage speak to it.
//!
//! A Unix socket in the run's directory, named to the command by `DECKPORT_RUN`. Each side sends
//! lines of JSON. A helper sends one [`Request`] and waits for one [`Reply`]; the recorder answers
//! when what the terminal showed before is recorded before it. The stage keeps its connection for
//! as long as it lives and sends [`Request::Stage`]s.

use anyhow::{Context as _, Result, bail};
use deckport_protocol::Level;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The environment variable that names the socket.
pub const RUN_VARIABLE: &str = "DECKPORT_RUN";
/// A longer line is not taken.
pub const LINE_BYTES: usize = 64 * 1024;

/// What is asked of the recorder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    Phase {
        name: String,
    },
    Step {
        name: String,
    },
    Note {
        level: Level,
        text: String,
    },
    Progress {
        percent: f64,
        text: Option<String>,
    },
    /// From the stage, which proves itself by a key that only it was given.
    Stage {
        key: String,
        report: StageReport,
    },
}

/// What became of the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageReport {
    /// It runs, as the leader of this process group.
    Started {
        pid: i32,
    },
    /// It could not be started; the agent exits with `code` (126 or 127).
    Refused {
        code: u8,
        message: String,
    },
    /// Job control stopped it.
    Stopped {
        signal: i32,
    },
    Exited {
        code: i32,
    },
    Killed {
        signal: i32,
    },
}

/// The recorder's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub ok: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A line of JSON.
pub fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("messages hold only what JSON can express");
    line.push(b'\n');
    line
}

/// Where the control socket of a run in `dir` stands. A socket's path is at most 107 bytes long; for
/// a deeper directory it stands in a directory of its own below the temporary one.
pub fn socket_path(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("control.sock");
    if path.as_os_str().len() <= 100 {
        return Ok(path);
    }
    let short = std::env::temp_dir().join(format!("deckport-{}", uuid::Uuid::new_v4().simple()));
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .create(&short)
        .context("could not make a directory for the control socket")?;
    Ok(short.join("s"))
}

/// Sends a request to the run that this process is part of. `Ok(false)` when there is none.
pub fn send(request: &Request) -> Result<bool> {
    let Some(path) = std::env::var_os(RUN_VARIABLE) else { return Ok(false) };
    let Ok(mut socket) = UnixStream::connect(&path) else { return Ok(false) };
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    socket.write_all(&line(request)).context("could not reach the run's recorder")?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).context("the run's recorder did not answer")?;
    let reply: Reply =
        serde_json::from_str(&answer).context("the run's recorder gave no proper answer")?;
    if !reply.ok {
        bail!("{}", reply.message);
    }
    Ok(true)
}
