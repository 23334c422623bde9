//! The disk after a power cut, built from a journal of everything that was done to it.
//!
//! A program runs with `powerloss/shim.c` preloaded, which journals each open, write, truncation,
//! rename, unlink and sync below one directory. [`Journal::cut`] then builds that directory as it could
//! stand after the power went away at any point of the journal:
//!
//! * what a file held at its last sync is there;
//! * each change since is there, or not, or in part: sector by sector, in any order;
//! * a name (created, renamed, removed) since its directory's last sync is there as of a random moment
//!   since then, each directory by itself; syncing a file does not keep its name.
//!
//! This is stricter than any one file system, and within what POSIX promises. `*-shm` is left out:
//! SQLite builds it anew.

use crate::dice::Dice;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What reaches the disk at once, or not at all.
const SECTOR: usize = 512;

/// Compiles the shim below `dir`.
pub fn shim(dir: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("powerloss/shim.c");
    let library = dir.join("shim.so");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&library)
        .arg(source)
        .output()
        .context("a C compiler")?;
    ensure!(made.status.success(), "cc: {}", String::from_utf8_lossy(&made.stderr));
    Ok(library)
}

/// The environment that watches `root`.
pub fn environment(shim: &Path, root: &Path, journal: &Path) -> Vec<(String, String)> {
    [("LD_PRELOAD", shim), ("DECKPORT_POWER_ROOT", root), ("DECKPORT_POWER_JOURNAL", journal)]
        .map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned()))
        .to_vec()
}

#[derive(Debug)]
enum Operation {
    Open { inode: u64, directory: bool, truncated: bool, path: PathBuf },
    Write { inode: u64, offset: usize, bytes: Vec<u8> },
    Length { inode: u64, length: usize },
    Sync { inode: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
    MakeDir { path: PathBuf },
    RemoveDir { path: PathBuf },
    Link { from: PathBuf, to: PathBuf },
}

/// Everything that was done, in order.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    operations: Vec<Operation>,
    /// Where each operation's entry ends in the journal's file.
    ends: Vec<u64>,
}

/// How many of each there were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub writes: usize,
    pub syncs: usize,
    pub names: usize,
}

impl Journal {
    pub fn read(file: &Path, root: &Path) -> Result<Self> {
        let all = std::fs::read(file).context("the journal; is the program linked statically?")?;
        let mut journal = Self { root: root.canonicalize()?, operations: vec![], ends: vec![] };
        let mut rest = all.as_slice();
        while rest.len() >= 4 {
            let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            // The program was killed while it wrote this one.
            let Some(entry) = rest.get(4..4 + length) else { break };
            journal.operations.push(parse(entry)?);
            rest = &rest[4 + length..];
            journal.ends.push((all.len() - rest.len()) as u64);
        }
        Ok(journal)
    }

    pub const fn len(&self) -> usize {
        self.operations.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for operation in &self.operations {
            match operation {
                Operation::Write { .. } | Operation::Length { .. } => counts.writes += 1,
                Operation::Sync { .. } => counts.syncs += 1,
                Operation::Open { .. } => {}
                Operation::Rename { .. }
                | Operation::Unlink { .. }
                | Operation::MakeDir { .. }
                | Operation::RemoveDir { .. }
                | Operation::Link { .. } => counts.names += 1,
            }
        }
        counts
    }

    /// How many operations were complete when the journal's file was `bytes` long.
    pub fn done_at(&self, bytes: u64) -> usize {
        self.ends.partition_point(|&end| end <= bytes)
    }

    /// How often files whose name ends in `ending` were written from their beginning.
    pub fn begun(&self, ending: &str) -> usize {
        let mut watched = HashSet::new();
        let mut times = 0;
        for operation in &self.operations {
            match operation {
                Operation::Open { inode, path, .. } if path.to_string_lossy().ends_with(ending) => {
                    watched.insert(*inode);
                }
                Operation::Write { inode, offset: 0, .. } if watched.contains(inode) => times += 1,
                _ => {}
            }
        }
        times
    }

    /// Whether every file whose name ends in `ending` was synced after its last change.
    pub fn is_synced(&self, ending: &str) -> bool {
        let mut watched = HashSet::new();
        let mut changed = HashSet::new();
        for operation in &self.operations {
            match operation {
                Operation::Open { inode, path, .. } if path.to_string_lossy().ends_with(ending) => {
                    watched.insert(*inode);
                }
                Operation::Write { inode, .. } | Operation::Length { inode, .. } => {
                    changed.insert(*inode);
                }
                Operation::Sync { inode } => {
                    changed.remove(inode);
                }
                _ => {}
            }
        }
        watched.is_disjoint(&changed)
    }

    /// Builds the disk after a power cut behind the first `done` operations into the new directory
    /// `into`. `heeds_syncs: false` is a disk that lies: nothing is ever durable.
    pub fn cut(&self, done: usize, heeds_syncs: bool, dice: &mut Dice, into: &Path) -> Result<()> {
        let mut disk = Disk::new(self.root.clone());
        for operation in self.operations.iter().take(done) {
            if heeds_syncs || !matches!(operation, Operation::Sync { .. }) {
                disk.apply(operation);
            }
        }
        disk.fail(dice, into)
    }
}

fn parse(entry: &[u8]) -> Result<Operation> {
    struct Fields<'a>(&'a [u8]);
    impl<'a> Fields<'a> {
        fn take(&mut self, count: usize) -> Result<&'a [u8]> {
            self.0.split_off(..count).context("a journal entry is too short")
        }
        fn u32(&mut self) -> Result<usize> {
            Ok(u32::from_le_bytes(self.take(4)?.try_into()?) as usize)
        }
        fn u64(&mut self) -> Result<u64> {
            Ok(u64::from_le_bytes(self.take(8)?.try_into()?))
        }
        fn path(&mut self) -> Result<PathBuf> {
            let length = self.u32()?;
            Ok(PathBuf::from(std::str::from_utf8(self.take(length)?)?))
        }
    }
    let mut fields = Fields(entry);
    Ok(match fields.take(1)?[0] {
        1 => {
            let inode = fields.u64()?;
            let flags = fields.u32()?;
            let (directory, truncated) = (flags & 1 != 0, flags & 2 != 0);
            Operation::Open { inode, directory, truncated, path: fields.path()? }
        }
        2 => Operation::Write {
            inode: fields.u64()?,
            offset: fields.u64()? as usize,
            bytes: fields.0.to_vec(),
        },
        3 => Operation::Length { inode: fields.u64()?, length: fields.u64()? as usize },
        4 => Operation::Sync { inode: fields.u64()? },
        5 => Operation::Rename { from: fields.path()?, to: fields.path()? },
        6 => Operation::Unlink { path: fields.path()? },
        7 => Operation::MakeDir { path: fields.path()? },
        8 => Operation::RemoveDir { path: fields.path()? },
        9 => Operation::Link { from: fields.path()?, to: fields.path()? },
        other => bail!("operation {other} in the journal"),
    })
}

#[derive(Clone, Debug)]
enum Change<'a> {
    Write { offset: usize, bytes: &'a [u8] },
    Length(usize),
}

impl Change<'_> {
    fn apply(&self, content: &mut Vec<u8>) {
        match *self {
            Self::Write { offset, bytes } => put(content, offset, bytes),
            Self::Length(length) => content.resize(length, 0),
        }
    }

    /// Some sectors of it, or none, or all.
    fn apply_in_part(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        match (self, dice.below(3)) {
            (_, 0) => {}
            (Self::Write { offset, bytes }, 1) => {
                let mut at = 0;
                while at < bytes.len() {
                    let end = (((offset + at) / SECTOR + 1) * SECTOR - offset).min(bytes.len());
                    if dice.one_in(2) {
                        put(content, offset + at, &bytes[at..end]);
                    }
                    at = end;
                }
            }
            _ => self.apply(content),
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

#[derive(Debug, Default)]
struct Content<'a> {
    durable: Vec<u8>,
    since: Vec<Change<'a>>,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    /// An index into the contents.
    File(usize),
}

/// A change of one name: set, or removed.
type Naming = (PathBuf, Option<Node>);

#[derive(Debug)]
struct Disk<'a> {
    root: PathBuf,
    contents: Vec<Content<'a>>,
    files: HashMap<u64, usize>,
    directories: HashMap<u64, PathBuf>,
    /// Names as programs see them, and as they are durable.
    seen: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// By directory: what happened to its names since its last sync. A rename is one entry of two.
    since: BTreeMap<PathBuf, Vec<Vec<Naming>>>,
}

impl<'a> Disk<'a> {
    fn new(root: PathBuf) -> Self {
        Self {
            root,
            contents: vec![],
            files: HashMap::new(),
            directories: HashMap::new(),
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            since: BTreeMap::new(),
        }
    }

    fn apply(&mut self, operation: &'a Operation) {
        match operation {
            Operation::Open { inode, directory: true, path, .. } => {
                self.files.remove(inode);
                self.directories.insert(*inode, path.components().collect());
            }
            Operation::Open { inode, directory: false, truncated, path } => {
                let path: PathBuf = path.components().collect();
                let file = match self.seen.get(&path) {
                    Some(Node::File(file)) => *file,
                    Some(Node::Directory) | None => {
                        self.contents.push(Content::default());
                        let file = self.contents.len() - 1;
                        self.name(vec![(path, Some(Node::File(file)))]);
                        file
                    }
                };
                self.directories.remove(inode);
                self.files.insert(*inode, file);
                if *truncated {
                    self.contents[file].since.push(Change::Length(0));
                }
            }
            Operation::Write { inode, offset, bytes } => {
                if let Some(&file) = self.files.get(inode) {
                    self.contents[file].since.push(Change::Write { offset: *offset, bytes });
                }
            }
            Operation::Length { inode, length } => {
                if let Some(&file) = self.files.get(inode) {
                    self.contents[file].since.push(Change::Length(*length));
                }
            }
            Operation::Sync { inode } => {
                // An inode number is used again after its file is gone: the newer meaning counts.
                if let Some(&file) = self.files.get(inode) {
                    let content = &mut self.contents[file];
                    for change in std::mem::take(&mut content.since) {
                        change.apply(&mut content.durable);
                    }
                }
                if let Some(path) = self.directories.get(inode) {
                    for names in self.since.remove(path).unwrap_or_default() {
                        set(&mut self.durable, &names);
                    }
                }
            }
            Operation::Rename { from, to } => {
                let (from, to): (PathBuf, PathBuf) =
                    (from.components().collect(), to.components().collect());
                if let Some(&node) = self.seen.get(&from) {
                    self.name(vec![(from, None), (to, Some(node))]);
                }
            }
            Operation::Link { from, to } => {
                let (from, to): (PathBuf, PathBuf) =
                    (from.components().collect(), to.components().collect());
                if let Some(&node) = self.seen.get(&from) {
                    self.name(vec![(to, Some(node))]);
                }
            }
            Operation::Unlink { path } | Operation::RemoveDir { path } => {
                self.name(vec![(path.components().collect(), None)]);
            }
            Operation::MakeDir { path } => {
                self.name(vec![(path.components().collect(), Some(Node::Directory))]);
            }
        }
    }

    fn name(&mut self, names: Vec<Naming>) {
        set(&mut self.seen, &names);
        if let Some(parent) = names.last().and_then(|(path, _)| path.parent()) {
            self.since.entry(parent.to_owned()).or_default().push(names);
        }
    }

    /// The power goes away.
    fn fail(mut self, dice: &mut Dice, into: &Path) -> Result<()> {
        for pending in self.since.values() {
            let kept = dice.below(pending.len() as u64 + 1) as usize;
            for names in &pending[..kept] {
                set(&mut self.durable, names);
            }
        }
        std::fs::create_dir_all(into)?;
        // In order of paths: a directory comes before what is in it. What is in one that is not
        // there is not there either.
        for (path, node) in &self.durable {
            let Ok(relative) = path.strip_prefix(&self.root) else { continue };
            let target = into.join(relative);
            if !target.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match *node {
                Node::Directory => std::fs::create_dir(&target)?,
                Node::File(file) => {
                    if path.to_string_lossy().ends_with("-shm") {
                        continue;
                    }
                    let content = &self.contents[file];
                    let mut bytes = content.durable.clone();
                    for change in &content.since {
                        change.apply_in_part(&mut bytes, dice);
                    }
                    std::fs::write(&target, bytes)?;
                }
            }
        }
        Ok(())
    }
}

fn set(names: &mut BTreeMap<PathBuf, Node>, changes: &[Naming]) {
    for (path, node) in changes {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}
