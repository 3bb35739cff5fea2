//! The control plane's decisions, pure: submissions in, commits and answers out. Time is an argument, the store and
//! the cores are somebody else's business.
//!
//! ```text
//!  handle_submit ─► waiting ── poll_commit ──► storing ── handle_stored ──► applying ── acks, deadline ──► poll_answer
//!                      │  (all that wait,         │                            ▲
//!                      │   applied in order)      └── the store failed ────────┼───────────────────────►
//!                      └── rejected, unchanged ────────────────────────────────┘───────────────────────►
//! ```
//! Promises, each tested over random interleavings:
//! - every submission gets exactly one answer;
//! - a receipt is given only for what is stored and what every core that follows has acknowledged (or, at the
//!   deadline, with the names of those that have not);
//! - what was rejected, or could not be stored, changed nothing;
//! - revisions never go backwards.
//!
//! An answer that was found on changes which are not stored yet waits for them: were the store to fail, it would speak
//! of a configuration that never was.

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
use crate::submission::{Receipt, Refusal, StorageFailure, Submission};
use crate::time::Micros;

/// Names a submission until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// The state machine. See the module's documentation for its flow.
#[derive(Debug)]
pub(crate) struct Plane {
    /// What is on disk.
    stored: Desired,
    /// The newest snapshot that the cores were given.
    published: Serial,
    waiting: VecDeque<Waiting>,
    storing: Option<Storing>,
    applying: VecDeque<Group>,
    answers: VecDeque<(Ticket, Result<Receipt, Refusal>)>,
    /// Submissions without an answer, those who joined another one included.
    unanswered: usize,
    tickets_given: u64,
    keys: Keys,
    cores: Cores,
    is_closing: bool,
}

/// What has to be stored, in one batch.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// The configuration after it.
    pub(crate) desired: Desired,
    /// The records that differ, in the order in which they were written.
    pub(crate) deltas: Vec<Delta>,
    /// How many changes it holds.
    pub(crate) changes: usize,
}

/// What a stored commit became.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    /// The serial of the snapshot that all cores were given.
    pub(crate) serial: Serial,
    /// Names of its targets that are not resolved yet: their instances take no traffic until then.
    pub(crate) unresolved: Vec<Hostname>,
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    change: Change,
    if_match: Option<Revision>,
}

/// Who waits for an answer, and since when.
#[derive(Debug)]
struct Asker {
    ticket: Ticket,
    key: Option<Box<str>>,
    since: Micros,
}

#[derive(Debug)]
struct Storing {
    desired: Desired,
    verdicts: Vec<(Asker, Verdict)>,
}

/// What became of a change, provided that its batch is stored.
#[derive(Debug)]
enum Verdict {
    Accepted(Accepted),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug)]
struct Accepted {
    revision: Revision,
    outcome: Outcome,
    generation: Option<Generation>,
}

/// Accepted and stored changes that wait for the cores together.
#[derive(Debug)]
struct Group {
    /// What the cores must have.
    serial: Serial,
    /// Names that the cores should have addresses of, too.
    unresolved: Vec<Hostname>,
    deadline: Micros,
    members: Vec<(Asker, Accepted)>,
}

impl Plane {
    /// A plane whose configuration is `stored`; nothing is published yet.
    pub(crate) fn new(stored: Desired, cores: impl IntoIterator<Item = CoreId>) -> Self {
        Self {
            stored,
            published: Serial(0),
            waiting: VecDeque::new(),
            storing: None,
            applying: VecDeque::new(),
            answers: VecDeque::new(),
            unanswered: 0,
            tickets_given: 0,
            keys: Keys::default(),
            cores: Cores::new(cores),
            is_closing: false,
        }
    }

    /// The configuration that is on disk.
    pub(crate) fn desired(&self) -> &Desired {
        &self.stored
    }

    /// Somebody wants a change. Its answer comes from [`Plane::poll_answer`].
    pub(crate) fn handle_submit(&mut self, submission: Submission, now: Micros) -> Ticket {
        let ticket = Ticket(self.tickets_given);
        self.tickets_given += 1;
        self.unanswered += 1;
        let Submission { change, if_match, idempotency } = submission;
        let refusal = if self.is_closing {
            Some(Refusal::ShuttingDown)
        } else if self.unanswered > CHANGES_WAITING_MAX {
            Some(Refusal::Busy { retry_after: BUSY_RETRY })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.push_answer(ticket, Err(refusal));
            return ticket;
        }
        let mut asker = Asker { ticket, key: None, since: now };
        if let Some((key, hash)) = idempotency {
            match self.keys.begin(&key, hash, ticket, now) {
                Known::First => asker.key = Some(key),
                Known::Joined => return ticket,
                Known::Done(receipt) => {
                    self.push_answer(ticket, Ok(receipt));
                    return ticket;
                }
                Known::Conflict => {
                    self.push_answer(ticket, Err(Refusal::IdempotencyConflict));
                    return ticket;
                }
            }
        }
        self.waiting.push_back(Waiting { asker, change, if_match });
        ticket
    }

    /// Applies what waits, in order, and returns what has to be stored now. `None` while a batch is being stored, or
    /// when nothing that waits changes anything.
    pub(crate) fn poll_commit(&mut self, now: Micros, at: Timestamp) -> Option<Commit> {
        while self.storing.is_none() && !self.waiting.is_empty() {
            let batch: Vec<Waiting> =
                self.waiting.drain(..self.waiting.len().min(CHANGES_PER_BATCH_MAX)).collect();
            let changes = batch.len();
            let mut draft = self.stored.clone();
            let mut deltas = Vec::new();
            let mut verdicts = Vec::new();
            for Waiting { asker, change, if_match } in batch {
                let verdict = match judge(&draft, &change, if_match, at) {
                    Ok(applied) => {
                        let accepted = Accepted {
                            revision: applied.desired.revision(),
                            outcome: applied.outcome,
                            generation: generation_of(&applied.deltas),
                        };
                        draft = applied.desired;
                        deltas.extend(applied.deltas);
                        Verdict::Accepted(accepted)
                    }
                    Err(refusal) => Verdict::Refused(refusal),
                };
                verdicts.push((asker, verdict));
            }
            if deltas.is_empty() {
                // Nothing to store. What is as it should be is so on disk; the cores may still be on their way.
                self.settle(verdicts, self.published, Vec::new(), now);
                continue;
            }
            self.storing = Some(Storing { desired: draft.clone(), verdicts });
            return Some(Commit { desired: draft, deltas, changes });
        }
        None
    }

    /// The last commit was stored and its snapshot given to all cores, or it was not stored.
    pub(crate) fn handle_stored(&mut self, result: Result<Publication, StorageFailure>, now: Micros) {
        let Some(Storing { desired, verdicts }) = self.storing.take() else { return };
        match result {
            Ok(Publication { serial, unresolved }) => {
                self.stored = desired;
                self.handle_published(serial, now);
                self.settle(verdicts, serial, unresolved, now);
            }
            Err(failure) => {
                for (asker, _) in verdicts {
                    self.answer(asker, Err(Refusal::Storage(failure.clone())), now);
                }
            }
        }
    }

    /// All cores were given a snapshot, not because of a change.
    pub(crate) fn handle_published(&mut self, serial: Serial, now: Micros) {
        self.published = self.published.max(serial);
        self.cores.handle_published(serial, now);
    }

    /// A name is resolved (or cannot be): whoever waited for it waits for the snapshot with its addresses instead.
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

    /// A core routes by a snapshot.
    pub(crate) fn handle_ack(&mut self, core: CoreId, serial: Serial, now: Micros) {
        self.cores.handle_ack(core, serial, now);
        self.release(now);
    }

    /// A core ended in good order.
    pub(crate) fn handle_drained(&mut self, core: CoreId, now: Micros) {
        self.cores.handle_drained(core);
        self.release(now);
    }

    /// A core ended in disorder.
    pub(crate) fn handle_dead(&mut self, core: CoreId, now: Micros) {
        self.cores.handle_dead(core);
        self.release(now);
    }

    /// Time has passed.
    pub(crate) fn handle_time(&mut self, now: Micros) {
        self.cores.handle_time(now);
        self.release(now);
    }

    /// No submission is accepted any more; those that wait are finished.
    pub(crate) fn handle_shutdown(&mut self) {
        self.is_closing = true;
    }

    /// The next answer, once for each ticket.
    pub(crate) fn poll_answer(&mut self) -> Option<(Ticket, Result<Receipt, Refusal>)> {
        self.answers.pop_front()
    }

    /// When [`Plane::handle_time`] is due; [`Micros::NEVER`] when nothing waits for time.
    pub(crate) fn next_deadline(&self) -> Micros {
        let groups = self.applying.iter().map(|group| group.deadline);
        groups.chain([self.cores.next_deadline()]).min().unwrap_or(Micros::NEVER)
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.unanswered == 0
    }

    /// Submissions without an answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// The newest serial that the cores were given.
    pub(crate) fn published(&self) -> Serial {
        self.published
    }

    /// What is known of each core.
    pub(crate) fn cores(&self) -> impl Iterator<Item = CoreProgress> {
        self.cores.progress()
    }

    /// Whether every core that follows has a snapshot.
    pub(crate) fn have_cores(&self, serial: Serial) -> bool {
        self.cores.have(serial)
    }

    /// Whether a core that serves, and is not waited for, does not have a snapshot.
    pub(crate) fn lag_behind(&self, serial: Serial) -> bool {
        self.cores.lag_behind(serial)
    }

    /// Whether every core has had a snapshot once.
    pub(crate) fn have_cores_started(&self) -> bool {
        self.cores.have_started()
    }

    /// Whether every core has ended.
    pub(crate) fn have_cores_ended(&self) -> bool {
        self.cores.have_ended()
    }

    /// Answers what is refused; what is accepted waits for the cores as one group.
    fn settle(
        &mut self,
        verdicts: Vec<(Asker, Verdict)>,
        serial: Serial,
        unresolved: Vec<Hostname>,
        now: Micros,
    ) {
        let mut members = Vec::with_capacity(verdicts.len());
        for (asker, verdict) in verdicts {
            match verdict {
                Verdict::Accepted(accepted) => members.push((asker, accepted)),
                Verdict::Refused(refusal) => self.answer(asker, Err(refusal), now),
            }
        }
        if !members.is_empty() {
            let deadline = now.after(APPLY_DEADLINE);
            self.applying.push_back(Group { serial, unresolved, deadline, members });
            self.release(now);
        }
    }

    /// Answers the groups whose wait is over.
    fn release(&mut self, now: Micros) {
        let mut kept = VecDeque::with_capacity(self.applying.len());
        for group in mem::take(&mut self.applying) {
            let is_done = group.unresolved.is_empty() && self.cores.have(group.serial);
            if !is_done && now < group.deadline {
                kept.push_back(group);
                continue;
            }
            let pending = self.cores.without(group.serial);
            for (asker, Accepted { revision, outcome, generation }) in group.members {
                let receipt = Receipt {
                    revision,
                    outcome,
                    generation,
                    pending: pending.clone(),
                    replayed: false,
                    applied_in: now.since(asker.since),
                };
                self.answer(asker, Ok(receipt), now);
            }
        }
        self.applying = kept;
    }

    fn answer(&mut self, asker: Asker, result: Result<Receipt, Refusal>, now: Micros) {
        if let Some(key) = &asker.key {
            for joined in self.keys.finish(key, result.as_ref().ok(), now) {
                let result = match &result {
                    Ok(receipt) => Ok(Receipt { replayed: true, ..receipt.clone() }),
                    Err(refusal) => Err(refusal.clone()),
                };
                self.push_answer(joined, result);
            }
        }
        self.push_answer(asker.ticket, result);
    }

    fn push_answer(&mut self, ticket: Ticket, result: Result<Receipt, Refusal>) {
        self.unanswered -= 1;
        self.answers.push_back((ticket, result));
    }
}

fn judge(
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

/// The generation of the instance that a change wrote; no change writes two.
fn generation_of(deltas: &[Delta]) -> Option<Generation> {
    deltas.iter().find_map(|delta| match delta {
        Delta::Put(Resource::Instance(instance)) => Some(instance.generation),
        Delta::Put(_) | Delta::Remove(_) => None,
    })
}

/// What to tell who finds the queue full: a full queue is stored within this time.
const BUSY_RETRY: Duration = Duration::from_secs(1);
