//! Requests of this core that wait for a permit of their route's overload protection, first come first
//! served.
//!
//! ```text
//! join ─► queue of the route ─► served: the permit is the waiter's
//!                         └──── dropped: the waiter leaves, or passes the permit on
//! ```
//! The counts are in [`LoadLimit`], shared by all cores. Here are the wakers of the tasks, which work on
//! their own core only. A route has a queue while it has waiters on this core.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ringway_model::{HostPattern, RouteId};
use ringway_traffic::overload::{LoadLimit, Next};
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::Rule;

use crate::core::Core;
use crate::exchange::load_permit::LoadPermit;
use crate::exchange::match_rule::Match;
use crate::runtime::Runtime;

/// Queues of one core, by the address of the state that all cores share.
#[derive(Default)]
pub(crate) struct LoadQueues {
    queues: RefCell<HashMap<usize, LoadQueue>>,
    /// Number of the next waiter.
    sequence: Cell<u64>,
}

/// Waiters of one route.
struct LoadQueue {
    /// Keeps the state's address, too.
    limit: Arc<LoadLimit>,
    /// Host and route, to find the limit of another snapshot.
    host: HostPattern,
    route: Option<RouteId>,
    waiters: VecDeque<Rc<Waiter>>,
}

struct Waiter {
    sequence: u64,
    since_us: u64,
    is_served: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// Place of a request in its queue: a future of the permit, which it yields once. May be dropped at any time,
/// which leaves the queue, or passes on a permit that was not seen.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Place<'a, R: Runtime> {
    core: &'a Core<R>,
    limit: &'a Arc<LoadLimit>,
    /// `None` once the permit was yielded.
    waiter: Option<Rc<Waiter>>,
}

impl<'a, R: Runtime> Place<'a, R> {
    /// Appends a request that was [queued](ringway_traffic::overload::Admission::Queued).
    pub(crate) fn join(
        core: &'a Core<R>,
        limit: &'a Arc<LoadLimit>,
        Match { host, rule }: Match<'a>,
        now_us: u64,
    ) -> Self {
        let waiter = Rc::new(Waiter {
            sequence: core.load_queues.sequence.replace(core.load_queues.sequence.get() + 1),
            since_us: now_us,
            is_served: Cell::new(false),
            waker: Cell::new(None),
        });
        let is_first = {
            let mut queues = core.load_queues.queues.borrow_mut();
            let queue = queues.entry(key(limit)).or_insert_with(|| LoadQueue {
                limit: limit.clone(),
                host: host.host.clone(),
                route: rule.route_id().and_then(|id| RouteId::parse(id).ok()),
                waiters: VecDeque::new(),
            });
            queue.waiters.push_back(waiter.clone());
            queue.waiters.len() == 1
        };
        if is_first && limit.set_head(core.id.0.into(), Some(now_us)) {
            serve(core, limit);
        }
        Self { core, limit, waiter: Some(waiter) }
    }
}

impl<'a, R: Runtime> Future for Place<'a, R> {
    type Output = LoadPermit<'a, R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(waiter) = &self.waiter
            && waiter.is_served.get()
        {
            self.waiter = None;
            return Poll::Ready(LoadPermit::new(self.core, self.limit));
        }
        if let Some(waiter) = &self.waiter {
            waiter.waker.set(Some(cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl<R: Runtime> Drop for Place<'_, R> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        let Self { core, limit, .. } = self;
        if waiter.is_served.get() {
            release(core, limit);
            return;
        }
        let at = core.load_queues.remove(limit, |queue| {
            let at = queue.partition_point(|queued| queued.sequence < waiter.sequence);
            queue.remove(at).map(|_| at)
        });
        limit.leave();
        if at.flatten() == Some(0) && publish_head(core, limit) {
            serve(core, limit);
        }
    }
}

impl LoadQueues {
    /// Removes waiters of a route, and its queue where none is left.
    fn remove<T>(&self, limit: &LoadLimit, remove: impl FnOnce(&mut VecDeque<Rc<Waiter>>) -> T) -> Option<T> {
        let mut queues = self.queues.borrow_mut();
        let queue = queues.get_mut(&key(limit))?;
        let removed = remove(&mut queue.waiters);
        if queue.waiters.is_empty() {
            queues.remove(&key(limit));
        }
        Some(removed)
    }

    /// Limits of the routes that have waiters here.
    fn limits(&self) -> Vec<Arc<LoadLimit>> {
        self.queues.borrow().values().map(|queue| queue.limit.clone()).collect()
    }
}

/// Gives a permit back, to the next waiter where there is one.
pub(crate) fn release<R: Runtime>(core: &Core<R>, limit: &LoadLimit) {
    if limit.release() {
        serve(core, limit);
    }
}

/// Passes granted permits on: to waiters of this core, or to the core whose turn it is.
pub(crate) fn serve<R: Runtime>(core: &Core<R>, limit: &LoadLimit) {
    loop {
        match limit.next(core.id.0.into()) {
            Next::Nothing => return,
            Next::Own => {
                let first = core.load_queues.remove(limit, VecDeque::pop_front).flatten();
                let _ = publish_head(core, limit);
                let Some(waiter) = first else {
                    debug_assert!(false, "a published head stands for a waiter");
                    let _ = limit.release();
                    return;
                };
                waiter.is_served.set(true);
                if let Some(waker) = waiter.waker.take() {
                    waker.wake();
                }
            }
            Next::Wake(other) => {
                if let Some(rebalancer) = &core.rebalancer {
                    rebalancer.wake(other);
                }
                return;
            }
        }
    }
}

/// Publishes since when the first waiter of this core waits. Returns whether permits are granted.
fn publish_head<R: Runtime>(core: &Core<R>, limit: &LoadLimit) -> bool {
    let since_us = {
        let queues = core.load_queues.queues.borrow();
        queues.get(&key(limit)).and_then(|queue| queue.waiters.front()).map(|first| first.since_us)
    };
    limit.set_head(core.id.0.into(), since_us)
}

/// Handles a wake-up by another core, which has granted a permit.
pub(crate) fn handle_wake<R: Runtime>(core: &Core<R>) {
    for limit in core.load_queues.limits() {
        serve(core, &limit);
    }
}

/// Applies the settings of the core's snapshot to the waiters: a raised limit serves some of them.
pub(crate) fn handle_snapshot<R: Runtime>(core: &Core<R>) {
    if core.load_queues.queues.borrow().is_empty() {
        return;
    }
    let tables = core.tables();
    let changed: Vec<Arc<LoadLimit>> = {
        let queues = core.load_queues.queues.borrow();
        queues.values().filter_map(|queue| queue.limit_of(&tables.snapshot)).collect()
    };
    for limit in changed {
        if limit.apply_settings() {
            serve(core, &limit);
        }
    }
}

impl LoadQueue {
    /// The limit that a snapshot has for this queue; `None` where its route has none any longer.
    fn limit_of(&self, snapshot: &Snapshot) -> Option<Arc<LoadLimit>> {
        let host = snapshot.virtual_host_of(&self.host)?;
        let of_route = |rule: &&Arc<Rule>| rule.route_id() == self.route.as_ref().map(RouteId::as_str);
        let rule = host.rules.iter().find(of_route)?;
        let limit = rule.traffic.as_ref()?.overload.as_ref()?;
        Arc::ptr_eq(&limit.state, &self.limit.state).then(|| limit.clone())
    }
}

/// Key of a route's queue.
fn key(limit: &LoadLimit) -> usize {
    Arc::as_ptr(&limit.state).addr()
}
