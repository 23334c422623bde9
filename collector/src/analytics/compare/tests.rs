use super::*;
use proptest::prelude::*;

/// What an installer prints, by hand after real ones. `{…}` differs each time.
const SOURCES: [&[&str]; 3] = [
    &[
        "Hit:1 http://deb.debian.org/debian trixie InRelease",
        "Get:{n} http://deb.debian.org/debian trixie/main amd64 hello amd64 2.10-5 [{size}]",
        "Get:{n} http://deb.debian.org/debian trixie/main amd64 libsdl2-2.0-0 amd64 2.32.4+dfsg-1 [{size}]",
        "Fetched {size} in {dur} ({size}/s)",
        "(Reading database ... {n} files and directories currently installed.)",
        "Preparing to unpack .../hello_2.10-5_amd64.deb ...",
        "Unpacking hello (2.10-5) over (2.10-3) ...",
        "Unpacking libsdl2-2.0-0:amd64 (2.32.4+dfsg-1) ...",
        "Setting up libsdl2-2.0-0:amd64 (2.32.4+dfsg-1) ...",
        "Setting up hello (2.10-5) ...",
        "Processing triggers for man-db (2.13.1-1) ...",
        "Processing triggers for libc-bin (2.41-12) ...",
        "{iso} dpkg[{pid}]: status installed hello:amd64 2.10-5",
        "systemd[{pid}]: Started arcade-kiosk.service - Arcade kiosk.",
        "Progress: [{pct}]",
        "Progress: [{pct}]",
        "Progress: [{pct}]",
    ],
    &[
        "Collecting requests==2.32.3",
        "  Downloading requests-2.32.3-py3-none-any.whl ({size})",
        "     ━━━━━━━━━━━━━━━━━━ {size}/{size} {size}/s eta {clock}",
        "Collecting urllib3<3,>=1.21.1 (from requests==2.32.3)",
        "  Using cached urllib3-2.5.0-py3-none-any.whl",
        "Building wheel for arcade-link (pyproject.toml): started",
        "Building wheel for arcade-link (pyproject.toml): finished with status 'done'",
        "  Created wheel for arcade-link: filename=arcade_link-0.4.1-py3-none-any.whl size={n} sha256={sha}",
        "  Stored in directory: /tmp/pip-ephem-wheel-cache-{tmp}/wheels/{hex}/wheel",
        "Installing collected packages: urllib3, requests, arcade-link",
        "Successfully installed arcade-link-0.4.1 requests-2.32.3 urllib3-2.5.0",
        "npm http fetch GET 200 https://registry.npmjs.org/uplot {dur} (cache miss)",
        "npm verbose logfile /root/.npm/_logs/{file}-debug-0.log",
        "added 57 packages, and audited 58 packages in {dur}",
        "found 0 vulnerabilities",
    ],
    &[
        "[{clock}] pulling game content {uuid}",
        "[{clock}] layer {hex}: Pulling fs layer",
        "[{clock}] layer {hex}: Download complete",
        "[{clock}] layer {hex}: Pull complete",
        "Digest: sha256:{sha}",
        "connection from {ip}:{port} accepted",
        "worker {pid} took task {uuid}",
        "checking rom checksums: ok",
        "checking controller mapping: ok",
        "display 0: 1920x1080@60 detected",
        "audio device hw:0,0 opened",
        "{stamp} kiosk: health check passed after {dur}",
        "exit status 0",
        "activated slot b, tempfile /tmp/tmp.{tmp}",
        "rebooted in {dur}, load {float}",
        "remote: Counting objects: {pct} ({n}/{n}), done.",
    ],
];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    fn letters(&mut self, of: &str, length: usize) -> String {
        (0..length).map(|_| of.as_bytes()[self.below(of.len())] as char).collect()
    }

    fn hex(&mut self, length: usize) -> String {
        self.letters("0123456789abcdef", length)
    }

    fn field(&mut self, name: &str) -> String {
        let (h, m, s) = (self.below(24), self.below(60), self.below(60));
        match name {
            "n" => self.below(400_000).to_string(),
            "pid" | "port" => (1024 + self.below(60_000)).to_string(),
            "size" => match self.below(3) {
                0 => format!("{} B", self.below(1000)),
                1 => format!("{}.{} kB", self.below(1000), self.below(10)),
                _ => format!("{},{:03} MB", 1 + self.below(9), self.below(1000)),
            },
            "dur" => match self.below(4) {
                0 => format!("{}ms", self.below(1000)),
                1 => format!("{}s", self.below(60)),
                2 => format!("{}m {}s", self.below(60), self.below(60)),
                _ => format!("{}.{} seconds", self.below(60), self.below(10)),
            },
            "pct" => format!("{}%", self.below(101)),
            "float" => format!("{}.{:02}", self.below(9), self.below(100)),
            "clock" => format!("{h:02}:{m:02}:{s:02}"),
            "iso" => format!(
                "2026-11-{:02}T{h:02}:{m:02}:{s:02}.{:03}Z",
                1 + self.below(30),
                self.below(1000)
            ),
            "file" => format!(
                "2026-11-{:02}T{h:02}_{m:02}_{s:02}_{:03}Z",
                1 + self.below(30),
                self.below(1000)
            ),
            "stamp" => format!("Nov {:2} {h:02}:{m:02}:{s:02}", 1 + self.below(30)),
            "hex" => self.hex(12),
            "sha" => self.hex(64),
            "uuid" => format!(
                "{}-{}-{}-{}-{}",
                self.hex(8),
                self.hex(4),
                self.hex(4),
                self.hex(4),
                self.hex(12)
            ),
            "ip" => format!("10.{}.{}.{}", self.below(256), self.below(256), self.below(256)),
            "tmp" => self.letters("abcdefghijklmnopqrstuvwxyz0123456789_", 8),
            name => panic!("no field {name}"),
        }
    }

    fn fill(&mut self, line: &str) -> String {
        let mut filled = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap();
            filled.push_str(before);
            filled.push_str(&self.field(name));
            rest = after;
        }
        filled + rest
    }

    /// Sources printing at once: each keeps its order.
    fn interleave<T: Clone>(&mut self, sources: &[Vec<T>]) -> Vec<T> {
        let mut left: Vec<&[T]> = sources.iter().map(Vec::as_slice).collect();
        let mut merged = Vec::new();
        while left.iter().any(|source| !source.is_empty()) {
            let source = self.below(left.len());
            if let Some((first, rest)) = left[source].split_first() {
                merged.push(first.clone());
                left[source] = rest;
            }
        }
        merged
    }
}

/// A line of a made up run: its phase, and the text with fields.
type Planned = (usize, String);

fn plan(dice: &mut Dice) -> Vec<Vec<Vec<String>>> {
    // Per phase the sources that print in it, each a stretch of its lines.
    (0..3)
        .map(|phase| {
            let count = 1 + dice.below(3);
            (0..count)
                .map(|source| {
                    let lines = SOURCES[(phase + source) % SOURCES.len()];
                    let from = dice.below(4);
                    (0..12 + dice.below(30))
                        .map(|at| lines[(from + at) % lines.len()].to_owned())
                        .collect()
                })
                .collect()
        })
        .collect()
}

fn run_of(dice: &mut Dice, plan: &[Vec<Vec<String>>]) -> Vec<Planned> {
    let phases = plan.iter().enumerate();
    phases
        .flat_map(|(phase, sources)| {
            dice.interleave(sources).into_iter().map(move |line| (phase, line))
        })
        .collect()
}

fn fed(lines: &[(usize, String)]) -> Lines {
    const PHASES: [&str; 3] = ["Fetch", "Install", "Verify"];
    let mut fed = Lines::new();
    for (row, (phase, text)) in lines.iter().enumerate() {
        fed.push(Line {
            row: row as u64,
            phase: Some(PHASES[*phase]),
            step: None,
            level: Level::Info,
            text,
            at_us: 0,
        });
    }
    fed
}

fn compare(this: &[(usize, String)], other: &[(usize, String)]) -> Comparison {
    super::compare((fed(this), &[]), (fed(other), &[]))
}

/// Plants one difference into `this`. Returns the row of this run or of the other at which it is.
fn plant(
    dice: &mut Dice,
    this: &mut Vec<Planned>,
    other: &mut Vec<Planned>,
) -> (Option<u64>, Option<u64>) {
    match dice.below(4) {
        0 => {
            let lines: Vec<usize> = (0..this.len())
                .filter(|at| this[*at].1.contains("ok") || this[*at].1.contains("install"))
                .collect();
            let at = lines[dice.below(lines.len())];
            let text = &this[at].1;
            this[at].1 = if text.contains("ok") {
                text.replace("ok", "failed")
            } else {
                text.replace("install", "remov")
            };
            (Some(at as u64), None)
        }
        1 => {
            let at = dice.below(this.len());
            let gone = this.remove(at);
            // With lines that are equal but for times any of them may be the one; take the one that was removed.
            let at = other.iter().position(|line| *line == gone).unwrap();
            (None, Some(at as u64))
        }
        2 => {
            let lines = [
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process {pid}",
                "warning: rom pack sf2ce is not signed",
                "retrying in {dur}",
            ];
            let at = dice.below(this.len() + 1);
            let phase = this[at.min(this.len() - 1)].0;
            this.insert(at, (phase, lines[dice.below(lines.len())].to_owned()));
            (Some(at as u64), None)
        }
        _ => {
            let at = dice.below(this.len());
            let phase = this[at].0;
            this.insert(at, (phase, "self test finished with exit code 3".to_owned()));
            let place = other.iter().rposition(|line| line.0 == phase).unwrap();
            other.insert(place, (phase, "self test finished with exit code 0".to_owned()));
            (Some(at as u64), Some(place as u64))
        }
    }
}

fn filled(dice: &mut Dice, lines: &[Planned]) -> Vec<(usize, String)> {
    lines.iter().map(|(phase, line)| (*phase, dice.fill(line))).collect()
}

#[test]
fn the_planted_difference_is_the_first_in_95_of_100_pairs_and_none_is_found_where_none_is() {
    let (mut found, mut clean, mut misses) = (0, 0, Vec::new());
    for seed in 0..100 {
        let mut dice = Dice(seed);
        let plan = plan(&mut dice);
        let (mut this, mut other) = (run_of(&mut dice, &plan), run_of(&mut dice, &plan));
        let (this_lines, other_lines) = (filled(&mut dice, &this), filled(&mut dice, &other));
        let none = compare(&this_lines, &other_lines);
        clean += u32::from(none.first_difference.is_none() && none.hunks.is_empty());
        let planted = plant(&mut dice, &mut this, &mut other);
        let (this_lines, other_lines) = (filled(&mut dice, &this), filled(&mut dice, &other));
        let first = compare(&this_lines, &other_lines).first_difference;
        let right = first.as_ref().is_some_and(|first| match planted {
            (Some(row), _) => first.this_row == Some(row),
            // Lines that differ by what is masked alone are one as good as the other.
            (None, Some(row)) => {
                let of = |row: u64| &other[row as usize];
                first.this_row.is_none() && first.other_row.is_some_and(|at| of(at) == of(row))
            }
            (None, None) => false,
        });
        found += u32::from(right);
        if !right {
            misses.push((seed, planted, first));
        }
    }
    assert!(clean >= 99, "{clean} of 100 equal pairs are clean");
    assert!(found >= 95, "{found} of 100 found; not: {misses:#?}");
}

fn lines(texts: &[&str]) -> Vec<(usize, String)> {
    texts.iter().map(|text| (0, (*text).to_owned())).collect()
}

#[test]
fn an_error_beats_noise_and_what_follows_from_it() {
    let other =
        lines(&["start", "mirror http://a.example/x", "progress 10%", "unpack", "set up", "done"]);
    let this = lines(&[
        "start",
        "mirror http://b.example/x",
        "progress 10%",
        "progress 20%",
        "unpack",
        "E: disk full",
    ]);
    let comparison = compare(&this, &other);
    let first = comparison.first_difference.unwrap();
    assert_eq!((first.this_row, first.text.as_str()), (Some(5), "E: disk full"));
    assert_eq!(
        (first.kind, first.other_text.as_deref()),
        (DifferenceKind::Changed, Some("set up"))
    );
    assert_eq!(comparison.same_rows, 3);
}

#[test]
fn what_runs_at_once_and_was_cut_off_does_not_come_before_the_error() {
    let other = lines(&["a one", "b one", "a two", "b two", "a three", "b three"]);
    let this = lines(&["b one", "a one", "a two", "a broke down"]);
    assert_eq!(compare(&this, &other).first_difference.unwrap().this_row, Some(3));
}

#[test]
fn a_run_that_just_ends_parts_where_it_ends() {
    let other = lines(&["one", "two", "three", "four"]);
    let comparison = compare(&lines(&["one", "two"]), &other);
    let first = comparison.first_difference.unwrap();
    assert_eq!((first.kind, first.other_row), (DifferenceKind::MissingHere, Some(2)));
    let hunk = &comparison.hunks[0];
    assert_eq!((hunk.this_from, hunk.this_to, hunk.other_from, hunk.other_to), (2, 2, 2, 4));
    assert_eq!(hunk.other_lines, ["three", "four"]);
}

#[test]
fn hunks_hold_neighbours() {
    let other = lines(&["one", "two", "three", "install of x ok", "four"]);
    let this = lines(&["one", "new", "newer", "two", "three", "install of x failed", "four"]);
    let comparison = compare(&this, &other);
    let ranges: Vec<_> = comparison
        .hunks
        .iter()
        .map(|hunk| (hunk.kind, hunk.this_from..hunk.this_to, hunk.other_from..hunk.other_to))
        .collect();
    assert_eq!(
        ranges,
        [(DifferenceKind::OnlyHere, 1..3, 1..1), (DifferenceKind::Changed, 5..6, 3..4)]
    );
    assert_eq!(comparison.hunks[1].other_lines, ["install of x ok"]);
    assert_eq!(comparison.hunks[0].this_lines, ["new", "newer"]);
}

#[test]
fn the_same_change_everywhere_is_noise() {
    let run = |name: &str, broke: &str| {
        let mut run: Vec<String> =
            (0..5).map(|at| format!("task{} of {name} runs", "x".repeat(at))).collect();
        run.push(broke.to_owned());
        run.into_iter().map(|line| (0, line)).collect::<Vec<_>>()
    };
    let comparison =
        compare(&run("bay-seven", "screen not found"), &run("bay-two", "screen found"));
    assert_eq!(comparison.first_difference.unwrap().this_row, Some(5));
}

#[test]
fn ignored_are_rows_that_are_the_same_but_for_what_is_masked() {
    let comparison = compare(&lines(&["a", "took 3s", "b"]), &lines(&["a", "b", "took 1m 4s"]));
    assert_eq!(
        (comparison.same_rows, comparison.ignored, comparison.first_difference),
        (3, 1, None)
    );
}

#[test]
fn phases_stand_side_by_side() {
    let phase = |name: &str, took: i64| PhaseTook {
        name: name.to_owned(),
        took_us: Some(took),
        state: None,
    };
    let this = [phase("Fetch", 1), phase("Install", 2), phase("Install", 3)];
    let other = [phase("Install", 4), phase("Verify", 5)];
    let pairs: Vec<_> = phases(&this, &other)
        .into_iter()
        .map(|pair| (pair.name, pair.this_us, pair.other_us))
        .collect();
    let expected = [
        ("Fetch", Some(1), None),
        ("Install", Some(2), Some(4)),
        ("Install", Some(3), None),
        ("Verify", None, Some(5)),
    ];
    assert_eq!(pairs, expected.map(|(name, this, other)| (name.to_owned(), this, other)));
}

proptest! {
    #[test]
    fn a_run_compared_with_itself_or_reordered_has_no_difference(
        texts in prop::collection::vec((0..3usize, "[a-c]{0,2}( [0-9]{1,2}| ok| 3ms)?"), 0..60), seed: u64,
    ) {
        let own = compare(&texts, &texts);
        prop_assert_eq!((own.first_difference, own.hunks.len(), own.ignored), (None, 0, 0));
        let mut shuffled = texts.clone();
        let mut dice = Dice(seed);
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, dice.below(at + 1));
        }
        let reordered = compare(&shuffled, &texts);
        prop_assert_eq!((reordered.first_difference, reordered.hunks.len()), (None, 0));
        let visible = texts.iter().filter(|(_, text)| !text.trim().is_empty()).count();
        prop_assert_eq!(reordered.same_rows, visible as u64);
    }

    #[test]
    fn every_line_is_same_or_in_one_hunk(
        these in prop::collection::vec((0..2usize, "[a-c]( [0-9]| ok| no)?"), 0..30),
        others in prop::collection::vec((0..2usize, "[a-c]( [0-9]| ok| no)?"), 0..30),
    ) {
        let comparison = compare(&these, &others);
        let here: u64 = comparison.hunks.iter().map(|hunk| hunk.this_to - hunk.this_from).sum();
        let there: u64 = comparison.hunks.iter().map(|hunk| hunk.other_to - hunk.other_from).sum();
        prop_assert_eq!(here + comparison.same_rows, these.len() as u64);
        prop_assert_eq!(there + comparison.same_rows, others.len() as u64);
        prop_assert_eq!(comparison.first_difference.is_none(), comparison.hunks.is_empty());
    }
}
