//! The failing line: where a viewer lands when a deployment failed.
//!
//! It is the first error row of the failing phase; else that of the phase before, since many scripts tidy up in a phase of
//! its own; else the failing phase's last row that is not empty. The failing phase is the one that the stream ended in;
//! output after the last phase ended counts as a phase of its own, unless it is empty.

use super::derive::{RowFact, RowKind};
use crate::record::Level;
use serde::{Deserialize, Serialize};

/// A row worth jumping to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingLine {
    pub row: u64,
    /// The record that the row begins in; what links use.
    pub seq: u64,
}

/// Keeps the candidates as rows come by. Small, and cheap to keep for every running deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingLines {
    phase: Option<u32>,
    first_error: Option<FailingLine>,
    last_line: Option<FailingLine>,
    /// The first error row of the phase before.
    #[serde(default)]
    error_before: Option<FailingLine>,
    /// The answer if the current phase stays empty.
    before: Option<FailingLine>,
}

impl FailingLines {
    /// Takes in the next row.
    pub fn row(&mut self, fact: &RowFact) {
        if fact.phase != self.phase {
            self.before = self.get();
            if self.first_error.is_some() || self.last_line.is_some() {
                self.error_before = self.first_error;
            }
            self.phase = fact.phase;
            self.first_error = None;
            self.last_line = None;
        }
        let here = FailingLine { row: fact.row, seq: fact.seq };
        match fact.kind {
            RowKind::Phase | RowKind::Marker => {}
            RowKind::Line | RowKind::Note | RowKind::Event | RowKind::Gap => {
                if fact.level == Level::Error {
                    self.first_error.get_or_insert(here);
                }
                if !fact.blank && fact.kind == RowKind::Line {
                    self.last_line = Some(here);
                }
            }
        }
    }

    /// The failing line, if the stream ended now.
    pub fn get(&self) -> Option<FailingLine> {
        self.first_error.or(self.error_before).or(self.last_line).or(self.before)
    }
}
