//! Stored form of a route.

use std::sync::Arc;

use ringway_model::{
    AppId, CacheSpec, FieldMatch, FixedResponse, HostPattern, MiddlewareId, PathMatch, PoolRef, Redirect,
    Rewrite, Route, RouteAction, RouteId, RouteMatch, RouteSpec, TenantId, Timestamp, ValueMatch,
};
use serde::{Deserialize, Serialize};

use super::StoredOwner;
use super::domain::StoredClientAuth;
use super::policy::StoredPolicyRef;
use super::traffic::StoredTraffic;

/// The format of routes that this version writes. Format 3 had no traffic management, format 4 no middleware,
/// format 5 no cache.
const FORMAT: u32 = 6;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredRoute {
    format: u32,
    owner: StoredOwner,
    id: String,
    host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<StoredPath>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    methods: Vec<String>,
    /// Names with their values; without a value any one matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Option<String>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    query: Vec<(String, Option<String>)>,
    #[serde(default)]
    priority: i32,
    order: u32,
    action: StoredAction,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    policies: Vec<StoredPolicyRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_auth: Option<StoredClientAuth>,
    #[serde(default)]
    requires_client_cert: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traffic: Option<StoredTraffic>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    middleware: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache: Option<CacheSpec>,
    #[serde(default)]
    is_attached: bool,
    created_at: u64,
    updated_at: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPath {
    Exact(String),
    Prefix(String),
    Regex(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StoredAction {
    Pool { id: String, rewrite: Option<StoredRewrite> },
    App { id: String, rewrite: Option<StoredRewrite> },
    Redirect { to: String, status: u16, keep_path: bool },
    Respond { status: u16, content_type: String, body: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredRewrite {
    StripPrefix,
    ReplacePrefix(String),
    ReplacePath(String),
}

impl From<&Route> for StoredRoute {
    fn from(route: &Route) -> Self {
        let spec = &route.spec;
        Self {
            format: FORMAT,
            owner: StoredOwner(route.owner.clone()),
            id: spec.id.to_string(),
            host: spec.host.to_string(),
            tenant: spec.tenant.as_ref().map(TenantId::to_string),
            path: match &spec.matcher.path {
                PathMatch::Any => None,
                PathMatch::Exact(path) => Some(StoredPath::Exact(path.to_string())),
                PathMatch::Prefix(path) => Some(StoredPath::Prefix(path.to_string())),
                PathMatch::Regex(text) => Some(StoredPath::Regex(text.to_string())),
            },
            methods: spec.matcher.methods.iter().map(ToString::to_string).collect(),
            headers: fields(&spec.matcher.headers),
            query: fields(&spec.matcher.query),
            priority: spec.priority,
            order: spec.order,
            action: StoredAction::from(&spec.action),
            policies: spec.policies.iter().map(StoredPolicyRef::from).collect(),
            client_auth: spec.client_auth.as_ref().map(StoredClientAuth::from),
            requires_client_cert: spec.requires_client_cert,
            traffic: spec.traffic.as_deref().map(StoredTraffic::from),
            middleware: spec.middleware.iter().map(ToString::to_string).collect(),
            cache: spec.cache.as_deref().cloned(),
            is_attached: route.is_attached,
            created_at: route.created_at.0,
            updated_at: route.updated_at.0,
        }
    }
}

impl StoredRoute {
    pub(super) fn into_model(self) -> Option<Route> {
        (self.format <= FORMAT).then_some(())?;
        let policies: Option<Box<[_]>> = self.policies.into_iter().map(StoredPolicyRef::into_model).collect();
        let middleware: Result<Box<[_]>, _> =
            self.middleware.iter().map(|id| MiddlewareId::parse(id)).collect();
        let spec = RouteSpec {
            id: RouteId::parse(&self.id).ok()?,
            host: HostPattern::parse(&self.host).ok()?,
            tenant: self.tenant.map(|tenant| TenantId::parse(&tenant)).transpose().ok()?,
            matcher: RouteMatch {
                path: match self.path {
                    None => PathMatch::Any,
                    Some(StoredPath::Exact(path)) => PathMatch::Exact(path.into()),
                    Some(StoredPath::Prefix(path)) => PathMatch::Prefix(path.into()),
                    Some(StoredPath::Regex(text)) => PathMatch::Regex(text.into()),
                },
                methods: self.methods.into_iter().map(Arc::from).collect(),
                headers: conditions(self.headers),
                query: conditions(self.query),
            },
            priority: self.priority,
            order: self.order,
            action: self.action.into_model()?,
            policies: policies?,
            client_auth: match self.client_auth {
                Some(auth) => Some(auth.into_model()?),
                None => None,
            },
            requires_client_cert: self.requires_client_cert,
            traffic: match self.traffic {
                Some(traffic) => Some(Arc::new(traffic.into_model()?)),
                None => None,
            },
            middleware: middleware.ok()?,
            cache: self.cache.map(Arc::new),
        };
        Some(Route {
            spec: Arc::new(spec),
            owner: self.owner.0,
            is_attached: self.is_attached,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

fn fields(conditions: &[FieldMatch]) -> Vec<(String, Option<String>)> {
    let value = |value: &ValueMatch| match value {
        ValueMatch::Present => None,
        ValueMatch::Exact(text) => Some(text.to_string()),
    };
    conditions.iter().map(|field| (field.name.to_string(), value(&field.value))).collect()
}

fn conditions(fields: Vec<(String, Option<String>)>) -> Box<[FieldMatch]> {
    let value = |value: Option<String>| match value {
        None => ValueMatch::Present,
        Some(text) => ValueMatch::Exact(text.into()),
    };
    fields.into_iter().map(|(name, of)| FieldMatch { name: name.into(), value: value(of) }).collect()
}

impl From<&RouteAction> for StoredAction {
    fn from(action: &RouteAction) -> Self {
        match action {
            RouteAction::Proxy { pool, rewrite } => {
                let rewrite = match rewrite {
                    Rewrite::Keep => None,
                    Rewrite::StripPrefix => Some(StoredRewrite::StripPrefix),
                    Rewrite::ReplacePrefix(text) => Some(StoredRewrite::ReplacePrefix(text.to_string())),
                    Rewrite::ReplacePath(text) => Some(StoredRewrite::ReplacePath(text.to_string())),
                };
                match pool {
                    PoolRef::Pool(id) => Self::Pool { id: id.to_string(), rewrite },
                    PoolRef::App(id) => Self::App { id: id.to_string(), rewrite },
                }
            }
            RouteAction::Redirect(Redirect { to, status, keep_path }) => {
                Self::Redirect { to: to.to_string(), status: *status, keep_path: *keep_path }
            }
            RouteAction::Respond(FixedResponse { status, content_type, body }) => Self::Respond {
                status: *status,
                content_type: content_type.to_string(),
                body: body.to_string(),
            },
        }
    }
}

impl StoredAction {
    fn into_model(self) -> Option<RouteAction> {
        let rewrite = |stored: Option<StoredRewrite>| match stored {
            None => Rewrite::Keep,
            Some(StoredRewrite::StripPrefix) => Rewrite::StripPrefix,
            Some(StoredRewrite::ReplacePrefix(text)) => Rewrite::ReplacePrefix(text.into()),
            Some(StoredRewrite::ReplacePath(text)) => Rewrite::ReplacePath(text.into()),
        };
        Some(match self {
            Self::Pool { id, rewrite: stored } => {
                RouteAction::Proxy { pool: PoolRef::Pool(AppId::parse(&id).ok()?), rewrite: rewrite(stored) }
            }
            Self::App { id, rewrite: stored } => {
                RouteAction::Proxy { pool: PoolRef::App(AppId::parse(&id).ok()?), rewrite: rewrite(stored) }
            }
            Self::Redirect { to, status, keep_path } => {
                RouteAction::Redirect(Redirect { to: to.into(), status, keep_path })
            }
            Self::Respond { status, content_type, body } => RouteAction::Respond(FixedResponse {
                status,
                content_type: content_type.into(),
                body: body.into(),
            }),
        })
    }
}
