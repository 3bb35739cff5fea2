//! Pools and their endpoints as they are now, with the overrides of run time.

use std::sync::Arc;

use ringway_control::{InstanceState, InstanceStatus};
use ringway_model::{App, Desired, EndpointOverride, Instance, Owner, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::apps::AppHealth;
use super::canaries::percent;
use super::pools::takes_traffic;
use crate::limits::OVERRIDES_SHOWN_MAX;
use crate::lists::PageTail;
use crate::plane::Plane;

/// A pool of an operator, or a registered app, which is one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolView {
    pub(crate) id: String,
    #[schema(examples("file", "admin", "api"))]
    pub(crate) owner: String,
    /// Whether all, some or none of the endpoints are in rotation.
    pub(crate) status: AppHealth,
    #[schema(examples("round_robin", "weighted_round_robin"))]
    pub(crate) balancer: &'static str,
    /// Number of endpoints, those that drain included.
    pub(crate) endpoints: usize,
    /// Endpoints that new requests can be sent to.
    pub(crate) available: usize,
    /// Endpoints out of rotation by their circuit breakers.
    pub(crate) ejected: usize,
    /// Requests in flight, over all cores.
    pub(crate) in_flight: u64,
    /// Endpoints with an override at run time.
    pub(crate) overrides: usize,
}

impl PoolView {
    /// Reads the status of each endpoint.
    pub(crate) fn of<P: Plane>(plane: &P, desired: &Desired, app: &App) -> Self {
        let mut view = Self {
            id: app.id.to_string(),
            owner: app.owner.to_string(),
            status: AppHealth::of(0, 0),
            balancer: app.balancer.as_str(),
            endpoints: 0,
            available: 0,
            ejected: 0,
            in_flight: 0,
            overrides: 0,
        };
        for instance in desired.instances_of(app.id.as_str()) {
            let status = plane.instance_status(&instance.id).unwrap_or_default();
            let known = desired.endpoint_override(instance.id.as_str());
            view.endpoints += 1;
            view.available += usize::from(takes_traffic(&status) && effective_weight(instance, known) > 0);
            view.ejected += usize::from(status.state == InstanceState::Ejected);
            view.in_flight += status.in_flight.requests;
            view.overrides += usize::from(known.is_some());
        }
        view.status = AppHealth::of(view.available, view.endpoints);
        view
    }
}

/// One page of pools, as [`Pieces::page`](crate::lists::Pieces::page) writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct PoolPage {
    pools: Vec<PoolView>,
    #[serde(flatten)]
    tail: PageTail,
}

/// A pool with its endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolDetails {
    pub(crate) pool: PoolView,
    /// All endpoints, by id.
    pub(crate) endpoints: Vec<EndpointView>,
    /// While no endpoint is healthy: the failing checks and the treatment of requests.
    pub(crate) outage: Option<String>,
    /// Revision of the configuration.
    pub(crate) revision: u64,
}

/// An endpoint of a pool: an instance of an app.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointView {
    pub(crate) endpoint: String,
    #[schema(examples("http://10.0.1.10:8000"))]
    pub(crate) url: String,
    /// Share of the requests, relative to the other endpoints; 0 gets no new ones. The configured one, unless
    /// an override has another.
    pub(crate) weight: u16,
    /// Weight of the configuration; in force while there is no override.
    pub(crate) configured_weight: u16,
    /// Override at run time; null while the configured values hold.
    #[serde(rename = "override")]
    pub(crate) of_run_time: Option<EndpointOverrideView>,
    /// State in the rotation; `draining` for an endpoint that was drained and has requests in flight,
    /// `drained` when it has none left.
    #[schema(examples("joining", "serving", "slow_start", "draining", "drained", "unhealthy", "ejected"))]
    pub(crate) state: &'static str,
    /// Reason of the state, where there is one.
    pub(crate) state_reason: Option<String>,
    /// Part of its share of the requests in percent, while its slow start is in progress.
    pub(crate) slow_start_share: Option<f64>,
    #[schema(examples("healthy", "unhealthy", "unknown"))]
    pub(crate) health: &'static str,
    /// Failure of the last check.
    pub(crate) health_reason: Option<String>,
    #[schema(format = "date-time")]
    pub(crate) last_check: Option<String>,
    #[schema(examples("closed", "open", "half_open"))]
    pub(crate) circuit_breaker: &'static str,
    /// Time when an open breaker admits the next request.
    #[schema(format = "date-time")]
    pub(crate) circuit_breaker_until: Option<String>,
    /// Failed requests in a row, 0 when the last one succeeded; null while its breaker is open or half open.
    pub(crate) failures_in_a_row: Option<u32>,
    /// Requests in flight, tunnels included.
    pub(crate) requests_in_flight: u64,
    /// Upgraded connections, such as WebSockets, among them.
    pub(crate) tunnels: u64,
}

/// Override of an endpoint at run time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointOverrideView {
    /// Weight in place of the configured one.
    pub(crate) weight: Option<u16>,
    /// Whether the endpoint takes no new requests.
    pub(crate) drain: bool,
    #[schema(format = "date-time")]
    pub(crate) at: String,
    /// User who made it.
    pub(crate) by: String,
    /// The reason that was given; empty when there was none.
    pub(crate) reason: String,
}

impl From<&EndpointOverride> for EndpointOverrideView {
    fn from(of: &EndpointOverride) -> Self {
        Self {
            weight: of.weight,
            drain: of.is_drained,
            at: of.at.to_rfc3339_millis(),
            by: of.by.to_string(),
            reason: of.reason.to_string(),
        }
    }
}

impl EndpointView {
    pub(crate) fn new(
        instance: &Instance,
        status: InstanceStatus,
        of_run_time: Option<&Arc<EndpointOverride>>,
    ) -> Self {
        let is_drained = of_run_time.is_some_and(|known| known.is_drained);
        let in_flight = status.in_flight;
        let state = match status.state {
            InstanceState::Serving | InstanceState::Joining if is_drained && in_flight.requests > 0 => {
                "draining"
            }
            InstanceState::Serving | InstanceState::Joining if is_drained => "drained",
            InstanceState::Serving if status.slow_start.is_some() => "slow_start",
            state => state.as_str(),
        };
        Self {
            endpoint: instance.id.to_string(),
            url: instance.target.to_string(),
            weight: effective_weight(instance, of_run_time),
            configured_weight: instance.weight,
            of_run_time: of_run_time.map(|known| (&**known).into()),
            state,
            state_reason: status.state_reason,
            slow_start_share: status.slow_start.map(percent),
            health: status.health.as_str(),
            health_reason: status.reason,
            last_check: status.last_checked.map(Timestamp::to_rfc3339_millis),
            circuit_breaker: status.breaker.state.as_str(),
            circuit_breaker_until: status.breaker.until.map(Timestamp::to_rfc3339_millis),
            failures_in_a_row: status.failures_in_a_row,
            requests_in_flight: in_flight.requests,
            tunnels: in_flight.tunnels,
        }
    }
}

/// The weight in force.
fn effective_weight(instance: &Instance, of_run_time: Option<&Arc<EndpointOverride>>) -> u16 {
    match of_run_time {
        Some(known) if known.is_drained => 0,
        Some(known) => known.weight.unwrap_or(instance.weight),
        None => instance.weight,
    }
}

/// Configured weight that is not in force, because the endpoint has an override at run time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OverriddenView {
    pub(crate) pool: String,
    pub(crate) endpoint: String,
    pub(crate) configured_weight: u16,
    /// The weight in force.
    pub(crate) weight: u16,
    #[serde(rename = "override")]
    pub(crate) of_run_time: EndpointOverrideView,
}

/// Endpoints of an owner, or of all, with an override: the first ones by id.
pub(crate) fn overridden(desired: &Desired, owner: Option<&Owner>) -> Vec<OverriddenView> {
    let mut known: Vec<_> = desired
        .endpoint_overrides()
        .filter_map(|of| Some((of, desired.instance(of.instance.as_str())?)))
        .filter(|(_, instance)| owner.is_none_or(|owner| instance.owner == *owner))
        .collect();
    known.sort_unstable_by(|(a, _), (b, _)| a.instance.cmp(&b.instance));
    let view = |(of, instance): (&Arc<EndpointOverride>, &Arc<Instance>)| OverriddenView {
        pool: instance.app.to_string(),
        endpoint: instance.id.to_string(),
        configured_weight: instance.weight,
        weight: effective_weight(instance, Some(of)),
        of_run_time: (&**of).into(),
    };
    known.into_iter().take(OVERRIDES_SHOWN_MAX).map(view).collect()
}
