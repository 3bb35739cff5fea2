//! Where time is read. Everything else takes it as an argument.

use ringway_model::{Tick, Timestamp};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time in milliseconds since the first reading of any thread. About 5 ns: it is the time of the kernel's
/// last tick, a few milliseconds old, which is far below what deadlines need.
#[inline]
pub fn now() -> Tick {
    let epoch = epoch();
    Tick(millis(libc::CLOCK_MONOTONIC_COARSE).saturating_sub(epoch.millis))
}

/// The monotonic time in microseconds, from the same beginning as [`now`]. For durations that are reported. About 30 ns.
#[inline]
pub fn now_micros() -> u64 {
    u64::try_from(epoch().instant.elapsed().as_micros()).unwrap_or(u64::MAX)
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
    // A coarse tick later than asked: who was woken finds the deadline passed.
    epoch().instant + Duration::from_millis(tick.0) + COARSE
}

/// The age of the coarse clock at most: one tick of a kernel that ticks 100 times a second.
pub(crate) const COARSE: Duration = Duration::from_millis(10);

/// The beginning of time, on both clocks.
struct Epoch {
    instant: Instant,
    millis: u64,
}

fn epoch() -> &'static Epoch {
    static EPOCH: OnceLock<Epoch> = OnceLock::new();
    // Rounded up on the fine clock, so that the coarse one is never ahead of [`now_micros`].
    EPOCH.get_or_init(|| Epoch { instant: Instant::now(), millis: millis(libc::CLOCK_MONOTONIC) + 1 })
}

/// One of the kernel's monotonic clocks.
#[inline]
fn millis(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes. Both clocks exist since Linux 2.6.32, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
