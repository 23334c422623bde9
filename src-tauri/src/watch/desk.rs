//! The one task that owns what is known of all fleets, and what follows from it.
//!
//! In: news of the connections, how they stand, what the operator chose, opened or answered. Out: acts for the
//! notifications (a bounded queue; when the desktop's notification service hangs the desk waits, and the collector
//! sees a slow viewer) and the newest view for the tray (a `watch`: only the latest counts).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, Standing, Which};
use super::follow::News;
use super::outlook::{self, Concerns, View};
use super::policy::{Act, Fact, Key, Policy, Response};
use crate::clock::{self, Micros};
use crate::connection::Connections;
use crate::preferences::Preferences;

/// What the operator did.
#[derive(Debug)]
pub(crate) enum Deed {
    Responded(Key, Response),
    /// Opened a deployment, by whatever way.
    Saw(Which),
}

/// What the desk is given and gives.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) connections: Connections,
    pub(crate) preferences: Arc<Preferences>,
    pub(crate) news: mpsc::Receiver<(Arc<str>, News)>,
    pub(crate) deeds: mpsc::Receiver<Deed>,
    pub(crate) acts: mpsc::Sender<Act>,
    pub(crate) view: watch::Sender<View>,
    /// The connections of [`Desk::connections`] changed how they stand.
    pub(crate) standing: watch::Receiver<()>,
    pub(crate) leave: CancellationToken,
}

impl Desk {
    pub(crate) async fn run(mut self) {
        let mut choices = self.preferences.watch();
        let mut policy = Policy::new(clock::now(), choices.borrow_and_update().clone());
        let mut fleet = Fleet::default();
        // Goal: view and notices follow the facts. Every branch may be dropped: receiving loses nothing.
        loop {
            let due = policy.due_at(clock::now());
            let mut acts = Vec::new();
            tokio::select! {
                () = self.leave.cancelled() => return,
                Some((connection, news)) = self.news.recv() => {
                    take_in(&mut fleet, &connection, news);
                    // What has piled up is looked at once.
                    while let Ok((connection, news)) = self.news.try_recv() {
                        take_in(&mut fleet, &connection, news);
                    }
                }
                Some(deed) = self.deeds.recv() => {
                    let fact = match &deed {
                        Deed::Responded(key, response) => Fact::Responded(key, *response),
                        Deed::Saw(which) => Fact::Seen(which),
                    };
                    acts.extend(policy.apply(clock::now(), &fact));
                }
                Ok(()) = choices.changed() => {
                    let chosen = choices.borrow_and_update().clone();
                    acts.extend(policy.apply(clock::now(), &Fact::Chose(chosen)));
                }
                Ok(()) = self.standing.changed() => {}
                () = until(due), if due.is_some() => {}
            }
            let connections = self.connections.all();
            fleet.know(connections.into_iter().map(|connection| (connection.id, connection.name)));
            let now = clock::now();
            acts.extend(policy.apply(now, &Fact::Fleet(&fleet)));
            acts.extend(policy.apply(now, &Fact::Tick));
            self.show(&policy, &fleet, now);
            for act in acts {
                if self.acts.send(act).await.is_err() {
                    return;
                }
            }
        }
    }

    fn show(&self, policy: &Policy, fleet: &Fleet, now: Micros) {
        let concerns =
            Concerns { unseen_failures: policy.unseen_failures(), in_doubt: policy.in_doubt() };
        let paused_until = self.preferences.get().paused_until_at.filter(|until| now < *until);
        let view = outlook::view(fleet, &concerns, &self.connections.describe(), paused_until);
        self.view.send_if_modified(|shown| {
            let changed = *shown != view;
            if changed {
                *shown = view;
            }
            changed
        });
    }
}

fn take_in(fleet: &mut Fleet, connection: &Arc<str>, news: News) {
    match news {
        News::Snapshot(all) => {
            let active =
                all.iter().filter(|summary| summary.standing() == Standing::Active).count();
            tracing::info!(%connection, deployments = all.len(), active, "watching the fleet");
            fleet.replace(connection, all);
        }
        News::Changed { changed, removed } => {
            fleet.change(connection, changed);
            let gone = removed
                .into_iter()
                .map(|deployment| Which { connection: connection.clone(), deployment });
            fleet.remove(&gone.collect::<Vec<_>>());
        }
    }
}

async fn until(due: Option<Micros>) {
    let wait = due.map_or(Duration::ZERO, |due| due.since(clock::now()));
    tokio::time::sleep(wait + Duration::from_millis(1)).await;
}
