//! The topic `search`: what is found goes out as it is found.

use super::follow::{End, Subscription};
use super::message::{Delta, LiveMessage, SearchDelta, SearchSnapshot, Snapshot};
use crate::query::Query;
use crate::search::{Options, SearchHit, SearchProgress};
use deckport_protocol::{ErrorCode, Refusal};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const HITS: usize = 200;
const MOST_HITS: usize = 1000;
/// News goes out no more often than this: nobody reads faster.
const PACE: Duration = Duration::from_millis(40);

/// What was found and not sent yet.
#[derive(Default)]
struct Gathered {
    hits: Vec<SearchHit>,
    buckets: BTreeMap<usize, (u64, u64)>,
    progress: crate::search::Progress,
    done: bool,
}

impl Subscription {
    pub(super) async fn search(&self) -> Result<(), End> {
        let began = Instant::now();
        let asked = &self.subscribe;
        let search = &self.live.search;
        let query = Query::parse(&asked.query, self.live.deployments.now_us(), asked.tz);
        let query = query.map_err(|problem| {
            End::Refused(Refusal::new(ErrorCode::BAD_REQUEST, problem.to_string()))
        })?;
        let options = Options {
            limit: asked.limit.unwrap_or(HITS).min(MOST_HITS),
            count: true,
            deployment: asked.deployment_id,
            before: None,
        };
        let prepared = search.prepare(self.scope, &query, options).await?;
        let axis = prepared.axis;
        let data = SearchSnapshot {
            query: query.text.clone(),
            of_blocks: prepared.progress.of_parts as u64,
            histogram_from: axis.map_or(0, |axis| axis.from),
            histogram_width_us: axis.map_or(0, |axis| axis.width_us),
            histogram_buckets: axis.map_or(0, |axis| axis.buckets as u64),
        };
        self.snapshot(0, Snapshot::Search(data)).await?;
        let progress = prepared.progress.clone();
        let gathered = Mutex::new(Gathered { progress, ..Gathered::default() });
        let lock = || gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let came = Notify::new();
        let finding = async {
            let found = search.run(prepared, |news| {
                let mut gathered = lock();
                gathered.hits.extend(news.hits.into_iter().map(SearchHit::from));
                for (bucket, matched, errors) in news.buckets {
                    gathered.buckets.insert(bucket, (matched, errors));
                }
                gathered.progress = news.progress.clone();
                drop(gathered);
                came.notify_one();
                ControlFlow::Continue(())
            });
            let found = found.await;
            lock().done = true;
            came.notify_one();
            found.map(|_| ()).map_err(End::from)
        };
        // Goal: all that is found. Exits: the search ended and all of it was sent; or the socket is gone.
        let sending = async {
            loop {
                came.notified().await;
                let (delta, done) = {
                    let mut gathered = lock();
                    let buckets = std::mem::take(&mut gathered.buckets);
                    let delta = SearchDelta {
                        hits: std::mem::take(&mut gathered.hits),
                        matched: gathered.progress.matched,
                        buckets: buckets.into_iter().map(|(at, (m, e))| (at, m, e)).collect(),
                        progress: SearchProgress::new(
                            &gathered.progress,
                            began.elapsed(),
                            gathered.done,
                        ),
                    };
                    (delta, gathered.done)
                };
                self.delta(0, Delta::Search(delta)).await?;
                if done {
                    return Ok(());
                }
                tokio::time::sleep(PACE).await;
            }
        };
        let (found, sent): (Result<(), End>, Result<(), End>) = tokio::join!(finding, sending);
        sent.and(found)?;
        let reason = "complete".to_owned();
        self.send(LiveMessage::Ended { id: self.subscribe.id, reason }).await
    }
}
