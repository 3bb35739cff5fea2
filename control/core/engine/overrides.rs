//! Overrides of endpoints that end with their endpoint.

use ringway_model::{Delta, Resource};

/// Logs the overrides that a change has dropped: the removal of each stands before that of its endpoint.
pub(super) fn log_dropped(deltas: &[Delta]) {
    for pair in deltas.windows(2) {
        if let [Delta::Remove(Resource::EndpointOverride(of)), Delta::Remove(Resource::Instance(instance))] =
            pair
            && of.instance == instance.id
        {
            let (weight, is_drained) = (of.weight, of.is_drained);
            tracing::info!(
                endpoint = %of.instance, pool = %instance.app, by = %of.by, since = %of.at.to_rfc3339(),
                weight, is_drained, "override of an endpoint dropped: the endpoint was removed"
            );
        }
    }
}
