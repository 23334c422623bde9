//! Words that say how something went: the part of a line that is never noise.
//!
//! What must hold: no mask touches such a word, and no template generalises one, so that "install of x
//! succeeded" and "install of x failed" stay two things. Words are found inside names too
//! (`install_failed`, `FailedMount`), capitals do not matter. The lists are English, as installers are.
//!
//! A change of the lists changes how lines are grouped: raise [`super::templates::VERSION`] with it.

use std::ops::Range;

/// Something went wrong, or was not allowed. Sorted.
const FAILURES: &[&str] = &[
    "abort",
    "aborted",
    "aborting",
    "aborts",
    "bad",
    "blocked",
    "broken",
    "cannot",
    "conflict",
    "conflicts",
    "corrupt",
    "corrupted",
    "couldn",
    "crash",
    "crashed",
    "critical",
    "denied",
    "deny",
    "died",
    "disconnected",
    "emergency",
    "err",
    "error",
    "errors",
    "exceeded",
    "exception",
    "expired",
    "fail",
    "failed",
    "failing",
    "fails",
    "failure",
    "failures",
    "fatal",
    "forbidden",
    "hung",
    "inactive",
    "incompatible",
    "incomplete",
    "interrupted",
    "invalid",
    "killed",
    "lost",
    "mismatch",
    "missing",
    "panic",
    "panicked",
    "refused",
    "refusing",
    "reject",
    "rejected",
    "stalled",
    "stuck",
    "terminated",
    "timed",
    "timedout",
    "timeout",
    "timeouts",
    "unable",
    "unauthorized",
    "unavailable",
    "unexpected",
    "unhealthy",
    "unmet",
    "unreachable",
    "unresolved",
    "unsuccessful",
    "unsuccessfully",
    "unsupported",
    "violation",
    "warn",
    "warning",
    "warnings",
    "wrong",
];

/// Outcomes that are no failure, and what turns an outcome round. Sorted.
const OUTCOMES: &[&str] = &[
    "accepted",
    "activated",
    "active",
    "added",
    "allowed",
    "applied",
    "authenticated",
    "cancelled",
    "changed",
    "complete",
    "completed",
    "configured",
    "connected",
    "created",
    "deactivated",
    "deleted",
    "disabled",
    "done",
    "downgraded",
    "downloaded",
    "enabled",
    "established",
    "finished",
    "fixed",
    "granted",
    "healthy",
    "installed",
    "locked",
    "mounted",
    "never",
    "not",
    "ok",
    "okay",
    "pass",
    "passed",
    "ready",
    "recovered",
    "reinstalled",
    "removed",
    "resolved",
    "restarted",
    "restored",
    "resumed",
    "reverted",
    "running",
    "skipped",
    "started",
    "stopped",
    "succeed",
    "succeeded",
    "succeeds",
    "success",
    "successful",
    "successfully",
    "unchanged",
    "uninstalled",
    "unlocked",
    "unmounted",
    "unpacked",
    "updated",
    "upgraded",
    "verified",
];

/// The longest word of the lists, in bytes.
const LONGEST: usize = 14;

/// What a status word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Failure,
    Outcome,
}

/// What `word` says, if it is a status word. Capitals do not matter.
pub fn status(word: &str) -> Option<Status> {
    if !(2..=LONGEST).contains(&word.len()) || !word.is_ascii() {
        return None;
    }
    let mut lower = [0; LONGEST];
    let lower = &mut lower[..word.len()];
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    let among =
        |words: &[&str]| words.binary_search_by(|known| known.as_bytes().cmp(lower)).is_ok();
    if among(FAILURES) { Some(Status::Failure) } else { among(OUTCOMES).then_some(Status::Outcome) }
}

/// The status words of a line in order, with where they stand.
pub fn words(line: &str) -> impl Iterator<Item = (Range<usize>, Status)> {
    let bytes = line.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let from = at;
            if !bytes[from].is_ascii_alphabetic() {
                at += 1;
                continue;
            }
            // A word ends where letters end, and at a hump: `FailedMount` is two.
            at += 1;
            while at < bytes.len()
                && bytes[at].is_ascii_alphabetic()
                && !(bytes[at].is_ascii_uppercase() && bytes[at - 1].is_ascii_lowercase())
            {
                at += 1;
            }
            if let Some(status) = status(&line[from..at]) {
                return Some((from..at, status));
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<&str> {
        words(line).map(|(range, _)| &line[range]).collect()
    }

    #[test]
    fn the_lists_are_sorted_apart_and_short_enough() {
        for list in [FAILURES, OUTCOMES] {
            assert!(list.is_sorted());
            assert!(list.iter().all(|word| word.len() <= LONGEST && word.len() >= 2));
        }
        assert!(FAILURES.iter().all(|word| !OUTCOMES.contains(word)));
        assert!(FAILURES.iter().chain(OUTCOMES).any(|word| word.len() == LONGEST));
    }

    #[test]
    fn words_are_found_in_names_and_in_any_case() {
        assert_eq!(found("state=FAILED, last ok: never"), ["FAILED", "ok", "never"]);
        assert_eq!(
            found("install_failed FailedMount taskSucceeded"),
            ["failed", "Failed", "Succeeded"]
        );
        assert_eq!(found("errand, okra, faileds, reinstall"), [""; 0]);
        let fails = |line| words(line).any(|(_, status)| status == Status::Failure);
        assert!(fails("npm ERR! code 1") && !fails("all done"));
    }
}
