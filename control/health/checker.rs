//! Runs the checks on the control thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use ringway_model::{Instance, InstanceId, Tick};
use ringway_net::{clock, sleep_until, spawn};

use crate::answer::{Answer, LocalFault};
use crate::checks::{CheckStatus, Checks, Defaults, Due, Entry, Verdict};
use crate::probe::Prober;
use crate::schedule::CheckId;

/// The health checks of all instances, to be shared within the control thread. Cloning gives another handle.
///
/// ```no_run
/// # use ringway_health::{Checker, Defaults, NetProber};
/// # fn start(instance: &ringway_model::Instance) {
/// let checker = Checker::new(Defaults::default());
/// let running = checker.clone();
/// ringway_net::spawn(
///     async move { running.run(NetProber::new(), |verdict| println!("{verdict:?}")).await },
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
    /// Something changed that the runner has not seen.
    is_stirred: Cell<bool>,
    runner: RefCell<Option<Waker>>,
}

impl Checker {
    /// Without instances.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            shared: Rc::new(Shared {
                checks: RefCell::new(Checks::new(defaults)),
                random: Cell::new(RandomState::new().hash_one("health")),
                is_stirred: Cell::new(false),
                runner: RefCell::new(None),
            }),
        }
    }

    /// Checks exactly these instances from now on; unchanged ones keep what is known of them.
    pub fn set_targets<'a>(&self, instances: impl IntoIterator<Item = &'a Instance>) {
        let draw = || self.shared.draw();
        self.shared.checks.borrow_mut().set_targets(instances, clock::now(), draw);
        self.shared.stir();
    }

    /// Checks an instance that was registered, from now on, or checks it differently; see [`Checks::upsert`]. One that begins
    /// anew is unknown again without a verdict: the caller knows.
    pub fn upsert(&self, instance: &Instance) {
        let random = self.shared.draw();
        self.shared.checks.borrow_mut().upsert(instance, Entry::Registered, clock::now(), random);
        self.shared.stir();
    }

    /// Checks an instance as one that was registered a moment ago: at once, and often until it is well.
    pub fn hasten(&self, instance: &InstanceId) {
        self.shared.checks.borrow_mut().hasten(instance, clock::now());
        self.shared.stir();
    }

    /// Checks an instance no more. A check of it that is under way brings no verdict.
    pub fn remove(&self, instance: &InstanceId) {
        self.shared.checks.borrow_mut().remove(instance);
        self.shared.stir();
    }

    /// What is known of an instance; `None` when it is not checked.
    pub fn status(&self, instance: &str) -> Option<CheckStatus> {
        self.shared.checks.borrow().status(instance)
    }

    /// How many instances are checked.
    pub fn len(&self) -> usize {
        self.shared.checks.borrow().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.shared.checks.borrow().is_empty()
    }

    /// Makes the checks and tells every change of an instance's health, for ever. To be run once, as a task.
    ///
    /// `on_verdict` is called from the probes' tasks and may call this checker.
    pub async fn run<P: Prober>(self, prober: P, on_verdict: impl Fn(Verdict) + 'static) {
        let prober = Rc::new(prober);
        let on_verdict = Rc::new(on_verdict);
        loop {
            let now = clock::now();
            while let Some(due) = self.poll_due(now) {
                self.start(due, prober.clone(), on_verdict.clone());
            }
            let next = self.shared.checks.borrow().next_due();
            self.shared.wait(next).await;
        }
    }

    fn poll_due(&self, now: Tick) -> Option<Due> {
        self.shared.checks.borrow_mut().poll_due(now)
    }

    fn start<P: Prober>(&self, due: Due, prober: Rc<P>, on_verdict: Rc<impl Fn(Verdict) + 'static>) {
        let (checker, told) = (self.clone(), on_verdict.clone());
        let id = due.id;
        let probe = async move {
            let answer = prober.probe(&due.plan).await;
            checker.finish(id, answer, &*told);
        };
        let checker = self.clone();
        spawn(probe, move |panic| {
            tracing::error!(?panic, "a health check panicked");
            checker.finish(id, Answer::NotAsked(LocalFault::Panicked), &*on_verdict);
        });
    }

    fn finish(&self, id: CheckId, answer: Answer, on_verdict: &impl Fn(Verdict)) {
        let random = self.shared.draw();
        let (now, time) = (clock::now(), clock::timestamp());
        let verdicts = self.shared.checks.borrow_mut().handle_answer(id, answer, now, time, random);
        self.shared.stir();
        verdicts.into_iter().for_each(on_verdict);
    }
}

impl Shared {
    /// The next word of SplitMix64: for spreading checks over time, not for secrets.
    fn draw(&self) -> u64 {
        self.random.set(self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut word = self.random.get();
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Has the runner look again.
    fn stir(&self) {
        self.is_stirred.set(true);
        let runner = self.runner.take();
        if let Some(runner) = runner {
            runner.wake();
        }
    }

    /// Until `due`, or until something was stirred.
    async fn wait(&self, due: Tick) {
        let mut sleep = pin!(sleep_until(due));
        poll_fn(|cx| {
            if self.is_stirred.replace(false) {
                return Poll::Ready(());
            }
            *self.runner.borrow_mut() = Some(cx.waker().clone());
            sleep.as_mut().poll(cx)
        })
        .await;
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
