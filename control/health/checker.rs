//! Runner of the checks on the control thread.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use ringway_model::{Instance, InstanceId, Tick};
use ringway_net::sync::Notify;
use ringway_net::{clock, spawn};

use crate::checks::{CheckStatus, Checks, Defaults, Due, Entry, HealthChange};
use crate::probe::Prober;
use crate::probe_result::{LocalFault, ProbeResult};
use crate::schedule::CheckId;

/// Health checks of all instances, shared within the control thread. A clone is another handle.
///
/// ```no_run
/// # use ringway_health::{Checker, Defaults, NetProber};
/// # fn start(instance: &ringway_model::Instance) {
/// let checker = Checker::new(Defaults::default());
/// let running = checker.clone();
/// ringway_net::spawn(
///     async move { running.run(NetProber::new(), |change| println!("{change:?}")).await },
///     |panic| tracing::error!(?panic, "health checks ended"),
/// );
/// checker.upsert(instance); // checked from now on
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Checker {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    checks: RefCell<Checks>,
    random: Cell<u64>,
    /// Notifies the runner of changed checks.
    changed: Notify,
}

impl Checker {
    /// Creates a checker without instances.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            shared: Rc::new(Shared {
                checks: RefCell::new(Checks::new(defaults)),
                random: Cell::new(RandomState::new().hash_one("health")),
                changed: Notify::default(),
            }),
        }
    }

    /// Replaces the set of instances; unchanged ones keep their state.
    pub fn set_targets<'a>(&self, instances: impl IntoIterator<Item = &'a Instance>) {
        let draw = || self.shared.draw();
        self.shared.checks.borrow_mut().set_targets(instances, clock::now(), draw);
        self.shared.changed.notify();
    }

    /// Starts or changes the checks of a registered instance; see [`Checks::upsert`]. A restart at
    /// [`Health::Unknown`] is not reported as a change.
    ///
    /// [`Health::Unknown`]: ringway_model::Health::Unknown
    pub fn upsert(&self, instance: &Instance) {
        let random = self.shared.draw();
        self.shared.checks.borrow_mut().upsert(instance, Entry::Registered, clock::now(), random);
        self.shared.changed.notify();
    }

    /// Treats an instance as recently registered: probed at once, and often until it is healthy.
    pub fn hasten(&self, instance: &InstanceId) {
        self.shared.checks.borrow_mut().hasten(instance, clock::now());
        self.shared.changed.notify();
    }

    /// Stops the checks of an instance. The result of one in flight is ignored.
    pub fn remove(&self, instance: &InstanceId) {
        self.shared.checks.borrow_mut().remove(instance);
        self.shared.changed.notify();
    }

    /// Status of an instance; `None` when it is not checked.
    pub fn status(&self, instance: &str) -> Option<CheckStatus> {
        self.shared.checks.borrow().status(instance)
    }

    /// Number of instances.
    pub fn len(&self) -> usize {
        self.shared.checks.borrow().len()
    }

    /// Whether there is no instance.
    pub fn is_empty(&self) -> bool {
        self.shared.checks.borrow().is_empty()
    }

    /// Runs the checks and reports every change of an instance's health, in an endless loop. To be run once,
    /// as a task.
    ///
    /// `on_change` is called from the probes' tasks and may call this checker.
    pub async fn run<P: Prober>(self, prober: P, on_change: impl Fn(HealthChange) + 'static) {
        let prober = Rc::new(prober);
        let on_change = Rc::new(on_change);
        loop {
            let now = clock::now();
            while let Some(due) = self.poll_due(now) {
                self.start(due, prober.clone(), on_change.clone());
            }
            let next = self.shared.checks.borrow().next_due();
            self.shared.changed.notified_until(next).await;
        }
    }

    fn poll_due(&self, now: Tick) -> Option<Due> {
        self.shared.checks.borrow_mut().poll_due(now)
    }

    fn start<P: Prober>(&self, due: Due, prober: Rc<P>, on_change: Rc<impl Fn(HealthChange) + 'static>) {
        let (checker, report) = (self.clone(), on_change.clone());
        let id = due.id;
        let probe = async move {
            let result = prober.probe(&due.plan).await;
            checker.finish(id, result, &*report);
        };
        let checker = self.clone();
        spawn(probe, move |panic| {
            tracing::error!(?panic, "health check panicked");
            checker.finish(id, ProbeResult::NotProbed(LocalFault::Panicked), &*on_change);
        });
    }

    fn finish(&self, id: CheckId, result: ProbeResult, on_change: &impl Fn(HealthChange)) {
        let random = self.shared.draw();
        let (now, time) = (clock::now(), clock::timestamp());
        let changes = self.shared.checks.borrow_mut().handle_result(id, result, now, time, random);
        self.shared.changed.notify();
        changes.into_iter().for_each(on_change);
    }
}

impl Shared {
    /// Next number of SplitMix64: spreads checks over time, not for secrets.
    fn draw(&self) -> u64 {
        self.random.set(self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut word = self.random.get();
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
