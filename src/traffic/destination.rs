//! Snapshot of one destination: the target of a request to the forward proxy, which no configuration names.
//!
//! Its exchange runs as that of any other request: one host, one rule, one pool with one endpoint. Nothing of
//! it is kept: no breaker, no counter outlives the request, but for the id of the endpoint, under which
//! connections to it are pooled.

use std::net::SocketAddr;
use std::sync::Arc;

use ringway_model::{
    AppId, FailurePolicy, Generation, Health, HostPattern, InstanceId, Owner, Target, TargetError,
};

use crate::breaker::EndpointState;
use crate::host_patterns::HostPatterns;
use crate::in_flight::InFlight;
use crate::limits::TALLY_BUCKET;
use crate::policy::{Policy, PoolSettings};
use crate::retry_budget::RetryBudget;
use crate::snapshot::{Endpoint, EndpointId, Fallback, MetricSlot, Pool, PoolId, Snapshot};
use crate::tally::Tally;
use crate::virtual_host::{Action, Rule, RuleId, Rules, TlsSettings, VirtualHost};
use crate::weights::Shares;

/// Id of a destination, drawn by its core for each name, port and revision of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationId(u64);

impl DestinationId {
    /// The id with this number.
    pub fn new(number: u64) -> Self {
        Self(number | FLAG)
    }
}

impl EndpointId {
    /// Whether it is the endpoint of a destination, and not of a compiled snapshot.
    pub fn is_destination(self) -> bool {
        self.0 & FLAG != 0
    }
}

/// Ids of compiled endpoints are counted from 1, and do not come that far.
const FLAG: u64 = 1 << 63;

/// Name of the rule in logs; no resource can have it.
const NAME: &str = "~forward";

/// Makes the snapshot for requests to a destination at these addresses, of a core with this number. Some
/// microseconds.
///
/// # Errors
/// The first address cannot be reached by its kind.
///
/// # Panics
/// There is no address.
pub fn snapshot(
    id: DestinationId,
    addresses: &[SocketAddr],
    policy: &Arc<Policy>,
    core: u16,
) -> Result<Snapshot, TargetError> {
    let first = *addresses.first().expect("a destination was resolved");
    let target = Target::parse(&format!("http://{first}"))?;
    let cores = usize::from(core) + 1;
    let endpoint = Endpoint {
        id: EndpointId(id.0),
        instance: InstanceId::of_destination(first),
        generation: Generation::default(),
        target,
        addresses: addresses.into(),
        weight: 1,
        state: Arc::new(EndpointState::new(Health::Healthy)),
        in_flight: Arc::new(InFlight::new(cores)),
        tally: Arc::new(Tally::new(cores, TALLY_BUCKET)),
        metric: MetricSlot::SHARED,
        affinity: 0,
    };
    let pool = Pool {
        id: PoolId(id.0),
        app: AppId::of_destinations(),
        tls: None,
        failures: FailurePolicy::default(),
        fallback: Fallback::PanicOpen,
        settings: Arc::new(PoolSettings::default()),
        traffic: None,
        retry_budget: Arc::new(RetryBudget::new(cores)),
        shares: Shares::new(&[1]),
        selection: None,
        endpoints: [endpoint].into(),
        draining: [].into(),
        metric: MetricSlot::SHARED,
        policy: None,
    };
    let rule = Rule {
        id: RuleId(id.0),
        owner: Owner::Resolver,
        name: NAME.into(),
        app: None,
        action: Action::Proxy { pool: pool.id, rewrite: None },
        policy: policy.clone(),
        traffic: None,
        tenant: None,
        requires_client_cert: false,
        stages: None,
        is_logged: true,
        cache: None,
        metric: MetricSlot::SHARED,
    };
    let host = VirtualHost {
        owner: Owner::Resolver,
        host: HostPattern::Any,
        tenant: None,
        tls: TlsSettings::default(),
        rules: Rules::One(Arc::new(rule)),
    };
    let mut patterns = HostPatterns::default();
    patterns.put(Arc::new(host), None);
    let mut snapshot = Snapshot { host_patterns: Some(Arc::new(patterns)), ..Snapshot::default() };
    snapshot.pools.insert_mut(pool.id, Arc::new(pool));
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_host_leads_to_the_destination() {
        let id = DestinationId::new(7);
        let addresses: Vec<SocketAddr> =
            vec!["192.0.2.1:80".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()];
        let snapshot = snapshot(id, &addresses, &Arc::default(), 3).unwrap();
        let host = snapshot.virtual_host("any.example").unwrap();
        let pool = snapshot.pool_of(host.rules.iter().next().unwrap()).unwrap();
        assert_eq!(&*pool.endpoints[0].addresses, addresses);
        assert!(pool.endpoints[0].id.is_destination());
        assert!(!EndpointId(7).is_destination());
    }
}
