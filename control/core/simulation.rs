//! Simulation of a change: the last requests of all cores, and the configuration to route them by.
//!
//! The cores are asked for their samples when a simulation is requested. It runs on the caller's thread, with
//! copies that share all memory with the configuration in force.

use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::ReplySender;
use ringway_cache::Store;
use ringway_model::{Change, CoreId, Desired, Owner, Rejection, Timestamp};
use ringway_traffic::compile::Compiler;
use ringway_traffic::samples::SampledHeads;
use ringway_traffic::snapshot::Snapshot;

use crate::time::Micros;

/// Configuration in force and samples of the last requests.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Configuration on disk.
    pub desired: Desired,
    /// Sampled requests of each core that replied in time.
    pub samples: Vec<Arc<SampledHeads>>,
    /// Store of responses.
    pub(crate) cache: Option<Arc<Store>>,
    compiler: Compiler,
}

impl Simulation {
    pub(crate) fn new(desired: Desired, compiler: Compiler, samples: Vec<Arc<SampledHeads>>) -> Self {
        Self { desired, samples, cache: None, compiler }
    }

    /// Adds the store of responses, for explanations.
    pub(crate) fn with_cache(self, cache: Option<Arc<Store>>) -> Self {
        Self { cache, ..self }
    }

    /// The snapshot in use.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        self.compiler.snapshot()
    }

    /// The snapshot that a change would make. Nothing is published.
    ///
    /// # Errors
    /// The rejection of the change.
    pub fn snapshot_after(
        &self,
        owner: &Owner,
        change: &Change,
        at: Timestamp,
    ) -> Result<Arc<Snapshot>, Rejection> {
        let applied = self.desired.apply_as(owner, change, at)?;
        let compiled = self.compiler.compile(&applied.desired, &applied.deltas);
        Ok(Arc::clone(compiled.snapshot()))
    }
}

/// Simulations that wait for the samples of the cores. One collection at a time, for all that wait.
#[derive(Debug, Default)]
pub(crate) struct SampleRequests {
    waiting: Vec<ReplySender<Vec<Arc<SampledHeads>>>>,
    missing: Vec<CoreId>,
    collected: Vec<Arc<SampledHeads>>,
    deadline: Option<Micros>,
}

impl SampleRequests {
    /// Adds a waiting simulation. Returns whether the cores must be asked.
    pub(crate) fn wait(&mut self, reply: ReplySender<Vec<Arc<SampledHeads>>>) -> bool {
        self.waiting.push(reply);
        self.deadline.is_none()
    }

    /// Records that these cores were asked.
    pub(crate) fn handle_asked(&mut self, cores: Vec<CoreId>, now: Micros) {
        self.missing = cores;
        self.deadline = Some(now.after(SAMPLES_TIMEOUT));
    }

    /// Takes the samples of a core.
    pub(crate) fn handle_samples(&mut self, core: CoreId, heads: Arc<SampledHeads>) {
        if let Some(index) = self.missing.iter().position(|missing| *missing == core) {
            self.missing.swap_remove(index);
            self.collected.push(heads);
        }
    }

    /// Replies when all cores have, or at the deadline.
    pub(crate) fn release(&mut self, now: Micros) {
        let Some(deadline) = self.deadline else { return };
        if !self.missing.is_empty() && now < deadline {
            return;
        }
        let samples = std::mem::take(&mut self.collected);
        self.missing.clear();
        self.deadline = None;
        for reply in self.waiting.drain(..) {
            // A caller that has given up needs no samples.
            let _ = reply.send(samples.clone());
        }
    }

    /// Time at which [`SampleRequests::release`] is due.
    pub(crate) fn next_deadline(&self) -> Micros {
        self.deadline.unwrap_or(Micros::NEVER)
    }
}

/// Time in which the cores send their samples: they are a copy of two megabytes away.
const SAMPLES_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_bridge::reply;

    fn heads(name: &str) -> Arc<SampledHeads> {
        let mut heads = SampledHeads::default();
        heads.push(name.as_bytes());
        Arc::new(heads)
    }

    #[test]
    fn one_collection_serves_all_that_wait() {
        let mut requests = SampleRequests::default();
        let (first, first_reply) = reply();
        let (second, second_reply) = reply();
        assert!(requests.wait(first), "the cores must be asked");
        requests.handle_asked(vec![CoreId(0), CoreId(1)], Micros(0));
        assert!(!requests.wait(second), "they are asked already");
        requests.handle_samples(CoreId(1), heads("b"));
        requests.handle_samples(CoreId(1), heads("twice"));
        requests.release(Micros(1));
        assert!(first_reply.wait(Duration::ZERO).is_err(), "a core is missing");
        requests.handle_samples(CoreId(0), heads("a"));
        requests.release(Micros(2));
        for reply in [first_reply, second_reply] {
            assert_eq!(reply.wait(Duration::ZERO).unwrap().len(), 2);
        }
        assert_eq!(requests.next_deadline(), Micros::NEVER);
    }

    #[test]
    fn a_core_that_hangs_is_left_out() {
        let mut requests = SampleRequests::default();
        let (sender, receiver) = reply();
        requests.wait(sender);
        requests.handle_asked(vec![CoreId(0), CoreId(1)], Micros(0));
        requests.handle_samples(CoreId(0), heads("a"));
        requests.release(requests.next_deadline());
        assert_eq!(receiver.wait(Duration::ZERO).unwrap().len(), 1);
        requests.handle_samples(CoreId(1), heads("late"));
        assert_eq!(requests.next_deadline(), Micros::NEVER);
    }
}
