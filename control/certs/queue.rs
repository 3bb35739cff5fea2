//! Who is next: renewals before new certificates, then who has waited longest, as budgets allow. Pure.
//!
//! ```text
//!  push ─▶ ready ──────── turn? now ─▶ in flight (so many at a time, one per domain) ─▶ finish
//!            ▲             │ not before
//!            └─── due ─── later
//! ```
//! A domain that a budget keeps waiting is looked at again when that has something for it, and not before: thousands that
//! wait for one registered domain cost nothing meanwhile, and hold nobody else up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use crate::limits::{ORDERS_IN_FLIGHT_MAX, ORDERS_WAITING_MAX};
use ringway_model::{Hostname, Timestamp};

use crate::report::QueuePlace;

/// Why a domain waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Errand {
    /// It has a certificate that comes to its end.
    Renew,
    /// It has none.
    Issue,
}

/// Whether a domain may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn<A> {
    /// To this CA.
    Now(A),
    /// A budget of its own has nothing for it before.
    NotBefore(Timestamp),
    /// Nobody may go before: all CAs are out of order, or the account has nothing left.
    Closed(Timestamp),
}

/// A place in the order of things: errand first, then time, then in which order they came.
type Key = (Errand, Timestamp, u64);

/// Domains that wait for an order, and those that have one.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: BTreeMap<Key, Hostname>,
    later: BTreeSet<(Timestamp, Key)>,
    /// Everybody who waits: where, and since when `later` has them, if it does.
    waiting: HashMap<Hostname, (Key, Option<Timestamp>), ahash::RandomState>,
    hosts: HashMap<Key, Hostname, ahash::RandomState>,
    in_flight: HashSet<Hostname, ahash::RandomState>,
    pushed: u64,
}

impl Queue {
    /// Puts a domain in the queue. One that waits already keeps its place, or gets the better one of another errand; one
    /// that has an order in flight is not put in.
    pub(crate) fn push(&mut self, host: &Hostname, errand: Errand, now: Timestamp) {
        if self.in_flight.contains(host) {
            return;
        }
        let since = match self.waiting.get(host) {
            Some(((known, ..), _)) if *known <= errand => return,
            Some(((_, since, _), _)) => *since,
            None if self.waiting.len() >= ORDERS_WAITING_MAX => return,
            None => now,
        };
        self.remove(host);
        self.pushed += 1;
        let key = (errand, since, self.pushed);
        self.waiting.insert(host.clone(), (key, None));
        self.ready.insert(key, host.clone());
    }

    /// Takes a domain out of the queue. An order in flight goes on.
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

    /// The next one to order for, if there is room and `turn` lets somebody go. It is in flight from now on.
    pub(crate) fn next<A>(
        &mut self,
        now: Timestamp,
        mut turn: impl FnMut(&Hostname, Errand) -> Turn<A>,
    ) -> Option<(Hostname, Errand, A)> {
        self.bring_due(now);
        if self.in_flight.len() >= ORDERS_IN_FLIGHT_MAX {
            return None;
        }
        while let Some((key, host)) = self.ready.first_key_value() {
            let (key, host) = (*key, host.clone());
            match turn(&host, key.0) {
                Turn::Now(authority) => {
                    self.ready.remove(&key);
                    self.waiting.remove(&host);
                    self.in_flight.insert(host.clone());
                    return Some((host, key.0, authority));
                }
                Turn::NotBefore(at) => {
                    // Not again in this very moment, whatever was answered.
                    let at = at.max(Timestamp(now.0 + 1));
                    self.ready.remove(&key);
                    self.later.insert((at, key));
                    self.waiting.insert(host.clone(), (key, Some(at)));
                    self.hosts.insert(key, host);
                }
                Turn::Closed(_) => return None,
            }
        }
        None
    }

    /// An order has ended, one way or the other.
    pub(crate) fn finish(&mut self, host: &Hostname) {
        self.in_flight.remove(host);
    }

    /// When [`Queue::next`] should be asked again for those that a budget keeps waiting.
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

    /// Everybody's place, and when their turn should come. `order_at` says when the budgets would let one go at a time, and
    /// counts it as gone then; `None` while nobody knows. One pass over all that wait.
    pub(crate) fn places(
        &self,
        now: Timestamp,
        order_takes: Duration,
        mut order_at: impl FnMut(&Hostname, Errand, Timestamp) -> Option<Timestamp>,
    ) -> HashMap<Hostname, QueuePlace, ahash::RandomState> {
        let mut keys: Vec<(Key, &Hostname)> =
            self.waiting.iter().map(|(host, (key, _))| (*key, host)).collect();
        keys.sort_unstable();
        let takes = order_takes.as_millis() as u64;
        // When each of the places in flight is free again.
        let mut free: BinaryHeap<Reverse<u64>> = (0..ORDERS_IN_FLIGHT_MAX)
            .map(|place| Reverse(if place < self.in_flight.len() { now.0 + takes } else { now.0 }))
            .collect();
        let mut places = HashMap::default();
        for (index, (key, host)) in keys.into_iter().enumerate() {
            let free_at = free.peek().map_or(now.0, |Reverse(at)| *at);
            let expected_at = order_at(host, key.0, Timestamp(free_at));
            if let Some(at) = expected_at {
                // Who waits for a budget leaves the place to others until then.
                free.pop();
                free.push(Reverse(if at.0 > free_at { free_at } else { free_at + takes }));
            }
            places.insert(host.clone(), QueuePlace { position: index + 1, expected_at });
        }
        places
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

    fn go(queue: &mut Queue, now: u64) -> Option<String> {
        queue.next(at(now), |_, _| Turn::Now(())).map(|(host, _, ())| host.to_string())
    }

    #[test]
    fn renewals_go_first_then_who_waits_longest() {
        let mut queue = Queue::default();
        queue.push(&host("new-b.example"), Errand::Issue, at(2));
        queue.push(&host("new-a.example"), Errand::Issue, at(1));
        queue.push(&host("old.example"), Errand::Renew, at(3));
        assert_eq!(go(&mut queue, 4).unwrap(), "old.example");
        assert_eq!(go(&mut queue, 4).unwrap(), "new-a.example");
        assert_eq!(go(&mut queue, 4).unwrap(), "new-b.example");
        assert_eq!(go(&mut queue, 4), None);
    }

    #[test]
    fn five_are_in_flight_and_no_domain_twice() {
        let mut queue = Queue::default();
        for n in 0..8 {
            queue.push(&host(&format!("d{n}.example")), Errand::Issue, at(n));
        }
        let first: Vec<String> = std::iter::from_fn(|| go(&mut queue, 9)).collect();
        assert_eq!(first, ["d0.example", "d1.example", "d2.example", "d3.example", "d4.example"]);
        queue.push(&host("d0.example"), Errand::Renew, at(9));
        assert_eq!(queue.waiting(), 3, "it has its order");
        queue.finish(&host("d3.example"));
        assert_eq!(go(&mut queue, 9).unwrap(), "d5.example");
        assert_eq!(go(&mut queue, 9), None);
        queue.remove(&host("d6.example"));
        queue.finish(&host("d0.example"));
        assert_eq!(go(&mut queue, 9).unwrap(), "d7.example");
    }

    #[test]
    fn who_waits_for_a_budget_holds_nobody_up() {
        let mut queue = Queue::default();
        for n in 0..3 {
            queue.push(&host(&format!("s{n}.full.example")), Errand::Issue, at(n));
        }
        queue.push(&host("free.example"), Errand::Issue, at(9));
        let mut asked = 0;
        let mut turn = |name: &Hostname, _: Errand| {
            asked += 1;
            if name.as_str().ends_with("full.example") { Turn::NotBefore(at(100)) } else { Turn::Now(()) }
        };
        let (name, ..) = queue.next(at(10), &mut turn).unwrap();
        assert_eq!(name.as_str(), "free.example");
        assert!(queue.next(at(11), &mut turn).is_none());
        assert_eq!(asked, 4, "they are not asked again before their time");
        assert_eq!(queue.next_due(), Some(at(100)));
        queue.remove(&host("s1.full.example"));
        assert_eq!(go(&mut queue, 100).unwrap(), "s0.full.example", "in their old order");
        assert_eq!(go(&mut queue, 100).unwrap(), "s2.full.example");
        assert_eq!((queue.waiting(), queue.next_due()), (0, None));
    }

    #[test]
    fn a_closed_ca_ends_the_search_at_once() {
        let mut queue = Queue::default();
        for n in 0..1_000 {
            queue.push(&host(&format!("d{n}.example")), Errand::Issue, at(n));
        }
        let mut asked = 0;
        let next = queue.next(at(2_000), |_, _| {
            asked += 1;
            Turn::<()>::Closed(at(5_000))
        });
        assert!(next.is_none() && asked == 1 && queue.has_ready());
    }

    #[test]
    fn says_who_comes_when() {
        let mut queue = Queue::default();
        for n in 0..7 {
            queue.push(&host(&format!("d{n}.example")), Errand::Issue, at(n));
        }
        queue.push(&host("late.example"), Errand::Renew, at(8));
        let takes = Duration::from_secs(10);
        let places = queue.places(at(1_000), takes, |name, _, at| {
            Some(if name.as_str() == "d1.example" { Timestamp(500_000) } else { at })
        });
        let of = |name: &str| places[&host(name)];
        assert_eq!(of("late.example"), QueuePlace { position: 1, expected_at: Some(at(1_000)) });
        assert_eq!(of("d0.example").expected_at, Some(at(1_000)));
        assert_eq!(of("d1.example").expected_at, Some(at(500_000)));
        assert_eq!(
            of("d4.example"),
            QueuePlace { position: 6, expected_at: Some(at(1_000)) },
            "the fifth place is free"
        );
        assert_eq!(of("d5.example"), QueuePlace { position: 7, expected_at: Some(at(11_000)) });
        let places = queue.places(at(1_000), takes, |_, _, _| None);
        assert_eq!(places[&host("d6.example")], QueuePlace { position: 8, expected_at: None });
    }

    #[test]
    fn a_better_errand_moves_a_domain_up() {
        let mut queue = Queue::default();
        queue.push(&host("a.example"), Errand::Issue, at(1));
        queue.push(&host("b.example"), Errand::Issue, at(2));
        queue.push(&host("b.example"), Errand::Renew, at(3));
        queue.push(&host("b.example"), Errand::Issue, at(4));
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
        /// Whatever happens: never more than five in flight, nobody twice, nobody lost, and the books agree.
        #[test]
        fn keeps_its_books(steps in steps()) {
            let mut queue = Queue::default();
            let mut now = 0;
            let (mut waiting, mut flying) = (HashSet::new(), HashSet::new());
            let name = |n: u8| host(&format!("d{n}.example"));
            for step in steps {
                match step {
                    Step::Push(n, renew) => {
                        let errand = if renew { Errand::Renew } else { Errand::Issue };
                        queue.push(&name(n), errand, at(now));
                        if !flying.contains(&name(n)) {
                            waiting.insert(name(n));
                        }
                    }
                    Step::Remove(n) => {
                        queue.remove(&name(n));
                        waiting.remove(&name(n));
                    }
                    Step::Next => {
                        // Even ones wait for the next multiple of ten.
                        let next = queue.next(at(now), |host, _| {
                            let n: u64 = host.as_str()[1..].split('.').next().unwrap().parse().unwrap();
                            if n.is_multiple_of(2) && !now.is_multiple_of(10) { Turn::NotBefore(at(now / 10 * 10 + 10)) } else { Turn::Now(()) }
                        });
                        match next {
                            Some((host, ..)) => {
                                prop_assert!(waiting.remove(&host));
                                prop_assert!(flying.insert(host));
                            }
                            None => {
                                let full = flying.len() >= ORDERS_IN_FLIGHT_MAX;
                                let blocked = waiting.iter().all(|host: &Hostname| {
                                    let n: u64 = host.as_str()[1..].split('.').next().unwrap().parse().unwrap();
                                    n.is_multiple_of(2)
                                });
                                prop_assert!(full || blocked, "somebody could have gone");
                            }
                        }
                    }
                    Step::Finish(n) => {
                        queue.finish(&name(n));
                        flying.remove(&name(n));
                    }
                    Step::Wait(by) => now += by,
                }
                prop_assert!(queue.in_flight() <= ORDERS_IN_FLIGHT_MAX);
                prop_assert_eq!(queue.in_flight(), flying.len());
                prop_assert_eq!(queue.waiting(), waiting.len());
                prop_assert_eq!(queue.ready.len() + queue.later.len(), waiting.len());
                prop_assert_eq!(queue.hosts.len(), queue.later.len());
                prop_assert!(waiting.iter().all(|host| queue.contains(host)));
            }
        }
    }
}
