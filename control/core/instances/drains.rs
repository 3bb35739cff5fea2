//! Instances that drain: until when, and what became of the last ones; pure.
//!
//! ```text
//!   put with an end ─► waiting ── no request left on cores that all know, or the end ──► removing ── gone ──► ended
//!                         │                                                                 │
//!                         └── registered again: forgotten        the store refused: asked for again after a while
//! ```
//! That an instance drains is stored with it; this is about the time until its removal. A process that ends in between
//! leaves it to the next one, where no request is under way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ringway_model::{Generation, Health, Instance, InstanceId, Serial, Tick, limits};
use ringway_traffic::snapshot::Snapshot;

use crate::engine::Engine;
use crate::status::{Drained, InFlightStatus};
use crate::submission::{Refusal, Submission};
use crate::time::Now;

/// All drains.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    active: BTreeMap<InstanceId, Drain>,
    /// The newest at the end.
    ended: VecDeque<(InstanceId, Generation, Drained)>,
}

#[derive(Debug)]
struct Drain {
    generation: Generation,
    since: Tick,
    until: Tick,
    /// Cores that have it send nothing new to the instance.
    serial: Serial,
    removal: Option<Removal>,
}

/// A removal that was asked for.
#[derive(Debug)]
struct Removal {
    left: InFlightStatus,
    /// When to ask again.
    retry: Tick,
}

impl Drains {
    /// An instance is now this. `until` is its end as a tick if it drains; `serial` is the snapshot that says so.
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

    /// An instance is gone.
    pub(crate) fn handle_gone(&mut self, id: &InstanceId, now: Tick) {
        let Some(drain) = self.active.remove(id) else { return };
        // Removed by another call: nobody has counted what was left.
        let left = drain.removal.map(|removal| removal.left).unwrap_or_default();
        let ended = Drained { took: now.since(drain.since), left };
        self.ended.push_back((id.clone(), drain.generation, ended));
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }

    /// The next instance to remove: its time is over, or all cores know (`reached`) and none has a request of it
    /// (`in_flight`). Called until there is none.
    pub(crate) fn poll_done(
        &mut self,
        now: Tick,
        reached: impl Fn(Serial) -> bool,
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
            if !is_over && !reached(drain.serial) {
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

    /// When [`Drains::poll_done`] is worth a call.
    pub(crate) fn next_deadline(&self, now: Tick) -> Tick {
        let next = |drain: &Drain| match &drain.removal {
            Some(removal) => removal.retry,
            None => drain.until.min(now.after(ROUND)),
        };
        self.active.values().map(next).min().unwrap_or(Tick::NEVER)
    }

    /// When a drain ends at the latest; `None` where none is under way.
    pub(crate) fn until(&self, id: &InstanceId) -> Option<Tick> {
        self.active.get(id).map(|drain| drain.until)
    }

    /// End of the drain of a registration; `None` while it is under way, and when it is not among the last ones.
    pub(crate) fn ended(&self, id: &InstanceId, generation: Generation) -> Option<Drained> {
        let mut newest_first = self.ended.iter().rev();
        newest_first.find(|ended| ended.0 == *id && ended.1 == generation).map(|ended| ended.2)
    }
}

impl Engine {
    /// Takes note of an instance that was stored, or was there at the start.
    pub(crate) fn note_drain(&mut self, instance: &Instance, serial: Serial, now: Now) {
        let until = instance.draining.map(|until| {
            // Its end was settled by a clock for people, which may have been set since.
            let left = Duration::from_millis(until.0.saturating_sub(now.at.0));
            now.tick.after(left.min(limits::INSTANCE_DRAIN_MAX))
        });
        if let Some(until) = until
            && self.drains().until(&instance.id).is_none()
        {
            let (id, app) = (&instance.id, &instance.app);
            tracing::info!(instance = %id, %app, time = ?now.tick.until(until), "instance draining; no new requests");
        }
        let snapshot = self.compiler().snapshot();
        if let Some(endpoint) = snapshot.endpoint(instance.app.as_str(), instance.id.as_str())
            && until.is_none()
        {
            endpoint.in_flight.set_drained(false);
        }
        self.drains_mut().handle_put(instance, until, serial, now.tick);
    }

    /// Has the instances join that were registered a moment before the start: whether one of them was ever well, nobody
    /// knows, and a deploy may be waiting for it. The others take traffic at once.
    pub(crate) fn join_again(&self, first: &Snapshot, now: Now) {
        for instance in self.desired().instances() {
            let age = Duration::from_millis(now.at.0.saturating_sub(instance.registered_at.0));
            if age < limits::JOINING_TIME
                && let Some(endpoint) = first.endpoint(instance.app.as_str(), instance.id.as_str())
            {
                endpoint.state.set_health(Health::Joining);
                self.checker().hasten(&instance.id);
            }
        }
    }

    /// Removes the instances whose drain is over.
    pub(crate) fn advance_drains(&mut self, now: Now) {
        if !self.is_running() {
            return;
        }
        while let Some((id, generation, left)) = self.poll_drained(now) {
            let snapshot = self.compiler().snapshot();
            let app = self.desired().instance(id.as_str()).map(|instance| instance.app.clone());
            if let Some(endpoint) = app.as_ref().and_then(|app| snapshot.endpoint(app.as_str(), id.as_str()))
            {
                // Before the snapshot without it: tunnels that are left end with it.
                endpoint.in_flight.set_drained(true);
            }
            match left.requests {
                0 => tracing::info!(instance = %id, "instance drained; removing it"),
                requests => tracing::warn!(
                    instance = %id,
                    requests,
                    tunnels = left.tunnels,
                    "drain time over; removing the instance with requests in flight, closing its tunnels"
                ),
            }
            let change =
                ringway_model::Change::RemoveInstance { id: id.clone(), generation: Some(generation) };
            self.submit_removal(Submission::of(change), id, now);
        }
    }

    fn poll_drained(&mut self, now: Now) -> Option<(InstanceId, Generation, InFlightStatus)> {
        let (drains, plane, desired, snapshot) = self.drains_and_facts();
        drains.poll_done(
            now.tick,
            |serial| plane.have_cores(serial) && !plane.lag_behind(serial),
            |id| {
                let endpoint = desired
                    .instance(id.as_str())
                    .and_then(|instance| snapshot.endpoint(instance.app.as_str(), id.as_str()));
                endpoint
                    .map_or_else(InFlightStatus::default, |endpoint| InFlightStatus::of(&endpoint.in_flight))
            },
        )
    }
}

/// Logs the end of the removal of a drained instance.
pub(crate) fn log_removal(instance: &InstanceId, refusal: Option<&Refusal>) {
    match refusal {
        // Registered again or removed meanwhile: as it should be.
        None | Some(Refusal::Rejected(_) | Refusal::ShuttingDown) => {}
        Some(refusal) => {
            let error = crate::error_chain::with_causes(refusal);
            tracing::warn!(%instance, error, "drained instance not removed yet");
        }
    }
}

/// Between two looks at what is in flight.
const ROUND: Duration = Duration::from_millis(20);
/// Time between two attempts at a removal that was refused.
const REMOVAL_RETRY: Duration = Duration::from_secs(5);
/// Ends that are remembered for whoever asks how his drain went, which is at once.
const ENDED_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_model::{AppId, HealthCheck, Target, Timestamp};

    fn instance(name: &str, generation: u64) -> Instance {
        Instance {
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

    /// One drain of `a`, begun at 1 s, to end at 31 s.
    fn one() -> Drains {
        let mut drains = Drains::default();
        drains.handle_put(&instance("a", 1), Some(Tick(31_000)), Serial(5), Tick(1_000));
        drains
    }

    fn poll(drains: &mut Drains, now: u64, is_reached: bool, requests: u64) -> Option<u64> {
        let done =
            drains.poll_done(Tick(now), |serial| serial == Serial(5) && is_reached, |_| load(requests));
        done.map(|(_, _, left)| left.requests)
    }

    #[test]
    fn it_is_done_when_all_cores_know_and_no_request_is_left() {
        let mut drains = one();
        assert_eq!(poll(&mut drains, 1_001, false, 0), None, "a core may still send to it");
        assert_eq!(poll(&mut drains, 1_002, true, 1), None);
        assert_eq!(drains.next_deadline(Tick(1_002)), Tick(1_022));
        assert_eq!(poll(&mut drains, 1_022, true, 0), Some(0));
        assert_eq!(poll(&mut drains, 1_023, true, 0), None, "asked once");
        drains.handle_gone(&instance("a", 1).id, Tick(1_030));
        let ended = drains.ended(&instance("a", 1).id, Generation(1)).unwrap();
        assert_eq!((ended.took, ended.left.requests), (Duration::from_millis(30), 0));
        assert_eq!(drains.ended(&instance("a", 1).id, Generation(2)), None);
        assert_eq!(drains.next_deadline(Tick(1_030)), Tick::NEVER);
    }

    #[test]
    fn its_time_ends_it_whatever_is_left() {
        for is_reached in [false, true] {
            let mut drains = one();
            assert_eq!(poll(&mut drains, 30_999, is_reached, 3), None);
            assert_eq!(drains.next_deadline(Tick(30_990)), Tick(31_000));
            assert_eq!(poll(&mut drains, 31_000, is_reached, 3), Some(3));
            drains.handle_gone(&instance("a", 1).id, Tick(31_001));
            assert_eq!(drains.ended(&instance("a", 1).id, Generation(1)).unwrap().left.requests, 3);
        }
    }

    #[test]
    fn a_removal_that_the_store_refused_is_asked_for_again() {
        let mut drains = one();
        assert_eq!(poll(&mut drains, 31_000, true, 2), Some(2));
        assert_eq!(drains.next_deadline(Tick(31_000)), Tick(36_000));
        assert_eq!(poll(&mut drains, 35_999, true, 0), None);
        assert_eq!(poll(&mut drains, 36_000, true, 0), Some(2), "as it was when its time was over");
    }

    #[test]
    fn a_new_registration_ends_the_drain_and_a_second_drain_only_shortens_it() {
        let mut drains = one();
        drains.handle_put(&instance("a", 1), Some(Tick(20_000)), Serial(6), Tick(2_000));
        assert_eq!(drains.until(&instance("a", 1).id), Some(Tick(20_000)));
        drains.handle_put(&instance("a", 1), Some(Tick(90_000)), Serial(7), Tick(2_000));
        assert_eq!(drains.until(&instance("a", 1).id), Some(Tick(20_000)));
        assert_eq!(poll(&mut drains, 2_001, true, 0), Some(0), "the cores know since the first");
        let mut drains = one();
        drains.handle_put(&instance("a", 9), None, Serial(8), Tick(3_000));
        assert_eq!((drains.until(&instance("a", 9).id), poll(&mut drains, 99_000, true, 0)), (None, None));
        assert_eq!(drains.ended(&instance("a", 1).id, Generation(1)), None);
    }

    #[test]
    fn the_ends_that_are_remembered_are_bounded() {
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
