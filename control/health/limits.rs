//! Limits of health checks: each with its unit and its reason.

use std::time::Duration;

// --- Health -----------------------------------------------------------------------------------------------

/// First interval between probes of a registered instance that has not been healthy yet; doubled with each
/// failure.
pub(crate) const JOINING_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest such interval: a deploy notices within it that its instance is up.
pub(crate) const JOINING_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Checks in flight: bounds the descriptors, however many instances there are.
pub(crate) const HEALTH_CHECKS_IN_FLIGHT_MAX: usize = 100;
/// Bytes of a response that are read before the connection is closed.
pub(crate) const HEALTH_RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a body that are searched for the expected text.
pub(crate) const HEALTH_BODY_BYTES_MAX: usize = 64 * 1024;
/// Time for the rest of a response once its status is known.
pub(crate) const HEALTH_LINGER: Duration = Duration::from_millis(100);
