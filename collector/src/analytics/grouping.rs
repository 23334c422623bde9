//! How well lines are grouped, measured on labelled logs in the form of LogHub.
//!
//! Group accuracy as of Zhu et al. 2019, "Tools and Benchmarks for Automated Log Parsing": a line is right if
//! the set of lines in its group is exactly the set of lines with its label; the accuracy is the share of
//! lines that are right. Measured of [`super::templates`] and of the plain library with its defaults, so that
//! what we do on top can be seen to help.

use super::templates::{GroupId, Templates};
use logdrain::{Miner, MinerBuilder};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a file of labelled lines is called: `NAME_2k.log_structured.csv`.
const SUFFIX: &str = ".log_structured.csv";

/// A labelled log could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum GroupingError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{name} is not a labelled log")]
    Form { name: String, source: csv::Error },
    #[error("{name} has no column {column}")]
    Column { name: String, column: &'static str },
}

/// How one way of grouping did on one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    pub groups: usize,
    /// Lines whose group is exactly their label's.
    pub right: usize,
}

/// How lines of one log were grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accuracy {
    pub name: String,
    pub lines: usize,
    /// Distinct labels.
    pub labels: usize,
    pub ours: Score,
    /// The Drain library with its defaults and nothing of ours.
    pub plain: Score,
}

impl Accuracy {
    /// The share of lines of `score` that are right, 0 to 1.
    pub fn share(&self, score: Score) -> f64 {
        if self.lines == 0 { 1.0 } else { score.right as f64 / self.lines as f64 }
    }
}

/// Measures one log, given as CSV with a header that names `Content` and `EventId`.
pub fn measure(name: &str, labelled: impl Read) -> Result<Accuracy, GroupingError> {
    let form = |source| GroupingError::Form { name: name.to_owned(), source };
    let mut reader = csv::Reader::from_reader(labelled);
    let headers = reader.headers().map_err(form)?;
    let column = |column: &'static str| {
        let position =
            headers.iter().position(|header| header.trim_start_matches('\u{feff}') == column);
        position.ok_or_else(|| GroupingError::Column { name: name.to_owned(), column })
    };
    let (content, event) = (column("Content")?, column("EventId")?);
    let mut templates = Templates::new();
    let plain =
        Miner::from_options(MinerBuilder::new().build_options().expect("defaults are in range"));
    let (mut labels, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for record in reader.into_records() {
        let record = record.map_err(form)?;
        let line = &record[content];
        labels.push(record[event].to_owned());
        ours.push(templates.place(line).group);
        theirs.push(plain.add(line).cluster_id);
    }
    Ok(Accuracy {
        name: name.to_owned(),
        lines: labels.len(),
        labels: sizes(labels.iter()).len(),
        ours: score::<GroupId>(&ours, &labels),
        plain: score(&theirs, &labels),
    })
}

fn sizes<T: Eq + Hash>(items: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut sizes = HashMap::new();
    for item in items {
        *sizes.entry(item).or_default() += 1;
    }
    sizes
}

fn score<T: Eq + Hash>(groups: &[T], labels: &[String]) -> Score {
    let (of_group, of_label) = (sizes(groups.iter()), sizes(labels.iter()));
    let of_both = sizes(groups.iter().zip(labels));
    // Sets are equal if both are as large as what they share.
    let equal = of_both
        .iter()
        .filter(|((group, label), size)| of_group[group] == **size && of_label[label] == **size);
    Score { groups: of_group.len(), right: equal.map(|(_, size)| size).sum() }
}

/// Measures each labelled log in a folder and in the folders right in it, by name.
pub fn measure_folder(folder: &Path) -> Result<Vec<Accuracy>, GroupingError> {
    let entries = |folder: &Path| -> Result<Vec<PathBuf>, GroupingError> {
        let read = |source| GroupingError::Read { path: folder.to_owned(), source };
        let entries = std::fs::read_dir(folder).map_err(read)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(read)).collect()
    };
    let mut files = entries(folder)?;
    for within in files.clone().iter().filter(|path| path.is_dir()) {
        files.append(&mut entries(within)?);
    }
    let name = |path: &Path| Some(path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.to_owned());
    let mut named: Vec<_> =
        files.into_iter().filter_map(|path| Some((name(&path)?, path))).collect();
    named.retain(|(_, path)| path.is_file());
    named.sort();
    let measured = named.iter().map(|(name, path)| {
        let read = |source| GroupingError::Read { path: path.clone(), source };
        measure(name, std::fs::File::open(path).map_err(read)?)
    });
    measured.collect()
}

/// A table for people: one log a line, and the mean of all.
pub fn table(measured: &[Accuracy]) -> String {
    let width = measured.iter().map(|one| one.name.len()).max().unwrap_or(0).max(8);
    let mut table = format!(
        "{:width$}  {:>7}  {:>6}  {:>6}  {:>6}  {:>6}  {:>6}\n",
        "log", "lines", "labels", "groups", "ours", "groups", "plain"
    );
    for one in measured {
        let _ = writeln!(
            table,
            "{:width$}  {:>7}  {:>6}  {:>6}  {:>6.3}  {:>6}  {:>6.3}",
            one.name,
            one.lines,
            one.labels,
            one.ours.groups,
            one.share(one.ours),
            one.plain.groups,
            one.share(one.plain)
        );
    }
    if !measured.is_empty() {
        let mean = |of: fn(&Accuracy) -> Score| {
            measured.iter().map(|one| one.share(of(one))).sum::<f64>() / measured.len() as f64
        };
        let (ours, plain) = (mean(|one| one.ours), mean(|one| one.plain));
        let _ = writeln!(
            table,
            "{:width$}  {:>7}  {:>6}  {:>6}  {ours:>6.3}  {:>6}  {plain:>6.3}",
            "mean", "", "", "", ""
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELLED: &str = "\
LineId,Content,EventId,EventTemplate
1,Connection from 10.0.0.1 closed,E1,Connection from <*> closed
2,Connection from 10.0.0.2 closed,E1,Connection from <*> closed
3,\"unit service a, unit 1: failed\",E2,\"unit service <*>, unit <*>: failed\"
4,\"unit service b, unit 2: started\",E3,\"unit service <*>, unit <*>: started\"
5,\"unit service c, unit 9: failed\",E2,\"unit service <*>, unit <*>: failed\"
";

    #[test]
    fn a_labelled_log_is_measured() {
        let measured = measure("Sample", LABELLED.as_bytes()).unwrap();
        assert_eq!((measured.lines, measured.labels), (5, 3));
        // The library takes what failed for what started.
        assert_eq!((measured.ours.right, measured.plain.right), (5, 2));
        assert!(table(&[measured]).contains("Sample"));
    }

    #[test]
    fn a_group_is_right_only_as_a_whole() {
        let labels = ["a", "a", "b", "b", "c"].map(str::to_owned);
        assert_eq!(score(&[1, 1, 2, 2, 3], &labels), Score { groups: 3, right: 5 });
        assert_eq!(score(&[1, 1, 2, 2, 2], &labels), Score { groups: 2, right: 2 });
        assert_eq!(score(&[1, 4, 2, 2, 3], &labels), Score { groups: 4, right: 3 });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = measure("Sample", "LineId,EventId\n1,E1\n".as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "Sample has no column Content");
        assert!(matches!(measure_folder(Path::new("/nowhere")), Err(GroupingError::Read { .. })));
    }
}
