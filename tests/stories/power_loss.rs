//! What was acknowledged survives a power cut, on either side, and so does what a console could not deliver. `kill -9` would prove nothing: the
//! kernel keeps what was written. Here unsynced writes are really dropped, see
//! [`deckport_tests::powerloss`].

use anyhow::{Context as _, Result, bail, ensure};
use deckport_protocol::Chain;
use deckport_tests::console::{Console, Stream};
use deckport_tests::dice::{Dice, count};
use deckport_tests::feed::Feed;
use deckport_tests::powerloss::{Journal, environment, shim};
use deckport_tests::sink::{Sink, Taken};
use deckport_tests::wait::{LONG, eventually, pause};
use deckport_tests::{Agent, Collector, Process, agent, spool};
use sqlx::Connection as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// "When the journal was so long, this was promised."
#[derive(Clone, Copy, Debug)]
struct Promise {
    journal_bytes: u64,
    stream: usize,
    seq: u64,
}

/// Nothing was noted for so long: what was written stands in the journal.
const SETTLED: Duration = Duration::from_millis(60);

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
/// in between, so that its start (which folds the write-ahead log in) is cut as well. The log is folded in and begun anew, and
/// its tail sealed, every few dozen frames: that is cut too.
fn record_collector(dir: &Path, dice: &mut Dice) -> Result<(Journal, Vec<Promise>, Vec<Stream>)> {
    let (root, file) = (dir.join("disk"), dir.join("journal"));
    std::fs::create_dir(&root)?;
    let mut collector = Collector::at(&root);
    for (name, value) in environment(&shim(dir)?, &root, &file) {
        collector = collector.env(&name, value);
    }
    collector = collector.env("DECKPORT_WAL_BYTES", "65536").env("DECKPORT_TAIL_BYTES", "16384");
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
    println!(
        "{:?}, {} promises, log begun {}",
        journal.counts(),
        promises.len(),
        journal.begun("-wal")
    );
    ensure!(journal.counts().syncs > 100, "the layer saw too little: {:?}", journal.counts());
    // Each of three starts begins the write-ahead log, and so does what is folded in while it runs.
    let begun = journal.begun("-wal");
    ensure!(begun > 6, "the write-ahead log was begun only {begun} times");
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

/// What a console did, and what must be there afterwards.
#[derive(Debug)]
struct Recorded {
    journal: Journal,
    promises: Vec<Promise>,
    /// After each frame that a sink took: its last sequence number and the chain, and how much output that was.
    taken: Vec<(u64, Chain, usize)>,
    expected: Vec<u8>,
}

/// An agent records. With a sink that acknowledges, each frame is a promise: what was sent is not lost, whatever the console's disk
/// keeps. With one that never does, the disk is the only one to keep it: what was synced is a promise, and that everything is, soon. (The
/// run is far shorter than a segment of the spool, so nothing is deleted from it when it is acknowledged.)
fn record_agent(dir: &Path, acknowledged: bool) -> Result<Recorded> {
    let (root, file) = (dir.join("disk"), dir.join("journal"));
    std::fs::create_dir_all(&root)?;
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (theirs, journal) = (Arc::clone(&taken), file.clone());
    let sink = Sink::start(acknowledged, move |now| {
        let promise = Promise { journal_bytes: length(&journal), stream: 0, seq: now.last_seq };
        if let Ok(mut taken) = theirs.lock() {
            taken.push((promise, now.chain, now.output.len()));
        }
    })?;
    let mut feed = Feed::new(dir, "bay-1")?;
    let mut agent = console(&root, &sink);
    agent.environment = environment(&shim(dir)?, &root, &file)
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut process = Process::quiet(&agent.wrap(&feed.command())?)?;
    let mut promises = Vec::new();
    for turn in 0..60 {
        feed.lines(50)?;
        // Every other batch is followed at once by the next, also in one write.
        if turn % 2 == 0 {
            continue;
        }
        if acknowledged {
            eventually(LONG, "everything is sent", || {
                (sink.taken().output.len() == feed.expected().len()).then_some(())
            })?;
            continue;
        }
        let run = agent.runs().first().cloned().context("there is a run")?;
        let seq = eventually(LONG, "everything is synced", || {
            let spooled = spool::read(&run).ok()?;
            let whole = spooled.output.len() == feed.expected().len();
            if !whole {
                return None;
            }
            // A write that was just read may not stand in the journal yet: it is noted behind it, on a busy machine a good while.
            let before = length(&file);
            pause(SETTLED);
            let journal = Journal::read(&file, &root).ok()?;
            (length(&file) == before && journal.is_synced(".seg")).then_some(spooled.last_seq)
        })?;
        promises.push(Promise { journal_bytes: length(&file), stream: 0, seq });
    }
    for uplink in agent::children(process.id(), "uplink") {
        let pid = i32::try_from(uplink).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("a pid")?, rustix::process::Signal::KILL)?;
    }
    process.kill();
    let taken = taken.lock().map_err(|_| anyhow::anyhow!("a watcher panicked"))?.clone();
    if acknowledged {
        promises = taken.iter().map(|&(promise, ..)| promise).collect();
    }
    Ok(Recorded {
        journal: Journal::read(&file, &root)?,
        promises,
        taken: taken.iter().map(|&(promise, chain, output)| (promise.seq, chain, output)).collect(),
        expected: feed.expected().to_vec(),
    })
}

/// The runs that are kept in `state`.
fn console_runs(state: &Path) -> Vec<PathBuf> {
    let Ok(runs) = std::fs::read_dir(state.join("runs")) else { return vec![] };
    runs.filter_map(|run| Some(run.ok()?.path())).collect()
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

/// Looks at what a power cut left of a spool that nobody else has.
fn check_alone(state: &Path, promised: u64, expected: &[u8], deliver: bool) -> Result<()> {
    let sink = Sink::start(true, |_| {})?;
    let agent = console(state, &sink);
    let spooled = match agent.runs().first() {
        Some(run) => spool::read(run)?,
        None => spool::Spooled::default(),
    };
    let there = spooled.last_seq;
    ensure!(there >= promised, "{promised} was synced, {there} is in the spool");
    ensure!(expected.starts_with(&spooled.output), "the spool holds something else");
    if deliver && there > 0 {
        let flushed = agent.flush()?.output()?;
        ensure!(flushed.status.success(), "{flushed:?}");
        let taken = sink.taken();
        ensure!(taken.violations.is_empty(), "{:?}", taken.violations);
        ensure!(taken.ended, "the run was not ended");
        ensure!(taken.output.starts_with(&spooled.output), "flush delivered something else");
        ensure!(is_part(&taken.output, expected), "flush delivered what was never printed");
        ensure!(agent.runs().is_empty(), "flush left the run behind");
    }
    Ok(())
}

/// Has delivered what a power cut left of a spool, to a collector that has everything that was sent: that may be more.
fn check_together(state: &Path, run: &Recorded, promised: u64) -> Result<()> {
    let mut before = Taken::default();
    if let Some(&(last_seq, chain, output)) = run.taken.iter().find(|(seq, ..)| *seq == promised) {
        before = Taken { last_seq, chain, output: run.expected[..output].to_vec(), ..before };
    }
    let sink = Sink::go_on(before.clone(), true, |_| {})?;
    let agent = console(state, &sink);
    if !console_runs(state).iter().any(|run| run.join("meta.json").exists()) {
        ensure!(promised == 0, "{promised} was sent, and the run is gone");
        return Ok(());
    }
    let flushed = agent.flush()?.output()?;
    ensure!(flushed.status.success(), "{flushed:?}");
    let taken = sink.taken();
    ensure!(taken.violations.is_empty(), "{:?}", taken.violations);
    ensure!(taken.ended, "the run was not ended");
    ensure!(taken.last_seq > promised, "its end has no number of its own");
    ensure!(taken.output.starts_with(&before.output), "what was there was overwritten");
    ensure!(is_part(&taken.output, &run.expected), "flush delivered what was never printed");
    ensure!(agent.runs().is_empty(), "flush left the run behind");
    Ok(())
}

/// Whether the lines of `some` stand in `all`, in order.
fn is_part(some: &[u8], all: &[u8]) -> bool {
    let mut all = all.split_inclusive(|&byte| byte == b'\n');
    some.split_inclusive(|&byte| byte == b'\n').all(|line| all.any(|other| other == line))
}

#[test]
fn the_console_keeps_what_it_synced() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut dice = Dice::from_environment("power cuts of the console");
    let run = record_agent(dir.path(), false)?;
    println!("{:?}, {} promises", run.journal.counts(), run.promises.len());
    ensure!(
        run.journal.counts().syncs > 20,
        "the layer saw too little: {:?}",
        run.journal.counts()
    );
    for cut in 0..count("DECKPORT_CUTS", 24) * 2 {
        let done = moment(&run.journal, &run.promises, &mut dice);
        let state = dir.path().join(format!("cut-{cut}"));
        run.journal.cut(done, true, &mut dice, &state)?;
        let promised = promised(&run.journal, &run.promises, 0, done);
        check_alone(&state, promised, &run.expected, cut % 4 == 0).with_context(|| {
            format!("cut {cut}, after operation {done} of {}", run.journal.len())
        })?;
        std::fs::remove_dir_all(&state)?;
    }
    for cut in 0..20 {
        let state = dir.path().join(format!("lie-{cut}"));
        run.journal.cut(run.journal.len(), false, &mut dice, &state)?;
        let promised = promised(&run.journal, &run.promises, 0, run.journal.len());
        if check_alone(&state, promised, &run.expected, false).is_err() {
            return Ok(());
        }
    }
    bail!("a disk that keeps nothing passed as well: this test proves nothing")
}

#[test]
fn what_the_console_lost_and_the_collector_has_stays() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut dice = Dice::from_environment("power cuts of a console that is connected");
    let run = record_agent(dir.path(), true)?;
    println!("{:?}, {} promises", run.journal.counts(), run.promises.len());
    let mut behind = 0;
    for cut in 0..count("DECKPORT_CUTS", 24) {
        let done = moment(&run.journal, &run.promises, &mut dice);
        let state = dir.path().join(format!("cut-{cut}"));
        run.journal.cut(done, true, &mut dice, &state)?;
        let promised = promised(&run.journal, &run.promises, 0, done);
        if let Some(run) = console_runs(&state).first() {
            behind += usize::from(spool::read(run)?.last_seq < promised);
        }
        check_together(&state, &run, promised).with_context(|| {
            format!("cut {cut}, after operation {done} of {}", run.journal.len())
        })?;
        std::fs::remove_dir_all(&state)?;
    }
    ensure!(behind > 0, "no cut left the spool behind the collector: this test proves nothing");
    Ok(())
}
