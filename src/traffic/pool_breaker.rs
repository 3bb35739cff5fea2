//! Circuit breaker of a pool, or of a route's requests to its pool.
//!
//! ```text
//! admit ─► (503 circuit_open) … attempt … record(verdict)
//!                                          ├─ Success ─► the core's own line of the tally
//!                                          └─ Failure ─► the same; then, at most each 100 ms and core:
//!                                                        errors of the last 10 s ≥ threshold? ─► open
//! ```
//! It protects endpoints that fail together, which ejecting single ones does not. It opens by the share of
//! failed attempts within ten seconds, given enough of them, or by failures in a row; after its open time it
//! lets one request pass at a time as a probe, and closes after some successful ones. The machine is that of
//! [`breaker`](crate::breaker). A success writes nothing that other cores write, unless failures in a row are
//! counted and there was one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringway_model::{CircuitBreaker, Tick};

use crate::breaker::{
    Admission, Breaker, BreakerSettings, BreakerView, Candidate, Counted, PROBE_WAIT, Transition,
};
use crate::limits;
use crate::tally::{Counts, Tally};
use crate::throttle::Throttle;
use crate::verdict::Verdict;

/// Breaker with its settings, which come with a snapshot, and its state, which outlives snapshots.
#[derive(Clone, Debug)]
pub struct PoolBreaker {
    settings: CircuitBreaker,
    breaker: BreakerSettings,
    description: Box<str>,
    state: Arc<PoolBreakerState>,
}

/// State of a breaker. All methods may be called from any thread at any time.
#[derive(Debug)]
pub struct PoolBreakerState {
    breaker: Breaker,
    tally: Tally,
    /// Time from which attempts count: that of its last closing, in microseconds.
    window_us: AtomicU64,
    evaluated: Throttle,
    trips: AtomicU64,
    would_trip: AtomicU64,
}

impl PoolBreakerState {
    /// Returns the state of a closed breaker that `cores` cores use.
    pub fn new(cores: usize) -> Self {
        Self {
            breaker: Breaker::default(),
            tally: Tally::new(cores, limits::TALLY_BUCKET),
            window_us: AtomicU64::new(0),
            evaluated: Throttle::new(cores),
            trips: AtomicU64::new(0),
            would_trip: AtomicU64::new(0),
        }
    }

    /// State at `now`.
    pub fn view(&self, now: Tick) -> BreakerView {
        self.breaker.view(now)
    }

    /// Time at which it left the closed state; `None` while it is closed.
    pub fn opened_at(&self) -> Option<Tick> {
        self.breaker.opened_at()
    }

    /// Attempts of the last ten seconds, those before its last closing excluded. Reads every core's line.
    pub fn counts(&self, now_us: u64) -> Counts {
        self.tally.sum_since(self.window_us.load(Ordering::Relaxed), now_us)
    }

    /// Number of times that it opened, from closed or after a failed probe.
    pub fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }

    /// Number of times that it would have opened, had its settings not been a dry run.
    pub fn would_trip(&self) -> u64 {
        self.would_trip.load(Ordering::Relaxed)
    }
}

impl PoolBreaker {
    /// Returns a breaker with these settings, and the state of `known`, or a new one for `cores` cores.
    pub fn new(settings: CircuitBreaker, known: Option<&Self>, cores: usize) -> Self {
        let state = match known {
            Some(known) => known.state.clone(),
            None => Arc::new(PoolBreakerState::new(cores)),
        };
        let breaker = BreakerSettings::new(settings.failures.unwrap_or(0), settings.open);
        Self { description: describe(&settings).into(), settings, breaker, state }
    }

    /// Its settings.
    pub fn settings(&self) -> &CircuitBreaker {
        &self.settings
    }

    /// Its limit in words: `50 % of 20 requests or more fail within 10 s`.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Its state.
    pub fn state(&self) -> &Arc<PoolBreakerState> {
        &self.state
    }

    /// Whether [`admit`](Self::admit) would admit an attempt. One relaxed load.
    pub fn is_due(&self, now: Tick) -> bool {
        self.settings.dry_run || self.state.breaker.is_due(now)
    }

    /// State at `now`, in words of the access log.
    pub fn state_name(&self, now: Tick) -> &'static str {
        match self.state.view(now) {
            BreakerView::Closed => "closed",
            BreakerView::Open { .. } => "open",
            BreakerView::HalfOpen => "half_open",
        }
    }

    /// Admits an attempt. One relaxed load while it is closed.
    ///
    /// # Errors
    /// It is open, for this time; never zero.
    #[inline]
    pub fn admit(&self, candidate: Candidate, now: Tick) -> Result<Admission, Duration> {
        match self.state.breaker.admit(candidate, &self.breaker, now) {
            Some(admission @ Admission::Yes(_)) => Ok(admission),
            admission => self.admit_open(admission, candidate, now),
        }
    }

    /// Admits an attempt where the breaker is not closed: as its probe, or because it may not refuse any.
    #[cold]
    fn admit_open(
        &self,
        probe: Option<Admission>,
        candidate: Candidate,
        now: Tick,
    ) -> Result<Admission, Duration> {
        let breaker = &self.state.breaker;
        if self.settings.dry_run {
            // It opened by earlier settings.
            breaker.reinstate();
            return breaker.admit(candidate, &self.breaker, now).ok_or(PROBE_WAIT);
        }
        probe.ok_or_else(|| breaker.wait(now).unwrap_or(PROBE_WAIT))
    }

    /// Records that a probe has its response head, which counts as its success: the response may be a stream
    /// of hours, while all other requests are refused. Its verdict follows.
    pub fn confirm(&self, probe: Admission, now: Tick) -> Option<Transition> {
        let closed = self.state.breaker.record_success(probe, self.settings.successes)?;
        self.state.window_us.store(now.as_micros(), Ordering::Relaxed);
        Some(closed)
    }

    /// Records the verdict of an attempt, with the admission that it had. A probe counts as successful by
    /// [`confirm`](Self::confirm) alone.
    pub fn record(
        &self,
        core: usize,
        admission: Admission,
        verdict: Verdict,
        now: Tick,
    ) -> Option<Transition> {
        let state = &*self.state;
        state.tally.add(core, verdict, now.as_micros());
        let transition = match verdict {
            Verdict::Neutral => {
                state.breaker.abandon(admission, now);
                None
            }
            Verdict::Success => match admission {
                Admission::Yes(_) => state.breaker.record_success(admission, self.settings.successes),
                Admission::Probe(_) => None,
            },
            Verdict::Failure => self.record_failure(core, admission, now),
        };
        if let Some(Transition::Opened { .. }) = transition {
            state.trips.fetch_add(1, Ordering::Relaxed);
        }
        transition
    }

    /// Returns an admission without an attempt.
    pub fn abandon(&self, admission: Admission, now: Tick) {
        self.state.breaker.abandon(admission, now);
    }

    #[cold]
    fn record_failure(&self, core: usize, admission: Admission, now: Tick) -> Option<Transition> {
        let (breaker, now_us) = (&self.state.breaker, now.as_micros());
        match breaker.count_failure(admission, &self.breaker, now) {
            Counted::Reopened(transition) => Some(transition),
            Counted::AtLimit if self.settings.dry_run => {
                if breaker.forgive(&self.breaker) {
                    self.state.would_trip.fetch_add(1, Ordering::Relaxed);
                }
                None
            }
            Counted::AtLimit => breaker.trip_at_limit(admission, &self.breaker, now),
            Counted::Below => {
                let window_us = self.state.window_us.load(Ordering::Relaxed);
                if !breaker.is_closed() || !self.is_failing(core, window_us, now_us) {
                    return None;
                }
                if self.settings.dry_run {
                    // The window starts again: one that fails for long is counted once per window.
                    let restarted = self.state.window_us.compare_exchange(
                        window_us,
                        now_us,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    self.state.would_trip.fetch_add(restarted.is_ok().into(), Ordering::Relaxed);
                    return None;
                }
                breaker.trip(admission, &self.breaker, now)
            }
        }
    }

    /// Whether so many of the last attempts failed that it is to open.
    fn is_failing(&self, core: usize, window_us: u64, now_us: u64) -> bool {
        let Some(threshold) = self.settings.error_threshold else { return false };
        if !self.state.evaluated.admit(core, limits::EVALUATION_INTERVAL_US, now_us) {
            return false;
        }
        let counts = self.state.tally.sum_since(window_us, now_us);
        counts.total() >= u64::from(self.settings.requests_min) && counts.error_rate() >= threshold
    }
}

fn describe(settings: &CircuitBreaker) -> String {
    let CircuitBreaker { error_threshold, requests_min, failures, .. } = settings;
    let rate = error_threshold
        .map(|threshold| format!("{threshold} % of {requests_min} requests or more fail within 10 s"));
    let row = failures.map(|failures| format!("{failures} requests in a row fail"));
    let causes: Vec<_> = [rate, row].into_iter().flatten().collect();
    causes.join(", or ")
}

/// Breakers that an attempt has to pass before an endpoint is selected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circuits<'a> {
    /// That of the route's policy.
    pub route: Option<&'a PoolBreaker>,
    /// That of the pool.
    pub pool: Option<&'a PoolBreaker>,
}

/// Admissions of one attempt by its [`Circuits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    route: Option<Admission>,
    pool: Option<Admission>,
}

/// Breaker among the [`Circuits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Circuit {
    /// That of the route's policy.
    Route,
    /// That of the pool.
    Pool,
}

/// Refusal of an attempt by an open breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    /// The breaker.
    pub circuit: Circuit,
    /// Time until it admits a probe; never zero.
    pub retry_after: Duration,
}

impl<'a> Circuits<'a> {
    /// Admits an attempt. Without breakers no cost beyond two comparisons.
    ///
    /// # Errors
    /// One of them is open.
    #[inline]
    pub fn admit(self, candidate: Candidate, now: Tick) -> Result<Passed, CircuitOpen> {
        let mut passed = Passed::default();
        if let Some(breaker) = self.route {
            let open = |retry_after| CircuitOpen { circuit: Circuit::Route, retry_after };
            passed.route = Some(breaker.admit(candidate, now).map_err(open)?);
        }
        if let Some(breaker) = self.pool {
            let refused = |retry_after| {
                self.abandon(passed, now);
                CircuitOpen { circuit: Circuit::Pool, retry_after }
            };
            let admission = breaker.admit(candidate, now).map_err(refused)?;
            passed.pool = Some(admission);
        }
        Ok(passed)
    }

    /// Returns the admissions of an attempt that was not made.
    pub fn abandon(self, passed: Passed, now: Tick) {
        for (_, breaker, admission) in self.of(passed) {
            breaker.abandon(admission, now);
        }
    }

    /// The breakers that have admitted an attempt.
    pub fn of(self, passed: Passed) -> impl Iterator<Item = (Circuit, &'a PoolBreaker, Admission)> {
        let with = |circuit, breaker: Option<&'a PoolBreaker>, admission: Option<Admission>| {
            breaker.zip(admission).map(|(breaker, admission)| (circuit, breaker, admission))
        };
        let both =
            [with(Circuit::Route, self.route, passed.route), with(Circuit::Pool, self.pool, passed.pool)];
        both.into_iter().flatten()
    }
}

/// The same settings, and the same state.
impl PartialEq for PoolBreaker {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && Arc::ptr_eq(&self.state, &other.state)
    }
}

impl Eq for PoolBreaker {}

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
