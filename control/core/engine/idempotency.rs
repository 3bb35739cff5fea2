//! Idempotency keys: a repeated submission is processed once.
//!
//! ```text
//!  unknown ── begin ──► pending ── finish(receipt) ──► done ── time, or too many ──► unknown
//!                          └─────── finish(refusal) ──────────────────────────────► unknown
//! ```
//! A repetition while pending waits for the same reply; one after completion gets the first receipt again. A
//! refusal had no effect, so it is not kept and a retry is decided afresh. Keys live in memory only: after a
//! restart a repeated change meets its own effect, and every change handles that (`Unchanged`, or a rejection
//! that names the existing resource).

use std::collections::VecDeque;

use crate::limits::{IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_TIME};
use ahash::AHashMap;

use crate::engine::plane::Ticket;
use crate::submission::Receipt;
use crate::time::Micros;

/// Keys of the last [`IDEMPOTENCY_TIME`].
#[derive(Debug, Default)]
pub(crate) struct Keys {
    entries: AHashMap<Box<str>, Entry>,
    /// Completed keys with their expiry, oldest first.
    done: VecDeque<(Micros, Box<str>)>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not completed; these submissions wait for the same reply.
    Pending(Vec<Ticket>),
    Done(Receipt),
}

/// Result of the lookup of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// First submission with this key; [`Keys::finish`] completes it.
    First,
    /// The same submission is pending; the ticket comes back from [`Keys::finish`].
    Joined,
    /// The same submission is completed, with this receipt.
    Done(Receipt),
    /// The key belongs to another submission.
    Conflict,
}

impl Keys {
    /// Looks up the key of a submission and registers a new one.
    pub(crate) fn begin(&mut self, key: &str, hash: u64, ticket: Ticket, now: Micros) -> Known {
        self.expire(now);
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

    /// Completes the first submission with `key`, with or without a receipt. Returns the tickets that joined
    /// it.
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
        self.expire(now);
        match before {
            State::Pending(joined) => joined,
            State::Done(_) => Vec::new(),
        }
    }

    /// Drops expired keys, and the oldest beyond the limit.
    fn expire(&mut self, now: Micros) {
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
            trial: None,
            pending: Vec::new(),
            replayed: false,
            applied_in: Duration::ZERO,
        }
    }

    #[test]
    fn a_repetition_gets_the_first_receipt_and_another_request_a_conflict() {
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
    fn a_refusal_is_not_kept() {
        let mut keys = Keys::default();
        keys.begin("k", 1, Ticket(0), Micros(0));
        keys.begin("k", 1, Ticket(1), Micros(0));
        assert_eq!(keys.finish("k", None, Micros(0)), [Ticket(1)]);
        assert_eq!(keys.begin("k", 2, Ticket(2), Micros(0)), Known::First);
    }

    #[test]
    fn a_key_expires_at_its_time_and_not_before() {
        let mut keys = Keys::default();
        keys.begin("k", 1, Ticket(0), Micros(0));
        keys.finish("k", Some(&receipt(1)), Micros(5));
        let end = Micros(5).after(IDEMPOTENCY_TIME);
        assert!(matches!(keys.begin("k", 1, Ticket(1), Micros(end.0 - 1)), Known::Done(_)));
        assert_eq!(keys.begin("k", 1, Ticket(2), end), Known::First);
    }

    #[test]
    fn the_oldest_key_is_dropped_beyond_the_limit() {
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
