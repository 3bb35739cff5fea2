//! Read-only view of the configuration in force.

use ringway_model::{Desired, InstanceId};
use ringway_traffic::snapshot::{Endpoint, Snapshot};

use crate::time::Now;

/// Configuration, published snapshot and time of one turn: the input of decisions that change neither.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// Configuration on disk.
    pub(crate) desired: &'a Desired,
    /// Newest published snapshot. It may be ahead of `desired` while a commit is being processed.
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) now: Now,
}

impl<'a> View<'a> {
    /// Endpoint of a registered instance in the snapshot.
    pub(crate) fn endpoint(&self, id: &InstanceId) -> Option<&'a Endpoint> {
        let instance = self.desired.instance(id.as_str())?;
        self.snapshot.endpoint(instance.app.as_str(), id.as_str())
    }
}
