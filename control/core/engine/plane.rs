//! State machine of configuration changes, pure: submissions in, commits and replies out. Time is an
//! argument; the engine does the I/O with the store and the cores.
//!
//! ```text
//!  handle_submit ─► queued ── poll_step ────► storing ── handle_stored ──► applying ── acks, deadline ─┐
//!                      │  (the whole queue,      │                            ▲                        │
//!                      │   applied in order)     └── the store failed ────────┼────────────────────────┤
//!                      ├── unchanged, or its trial has begun ─────────────────┘                        │
//!                      └── rejected ───────────────────────────────────────────────────► poll_reply ◄──┘
//! ```
//! A change that asks for a trial makes a second configuration: that on disk with the change. Each batch is
//! applied to both, until the second one is promoted, which stores it, or dropped:
//!
//! ```text
//!  queued ── BeginTrial ──► handle_trial_begun ── handle_promotion ──► Commit (promotes) ── stored
//!                                │                                            └── not stored ──┐
//!                                └── handle_revert; superseded; contradicted (EndTrial) ───────┴─► dropped
//! ```
//! Guarantees, each tested over random interleavings:
//! - every submission gets exactly one reply;
//! - a receipt is sent only for a stored change that every following core has acknowledged (or, at the
//!   deadline, with the names of the cores that have not);
//! - a change that was rejected or could not be stored has no effect;
//! - a trial delays no other change, and what is promoted is the configuration on disk with its change;
//! - revisions never go backwards.
//!
//! A rejection that depends on changes not yet stored waits for them: if the store failed, it would describe
//! a configuration that never existed.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use crate::limits::{APPLY_DEADLINE, CHANGES_PER_BATCH_MAX, CHANGES_WAITING_MAX};
use ahash::AHashSet;
use ringway_model::{
    Change, Contradiction, CoreId, Delta, Desired, Generation, HostPattern, Hostname, Kind, Outcome, Owner,
    Rejection, Resource, Revision, Serial, SetVersion, Timestamp,
};
use ringway_traffic::compile::{Compiled, Compiler};

use crate::configuration::Reserved;
use crate::engine::core_acks::{CoreProgress, Cores};
use crate::engine::idempotency::{Keys, Known};
use crate::error_chain::with_causes;
use crate::status::CoreState;
use crate::submission::{Idempotency, KnownResult, Receipt, Refusal, StorageFailure, Submission};
use crate::time::Micros;
use crate::trial::{RevertReason, Rollout, TrialId};

/// Identifies a submission until its reply is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// The state machine; the module documentation has its flow.
#[derive(Debug)]
pub(crate) struct Plane {
    /// Configuration on disk.
    stored: Desired,
    /// Newest snapshot that was published to the cores.
    published: Serial,
    queue: VecDeque<Queued>,
    /// Steps that precede the next one from the queue.
    steps: VecDeque<Step>,
    starting: Option<Starting>,
    trial: Option<Trial>,
    trials_begun: u64,
    storing: Option<Storing>,
    applying: VecDeque<AckGroup>,
    replies: VecDeque<(Ticket, Result<Receipt, Refusal>)>,
    /// Submissions without a reply, duplicates by idempotency key included.
    pending: usize,
    tickets_given: u64,
    keys: Keys,
    cores: Cores,
    /// Hosts that the operator keeps from registrations.
    reserved: Reserved,
    is_closing: bool,
}

/// Work for the engine, in order.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // the largest is the usual one, and steps are few
pub(crate) enum Step {
    /// Compile, store and publish. [`Plane::handle_stored`] takes the result, and no step precedes it.
    Commit(Commit),
    /// Publish the configuration on one core. [`Plane::handle_trial_begun`] or another of the methods beside
    /// it takes the result, in the same turn.
    BeginTrial(TrialStart),
    /// Publish the configuration on disk on the trial's core: the trial has ended.
    EndTrial(EndedTrial),
}

/// A trial that has ended without a promotion.
#[derive(Clone, Debug)]
pub(crate) struct EndedTrial {
    pub(crate) reason: RevertReason,
    /// Records that its change would have written and removed.
    pub(crate) deltas: Vec<Delta>,
}

/// One batch of changes to store.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// Configuration after the batch.
    pub(crate) desired: Desired,
    /// Changed records, in the order of the changes.
    pub(crate) deltas: Vec<Delta>,
    /// Configuration on trial after the batch, which changes the same records in it.
    pub(crate) on_trial: Option<Desired>,
    /// Number of changes in the batch.
    pub(crate) changes: usize,
    /// Whether the batch is the change on trial, which all cores get now.
    pub(crate) promotes: bool,
}

impl Commit {
    /// Compiles it on top of the present snapshots.
    pub(crate) fn compile(&self, compiler: &Compiler) -> Compiled {
        match self.promotes {
            true => compiler.promote(self.desired.revision()),
            false => compiler.compile_both(&self.desired, self.on_trial.as_ref(), &self.deltas),
        }
    }
}

/// A trial to begin.
#[derive(Clone, Debug)]
pub(crate) struct TrialStart {
    pub(crate) id: TrialId,
    /// The configuration on disk with the change.
    pub(crate) desired: Desired,
    /// Records that the change wrote and removed.
    pub(crate) deltas: Vec<Delta>,
    pub(crate) owner: Owner,
    pub(crate) version: Option<SetVersion>,
    pub(crate) bake: Duration,
}

/// Publication of a stored commit.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    /// Serial of the published snapshot.
    pub(crate) serial: Serial,
    /// Names of its targets without addresses so far; their instances take no traffic until the names are
    /// resolved.
    pub(crate) unresolved: Vec<Hostname>,
}

#[derive(Debug)]
struct Queued {
    submitter: Submitter,
    change: Change,
    if_match: Option<Revision>,
    rollout: Rollout,
    result: Option<KnownResult>,
}

/// A trial that the engine begins.
#[derive(Debug)]
struct Starting {
    queued: Queued,
    outcome: Outcome,
    trial: Trial,
}

/// The configuration on trial.
#[derive(Debug)]
struct Trial {
    id: TrialId,
    owner: Owner,
    version: Option<SetVersion>,
    /// The configuration on disk with the change.
    desired: Desired,
    /// Records that the change wrote and removed.
    deltas: Vec<Delta>,
    /// Their keys, by [`Kind::index`].
    keys: [AHashSet<Box<str>>; Kind::COUNT],
    /// Whether it is to be promoted.
    is_promoted: bool,
}

/// Recipient of a reply.
#[derive(Debug)]
struct Submitter {
    ticket: Ticket,
    key: Option<Box<str>>,
    since: Micros,
}

#[derive(Debug)]
struct Storing {
    desired: Desired,
    /// The configuration on trial after the batch.
    on_trial: Option<Desired>,
    decisions: Vec<(Submitter, Decision)>,
    /// Whether this is the configuration on trial.
    promotes: bool,
}

/// Result of a change, valid once its batch is stored.
#[derive(Debug)]
enum Decision {
    Accepted(Accepted),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug)]
struct Accepted {
    revision: Revision,
    outcome: Outcome,
    generation: Option<Generation>,
    trial: Option<TrialId>,
}

/// Stored changes that wait for the same acknowledgements.
#[derive(Debug)]
struct AckGroup {
    /// Snapshot that the cores must acknowledge.
    serial: Serial,
    /// Names whose addresses the cores should have as well.
    unresolved: Vec<Hostname>,
    deadline: Micros,
    members: Vec<(Submitter, Accepted)>,
}

impl Plane {
    /// Creates a plane with `stored` as its configuration; nothing is published yet.
    pub(crate) fn new(stored: Desired, cores: impl IntoIterator<Item = CoreId>) -> Self {
        Self {
            stored,
            published: Serial(0),
            queue: VecDeque::new(),
            steps: VecDeque::new(),
            starting: None,
            trial: None,
            trials_begun: 0,
            storing: None,
            applying: VecDeque::new(),
            replies: VecDeque::new(),
            pending: 0,
            tickets_given: 0,
            keys: Keys::default(),
            cores: Cores::new(cores),
            reserved: Reserved::default(),
            is_closing: false,
        }
    }

    /// Configuration on disk.
    pub(crate) fn desired(&self) -> &Desired {
        &self.stored
    }

    /// Queues a submission. Its reply comes from [`Plane::poll_reply`].
    pub(crate) fn handle_submit(&mut self, submission: Submission, now: Micros) -> Ticket {
        let ticket = Ticket(self.tickets_given);
        self.tickets_given += 1;
        self.pending += 1;
        let Submission { change, if_match, idempotency, rollout, result } = submission;
        let refusal = if self.is_closing {
            Some(Refusal::ShuttingDown)
        } else if self.pending > CHANGES_WAITING_MAX {
            Some(Refusal::Busy { retry_after: BUSY_RETRY })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.push_reply(ticket, Err(refusal));
            return ticket;
        }
        let mut submitter = Submitter { ticket, key: None, since: now };
        if let Some(Idempotency { key, request_hash }) = idempotency {
            match self.keys.begin(&key, request_hash, ticket, now) {
                Known::First => submitter.key = Some(key),
                Known::Joined => return ticket,
                Known::Done(receipt) => {
                    self.push_reply(ticket, Ok(receipt));
                    return ticket;
                }
                Known::Conflict => {
                    self.push_reply(ticket, Err(Refusal::IdempotencyConflict));
                    return ticket;
                }
            }
        }
        self.queue.push_back(Queued { submitter, change, if_match, rollout, result });
        ticket
    }

    /// Next step, `None` while a batch is being stored, and when no queued change has an effect. Queued
    /// changes are applied in order; those that do not begin or replace a trial are stored together.
    pub(crate) fn poll_step(&mut self, now: Micros, at: Timestamp) -> Option<Step> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Some(step);
            }
            if self.storing.is_some() || self.starting.is_some() {
                return None;
            }
            if let Some(trial) = self.trial.as_ref().filter(|trial| trial.is_promoted) {
                let (desired, deltas) = (trial.desired.clone(), trial.deltas.clone());
                self.begin_storing(
                    Vec::new(),
                    Commit { desired, deltas, on_trial: None, changes: 1, promotes: true },
                );
                continue;
            }
            match self.queue.pop_front()? {
                queued if self.stands_alone(&queued) => self.take_replacement(queued, now, at),
                queued => {
                    self.queue.push_front(queued);
                    self.take_batch(now, at);
                }
            }
        }
    }

    /// Whether a change begins or replaces a trial.
    fn stands_alone(&self, queued: &Queued) -> bool {
        match &queued.change {
            Change::ReplaceOwned(replacement) => {
                queued.bake().is_some()
                    || self.trial.as_ref().is_some_and(|trial| trial.owner == replacement.owner)
            }
            _ => false,
        }
    }

    /// Takes a change that begins or replaces a trial.
    fn take_replacement(&mut self, queued: Queued, now: Micros, at: Timestamp) {
        let Change::ReplaceOwned(replacement) = &queued.change else { return };
        let owner = replacement.owner.clone();
        let version = replacement.version.as_ref().map(|new| new.version.clone());
        if queued.bake().is_some() && self.is_closing {
            return self.reply(queued.submitter, Err(Refusal::ShuttingDown), now);
        }
        if let Some(trial) = &self.trial {
            let id = trial.id;
            if trial.owner != owner {
                let owner = trial.owner.clone();
                return self.reply(queued.submitter, Err(Refusal::OnTrial { trial: id, owner }), now);
            }
            if queued.bake().is_some() && version.is_some() && trial.version == version {
                let accepted = self.accepted_on_trial(id, Outcome::Unchanged);
                let decision = Decision::Accepted(accepted);
                return self.decide(vec![(queued.submitter, decision)], self.published, Vec::new(), now);
            }
        }
        let applied = match apply(&self.stored, &self.reserved, &queued, at) {
            Ok(applied) => applied,
            Err(refusal) => return self.reply(queued.submitter, Err(refusal), now),
        };
        self.drop_trial(RevertReason::Superseded);
        let affects_requests = applied.deltas.iter().any(affects_requests);
        let Some(bake) = queued.bake().filter(|_| affects_requests) else {
            return self.queue.push_front(queued.directly());
        };
        let id = TrialId(self.trials_begun);
        self.trials_begun += 1;
        let (desired, deltas) = (applied.desired, applied.deltas);
        let start = TrialStart {
            id,
            desired: desired.clone(),
            deltas: deltas.clone(),
            owner: owner.clone(),
            version: version.clone(),
            bake,
        };
        let keys = keys(&deltas);
        let trial = Trial { id, owner, version, desired, deltas, keys, is_promoted: false };
        self.starting = Some(Starting { queued, outcome: applied.outcome, trial });
        self.steps.push_back(Step::BeginTrial(start));
    }

    /// Applies the queued changes up to one that stands alone.
    fn take_batch(&mut self, now: Micros, at: Timestamp) {
        let limit = self.queue.len().min(CHANGES_PER_BATCH_MAX);
        let alone = self.queue.iter().take(limit).position(|queued| self.stands_alone(queued));
        let batch: Vec<Queued> = self.queue.drain(..alone.unwrap_or(limit)).collect();
        let changes = batch.len();
        let mut draft = self.stored.clone();
        let mut deltas = Vec::new();
        let mut decisions = Vec::new();
        for queued in batch {
            let decision = match apply(&draft, &self.reserved, &queued, at) {
                Ok(applied) => {
                    let accepted = Accepted {
                        revision: applied.desired.revision(),
                        outcome: applied.outcome,
                        generation: generation_of(&applied.deltas),
                        trial: None,
                    };
                    draft = applied.desired;
                    deltas.extend(applied.deltas);
                    Decision::Accepted(accepted)
                }
                Err(refusal) => Decision::Refused(refusal),
            };
            decisions.push((queued.submitter, decision));
        }
        if deltas.is_empty() {
            // Nothing to store: the configuration on disk is as requested already. Cores may not have it
            // yet.
            return self.decide(decisions, self.published, Vec::new(), now);
        }
        let on_trial = match &self.trial {
            Some(trial) => match trial.rebase(&draft, &deltas) {
                Ok(desired) => Some(desired),
                Err(contradiction) => {
                    // Accepted changes come before trials.
                    self.drop_trial(RevertReason::Conflict(contradiction.to_string()));
                    None
                }
            },
            None => None,
        };
        self.begin_storing(decisions, Commit { desired: draft, deltas, on_trial, changes, promotes: false });
    }

    fn begin_storing(&mut self, decisions: Vec<(Submitter, Decision)>, commit: Commit) {
        let (desired, on_trial) = (commit.desired.clone(), commit.on_trial.clone());
        self.storing = Some(Storing { desired, on_trial, decisions, promotes: commit.promotes });
        self.steps.push_back(Step::Commit(commit));
    }

    /// Records that a trial has begun: its core has this snapshot.
    pub(crate) fn handle_trial_begun(&mut self, serial: Serial, now: Micros) {
        let Some(Starting { queued, outcome, trial }) = self.starting.take() else { return };
        let accepted = self.accepted_on_trial(trial.id, outcome);
        self.trial = Some(trial);
        self.handle_published(serial, now);
        self.decide(vec![(queued.submitter, Decision::Accepted(accepted))], serial, Vec::new(), now);
    }

    /// Records that a trial is of no use: the change affects no request, or no core can take it. It is stored
    /// like any other.
    pub(crate) fn handle_trial_needless(&mut self) {
        if let Some(Starting { queued, .. }) = self.starting.take() {
            self.queue.push_front(queued.directly());
        }
    }

    /// Records that the configuration of a trial could not be compiled.
    pub(crate) fn handle_trial_failed(&mut self, failure: StorageFailure, now: Micros) {
        if let Some(Starting { queued, .. }) = self.starting.take() {
            self.reply(queued.submitter, Err(Refusal::Storage(failure)), now);
        }
    }

    /// Promotes the configuration on trial: it is stored with the next step. False when there is none.
    pub(crate) fn handle_promotion(&mut self) -> bool {
        self.trial.as_mut().map(|trial| trial.is_promoted = true).is_some()
    }

    /// Drops the configuration on trial. False when there is none, or when it is being stored.
    pub(crate) fn handle_revert(&mut self, reason: RevertReason) -> bool {
        !self.is_promoting() && self.drop_trial(reason)
    }

    /// The configuration on trial.
    pub(crate) fn on_trial(&self) -> Option<&Desired> {
        self.trial.as_ref().map(|trial| &trial.desired)
    }

    /// Whether the configuration on trial is being stored.
    fn is_promoting(&self) -> bool {
        self.storing.as_ref().is_some_and(|storing| storing.promotes)
    }

    fn drop_trial(&mut self, reason: RevertReason) -> bool {
        let Some(Trial { deltas, .. }) = self.trial.take() else { return false };
        self.steps.push_back(Step::EndTrial(EndedTrial { reason, deltas }));
        true
    }

    fn accepted_on_trial(&self, trial: TrialId, outcome: Outcome) -> Accepted {
        Accepted { revision: self.stored.revision(), outcome, generation: None, trial: Some(trial) }
    }

    /// Records the result of the last commit: stored and published, or failed.
    pub(crate) fn handle_stored(&mut self, result: Result<Publication, StorageFailure>, now: Micros) {
        let Some(Storing { desired, on_trial, decisions, promotes }) = self.storing.take() else { return };
        match result {
            Ok(Publication { serial, unresolved }) => {
                self.stored = desired;
                if promotes {
                    self.trial = None;
                }
                if let (Some(trial), Some(desired)) = (&mut self.trial, on_trial) {
                    trial.desired = desired;
                }
                self.handle_published(serial, now);
                self.decide(decisions, serial, unresolved, now);
            }
            Err(failure) => {
                if promotes {
                    self.drop_trial(RevertReason::NotStored(with_causes(&failure)));
                }
                for (submitter, _) in decisions {
                    self.reply(submitter, Err(Refusal::Storage(failure.clone())), now);
                }
            }
        }
    }

    /// Records a publication that does not come from a change.
    pub(crate) fn handle_published(&mut self, serial: Serial, now: Micros) {
        self.published = self.published.max(serial);
        self.cores.handle_published(serial, now);
    }

    /// Records that a lookup of a name ended, with or without addresses: groups that waited for it wait for
    /// the newest snapshot instead.
    pub(crate) fn handle_resolved(&mut self, name: &Hostname, now: Micros) {
        for group in &mut self.applying {
            let before = group.unresolved.len();
            group.unresolved.retain(|unresolved| unresolved != name);
            if group.unresolved.len() < before {
                group.serial = self.published;
            }
        }
        self.release(now);
    }

    /// Records a core's acknowledgement of a snapshot.
    pub(crate) fn handle_ack(&mut self, core: CoreId, serial: Serial, now: Micros) {
        self.cores.handle_ack(core, serial, now);
        self.release(now);
    }

    /// Records that a core has drained.
    pub(crate) fn handle_drained(&mut self, core: CoreId, now: Micros) {
        self.cores.handle_drained(core);
        self.release(now);
    }

    /// Records that a core's thread panicked.
    pub(crate) fn handle_dead(&mut self, core: CoreId, now: Micros) {
        self.cores.handle_dead(core);
        self.release(now);
    }

    /// Applies deadlines.
    pub(crate) fn handle_time(&mut self, now: Micros) {
        self.cores.handle_time(now);
        self.release(now);
    }

    /// Replaces the hosts that registrations may not add.
    pub(crate) fn reserve(&mut self, reserved: Reserved) {
        self.reserved = reserved;
    }

    /// Refuses further submissions and ends a trial; queued changes are still processed.
    pub(crate) fn handle_shutdown(&mut self) {
        self.is_closing = true;
        self.handle_revert(RevertReason::ShuttingDown);
    }

    /// Next reply; one for each ticket.
    pub(crate) fn poll_reply(&mut self) -> Option<(Ticket, Result<Receipt, Refusal>)> {
        self.replies.pop_front()
    }

    /// Time at which [`Plane::handle_time`] is due; [`Micros::NEVER`] without a deadline.
    pub(crate) fn next_deadline(&self) -> Micros {
        let groups = self.applying.iter().map(|group| group.deadline);
        groups.chain([self.cores.next_deadline()]).min().unwrap_or(Micros::NEVER)
    }

    /// Whether every submission has its reply.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending == 0
    }

    /// Number of submissions without a reply.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Newest published serial.
    pub(crate) fn published(&self) -> Serial {
        self.published
    }

    /// Progress of each core.
    pub(crate) fn cores(&self) -> impl Iterator<Item = CoreProgress> {
        self.cores.progress()
    }

    /// Cores that have not drained.
    pub(crate) fn cores_not_drained(&self) -> Vec<CoreId> {
        self.cores.progress().filter(|core| core.state != CoreState::Drained).map(|core| core.id).collect()
    }

    /// Whether every following core has acknowledged `serial`.
    pub(crate) fn have_cores(&self, serial: Serial) -> bool {
        self.cores.have(serial)
    }

    /// Whether a lagging core has not acknowledged `serial`.
    pub(crate) fn lag_behind(&self, serial: Serial) -> bool {
        self.cores.lag_behind(serial)
    }

    /// Whether every core has acknowledged a first snapshot.
    pub(crate) fn have_cores_started(&self) -> bool {
        self.cores.have_started()
    }

    /// Whether every core has drained or panicked.
    pub(crate) fn have_cores_ended(&self) -> bool {
        self.cores.have_ended()
    }

    /// Replies to refused changes; accepted ones wait for the cores as one group.
    fn decide(
        &mut self,
        decisions: Vec<(Submitter, Decision)>,
        serial: Serial,
        unresolved: Vec<Hostname>,
        now: Micros,
    ) {
        let mut members = Vec::with_capacity(decisions.len());
        for (submitter, decision) in decisions {
            match decision {
                Decision::Accepted(accepted) => members.push((submitter, accepted)),
                Decision::Refused(refusal) => self.reply(submitter, Err(refusal), now),
            }
        }
        if !members.is_empty() {
            let deadline = now.after(APPLY_DEADLINE);
            self.applying.push_back(AckGroup { serial, unresolved, deadline, members });
            self.release(now);
        }
    }

    /// Replies to the groups that are acknowledged or past their deadline.
    fn release(&mut self, now: Micros) {
        let mut kept = VecDeque::with_capacity(self.applying.len());
        for group in mem::take(&mut self.applying) {
            let is_done = group.unresolved.is_empty() && self.cores.have(group.serial);
            if !is_done && now < group.deadline {
                kept.push_back(group);
                continue;
            }
            let pending = self.cores.without(group.serial);
            for (submitter, Accepted { revision, outcome, generation, trial }) in group.members {
                let receipt = Receipt {
                    revision,
                    outcome,
                    generation,
                    trial,
                    pending: pending.clone(),
                    replayed: false,
                    applied_in: now.since(submitter.since),
                };
                self.reply(submitter, Ok(receipt), now);
            }
        }
        self.applying = kept;
    }

    fn reply(&mut self, submitter: Submitter, result: Result<Receipt, Refusal>, now: Micros) {
        if let Some(key) = &submitter.key {
            for joined in self.keys.finish(key, result.as_ref().ok(), now) {
                let result = match &result {
                    Ok(receipt) => Ok(Receipt { replayed: true, ..receipt.clone() }),
                    Err(refusal) => Err(refusal.clone()),
                };
                self.push_reply(joined, result);
            }
        }
        self.push_reply(submitter.ticket, result);
    }

    fn push_reply(&mut self, ticket: Ticket, result: Result<Receipt, Refusal>) {
        self.pending -= 1;
        self.replies.push_back((ticket, result));
    }
}

impl Trial {
    /// The configuration after the records were changed that led to `onto`.
    fn rebase(&self, onto: &Desired, deltas: &[Delta]) -> Result<Desired, Contradiction> {
        self.desired.rebase(onto, deltas, |kind, key| self.keys[kind.index()].contains(key))
    }
}

fn keys(deltas: &[Delta]) -> [AHashSet<Box<str>>; Kind::COUNT] {
    let mut keys: [AHashSet<Box<str>>; Kind::COUNT] = Default::default();
    for delta in deltas {
        let (Delta::Put(resource) | Delta::Remove(resource)) = delta;
        keys[resource.kind().index()].insert(resource.key().into());
    }
    keys
}

impl Queued {
    /// The bake time of a trial; `None` without one.
    fn bake(&self) -> Option<Duration> {
        match self.rollout {
            Rollout::Trial { bake } if bake > Duration::ZERO => Some(bake),
            Rollout::Trial { .. } | Rollout::Direct => None,
        }
    }

    fn directly(self) -> Self {
        Self { rollout: Rollout::Direct, ..self }
    }
}

/// Whether a record is part of the decisions about requests.
fn affects_requests(delta: &Delta) -> bool {
    let (Delta::Put(resource) | Delta::Remove(resource)) = delta;
    resource.kind() != Kind::ConfigVersion
}

/// Applies a change if its condition holds.
fn apply(
    desired: &Desired,
    reserved: &Reserved,
    queued: &Queued,
    at: Timestamp,
) -> Result<ringway_model::Applied, Refusal> {
    let Queued { change, if_match, result, .. } = queued;
    let current = desired.revision();
    if if_match.is_some_and(|expected| expected != current) {
        return Err(Refusal::RevisionMismatch { current });
    }
    if let Some(host) = new_domain(desired, change)
        && let Some((_, owner)) =
            reserved.iter().find(|(pattern, owner)| *owner != Owner::Api && pattern.overlaps(&host))
        && let HostPattern::Exact(host) = host
    {
        return Err(Refusal::Rejected(Rejection::HostReserved { host, owner: owner.clone() }));
    }
    // A revision that was in force is that of one configuration, and a draft of this revision is the same.
    if let Some(known) = result.as_ref().filter(|known| known.base == current) {
        return Ok(known.applied.clone());
    }
    desired.apply(change, at).map_err(|rejection: Rejection| Refusal::Rejected(rejection))
}

/// The domain that a registration would add. One that is registered already stays.
fn new_domain(desired: &Desired, change: &Change) -> Option<HostPattern> {
    let domain = match change {
        Change::Register { domain, .. } => domain.as_ref()?,
        Change::AddDomain(domain) => domain,
        _ => return None,
    };
    desired.domain(domain.name.as_str()).is_none().then(|| HostPattern::Exact(domain.name.clone()))
}

/// Generation of the instance that a change wrote; no change writes two.
fn generation_of(deltas: &[Delta]) -> Option<Generation> {
    deltas.iter().find_map(|delta| match delta {
        Delta::Put(Resource::Instance(instance)) => Some(instance.generation),
        Delta::Put(_) | Delta::Remove(_) => None,
    })
}

/// Retry delay when the queue is full: a full queue is stored within this time.
const BUSY_RETRY: Duration = Duration::from_secs(1);
