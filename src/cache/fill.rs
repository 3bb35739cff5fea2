//! Coalescing: simultaneous misses for a key share one request to the origin, a fill.
//!
//! ```text
//!  miss ─ join ─┬─ Lead ─► the origin ─► head ─┬─ stream ─► Writer ─ chunks ─► Readers on all cores ─► store
//!               │    └─ client gone: a waiter   ├─ pass: for one request only; the waiters go on together
//!               ├─ Wait ─ poll ─► ...           └─ fail: one failure for all
//!               └─ Alone: the origin, without others
//! ```
//! | state | event | next |
//! |---|---|---|
//! | none | miss | Asking; the request leads |
//! | Asking | another request | waits, or goes alone where too many wait |
//! | Asking | head that may be stored | Streaming |
//! | Asking | head that may not | the waiters go on together; the key is remembered as uncacheable |
//! | Asking | the head varies | waiters with other values elect a leader for each value |
//! | Asking | the leader's client is gone | a waiter leads, twice at most |
//! | Asking | the origin failed | the waiters get the same failure |
//! | Asking | a waiter's time is over | it goes alone; the first of them leads a new fill |
//! | Streaming | a reader is behind | it follows the chunks; the writer does not wait |
//! | Streaming | too large to be stored | a window over the content, paced by the slowest reader |
//! | Streaming | no reader is left | goes on if it is mostly there |
//! | Streaming | cut | readers are cut, never ended; waiters elect |
//! | Streaming | complete | stored, unless it was purged meanwhile |
//!
//! The fill owns the request to the origin, not the client that asked first: a [`Writer`] goes on without it.
//! Waiters and readers are polled; [`Wakeups`] says when. A request that joins after a purge never joins a
//! fill that began before it.

mod content;
mod cores;
mod lead;
mod state;
mod table;
mod waiter;
mod writer;

use std::fmt;
use std::sync::Arc;

use ringway_model::Tick;

use crate::entry::Entry;
use crate::limits::{SUCCESSIONS_MAX, WAITERS_MAX};
use crate::store::insert::Ticket;
use crate::store::scope::Scope;
use crate::store::{Found, Store};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use state::{Joined, State};
use table::Table;

pub use cores::{FillId, Wakeups};
pub use lead::{Lead, Start};
pub use state::{Read, Room};
pub use waiter::{Follower, Progress, Reader, Waiter};
pub use writer::{NotKept, Writer};

/// Fills of all cores. `F` is a failure of an origin, which all waiters of a fill get.
pub struct Fills<F>(Arc<Shared<F>>);

/// Request that misses, or that has a stored response to validate.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its scope.
    pub scope: &'a Arc<Scope>,
    /// Its key: a primary one, or a variant's.
    pub key: &'a [u8],
    /// Target that the client asked for, if the key has another one.
    pub asked: Option<&'a [u8]>,
    /// Epoch of its settings.
    pub epoch: u64,
    /// Entry that the lookup found, and that cannot be served as it is.
    pub known: Option<&'a Arc<Entry>>,
    /// Core that is woken for it.
    pub core: usize,
    /// The time.
    pub now: Tick,
    /// Number that [`Progress::Retry`] gave; zero at first.
    pub successions: u8,
}

/// Result of [`Fills::join`].
#[derive(Debug)]
pub enum Join<F: Clone> {
    /// The lookup finds something by now.
    Found(Found),
    /// The request asks the origin.
    Lead(Lead<F>),
    /// Another one does.
    Wait(Waiter<F>),
    /// The request asks the origin for itself. Its response may be stored with [`Fills::lead_alone`].
    Alone(Alone),
}

/// Reason why a request asks its origin without others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The last response for its key could not be stored.
    Uncacheable,
    /// Too many requests wait.
    Crowded,
    /// Other leaders did not come to an end.
    Contested,
    /// It has waited for long enough.
    TimedOut,
}

struct Shared<F> {
    store: Arc<Store>,
    table: Table<F>,
    /// Requests that wait for any fill.
    waiting: AtomicU32,
    wakeups: Box<dyn Wakeups>,
    next_id: AtomicU64,
}

/// One request to an origin.
struct Fill<F> {
    id: FillId,
    hash: u64,
    key: Arc<[u8]>,
    asked: Option<Box<[u8]>>,
    epoch: u64,
    ticket: Ticket,
    state: Mutex<State<F>>,
}

impl<F: Clone> Fills<F> {
    /// Returns a table without fills, whose responses go to `store`.
    pub fn new(store: Arc<Store>, wakeups: Box<dyn Wakeups>) -> Self {
        Self(Arc::new(Shared {
            store,
            table: Table::default(),
            waiting: AtomicU32::new(0),
            wakeups,
            next_id: AtomicU64::new(0),
        }))
    }

    /// Joins the fill of a key, or begins one. Takes a lock of the table and one of the fill.
    pub fn join(&self, request: &Request<'_>) -> Join<F> {
        if request.successions > SUCCESSIONS_MAX {
            return Join::Alone(Alone::Contested);
        }
        let hash = self.0.store.hash(request.key);
        if request.scope.uncacheable.contains(hash, request.now) {
            return Join::Alone(Alone::Uncacheable);
        }
        for _ in 0..ROUNDS_MAX {
            let listed = self.0.table.find(hash, request.key);
            let fill = match listed {
                Some(fill) if self.0.is_outdated(&fill) => {
                    self.0.unlist(&fill);
                    continue;
                }
                Some(fill) => fill,
                None => {
                    let new = self.0.new_fill(hash, request);
                    if self.0.table.insert(&new) {
                        return self.begin(new, request);
                    }
                    continue;
                }
            };
            let joined = match self.0.take_place() {
                true => fill.state.lock().join(request.core),
                false => return Join::Alone(Alone::Crowded),
            };
            match joined {
                Joined::Waits => return Join::Wait(Waiter::new(self.0.clone(), fill, request.core)),
                Joined::Leads => {
                    self.0.give_place();
                    return Join::Lead(Lead::new(self.0.clone(), fill));
                }
                Joined::Crowded => {
                    self.0.give_place();
                    return Join::Alone(Alone::Crowded);
                }
                Joined::Ended => {
                    self.0.give_place();
                    // Its last participant may be about to do so.
                    self.0.table.remove(hash, &fill);
                }
            }
        }
        Join::Alone(Alone::Contested)
    }

    /// Begins a fill that no other request can join: of a request that goes alone, or whose route does not
    /// coalesce.
    pub fn lead_alone(&self, request: &Request<'_>) -> Lead<F> {
        let hash = self.0.store.hash(request.key);
        Lead::new(self.0.clone(), self.0.new_fill(hash, request))
    }

    /// Ends the wait of a request whose time is over. The first one of a fill leads a new one; the others,
    /// and those that come later, find that one.
    pub fn time_out(&self, waiter: Waiter<F>, request: &Request<'_>) -> Join<F> {
        let old = waiter.fill().clone();
        drop(waiter);
        let new = self.0.new_fill(old.hash, request);
        if old.hash == self.0.store.hash(request.key) && self.0.table.replace(&old, &new) {
            return Join::Lead(Lead::new(self.0.clone(), new));
        }
        Join::Alone(Alone::TimedOut)
    }

    /// Requests that wait on all cores. One load.
    pub fn waiting(&self) -> u32 {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Number of fills that can be joined.
    pub fn len(&self) -> usize {
        self.0.table.len()
    }

    /// Whether no fill can be joined.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leads a new fill, unless a former one ended since the lookup.
    fn begin(&self, fill: Arc<Fill<F>>, request: &Request<'_>) -> Join<F> {
        let found = self.0.store.find_hashed(fill.hash, request.key, request.epoch);
        let is_new = found.as_ref().is_some_and(|found| match found {
            Found::Entry(entry) => !request.known.is_some_and(|known| Arc::ptr_eq(known, entry)),
            Found::Variants(_) => true,
        });
        match found {
            Some(found) if is_new => {
                self.0.end(&fill, state::End::Retry);
                Join::Found(found)
            }
            _ => Join::Lead(Lead::new(self.0.clone(), fill)),
        }
    }
}

impl<F: Clone> Shared<F> {
    fn new_fill(&self, hash: u64, request: &Request<'_>) -> Arc<Fill<F>> {
        Arc::new(Fill {
            id: FillId(self.next_id.fetch_add(1, Ordering::Relaxed)),
            hash,
            key: request.key.into(),
            asked: request.asked.map(Into::into),
            epoch: request.epoch,
            ticket: self.store.ticket(request.scope),
            state: Mutex::new(State::new(request.successions)),
        })
    }

    /// Whether an invalidation came since the fill began, and may concern it.
    fn is_outdated(&self, fill: &Fill<F>) -> bool {
        if fill.ticket.is_current(&self.store) {
            return false;
        }
        let head = fill.state.lock().head().cloned();
        let Some(parts) = crate::KeyParts::parse(&fill.key) else { return true };
        let tags = head.as_ref().map(|head| head.tags());
        fill.ticket.catch_up(&self.store, &fill.ticket.subject(parts, fill.asked.as_deref(), tags)).is_err()
    }

    /// Counts a waiting request, unless there are too many.
    fn take_place(&self) -> bool {
        let add = |waiting: u32| (waiting < WAITERS_MAX).then(|| waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn give_place(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Removes a fill from the table: no request joins it any longer.
    fn unlist(&self, fill: &Arc<Fill<F>>) {
        let variant = fill.state.lock().variant_key();
        self.table.remove(fill.hash, fill);
        if let Some(key) = variant {
            self.table.remove(self.store.hash(&key), fill);
        }
    }

    /// Ends a fill without a response, or with one that is not shared.
    fn end(&self, fill: &Arc<Fill<F>>, end: state::End<F>) {
        self.unlist(fill);
        let replaced = fill.state.lock().end(end);
        drop(replaced);
        self.wake(fill);
    }

    /// Wakes all tasks that take part in a fill.
    fn wake(&self, fill: &Fill<F>) {
        let cores = fill.state.lock().cores();
        for core in cores.iter() {
            self.wakeups.wake(core, fill.id);
        }
    }
}

impl<F> Clone for Fills<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F> fmt::Debug for Fills<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fills").field("waiting", &self.0.waiting).finish_non_exhaustive()
    }
}

/// Attempts to join: fills that end at this moment, one after the other.
const ROUNDS_MAX: usize = 8;

#[cfg(all(test, loom))]
#[path = "fill_models.rs"]
mod models;
#[cfg(all(test, not(loom)))]
#[path = "fill_tests.rs"]
mod tests;
