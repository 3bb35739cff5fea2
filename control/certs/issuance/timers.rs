//! When domains are to be looked at again.

use std::collections::{BTreeSet, HashMap};

use ringway_model::{Hostname, Timestamp};

/// One moment for each domain that has any.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Timestamp, Hostname)>,
    of: HashMap<Hostname, Timestamp, ahash::RandomState>,
}

impl Timers {
    /// Instead of the moment that it had.
    pub(super) fn set(&mut self, host: &Hostname, at: Timestamp) {
        self.clear(host);
        self.by_time.insert((at, host.clone()));
        self.of.insert(host.clone(), at);
    }

    pub(super) fn clear(&mut self, host: &Hostname) {
        if let Some(at) = self.of.remove(host) {
            self.by_time.remove(&(at, host.clone()));
        }
    }

    /// Takes out a domain whose moment has come, the earliest first.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Hostname> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, host) = self.by_time.pop_first()?;
        self.of.remove(&host);
        Some(host)
    }

    /// The earliest moment of all.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }
}
