//! Trials of this process: the running one with the request counts that decide it, and the last one. Pure.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{CoreId, Owner, Serial, SetVersion};

use super::gate::{Baseline, compare};
use super::history::{CoreCounts, History};
use super::{RevertReason, Tally, TrialId, TrialState, TrialStatus};
use crate::engine::core_acks::CoreProgress;
use crate::status::CoreState;
use crate::time::{Micros, Now};

/// The running trial, the last one, and request counts of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    history: History,
    running: Option<Running>,
    last: Option<TrialStatus>,
    counters: TrialCounters,
}

/// Ended trials since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrialCounters {
    pub(crate) promoted: u64,
    pub(crate) reverted: u64,
}

/// Decision about the running trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Promote,
    Revert(RevertReason),
}

/// A trial to watch.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) id: TrialId,
    pub(crate) owner: Owner,
    pub(crate) version: Option<SetVersion>,
    pub(crate) bake: Duration,
    pub(crate) core: CoreId,
    /// Its first snapshot.
    pub(crate) serial: Serial,
}

#[derive(Debug)]
struct Running {
    status: TrialStatus,
    serial: Serial,
    began: Micros,
    /// Counters of all cores when the core acknowledged the first snapshot, and the time.
    since: Option<(Vec<CoreCounts>, Micros)>,
    before: Baseline,
    reviewed: Micros,
}

impl Trials {
    /// Chooses the core of the next trial from those that `is_usable` admits.
    pub(crate) fn choose_core(&self, is_usable: impl Fn(CoreId) -> bool) -> Option<CoreId> {
        self.history.busiest(is_usable)
    }

    /// Takes a reading of all cores for the history, once it is due.
    pub(crate) fn record(&mut self, counts: impl Iterator<Item = CoreCounts>, now: Micros) {
        self.history.record(counts, now);
    }

    /// Begins to watch a trial.
    pub(crate) fn begin(&mut self, begun: Begun, now: Now) {
        let Begun { id, owner, version, bake, core, serial } = begun;
        let version: Arc<str> = version.as_ref().map_or("", |version| version.as_str()).into();
        let before = self.history.baseline();
        let status = TrialStatus {
            id,
            owner,
            version,
            state: TrialState::Running,
            core,
            started_at: now.at,
            elapsed: Duration::ZERO,
            bake,
            on_trial: Tally::default(),
            others: Tally::default(),
            before: before.total,
            z: None,
        };
        self.running =
            Some(Running { status, serial, began: now.micros, since: None, before, reviewed: now.micros });
    }

    /// Judges the running trial by the counters of all cores and the progress of its own.
    pub(crate) fn review(
        &mut self,
        counts: impl Iterator<Item = CoreCounts>,
        core: impl Fn(CoreId) -> Option<CoreProgress>,
        now: Micros,
    ) -> Option<Verdict> {
        let running = self.running.as_mut().filter(|running| running.status.state == TrialState::Running)?;
        let progress = core(running.status.core)?;
        if progress.state != CoreState::Following {
            return Some(Verdict::Revert(RevertReason::CoreLost));
        }
        if running.since.is_none() && progress.acknowledged >= Some(running.serial) {
            running.since = Some((counts.collect(), now));
            running.reviewed = now;
            return None;
        }
        if running.since.is_none() || now < running.next_review() {
            return None;
        }
        running.review(counts, now)
    }

    /// Time at which [`Trials::record`] or [`Trials::review`] is due.
    pub(crate) fn next_deadline(&self) -> Micros {
        let review = match &self.running {
            Some(running) if running.status.state == TrialState::Running && running.since.is_some() => {
                running.next_review()
            }
            // Its acknowledgement wakes the thread, and so does its deadline.
            _ => Micros::NEVER,
        };
        review.min(self.history.next_deadline())
    }

    /// Records that the running trial is being stored.
    pub(crate) fn handle_promoting(&mut self) {
        if let Some(running) = &mut self.running {
            running.status.state = TrialState::Promoting;
        }
    }

    /// Records that the running trial is stored and on all cores. Returns its status.
    pub(crate) fn handle_promoted(&mut self, now: Micros) -> Option<TrialStatus> {
        let is_judged = self.running.as_ref()?.status.z.is_some();
        self.counters.promoted += 1;
        self.end(TrialState::Promoted { is_judged }, now)
    }

    /// Records that the running trial is reverted. Returns its status.
    pub(crate) fn handle_reverted(&mut self, reason: RevertReason, now: Micros) -> Option<TrialStatus> {
        self.running.as_ref()?;
        self.counters.reverted += 1;
        self.end(TrialState::Reverted(reason), now)
    }

    /// The running trial, or the last one.
    pub(crate) fn status(&self, now: Micros) -> Option<TrialStatus> {
        match &self.running {
            Some(running) => {
                Some(TrialStatus { elapsed: now.since(running.began), ..running.status.clone() })
            }
            None => self.last.clone(),
        }
    }

    pub(crate) fn counters(&self) -> TrialCounters {
        self.counters
    }

    fn end(&mut self, state: TrialState, now: Micros) -> Option<TrialStatus> {
        let Running { status, began, .. } = self.running.take()?;
        self.last = Some(TrialStatus { state, elapsed: now.since(began), ..status });
        self.last.clone()
    }
}

impl Running {
    fn next_review(&self) -> Micros {
        self.reviewed.after(REVIEW_INTERVAL).min(self.baked())
    }

    /// End of the bake time; not earlier than the acknowledgement.
    fn baked(&self) -> Micros {
        self.since.as_ref().map_or(Micros::NEVER, |(_, since)| since.after(self.status.bake))
    }

    fn review(&mut self, counts: impl Iterator<Item = CoreCounts>, now: Micros) -> Option<Verdict> {
        let (start, _) = self.since.as_ref()?;
        let (mut on_trial, mut others) = (Tally::default(), Tally::default());
        let mut has_panicked = false;
        for (counts, start) in counts.zip(start) {
            let tally = counts.tally.since(start.tally);
            if counts.core == self.status.core {
                on_trial.add(tally);
                has_panicked = counts.panics > start.panics;
            } else {
                others.add(tally);
            }
        }
        let comparison = compare(on_trial, others, &self.before);
        self.reviewed = now;
        self.status = TrialStatus { on_trial, others, z: comparison.z, ..self.status.clone() };
        if has_panicked {
            return Some(Verdict::Revert(RevertReason::Panicked));
        }
        if comparison.is_worse {
            return Some(Verdict::Revert(RevertReason::Worse));
        }
        (now >= self.baked()).then_some(Verdict::Promote)
    }
}

/// Interval of the reviews: of requests that all fail, few are answered by then.
const REVIEW_INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
#[path = "trials_tests.rs"]
mod tests;
