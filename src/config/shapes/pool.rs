//! Pools: endpoints that requests are balanced over.

use std::sync::Arc;

use ringway_model::{
    AppId, EndpointSpec, HealthCheck, InstanceId, Kind, OnAllUnhealthy, PoolSpec, Scheme, Target,
    TargetError, limits,
};
use serde_json::json;

use super::defaults::{ON_ALL_UNHEALTHY, check_or};
use super::later;
use super::policy::policy_ref;
use crate::draft::Draft;
use crate::fields::{active_check, upstream_tls_shape};
use crate::values::id_schema;
use crate::{Fault, Field, Given, Reader};

mod outliers;
mod traffic;

pub(super) use traffic::balancer;
pub(crate) use traffic::default_failures;

/// Reads `pools`.
pub(super) fn pools(reader: &mut Reader<'_>, draft: &mut Draft) {
    let pools = reader
        .list("pools", "Pools: endpoints that requests are balanced over.", |reader| pool(reader, draft));
    draft.sections.pools |= pools.is_some();
    draft.pools.extend(pools.unwrap_or_default());
}

fn pool(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<PoolSpec> {
    let id = reader.required(&ID);
    match &id {
        Some(id) => draft.declare(reader, Kind::App, id.as_str(), ID.name),
        None => draft.names.unreadable.push(Kind::App),
    }
    let upstream_tls = reader.object("tls", "TLS settings of its https endpoints.", upstream_tls_shape);
    let (protocol, scheme) = traffic::protocol(reader, upstream_tls.is_some());
    let endpoints = endpoints(reader, scheme);
    later::discover(reader);
    if endpoints.is_none() && !reader.is_faulty("endpoints") && !reader.has("discover") {
        reader.fault("endpoints", Fault { code: "missing", message: "is required".to_owned() });
    }
    let endpoints = endpoints.unwrap_or_default();
    traffic::check_protocol(reader, protocol, &endpoints);
    let (balancer, hash_by) = balancer(reader, &endpoints);
    let is_h2c = endpoints.iter().any(|endpoint| endpoint.target.scheme() == Scheme::H2c);
    let health = reader.object("health", "Health of the endpoints.", |reader| {
        let active = reader
            .object("active", "Requests that check an endpoint.", |reader| active_check(reader, is_h2c));
        Some((active, outliers::passive(reader, draft)))
    });
    let (health, passive) = health.unwrap_or_default();
    let failures = traffic::failures(reader);
    let traffic = traffic::traffic(reader, draft, passive, hash_by, protocol);
    let on_all_unhealthy = reader.optional(&ON_ALL_UNHEALTHY);
    let policy = policy_ref(reader, draft);
    let health = check_or(health, &draft.defaults.health);
    let id = id?;
    let endpoint = |given: Endpoint| EndpointSpec {
        id: InstanceId::of_endpoint(&id, &given.target),
        target: given.target,
        weight: given.weight.unwrap_or(1),
        health_check: check_or(given.health, &health),
    };
    Some(PoolSpec {
        endpoints: endpoints.into_iter().map(endpoint).collect(),
        on_all_unhealthy: on_all_unhealthy
            .or(draft.defaults.on_all_unhealthy)
            .unwrap_or(OnAllUnhealthy::Trickle),
        id,
        balancer,
        upstream_tls,
        failures,
        policy,
        traffic: Arc::new(traffic),
    })
}

/// An endpoint as given.
pub(super) struct Endpoint {
    pub(super) target: Target,
    pub(super) weight: Option<u16>,
    pub(super) health: Option<HealthCheck>,
}

fn endpoints(reader: &mut Reader<'_>, scheme: Scheme) -> Option<Vec<Endpoint>> {
    let mut targets = Vec::new();
    let endpoints = reader.list("endpoints", "The endpoints; different addresses.", |reader| {
        let target = reader.required(match scheme {
            Scheme::Https => &SECURE_ADDRESS,
            Scheme::H2c => &H2C_ADDRESS,
            Scheme::Http => &ADDRESS,
        });
        if let Some(target) = &target {
            refuse_twice(reader, &mut targets, target, ADDRESS.name);
        }
        let weight = reader.optional(&WEIGHT);
        let is_h2c = target.as_ref().is_some_and(|target| target.scheme() == Scheme::H2c);
        let health = reader.object("health", "Health checks, where they differ from the pool's.", |reader| {
            reader
                .object("active", "Requests that check the endpoint.", |reader| active_check(reader, is_h2c))
        });
        Some(Endpoint { target: target?, weight, health })
    });
    if endpoints.as_ref().is_some_and(|endpoints| endpoints.len() > limits::INSTANCES_PER_APP_MAX) {
        let most = format!("must not have more than {} items", limits::INSTANCES_PER_APP_MAX);
        reader.fault("endpoints", Fault::range(most));
    }
    endpoints
}

/// Reports an address that another endpoint of the pool has.
pub(super) fn refuse_twice(
    reader: &mut Reader<'_>,
    targets: &mut Vec<String>,
    target: &Target,
    name: &'static str,
) {
    let authority = target.authority();
    match targets.contains(&authority) {
        true => {
            let message = "is the address of another endpoint of this pool".to_owned();
            reader.fault(name, Fault { code: "duplicate", message });
        }
        false => targets.push(authority),
    }
}

static ID: Field<AppId> = Field {
    name: "id",
    doc: "Id of the pool; apps and pools have different ids.",
    schema: || id_schema("api-pool"),
    parse: |given| AppId::parse(given.text()?).map_err(Fault::invalid),
};

static ADDRESS: Field<Target> = Field {
    name: "address",
    doc: "Address: host and port, or a URL: http://, https://, or h2c:// for HTTP/2 without TLS.",
    schema: || json!({ "type": "string", "examples": ["10.0.1.10:8000", "https://app.internal"] }),
    parse: |given| address(given, Scheme::Http),
};

/// Address of an endpoint of a pool with `tls`, or with `protocol: h2`.
static SECURE_ADDRESS: Field<Target> = Field { parse: |given| address(given, Scheme::Https), ..ADDRESS };

/// Address of an endpoint of a pool with `protocol: h2c`.
static H2C_ADDRESS: Field<Target> = Field { parse: |given| address(given, Scheme::H2c), ..ADDRESS };

static WEIGHT: Field<u16> = Field {
    name: "weight",
    doc: "Share of the requests, relative to the other endpoints; 0 takes no new ones. 1 when absent.",
    schema: || json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX }),
    parse: |given| {
        u16::try_from(given.unsigned()?)
            .map_err(|_| Fault::range(format_args!("must be from 0 to {}", u16::MAX)))
    },
};

/// Parses an address, with a scheme for one that has none.
fn address(given: Given<'_>, scheme: Scheme) -> Result<Target, Fault> {
    let text = given.text()?;
    match Target::parse(text) {
        Err(TargetError::NoScheme) => {
            Target::parse(&format!("{}://{text}", scheme.as_str())).map_err(Fault::invalid)
        }
        parsed => parsed.map_err(Fault::invalid),
    }
}
