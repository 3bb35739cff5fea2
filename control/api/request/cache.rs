//! Shapes of requests about the cache.

use std::sync::Arc;

use ringway_config::values::id_schema;
use ringway_config::{Fault, Field, Given, Reader, Value};
use ringway_control::{
    CachedFilter, ExplainRequest, Purge, PurgeEffect, PurgeSelector, SelectorError, TAG_BYTES_MAX, tag_hash,
};
use ringway_model::{RouteId, TenantId, limits};
use serde_json::json;

use super::configuration::{boolean, explain_request};
use super::fields::{LIMIT, TENANT_ID};
use crate::limits::{CACHE_ENTRIES_SHOWN, PURGE_TAGS_MAX};

/// A purge, and its selection as the audit log shows it.
#[derive(Debug)]
pub(crate) struct PurgeRequest {
    pub(crate) purge: Purge,
    pub(crate) subject: String,
}

/// `POST /api/cache/purge`
pub(crate) fn purge(reader: &mut Reader<'_>) -> Option<PurgeRequest> {
    let (url, prefix) = (reader.filter(&URL), reader.filter(&PREFIX));
    let (pattern, tags) = (reader.filter(&PATTERN), reader.optional(&TAGS));
    let (route, tenant) = (reader.filter(&ROUTE), reader.filter(&TENANT));
    let is_all = reader.filter(&ALL).unwrap_or(false);
    let is_soft = reader.filter(&SOFT).unwrap_or(false);
    let is_dry_run = reader.filter(&DRY_RUN).unwrap_or(false);
    let is_wrong = SELECTORS.iter().any(|name| reader.is_faulty(name));
    let route = route.map(|route| {
        let (tenant, route) = (tenant.as_ref().map(|id| id.as_str().into()), route.as_str().into());
        (format!("route {route}"), PurgeSelector::Route { tenant, route })
    });
    let everything = is_all.then(|| ("all".to_owned(), PurgeSelector::All));
    let mut given: Vec<(String, PurgeSelector)> =
        [url, prefix, pattern, tags, route, everything].into_iter().flatten().collect();
    if given.is_empty()
        && let Some(tenant) = &tenant
    {
        given.push((String::new(), PurgeSelector::Tenant(tenant.as_str().into())));
    }
    let count = given.len();
    let (mut subject, selector) = match given.pop() {
        Some(one) if count == 1 => one,
        _ => {
            if !is_wrong {
                reader.fault(URL.name, one_of(count));
            }
            return None;
        }
    };
    if let Some(tenant) = &tenant {
        let blank = if subject.is_empty() { "" } else { " " };
        subject.push_str(&format!("{blank}tenant {tenant}"));
    }
    let effect = match (is_dry_run, is_soft) {
        (true, _) => PurgeEffect::DryRun,
        (false, true) => PurgeEffect::Expire,
        (false, false) => PurgeEffect::Remove,
    };
    let tenant = tenant.map(|tenant| tenant.as_str().into());
    Some(PurgeRequest { purge: Purge { selector, tenant, effect }, subject })
}

/// Fields of which a purge has one; a tenant may stand beside another.
const SELECTORS: [&str; 7] = ["url", "prefix", "pattern", "tags", "route", "tenant", "all"];

fn one_of(count: usize) -> Fault {
    let message = "is required: one of url, prefix, pattern, tags, route, tenant and all";
    match count {
        0 => Fault { code: "missing", message: message.to_owned() },
        _ => Fault::invalid(
            "stands beside another selection: give one of url, prefix, pattern, tags, route and all",
        ),
    }
}

/// `DELETE /admin/cache`
pub(crate) fn purge_pattern(reader: &mut Reader<'_>) -> Option<PurgeRequest> {
    let (subject, selector) = reader.key(&PATTERN)?;
    Some(PurgeRequest { purge: Purge { selector, tenant: None, effect: PurgeEffect::Remove }, subject })
}

/// Parts by which a status is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatsBy {
    Route,
    Tenant,
}

/// `GET /api/cache/stats`
pub(crate) fn stats(reader: &mut Reader<'_>) -> Option<(Option<StatsBy>, Option<usize>)> {
    Some((reader.filter(&BY), reader.filter(&LIMIT)))
}

/// `GET /api/cache/entries`
pub(crate) fn entries(reader: &mut Reader<'_>) -> Option<CachedFilter> {
    let host = reader.filter(&HOST);
    let route = reader.filter(&ROUTE).map(|route| route.as_str().into());
    let tenant = reader.filter(&TENANT).map(|tenant| tenant.as_str().into());
    let limit = reader.filter(&ENTRIES_LIMIT).unwrap_or(CACHE_ENTRIES_SHOWN);
    Some(CachedFilter { host, route, tenant, limit })
}

/// `POST /api/cache/explain`
pub(crate) fn explain(reader: &mut Reader<'_>) -> Option<ExplainRequest> {
    explain_request(reader)
}

/// A selection, and its text for the audit log.
type Selected = (String, PurgeSelector);

static URL: Field<Selected> = Field {
    name: "url",
    doc: "URL with all its variants, of http and of https alike; without a port, of any.",
    schema: || json!({ "type": "string", "examples": ["https://www.example.com/img/logo.png"] }),
    parse: |given| selected("url", given.text()?, PurgeSelector::url),
};

static PREFIX: Field<Selected> = Field {
    name: "prefix",
    doc: "Beginning of URLs: a host, and the beginning of a path.",
    schema: || json!({ "type": "string", "examples": ["www.example.com/img/"] }),
    parse: |given| selected("prefix", given.text()?, PurgeSelector::prefix),
};

static PATTERN: Field<Selected> = Field {
    name: "pattern",
    doc: "Host, or host and path, with asterisks for any characters; * alone is everything.",
    schema: || json!({ "type": "string", "examples": ["*.example.com", "www.example.com/img/*.png"] }),
    parse: |given| selected("pattern", given.text()?, PurgeSelector::pattern),
};

static TAGS: Field<Selected> = Field {
    name: "tags",
    doc: "Tags, one of which a response must have had in Cache-Tag, Surrogate-Key or Cache-Groups.",
    schema: || json!({ "type": "array", "minItems": 1, "maxItems": PURGE_TAGS_MAX, "items": { "type": "string", "minLength": 1, "maxLength": TAG_BYTES_MAX }, "examples": [["product-17"]] }),
    parse: tags,
};

static ROUTE: Field<RouteId> = Field {
    name: "route",
    doc: "Id of a route; beside tenant, of that tenant.",
    schema: || id_schema("shop"),
    parse: |given| RouteId::parse(given.text()?).map_err(Fault::invalid),
};

static TENANT: Field<TenantId> =
    Field { name: "tenant", doc: "Id of a tenant: only what is stored for its routes.", ..TENANT_ID };

static ALL: Field<bool> = Field {
    name: "all",
    doc: "True for everything that is stored.",
    schema: || json!({ "type": "boolean", "default": false }),
    parse: boolean,
};

static SOFT: Field<bool> = Field {
    name: "soft",
    doc: "Whether the responses only become stale: the endpoint is asked before their next use, and they may answer while it fails.",
    schema: || json!({ "type": "boolean", "default": false }),
    parse: boolean,
};

static DRY_RUN: Field<bool> = Field {
    name: "dry_run",
    doc: "Whether the responses are counted only.",
    schema: || json!({ "type": "boolean", "default": false }),
    parse: boolean,
};

static HOST: Field<Box<str>> = Field {
    name: "host",
    doc: "Only responses of this host, as it is sent to the endpoint.",
    schema: || json!({ "type": "string", "examples": ["www.example.com"] }),
    parse: |given| match given.text()? {
        text if (1..=limits::HOST_BYTES_MAX).contains(&text.len()) => Ok(text.to_ascii_lowercase().into()),
        _ => Err(Fault::range(format_args!("must have 1 to {} bytes", limits::HOST_BYTES_MAX))),
    },
};

static BY: Field<StatsBy> = Field {
    name: "by",
    doc: "Also by route or by tenant, those with the most memory first.",
    schema: || json!({ "type": "string", "enum": ["route", "tenant"] }),
    parse: |given| match given.text()? {
        "route" => Ok(StatsBy::Route),
        "tenant" => Ok(StatsBy::Tenant),
        _ => Err(Fault::invalid("must be route or tenant")),
    },
};

static ENTRIES_LIMIT: Field<usize> = Field {
    name: "limit",
    doc: "Maximum number of responses; 100 when absent.",
    schema: LIMIT.schema,
    parse: LIMIT.parse,
};

fn selected(
    kind: &str,
    text: &str,
    parse: fn(&str) -> Result<PurgeSelector, SelectorError>,
) -> Result<Selected, Fault> {
    let selector = parse(text).map_err(Fault::invalid)?;
    // The audit log shows no queries: they may have secrets.
    let shown = text.split(['?', '#']).next().unwrap_or_default();
    let cut = if shown.len() < text.len() { "?…" } else { "" };
    Ok((format!("{kind} {shown}{cut}"), selector))
}

fn tags(given: Given<'_>) -> Result<Selected, Fault> {
    let wrong = || Fault::invalid("must be a list of strings");
    let Given::Json(Value::Array(items)) = given else { return Err(wrong()) };
    if !(1..=PURGE_TAGS_MAX).contains(&items.len()) {
        return Err(Fault::range(format_args!("must have 1 to {PURGE_TAGS_MAX} tags")));
    }
    let mut names: Vec<&str> = Vec::with_capacity(items.len());
    for item in items {
        match &item.value {
            Value::Text(text) if (1..=TAG_BYTES_MAX).contains(&text.len()) => names.push(text),
            Value::Text(_) => {
                return Err(Fault::range(format_args!("must have tags of 1 to {TAG_BYTES_MAX} bytes each")));
            }
            _ => return Err(wrong()),
        }
    }
    let hashes: Arc<[u64]> = names.iter().map(|tag| tag_hash(tag.as_bytes())).collect();
    Ok((format!("tags {}", names.join(", ")), PurgeSelector::Tags((*hashes).into())))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
