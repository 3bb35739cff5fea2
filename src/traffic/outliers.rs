//! Outlier detection: which endpoints of an operator's pool are ejected, and how many.
//!
//! An endpoint is ejected by its [`breaker`](crate::breaker), the same that endpoints of registered apps
//! have. It opens after failures in a row, or where the endpoint's error rate within ten seconds is both
//! above the threshold and far above that of the others: a common cause ejects none. All of it is judged
//! after a failure only; successes count on the core's own line.
//!
//! *Places.* Of the endpoints that could serve, which are those with an address, a weight and no failed
//! health check, only a share may be ejected at a time. An endpoint without a place stays, and is counted.
//! The ejected ones are not counted up and down but looked at, in the newest snapshot, by one core at a time:
//! therefore a place is free as soon as its endpoint closes, or leaves the pool. When the pool shrinks below
//! its ejected endpoints, the excess is reinstated.

use ringway_model::{Health, Outliers, Percent, Tick};

use crate::breaker::{Admission, BreakerSettings, Counted, EndpointState, Transition};
use crate::limits;
use crate::pool_state::{EjectionReason, PoolState};
use crate::snapshot::{Endpoint, Pool};
use crate::tally::Counts;
use crate::verdict::Verdict;

/// Records the verdict of an attempt with its endpoint: with its breaker and, where the pool detects
/// outliers, with those. After a failure, `pool` is to be that of the newest snapshot: its endpoints count
/// for the cap.
pub fn record(
    pool: &Pool,
    (endpoint, admission): (&Endpoint, Admission),
    verdict: Verdict,
    (core, now): (usize, Tick),
) -> Option<Transition> {
    let state = &endpoint.state;
    if let Some(traffic) = &pool.traffic
        && traffic.settings.outliers.error_rate.is_some()
    {
        endpoint.tally.add(core, verdict, now.as_micros());
    }
    match (verdict, &pool.traffic) {
        (Verdict::Success, _) => confirm(pool, (endpoint, admission), now),
        (Verdict::Neutral, _) => {
            state.abandon(admission, now);
            None
        }
        (Verdict::Failure, None) => state.record_failure(admission, &pool.settings.breaker, now),
        (Verdict::Failure, Some(traffic)) => {
            let detector = Detector {
                settings: &traffic.settings.outliers,
                state: &traffic.state,
                breaker: &pool.settings.breaker,
                endpoints: &pool.endpoints,
            };
            detector.record_failure(endpoint, admission, core, now)
        }
    }
}

/// Records a success with the breaker alone: a probe has its response head, and its verdict follows, by which
/// the attempt is counted.
pub fn confirm(pool: &Pool, (endpoint, admission): (&Endpoint, Admission), now: Tick) -> Option<Transition> {
    let closed = endpoint.state.record_success(admission)?;
    if pool.traffic.is_some() {
        endpoint.state.begin_window(now.as_micros());
    }
    Some(closed)
}

/// Outlier detection of one pool.
struct Detector<'a> {
    settings: &'a Outliers,
    state: &'a PoolState,
    breaker: &'a BreakerSettings,
    endpoints: &'a [Endpoint],
}

impl Detector<'_> {
    #[cold]
    fn record_failure(
        &self,
        endpoint: &Endpoint,
        admission: Admission,
        core: usize,
        now: Tick,
    ) -> Option<Transition> {
        let state = &endpoint.state;
        match state.count_failure(admission, self.breaker, now) {
            Counted::Reopened(transition) => Some(transition),
            Counted::AtLimit => self.eject(EjectionReason::ConsecutiveFailures, endpoint, admission, now),
            Counted::Below if state.is_ejected() || !self.is_outlier(endpoint, core, now.as_micros()) => None,
            Counted::Below => self.eject(EjectionReason::ErrorRate, endpoint, admission, now),
        }
    }

    /// Opens the endpoint's breaker where the pool has a place, or counts that it has not.
    fn eject(
        &self,
        reason: EjectionReason,
        endpoint: &Endpoint,
        admission: Admission,
        now: Tick,
    ) -> Option<Transition> {
        // The endpoint may have left the pool since its attempt began.
        let known = self.endpoints.iter().find(|known| known.id == endpoint.id)?;
        let state = &known.state;
        let states = self.endpoints.iter().filter(|known| could_serve(known)).map(|known| &*known.state);
        let max = if self.settings.dry_run { Percent::ZERO } else { self.settings.max_ejection };
        let decided = self.state.alone(|| match Places::of(states, max).are_free() {
            true => state.eject(reason, admission, self.breaker, now),
            false => {
                if state.forgive(reason, self.breaker, now.as_micros()) {
                    self.state.count_prevented(reason);
                }
                None
            }
        });
        let ejected = decided.flatten()?;
        self.state.count_ejection(reason);
        Some(ejected)
    }

    /// Whether an endpoint fails far more often than the others.
    fn is_outlier(&self, endpoint: &Endpoint, core: usize, now_us: u64) -> bool {
        let Some(threshold) = self.settings.error_rate else { return false };
        if !self.state.evaluated.admit(core, limits::EVALUATION_INTERVAL_US, now_us) {
            return false;
        }
        let counts = |endpoint: &Endpoint| endpoint.tally.sum_since(endpoint.state.window_us(), now_us);
        let has_volume = |counts: &Counts| counts.total() >= limits::OUTLIER_ATTEMPTS_MIN;
        let own = counts(endpoint);
        if !has_volume(&own) || own.error_rate() < threshold {
            return false;
        }
        let others =
            self.endpoints.iter().filter(|other| other.id != endpoint.id && !other.state.is_ejected());
        let (mut with_volume, mut rest) = (1, Counts::default());
        for other in others.map(counts) {
            with_volume += usize::from(has_volume(&other));
            rest.successes += other.successes;
            rest.failures += other.failures;
        }
        with_volume >= limits::OUTLIER_ENDPOINTS_MIN
            && own.error_rate().hundredths()
                >= rest.error_rate().hundredths().saturating_add(limits::OUTLIER_DISTANCE_MIN)
    }
}

/// Whether an endpoint would take requests if its breaker is closed.
fn could_serve(endpoint: &Endpoint) -> bool {
    let is_usable = !endpoint.addresses.is_empty() && endpoint.weight > 0;
    is_usable && endpoint.state.health() != Health::Unhealthy
}

/// Endpoints of a pool that may be ejected, and those that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    endpoints: usize,
    ejected: usize,
    max: Percent,
}

impl Places {
    /// Counts the endpoints that could serve.
    pub(crate) fn of<'a>(states: impl Iterator<Item = &'a EndpointState>, max: Percent) -> Self {
        let empty = Self { endpoints: 0, ejected: 0, max };
        states.fold(empty, |places, state| Self {
            endpoints: places.endpoints + 1,
            ejected: places.ejected + usize::from(state.is_ejected()),
            max,
        })
    }

    /// Whether another endpoint may be ejected.
    fn are_free(self) -> bool {
        self.allows(self.ejected + 1)
    }

    /// Whether so many may be ejected: a share of less than one endpoint is none.
    fn allows(self, ejected: usize) -> bool {
        ejected * usize::from(Percent::ALL.hundredths())
            <= usize::from(self.max.hundredths()) * self.endpoints
    }
}

impl Pool {
    /// Reinstates ejected endpoints until no more are ejected than the pool allows: it may have lost others
    /// since. Yields those that were; nothing happens to the rest when it is not consumed.
    pub fn reinstate_excess(&self) -> impl Iterator<Item = &Endpoint> {
        let outliers = self.traffic.as_ref().map(|traffic| &traffic.settings.outliers);
        let max = match outliers {
            None => Percent::ALL,
            Some(outliers) if outliers.dry_run => Percent::ZERO,
            Some(outliers) => outliers.max_ejection,
        };
        let serving = || self.endpoints.iter().filter(|endpoint| could_serve(endpoint));
        let places = Places::of(serving().map(|endpoint| &*endpoint.state), max);
        let excess = (0..places.ejected).find(|excess| places.allows(places.ejected - excess));
        let excess = excess.unwrap_or(places.ejected);
        let ejected = serving().filter(|endpoint| endpoint.state.is_ejected());
        ejected.take(excess).filter(|endpoint| endpoint.state.reinstate())
    }
}

#[cfg(test)]
mod fixture;
#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
