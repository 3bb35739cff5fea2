//! Instances under health checks, and their state; pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use ringway_model::{Generation, Health, HealthCheck, Instance, InstanceId, Scheme, Tick, Timestamp};

use crate::health_state::{HealthState, Streak, Thresholds};
use crate::probe_result::{Failure, LocalFault, ProbeResult};
use crate::schedule::{CheckId, Plan, Schedule};

/// Settings of instances without own ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Time between two checks.
    pub interval: Duration,
    /// Timeout of one check.
    pub timeout: Duration,
    /// Consecutive results that change an instance's health.
    pub thresholds: Thresholds,
}

impl Default for Defaults {
    fn default() -> Self {
        let count = |count| NonZeroU8::new(count).unwrap_or(NonZeroU8::MIN);
        Self {
            interval: ringway_model::limits::HEALTH_INTERVAL,
            timeout: ringway_model::limits::HEALTH_TIMEOUT,
            thresholds: Thresholds {
                unhealthy: count(ringway_model::limits::UNHEALTHY_THRESHOLD),
                healthy: count(ringway_model::limits::HEALTHY_THRESHOLD),
            },
        }
    }
}

/// Change of an instance's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// The instance.
    pub instance: InstanceId,
    /// Its registration: a change of an older one is to be ignored.
    pub generation: Generation,
    /// New health.
    pub health: Health,
    /// Failure that made it unhealthy; [`Plan::explain`] describes it.
    pub reason: Option<Failure>,
    /// The check.
    pub plan: Arc<Plan>,
    /// Results that caused the change.
    pub streak: Streak,
}

/// Status of an instance's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStatus {
    /// Present health.
    pub health: Health,
    /// Latest results.
    pub streak: Streak,
    /// Latest failure and its time, also when successes followed.
    pub last_failure: Option<(Failure, Timestamp)>,
    /// Time of the last result.
    pub last_checked_at: Option<Timestamp>,
    /// Local reason why the last probe could not be sent, if so.
    pub not_probed: Option<LocalFault>,
    /// Time of the next check; `None` while one is in flight.
    pub next_due: Option<Tick>,
    /// The check.
    pub plan: Arc<Plan>,
    /// Consecutive results that change its health.
    pub thresholds: Thresholds,
}

impl CheckStatus {
    /// Reason why the last check failed or could not run.
    pub fn reason(&self) -> Option<String> {
        let is_failing = matches!(self.streak, Streak::Failures(_));
        match (self.not_probed, self.last_failure.filter(|_| is_failing)) {
            (Some(fault), _) => Some(format!("not checked: {fault}")),
            (None, Some((failure, _))) => Some(self.plan.explain(failure).to_string()),
            (None, None) => None,
        }
    }
}

/// Check to run now; its result goes to [`Checks::handle_result`].
#[derive(Clone, Debug)]
pub struct Due {
    /// Id of the check.
    pub id: CheckId,
    /// Target and probe.
    pub plan: Arc<Plan>,
}

/// All instances under health checks: the state machine that [`Checker`](crate::Checker) runs.
///
/// Each call costs the number of instances that it concerns, times the logarithm of all. Randomness is one
/// number per call, drawn by the caller.
#[derive(Debug, Default)]
pub struct Checks {
    defaults: Defaults,
    schedule: Schedule,
    watched: HashMap<InstanceId, Watched>,
    users: HashMap<CheckId, BTreeSet<InstanceId>>,
}

#[derive(Debug)]
struct Watched {
    generation: Generation,
    plan: Arc<Plan>,
    check: CheckId,
    thresholds: Thresholds,
    /// Start of this registration's checks: results of earlier ones do not count.
    since: Tick,
    state: HealthState,
    last_failure: Option<(Failure, Timestamp)>,
    last_checked_at: Option<Timestamp>,
    not_probed: Option<LocalFault>,
    /// Recently registered and not healthy yet: probed often, and takes traffic soon.
    is_joining: bool,
}

/// Reason why checks of an instance start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It was registered: probed at once, and often until it is healthy.
    Registered,
    /// It was registered before this process started: probed within one interval, as thousands must not start
    /// at once.
    Restored,
}

impl Checks {
    /// Creates an empty set.
    pub fn new(defaults: Defaults) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// Starts or changes the checks of an instance.
    ///
    /// A new generation, another target or another probe starts at [`Health::Unknown`]; other timing and
    /// thresholds keep the state. Unchanged instances cost one lookup.
    pub fn upsert(&mut self, instance: &Instance, entry: Entry, now: Tick, random: u64) {
        let (plan, thresholds) = resolve(instance, self.defaults);
        let mut is_joining = entry == Entry::Registered;
        let mut fresh = Watched {
            generation: instance.generation,
            plan: Arc::new(plan.clone()),
            check: CheckId::default(),
            thresholds,
            since: now,
            state: HealthState::UNKNOWN,
            last_failure: None,
            last_checked_at: None,
            not_probed: None,
            is_joining,
        };
        if let Some(old) = self.watched.get_mut(&instance.id) {
            let is_same = old.generation == fresh.generation
                && old.plan.target == plan.target
                && old.plan.port == plan.port
                && old.plan.probe == plan.probe;
            if is_same && *old.plan == plan {
                old.thresholds = thresholds;
                return;
            }
            if is_same {
                fresh = Watched {
                    state: old.state,
                    last_failure: old.last_failure,
                    last_checked_at: old.last_checked_at,
                    not_probed: old.not_probed,
                    is_joining: old.is_joining,
                    ..fresh
                };
                is_joining = false;
            }
        }
        // Added before the old one is removed: a new registration of the same plan keeps its place in the
        // queue.
        fresh.check = self.schedule.add(plan, now, random);
        self.remove(&instance.id);
        if is_joining {
            self.schedule.hasten(fresh.check, now);
        }
        self.users.entry(fresh.check).or_default().insert(instance.id.clone());
        self.watched.insert(instance.id.clone(), fresh);
    }

    /// Treats an instance as recently registered.
    pub fn hasten(&mut self, instance: &InstanceId, now: Tick) {
        let Some(watched) = self.watched.get_mut(instance) else { return };
        watched.is_joining = true;
        self.schedule.hasten(watched.check, now);
    }

    /// Stops the checks of an instance.
    pub fn remove(&mut self, instance: &InstanceId) {
        let Some(old) = self.watched.remove(instance) else { return };
        self.schedule.remove(old.check);
        if let Some(users) = self.users.get_mut(&old.check) {
            users.remove(instance);
            if users.is_empty() {
                self.users.remove(&old.check);
            }
        }
    }

    /// Replaces the set of instances; unchanged ones keep their state.
    pub fn set_targets<'a>(
        &mut self,
        instances: impl IntoIterator<Item = &'a Instance>,
        now: Tick,
        mut draw: impl FnMut() -> u64,
    ) {
        let mut kept = HashSet::new();
        for instance in instances {
            kept.insert(instance.id.clone());
            self.upsert(instance, Entry::Restored, now, draw());
        }
        let gone: Vec<InstanceId> = self.watched.keys().filter(|id| !kept.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| self.remove(id));
    }

    /// Next check to run now; to be called until there is none.
    pub fn poll_due(&mut self, now: Tick) -> Option<Due> {
        self.schedule.poll_due(now).map(|(id, plan)| Due { id, plan })
    }

    /// Time of the next poll, unless the set changes before.
    pub fn next_due(&self) -> Tick {
        self.schedule.next_due()
    }

    /// Records a result for all instances that share the check. Returns those whose health changed.
    pub fn handle_result(
        &mut self,
        id: CheckId,
        result: ProbeResult,
        now: Tick,
        time: Timestamp,
        random: u64,
    ) -> Vec<HealthChange> {
        let Some(started) = self.schedule.handle_done(id, now, random) else { return Vec::new() };
        let mut changes = Vec::new();
        let mut again: Option<Tick> = None;
        for instance in self.users.get(&id).into_iter().flatten() {
            let Some(watched) = self.watched.get_mut(instance).filter(|watched| watched.since <= started)
            else {
                continue;
            };
            let changed = watched.record(result, now, time);
            if let Some(pause) = watched.pause(now) {
                again = Some(again.map_or(now.after(pause), |again| again.min(now.after(pause))));
            }
            if let Some(reason) = changed {
                changes.push(HealthChange {
                    instance: instance.clone(),
                    generation: watched.generation,
                    health: watched.state.health,
                    reason,
                    plan: watched.plan.clone(),
                    streak: watched.state.streak,
                });
            }
        }
        if let Some(again) = again {
            self.schedule.hasten(id, again);
        }
        changes
    }

    /// Status of an instance; `None` when it is not checked. Costs one lookup.
    pub fn status(&self, instance: &str) -> Option<CheckStatus> {
        let watched = self.watched.get(instance)?;
        Some(CheckStatus {
            health: watched.state.health,
            streak: watched.state.streak,
            last_failure: watched.last_failure,
            last_checked_at: watched.last_checked_at,
            not_probed: watched.not_probed,
            next_due: self.schedule.due(watched.check),
            plan: watched.plan.clone(),
            thresholds: watched.thresholds,
        })
    }

    /// Number of instances.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether there is no instance.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Number of distinct checks.
    pub fn check_count(&self) -> usize {
        self.schedule.len()
    }

    /// Number of checks in flight.
    pub fn in_flight(&self) -> usize {
        self.schedule.in_flight()
    }
}

impl Watched {
    /// Records a result. Returns `Some` when the health changed, with the failure that caused it.
    fn record(&mut self, result: ProbeResult, now: Tick, time: Timestamp) -> Option<Option<Failure>> {
        let before = self.state.health;
        let reason = match result {
            ProbeResult::Healthy => {
                self.state = self.state.after_success(self.thresholds);
                self.is_joining = false;
                None
            }
            ProbeResult::Failed(failure) => {
                let after = self.state.after_failure(self.thresholds);
                // Probes faster than the interval must not make it unhealthy faster.
                self.state = match self.is_joining && now < self.grace_end() {
                    true => HealthState { health: self.state.health, ..after },
                    false => after,
                };
                self.last_failure = Some((failure, time));
                Some(failure)
            }
            ProbeResult::NotProbed(fault) => {
                self.not_probed = Some(fault);
                return None;
            }
        };
        self.not_probed = None;
        self.last_checked_at = Some(time);
        (self.state.health != before).then_some(reason)
    }

    /// Time until which failures of a joining instance do not count: as long as they would take at the usual
    /// interval.
    fn grace_end(&self) -> Tick {
        self.since.after(self.plan.interval * u32::from(self.thresholds.unhealthy.get() - 1))
    }

    /// Delay of the next probe of a joining instance: doubled up to a second.
    fn pause(&self, now: Tick) -> Option<Duration> {
        let is_soon = now < self.since.after(ringway_model::limits::JOINING_TIME);
        let doublings = self.state.streak.len().saturating_sub(1).min(10);
        (self.is_joining && is_soon)
            .then(|| (limits::JOINING_PAUSE_MIN * (1 << doublings)).min(limits::JOINING_PAUSE_MAX))
    }
}

/// Settings of an instance, or the defaults, within their limits.
fn resolve(instance: &Instance, defaults: Defaults) -> (Plan, Thresholds) {
    let HealthCheck { probe, port, interval, timeout, unhealthy_threshold, healthy_threshold } =
        &instance.health_check;
    let interval = interval
        .unwrap_or(defaults.interval)
        .clamp(ringway_model::limits::HEALTH_INTERVAL_MIN, ringway_model::limits::HEALTH_INTERVAL_MAX);
    let timeout = timeout.unwrap_or(defaults.timeout).min(interval);
    let app = (instance.target.scheme() == Scheme::Https).then(|| instance.app.clone());
    let plan =
        Plan { target: instance.target.clone(), port: *port, app, probe: probe.clone(), interval, timeout };
    let thresholds = Thresholds {
        unhealthy: unhealthy_threshold.unwrap_or(defaults.thresholds.unhealthy),
        healthy: healthy_threshold.unwrap_or(defaults.thresholds.healthy),
    };
    (plan, thresholds)
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
