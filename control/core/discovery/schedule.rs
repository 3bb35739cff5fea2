//! Schedule of discovery lookups and their waiters, pure: time is an argument, [`threads`](super::threads)
//! runs the lookups.
//!
//! ```text
//!  wanted ──► queued ── poll_lookup ──► in flight ── result ──► routed, with a new lookup once stale
//!               └────── RESOLVER_TIMEOUT ─┴──► the waiting cores get `Absence::Unresolved`
//!  routed ── not wanted for RESOLVED_IDLE ──► kept: the next request waits for a fresh result
//!    └─────────────────────────────────────────┴── no result for RESOLVED_STALE_MAX ──► dropped
//! ```

use std::collections::{BTreeSet, VecDeque};

use crate::limits::{RESOLVED_HOSTS_MAX, RESOLVED_IDLE, RESOLVED_RETRY, RESOLVED_STALE_MAX};
use ahash::AHashMap;
use ringway_model::limits::{RESOLVED_FRESH, RESOLVER_TIMEOUT};
use ringway_model::{CoreId, Hostname, Target, Tick};
use ringway_traffic::report::Absence;

/// Hosts with a lookup or a result.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    hosts: AHashMap<Hostname, Host>,
    /// Hosts that wait for a free thread.
    queue: VecDeque<Hostname>,
    /// Next deadline of each host.
    deadlines: BTreeSet<(Tick, Hostname)>,
}

#[derive(Debug)]
struct Host {
    lookup: Lookup,
    /// Cores with requests that wait for the result.
    waiters: Vec<CoreId>,
    /// Targets of the last successful lookup, and its time.
    targets: Option<(Tick, Vec<Target>)>,
    /// Whether a route to those targets is published.
    is_routed: bool,
    last_wanted: Tick,
    /// Its entry in `Schedule::deadlines`.
    deadline: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    None,
    Queued {
        since: Tick,
    },
    InFlight {
        since: Tick,
    },
    /// In flight beyond its timeout: no request waits for it, but its thread is still blocked.
    Overdue,
}

/// Effect of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Reports to these cores that the host has no route.
    ReportAbsence(Vec<CoreId>, Hostname, Absence),
    /// Routes the host to these targets.
    PutRoute(Hostname, Vec<Target>),
    /// Removes the route of the host.
    RemoveRoute(Hostname),
}

/// Result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LookupResult {
    /// Targets that serve the host.
    Targets(Vec<Target>),
    /// No app serves the host.
    Unknown,
    /// The resolver failed.
    Failed,
}

impl Schedule {
    /// Handles a core's request for a host.
    pub(crate) fn handle_wanted(&mut self, host: &Hostname, core: CoreId, now: Tick) -> Option<Effect> {
        if !self.hosts.contains_key(host) {
            if self.hosts.len() >= RESOLVED_HOSTS_MAX {
                return Some(Effect::ReportAbsence(vec![core], host.clone(), Absence::Unresolved));
            }
            self.hosts.insert(host.clone(), Host::new(now));
            self.deadlines.insert((now, host.clone()));
        }
        let entry = self.hosts.get_mut(host)?;
        entry.last_wanted = now;
        match entry.lookup {
            // One lookup per host: the next one starts when this one has returned.
            Lookup::Overdue if !entry.is_routed => {
                let effect = entry.fall_back(now, host);
                self.arm(host);
                return Some(effect.unwrap_or(Effect::ReportAbsence(
                    vec![core],
                    host.clone(),
                    Absence::Unresolved,
                )));
            }
            Lookup::None if entry.is_fresh(now) => return None,
            Lookup::None => {
                entry.lookup = Lookup::Queued { since: now };
                self.queue.push_back(host.clone());
            }
            Lookup::Queued { .. } | Lookup::InFlight { .. } | Lookup::Overdue => {}
        }
        if !entry.waiters.contains(&core) {
            entry.waiters.push(core);
        }
        self.arm(host);
        None
    }

    /// Queues a lookup after a failed connection to a target: the last result may be stale.
    pub(crate) fn handle_unreachable(&mut self, host: &Hostname, now: Tick) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let is_old = entry.targets.as_ref().is_none_or(|(at, _)| now >= at.after(RESOLVED_RETRY));
        if entry.lookup == Lookup::None && is_old {
            entry.lookup = Lookup::Queued { since: now };
            self.queue.push_back(host.clone());
            self.arm(host);
        }
    }

    /// Drops a host, for example when it was registered.
    pub(crate) fn forget(&mut self, host: &Hostname) {
        if let Some(entry) = self.hosts.remove(host) {
            self.deadlines.remove(&(entry.deadline, host.clone()));
            self.queue.retain(|queued| queued != host);
        }
    }

    /// Next host to look up; to be called while a thread is free.
    pub(crate) fn poll_lookup(&mut self) -> Option<Hostname> {
        while let Some(host) = self.queue.pop_front() {
            if let Some(entry) = self.hosts.get_mut(&host)
                && let Lookup::Queued { since } = entry.lookup
            {
                entry.lookup = Lookup::InFlight { since };
                return Some(host);
            }
        }
        None
    }

    /// Handles the result of a lookup.
    pub(crate) fn handle_result(&mut self, host: &Hostname, result: LookupResult, now: Tick) -> Vec<Effect> {
        let Some(entry) = self.hosts.get_mut(host) else { return Vec::new() };
        entry.lookup = Lookup::None;
        let waiters = std::mem::take(&mut entry.waiters);
        let absence = match result {
            LookupResult::Targets(targets) => {
                entry.targets = Some((now, targets.clone()));
                entry.is_routed = true;
                self.arm(host);
                return vec![Effect::PutRoute(host.clone(), targets)];
            }
            // The last result stays in use for a while.
            LookupResult::Failed if entry.is_usable(now) => {
                let effect = if waiters.is_empty() { None } else { entry.fall_back(now, host) };
                self.arm(host);
                return effect.into_iter().collect();
            }
            LookupResult::Failed => Absence::Unresolved,
            LookupResult::Unknown => Absence::Unknown,
        };
        let was_routed = entry.is_routed;
        self.forget(host);
        let removal = was_routed.then(|| Effect::RemoveRoute(host.clone()));
        let report = (!waiters.is_empty()).then(|| Effect::ReportAbsence(waiters, host.clone(), absence));
        removal.into_iter().chain(report).collect()
    }

    /// Applies deadlines.
    pub(crate) fn handle_time(&mut self, now: Tick) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((due, host)) = self.deadlines.first().cloned() {
            if due > now {
                break;
            }
            self.check_deadlines(&host, now, &mut effects);
        }
        effects
    }

    fn check_deadlines(&mut self, host: &Hostname, now: Tick, effects: &mut Vec<Effect>) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        if let Lookup::Queued { since } | Lookup::InFlight { since } = entry.lookup
            && since.after(RESOLVER_TIMEOUT) <= now
        {
            let is_in_flight = matches!(entry.lookup, Lookup::InFlight { .. });
            entry.lookup = if is_in_flight { Lookup::Overdue } else { Lookup::None };
            let waiters = std::mem::take(&mut entry.waiters);
            if !waiters.is_empty() && !entry.is_routed {
                let report = || Effect::ReportAbsence(waiters, host.clone(), Absence::Unresolved);
                effects.push(entry.fall_back(now, host).unwrap_or_else(report));
            }
            if !is_in_flight {
                self.queue.retain(|queued| queued != host);
            }
        }
        let Some(entry) = self.hosts.get_mut(host) else { return };
        if !entry.is_awaited() {
            let is_over = !entry.is_usable(now);
            if entry.is_routed && (is_over || entry.last_wanted.after(RESOLVED_IDLE) <= now) {
                entry.is_routed = false;
                effects.push(Effect::RemoveRoute(host.clone()));
            }
            // While its thread is blocked the host is kept, or a second lookup would start on another thread.
            if is_over && entry.lookup == Lookup::None {
                return self.forget(host);
            }
            if is_over {
                entry.targets = None;
            }
        }
        self.arm(host);
    }

    /// Time at which [`Schedule::handle_time`] is due.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.deadlines.first().map_or(Tick::NEVER, |(due, _)| *due)
    }

    fn arm(&mut self, host: &Hostname) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let deadline = entry.next_deadline();
        self.deadlines.remove(&(entry.deadline, host.clone()));
        entry.deadline = deadline;
        if deadline != Tick::NEVER {
            self.deadlines.insert((deadline, host.clone()));
        }
    }
}

impl Host {
    fn new(now: Tick) -> Self {
        Self {
            lookup: Lookup::None,
            waiters: Vec::new(),
            targets: None,
            is_routed: false,
            last_wanted: now,
            deadline: now,
        }
    }

    /// Whether a lookup is queued or in flight within its timeout.
    fn is_awaited(&self) -> bool {
        matches!(self.lookup, Lookup::Queued { .. } | Lookup::InFlight { .. })
    }

    /// Whether the route is younger than [`RESOLVED_FRESH`].
    fn is_fresh(&self, now: Tick) -> bool {
        self.is_routed && self.targets.as_ref().is_some_and(|(at, _)| now < at.after(RESOLVED_FRESH))
    }

    /// Whether the last result is younger than [`RESOLVED_STALE_MAX`].
    fn is_usable(&self, now: Tick) -> bool {
        self.targets.as_ref().is_some_and(|(at, _)| now < at.after(RESOLVED_STALE_MAX))
    }

    /// Restores the route of the last result, if there is none.
    fn fall_back(&mut self, now: Tick, host: &Hostname) -> Option<Effect> {
        if self.is_routed || !self.is_usable(now) {
            return None;
        }
        self.is_routed = true;
        self.targets.as_ref().map(|(_, targets)| Effect::PutRoute(host.clone(), targets.clone()))
    }

    fn next_deadline(&self) -> Tick {
        if let Lookup::Queued { since } | Lookup::InFlight { since } = self.lookup {
            return since.after(RESOLVER_TIMEOUT);
        }
        let Some((at, _)) = &self.targets else { return Tick::NEVER };
        let idle = if self.is_routed { self.last_wanted.after(RESOLVED_IDLE) } else { Tick::NEVER };
        at.after(RESOLVED_STALE_MAX).min(idle)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    const A: CoreId = CoreId(0);
    const B: CoreId = CoreId(1);

    fn host(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    fn after(duration: Duration) -> Tick {
        Tick(0).after(duration)
    }

    fn report(cores: &[CoreId], name: &Hostname, why: Absence) -> Effect {
        Effect::ReportAbsence(cores.to_vec(), name.clone(), why)
    }

    fn found() -> LookupResult {
        LookupResult::Targets(vec![Target::parse("http://127.0.0.1:3001").unwrap()])
    }

    fn put(name: &Hostname) -> Effect {
        Effect::PutRoute(name.clone(), vec![Target::parse("http://127.0.0.1:3001").unwrap()])
    }

    /// A schedule with a host that is routed since tick 0.
    fn routed(name: &Hostname) -> Schedule {
        let mut hosts = Schedule::default();
        assert_eq!(hosts.handle_wanted(name, A, Tick(0)), None);
        assert_eq!(hosts.poll_lookup().as_ref(), Some(name));
        assert_eq!(hosts.handle_result(name, found(), Tick(0)), [put(name)]);
        hosts
    }

    #[test]
    fn requests_for_a_host_share_one_lookup() {
        let (mut hosts, a) = (Schedule::default(), host("a.test"));
        for core in [A, B, A] {
            assert_eq!(hosts.handle_wanted(&a, core, Tick(5)), None);
        }
        assert_eq!(hosts.poll_lookup(), Some(a.clone()));
        assert_eq!(hosts.handle_wanted(&a, B, Tick(6)), None);
        assert_eq!(hosts.poll_lookup(), None);
        let effects = hosts.handle_result(&a, LookupResult::Unknown, Tick(7));
        assert_eq!(effects, [report(&[A, B], &a, Absence::Unknown)]);
        assert_eq!(hosts.next_deadline(), Tick::NEVER, "dropped");
        assert!(hosts.hosts.is_empty());
    }

    #[test]
    fn a_host_in_use_is_looked_up_again_once_it_is_not_fresh() {
        let a = host("a.test");
        let mut hosts = routed(&a);
        let before = Tick(after(RESOLVED_FRESH).0 - 1);
        hosts.handle_wanted(&a, A, before);
        assert_eq!(hosts.poll_lookup(), None);
        hosts.handle_wanted(&a, A, after(RESOLVED_FRESH));
        assert_eq!(hosts.poll_lookup(), Some(a.clone()));
        let effects = hosts.handle_result(&a, LookupResult::Unknown, after(RESOLVED_FRESH));
        assert_eq!(effects, [Effect::RemoveRoute(a.clone()), report(&[A], &a, Absence::Unknown)]);
    }

    #[test]
    fn an_idle_host_loses_its_route_and_keeps_its_targets_for_a_while() {
        let a = host("a.test");
        let mut hosts = routed(&a);
        assert_eq!(hosts.next_deadline(), after(RESOLVED_IDLE));
        hosts.handle_wanted(&a, A, Tick(500));
        assert!(hosts.handle_time(after(RESOLVED_IDLE)).is_empty(), "it was wanted meanwhile");
        assert_eq!(hosts.next_deadline(), Tick(500).after(RESOLVED_IDLE));
        let idle = Tick(500).after(RESOLVED_IDLE);
        // At tick 500 no lookup was due: the host was fresh.
        assert_eq!(hosts.handle_time(idle), [Effect::RemoveRoute(a.clone())]);
        assert_eq!(hosts.handle_wanted(&a, B, idle), None);
        assert_eq!(hosts.poll_lookup(), Some(a.clone()), "a fresh result first");
        assert_eq!(hosts.handle_result(&a, LookupResult::Failed, idle), [put(&a)], "then the last one");
        assert_eq!(hosts.handle_time(idle.after(RESOLVED_IDLE)), [Effect::RemoveRoute(a)]);
        assert!(hosts.handle_time(after(RESOLVED_STALE_MAX)).is_empty());
        assert!(hosts.hosts.is_empty() && hosts.deadlines.is_empty());
    }

    #[test]
    fn the_last_result_stays_in_use_while_the_resolver_fails() {
        let a = host("a.test");
        let mut hosts = routed(&a);
        let mut now = Tick(0);
        loop {
            now = now.after(RESOLVED_FRESH);
            let effects = hosts.handle_time(now);
            if !effects.is_empty() {
                assert_eq!(effects, [Effect::RemoveRoute(a.clone())]);
                break;
            }
            assert_eq!(hosts.handle_wanted(&a, A, now), None);
            assert_eq!(hosts.poll_lookup(), Some(a.clone()));
            assert!(hosts.handle_result(&a, LookupResult::Failed, now).is_empty());
        }
        assert_eq!(now, after(RESOLVED_STALE_MAX));
        hosts.handle_wanted(&a, A, now);
        hosts.poll_lookup().unwrap();
        let effects = hosts.handle_result(&a, LookupResult::Failed, now);
        assert_eq!(effects, [report(&[A], &a, Absence::Unresolved)], "no result is left");
    }

    #[test]
    fn a_hanging_lookup_delays_waiters_by_its_timeout_only() {
        let (mut hosts, a, b) = (Schedule::default(), host("a.test"), host("b.test"));
        hosts.handle_wanted(&a, A, Tick(0));
        hosts.poll_lookup().unwrap();
        hosts.handle_wanted(&b, A, Tick(1));
        assert_eq!(hosts.next_deadline(), after(RESOLVER_TIMEOUT));
        let effects = hosts.handle_time(after(RESOLVER_TIMEOUT).after(Duration::from_millis(1)));
        assert_eq!(
            effects,
            [report(&[A], &a, Absence::Unresolved), report(&[A], &b, Absence::Unresolved)],
            "the one in flight, and the one that never got a thread"
        );
        assert_eq!(hosts.poll_lookup(), None, "the second has no waiters left");
        let now = after(RESOLVER_TIMEOUT * 2);
        assert_eq!(hosts.handle_wanted(&a, B, now), Some(report(&[B], &a, Absence::Unresolved)));
        assert_eq!(hosts.poll_lookup(), None, "one lookup per host at a time");
        assert_eq!(hosts.handle_result(&a, found(), now), [put(&a)], "late, and still used");
        assert_eq!(hosts.handle_wanted(&a, B, now), None);
        assert_eq!(hosts.poll_lookup(), None, "fresh");
    }

    #[test]
    fn a_hanging_lookup_falls_back_to_the_last_result() {
        let a = host("a.test");
        let mut hosts = routed(&a);
        assert_eq!(hosts.handle_time(after(RESOLVED_IDLE)), [Effect::RemoveRoute(a.clone())]);
        let now = after(RESOLVED_IDLE);
        hosts.handle_wanted(&a, A, now);
        hosts.poll_lookup().unwrap();
        assert_eq!(hosts.handle_time(now.after(RESOLVER_TIMEOUT)), [put(&a)]);
        let idle = now.after(RESOLVED_IDLE);
        assert_eq!(hosts.handle_time(idle), [Effect::RemoveRoute(a.clone())]);
        assert_eq!(
            hosts.handle_wanted(&a, A, idle),
            Some(put(&a)),
            "no second lookup while its thread is blocked"
        );
        assert_eq!(hosts.handle_time(after(RESOLVED_STALE_MAX)), [Effect::RemoveRoute(a.clone())]);
        let late = after(RESOLVED_STALE_MAX);
        assert_eq!(hosts.handle_wanted(&a, A, late), Some(report(&[A], &a, Absence::Unresolved)));
        assert_eq!(hosts.next_deadline(), Tick::NEVER);
        assert!(hosts.handle_result(&a, LookupResult::Unknown, late).is_empty());
        assert!(hosts.hosts.is_empty());
    }

    #[test]
    fn an_unreachable_target_causes_a_lookup() {
        let a = host("a.test");
        let mut hosts = routed(&a);
        hosts.handle_unreachable(&a, Tick(1));
        assert_eq!(hosts.poll_lookup(), None, "looked up a moment ago");
        hosts.handle_unreachable(&a, after(RESOLVED_RETRY));
        assert_eq!(hosts.poll_lookup(), Some(a.clone()));
        hosts.handle_unreachable(&a, after(RESOLVED_RETRY));
        assert_eq!(hosts.poll_lookup(), None, "queued already");
        hosts.handle_unreachable(&host("b.test"), Tick(9));
        assert_eq!(hosts.poll_lookup(), None, "not known here");
    }

    #[test]
    fn a_registered_host_is_dropped_in_every_state() {
        let a = host("a.test");
        let mut hosts = routed(&a);
        hosts.forget(&a);
        assert_eq!(hosts.next_deadline(), Tick::NEVER);
        hosts.handle_wanted(&a, A, Tick(0));
        hosts.forget(&a);
        assert_eq!(hosts.poll_lookup(), None);
        hosts.handle_wanted(&a, A, Tick(0));
        hosts.poll_lookup().unwrap();
        hosts.forget(&a);
        assert!(hosts.handle_result(&a, LookupResult::Unknown, Tick(1)).is_empty());
    }

    #[test]
    fn hosts_are_bounded() {
        let mut hosts = Schedule::default();
        for number in 0..RESOLVED_HOSTS_MAX {
            assert_eq!(hosts.handle_wanted(&host(&format!("n{number}.test")), A, Tick(0)), None);
        }
        let more = host("more.test");
        assert_eq!(hosts.handle_wanted(&more, A, Tick(0)), Some(report(&[A], &more, Absence::Unresolved)));
        assert_eq!(hosts.handle_wanted(&host("n1.test"), B, Tick(0)), None, "known hosts need no room");
        let effects = hosts.handle_time(after(RESOLVER_TIMEOUT));
        assert_eq!(effects.len(), RESOLVED_HOSTS_MAX);
        assert!(hosts.hosts.is_empty() && hosts.queue.is_empty(), "a flood leaves no entries");
    }
}
