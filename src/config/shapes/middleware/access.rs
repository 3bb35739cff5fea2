//! Stages that admit and refuse without credentials: `ip_acl`, `maintenance`, `rate_limit`.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Cidr, IpAcl, Kind, Maintenance, PolicyId, RateLimitRef};
use serde_json::json;

use super::content::page;
use super::{config, config_or};
use crate::draft::Draft;
use crate::values::{id_schema, time_within};
use crate::values::{list_of, strings_schema};
use crate::{Fault, Field, Given, Reader};

/// Reads `ip_acl`.
pub(super) fn ip_acl(reader: &mut Reader<'_>) -> Option<IpAcl> {
    config(reader, |reader| {
        let allow = reader.optional(&ALLOW).unwrap_or_default();
        let deny = reader.optional(&DENY).unwrap_or_default();
        let is_faulty = reader.is_faulty(ALLOW.name) || reader.is_faulty(DENY.name);
        if allow.is_empty() && deny.is_empty() && !is_faulty {
            let message = "is required, or deny".to_owned();
            reader.fault(ALLOW.name, Fault { code: "missing", message });
        }
        Some(IpAcl { allow: allow.into(), deny: deny.into() })
    })
}

/// Reads `rate_limit`, whose policy stands beside its type.
pub(super) fn rate_limit(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<RateLimitRef> {
    let policy_ref = reader.required(&POLICY_REF);
    if let Some(policy) = &policy_ref {
        draft.refer(reader, Kind::Policy, policy.as_str(), POLICY_REF.name);
    }
    Some(RateLimitRef { policy_ref: policy_ref? })
}

/// Reads `maintenance`.
pub(super) fn maintenance(reader: &mut Reader<'_>) -> Option<Maintenance> {
    let default = Maintenance { retry_after: RETRY_AFTER_DEFAULT, page: None, bypass: Box::default() };
    config_or(reader, default, |reader| {
        Some(Maintenance {
            retry_after: reader.optional(&RETRY_AFTER).unwrap_or(RETRY_AFTER_DEFAULT),
            page: reader.optional(&PAGE),
            bypass: reader.optional(&BYPASS).unwrap_or_default().into(),
        })
    })
}

/// Networks of one list.
const NETWORKS_MAX: usize = 10_000;
/// Time after which clients may come again.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(300);
/// Longest of these times in milliseconds: a week.
const RETRY_AFTER_MS_MAX: u64 = 7 * 86_400_000;

/// A list of networks.
pub(in crate::shapes) const fn networks(name: &'static str, doc: &'static str) -> Field<Vec<Cidr>> {
    Field {
        name,
        doc,
        schema: || strings_schema(json!({ "type": "string", "examples": ["10.0.0.0/8", "2001:db8::1"] })),
        parse: |given| list_of(given, NETWORKS_MAX, network),
    }
}

fn network(given: Given<'_>) -> Result<Cidr, Fault> {
    let text = given.text()?;
    text.parse().map_err(|error| {
        let shown: String = text.chars().take(60).collect();
        Fault::invalid(format_args!("must be networks such as 10.0.0.0/8; {shown:?} is none: {error}"))
    })
}

static ALLOW: Field<Vec<Cidr>> = networks("allow", "Networks that are admitted; all when absent.");

static DENY: Field<Vec<Cidr>> =
    networks("deny", "Networks that are refused, also where allow contains them.");

static BYPASS: Field<Vec<Cidr>> = networks("bypass", "Clients that are served all the same.");

static POLICY_REF: Field<PolicyId> = Field {
    name: "policy_ref",
    doc: "The policy whose rate limit counts here.",
    schema: || id_schema("strict-policy"),
    parse: |given| PolicyId::parse(given.text()?).map_err(Fault::invalid),
};

static RETRY_AFTER: Field<Duration> = time_within::<1_000, RETRY_AFTER_MS_MAX>(
    "retry_after",
    "Time after which clients may come again; 5m when absent.",
);

static PAGE: Field<Arc<str>> = page("page", "Page in HTML; a line of text when absent.");
