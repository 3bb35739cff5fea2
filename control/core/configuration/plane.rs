//! The `Plane` trait: the control thread, as the threads of the configuration use it.

use ringway_model::Desired;

use crate::client::Client;
use crate::simulation::Simulation;
use crate::submission::{Receipt, Refusal, Submission};
use crate::trial::TrialStatus;

/// The control thread, as these threads use it.
pub(crate) trait Plane: Send + Sync {
    /// Present configuration.
    fn desired(&self) -> Result<Desired, Refusal>;
    /// Applies a change.
    fn submit(&self, submission: Submission) -> Result<Receipt, Refusal>;
    /// The present trial, or the last one.
    fn trial(&self) -> Result<Option<TrialStatus>, Refusal>;
    /// Copies of what is in force, for simulations.
    fn simulation(&self) -> Result<Simulation, Refusal>;
}

impl Plane for Client {
    fn desired(&self) -> Result<Desired, Refusal> {
        Self::desired(self)
    }

    fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        Self::submit(self, submission)
    }

    fn trial(&self) -> Result<Option<TrialStatus>, Refusal> {
        Self::trial(self)
    }

    fn simulation(&self) -> Result<Simulation, Refusal> {
        Self::simulation(self)
    }
}
