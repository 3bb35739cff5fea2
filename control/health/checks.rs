//! Which instances are checked, and what is known of them; pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use ringway_model::{Generation, Health, HealthCheck, Instance, InstanceId, Scheme, Tick, Timestamp};

use crate::answer::{Answer, Failure, LocalFault};
use crate::course::{Course, Streak, Thresholds};
use crate::schedule::{CheckId, Plan, Schedule};

/// What holds for instances that do not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Time between two checks.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// How many answers in a row change an instance's health.
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

/// An instance's health has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which instance.
    pub instance: InstanceId,
    /// Which registration of it: a verdict on an older one is to be ignored.
    pub generation: Generation,
    /// What it counts as from now on.
    pub health: Health,
    /// The failure that made it unhealthy; [`Plan::explain`] puts it into words.
    pub reason: Option<Failure>,
    /// The check.
    pub plan: Arc<Plan>,
    /// The answers that led there.
    pub streak: Streak,
}

/// What is known of an instance, for the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStatus {
    /// What it counts as.
    pub health: Health,
    /// What its latest answers were.
    pub streak: Streak,
    /// The latest failure, also when successes followed, and when it was.
    pub last_failure: Option<(Failure, Timestamp)>,
    /// When it last answered or failed to.
    pub last_checked_at: Option<Timestamp>,
    /// Why we could not ask the last time, when we could not.
    pub not_asked: Option<LocalFault>,
    /// When it is to be checked next; `None` while a check is under way.
    pub next_due: Option<Tick>,
    /// The check.
    pub plan: Arc<Plan>,
    /// How many answers in a row change its health.
    pub thresholds: Thresholds,
}

impl CheckStatus {
    /// Why the last check failed, or could not be made.
    pub fn reason(&self) -> Option<String> {
        let is_failing = matches!(self.streak, Streak::Failures(_));
        match (self.not_asked, self.last_failure.filter(|_| is_failing)) {
            (Some(fault), _) => Some(format!("not checked: {fault}")),
            (None, Some((failure, _))) => Some(self.plan.explain(failure).to_string()),
            (None, None) => None,
        }
    }
}

/// A check to make now; to be answered with [`Checks::handle_answer`].
#[derive(Clone, Debug)]
pub struct Due {
    /// Names the check in the answer.
    pub id: CheckId,
    /// Whom to ask what.
    pub plan: Arc<Plan>,
}

/// All instances under check: the state machine that [`Checker`](crate::Checker) runs.
///
/// Of each call, the cost follows the instances that it concerns, and the logarithm of all. Randomness is a word per
/// call, drawn by the caller.
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
    /// Since when: a check that began before says nothing about this registration.
    since: Tick,
    course: Course,
    last_failure: Option<(Failure, Timestamp)>,
    last_checked_at: Option<Timestamp>,
    not_asked: Option<LocalFault>,
    /// It has not been well since it was registered, a moment ago: probed often, so that it takes traffic soon.
    is_joining: bool,
}

/// Ways in which an instance comes under check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It was registered: probed at once, and often until it is well.
    Registered,
    /// It was there before this process: probed within one interval, so that thousands do not begin together.
    Restored,
}

impl Checks {
    /// Without instances.
    pub fn new(defaults: Defaults) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// Checks an instance from now on, or checks it differently.
    ///
    /// A new generation, another target or another probe begins anew at [`Health::Unknown`]; other timing and thresholds keep
    /// what is known. Unchanged instances cost one lookup.
    pub fn upsert(&mut self, instance: &Instance, entry: Entry, now: Tick, random: u64) {
        let (plan, thresholds) = resolve(instance, self.defaults);
        let mut is_joining = entry == Entry::Registered;
        let mut fresh = Watched {
            generation: instance.generation,
            plan: Arc::new(plan.clone()),
            check: CheckId::default(),
            thresholds,
            since: now,
            course: Course::UNKNOWN,
            last_failure: None,
            last_checked_at: None,
            not_asked: None,
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
                    course: old.course,
                    last_failure: old.last_failure,
                    last_checked_at: old.last_checked_at,
                    not_asked: old.not_asked,
                    is_joining: old.is_joining,
                    ..fresh
                };
                is_joining = false;
            }
        }
        // Added before the old one is removed, so that a new registration of the same plan keeps its place in the queue.
        fresh.check = self.schedule.add(plan, now, random);
        self.remove(&instance.id);
        if is_joining {
            self.schedule.hasten(fresh.check, now);
        }
        self.users.entry(fresh.check).or_default().insert(instance.id.clone());
        self.watched.insert(instance.id.clone(), fresh);
    }

    /// Checks an instance as one that was registered a moment ago.
    pub fn hasten(&mut self, instance: &InstanceId, now: Tick) {
        let Some(watched) = self.watched.get_mut(instance) else { return };
        watched.is_joining = true;
        self.schedule.hasten(watched.check, now);
    }

    /// Checks an instance no more.
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

    /// Checks exactly these from now on.
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

    /// The next check to make now, if there is one; to be called until there is none.
    pub fn poll_due(&mut self, now: Tick) -> Option<Due> {
        self.schedule.poll_due(now).map(|(id, plan)| Due { id, plan })
    }

    /// When to poll again, unless something changes before.
    pub fn next_due(&self) -> Tick {
        self.schedule.next_due()
    }

    /// A check brought an answer: it counts for all instances that share it. Returns those whose health changed.
    pub fn handle_answer(
        &mut self,
        id: CheckId,
        answer: Answer,
        now: Tick,
        time: Timestamp,
        random: u64,
    ) -> Vec<Verdict> {
        let Some(started) = self.schedule.handle_done(id, now, random) else { return Vec::new() };
        let mut verdicts = Vec::new();
        let mut again: Option<Tick> = None;
        for instance in self.users.get(&id).into_iter().flatten() {
            let Some(watched) = self.watched.get_mut(instance).filter(|watched| watched.since <= started)
            else {
                continue;
            };
            let changed = watched.take(answer, now, time);
            if let Some(pause) = watched.pause(now) {
                again = Some(again.map_or(now.after(pause), |again| again.min(now.after(pause))));
            }
            if let Some(reason) = changed {
                verdicts.push(Verdict {
                    instance: instance.clone(),
                    generation: watched.generation,
                    health: watched.course.health,
                    reason,
                    plan: watched.plan.clone(),
                    streak: watched.course.streak,
                });
            }
        }
        if let Some(again) = again {
            self.schedule.hasten(id, again);
        }
        verdicts
    }

    /// What is known of an instance; `None` when it is not checked. One lookup.
    pub fn status(&self, instance: &str) -> Option<CheckStatus> {
        let watched = self.watched.get(instance)?;
        Some(CheckStatus {
            health: watched.course.health,
            streak: watched.course.streak,
            last_failure: watched.last_failure,
            last_checked_at: watched.last_checked_at,
            not_asked: watched.not_asked,
            next_due: self.schedule.due(watched.check),
            plan: watched.plan.clone(),
            thresholds: watched.thresholds,
        })
    }

    /// How many instances are checked.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// How many different checks that takes.
    pub fn check_count(&self) -> usize {
        self.schedule.len()
    }

    /// How many checks are in flight.
    pub fn in_flight(&self) -> usize {
        self.schedule.in_flight()
    }
}

impl Watched {
    /// Takes an answer in; when the health changed, the failure that did it, if one did.
    fn take(&mut self, answer: Answer, now: Tick, time: Timestamp) -> Option<Option<Failure>> {
        let before = self.course.health;
        let reason = match answer {
            Answer::Well => {
                self.course = self.course.after_success(self.thresholds);
                self.is_joining = false;
                None
            }
            Answer::Failed(failure) => {
                let after = self.course.after_failure(self.thresholds);
                // Probes that come faster than the interval do not make it unhealthy faster.
                self.course = match self.is_joining && now < self.patience() {
                    true => Course { health: self.course.health, ..after },
                    false => after,
                };
                self.last_failure = Some((failure, time));
                Some(failure)
            }
            Answer::NotAsked(fault) => {
                self.not_asked = Some(fault);
                return None;
            }
        };
        self.not_asked = None;
        self.last_checked_at = Some(time);
        (self.course.health != before).then_some(reason)
    }

    /// Until when an instance that joins is not judged: as long as its failures would take at their usual pace.
    fn patience(&self) -> Tick {
        self.since.after(self.plan.interval * u32::from(self.thresholds.unhealthy.get() - 1))
    }

    /// The time until an instance that joins is probed again: ever longer, up to a second.
    fn pause(&self, now: Tick) -> Option<Duration> {
        let is_soon = now < self.since.after(ringway_model::limits::JOINING_TIME);
        let doublings = self.course.streak.len().saturating_sub(1).min(10);
        (self.is_joining && is_soon)
            .then(|| (limits::JOINING_PAUSE_MIN * (1 << doublings)).min(limits::JOINING_PAUSE_MAX))
    }
}

/// An instance's own values where it has them, within bounds.
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
