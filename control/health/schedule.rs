//! Schedule of checks; pure.
//!
//! Checks wait in one queue ordered by due time, and the longest overdue one goes first: with more due than
//! may be in flight, all are equally late and none starves. Adding, removing and finishing a check cost the
//! logarithm of their number.
//!
//! The first time of a check is spread over its interval and later ones vary by a tenth of it: thousands of
//! checks added at once, as at a start, neither begin together nor synchronise later.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use ringway_model::{AppId, Probe, Target, Tick};

/// Target, probe and interval of a check. Instances with the same plan share one check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The instance's target.
    pub target: Target,
    /// Another port than the target's.
    pub port: Option<NonZeroU16>,
    /// App with the TLS settings, for a target with TLS.
    pub app: Option<AppId>,
    /// The probe.
    pub probe: Probe,
    /// Time between the starts of two checks.
    pub interval: Duration,
    /// Timeout of one check.
    pub timeout: Duration,
}

impl Plan {
    /// Endpoint of the check.
    pub fn endpoint(&self) -> Target {
        self.port.map_or_else(|| self.target.clone(), |port| self.target.on_health_port(port))
    }
}

/// Id of a check of a [`Schedule`]; never reused. The default belongs to no check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(u64);

/// Checks and their due times.
///
/// `add` and `remove` change them; `poll_due` returns due ones, and `handle_done` completes each. Randomness
/// is one number per call, drawn by the caller.
#[derive(Debug, Default)]
pub struct Schedule {
    checks: HashMap<CheckId, Check>,
    ids: HashMap<Arc<Plan>, CheckId>,
    /// Checks that are not in flight, by due time.
    waiting: BTreeSet<(Tick, CheckId)>,
    /// Includes removed ones.
    in_flight: HashSet<CheckId>,
    checks_made: u64,
}

#[derive(Debug)]
struct Check {
    plan: Arc<Plan>,
    users: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting {
        due: Tick,
    },
    /// `next` is the requested time of the next check, if any.
    InFlight {
        started: Tick,
        next: Option<Tick>,
    },
}

impl Schedule {
    /// Creates an empty schedule.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user of a plan. The check of a new plan is due within one interval.
    pub fn add(&mut self, plan: Plan, now: Tick, random: u64) -> CheckId {
        if let Some(id) = self.ids.get(&plan) {
            if let Some(check) = self.checks.get_mut(id) {
                check.users += 1;
            }
            return *id;
        }
        self.checks_made += 1;
        let id = CheckId(self.checks_made);
        let due = now.after(part(plan.interval, random));
        let plan = Arc::new(plan);
        self.ids.insert(plan.clone(), id);
        self.waiting.insert((due, id));
        self.checks.insert(id, Check { plan, users: 1, phase: Phase::Waiting { due } });
        id
    }

    /// Removes a user; without users the check is dropped. If it is in flight, `handle_done` is still to be
    /// called.
    pub fn remove(&mut self, id: CheckId) {
        let Some(check) = self.checks.get_mut(&id) else { return };
        check.users -= 1;
        if check.users > 0 {
            return;
        }
        if let Phase::Waiting { due } = check.phase {
            self.waiting.remove(&(due, id));
        }
        if let Some(check) = self.checks.remove(&id) {
            self.ids.remove(&check.plan);
        }
    }

    /// Next check to start, if one is due and fewer than `HEALTH_CHECKS_IN_FLIGHT_MAX` are in
    /// flight.
    pub fn poll_due(&mut self, now: Tick) -> Option<(CheckId, Arc<Plan>)> {
        if self.in_flight.len() >= limits::HEALTH_CHECKS_IN_FLIGHT_MAX {
            return None;
        }
        let first = self.waiting.first().filter(|(due, _)| *due <= now)?;
        let id = first.1;
        self.waiting.pop_first();
        let check = self.checks.get_mut(&id)?;
        check.phase = Phase::InFlight { started: now, next: None };
        self.in_flight.insert(id);
        Some((id, check.plan.clone()))
    }

    /// Completes a check from `poll_due`; it is due again about one interval after its start. Returns its
    /// start; `None` for a removed or already completed check.
    pub fn handle_done(&mut self, id: CheckId, now: Tick, random: u64) -> Option<Tick> {
        if !self.in_flight.remove(&id) {
            return None;
        }
        let check = self.checks.get_mut(&id)?;
        let Phase::InFlight { started, next } = check.phase else { return None };
        let due = started.after(vary(check.plan.interval, random));
        let due = next.map_or(due, |next| next.min(due)).max(now);
        check.phase = Phase::Waiting { due };
        self.waiting.insert((due, id));
        Some(started)
    }

    /// Makes a check due at `due` unless it is due earlier. One in flight is repeated.
    pub fn hasten(&mut self, id: CheckId, due: Tick) {
        let Some(check) = self.checks.get_mut(&id) else { return };
        match &mut check.phase {
            Phase::Waiting { due: present } if *present > due => {
                self.waiting.remove(&(*present, id));
                self.waiting.insert((due, id));
                *present = due;
            }
            Phase::Waiting { .. } => {}
            Phase::InFlight { next, .. } => *next = Some(next.map_or(due, |next| next.min(due))),
        }
    }

    /// Time of the next poll, unless the checks change before; [`Tick::NEVER`] while the limit of checks in
    /// flight is reached.
    pub fn next_due(&self) -> Tick {
        if self.in_flight.len() >= limits::HEALTH_CHECKS_IN_FLIGHT_MAX {
            return Tick::NEVER;
        }
        self.waiting.first().map_or(Tick::NEVER, |(due, _)| *due)
    }

    /// Due time of a check; `None` while it is in flight.
    pub fn due(&self, id: CheckId) -> Option<Tick> {
        match self.checks.get(&id)?.phase {
            Phase::Waiting { due } => Some(due),
            Phase::InFlight { .. } => None,
        }
    }

    /// Number of checks.
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// Whether there is no check.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Number of checks in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// Random part of `whole`.
fn part(whole: Duration, random: u64) -> Duration {
    let nanos = (whole.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Random time between nine and eleven tenths of `interval`.
fn vary(interval: Duration, random: u64) -> Duration {
    interval * 9 / 10 + part(interval / 5, random)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn plan(port: usize) -> Plan {
        Plan {
            target: Target::parse(&format!("http://10.{}.0.1:{}", port / 60_000, port % 60_000 + 1)).unwrap(),
            port: None,
            app: None,
            probe: Probe::Tcp,
            interval: INTERVAL,
            timeout: Duration::from_secs(3),
        }
    }

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state ^ (*state >> 31)
    }

    #[test]
    fn a_first_check_is_due_within_one_interval() {
        for (random, due) in [(0, 1_000), (u64::MAX / 2, 5_999), (u64::MAX, 10_999)] {
            let mut schedule = Schedule::new();
            let id = schedule.add(plan(1), Tick(1_000), random);
            assert_eq!(schedule.due(id), Some(Tick(due)));
            assert!(schedule.poll_due(Tick(due - 1)).is_none());
            assert!(schedule.poll_due(Tick(due)).is_some_and(|(due, _)| due == id));
            assert!(schedule.poll_due(Tick(due + 100_000)).is_none(), "not twice at once");
        }
    }

    #[test]
    fn later_checks_vary_by_a_tenth_from_start_to_start() {
        for (random, due) in [(0, 9_000), (u64::MAX / 2, 9_999), (u64::MAX, 10_999)] {
            let mut schedule = Schedule::new();
            let id = schedule.add(plan(1), Tick(0), 0);
            schedule.poll_due(Tick(0)).unwrap();
            assert_eq!(schedule.handle_done(id, Tick(2_500), random), Some(Tick(0)));
            assert_eq!(schedule.due(id), Some(Tick(due)));
        }
    }

    #[test]
    fn a_hastened_check_is_due_earlier_and_never_later() {
        let mut schedule = Schedule::new();
        let id = schedule.add(plan(1), Tick(1_000), u64::MAX);
        schedule.hasten(id, Tick(1_000));
        assert_eq!((schedule.due(id), schedule.next_due()), (Some(Tick(1_000)), Tick(1_000)));
        schedule.hasten(id, Tick(5_000));
        assert_eq!(schedule.due(id), Some(Tick(1_000)));
        // The check in flight may have started too early and is repeated.
        schedule.poll_due(Tick(1_000)).unwrap();
        schedule.hasten(id, Tick(1_100));
        schedule.hasten(id, Tick(1_300));
        schedule.handle_done(id, Tick(1_050), 0);
        assert_eq!(schedule.due(id), Some(Tick(1_100)));
        schedule.poll_due(Tick(1_100)).unwrap();
        schedule.handle_done(id, Tick(1_200), 0);
        assert_eq!(schedule.due(id), Some(Tick(10_100)), "hastened once");
        schedule.hasten(CheckId::default(), Tick(0));
    }

    #[test]
    fn a_check_that_ended_late_is_due_at_once_and_not_in_the_past() {
        let mut schedule = Schedule::new();
        let id = schedule.add(plan(1), Tick(0), 0);
        schedule.poll_due(Tick(0)).unwrap();
        schedule.handle_done(id, Tick(60_000), 0);
        assert_eq!(schedule.due(id), Some(Tick(60_000)));
    }

    #[test]
    fn thousands_begin_spread_out() {
        let mut schedule = Schedule::new();
        let mut seed = 7;
        for port in 0..5_000 {
            schedule.add(plan(port), Tick(0), random(&mut seed));
        }
        let mut by_second = [0; 10];
        for (due, _) in &schedule.waiting {
            by_second[usize::try_from(due.0 / 1_000).unwrap()] += 1;
        }
        assert!(by_second.iter().all(|count| (400..600).contains(count)), "seed 7: {by_second:?}");
    }

    #[test]
    fn no_more_than_a_hundred_are_in_flight() {
        let mut schedule = Schedule::new();
        for port in 0..250 {
            schedule.add(plan(port), Tick(0), 0);
        }
        let mut started: Vec<CheckId> =
            std::iter::from_fn(|| schedule.poll_due(Tick(0))).map(|(id, _)| id).collect();
        assert_eq!(started.len(), limits::HEALTH_CHECKS_IN_FLIGHT_MAX);
        assert_eq!(schedule.next_due(), Tick::NEVER);
        schedule.handle_done(started.pop().unwrap(), Tick(1), 0);
        assert!(schedule.next_due() <= Tick(1));
        assert!(schedule.poll_due(Tick(1)).is_some());
        assert!(schedule.poll_due(Tick(1)).is_none());
    }

    /// 5,000 checks of 3 s each cannot all run every 10 s with 100 in flight: all are late by the same
    /// amount.
    #[test]
    fn nothing_starves_when_more_is_due_than_can_be_done() {
        let mut schedule = Schedule::new();
        let mut seed = 3;
        for port in 0..5_000 {
            schedule.add(plan(port), Tick(0), random(&mut seed));
        }
        let mut made: HashMap<CheckId, u32> = HashMap::new();
        let mut running: Vec<(Tick, CheckId)> = Vec::new();
        for now in (0..900_000).step_by(100).map(Tick) {
            let (ended, rest): (Vec<_>, Vec<_>) = running.into_iter().partition(|(end, _)| *end <= now);
            running = rest;
            for (_, id) in ended {
                schedule.handle_done(id, now, random(&mut seed));
            }
            while let Some((id, _)) = schedule.poll_due(now) {
                *made.entry(id).or_default() += 1;
                running.push((now.after(Duration::from_secs(3)), id));
            }
            assert!(running.len() <= limits::HEALTH_CHECKS_IN_FLIGHT_MAX);
        }
        let (least, most) = (made.values().min().unwrap(), made.values().max().unwrap());
        assert_eq!(made.len(), 5_000);
        assert!(most - least <= 2 && *least >= 5, "seed 3: from {least} to {most} checks each");
    }

    #[test]
    fn equal_plans_share_a_check_until_the_last_user_goes() {
        let mut schedule = Schedule::new();
        let id = schedule.add(plan(1), Tick(0), 0);
        assert_eq!(schedule.add(plan(1), Tick(5), 9), id);
        let other = Plan { timeout: Duration::from_secs(2), ..plan(1) };
        assert_ne!(schedule.add(other, Tick(0), 0), id);
        assert_eq!(schedule.len(), 2);
        schedule.remove(id);
        assert!(schedule.due(id).is_some());
        schedule.remove(id);
        assert!(schedule.due(id).is_none());
        assert_eq!((schedule.len(), schedule.waiting.len()), (1, 1));
        schedule.remove(id);
        assert_eq!(schedule.len(), 1, "one removal too many has no effect");
    }

    #[test]
    fn a_check_removed_in_flight_leaves_the_limit_when_it_ends() {
        let mut schedule = Schedule::new();
        let id = schedule.add(plan(1), Tick(0), 0);
        schedule.poll_due(Tick(0)).unwrap();
        schedule.remove(id);
        assert!(schedule.is_empty());
        assert_eq!(schedule.in_flight(), 1);
        let again = schedule.add(plan(1), Tick(0), 0);
        assert_ne!(again, id);
        assert_eq!(schedule.handle_done(id, Tick(1), 0), None);
        assert_eq!(schedule.handle_done(id, Tick(1), 0), None, "completed twice");
        assert_eq!(schedule.in_flight(), 0);
        assert_eq!(schedule.due(again), Some(Tick(0)), "the old end is not the new check's");
    }

    #[test]
    fn an_empty_schedule_is_never_due() {
        assert_eq!(Schedule::new().next_due(), Tick::NEVER);
        assert!(Schedule::new().poll_due(Tick(1)).is_none());
    }
}
