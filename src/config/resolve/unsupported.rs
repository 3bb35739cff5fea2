//! Warnings about valid parts of a document that the data plane of this version does not have.

use ringway_model::StageSpec;

use super::{about, warning};
use crate::Finding;
use crate::draft::Draft;

/// One warning for each such part, at the first route that uses it.
pub(super) fn unsupported(draft: &Draft) -> Vec<Finding> {
    let compresses = |id: &ringway_model::MiddlewareId| {
        let chain = draft.middlewares.iter().find(|chain| chain.id == *id);
        chain.is_some_and(|chain| chain.stages.iter().any(|stage| matches!(stage, StageSpec::Compress(_))))
    };
    let compressed = draft.routes.iter().find(|route| route.middleware.iter().any(compresses));
    let parts =
        [(compressed, "compresses, which this version does not support: its responses stay as they are")];
    let finding = |(route, message): (Option<&_>, &str)| {
        Some(warning(about(draft, route?, "unsupported", message.to_owned())))
    };
    parts.into_iter().filter_map(finding).collect()
}
