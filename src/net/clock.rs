//! Where time is read. Everything else takes it as an argument.

use ringway_model::{Tick, Timestamp};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time in milliseconds since the first reading of any thread. About 30 ns.
#[inline]
pub fn now() -> Tick {
    Tick(u64::try_from(epoch().elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic time in microseconds, from the same beginning as [`now`]. For durations that are reported.
#[inline]
pub fn now_micros() -> u64 {
    u64::try_from(epoch().elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The system's idea of the time, for people and records. Zero when it is before 1970.
pub fn timestamp() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

/// The instant of `tick`, or about an hour from now when that is nearer: the runtime's timers refuse times that
/// are years away, so who waits looks again then.
pub(crate) fn instant_within_an_hour(tick: Tick) -> Instant {
    let tick = tick.min(now().after(Duration::from_secs(3600)));
    epoch() + Duration::from_millis(tick.0)
}

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
