//! What viewers see of a deployment: its summary and its presence.

use super::entry::{Entry, Inner};
use super::machine::{Standing, hardware};
use super::track::{Known, last_line};
use super::view::{DeploymentSummary, Failure, PhaseState, Presence, PresenceKind, State};
use deckport_protocol::Outcome;
use deckport_protocol::secrets::Counts;
use std::sync::Arc;

/// Waiting records below this number are taken to be on their way.
const ON_THEIR_WAY: u64 = 256;
const BEHIND_AFTER_US: i64 = 2_000_000;

/// Secrets that were masked on the console and here.
fn masked(known: &Known) -> Counts {
    let mut all = known.machine.masked.clone();
    for (kind, count) in &known.masked_here {
        *all.entry(kind.clone()).or_default() += count;
    }
    all
}

impl Entry {
    /// What viewers see, or `None` while nothing of the stream is durable.
    pub fn summary(&self, now_us: i64) -> Option<DeploymentSummary> {
        let inner = self.lock();
        let known = Arc::clone(inner.seen.as_ref()?);
        let mut summary = self.summary_of(&inner, &known, now_us);
        summary.presence = self.presence(&inner, &known, now_us);
        summary.updated_at = inner.updated_at;
        Some(summary)
    }

    /// What is known and durable.
    pub fn known(&self) -> Option<Arc<Known>> {
        self.lock().seen.clone()
    }

    pub fn ended(&self) -> bool {
        self.lock().seen.as_ref().is_some_and(|known| known.machine.ended())
    }

    /// Notices a change of presence by time alone; true when there was one.
    pub fn tick(&self, now_us: i64) -> bool {
        let mut inner = self.lock();
        let Some(known) = inner.seen.clone() else { return false };
        let presence = self.presence(&inner, &known, now_us);
        let now = (presence.kind, presence.since_at);
        let before = inner.presence.replace(now);
        let running = presence.kind != PresenceKind::Ended && inner.estimates.is_some();
        before.is_none_or(|before| before.0 != now.0) || (running && now_us % 1_000_000 < 500_000)
    }

    fn presence(&self, inner: &Inner, known: &Known, now_us: i64) -> Presence {
        let waiting = inner.highest_seq.saturating_sub(known.seq);
        let heard = inner.heard_at.max(inner.updated_at);
        let since = |kind, first| match inner.presence {
            Some((before, since)) if before == kind => since,
            _ => first,
        };
        let output_at = known.output_at.max(inner.connected_at);
        let (kind, since_at, waiting_records) = if known.machine.ended() {
            (PresenceKind::Ended, inner.updated_at, None)
        } else if inner.link.is_none() {
            (PresenceKind::Offline, heard, (waiting > 0).then_some(waiting))
        } else if waiting > ON_THEIR_WAY
            || (waiting > 0 && now_us - inner.updated_at > BEHIND_AFTER_US)
        {
            (PresenceKind::Behind, since(PresenceKind::Behind, now_us), Some(waiting))
        } else if now_us - output_at >= self.silence_after_us {
            (PresenceKind::Silent, output_at, None)
        } else {
            (PresenceKind::Live, inner.connected_at, None)
        };
        Presence { kind, since_at, waiting_records }
    }

    pub(super) fn summary_of(
        &self,
        inner: &Inner,
        known: &Known,
        now_us: i64,
    ) -> DeploymentSummary {
        let machine = &known.machine;
        let descriptor = &machine.descriptor;
        let console_now = now_us + inner.clock_offset_us.unwrap_or(0);
        let percent = inner.transient.percent.map(|percent| (percent / 100.0).clamp(0.0, 1.0));
        let mut phases = known.phases.clone();
        for phase in &mut phases {
            phase.usual_us = inner.estimates.as_ref().and_then(|e| e.usual_us(&phase.name));
            if phase.state == PhaseState::Running {
                phase.progress = percent;
                phase.step.clone_from(&known.step);
            }
        }
        let estimate = inner.estimates.as_ref().map(|e| e.left(known, console_now));
        let (outcome, finished_at, failure, started_at) = match &machine.standing {
            Standing::Queued => (None, None, None, inner.updated_at),
            Standing::Running { since_at } => (None, None, None, *since_at),
            Standing::Ended { since_at, finished_at, outcome, exit, message } => {
                let failed = *outcome != Outcome::Succeeded;
                let failure = failed.then(|| {
                    let line = known.failing.get();
                    let message = if message.is_empty() {
                        machine.complaint.clone().unwrap_or_else(|| outcome.as_str().to_owned())
                    } else {
                        message.clone()
                    };
                    Failure {
                        message,
                        row: line.map(|line| line.row),
                        seq: line.map(|line| line.seq),
                        exit: exit.clone(),
                        phase: phases
                            .iter()
                            .rfind(|phase| {
                                matches!(phase.state, PhaseState::Failed | PhaseState::Interrupted)
                            })
                            .map(|phase| phase.index),
                    }
                });
                (Some(*outcome), Some(*finished_at), failure, *since_at)
            }
        };
        let state = machine.state();
        DeploymentSummary {
            id: self.id,
            console_id: descriptor.console_id,
            venue_id: self.head.tenant.venue_id,
            name: descriptor.console_name.clone(),
            template: descriptor.template.clone(),
            command: descriptor.command.clone(),
            state,
            outcome,
            presence: Presence {
                kind: if state.ended() { PresenceKind::Ended } else { PresenceKind::Offline },
                since_at: inner.updated_at,
                waiting_records: None,
            },
            started_at,
            finished_at,
            updated_at: inner.updated_at,
            current_phase: if state.ended() { None } else { known.current_phase },
            progress: match state {
                State::Succeeded => Some(1.0),
                State::Failed | State::Cancelled | State::Interrupted => None,
                State::Queued | State::Preparing | State::Running | State::Verifying => {
                    estimate.map(|(_, share)| share)
                }
            },
            eta: if state.ended() { None } else { estimate.map(|(eta, _)| eta) },
            phases,
            last_line: last_line(known),
            rows: known.rows,
            bytes: known.bytes,
            warnings: known.warnings,
            errors: known.errors,
            acked_seq: known.seq,
            gaps: machine.gaps,
            missing_bytes: machine.missing_bytes,
            failure,
            hardware: hardware(&descriptor.context),
            quarantined: inner.quarantined.clone(),
            masked: masked(known),
            masked_at_ingest: known.masked_here.values().sum(),
        }
    }
}
