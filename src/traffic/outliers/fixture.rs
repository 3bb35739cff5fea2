//! Pools for tests.

use std::sync::Arc;

use ringway_model::{
    AppId, FailurePolicy, Generation, InstanceId, Outliers, PoolTraffic as Settings, Target,
};

use crate::breaker::{BreakerSettings, EndpointState};
use crate::in_flight::InFlight;
use crate::limits::TALLY_BUCKET;
use crate::policy::PoolSettings;
use crate::pool_state::PoolState;
use crate::retry_budget::RetryBudget;
use crate::rule_traffic::PoolTraffic;
use crate::snapshot::{Endpoint, EndpointId, Fallback, MetricSlot, Pool, PoolId};
use crate::tally::Tally;
use crate::weights::Shares;

pub(super) const CORES: usize = 2;

/// Returns outlier detection by five failures in a row, which ejects half of the endpoints at most.
pub(super) fn outliers() -> Outliers {
    Outliers::default()
}

pub(super) fn pool(count: usize, outliers: Outliers) -> Pool {
    let breaker = BreakerSettings::new(outliers.consecutive_failures.into(), outliers.ejection);
    let settings = Settings { outliers, ..Settings::default() };
    let traffic =
        PoolTraffic { settings: Arc::new(settings), breaker: None, state: Arc::new(PoolState::new(CORES)) };
    Pool {
        tls: None,
        failures: FailurePolicy::default(),
        fallback: Fallback::Reject,
        settings: Arc::new(PoolSettings { breaker, ..PoolSettings::default() }),
        retry_budget: Arc::new(RetryBudget::new(1)),
        id: PoolId(1),
        app: AppId::parse("app").expect("a valid id"),
        endpoints: (1..=count).map(endpoint).collect(),
        shares: Shares::Equal,
        selection: None,
        draining: [].into(),
        metric: MetricSlot::SHARED,
        traffic: Some(Arc::new(traffic)),
        policy: None,
    }
}

fn endpoint(number: usize) -> Endpoint {
    Endpoint {
        id: EndpointId(number as u64),
        affinity: 0,
        instance: InstanceId::parse(&format!("instance-{number:03}")).expect("a valid id"),
        generation: Generation(1),
        target: Target::parse("http://127.0.0.1:3000").expect("a valid target"),
        addresses: [([127, 0, 0, 1], 3000).into()].into(),
        weight: 1,
        state: Arc::new(EndpointState::default()),
        in_flight: Arc::new(InFlight::new(CORES)),
        tally: Arc::new(Tally::new(CORES, TALLY_BUCKET)),
        metric: MetricSlot::SHARED,
    }
}
