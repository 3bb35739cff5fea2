//! Limits of webhook deliveries: each with its unit and its reason.

use std::time::Duration;

// --- Webhooks ---------------------------------------------------------------------------------------------

/// Waiting deliveries. Beyond it the oldest is dropped and counted: the newest describe the present best.
pub(crate) const WEBHOOKS_PENDING_MAX: usize = 1_000;
/// Deliveries of one receiver in flight: a receiver that hangs blocks one of the threads below, not all.
pub(crate) const WEBHOOKS_PER_RECEIVER_MAX: usize = 1;
/// Delivery threads.
pub(crate) const WEBHOOK_THREADS: usize = 4;
/// Retries after the first attempt: 1, 2 and 4 s later.
pub(crate) const WEBHOOK_RETRIES_MAX: u32 = 3;
/// Delay of the first retry; doubled each time.
pub(crate) const WEBHOOK_RETRY_FIRST: Duration = Duration::from_secs(1);
/// Timeout of one attempt, from the DNS lookup to the last byte of the response.
pub(crate) const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
