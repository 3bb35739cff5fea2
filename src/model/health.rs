//! Settings of health checks, and health states.

use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use crate::Probe;
#[cfg(doc)]
use crate::limits;

/// Health check of an instance. Absent values take the process's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct HealthCheck {
    /// The probe.
    pub probe: Probe,
    /// The port, when it is not the target's.
    pub port: Option<NonZeroU16>,
    /// Time between two checks, [`limits::HEALTH_INTERVAL_MIN`] to [`limits::HEALTH_INTERVAL_MAX`].
    pub interval: Option<Duration>,
    /// Timeout of one check; never longer than the interval.
    pub timeout: Option<Duration>,
    /// Consecutive failures that make an instance unhealthy.
    pub unhealthy_threshold: Option<NonZeroU8>,
    /// Consecutive successes that make it healthy again.
    pub healthy_threshold: Option<NonZeroU8>,
}

/// Health of an instance by active checks and leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not checked yet: gets traffic, so that a registration takes effect at once.
    Unknown,
    /// In rotation.
    Healthy,
    /// Out of rotation.
    Unhealthy,
    /// Registered recently and not checked yet: gets traffic only while no other endpoint can.
    Joining,
}

impl Health {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown | Self::Joining => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}
