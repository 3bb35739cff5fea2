//! Shapes of requests about the configuration of operators.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::values::{at_most, duration, duration_schema};
use ringway_config::{Fault, Field, Given, Reader, Source, Value};
use ringway_control::{ApplyContent, DiffRequest, ExplainRequest, Mode, Proposal, PurgeSelector};
use ringway_model::Owner;
use serde_json::json;

use super::fields::reason;
use crate::limits::{CONFIG_BAKE_MAX, CONFIG_REASON_BYTES_MAX, CONFIG_SOURCES_MAX};

/// Parameter of the query with a header field.
pub(crate) const HEADERS_PARAMETER: &str = "header";
/// Name of the source that a request itself is.
pub(crate) const REQUEST: &str = "request";

/// `POST /api/v2/config/validate`, `POST /api/v2/config/simulate`
pub(crate) fn proposal(reader: &mut Reader<'_>) -> Option<Proposal> {
    let proposal = documents(reader);
    if proposal.is_none() {
        reader.fault(CONFIG.name, missing("config or sources"));
    }
    proposal
}

/// `POST /api/v2/config/diff`
pub(crate) fn diff(reader: &mut Reader<'_>) -> Option<DiffRequest> {
    let proposal = documents(reader);
    let (from, to) = (reader.filter(&FROM), reader.filter(&TO));
    match (proposal, from, to) {
        (Some(proposal), None, None) => Some(DiffRequest::Proposal(proposal)),
        (None, Some(from), Some(to)) => Some(DiffRequest::Versions { owner: owner(reader), from, to }),
        _ => {
            reader.fault(CONFIG.name, missing("config or sources, or else from and to"));
            None
        }
    }
}

/// A change of an owner's set.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) owner: Owner,
    pub(crate) content: ApplyContent,
    pub(crate) reason: Arc<str>,
    pub(crate) force_size: bool,
    pub(crate) bake: Option<Duration>,
}

/// `POST /api/v2/config/apply`
pub(crate) fn apply(reader: &mut Reader<'_>) -> Option<Application> {
    let proposal = documents(reader);
    let plan = reader.filter(&PLAN);
    let owner = owner(reader);
    let reason = reader.filter(&REASON).unwrap_or_default();
    let force_size = reader.filter(&FORCE_SIZE).unwrap_or(false);
    let bake = reader.filter(&CANARY).flatten();
    let content = match (proposal, plan) {
        (Some(proposal), None) => ApplyContent::Proposal(proposal),
        (None, Some(plan)) => ApplyContent::Plan(plan),
        _ => {
            reader.fault(CONFIG.name, missing("config, sources or plan, one of them"));
            return None;
        }
    };
    Some(Application { owner, content, reason, force_size, bake })
}

/// Return to a version.
#[derive(Debug)]
pub(crate) struct Rollback {
    pub(crate) owner: Owner,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) reason: Arc<str>,
}

/// `POST /api/v2/config/rollback`
pub(crate) fn rollback(reader: &mut Reader<'_>) -> Option<Rollback> {
    let version = reader.filter(&VERSION);
    let reason = reader.filter(&REASON).unwrap_or_default();
    Some(Rollback { owner: owner(reader), version, reason })
}

/// `POST /admin/reload`
pub(crate) fn reload(reader: &mut Reader<'_>) -> Option<(Arc<str>, bool)> {
    let reason = reader.filter(&REASON).unwrap_or_default();
    Some((reason, reader.filter(&FORCE_SIZE).unwrap_or(false)))
}

/// `GET /api/v2/config/current`, `GET /api/v2/config/history`: every owner, or one.
pub(crate) fn maybe_owner(reader: &mut Reader<'_>) -> Option<Option<Owner>> {
    Some(reader.filter(&OWNER))
}

/// `GET /api/v2/config/versions/{version}`
pub(crate) fn version(reader: &mut Reader<'_>) -> Option<(Owner, Arc<str>)> {
    let version = reader.key(&VERSION);
    Some((owner(reader), version?))
}

/// `GET /api/v2/config/explain`, `POST /api/v2/config/explain`
pub(crate) fn explain(reader: &mut Reader<'_>) -> Option<ExplainRequest> {
    let request = explain_request(reader);
    let proposal = documents(reader);
    Some(ExplainRequest { proposal, ..request? })
}

/// Request to explain by the configuration in force.
pub(super) fn explain_request(reader: &mut Reader<'_>) -> Option<ExplainRequest> {
    let url = reader.key(&URL);
    let method = reader.filter(&METHOD).unwrap_or_else(|| "GET".into());
    let mut headers = reader.optional(&HEADERS).unwrap_or_default();
    headers.extend(reader.filter(&HEADER).unwrap_or_default());
    let client = reader.filter(&CLIENT);
    Some(ExplainRequest { url: url?, method, headers, client, proposal: None })
}

fn missing(wanted: &str) -> Fault {
    Fault { code: "missing", message: format!("is required: {wanted}") }
}

fn owner(reader: &mut Reader<'_>) -> Owner {
    reader.filter(&OWNER).unwrap_or(Owner::Admin)
}

/// Reads the documents of a request, if it has any.
fn documents(reader: &mut Reader<'_>) -> Option<Proposal> {
    let config = reader.optional(&CONFIG);
    let sources = reader.optional(&SOURCES);
    let mode = reader.filter(&MODE).unwrap_or_default();
    let sources = match (config, sources) {
        (Some(text), None) => vec![Source { name: REQUEST.into(), text }],
        (None, Some(sources)) => sources.into_iter().map(|(name, text)| Source { name, text }).collect(),
        (Some(_), Some(_)) => {
            reader.fault(
                SOURCES.name,
                Fault { code: "conflict", message: "contradicts config; send one of them".into() },
            );
            return None;
        }
        (None, None) => return None,
    };
    Some(Proposal { owner: owner(reader), sources, mode })
}

static CONFIG: Field<String> = Field {
    name: "config",
    doc: "The configuration as an object: routes, pools, policies and so on, as in a configuration file.",
    schema: || json!({ "type": "object" }),
    parse: |given| match given {
        Given::Json(value @ Value::Object(_)) => Ok(json_text(value)),
        Given::Json(other) => Err(Fault::mistyped("an object", other)),
        Given::Text(_) => Err(Fault::invalid("must be in the body")),
    },
};

static SOURCES: Field<Vec<(Arc<str>, String)>> = Field {
    name: "sources",
    doc: "The configuration as texts in YAML or JSON, read together: findings have their file, line and column.",
    schema: || {
        json!({ "type": "array", "maxItems": CONFIG_SOURCES_MAX, "items": {
            "type": "object", "required": ["name", "text"], "additionalProperties": false,
            "properties": { "name": { "type": "string", "maxLength": 255 }, "text": { "type": "string" } },
        } })
    },
    parse: sources,
};

fn sources(given: Given<'_>) -> Result<Vec<(Arc<str>, String)>, Fault> {
    let wrong = || Fault::invalid("must be a list of objects with name and text");
    let Given::Json(Value::Array(items)) = given else { return Err(wrong()) };
    if items.len() > CONFIG_SOURCES_MAX {
        return Err(Fault::range(format_args!("must have at most {CONFIG_SOURCES_MAX} items")));
    }
    let source = |node: &ringway_config::Node<'_>| {
        let Value::Object(object) = &node.value else { return Err(wrong()) };
        match (object.value("name"), object.value("text"), object.members().len()) {
            (Some(Value::Text(name)), Some(Value::Text(text)), 2) if name.len() <= 255 => {
                Ok((Arc::from(&**name), text.to_string()))
            }
            _ => Err(wrong()),
        }
    };
    items.iter().map(source).collect()
}

static OWNER: Field<Owner> = Field {
    name: "owner",
    doc: "Owner of the configuration: admin when absent.",
    schema: || json!({ "type": "string", "enum": ["file", "admin"], "default": "admin" }),
    parse: |given| match Owner::parse(given.text()?) {
        Ok(owner) if owner.is_operator() => Ok(owner),
        _ => Err(Fault::invalid("must be file or admin")),
    },
};

static MODE: Field<Mode> = Field {
    name: "mode",
    doc: "Treatment of sections that the documents leave out: merge keeps them, replace empties them.",
    schema: || json!({ "type": "string", "enum": ["merge", "replace"], "default": "merge" }),
    parse: |given| Mode::parse(given.text()?).ok_or_else(|| Fault::invalid("must be merge or replace")),
};

static PLAN: Field<Arc<str>> = Field {
    name: "plan",
    doc: "Plan of an earlier diff, instead of documents: applied only while no configuration has changed since.",
    schema: || json!({ "type": "string", "maxLength": 255 }),
    parse: short_text,
};

static REASON: Field<Arc<str>> = Field {
    name: "reason",
    doc: "Reason, for history and audit log.",
    schema: || json!({ "type": "string", "maxLength": CONFIG_REASON_BYTES_MAX }),
    parse: reason,
};

static FORCE_SIZE: Field<bool> = Field {
    name: "force_size",
    doc: "Whether a set that doubles or halves is accepted.",
    schema: || json!({ "type": "boolean", "default": false }),
    parse: boolean,
};

static CANARY: Field<Option<Duration>> = Field {
    name: "canary",
    doc: "Time for which one core alone uses the change first, as 30s; false for none, and true for that of the configuration.",
    schema: || json!({ "oneOf": [{ "type": "boolean" }, duration_schema("30s")] }),
    parse: |given| match boolean(given) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(Duration::ZERO)),
        Err(_) => at_most(duration(given)?, CONFIG_BAKE_MAX).map(Some),
    },
};

static VERSION: Field<Arc<str>> = Field {
    name: "version",
    doc: "Version of an owner's configuration: 12 hexadecimal digits.",
    schema: || json!({ "type": "string", "examples": ["3f2a90c4d1e7"] }),
    parse: short_text,
};

static FROM: Field<Arc<str>> =
    Field { name: "from", doc: "Version to compare from, instead of documents.", ..VERSION };

static TO: Field<Arc<str>> = Field { name: "to", doc: "Version to compare with.", ..VERSION };

static URL: Field<Arc<str>> = Field {
    name: "url",
    doc: "URL of the request to explain; the scheme may be left out.",
    schema: || json!({ "type": "string", "maxLength": 8192, "examples": ["https://api.example.com/v1/users"] }),
    parse: |given| match given.text()? {
        text if text.len() <= 8192 => explained_url(text),
        _ => Err(Fault::range("must have at most 8192 bytes")),
    },
};

/// URL of a request, with its scheme in lower case.
fn explained_url(text: &str) -> Result<Arc<str>, Fault> {
    PurgeSelector::url(text).map_err(Fault::invalid)?;
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(Fault::invalid("has blanks or control characters: write them as %20 and the like"));
    }
    Ok(["http://", "https://"]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map_or_else(|| text.into(), |scheme| [scheme, &text[scheme.len()..]].concat().into()))
}

static METHOD: Field<Arc<str>> = Field {
    name: "method",
    doc: "Its method; GET when absent.",
    schema: || json!({ "type": "string", "default": "GET" }),
    parse: short_text,
};

static CLIENT: Field<IpAddr> = Field {
    name: "client",
    doc: "Address of its client; stages that judge the address are undecided without one.",
    schema: || json!({ "type": "string", "examples": ["192.0.2.1", "2001:db8::1"] }),
    parse: |given| given.text()?.parse().map_err(|_| Fault::invalid("must be an IP address, without a port")),
};

/// A header field: name and value.
type Header = (Arc<str>, Arc<str>);

static HEADER: Field<Vec<Header>> = Field {
    name: HEADERS_PARAMETER,
    doc: "Its header fields, as `Name: value`; in the query repeated for each.",
    schema: || json!({ "type": "string", "examples": ["X-Cohort: beta"] }),
    parse: |given| {
        let field = |line: &str| {
            let (name, value) =
                line.split_once(':').ok_or_else(|| Fault::invalid("must be a name, a colon and a value"))?;
            Ok((name.trim().into(), value.trim().into()))
        };
        given.text()?.lines().map(field).collect()
    },
};

static HEADERS: Field<Vec<Header>> = Field {
    name: "headers",
    doc: "Its header fields: pairs of name and value.",
    schema: || json!({ "type": "array", "items": { "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 2 } }),
    parse: |given| {
        let wrong = || Fault::invalid("must be a list of pairs of name and value");
        let Given::Json(Value::Array(items)) = given else { return Err(wrong()) };
        let pair = |node: &ringway_config::Node<'_>| match &node.value {
            Value::Array(pair) => match pair.as_slice() {
                [name, value] => match (&name.value, &value.value) {
                    (Value::Text(name), Value::Text(value)) => Ok((Arc::from(&**name), Arc::from(&**value))),
                    _ => Err(wrong()),
                },
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        };
        items.iter().map(pair).collect()
    },
};

fn short_text(given: Given<'_>) -> Result<Arc<str>, Fault> {
    match given.text()? {
        text if (1..=255).contains(&text.len()) => Ok(text.into()),
        _ => Err(Fault::invalid("must have 1 to 255 bytes")),
    }
}

pub(super) fn boolean(given: Given<'_>) -> Result<bool, Fault> {
    match given {
        Given::Json(Value::Bool(value)) => Ok(*value),
        Given::Text("true") => Ok(true),
        Given::Text("false") => Ok(false),
        _ => Err(Fault::invalid("must be true or false")),
    }
}

/// Serialises a value of a body.
fn json_text(value: &Value<'_>) -> String {
    let mut out = String::new();
    push_json(value, &mut out);
    out
}

fn push_json(value: &Value<'_>, out: &mut String) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match value {
        Value::Null | Value::Refused => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Unsigned(number) => out.push_str(&number.to_string()),
        Value::Negative(number) => out.push_str(&number.to_string()),
        Value::Fraction(number) => out.push_str(&serde_json::Value::from(*number).to_string()),
        Value::Text(text) | Value::Plain(text) => out.push_str(&quoted(text)),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_json(&item.value, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (at, member) in object.members().iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&quoted(&member.name));
                out.push(':');
                push_json(&member.node.value, out);
            }
            out.push('}');
        }
    }
}
