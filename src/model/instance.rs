//! How an instance's health is asked for and told.

use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use crate::Probe;
#[cfg(doc)]
use crate::limits;

/// How to find out whether an instance is well. Absent values fall back to the process's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct HealthCheck {
    /// What to ask.
    pub probe: Probe,
    /// Another port than the target's.
    pub port: Option<NonZeroU16>,
    /// Time between two checks, [`limits::HEALTH_INTERVAL_MIN`] to [`limits::HEALTH_INTERVAL_MAX`].
    pub interval: Option<Duration>,
    /// How long one check may take; never longer than the interval.
    pub timeout: Option<Duration>,
    /// Consecutive failures that make an instance unhealthy.
    pub unhealthy_threshold: Option<NonZeroU8>,
    /// Consecutive successes that make it healthy again.
    pub healthy_threshold: Option<NonZeroU8>,
}

/// What active checks and leases say about an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not checked yet: takes traffic, so that a registration is live at once.
    Unknown,
    /// In rotation.
    Healthy,
    /// Out of rotation.
    Unhealthy,
    /// Registered a moment ago and not checked yet: takes traffic only while no other endpoint can.
    Joining,
}

impl Health {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown | Self::Joining => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}
