//! What was asked under which key, so that a repeated request is done once.
//!
//! ```text
//!  unknown ── begin ──► pending ── finish(receipt) ──► done ── time, or too many ──► unknown
//!                          └─────── finish(refusal) ──────────────────────────────► unknown
//! ```
//! Repeated while pending: the caller waits for the same answer. Repeated when done: it gets the first receipt
//! again. A refusal changed nothing, so it is not remembered: a retry is judged anew. Kept in memory only: after a
//! restart a repeated change meets its own effect, which every change of ours answers sensibly (`Unchanged`, or a
//! rejection that says what is there).

use std::collections::VecDeque;

use crate::limits::{IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_TIME};
use ahash::AHashMap;

use crate::engine::plane::Ticket;
use crate::submission::Receipt;
use crate::time::Micros;

/// The keys of the last [`IDEMPOTENCY_TIME`].
#[derive(Debug, Default)]
pub(crate) struct Keys {
    entries: AHashMap<Box<str>, Entry>,
    /// The done ones with when they are forgotten, oldest first.
    done: VecDeque<(Micros, Box<str>)>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Being worked on; these wait for the same answer.
    Pending(Vec<Ticket>),
    Done(Receipt),
}

/// What a key says about a new submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it is the first, and [`Keys::finish`] will tell its end.
    First,
    /// The same is being worked on; the ticket was noted and comes back from [`Keys::finish`].
    Joined,
    /// The same was done, with this result.
    Done(Receipt),
    /// The key belongs to something else.
    Conflict,
}

impl Keys {
    /// A submission came under `key`.
    pub(crate) fn begin(&mut self, key: &str, hash: u64, ticket: Ticket, now: Micros) -> Known {
        self.forget(now);
        match self.entries.get_mut(key) {
            None => {
                self.entries.insert(key.into(), Entry { hash, state: State::Pending(Vec::new()) });
                Known::First
            }
            Some(entry) if entry.hash != hash => Known::Conflict,
            Some(Entry { state: State::Pending(joined), .. }) => {
                joined.push(ticket);
                Known::Joined
            }
            Some(Entry { state: State::Done(receipt), .. }) => {
                Known::Done(Receipt { replayed: true, ..receipt.clone() })
            }
        }
    }

    /// The first submission under `key` ended, with a receipt or without. Returns those who joined it.
    pub(crate) fn finish(&mut self, key: &str, receipt: Option<&Receipt>, now: Micros) -> Vec<Ticket> {
        let Some(receipt) = receipt else {
            return match self.entries.remove(key) {
                Some(Entry { state: State::Pending(joined), .. }) => joined,
                Some(Entry { state: State::Done(_), .. }) | None => Vec::new(),
            };
        };
        let Some(entry) = self.entries.get_mut(key) else { return Vec::new() };
        let before = std::mem::replace(&mut entry.state, State::Done(receipt.clone()));
        self.done.push_back((now.after(IDEMPOTENCY_TIME), key.into()));
        self.forget(now);
        match before {
            State::Pending(joined) => joined,
            State::Done(_) => Vec::new(),
        }
    }

    /// Forgets what is too old, and the oldest when there are too many.
    fn forget(&mut self, now: Micros) {
        while let Some((until, _)) = self.done.front()
            && (*until <= now || self.done.len() > IDEMPOTENCY_KEYS_MAX)
            && let Some((_, key)) = self.done.pop_front()
        {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_model::{Outcome, Revision};
    use std::time::Duration;

    fn receipt(revision: u64) -> Receipt {
        Receipt {
            revision: Revision(revision),
            outcome: Outcome::Created,
            generation: None,
            pending: Vec::new(),
            replayed: false,
            applied_in: Duration::ZERO,
        }
    }

    #[test]
    fn the_same_again_gets_the_first_receipt_and_something_else_a_conflict() {
        let mut keys = Keys::default();
        let now = Micros(0);
        assert_eq!(keys.begin("k", 1, Ticket(0), now), Known::First);
        assert_eq!(keys.begin("k", 1, Ticket(1), now), Known::Joined);
        assert_eq!(keys.begin("k", 2, Ticket(2), now), Known::Conflict);
        assert_eq!(keys.finish("k", Some(&receipt(7)), now), [Ticket(1)]);
        let replayed = Receipt { replayed: true, ..receipt(7) };
        assert_eq!(keys.begin("k", 1, Ticket(3), now), Known::Done(replayed));
        assert_eq!(keys.begin("k", 2, Ticket(4), now), Known::Conflict);
    }

    #[test]
    fn a_refusal_is_not_remembered() {
        let mut keys = Keys::default();
        keys.begin("k", 1, Ticket(0), Micros(0));
        keys.begin("k", 1, Ticket(1), Micros(0));
        assert_eq!(keys.finish("k", None, Micros(0)), [Ticket(1)]);
        assert_eq!(keys.begin("k", 2, Ticket(2), Micros(0)), Known::First);
    }

    #[test]
    fn a_key_is_forgotten_at_its_time_and_not_before() {
        let mut keys = Keys::default();
        keys.begin("k", 1, Ticket(0), Micros(0));
        keys.finish("k", Some(&receipt(1)), Micros(5));
        let end = Micros(5).after(IDEMPOTENCY_TIME);
        assert!(matches!(keys.begin("k", 1, Ticket(1), Micros(end.0 - 1)), Known::Done(_)));
        assert_eq!(keys.begin("k", 1, Ticket(2), end), Known::First);
    }

    #[test]
    fn the_oldest_key_goes_when_there_are_too_many() {
        let mut keys = Keys::default();
        for n in 0..=IDEMPOTENCY_KEYS_MAX {
            let key = n.to_string();
            keys.begin(&key, 1, Ticket(0), Micros(0));
            keys.finish(&key, Some(&receipt(1)), Micros(0));
        }
        assert_eq!(keys.begin("0", 1, Ticket(0), Micros(0)), Known::First);
        assert!(matches!(keys.begin("1", 1, Ticket(0), Micros(0)), Known::Done(_)));
        assert_eq!(keys.done.len(), IDEMPOTENCY_KEYS_MAX);
    }
}
