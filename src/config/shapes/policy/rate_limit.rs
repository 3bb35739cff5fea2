//! `rate_limit` of a policy.

use std::time::Duration;

use ringway_model::{Ban, RateLimit, RateLimitKey};
use serde_json::json;

use crate::limits::{
    BAN_AFTER_MAX, BAN_MS_MAX, BAN_MS_MIN, BURST_MAX, BURST_TIME_MAX, RATE_LIMIT_KEYS_MAX, RATE_MAX,
};
use crate::shapes::request_key::header_name;
use crate::values::{boolean, count, time_within};
use crate::{Fault, Field, Given, Reader, Value};

/// Reads `rate_limit`.
pub(in crate::shapes) fn rate_limit(reader: &mut Reader<'_>) -> Option<RateLimit> {
    reader.object("rate_limit", "Limit of the request rate; more are answered with 429.", |reader| {
        let rate = rate(reader);
        let burst = reader.optional(&BURST);
        let key = reader.optional(&KEY).unwrap_or_else(|| vec![RateLimitKey::Route]).into();
        let ban = ban(reader);
        let sends_fields = reader.optional(&FIELDS).unwrap_or(false);
        let dry_run = reader.optional(&DRY_RUN).unwrap_or(false);
        let (requests, per) = rate?;
        // As many requests as one second has.
        let burst = burst.unwrap_or_else(|| requests.div_ceil(per.as_secs() as u32));
        let limit = RateLimit { requests, per, burst, key, ban, sends_fields, dry_run };
        check_burst(reader, BURST.name, &limit);
        Some(limit)
    })
}

/// Reports a burst that the limit forgets too late.
pub(in crate::shapes) fn check_burst(reader: &mut Reader<'_>, name: &'static str, limit: &RateLimit) {
    let time = limit.per.as_millis() * u128::from(limit.burst) / u128::from(limit.requests.max(1));
    if time > BURST_TIME_MAX.as_millis() {
        let (hours, most) = (time / 3_600_000, BURST_TIME_MAX.as_secs() / 3_600);
        let message = format!("takes {hours} h to be free again at this rate, and {most} h is the longest");
        reader.fault(name, Fault::range(message));
    }
}

/// Reads the one rate: requests, and the time that they are for.
fn rate(reader: &mut Reader<'_>) -> Option<(u32, Duration)> {
    let rates = [(&PER_SECOND, 1), (&PER_MINUTE, 60), (&PER_HOUR, 3_600)];
    let mut found: Vec<(&'static str, Option<(u32, Duration)>)> = Vec::new();
    for (field, seconds) in rates {
        let requests = reader.optional(field);
        if reader.has(field.name) && !reader.is_null(field.name) {
            found.push((field.name, requests.map(|requests| (requests, Duration::from_secs(seconds)))));
        }
    }
    match &found[..] {
        [] => {
            let message = "is required, or requests_per_minute or requests_per_hour".to_owned();
            reader.fault(PER_SECOND.name, Fault { code: "missing", message });
            None
        }
        [(_, rate)] => *rate,
        [(first, _), (second, _), ..] => {
            let message = format!("cannot stand beside {first}");
            reader.fault(second, Fault { code: "conflict", message });
            None
        }
    }
}

fn ban(reader: &mut Reader<'_>) -> Option<Ban> {
    let after = reader.optional(&BAN_AFTER);
    let duration = reader.optional(&BAN_FOR);
    if duration.is_some() && after.is_none() && !reader.is_faulty(BAN_AFTER.name) {
        let message = "is required beside ban_for: the refusals that lead to a ban".to_owned();
        reader.fault(BAN_AFTER.name, Fault { code: "missing", message });
    }
    Some(Ban { after: after?, duration: duration.unwrap_or(BAN_TIME) })
}

/// Duration of a ban whose policy names none.
const BAN_TIME: Duration = Duration::from_secs(60);

static PER_SECOND: Field<u32> = count::<1, RATE_MAX>("requests_per_second", "Requests per second.");

static PER_MINUTE: Field<u32> = count::<1, { RATE_MAX * 60 }>(
    "requests_per_minute",
    "Requests per minute, in place of those per second.",
);

static PER_HOUR: Field<u32> =
    count::<1, { RATE_MAX * 3_600 }>("requests_per_hour", "Requests per hour, in place of those per second.");

static BURST: Field<u32> = Field {
    parse: |given| match given.unsigned()? {
        0 => Err(Fault::range("must be at least 1: with 0 every request would be refused")),
        _ => (count::<1, BURST_MAX>("", "").parse)(given),
    },
    ..count::<1, BURST_MAX>("burst", "Requests at once; those of one second when absent.")
};

static KEY: Field<Vec<RateLimitKey>> = Field {
    name: "key",
    doc: "Requests that are counted together, by one or several of route, client, tenant, host and header:NAME; \
          route when absent. client is the address, of IPv6 its first 64 bits.",
    schema: || {
        let one = json!({ "type": "string", "examples": ["client", "header:X-API-Key"] });
        json!({ "oneOf": [
            { "type": "array", "items": one.clone(), "minItems": 1, "maxItems": RATE_LIMIT_KEYS_MAX },
            one,
        ] })
    },
    parse: |given| {
        let keys = match given {
            Given::Json(Value::Array(items)) => {
                items.iter().map(|item| key(Given::Json(&item.value))).collect::<Result<Vec<_>, _>>()?
            }
            given => vec![key(given)?],
        };
        if keys.is_empty() || keys.len() > RATE_LIMIT_KEYS_MAX {
            return Err(Fault::range(format_args!("must have from 1 to {RATE_LIMIT_KEYS_MAX} parts")));
        }
        match (1..keys.len()).find(|at| keys[..*at].contains(&keys[*at])) {
            Some(at) => {
                let message = format!("has {} twice", key_text(&keys[at]));
                Err(Fault { code: "duplicate", message })
            }
            None => Ok(keys),
        }
    },
};

fn key(given: Given<'_>) -> Result<RateLimitKey, Fault> {
    let text = given.text()?;
    Ok(match text.split_once(':') {
        Some(("header", name)) => RateLimitKey::Header(header_name(Given::Text(name))?),
        None if text == "route" => RateLimitKey::Route,
        None if text == "client" => RateLimitKey::Client,
        None if text == "tenant" => RateLimitKey::Tenant,
        None if text == "host" => RateLimitKey::Host,
        _ => return Err(Fault::invalid("must be route, client, tenant, host or header:NAME")),
    })
}

/// A part of a key in the form of documents.
pub(crate) fn key_text(key: &RateLimitKey) -> String {
    match key {
        RateLimitKey::Route => "route".to_owned(),
        RateLimitKey::Client => "client".to_owned(),
        RateLimitKey::Tenant => "tenant".to_owned(),
        RateLimitKey::Host => "host".to_owned(),
        RateLimitKey::Header(name) => format!("header:{name}"),
    }
}

static BAN_AFTER: Field<u32> = count::<1, BAN_AFTER_MAX>(
    "ban_after",
    "Refused requests in a row after which all are refused for ban_for; no ban when absent.",
);

static BAN_FOR: Field<Duration> =
    time_within::<BAN_MS_MIN, BAN_MS_MAX>("ban_for", "Duration of a ban; 60s when absent.");

static FIELDS: Field<bool> = boolean(
    "headers",
    "Whether responses have the fields RateLimit and RateLimit-Policy; they do not when absent.",
);

static DRY_RUN: Field<bool> = boolean("dry_run", "Whether refusals are only counted.");
