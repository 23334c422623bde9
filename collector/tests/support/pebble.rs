//! An authority of a test's own: Pebble, the ACME server by which Let's Encrypt is tested, with a name server that leads every
//! name to this machine.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where an authority will be, before it runs.
#[derive(Debug)]
pub struct Place {
    dir: tempfile::TempDir,
    port: u16,
    management: u16,
    names: u16,
}

/// Ends with it.
#[derive(Debug)]
pub struct Pebble {
    children: [Child; 2],
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

impl Place {
    /// `None` where Pebble is not installed.
    pub fn new() -> Option<Self> {
        if !is_installed("pebble") || !is_installed("pebble-challtestsrv") {
            eprintln!("skipped: Pebble is not installed (apt-get install pebble)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
        ]);
        let own = own.unwrap();
        std::fs::write(dir.path().join("pebble.pem"), own.cert.pem()).unwrap();
        std::fs::write(dir.path().join("pebble.key"), own.signing_key.serialize_pem()).unwrap();
        Some(Self { dir, port: free_port(), management: free_port(), names: free_port() })
    }

    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// What its own address is known by.
    pub fn trust(&self) -> PathBuf {
        self.dir.path().join("pebble.pem")
    }

    /// Starts it. `leads_to`: the port where it looks; `seconds`: how long its certificates are good.
    pub fn start(&self, leads_to: u16, seconds: u64) -> Pebble {
        let [port, management, names] = [self.port, self.management, self.names]
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)).to_string());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": port,
            "managementListenAddress": management,
            "certificate": self.dir.path().join("pebble.pem"),
            "privateKey": self.dir.path().join("pebble.key"),
            "httpPort": 9,
            "tlsPort": leads_to,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": seconds,
        }});
        let path = self.dir.path().join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let server = Command::new("pebble-challtestsrv")
            .args(["-dns01", names.as_str(), "-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &SocketAddr::from(([127, 0, 0, 1], free_port())).to_string()])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let log = std::fs::File::create(self.dir.path().join("pebble.log")).unwrap();
        let pebble = Command::new("pebble")
            .args(["-strict", "-dnsserver", names.as_str(), "-config"])
            .arg(&path)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let started = Pebble { children: [server, pebble] };
        for port in [port, management] {
            wait_for(&port, self.dir.path());
        }
        started
    }

    /// The certificates (PEM) of those who sign here: made anew at each start.
    pub fn root(&self) -> String {
        let output = Command::new("curl")
            .args(["-sS", "--fail", "--cacert"])
            .arg(self.trust())
            .arg(format!("https://localhost:{}/roots/0", self.management))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn wait_for(address: &str, dir: &Path) {
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(address).is_err() {
        let log = || std::fs::read_to_string(dir.join("pebble.log")).unwrap_or_default();
        assert!(Instant::now() < until, "Pebble did not start: {}", log());
        std::thread::yield_now();
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
