//! Stages about the address of a request: `redirect`, `rewrite`, `canonical_host`.

use std::sync::Arc;

use ringway_model::{CanonicalHost, Hostname, PathRedirect, RewriteStage};
use serde_json::json;

use super::config;
use crate::limits::PATH_BYTES_MAX;
use crate::shapes::matcher::parse_path;
use crate::shapes::route::{REDIRECT_STATUS, REDIRECT_STATUS_DEFAULT, redirect_to, redirect_to_schema};
use crate::{Fault, Field, Reader};

/// Reads `redirect`.
pub(super) fn redirect(reader: &mut Reader<'_>) -> Option<PathRedirect> {
    config(reader, |reader| {
        let from = reader.required(&FROM);
        let to = reader.required(&TO);
        let status = reader.optional(&REDIRECT_STATUS).unwrap_or(REDIRECT_STATUS_DEFAULT);
        let (from, to) = (from?, to?);
        let (prefix, target) = (from.strip_suffix('*'), to.strip_suffix('*'));
        if target.is_some() && prefix.is_none() {
            let message = "has a final *, and from has none: there is no rest of the path".to_owned();
            reader.fault(TO.name, Fault { code: "conflict", message });
        }
        let leads_back = match prefix {
            Some(prefix) => to.starts_with(prefix),
            None => from == to,
        };
        if leads_back {
            let message = "is redirected by this stage again: clients would go round in circles".to_owned();
            reader.fault(TO.name, Fault { code: "conflict", message });
        }
        Some(PathRedirect { from, to, status })
    })
}

/// Reads `rewrite`: the one change of the path.
pub(super) fn rewrite(reader: &mut Reader<'_>) -> Option<RewriteStage> {
    config(reader, |reader| {
        let changes = [
            (STRIP.name, reader.optional(&STRIP).map(RewriteStage::StripPrefix)),
            (ADD.name, reader.optional(&ADD).map(RewriteStage::AddPrefix)),
            (REPLACE.name, reader.optional(&REPLACE).map(RewriteStage::ReplacePath)),
        ];
        let mut given = changes.into_iter().filter(|(name, _)| reader.has(name)).collect::<Vec<_>>();
        match given.len() {
            0 => {
                let message = "is required, or add_prefix or replace_path".to_owned();
                reader.fault(STRIP.name, Fault { code: "missing", message });
                None
            }
            1 => given.remove(0).1,
            _ => {
                let message = format!("cannot stand beside {}", given[0].0);
                reader.fault(given[1].0, Fault { code: "conflict", message });
                None
            }
        }
    })
}

/// Reads `canonical_host`.
pub(super) fn canonical_host(reader: &mut Reader<'_>) -> Option<CanonicalHost> {
    config(reader, |reader| {
        let host = reader.required(&HOST);
        let status = reader.optional(&REDIRECT_STATUS).unwrap_or(REDIRECT_STATUS_DEFAULT);
        Some(CanonicalHost { host: host?, status })
    })
}

static FROM: Field<Arc<str>> = Field {
    name: "from",
    doc: "The path; with a final /* all paths below.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": PATH_BYTES_MAX, "examples": ["/old/*"] }),
    parse: |given| {
        let path = parse_path(given.text()?)?;
        match path.strip_suffix("/*").unwrap_or(&path).contains('*') {
            true => Err(Fault::invalid("must have a * as its last segment only, as in /old/*")),
            false => Ok(path),
        }
    },
};

static TO: Field<Arc<str>> = Field {
    name: "to",
    doc: "An absolute URL, or a path on the same host; a final * stands for the rest of the path.",
    schema: redirect_to_schema,
    parse: |given| {
        let to = redirect_to(given)?;
        match to.strip_suffix('*').unwrap_or(&to).contains('*') {
            true => Err(Fault::invalid("must have a * at its end only")),
            false => Ok(to),
        }
    },
};

static STRIP: Field<Arc<str>> = Field {
    name: "strip_prefix",
    doc: "Prefix that is removed, by whole segments.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": PATH_BYTES_MAX, "examples": ["/api"] }),
    parse: |given| parse_path(given.text()?),
};

static ADD: Field<Arc<str>> =
    Field { name: "add_prefix", doc: "Prefix that is put before the path.", ..STRIP };

static REPLACE: Field<Arc<str>> =
    Field { name: "replace_path", doc: "Path in place of the whole one.", ..STRIP };

static HOST: Field<Arc<str>> = Field {
    name: "host",
    doc: "The host that requests for others are redirected to.",
    schema: || json!({ "type": "string", "examples": ["www.example.com"] }),
    parse: |given| Hostname::parse(given.text()?).map(|host| host.as_str().into()).map_err(Fault::invalid),
};
