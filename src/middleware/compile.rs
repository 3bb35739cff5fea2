//! Compiles the chains of a route to one chain of stages.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_model::{
    FailMode, PluginId, PluginKind, PluginSpec, PolicyId, RewriteStage, STRUCTURED_LOGGER, StageSpec,
};

use crate::auth::Auth;
use crate::builtin::compress::Compress;
use crate::builtin::cors::Cors;
use crate::builtin::error_pages::ErrorPages;
use crate::builtin::header_transform::Headers;
use crate::builtin::ip_acl::IpAcl;
use crate::builtin::maintenance::Maintenance;
use crate::builtin::redirect::{CanonicalHost, Redirect};
use crate::builtin::security_headers::SecurityHeaders;
use crate::builtin::tracing::Tracing;
use crate::builtin::{self, Builtin, Kind};
use crate::chain::{Chain, Stage};
use crate::external::External;
use crate::request::RequestCtx;
use crate::{Flow, Middleware};

/// Sources of a chain.
#[derive(Clone, Copy)]
pub struct ChainSource<'a> {
    /// Stages of the embedder, which come first.
    pub custom: Option<&'a Chain>,
    /// Stages of the route's chains, in order.
    pub stages: &'a [&'a StageSpec],
    /// A plugin by its id.
    pub plugin: &'a dyn Fn(&PluginId) -> Option<Arc<PluginSpec>>,
    /// Stages of the embedder that plugins name.
    pub builtins: &'a Builtins,
}

/// Stages of the embedder by their names, for plugins of the type `builtin`.
#[derive(Clone, Debug, Default)]
pub struct Builtins(BTreeMap<Arc<str>, Stage>);

impl Builtins {
    /// Adds a stage; another one of this name is replaced.
    pub fn add(&mut self, name: &str, middleware: impl Middleware) {
        self.0.insert(name.into(), Stage::Custom(Arc::new(middleware)));
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    fn get(&self, name: &str) -> Option<&Stage> {
        self.0.get(name)
    }
}

/// Compiled chain, and the settings of stages that other phases apply.
#[derive(Debug, Default)]
pub struct CompiledChain {
    /// The stages; `None` without any.
    pub chain: Option<Arc<Chain>>,
    /// Policies of the rate limits that [`Flow::Limit`] numbers.
    pub limits: Vec<PolicyId>,
    /// Maximum bytes of a request body.
    pub body_limit: Option<u64>,
    /// Change of the path.
    pub rewrite: Option<RewriteStage>,
    /// Whether requests are logged.
    pub is_logged: Option<bool>,
}

/// Stage in place of one that cannot be compiled.
struct Closed;

impl Middleware for Closed {
    fn on_request(&self, _: &mut RequestCtx<'_>) -> Flow {
        Flow::Reply(builtin::closed())
    }
}

/// Compiles a chain.
pub fn compile(source: &ChainSource<'_>) -> CompiledChain {
    let mut compiled = CompiledChain::default();
    let mut stages: Vec<Stage> = source.custom.map_or_else(Vec::new, |custom| custom.stages().to_vec());
    for spec in source.stages {
        stages.extend(compiled.stage(spec, source));
    }
    compiled.chain = (!stages.is_empty()).then(|| Arc::new(Chain::new(stages)));
    compiled
}

impl CompiledChain {
    /// A chain that refuses all requests with 503.
    pub fn closed() -> Self {
        let stage = Stage::Custom(Arc::new(Closed));
        Self { chain: Some(Arc::new(Chain::new(vec![stage]))), ..Self::default() }
    }

    /// The compiled form of a stage; `None` for one that another phase applies.
    fn stage(&mut self, spec: &StageSpec, source: &ChainSource<'_>) -> Option<Stage> {
        let kind = match spec {
            StageSpec::Plugin(of) => match (source.plugin)(&of.plugin).map(|plugin| plugin.kind.clone()) {
                Some(PluginKind::External(filter)) => Kind::External(External::new(&filter)),
                Some(PluginKind::Builtin { name, .. }) if *name == *STRUCTURED_LOGGER => {
                    self.is_logged = Some(true);
                    return None;
                }
                Some(PluginKind::Builtin { name, fail_mode }) => {
                    match (source.builtins.get(&name), fail_mode) {
                        (Some(stage), _) => return Some(stage.clone()),
                        (None, FailMode::Open) => return None,
                        (None, FailMode::Closed) => Kind::Closed,
                    }
                }
                // The route must not be open by a mistake of ours.
                None => Kind::Closed,
            },
            StageSpec::Lua(of) => Kind::Lua(of.asserts.clone()),
            StageSpec::RequestId(spec) => Kind::RequestId(spec.header.clone()),
            StageSpec::Tracing(spec) => Kind::Tracing(Tracing::new(spec)),
            StageSpec::HeaderTransform(spec) => Kind::Headers(Headers::new(spec)),
            StageSpec::Cors(spec) => Kind::Cors(Cors::new(spec)),
            StageSpec::SecurityHeaders(spec) => Kind::SecurityHeaders(SecurityHeaders::new(spec)),
            StageSpec::Auth(spec) => Kind::Auth(Auth::new(spec)),
            StageSpec::IpAcl(spec) => Kind::IpAcl(IpAcl::new(spec)),
            StageSpec::Redirect(spec) => Kind::Redirect(Redirect::new(spec)),
            StageSpec::CanonicalHost(spec) => Kind::CanonicalHost(CanonicalHost::new(spec)),
            StageSpec::Maintenance(spec) => Kind::Maintenance(Maintenance::new(spec)),
            StageSpec::ErrorPages(spec) => Kind::ErrorPages(ErrorPages::new(spec)),
            StageSpec::RateLimit(limit) => {
                self.limits.push(limit.policy_ref.clone());
                Kind::Limit(self.limits.len() - 1)
            }
            StageSpec::BodyLimit(limit) => {
                self.body_limit = Some(self.body_limit.map_or(limit.size, |known| known.min(limit.size)));
                return None;
            }
            StageSpec::Rewrite(rewrite) => {
                self.rewrite = Some(rewrite.clone());
                return None;
            }
            StageSpec::Compress(spec) => Kind::Compress(Compress::new(spec)),
            StageSpec::AccessLog(log) => {
                self.is_logged = Some(log.enabled);
                return None;
            }
        };
        Some(Stage::Builtin(Arc::new(Builtin::new(spec, kind))))
    }
}
