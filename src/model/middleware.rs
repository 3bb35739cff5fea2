//! Middleware: named chains of stages around the requests of routes, and plugins that stages refer to.
//!
//! Serde writes the types of this module for stored records; documents have a shorter form for some of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Configured, Kind, MiddlewareId, Owner, PluginId, Timestamp};

mod auth;
mod external;
mod protected;
mod stage;
mod template;

pub use auth::{
    ApiKey, ApiKeys, AuthMethod, AuthStage, BasicAuth, ClaimField, ClaimRule, CredentialSource, JwtAuth,
    JwtKeys, TokenPlace,
};
pub use external::{DecisionCache, ExternalFilter, ExternalProtocol, FailMode};
pub use protected::Direction;
pub use stage::{
    AccessLogStage, BodyLimit, CanonicalHost, Coding, Compress, Cors, ErrorPage, ErrorPages, FrameOptions,
    HeaderEdits, HeaderTransform, Hsts, IpAcl, LuaStage, Maintenance, PathRedirect, PluginRef, RateLimitRef,
    RequestIdStage, RewriteStage, SecurityHeaders, StageSpec, TracingStage,
};
pub use template::{Template, TemplateError, TemplatePart, Variable};

/// A named chain of stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Middleware {
    /// The values that the owner gave.
    pub spec: Arc<MiddlewareSpec>,
    /// The owner.
    pub owner: Owner,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// A named chain as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiddlewareSpec {
    /// The id.
    pub id: MiddlewareId,
    /// Stages, in the order of request processing.
    pub stages: Box<[StageSpec]>,
}

/// A named plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// The values that the owner gave.
    pub spec: Arc<PluginSpec>,
    /// The owner.
    pub owner: Owner,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// A plugin as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSpec {
    /// The id.
    pub id: PluginId,
    /// The kind, with its settings.
    pub kind: PluginKind,
}

/// Name of the builtin plugin that has requests logged, whatever the `access_log` of their chains says.
pub const STRUCTURED_LOGGER: &str = "structured_logger";

/// Kind of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// A service that decides about requests.
    External(ExternalFilter),
    /// A stage of the binary, or of an embedder, by its name.
    Builtin {
        /// Its name.
        name: Arc<str>,
        /// Treatment of requests when it is unknown or fails.
        fail_mode: FailMode,
    },
}

impl MiddlewareSpec {
    /// Kinds and keys of the plugins and pools that its stages refer to; one may come twice.
    pub fn references(&self) -> impl Iterator<Item = (Kind, Arc<str>)> {
        self.stages.iter().flat_map(|stage| {
            let plugin = match stage {
                StageSpec::Plugin(of) => Some((Kind::Plugin, Arc::from(of.plugin.as_str()))),
                _ => None,
            };
            let filters = match stage {
                StageSpec::Auth(auth) => &*auth.any_of,
                _ => &[],
            };
            let pools = filters.iter().filter_map(AuthMethod::filter);
            plugin.into_iter().chain(pools.map(|filter| (Kind::App, Arc::from(filter.pool.as_str()))))
        })
    }

    /// Origins of the credentials that its stages need; one may come twice.
    pub fn sources(&self) -> impl Iterator<Item = CredentialSource> {
        let auths = self.stages.iter().filter_map(|stage| match stage {
            StageSpec::Auth(auth) => Some(auth),
            _ => None,
        });
        auths.flat_map(|auth| auth.any_of.iter().filter_map(AuthMethod::source))
    }
}

impl PluginSpec {
    /// The external filter, unless it is builtin.
    pub fn external(&self) -> Option<&ExternalFilter> {
        match &self.kind {
            PluginKind::External(filter) => Some(filter),
            PluginKind::Builtin { .. } => None,
        }
    }
}

impl Configured for Middleware {
    fn key(&self) -> &str {
        self.spec.id.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        None
    }
}

impl Configured for Plugin {
    fn key(&self) -> &str {
        self.spec.id.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        None
    }
}
