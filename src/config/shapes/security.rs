//! `security`: the rate limit of each client address; client addresses and response fields of all routes,
//! which become the chain `security`.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    Cidr, HeaderEdits, HeaderTransform, IpAcl, Kind, MiddlewareId, MiddlewareSpec, PolicyId, RateLimit,
    RateLimitKey, StageSpec,
};

use super::later;
use super::middleware::{networks, response_fields};
use super::policy::check_burst;
use crate::draft::{DefaultLimit, Draft};
use crate::limits::{BURST_MAX, RATE_MAX};
use crate::values::{boolean, count};
use crate::{Fault, Field, Reader};

/// Reads `security`.
pub(super) fn security(reader: &mut Reader<'_>, draft: &mut Draft) {
    reader.object("security", "Rate limit of each client; filters and header fields of all requests.", |reader| {
        let doc = "Rate limit of each client address on all routes that have no other: the policy security.rate_limiting.";
        let limit = reader.object(RATE_LIMITING, doc, rate_limiting).flatten();
        if let Some(limit) = limit {
            add(reader, draft, limit);
        }
        let stages = [acl(reader).map(StageSpec::IpAcl), headers(reader).map(StageSpec::HeaderTransform)];
        let stages: Box<[StageSpec]> = stages.into_iter().flatten().collect();
        if !stages.is_empty() {
            add_chain(reader, draft, stages);
        }
        later::security(reader);
        Some(())
    });
}

/// Reads `acl`; `None` for one that is switched off, or admits all.
fn acl(reader: &mut Reader<'_>) -> Option<IpAcl> {
    let acl = reader.object(ACL, "Client addresses that are admitted and refused on all routes.", |reader| {
        let is_enabled = reader.optional(&ACL_ENABLED).unwrap_or(true);
        let allow = reader.optional(&ALLOWED).unwrap_or_default().into();
        let deny = reader.optional(&DENIED).unwrap_or_default().into();
        Some(Some(IpAcl { allow, deny }).filter(|_| is_enabled))
    });
    acl.flatten().filter(|acl| *acl != IpAcl::default())
}

/// Reads `headers`.
fn headers(reader: &mut Reader<'_>) -> Option<HeaderTransform> {
    let set = response_fields(reader, (HEADERS, "Header fields of the responses of all routes."));
    let response = HeaderEdits { set, ..HeaderEdits::default() };
    (!response.is_empty()).then(|| HeaderTransform { response, ..HeaderTransform::default() })
}

fn add_chain(reader: &mut Reader<'_>, draft: &mut Draft, stages: Box<[StageSpec]>) {
    let Ok(id) = MiddlewareId::parse(CHAIN) else { return };
    let name = if reader.has(ACL) { ACL } else { HEADERS };
    if draft.security.is_some() {
        let known = draft.middlewares.iter().find(|chain| chain.id == id);
        if known.is_some_and(|known| known.stages != stages) {
            let message = "differs from that of another file".to_owned();
            reader.fault(name, Fault { code: "conflict", message });
        }
        return;
    }
    draft.declare(reader, Kind::Middleware, CHAIN, name);
    draft.middlewares.push(Arc::new(MiddlewareSpec { id: id.clone(), stages }));
    draft.security = Some(id);
}

/// Reads `rate_limiting`; the inner `None` is one that is switched off.
fn rate_limiting(reader: &mut Reader<'_>) -> Option<Option<RateLimit>> {
    let is_enabled = reader.optional(&ENABLED).unwrap_or(true);
    let rate = reader.optional(&RATE);
    let burst = reader.optional(&BURST);
    let limit = RateLimit {
        requests: rate.unwrap_or(RATE_DEFAULT),
        per: Duration::from_secs(1),
        burst: burst.or(rate).unwrap_or(BURST_DEFAULT),
        key: Box::new([RateLimitKey::Client]),
        ban: None,
        sends_fields: false,
        dry_run: false,
    };
    check_burst(reader, BURST.name, &limit);
    Some(is_enabled.then_some(limit))
}

fn add(reader: &mut Reader<'_>, draft: &mut Draft, limit: RateLimit) {
    if let Some(known) = &draft.rate_limit {
        if known.limit != limit {
            let message = "differs from that of another file".to_owned();
            reader.fault(RATE_LIMITING, Fault { code: "conflict", message });
        }
        return;
    }
    let Ok(id) = PolicyId::parse(POLICY) else { return };
    draft.declare(reader, Kind::Policy, POLICY, RATE_LIMITING);
    draft.sections.policies = true;
    draft.rate_limit = Some(DefaultLimit { id, limit });
}

const ACL: &str = "acl";
const HEADERS: &str = "headers";
/// Id of the chain of all routes.
pub(crate) const CHAIN: &str = "security";
const RATE_LIMITING: &str = "rate_limiting";
/// Id of the policy: one count of each client over all routes.
const POLICY: &str = "security.rate_limiting";
/// Requests per second of a client where none are given.
const RATE_DEFAULT: u32 = 100;
/// Its requests at once: two seconds, for pages with many parts.
const BURST_DEFAULT: u32 = 200;

static ENABLED: Field<bool> = boolean("enabled", "Whether the rate is limited; it is when absent.");

static RATE: Field<u32> =
    count::<1, RATE_MAX>("requests_per_second", "Requests per second of a client; 100 when absent.");

static BURST: Field<u32> = count::<1, BURST_MAX>(
    "burst",
    "Requests at once of a client; 200 when both are absent, else those of one second.",
);

static ACL_ENABLED: Field<bool> = boolean("enabled", "Whether addresses are checked; they are when absent.");

static ALLOWED: Field<Vec<Cidr>> = networks("allowed_ips", "Networks that are admitted; all when empty.");

static DENIED: Field<Vec<Cidr>> =
    networks("denied_ips", "Networks that are refused, also where allowed_ips contains them.");
