//! Circuit breakers of pools and routes, and ejections of pools, as the snapshot in force has them.

use std::collections::BTreeMap;

use ringway_model::AppId;
use ringway_traffic::pool_breaker::PoolBreaker;
use ringway_traffic::pool_state::EjectionReason;
use ringway_traffic::snapshot::{Pool, Snapshot};

use super::BreakerStatus;
use super::status_report::breaker_status;
use crate::time::Now;

/// Requests that a circuit breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CircuitScope {
    /// All requests to a pool.
    Pool,
    /// The requests of a route to its pool.
    Route,
}

impl CircuitScope {
    /// Name in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Route => "route",
        }
    }
}

/// Status of the circuit breaker of a pool or of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitStatus {
    /// Requests that it counts.
    pub scope: CircuitScope,
    /// Id of the pool, or name of the route.
    pub name: String,
    /// The pool.
    pub pool: Option<AppId>,
    /// Whether its pool or route has a metric slot.
    pub has_slot: bool,
    /// State, and the time of the next probe.
    pub breaker: BreakerStatus,
    /// Whether it only counts the requests that it would refuse.
    pub is_dry_run: bool,
    /// Attempts of the last ten seconds that succeeded.
    pub successes: u64,
    /// Attempts of the last ten seconds that failed.
    pub failures: u64,
    /// Number of times that it opened.
    pub trips: u64,
    /// Number of times that it would have opened in a dry run.
    pub would_trip: u64,
}

/// Ejections of a pool's endpoints since the state of the pool began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectionStatus {
    /// The pool.
    pub pool: AppId,
    /// Whether it has a metric slot.
    pub has_slot: bool,
    /// Reason of the ejections.
    pub reason: &'static str,
    /// Endpoints that were ejected.
    pub ejections: u64,
    /// Ejections that did not happen: no place was left, or the settings were a dry run.
    pub prevented: u64,
}

/// Circuit breakers of the pools, then those of the routes, each by name.
pub(crate) fn circuits(snapshot: &Snapshot, now: Now) -> Vec<CircuitStatus> {
    let of_pools = snapshot.pools().filter_map(|pool| {
        let breaker = pool.traffic.as_deref()?.breaker.as_deref()?;
        Some(status(CircuitScope::Pool, pool.app.as_str(), (Some(pool), pool.metric.0), breaker, now))
    });
    let rules = snapshot.virtual_hosts().flat_map(|host| host.rules.iter());
    let of_routes = rules.filter_map(|rule| {
        let breaker = rule.traffic.as_deref()?.breaker.as_deref()?;
        let of = (snapshot.pool_of(rule), rule.metric.0);
        Some(status(CircuitScope::Route, &rule.name, of, breaker, now))
    });
    let by_name: BTreeMap<(CircuitScope, String), CircuitStatus> =
        of_pools.chain(of_routes).map(|circuit| ((circuit.scope, circuit.name.clone()), circuit)).collect();
    by_name.into_values().collect()
}

/// Ejections of the pools that have had any, or would have, by pool.
pub(crate) fn ejections(snapshot: &Snapshot) -> Vec<EjectionStatus> {
    let mut all: Vec<EjectionStatus> = snapshot
        .pools()
        .filter_map(|pool| Some((pool, pool.traffic.as_deref()?)))
        .flat_map(|(pool, traffic)| {
            EjectionReason::ALL.map(|reason| EjectionStatus {
                pool: pool.app.clone(),
                has_slot: pool.metric.0 != 0,
                reason: reason.as_str(),
                ejections: traffic.state.ejections(reason),
                prevented: traffic.state.would_eject(reason),
            })
        })
        .filter(|status| status.ejections + status.prevented > 0)
        .collect();
    all.sort_by(|a, b| a.pool.cmp(&b.pool));
    all
}

fn status(
    scope: CircuitScope,
    name: &str,
    (pool, slot): (Option<&Pool>, u16),
    breaker: &PoolBreaker,
    now: Now,
) -> CircuitStatus {
    let state = breaker.state();
    let counts = state.counts(now.micros.0);
    CircuitStatus {
        scope,
        name: name.to_owned(),
        pool: pool.map(|pool| pool.app.clone()),
        has_slot: slot != 0,
        breaker: breaker_status(state.view(now.tick), state.opened_at(), now),
        is_dry_run: breaker.settings().dry_run,
        successes: counts.successes,
        failures: counts.failures,
        trips: state.trips(),
        would_trip: state.would_trip(),
    }
}
