//! Limits of snapshots, breakers and balancing: each with its unit and its reason.

use std::time::Duration;

// --- Breaker -----------------------------------------------------------------------------------------------

/// Consecutive request failures that open an instance's breaker: single failures do not.
pub(crate) const BREAKER_FAILURES: u8 = 5;
/// Open time of a breaker after it opened from closed.
pub(crate) const BREAKER_OPEN: Duration = Duration::from_secs(30);
/// Longest open time of a breaker: a failed probe doubles the time, 30, 60, 120 s.
pub(crate) const BREAKER_OPEN_MAX: Duration = Duration::from_secs(120);
/// Interval between the probes of a half-open breaker while none has ended: a slow probe delays recovery by
/// it.
pub(crate) const BREAKER_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between the requests admitted to an app without a healthy instance (`trickle`).
pub(crate) const TRICKLE_INTERVAL: Duration = Duration::from_secs(1);
