//! Routes: hosts and conditions of requests, and the action for them.

use std::sync::Arc;

use ringway_model::limits::FIXED_BODY_BYTES_MAX;
use ringway_model::{
    AppId, FixedResponse, HostPattern, Kind, PathMatch, PoolRef, Redirect, Rewrite, RouteAction, RouteId,
    RouteMatch, RouteSpec, TenantId,
};
use serde_json::json;

use super::cache;
use super::compression;
use super::matcher::{HOST, PATH_REGEX, conditions, is_field_value, parse_path};
use super::middleware::middleware_of_route;
use super::policy::policy_refs;
use super::tenant_id;
use crate::draft::Draft;
use crate::fields::client_auth;
use crate::limits::PATH_BYTES_MAX;
use crate::values::{boolean, id_schema};
use crate::{Fault, Field, Given, Reader};

/// Reads `routes`.
pub(super) fn routes(reader: &mut Reader<'_>, draft: &mut Draft) {
    let routes =
        reader.list("routes", "Routes; within a host the most specific one serves a request.", |reader| {
            route(reader, draft)
        });
    draft.sections.routes |= routes.is_some();
    draft.routes.extend(routes.unwrap_or_default());
}

fn route(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<RouteSpec> {
    let id = reader.required(&ID);
    match &id {
        Some(id) => draft.declare(reader, Kind::Route, id.as_str(), ID.name),
        None => draft.names.unreadable.push(Kind::Route),
    }
    let host = reader.optional(&HOST).unwrap_or(HostPattern::Any);
    let matcher = conditions(reader);
    let priority = reader.optional(&PRIORITY).unwrap_or(0);
    let tenant = reader.optional(&TENANT);
    let rewrite = rewrite(reader, &matcher);
    let action = action(reader, draft, rewrite);
    let mut policies = policy_refs(reader, draft);
    let client_auth = client_auth(reader);
    let requires_client_cert = reader.optional(&REQUIRE_MTLS).unwrap_or(false);
    let middleware = middleware_of_route(reader, draft, id.as_ref());
    compression::of_route(reader, draft, id.as_ref());
    cache::of_route(reader, draft, id.as_ref());
    if requires_client_cert && client_auth.is_none() {
        let id = id.as_ref().map_or("", RouteId::as_str);
        let reference = draft.reference(reader, Kind::Route, id, REQUIRE_MTLS.name);
        draft.mtls_routes.push(reference);
    }
    policies.extend(draft.defaults.policy.clone());
    let order = draft.next_order();
    let id = id?;
    if let HostPattern::Regex(_) = host {
        draft.check_later(reader, &id, HOST.name);
    }
    if let PathMatch::Regex(_) = matcher.path {
        draft.check_later(reader, &id, PATH_REGEX.name);
    }
    if let Some(RouteAction::Redirect(_)) = action {
        draft.check_later(reader, &id, REDIRECT.name);
    }
    Some(RouteSpec {
        id,
        host,
        tenant,
        matcher,
        priority,
        order,
        action: action?,
        policies: policies.into(),
        client_auth,
        requires_client_cert,
        traffic: None,
        middleware,
        cache: None,
    })
}

/// Reads the one action of a route.
fn action(reader: &mut Reader<'_>, draft: &mut Draft, rewrite: Rewrite) -> Option<RouteAction> {
    let pool = reader.optional(&POOL);
    if let Some(pool) = &pool {
        draft.refer(reader, Kind::App, pool.as_str(), POOL.name);
    }
    let app = reader.optional(&APP);
    let redirect = redirect(reader);
    let respond = reader.object("respond", "Answers with a fixed response.", respond);
    let names = [POOL.name, APP.name, REDIRECT.name, "respond"];
    let mut given = names.into_iter().filter(|name| reader.has(name));
    let Some(first) = given.next() else {
        reader.fault(
            POOL.name,
            Fault { code: "missing", message: "is required, or one of app, redirect, respond".to_owned() },
        );
        return None;
    };
    if let Some(second) = given.next() {
        reader.fault(second, Fault { code: "conflict", message: format!("cannot stand beside {first}") });
        return None;
    }
    let is_proxied = matches!(first, "pool" | "app");
    if !is_proxied && rewrite != Rewrite::Keep {
        let message = format!("changes the path of a forwarded request, and {first} forwards none");
        for name in [STRIP_PREFIX.name, REPLACE_PREFIX.name, REPLACE_PATH.name] {
            if reader.has(name) {
                reader.fault(name, Fault { code: "conflict", message: message.clone() });
            }
        }
    }
    let proxy = |pool| RouteAction::Proxy { pool, rewrite };
    pool.map(PoolRef::Pool)
        .or(app.map(PoolRef::App))
        .map(proxy)
        .or(redirect.map(RouteAction::Redirect))
        .or(respond.map(RouteAction::Respond))
}

/// Reads the change of the path; a prefix can only be changed where the route has one.
fn rewrite(reader: &mut Reader<'_>, matcher: &RouteMatch) -> Rewrite {
    let strip = reader.optional(&STRIP_PREFIX).filter(|strip| *strip).map(|_| Rewrite::StripPrefix);
    let replace_prefix = reader.optional(&REPLACE_PREFIX).map(Rewrite::ReplacePrefix);
    let replace_path = reader.optional(&REPLACE_PATH).map(Rewrite::ReplacePath);
    let given = [
        (STRIP_PREFIX.name, strip),
        (REPLACE_PREFIX.name, replace_prefix),
        (REPLACE_PATH.name, replace_path),
    ];
    let mut given = given.into_iter().filter_map(|(name, rewrite)| rewrite.map(|rewrite| (name, rewrite)));
    let (Some((first, rewrite)), second) = (given.next(), given.next()) else { return Rewrite::Keep };
    if let Some((second, _)) = second {
        reader.fault(second, Fault { code: "conflict", message: format!("cannot stand beside {first}") });
    }
    let needs_prefix = matches!(rewrite, Rewrite::StripPrefix | Rewrite::ReplacePrefix(_));
    if needs_prefix && !matches!(matcher.path, PathMatch::Prefix(_)) && !reader.is_faulty("path_prefix") {
        reader.fault(first, Fault { code: "conflict", message: "needs path_prefix".to_owned() });
    }
    rewrite
}

fn redirect(reader: &mut Reader<'_>) -> Option<Redirect> {
    reader.short_or_object(&REDIRECT, |reader| {
        let to = reader.required(&REDIRECT_TO);
        let status = reader.optional(&REDIRECT_STATUS).unwrap_or(REDIRECT_STATUS_DEFAULT);
        let keep_path = reader.optional(&KEEP_PATH).unwrap_or(false);
        if keep_path && to.as_ref().is_some_and(|to| to.contains(['?', '#'])) {
            let message = "must not have a query or a fragment beside keep_path: the path would follow it";
            reader.fault(REDIRECT_TO.name, Fault { code: "conflict", message: message.to_owned() });
        }
        Some(Redirect { to: to?, status, keep_path })
    })
}

fn respond(reader: &mut Reader<'_>) -> Option<FixedResponse> {
    let status = reader.optional(&RESPOND_STATUS).unwrap_or(200);
    let content_type = reader.optional(&CONTENT_TYPE).unwrap_or_else(|| "text/plain; charset=utf-8".into());
    let body: Arc<str> = reader.optional(&BODY).unwrap_or_default();
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        reader.fault(BODY.name, Fault::invalid(format_args!("must be empty with status {status}")));
    }
    Some(FixedResponse { status, content_type, body })
}

impl Draft {
    /// The position of the next route.
    pub(super) fn next_order(&mut self) -> u32 {
        let order = self.order;
        self.order += 1;
        order
    }
}

/// Id of a route.
static ID: Field<RouteId> = Field {
    name: "id",
    doc: "Id of the route.",
    schema: || id_schema("api-route"),
    parse: |given| RouteId::parse(given.text()?).map_err(Fault::invalid),
};

static PRIORITY: Field<i32> = Field {
    name: "priority",
    doc: "Rank among the routes of the host, before all else; the highest first. 0 when absent.",
    schema: || json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }),
    parse: |given| given.integer(),
};

static TENANT: Field<TenantId> = Field {
    name: "tenant",
    doc: "Id of the tenant that the route belongs to; sent to the endpoint in X-Tenant-ID.",
    schema: || id_schema("tenant-123"),
    parse: tenant_id,
};

static POOL: Field<AppId> = Field {
    name: "pool",
    doc: "The pool that requests are forwarded to.",
    schema: || id_schema("api-pool"),
    parse: |given| AppId::parse(given.text()?).map_err(Fault::invalid),
};

static APP: Field<AppId> = Field {
    name: "app",
    doc: "The app, registered over the API, that requests are forwarded to.",
    schema: || id_schema("app1"),
    ..POOL
};

static STRIP_PREFIX: Field<bool> =
    boolean("strip_prefix", "Whether path_prefix is removed from the path before it is forwarded.");

static REPLACE_PREFIX: Field<Arc<str>> = Field {
    name: "replace_prefix",
    doc: "Path that takes the place of path_prefix before the request is forwarded.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": PATH_BYTES_MAX }),
    parse: |given| parse_path(given.text()?),
};

static REPLACE_PATH: Field<Arc<str>> = Field {
    name: "replace_path",
    doc: "Path that takes the place of the whole path before the request is forwarded.",
    ..REPLACE_PREFIX
};

static REQUIRE_MTLS: Field<bool> = boolean("require_mtls", "Whether a request needs a client certificate.");

static REDIRECT: Field<Redirect> = Field {
    name: "redirect",
    doc: "Redirects the client: a URL or a path, or an object.",
    schema: redirect_to_schema,
    parse: |given| {
        let to = redirect_to(given)?;
        Ok(Redirect { to, status: REDIRECT_STATUS_DEFAULT, keep_path: false })
    },
};

static REDIRECT_TO: Field<Arc<str>> = Field {
    name: "to",
    doc: "An absolute URL, or a path on the same host.",
    schema: redirect_to_schema,
    parse: redirect_to,
};

/// Status of a redirect.
pub(super) static REDIRECT_STATUS: Field<u16> = Field {
    name: "status",
    doc: "Status; 308 when absent.",
    schema: || json!({ "type": "integer", "enum": REDIRECT_STATUSES }),
    parse: |given| {
        let status = given.unsigned()?;
        REDIRECT_STATUSES
            .into_iter()
            .find(|known| u64::from(*known) == status)
            .ok_or_else(|| Fault::range("must be one of 301, 302, 303, 307, 308"))
    },
};

const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
/// Permanent, and the method is kept (RFC 9110 §15.4.9).
pub(super) const REDIRECT_STATUS_DEFAULT: u16 = 308;

static KEEP_PATH: Field<bool> =
    boolean("keep_path", "Whether path and query of the request are appended; not when absent.");

static RESPOND_STATUS: Field<u16> = Field {
    name: "status",
    doc: "Status; 200 when absent.",
    schema: || json!({ "type": "integer", "minimum": 200, "maximum": 599 }),
    parse: |given| match given.unsigned()? {
        status @ 200..=599 => Ok(status as u16),
        _ => Err(Fault::range("must be from 200 to 599")),
    },
};

/// Media type of a content.
pub(super) static CONTENT_TYPE: Field<Arc<str>> = Field {
    name: "content_type",
    doc: "Media type; text/plain in UTF-8 when absent.",
    schema: || json!({ "type": "string", "maxLength": CONTENT_TYPE_BYTES_MAX, "examples": ["application/json"] }),
    parse: |given| {
        let text = given.text()?;
        let is_good = text.contains('/') && is_field_value(text) && text.len() <= CONTENT_TYPE_BYTES_MAX;
        is_good.then(|| text.into()).ok_or_else(|| Fault::invalid("must be a media type such as text/html"))
    },
};

/// Bytes of a media type.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

static BODY: Field<Arc<str>> = Field {
    name: "body",
    doc: "Content.",
    schema: || json!({ "type": "string", "maxLength": FIXED_BODY_BYTES_MAX }),
    parse: |given| {
        let text = given.text()?;
        match text.len() <= FIXED_BODY_BYTES_MAX {
            true => Ok(text.into()),
            false => Err(Fault::range(format_args!("must not be longer than {FIXED_BODY_BYTES_MAX} bytes"))),
        }
    },
};

pub(super) fn redirect_to_schema() -> serde_json::Value {
    json!({ "type": "string", "pattern": "^(https?://|/)", "maxLength": PATH_BYTES_MAX, "examples": ["https://www.example.com"] })
}

/// Parses the target of a redirect. `//host` would be another host by accident.
pub(super) fn redirect_to(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?;
    let is_url = ["http://", "https://"]
        .iter()
        .filter_map(|scheme| text.strip_prefix(scheme))
        .any(|rest| !rest.is_empty() && !rest.starts_with('/'));
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if !(is_url || is_path) || !is_visible {
        return Err(Fault::invalid("must be an absolute URL such as https://www.example.com, or a path"));
    }
    match text.len() <= PATH_BYTES_MAX {
        true => Ok(text.into()),
        false => Err(Fault::range(format_args!("must not be longer than {PATH_BYTES_MAX} bytes"))),
    }
}

/// Parses path and query of a request.
pub(super) fn request_target(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?;
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\\".contains(&byte));
    match text.starts_with('/') && is_visible && text.len() <= PATH_BYTES_MAX {
        true => Ok(text.into()),
        false => Err(Fault::invalid(format_args!(
            "must be a path such as /check: visible ASCII without # and \\, at most {PATH_BYTES_MAX} bytes"
        ))),
    }
}
