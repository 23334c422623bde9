//! The baseline of `ingest` that operators know: rsyslogd, writing what comes over TCP into one file and syncing each batch.

use anyhow::{Context as _, Result, ensure};
use deckport_tests::Process;
use deckport_tests::collector::free_port;
use deckport_tests::measure::cpu_of;
use deckport_tests::wait::{LONG, eventually, pause};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::baseline::Took;

/// Lines in one write of a console.
const BATCH: usize = 64;
/// It has stopped writing.
const STUCK: Duration = Duration::from_secs(30);

/// Where rsyslogd is; it stands outside of most users' path.
pub(crate) fn program() -> Option<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&places).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join("rsyslogd")).find(|path| path.is_file())
}

/// Sends each console's lines over a connection of its own, and waits until all are in the file.
pub(crate) fn measure(program: &Path, dir: &Path, consoles: &[Vec<&[u8]>]) -> Result<Took> {
    std::fs::create_dir_all(dir)?;
    let (port, file) = (free_port(), dir.join("all.log"));
    let config = format!(
        r#"global(workDirectory="{dir}" maxMessageSize="256k" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp" maxSessions="{sessions}")
template(name="asis" type="string" string="%rawmsg-after-pri%\n")
ruleset(name="all" queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="1024" queue.timeoutEnqueue="600000") {{
  action(type="omfile" file="{file}" template="asis" sync="on" flushOnTXEnd="on" asyncWriting="off")
}}
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="all" supportOctetCountedFraming="off")
"#,
        dir = dir.display(),
        file = file.display(),
        sessions = consoles.len() + 8,
    );
    let path = dir.join("rsyslog.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-n").arg("-f").arg(&path).arg("-i").arg(dir.join("pid"));
    let said = File::create(dir.join("said"))?;
    let mut server = Process::start(command.stdout(Stdio::null()).stderr(said))?;
    let connect = || TcpStream::connect(("127.0.0.1", port)).ok();
    let said = || std::fs::read_to_string(dir.join("said")).unwrap_or_default();
    drop(eventually(LONG, "rsyslogd listens", connect).with_context(said)?);
    // It takes few connections at once that nobody has accepted yet.
    let mut streams = Vec::new();
    for _ in consoles {
        pause(Duration::from_millis(10));
        streams.push(TcpStream::connect(("127.0.0.1", port))?);
    }
    let (began, cpu) = (Instant::now(), cpu_of(server.id())?);
    let wanted: usize = consoles.iter().map(Vec::len).sum();
    let took = std::thread::scope(|scope| {
        let senders: Vec<_> = consoles
            .iter()
            .zip(streams)
            .map(|(lines, mut stream)| {
                scope.spawn(move || -> Result<()> {
                    let mut batch = Vec::new();
                    for lines in lines.chunks(BATCH) {
                        batch.clear();
                        for line in lines {
                            batch.extend_from_slice(b"<13>");
                            batch.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                            batch.push(b'\n');
                        }
                        stream.write_all(&batch)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let (mut there, mut last) = (0, Instant::now());
        let mut written: Option<File> = None;
        let mut buffer = vec![0; 1024 * 1024];
        // Exits with the last line, or when nothing comes any more.
        while there < wanted {
            if written.is_none() {
                written = File::open(&file).ok();
            }
            let read = written.as_mut().map_or(Ok(0), |file| file.read(&mut buffer))?;
            there += buffer[..read].iter().filter(|&&byte| byte == b'\n').count();
            if read > 0 {
                last = Instant::now();
            } else {
                ensure!(last.elapsed() < STUCK, "{there} of {wanted} lines came: {}", said());
                pause(Duration::from_millis(5));
            }
        }
        for sender in senders {
            sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        anyhow::Ok(Took { seconds: began.elapsed().as_secs_f64(), cpu: cpu_of(server.id())? - cpu })
    })?;
    server.kill();
    std::fs::remove_dir_all(dir)?;
    Ok(took)
}
