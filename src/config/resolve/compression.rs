//! Compression of the document, given to its routes as a chain before all others: of a response it runs last.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::{Compress, MiddlewareId, MiddlewareSpec, RouteAction, RouteId, StageSpec};

use super::about;
use crate::Finding;
use crate::draft::{Draft, RouteCompression};
use crate::shapes::{COMPRESSION_CHAIN, chain_of_route};

/// Gives each route its compression.
pub(super) fn give(draft: &mut Draft) -> Vec<Finding> {
    let of_routes: HashMap<RouteId, RouteCompression, ahash::RandomState> =
        std::mem::take(&mut draft.compressed).into_iter().collect();
    let is_for_all = draft.compression.as_ref().is_some_and(|section| section.is_enabled);
    let (mut own, mut is_shared, mut findings) = (Vec::new(), false, Vec::new());
    let Ok(shared) = MiddlewareId::parse(COMPRESSION_CHAIN) else { return findings };
    for at in 0..draft.routes.len() {
        let route = &draft.routes[at];
        let forwards = matches!(route.action, RouteAction::Proxy { .. });
        let chain = match of_routes.get(&route.id) {
            Some(RouteCompression::Off) => continue,
            None if !is_for_all || !forwards => continue,
            Some(_) if !forwards => {
                let message = "has compress and forwards no requests: its responses are short".to_owned();
                findings.push(about(draft, route, "conflict", message));
                continue;
            }
            Some(RouteCompression::Own(settings)) => {
                let Some(chain) = chain_of_route(&route.id) else { continue };
                own.push(chain_of(chain.clone(), settings.clone()));
                chain
            }
            Some(RouteCompression::Shared) | None => {
                is_shared = true;
                shared.clone()
            }
        };
        let route = &mut draft.routes[at];
        let others = std::mem::take(&mut route.middleware).into_vec();
        route.middleware = std::iter::once(chain).chain(others).collect();
    }
    draft.middlewares.extend(own);
    if is_shared {
        let settings = draft.compression.take().map_or_else(Compress::default, |section| section.settings);
        draft.middlewares.push(chain_of(shared, settings));
    }
    findings
}

fn chain_of(id: MiddlewareId, settings: Compress) -> Arc<MiddlewareSpec> {
    Arc::new(MiddlewareSpec { id, stages: [StageSpec::Compress(settings)].into() })
}
