//! Lookups of names: one at a time for each name, bounded, with results that are kept for a while. Pure.
//!
//! ```text
//! wanted ─► kept ─────────────────────────────► answer
//!    ├────► in flight, or queued ─► waits with the others
//!    └────► begins, or is queued; refused when the queue is full
//! ```

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use ringway_forward::limits;
use ringway_forward::messages::{NameError, Resolved};
use ringway_model::{CoreId, Tick};

/// Result of a lookup: the addresses with their TTL.
pub(crate) type Found = Result<(Arc<[IpAddr]>, Duration), NameError>;

/// State of all lookups.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    names: HashMap<Arc<str>, State, RandomState>,
    queue: VecDeque<Arc<str>>,
    in_flight: usize,
    kept: usize,
}

#[derive(Debug)]
enum State {
    /// Queued or in flight, with the cores that wait.
    Pending(Vec<CoreId>),
    Kept {
        addresses: Result<Arc<[IpAddr]>, NameError>,
        until: Tick,
    },
}

/// Consequence of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The core gets this at once.
    Answer(Resolved),
    /// The core waits.
    Wait,
}

impl Lookups {
    /// Takes the request of a core.
    pub(crate) fn want(&mut self, core: CoreId, name: &Arc<str>, now: Tick) -> Step {
        match self.names.get_mut(name) {
            Some(State::Pending(cores)) => {
                if !cores.contains(&core) {
                    cores.push(core);
                }
                return Step::Wait;
            }
            Some(State::Kept { addresses, until }) if now < *until => {
                let ttl = now.until(*until);
                return Step::Answer(Resolved { name: name.clone(), addresses: addresses.clone(), ttl });
            }
            Some(State::Kept { .. }) => self.kept -= 1,
            None => {}
        }
        if self.queue.len() >= limits::LOOKUPS_QUEUED_MAX {
            self.names.remove(name);
            let ttl = Duration::ZERO;
            return Step::Answer(Resolved { name: name.clone(), addresses: Err(NameError::Full), ttl });
        }
        self.names.insert(name.clone(), State::Pending(vec![core]));
        self.queue.push_back(name.clone());
        Step::Wait
    }

    /// The next name to look up, if there is room for one more.
    pub(crate) fn begin(&mut self) -> Option<Arc<str>> {
        if self.in_flight >= limits::LOOKUPS_IN_FLIGHT_MAX {
            return None;
        }
        let name = self.queue.pop_front()?;
        self.in_flight += 1;
        Some(name)
    }

    /// Takes a result; returns the answer and the cores that get it.
    pub(crate) fn handle_found(
        &mut self,
        name: &Arc<str>,
        found: Found,
        now: Tick,
    ) -> (Resolved, Vec<CoreId>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let (addresses, ttl) = match found {
            Ok((addresses, ttl)) => (Ok(addresses), ttl.clamp(limits::NAME_TTL_MIN, limits::NAME_TTL_MAX)),
            Err(error) => (Err(error), limits::NAME_FAILURE_TTL),
        };
        if self.kept >= KEPT_MAX {
            self.forget(now);
        }
        let kept = State::Kept { addresses: addresses.clone(), until: now.after(ttl) };
        self.kept += 1;
        let cores = match self.names.insert(name.clone(), kept) {
            Some(State::Pending(cores)) => cores,
            Some(State::Kept { .. }) => {
                self.kept -= 1;
                Vec::new()
            }
            None => Vec::new(),
        };
        (Resolved { name: name.clone(), addresses, ttl }, cores)
    }

    /// Drops results that are over; all, if none is.
    fn forget(&mut self, now: Tick) {
        self.names.retain(|_, state| !matches!(state, State::Kept { until, .. } if *until <= now));
        let kept = |state: &&State| matches!(state, State::Kept { .. });
        if self.names.values().filter(kept).count() >= KEPT_MAX {
            self.names.retain(|_, state| matches!(state, State::Pending(_)));
        }
        self.kept = self.names.values().filter(kept).count();
    }
}

/// Results that are kept: some times those of a core.
const KEPT_MAX: usize = 4 * limits::NAMES_PER_CORE_MAX;

#[cfg(test)]
#[path = "lookups_tests.rs"]
mod tests;
