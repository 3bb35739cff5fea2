//! Distribution of a pool's requests, and the treatment of failing and busy endpoints.

use std::time::Duration;

use ringway_model::{
    Balancer, FailurePolicy, PoolTraffic, RequestKey, Scheme, StatusSet, TimeoutPolicy, UpstreamProtocol,
};
use serde_json::json;

use super::Endpoint;
use super::outliers::{Passive, outliers};
use crate::draft::Draft;
use crate::limits::{CONCURRENT_MAX, SLOW_START_MS_MAX, SLOW_START_MS_MIN};
use crate::shapes::policy::circuit_breaker;
use crate::shapes::request_key::{request_key, short_key};
use crate::values::{count, failure_statuses, status_set_schema, time_within};
use crate::{Fault, Field, Reader};

/// Reads the members of a pool about its traffic, but for its balancer and protocol.
pub(super) fn traffic(
    reader: &mut Reader<'_>,
    draft: &Draft,
    passive: Passive,
    hash_by: Option<RequestKey>,
    protocol: UpstreamProtocol,
) -> PoolTraffic {
    PoolTraffic {
        circuit_breaker: circuit_breaker(reader),
        outliers: outliers(reader, draft, passive),
        hash_by,
        slow_start: reader.optional(&SLOW_START),
        endpoint_max_concurrent: reader.optional(&MAX_CONCURRENT),
        protocol,
    }
}

/// Reads the results that count against an endpoint.
pub(super) fn failures(reader: &mut Reader<'_>) -> FailurePolicy {
    let defaults = default_failures();
    FailurePolicy { statuses: reader.optional(&FAILURE_STATUSES).unwrap_or(defaults.statuses), ..defaults }
}

/// Results that count against an endpoint whose pool names none.
pub(crate) fn default_failures() -> FailurePolicy {
    FailurePolicy { statuses: StatusSet::of(FAILURE_STATUSES_DEFAULT), timeouts: TimeoutPolicy::Always }
}

/// Statuses of servers that are broken, overloaded or without a backend of their own (RFC 9110 §15.6).
const FAILURE_STATUSES_DEFAULT: [u16; 4] = [500, 502, 503, 504];

/// Reads `balancer` and `hash_by`; without a balancer, weights that differ are meant to count.
pub(in crate::shapes) fn balancer(
    reader: &mut Reader<'_>,
    endpoints: &[Endpoint],
) -> (Balancer, Option<RequestKey>) {
    let differ = endpoints.windows(2).any(|two| two[0].weight != two[1].weight);
    let balancer = reader.optional(&BALANCER);
    let hash_by = request_key(reader, &HASH_BY);
    if balancer == Some(Balancer::RoundRobin) && differ {
        let message = "ignores the weights of the endpoints; weighted_round_robin takes them";
        reader.warn(BALANCER.name, "conflict", message);
    }
    let is_hashed = balancer == Some(Balancer::ConsistentHash);
    if is_hashed && !reader.has(HASH_BY.name) {
        let message = "is required with balancer: consistent_hash".to_owned();
        reader.fault(HASH_BY.name, Fault { code: "missing", message });
    }
    if hash_by.is_some() && !is_hashed && !reader.is_faulty(BALANCER.name) {
        let message = "needs balancer: consistent_hash".to_owned();
        reader.fault(HASH_BY.name, Fault { code: "conflict", message });
    }
    let default = if differ { Balancer::WeightedRoundRobin } else { Balancer::default() };
    (balancer.unwrap_or(default), hash_by)
}

/// Reads `protocol`: the one towards the endpoints, and the scheme of their addresses that have none.
pub(super) fn protocol(reader: &mut Reader<'_>, has_tls: bool) -> (UpstreamProtocol, Scheme) {
    let protocol = reader.optional(&PROTOCOL).unwrap_or_default();
    let scheme = match protocol {
        _ if has_tls => Scheme::Https,
        UpstreamProtocol::H2c => Scheme::H2c,
        UpstreamProtocol::Http2 => Scheme::Https,
        UpstreamProtocol::Auto | UpstreamProtocol::Http1 => Scheme::Http,
    };
    if has_tls && protocol == UpstreamProtocol::H2c {
        let message = "is HTTP/2 without TLS, and the pool has tls: write h2".to_owned();
        reader.fault(PROTOCOL.name, Fault { code: "conflict", message });
    }
    (protocol, scheme)
}

/// Checks the addresses of the endpoints against `protocol`.
pub(super) fn check_protocol(reader: &mut Reader<'_>, protocol: UpstreamProtocol, endpoints: &[Endpoint]) {
    let is_wrong = |endpoint: &&Endpoint| match (protocol, endpoint.target.scheme()) {
        (UpstreamProtocol::Auto, _) => false,
        (UpstreamProtocol::Http1, scheme) => scheme == Scheme::H2c,
        (UpstreamProtocol::Http2, scheme) => scheme != Scheme::Https,
        (UpstreamProtocol::H2c, scheme) => scheme != Scheme::H2c,
    };
    if let Some(wrong) = endpoints.iter().find(is_wrong)
        && !reader.is_faulty(PROTOCOL.name)
    {
        let message = format!("does not fit the endpoint {}: {}", wrong.target, needs(protocol));
        reader.fault(PROTOCOL.name, Fault { code: "conflict", message });
    }
}

/// Addresses that a protocol needs.
fn needs(protocol: UpstreamProtocol) -> &'static str {
    match protocol {
        UpstreamProtocol::Auto => "every address fits",
        UpstreamProtocol::Http1 => "h2c:// is HTTP/2",
        UpstreamProtocol::Http2 => "h2 needs https:// addresses; HTTP/2 without TLS is h2c",
        UpstreamProtocol::H2c => "h2c needs addresses with h2c:// or without a scheme",
    }
}

static PROTOCOL: Field<UpstreamProtocol> = Field {
    name: "protocol",
    doc: "Protocol towards the endpoints: auto, HTTP/2 where TLS offers it or an address is h2c://; h1, HTTP/1.1 only; \
          h2, HTTP/2 over TLS only; h2c, HTTP/2 without TLS. auto when absent.",
    schema: || json!({ "type": "string", "enum": UpstreamProtocol::ALL.map(UpstreamProtocol::as_str) }),
    parse: |given| {
        UpstreamProtocol::parse(given.text()?).ok_or_else(|| {
            Fault::invalid(format_args!(
                "must be one of {}",
                UpstreamProtocol::ALL.map(UpstreamProtocol::as_str).join(", ")
            ))
        })
    },
};

static BALANCER: Field<Balancer> = Field {
    name: "balancer",
    doc: "Load balancing algorithm; round_robin when absent and all weights are the same. least_request takes the less \
          busy of two; consistent_hash sends equal values of hash_by to one endpoint.",
    schema: || json!({ "type": "string", "enum": Balancer::ALL.map(Balancer::as_str) }),
    parse: |given| {
        Balancer::parse(given.text()?).ok_or_else(|| {
            Fault::invalid(format_args!("must be one of {}", Balancer::ALL.map(Balancer::as_str).join(", ")))
        })
    },
};

static HASH_BY: Field<RequestKey> = short_key(
    "hash_by",
    "Value that consistent_hash takes: client for the address, header:NAME or cookie:NAME, or {header: NAME} or \
     {cookie: NAME}.",
);

static SLOW_START: Field<Duration> = time_within::<SLOW_START_MS_MIN, SLOW_START_MS_MAX>(
    "slow_start",
    "Time in which an endpoint that is new or back gets more and more requests; none when absent.",
);

static MAX_CONCURRENT: Field<u32> = count::<1, CONCURRENT_MAX>(
    "max_concurrent",
    "Requests at a time to each endpoint; any number when absent.",
);

static FAILURE_STATUSES: Field<StatusSet> = Field {
    name: "failure_statuses",
    doc: "Statuses from 500 to 599 that count as failures of an endpoint; 500, 502, 503 and 504 when absent, none when \
          empty.",
    schema: status_set_schema,
    parse: failure_statuses,
};
