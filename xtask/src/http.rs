//! The smallest HTTP client: is a collector of ours ready? Loopback only, one request, one status.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// True when `GET /readyz` on `addr` answers 200.
pub(crate) fn is_ready(addr: SocketAddr) -> bool {
    status(addr, "/readyz").is_ok_and(|status| status == 200)
}

/// True when somebody answers on `addr`, if only that it speaks TLS.
pub(crate) fn answers(addr: SocketAddr) -> bool {
    status(addr, "/readyz").is_ok_and(|status| status == 200 || status == 400)
}

fn status(addr: SocketAddr, path: &str) -> Result<u16> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&addr, limit)?;
    stream.set_read_timeout(Some(limit))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // "HTTP/1.1 200"
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let text = std::str::from_utf8(&head)?;
    text.get(9..).context("no status")?.parse().context("no status")
}

/// `preferred` on loopback when it is free, else a port that the system picks.
pub(crate) fn free_address(preferred: u16) -> Result<SocketAddr> {
    let free =
        |port| TcpListener::bind(("127.0.0.1", port)).and_then(|listener| listener.local_addr());
    free(preferred).or_else(|_| free(0)).context("no free port on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_the_status_200() {
        for (answer, ready) in
            [("HTTP/1.1 200 OK\r\n\r\n", true), ("HTTP/1.1 503 No\r\n\r\n", false), ("", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                // Closing on what was not read would reset the link under the answer.
                let _ = stream.read(&mut [0; 1024]);
                stream.write_all(answer.as_bytes())
            });
            assert_eq!(is_ready(addr), ready, "{answer:?}");
            server.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_taken_port_is_avoided() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_address(port).unwrap().port(), port);
    }
}
