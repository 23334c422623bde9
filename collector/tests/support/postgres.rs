//! A PostgreSQL server of a test's own: a cluster in a temporary folder, reached over a socket in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends with it.
#[derive(Debug)]
pub struct Postgres {
    dir: tempfile::TempDir,
    server: Child,
    databases: std::sync::atomic::AtomicU32,
}

/// Where Debian and others put the server's programs, which are not on the path.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().or_else(|| {
        let on_path = Command::new("pg_config").arg("--bindir").output().ok()?;
        let bin = PathBuf::from(String::from_utf8(on_path.stdout).ok()?.trim());
        bin.join("initdb").exists().then_some(bin)
    })
}

/// The server does not run as root.
fn command(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

impl Postgres {
    /// Starts one; `None` where PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        let Some(bin) = programs() else {
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let owned = Command::new("chown").arg("postgres:postgres").arg(dir.path()).status();
            assert!(owned.unwrap().success(), "the folder cannot be given to the user postgres");
        }
        let data = dir.path().join("data");
        let made = command(&bin.join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--pgdata"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let server = command(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args(["-c", "listen_addresses=", "-c", "max_connections=40"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postgres = Self { dir, server, databases: std::sync::atomic::AtomicU32::new(0) };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !postgres.ask("select 1") {
            assert!(Instant::now() < deadline, "the server did not start");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        // As one is set up for real: a superuser is not bound by row-level security.
        assert!(postgres.ask("create role deckport login"), "no role could be made");
        Some(postgres)
    }

    fn ask(&self, sql: &str) -> bool {
        let psql = Command::new("psql")
            .args(["--username=postgres", "--dbname=postgres", "--quiet", "--command", sql])
            .arg("--host")
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        psql.unwrap().success()
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        let number = self.databases.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("deckport_{number}");
        assert!(
            self.ask(&format!("create database {name} owner deckport")),
            "no database could be made"
        );
        format!("postgres://deckport@localhost/{name}?host={}", self.dir.path().display())
    }

    /// As a power cut does it: every process of the server is gone at once.
    pub fn kill(&mut self) {
        // `immediate`: no checkpoint, no clean end; what was committed is in the write-ahead log.
        let pid = rustix::process::Pid::from_child(&self.server);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _ = self.server.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}
