//! File descriptors: every connection is one, and a collector that has none left can neither accept nor open its database's files.

use crate::config::Bounds;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the database, the trail, searches, the listener, and files that are handed out.
const OWN: usize = 512;
/// Fewer of a kind are of no use.
const LEAST: usize = 16;

/// Asks the system for as many files as `bounds` need, which a service gets only when it asks; how many there are.
pub fn allow_files(bounds: &Bounds) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let number = |limit: Option<u64>| {
        limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    };
    let (now, most) = (number(limit.current), number(limit.maximum));
    let wanted = needed(bounds).min(most);
    if wanted <= now {
        return now;
    }
    let wanted_limit = Rlimit { current: Some(wanted as u64), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, wanted_limit) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, "the number of open files could not be raised");
            now
        }
    }
}

const fn needed(bounds: &Bounds) -> usize {
    OWN + bounds.strangers + bounds.consoles + bounds.operators
}

/// The same bounds with fewer places where there are not so many files: each kind keeps its share.
pub fn within(bounds: Bounds, files: usize) -> Bounds {
    let (places, room) = (needed(&bounds) - OWN, files.saturating_sub(OWN.min(files / 2)));
    if places <= room {
        return bounds;
    }
    let share = |of: usize| (of.saturating_mul(room) / places).max(LEAST.min(of));
    let fewer = Bounds {
        strangers: share(bounds.strangers),
        strangers_of_one_address: share(bounds.strangers_of_one_address),
        consoles: share(bounds.consoles),
        operators: share(bounds.operators),
        ..bounds
    };
    tracing::warn!(
        "only {files} files may be open, so there are places for {} consoles, {} operators and {} others; raise the limit of \
         open files to {} for all",
        fewer.consoles,
        fewer.operators,
        fewer.strangers,
        needed(&bounds)
    );
    fewer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_files_are_fewer_places_of_each_kind() {
        let bounds = Bounds::default();
        assert_eq!(within(bounds, needed(&bounds)), bounds);
        for files in [256, 1024, 4096] {
            let fewer = within(bounds, files);
            let sum = fewer.strangers + fewer.consoles + fewer.operators;
            assert!(sum <= files - OWN.min(files / 2), "{files}: {fewer:?}");
            assert!(fewer.consoles > fewer.operators && fewer.strangers >= LEAST, "{fewer:?}");
        }
        assert!(allow_files(&bounds) > 0);
    }
}
