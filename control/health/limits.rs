//! Limits of health checks: each with its unit and its reason.

use std::time::Duration;

// --- Health ------------------------------------------------------------------------------------------------

/// First time between two probes of an instance that was registered and has not been well yet; doubled with each failure.
pub(crate) const JOINING_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest time between them: a deploy notices within it that its instance is up.
pub(crate) const JOINING_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Checks in flight at once (NFR-4.9).
pub(crate) const HEALTH_CHECKS_IN_FLIGHT_MAX: usize = 100;
/// Bytes of a health endpoint's answer that are read before the connection is closed.
pub(crate) const HEALTH_RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a health endpoint's body in which the expected text is searched.
pub(crate) const HEALTH_BODY_BYTES_MAX: usize = 64 * 1024;
/// How long the rest of a health endpoint's answer is waited for, once its status is known.
pub(crate) const HEALTH_LINGER: Duration = Duration::from_millis(100);
