//! Observations about the protection of routes, for the audit log: counted on each core by what they have in
//! common, and reported once a second, so that a flood of them costs a message.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_model::{AppId, CredentialSource};

use crate::limits::SECURITY_EVENTS_MAX;

/// Observation, without anything that a client has sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecurityEvent {
    /// Kind.
    pub kind: SecurityEventKind,
    /// Object that it is about.
    pub subject: SecuritySubject,
    /// Reason, from a fixed vocabulary.
    pub reason: &'static str,
}

/// Kind of a security event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecurityEventKind {
    /// Authentication refused a request.
    AuthRefused,
    /// A request was refused by a ban of a rate limit.
    Banned,
    /// A request passed an external filter that did not decide.
    FilterFailedOpen,
    /// Keys or users can no longer be loaded.
    CredentialsFailed,
    /// They can be loaded again.
    CredentialsRecovered,
}

/// Object of a security event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecuritySubject {
    /// A route or domain, by the name that logs show.
    Route(Arc<str>),
    /// The external filter of a route, by the pool of its service.
    Filter {
        /// The route.
        route: Arc<str>,
        /// The pool.
        pool: AppId,
    },
    /// Keys or users.
    Credentials(CredentialSource),
    /// Several that exceed the number of those that are counted apart.
    Others,
}

/// Number of equal observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecurityCount {
    /// Client of the first one, if a client caused it.
    pub client: Option<IpAddr>,
    /// Their number.
    pub count: u64,
}

/// Observations that are counted and not reported yet. Beyond a bounded number, further ones are counted
/// together by kind.
#[derive(Debug, Default)]
pub struct SecurityCounts(BTreeMap<SecurityEvent, SecurityCount>);

impl SecurityEvent {
    /// Reason of events that are counted together.
    pub const SEVERAL_REASONS: &'static str = "several";

    /// The event that stands for those that are not counted apart.
    #[must_use]
    pub fn among_others(&self) -> Self {
        Self { kind: self.kind, subject: SecuritySubject::Others, reason: Self::SEVERAL_REASONS }
    }
}

impl SecurityCount {
    /// Adds later ones.
    pub fn add(&mut self, later: Self) {
        self.client = self.client.or(later.client);
        self.count = self.count.saturating_add(later.count);
    }
}

impl SecurityCounts {
    /// Counts one observation.
    pub fn count(&mut self, event: SecurityEvent, client: Option<IpAddr>) {
        let one = SecurityCount { client, count: 1 };
        if let Some(counted) = self.0.get_mut(&event) {
            return counted.add(one);
        }
        let event = match self.0.len() < SECURITY_EVENTS_MAX {
            true => event,
            false => event.among_others(),
        };
        self.0.entry(event).and_modify(|counted| counted.add(one)).or_insert(one);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in order.
    pub fn copy(&self) -> Box<[(SecurityEvent, SecurityCount)]> {
        self.0.iter().map(|(event, count)| (event.clone(), *count)).collect()
    }

    /// Forgets all, once they are reported.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
#[path = "security_event_tests.rs"]
mod tests;
