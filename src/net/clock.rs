//! Clocks. All other code takes time as an argument.

use ringway_model::{Tick, Timestamp};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the monotonic time in milliseconds since the first reading of any thread. About 5 ns: it is the
/// time of the kernel's last tick, a few milliseconds old, which is precise enough for deadlines.
#[inline]
pub fn now() -> Tick {
    let epoch = epoch();
    Tick(millis(libc::CLOCK_MONOTONIC_COARSE).saturating_sub(epoch.millis))
}

/// Returns the monotonic time in microseconds, with the same epoch as [`now`], for durations that are
/// reported. About 30 ns.
#[inline]
pub fn now_micros() -> u64 {
    u64::try_from(epoch().instant.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Returns the CPU time that this thread has used, in microseconds. About 300 ns: a system call.
pub fn thread_cpu_micros() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes. The clock exists since Linux 2.6.12, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Returns the wall-clock time, for people and records. Zero before 1970.
pub fn timestamp() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the instant of `tick`, or about an hour from now if that is earlier: the runtime's timers refuse
/// times that are years away. Callers check again then.
pub(crate) fn instant_within_an_hour(tick: Tick) -> Instant {
    let tick = tick.min(now().after(Duration::from_secs(3600)));
    // Later by a coarse tick, so that the deadline has passed on wake-up.
    epoch().instant + Duration::from_millis(tick.0) + COARSE
}

/// Maximum age of the coarse clock: one tick of a kernel with 100 ticks per second.
pub(crate) const COARSE: Duration = Duration::from_millis(10);

/// Start of the monotonic time, on both clocks.
struct Epoch {
    instant: Instant,
    millis: u64,
}

fn epoch() -> &'static Epoch {
    static EPOCH: OnceLock<Epoch> = OnceLock::new();
    // Rounded up on the fine clock, so that the coarse one is never ahead of [`now_micros`].
    EPOCH.get_or_init(|| Epoch { instant: Instant::now(), millis: millis(libc::CLOCK_MONOTONIC) + 1 })
}

/// Reads one of the kernel's monotonic clocks.
#[inline]
fn millis(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes. Both clocks exist since Linux 2.6.32, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
