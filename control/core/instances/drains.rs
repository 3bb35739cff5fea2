//! Draining instances: their deadlines, their removal, and the results of the last drains; pure.
//!
//! ```text
//!   put with a deadline ─► waiting ── no request in flight, or deadline ──► removing ── gone ──► ended
//!                             │                                                │
//!                             └── registered again: dropped      refused by the store: requested again later
//! ```
//! The drain itself is stored with the instance; this is the time until its removal. A restart in between
//! continues the drain, with no request in flight.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ringway_model::{Generation, Instance, InstanceId, Serial, Tick};

use crate::status::{InFlightStatus, InstanceDrained};

/// Drains by instance.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    active: BTreeMap<InstanceId, Drain>,
    /// Oldest first.
    ended: VecDeque<(InstanceId, Generation, InstanceDrained)>,
}

#[derive(Debug)]
struct Drain {
    generation: Generation,
    since: Tick,
    until: Tick,
    /// Snapshot in which the instance drains: cores with it send no new requests.
    serial: Serial,
    removal: Option<Removal>,
}

/// Requested removal.
#[derive(Debug)]
struct Removal {
    left: InFlightStatus,
    /// Time of the next request.
    retry: Tick,
}

impl Drains {
    /// Records the state of an instance: `until` is the deadline if it drains, `serial` the snapshot with
    /// that state.
    pub(crate) fn handle_put(&mut self, instance: &Instance, until: Option<Tick>, serial: Serial, now: Tick) {
        let Some(until) = until else {
            self.active.remove(&instance.id);
            return;
        };
        let generation = instance.generation;
        match self.active.get_mut(&instance.id).filter(|drain| drain.generation == generation) {
            Some(drain) => drain.until = until.min(drain.until),
            None => {
                let drain = Drain { generation, since: now, until, serial, removal: None };
                self.active.insert(instance.id.clone(), drain);
            }
        }
    }

    /// Records the removal of an instance.
    pub(crate) fn handle_gone(&mut self, id: &InstanceId, now: Tick) {
        let Some(drain) = self.active.remove(id) else { return };
        // Removed by an API call: the requests left were not counted.
        let left = drain.removal.map(|removal| removal.left).unwrap_or_default();
        let ended = InstanceDrained { took: now.since(drain.since), left };
        self.ended.push_back((id.clone(), drain.generation, ended));
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }

    /// Next instance to remove: its deadline has passed, or all cores have acknowledged the drain
    /// (`is_acknowledged`) and it has no request in flight (`in_flight`). To be called until there is none.
    pub(crate) fn poll_removal(
        &mut self,
        now: Tick,
        is_acknowledged: impl Fn(Serial) -> bool,
        in_flight: impl Fn(&InstanceId) -> InFlightStatus,
    ) -> Option<(InstanceId, Generation, InFlightStatus)> {
        for (id, drain) in &mut self.active {
            if let Some(removal) = &mut drain.removal {
                if removal.retry <= now {
                    removal.retry = now.after(REMOVAL_RETRY);
                    return Some((id.clone(), drain.generation, removal.left));
                }
                continue;
            }
            let is_over = drain.until <= now;
            if !is_over && !is_acknowledged(drain.serial) {
                continue;
            }
            let left = in_flight(id);
            if is_over || left.requests == 0 {
                drain.removal = Some(Removal { left, retry: now.after(REMOVAL_RETRY) });
                return Some((id.clone(), drain.generation, left));
            }
        }
        None
    }

    /// Time at which [`Drains::poll_removal`] is due.
    pub(crate) fn next_deadline(&self, now: Tick) -> Tick {
        let next = |drain: &Drain| match &drain.removal {
            Some(removal) => removal.retry,
            None => drain.until.min(now.after(IN_FLIGHT_INTERVAL)),
        };
        self.active.values().map(next).min().unwrap_or(Tick::NEVER)
    }

    /// Deadline of a drain; `None` for an instance that does not drain.
    pub(crate) fn until(&self, id: &InstanceId) -> Option<Tick> {
        self.active.get(id).map(|drain| drain.until)
    }

    /// Result of the drain of a registration; `None` while it drains, and when it is not among the last ones.
    pub(crate) fn ended(&self, id: &InstanceId, generation: Generation) -> Option<InstanceDrained> {
        let mut newest_first = self.ended.iter().rev();
        newest_first.find(|ended| ended.0 == *id && ended.1 == generation).map(|ended| ended.2)
    }
}

/// Interval between two counts of requests in flight.
const IN_FLIGHT_INTERVAL: Duration = Duration::from_millis(20);
/// Delay after a refused removal.
const REMOVAL_RETRY: Duration = Duration::from_secs(5);
/// Results kept for the clients that started the drains; they ask at once.
const ENDED_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_model::{AppId, HealthCheck, Target, Timestamp};

    fn instance(name: &str, generation: u64) -> Instance {
        Instance {
            weight: 1,
            id: InstanceId::parse(name).unwrap(),
            owner: ringway_model::Owner::Api,
            app: AppId::parse("app").unwrap(),
            target: Target::parse("http://127.0.0.1:3000").unwrap(),
            health_check: HealthCheck::default(),
            registered_at: Timestamp(0),
            generation: Generation(generation),
            draining: None,
        }
    }

    fn load(requests: u64) -> InFlightStatus {
        InFlightStatus { requests, tunnels: 0 }
    }

    /// One drain of `a`, started at 1 s with a deadline at 31 s.
    fn one() -> Drains {
        let mut drains = Drains::default();
        drains.handle_put(&instance("a", 1), Some(Tick(31_000)), Serial(5), Tick(1_000));
        drains
    }

    fn poll(drains: &mut Drains, now: u64, is_acknowledged: bool, requests: u64) -> Option<u64> {
        let done = drains.poll_removal(
            Tick(now),
            |serial| serial == Serial(5) && is_acknowledged,
            |_| load(requests),
        );
        done.map(|(_, _, left)| left.requests)
    }

    #[test]
    fn a_drain_ends_when_all_cores_acknowledged_and_no_request_is_left() {
        let mut drains = one();
        assert_eq!(poll(&mut drains, 1_001, false, 0), None, "a core may still send to it");
        assert_eq!(poll(&mut drains, 1_002, true, 1), None);
        assert_eq!(drains.next_deadline(Tick(1_002)), Tick(1_022));
        assert_eq!(poll(&mut drains, 1_022, true, 0), Some(0));
        assert_eq!(poll(&mut drains, 1_023, true, 0), None, "requested once");
        drains.handle_gone(&instance("a", 1).id, Tick(1_030));
        let ended = drains.ended(&instance("a", 1).id, Generation(1)).unwrap();
        assert_eq!((ended.took, ended.left.requests), (Duration::from_millis(30), 0));
        assert_eq!(drains.ended(&instance("a", 1).id, Generation(2)), None);
        assert_eq!(drains.next_deadline(Tick(1_030)), Tick::NEVER);
    }

    #[test]
    fn the_deadline_ends_a_drain_with_requests_left() {
        for is_acknowledged in [false, true] {
            let mut drains = one();
            assert_eq!(poll(&mut drains, 30_999, is_acknowledged, 3), None);
            assert_eq!(drains.next_deadline(Tick(30_990)), Tick(31_000));
            assert_eq!(poll(&mut drains, 31_000, is_acknowledged, 3), Some(3));
            drains.handle_gone(&instance("a", 1).id, Tick(31_001));
            assert_eq!(drains.ended(&instance("a", 1).id, Generation(1)).unwrap().left.requests, 3);
        }
    }

    #[test]
    fn a_refused_removal_is_requested_again() {
        let mut drains = one();
        assert_eq!(poll(&mut drains, 31_000, true, 2), Some(2));
        assert_eq!(drains.next_deadline(Tick(31_000)), Tick(36_000));
        assert_eq!(poll(&mut drains, 35_999, true, 0), None);
        assert_eq!(poll(&mut drains, 36_000, true, 0), Some(2), "as at the deadline");
    }

    #[test]
    fn a_new_registration_ends_the_drain_and_a_second_drain_only_shortens_it() {
        let mut drains = one();
        drains.handle_put(&instance("a", 1), Some(Tick(20_000)), Serial(6), Tick(2_000));
        assert_eq!(drains.until(&instance("a", 1).id), Some(Tick(20_000)));
        drains.handle_put(&instance("a", 1), Some(Tick(90_000)), Serial(7), Tick(2_000));
        assert_eq!(drains.until(&instance("a", 1).id), Some(Tick(20_000)));
        assert_eq!(poll(&mut drains, 2_001, true, 0), Some(0), "acknowledged since the first");
        let mut drains = one();
        drains.handle_put(&instance("a", 9), None, Serial(8), Tick(3_000));
        assert_eq!((drains.until(&instance("a", 9).id), poll(&mut drains, 99_000, true, 0)), (None, None));
        assert_eq!(drains.ended(&instance("a", 1).id, Generation(1)), None);
    }

    #[test]
    fn kept_results_are_bounded() {
        let mut drains = Drains::default();
        for number in 0..=ENDED_MAX {
            let instance = instance(&format!("i{number}"), 1);
            drains.handle_put(&instance, Some(Tick(1)), Serial(1), Tick(0));
            drains.handle_gone(&instance.id, Tick(1));
        }
        assert_eq!(drains.ended.len(), ENDED_MAX);
        assert_eq!(drains.ended(&instance("i0", 1).id, Generation(1)), None);
        assert!(drains.ended(&instance("i1", 1).id, Generation(1)).is_some());
    }
}
