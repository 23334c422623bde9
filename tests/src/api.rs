//! The collector's HTTP side: one request, one connection.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// Where to ask, and who asks.
#[derive(Clone, Debug)]
pub struct Api {
    pub port: u16,
    pub token: Option<String>,
}

impl Api {
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    /// Sends a request without a body. Further header lines end with CR LF.
    pub fn ask(&self, method: &str, path: &str, headers: &str) -> Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: 127.0.0.1:{}\r\n", self.port)
        };
        let token = self
            .token
            .as_ref()
            .map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{host}{token}{length}{headers}Connection: close\r\n\r\n"
        )?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        parse(&all)
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        self.ask("GET", path, "")
    }

    /// The JSON of a GET that must succeed.
    pub fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?;
        if answer.status != 200 {
            bail!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        answer.json()
    }

    /// A counter or gauge of `/metrics`, all its labels summed. 0 when it is not there.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let answer = self.get("/metrics")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        Ok(text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

fn parse(all: &[u8]) -> Result<Answer> {
    let end = find(all, b"\r\n\r\n").context("an answer without an end of its head")?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.context("an answer without a status")?;
    let rest = &all[end + 4..];
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    Ok(Answer { status, head, body })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n").context("a chunk without a length")?;
        let length = std::str::from_utf8(&rest[..line])?;
        let length = usize::from_str_radix(length.split(';').next().unwrap_or("").trim(), 16)?;
        rest = &rest[line + 2..];
        if length == 0 {
            return Ok(body);
        }
        let chunk = rest.get(..length).context("the body was cut off")?;
        body.extend_from_slice(chunk);
        rest = rest.get(length + 2..).context("the body was cut off")?;
    }
}

/// Where `needle` first stands in `hay`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
