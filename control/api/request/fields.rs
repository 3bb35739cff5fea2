//! Fields of the API: one constant each, with its parser and its documentation.

use std::sync::Arc;
use std::time::Duration;

use ringway_config::{Fault, Field, Given, Reader};
use ringway_control::InstanceState;
use ringway_model::{
    AppId, DomainKind, FailurePolicy, Generation, Hostname, InstanceId, OnAllUnhealthy, Owner, Percent,
    RouteId, StatusRangeError, StatusSet, Target, TenantId, TimeoutPolicy, WebhookSecret, WebhookUrl, limits,
};
use serde_json::json;

use crate::limits::{API_WAIT_MAX, CONFIG_REASON_BYTES_MAX};
use ringway_config::values::{at_most, duration, duration_schema, id_schema, status_list};

/// Id of an app.
pub(crate) static APP_ID: Field<AppId> = Field {
    name: "app_id",
    doc: "Id of an app: a set of interchangeable instances.",
    schema: || id_schema("app1"),
    parse: |given| AppId::parse(given.text()?).map_err(Fault::invalid),
};

/// Id of a pool.
pub(crate) static POOL: Field<AppId> =
    Field { name: "pool", doc: "Id of a pool, or of a registered app.", ..APP_ID };

/// Id of an endpoint, or its address.
pub(crate) static ENDPOINT: Field<InstanceId> = Field {
    name: "endpoint",
    doc: "Endpoint of the pool: its address, such as 10.0.1.10:8000, or the id of an instance.",
    schema: || id_schema("10.0.1.10:8000"),
    parse: |given| InstanceId::parse(given.text()?).map_err(Fault::invalid),
};

/// Weight of an endpoint in place of the configured one.
pub(crate) static WEIGHT: Field<u16> = Field {
    name: "weight",
    doc: "Weight in place of the configured one; 0 takes no new requests. The configured one when absent or null.",
    schema: || json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX }),
    parse: |given| {
        let weight = given.unsigned()?;
        u16::try_from(weight).map_err(|_| Fault::invalid(format!("must be {} at most", u16::MAX)))
    },
};

/// Whether an endpoint takes no new requests.
pub(crate) static IS_DRAINED: Field<bool> = Field {
    name: "drain",
    doc: "Whether the endpoint takes no new requests; those under way finish. False when absent.",
    schema: || json!({ "type": "boolean" }),
    parse: |given| given.boolean(),
};

/// Reason of an override.
pub(crate) static OVERRIDE_REASON: Field<Arc<str>> = Field {
    name: "reason",
    doc: "Reason, for those who find it later; one line.",
    schema: || json!({ "type": "string", "maxLength": CONFIG_REASON_BYTES_MAX }),
    parse: reason,
};

/// Reads a reason: one line.
pub(crate) fn reason(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?;
    match text.len() <= CONFIG_REASON_BYTES_MAX && !text.chars().any(char::is_control) {
        true => Ok(text.into()),
        false => {
            Err(Fault::invalid(format_args!("must be one line of at most {CONFIG_REASON_BYTES_MAX} bytes")))
        }
    }
}

/// Owner of pools.
pub(crate) static POOL_OWNER: Field<Owner> = Field {
    name: "owner",
    doc: "Only the pools of this owner: api, file or admin; api has the registered apps.",
    schema: || json!({ "type": "string", "enum": ["api", "file", "admin"] }),
    parse: |given| Owner::parse(given.text()?).map_err(|_| Fault::invalid("must be api, file or admin")),
};

/// Weight of a canary in place of its plan's.
pub(crate) static CANARY_WEIGHT: Field<Percent> = Field {
    name: "weight",
    doc: "Share of the requests in percent, in place of the plan's; null for the plan's again.",
    schema: || json!({ "type": "number", "minimum": 0, "maximum": 100 }),
    parse: |given| Percent::new(given.decimal()?).ok_or_else(|| Fault::range("must be from 0 to 100")),
};

/// Id of a route.
pub(crate) static ROUTE: Field<RouteId> = Field {
    name: "route",
    doc: "Id of an operator's route.",
    schema: || id_schema("shop"),
    parse: |given| RouteId::parse(given.text()?).map_err(Fault::invalid),
};

/// Display name of an app.
pub(crate) static APP_NAME: Field<Arc<str>> = Field {
    name: "app_name",
    doc: "The app's display name; kept when absent, initially the id.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": limits::APP_NAME_BYTES_MAX, "examples": ["Main Application"] }),
    parse: |given| app_name(given.text()?),
};

/// Time in which a removed instance may finish its requests.
pub(crate) static DRAIN: Field<Duration> = Field {
    name: "drain",
    doc: "Longest time for the instance to finish its requests. It gets no new ones; the response is sent at its removal, when \
          the last request is done or the time is over (at once, with 202, when too many requests wait already). Open \
          WebSockets are then closed with 1001; other requests continue. The drain continues if the client disconnects. \
          When absent, the instance is removed at once.",
    schema: || duration_schema("30s"),
    parse: |given| at_most(duration(given)?, limits::INSTANCE_DRAIN_MAX),
};

/// State of an instance that a long poll waits for.
pub(crate) static WAIT: Field<InstanceState> = Field {
    name: "wait",
    doc: "Delays the response until the instance of instance_id has this state (serving: and was probed successfully); 504 after \
          the timeout, 503 when too many requests wait already.",
    schema: || json!({ "type": "string", "enum": InstanceState::ALL.map(InstanceState::as_str) }),
    parse: |given| {
        InstanceState::parse(given.text()?).ok_or_else(|| {
            let words = InstanceState::ALL.map(InstanceState::as_str).join(", ");
            Fault::invalid(format_args!("must be one of {words}"))
        })
    },
};

/// Longest time of a long poll.
pub(crate) static WAIT_TIMEOUT: Field<Duration> = Field {
    name: "timeout",
    doc: "Timeout of wait: at most 300s; 30s when absent.",
    schema: || duration_schema("30s"),
    parse: |given| at_most(duration(given)?, API_WAIT_MAX),
};

/// Id of an instance.
pub(crate) static INSTANCE_ID: Field<InstanceId> = Field {
    name: "instance_id",
    doc: "Id of one running instance of an app; unique over all apps.",
    schema: || id_schema("app1-prod-node-1"),
    parse: |given| InstanceId::parse(given.text()?).map_err(Fault::invalid),
};

/// Address of an instance.
pub(crate) static TARGET: Field<Target> = Field {
    name: "target",
    doc: "Address of the instance: http://host:port, https://host:port (see the app's upstream_tls), or h2c://host:port for \
          HTTP/2 without TLS, as gRPC servers speak it.",
    schema: || json!({ "type": "string", "format": "uri", "examples": ["http://10.0.0.5:3001"] }),
    parse: |given| Target::parse(given.text()?).map_err(Fault::invalid),
};

/// Treatment of requests while no instance of an app is healthy.
static ON_ALL_UNHEALTHY: Field<OnAllUnhealthy> = Field {
    name: "on_all_unhealthy",
    doc: "Treatment of requests while all instances fail their health checks: reject answers with 502, panic_open ignores health \
          and forwards all, trickle forwards one request a second and answers the others with 502. Kept when absent; null is reject.",
    schema: || json!({ "type": "string", "enum": OnAllUnhealthy::ALL.map(OnAllUnhealthy::as_str), "default": OnAllUnhealthy::default().as_str() }),
    parse: |given| {
        OnAllUnhealthy::parse(given.text()?).ok_or_else(|| {
            let words = OnAllUnhealthy::ALL.map(OnAllUnhealthy::as_str).join(", ");
            Fault::invalid(format_args!("must be one of {words}"))
        })
    },
};

/// Statuses that count against an instance.
static FAILURE_STATUSES: Field<StatusSet> = Field {
    name: "statuses",
    doc: "Statuses from 500 to 599 that count as failures when the app answers with them, single or in ranges; none when absent. \
          Any client that knows a request with such a response can then take instances out of rotation.",
    schema: || {
        let part =
            json!({ "type": "string", "pattern": "^5[0-9]{2}( *- *5[0-9]{2})?$", "examples": ["502-504"] });
        let single = json!({ "type": "integer", "minimum": 500, "maximum": 599 });
        json!({ "oneOf": [
            { "type": "array", "items": { "oneOf": [part, single] }, "default": [], "examples": [["502-504"]] },
            { "type": "string", "description": "The same as one text, separated by commas.", "examples": ["500,502-504"] },
        ] })
    },
    parse: failure_statuses,
};

/// Late responses that count against an instance.
static FAILURE_TIMEOUTS: Field<TimeoutPolicy> = Field {
    name: "timeouts",
    doc: "Whether a response that is late, or stops midway, counts as a failure: unchecked, while the instance's health check has \
          not passed; always; never.",
    schema: || json!({ "type": "string", "enum": TimeoutPolicy::ALL.map(TimeoutPolicy::as_str), "default": TimeoutPolicy::default().as_str() }),
    parse: |given| {
        TimeoutPolicy::parse(given.text()?).ok_or_else(|| {
            let words = TimeoutPolicy::ALL.map(TimeoutPolicy::as_str).join(", ");
            Fault::invalid(format_args!("must be one of {words}"))
        })
    },
};

/// Generation of a registration.
pub(crate) static GENERATION: Field<Generation> = Field {
    name: "generation",
    doc: "The generation in the response to the registration: the request is refused if a newer registration of this instance id exists.",
    schema: || json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
    parse: |given| given.unsigned().map(Generation),
};

/// A domain name.
pub(crate) static DOMAIN: Field<Hostname> = Field {
    name: "domain",
    doc: "A domain name, in any case, as U-labels or A-labels; without scheme, port or wildcard.",
    schema: || json!({ "type": "string", "format": "idn-hostname", "maxLength": limits::HOST_BYTES_MAX, "examples": ["tenant1.app1.com"] }),
    parse: |given| Hostname::parse(given.text()?).map_err(Fault::invalid),
};

/// Target of a CNAME record.
pub(crate) static CNAME_TARGET: Field<Hostname> = Field {
    name: "cname_target",
    doc: "The name that the domain's CNAME record should point to; a hint, not needed for routing.",
    schema: || json!({ "type": "string", "format": "idn-hostname", "maxLength": limits::HOST_BYTES_MAX, "examples": ["tenant-123.app1.com"] }),
    parse: |given| Hostname::parse(given.text()?).map_err(Fault::invalid),
};

/// URL of a webhook.
pub(crate) static WEBHOOK_URL: Field<WebhookUrl> = Field {
    name: "url",
    doc: "URL that events are posted to, as JSON: http or https, without credentials.",
    schema: || json!({ "type": "string", "format": "uri", "maxLength": limits::WEBHOOK_URL_BYTES_MAX, "examples": ["https://app1.example/hooks/ringway"] }),
    parse: |given| WebhookUrl::parse(given.text()?).map_err(Fault::invalid),
};

/// Secret of a webhook.
pub(crate) static WEBHOOK_SECRET: Field<WebhookSecret> = Field {
    name: "secret",
    doc: "Secret that deliveries are signed with: X-Ringway-Signature is sha256= and the HMAC-SHA256 of X-Ringway-Timestamp, a full stop and the body. Never shown again.",
    schema: || json!({ "type": "string", "writeOnly": true, "minLength": limits::WEBHOOK_SECRET_BYTES_MIN, "maxLength": limits::WEBHOOK_SECRET_BYTES_MAX }),
    parse: |given| WebhookSecret::parse(given.text()?).map_err(Fault::invalid),
};

/// Id of a tenant.
pub(crate) static TENANT_ID: Field<TenantId> = Field {
    name: "tenant_id",
    doc: "Id of the tenant that the domain belongs to; sent to the app in X-Tenant-ID.",
    schema: || id_schema("tenant-123"),
    parse: |given| TenantId::parse(given.text()?).map_err(Fault::invalid),
};

/// Relation of a domain to the app's own domain.
pub(crate) static KIND: Field<DomainKind> = Field {
    name: "type",
    doc: "Relation of the domain to the app's own domain; routing treats all alike.",
    schema: || json!({ "type": "string", "enum": ["subdomain", "custom", "cname_target"] }),
    parse: |given| {
        DomainKind::parse(given.text()?)
            .ok_or_else(|| Fault::invalid("must be one of subdomain, custom, cname_target"))
    },
};

/// Type of a custom domain, for clients that send it in addition to the path.
pub(crate) static KIND_CUSTOM: Field<DomainKind> = Field {
    name: "type",
    doc: "Always custom here; may be left out.",
    schema: || json!({ "type": "string", "enum": ["custom"] }),
    parse: |given| match DomainKind::parse(given.text()?) {
        Some(DomainKind::Custom) => Ok(DomainKind::Custom),
        _ => Err(Fault::invalid(
            "must be custom here; other types are registered with POST /api/tenants/domains",
        )),
    },
};

/// Number of items of a page.
pub(crate) static LIMIT: Field<usize> = Field {
    name: "limit",
    doc: "Maximum number of items; the limit of a page when absent.",
    schema: || json!({ "type": "integer", "minimum": 1, "maximum": limits::PAGE_ITEMS_MAX }),
    parse: |given| {
        let number = given.unsigned()?;
        usize::try_from(number)
            .ok()
            .filter(|number| (1..=limits::PAGE_ITEMS_MAX).contains(number))
            .ok_or_else(|| Fault::range(format_args!("must be from 1 to {}", limits::PAGE_ITEMS_MAX)))
    },
};

/// Number of apps in a status.
pub(crate) static STATUS_LIMIT: Field<usize> = Field {
    name: "limit",
    doc: "Maximum number of apps in app_overview; 20 when absent.",
    schema: LIMIT.schema,
    parse: LIMIT.parse,
};

/// Start of a page.
pub(crate) static AFTER: Field<String> = Field {
    name: "after",
    doc: "Start after this id or name: the value of `next` in the previous page.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": limits::HOST_BYTES_MAX }),
    parse: |given| {
        let text = given.text()?;
        match (1..=limits::HOST_BYTES_MAX).contains(&text.len()) {
            true => Ok(text.to_owned()),
            false => Err(Fault::invalid("must be the value of `next` in the previous page")),
        }
    },
};

/// Reads `on_all_unhealthy` of an app: absent keeps it, null is the default.
pub(crate) fn on_all_unhealthy(reader: &mut Reader<'_>) -> Option<OnAllUnhealthy> {
    reader.patch(&ON_ALL_UNHEALTHY).or_default()
}

/// Reads `failures` of an app: absent keeps it, null is the default.
pub(crate) fn failures(reader: &mut Reader<'_>) -> Option<FailurePolicy> {
    let given = reader.patch_object(
        "failures",
        "Results that count against an instance's circuit breaker besides connection failures and broken messages, which \
         always do; kept when absent. By default or with null: no statuses, and timeouts while health checks do not pass.",
        |reader| {
            let statuses = reader.optional(&FAILURE_STATUSES).unwrap_or_default();
            let timeouts = reader.optional(&FAILURE_TIMEOUTS).unwrap_or_default();
            Some(FailurePolicy { statuses, timeouts })
        },
    );
    given.or_default()
}

fn app_name(text: &str) -> Result<Arc<str>, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::invalid("must not be empty"));
    }
    if text.len() > limits::APP_NAME_BYTES_MAX {
        return Err(Fault::range(format_args!(
            "must not be longer than {} bytes",
            limits::APP_NAME_BYTES_MAX
        )));
    }
    // Characters that reorder text could forge log lines and table rows (Unicode TR 36 §2.7).
    let reorders = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    match text.chars().any(|c| c.is_control() || reorders(c) || matches!(c, '\u{2028}' | '\u{2029}')) {
        true => Err(Fault::invalid("must not contain control characters")),
        false => Ok(text.into()),
    }
}

fn failure_statuses(given: Given<'_>) -> Result<StatusSet, Fault> {
    StatusSet::parse(&status_list(given)?).map_err(|error| match error.0 {
        StatusRangeError::Form => Fault::invalid(error),
        StatusRangeError::Bounds | StatusRangeError::Order => Fault::range(error),
    })
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
