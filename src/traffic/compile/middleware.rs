//! Middleware of rules: the chains of their routes, compiled.

use std::sync::Arc;

use ringway_middleware::{ChainSource, CompiledChain, compile};
use ringway_model::{Desired, PolicySettings, Route, StageSpec};

use super::draft::{Draft, Known};
use super::traffic::Layers;
use crate::rate_limit::LimitScope;

impl Draft<'_> {
    /// The chain of a route, with the embedder's stages first; the known one if nothing of it has changed.
    pub(super) fn middleware(&self, desired: &Desired, route: &Route, known: Known<'_>) -> CompiledChain {
        let custom = self.settings.defaults.stages.as_ref();
        if route.spec.middleware.is_empty() {
            return CompiledChain { chain: custom.cloned(), ..CompiledChain::default() };
        }
        let mut stages: Vec<&StageSpec> = Vec::new();
        for id in &route.spec.middleware {
            match desired.middleware(id.as_str()) {
                Some(chain) => stages.extend(&chain.spec.stages),
                // Conflicts rule it out; the route must not be open by a mistake of ours.
                None => return CompiledChain::closed(),
            }
        }
        let plugin = |id: &ringway_model::PluginId| desired.plugin(id.as_str()).map(|of| of.spec.clone());
        let source = ChainSource {
            custom: custom.map(|custom| &**custom),
            stages: &stages,
            plugin: &plugin,
            builtins: &self.settings.defaults.builtins,
        };
        let mut compiled = compile(&source);
        let known = match known {
            Known::Own(known) | Known::Adopted(known) => known.stages.as_ref(),
            Known::New => None,
        };
        if let Some(known) = known
            && compiled.chain.as_deref() == Some(known)
        {
            compiled.chain = Some(Arc::clone(known));
        }
        compiled
    }
}

impl Layers {
    /// Lowers the limit of request bodies.
    pub(super) fn limit_bodies(&mut self, limit: Option<u64>) {
        let Some(limit) = limit else { return };
        let limit = self.merged().body_size_limit.map_or(limit, |known| known.min(limit));
        let settings = PolicySettings { body_size_limit: Some(limit), ..PolicySettings::default() };
        // Without a rate limit, the scope has no meaning.
        self.0.insert(0, (LimitScope::Process, Arc::new(settings)));
    }
}
