//! Freshness lifetime and age of a response (RFC 9111 §4.2).

use ringway_model::{CacheMode, Timestamp};

use super::request::RequestFacts;
use super::response::{Control, Expires, ResponseFacts};
use super::storage::{ResponseSource, Times};
use crate::control::Directive;
use crate::limits::{DELTA_SECONDS_MAX, HEURISTIC_SECONDS_MAX, NOT_FOUND_SECONDS_MAX};
use crate::patterns;
use crate::settings::Settings;

/// Lifetime and age of a response when it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Seconds for which it is fresh, counted from the origin's answer.
    pub lifetime: u32,
    /// Source of the lifetime.
    pub source: LifetimeSource,
    /// Age at the receipt, in seconds.
    pub initial_age: u32,
}

/// Source of a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeSource {
    /// `s-maxage`, `max-age` or `Expires`.
    Explicit,
    /// A share of the time since `Last-Modified`.
    Heuristic,
    /// `ttl` of the settings.
    Configured,
    /// None.
    Unknown,
}

impl Freshness {
    /// Computes lifetime and age of a response.
    pub(super) fn of(
        settings: &Settings,
        request: &RequestFacts,
        response: &ResponseFacts,
        source: &ResponseSource<'_>,
        times: Times,
    ) -> Self {
        let (lifetime, lifetime_source) = lifetime(settings, request, response, source, times.received_at);
        Self { lifetime, source: lifetime_source, initial_age: initial_age(response, times) }
    }
}

fn lifetime(
    settings: &Settings,
    request: &RequestFacts,
    response: &ResponseFacts,
    source: &ResponseSource<'_>,
    received_at: Timestamp,
) -> (u32, LifetimeSource) {
    let configured = || configured_lifetime(settings, request, response, source);
    if !settings.respects_headers
        && let Some(seconds) = configured()
    {
        return (seconds, LifetimeSource::Configured);
    }
    if let Some(seconds) = explicit_lifetime(response, received_at) {
        return (seconds, LifetimeSource::Explicit);
    }
    if settings.mode == CacheMode::Rfc9111
        && let Some(seconds) = heuristic_lifetime(response, received_at)
    {
        return (seconds, LifetimeSource::Heuristic);
    }
    match configured() {
        Some(seconds) => (seconds, LifetimeSource::Configured),
        None => (0, LifetimeSource::Unknown),
    }
}

/// `s-maxage`, else `max-age`, else the time from `Date` to `Expires` (RFC 9111 §4.2.1).
fn explicit_lifetime(response: &ResponseFacts, received_at: Timestamp) -> Option<u32> {
    let directives = &response.directives;
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Some(seconds);
    }
    match response.expires {
        Expires::Absent => None,
        Expires::Invalid => Some(0),
        Expires::At(expires) => {
            let base = response.date.unwrap_or(seconds_of(received_at));
            Some(clamp(expires.saturating_sub(base)))
        }
    }
}

/// A tenth of the time since `Last-Modified` (RFC 9111 §4.2.2), for statuses that are cacheable by heuristics
/// (RFC 9110 §15.1), or with `public`.
fn heuristic_lifetime(response: &ResponseFacts, received_at: Timestamp) -> Option<u32> {
    const STATUSES: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
    let may_guess = response.control == Control::CacheControl
        && (STATUSES.contains(&response.status) || response.has(Directive::Public));
    let modified = response.last_modified.filter(|_| may_guess)?;
    let base = response.date.unwrap_or(seconds_of(received_at));
    Some(clamp(base.saturating_sub(modified) / 10).min(HEURISTIC_SECONDS_MAX))
}

/// `ttl` of the settings, for responses that nothing makes personal: it says nothing about who may see them.
fn configured_lifetime(
    settings: &Settings,
    request: &RequestFacts,
    response: &ResponseFacts,
    source: &ResponseSource<'_>,
) -> Option<u32> {
    let ttl = settings.ttl?;
    let is_keyed = |name: &str| settings.vary_headers.iter().any(|known| **known == *name);
    let is_personal = (request.has_cookie() && !is_keyed("cookie"))
        || (request.has_authorization() && !(settings.is_auth_aware && is_keyed("authorization")))
        || response.has_set_cookie;
    if is_personal || !settings.statuses.contains(&response.status) {
        return None;
    }
    if !settings.patterns.is_empty()
        && !patterns::permit(&settings.patterns, source.path, source.content_type())
    {
        return None;
    }
    Some(if response.status == 404 { ttl.min(NOT_FOUND_SECONDS_MAX) } else { ttl })
}

/// Age at the receipt (RFC 9111 §4.2.3): by `Date`, or by `Age` and the time that the origin took.
fn initial_age(response: &ResponseFacts, times: Times) -> u32 {
    let received = seconds_of(times.received_at);
    let apparent = clamp(received.saturating_sub(response.date.unwrap_or(received)));
    let delay = times.received_at.0.saturating_sub(times.asked_at.0) / 1_000;
    let corrected = response.age.saturating_add(u32::try_from(delay).unwrap_or(u32::MAX));
    apparent.max(corrected).min(DELTA_SECONDS_MAX)
}

pub(crate) fn seconds_of(at: Timestamp) -> i64 {
    i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX)
}

fn clamp(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX).min(DELTA_SECONDS_MAX)
}
