//! Overload protection of a route: a limit of concurrent requests over all cores, and a FIFO queue.
//!
//! ```text
//! admit ─► a permit is free, none waits ──► Admitted ──────────────► … ─► release ─► free
//!    ├──► the queue has room ─► Queued ─► next: Own (its permit) ─►┘          └─► granted: next, on a core
//!    │                             └─► leave                                      with a waiter
//!    └──► Full
//! ```
//! One word holds the requests in flight, the waiters, and the permits granted to waiters but not yet taken;
//! it is exact, and never split by cores. Each core queues its own waiters, whose task wakers do not work on
//! other threads, and publishes since when its first one waits. A released permit is *granted*: it stays in
//! flight, and is taken by the core of the first waiter ([`LoadLimit::next`]). That is the releasing core,
//! unless a waiter of another core has waited 20 ms longer: strict order would wake another core
//! for nearly every release.
//!
//! A core that grants a permit takes it for its own first waiter, or wakes the core whose turn it is, which
//! does the same. A core that publishes or withdraws a head looks for granted permits afterwards: the
//! granting core may have seen the heads as they were before. Hence no waiter stays while permits are free.

mod adaptive;
mod counts;

use std::cell::Cell;
use std::sync::Arc;
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use self::adaptive::AdaptiveLimit;
use self::counts::Counts;
use crate::limits::QUEUE_SLACK_US;

/// Overload protection of a route: its settings, and the state that all snapshots with this route share.
#[derive(Debug)]
pub struct LoadLimit {
    /// Settings of this snapshot.
    pub settings: LoadSettings,
    /// Shared state.
    pub state: Arc<LoadState>,
    /// The limit in words, for those whom it refuses.
    pub description: Box<str>,
}

/// Settings of an overload protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// Requests in flight on all cores, at most.
    pub max_concurrent: u32,
    /// Waiting requests on all cores, at most.
    pub queue_size: u32,
    /// Longest wait of a request.
    pub queue_timeout: Duration,
    /// Limit below `max_concurrent` that follows the latency.
    pub adaptive: Option<AdaptiveSettings>,
    /// Every request is admitted; those that would have waited or have been refused are counted.
    pub dry_run: bool,
}

/// Settings of an adaptive limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveSettings {
    /// Latency from the permit to the response head beyond which the limit falls.
    pub target: Duration,
    /// Lowest limit.
    pub min: u32,
}

/// State of an overload protection. All of its words are shared by all cores.
#[derive(Debug)]
pub struct LoadState {
    counts: AtomicU64,
    /// The newest `max_concurrent` that a core has used. Releases go by it, for their request may have been
    /// admitted under an older snapshot.
    max: AtomicU32,
    adaptive: AdaptiveLimit,
    /// Per core, the time since when its first waiter waits, in microseconds. Dense on purpose: all are read
    /// together, by the core that takes a granted permit.
    heads: Box<[AtomicU64]>,
    lines: Box<[Line]>,
}

/// Words that one core writes, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line {
    /// Good responses since the last step of the adaptive limit.
    credit: AtomicU32,
    would_queue: AtomicU64,
    would_refuse: AtomicU64,
}

/// Decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// The request has a permit, to be [released](LoadLimit::release).
    Admitted,
    /// The request waits, in the queue of its core. The caller [publishes](LoadLimit::set_head) it, where it
    /// is the first one.
    Queued,
    /// The request is refused: the queue is full.
    Full,
}

/// Next step for the granted permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// None: no permit is granted, or another core looks after it.
    Nothing,
    /// The first waiter of this core has a permit. The caller removes it from its queue, and
    /// [publishes](LoadLimit::set_head) the next one.
    Own,
    /// This core is to be woken, and calls [`LoadLimit::next`].
    Wake(usize),
}

/// Numbers of an overload protection, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadGauges {
    /// Current limit.
    pub limit: u32,
    /// Requests with a permit.
    pub in_flight: u32,
    /// Waiting requests.
    pub queued: u32,
    /// Requests that a dry run would have queued, since the start.
    pub would_queue: u64,
    /// Requests that a dry run would have refused, since the start.
    pub would_refuse: u64,
}

/// By the settings.
impl PartialEq for LoadLimit {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for LoadLimit {}

impl LoadState {
    /// Returns the state of a route without requests, on `cores` cores.
    pub fn new(cores: usize) -> Self {
        Self {
            counts: AtomicU64::new(0),
            max: AtomicU32::new(0),
            adaptive: AdaptiveLimit::new(),
            heads: (0..cores).map(|_| AtomicU64::new(NO_HEAD)).collect(),
            lines: (0..cores).map(|_| Line::default()).collect(),
        }
    }

    fn counts(&self) -> Counts {
        Counts::from_word(self.counts.load(Ordering::Acquire))
    }

    /// The core whose first waiter is next: `core`, unless another one has waited much longer. `None` where
    /// no core has published a waiter.
    fn turn(&self, core: usize) -> Option<usize> {
        let heads = self.heads.iter().map(|head| head.load(Ordering::Acquire)).enumerate();
        let (first, since) = heads.min_by_key(|&(_, since)| since).filter(|&(_, since)| since != NO_HEAD)?;
        let own = self.heads[core].load(Ordering::Relaxed);
        let is_own = own != NO_HEAD && own <= since.saturating_add(QUEUE_SLACK_US);
        Some(if is_own { core } else { first })
    }

    /// Changes the counts in one step, after which they are returned; `None` where the step is not possible.
    fn change(&self, step: impl Fn(Counts) -> Option<Counts>) -> Option<Counts> {
        let next = |word| step(Counts::from_word(word)).map(Counts::word);
        // Acquire and release: who sees a core's step sees the head that it published before.
        let before = self.counts.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        step(Counts::from_word(before))
    }
}

impl LoadLimit {
    /// Returns the protection of a route with this head timeout, with the state of `known`.
    pub fn of_route(
        overload: &ringway_model::Overload,
        head_timeout: Duration,
        known: Option<&Self>,
        cores: usize,
    ) -> Self {
        let settings = LoadSettings {
            max_concurrent: overload.max_concurrent,
            queue_size: overload.queue_size,
            queue_timeout: overload.queue_timeout,
            adaptive: overload.adaptive.map(|adaptive| AdaptiveSettings {
                target: adaptive.target.unwrap_or(head_timeout / 2),
                min: adaptive.min,
            }),
            dry_run: overload.dry_run,
        };
        let state = known.map_or_else(|| Arc::new(LoadState::new(cores)), |known| known.state.clone());
        Self::new(settings, state)
    }

    /// Returns the protection with these settings over `state`.
    pub fn new(settings: LoadSettings, state: Arc<LoadState>) -> Self {
        let LoadSettings { max_concurrent, queue_size, .. } = settings;
        let bound = if settings.adaptive.is_some() { "at most " } else { "" };
        let description =
            format!("{bound}{max_concurrent} concurrent requests, queue of {queue_size}").into();
        Self { settings, state, description }
    }

    /// Admits a request, queues or refuses it. Called by core number `core` only, as all methods with a core.
    /// One atomic exchange where a permit is free.
    pub fn admit(&self, core: usize) -> Admission {
        let (state, limit) = (&*self.state, self.update_max());
        if self.settings.dry_run {
            return self.admit_dry(core, limit);
        }
        let queue_size = self.settings.queue_size;
        let waits = Cell::new(false);
        let step = |counts: Counts| {
            let admitted = counts.admit(limit);
            waits.set(admitted.is_none());
            admitted.or_else(|| counts.enqueue(queue_size))
        };
        match state.change(step) {
            None => Admission::Full,
            Some(_) if waits.get() => Admission::Queued,
            Some(_) => Admission::Admitted,
        }
    }

    /// Gives a permit back. Returns whether permits are granted to waiters: [`next`](Self::next) has to be
    /// called then.
    #[must_use]
    pub fn release(&self) -> bool {
        let limit = self.grant_limit();
        self.state.change(|counts| Some(counts.release(limit))).is_some_and(Counts::has_grants)
    }

    /// Removes a waiter that gives up and is no longer in its core's queue.
    pub fn leave(&self) {
        // A waiter can always leave.
        let _ = self.state.change(|counts| Some(counts.leave()));
    }

    /// Publishes since when the first waiter of a core waits, in microseconds, after its queue has got
    /// another first waiter, or none. Returns whether [`next`](Self::next) has to be called.
    #[must_use]
    pub fn set_head(&self, core: usize, since_us: Option<u64>) -> bool {
        let state = &*self.state;
        state.heads[core].store(since_us.unwrap_or(NO_HEAD), Ordering::Release);
        // An exchange, though it changes nothing: it comes before another core's grant, which then sees the
        // head as it is now; or it comes after it, and sees the grant.
        Counts::from_word(state.counts.fetch_add(0, Ordering::AcqRel)).has_grants()
    }

    /// Returns the next step for granted permits, and takes one for this core's first waiter where it is its
    /// turn. To be repeated until it is none, or another core's.
    pub fn next(&self, core: usize) -> Next {
        let state = &*self.state;
        if !state.counts().has_grants() {
            return Next::Nothing;
        }
        match state.turn(core) {
            // Cores whose queue has changed meanwhile see the grant when they publish their head.
            None => Next::Nothing,
            Some(turn) if turn != core => Next::Wake(turn),
            Some(_) if state.change(Counts::take).is_some() => Next::Own,
            Some(_) => Next::Nothing,
        }
    }

    /// Grants the permits that this snapshot's settings allow, after they have changed. Returns whether
    /// [`next`](Self::next) has to be called.
    #[must_use]
    pub fn apply_settings(&self) -> bool {
        self.update_max();
        let limit = self.grant_limit();
        self.state.change(|counts| Some(counts.grant(limit))).is_some_and(Counts::has_grants)
    }

    /// Notes a response head of an endpoint, for the adaptive limit: the time since the permit. Errors and
    /// refusals that came fast say nothing about load, and are not noted. Returns whether
    /// [`next`](Self::next) has to be called.
    #[must_use]
    pub fn note_latency(&self, core: usize, latency: Duration, now_us: u64) -> bool {
        let Some(adaptive) = &self.settings.adaptive else { return false };
        let (state, max) = (&*self.state, self.state.max.load(Ordering::Relaxed));
        if latency > adaptive.target {
            state.adaptive.lower(adaptive, max, now_us);
            return false;
        }
        if latency > adaptive.target / 2 {
            state.adaptive.end_start();
        }
        let limit = state.adaptive.current(adaptive, max);
        if state.counts().in_flight < limit.div_ceil(2) {
            return false;
        }
        // A load and a store instead of an atomic addition: the line has one writer.
        let line = &state.lines[core];
        let credit = line.credit.load(Ordering::Relaxed) + 1;
        if credit < state.adaptive.step(limit) {
            line.credit.store(credit, Ordering::Relaxed);
            return false;
        }
        line.credit.store(0, Ordering::Relaxed);
        state.adaptive.raise(adaptive, max);
        self.apply_settings()
    }

    /// Current numbers. Reads a line per core.
    pub fn gauges(&self) -> LoadGauges {
        let counts = self.state.counts();
        let sum = |word: fn(&Line) -> &AtomicU64| {
            self.state.lines.iter().map(|line| word(line).load(Ordering::Relaxed)).sum()
        };
        LoadGauges {
            limit: self.limit_below(self.settings.max_concurrent),
            in_flight: counts.in_flight,
            queued: counts.queued(),
            would_queue: sum(|line| &line.would_queue),
            would_refuse: sum(|line| &line.would_refuse),
        }
    }

    /// Whether more than four fifths of its permits are in use: what is not needed should not be done.
    pub fn is_nearly_full(&self) -> bool {
        let limit = u64::from(self.limit_below(self.settings.max_concurrent));
        !self.settings.dry_run && u64::from(self.state.counts().in_flight) * 5 > limit * 4
    }

    /// Notes the maximum of this snapshot as the newest one, and returns the current limit.
    fn update_max(&self) -> u32 {
        let max = self.settings.max_concurrent;
        if self.state.max.load(Ordering::Relaxed) != max {
            self.state.max.store(max, Ordering::Relaxed);
        }
        self.limit_below(max)
    }

    /// Limit up to which permits are granted to waiters.
    fn grant_limit(&self) -> u32 {
        if self.settings.dry_run {
            return u32::MAX;
        }
        self.limit_below(self.state.max.load(Ordering::Relaxed))
    }

    fn limit_below(&self, max: u32) -> u32 {
        self.settings.adaptive.as_ref().map_or(max, |settings| self.state.adaptive.current(settings, max))
    }

    fn admit_dry(&self, core: usize, limit: u32) -> Admission {
        let Some(counts) = self.state.change(Counts::count) else { return Admission::Full };
        let line = &self.state.lines[core];
        // Those over the limit would be the waiters.
        match counts.in_flight.checked_sub(limit) {
            None | Some(0) => {}
            Some(over) if over <= self.settings.queue_size => add_one(&line.would_queue),
            Some(_) => add_one(&line.would_refuse),
        }
        Admission::Admitted
    }
}

fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Head of a core without waiters.
const NO_HEAD: u64 = u64::MAX;

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
#[path = "overload_tests.rs"]
mod tests;
