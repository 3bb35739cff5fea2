//! Order queue: renewals before first issuances, then by waiting time, as budgets allow. Pure.
//!
//! ```text
//!  push ─▶ ready ──── admitted now ─▶ in flight (bounded, one per domain) ─▶ finish
//!            ▲             │ not before
//!            └─── due ─── later
//! ```
//! A domain without budget is checked again when its budget allows, and not before: thousands that wait for
//! one registered domain cost nothing meanwhile, and delay no other domain.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use crate::limits::{ORDERS_IN_FLIGHT_MAX, ORDERS_WAITING_MAX};
use ringway_model::{Hostname, Timestamp};

use crate::report::QueuePosition;

/// Kind of an order, in order of priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OrderKind {
    /// Renewal.
    Renew,
    /// First issuance.
    Issue,
}

/// Whether a domain may order now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission<A> {
    /// Yes, at this CA.
    Now(A),
    /// Not before this time: a budget of its own is used up.
    NotBefore(Timestamp),
    /// No domain may before this time: all CAs are unavailable, or the account's budget is used up.
    Closed(Timestamp),
}

/// Sort key: kind, queued since, sequence number.
type Key = (OrderKind, Timestamp, u64);

/// Queued and in-flight orders.
#[derive(Debug, Default)]
pub(crate) struct OrderQueue {
    ready: BTreeMap<Key, Hostname>,
    later: BTreeSet<(Timestamp, Key)>,
    /// All queued domains: their key, and their time in `later`, if they are there.
    waiting: HashMap<Hostname, (Key, Option<Timestamp>), ahash::RandomState>,
    hosts: HashMap<Key, Hostname, ahash::RandomState>,
    in_flight: HashSet<Hostname, ahash::RandomState>,
    pushed: u64,
}

impl OrderQueue {
    /// Queues a domain. One that is queued already keeps its position, or gets the better one of another
    /// kind; one with an order in flight is not queued.
    pub(crate) fn push(&mut self, host: &Hostname, kind: OrderKind, now: Timestamp) {
        if self.in_flight.contains(host) {
            return;
        }
        let since = match self.waiting.get(host) {
            Some(((known, ..), _)) if *known <= kind => return,
            Some(((_, since, _), _)) => *since,
            None if self.waiting.len() >= ORDERS_WAITING_MAX => return,
            None => now,
        };
        self.remove(host);
        self.pushed += 1;
        let key = (kind, since, self.pushed);
        self.waiting.insert(host.clone(), (key, None));
        self.ready.insert(key, host.clone());
    }

    /// Removes a domain from the queue. An order in flight goes on.
    pub(crate) fn remove(&mut self, host: &Hostname) {
        let Some((key, later)) = self.waiting.remove(host) else { return };
        match later {
            None => {
                self.ready.remove(&key);
            }
            Some(at) => {
                self.later.remove(&(at, key));
                self.hosts.remove(&key);
            }
        }
    }

    /// Takes the next domain that `admit` admits, if a slot is free. It is in flight from now on.
    pub(crate) fn next<A>(
        &mut self,
        now: Timestamp,
        mut admit: impl FnMut(&Hostname, OrderKind) -> Admission<A>,
    ) -> Option<(Hostname, OrderKind, A)> {
        self.bring_due(now);
        if self.in_flight.len() >= ORDERS_IN_FLIGHT_MAX {
            return None;
        }
        while let Some((key, host)) = self.ready.first_key_value() {
            let (key, host) = (*key, host.clone());
            match admit(&host, key.0) {
                Admission::Now(authority) => {
                    self.ready.remove(&key);
                    self.waiting.remove(&host);
                    self.in_flight.insert(host.clone());
                    return Some((host, key.0, authority));
                }
                Admission::NotBefore(at) => {
                    // Not again at the same time, whatever was returned.
                    let at = at.max(Timestamp(now.0 + 1));
                    self.ready.remove(&key);
                    self.later.insert((at, key));
                    self.waiting.insert(host.clone(), (key, Some(at)));
                    self.hosts.insert(key, host);
                }
                Admission::Closed(_) => return None,
            }
        }
        None
    }

    /// Ends an order.
    pub(crate) fn finish(&mut self, host: &Hostname) {
        self.in_flight.remove(host);
    }

    /// Time at which [`OrderQueue::next`] may admit a domain that waits for a budget.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|(at, _)| *at)
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn contains(&self, host: &Hostname) -> bool {
        self.waiting.contains_key(host)
    }

    pub(crate) fn is_in_flight(&self, host: &Hostname) -> bool {
        self.in_flight.contains(host)
    }

    /// Forecasts position and start of all queued orders. `order_at` returns when the budgets admit one at or
    /// after a time, and books it; `None` while that is unknown. One pass over the queue.
    pub(crate) fn positions(
        &self,
        now: Timestamp,
        order_takes: Duration,
        mut order_at: impl FnMut(&Hostname, OrderKind, Timestamp) -> Option<Timestamp>,
    ) -> HashMap<Hostname, QueuePosition, ahash::RandomState> {
        let mut keys: Vec<(Key, &Hostname)> =
            self.waiting.iter().map(|(host, (key, _))| (*key, host)).collect();
        keys.sort_unstable();
        let takes = order_takes.as_millis() as u64;
        // Time at which each in-flight slot is free again.
        let mut free: BinaryHeap<Reverse<u64>> = (0..ORDERS_IN_FLIGHT_MAX)
            .map(|slot| Reverse(if slot < self.in_flight.len() { now.0 + takes } else { now.0 }))
            .collect();
        let mut positions = HashMap::default();
        for (index, (key, host)) in keys.into_iter().enumerate() {
            let free_at = free.peek().map_or(now.0, |Reverse(at)| *at);
            let expected_at = order_at(host, key.0, Timestamp(free_at));
            if let Some(at) = expected_at {
                // An order that waits for a budget leaves its slot to others until then.
                free.pop();
                free.push(Reverse(if at.0 > free_at { free_at } else { free_at + takes }));
            }
            positions.insert(host.clone(), QueuePosition { position: index + 1, expected_at });
        }
        positions
    }

    fn bring_due(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.later.first().copied()
            && at <= now
        {
            self.later.remove(&(at, key));
            let Some(host) = self.hosts.remove(&key) else { continue };
            self.waiting.insert(host.clone(), (key, None));
            self.ready.insert(key, host);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::host;
    use proptest::prelude::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms)
    }

    fn go(queue: &mut OrderQueue, now: u64) -> Option<String> {
        queue.next(at(now), |_, _| Admission::Now(())).map(|(host, _, ())| host.to_string())
    }

    #[test]
    fn renewals_come_first_then_the_longest_waiting() {
        let mut queue = OrderQueue::default();
        queue.push(&host("new-b.example"), OrderKind::Issue, at(2));
        queue.push(&host("new-a.example"), OrderKind::Issue, at(1));
        queue.push(&host("old.example"), OrderKind::Renew, at(3));
        assert_eq!(go(&mut queue, 4).unwrap(), "old.example");
        assert_eq!(go(&mut queue, 4).unwrap(), "new-a.example");
        assert_eq!(go(&mut queue, 4).unwrap(), "new-b.example");
        assert_eq!(go(&mut queue, 4), None);
    }

    #[test]
    fn at_most_five_orders_are_in_flight_one_per_domain() {
        let mut queue = OrderQueue::default();
        for n in 0..8 {
            queue.push(&host(&format!("d{n}.example")), OrderKind::Issue, at(n));
        }
        let first: Vec<String> = std::iter::from_fn(|| go(&mut queue, 9)).collect();
        assert_eq!(first, ["d0.example", "d1.example", "d2.example", "d3.example", "d4.example"]);
        queue.push(&host("d0.example"), OrderKind::Renew, at(9));
        assert_eq!(queue.waiting(), 3, "its order is in flight");
        queue.finish(&host("d3.example"));
        assert_eq!(go(&mut queue, 9).unwrap(), "d5.example");
        assert_eq!(go(&mut queue, 9), None);
        queue.remove(&host("d6.example"));
        queue.finish(&host("d0.example"));
        assert_eq!(go(&mut queue, 9).unwrap(), "d7.example");
    }

    #[test]
    fn waiting_for_a_budget_delays_no_other_domain() {
        let mut queue = OrderQueue::default();
        for n in 0..3 {
            queue.push(&host(&format!("s{n}.full.example")), OrderKind::Issue, at(n));
        }
        queue.push(&host("free.example"), OrderKind::Issue, at(9));
        let mut checks = 0;
        let mut admit = |name: &Hostname, _: OrderKind| {
            checks += 1;
            if name.as_str().ends_with("full.example") {
                Admission::NotBefore(at(100))
            } else {
                Admission::Now(())
            }
        };
        let (name, ..) = queue.next(at(10), &mut admit).unwrap();
        assert_eq!(name.as_str(), "free.example");
        assert!(queue.next(at(11), &mut admit).is_none());
        assert_eq!(checks, 4, "not checked again before their time");
        assert_eq!(queue.next_due(), Some(at(100)));
        queue.remove(&host("s1.full.example"));
        assert_eq!(go(&mut queue, 100).unwrap(), "s0.full.example", "in the original order");
        assert_eq!(go(&mut queue, 100).unwrap(), "s2.full.example");
        assert_eq!((queue.waiting(), queue.next_due()), (0, None));
    }

    #[test]
    fn a_closed_ca_ends_the_search() {
        let mut queue = OrderQueue::default();
        for n in 0..1_000 {
            queue.push(&host(&format!("d{n}.example")), OrderKind::Issue, at(n));
        }
        let mut checks = 0;
        let next = queue.next(at(2_000), |_, _| {
            checks += 1;
            Admission::<()>::Closed(at(5_000))
        });
        assert!(next.is_none() && checks == 1 && queue.has_ready());
    }

    #[test]
    fn forecasts_positions_and_starts() {
        let mut queue = OrderQueue::default();
        for n in 0..7 {
            queue.push(&host(&format!("d{n}.example")), OrderKind::Issue, at(n));
        }
        queue.push(&host("late.example"), OrderKind::Renew, at(8));
        let takes = Duration::from_secs(10);
        let positions = queue.positions(at(1_000), takes, |name, _, at| {
            Some(if name.as_str() == "d1.example" { Timestamp(500_000) } else { at })
        });
        let of = |name: &str| positions[&host(name)];
        assert_eq!(of("late.example"), QueuePosition { position: 1, expected_at: Some(at(1_000)) });
        assert_eq!(of("d0.example").expected_at, Some(at(1_000)));
        assert_eq!(of("d1.example").expected_at, Some(at(500_000)));
        assert_eq!(
            of("d4.example"),
            QueuePosition { position: 6, expected_at: Some(at(1_000)) },
            "the fifth slot is free"
        );
        assert_eq!(of("d5.example"), QueuePosition { position: 7, expected_at: Some(at(11_000)) });
        let positions = queue.positions(at(1_000), takes, |_, _, _| None);
        assert_eq!(positions[&host("d6.example")], QueuePosition { position: 8, expected_at: None });
    }

    #[test]
    fn a_more_urgent_kind_moves_a_domain_up() {
        let mut queue = OrderQueue::default();
        queue.push(&host("a.example"), OrderKind::Issue, at(1));
        queue.push(&host("b.example"), OrderKind::Issue, at(2));
        queue.push(&host("b.example"), OrderKind::Renew, at(3));
        queue.push(&host("b.example"), OrderKind::Issue, at(4));
        assert_eq!(queue.waiting(), 2);
        assert_eq!(go(&mut queue, 5).unwrap(), "b.example");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8, bool),
        Remove(u8),
        Next,
        Finish(u8),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0u8..12, any::<bool>()).prop_map(|(n, renew)| Step::Push(n, renew)),
            1 => (0u8..12).prop_map(Step::Remove),
            3 => Just(Step::Next),
            2 => (0u8..12).prop_map(Step::Finish),
            1 => (0u64..50).prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// Invariants: at most five orders in flight, no domain twice, none lost, and consistent indexes.
        #[test]
        fn keeps_its_invariants(steps in steps()) {
            let mut queue = OrderQueue::default();
            let mut now = 0;
            let (mut waiting, mut in_flight) = (HashSet::new(), HashSet::new());
            let name = |n: u8| host(&format!("d{n}.example"));
            for step in steps {
                match step {
                    Step::Push(n, renew) => {
                        let kind = if renew { OrderKind::Renew } else { OrderKind::Issue };
                        queue.push(&name(n), kind, at(now));
                        if !in_flight.contains(&name(n)) {
                            waiting.insert(name(n));
                        }
                    }
                    Step::Remove(n) => {
                        queue.remove(&name(n));
                        waiting.remove(&name(n));
                    }
                    Step::Next => {
                        // Even numbers wait for the next multiple of ten.
                        let next = queue.next(at(now), |host, _| {
                            let n: u64 = host.as_str()[1..].split('.').next().unwrap().parse().unwrap();
                            if n.is_multiple_of(2) && !now.is_multiple_of(10) { Admission::NotBefore(at(now / 10 * 10 + 10)) } else { Admission::Now(()) }
                        });
                        match next {
                            Some((host, ..)) => {
                                prop_assert!(waiting.remove(&host));
                                prop_assert!(in_flight.insert(host));
                            }
                            None => {
                                let full = in_flight.len() >= ORDERS_IN_FLIGHT_MAX;
                                let blocked = waiting.iter().all(|host: &Hostname| {
                                    let n: u64 = host.as_str()[1..].split('.').next().unwrap().parse().unwrap();
                                    n.is_multiple_of(2)
                                });
                                prop_assert!(full || blocked, "an order could have started");
                            }
                        }
                    }
                    Step::Finish(n) => {
                        queue.finish(&name(n));
                        in_flight.remove(&name(n));
                    }
                    Step::Wait(by) => now += by,
                }
                prop_assert!(queue.in_flight() <= ORDERS_IN_FLIGHT_MAX);
                prop_assert_eq!(queue.in_flight(), in_flight.len());
                prop_assert_eq!(queue.waiting(), waiting.len());
                prop_assert_eq!(queue.ready.len() + queue.later.len(), waiting.len());
                prop_assert_eq!(queue.hosts.len(), queue.later.len());
                prop_assert!(waiting.iter().all(|host| queue.contains(host)));
            }
        }
    }
}
