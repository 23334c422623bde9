//! What was acknowledged survives a power cut, on either side. `kill -9` would prove nothing: the
//! kernel keeps what was written. Here unsynced writes are really dropped, see
//! [`deckport_tests::powerloss`].

use anyhow::{Context as _, Result, bail, ensure};
use deckport_tests::console::{Console, Stream};
use deckport_tests::dice::{Dice, count};
use deckport_tests::feed::Feed;
use deckport_tests::powerloss::{Journal, environment, shim};
use deckport_tests::sink::Sink;
use deckport_tests::wait::{LONG, eventually};
use deckport_tests::{Agent, Collector, Process, agent, spool};
use sqlx::Connection as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// "When the journal was so long, this was promised."
#[derive(Clone, Copy, Debug)]
struct Promise {
    journal_bytes: u64,
    stream: usize,
    seq: u64,
}

/// The last record of `stream` promised when `done` operations had been done.
fn promised(journal: &Journal, promises: &[Promise], stream: usize, done: usize) -> u64 {
    promises
        .iter()
        .filter(|promise| promise.stream == stream)
        .filter(|promise| journal.done_at(promise.journal_bytes) <= done)
        .map(|promise| promise.seq)
        .max()
        .unwrap_or(0)
}

/// Half of the cuts anywhere, half where something was just promised.
fn moment(journal: &Journal, promises: &[Promise], dice: &mut Dice) -> usize {
    if dice.one_in(2) || promises.is_empty() {
        return dice.below(journal.len() as u64 + 1) as usize;
    }
    let promise = promises[dice.below(promises.len() as u64) as usize];
    journal.done_at(promise.journal_bytes)
}

fn length(journal: &Path) -> u64 {
    std::fs::metadata(journal).map_or(0, |metadata| metadata.len())
}

/// Two consoles write, each acknowledgement is a promise; the collector is killed and started again
/// in between, so that its start (which folds the write-ahead log in) is cut as well.
fn record_collector(dir: &Path, dice: &mut Dice) -> Result<(Journal, Vec<Promise>, Vec<Stream>)> {
    let (root, file) = (dir.join("disk"), dir.join("journal"));
    std::fs::create_dir(&root)?;
    let mut collector = Collector::at(&root);
    for (name, value) in environment(&shim(dir)?, &root, &file) {
        collector = collector.env(&name, value);
    }
    let mut streams = vec![Stream::new("bay-1"), Stream::new("bay-2")];
    let mut promises = Vec::new();
    for session in 0..3 {
        collector.launch()?;
        let api = collector.api()?;
        let mut links = Vec::new();
        for stream in &mut streams {
            stream.hello.incarnation += 1;
            links.push(Console::connect(&api, &stream.hello)?);
        }
        if session == 0 {
            for (stream, link) in streams.iter_mut().zip(&mut links) {
                link.send(stream.started()?)?;
            }
        }
        for _ in 0..count("DECKPORT_POWER_FRAMES", 40) {
            for (index, (stream, link)) in streams.iter_mut().zip(&mut links).enumerate() {
                // More than one frame may be under way.
                for _ in 0..=dice.below(3) {
                    let pieces: Vec<Vec<u8>> = (0..=dice.below(12))
                        .map(|_| {
                            let length = dice.below(900) as usize;
                            let mut piece = dice.bytes(length);
                            piece.push(b'\n');
                            piece
                        })
                        .collect();
                    link.send(stream.pieces(&pieces, dice.one_in(2))?)?;
                }
                link.acked(stream.last_seq(), LONG)?;
                let journal_bytes = length(&file);
                promises.push(Promise { journal_bytes, stream: index, seq: stream.last_seq() });
            }
        }
        if session == 1 {
            collector.stop()?;
        } else {
            collector.kill();
        }
    }
    Ok((Journal::read(&file, &root)?, promises, streams))
}

/// Starts a collector on what a power cut left, and looks for everything that was promised.
fn check_collector(
    data: &Path,
    journal: &Journal,
    promises: &[Promise],
    streams: &[Stream],
    done: usize,
) -> Result<()> {
    let mut collector = Collector::start(data)?;
    let api = collector.api()?;
    for (index, stream) in streams.iter().enumerate() {
        let promised = promised(journal, promises, index, done);
        let mut hello = stream.hello.clone();
        hello.incarnation += 100;
        let link = Console::connect(&api, &hello)?;
        let acked = link.welcome.acked_seq;
        ensure!(acked >= promised, "{promised} was acknowledged, {acked} is there");
        let head = stream.heads.get(acked as usize).context("more than was ever sent")?;
        ensure!(link.welcome.chain == *head, "the chain's head differs after {acked}");
        if acked > 0 {
            let raw = collector.raw(&stream.id())?;
            ensure!(
                raw == stream.output[..stream.lengths[acked as usize]],
                "what is stored is not what was sent"
            );
        }
    }
    collector.kill();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let said: String = runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("collector.db"));
        let mut database = sqlx::SqliteConnection::connect_with(&options).await?;
        sqlx::query_scalar("pragma integrity_check").fetch_one(&mut database).await
    })?;
    ensure!(said == "ok", "integrity_check: {said}");
    Ok(())
}

#[test]
fn the_collector_keeps_what_it_acknowledged() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut dice = Dice::from_environment("power cuts of the collector");
    let (journal, promises, streams) = record_collector(dir.path(), &mut dice)?;
    println!("{:?}, {} promises", journal.counts(), promises.len());
    ensure!(journal.counts().syncs > 100, "the layer saw too little: {:?}", journal.counts());
    for cut in 0..count("DECKPORT_CUTS", 24) {
        let done = moment(&journal, &promises, &mut dice);
        let data = dir.path().join(format!("cut-{cut}"));
        journal.cut(done, true, &mut dice, &data)?;
        check_collector(&data, &journal, &promises, &streams, done)
            .with_context(|| format!("cut {cut}, after operation {done} of {}", journal.len()))?;
        std::fs::remove_dir_all(&data)?;
    }
    // The same on a disk that says that it synced and did not: the check must notice.
    for cut in 0..20 {
        let data = dir.path().join(format!("lie-{cut}"));
        journal.cut(journal.len(), false, &mut dice, &data)?;
        if check_collector(&data, &journal, &promises, &streams, journal.len()).is_err() {
            return Ok(());
        }
    }
    bail!("a disk that keeps nothing passed as well: this test proves nothing")
}

/// An agent records while somebody takes everything in: what was sent must have been durable, so each
/// frame that comes is a promise. (The run is far shorter than a segment of the spool, so nothing is
/// deleted from it when it is acknowledged.)
fn record_agent(dir: &Path) -> Result<(Journal, Vec<Promise>, Vec<u8>)> {
    let (root, file) = (dir.join("disk"), dir.join("journal"));
    std::fs::create_dir(&root)?;
    let promises = Arc::new(Mutex::new(Vec::new()));
    let (theirs, journal) = (Arc::clone(&promises), file.clone());
    let sink = Sink::start(true, move |seq| {
        let promise = Promise { journal_bytes: length(&journal), stream: 0, seq };
        if let Ok(mut promises) = theirs.lock() {
            promises.push(promise);
        }
    })?;
    let mut feed = Feed::new(dir, "bay-1")?;
    let mut agent = console(&root, &sink);
    agent.environment = environment(&shim(dir)?, &root, &file)
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut process = Process::quiet(&agent.wrap(&feed.command())?)?;
    for turn in 0..60 {
        feed.lines(50)?;
        // Every other batch is followed at once by the next, also in one commit.
        if turn % 2 == 1 {
            eventually(LONG, "everything is sent", || {
                (sink.taken().output.len() == feed.expected().len()).then_some(())
            })?;
        }
    }
    for uplink in agent::children(process.id(), "uplink") {
        let pid = i32::try_from(uplink).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("a pid")?, rustix::process::Signal::KILL)?;
    }
    process.kill();
    let promises = promises.lock().map_err(|_| anyhow::anyhow!("a watcher panicked"))?.clone();
    Ok((Journal::read(&file, &root)?, promises, feed.expected().to_vec()))
}

/// A console whose whole state is `root`.
fn console(root: &Path, sink: &Sink) -> Agent {
    Agent {
        name: "bay-1".to_owned(),
        state: root.to_owned(),
        url: Some(sink.url()),
        token_file: None,
        template: None,
        linger: 0,
        options: vec![],
        environment: vec![],
    }
}

/// Looks for what had been sent, then has it delivered from the spool that is left.
fn check_agent(state: &Path, promised: u64, expected: &[u8], deliver: bool) -> Result<()> {
    let sink = Sink::start(true, |_| {})?;
    let agent = console(state, &sink);
    let spooled = match agent.runs().first() {
        Some(run) => spool::read(run)?,
        None => spool::Spooled::default(),
    };
    let there = spooled.last_seq;
    ensure!(there >= promised, "{promised} had been sent, {there} is in the spool");
    ensure!(expected.starts_with(&spooled.output), "the spool holds something else");
    if deliver && there > 0 {
        let flushed = agent.flush()?.output()?;
        ensure!(flushed.status.success(), "{flushed:?}");
        let taken = sink.taken();
        ensure!(taken.violations.is_empty(), "{:?}", taken.violations);
        ensure!(taken.ended && taken.output == spooled.output, "flush delivered something else");
        ensure!(agent.runs().is_empty(), "flush left the run behind");
    }
    Ok(())
}

#[test]
fn the_console_keeps_what_it_sent() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut dice = Dice::from_environment("power cuts of the console");
    let (journal, promises, expected) = record_agent(dir.path())?;
    println!("{:?}, {} promises", journal.counts(), promises.len());
    ensure!(journal.counts().syncs > 20, "the layer saw too little: {:?}", journal.counts());
    for cut in 0..count("DECKPORT_CUTS", 24) * 4 {
        let done = moment(&journal, &promises, &mut dice);
        let state = dir.path().join(format!("cut-{cut}"));
        journal.cut(done, true, &mut dice, &state)?;
        let promised = promised(&journal, &promises, 0, done);
        check_agent(&state, promised, &expected, cut % 4 == 0)
            .with_context(|| format!("cut {cut}, after operation {done} of {}", journal.len()))?;
        std::fs::remove_dir_all(&state)?;
    }
    for cut in 0..20 {
        let state = dir.path().join(format!("lie-{cut}"));
        journal.cut(journal.len(), false, &mut dice, &state)?;
        let promised = promised(&journal, &promises, 0, journal.len());
        if check_agent(&state, promised, &expected, false).is_err() {
            return Ok(());
        }
    }
    bail!("a disk that keeps nothing passed as well: this test proves nothing")
}
