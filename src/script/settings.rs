//! Limits of the calls of one namespace.

use std::time::Duration;

use crate::limits;

/// Limits of the calls of one namespace and of its VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Steps of a call.
    pub steps: u32,
    /// CPU time of a call.
    pub cpu: Duration,
    /// Time of a call, with everything that it waits for.
    pub deadline: Duration,
    /// Memory of a VM.
    pub memory_bytes: usize,
    /// Calls of a VM that wait at the same time.
    pub waiting: u32,
    /// Fetches of a call.
    pub fetches: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: limits::STEPS_MAX,
            cpu: limits::CPU_MAX,
            deadline: limits::CALL_DEADLINE,
            memory_bytes: limits::MEMORY_BYTES_MAX,
            waiting: limits::WAITING_MAX,
            fetches: limits::FETCHES_MAX,
        }
    }
}
