//! Policies: timeouts and limits, by name or in place.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{HedgeDelay, Kind, Patch, PolicyId, PolicyRef, PolicySettings, PolicySpec};
use serde_json::json;

use super::POLICY_ID;
use crate::draft::Draft;
use crate::values::{
    boolean, byte_size, duration_text, id_schema, long_duration, long_duration_schema, size_schema,
};
use crate::{Fault, Field, Given, Reader};

mod circuit_breaker;
mod hedge;
mod rate_limit;
mod retries;

pub(super) use circuit_breaker::circuit_breaker;
pub(super) use rate_limit::check_burst;
pub(crate) use rate_limit::key_text;

/// Reads `policy` of an app or a domain: absent keeps it, null removes it.
pub fn policy_patch(reader: &mut Reader<'_>) -> Patch<PolicyRef> {
    if reader.is_null(POLICY.name) {
        // Asked for, so that it is known.
        reader.optional(&POLICY);
        return Patch::Clear;
    }
    policy(reader).map_or(Patch::Keep, Patch::Set)
}

/// Reads `policy`: the id of a policy, or its values in place.
pub fn policy(reader: &mut Reader<'_>) -> Option<PolicyRef> {
    reader.short_or_object(&POLICY, |reader| Some(PolicyRef::Inline(Arc::new(settings(reader)))))
}

/// Reads `policy` of a route: one, or several, the most specific first.
pub(super) fn policy_refs(reader: &mut Reader<'_>, draft: &mut Draft) -> Vec<PolicyRef> {
    let policies = reader
        .one_or_more(&POLICY, |reader| Some(PolicyRef::Inline(Arc::new(settings(reader)))))
        .unwrap_or_default();
    for id in policies.iter().filter_map(PolicyRef::name) {
        draft.refer(reader, Kind::Policy, id.as_str(), POLICY.name);
    }
    policies
}

/// Reads `policy` of a pool or of defaults.
pub(super) fn policy_ref(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<PolicyRef> {
    let policy = policy(reader);
    if let Some(id) = policy.as_ref().and_then(PolicyRef::name) {
        draft.refer(reader, Kind::Policy, id.as_str(), POLICY.name);
    }
    policy
}

/// Reads `policies`.
pub(super) fn policies(reader: &mut Reader<'_>, draft: &mut Draft) {
    let policies = reader.list("policies", "Policies that routes and pools name.", |reader| {
        let id = reader.required(&ID);
        match &id {
            Some(id) => draft.declare(reader, Kind::Policy, id.as_str(), ID.name),
            None => draft.names.unreadable.push(Kind::Policy),
        }
        let settings = settings(reader);
        Some(PolicySpec { id: id?, settings })
    });
    draft.sections.policies |= policies.is_some();
    draft.policies.extend(policies.unwrap_or_default());
}

/// Reads the members of a policy.
pub(super) fn settings(reader: &mut Reader<'_>) -> PolicySettings {
    let timeout = reader.optional(&TIMEOUT);
    let per_try_timeout = reader.optional(&PER_TRY_TIMEOUT);
    let total_timeout = reader.optional(&TOTAL_TIMEOUT);
    let settings = PolicySettings {
        timeout,
        per_try_timeout,
        total_timeout,
        body_size_limit: reader.optional(&BODY_SIZE_LIMIT),
        require_tls: reader.optional(&REQUIRE_TLS),
        unavailable_status: reader.optional(&UNAVAILABLE_STATUS),
        websocket: reader.optional(&WEBSOCKET),
        retries: retries::retries(reader),
        rate_limit: rate_limit::rate_limit(reader),
        circuit_breaker: circuit_breaker(reader),
        hedge: hedge::hedge(reader),
    };
    let longer = |short: Option<Duration>, long: Option<Duration>| matches!((short, long), (Some(s), Some(l)) if s > l);
    if longer(per_try_timeout, timeout) {
        reader.fault(PER_TRY_TIMEOUT.name, Fault::range("must not be longer than timeout"));
    }
    if longer(timeout, total_timeout) {
        reader.fault(TIMEOUT.name, Fault::range("must not be longer than total_timeout"));
    }
    if reader.is_document() {
        for (name, message) in doubts(&settings) {
            reader.warn(name, "conflict", message);
        }
    }
    settings
}

/// Values that are valid and work against each other: the member, and a sentence about it.
pub(crate) fn doubts(settings: &PolicySettings) -> Vec<(&'static str, String)> {
    let mut doubts = Vec::new();
    if let (Some(retries), Some(one), Some(all)) =
        (&settings.retries, settings.per_try_timeout, settings.timeout)
        && one * u32::from(retries.attempts_max.get()) > all
    {
        let message = format!(
            "of {} attempts with per_try_timeout {} each do not fit into timeout {}: the last of them are cut short",
            retries.attempts_max,
            duration_text(one),
            duration_text(all)
        );
        doubts.push(("retries", message));
    }
    if let (Some(hedge), Some(timeout)) = (&settings.hedge, settings.timeout)
        && let HedgeDelay::After(delay) = hedge.delay
        && delay >= timeout
    {
        let message = format!(
            "has no effect: its delay {} is not shorter than timeout {}",
            duration_text(delay),
            duration_text(timeout)
        );
        doubts.push(("hedge", message));
    }
    doubts
}

static ID: Field<PolicyId> = Field { name: "id", doc: "Id of the policy.", ..POLICY_ID };

static POLICY: Field<PolicyRef> = Field {
    name: "policy",
    doc: "Timeouts and limits: the id of a policy, or the values in place.",
    schema: || id_schema("strict"),
    parse: |given| PolicyId::parse(given.text()?).map(PolicyRef::Named).map_err(Fault::invalid),
};

static TIMEOUT: Field<Duration> = Field {
    name: "timeout",
    doc: "Timeout to the head of the response, over all attempts; bodies are not part of it.",
    schema: long_duration_schema,
    parse: timeout,
};

static PER_TRY_TIMEOUT: Field<Duration> = Field {
    name: "per_try_timeout",
    doc: "Timeout of one attempt to the head of its response; another attempt may follow.",
    ..TIMEOUT
};

static TOTAL_TIMEOUT: Field<Duration> = Field {
    name: "total_timeout",
    doc: "Timeout of the whole exchange, bodies included. It ends long downloads and streams.",
    ..TIMEOUT
};

static BODY_SIZE_LIMIT: Field<u64> = Field {
    name: "body_size_limit",
    doc: "Maximum size of a request body; larger ones are answered with 413.",
    schema: size_schema,
    parse: byte_size,
};

static REQUIRE_TLS: Field<bool> =
    boolean("require_tls", "Whether requests without TLS are redirected to https, or refused with 421.");

static WEBSOCKET: Field<bool> =
    boolean("websocket", "Whether WebSocket upgrades are admitted; they are when absent.");

static UNAVAILABLE_STATUS: Field<u16> = Field {
    name: "unavailable_status",
    doc: "Status of the response when no endpoint can be reached.",
    schema: || json!({ "type": "integer", "enum": [502, 503] }),
    parse: |given| match given.unsigned()? {
        502 => Ok(502),
        503 => Ok(503),
        _ => Err(Fault::range("must be 502 or 503")),
    },
};

/// Longest timeout: a day; longer ones are no protection.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

fn timeout(given: Given<'_>) -> Result<Duration, Fault> {
    let timeout = long_duration(given)?;
    match timeout > Duration::ZERO && timeout <= TIMEOUT_MAX {
        true => Ok(timeout),
        false => {
            Err(Fault::range(format_args!("must be above 0 and at most {}", duration_text(TIMEOUT_MAX))))
        }
    }
}
