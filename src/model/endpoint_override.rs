//! Overrides of endpoints at run time, without a change of their pool's configuration.

use std::sync::Arc;

use crate::change::Draft;
use crate::{Configured, InstanceId, Kind, Owner, Rejection, Timestamp};

/// Weight and drain of an endpoint in place of its owner's. Outlives reloads and restarts, and ends with the
/// endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOverride {
    /// The endpoint.
    pub instance: InstanceId,
    /// The owner: always the registration API, because the owners of pools replace only what they wrote.
    pub owner: Owner,
    /// Weight in place of the configured one.
    pub weight: Option<u16>,
    /// Whether it takes no new requests.
    pub is_drained: bool,
    /// Time of the last change.
    pub at: Timestamp,
    /// Name of the user who changed it.
    pub by: Arc<str>,
    /// The reason that was given; empty when there was none.
    pub reason: Arc<str>,
}

impl Configured for EndpointOverride {
    fn key(&self) -> &str {
        self.instance.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        Some((Kind::Instance, self.instance.as_str()))
    }
}

impl Draft<'_> {
    /// Sets an override; the endpoint must exist.
    pub(crate) fn put_endpoint_override(&mut self, new: &EndpointOverride) -> Result<(), Rejection> {
        if self.desired.instance(new.instance.as_str()).is_none() {
            return Err(Rejection::UnknownInstance(new.instance.clone()));
        }
        let known = self.desired.endpoint_override(new.instance.as_str());
        self.created |= known.is_none();
        let is_same = known.is_some_and(|known| {
            (known.weight, known.is_drained, &known.reason) == (new.weight, new.is_drained, &new.reason)
        });
        if !is_same {
            self.put(new.clone());
        }
        Ok(())
    }

    /// Ends the override of an endpoint, if there is one.
    pub(crate) fn remove_endpoint_override(&mut self, instance: &InstanceId) {
        if let Some(known) = self.desired.endpoint_override(instance.as_str()).cloned() {
            self.remove(known);
        }
    }
}
