//! Settings of one cache.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{CacheMode, CacheSpec, CacheTtl, SetCookiePolicy};
use serde_json::json;

use super::key::{IGNORED_PARAMS, PATTERNS_MAX_TEXT, VARY_HEADERS, pattern};
use crate::draft::CacheFields;
use crate::limits::{
    CACHE_BYTES_MAX, CACHE_BYTES_MIN, CACHE_PATTERNS_MAX, CACHE_SIZE_MIN, CACHE_STALE_MAX,
    CACHE_STATUSES_MAX, CACHE_TARGETS_MAX, CACHE_TTL_MAX, COALESCE_MS_MAX, COALESCE_MS_MIN,
};
use crate::shapes::matcher::is_token;
use crate::values::{boolean, byte_size, list_of, long_duration, size_schema, strings_schema, time_within};
use crate::{Fault, Field, Given, Reader};

/// Reads the settings of a cache; the inner `None` is one that is switched off.
pub(super) fn settings(reader: &mut Reader<'_>) -> Option<Option<CacheFields>> {
    let is_enabled = reader.optional(&ENABLED).unwrap_or(true);
    let mode = match reader.one_of("mode", MODE, &["safe", "rfc9111"]) {
        Some("rfc9111") => CacheMode::Rfc9111,
        _ => CacheMode::Safe,
    };
    let ttl = reader.optional(&TTL);
    let respects_headers = reader.optional(&RESPECTS_HEADERS);
    let patterns = reader.optional(&PATTERNS);
    let inherits_patterns = patterns.is_none();
    let default = CacheSpec::of_mode(mode);
    let max_size = reader.optional(&MAX_SIZE).unwrap_or(default.max_size);
    let spec = CacheSpec {
        mode,
        ttl,
        respect_cache_headers: respects_headers.unwrap_or(default.respect_cache_headers),
        statuses: reader.optional(&STATUSES).map_or(default.statuses, Into::into),
        vary_headers: reader.optional(&VARY_HEADERS).map_or(default.vary_headers, sorted),
        auth_aware: reader.optional(&AUTH_AWARE).unwrap_or(default.auth_aware),
        set_cookie: match reader.one_of("set_cookie", SET_COOKIE, &["bypass", "strip", "store"]) {
            Some("bypass") => SetCookiePolicy::Bypass,
            Some("strip") => SetCookiePolicy::Strip,
            Some(_) => SetCookiePolicy::Store,
            None => default.set_cookie,
        },
        coalesce: reader.optional(&COALESCE).unwrap_or(default.coalesce),
        coalesce_timeout: reader.optional(&COALESCE_TIMEOUT).unwrap_or(default.coalesce_timeout),
        stale_while_revalidate: reader.optional(&SWR).unwrap_or(default.stale_while_revalidate),
        stale_if_error: reader.optional(&SIE).unwrap_or(default.stale_if_error),
        stale_on_disconnect: reader.optional(&ON_DISCONNECT).unwrap_or(default.stale_on_disconnect),
        targets: reader.optional(&TARGETS).map_or(default.targets, Into::into),
        patterns: patterns.map_or(default.patterns, Into::into),
        sort_query: reader.optional(&SORT_QUERY).unwrap_or(default.sort_query),
        ignore_params: reader.optional(&IGNORED_PARAMS).map_or(default.ignore_params, sorted),
        max_object: reader.optional(&MAX_OBJECT).unwrap_or_else(|| CacheSpec::object_bytes(max_size)),
        max_size,
    };
    check(reader, &spec);
    let inherits_headers = respects_headers.is_none();
    Some(is_enabled.then_some(CacheFields { spec, inherits_headers, inherits_patterns }))
}

fn sorted(mut names: Vec<Arc<str>>) -> Box<[Arc<str>]> {
    names.sort();
    names.into()
}

/// Reports settings that contradict each other.
fn check(reader: &mut Reader<'_>, spec: &CacheSpec) {
    let mut conflict = |name: &'static str, message: &str| {
        reader.fault(name, Fault { code: "conflict", message: message.to_owned() });
    };
    let varies_by = |name: &str| spec.vary_headers.iter().any(|known| &**known == name);
    if spec.auth_aware && !varies_by("authorization") {
        let message = "needs Authorization in vary_headers: without it, the response for one user would be \
                       served to another";
        conflict(AUTH_AWARE.name, message);
    }
    if spec.mode == CacheMode::Safe && spec.set_cookie == SetCookiePolicy::Store {
        let message = "must not be store: a cookie for one client would be served to others; strip stores \
                       without it, and mode: rfc9111 leaves the decision to the origin";
        conflict("set_cookie", message);
    }
    if spec.mode == CacheMode::Rfc9111 && !spec.respect_cache_headers {
        let message = "must not be false with mode: rfc9111, which is about these headers";
        conflict(RESPECTS_HEADERS.name, message);
    }
    if spec.max_object > spec.max_size {
        let message = format!("must not be more than max_size, {} bytes", spec.max_size);
        reader.fault(MAX_OBJECT.name, Fault::range(message));
    }
    if !spec.auth_aware && spec.mode == CacheMode::Safe && varies_by("authorization") {
        let message =
            "has Authorization, and requests with it bypass the cache; auth_aware: true admits them";
        reader.warn(VARY_HEADERS.name, "conflict", message);
    }
    if varies_by("cookie") {
        let message =
            "has Cookie: clients have cookies of their own, so that hardly two of them share a response";
        reader.warn(VARY_HEADERS.name, "conflict", message);
    }
    if !spec.coalesce && reader.has(COALESCE_TIMEOUT.name) {
        let message = "has no effect: coalesce: false lets no request wait";
        reader.warn(COALESCE_TIMEOUT.name, "conflict", message);
    }
}

const MODE: &str = "Rules: safe stores only what is personal by no reading of its headers, rfc9111 all that the \
                    standard allows; safe when absent.";
const SET_COOKIE: &str = "Responses with Set-Cookie: bypass does not store them, strip stores them without the \
                          field, store (mode rfc9111 only, and the default there) with it; bypass when absent.";

static ENABLED: Field<bool> = boolean("enabled", "Whether the cache is in use; true when absent.");

static TTL: Field<CacheTtl> = Field {
    name: "ttl",
    doc: "Lifetime of responses without one of their own: a time, or default for that of the store; they are not \
          stored when absent.",
    schema: || {
        json!({ "oneOf": [
            { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d)|default)$", "examples": ["60s"] },
            { "type": "integer", "minimum": 1, "description": "Seconds." },
        ] })
    },
    parse: |given| match given.text() {
        Ok("default") => Ok(CacheTtl::Default),
        _ => match whole_seconds(given, CACHE_TTL_MAX)? {
            Duration::ZERO => Err(Fault::range("must be at least 1s; leave it out for none")),
            ttl => Ok(CacheTtl::Fixed(ttl)),
        },
    },
};

/// Whether the lifetimes of responses come before the configured one.
pub(super) static RESPECTS_HEADERS: Field<bool> = boolean(
    "respect_cache_headers",
    "Whether the lifetimes of responses come before ttl; no-store and private always do. true when absent.",
);

static STATUSES: Field<Vec<u16>> = Field {
    name: "statuses",
    doc: "Statuses that are stored; 200, 301 and 404 when absent, a 404 by ttl for 10s at most.",
    schema: || strings_schema(json!({ "type": "integer", "minimum": 200, "maximum": 599 })),
    parse: |given| {
        let status = |given: Given<'_>| match given.unsigned()? {
            206 | 304 => Err(Fault::invalid("must not have 206 and 304: they are parts of other responses")),
            status @ 200..=599 => Ok(status as u16),
            _ => Err(Fault::range("must have statuses from 200 to 599")),
        };
        let mut statuses = list_of(given, CACHE_STATUSES_MAX, status)?;
        statuses.sort_unstable();
        match statuses.is_empty() {
            true => Err(Fault::range("must have at least one status")),
            false => Ok(statuses),
        }
    },
};

static AUTH_AWARE: Field<bool> = boolean(
    "auth_aware",
    "Whether requests with Authorization use the cache; vary_headers must have it. false when absent.",
);

static COALESCE: Field<bool> = boolean(
    "coalesce",
    "Whether equal requests wait for one response when none is stored; true when absent.",
);

static COALESCE_TIMEOUT: Field<Duration> = time_within::<COALESCE_MS_MIN, COALESCE_MS_MAX>(
    "coalesce_timeout",
    "Longest wait, after which a request goes to the endpoint itself; 5s when absent.",
);

static SWR: Field<Duration> = stale(
    "stale_while_revalidate",
    "Time past its lifetime that a response which names none is served while it is asked for again; 0 when absent.",
);

static SIE: Field<Duration> = stale(
    "stale_if_error",
    "Time past its lifetime that a response which names none is served for errors of the endpoint; 0 when absent.",
);

static ON_DISCONNECT: Field<Duration> = stale(
    "stale_on_disconnect",
    "Time past its lifetime that a response is served while no endpoint can be reached; 60s when absent, a day with \
     mode rfc9111.",
);

static TARGETS: Field<Vec<Arc<str>>> = Field {
    name: "targets",
    doc: "Fields of responses for this cache that come before Cache-Control; CDN-Cache-Control when absent.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["CDN-Cache-Control"] })),
    parse: |given| {
        list_of(given, CACHE_TARGETS_MAX, |given| {
            let name = given.text()?.to_ascii_lowercase();
            match is_token(&name) && name.ends_with("-cache-control") {
                true => Ok(name.into()),
                false => Err(Fault::invalid("must be names that end with -Cache-Control")),
            }
        })
    },
};

/// Patterns of paths to which the configured lifetime is limited.
pub(super) static PATTERNS: Field<Vec<Arc<str>>> = Field {
    name: "patterns",
    doc: "Paths to which ttl is limited, with * for any characters; all when absent.",
    schema: || {
        strings_schema(json!({ "type": "string", "maxLength": PATTERNS_MAX_TEXT, "examples": ["*.css"] }))
    },
    parse: |given| list_of(given, CACHE_PATTERNS_MAX, pattern),
};

static SORT_QUERY: Field<bool> = boolean(
    "sort_query",
    "Whether requests whose parameters have another order share a response; false when absent.",
);

static MAX_SIZE: Field<u64> = Field {
    name: "max_size",
    doc: "Memory of all stored responses of the route, at least 64KB; 10MB when absent.",
    schema: size_schema,
    parse: |given| match byte_size(given)? {
        size @ CACHE_SIZE_MIN..=CACHE_BYTES_MAX => Ok(size),
        _ => Err(Fault::range("must be from 64KB to 1TiB; enabled: false stores nothing")),
    },
};

static MAX_OBJECT: Field<u64> = Field {
    name: "max_object",
    doc: "Largest body that is stored; a quarter of max_size when absent, and at most 8MiB.",
    schema: size_schema,
    parse: |given| match byte_size(given)? {
        size @ CACHE_BYTES_MIN..=CACHE_BYTES_MAX => Ok(size),
        _ => Err(Fault::range("must be from 1KiB to 1TiB")),
    },
};

const fn stale(name: &'static str, doc: &'static str) -> Field<Duration> {
    Field {
        name,
        doc,
        schema: crate::values::long_duration_schema,
        parse: |given| whole_seconds(given, CACHE_STALE_MAX),
    }
}

fn whole_seconds(given: Given<'_>, most: Duration) -> Result<Duration, Fault> {
    let time = crate::values::at_most(long_duration(given)?, most)?;
    match time.subsec_millis() {
        0 => Ok(time),
        _ => Err(Fault::range("must be whole seconds, as the lifetimes of HTTP are")),
    }
}
