//! `governance`: rules for changes; `canary`: the trial of a change on one core.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{AppId, HostPattern, Owner, RouteId, Timestamp};
use serde_json::{Value as Json, json};

use super::matcher::host;
use super::middleware::STAGE_TYPES;
use crate::draft::Draft;
use crate::governance::{GovernanceRule, Rule, RuleMode, Share};
use crate::values::{at_most, id_schema, long_duration, long_duration_schema, number, text, time};
use crate::{Fault, Field, Given, Reader, Value};

/// Reads `governance` and `canary`.
pub(super) fn governance(reader: &mut Reader<'_>, draft: &mut Draft) {
    let file = Arc::clone(&draft.file);
    let rules = reader.list("governance", "Rules that a change of the configuration must keep.", |reader| {
        let place = reader.position("rule").map(|at| crate::Place::new(&file, at));
        let name = reader.one_of("rule", "The rule; the other members are its values.", RULES);
        let mode =
            match reader.one_of("mode", "Effect of a violation; refuse when absent.", &["refuse", "warn"]) {
                Some("warn") => RuleMode::Warn,
                _ => RuleMode::Refuse,
            };
        if name.is_none() && !reader.is_faulty("rule") {
            reader.fault("rule", Fault { code: "missing", message: "is required".to_owned() });
        }
        let rule = rule(reader, name)?;
        Some(rule.map(|rule| GovernanceRule { rule, mode, place }))
    });
    draft.sections.governance |= rules.is_some();
    draft.governance.extend(rules.unwrap_or_default().into_iter().flatten());
    let bake = reader.object("canary", "Trial of a change on one core before all others.", |reader| {
        reader.optional(&BAKE)
    });
    draft.bake = bake.or(draft.bake);
}

const RULES: &[&str] = &[
    "reserved_hosts",
    "max_removed",
    "require_tls",
    "forbid_insecure_upstream",
    "max_timeout",
    "max_attempts",
    "require_rate_limit",
    "require_middleware",
    "min_endpoints",
    "protect",
    "freeze",
    "require_reason",
    "require_signatures",
];

/// Reads the values of a rule; the inner `None` is one that this version does not support. Without a name
/// (and for the schema) all values are known.
fn rule(reader: &mut Reader<'_>, name: Option<&'static str>) -> Option<Option<Rule>> {
    let is = |rule: &str| name.is_none_or(|name| name == rule);
    let mut values = Values::default();
    let has_hosts = [
        "reserved_hosts",
        "require_tls",
        "forbid_insecure_upstream",
        "require_rate_limit",
        "require_middleware",
        "protect",
    ];
    // `hosts` is a list of patterns in some rules and a share in another.
    match name {
        None => values.hosts_or_share = reader.optional(&HOSTS_OR_SHARE),
        Some("max_removed") => values.removed_hosts = reader.optional(&share("hosts", "Hosts.")),
        Some(name) if has_hosts.contains(&name) => values.hosts = reader.optional(&HOSTS),
        Some(_) => {}
    }
    if is("reserved_hosts") {
        values.owner = reader.optional(&OWNER);
    }
    if is("max_removed") {
        values.removed_endpoints = reader.optional(&share("endpoints", "Endpoints."));
    }
    match name {
        None => _ = reader.optional(&ROUTES_OR_SHARE),
        Some("max_removed") => values.removed_routes = reader.optional(&share("routes", "Routes.")),
        Some("protect") => values.routes = reader.optional(&ROUTES),
        Some(_) => {}
    }
    if is("protect") {
        values.pools = reader.optional(&POOLS);
    }
    if is("require_middleware") {
        values.types = reader.optional(&TYPES);
    }
    if is("max_timeout") {
        values.timeout = reader.optional(&time("timeout", "The longest timeout."));
    }
    if is("min_endpoints") || name == Some("max_attempts") {
        values.count = reader.optional(&number::<1, 1_000>(
            "count",
            "The smallest number of endpoints, or the largest number of attempts.",
        ));
    }
    if is("freeze") {
        values.from = reader.optional(&moment("from", "Begin; none is always."));
        values.until = reader.optional(&moment("until", "End; none is never."));
        values.message = reader.optional(&text("message", "Reason, for people."));
    }
    let name = name?;
    let own = MEMBERS.iter().find(|(rule, _)| *rule == name).map_or(&[][..], |(_, members)| members);
    for (_, members) in MEMBERS {
        for member in members.iter().filter(|member| !own.contains(member)) {
            reader.refuse(member, &format!("does not belong to the rule {name}"));
        }
    }
    values.rule(reader, name)
}

/// Members of the rules that have any.
const MEMBERS: &[(&str, &[&str])] = &[
    ("reserved_hosts", &["hosts", "owner"]),
    ("max_removed", &["hosts", "routes", "endpoints"]),
    ("require_tls", &["hosts"]),
    ("forbid_insecure_upstream", &["hosts"]),
    ("max_timeout", &["timeout"]),
    ("max_attempts", &["count"]),
    ("require_rate_limit", &["hosts"]),
    ("require_middleware", &["types", "hosts"]),
    ("min_endpoints", &["count"]),
    ("protect", &["hosts", "routes", "pools"]),
    ("freeze", &["from", "until", "message"]),
];

/// Values of a rule of any name.
#[derive(Default)]
struct Values {
    hosts: Option<Vec<HostPattern>>,
    hosts_or_share: Option<()>,
    owner: Option<Owner>,
    removed_hosts: Option<Share>,
    removed_routes: Option<Share>,
    removed_endpoints: Option<Share>,
    routes: Option<Vec<RouteId>>,
    pools: Option<Vec<AppId>>,
    types: Option<Vec<Arc<str>>>,
    timeout: Option<Duration>,
    count: Option<u64>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    message: Option<Arc<str>>,
}

impl Values {
    fn rule(self, reader: &mut Reader<'_>, name: &'static str) -> Option<Option<Rule>> {
        let mut require = |name: &'static str, is_given: bool| {
            if !is_given && !reader.is_faulty(name) {
                reader.fault(name, Fault { code: "missing", message: "is required".to_owned() });
            }
        };
        let rule = match name {
            "reserved_hosts" => {
                require("hosts", self.hosts.is_some());
                Rule::ReservedHosts { hosts: self.hosts?, owner: self.owner.unwrap_or(Owner::File) }
            }
            "max_removed" => {
                let (hosts, routes, endpoints) =
                    (self.removed_hosts, self.removed_routes, self.removed_endpoints);
                require("hosts", hosts.is_some() || routes.is_some() || endpoints.is_some());
                Rule::MaxRemoved { hosts, routes, endpoints }
            }
            "require_tls" => Rule::RequireTls { hosts: self.hosts.unwrap_or_default() },
            "forbid_insecure_upstream" => {
                Rule::ForbidInsecureUpstream { hosts: self.hosts.unwrap_or_default() }
            }
            "max_timeout" => {
                require("timeout", self.timeout.is_some());
                Rule::MaxTimeout { max: self.timeout? }
            }
            "max_attempts" => {
                require("count", self.count.is_some());
                Rule::MaxAttempts { max: u8::try_from(self.count?).unwrap_or(u8::MAX) }
            }
            "require_rate_limit" => Rule::RequireRateLimit { hosts: self.hosts.unwrap_or_default() },
            "require_middleware" => {
                require("types", self.types.is_some());
                Rule::RequireMiddleware { types: self.types?, hosts: self.hosts.unwrap_or_default() }
            }
            "min_endpoints" => {
                require("count", self.count.is_some());
                Rule::MinEndpoints { min: u32::try_from(self.count?).ok()? }
            }
            "protect" => {
                let is_given = self.hosts.is_some() || self.routes.is_some() || self.pools.is_some();
                require("routes", is_given);
                Rule::Protect {
                    hosts: self.hosts.unwrap_or_default(),
                    routes: self.routes.unwrap_or_default(),
                    pools: self.pools.unwrap_or_default(),
                }
            }
            "freeze" => Rule::Freeze {
                from: self.from,
                until: self.until,
                message: self.message.unwrap_or_else(|| "changes are frozen".into()),
            },
            "require_reason" => Rule::RequireReason,
            _ => {
                reader.warn("rule", "unsupported", "is not supported by this version and has no effect");
                return Some(None);
            }
        };
        Some(Some(rule))
    }
}

static BAKE: Field<Duration> = Field {
    name: "bake",
    doc: "Time on one core before all others; 0 is none.",
    schema: long_duration_schema,
    parse: |given| at_most(long_duration(given)?, crate::limits::BAKE_MAX),
};

static OWNER: Field<Owner> = Field {
    name: "owner",
    doc: "The owner that may have the hosts; file when absent.",
    schema: || json!({ "type": "string", "enum": ["file", "admin", "api"] }),
    parse: |given| match given.text()? {
        "file" => Ok(Owner::File),
        "admin" => Ok(Owner::Admin),
        "api" => Ok(Owner::Api),
        _ => Err(Fault::invalid("must be one of file, admin, api")),
    },
};

static HOSTS: Field<Vec<HostPattern>> = Field {
    name: "hosts",
    doc: "Hosts: names and patterns.",
    schema: || list_schema(json!({ "type": "string" })),
    parse: |given| items(given, host),
};

static ROUTES: Field<Vec<RouteId>> = Field {
    name: "routes",
    doc: "Routes.",
    schema: || list_schema(id_schema("api-route")),
    parse: |given| items(given, |given| RouteId::parse(given.text()?).map_err(Fault::invalid)),
};

static POOLS: Field<Vec<AppId>> = Field {
    name: "pools",
    doc: "Pools.",
    schema: || list_schema(id_schema("api-pool")),
    parse: |given| items(given, |given| AppId::parse(given.text()?).map_err(Fault::invalid)),
};

static TYPES: Field<Vec<Arc<str>>> = Field {
    name: "types",
    doc: "Types of stages that every route passes, such as auth.",
    schema: || list_schema(json!({ "type": "string", "enum": STAGE_TYPES })),
    parse: |given| {
        let types = items(given, |given| {
            let given = given.text()?;
            let known = STAGE_TYPES.iter().find(|known| **known == given);
            known.map(|known| Arc::from(*known)).ok_or_else(|| {
                Fault::invalid(format_args!("must be types of stages: {}", STAGE_TYPES.join(", ")))
            })
        })?;
        match types.is_empty() {
            true => Err(Fault::range("must have at least one type")),
            false => Ok(types),
        }
    },
};

/// `hosts` of a rule without a name, whatever it means there.
static HOSTS_OR_SHARE: Field<()> = Field {
    name: "hosts",
    doc: "Hosts: names and patterns; of max_removed a share, such as 20%, or a number.",
    schema: || either_schema(json!({ "type": "string" })),
    parse: |_| Ok(()),
};

/// `routes` of a rule without a name.
static ROUTES_OR_SHARE: Field<()> = Field {
    name: "routes",
    doc: "Routes; of max_removed a share, such as 20%, or a number.",
    schema: || either_schema(id_schema("api-route")),
    parse: |_| Ok(()),
};

fn share(name: &'static str, doc: &'static str) -> Field<Share> {
    Field { name, doc, schema: share_schema, parse: parse_share }
}

fn moment(name: &'static str, doc: &'static str) -> Field<Timestamp> {
    Field {
        name,
        doc,
        schema: || json!({ "type": "string", "format": "date-time", "examples": ["2026-12-24T00:00:00Z"] }),
        parse: |given| {
            crate::values::timestamp(given.text()?)
                .ok_or_else(|| Fault::invalid("must be a time in UTC such as 2026-12-24T00:00:00Z"))
        },
    }
}

fn parse_share(given: Given<'_>) -> Result<Share, Fault> {
    if let Given::Json(Value::Text(text) | Value::Plain(text)) = given
        && let Some(number) = text.strip_suffix('%')
    {
        return number
            .parse()
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Share::Percent)
            .ok_or_else(|| Fault::range("must be from 0% to 100%"));
    }
    let number = given.unsigned().map_err(|fault| match given {
        Given::Json(Value::Text(_)) => Fault::invalid("must be a number, or a percentage such as 20%"),
        _ => fault,
    })?;
    u32::try_from(number).map(Share::Count).map_err(|_| Fault::range("must be less than 4294967296"))
}

fn items<T>(given: Given<'_>, one: fn(Given<'_>) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    match given {
        Given::Json(Value::Array(items)) => items.iter().map(|item| one(Given::Json(&item.value))).collect(),
        given => one(given).map(|one| vec![one]),
    }
}

fn list_schema(one: Json) -> Json {
    json!({ "oneOf": [{ "type": "array", "items": one.clone() }, one] })
}

fn share_schema() -> Json {
    json!({ "oneOf": [
        { "type": "string", "pattern": "^[0-9]+%$", "examples": ["20%"] },
        { "type": "integer", "minimum": 0 },
    ] })
}

fn either_schema(one: Json) -> Json {
    json!({ "oneOf": [{ "type": "array", "items": one.clone() }, one, { "type": "integer", "minimum": 0 }] })
}
