//! Leases of instances that send heartbeats, and recent deregistrations; pure.
//!
//! ```text
//!  registered ── heartbeat ──► held ── timeout ──► lapsed ── timeout ──► expired
//!      ▲                        ▲ ▲    out of rotation │     deregistered   │
//!      │                        │ └──── heartbeat ─────┘                    │
//!      └── registered again     └────────────────── heartbeat ──────────────┘
//! ```
//! The last arrow exists while the removal is not stored.
//!
//! An instance that never sent a heartbeat has no lease: health checks alone decide about it. Leases are not
//! stored: after a restart an instance is leased again from its first heartbeat on. The second timeout starts
//! when the first one was handled; a process that was suspended therefore removes no instance at once. The
//! removal of an expired lease is requested repeatedly until the instance is gone, as the store may have
//! refused it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::limits::DEREGISTRATIONS_KEPT_MAX;
use ahash::AHashMap;
use ringway_model::{Generation, InstanceId, Tick, Timestamp};

/// Leases by instance.
#[derive(Debug)]
pub(crate) struct Leases {
    timeout: Duration,
    leases: AHashMap<InstanceId, Lease>,
    /// Next deadline of each lease.
    due: BTreeSet<(Tick, InstanceId)>,
}

/// Lease of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    generation: Generation,
    due: Tick,
    phase: Phase,
    /// Time at which it lapses without another heartbeat.
    pub(crate) expires: Tick,
    /// Time at which the instance is deregistered without another heartbeat.
    pub(crate) deregisters: Tick,
    /// Time of the last heartbeat.
    pub(crate) last_heartbeat: Timestamp,
    last_tick: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Held,
    Lapsed,
    Expired,
}

/// End of a lease, in two steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// The instance leaves the rotation.
    Lapsed(InstanceId),
    /// This generation of the instance is to be removed.
    Expired(InstanceId, Generation),
}

/// Delay between two requests for a removal.
const REMOVAL_RETRY: Duration = Duration::from_secs(5);

impl Lease {
    /// Whether heartbeats are missing; the instance then gets no requests.
    pub(crate) fn is_lapsed(&self) -> bool {
        self.phase != Phase::Held
    }

    /// Whether the removal of the instance was requested.
    pub(crate) fn is_expired(&self) -> bool {
        self.phase == Phase::Expired
    }

    /// Time since the last heartbeat.
    pub(crate) fn silence(&self, now: Tick) -> Duration {
        now.since(self.last_tick)
    }
}

impl Leases {
    /// Creates an empty table. A lease lasts `timeout` from the last heartbeat, and its instance as long
    /// again.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, leases: AHashMap::new(), due: BTreeSet::new() }
    }

    /// Renews the lease of a registered instance; the caller has checked the generation. Returns whether it
    /// had lapsed.
    pub(crate) fn handle_heartbeat(
        &mut self,
        id: &InstanceId,
        generation: Generation,
        now: Tick,
        at: Timestamp,
    ) -> bool {
        let had_lapsed = self.leases.get(id).is_some_and(Lease::is_lapsed);
        self.handle_gone(id);
        let expires = now.after(self.timeout);
        self.due.insert((expires, id.clone()));
        let deregisters = expires.after(self.timeout);
        let lease = Lease {
            generation,
            due: expires,
            phase: Phase::Held,
            expires,
            deregisters,
            last_heartbeat: at,
            last_tick: now,
        };
        self.leases.insert(id.clone(), lease);
        had_lapsed
    }

    /// Drops the lease of an earlier registration: the new one has not sent a heartbeat.
    pub(crate) fn handle_registered(&mut self, id: &InstanceId, generation: Generation) {
        if self.leases.get(id).is_some_and(|lease| lease.generation != generation) {
            self.handle_gone(id);
        }
    }

    /// Drops the lease of a removed instance.
    pub(crate) fn handle_gone(&mut self, id: &InstanceId) {
        if let Some(lease) = self.leases.remove(id) {
            self.due.remove(&(lease.due, id.clone()));
        }
    }

    /// Next lease that has ended.
    pub(crate) fn poll_end(&mut self, now: Tick) -> Option<LeaseEnd> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, id) = self.due.pop_first()?;
        let lease = self.leases.get_mut(&id)?;
        let end = match lease.phase {
            Phase::Held => {
                lease.phase = Phase::Lapsed;
                lease.due = now.after(self.timeout);
                lease.deregisters = lease.due;
                LeaseEnd::Lapsed(id.clone())
            }
            Phase::Lapsed | Phase::Expired => {
                lease.phase = Phase::Expired;
                lease.due = now.after(REMOVAL_RETRY);
                LeaseEnd::Expired(id.clone(), lease.generation)
            }
        };
        self.due.insert((lease.due, id));
        Some(end)
    }

    /// Time at which [`Leases::poll_end`] is due; [`Tick::NEVER`] without leases.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.due.first().map_or(Tick::NEVER, |(due, _)| *due)
    }

    /// Lease of an instance.
    pub(crate) fn lease(&self, id: &InstanceId) -> Option<Lease> {
        self.leases.get(id).copied()
    }
}

/// Deregistration for lack of heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deregistration {
    /// Time of the deregistration.
    pub(crate) at: Timestamp,
    /// Time from the last heartbeat to the deregistration.
    pub(crate) silence: Duration,
}

/// The last [`DEREGISTRATIONS_KEPT_MAX`] deregistrations, for replies to messages that arrive late.
#[derive(Debug, Default)]
pub(crate) struct Deregistered {
    known: AHashMap<InstanceId, Deregistration>,
    /// Oldest first.
    order: VecDeque<InstanceId>,
}

impl Deregistered {
    pub(crate) fn insert(&mut self, id: InstanceId, deregistration: Deregistration) {
        if self.order.len() >= DEREGISTRATIONS_KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.known.insert(id, deregistration);
    }

    /// Drops the entry of an instance that was registered again.
    pub(crate) fn forget(&mut self, id: &InstanceId) {
        if self.known.remove(id).is_some() {
            self.order.retain(|known| known != id);
        }
    }

    pub(crate) fn get(&self, id: &InstanceId) -> Option<Deregistration> {
        self.known.get(id).copied()
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

    fn beat(leases: &mut Leases, name: &str, generation: u64, now: u64) -> bool {
        leases.handle_heartbeat(&id(name), Generation(generation), Tick(now), Timestamp(now))
    }

    fn lapsed(name: &str) -> Option<LeaseEnd> {
        Some(LeaseEnd::Lapsed(id(name)))
    }

    fn expired(name: &str, generation: u64) -> Option<LeaseEnd> {
        Some(LeaseEnd::Expired(id(name), Generation(generation)))
    }

    #[test]
    fn a_lease_lapses_at_its_timeout_and_expires_at_the_second() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "a", 1, 1_000);
        let lease = leases.lease(&id("a")).unwrap();
        assert_eq!((lease.expires, lease.deregisters), (Tick(31_000), Tick(61_000)));
        assert_eq!(leases.next_deadline(), Tick(31_000));
        assert_eq!(leases.poll_end(Tick(30_999)), None);
        assert!(!leases.lease(&id("a")).unwrap().is_lapsed());
        assert_eq!(leases.poll_end(Tick(31_000)), lapsed("a"));
        assert_eq!(leases.poll_end(Tick(60_999)), None, "reported once");
        let lease = leases.lease(&id("a")).unwrap();
        assert!(lease.is_lapsed() && !lease.is_expired());
        assert_eq!(lease.silence(Tick(31_000)), TIMEOUT);
        assert_eq!(leases.next_deadline(), Tick(61_000));
        assert_eq!(leases.poll_end(Tick(61_000)), expired("a", 1));
        assert_eq!(leases.poll_end(Tick(61_000)), None, "requested once");
    }

    #[test]
    fn a_heartbeat_renews_a_lease_in_every_phase() {
        let mut leases = Leases::new(TIMEOUT);
        assert!(!beat(&mut leases, "a", 1, 0));
        assert!(!beat(&mut leases, "a", 1, 29_000));
        assert_eq!(leases.poll_end(Tick(58_999)), None);
        assert_eq!(leases.poll_end(Tick(59_000)), lapsed("a"));
        assert!(beat(&mut leases, "a", 1, 59_001), "it had lapsed");
        assert!(!leases.lease(&id("a")).unwrap().is_lapsed());
        assert_eq!(leases.poll_end(Tick(89_000)), None);
        assert_eq!(leases.poll_end(Tick(89_001)), lapsed("a"));
        assert_eq!(leases.poll_end(Tick(119_001)), expired("a", 1));
        assert!(beat(&mut leases, "a", 1, 119_002), "the removal may have been refused");
        assert_eq!(leases.lease(&id("a")).unwrap().last_heartbeat, Timestamp(119_002));
    }

    #[test]
    fn a_process_that_was_suspended_removes_nothing_at_once() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "a", 1, 0);
        let woke = 3_600_000;
        assert_eq!(leases.poll_end(Tick(woke)), lapsed("a"));
        assert_eq!(leases.poll_end(Tick(woke + 29_999)), None, "there is time for a heartbeat");
        assert_eq!(leases.poll_end(Tick(woke + 30_000)), expired("a", 1));
    }

    #[test]
    fn a_removal_is_requested_again_until_the_instance_is_gone() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "a", 1, 0);
        assert_eq!(leases.poll_end(Tick(30_000)), lapsed("a"));
        assert_eq!(leases.poll_end(Tick(60_000)), expired("a", 1));
        assert_eq!(leases.poll_end(Tick(64_999)), None);
        assert_eq!(leases.poll_end(Tick(65_000)), expired("a", 1));
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
        assert_eq!(leases.poll_end(Tick(1_000_000)), None);
    }

    #[test]
    fn each_instance_has_its_own_deadline() {
        let mut leases = Leases::new(TIMEOUT);
        beat(&mut leases, "late", 2, 10);
        beat(&mut leases, "early", 1, 5);
        assert_eq!(leases.poll_end(Tick(40_000)), lapsed("early"));
        assert_eq!(leases.poll_end(Tick(40_000)), lapsed("late"));
        assert_eq!(leases.poll_end(Tick(40_000)), None);
    }

    #[test]
    fn deregistrations_are_kept_up_to_the_limit() {
        let mut known = Deregistered::default();
        let one = Deregistration { at: Timestamp(1), silence: TIMEOUT };
        for number in 0..=DEREGISTRATIONS_KEPT_MAX {
            known.insert(id(&format!("i{number}")), one);
        }
        assert_eq!(known.get(&id("i0")), None);
        assert_eq!(known.get(&id("i1")), Some(one));
        known.forget(&id("i1"));
        assert_eq!(known.get(&id("i1")), None);
        assert_eq!(known.order.len(), known.known.len());
    }
}
