//! Services that decide about requests: those of plugins, and of `forward` in `auth`.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, Balancer, DecisionCache, Direction, EndpointSpec, ExternalFilter, ExternalProtocol, FailMode,
    HealthCheck, InstanceId, Kind, OnAllUnhealthy, PoolSpec, PoolTraffic, Scheme, Target, TargetError,
    UpstreamProtocol,
};
use serde_json::json;

use super::headers::may_change;
use crate::draft::Draft;
use crate::limits::{DECISION_FIELDS_MAX, DECISION_MS_MAX, DECISION_TTL_MS_MAX};
use crate::shapes::matcher::is_token;
use crate::shapes::pool::default_failures;
use crate::shapes::route::request_target;
use crate::values::{id_schema, list_of, strings_schema, time_within};
use crate::{Fault, Field, Given, Reader};

/// Protocol of a service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

/// Reads the members of a service, but for its fail mode. `hidden` is the id of the pool that is made where
/// the document has an address.
pub(super) fn external(
    reader: &mut Reader<'_>,
    draft: &mut Draft,
    protocol: Protocol,
    hidden: Option<&str>,
) -> Option<ExternalFilter> {
    let pool = pool(reader, draft, protocol, hidden);
    let path = match protocol {
        Protocol::Http => Some(reader.optional(&PATH).unwrap_or_else(|| "/".into())),
        Protocol::Grpc => None,
    };
    let timeout = reader.optional(&TIMEOUT).unwrap_or(TIMEOUT_DEFAULT);
    let send = reader.optional(&SEND).unwrap_or_default().into();
    let asserts = reader.optional(&ASSERTS).unwrap_or_default().into();
    let cache = reader.object("cache", "Decisions that hold for later requests.", cache);
    Some(ExternalFilter {
        pool: pool?,
        protocol: path.map_or(ExternalProtocol::Grpc, |path| ExternalProtocol::Http { path }),
        timeout,
        fail_mode: FailMode::Closed,
        send,
        asserts,
        failed_open_header: None,
        cache,
    })
}

/// Reads `pool`, or makes one of `address`.
fn pool(
    reader: &mut Reader<'_>,
    draft: &mut Draft,
    protocol: Protocol,
    hidden: Option<&str>,
) -> Option<AppId> {
    let address = reader.optional(match protocol {
        Protocol::Http => &HTTP_ADDRESS,
        Protocol::Grpc => &GRPC_ADDRESS,
    });
    let pool = reader.optional(&POOL);
    match (reader.has(HTTP_ADDRESS.name), reader.has(POOL.name)) {
        (true, true) => {
            let message = "cannot stand beside address".to_owned();
            reader.fault(POOL.name, Fault { code: "conflict", message });
        }
        (false, false) => {
            let message = "is required, or pool".to_owned();
            reader.fault(HTTP_ADDRESS.name, Fault { code: "missing", message });
        }
        _ => {}
    }
    if let Some(pool) = pool {
        draft.refer(reader, Kind::App, pool.as_str(), POOL.name);
        return Some(pool);
    }
    let (address, hidden) = (address?, hidden?);
    let Ok(id) = AppId::parse(hidden) else {
        let message =
            "needs a shorter id of its chain or plugin: the address becomes a pool with a longer one";
        reader.fault(HTTP_ADDRESS.name, Fault::range(message));
        return None;
    };
    draft.declare(reader, Kind::App, id.as_str(), HTTP_ADDRESS.name);
    draft.pools.push(pool_of(id.clone(), address, protocol));
    Some(id)
}

/// The pool of an address. Its health check opens a connection: paths of apps mean nothing to such a service.
fn pool_of(id: AppId, target: Target, protocol: Protocol) -> PoolSpec {
    let protocol = match (protocol, target.scheme()) {
        (Protocol::Http, _) => UpstreamProtocol::Auto,
        (Protocol::Grpc, Scheme::Https) => UpstreamProtocol::Http2,
        (Protocol::Grpc, Scheme::Http | Scheme::H2c) => UpstreamProtocol::H2c,
    };
    let endpoint = EndpointSpec {
        id: InstanceId::of_endpoint(&id, &target),
        target,
        weight: 1,
        health_check: HealthCheck::default(),
    };
    PoolSpec {
        id,
        endpoints: vec![endpoint],
        balancer: Balancer::default(),
        upstream_tls: None,
        failures: default_failures(),
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        policy: None,
        traffic: Arc::new(PoolTraffic { protocol, ..PoolTraffic::default() }),
    }
}

fn cache(reader: &mut Reader<'_>) -> Option<DecisionCache> {
    let key = reader.required(&KEY);
    let ttl = reader.required(&TTL);
    let key = key?;
    if key.iter().all(|part| PROPERTIES.contains(&&**part)) {
        let message =
            "has no header field such as authorization or cookie: one client's decision holds for all";
        reader.warn(KEY.name, "conflict", message);
    }
    Some(DecisionCache { key: key.into(), ttl: ttl? })
}

/// Timeout of a decision where none is given.
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(50);
/// Parts of a key that are no fields.
const PROPERTIES: [&str; 3] = ["method", "host", "path"];

static HTTP_ADDRESS: Field<Target> = Field {
    name: "address",
    doc: "Address of the service: host and port, or a URL with http:// or https://; becomes a pool.",
    schema: || json!({ "type": "string", "examples": ["localhost:9000", "https://auth.internal"] }),
    parse: |given| address(given, Scheme::Http),
};

static GRPC_ADDRESS: Field<Target> = Field {
    parse: |given| match given.text()?.strip_prefix("http://") {
        // Without TLS a gRPC server speaks HTTP/2 and nothing else.
        Some(rest) => address(Given::Text(rest), Scheme::H2c),
        None => address(given, Scheme::H2c),
    },
    ..HTTP_ADDRESS
};

/// Parses an address, with a scheme for one that has none.
fn address(given: Given<'_>, scheme: Scheme) -> Result<Target, Fault> {
    let text = given.text()?;
    match Target::parse(text) {
        Err(TargetError::NoScheme) => Target::parse(&format!("{}://{text}", scheme.as_str())),
        parsed => parsed,
    }
    .map_err(Fault::invalid)
}

static POOL: Field<AppId> = Field {
    name: "pool",
    doc: "Pool of the service, in place of its address.",
    schema: || id_schema("auth-pool"),
    parse: |given| AppId::parse(given.text()?).map_err(Fault::invalid),
};

static PATH: Field<Arc<str>> = Field {
    name: "path",
    doc: "Path and query of the request to the service; / when absent.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/check"] }),
    parse: request_target,
};

static TIMEOUT: Field<Duration> = time_within::<1, DECISION_MS_MAX>(
    "timeout",
    "Timeout of a decision: connection, request and answer; 50ms when absent.",
);

static SEND: Field<Vec<Arc<str>>> = Field {
    name: "send",
    doc: "Fields of the request that the service gets; all but credentials of other stages when absent.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["Authorization", "Cookie"] })),
    parse: |given| list_of(given, DECISION_FIELDS_MAX, sent_field),
};

fn sent_field(given: Given<'_>) -> Result<Arc<str>, Fault> {
    lower_case_name(given, token)
}

fn token(name: &str) -> Result<(), Fault> {
    match is_token(name) {
        true => Ok(()),
        false => Err(Fault::invalid("is not the name of a header field, such as X-User")),
    }
}

pub(super) static ASSERTS: Field<Vec<Arc<str>>> = Field {
    name: "asserts",
    doc: "Fields that only the service may set: those of clients are removed.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["X-User"] })),
    parse: |given| list_of(given, DECISION_FIELDS_MAX, asserted_name),
};

/// Parses the name of a field, in lower case, that only ringway sets for the endpoint.
pub(super) fn asserted_name(given: Given<'_>) -> Result<Arc<str>, Fault> {
    lower_case_name(given, |name| may_change(name, Direction::Request))
}

fn lower_case_name(
    given: Given<'_>,
    check: impl FnOnce(&str) -> Result<(), Fault>,
) -> Result<Arc<str>, Fault> {
    let name = given.text()?.to_ascii_lowercase();
    check(&name).map_err(|fault| {
        let shown: String = name.chars().take(60).collect();
        Fault { message: format!("has {shown:?}, which {}", fault.message), ..fault }
    })?;
    Ok(name.into())
}

/// Field with the reason of a decision that failed open.
pub(super) static FAILED_OPEN_HEADER: Field<Arc<str>> = Field {
    name: "failed_open_header",
    doc: "Field in which the endpoint gets the reason when a request goes on without a decision; none when absent.",
    schema: || json!({ "type": "string", "examples": ["X-Filter-Failed"] }),
    parse: asserted_name,
};

static KEY: Field<Vec<Arc<str>>> = Field {
    name: "key",
    doc: "All that a decision depends on: header fields, and method, host and path.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["authorization", "path"] })),
    parse: |given| {
        let key = list_of(given, DECISION_FIELDS_MAX, key_part)?;
        match key.is_empty() {
            true => Err(Fault::range("must have at least one part")),
            false => Ok(key),
        }
    },
};

/// Parses a part of a key: a property, a field that the service gets of ringway, or one of the client.
fn key_part(given: Given<'_>) -> Result<Arc<str>, Fault> {
    lower_case_name(given, |name| match FORWARDED.contains(&name) || PROPERTIES.contains(&name) {
        true => Ok(()),
        false if Direction::Request.protects(name) => {
            Err(Fault::invalid("is a field that the service does not get: no decision depends on it"))
        }
        false => token(name),
    })
}

/// Fields of ringway that the service gets.
const FORWARDED: [&str; 5] =
    ["x-forwarded-for", "x-forwarded-host", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-uri"];

static TTL: Field<Duration> =
    time_within::<1, DECISION_TTL_MS_MAX>("ttl", "Time that a decision holds; at most a minute.");
