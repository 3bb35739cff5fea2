//! Limits of snapshots, breakers and balancing: each with its unit and its reason.

use std::time::Duration;

// --- Breaker -----------------------------------------------------------------------------------------------

/// Consecutive request failures that open an instance's breaker (FR-3.7).
pub(crate) const BREAKER_FAILURES: u8 = 5;
/// First time that a breaker stays open (FR-3.8).
pub(crate) const BREAKER_OPEN: Duration = Duration::from_secs(30);
/// Longest time that a breaker stays open (FR-3.9: 30, 60, 120 s).
pub(crate) const BREAKER_OPEN_MAX: Duration = Duration::from_secs(120);
/// From one probe of a half-open breaker to the next, while none has ended: what a slow one holds up.
pub(crate) const BREAKER_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// From one request to the next that is let through to an app without a healthy instance (`trickle`).
pub(crate) const TRICKLE_INTERVAL: Duration = Duration::from_secs(1);
