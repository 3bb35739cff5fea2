//! Limits of webhook deliveries: each with its unit and its reason.

use std::time::Duration;

// --- Webhooks ----------------------------------------------------------------------------------------------

/// Deliveries that wait (NFR-4.7). When there are more, the oldest is dropped and counted.
pub(crate) const WEBHOOKS_PENDING_MAX: usize = 1_000;
/// Deliveries of one receiver under way: a receiver that hangs holds one thread of those below, not all.
pub(crate) const WEBHOOKS_PER_RECEIVER_MAX: usize = 1;
/// Threads that deliver.
pub(crate) const WEBHOOK_THREADS: usize = 4;
/// Tries after the first (NFR-2.8).
pub(crate) const WEBHOOK_RETRIES_MAX: u32 = 3;
/// Until the first of them; doubled each time (FR-6.10).
pub(crate) const WEBHOOK_RETRY_FIRST: Duration = Duration::from_secs(1);
/// For one try, from the name's resolution to the last byte of the answer.
pub(crate) const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
