//! Timers of domains: one time each.

use std::collections::{BTreeSet, HashMap};

use ringway_model::{Hostname, Timestamp};

/// Times at which domains are reconsidered.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Timestamp, Hostname)>,
    by_host: HashMap<Hostname, Timestamp, ahash::RandomState>,
}

impl Timers {
    /// Sets or replaces the timer of a domain.
    pub(super) fn set(&mut self, host: &Hostname, at: Timestamp) {
        self.clear(host);
        self.by_time.insert((at, host.clone()));
        self.by_host.insert(host.clone(), at);
    }

    /// Clears the timer of a domain.
    pub(super) fn clear(&mut self, host: &Hostname) {
        if let Some(at) = self.by_host.remove(host) {
            self.by_time.remove(&(at, host.clone()));
        }
    }

    /// Takes the earliest domain that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Hostname> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, host) = self.by_time.pop_first()?;
        self.by_host.remove(&host);
        Some(host)
    }

    /// Returns the earliest time.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }
}
