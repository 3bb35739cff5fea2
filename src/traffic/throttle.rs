//! Rate limit of rare work: once per interval on each core.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Limits evaluations of shared counters, which read the lines of all cores. A core writes its own line only;
/// the lines are allocated at the first call.
#[derive(Debug)]
pub(crate) struct Throttle {
    cores: usize,
    lines: OnceLock<Box<[Line]>>,
}

/// Time from which the core may pass again.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Throttle {
    /// Returns a throttle of `cores` cores that admits the next call of each.
    pub(crate) fn new(cores: usize) -> Self {
        Self { cores, lines: OnceLock::new() }
    }

    /// Whether core number `core` may pass: once per `interval_us`. Called by this core only.
    pub(crate) fn admit(&self, core: usize, interval_us: u64, now_us: u64) -> bool {
        let lines = self.lines.get_or_init(|| (0..self.cores).map(|_| Line::default()).collect());
        let Some(Line(next)) = lines.get(core) else { return false };
        let is_due = next.load(Ordering::Relaxed) <= now_us;
        if is_due {
            next.store(now_us.saturating_add(interval_us), Ordering::Relaxed);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_passes_once_per_interval() {
        let throttle = Throttle::new(2);
        assert!(throttle.admit(0, 100, 1_000));
        assert!(!throttle.admit(0, 100, 1_099));
        assert!(throttle.admit(1, 100, 1_099), "another core has its own turn");
        assert!(throttle.admit(0, 100, 1_100));
        assert!(!throttle.admit(2, 100, 5_000), "there is no such core");
    }
}
