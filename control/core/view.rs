//! Read-only view of the configuration in force.

use ringway_model::{Desired, Instance, InstanceId};
use ringway_traffic::snapshot::{Endpoint, Snapshot};

use crate::time::Now;

/// Configuration, published snapshot and time of one turn: the input of decisions that change neither.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// Configuration on disk.
    pub(crate) desired: &'a Desired,
    /// Newest published snapshot. It may be ahead of `desired` while a commit is being processed.
    pub(crate) snapshot: &'a Snapshot,
    /// Configuration and snapshot on trial.
    pub(crate) trial: Option<(&'a Desired, &'a Snapshot)>,
    pub(crate) now: Now,
}

impl<'a> View<'a> {
    /// An instance of the configuration on disk, or of that on trial.
    pub(crate) fn instance(&self, id: &InstanceId) -> Option<&'a Instance> {
        let find = |desired: &'a Desired| desired.instance(id.as_str()).map(|instance| &**instance);
        find(self.desired).or_else(|| find(self.trial?.0))
    }

    /// Endpoint of such an instance.
    pub(crate) fn endpoint(&self, id: &InstanceId) -> Option<&'a Endpoint> {
        let find = |desired: &'a Desired, snapshot: &'a Snapshot| {
            snapshot.endpoint(desired.instance(id.as_str())?.app.as_str(), id.as_str())
        };
        find(self.desired, self.snapshot).or_else(|| {
            let (desired, snapshot) = self.trial?;
            find(desired, snapshot)
        })
    }
}
