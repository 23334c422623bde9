//! Power loss, on a disk that really drops and tears what was not synced.
//!
//! The disk keeps, for each file, what is durable and the writes since its last sync. At a power cut
//! every unsynced write is lost, kept, or kept in part, and a file whose name was not synced may be
//! gone. After recovery every synced record must be there, and nothing that was not written; and a number never stands for
//! two different records that were both announced while the machine ran.

#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use bytes::Bytes;
use deckport_agent::clock::Stamp;
use deckport_agent::disk::Disk;
use deckport_agent::spool::{Item, Writer};
use deckport_agent::state::Run;
use deckport_protocol::{Body, BootId, Source};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    /// Since the last sync: a write at an offset, or a cut.
    pending: Vec<Change>,
    named_durably: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, bytes) => {
            let end = *offset as usize + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset as usize..end].copy_from_slice(bytes);
        }
        Change::Cut(length) => content.truncate(*length as usize),
    }
}

impl Content {
    fn now(&self) -> Vec<u8> {
        let mut content = self.durable.clone();
        self.pending.iter().for_each(|change| apply(&mut content, change));
        content
    }
}

#[derive(Debug, Default)]
struct Platter {
    files: BTreeMap<PathBuf, Content>,
    /// Writes and syncs that still succeed; then every one fails.
    budget: Option<u32>,
    /// What all files may hold together.
    space: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct SimDisk(Rc<RefCell<Platter>>);

impl SimDisk {
    fn spend(&self) -> io::Result<()> {
        match &mut self.0.borrow_mut().budget {
            Some(0) => Err(io::Error::from_raw_os_error(28)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Cuts the power: `fate` decides over each unsynced change.
    fn cut_power(&self, mut fate: impl FnMut() -> u8) {
        let mut platter = self.0.borrow_mut();
        platter.budget = None;
        platter.files.retain(|_, content| content.named_durably || fate() < 128);
        for content in platter.files.values_mut() {
            for change in std::mem::take(&mut content.pending) {
                match (&change, fate() & 3) {
                    (_, 0) => {}
                    (Change::Write(offset, bytes), 1) => {
                        // The file has its new length, and only some of the bytes came.
                        let end = *offset as usize + bytes.len();
                        if content.durable.len() < end {
                            content.durable.resize(end, 0);
                        }
                        let from = bytes.len() * usize::from(fate()) / 256;
                        let until = from + (bytes.len() - from) * usize::from(fate()) / 256;
                        let part = Change::Write(offset + from as u64, bytes[from..until].to_vec());
                        apply(&mut content.durable, &part);
                    }
                    (Change::Write(offset, bytes), 2) => {
                        let until = bytes.len() * usize::from(fate()) / 256;
                        let part = Change::Write(*offset, bytes[..until].to_vec());
                        apply(&mut content.durable, &part);
                    }
                    _ => apply(&mut content.durable, &change),
                }
            }
            content.named_durably = true;
        }
    }

    /// Copies what is on it to a real directory, for the reader.
    fn copy_to(&self, dir: &Path) {
        for (path, content) in &self.0.borrow().files {
            std::fs::write(dir.join(path.file_name().unwrap()), content.now()).unwrap();
        }
    }
}

impl Disk for SimDisk {
    type File = PathBuf;

    fn create(&self, path: &Path) -> io::Result<PathBuf> {
        self.spend()?;
        self.0.borrow_mut().files.insert(path.to_owned(), Content::default());
        Ok(path.to_owned())
    }

    fn open(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn write_at(&self, file: &PathBuf, bytes: &[u8], offset: u64) -> io::Result<()> {
        let spent = self.spend();
        let mut platter = self.0.borrow_mut();
        let used: usize = platter.files.values().map(|content| content.now().len()).sum();
        let grows = (offset as usize + bytes.len())
            .saturating_sub(platter.files.get(file).unwrap().now().len());
        if platter.space.is_some_and(|space| used + grows > space) {
            return Err(io::Error::from_raw_os_error(28));
        }
        let content = platter.files.get_mut(file).unwrap();
        // A disk that fills takes a part before it refuses.
        let taken = if spent.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        content.pending.push(Change::Write(offset, taken.to_vec()));
        spent
    }

    fn sync(&self, file: &PathBuf) -> io::Result<()> {
        self.spend()?;
        let mut platter = self.0.borrow_mut();
        let content = platter.files.get_mut(file).unwrap();
        content.durable = content.now();
        content.pending.clear();
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.spend()?;
        for content in self.0.borrow_mut().files.values_mut() {
            content.named_durably = true;
        }
        Ok(())
    }

    fn truncate(&self, file: &PathBuf, length: u64) -> io::Result<()> {
        let mut platter = self.0.borrow_mut();
        platter.files.get_mut(file).unwrap().pending.push(Change::Cut(length));
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.borrow().files[path].now())
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.0.borrow().files.get(path).map(|content| content.now().len() as u64))
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        Ok(self.0.borrow().files.keys().map(name).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.borrow_mut().files.remove(path);
        Ok(())
    }
}

fn output(number: u64, bytes: usize) -> Item {
    let mut text = format!("{number} ").into_bytes();
    text.resize(bytes.max(text.len()), b'.');
    text.push(b'\n');
    Item::Output {
        stamp: Stamp { boot_us: number, at_us: number as i64 },
        bytes: Bytes::from(text),
        continues: false,
        source: Source::Terminal,
    }
}

fn open(disk: &SimDisk, boot: BootId) -> Writer<SimDisk> {
    Writer::open(disk.clone(), PathBuf::from("/spool"), boot, 8 * 1024 * 1024, 0).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn what_was_synced_survives_and_nothing_torn_is_accepted(
        lives in prop::collection::vec(
            // Groups of records with their sizes, each synced or not, and after how many disk operations it fills.
            (
                prop::collection::vec(
                    (prop::collection::vec(1usize..9000, 1..90), any::<bool>()), 1..6
                ),
                prop::option::of(0u32..12),
                prop::collection::vec(any::<u8>(), 64),
            ),
            1..4,
        )
    ) {
        let disk = SimDisk::default();
        let boot = BootId::new();
        // What each sequence number holds: what was synced, exactly.
        let mut synced: BTreeMap<u64, Bytes> = BTreeMap::new();
        let mut written: Vec<Bytes> = Vec::new();
        let mut number = 0;
        for (groups, fails_after, fates) in lives {
            let mut writer = open(&disk, boot);
            prop_assert!(writer.position().last_seq >= synced.len() as u64);
            disk.0.borrow_mut().budget = fails_after;
            // Announced in this life of the machine; and of that, what is not synced yet.
            let mut announced: BTreeMap<u64, Bytes> = BTreeMap::new();
            let mut unsynced: BTreeMap<u64, Bytes> = BTreeMap::new();
            for (sizes, sync) in groups {
                let first = writer.position().last_seq + 1;
                let items: Vec<Item> = sizes.iter().map(|&bytes| {
                    number += 1;
                    output(number, bytes)
                }).collect();
                let bytes: Vec<Bytes> = items.iter().filter_map(|item| match item {
                    Item::Output { bytes, .. } => Some(bytes.clone()),
                    Item::Event { .. } => None,
                }).collect();
                written.extend(bytes.iter().cloned());
                // A gap takes a number of its own before them, when something was left out.
                let skip = u64::from(writer.in_need());
                if writer.write(items).is_ok() {
                    for (place, bytes) in bytes.into_iter().enumerate() {
                        let seq = first + skip + place as u64;
                        unsynced.insert(seq, bytes.clone());
                        let before = announced.insert(seq, bytes);
                        prop_assert!(before.is_none(), "a number was used twice");
                    }
                }
                if sync {
                    match writer.sync() {
                        Ok(()) => synced.extend(std::mem::take(&mut unsynced)),
                        // Nobody knows what of it is durable, and nobody is promised that it is.
                        Err(_) => unsynced.clear(),
                    }
                }
            }
            // What was sent is what another start on the running machine finds.
            let now = tempfile::tempdir().unwrap();
            disk.copy_to(now.path());
            for record in support::spooled(&Run::at(now.path().to_owned())) {
                if let (Body::Output(output), Some(bytes)) =
                    (&record.body, announced.get(&record.seq))
                {
                    prop_assert_eq!(bytes, &output.bytes);
                }
            }
            let mut fates = fates.into_iter().cycle();
            disk.cut_power(|| fates.next().unwrap());
        }
        let writer = open(&disk, boot);
        let dir = tempfile::tempdir().unwrap();
        disk.copy_to(dir.path());
        let records = support::spooled(&Run::at(dir.path().to_owned()));
        let mut seq = 0;
        for record in &records {
            prop_assert_eq!(record.seq, seq + 1, "no hole, no repeat");
            seq = record.last_seq();
            if let Body::Output(output) = &record.body {
                prop_assert!(written.contains(&output.bytes), "nothing torn is accepted");
                if let Some(bytes) = synced.get(&record.seq) {
                    prop_assert_eq!(bytes, &output.bytes, "record {} is what was synced", record.seq);
                }
            } else {
                let lost = synced.range(record.seq..=record.last_seq()).next();
                prop_assert!(lost.is_none(), "record {:?} was synced", lost);
            }
        }
        prop_assert_eq!(writer.position().last_seq, seq);
        for lost in synced.keys() {
            prop_assert!(*lost <= seq, "record {} was synced", lost);
        }
    }
}

/// Writes more lines than fit; says how many bytes that were.
fn fill(
    writer: &mut Writer<SimDisk>,
    mut check: impl FnMut(Result<deckport_agent::spool::Position, deckport_agent::spool::SpoolError>),
) -> u64 {
    let mut printed = 0;
    for number in 0..100 {
        let item = output(number, 8000);
        if let Item::Output { bytes, .. } = &item {
            printed += bytes.len() as u64;
        }
        check(writer.commit(vec![item]));
    }
    printed
}

/// The one event behind the one gap, which stands for all that is missing of `printed` bytes.
fn behind_the_gap(disk: &SimDisk, printed: u64) -> deckport_protocol::Event {
    let real = tempfile::tempdir().unwrap();
    disk.copy_to(real.path());
    let records = support::spooled(&Run::at(real.path().to_owned()));
    let events = support::events(&records);
    let [deckport_protocol::Event::Gap { bytes, .. }, last] = &events[..] else {
        panic!("one gap and one event: {events:?}")
    };
    assert_eq!(*bytes + support::raw(&records).len() as u64, printed);
    last.clone()
}

#[test]
fn at_the_limit_output_is_left_out_and_events_are_kept() {
    let disk = SimDisk::default();
    let limit = 256 * 1024;
    let dir = PathBuf::from("/spool");
    let (mut writer, _) = Writer::open(disk.clone(), dir, BootId::new(), limit, 0).unwrap();
    let printed = fill(&mut writer, |result| assert!(result.is_ok(), "{result:?}"));
    assert!(writer.in_need());
    // The collector has acknowledged the older segments: the uplink deletes them.
    // Zeros at the end of the last one are space that was taken ahead.
    let written = |content: &[u8]| content.iter().rposition(|&byte| byte != 0).unwrap_or(0) as u64;
    let used: u64 = disk.0.borrow().files.values().map(|content| written(&content.now())).sum();
    assert!(used <= limit, "{used} bytes are used");
    let phase = deckport_protocol::Event::PhaseStarted { name: "still told".into() };
    let stamp = Stamp { boot_us: 1000, at_us: 1000 };
    writer.commit(vec![Item::Event { stamp, event: Box::new(phase.clone()) }]).unwrap();
    assert!(!writer.in_need());
    assert_eq!(behind_the_gap(&disk, printed), phase);
    let first = disk.0.borrow().files.keys().next().cloned().unwrap();
    disk.remove(&first).unwrap();
    writer.commit(vec![output(200, 8000)]).unwrap();
    assert!(!writer.in_need(), "there is room again");
}

#[test]
fn on_a_full_disk_there_is_room_to_say_how_it_ended() {
    // Full in the middle of a segment, and where the next one would begin.
    for limit in [8 * 1024 * 1024, 512 * 1024] {
        let disk = SimDisk::default();
        disk.0.borrow_mut().space = Some(400 * 1024);
        let dir = PathBuf::from("/spool");
        let (mut writer, _) = Writer::open(disk.clone(), dir, BootId::new(), limit, 0).unwrap();
        let mut refused = 0;
        let printed = fill(&mut writer, |result| refused += u32::from(result.is_err()));
        assert!(refused > 0, "the disk was never full");
        assert!(writer.in_need());
        let stamp = Stamp { boot_us: 1000, at_us: 1000 };
        let finished = deckport_protocol::Event::DeploymentFinished {
            outcome: deckport_protocol::Outcome::Failed,
            exit: None,
            message: "no space left".into(),
        };
        writer.write(vec![Item::Event { stamp, event: Box::new(finished.clone()) }]).unwrap();
        assert!(!writer.in_need());
        assert_eq!(behind_the_gap(&disk, printed), finished);
    }
}

#[test]
fn a_damaged_middle_is_a_gap_in_its_range() {
    let disk = SimDisk::default();
    let mut writer = open(&disk, BootId::new());
    for number in 0..300 {
        writer.commit(vec![output(number, 500)]).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    disk.copy_to(dir.path());
    let path = dir.path().join("00000001.seg");
    let mut content = std::fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle..middle + 3000].fill(0xAA);
    std::fs::write(&path, content).unwrap();
    let records = support::spooled(&Run::at(dir.path().to_owned()));
    let mut seq = 0;
    for record in &records {
        assert_eq!(record.seq, seq + 1);
        seq = record.last_seq();
    }
    assert_eq!(seq, 300);
    let events = support::events(&records);
    assert!(
        matches!(&events[..], [deckport_protocol::Event::Gap { first_seq, last_seq, .. }]
            if last_seq - first_seq < 10),
        "{events:?}"
    );
}
