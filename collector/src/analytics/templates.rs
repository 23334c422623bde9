//! Which lines say the same thing: log templates by the Drain library, on top of [`super::mask`].
//!
//! Drain (He et al. 2017) puts a line into the group of its length and first words whose template it is most
//! like, and makes `<*>` of the words in which they differ. Here it sees masked lines (similarity 0.4,
//! depth 4), and one thing is forbidden to it: a status word ([`super::status`]) is never generalised. Each
//! stands as a word of its own, and a line's status words with their places are part of its first word,
//! by which Drain tells groups apart before it compares anything.
//!
//! What must hold:
//! * The same lines in the same order give the same groups. A group's id is the hash of the line that founded
//!   it, not a counter: it does not change when its template becomes more general, nor in another process.
//! * [`Templates::replay`] of the lessons gives the state again. A lesson is a masked line that taught something:
//!   founded a group or made a template more general. A group has few (each takes a word from its template),
//!   so the state is a short list to which lines are only ever added.
//! * Memory is bounded: beyond [`MAX_GROUPS`] nothing new is learnt, and a line that fits no group is its own
//!   template. Long lines are cut at [`MAX_BYTES`].

use super::mask::{PLACEHOLDER, Purpose, mask_into};
use super::status;
use logdrain::{Miner, MinerBuilder, UpdateType};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;

/// Of masks, status words and the use of Drain together. Signatures of different versions are not compared.
pub const VERSION: u32 = 1;

/// Groups that are learnt. A venue's failures are some hundreds.
pub const MAX_GROUPS: usize = 4096;

/// Bytes of a line that are looked at.
pub const MAX_BYTES: usize = 4096;

/// Divides a line's status words from its first word. No masked line contains control characters.
const KEY_END: char = '\u{1}';
/// Says that no blank stood before this word.
const GLUED: char = '\u{2}';
/// A blank that parts no words.
const BLANK: char = '\u{3}';

/// The part of a line by which it is recognised again; stable across processes for one [`VERSION`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(u64);

impl fmt::Debug for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Where a line was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub group: GroupId,
    /// No line like it was seen before.
    pub new: bool,
    /// The line is a lesson: see [`Templates::lessons`].
    pub learnt: bool,
}

/// Where in a run a failing line stood; a part of its signature, since the same words of another step are another failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    pub phase: Option<&'a str>,
    pub step: Option<&'a str>,
}

/// What a failure is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// 32 hexadecimal digits: version, founding line of the group, place.
    pub id: String,
    pub version: u32,
    /// The failing line's template as it is now, with `<*>` where it varies.
    pub title: String,
    /// No line like it was seen before, in any step.
    pub new: bool,
}

/// Groups of lines that say the same thing.
pub struct Templates {
    miner: Miner,
    /// The library's number of a cluster → the group.
    groups: HashMap<u64, GroupId>,
    lessons: Vec<String>,
    masked: String,
    words: String,
    prepared: String,
}

impl fmt::Debug for Templates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (groups, lessons) = (self.groups.len(), self.lessons.len());
        formatter
            .debug_struct("Templates")
            .field("groups", &groups)
            .field("lessons", &lessons)
            .finish_non_exhaustive()
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::new()
    }
}

impl Templates {
    pub fn new() -> Self {
        // No leaf is ever full, so the library evicts nothing: an eviction would depend on every line ever seen.
        let options =
            MinerBuilder::new().sim_threshold(0.4).depth(4).max_clusters_per_leaf(MAX_GROUPS + 1);
        let miner = Miner::from_options(options.build_options().expect("0.4 and 4 are in range"));
        Self {
            miner,
            groups: HashMap::new(),
            lessons: Vec::new(),
            masked: String::new(),
            words: String::new(),
            prepared: String::new(),
        }
    }

    /// The state that `lessons` were taken from, given in their order.
    pub fn replay<'a>(lessons: impl IntoIterator<Item = &'a str>) -> Self {
        let mut templates = Self::new();
        for lesson in lessons {
            templates.place(lesson);
        }
        templates
    }

    /// All that was learnt, in order: masked lines. Whoever keeps the state appends what is new of it.
    pub fn lessons(&self) -> &[String] {
        &self.lessons
    }

    /// Groups known.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Puts a line into its group, and learns from it.
    pub fn place(&mut self, line: &str) -> Placed {
        self.prepare(line);
        if self.groups.len() >= MAX_GROUPS && self.miner.match_only(&self.prepared).is_none() {
            return Placed { group: founded_by(&self.masked), new: true, learnt: false };
        }
        let added = self.miner.add(&self.prepared);
        let new = added.update == UpdateType::Created;
        let learnt = added.update != UpdateType::None;
        if learnt {
            self.lessons.push(self.masked.clone());
        }
        let group =
            *self.groups.entry(added.cluster_id).or_insert_with(|| founded_by(&self.masked));
        Placed { group, new, learnt }
    }

    /// The template of a line as it is now, without learning from the line.
    pub fn template(&mut self, line: &str) -> String {
        self.prepare(line);
        let cluster = self.miner.match_only(&self.prepared).and_then(|id| self.miner.cluster(id));
        cluster.map_or_else(|| self.masked.clone(), |cluster| rendered(cluster.template()))
    }

    /// The signature of a failing line, which is learnt.
    pub fn signature(&mut self, line: &str, place: Place<'_>) -> Signature {
        let Placed { group, new, .. } = self.place(line);
        let mut hash = Sha256::new();
        hash.update(VERSION.to_be_bytes());
        hash.update(group.0.to_be_bytes());
        for part in [place.phase, place.step] {
            // A step's name may count ("3 of 7"); a name that is missing is not one that is empty.
            mask_into(part.unwrap_or("\u{2501}"), Purpose::Grouping, &mut self.masked);
            hash.update((self.masked.len() as u64).to_be_bytes());
            hash.update(self.masked.as_bytes());
        }
        let mut id = String::with_capacity(32);
        for byte in &hash.finalize()[..16] {
            let _ = write!(id, "{byte:02x}");
        }
        Signature { id, version: VERSION, title: self.template(line), new }
    }

    /// Masks a line and writes it as Drain shall see it.
    fn prepare(&mut self, line: &str) {
        mask_into(start(line, MAX_BYTES), Purpose::Grouping, &mut self.masked);
        self.words.clear();
        self.prepared.clear();
        let (mut place, mut after_status) = (0, false);
        for token in self.masked.split(' ').filter(|token| !token.is_empty()) {
            if !token.bytes().any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()) {
                // Says nothing, so that it must not be one of the two words by which Drain tells groups apart. A
                // status word stays alone, or it would vary with what follows it.
                if place >= 2 || after_status {
                    open(&mut self.words, &mut place, false);
                    after_status = false;
                } else if !self.words.is_empty() {
                    self.words.push(BLANK);
                }
                push_once(&mut self.words, token);
                continue;
            }
            let mut written = 0;
            for (range, _) in status::words(token) {
                if range.start > written {
                    open(&mut self.words, &mut place, written > 0);
                    push_once(&mut self.words, &token[written..range.start]);
                }
                open(&mut self.words, &mut place, range.start > 0);
                written = range.end;
                let _ = write!(self.prepared, "{place}");
                if range.start > 0 {
                    self.prepared.push(GLUED);
                }
                self.prepared.push_str(&token[range.clone()]);
                self.words.push_str(&token[range]);
            }
            after_status = written == token.len();
            if written < token.len() {
                open(&mut self.words, &mut place, written > 0);
                push_once(&mut self.words, &token[written..]);
            }
        }
        self.prepared.push(KEY_END);
        self.prepared.push_str(&self.words);
    }
}

/// Starts the word of a template after `place` others. What stands before the first is part of it.
fn open(words: &mut String, place: &mut usize, glued: bool) {
    if *place > 0 {
        words.push(' ');
    } else if !words.is_empty() {
        words.push(BLANK);
    }
    if glued {
        words.push(GLUED);
    }
    *place += 1;
}

/// Writes `token`, a list of things that vary as one of them.
fn push_once(words: &mut String, token: &str) {
    let mut rest = token;
    while let Some(at) = rest.find(PLACEHOLDER) {
        let (before, after) = (&rest[..at], &rest[at + PLACEHOLDER.len()..]);
        let joint = !before.is_empty() && before.bytes().all(|byte| b",.:;/|-_".contains(&byte));
        if !(words.ends_with(PLACEHOLDER)
            && rest.len() < token.len()
            && (before.is_empty() || joint))
        {
            words.push_str(before);
            words.push_str(PLACEHOLDER);
        }
        rest = after;
    }
    words.push_str(rest);
}

/// The first bytes of a line, whole characters.
pub(super) fn start(line: &str, bytes: usize) -> &str {
    &line[..line.floor_char_boundary(bytes)]
}

fn founded_by(masked: &str) -> GroupId {
    let hash = Sha256::digest(masked.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    GroupId(u64::from_be_bytes(first))
}

/// A template of the library as a person reads it.
fn rendered(template: &str) -> String {
    let words = template.split_once(KEY_END).map_or(template, |(_, words)| words);
    words.replace(&format!(" {GLUED}"), "").replace(GLUED, "").replace(BLANK, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(templates: &mut Templates, line: &str) -> GroupId {
        templates.place(line).group
    }

    #[test]
    fn what_varies_is_generalised() {
        let mut templates = Templates::new();
        let first = templates.place("E: Unable to locate package retroarch");
        let second = templates.place("E: Unable to locate package mame");
        assert_eq!(first, Placed { group: first.group, new: true, learnt: true });
        assert_eq!(second, Placed { group: first.group, new: false, learnt: true });
        assert_eq!(
            templates.template("E: Unable to locate package x"),
            "E: Unable to locate package <*>"
        );
        let third = templates.place("E: Unable to locate package hello");
        assert_eq!(third, Placed { group: first.group, new: false, learnt: false });
        assert_eq!(templates.lessons().len(), 2);
    }

    #[test]
    fn status_words_are_never_generalised() {
        let mut templates = Templates::new();
        let lines = [
            "deployment of package a on bay 1 has succeeded",
            "deployment of package a on bay 1 has failed",
            "deployment of package a on bay 1 has FAILED",
            "deployment of package a on bay 1 timeout failed",
            "unit status=failed, code=exited over here today",
            "unit status=ok, code=exited over here today",
            "unit (failed) code=exited over here today",
            "the task install_failed was reported here today",
            "the task install_succeeded was reported here today",
            "event FailedMount was reported here today",
            "event Mounted was reported here today",
            "failed",
            "ok",
        ];
        let groups: Vec<GroupId> = lines.iter().map(|line| group(&mut templates, line)).collect();
        let mut distinct = groups.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), groups.len(), "{groups:?}");
        for line in lines {
            assert_eq!(templates.template(line), super::super::mask::mask(line, Purpose::Grouping));
        }
        // The word stays also where everything round it varies.
        group(&mut templates, "deployment of game b at table 2 has failed");
        assert_eq!(templates.template(lines[1]), "deployment of <*> <*> <*> <*> <*> has failed");
    }

    #[test]
    fn a_signature_is_of_line_and_place() {
        let mut templates = Templates::new();
        let place = Place { phase: Some("Install"), step: Some("packages (3 of 7)") };
        let first = templates.signature("E: Unable to locate package a", place);
        let again = templates.signature(
            "E: Unable to locate package b",
            Place { step: Some("packages (4 of 9)"), ..place },
        );
        assert_eq!((first.id.len(), first.new, first.version), (32, true, VERSION));
        assert_eq!((again.id.as_str(), again.new), (first.id.as_str(), false));
        assert_eq!(again.title, "E: Unable to locate package <*>");
        let elsewhere =
            templates.signature("E: Unable to locate package c", Place { phase: None, ..place });
        assert_ne!(elsewhere.id, first.id);
        // Pinned: another id for the same line needs another VERSION.
        assert_eq!(first.id, "48bfcb521732a77cc2ae8239a657f74f");
    }

    #[test]
    fn beyond_the_bound_nothing_is_learnt_and_ids_stay() {
        let mut templates = Templates::new();
        let line = |n: usize| format!("{} unlike", "q".repeat(1 + n % 90) + &"z".repeat(n / 90));
        for n in 0..MAX_GROUPS + 50 {
            templates.place(&line(n));
        }
        assert_eq!((templates.len(), templates.lessons().len()), (MAX_GROUPS, MAX_GROUPS));
        let beyond = templates.place(&line(MAX_GROUPS + 10));
        assert_eq!(beyond, templates.place(&line(MAX_GROUPS + 10)));
        assert!(beyond.new && !beyond.learnt);
        assert!(!templates.place(&line(5)).new);
    }

    fn lines() -> impl Strategy<Value = Vec<String>> {
        let word = prop::sample::select(vec![
            "pkg",
            "a",
            "b",
            "failed",
            "ok",
            "12",
            "unit=failed",
            "x.y",
            "3s",
            "(done)",
        ]);
        let line = prop::collection::vec(word, 0..7).prop_map(|words| words.join(" "));
        prop::collection::vec(line, 1..40)
    }

    proptest! {
        #[test]
        fn groups_are_stable_under_feeding_again_and_replay(lines in lines()) {
            let mut templates = Templates::new();
            let groups: Vec<GroupId> = lines.iter().map(|line| group(&mut templates, line)).collect();
            let mut other = Templates::new();
            let same: Vec<GroupId> = lines.iter().map(|line| group(&mut other, line)).collect();
            prop_assert_eq!(&groups, &same);

            let lessons = templates.lessons().to_vec();
            let mut replayed = Templates::replay(lessons.iter().map(String::as_str));
            prop_assert_eq!(replayed.lessons(), &lessons[..]);
            for line in &lines {
                prop_assert_eq!(replayed.template(line), templates.template(line));
                prop_assert_eq!(replayed.place(line), templates.place(line));
            }
        }

        #[test]
        fn lines_of_one_group_have_the_same_status_words(lines in lines()) {
            let mut templates = Templates::new();
            let mut words: HashMap<GroupId, Vec<String>> = HashMap::new();
            for line in &lines {
                let group = group(&mut templates, line);
                let of = |text: &str| status::words(text).map(|(range, _)| text[range].to_owned()).collect::<Vec<_>>();
                let found = of(line);
                prop_assert_eq!(words.entry(group).or_insert_with(|| found.clone()), &found);
                prop_assert_eq!(of(&templates.template(line)), found);
            }
        }
    }
}
