//! Searching all that was ever printed: over runs, the newest row first, while what is found is handed on as it is found.
//!
//! What must hold: hits come in the order of [`Cursor`], so that a page goes on exactly behind the one before; counts cover every
//! row there was when the search began.

mod directory;
mod saved;
mod view;

pub use directory::Run;
pub use saved::{SaveError, SavedSearch, SavedSearchFields};
pub use view::{Histogram, NoPlace, SearchHit, SearchPage, SearchProgress};

use crate::auth::Venues;
use crate::deployment::{Entry, Standing};
use crate::log::{Axis, Cursor, Log, LogError, Spec, Spread, StreamKey, Target, Wanted};
use crate::query::{Query, RowExpr, RowTerm, RunFacts, Simplified, TimeTerm, Tree};
use crate::store::Store;
use deckport_protocol::rows::Row;
use deckport_protocol::{DeploymentId, Scope};
use directory::Directory;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stretches of a histogram at most.
const BUCKETS: i64 = 120;
/// Widths that a histogram may have, in seconds.
const WIDTHS: [i64; 18] = [
    1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800,
    2_592_000, 31_536_000,
];

/// What is wanted of a search.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Hits at most.
    pub limit: usize,
    /// Go on counting behind the last hit.
    pub count: bool,
    /// Only in this run.
    pub deployment: Option<DeploymentId>,
    /// Only behind this place.
    pub before: Option<Place>,
}

/// The place of a hit in the order of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub at: i64,
    pub deployment: DeploymentId,
    pub row: u64,
}

/// A row that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    pub run: Arc<Run>,
    pub row: Row,
    pub phase: Option<Arc<str>>,
    /// What the text was looked for with, for highlighting.
    expr: Arc<Wanted>,
}

/// How far a search is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub parts: usize,
    pub of_parts: usize,
    pub opened: usize,
    /// Those that could not be looked into.
    pub unreadable: usize,
    /// Rows covered so far.
    pub rows: u64,
    pub matched: u64,
}

/// What is handed on while a search runs.
#[derive(Debug)]
pub struct News<'a> {
    /// New ones, behind those before.
    pub hits: Vec<Hit>,
    /// What changed of the histogram: bucket, matched rows, errors among them.
    pub buckets: Vec<(usize, u64, u64)>,
    pub progress: &'a Progress,
}

/// See the module.
#[derive(Debug)]
pub struct Search {
    store: Arc<Store>,
    log: Log,
    directory: Directory,
    venues: Arc<Venues>,
}

/// A search that is about to run.
#[derive(Debug)]
pub struct Prepared {
    runs: HashMap<StreamKey, (Arc<Run>, Arc<Wanted>)>,
    plan: crate::log::Plan,
    spec: Spec,
    options: Options,
    pub axis: Option<Axis>,
    pub progress: Progress,
}

impl Search {
    pub fn new(store: Arc<Store>, log: Log, venues: Arc<Venues>) -> Self {
        Self { store, log, directory: Directory::default(), venues }
    }

    /// The run is no more.
    pub async fn forget(&self, stream: StreamKey) {
        self.directory.forget(stream).await;
    }

    /// What is left of a query in one run.
    pub fn in_run(&self, query: &Query, entry: &Entry) -> Simplified<RowTerm> {
        let known = entry.known();
        let descriptor = known.as_ref().map(|known| &known.machine.descriptor);
        let ended = known.as_ref().and_then(|known| match &known.machine.standing {
            Standing::Ended { outcome, .. } => Some(*outcome),
            Standing::Queued | Standing::Running { .. } => None,
        });
        let venue = self.venues.name(entry.head.tenant.venue_id);
        query.on_run(&RunFacts {
            deployment_id: entry.id,
            console: descriptor.map_or("", |descriptor| &descriptor.console_name),
            template: descriptor.map_or("", |descriptor| &descriptor.template),
            venue: Some(&venue),
            release: None,
            outcome: ended.into(),
            first_row_us: None,
            last_row_us: None,
        })
    }

    /// Finds out where to look.
    pub async fn prepare(
        &self,
        scope: Scope,
        query: &Query,
        options: Options,
    ) -> Result<Prepared, LogError> {
        let known = self.directory.runs(&self.store, scope).await?;
        let venues = self.venues.names();
        let place = options.before;
        let before = place.and_then(|place| {
            let run = known.iter().find(|run| run.id == place.deployment)?;
            Some(Cursor { at: place.at, stream: run.stream, row: place.row })
        });
        let mut prepared: Vec<(Simplified<RowTerm>, Arc<Wanted>)> = Vec::new();
        let mut runs = HashMap::new();
        let mut targets = Vec::new();
        for run in known {
            if options.deployment.is_some_and(|id| id != run.id) {
                continue;
            }
            let left = query.on_run(&RunFacts {
                deployment_id: run.id,
                console: &run.console,
                template: &run.template,
                venue: venues.get(&run.tenant.venue_id).map(String::as_str),
                release: None,
                outcome: run.outcome(),
                first_row_us: None,
                last_row_us: None,
            });
            // Few different ones: what is left depends on the few fields of runs that were asked for.
            let same = prepared.iter().find(|(same, _)| *same == left);
            let wanted = match same {
                Some((_, wanted)) => Arc::clone(wanted),
                None => {
                    let expr = match &left {
                        Simplified::Never => continue,
                        Simplified::Always => None,
                        Simplified::Rest(expr) => Some(expr.clone()),
                    };
                    let wanted = Arc::new(Wanted::new(behind(expr, place)));
                    prepared.push((left, Arc::clone(&wanted)));
                    wanted
                }
            };
            targets.push(Target { stream: run.stream, wanted: Arc::clone(&wanted) });
            runs.insert(run.stream, (run, wanted));
        }
        let plan = self.log.plan(&targets).await?;
        let bounds = prepared.first().and_then(|(_, wanted)| wanted.expr()).map(RowExpr::times);
        let axis = plan.span.map(|span| axis(span, bounds.unwrap_or_default()));
        let progress = Progress {
            parts: plan.parts - plan.len(),
            of_parts: plan.parts,
            opened: 0,
            unreadable: 0,
            rows: plan.skipped_rows,
            matched: 0,
        };
        let rows = Arc::new(AtomicUsize::new(options.limit));
        let spread = axis.filter(|_| options.count).map(Spread::Time);
        let spec = Spec { rows, before, spread, ..Spec::default() };
        Ok(Prepared { runs, plan, spec, options, axis, progress })
    }

    /// Runs it, and hands on what is found until `on` says stop. Whether it came to its end.
    pub async fn run(
        &self,
        prepared: Prepared,
        mut on: impl FnMut(News<'_>) -> ControlFlow<()>,
    ) -> Result<bool, LogError> {
        let Prepared { runs, plan, spec, options, mut progress, .. } = prepared;
        let wanted = Arc::clone(&spec.rows);
        let spec = Arc::new(spec);
        // Found, and not handed on yet: something newer may still come.
        let mut waiting: BTreeMap<Cursor, Hit> = BTreeMap::new();
        let mut given = 0;
        let mut buckets: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        let mut ended = true;
        self.log
            .look(plan, &spec, |stream, found, later| {
                progress.parts += 1;
                progress.opened += 1;
                if let Some(error) = &found.damaged {
                    progress.unreadable += 1;
                    tracing::error!(%error, "a part of a log could not be searched");
                }
                progress.rows += found.covered;
                progress.matched += found.matched;
                let mut changed = BTreeSet::new();
                for (bucket, (matched, errors)) in found.buckets {
                    let count = buckets.entry(bucket).or_default();
                    *count = (count.0 + matched, count.1 + errors);
                    changed.insert(bucket);
                }
                if let Some((run, expr)) = runs.get(&stream) {
                    for (cursor, row, phase) in found.rows {
                        let (run, expr) = (Arc::clone(run), Arc::clone(expr));
                        waiting.insert(cursor, Hit { run, row, phase, expr });
                    }
                }
                let mut hits = Vec::new();
                while given < options.limit
                    && let Some(newest) = waiting.last_entry()
                    && later.is_none_or(|later| newest.key().at > later)
                {
                    hits.push(newest.remove());
                    given += 1;
                }
                wanted.store(options.limit - given, Ordering::Relaxed);
                let full = given == options.limit;
                if full {
                    waiting.clear();
                }
                let count = |bucket| {
                    let (matched, errors) = buckets.get(&bucket).copied().unwrap_or_default();
                    (bucket, matched, errors)
                };
                let buckets = changed.into_iter().map(count).collect();
                let flow = on(News { hits, buckets, progress: &progress });
                if flow.is_break() || full && !options.count && later.is_some() {
                    ended = false;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
            .await?;
        Ok(ended)
    }
}

/// Only rows that are not later than a place; those of the very same time are told apart where they are found.
fn behind(expr: Option<RowExpr>, place: Option<Place>) -> Option<RowExpr> {
    let Some(place) = place else { return expr };
    let until = Tree::Term(RowTerm::Time(TimeTerm::Before(place.at.saturating_add(1))));
    Some(match expr {
        Some(expr) => expr.and(until),
        None => until,
    })
}

/// An axis over all that there is, or over what is asked for.
fn axis((first, last): (i64, i64), (from, before): (Option<i64>, Option<i64>)) -> Axis {
    let from = from.map_or(first, |from| from.max(first));
    let to = before.map_or(last, |before| (before - 1).min(last)).max(from);
    let fits = |width: &i64| (to - from) / (width * 1_000_000) < BUCKETS;
    let width = WIDTHS.into_iter().find(fits).unwrap_or(WIDTHS[WIDTHS.len() - 1]);
    let width_us = width * 1_000_000;
    let from = from.div_euclid(width_us) * width_us;
    let buckets = usize::try_from((to - from) / width_us + 1).unwrap_or(1);
    Axis { from, width_us, buckets }
}
