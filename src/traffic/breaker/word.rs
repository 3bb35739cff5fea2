//! Breaker in one atomic word, which several cores change.

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU64, Ordering};

use ringway_model::Tick;

use super::machine::{Phase, State};
use super::{Admission, BreakerSettings, BreakerView, Candidate, PROBE_WAIT, Transition};

/// Circuit breaker of an endpoint, a pool or a route. All methods may be called from any thread at any time.
///
/// All accesses are relaxed: the word is complete in itself and publishes no other memory.
#[derive(Debug)]
pub(crate) struct Breaker {
    word: AtomicU64,
    /// Time at which it last left the closed state. For observers; no decision reads it.
    opened: AtomicU64,
}

/// Result of a failure that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It stays as it is.
    Below,
    /// It is closed, and due to open by its failures in a row.
    AtLimit,
    /// It was a probe: the breaker opened again.
    Reopened(Transition),
}

impl Default for Breaker {
    /// Returns a closed breaker.
    fn default() -> Self {
        Self { word: AtomicU64::new(State::NEW.pack()), opened: AtomicU64::new(0) }
    }
}

impl Breaker {
    /// State at `now`.
    pub(crate) fn view(&self, now: Tick) -> BreakerView {
        match self.load().phase {
            Phase::Closed { .. } => BreakerView::Closed,
            Phase::Open { until, .. } if until > now => BreakerView::Open { until },
            Phase::Open { .. } | Phase::Probing { .. } => BreakerView::HalfOpen,
        }
    }

    /// Failures in a row that it has counted; `None` when it is not closed.
    pub(crate) fn failures(&self) -> Option<u32> {
        match self.load().phase {
            Phase::Closed { failures } => Some(failures),
            Phase::Open { .. } | Phase::Probing { .. } => None,
        }
    }

    /// Time at which it left the closed state; `None` while it is closed.
    pub(crate) fn opened_at(&self) -> Option<Tick> {
        (!self.is_closed()).then(|| Tick(self.opened.load(Ordering::Relaxed)))
    }

    /// Whether every request may pass.
    pub(crate) fn is_closed(&self) -> bool {
        self.load().is_closed()
    }

    /// Whether [`admit`](Self::admit) would let a request pass.
    pub(crate) fn is_due(&self, now: Tick) -> bool {
        self.load().is_due(now)
    }

    /// Time until it admits a request; `None` when it would let one pass now.
    ///
    /// While a probe is in flight this is an estimate, [`PROBE_WAIT`].
    pub(crate) fn wait(&self, now: Tick) -> Option<Duration> {
        match self.load().phase {
            Phase::Open { until, .. } if until > now => Some(now.until(until)),
            Phase::Probing { until, .. } if until > now => Some(PROBE_WAIT),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Probing { .. } => None,
        }
    }

    /// Admits a request, or returns `None`. One relaxed load; only the admission of a probe writes.
    #[inline]
    pub(crate) fn admit(
        &self,
        candidate: Candidate,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Admission> {
        let state = self.load();
        if state.is_closed() {
            return Some(Admission::Yes(state.epoch));
        }
        self.admit_probe(candidate, settings, now)
    }

    /// Of the cores that find the breaker half open, one wins the compare-and-exchange; the others find it
    /// probing.
    #[cold]
    fn admit_probe(&self, candidate: Candidate, settings: &BreakerSettings, now: Tick) -> Option<Admission> {
        let (before, after) = self.step(|state| state.admit(candidate, settings, now))?;
        Some(if before == after { Admission::Yes(after.epoch) } else { Admission::Probe(after.epoch) })
    }

    /// Admits a request whatever the state; as a probe where it is not closed.
    pub(crate) fn admit_early(
        &self,
        candidate: Candidate,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Admission> {
        let (before, after) = self.step(|state| state.admit_early(candidate, settings, now))?;
        Some(if before.is_closed() { Admission::Yes(after.epoch) } else { Admission::Probe(after.epoch) })
    }

    /// Records a success. Writes only when failures were counted before, and for a probe.
    #[inline]
    pub(crate) fn record_success(&self, admission: Admission, needed: u8) -> Option<Transition> {
        let unchanged = State { epoch: admission.epoch(), phase: Phase::Closed { failures: 0 } };
        if self.word.load(Ordering::Relaxed) == unchanged.pack() {
            return None;
        }
        self.step_success(admission, needed)
    }

    #[cold]
    fn step_success(&self, admission: Admission, needed: u8) -> Option<Transition> {
        let (before, after) = self.step(|state| state.succeed(admission.epoch(), needed))?;
        (!before.is_closed() && after.is_closed()).then_some(Transition::Closed)
    }

    /// Records a failure. The last one in a row opens the breaker.
    pub(crate) fn record_failure(
        &self,
        admission: Admission,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Transition> {
        self.open(|state| state.fail(admission.epoch(), settings, now), now)
    }

    /// Records a failure. The last one in a row leaves the breaker closed, to be [tripped](Self::trip) or
    /// [forgiven](Self::forgive).
    pub(crate) fn count_failure(
        &self,
        admission: Admission,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Counted {
        let Some((_, after)) = self.step(|state| state.count(admission.epoch(), settings, now)) else {
            return Counted::Below;
        };
        match opened(after) {
            Some(transition) => Counted::Reopened(transition),
            None if after.is_at_limit(settings) => Counted::AtLimit,
            None => Counted::Below,
        }
    }

    /// Opens a closed breaker, unless that has happened since the admission.
    pub(crate) fn trip(
        &self,
        admission: Admission,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Transition> {
        self.open(|state| state.trip(admission.epoch(), settings, now), now)
    }

    /// The same, unless a success came after the failures in a row.
    pub(crate) fn trip_at_limit(
        &self,
        admission: Admission,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Transition> {
        let event = |state: State| {
            let is_at_limit = state.is_at_limit(settings);
            is_at_limit.then(|| state.trip(admission.epoch(), settings, now)).flatten()
        };
        self.open(event, now)
    }

    /// Forgets the failures in a row of a breaker that was not tripped by them. True for one caller.
    pub(crate) fn forgive(&self, settings: &BreakerSettings) -> bool {
        self.step(|state| state.forgive(settings)).is_some()
    }

    /// Closes the breaker, and ignores the results of earlier requests. True when it was not closed.
    pub(crate) fn reinstate(&self) -> bool {
        self.step(State::reinstate).is_some()
    }

    /// Returns an admission without a result. The next request may be a probe at once.
    pub(crate) fn abandon(&self, admission: Admission, now: Tick) {
        self.step(|state| state.abandon(admission.epoch(), now));
    }

    /// Makes an open breaker half open, and ignores the results of earlier requests.
    pub(crate) fn renew(&self) {
        self.step(|state| Some(state.renew()));
    }

    /// Applies an event that may open the breaker.
    fn open(&self, event: impl Fn(State) -> Option<State>, now: Tick) -> Option<Transition> {
        let (before, after) = self.step(event)?;
        let transition = opened(after);
        if before.is_closed() && transition.is_some() {
            self.opened.store(now.0, Ordering::Relaxed);
        }
        transition
    }

    fn load(&self) -> State {
        State::unpack(self.word.load(Ordering::Relaxed))
    }

    /// Applies one event; `None` when it is refused or without effect. Stores only a changed word.
    fn step(&self, event: impl Fn(State) -> Option<State>) -> Option<(State, State)> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let before = State::unpack(word);
            let after = event(before)?;
            if after == before {
                return Some((before, after));
            }
            // A further round means that another thread's event came between: at most one round per event.
            match self.word.compare_exchange_weak(word, after.pack(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some((before, after)),
                Err(now_there) => word = now_there,
            }
        }
    }
}

fn opened(after: State) -> Option<Transition> {
    match after.phase {
        Phase::Open { until, .. } => Some(Transition::Opened { until }),
        Phase::Closed { .. } | Phase::Probing { .. } => None,
    }
}
