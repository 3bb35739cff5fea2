//! State machine of configuration changes, pure: submissions in, commits and replies out. Time is an
//! argument; the engine does the I/O with the store and the cores.
//!
//! ```text
//!  handle_submit ─► queued ── poll_commit ──► storing ── handle_stored ──► applying ── acks, deadline ─┐
//!                      │  (the whole queue,      │                            ▲                        │
//!                      │   applied in order)     └── the store failed ────────┼────────────────────────┤
//!                      └── unchanged ─────────────────────────────────────────┘                        │
//!                      └── rejected ───────────────────────────────────────────────────► poll_reply ◄──┘
//! ```
//! Guarantees, each tested over random interleavings:
//! - every submission gets exactly one reply;
//! - a receipt is sent only for a stored change that every following core has acknowledged (or, at the
//!   deadline, with the names of the cores that have not);
//! - a change that was rejected or could not be stored has no effect;
//! - revisions never go backwards.
//!
//! A rejection that depends on changes not yet stored waits for them: if the store failed, it would describe
//! a configuration that never existed.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use crate::limits::{APPLY_DEADLINE, CHANGES_PER_BATCH_MAX, CHANGES_WAITING_MAX};
use ringway_model::{
    Change, CoreId, Delta, Desired, Generation, Hostname, Outcome, Rejection, Resource, Revision, Serial,
    Timestamp,
};

use crate::engine::core_acks::{CoreProgress, Cores};
use crate::engine::idempotency::{Keys, Known};
use crate::status::CoreState;
use crate::submission::{Idempotency, Receipt, Refusal, StorageFailure, Submission};
use crate::time::Micros;

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
    storing: Option<Storing>,
    applying: VecDeque<AckGroup>,
    replies: VecDeque<(Ticket, Result<Receipt, Refusal>)>,
    /// Submissions without a reply, duplicates by idempotency key included.
    pending: usize,
    tickets_given: u64,
    keys: Keys,
    cores: Cores,
    is_closing: bool,
}

/// One batch of changes to store.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// Configuration after the batch.
    pub(crate) desired: Desired,
    /// Changed records, in the order of the changes.
    pub(crate) deltas: Vec<Delta>,
    /// Number of changes in the batch.
    pub(crate) changes: usize,
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
    decisions: Vec<(Submitter, Decision)>,
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
            storing: None,
            applying: VecDeque::new(),
            replies: VecDeque::new(),
            pending: 0,
            tickets_given: 0,
            keys: Keys::default(),
            cores: Cores::new(cores),
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
        let Submission { change, if_match, idempotency, rollout: _ } = submission;
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
        self.queue.push_back(Queued { submitter, change, if_match });
        ticket
    }

    /// Applies the queued changes in order and returns the batch to store. `None` while a batch is being
    /// stored, and when no queued change has an effect.
    pub(crate) fn poll_commit(&mut self, now: Micros, at: Timestamp) -> Option<Commit> {
        while self.storing.is_none() && !self.queue.is_empty() {
            let batch: Vec<Queued> =
                self.queue.drain(..self.queue.len().min(CHANGES_PER_BATCH_MAX)).collect();
            let changes = batch.len();
            let mut draft = self.stored.clone();
            let mut deltas = Vec::new();
            let mut decisions = Vec::new();
            for Queued { submitter, change, if_match } in batch {
                let decision = match apply(&draft, &change, if_match, at) {
                    Ok(applied) => {
                        let accepted = Accepted {
                            revision: applied.desired.revision(),
                            outcome: applied.outcome,
                            generation: generation_of(&applied.deltas),
                        };
                        draft = applied.desired;
                        deltas.extend(applied.deltas);
                        Decision::Accepted(accepted)
                    }
                    Err(refusal) => Decision::Refused(refusal),
                };
                decisions.push((submitter, decision));
            }
            if deltas.is_empty() {
                // Nothing to store: the configuration on disk is as requested already. Cores may not have it
                // yet.
                self.decide(decisions, self.published, Vec::new(), now);
                continue;
            }
            self.storing = Some(Storing { desired: draft.clone(), decisions });
            return Some(Commit { desired: draft, deltas, changes });
        }
        None
    }

    /// Records the result of the last commit: stored and published, or failed.
    pub(crate) fn handle_stored(&mut self, result: Result<Publication, StorageFailure>, now: Micros) {
        let Some(Storing { desired, decisions }) = self.storing.take() else { return };
        match result {
            Ok(Publication { serial, unresolved }) => {
                self.stored = desired;
                self.handle_published(serial, now);
                self.decide(decisions, serial, unresolved, now);
            }
            Err(failure) => {
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

    /// Refuses further submissions; queued ones are still processed.
    pub(crate) fn handle_shutdown(&mut self) {
        self.is_closing = true;
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
            for (submitter, Accepted { revision, outcome, generation }) in group.members {
                let receipt = Receipt {
                    revision,
                    outcome,
                    generation,
                    trial: None,
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

/// Applies a change if its condition holds.
fn apply(
    desired: &Desired,
    change: &Change,
    if_match: Option<Revision>,
    at: Timestamp,
) -> Result<ringway_model::Applied, Refusal> {
    let current = desired.revision();
    if if_match.is_some_and(|expected| expected != current) {
        return Err(Refusal::RevisionMismatch { current });
    }
    desired.apply(change, at).map_err(|rejection: Rejection| Refusal::Rejected(rejection))
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
