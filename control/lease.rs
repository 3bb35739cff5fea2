//! Who still sends heartbeats.
//!
//! ```text
//!  registered ── heartbeat ──► leased ── HEARTBEAT_TIMEOUT without one ──► expired (asks for removal)
//!      ▲                          │ ▲                                          │
//!      └──── registered again ────┘ └────────────── heartbeat ────────────────┘
//! ```
//! An instance that never sent a heartbeat has no lease: health checks alone judge it. Leases are not stored: after
//! a restart an instance is leased again from its first heartbeat on. An expired lease asks again from time to time
//! until the instance is gone, for the store may have refused the removal.

use std::collections::BTreeSet;
use std::time::Duration;

use ahash::AHashMap;
use ringway_model::{Generation, InstanceId, Tick, Timestamp};

/// The instances that send heartbeats.
#[derive(Debug)]
pub(crate) struct Leases {
    timeout: Duration,
    leases: AHashMap<InstanceId, Lease>,
    /// When each lease wants attention next.
    due: BTreeSet<(Tick, InstanceId)>,
}

/// One instance's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    generation: Generation,
    due: Tick,
    /// When it ends without another heartbeat.
    pub(crate) expires: Tick,
    /// When the last heartbeat came.
    pub(crate) last_heartbeat: Timestamp,
}

/// How long an expired lease waits before it asks for the removal again.
const REMOVAL_RETRY: Duration = Duration::from_secs(5);

impl Leases {
    /// No leases yet; each will last `timeout` from its last heartbeat.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, leases: AHashMap::new(), due: BTreeSet::new() }
    }

    /// A heartbeat of a registered instance came; the caller has checked the generation.
    pub(crate) fn handle_heartbeat(
        &mut self,
        id: &InstanceId,
        generation: Generation,
        now: Tick,
        at: Timestamp,
    ) {
        self.handle_gone(id);
        let expires = now.after(self.timeout);
        self.due.insert((expires, id.clone()));
        self.leases.insert(id.clone(), Lease { generation, due: expires, expires, last_heartbeat: at });
    }

    /// The instance was registered, perhaps again: a new registration has not sent a heartbeat.
    pub(crate) fn handle_registered(&mut self, id: &InstanceId, generation: Generation) {
        if self.leases.get(id).is_some_and(|lease| lease.generation != generation) {
            self.handle_gone(id);
        }
    }

    /// The instance is gone.
    pub(crate) fn handle_gone(&mut self, id: &InstanceId) {
        if let Some(lease) = self.leases.remove(id) {
            self.due.remove(&(lease.due, id.clone()));
        }
    }

    /// The next instance whose lease has run out. It is to be removed, this generation of it only.
    pub(crate) fn poll_expired(&mut self, now: Tick) -> Option<(InstanceId, Generation)> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, id) = self.due.pop_first()?;
        let lease = self.leases.get_mut(&id)?;
        lease.due = now.after(REMOVAL_RETRY);
        self.due.insert((lease.due, id.clone()));
        Some((id, lease.generation))
    }

    /// When [`Leases::poll_expired`] is worth a call; [`Tick::NEVER`] without leases.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.due.first().map_or(Tick::NEVER, |(due, _)| *due)
    }

    /// An instance's lease.
    pub(crate) fn lease(&self, id: &InstanceId) -> Option<Lease> {
        self.leases.get(id).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn id(text: &str) -> InstanceId {
        InstanceId::parse(text).unwrap()
    }

    fn beat(leases: &mut Leases, name: &str, generation: u64, now: u64) {
        leases.handle_heartbeat(&id(name), Generation(generation), Tick(now), Timestamp(now));
    }

    #[test]
    fn a_lease_ends_at_its_timeout_and_not_before() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "a", 1, 1_000);
        assert_eq!(leases.next_deadline(), Tick(31_000));
        assert_eq!(leases.poll_expired(Tick(30_999)), None);
        assert_eq!(leases.poll_expired(Tick(31_000)), Some((id("a"), Generation(1))));
        assert_eq!(leases.poll_expired(Tick(31_000)), None, "asked once");
    }

    #[test]
    fn a_heartbeat_renews_even_an_expired_lease() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "a", 1, 0);
        beat(&mut leases, "a", 1, 29_000);
        assert_eq!(leases.poll_expired(Tick(58_999)), None);
        assert!(leases.poll_expired(Tick(59_000)).is_some());
        beat(&mut leases, "a", 1, 59_001);
        assert_eq!(leases.poll_expired(Tick(89_000)), None);
        assert_eq!(leases.lease(&id("a")).unwrap().last_heartbeat, Timestamp(59_001));
    }

    #[test]
    fn an_expired_lease_asks_again_until_the_instance_is_gone() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "a", 1, 0);
        assert!(leases.poll_expired(Tick(30_000)).is_some());
        assert!(leases.poll_expired(Tick(34_999)).is_none());
        assert!(leases.poll_expired(Tick(35_000)).is_some());
        leases.handle_gone(&id("a"));
        assert_eq!(leases.next_deadline(), Tick::NEVER);
    }

    #[test]
    fn a_new_registration_has_no_lease() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "a", 1, 0);
        leases.handle_registered(&id("a"), Generation(1));
        assert!(leases.lease(&id("a")).is_some(), "the same registration");
        leases.handle_registered(&id("a"), Generation(2));
        assert_eq!(leases.lease(&id("a")), None);
        assert_eq!(leases.poll_expired(Tick(1_000_000)), None);
    }

    #[test]
    fn each_instance_has_its_own_time() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "late", 2, 10);
        beat(&mut leases, "early", 1, 5);
        assert_eq!(leases.poll_expired(Tick(40_000)).unwrap().0, id("early"));
        assert_eq!(leases.poll_expired(Tick(40_000)).unwrap().0, id("late"));
        assert_eq!(leases.poll_expired(Tick(40_000)), None);
    }
}
